"""Chunks on their way to the client: encoded, timed, written.

An iterator of steps says what happens when, an encoder turns chunks into bytes, and a sink takes the bytes to
the connection. A sink that cuts, delays or compresses can stand between without either end knowing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gemini_nb.api.sse import encode

__all__ = [
    "ArrayEncoder",
    "BrokenOffError",
    "Encoder",
    "End",
    "Pause",
    "Reply",
    "SSEEncoder",
    "Sink",
    "Step",
    "deliver",
]

Step = Mapping[str, Any] | float | bytes | threading.Event
"""What is delivered: a chunk, a delay in seconds, bytes as they are, or an event to wait for."""

End = Literal["fin", "rst", "end", "length"]
"""How a connection ends: closed, reset, properly, or closed although Content-Length promised more."""

_POLL = 0.005
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for so many real seconds, whatever the pace; `math.inf` is until the client leaves."""

    seconds: float


class BrokenOffError(Exception):
    """Raised by steps and sinks where the answer is to end on purpose; `how` says how."""

    def __init__(self, how: End) -> None:
        super().__init__(f"The answer was to break off: {how}.")
        self.how = how


class Encoder:
    """Writes a body of one JSON object, for methods that do not stream, or of bytes, of another type."""

    content_type = "application/json; charset=UTF-8"

    def __init__(self, content_type: str | None = None) -> None:
        self.content_type = content_type or self.content_type

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk."""
        return json.dumps(chunk, ensure_ascii=False, indent=2).encode() + b"\n"

    def end(self) -> bytes:
        """Encode the end of the body."""
        return b""


class SSEEncoder(Encoder):
    """Writes server-sent events, `?alt=sse`; no mark ends the stream."""

    content_type = "text/event-stream"

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as one event."""
        return encode(_COMPACT.encode(chunk))


class ArrayEncoder(Encoder):
    """Writes one JSON array over many lines, what a stream is without `alt=sse`."""

    def __init__(self) -> None:
        super().__init__()
        self._before = b"["

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as the next element."""
        data = self._before + json.dumps(chunk, ensure_ascii=False, indent=2).encode()
        self._before = b",\n"
        return data

    def end(self) -> bytes:
        """Close the array; one without elements is opened, too."""
        return b"[]" if self._before == b"[" else b"]"


class Sink:
    """Takes the bytes of one response."""

    async def write(self, data: bytes) -> None:
        """Send bytes; the first call opens the response, even with none."""
        raise NotImplementedError

    async def finish(self) -> None:
        """End the response properly."""
        raise NotImplementedError

    def cut(self, *, reset: bool = False) -> None:
        """Drop the connection; `reset` as a crashed server does, otherwise as one that closes it."""
        raise NotImplementedError

    async def break_off(self, how: End) -> None:
        """End the response where it is."""
        if how == "end":
            await self.write(b"")
            await self.finish()
        else:
            self.cut(reset=how == "rst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request is answered.

    Attributes:
        status: the HTTP status.
        headers: headers beside the content type.
        encoder: turns the steps into a body.
        steps: what happens when.
        breaking: puts what breaks off by itself between the bytes and the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    encoder: Encoder = field(default_factory=Encoder)
    steps: Iterable[Step | Pause]
    breaking: Callable[[Sink], Sink] = lambda sink: sink


async def deliver(steps: Iterable[Step | Pause], encoder: Encoder, sink: Sink, *, pace: float) -> None:
    """Take all steps in turn and end the response; delays are multiplied by `pace`."""
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
