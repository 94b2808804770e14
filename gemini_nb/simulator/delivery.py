"""Chunks on their way to the client: encoded, timed, written.

The way is cut in three so that each can be replaced or wrapped: an iterator of steps says what happens when,
an encoder turns chunks into bytes, and a sink takes the bytes to the connection. A sink that cuts, delays or
garbles what it passes on can stand between the two ends without either knowing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from gemini_nb.api.sse import encode
from gemini_nb.simulator.chunks import Step

__all__ = ["ArrayEncoder", "Encoder", "ObjectEncoder", "SSEEncoder", "Sink", "deliver"]

_POLL = 0.005
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Encoder(Protocol):
    """Turns chunks into the bytes of a body."""

    content_type: str

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk."""

    def end(self) -> bytes:
        """Encode the end of the body."""


class Sink(Protocol):
    """Takes the bytes of one response."""

    async def write(self, data: bytes) -> None:
        """Send bytes; the first ones open the response."""

    async def finish(self) -> None:
        """End the response properly."""

    def cut(self) -> None:
        """Drop the connection in the middle of the response."""


class SSEEncoder:
    """Server-sent events, `?alt=sse`."""

    content_type = "text/event-stream"

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as one event."""
        return encode(_COMPACT.encode(chunk))

    def end(self) -> bytes:
        """Nothing marks the end."""
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
        """Nothing follows the object."""
        return b""


async def deliver(steps: Iterable[Step], encoder: Encoder, sink: Sink, *, pace: float) -> None:
    """Take all steps in turn and end the response.

    Args:
        steps: what happens when.
        encoder: turns chunks into bytes.
        sink: where the bytes go.
        pace: what delays are multiplied by.
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
        else:
            await asyncio.sleep(max(0.0, step * pace))
        gave_way = True
    if end := encoder.end():
        await sink.write(end)
    await sink.finish()
