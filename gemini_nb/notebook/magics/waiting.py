"""Waiting in a cell, so that an interrupt stops the work too, and a tool gets the loop it needs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Generator

from gemini_nb.errors import GeminiError
from gemini_nb.notebook.kernel.pump import pump
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.runtime.ending import StreamInterrupted
from gemini_nb.streams.runtime.loop import Flag
from gemini_nb.streams.runtime.runtime import BlockOn, wait_for
from gemini_nb.streams.stopping import stop_interrupted
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.kernel import KernelLoop, running_loop

_SLICE = 0.05  # seconds between looks for a tool that needs the loop


@contextlib.contextmanager
def stopping(
    made: Stream | StreamGroup, settled: concurrent.futures.Future[None] | None = None
) -> Generator[None, None, None]:
    """Stop these if what is done here is interrupted, and wait until their pane has sent its last state."""
    try:
        yield
    except KeyboardInterrupt:
        interruption = _interrupted(made)
        with contextlib.suppress(KeyboardInterrupt):  # a second one
            if settled is not None:
                settled.result()
        raise interruption from None


def _interrupted(made: Stream | StreamGroup) -> StreamInterrupted:
    """Stop what an interrupted wait waited for, and return the error that says how many those were."""
    return stop_interrupted([made]) if isinstance(made, Stream) else made.interrupt()


async def await_made(made: Stream | StreamGroup, settled: concurrent.futures.Future[None] | None) -> None:
    """Wait for the streams' end and for their output to be settled, on the kernel's loop.

    Args:
        made: what the cell asked.
        settled: done when their pane has sent its last state.

    Raises:
        StreamInterrupted: the kernel was interrupted, which a coroutine sees as its cancellation.
    """
    try:
        if isinstance(made, Stream):
            with contextlib.suppress(GeminiError):
                await made
        else:
            await made.wait_only_async()
        await _until_done(settled)
    except (asyncio.CancelledError, KeyboardInterrupt):
        interruption = _interrupted(made)
        await _until_done(settled)
        raise interruption from None


async def _until_done(future: concurrent.futures.Future[None] | None) -> None:
    if future is not None:
        await asyncio.wait([asyncio.wrap_future(future)])


def blocking_wait(kernel: KernelLoop) -> BlockOn:
    """Return the wait of `stream.result()` and its like in a kernel.

    An ordinary wait until a tool of some stream needs the loop that is blocked by it; then the wait keeps
    that loop going for as long as there is such work.
    """

    def block_on(flag: Flag, timeout: float | None) -> None:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return wait_for(flag, min(_SLICE, left))
            except TimeoutError:
                if left <= 0:
                    raise
            loop = running_loop()
            if kernel.has_work and loop is not None and loop is kernel.find():
                kernel.is_pumped = True
                try:
                    pump(loop, lambda: flag.is_set() or not kernel.has_work or time.monotonic() >= deadline)
                finally:
                    kernel.is_pumped = False

    return block_on
