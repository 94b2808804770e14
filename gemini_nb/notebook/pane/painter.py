"""One painter for all panes and dashboards: it decides when, they decide what.

A pane that painted each chunk by itself would send a comm message for each, hundreds in a second. A server
that gets more than it allows drops some, the last included, and the pane stays as it was. Here changes are
collected and painted by turns, 20 times a second at most, a few views each time, so that no single frame of
the page has all the work; less often when painting has taken more than a tenth of the time, or when the last
second had its share of messages, and not while a page restores its widgets. What changed last is always
painted.

All of it is done on one thread of its own. On the loop's thread an answer of 350 KB would hold back the
events of every other stream for seconds; two such threads would take turns with the loop's at its cost.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from gemini_nb.notebook.kernel.page_loads import free_at
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.runtime.loop import BackgroundLoop
from gemini_nb.streams.runtime.runtime import Runtime

logger = logging.getLogger("gemini_nb")

BUDGET = 300
"""Comm messages that all views together may send in any second."""

_INTERVAL = 0.05
_TOGETHER = 3  # views in one frame: so many at full rate are smooth in every browser measured
_TICK = 1.0
_LOOK_AGAIN = 0.2  # while a page restores its widgets, which may end early
_SHARE = 0.1  # of the time
_CROWD, _CROWD_SHARE = 20, 0.035  # so many living views are not all read as they grow
_LONGEST = 1.0  # one slow paint, such as the first, must not freeze the page
_ONE_PAINT = 60  # messages that one paint may need
_HEADROOM = 40  # for those that come from elsewhere: a display, a click, a view that does not count
_UNCOUNTED = 30
_CLOSED_TOGETHER = 12


class View(Protocol):
    """What the painter paints.

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
    """Paints views on a thread of its own, the only one that writes the traits of what is displayed.

    The thread starts with the first request. One that has died or was retired is replaced by the next.

    Args:
        count: how many messages were sent so far, from any thread.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._thread = BackgroundLoop("gemini_nb-render", self._replace)
        self._wanted: dict[View, None] = {}  # written from any thread; the operations of a dict are atomic
        self._is_roused = self._is_retiring = self._is_working = False
        self._dirty: dict[View, None] = {}
        self._living: dict[View, None] = {}
        self._painted: dict[View, float] = {}
        self._closing: deque[Callable[[], object]] = deque()
        self._work: deque[Iterator[None]] = deque()
        self._sent: deque[tuple[float, int]] = deque()
        self._counted = self._count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._next = 0.0

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the rendering thread soon; at once when already there. From any thread."""
        self._thread.call(function, *args)

    def request(self, view: View, *, sooner: bool = False) -> None:
        """Paint this view soon. From any thread; a hundred requests before a paint wake it once.

        Args:
            view: what to paint. It must have changed already: one that waits for its turn is left to that.
            sooner: whether its interval has become shorter, so that its turn comes earlier.
        """
        if view in self._dirty and not sooner:
            return
        self._wanted[view] = None
        if not self._is_roused:
            self._is_roused = True
            self.call(self._take_wanted)

    def forget(self, view: View) -> None:
        """Stop painting this view. Rendering thread only."""
        for views in (self._wanted, self._dirty, self._living, self._painted):
            views.pop(view, None)

    def close_soon(self, closers: Iterable[Callable[[], object]]) -> None:
        """Call each of these when there is time; each sends about one message. Rendering thread only."""
        self._closing.extend(closers)
        if self._closing and self._enter():
            self._schedule(0.0)

    def work(self, steps: Iterator[None]) -> None:
        """Run work that needs no page, step by step, between paints. Rendering thread only.

        Args:
            steps: an iterator whose steps take some milliseconds each. Where several are at work they take
                turns. What it raises is logged, and ends it.
        """
        self._work.append(steps)
        if self._enter():
            self._go_on_working()

    def retire(self, timeout: float) -> None:
        """End the thread as soon as nothing is left to paint.

        Args:
            timeout: seconds to wait for that.
        """
        if not self._thread.is_alive or self._thread.is_current:
            return
        self.call(self._begin_to_retire)
        if not self._living:  # else another manager's streams keep it
            self._thread.join(timeout)

    def _begin_to_retire(self) -> None:
        self._is_retiring = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        busy = self._wanted or self._dirty or self._living or self._closing or self._work
        if self._is_retiring and not busy:
            self._is_retiring = False
            asyncio.get_running_loop().stop()

    def _enter(self) -> bool:
        """Whether this thread is the one that paints; one that ends leaves the rest to its successor."""
        loop = self._thread.loop
        if loop is not asyncio.get_running_loop():
            loop.call_soon_threadsafe(self._resume)
            return False
        if loop is not self._loop:
            self._loop = loop
            self._timer = self._ticker = None
            self._is_working = False
        return True

    def _replace(self) -> None:
        """The thread ends: start another one if there is something left."""
        self._is_roused = False
        if self._wanted or self._dirty or self._living or self._closing or self._work:
            self._thread.loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        if self._enter():
            self._wanted.update({**self._dirty, **self._living})
            self._take_wanted()
            self._schedule(0.0)
            self._go_on_working()

    def _take_wanted(self) -> None:
        self._is_roused = False
        wanted = list(self._wanted)
        for view in wanted:
            self._wanted.pop(view, None)
            self._dirty[view] = None
        if self._enter():
            for view in wanted:
                self._schedule(self._due_at(view))

    def _go_on_working(self) -> None:
        if self._work and not self._is_working:
            self._is_working = True
            pause = min(free_at() - time.monotonic(), _LOOK_AGAIN)  # its last step may open a widget
            asyncio.get_running_loop().call_later(max(0.0, pause), self._step)

    def _step(self) -> None:
        self._is_working = False
        if free_at() > time.monotonic():
            self._go_on_working()
            return
        steps = self._work.popleft()
        if self._guarded(lambda: next(steps, self) is not self):
            self._work.append(steps)
        tidy()
        self._go_on_working()
        self._end_if_idle()

    def _schedule(self, due: float) -> None:
        assert self._loop is not None
        due = max(due, self._next)
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._paint)

    def _paint(self) -> None:
        assert self._loop is not None
        self._timer = None
        start, worked = time.monotonic(), time.thread_time()
        if self._paint_some(start) <= start:
            for _ in range(min(_CLOSED_TOGETHER, len(self._closing))):
                self._guarded(self._closing.popleft())
        end = time.monotonic()
        # Time of this thread's own: beside a cell that computes, most of the clock's is waiting for its turn.
        share = _SHARE if len(self._living) < _CROWD else _CROWD_SHARE
        rest = min(_LONGEST, (time.thread_time() - worked) * (1 / share - 1))
        self._next = max(start + _INTERVAL, end + rest, self._room_at(end))
        if self._closing:
            self._schedule(0.0)
        if self._dirty:
            self._schedule(min(map(self._due_at, list(self._dirty))))
        if self._living and self._ticker is None:
            self._ticker = self._loop.call_later(_TICK, self._tick)
        self._end_if_idle()

    def _paint_some(self, start: float) -> float:
        """Paint the views whose turn it is, and return when there is room for another paint."""
        room, painted = self._room_at(start), 0
        for view in list(self._dirty):
            if painted == _TOGETHER or room > time.monotonic():
                break
            if self._due_at(view) <= start + 0.001:
                del self._dirty[view]
                self._paint_one(view, start)
                painted += 1
                room = self._room_at(time.monotonic())
        return room

    def _due_at(self, view: View) -> float:
        """When a view may be painted again."""
        return self._painted.get(view, 0.0) + view.interval

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
        return max(free, min(free_at(), now + _LOOK_AGAIN))

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
            logger.warning("a pane could not be painted: %s", scrub_error(error))
            return False


