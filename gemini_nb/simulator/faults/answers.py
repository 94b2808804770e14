"""Faults in what an answer says: chunks in, other chunks out.

They come before anything is encoded, so a stream, an array and a single response all have them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gemini_nb.simulator.faults.fault import Fault
from gemini_nb.simulator.protocol.signatures import FIELD
from gemini_nb.simulator.scenario.chunks import Step

__all__ = ["shape_answer"]

_CONTENTS: dict[str | None, dict[str, Any]] = {
    "missing": {},
    "object": {"content": {}},
    "role": {"content": {"role": "model"}},
    "parts": {"content": {"role": "model", "parts": []}},
    None: {"content": {"role": "model", "parts": [{"text": ""}]}},
}
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
    if fault.blocked is not None:
        return _blocked(steps, fault.blocked, _ratings(fault))
    if fault.empty is not None:
        return _empty(steps, fault)
    if fault.finish in _WITHOUT_CALLS:
        steps = map(_drop_calls, steps)
    if fault.continuation is not None:
        steps = _continued(steps, fault.continuation, token)
    if fault.checkpoint is not None:
        steps = _checkpointed(steps, fault.checkpoint, token)
    if fault.finish is not None:
        steps = _finished(steps, fault.finish, fault.finish_after, _ratings(fault))
    if fault.no_finish or fault.finish_twice:
        steps = _ended(steps, twice=fault.finish_twice)
    return iter(steps)


def _ratings(fault: Fault) -> dict[str, Any]:
    """Return the ratings that say which category blocked, where the fault names one."""
    if fault.rated is None:
        return {}
    name = f"HARM_CATEGORY_{fault.rated.upper().removeprefix('HARM_CATEGORY_')}"
    ratings = [{"category": name, "probability": "HIGH", "blocked": True}]
    others = (other for other in ("HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH") if other != name)
    return {
        "safetyRatings": [*ratings, *({"category": other, "probability": "NEGLIGIBLE"} for other in others)]
    }


def _blocked(steps: Iterable[Step], reason: str, ratings: Mapping[str, Any]) -> Iterator[Step]:
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
            continue
        usage = step.get("usageMetadata", {})
        feedback = {"promptFeedback": {"blockReason": reason.upper(), **ratings}}
        counts = {name: usage[name] for name in ("promptTokenCount", "promptTokensDetails") if name in usage}
        if "promptTokenCount" in counts:
            counts["totalTokenCount"] = counts["promptTokenCount"]
        rest = {name: value for name, value in step.items() if name not in {"candidates", "usageMetadata"}}
        yield {**feedback, "usageMetadata": counts, **rest}
        return


def _empty(steps: Iterable[Step], fault: Fault) -> Iterator[Step]:
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
            continue
        yield _bare(step, _CONTENTS[fault.empty], finishReason=fault.finish or "STOP")
        if fault.finish_twice:
            yield _bare(step, _CONTENTS[fault.empty], finishReason=fault.finish or "STOP")
        return


def _continued(steps: Iterable[Step], events: int, token: Callable[[int], str]) -> Iterator[Step]:
    """End after so many chunks with CONTINUATION, unless the answer ends before."""
    count = 0
    last: Mapping[str, Any] = {}
    for step in steps:
        if isinstance(step, Mapping):
            if count == events:
                end = {"finishReason": "CONTINUATION", FIELD: token(count)}
                yield _bare(last or step, _CONTENTS[None], **end)
                return
            count += 1
            last = step
        yield step


def _checkpointed(steps: Iterable[Step], events: int, token: Callable[[int], str]) -> Iterator[Step]:
    """Put a token into one chunk; for 0 that is a chunk of its own, before all others."""
    count = 0
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
            continue
        if count == events == 0:
            yield _bare(step, _CONTENTS["role"], **{FIELD: token(0)})
        count += 1
        finishes = any("finishReason" in candidate for candidate in step.get("candidates", ()))
        yield _with(step, **{FIELD: token(count)}) if count == events and not finishes else step


def _finished(
    steps: Iterable[Step], reason: str, after: int | None, ratings: Mapping[str, Any]
) -> Iterator[Step]:
    """End with another reason, at the answer's own end or after so many chunks."""
    more = {**ratings, **({"finishMessage": _WITHOUT_CALLS[reason]} if reason in _WITHOUT_CALLS else {})}
    count = 0
    for step in steps:
        if not isinstance(step, Mapping):
            yield step
        elif count == after:
            yield _bare(step, _CONTENTS["role"], finishReason=reason, **more)
            return
        elif any("finishReason" in candidate for candidate in step.get("candidates", ())):
            yield _with(step, finishReason=reason, **more)
        else:
            count += 1
            yield step


def _ended(steps: Iterable[Step], *, twice: bool) -> Iterator[Step]:
    """Let the answer end twice, or without a finishReason."""
    for step in steps:
        found = isinstance(step, Mapping) and any("finishReason" in one for one in step.get("candidates", ()))
        if not isinstance(step, Mapping) or not found:
            yield step
        elif twice:
            yield step
            reason = step["candidates"][0]["finishReason"]
            yield _bare(step, _CONTENTS[None], finishReason=reason)
        else:
            candidates = [
                {name: value for name, value in one.items() if name != "finishReason"}
                for one in step["candidates"]
            ]
            yield {**step, "candidates": candidates}


def _drop_calls(step: Step) -> Step:
    if not isinstance(step, Mapping):
        return step
    candidates = []
    for candidate in step.get("candidates", ()):
        content = candidate.get("content", {})
        parts = [part for part in content.get("parts", ()) if "functionCall" not in part]
        # A content without parts would not be sent; an empty text keeps the count of events.
        kept = {**content, "parts": parts or [{"text": ""}]}
        candidates.append({**candidate, "content": kept})
    return {**step, "candidates": candidates}


def _bare(chunk: Mapping[str, Any], content: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a chunk of the same response that has this content and these fields only."""
    old = (chunk.get("candidates") or [{}])[0]
    index = {"index": old["index"]} if "index" in old else {}
    return {**chunk, "candidates": [{**content, **fields, **index}]}


def _with(chunk: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    candidates = chunk.get("candidates") or [{}]
    return {**chunk, "candidates": [{**candidates[0], **fields}, *candidates[1:]]}
