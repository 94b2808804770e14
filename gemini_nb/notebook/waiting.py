"""Waiting in a cell for its own stream, so that an interrupt stops the work and not only the wait."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Generator

from gemini_nb.errors import GeminiError
from gemini_nb.streams.stream import Stream

__all__ = ["StreamInterrupted", "await_stream", "stopping"]

_GRACE = 5.0  # seconds for the last paint


class StreamInterrupted(KeyboardInterrupt):
    """The cell was interrupted, and its stream was stopped."""

    def _render_traceback_(self) -> list[str]:
        # In place of the frames of an event loop, which say nothing about a key that was pressed.
        return [f"KeyboardInterrupt: {self}"]


@contextlib.contextmanager
def stopping(stream: Stream) -> Generator[None, None, None]:
    """Stop the stream if what is done here is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        stream.stop()
        raise _interrupted(stream) from None


async def await_stream(stream: Stream, settled: concurrent.futures.Future[None] | None) -> None:
    """Wait for the stream's end and for its output to be settled, on the kernel's loop.

    Args:
        stream: the cell's own stream.
        settled: done when its pane has sent its last state.

    Raises:
        StreamInterrupted: the kernel was interrupted, which a coroutine sees as its cancellation.
    """
    try:
        with contextlib.suppress(GeminiError):
            await stream
        await _until_done(settled)
    except (asyncio.CancelledError, KeyboardInterrupt):
        stream.stop()
        await _until_done(settled)
        raise _interrupted(stream) from None


async def _until_done(future: concurrent.futures.Future[None] | None) -> None:
    if future is not None:
        await asyncio.wait([asyncio.wrap_future(future)], timeout=_GRACE)


def _interrupted(stream: Stream) -> StreamInterrupted:
    return StreamInterrupted(
        f"{stream.stream_id} was stopped; %gemini_show {stream.stream_id} shows what came."
    )
