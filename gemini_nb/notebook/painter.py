"""One painter for all panes and dashboards: it decides when, they decide what.

A pane that painted each chunk by itself would send a comm message for each, hundreds in a second, and a front
end that falls behind drops some, the last included. Here changes are collected and painted together, 20 times
a second at most, less often when many are busy or when painting has taken more than a tenth of the time. What
changed last is always painted.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import Protocol

from gemini_nb.secrets import scrub
from gemini_nb.streams.runtime import Runtime

__all__ = ["Painter", "View", "painter_of"]

logger = logging.getLogger("gemini_nb")

_INTERVAL = 0.05
_TICK = 1.0
_SHARE = 0.1
_LONGEST = 1.0  # one slow paint, such as the first, must not freeze the page


class View(Protocol):
    """Something on a page."""

    @property
    def interval(self) -> float:
        """Seconds to leave between two paints at least."""

    def paint(self) -> bool:
        """Draw what changed. Returns whether time alone changes it, too, so that it is painted again."""


class Painter:
    """Paints views on the loop's thread, the only one that writes their traits."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reset()

    def _reset(self) -> None:
        self._dirty: dict[View, None] = {}
        self._living: dict[View, None] = {}
        self._painted: dict[View, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._next = 0.0

    def request(self, view: View) -> None:
        """Paint this view soon. Loop thread only."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the first request, or the loop died and was replaced
            self._reset()
            self._loop = loop
        if view not in self._dirty:
            self._dirty[view] = None
            self._schedule(view)

    def forget(self, view: View) -> None:
        """Paint it no more. Loop thread only."""
        for views in (self._dirty, self._living, self._painted):
            views.pop(view, None)

    def _schedule(self, view: View) -> None:
        assert self._loop is not None  # noqa: S101 - set by the first request
        due = max(self._painted.get(view, 0.0) + view.interval, self._next)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._paint)

    def _paint(self) -> None:
        assert self._loop is not None  # noqa: S101 - see _schedule
        self._timer = None
        start = time.monotonic()
        ready = [
            view for view in self._dirty if self._painted.get(view, 0.0) + view.interval <= start + 0.001
        ]
        for view in ready:
            del self._dirty[view]
            self._paint_one(view, start)
        end = time.monotonic()
        # Three panes at full rate are smooth in every browser measured; more share the rate.
        rest = min(_LONGEST, (end - start) * (1 / _SHARE - 1))
        self._next = max(start + _INTERVAL * max(1.0, len(ready) / 3), end + rest)
        for view in self._dirty:
            self._schedule(view)
        if self._living and self._ticker is None:
            self._ticker = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        for view in list(self._living):
            self.request(view)

    def _paint_one(self, view: View, now: float) -> None:
        self._painted[view] = now
        try:
            alive = view.paint()
        except Exception as error:  # noqa: BLE001 - one broken widget must not take the others along
            logger.warning("a pane could not be painted: %s", scrub(f"{type(error).__name__}: {error}"))
            alive = False
        if alive:
            self._living[view] = None
        else:
            self._living.pop(view, None)
            self._painted.pop(view, None)


_painters: weakref.WeakKeyDictionary[Runtime, Painter] = weakref.WeakKeyDictionary()


def painter_of(runtime: Runtime) -> Painter:
    """The one painter of a runtime."""
    return _painters.setdefault(runtime, Painter())
