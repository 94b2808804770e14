"""What faults do: to what an answer says, and to how it arrives.

What it says is changed before anything is encoded, so a stream, an array and a single response have it alike.
Of the others, those that count events must see chunks, and sit in front of the encoder; what counts bytes
sits behind it.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from typing import Any

from gemini_nb.simulator.delivery import (
    ArrayEncoder,
    BrokenOffError,
    Encoder,
    Pause,
    Piece,
    Reply,
    SSEEncoder,
    Step,
)
from gemini_nb.simulator.faults import Fault
from gemini_nb.simulator.history import CONTINUATION
from gemini_nb.simulator.requests import RefusalError

__all__ = ["break_reply", "refusal", "shape_answer"]

_CONTENTS: dict[str, dict[str, Any]] = {
    "missing": {},
    "object": {"content": {}},
    "role": {"content": {"role": "model"}},
    "parts": {"content": {"role": "model", "parts": []}},
}
_EMPTY_TEXT = {"content": {"role": "model", "parts": [{"text": ""}]}}
_WITHOUT_CALLS = {
    "MALFORMED_FUNCTION_CALL": "Malformed function call: the simulator's model wrote no valid JSON.",
    "UNEXPECTED_TOOL_CALL": "Unexpected tool call: the simulator's model called what is not declared.",
}


def shape_answer(steps: Iterable[Step], fault: Fault, token: Callable[[int], str]) -> Iterator[Step]:
    """Change what an answer says.

    Args:
        steps: the answer's chunks, and the delays between them.
        fault: what goes wrong.
        token: makes the token to go on with after so many of these chunks.
    """
    count, before = 0, None
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
            continue
        if last := _end(step, before or step, count, fault, token):
            yield from last
            return
        count, before, chunk = count + 1, step, step
        if count == 1 and fault.checkpoint == 0:  # a chunk of its own
            yield _bare(chunk, _CONTENTS["role"], **{CONTINUATION: token(0)})
        if fault.finish in _WITHOUT_CALLS:
            chunk = _drop_calls(chunk)
        if (reason := _first(chunk).get("finishReason")) is None:
            yield _with(chunk, **{CONTINUATION: token(count)}) if count == fault.checkpoint else chunk
            continue
        if fault.finish is not None or fault.no_finish:
            chunk = _with(chunk, **_reason(fault))
        yield chunk
        if fault.finish_twice:
            yield _bare(chunk, _EMPTY_TEXT, finishReason=fault.finish or reason)


def _end(
    chunk: Mapping[str, Any],
    before: Mapping[str, Any],
    count: int,
    fault: Fault,
    token: Callable[[int], str],
) -> list[Mapping[str, Any]]:
    """Return what ends the answer in place of this chunk, after so many; nothing where it goes on."""
    if fault.blocked is not None:
        return [_blocked(chunk, {"blockReason": fault.blocked, **_ratings(fault)})]
    if fault.empty is not None:
        last = _bare(chunk, _CONTENTS[fault.empty], finishReason=fault.finish or "STOP")
        return [last] * (1 + fault.finish_twice)
    if count == fault.continuation:
        return [_bare(before, _EMPTY_TEXT, finishReason="CONTINUATION", **{CONTINUATION: token(count)})]
    return [_bare(chunk, _CONTENTS["role"], **_reason(fault))] if count == fault.finish_after else []


def _reason(fault: Fault) -> dict[str, Any]:
    told = _WITHOUT_CALLS.get(fault.finish or "")
    more = {"finishMessage": told} if told else {}
    return {"finishReason": fault.finish, **_ratings(fault), **more}


def _ratings(fault: Fault) -> dict[str, Any]:
    """Return the ratings that say which category blocked."""
    if fault.rated is None:
        return {}
    name = f"HARM_CATEGORY_{fault.rated.removeprefix('HARM_CATEGORY_')}"
    ratings = [{"category": name, "probability": "HIGH", "blocked": True}]
    others = {"HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH"} - {name}
    harmless = [{"category": other, "probability": "NEGLIGIBLE"} for other in sorted(others)]
    return {"safetyRatings": [*ratings, *harmless]}


def _blocked(chunk: Mapping[str, Any], feedback: Mapping[str, Any]) -> dict[str, Any]:
    usage = chunk.get("usageMetadata", {})
    counts = {name: usage[name] for name in ("promptTokenCount", "promptTokensDetails") if name in usage}
    if "promptTokenCount" in counts:
        counts["totalTokenCount"] = counts["promptTokenCount"]
    rest = {name: value for name, value in chunk.items() if name not in {"candidates", "usageMetadata"}}
    return {"promptFeedback": feedback, "usageMetadata": counts, **rest}


def _drop_calls(chunk: Mapping[str, Any]) -> dict[str, Any]:
    content = _first(chunk).get("content", {})
    parts = [part for part in content.get("parts", ()) if "functionCall" not in part]
    # A content without parts would not be sent; an empty text keeps the count of events.
    return _with(chunk, content={**content, "parts": parts or [{"text": ""}]})


def _first(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    candidates: list[Mapping[str, Any]] = chunk.get("candidates") or [{}]
    return candidates[0]


def _bare(chunk: Mapping[str, Any], content: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a chunk of the same response that has this content and these fields only."""
    index = {"index": _first(chunk)["index"]} if "index" in _first(chunk) else {}
    return {**chunk, "candidates": [{**content, **fields, **index}]}


