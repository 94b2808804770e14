"""When to ask again, after how long, and which other requests wait after a refusal.

A 429 is the answer to one stream, but the quota belongs to a model and a key: every other stream that asks
meanwhile is refused, too, and pushes the end of the wait away. So all of them wait, and start again one after
the other, since a hundred at once would only be refused again.

Policy and parsing take time and randomness as arguments; only `Cooldowns` looks at the clock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import math
import re
import time
import zoneinfo
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gemini_nb.config import real_number, truth_value, whole_number
from gemini_nb.errors import APIError, ConfigError, GeminiError, TransportError
from gemini_nb.redaction import excerpt_of

RETRYABLE_STATUS = frozenset({408, 429, *range(500, 600)} - {501, 505})
"""Every other 4xx gives the same answer when it is asked again, and so do a method or a version of HTTP that
the server does not know. Gateways have statuses of their own, such as 529 for overloaded."""

LONGEST_WAIT = 86_400.0
"""Seconds. A server that asks for more has made a mistake, and its figure counts as none: to obey it would be
to wait for ever, while asking again now and then costs nothing."""

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)s$")
_MESSAGE_DELAY = re.compile(r"[Rr]etry in (\d+(?:\.\d+)?)\s*s")
_ZONE = "America/Los_Angeles"
_PER_DAY = re.compile(r"PerDay|(?i:per[_ -]?day)(?![A-Za-z])")
_PER_MINUTE = re.compile(r"per[_ -]?minute", re.IGNORECASE)
_OF_REQUESTS = re.compile(r"requests.*per_?minute", re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,9}")
_SHARE = 0.97  # of a named quota that is used, since clocks differ
_RATE_SECONDS = 3600.0  # for which a rate that nothing uses is remembered
_EPISODE = 10.0  # seconds in which refusals of a known pace are about the same
_SLOWER, _SLOWEST = 0.05, 2.0  # seconds to wait after the first of them is twice the one, at most the other
_SPACING = 0.1  # seconds between two that start again
_SPREAD = 5.0  # seconds by whose fraction they follow each other where many wait


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently a model call is asked again.

    Attributes:
        attempts: requests for one model call before any of its output arrived, the first included.
        initial_delay: seconds that the first backoff may take.
        max_delay: seconds that any backoff of our own may take.
        max_server_delay: longest wait a server may ask for; beyond it the call fails at once, saying so,
            since a user would rather know than watch a cell for an hour.
        restarts: times a call that broke after some of its answer is made again without progress. A new
            continuation token is progress; an answer that begins anew is not.
        patient: for one of many rows that run unattended: a 429, a server that is down and a lost
            connection never end the call. It waits as long as a server asks, together with the others, and
            one of them tries again every `max_delay` seconds. More than a day is no figure to go by.
        on_cut: "restart" makes such a call again and replaces its text; "keep" ends the stream with an error
            and the text as it is, since every restart is paid for.
    """

    attempts: int = 5
    initial_delay: float = 1.0
    max_delay: float = 30.0
    max_server_delay: float = 60.0
    restarts: int = 3
    on_cut: Literal["restart", "keep"] = "restart"
    patient: bool = False

    def __post_init__(self) -> None:
        if self._read("attempts", whole_number) < 1:
            raise ConfigError(
                f"attempts counts the first request, so it is at least 1, not {excerpt_of(self.attempts)}."
            )
        for name in ("initial_delay", "max_delay", "max_server_delay"):
            if self._read(name, real_number) < 0:
                seconds = excerpt_of(getattr(self, name))
                raise ConfigError(f"{name} is a number of seconds, 0 or more, not {seconds}.")
        if self._read("restarts", whole_number) < 0:
            raise ConfigError(f"restarts is a whole number, 0 or more, not {excerpt_of(self.restarts)}.")
        if self.on_cut not in ("restart", "keep"):
            raise ConfigError(f'on_cut is "restart" or "keep", not {self.on_cut!r}.')
        if self._read("patient", truth_value) < 0:
            raise ConfigError(f"patient is True or False, not {excerpt_of(self.patient)}.")

    def _read(self, name: str, read: Callable[[object], float | None]) -> float:
        """Make the number of this name a plain one, and return it; -1 where it is none."""
        value = read(getattr(self, name))
        if value is None:
            return -1
        object.__setattr__(self, name, value)
        return value

    def is_retryable(self, error: GeminiError) -> bool:
        """Whether the same request can succeed later. A quota of zero cannot."""
        if error.is_permanent:
            return False
        if isinstance(error, APIError):
            return error.status_code in RETRYABLE_STATUS and "limit: 0" not in error.message
        return isinstance(error, TransportError)

    def delay(self, attempt: int, *, hint: float | None, jitter: float) -> float | None:
        """Return the seconds to wait after the failed attempt number `attempt`, or None to give up.

        Full jitter spreads clients that failed together; a server's own figure is a floor, so the jitter
        is added to it.

        Args:
            attempt: 1 for the first request.
            hint: seconds the server asked for.
            jitter: a random number from 0 to 1.
        """
        if attempt >= self.attempts:
            return None
        return self.backoff(attempt, hint=hint, jitter=jitter)

    def backoff(self, failed: int, *, hint: float | None, jitter: float) -> float | None:
        """Return the same without a limit on the number of attempts.

        Args:
            failed: how many have failed.
            hint: seconds the server asked for.
            jitter: a random number from 0 to 1.
        """
        ceiling = min(self.max_delay, self.initial_delay * 2.0 ** min(failed - 1, 60))
        own = ceiling * jitter
        if hint is not None and hint > self.max_server_delay and not self.patient:
            return None
        if hint is None or hint > LONGEST_WAIT:
            return own
        asked = hint + min(ceiling, hint * 0.1) * jitter
        # A date that is past, or 0, is no figure to go by: five requests would go out in one moment.
        return asked if hint >= self.initial_delay else max(own, asked)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a `Retry-After` header: a number, or an HTTP date.

    Args:
        value: the header's value.
        now: seconds since the epoch.
    """
    if value is None:
        return None
    try:
        seconds = _finite(float(value))
        return None if seconds is None else max(0.0, seconds)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_delay_of(details: Sequence[Any], message: str) -> float | None:
    """Return the seconds of a google.rpc.RetryInfo; the message's own, finer figure where there is one."""
    if (match := _MESSAGE_DELAY.search(message)) is not None:
        return _finite(float(match[1]))
    for detail in details:
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith("RetryInfo"):
            match = _DURATION.match(str(detail.get("retryDelay", "")))
            if match is not None:
                return _finite(float(match[1]))
    return None


