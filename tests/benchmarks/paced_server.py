"""A server that paces its answers exactly, in a process of its own, so that its work is nobody's figure.

What is asked for stands in the model's name: `paced-100x60x20` is an answer of 60 chunks at 20 a second, that
begins when 100 of its kind have been asked for, so that connecting is over when chunks are counted. Each
stream has its own place within the pause, since chunks that all come at once would be cheaper than they are.
A pace of 0 is as fast as the reader takes it; for 0 streams, each answer comes whole and at once. The first
chunk's text says when it was written.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gemini_nb.api.sse import encode

TEXT = "a few words of text "
LAST = "the end"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_MODEL = re.compile(rb"/models/(paced-(\d+)x(\d+)x(\d+)):")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_LEAD = 0.5  # seconds from the last request to the first chunk


def model(streams: int, chunks: int, pace: int) -> str:
    """Name such an answer."""
    return f"paced-{streams}x{chunks}x{pace}"


def is_whole(text: str, chunks: int) -> bool:
    """Whether nothing is lost, doubled or out of place after the first chunk, which is a time."""
    return text[20:] == TEXT * (chunks - 2) + LAST


def encoded(number: int, chunks: int, text: str) -> bytes:
    """Encode one event of an answer, whose token counts grow as Gemini's do."""
    is_last = number == chunks - 1
    candidate = {"content": {"role": "model", "parts": [{"text": LAST if is_last else text}]}, "index": 0}
    value = {
        "candidates": [candidate | ({"finishReason": "STOP"} if is_last else {})],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 5 * number + 5,
            "totalTokenCount": 5 * number + 12,
        },
        "modelVersion": "gemini-3.8-flash",
        "responseId": "RUy4aObyJcTujrEPqtKYKQ",
    }
    return encode(json.dumps(value))


def _event(number: int, chunks: int, text: str) -> bytes:
    event = encoded(number, chunks, text)
    return b"%x\r\n%s\r\n" % (len(event), event)


def _at_once(chunks: int) -> bytes:
    texts = [f"{time.monotonic():020.9f}", *[TEXT] * (chunks - 1)]
    return b"".join(_event(number, chunks, text) for number, text in enumerate(texts)) + b"0\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, groups: dict[bytes, list[_Connection]]) -> None:
        self._groups = groups
        self._data = b""
        self.can_write = asyncio.Event()
        self.can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        size = _LENGTH.search(head)
        if not end or len(body) < (int(size[1]) if size else 0):
            return
        self._data = b""
        asked = _MODEL.search(head)
        assert asked is not None
        self.transport.write(HEAD)
        streams, chunks, pace = map(int, asked.groups()[1:])
        if not streams:
            self.transport.write(_at_once(chunks))
            return
        group = self._groups.setdefault(asked[1], [])
        group.append(self)
        if len(group) == streams:
            del self._groups[asked[1]]
            answer = _pace(group, chunks, pace) if pace else _pour(group, chunks)
            task = asyncio.get_running_loop().create_task(answer)
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[None]] = set()


async def _pace(group: list[_Connection], chunks: int, pace: int) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time() + _LEAD
    for number in range(chunks):
        event = _event(number, chunks, TEXT)
        for place, connection in enumerate(group):
            due = start + (number + place / len(group)) / pace
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if number == 0:
                event = _event(0, chunks, f"{time.monotonic():020.9f}")
            connection.transport.write(event)
    for connection in group:
        connection.transport.write(b"0\r\n\r\n")


async def _pour(group: list[_Connection], chunks: int) -> None:
    await asyncio.sleep(_LEAD)
    for number in range(chunks):
        event = _event(number, chunks, TEXT if number else f"{time.monotonic():020.9f}")
        for connection in group:
            connection.transport.write(event)
            await connection.can_write.wait()
    for connection in group:
        connection.transport.write(b"0\r\n\r\n")


async def _serve() -> None:
    groups: dict[bytes, list[_Connection]] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(groups), "127.0.0.1", 0, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving() -> Iterator[int]:
    """Run it in a process of its own and give its port."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
