"""Faults in what an answer says: chunks in, other chunks out.

They come before anything is encoded, so a stream, an array and a single response all have them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gemini_nb.simulator.delivery import Step
from gemini_nb.simulator.faults.fault import Fault
from gemini_nb.simulator.protocol.signatures import FIELD

__all__ = ["shape_answer"]

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
    shaping, count = _Shaping(fault, token), 0
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
        elif (last := shaping.end(step, count)) is not None:
            yield from last
            return
        else:
            count += 1
            yield from shaping.change(step, count)


class _Shaping:
    """Says of each chunk what comes in its place."""

    def __init__(self, fault: Fault, token: Callable[[int], str]) -> None:
        self._fault = fault
        self._token = token
        self._ratings = _ratings(fault.rated) if fault.rated else {}
        self._before: Mapping[str, Any] | None = None

    def end(self, chunk: Mapping[str, Any], count: int) -> list[Mapping[str, Any]] | None:
        """Return what ends the answer in place of this chunk, after so many; None where it goes on."""
        fault = self._fault
        if fault.blocked is not None:
            return [_blocked(chunk, {"blockReason": fault.blocked, **self._ratings})]
        if fault.empty is not None:
            last = _bare(chunk, _CONTENTS[fault.empty], finishReason=fault.finish or "STOP")
            return [last] * (1 + fault.finish_twice)
        if count == fault.continuation:
            end = {"finishReason": "CONTINUATION", FIELD: self._token(count)}
            return [_bare(self._before or chunk, _EMPTY_TEXT, **end)]
        if count == fault.finish_after:
            return [_bare(chunk, _CONTENTS["role"], **self._reason())]
        return None

    def change(self, chunk: Mapping[str, Any], count: int) -> Iterator[Mapping[str, Any]]:
        """Yield the chunk, the so-manyth, as the fault changes it, and what comes before and after it."""
        fault = self._fault
        if count == 1 and fault.checkpoint == 0:  # a chunk of its own
            yield _bare(chunk, _CONTENTS["role"], **{FIELD: self._token(0)})
        self._before = chunk
        if fault.finish in _WITHOUT_CALLS:
            chunk = _drop_calls(chunk)
        reason = _first(chunk).get("finishReason")
        if reason is None:
            yield _with(chunk, **{FIELD: self._token(count)}) if count == fault.checkpoint else chunk
            return
        if fault.finish is not None:
            chunk = _with(chunk, **self._reason())
        if fault.no_finish:
            first = {name: value for name, value in _first(chunk).items() if name != "finishReason"}
            chunk = {**chunk, "candidates": [first, *chunk["candidates"][1:]]}
        yield chunk
        if fault.finish_twice:
            yield _bare(chunk, _EMPTY_TEXT, finishReason=fault.finish or reason)

    def _reason(self) -> dict[str, Any]:
        told = _WITHOUT_CALLS.get(self._fault.finish or "")
        more = {"finishMessage": told} if told else {}
        return {"finishReason": self._fault.finish, **self._ratings, **more}


def _ratings(category: str) -> dict[str, Any]:
    """Return the ratings that say which category blocked."""
    name = f"HARM_CATEGORY_{category.removeprefix('HARM_CATEGORY_')}"
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
    candidates = []
    for candidate in chunk.get("candidates", ()):
        content = candidate.get("content", {})
        parts = [part for part in content.get("parts", ()) if "functionCall" not in part]
        # A content without parts would not be sent; an empty text keeps the count of events.
        candidates.append({**candidate, "content": {**content, "parts": parts or [{"text": ""}]}})
    return {**chunk, "candidates": candidates}


def _first(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    candidates: list[Mapping[str, Any]] = chunk.get("candidates") or [{}]
    return candidates[0]


def _bare(chunk: Mapping[str, Any], content: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a chunk of the same response that has this content and these fields only."""
    index = {"index": _first(chunk)["index"]} if "index" in _first(chunk) else {}
    return {**chunk, "candidates": [{**content, **fields, **index}]}


def _with(chunk: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {**chunk, "candidates": [{**_first(chunk), **fields}, *(chunk.get("candidates") or ())[1:]]}
