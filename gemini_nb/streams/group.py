"""Many streams of one kind: one prompt for each item."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, overload

from gemini_nb.errors import ConfigError, GeminiError
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.stream import Stream, stop_together

__all__ = ["StreamGroup", "map_prompts"]


class StreamGroup(Sequence[Stream]):
    """Streams that belong together, in the order of their prompts.

    Args:
        streams: the streams.
    """

    def __init__(self, streams: Iterable[Stream]) -> None:
        self.streams = tuple(streams)

    def __len__(self) -> int:
        return len(self.streams)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | Sequence[Stream]:
        return self.streams[index]

    def __iter__(self) -> Iterator[Stream]:
        return iter(self.streams)

    def __repr__(self) -> str:
        done = sum(stream.status != "active" for stream in self.streams)
        return f"<StreamGroup of {len(self.streams)} streams, {done} done>"

    @property
    def texts(self) -> list[str]:
        """What each stream has so far."""
        return [stream.text for stream in self.streams]

    @property
    def errors(self) -> list[GeminiError | None]:
        """Why each stream failed, None where it did not."""
        return [stream.error for stream in self.streams]

    def wait(self, timeout: float | None = None) -> StreamGroup:
        """Wait until all have ended.

        Args:
            timeout: seconds for all together.

        Raises:
            TimeoutError: some have not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for stream in self.streams:
                stream.wait_end(None if deadline is None else max(0.0, deadline - time.monotonic()))
            grace = time.monotonic() + 1.0  # for the subscribers of all of them together
            for stream in self.streams:
                stream.wait_delivered(grace)
        except KeyboardInterrupt:
            self.stop()
            raise
        return self

    def result(self, timeout: float | None = None) -> list[str]:
        """Wait for all and return their texts; the first failure is raised."""
        self.wait(timeout)
        return [stream.outcome() for stream in self.streams]

    def stop(self) -> None:
        """Stop them all."""
        stop_together(self.streams)


def map_prompts(
    prompts: Iterable[object], *, concurrency: int = 8, manager: StreamManager | None = None, **options: Any
) -> StreamGroup:
    """Start one stream for each prompt, a few at a time, and return at once.

    Args:
        prompts: what to ask, each as `StreamManager.start_stream` takes it.
        concurrency: streams that run at a time.
        manager: who runs them; by default the kernel's.
        **options: what else `start_stream` takes, for all of them.
    """
    if concurrency < 1:
        raise ConfigError("concurrency is at least 1.")
    gate = _Gate(concurrency)
    chosen = manager or get_manager()
    started: list[Stream] = []
    try:
        for prompt in list(prompts):
            started.append(chosen.start_stream(prompt, gate=gate.enter, **options))  # noqa: PERF401 - see below
    except BaseException:
        stop_together(started)  # nobody would have a handle on them
        raise
    return StreamGroup(started)


class _Gate:
    """A semaphore that is made on the loop it is used on."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._semaphore: asyncio.Semaphore | None = None

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        if self._semaphore is None:
            self._semaphore = asyncio.Semaphore(self._size)
        async with self._semaphore:
            yield
