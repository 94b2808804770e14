"""The callables that get a stream's events: equal ones (`==`) count once."""

from __future__ import annotations

import inspect
import threading
import time
from typing import TYPE_CHECKING

from gemini_nb.errors import ArgumentError, kind_of
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.runtime.delivery import Subscription
from gemini_nb.tools.output import Target, current_target

if TYPE_CHECKING:
    from gemini_nb.streams.events.log import EventLog
    from gemini_nb.streams.runtime.runtime import Runtime

_ASYNC = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)


class Subscribers:
    """The subscribers of one stream; any thread may add and remove them.

    Args:
        log: the stream's log.
        runtime: has the threads that they are called on.
    """

    def __init__(self, log: EventLog, runtime: Runtime) -> None:
        self._log = log
        self._runtime = runtime
        self._subscriptions: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def callbacks(self) -> tuple[Subscriber, ...]:
        """What is called."""
        return tuple(subscription.callback for subscription in self._subscriptions)

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """Where the output of each goes."""
        return tuple(subscription.target for subscription in self._subscriptions)

    def add(self, subscriber: Subscriber, *, replay: bool) -> None:
        """Add a subscriber; adding it twice has no further effect.

        Raises:
            ArgumentError: it cannot be called, or is asynchronous.
        """
        if not callable(subscriber):
            raise ArgumentError(f"A subscriber is a callable, not {kind_of(subscriber)}.")
        parts = [subscriber] if inspect.isfunction(subscriber) else [subscriber, type(subscriber).__call__]
        if any(is_async(part) for part in parts for is_async in _ASYNC):
            raise ArgumentError(
                "A subscriber is an ordinary function.",
                hint="Asynchronous code uses `async for event in stream`.",
            )
        with self._lock:
            if any(other.callback == subscriber for other in self._subscriptions):
                return
            made = Subscription(
                self._log,
                subscriber,
                self._runtime.delivery,
                replay=replay,
                target=current_target() or self._runtime.cell_output(),
            )
            self._subscriptions = (*self._subscriptions, made)

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; an unknown one is no error."""
        with self._lock:
            gone = [other for other in self._subscriptions if other.callback == subscriber]
            self._subscriptions = tuple(other for other in self._subscriptions if other not in gone)
        for subscription in gone:
            subscription.close()

    @property
    def have_heard(self) -> bool:
        """Whether all have seen the end; one of them who asks cannot wait for itself."""
        own = self._runtime.delivery.is_own_thread()
        return own or all(subscription.delivered.is_set() for subscription in self._subscriptions)

    def wait_heard(self, deadline: float) -> None:
        """Wait until all have seen the end, or until this time of `time.monotonic`."""
        if not self._runtime.delivery.is_own_thread():
            for subscription in self._subscriptions:
                subscription.delivered.wait(max(0.0, deadline - time.monotonic()))
