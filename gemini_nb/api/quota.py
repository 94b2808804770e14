"""Quotas of a day: which they are, and when they renew."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["is_daily", "seconds_until_renewal"]

_ZONE = "America/Los_Angeles"
_PER_DAY = re.compile(r"per_?day", re.IGNORECASE)


def is_daily(details: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a quota of a day is used up, by the ids in an error's details.

    Their RetryInfo does not tell: it asks to wait some seconds for a quota that is gone until tomorrow.
    """
    return any(_names_a_day(detail) for detail in details)


def _names_a_day(value: object, name: str = "") -> bool:
    if isinstance(value, Mapping):
        return any(_names_a_day(item, str(key).lower()) for key, item in value.items())
    if isinstance(value, list):
        return any(_names_a_day(item, name) for item in value)
    return name.startswith("quota") and isinstance(value, str) and _PER_DAY.search(value) is not None


def seconds_until_renewal(now: float) -> float | None:
    """Seconds until midnight Pacific time, when such quotas renew; None where the time zone is not known.

    Args:
        now: seconds since the epoch.
    """
    try:
        zone = zoneinfo.ZoneInfo(_ZONE)
    except zoneinfo.ZoneInfoNotFoundError:  # Windows has none without the package tzdata
        return None
    today = dt.datetime.fromtimestamp(now, zone).date()
    midnight = dt.datetime.combine(today + dt.timedelta(days=1), dt.time(), zone)
    return midnight.timestamp() - now
