"""Calls subscribers, in order, on threads that nobody else depends on.

A callback on the loop thread would hold up every stream, one on the main thread would wait for the cell that
is running, and a thread for each subscriber would be a thousand threads. Here a few daemon threads share the
subscriptions that have something to deliver. One subscription is on one thread at a time, which keeps its
order. When all threads are held up in slow callbacks while others wait, one more thread is started.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

from gemini_nb.secrets import scrub
from gemini_nb.streams.events import StreamEvent
from gemini_nb.streams.log import Cursor, EventLog

__all__ = ["Delivery", "Subscription"]

logger = logging.getLogger("gemini_nb")

_PATIENCE = 0.02  # seconds a subscription waits for a thread before one more is started
_IDLE = 10.0  # seconds after which a thread that is not needed ends


class Subscription:
    """One callable that gets the events of one stream.

    Args:
        log: the stream's log.
        callback: called with every event, one at a time.
        delivery: the threads to call it on.
        replay: from the first event on, or only new ones.
    """

    def __init__(
        self, log: EventLog, callback: Callable[[StreamEvent], object], delivery: Delivery, *, replay: bool
    ) -> None:
        self.callback = callback
        self.delivered = threading.Event()
        """Set once the callback has seen the terminal event, or was unsubscribed."""
        self._delivery = delivery
        self._lock = threading.Lock()
        self._queued = False
        self._left = False
        self._failed = False
        self._cursor = Cursor(log, self._enqueue, replay=replay)
        self._enqueue()

    def close(self) -> None:
        """Call it no more. A call under way ends by itself."""
        self._left = True
        self._cursor.close()
        self.delivered.set()

    def _enqueue(self) -> None:
        with self._lock:
            if self._queued:
                return
            self._queued = True
        self._delivery.enqueue(self)

    def deliver(self) -> None:
        """Call the callback with everything there is. Delivery threads only."""
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
        self.delivered.set()

    def _call(self, event: StreamEvent) -> None:
        try:
            self.callback(event)
        except Exception as error:  # noqa: BLE001 - a failing subscriber harms only itself
            level = logging.DEBUG if self._failed else logging.WARNING
            self._failed = True
            name = getattr(self.callback, "__name__", type(self.callback).__name__)
            message = scrub(f"{type(error).__name__}: {error}")
            logger.log(
                level, "subscriber %s failed on %s of %s: %s", name, event.kind, event.stream_id, message
            )


class Delivery:
    """The threads that call subscribers."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[Subscription | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._taken = 0
        self._watching = False
        self._closed = False

    def enqueue(self, subscription: Subscription) -> None:
        """Deliver what is new to this subscription soon."""
        self._ready.put(subscription)
        if self._idle == 0:
            self._reinforce()

    def _reinforce(self) -> None:
        """Start the first thread at once, and one more if all stay busy for too long."""
        with self._lock:
            if self._closed or self._watching:
                return
            if not self._threads:
                self._start_thread()
                return
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self._start_thread()  # subscribing happens elsewhere, and rarely
            else:
                self._watching = True
                loop.call_later(_PATIENCE, self._check, loop, self._taken)

    def _check(self, loop: asyncio.AbstractEventLoop, taken: int) -> None:
        with self._lock:
            self._watching = not self._closed and self._idle == 0 and not self._ready.empty()
            if not self._watching:
                return
            if self._taken == taken:
                self._start_thread()
            loop.call_later(_PATIENCE, self._check, loop, self._taken)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="gemini_nb-delivery", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        while (subscription := self._take()) is not None:
            subscription.deliver()
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _take(self) -> Subscription | None:
        with self._lock:
            self._idle += 1
        try:
            while True:
                try:
                    return self._ready.get(timeout=_IDLE)
                except queue.Empty:
                    if len(self._threads) > 1:
                        return None
        finally:
            with self._lock:
                self._idle -= 1
                self._taken += 1

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
