"""Ways to stop streams: several together, for a question that is asked again, after an interrupted wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Sequence

from gemini_nb.streams.events.states import Status
from gemini_nb.streams.internals import GRACE, StreamInternals
from gemini_nb.streams.runtime.ending import StreamInterrupted, interrupting


def stop_together(streams: Iterable[StreamInternals]) -> None:
    """Stop these streams, and wait a moment for their ends, so that their status is true on return."""
    stopping = list(streams)
    for stream in reversed(stopping):  # those that wait for others first, so that they count as stopped, too
        stream.request_stop()
    deadline = time.monotonic() + GRACE
    for stream in stopping:
        stream.ending.wait_until(deadline)


@contextlib.contextmanager
def replacing(streams: Iterable[StreamInternals]) -> Generator[None, None, None]:
    """Stop these streams once the context has asked others in their place; if that fails, they go on.

    What is asked there counts them as stopped already: a chat's message does not depend on them.
    """
    old = [stream for stream in streams if not stream.record.stop_asked]
    for stream in old:
        stream.record.stop_asked = True
    try:
        yield
    except BaseException:
        for stream in old:
            stream.record.stop_asked = False
        raise
    for stream in reversed(old):
        stream.request_stop(asked_again=True)


def stop_interrupted(streams: Sequence[StreamInternals], unasked: int = 0) -> StreamInterrupted:
    """Stop the streams of an interrupted wait, and return the error that says how many they were."""
    stop_together(streams)
    return interrupted(streams, unasked)


def interrupted(streams: Sequence[StreamInternals], unasked: int = 0) -> StreamInterrupted:
    """The error that says how many streams an interrupted wait stops."""
    had_ended = sum(stream.record.status in {Status.COMPLETED, Status.ERROR} for stream in streams)
    return interrupting([stream.label for stream in streams], had_ended, unasked=unasked)
