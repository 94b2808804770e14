"""One painter for all panes and dashboards: it decides when, they decide what.

A pane that painted each chunk by itself would send a comm message for each, hundreds in a second. A server
that gets more than it allows drops some, the last included, and the pane stays as it was. Here changes are
collected and painted by turns, 20 times a second at most, a few views each time, so that no single frame of
the page has all the work; less often when painting has taken more than a tenth of the time, or when the last
second had its share of messages. What changed last is always painted.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from gemini_nb.notebook.widgetry import messages
from gemini_nb.redaction import scrub
from gemini_nb.streams.runtime import Runtime

__all__ = ["BUDGET", "Painter", "View", "painter_of"]

logger = logging.getLogger("gemini_nb")

BUDGET = 300
"""Comm messages that all views together may send in any second."""

_INTERVAL = 0.05
_TOGETHER = 3  # views in one frame: so many at full rate are smooth in every browser measured
_TICK = 1.0
_SHARE = 0.1
_LONGEST = 1.0  # one slow paint, such as the first, must not freeze the page
_ONE_PAINT = 60  # messages that one paint may need
_HEADROOM = 40  # for those that come from elsewhere: a display, a click, a view that does not count
_UNCOUNTED = 30
_CLOSED_TOGETHER = 12


class View(Protocol):
    """Something on a page.

    No paint should send more than 60 messages; what is left is asked for again. Those of the widgets that
    `widgetry` makes are counted there. A view of other widgets may have an attribute `sent`, the number of
    messages it sent so far; one without is taken to send 30 with each paint.
    """

    @property
    def interval(self) -> float:
        """Seconds to leave between two paints at least."""

    def paint(self) -> bool:
        """Draw what changed. Returns whether time alone changes it, too, so that it is painted again."""


class Painter:
    """Paints views on the loop's thread, the only one that writes their traits.

    Args:
        count: how many messages were sent so far, from any thread.
    """

    def __init__(self, count: Callable[[], int] = messages) -> None:
        self._count = count
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reset()

    def _reset(self) -> None:
        self._dirty: dict[View, None] = {}
        self._living: dict[View, None] = {}
        self._painted: dict[View, float] = {}
        self._closing: deque[Callable[[], object]] = deque()
        self._sent: deque[tuple[float, int]] = deque()
        self._counted = self._count()
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._next = 0.0

    def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the first request, or the loop died and was replaced
            self._reset()
            self._loop = loop

    def request(self, view: View) -> None:
        """Paint this view soon. Loop thread only."""
        self._enter()
        self._dirty[view] = None
        self._schedule(self._painted.get(view, 0.0) + view.interval)

    def forget(self, view: View) -> None:
        """Paint it no more. Loop thread only."""
        for views in (self._dirty, self._living, self._painted):
            views.pop(view, None)

    def close_soon(self, closers: Iterable[Callable[[], object]]) -> None:
        """Call each of these when there is time; each sends about one message. Loop thread only."""
        self._enter()
        self._closing.extend(closers)
        if self._closing:
            self._schedule(0.0)

    def _schedule(self, due: float) -> None:
        assert self._loop is not None  # noqa: S101 - set by `_enter`
        due = max(due, self._next)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._paint)

    def _paint(self) -> None:
        assert self._loop is not None  # noqa: S101 - set by `_enter`
        self._timer = None
        start, worked = time.monotonic(), time.thread_time()
        room = self._room_at(start)
        painted = 0
        for view in list(self._dirty):
            if painted == _TOGETHER or room > time.monotonic():
                break
            if self._painted.get(view, 0.0) + view.interval <= start + 0.001:
                del self._dirty[view]
                self._paint_one(view, start)
                painted += 1
                room = self._room_at(time.monotonic())
        if room <= start:
            for _ in range(min(_CLOSED_TOGETHER, len(self._closing))):
                self._guarded(self._closing.popleft())
        end = time.monotonic()
        # Time of this thread's own: beside a cell that computes, most of the clock's is waiting for its turn.
        rest = min(_LONGEST, (time.thread_time() - worked) * (1 / _SHARE - 1))
        self._next = max(start + _INTERVAL, end + rest, self._room_at(end))
        if self._closing:
            self._schedule(0.0)
        for view in self._dirty:
            self._schedule(self._painted.get(view, 0.0) + view.interval)
        if self._living and self._ticker is None:
            self._ticker = self._loop.call_later(_TICK, self._tick)

    def _room_at(self, now: float) -> float:
        """When there is room for one more paint; `now` or earlier if there is."""
        count = self._count()
        self._note(now, count - self._counted)
        self._counted = count
        while self._sent and self._sent[0][0] <= now - 1.0:
            self._sent.popleft()
        excess = sum(number for _, number in self._sent) - (BUDGET - _HEADROOM - _ONE_PAINT)
        free = 0.0
        for then, number in self._sent:
            if excess <= 0:
                break
            excess -= number
            free = then + 1.0
        return free

    def _note(self, now: float, number: int) -> None:
        if number:
            self._sent.append((now, number))

    def _tick(self) -> None:
        self._ticker = None
        for view in list(self._living):
            self.request(view)

    def _paint_one(self, view: View, now: float) -> None:
        self._painted[view] = now
        counted, before = self._count(), getattr(view, "sent", None)
        alive = self._guarded(view.paint)
        if before is not None:
            self._note(time.monotonic(), getattr(view, "sent", before) - before)
        elif self._count() == counted:
            self._note(time.monotonic(), _UNCOUNTED)
        if alive:
            self._living[view] = None
        else:
            self._living.pop(view, None)
            self._painted.pop(view, None)

    def _guarded(self, action: Callable[[], object]) -> bool:
        try:
            return bool(action())
        except Exception as error:  # noqa: BLE001 - one broken widget must not take the others along
            logger.warning("a pane could not be painted: %s", scrub(f"{type(error).__name__}: {error}"))
            return False


_painters: weakref.WeakKeyDictionary[Runtime, Painter] = weakref.WeakKeyDictionary()


def painter_of(runtime: Runtime) -> Painter:
    """The one painter of a runtime."""
    return _painters.setdefault(runtime, Painter())
