"""Gemini's JSON: its types, the walks over it that need no recursion, and the limits of what it can say.

What a model, a server or a tool says may be nested 10,000 deep. Every walk over it that calls itself would
end in a RecursionError, each in another place and with another loss.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

JSON: TypeAlias = dict[str, Any]
Part: TypeAlias = JSON
"""One part of a turn: text, a file, a function call, its response, code …, and its siblings."""
Content: TypeAlias = JSON
"""One turn: `{"role": "user" | "model", "parts": [...]}`."""
T = TypeVar("T")
PART_OBJECTS = (
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
"""The fields of a part that hold its data, but for `text`; each is an object."""

MAX_LEVELS = 64
"""How deep arguments and results may be nested; no service takes much more."""
MAX_SIZE = 20 * 2**20
"""How large they may be, in characters of JSON."""
MAX_VALUES = 1_000_000
"""How many values they may hold; more than any model reads."""

_LONG_TEXT = 2000  # characters that a repr shows
_WIRE_LEVELS = MAX_LEVELS + 36  # what stands around arguments, and enough to see that they go on
_MARKS = re.compile(r'"(?:[^"\\]+|\\.?)*+"?|[\[\]{}]', re.DOTALL)
_NOTHING_LEFT = object()
_IMMUTABLE = frozenset((str, int, float, bool, bytes, type(None)))


def fault_in(value: object) -> str | None:
    """Say why a value cannot be sent, None where it can: "holds itself", "is larger than 20 MB" ...

    Only mappings, lists, tuples and sets are looked into.
    """
    left, values = MAX_SIZE, 0
    path: list[tuple[object, Iterator[Any]]] = [(None, iter((value,)))]
    while path:
        item = next(path[-1][1], _NOTHING_LEFT)
        if item is _NOTHING_LEFT:
            path.pop()
            continue
        left -= _size(item)
        if left < 0:
            return f"is larger than {MAX_SIZE // 2**20} MB"
        values += 1
        if values > MAX_VALUES:
            return f"holds more than {MAX_VALUES:,} values"
        inner = _inside(item)
        if inner is None:
            continue
        if any(item is holder for holder, _ in path):
            return "holds itself"
        if len(path) > MAX_LEVELS:
            return f"is nested more than {MAX_LEVELS} levels deep"
        path.append((item, inner))
    return None


def _size(item: object) -> int:
    if isinstance(item, (str, bytes, bytearray)):
        return len(item) + 1 if isinstance(item, str) else len(item) * 4 // 3
    return item.nbytes * 4 // 3 if isinstance(item, memoryview) else 2


def _inside(item: object) -> Iterator[Any] | None:
    if isinstance(item, Mapping):
        return itertools.chain.from_iterable(item.items())
    return iter(item) if isinstance(item, (list, tuple, set, frozenset)) else None


def read_json(text: str) -> Any:
    """Return the value of a server's JSON, without white space around it.

    Null stands for what could not be sent back: NaN, a number such as 1e400, which Python reads as infinite,
    and a whole number with more digits than Python reads.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        value, end = _DECODE(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        value, end = _DECODE_LONG(text)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


# What `json.loads` calls, without its questions about the argument and its looks for white space around it.
_DECODE = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite).raw_decode
_DECODE_LONG = json.JSONDecoder(
    parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole
).raw_decode


def shallow(text: str) -> str:
    """Return JSON with null in place of what is nested too deeply to be read; other texts as they are."""
    if text.count("{") + text.count("[") <= _WIRE_LEVELS:
        return text
    kept: list[str] = []
    depth = begin = 0
    for found in _MARKS.finditer(text):
        mark = text[found.start()]
        if mark in "{[":
            depth += 1
            if depth == _WIRE_LEVELS + 1:
                kept += text[begin : found.start()], "null"
        elif mark in "}]":
            if depth == _WIRE_LEVELS + 1:
                begin = found.end()
            depth -= 1
    if depth <= _WIRE_LEVELS:
        kept.append(text[begin:])
    return "".join(kept)


def brief(value: Any, levels: int = 20) -> Any:
    """Return a copy for a repr, in which a long text, such as a file's data, is cut and counted."""
    if not levels:
        return "\u2026"
    if isinstance(value, str) and len(value) > _LONG_TEXT:
        return f"{value[:40]}\u2026 ({len(value):,} characters)"
    if isinstance(value, dict):
        return {name: brief(item, levels - 1) for name, item in value.items()}
    return [brief(item, levels - 1) for item in value] if isinstance(value, (list, tuple)) else value


def duplicate(value: T) -> T:
    """Return a copy that others may change; what is nested deeper than the stack is returned itself."""
    try:
        return copied(value)
    except RecursionError:
        return value


def copied(value: T) -> T:
    """Return a copy that others may change; deepcopy's books of what it has seen cost more than JSON does.

    Raises:
        RecursionError: it is nested too deeply.
    """
    found: T = _copied(value)
    return found


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()}
    if kind is list:
        return [_copied(item) for item in value]
    return copy.deepcopy(value)


def whole_characters(value: Any) -> Any:
    """Return the value with a replacement character for each half of a surrogate pair in its texts.

    JSON can say such a half, and nothing else can: not a request, nor a notebook, nor a terminal.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value


def objects(value: object) -> list[JSON]:
    """Return the dictionaries of what should be a list of dictionaries; servers send null, {} and worse.

    One that stands there without its list counts as a list of one.
    """
    items = value if isinstance(value, list) else [value] if value else []
    return [item for item in items if isinstance(item, dict)]


def parts_of(candidate: JSON) -> list[Part]:
    """Return the parts of a candidate; servers leave its content out, or send null."""
    content = candidate.get("content")
    return objects(content.get("parts")) if isinstance(content, dict) else []
