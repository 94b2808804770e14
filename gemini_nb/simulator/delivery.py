"""An answer on its way to the client: cut into chunks, encoded, timed, written.

Cutting makes an answer look like the service's own: limits that end it, signatures and ids on calls, running
token counts, and the time a model takes. A chunk is a whole GenerateContentResponse. An iterator of steps
says what happens when, and an encoder turns its chunks into pieces of bytes. What cuts, delays or compresses
stands between these two iterators and the connection, without either end knowing.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gemini_nb.api.sse import encode
from gemini_nb.simulator.answer import Answer
from gemini_nb.simulator.fields import CHARACTERS_PER_TOKEN, part_tokens, text_tokens
from gemini_nb.simulator.history import sign_call, sign_text
from gemini_nb.simulator.requests import timestamp
from gemini_nb.simulator.rules import Prompt

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
    "one_response",
    "skip_chunks",
    "stream_chunks",
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

    def __init__(self, content_type: str = "application/json; charset=UTF-8") -> None:
        self.content_type = content_type

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk."""
        return json.dumps(chunk, ensure_ascii=False, indent=2).encode() + b"\n"

    def end(self) -> bytes:
        """Encode the end of the body."""
        return b""


class SSEEncoder(Encoder):
    """Writes server-sent events, `?alt=sse`; no mark ends the stream."""

    def __init__(self) -> None:
        super().__init__("text/event-stream")

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


# ------------------------------------------------------------------------------------ the cutting of answers

_FIRST = (0.2, 0.4)
_THOUGHT = (0.12, 0.25)
_NEXT = (0.03, 0.07)
_MOST_WORDS = 6
_WORDS = re.compile(r"\S+\s*|\s+")


def stream_chunks(answer: Answer, prompt: Prompt, *, after: int = 0) -> Iterator[Step]:
    """Cut an answer into timed chunks, without the first so many, which a former response has given.

    The same prompt gets the same chunks each time, ids and signatures of calls included; only the response's
    own id and time differ.
    """
    envelope = _Envelope(prompt, answer)
    steps = _all_chunks(answer, prompt, envelope)
    skip_chunks(steps, after)
    envelope.forget()
    yield from steps


def skip_chunks(steps: Iterator[Step], count: int) -> None:
    """Take so many chunks off, with what stands before and between them."""
    while count > 0 and (step := next(steps, None)) is not None:
        count -= isinstance(step, Mapping)


def _all_chunks(answer: Answer, prompt: Prompt, envelope: _Envelope) -> Iterator[Step]:
    parts, finish = _limit(answer, prompt.config)
    rng = prompt.rng("pace", len(prompt.rounds))
    wait = rng.uniform(*_FIRST)
    if prompt.config.get("thinkingConfig", {}).get("includeThoughts"):
        for thought in answer.thoughts:
            yield wait
            yield envelope.chunk({"text": thought, "thought": True})
            wait = rng.uniform(*_THOUGHT)
    envelope.thoughts = sum(map(text_tokens, answer.thoughts))
    pieces = [piece for part in _sign(parts, prompt) for piece in _pieces(part, rng)]
    if prompt.signs or not pieces:
        pieces.append(_last_part(parts, prompt))
    for number, piece in enumerate(pieces, 1):
        yield wait
        yield envelope.chunk(piece, finish=finish if number == len(pieces) else None)
        wait = rng.uniform(*_NEXT)


def one_response(steps: Iterable[Step], *, longest: float) -> Iterator[Step]:
    """Make the one response of generateContent: waits of so many seconds at most, then all chunks as one."""
    left, chunks = longest, []
    for step in steps:
        if isinstance(step, Mapping):
            chunks.append(step)
        elif isinstance(step, threading.Event):
            yield step
        elif not isinstance(step, bytes):
            yield min(left, step)
            left = max(0.0, left - step)
    if chunks:
        yield _merged(chunks)


