"""Calls subscribers, in order, on threads that nothing else depends on.

A callback on the loop thread would hold up every stream, one on the main thread would wait for the cell that
is running, and a thread for each subscriber would be a thousand threads. Here a few daemon threads share the
subscriptions that have events to deliver. One subscription is on one thread at a time, which keeps its
order. To wake a thread costs more than a delivery, so text that goes on is handed over a hundred times a
second at most, that of all streams together. Whatever else happens, a first text too, is handed over at once.
When all threads are held up in slow callbacks while others wait, more are started: one, two, four ...
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import queue
import threading
import time
from collections.abc import Callable

from gemini_nb.errors import ConfigError
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.log import Cursor, EventLog
from gemini_nb.streams.runtime.loop import BackgroundLoop, Flag
from gemini_nb.tools.output import Target, targeting

logger = logging.getLogger("gemini_nb")

_PATIENCE = 0.02  # seconds a subscription waits for a thread before one more is started
_TICK = 0.01  # seconds between two times that text which goes on is handed over
_IDLE = 10.0  # seconds after which a thread that is not needed ends


class Subscription:
    """One callable that gets the events of one stream.

    Args:
        log: the stream's log.
        callback: called with every event, one at a time.
        delivery: the threads to call it on.
        replay: from the first event on, or only new ones.
        target: where its output goes, such as that of the cell that subscribed.
    """

    def __init__(
        self,
        log: EventLog,
        callback: Callable[[StreamEvent], object],
        delivery: Delivery,
        *,
        replay: bool,
        target: Target | None = None,
    ) -> None:
        self.callback = callback
        self.delivered = Flag()
        """Set once the callback has seen the terminal event, or was unsubscribed."""
        self._delivery = delivery
        self._lock = threading.Lock()
        self._log = log
        self._left = False
        self._failed = False
        self.target = target
        self._queued = True  # an event of this moment queues nothing whose cursor is not there
        self._cursor = Cursor(log, self._wake, replay=replay)
        self._queued = False
        # A thread that woke up for a stream that has not begun would find nothing; the first starts one here,
        # so that the loop need not.
        if self._cursor.has_more or self._cursor.at_end or not delivery.has_threads:
            self._enqueue()

    def close(self) -> None:
        """Stop calling the callback. A call under way ends by itself."""
        self._left = True
        self._cursor.close()
        self.delivered.set()

    def _wake(self) -> None:
        if self._claim():
            self._delivery.enqueue_with_others(self)
        self._delivery.flush_soon(hurry=not self._log.goes_on)

    def _enqueue(self) -> None:
        if self._claim() and not self._delivery.enqueue(self):
            self.close()

    def _claim(self) -> bool:
        """Take the one place in the queue; False where it is taken already."""
        with self._lock:
            if self._queued or self._left:
                return False
            self._queued = True
            return True

    def deliver(self) -> None:
        """Call the callback with everything there is. Delivery threads only."""
        with targeting(self.target):
            self._deliver()

    def _deliver(self) -> None:
        while True:
            for event in self._cursor.take():
                if self._left:
                    return
                self._call(event)
            with self._lock:
                if self._cursor.at_end:
                    break
                if not self._cursor.has_more:
                    self._queued = False
                    return
        self._cursor.close()
        if self.target is not None:
            self.target.flush()
        self.delivered.set()

    def _call(self, event: StreamEvent) -> None:
        try:
            result = self.callback(event)
            if result is not None and inspect.iscoroutine(result):
                result.close()
                self._report(event, TypeError("it is asynchronous; use `async for event in stream`"))
        except BaseException as error:  # noqa: BLE001 - a failing subscriber harms only itself, sys.exit() too
            self._report(event, error)

    def _report(self, event: StreamEvent, error: BaseException) -> None:
        """Log that the subscriber failed; a warning the first time only."""
        level = logging.DEBUG if self._failed else logging.WARNING
        self._failed = True
        name = getattr(self.callback, "__name__", type(self.callback).__name__)
        logger.log(
            level,
            "subscriber %s failed on %s of %s: %s",
            name,
            event.kind,
            event.stream_id,
            _described(error),
        )


def _described(error: BaseException) -> str:
    try:
        return scrub_error(error)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ fails
        return type(error).__name__


class Delivery:
    """The threads that call subscribers.

    Args:
        loop: where it is noticed that all of them are held up.
    """

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop
        self._ready: queue.SimpleQueue[Subscription | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._queued = 0
        self._idle = 0
        self._returned = 0
        self._watch: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._batch: list[Subscription] = []  # the loop thread's, as all that follows
        self._flushing: asyncio.Handle | None = None
        self._hurries = False
        self._flushed_at = -math.inf

    @property
    def has_threads(self) -> bool:
        """Whether there are threads, so that the loop need not start one."""
        return bool(self._threads)

    def enqueue(self, subscription: Subscription) -> bool:
        """Deliver what is new to this subscription soon; False after the end of all threads."""
        with self._lock:
            if self._closed and not self._threads:
                return False
            self._queued += 1
            start = not self._threads
            watched = self._watch is not None and not self._watch.is_closed()
            short = self._queued > self._idle and not start and not watched and not self._closed
        self._ready.put(subscription)
        if start:
            self._start_threads(1)
        elif short:
            self._start_watch()
        return True

    def enqueue_with_others(self, subscription: Subscription) -> None:
        """Deliver what is new to this subscription with the next batch. Loop thread only."""
        self._batch.append(subscription)

    def flush_soon(self, *, hurry: bool) -> None:
        """Deliver the waiting batch within 10 ms, and in this turn of the loop where little happens.

        Loop thread only.

        Args:
            hurry: in this turn whatever happens.
        """
        if not self._batch:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # it died, and its streams end with that error
            self._flush()
            return
        if self._hurries or (self._flushing is not None and not hurry):
            return
        if self._flushing is not None:
            self._flushing.cancel()
        self._hurries = hurry
        self._flushing = (
            loop.call_soon(self._flush) if hurry else loop.call_at(self._flushed_at + _TICK, self._flush)
        )

    def _flush(self) -> None:
        self._flushing, self._hurries = None, False
        self._flushed_at = time.monotonic()
        batch, self._batch = self._batch, []
        for subscription in batch:
            if not self.enqueue(subscription):
                subscription.close()

    def _start_watch(self) -> None:
        try:
            loop = self._loop.loop
        except ConfigError:  # closed in between
            return
        with self._lock:
            if self._watch is loop:
                return
            self._watch = loop
            returned = self._returned
        if self._loop.is_current:  # it is awake
            loop.call_later(_PATIENCE, self._check, loop, returned, 1)
        else:
            with contextlib.suppress(RuntimeError):  # closed in between
                loop.call_soon_threadsafe(loop.call_later, _PATIENCE, self._check, loop, returned, 1)

    def _check(self, loop: asyncio.AbstractEventLoop, returned: int, more: int) -> None:
        """Start threads, twice as many each time, while no callback returns."""
        with self._lock:
            lacking = self._queued - self._idle
            if self._closed or lacking <= 0:
                self._watch = None
                return
            stuck = self._returned == returned
            returned = self._returned
        if stuck:
            self._start_threads(min(more, lacking))
        loop.call_later(_PATIENCE, self._check, loop, returned, more * 2 if stuck else 1)

    def _start_threads(self, count: int) -> None:
        for _ in range(count):
            thread = threading.Thread(target=self._work, name="gemini_nb-delivery", daemon=True)
            try:
                with self._lock, targeting(None):
                    thread.start()  # before it is known: `close` joins those that are
                    self._threads.add(thread)
                    if self._closed:  # meanwhile: `close` has sent no end for this one
                        self._ready.put(None)
            except RuntimeError as error:  # the system has no more, or the interpreter is ending
                logger.warning("no thread for subscribers: %s", error)
                return

    def _work(self) -> None:
        while (subscription := self._take()) is not None:
            subscription.deliver()
            with self._lock:
                self._returned += 1

    def _take(self) -> Subscription | None:
        """Wait for work; None when this thread is to end."""
        with self._lock:
            self._idle += 1
        while True:
            try:
                subscription = self._ready.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._queued > 0 or len(self._threads) == 1:
                        continue
                    self._leave()
                    return None
            with self._lock:
                if subscription is None:
                    self._leave()
                    return None
                self._idle -= 1
                self._queued -= 1
            return subscription

    def _leave(self) -> None:
        self._idle -= 1
        self._threads.discard(threading.current_thread())

    def is_own_thread(self) -> bool:
        """Whether this is one of the delivery threads."""
        return threading.current_thread() in self._threads

    def close(self, timeout: float) -> None:
        """End the threads; one that is held up in a callback is left behind, as a daemon."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._ready.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout / len(threads))
