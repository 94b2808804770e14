"""Gemini's JSON values: what a person passes becomes contents, what the model sends becomes history.

Parts are kept verbatim. A thoughtSignature belongs to the very part it came with, and a server refuses the
next request ("Function call is missing a thought_signature") when a well-meaning class has dropped it, moved
it, or left out a field it did not know. So parts stay dictionaries; only adjacent unsigned text is joined.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from gemini_nb.api.dictionaries import check_part, check_role
from gemini_nb.api.objects import as_mapping, plain
from gemini_nb.api.sendable import sendable
from gemini_nb.api.spelling import spell_content, spell_part
from gemini_nb.api.values import FILES_API, MAX_REQUEST_BYTES, frame_text, media_part
from gemini_nb.errors import ArgumentError, ConfigError

__all__ = [
    "JSON",
    "Content",
    "Part",
    "duplicate",
    "encode_body",
    "to_contents",
    "to_part",
    "to_turns",
    "whole_characters",
]

JSON: TypeAlias = dict[str, Any]
Part: TypeAlias = JSON
"""One part of a turn: text, a file, a function call, its response, code …, and its siblings."""
Content: TypeAlias = JSON
"""One turn: `{"role": "user" | "model", "parts": [...]}`."""

T = TypeVar("T")

_RESULT_ROLES = frozenset({"function", "tool"})  # of other clients; the service knows two


def to_contents(contents: object) -> list[Content]:
    """Turn a string, a part, a Content or a list of these into contents.

    Neighbouring strings and parts make up one user turn.

    Raises:
        ArgumentError: something in it is none of these.
        ConfigError: it is empty.
    """
    result = to_turns(contents if isinstance(contents, (list, tuple)) else [contents])
    if not result:
        raise ConfigError("The prompt is empty.", hint="Write what the model should answer.")
    return result


def to_turns(history: Iterable[object]) -> list[Content]:
    """Turn a list of turns into contents, as `to_contents` does; it may be empty.

    What the model said in it is not checked: servers send much that nobody would write, and what says nothing
    is left out.

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
        raise ConfigError("A part of the prompt is empty.")
    check_part(part)
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
    return f"a {type(value).__name__}"


def _turn(content: JSON) -> list[Content]:
    """One turn; none where it is the model's and says nothing."""
    parts = content.get("parts")
    role = content.get("role") or _role_of(parts)
    if role == "model" and isinstance(parts, (list, tuple, type(None))):
        said = sendable(_model_part(part) for part in parts or () if not _is_nothing(part))
        return [{**content, "role": role, "parts": said}] if said else []
    if not parts or not isinstance(parts, (list, tuple)):
        raise ConfigError("A turn of the prompt has no parts.", hint="Gemini refuses it.")
    parts = [to_part(part) for part in parts]
    if role in _RESULT_ROLES and all("functionResponse" in part for part in parts):
        role = "user"
    check_role(role)
    return [{**content, "role": role, "parts": parts}]


def _model_part(part: object) -> Part:
    """A part that a model sent: as it came, however new its kind."""
    mapping = as_mapping(part)
    return to_part(part) if mapping is None else plain(mapping)


def _is_nothing(part: object) -> bool:
    return part is None or (not part if isinstance(part, str) else as_mapping(part) == {})


def _role_of(parts: object) -> str:
    """Who said it, where nobody wrote that down."""
    return "model" if any("functionCall" in part for part in objects(parts)) else "user"


def _close_turn(loose: list[Part], result: list[Content]) -> None:
    if loose:
        result.append({"role": "user", "parts": loose.copy()})
        loose.clear()


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Encode a request body; bytes in it become base64, as the wire wants them.

    Raises:
        ArgumentError: it holds something JSON cannot say.
        ConfigError: it is larger than the service takes.
    """
    try:
        text = json.dumps(
            body, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_encode_other
        )
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"The request holds text that is not valid Unicode: {error.reason}.") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"The request cannot be written as JSON: {error}.") from None
    if len(encoded) > MAX_REQUEST_BYTES:
        size, limit = len(encoded) / 2**20, MAX_REQUEST_BYTES // 2**20
        raise ConfigError(
            f"The request has {size:.1f} MB with its history; a request has {limit} MB at most.",
            hint=FILES_API,
        )
    return encoded


def _encode_other(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    mapping = as_mapping(value)
    if mapping is None:
        raise TypeError(f"a {type(value).__name__} is not JSON")
    return mapping


def whole_characters(value: Any) -> Any:
    """The value with a replacement character for each half of a surrogate pair in its texts.

    JSON can say such a half, and nothing else can: not a request, nor a notebook, nor a terminal.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value


def duplicate(value: T) -> T:
    """A copy that others may change. What is nested deeper than the stack stays one and the same."""
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return value


def objects(value: object) -> list[JSON]:
    """The dictionaries of what should be a list of dictionaries; servers send null, {} and worse.

    One that stands there without its list counts as a list of one.
    """
    items = value if isinstance(value, list) else [value] if value else []
    return [item for item in items if isinstance(item, dict)]
