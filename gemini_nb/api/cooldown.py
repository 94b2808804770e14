"""Quotas that are used up, and the requests that wait for them.

A 429 tells one stream to wait, but the quota belongs to a model and a key: every other stream that asks
meanwhile is refused, too, and pushes the end of the wait away. So all of them wait, and start again one after
the other, not together: a hundred at once would only be refused again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Hashable
from dataclasses import dataclass

__all__ = ["Cooldowns", "CoolingDown"]

_SPACING = 0.1  # seconds between two that start again
_SPREAD = 5.0  # seconds by whose fraction they follow each other where many wait


@dataclass(frozen=True, slots=True)
class CoolingDown:
    """A request waits because another one was refused.

    Attributes:
        until: when it will go out, in seconds since the epoch.
        reason: what is waited for, in a few words.
    """

    until: float
    reason: str


class _Quota:
    def __init__(self) -> None:
        self.until = 0.0
        self.last = 0.0
        self.reason = ""
        self.waiting = 0

    def next_start(self) -> float:
        """When the next in the queue may start: behind the one before, closer to it the more there are."""
        spacing = min(_SPACING, _SPREAD / (self.waiting + 1)) if self.waiting else 0.0
        self.last = max(self.until, self.last + spacing)
        return self.last


class Cooldowns:
    """The quotas of one event loop that must not be asked for a while."""

    def __init__(self) -> None:
        self._quotas: dict[Hashable, _Quota] = {}

    def impose(self, quota: Hashable, seconds: float, reason: str) -> None:
        """Let nobody else ask for this quota for some seconds; a longer wait stays.

        Args:
            quota: what is shared: base URL, model and caller.
            seconds: how long.
            reason: what is waited for, in a few words.
        """
        now = time.time()
        for known, old in list(self._quotas.items()):  # keys come and go, and are not remembered for ever
            if not old.waiting and old.until < now:
                del self._quotas[known]
        state = self._quotas.setdefault(quota, _Quota())
        until = now + seconds
        if until > state.until:
            state.until, state.reason, state.last = until, reason, 0.0

    async def admit(self, quota: Hashable) -> AsyncGenerator[CoolingDown, None]:
        """Wait until this quota may be asked for, saying before each wait how long it is.

        Args:
            quota: as in `impose`.
        """
        has_waited = False
        while (state := self._quotas.get(quota)) is not None:
            if time.time() >= state.until and (has_waited or not state.waiting):
                if not state.waiting:
                    self._quotas.pop(quota, None)
                return
            start = state.next_start()
            state.waiting += 1
            try:
                yield CoolingDown(start, state.reason)
                await asyncio.sleep(max(0.0, start - time.time()))
            finally:
                state.waiting -= 1
            has_waited = True