def tidy() -> None:
    """Let the collector look at what is young when a text was rendered, and little of its trees is left.

    Else it does so in the middle of a piece, takes a tree that is about to go for one that stays, and soon
    walks the whole heap, which holds every thread up for tens of milliseconds, or more in a full notebook.
    """
    if gc.isenabled():
        gc.collect(1)


_painter: Painter | None = globals().get("_painter")  # survives a reload of this module
_served: weakref.WeakSet[Runtime] = globals().get("_served") or weakref.WeakSet()
_lock = threading.Lock()


def painter_of(runtime: Runtime) -> Painter:
    """The process's one painter, which ends its thread when this runtime is closed, and nothing is left."""
    global _painter
    from gemini_nb.notebook.pane.widgetry import messages  # terminals need no widgets

    with _lock:
        if _painter is None:
            _painter = Painter(messages)
        if runtime not in _served:
            _served.add(runtime)
            runtime.on_close.append(retire)
        return _painter


def retire(timeout: float = 1.0) -> None:
    """End the painter's thread as soon as everything is painted; the next pane starts it again.

    Args:
        timeout: seconds to wait for that.
    """
    if _painter is not None:
        _painter.retire(timeout)


def _forget_painter() -> None:
    """In a forked child: its parent's thread is not here, and its locks may be held."""
    global _painter, _lock
    _painter = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_painter)
