"""An HTTP client that hides nothing: the bytes as they came, and how the connection ended.

HTTP libraries turn a reset, a close and a broken chunk into exceptions of their own, or into nothing.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from simulator_wire import MODEL, ask, chunks_of

if TYPE_CHECKING:
    from gemini_nb.simulator import Simulator

PATIENCE = 10.0

TIDES = ask("Explain how tides work in 80 words")


@dataclass(slots=True, kw_only=True)
class Raw:
    """One answer.

    Attributes:
        status: the HTTP status, 0 where none came.
        headers: by lower-case name.
        pieces: the body, by the chunks of its transfer encoding.
        ending: "end" where the body ended properly, "fin" where the connection was closed before, "rst" where
            it was reset, "silent" where nothing more came in time.
        seconds: how long it took.
    """

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    ending: str
    seconds: float

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return chunks_of(self.body)


def exchange(
    base_url: str,
    body: dict[str, Any] | None = None,
    *,
    model: str = MODEL,
    method: str = "streamGenerateContent?alt=sse",
    key: str = "right",
    patience: float = PATIENCE,
) -> Raw:
    """Send one request, and read until the answer ends, however that is."""
    parts = urlsplit(base_url)
    content = json.dumps(TIDES if body is None else body).encode()
    head = (
        f"POST /v1beta/models/{model}:{method} HTTP/1.1\r\nHost: {parts.netloc}\r\nx-goog-api-key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    started = time.monotonic()
    data = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=patience) as connection:
        connection.sendall(head.encode() + content)
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                return read(data, "rst", started)
            except TimeoutError:
                return read(data, "silent", started)
            data += piece
            answer = read(data, "fin", started)
            if not piece or answer.ending == "end":
                return answer


def read(data: bytes, ending: str, started: float) -> Raw:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    pieces, done = [body], len(body) == int(headers.get("content-length", -1))
    if headers.get("transfer-encoding") == "chunked":
        pieces, done = dechunk(body)
    status = int(line.split(" ")[1]) if line else 0
    done = done or status == 204
    seconds = time.monotonic() - started
    return Raw(
        status=status, headers=headers, pieces=pieces, ending="end" if done else ending, seconds=seconds
    )


def dechunk(body: bytes) -> tuple[list[bytes], bool]:
    pieces: list[bytes] = []
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return pieces, body == b"\r\n"
        pieces.append(body[:length])
        body = body[length + 2 :]
    return pieces, False


def struck(sim: Simulator, spec: str, body: dict[str, Any] | None = None, **options: Any) -> Raw:
    """Ask with this fault, and see that the next request has none."""
    sim.faults = [spec]
    answer = exchange(sim.base_url, body, **options)
    again = exchange(sim.base_url, ask("Hello"))
    assert (again.status, again.ending) == (200, "end")
    return answer


def said(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What does not differ between two answers to one request."""
    return [{k: v for k, v in chunk.items() if k not in {"responseId", "createTime"}} for chunk in chunks]


def reasons(chunks: list[dict[str, Any]]) -> list[str | None]:
    return [chunk["candidates"][0].get("finishReason") for chunk in chunks]
