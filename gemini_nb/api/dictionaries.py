"""Dictionaries that stand in a prompt: Gemini's parts pass, anything else is refused with what was meant.

The service answers other clients' messages with "Unknown name", many lines long, after a round trip; or it
takes them and answers something else.
"""

from __future__ import annotations

import difflib
from typing import Any

from gemini_nb.errors import ArgumentError

__all__ = ["check_part", "check_role"]

_DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_FOREIGN = frozenset({"content", "image_url", "imageUrl", "role", "source", "type"})
_NEEDED = {
    "inlineData": ("mimeType", "data"),
    "fileData": ("fileUri",),
    "functionCall": ("name",),
    "functionResponse": ("name",),
}
_FILE = (
    "Gemini's files are bytes, gemini_nb.File(path), {'inlineData': {'mimeType': ..., 'data': ...}} or "
    "{'fileData': {'fileUri': ..., 'mimeType': ...}}."
)
_TEXT = "Gemini's is a string, or {'text': ...}."
_SYSTEM = "Gemini has no such role: pass the text as system_instruction=..."
_CALL = "{'functionCall': {'name': ..., 'args': {...}}}"
_RESPONSE = "{'functionResponse': {'name': ..., 'response': {...}}}"
_ROLES = {
    "assistant": "The model's role is 'model'.",
    "ai": "The model's role is 'model'.",
    "human": "The user's role is 'user'.",
    "system": _SYSTEM,
    "developer": _SYSTEM,
}


def check_part(part: dict[str, Any]) -> None:
    """See that a dictionary, with the wire's names, is a part that the service takes.

    Raises:
        ArgumentError: it is none; the hint says what is written in its place.
    """
    kinds = [name for name in _DATA if name in part]
    if len(kinds) != 1 or part.keys() & _FOREIGN:
        shown = ", ".join(repr(name) for name in list(part)[:6])
        raise ArgumentError(f"A dictionary with {shown} is no part of a prompt.", hint=_meant(part, kinds))
    (kind,) = kinds
    value = part[kind]
    if kind == "text":
        if not isinstance(value, str):
            raise ArgumentError(f"A part's text is a string, not a {type(value).__name__}.")
        return
    if not isinstance(value, dict):
        raise ArgumentError(f"{kind} of a part is a dictionary, not a {type(value).__name__}.")
    for name in _NEEDED.get(kind, ()):
        if not value.get(name):
            raise ArgumentError(f"{kind} of a part needs {name!r}.", hint=_example(kind))


def check_role(role: object) -> None:
    """See that a turn is the user's or the model's.

    Raises:
        ArgumentError: it is somebody else's.
    """
    if role not in {"user", "model"}:
        hint = _ROLES.get(
            str(role).lower(), "Roles are 'user' and 'model'; results of tools have 'user', too."
        )
        raise ArgumentError(f"A turn cannot have the role {role!r}.", hint=hint)


def _example(kind: str) -> str:
    examples = {"functionCall": _CALL, "functionResponse": _RESPONSE}
    return f"Write {examples[kind]}." if kind in examples else _FILE


def _meant(part: dict[str, Any], kinds: list[str]) -> str:
    """What to write in place of a dictionary of another client, or of one that was misspelt."""
    kind, role = str(part.get("type", "")), part.get("role")
    if kind == "thinking" or kind.startswith(("tool", "function")):
        return f"Gemini writes calls as {_CALL} and their results as {_RESPONSE}."
    if role is not None or "content" in part:
        return _turn_meant(role if role is not None else kind)
    if kind.endswith("text"):
        return f"This is another client's form of a text. {_TEXT}"
    if part.keys() & {"image_url", "imageUrl", "source"} or kind:
        return f"This is another client's form of a file. {_FILE}"
    if len(kinds) > 1:
        return f"A part holds one of {' and '.join(kinds)}; make two parts of it."
    return _bare_meant(part)


def _turn_meant(role: object) -> str:
    name = str(role).lower()
    if name in {"system", "developer"}:
        return f"This is another client's message. {_SYSTEM}"
    if name in {"tool", "function"}:
        return f"This is another client's message. Gemini's is {{'role': 'user', 'parts': [{_RESPONSE}]}}."
    said = "model" if name in {"assistant", "ai", "model"} else "user"
    return (
        f"This is another client's message. Gemini's is {{'role': '{said}', 'parts': [{{'text': ...}}]}}, "
        "or, for a question alone, a string."
    )


def _bare_meant(part: dict[str, Any]) -> str:
    """The inside of a part without its name, a whole request, or a slip of the pen."""
    keys = part.keys()
    if keys & {"data", "fileUri", "mimeType", "uri"}:
        return _FILE
    if "messages" in keys or "contents" in keys:
        return "Pass a list of turns; a whole request goes into request_body=..."
    if "name" in keys and "response" in keys:
        return f"Write {_RESPONSE}."
    if "name" in keys and "args" in keys:
        return f"Write {_CALL}."
    for key in keys:
        if near := difflib.get_close_matches(str(key), _DATA, 1, 0.75):
            return f"Did you mean {near[0]!r}?"
    return f"{_TEXT} To show the model a dictionary, pass it as text: json.dumps(...)."
