"""Iterating over a stream's events, blocking or on any event loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from gemini_nb.streams.events.log import Cursor, EventLog
from gemini_nb.streams.runtime.loop import Flag

if TYPE_CHECKING:
    from gemini_nb.streams.events.events import StreamEvent
    from gemini_nb.streams.runtime.runtime import Runtime

POLL = 0.1
"""Seconds after which a wait on a kernel's loop looks up: ipykernel turns Ctrl-C into a cancellation that is
only noticed when the loop wakes."""


class EventReader:
    """An iterator of events, for `for` and for `async for`, that waits for those still to come.

    Dropping it in the middle leaves the stream alone.

    Args:
        log: the stream's log.
        runtime: knows how to wait.
        waiting: entered for every wait; it refuses one that could never end.
        replay: from the first event on, or only new ones.
    """

    def __init__(
        self,
        log: EventLog,
        runtime: Runtime,
        waiting: Callable[[], AbstractContextManager[object]],
        *,
        replay: bool = True,
    ) -> None:
        self._runtime = runtime
        self._waiting = waiting
        self._buffer: collections.deque[StreamEvent] = collections.deque()
        self._wake: Callable[[], object] | None = None
        reference = weakref.WeakMethod(self._notify)  # the log must not keep an abandoned reader alive

        def notify() -> None:
            if (method := reference()) is not None:
                method()

        self._cursor = Cursor(log, notify, replay=replay)

    def _notify(self) -> None:
        if (wake := self._wake) is not None:
            wake()

    def close(self) -> None:
        """Stop reading the stream."""
        self._cursor.close()

    def __del__(self) -> None:
        self._cursor.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        while not self._fill():
            if self._cursor.at_end:
                self.close()
                raise StopIteration
            self._runtime.check_may_block()
            grown = Flag()
            self._wake = grown.set
            if not self._cursor.has_more and not self._cursor.at_end:
                with self._waiting():
                    self._runtime.block_on(grown, None)
            self._wake = None
        return self._buffer.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._fill():
            if self._cursor.at_end:
                self.close()
                raise StopAsyncIteration
            ready = asyncio.Event()
            self._wake = waker(ready)
            try:
                if not self._cursor.has_more and not self._cursor.at_end:
                    with self._waiting():
                        await sleep_until_set(ready)
            finally:
                self._wake = None
        return self._buffer.popleft()

    def _fill(self) -> bool:
        if not self._buffer:
            self._buffer.extend(self._cursor.take())
        return bool(self._buffer)


def waker(ready: asyncio.Event) -> Callable[[], object]:
    """Return what sets the event from any thread; once the running loop is closed it does nothing."""
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # that loop was closed, and nothing waits there any more
            loop.call_soon_threadsafe(ready.set)

    return wake


async def sleep_until_set(event: asyncio.Event) -> None:
    """Wait for the event for a tenth of a second; the caller then looks again."""
    handle = asyncio.get_running_loop().call_later(POLL, event.set)
    try:
        await event.wait()
    finally:
        handle.cancel()
