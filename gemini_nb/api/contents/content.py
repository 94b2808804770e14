"""Contents: what a user passes becomes turns, what the model sends becomes history, and both become bytes.

Parts are kept verbatim. A thoughtSignature belongs to the very part it came with, and a server refuses the
next request ("Function call is missing a thought_signature") when a well-meaning class has dropped it, moved
it, or left out a field it did not know. So parts stay dictionaries; only adjacent unsigned text is joined,
and only what a server refuses to take back is left out: a part without data, a field that is null.

Dictionaries that a user passes are checked. The service answers other clients' messages with "Unknown name",
many lines long, after a round trip; or it takes them and answers something else.
"""

from __future__ import annotations

import base64
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gemini_nb.api.contents.file import MAX_REQUEST_BYTES, UPLOAD_INSTEAD, File, parts_together
from gemini_nb.api.contents.objects import as_mapping, plain, spell_content, spell_part
from gemini_nb.api.contents.values import frame_text, media_part
from gemini_nb.api.wire import JSON, PART_OBJECTS, Content, Part, objects
from gemini_nb.errors import ArgumentError, ConfigError, kind_of

_DATA = ("text", *PART_OBJECTS)
_RESULT_ROLES = frozenset({"function", "tool"})  # of other clients; the service knows two


def _both_spellings(names: Iterable[str]) -> frozenset[str]:
    """Return the names on the wire and in snake case: servers may write either."""
    return frozenset(
        {*names, *(re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name) for name in names)}
    )


