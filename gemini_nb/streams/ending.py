"""The end of a stream, and every way to wait for it: on a thread, on any event loop, for many at once.

Three waits could never end, and are refused at once: on the thread that would have to end them, inside a tool
that the stream itself waits for, and in a forked child, which has the stream but not the thread it runs on.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from gemini_nb.errors import BlockingCallError
from gemini_nb.streams.flag import Flag
from gemini_nb.streams.readers import sleep_until_set

if TYPE_CHECKING:
    from gemini_nb.streams.record import StreamRecord
    from gemini_nb.streams.runtime import Runtime

__all__ = ["Ending", "in_tool_of"]

_tool_of: contextvars.ContextVar[StreamRecord | None] = contextvars.ContextVar(
    "gemini_nb_tool_of", default=None
)


@contextlib.contextmanager
def in_tool_of(record: StreamRecord) -> Iterator[None]:
    """What runs within this context, in threads and tasks too, is a tool of this stream."""
    token = _tool_of.set(record)
    try:
        yield
    finally:
        _tool_of.reset(token)


class Ending:
    """The end of one stream, known once.

    Args:
        record: the stream's state.
        runtime: knows how to wait.
    """

    def __init__(self, record: StreamRecord, runtime: Runtime) -> None:
        self._record = record
        self._runtime = runtime
        self._pid = os.getpid()
        self._reached = Flag()
        self._wakers: collections.deque[Callable[[], object]] = collections.deque()
        record.log.attach(self)

    def notify(self) -> None:
        """The log grew. Loop thread only."""
        if self._record.log.closed and not self._reached.is_set():
            self._record.log.detach(self)
            self._reached.set()
            while self._wakers:
                self._wakers.popleft()()

    def check_may_wait(self) -> None:
        """Refuse a wait that could never end.

        Raises:
            BlockingCallError: the caller is a tool of this stream, or in a forked child.
        """
        if os.getpid() != self._pid and not self._reached.is_set():
            raise BlockingCallError(
                f"{self._record.stream_id} runs in the process that this one was forked from.",
                hint="Wait for it there, or start a stream here.",
            )
        if _tool_of.get() is self._record and not self._reached.is_set():
            raise BlockingCallError(
                "A tool that waits for the end of its own stream would never end.",
                hint="Return from the tool, and wait outside of it.",
            )

    def wait(self, timeout: float | None) -> None:
        """Wait on a thread of the person's.

        Raises:
            TimeoutError: it has not ended in time.
            BlockingCallError: the wait could never end.
        """
        self._runtime.check_may_block()
        if not self._reached.is_set():
            self.check_may_wait()
            try:
                self._runtime.block_on(self._reached, timeout)
            except TimeoutError:
                raise TimeoutError(f"{self._record.stream_id} has not ended after {timeout:g} s.") from None

    async def wait_async(self) -> None:
        """Wait on the running loop, whichever it is."""
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(ready.set)

        self._wakers.append(wake)
        while not self._reached.is_set():
            ready.clear()
            await sleep_until_set(ready)

    @staticmethod
    def wait_together(endings: Iterable[Ending], timeout: float) -> None:
        """Wait for all of them, no longer than this, and not for those that the calling thread must end."""
        deadline = time.monotonic() + timeout
        for ending in endings:
            if not ending._runtime.loop.is_current:  # noqa: SLF001 - its own
                ending._reached.wait(deadline - time.monotonic())  # noqa: SLF001 - see above
