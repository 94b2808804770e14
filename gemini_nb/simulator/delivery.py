"""Chunks on their way to the client: encoded, timed, written.

An iterator of steps says what happens when, and an encoder turns its chunks into pieces of bytes. What cuts,
delays or compresses stands between these two iterators and the connection, without either end knowing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gemini_nb.api.sse import encode

__all__ = [
    "ArrayEncoder",
    "BrokenOffError",
    "Encoder",
    "End",
    "Pause",
    "Piece",
    "Reply",
    "SSEEncoder",
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


Piece = float | bytes | threading.Event | Pause
"""What is left of the steps once chunks are encoded."""


class BrokenOffError(Exception):
    """Raised where the answer is to end on purpose; `how` says how."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)  # beside the content type
    encoder: Encoder = field(default_factory=Encoder)
    steps: Iterable[Step | Pause]
    mangle: Callable[[Iterator[Piece]], Iterable[Piece]] = lambda pieces: pieces  # changes bytes on their way

    def pieces(self) -> Iterable[Piece]:
        """Encode the steps."""
        return self.mangle(self._encoded())

    def _encoded(self) -> Iterator[Piece]:
        for step in self.steps:
            yield self.encoder.chunk(step) if isinstance(step, Mapping) else step
        if end := self.encoder.end():
            yield end


async def deliver(
    pieces: Iterable[Piece], write: Callable[[bytes], Coroutine[Any, Any, None]], *, pace: float
) -> None:
    """Write all pieces in turn; delays are multiplied by `pace`."""
    gave_way = True
    for piece in pieces:
        if isinstance(piece, bytes):
            if not gave_way:
                # A write that succeeds at once does not suspend, and would keep all other answers waiting.
                await asyncio.sleep(0)
            await write(piece)
            gave_way = False
            continue
        if isinstance(piece, threading.Event):
            while not piece.is_set():  # noqa: ASYNC110 - it is set by other threads
                await asyncio.sleep(_POLL)
        elif isinstance(piece, Pause):
            await asyncio.sleep(piece.seconds)
        else:
            await asyncio.sleep(max(0.0, piece * pace))
        gave_way = True