_SIBLINGS = _both_spellings(
    {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution", "mediaProcessing"}
)
_SIGNATURE = _both_spellings({"thoughtSignature"})
_OBJECTS = _both_spellings(PART_OBJECTS)
_NOT_ALONE = _SIBLINGS | {"text"}
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


def to_contents(contents: object) -> list[Content]:
    """Turn a string, a part, a Content or a list of these into contents.

    Neighbouring strings and parts make up one user turn.

    Raises:
        ArgumentError: something in it is none of these.
        ConfigError: it is empty.
    """
    items = contents if isinstance(contents, (list, tuple)) else [contents]
    files = iter(parts_together([item for item in items if isinstance(item, File)]))
    result = to_turns(next(files) if isinstance(item, File) else item for item in items)
    if not result:
        raise ConfigError("The prompt is empty.", hint="Write what the model should answer.")
    return result


def to_turns(history: Iterable[object]) -> list[Content]:
    """Turn a list of turns into contents, as `to_contents` does; it may be empty.

    What the model said in it is not checked, since servers send much that no user would write; empty parts
    are left out.

    Raises:
        ArgumentError: something in it is none of these.
        ConfigError: a turn of the user's is empty.
    """
    result: list[Content] = []
    loose: list[Part] = []
    for item in history:
        value = as_mapping(item)
        if value is not None and ("parts" in value or value.keys() == {"role"}):
            _close_turn(loose, result)
            result += _turn(spell_content(value))
        else:
            loose.append(to_part(item))
    _close_turn(loose, result)
    return result


def to_part(value: object) -> Part:
    """Turn a string, a part, an image, a figure, a DataFrame, bytes or a `File` into a part.

    Raises:
        ArgumentError: it is none of these.
        ConfigError: it is empty, too large to send, or an image that cannot be drawn.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ConfigError("The prompt is empty.", hint="Write what the model should answer.")
        return {"text": value}
    if (media := _media(value)) is not None:
        return media
    if (table := frame_text(value)) is not None:
        return {"text": table}
    mapping = as_mapping(value)
    if mapping is None:
        raise ArgumentError(
            f"A prompt cannot hold {_name(value)}.",
            hint="It holds strings, images, figures, DataFrames, gemini_nb.File(path), parts such as "
            "{'text': ...} or {'inlineData': {'mimeType': ..., 'data': ...}}, turns such as "
            "{'role': ..., 'parts': ...}, or a list of these.",
        )
    part = spell_part(plain(mapping))
    if not part:
        raise ConfigError("A part of the prompt is empty.", hint="Leave it out, or fill it in.")
    _check_part(part)
    return part


def _media(value: object) -> Part | None:
    try:
        return media_part(value)
    except ConfigError:
        raise
    except Exception as error:
        kind = type(value).__name__
        raise ConfigError(f"This {kind} cannot be drawn: {type(error).__name__}: {error}.") from error


def _name(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes of an unknown kind"
    return kind_of(value)


def _turn(content: JSON) -> list[Content]:
    """Return the turn; none where it is the model's and empty."""
    parts = content.get("parts")
    role = content.get("role") or _role_of(parts)
    if role == "model" and isinstance(parts, (list, tuple, type(None))):
        return _model_turn(content, parts or ())
    if not parts or not isinstance(parts, (list, tuple)):
        raise ConfigError("A turn of the prompt has no parts.", hint="Gemini refuses it.")
    parts = [to_part(part) for part in parts]
    if str(role) in _RESULT_ROLES and all("functionResponse" in part for part in parts):
        role = "user"
    _check_role(role)
    return [{**content, "role": role, "parts": parts}]


def _model_turn(content: JSON, given: Iterable[object]) -> list[Content]:
    parts = sendable(_model_part(part) for part in given if not _is_nothing(part))
    return [{**content, "role": "model", "parts": parts}] if parts else []


def _model_part(part: object) -> Part:
    """Return a part that a model sent as it came, however new its kind."""
    mapping = as_mapping(part)
    return to_part(part) if mapping is None else plain(mapping)


def _is_nothing(part: object) -> bool:
    return part is None or (not part if isinstance(part, str) else as_mapping(part) == {})


def _role_of(parts: object) -> str:
    """Return whose turn it is, where it has no role."""
    return "model" if any("functionCall" in part for part in objects(parts)) else "user"


def _close_turn(loose: list[Part], result: list[Content]) -> None:
    if loose:
        result.append({"role": "user", "parts": loose.copy()})
        loose.clear()


def _check_part(part: dict[str, Any]) -> None:
    """Check that a dictionary, with the wire's names, is a part that the service takes.

    Raises:
        ArgumentError: it is none; the hint says what is written in its place.
    """
    kinds = [name for name in _DATA if name in part]
    if len(kinds) != 1 or part.keys() & _FOREIGN:
        shown = ", ".join(repr(name) for name in list(part)[:6])
        raise ArgumentError(f"A dictionary with {shown} is no part of a prompt.", hint=_meant(part, kinds))
    (kind,) = kinds
    value = part[kind]
    if kind != "text":
        _check_data(kind, value)
    elif not isinstance(value, str):
        raise ArgumentError(f"A part's text is a string, not {kind_of(value)}.")


def _check_data(kind: str, value: object) -> None:
    if not isinstance(value, dict):
        raise ArgumentError(f"{kind} of a part is a dictionary, not {kind_of(value)}.")
    for name in _NEEDED.get(kind, ()):
        if not value.get(name):
            raise ArgumentError(f"{kind} of a part needs {name!r}.", hint=_example(kind))
    if not isinstance(value.get("response", {}), dict):
        raise ArgumentError(
            f"The response of a {kind} is a dictionary, not {kind_of(value['response'])}.",
            hint='Write {"result": ...} or {"error": ...}.',
        )


def _check_role(role: object) -> None:
    """Check that a turn is the user's or the model's.

    Raises:
        ArgumentError: it has another role.
    """
    if str(role) not in {"user", "model"}:
        hint = _ROLES.get(
            str(role).lower(), "Roles are 'user' and 'model'; results of tools have 'user', too."
        )
        raise ArgumentError(f"A turn cannot have the role {role!r}.", hint=hint)


def _example(kind: str) -> str:
    examples = {"functionCall": _CALL, "functionResponse": _RESPONSE}
    return f"Write {examples[kind]}." if kind in examples else _FILE


def _meant(part: dict[str, Any], kinds: list[str]) -> str:
    """Say what to write in place of another client's dictionary, or of a misspelt one."""
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
    """Say what to write in place of a part's content without its name, a whole request, or a typing error."""
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


def is_plain_text(part: Part) -> bool:
    """Whether a part is text without a signature or any other sibling, so that it may be joined."""
    fields = len(part)
    return isinstance(part.get("text"), str) and (fields == 1 or (fields == 2 and "thought" in part))


def is_answer(part: Part) -> bool:
    """Whether a part is an answer for the user: neither a thought, nor white space, nor empty."""
    if part.get("thought") and "functionCall" not in part:
        return False
    text = part.get("text")
    if isinstance(text, str) and text.strip():
        return True
    return any(value for name, value in part.items() if name not in _NOT_ALONE and _is_sound(name, value))


def sendable(parts: Iterable[Part]) -> list[Part]:
    """Return the parts of a model's turn that its service takes back, each as it came."""
    return [fit for part in parts if (fit := _fit(part)) is not None]


def _fit(part: Part) -> Part | None:
    """Return the part without its empty fields, None where nothing is left of it."""
    kept = part
    if not all(_is_sound(name, value) for name, value in part.items()):
        kept = {name: value for name, value in part.items() if _is_sound(name, value)}
    if any(_is_data(name, value) for name, value in kept.items()):
        return None if is_plain_text(kept) and not kept["text"] else kept
    # A signature without data, which only an empty text can carry back.
    return {"text": "", **kept} if any(map(kept.get, _SIGNATURE)) else None


def _is_data(name: str, value: object) -> bool:
    return name not in _SIBLINGS and _is_sound(name, value)


def _is_sound(name: str, value: object) -> bool:
    if name == "text":
        return isinstance(value, str)
    return isinstance(value, dict) and bool(value) if name in _OBJECTS else value is not None


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Encode a request body; bytes in it become base64, as the wire wants them.

    Raises:
        ArgumentError: it holds something JSON cannot say.
        ConfigError: it is larger than the service takes.
    """
    try:
        encoded = _ENCODE(body).encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"The request holds text that is not valid Unicode: {error.reason}.",
            hint='text.encode("utf-8", "replace").decode() mends a text.',
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        is_long = "set_int_max_str_digits" in str(error)  # Python's advice, of which the wire knows nothing
        why = "a whole number in it is too long" if is_long else str(error)
        raise ArgumentError(
            f"The request cannot be written as JSON: {why}.",
            hint="JSON has texts, finite numbers, lists, dictionaries, true, false and null.",
        ) from None
    if len(encoded) > MAX_REQUEST_BYTES:
        size, limit = len(encoded) / 2**20, MAX_REQUEST_BYTES // 2**20
        raise ConfigError(
            f"The request has {size:.1f} MB with its history; a request has {limit} MB at most.",
            hint=UPLOAD_INSTEAD,
        )
    return encoded


def _encode_other(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    mapping = as_mapping(value)
    if mapping is None:
        raise TypeError(f"{kind_of(value)} is not JSON")
    return mapping


_ENCODE = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_encode_other
).encode
