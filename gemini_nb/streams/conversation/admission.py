"""Which streams may run: a limit on those of each model, first come first served, and the place each holds.

A stream lends its place while one of its tools waits for another stream. With one place for all streams, such
a tool would wait for ever: its own stream holds the place that the other one needs.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from gemini_nb.config import whole_number
from gemini_nb.errors import ArgumentError, ConfigError, kind_of
from gemini_nb.redaction import excerpt_of

if TYPE_CHECKING:
    from gemini_nb.streams.stream import Stream

ITS_TURN = "its turn"
"""What a stream waits for that wants a place."""


Gate = Callable[[], AbstractAsyncContextManager[object]]


class Place:
    """What a gate gives to one stream, which gives it back at the end of its block. Loop thread only.

    Args:
        gate: gives the place when entered, and takes it back when left.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._held: AbstractAsyncContextManager[object] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._leaving is not None:
            await self._leaving
        held, self._held = self._held, None
        if held is not None:
            await _leave(held)

    def lend(self) -> None:
        """Lend the place to other streams until `take` is called."""
        held, self._held = self._held, None
        if held is not None:
            self._leaving = asyncio.get_running_loop().create_task(_leave(held))

    async def take(self) -> None:
        """Wait for a place, unless one is held already."""
        if self._leaving is not None:
            await self._leaving
        if self._held is None:
            gate = self.gate()
            await gate.__aenter__()
            self._held = gate


async def _leave(held: AbstractAsyncContextManager[object]) -> None:
    await held.__aexit__(None, None, None)


@dataclass(slots=True)
class _Queue:
    """The streams of one model.

    Attributes:
        running: how many have a place.
        waiting: those that wait for a place, in the order in which they came.
    """

    running: int = 0
    waiting: collections.deque[asyncio.Future[None]] = field(default_factory=collections.deque)


class Admission:
    """The places that a manager gives to its streams.

    A semaphore has as many places as it was made with. Here the limit may change while streams run and wait:
    a higher one lets the next in at once, a lower one holds as soon as enough of those that run have ended.

    Args:
        limit: streams of one model that run at a time, None for no limit.
        call: calls a function on the loop's thread, from any thread.

    Raises:
        ConfigError: the limit leaves no place at all.
    """

    def __init__(self, limit: int | None, call: Callable[[Callable[[], None]], object]) -> None:
        self._limit = _checked(limit)
        self._call = call
        # A future belongs to the loop that it was made on, and a loop that died is replaced.
        self._queues: dict[tuple[asyncio.AbstractEventLoop, str], _Queue] = {}

    @property
    def limit(self) -> int | None:
        """Streams of one model that run at a time, None for no limit."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = _checked(limit)
        if self._queues:
            self._call(self._admit_all)

    def enter(self, stream: Stream, gate: Gate | None) -> AbstractAsyncContextManager[object]:
        """Wait for a place and keep it for the whole run.

        Args:
            stream: the stream; it shows meanwhile what it waits for.
            gate: a limit of the caller's.
        """
        return self._place(stream) if gate is None else self._place_behind(gate, stream)

    @contextlib.asynccontextmanager
    async def _place_behind(self, gate: Gate, stream: Stream) -> AsyncIterator[None]:
        """Pass the caller's limit first: what waits for that must not take up a place here."""
        stream.record.wait_for(ITS_TURN)
        place = gate()
        if not isinstance(place, AbstractAsyncContextManager):
            raise ArgumentError(f"A gate gives an asynchronous context, not {kind_of(place)}.")
        async with place, self._place(stream):
            yield

    @contextlib.asynccontextmanager
    async def _place(self, stream: Stream) -> AsyncIterator[None]:
        loop, model = asyncio.get_running_loop(), stream.model
        queue = self._queues.setdefault((loop, model), _Queue())
        granted = loop.create_future()
        queue.waiting.append(granted)
        self._admit(queue)
        try:
            if not granted.done():
                stream.record.wait_for(ITS_TURN)
                await granted
            stream.record.go_on()
            yield
        finally:
            if granted.done() and not granted.cancelled():
                queue.running -= 1
            elif granted in queue.waiting:
                queue.waiting.remove(granted)
            self._admit(queue)
            if not queue.running and not queue.waiting:
                self._queues.pop((loop, model), None)

    def _admit_all(self) -> None:
        loop = asyncio.get_running_loop()
        for (of, _), queue in self._queues.items():
            if of is loop:
                self._admit(queue)

    def _admit(self, queue: _Queue) -> None:
        while queue.waiting and (self._limit is None or queue.running < self._limit):
            granted = queue.waiting.popleft()
            if not granted.done():  # else it was stopped meanwhile
                queue.running += 1
                granted.set_result(None)


def _checked(limit: int | None) -> int | None:
    count = whole_number(limit)
    if limit is not None and (count is None or count < 1):
        raise ConfigError(f"max_concurrent is at least 1, or None for no limit, not {excerpt_of(limit)}.")
    return count