def requests_per_minute(details: Iterable[Mapping[str, Any]]) -> float | None:
    """Return the smallest quota of requests a minute that an error's details name, None where there is none.

    Quotas of tokens or of days have values, too, which say nothing about a pace.
    """
    named = []
    for detail in details:
        violations = detail.get("violations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, Mapping) and _OF_REQUESTS.search(
                str(one.get("quotaId") or one.get("quota_id"))
            ):
                value = str(one.get("quotaValue") or one.get("quota_value"))
                if _WHOLE.fullmatch(value) and int(value) > 0:
                    named.append(float(value))
    return min(named, default=None)


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def is_daily(details: Sequence[Mapping[str, Any]], message: str = "") -> bool:
    """Whether a daily quota is used up.

    The RetryInfo beside it does not tell: it asks to wait some seconds for what is gone until tomorrow.

    Args:
        details: the error's details, whose ids of quotas decide.
        message: the error's message, which decides where no id is named, as behind a proxy.
    """
    named = [text for detail in details for text in _quota_texts(detail)]
    if named:
        return any(_PER_DAY.search(text) for text in named)
    return _PER_DAY.search(message) is not None and _PER_MINUTE.search(message) is None


def _quota_texts(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _quota_texts(item, str(key).lower())
    elif isinstance(value, list):
        for item in value:
            yield from _quota_texts(item, name)
    elif name.startswith("quota") and isinstance(value, str):
        yield value


def seconds_until_renewal(now: float) -> float | None:
    """Return the seconds until midnight Pacific time, when daily quotas renew; None without a time zone.

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


@dataclass(frozen=True, slots=True)
class CoolingDown:
    """A request waits because another one was refused.

    Attributes:
        until: when it will go out, in seconds since the epoch, by the clock as it is now.
        reason: what is waited for, in a few words.
    """

    until: float
    reason: str


class _Quota:
    def __init__(self) -> None:
        self.until = -math.inf  # by the monotonic clock, as the others: a clock that is set prolongs no wait
        self.last = -math.inf
        self.reason = ""
        self.waiting = 0
        self.step: float | None = None  # seconds between two, where the server named its quota
        self._refusals = 0  # in a row
        self._refused_at = -math.inf

    def next_start(self, now: float) -> float:
        """Return when the next in the queue may start: after the one before, sooner the more there are."""
        if self.step is not None:
            self.last = max(self.until, self.last + self.step, now)
        else:
            spacing = min(_SPACING, _SPREAD / (self.waiting + 1)) if self.waiting else 0.0
            self.last = max(self.until, self.last + spacing)
        return self.last

    def slow_down(self, now: float) -> float:
        """Return the seconds to wait after a refusal in spite of the pace, longer after several.

        A quota that counts the last sixty seconds refuses a pace that it allows, as long as fewer were asked
        a minute ago than now.
        """
        self._refusals = self._refusals + 1 if now < self._refused_at + _EPISODE else 1
        self._refused_at = now
        return min(_SLOWEST, _SLOWER * 2.0 ** min(self._refusals, 10))

    def is_spent(self, now: float) -> bool:
        """Whether nothing waits for it, and it has nothing to say."""
        is_rate_known = self.step is not None and now < self.last + _RATE_SECONDS
        return not self.waiting and self.until <= now and not is_rate_known


class Cooldowns:
    """The quotas of one event loop that must not be asked for a while, or only at a pace."""

    def __init__(self) -> None:
        self._quotas: dict[Hashable, _Quota] = {}

    def impose(self, quota: Hashable, seconds: float, reason: str, per_minute: float | None = None) -> None:
        """Keep all requests for this quota waiting for some seconds; a longer wait stays.

        Args:
            quota: what is shared: base URL, model and caller.
            seconds: how long.
            reason: what is waited for, in a few words.
            per_minute: the requests a minute that the server says it allows; from now on all go at that pace.
        """
        now = time.monotonic()
        for known, old in list(self._quotas.items()):  # keys come and go
            if old.is_spent(now):
                del self._quotas[known]
        state = self._quotas.setdefault(quota, _Quota())
        if per_minute is not None:
            state.step = 60.0 / (per_minute * _SHARE)
            seconds = max(seconds, state.slow_down(now))
        until = now + seconds
        if until > state.until:
            state.until, state.reason = until, reason
            if state.step is None:  # else they keep the step between them
                state.last = -math.inf

    def __contains__(self, quota: Hashable) -> bool:
        return quota in self._quotas

    async def admit(self, quota: Hashable, patience: float = math.inf) -> AsyncGenerator[CoolingDown, None]:
        """Wait until this quota may be asked for, saying before each wait how long it is.

        Args:
            quota: as in `impose`.
            patience: seconds; a quota that is refused for longer is asked all the same, since the server's
                own refusal says more.
        """
        has_waited = False
        while (state := self._quotas.get(quota)) is not None:
            now = time.monotonic()
            if state.until - now > patience:
                return
            if now >= state.until and (has_waited or (not state.waiting and state.step is None)):
                if state.is_spent(now):
                    self._quotas.pop(quota, None)
                return
            start = state.next_start(now)
            if start <= now and state.step is not None and not state.waiting:
                return
            state.waiting += 1
            try:
                yield CoolingDown(time.time() + start - now, state.reason)
                await asyncio.sleep(max(0.0, start - time.monotonic()))
            finally:
                state.waiting -= 1
            has_waited = True
