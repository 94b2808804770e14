"""What a `ScriptedServer` answers: the steps, and the answers that Gemini gives, put together from them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "Answer",
    "Close",
    "Reset",
    "Signal",
    "Step",
    "Wait",
    "answer",
    "call",
    "json_error",
    "response",
    "sse_answer",
    "sse_event",
    "text",
]

REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 429: "Too Many Requests", 503: "Unavailable"}


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing until the event is set, or, without one, until the client has gone."""

    event: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """Set the event: what stands before it has been sent."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection with a FIN."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a RST."""


Step: TypeAlias = bytes | Wait | Signal | Close | Reset
Answer: TypeAlias = Sequence[Step]
Chunk: TypeAlias = "Mapping[str, Any] | Step"


def answer(status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = b"") -> list[Step]:
    """Give a whole answer with its length."""
    return response(status, {"Content-Length": str(len(body)), **(headers or {})}, body)


def response(status: int, headers: Mapping[str, str], *steps: Step) -> list[Step]:
    """Give an answer's head with exactly these headers, then the steps as they are."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Said')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ["\r\n".join([*lines, "", ""]).encode(), *steps]


def sse_answer(
    *chunks: Chunk, headers: Mapping[str, str] | None = None, framing: Literal["chunked", "close"] = "chunked"
) -> list[Step]:
    """Give a stream of events.

    Args:
        chunks: GenerateContentResponses, bytes that are sent as they are, or other steps.
        headers: more headers, or others.
        framing: how the body's end is told; "close" by nothing but the connection's.
    """
    head = {"Content-Type": "text/event-stream", **(headers or {})}
    head |= {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Connection": "close"}
    steps: list[Step] = []
    for chunk in chunks:
        step = sse_event(chunk) if isinstance(chunk, Mapping) else chunk
        if isinstance(step, bytes) and framing == "chunked":
            step = b"%x\r\n%b\r\n" % (len(step), step) if step else b""
        steps.append(step)
    return response(200, head, *steps, b"0\r\n\r\n" if framing == "chunked" else Close())


def sse_event(value: Mapping[str, Any]) -> bytes:
    """Write one event as Gemini does."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n"


def text(words: str, *, finish: str | None = None, **siblings: Any) -> dict[str, Any]:
    """Give a chunk of text, with other fields of its part, such as `thought`."""
    return _chunk({"text": words, **siblings}, finish)


def call(name: str, *, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """Give a chunk that asks for a function; `args` and `id` are fields of it."""
    return _chunk({"functionCall": {"name": name, **fields}}, finish)


def _chunk(part: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [dict(part)]}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate]}


def json_error(
    status: int,
    message: str = "made up",
    name: str | None = None,
    *,
    details: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> list[Step]:
    """Give Google's error body."""
    error: dict[str, Any] = {"code": status, "message": message}
    if name is not None:
        error["status"] = name
    if details:
        error["details"] = list(details)
    body = json.dumps({"error": error}).encode()
    return answer(status, {"Content-Type": "application/json", **(headers or {})}, body)
