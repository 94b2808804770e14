"""An answer as the chunks of a stream, or as one response.

Here is everything that makes an answer look like the service's own: limits that cut it, signatures and ids on
calls, running token counts, and the time a model takes. A chunk is a whole GenerateContentResponse.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gemini_nb.simulator.delivery import Step
from gemini_nb.simulator.protocol.fields import CHARACTERS_PER_TOKEN, part_tokens, text_tokens
from gemini_nb.simulator.protocol.history import sign_call, sign_text
from gemini_nb.simulator.protocol.requests import timestamp
from gemini_nb.simulator.scenario.answer import Answer
from gemini_nb.simulator.scenario.prompt import Prompt

__all__ = ["one_response", "skip_chunks", "stream_chunks"]

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
