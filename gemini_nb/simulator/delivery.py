"""Chunks on their way to the client: encoded, timed, written.

The way is cut in three so that each can be replaced or wrapped: an iterator of steps says what happens when,
an encoder turns chunks into bytes, and a sink takes the bytes to the connection. A sink that cuts, delays or
garbles what it passes on can stand between the two ends without either knowing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gemini_nb.api.sse import encode
from gemini_nb.simulator.scenario.chunks import Step

__all__ = [
    "ArrayEncoder",
    "BreakingSink",
    "BrokenOffError",
    "BytesEncoder",
    "Connection",
    "Encoder",
    "End",
    "ObjectEncoder",
    "Pause",
    "Reply",
    "SSEEncoder",
    "Sink",
    "deliver",
]

End = Literal["fin", "rst", "end", "length"]
"""How a connection ends: closed, reset, properly, or closed although Content-Length promised more."""

_POLL = 0.005
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for so many real seconds, whatever the pace; `math.inf` is until the client leaves."""

    seconds: float


class BrokenOffError(Exception):
    """Raised by steps and sinks where the answer is to end on purpose.

    Attributes:
        how: how the connection ends.
    """

    def __init__(self, how: End) -> None:
        super().__init__(f"The answer was to break off: {how}.")
        self.how = how


class Encoder(Protocol):
    """Turns chunks into the bytes of a body."""

    @property
    def content_type(self) -> str:
        """What the bytes are."""

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk."""

    def end(self) -> bytes:
        """Encode the end of the body."""


class Sink(Protocol):
    """Takes the bytes of one response."""

    async def write(self, data: bytes) -> None:
        """Send bytes; the first call opens the response, even with none."""

    async def finish(self) -> None:
        """End the response properly."""

    def cut(self) -> None:
        """Drop the connection in the middle of the response."""


class Connection(Sink, Protocol):
    """A sink that can end in all the ways in which a connection ends."""

    def cut(self, *, reset: bool = False) -> None:
        """Drop the connection; `reset` as a crashed server does, otherwise as one that closes it."""


class BreakingSink(Sink, Protocol):
    """A sink that breaks off where the steps or itself say so."""

    async def break_off(self, how: End) -> None:
        """End the response where it is."""


class SSEEncoder:
    """Server-sent events, `?alt=sse`."""

    content_type = "text/event-stream"

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as one event."""
        return encode(_COMPACT.encode(chunk))

    def end(self) -> bytes:
        """Return nothing: no mark ends the stream."""
        return b""


class ArrayEncoder:
    """One JSON array over many lines, what a stream is without `alt=sse`."""

    content_type = "application/json; charset=UTF-8"

    def __init__(self) -> None:
        self._before = b"["

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as the next element."""
        data = self._before + json.dumps(chunk, ensure_ascii=False, indent=2).encode()
        self._before = b",\n"
        return data

    def end(self) -> bytes:
        """Close the array; one without elements is opened, too."""
        return b"[]" if self._before == b"[" else b"]"


class ObjectEncoder:
    """One JSON object, for methods that do not stream."""

    content_type = "application/json; charset=UTF-8"

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode the response."""
        return json.dumps(chunk, ensure_ascii=False, indent=2).encode() + b"\n"

    def end(self) -> bytes:
        """Return nothing: the object is all."""
        return b""


class BytesEncoder:
    """Bytes as they are, for bodies that are no JSON."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode a chunk, which such a body has none of, as JSON."""
        return _COMPACT.encode(chunk).encode()

    def end(self) -> bytes:
        """Return nothing: the bytes are all."""
        return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request is answered.

    Attributes:
        status: the HTTP status.
        headers: headers beside the content type.
        encoder: turns the steps into a body.
        steps: what happens when.
        breaking: stands between the bytes and a connection that may break off; None where it does not.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    encoder: Encoder = field(default_factory=ObjectEncoder)
    steps: Iterable[Step | Pause]
    breaking: Callable[[Connection], BreakingSink] | None = None


async def deliver(steps: Iterable[Step | Pause], encoder: Encoder, sink: Sink, *, pace: float) -> None:
    """Take all steps in turn and end the response.

    Args:
        steps: what happens when.
        encoder: turns chunks into bytes.
        sink: where the bytes go.
        pace: what delays are multiplied by.

    Raises:
        BrokenOffError: a fault ended the answer.
    """
    gave_way = True
    for step in steps:
        if isinstance(step, Mapping | bytes):
            if not gave_way:
                # A write that succeeds at once does not suspend, and would keep all other answers waiting.
                await asyncio.sleep(0)
            await sink.write(step if isinstance(step, bytes) else encoder.chunk(step))
            gave_way = False
            continue
        if isinstance(step, threading.Event):
            while not step.is_set():  # noqa: ASYNC110 - it is set by other threads
                await asyncio.sleep(_POLL)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        else:
            await asyncio.sleep(max(0.0, step * pace))
        gave_way = True
    if end := encoder.end():
        await sink.write(end)
    await sink.finish()
