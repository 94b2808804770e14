"""What the model sent, as it may go back to it.

Parts go back as they came, for a signature holds only for the very part it came with. But servers refuse some
of what they send when it comes back in the next request: a part without data, a field that is null.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["is_answer", "is_plain_text", "sendable", "with_results_together"]

Part = dict[str, Any]

_SIBLINGS = frozenset(
    {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution", "mediaProcessing"}
)
_NOT_ALONE = _SIBLINGS | {"text", "thought_signature", "part_metadata"}
_OBJECTS = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "toolCall",
        "toolResponse",
    }
)


def is_plain_text(part: Part) -> bool:
    """Whether a part is text without a signature or any other sibling, so that it may be joined."""
    fields = len(part)
    return isinstance(part.get("text"), str) and (fields == 1 or (fields == 2 and "thought" in part))


def is_answer(part: Part) -> bool:
    """Whether a part says something to the user: not a thought, nor white space, nor what is empty."""
    if part.get("thought") and "functionCall" not in part:
        return False
    text = part.get("text")
    if isinstance(text, str) and text.strip():
        return True
    return any(value for name, value in part.items() if name not in _NOT_ALONE and _is_sound(name, value))


def sendable(parts: Iterable[Part]) -> list[Part]:
    """The parts of a model's turn that its service takes back, each as it came."""
    return [fit for part in parts if (fit := _fit(part)) is not None]


def with_results_together(contents: list[Part]) -> list[Part]:
    """The contents with the results of one turn's calls in one content, as the service wants them.

    Where tools ran here and the caller answers the others, they come in two.
    """
    made: list[Part] = []
    for content in contents:
        parts, before = content["parts"], made[-1] if made else {}
        if (
            before.get("role") == content.get("role") == "user"
            and all("functionResponse" in part for part in before["parts"])
            and any("functionResponse" in part for part in parts)
        ):
            calls = [part.get("functionCall") for part in made[-2]["parts"]] if len(made) > 1 else []
            joined = sorted([*before["parts"], *parts], key=lambda part: _place(part, calls))
            made[-1] = {**before, "parts": joined}
        else:
            made.append(content)
    return made


def _place(part: Part, calls: list[Any]) -> int:
    """Where a result stands among others: in the order of the calls, and before everything else."""
    result = part.get("functionResponse")
    if not isinstance(result, dict):
        return len(calls) + 1
    field = "id" if result.get("id") else "name"
    fits = (
        at for at, call in enumerate(calls) if isinstance(call, dict) and call.get(field) == result.get(field)
    )
    return next(fits, len(calls))


def _fit(part: Part) -> Part | None:
    """The part without what says nothing, None where nothing is left of it."""
    kept = part
    if not all(_is_sound(name, value) for name, value in part.items()):
        kept = {name: value for name, value in part.items() if _is_sound(name, value)}
    if any(_is_data(name, value) for name, value in kept.items()):
        return None if is_plain_text(kept) and not kept["text"] else kept
    # A signature without data, which only an empty text can carry back.
    return {"text": "", **kept} if kept.get("thoughtSignature") else None


def _is_data(name: str, value: object) -> bool:
    return name not in _SIBLINGS and _is_sound(name, value)


def _is_sound(name: str, value: object) -> bool:
    if name == "text":
        return isinstance(value, str)
    return isinstance(value, dict) if name in _OBJECTS else value is not None