def _with(chunk: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the chunk with these fields in its candidate; None takes one away."""
    changed = {name: value for name, value in {**_first(chunk), **fields}.items() if value is not None}
    return {**chunk, "candidates": [changed, *(chunk.get("candidates") or ())[1:]]}


_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {
    429: "Resource has been exhausted (e.g. check quota).",
    500: "An internal error has occurred.",
    503: "The model is overloaded. Please try again later.",
    504: "The request timed out. Please try again.",
}
_TYPE = "type.googleapis.com/google.rpc."
_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
_HTML = b"""\
<!DOCTYPE html>
<html lang=en>
<title>Error %(code)d (Simulated)!!1</title>
<p><b>%(code)d.</b> <ins>That's an error.</ins>
<p>The server met a temporary error and could not complete the request. <ins>That's all we know.</ins>
"""


def refusal(fault: Fault, model: str, *, wrapped: bool) -> Reply:
    """Make the reply with the fault's status, in an array where errors of this request come so anyhow."""
    code = fault.status or 500
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(fault.retry_after))
    elif fault.retry_date is not None:
        # The date has whole seconds, so it is rounded up: a client that waits for it must not come too early.
        headers["Retry-After"] = formatdate(math.ceil(time.time() + fault.retry_date), usegmt=True)
    if fault.body == "empty" or code in {204, 304}:
        return Reply(status=code, headers=headers, encoder=Encoder("text/plain"), steps=[])
    if fault.body == "html":
        page = Encoder("text/html; charset=UTF-8")
        return Reply(status=code, headers=headers, encoder=page, steps=[_HTML % {b"code": code}])
    array = fault.body == "array" or (wrapped and fault.body is None)
    encoder = ArrayEncoder() if array else Encoder()
    body = _error_body(code, fault, model)
    steps = [body["error"] if fault.body == "bare" else body]
    return Reply(status=code, headers=headers, encoder=encoder, steps=steps)


def _error_body(code: int, fault: Fault, model: str) -> dict[str, Any]:
    """Build the error as Google's services write it, with the details that the fault asks for."""
    message = _MESSAGES.get(code, f"The simulator was asked to answer {code}.")
    details: list[dict[str, Any]] = []
    if fault.quota is not None:
        message = (
            "You exceeded your current quota, please check your plan and billing details.\n"
            f"* Quota exceeded for metric: {_METRIC}, limit: {fault.quota}, model: {model}"
        )
        span = (fault.quota_per or "minute").title()
        violation = {
            "quotaMetric": _METRIC,
            "quotaId": f"GenerateRequestsPer{span}PerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": model},
        }
        # As everywhere in protobuf JSON, a value of 0 is left out.
        value = {"quotaValue": str(fault.quota)} if fault.quota else {}
        details.append({"@type": _TYPE + "QuotaFailure", "violations": [{**violation, **value}]})
    if fault.retry_info is not None:
        message += f"\nPlease retry in {fault.retry_info:.9g}s."
        delay = f"{fault.retry_info:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"})
    return RefusalError(code, _STATUSES.get(code, "UNKNOWN"), message, details).to_json()


_PROMISED = 2**30
_DRIP_PAUSE = 0.001


def break_reply(reply: Reply, fault: Fault, model: str) -> Reply:
    """Let a reply arrive as the fault says; error events name the model."""
    headers = dict(reply.headers)
    if fault.gzip:
        headers["Content-Encoding"] = "gzip"
    if fault.how == "length":
        headers["Content-Length"] = str(_PROMISED)
    encoder = reply.encoder
    if fault.sse and isinstance(encoder, SSEEncoder):
        encoder = _OddEncoder(fault.sse)
    steps = _Breaker(fault, encoder, model).run(reply.steps)
    mangle = partial(_mangled, fault=fault)
    return replace(reply, headers=headers, encoder=encoder, steps=steps, mangle=mangle)