def _merged(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Join chunks into one response: texts of a kind put together, everything else from the last one."""
    merged: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    candidate: dict[str, Any] = {}
    for chunk in chunks:
        merged |= chunk
        for found in (chunk.get("candidates") or ())[:1]:
            candidate |= {key: value for key, value in found.items() if key != "content"}
            for part in (found.get("content") or {}).get("parts", ()):
                _append(parts, part)
    if parts or candidate:
        merged["candidates"] = [{"content": {"role": "model", "parts": parts}, **candidate}]
    return merged


class _Envelope:
    """Makes chunks of parts, with the counts that run through a response."""

    def __init__(self, prompt: Prompt, answer: Answer) -> None:
        self.thoughts = 0
        self._prompt = prompt
        self._answer = answer
        self._traffic = "ON_DEMAND" if prompt.tier == "standard" else f"ON_DEMAND_{prompt.tier.upper()}"
        self._texts = 0
        self._others = 0
        self._id = secrets.token_urlsafe(16)
        self._created = timestamp(time.time())

    def chunk(self, part: Mapping[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        if part.get("thought"):
            self.thoughts += text_tokens(part["text"])
        elif "text" in part:
            self._texts += len(part["text"])
        else:
            self._others += part_tokens(part)
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}}
        if finish is not None:
            candidate |= {"finishReason": finish, **self._answer.metadata}
        if not self._prompt.vertex:
            candidate["index"] = 0
        chunk = {
            "candidates": [candidate],
            "usageMetadata": self._usage(last=finish is not None),
            "modelVersion": self._prompt.model,
        }
        if self._prompt.vertex:
            chunk["createTime"] = self._created
        return {**chunk, "responseId": self._id}

    def forget(self) -> None:
        """Begin to count anew: the tokens of an earlier response are counted there."""
        self.thoughts = self._texts = self._others = 0

    def _usage(self, *, last: bool) -> dict[str, Any]:
        if self._prompt.vertex and not last:
            return {"trafficType": self._traffic}
        prompt, cached = self._prompt.tokens, self._prompt.cached_tokens
        answer = -(-self._texts // CHARACTERS_PER_TOKEN) + self._others
        tools = self._answer.prompt_tokens_of_tools if last else 0
        counts = {
            "promptTokenCount": prompt,
            "cachedContentTokenCount": cached,
            "toolUsePromptTokenCount": tools,
            "candidatesTokenCount": answer,
            "thoughtsTokenCount": self.thoughts,
            "totalTokenCount": prompt + answer + self.thoughts + tools,
        }
        details = {"promptTokensDetails": prompt, "cacheTokensDetails": cached}
        if self._prompt.vertex:
            details["candidatesTokensDetails"] = answer
        told = {name: [{"modality": "TEXT", "tokenCount": count}] for name, count in details.items() if count}
        usage: dict[str, Any] = {name: count for name, count in counts.items() if count} | told
        return {**usage, "trafficType": self._traffic} if self._prompt.vertex else usage


def _limit(answer: Answer, config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Cut the parts at a stop sequence or at the token limit; return them and why the answer ends."""
    left = int(config.get("maxOutputTokens") or 2**31)
    kept: list[dict[str, Any]] = []
    for part in answer.parts:
        text = part.get("text")
        if text is None:
            left -= part_tokens(part)
            if left < 0:
                return kept, "MAX_TOKENS"
            kept.append(part)
            continue
        stops = [at for stop in config.get("stopSequences", ()) if (at := text.find(stop)) >= 0]
        shown = text[: min(stops)] if stops else text
        if text_tokens(shown) > left:
            return [*kept, {"text": shown[: left * CHARACTERS_PER_TOKEN]}], "MAX_TOKENS"
        left -= text_tokens(shown)
        kept.append({**part, "text": shown})
        if stops:
            return kept, "STOP"
    return kept, "STOP"


def _sign(parts: Iterable[dict[str, Any]], prompt: Prompt) -> Iterator[dict[str, Any]]:
    """Give calls their ids, and the first of them its signature."""
    rng = prompt.rng("ids", json.dumps(prompt.body["contents"], sort_keys=True))
    is_first = True
    for number, part in enumerate(parts):
        if "toolCall" in part or "toolResponse" in part:
            name = next(iter(part))
            call = {**part[name], "id": f"{prompt.rng('server', number // 2).getrandbits(32):08x}"}
            yield {name: call, "thoughtSignature": sign_text(json.dumps(call))}
        elif "functionCall" in part and prompt.signs:
            call = {"id": f"{rng.getrandbits(48):012x}", **part["functionCall"]}
            yield {"functionCall": call, **({"thoughtSignature": sign_call(call)} if is_first else {})}
            is_first = False
        else:
            yield part


def _last_part(parts: Iterable[Mapping[str, Any]], prompt: Prompt) -> dict[str, Any]:
    """Return the empty text that carries the signature of an answer without calls, where the model signs."""
    text = "".join(part.get("text", "") for part in parts)
    called = any("functionCall" in part for part in parts)
    return {"text": ""} if called or not prompt.signs else {"text": "", "thoughtSignature": sign_text(text)}


def _pieces(part: dict[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Cut a text between words, the first piece short as models make it; other parts stay whole."""
    if "text" not in part:
        yield part
        return
    words = _WORDS.findall(part["text"])
    start, size = 0, 1
    while start < len(words):
        yield {"text": "".join(words[start : start + size])}
        start += size
        size = rng.randint(2, _MOST_WORDS)


def _append(parts: list[dict[str, Any]], part: Mapping[str, Any]) -> None:
    """Add a part, joined to the one before if both are plain text, or both thoughts."""
    last = parts[-1] if parts else {}
    joins = part.keys() <= {"text", "thought"} and last.keys() <= {"text", "thought"}
    if last and joins and "text" in part and part.get("thought") == last.get("thought"):
        last["text"] += part["text"]
    else:
        parts.append(dict(part))
