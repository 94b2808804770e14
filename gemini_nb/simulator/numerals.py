"""Numbers for arguments and structured answers: made up by what they are for, fitted into their bounds."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["fit_number", "invent_number"]

_USUAL: tuple[tuple[frozenset[str], float, float], ...] = (
    (frozenset({"age"}), 18, 80),
    (frozenset({"latitude", "lat"}), 35, 60),
    (frozenset({"longitude", "lon", "lng"}), -10, 25),
    (frozenset({"year"}), 2020, 2026),
    (frozenset({"month"}), 1, 12),
    (frozenset({"day"}), 1, 28),
    (frozenset({"hour", "hours"}), 8, 20),
    (frozenset({"minute", "minutes", "duration"}), 5, 55),
    (frozenset({"price", "cost", "amount", "total", "budget"}), 5, 100),
    (frozenset({"rating", "stars"}), 3, 5),
    (frozenset({"temperature", "temp"}), 8, 27),
    (frozenset({"percent", "percentage", "humidity"}), 10, 90),
    (frozenset({"people", "persons", "guests", "seats", "party"}), 2, 4),
    (frozenset({"population"}), 50_000, 5_000_000),
)
_UNIT = frozenset({"confidence", "probability", "score", "ratio", "fraction", "likelihood"})


def invent_number(
    words: Sequence[str], schema: Mapping[str, Any], rng: random.Random, *, whole: bool
) -> float:
    """Make a number that looks right for a parameter of this name."""
    low, high = 1.0, 10.0
    if not whole and _UNIT & set(words):
        low, high = 0.5, 0.99
    for names, least, most in _USUAL:
        if names & set(words):
            low, high = least, most
    if isinstance(schema.get("minimum"), int | float):
        low = float(schema["minimum"])
        high = max(high, low)
    if isinstance(schema.get("maximum"), int | float):
        high = float(schema["maximum"])
        low = min(low, high)
    value = rng.uniform(low, high)
    return round(value) if whole else round(value, 2)


def fit_number(value: float, schema: Mapping[str, Any], *, whole: bool) -> float:
    """Move a number into the schema's bounds, onto its grid."""
    step = schema.get("multipleOf")
    grid = float(step) if isinstance(step, int | float) and step > 0 else (1.0 if whole else 0.0)
    nudge = grid or 1e-6
    low = _bound(schema, "minimum", "exclusiveMinimum", nudge)
    high = _bound(schema, "maximum", "exclusiveMaximum", -nudge)
    value = min(max(value, low), high)
    if grid:
        value = round(value / grid) * grid
        if value < low:
            value = math.ceil(low / grid) * grid
        elif value > high:
            value = math.floor(high / grid) * grid
    if whole:
        return int(value)
    value = round(value, 10)
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _bound(schema: Mapping[str, Any], inclusive: str, exclusive: str, nudge: float) -> float:
    """The bound on one side; older schemas have a true `exclusiveMinimum` beside the `minimum`."""
    sign = 1 if nudge > 0 else -1
    limits = [-sign * math.inf]
    given = schema.get(inclusive)
    if isinstance(given, int | float):
        limits.append(given + (nudge if schema.get(exclusive) is True else 0))
    strict = schema.get(exclusive)
    if isinstance(strict, int | float) and not isinstance(strict, bool):
        limits.append(strict + nudge)
    return max(limits) if sign > 0 else min(limits)