class _Breaker:
    """Lets an answer fail between its events."""

    def __init__(self, fault: Fault, encoder: Encoder, model: str) -> None:
        self._fault = fault
        self._encoder = encoder
        self._model = model
        self._count = 0
        self._stalled = False

    def run(self, steps: Iterable[Step | Pause]) -> Iterator[Step | Pause]:
        if self._fault.wait:
            yield Pause(self._fault.wait)
        if self._fault.reset or self._fault.close:
            raise BrokenOffError("rst" if self._fault.reset else "fin")
        steps = iter(steps)
        yield from self._strike(steps)
        for step in steps:
            yield step
            if isinstance(step, Mapping):
                self._count += 1
                yield from self._strike(steps)
        yield from self._strike(steps, ended=True)
        how = self._fault.how
        if how is not None and how != "end" and self._fault.cut_bytes is None:
            if tail := self._encoder.end():
                yield tail
            raise BrokenOffError(how)

    def _strike(self, steps: Iterator[Step | Pause], *, ended: bool = False) -> Iterator[Step | Pause]:
        """Do what is due after the events so far, and all of the rest where the answer has ended."""

        def due(position: int | None) -> bool:
            return position is not None and (ended or position == self._count)

        fault = self._fault
        if due(fault.stall) and not self._stalled:
            self._stalled = True
            yield b""  # the status and the headers are there, only the answer is not
            yield Pause(math.inf if fault.stall_for is None else fault.stall_for)
        if fault.error is not None and due(fault.error_after or 0):
            yield self._error(fault.error)
            raise BrokenOffError(fault.how or "end")
        if due(fault.cut):
            yield b""
            if fault.inside is not None:
                yield self._half(next((step for step in steps if isinstance(step, Mapping)), {}))
            raise BrokenOffError(fault.how or "fin")

    def _error(self, code: int) -> Step:
        body = _error_body(code, self._fault, self._model)
        if self._fault.error_form in {None, "event", "bare"}:
            return body["error"] if self._fault.error_form == "bare" else body
        return json.dumps([body] if self._fault.error_form == "array" else body, indent=2).encode() + b"\n"

    def _half(self, chunk: Mapping[str, Any]) -> bytes:
        if self._fault.inside == "character":
            whole = self._encoder.chunk({"candidates": [{"content": {"parts": [{"text": "h\N{BULLET}"}]}}]})
            data = self._encoder.chunk(chunk)
            whole = whole if data.isascii() else data
            return whole[: next(at for at, byte in enumerate(whole) if byte > 127) + 1]
        data = self._encoder.chunk(chunk)
        body = data.rstrip()
        half = body[: len(body) // 2]
        return half + data[len(body) :] if self._fault.inside == "event" else half


def _mangled(pieces: Iterable[Piece], fault: Fault) -> Iterator[Piece]:
    """Compress a body, let it drip, and break off after a number of bytes."""
    left, how = fault.cut_bytes, fault.how or "fin"
    pause = Pause(_DRIP_PAUSE if fault.drip_pause is None else fault.drip_pause)
    for piece in _zipped(pieces) if fault.gzip else pieces:
        if not isinstance(piece, bytes):
            yield piece
            continue
        data, broken = piece, left is not None and len(piece) >= left
        if left is not None:
            data = data[:left]
            left -= len(data)
        for start in range(0, max(len(data), 1), fault.drip or max(len(data), 1)):
            yield data[start : start + fault.drip] if fault.drip else data
            if fault.drip:
                yield pause
        if broken:
            raise BrokenOffError(how)
    if left is not None:  # it was to break off before
        yield b""
        raise BrokenOffError(how)


def _zipped(pieces: Iterable[Piece]) -> Iterator[Piece]:
    # 31 stands for a gzip header in front of a window of full size.
    zipper = zlib.compressobj(wbits=31)
    try:
        for piece in pieces:
            if isinstance(piece, bytes) and piece:
                yield zipper.compress(piece) + zipper.flush(zlib.Z_SYNC_FLUSH)
            else:
                yield piece
    except BrokenOffError as broken:
        if broken.how == "end":
            yield zipper.flush()
        raise
    yield zipper.flush()


class _OddEncoder(SSEEncoder):
    """Server-sent events that are right, but not as Gemini writes them."""

    def __init__(self, words: frozenset[str]) -> None:
        super().__init__()
        self._words = words
        self._newline = "\n" if "lf" in words else "\r" if "cr" in words else "\r\n"
        self._count = 0

    def chunk(self, chunk: Mapping[str, Any]) -> bytes:
        """Encode one chunk as one event, and what stands around it."""
        self._count += 1
        indent = 1 if "multiline" in self._words else None
        text = json.dumps(chunk, ensure_ascii=False, indent=indent)
        lines = [": keep-alive", ""] if "comments" in self._words else []
        if "fields" in self._words:
            lines += ["event: message", f"id: {self._count}", "retry: 1000", "unknown: field"]
        for line in text.split("\n"):
            lines.append(self._data(line))
            if "comments" in self._words:
                lines.append(":")
        mark = "\N{BYTE ORDER MARK}" if "bom" in self._words and self._count == 1 else ""
        return (mark + self._newline.join([*lines, "", ""])).encode()

    def end(self) -> bytes:
        """Encode `[DONE]`, where the words ask for it."""
        return (self._data("[DONE]") + self._newline * 2).encode() if "done" in self._words else b""

    def _data(self, line: str) -> str:
        return ("data:" if "nospace" in self._words else "data: ") + line
