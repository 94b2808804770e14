"""Make values for a JSON schema from a prompt: the arguments of a call, or a whole structured answer.

One walk over the schema takes what is fixed (const, enum), what the prompt says of a property by name, the
schema's own default or example, then the prompt's numbers, quotations and names in order, within the bounds.
What has to be made up says that it is simulated. Both dialects are read: JSON Schema, and the OpenAPI subset
with its upper-case types and `nullable`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gemini_nb.simulator.protocol.fields import camel, find_definition
from gemini_nb.simulator.scenario.prompt import NAME, Clues, name_words, stem

__all__ = ["is_place", "make_arguments", "make_value"]

_MAX_DEPTH = 5
_INSIDE = 1e-6  # how far a number stays from a bound that is excluded
_NUMBERS = {"integer", "number"}
_ASSIGNED = (
    r"(?:(?:^|[\n,;{{(:\"'])\s*{0}[\"']?\s*:|\b{0}\s*=)\s*"
    r"(\"[^\"\n]*\"|(?:[^\n\"{{\[,;}}]|,(?=\d))+?)(?=\s*(?:[,;}}\n]|\.?$|\.\s))"
)
"""How a prompt says what a property is, as in `"city": "Oslo"` and `age = 3`."""
_FOUND = (
    ("url|uri|link", r"https?://[^\s\"'<>)]*[^\s\"'<>).,;]"),
    ("e?mail|to|recipient", r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    ("path|file|filename|folder|directory", r"(?<![\w/:])(?:[\w.-]+(?:/[\w.-]*\w)+|[\w-]+\.[a-z]\w{1,4}\b)"),
    (
        "expression|formula",
        r"[(\d][\d\s.()]{0,24}(?:(?:\*\*|[-+*/^%])[\s(]{0,8}\d[\d.()]{0,24}[\s)]{0,4}){1,40}",
    ),
    ("date|day", r"\b\d{4}-\d{2}-\d{2}\b"),
    ("time", r"\b(?:[01]\d|2[0-3]):[0-5]\d\b"),
    ("from|origin|start|departure", rf"\b[Ff]rom ({NAME})"),
    ("to|destination|end|arrival", rf"\b[Tt]o ({NAME})"),
)
"""What a property with this word in its name, or of this format, is found by."""
_MADE_UP = {
    "url": "https://example.com/",
    "uri": "https://example.com/",
    "email": "reader@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "PT30M",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "byte": "aGVsbG8=",
    "time": "12:00",
    "sql": "SELECT 1",
    "code": "print('simulated')",
}
_NOTES = {
    "format": r"format: ([\w-]+)",
    "minLength": r"at least (\d+) characters",
    "maxLength": r"at most (\d+) characters",
    "multipleOf": r"a multiple of ([\d.]+)",
    "exclusiveMinimum": r"greater than (-?[\d.]+)",
    "exclusiveMaximum": r"less than (-?[\d.]+)",
    "const": r"always (true|false)",
    "pattern": r"pattern: (.*?)\)?$",
}
"""What the service has no keyword for stands in the description, by itself or in brackets at its end."""
_SHAPES = ("AB-123", "ABC-1234", "A1", "a1", "en-US", "#1f6feb", "+15551234567", "12.50", "1.0.0")
"""Texts that are tried where a schema has a pattern."""
_PLACE = re.compile("city|cities|town|place|location|country|region|area|origin|destination|from|to|airport")


def make_arguments(schema: Any, clues: Clues) -> dict[str, Any]:
    """Make the arguments of a call: what is required, and of the rest what the prompt names."""
    value = make_value(schema, clues, whole=False)
    return value if isinstance(value, dict) else {}


def make_value(schema: Any, clues: Clues, *, whole: bool = True) -> Any:
    """Make an instance of a schema, with all its properties where it is to be `whole`."""
    return _Walk(schema, clues, whole=whole).value(schema, "", 0) if isinstance(schema, Mapping) else {}


def is_place(name: str) -> bool:
    """Whether a parameter of this name asks for a place."""
    return any(map(_PLACE.fullmatch, name_words(name)))


class _Walk:
    """Walks over a schema once; what was taken from the prompt is not taken again while there is more."""

    def __init__(self, root: Mapping[str, Any], clues: Clues, *, whole: bool) -> None:
        self._root = {"$defs": root.get("defs"), **root}  # as the OpenAPI subset calls the definitions
        self._clues = clues
        self._whole = whole
        self._today = datetime.now().astimezone().date()
        days = {"today": self._today, "tomorrow": self._today + timedelta(1)}
        named = rf"(?i)\b(?:{'|'.join(days)})\b"
        self._dated = re.sub(named, lambda found: str(days[found[0].lower()]), clues.text)
        self._numbers = [number.value for number in clues.numbers]
        self._texts = list(dict.fromkeys((*clues.quoted, *clues.names)))
        self._taken: list[Any] = []

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Make a value for the property `name`."""
        schema = self._plain(schema)
        kind = _kind(schema)
        if "const" in schema:
            return schema["const"]
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        given = [self._said(schema, name), schema.get("default"), schema.get("example")]
        given += schema["examples"] if isinstance(schema.get("examples"), list) else ()
        self._taken.append(value := next((one for one in given if one is not None), None))
        if schema.get("enum"):
            return schema["enum"][0] if value is None else value
        if kind in _NUMBERS:
            return self._number(schema, value, whole=kind == "integer")
        if kind == "boolean":
            return value if isinstance(value, bool) else True
        if kind == "null":
            return None
        return _fit(value if isinstance(value, str) else self._made_up(schema, name), schema)

    def _plain(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """Resolve references, merge `allOf` and take the first alternative that is not null."""
        own = {camel(key): value for key, value in schema.items()} if isinstance(schema, Mapping) else {}
        options = [one for key in ("anyOf", "oneOf") for one in own.pop(key, None) or ()]
        options.sort(key=lambda one: isinstance(one, Mapping) and str(one.get("type")).lower() == "null")
        reference = str(own.pop("$ref", own.pop("ref", ""))).replace("#/defs/", "#/$defs/")
        parts = [find_definition(reference, self._root), *(own.pop("allOf", None) or ()), *options[:1]]
        plain = _noted(str(own.get("description")))
        for part in (*(self._plain(one, depth + 1) for one in parts if one and depth < _MAX_DEPTH), own):
            properties = {**plain.get("properties", {}), **(part.get("properties") or {})}
            required = [*plain.get("required", ()), *(part.get("required") or ())]
            plain = {**plain, **part, "properties": properties, "required": required}
        return plain

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        given, required = schema["properties"], [name for name in schema["required"] if isinstance(name, str)]
        extra = schema.get("additionalProperties")
        if not given and depth < _MAX_DEPTH and isinstance(extra, Mapping):
            count = max(2, int(_number_in(schema, "minProperties", 0)))
            return {f"item {number}": self.value(extra, "item", depth + 1) for number in range(1, count + 1)}
        ordered = [name for name in schema.get("propertyOrdering") or () if name in given]
        return {
            name: self.value(inner, name, depth + 1)
            for name in dict.fromkeys([*ordered, *given, *required])
            for inner in [self._plain(given.get(name, {}))]
            if name in required or (self._whole and depth < _MAX_DEPTH) or self._said(inner, name) is not None
        }

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        if isinstance(fixed := schema.get("prefixItems"), list):
            return [self.value(item, name, depth + 1) for item in fixed]
        inner = self._plain(schema.get("items"))
        kind = _kind(inner)
        found = self._texts if kind == "string" else self._numbers if kind in _NUMBERS else ()
        wished = 0 if depth > _MAX_DEPTH else len(found) or 1 + self._whole
        least, most = _number_in(schema, "minItems", 0), _number_in(schema, "maxItems", 99)
        count = int(min(max(least, wished), most))
        if inner.get("enum"):
            return list(itertools.islice(itertools.cycle(inner["enum"]), count))
        items: list[Any] = []
        for number in range(1, count + 1):
            item = self.value(inner, name, depth + 1)
            if kind == "string" and item in items and not inner.keys() & {"const", "format"}:
                item = _fit(f"{item} {number}", inner)
            items.append(item)
        return items

    def _said(self, schema: Mapping[str, Any], name: str) -> Any:
        """Return what the prompt says of a property by name; None where it says nothing."""
        clues, words, kind = self._clues, name_words(name), _kind(schema)
        if enum := schema.get("enum"):
            return next((one for one in enum if clues.mentions(*name_words(str(one)))), None)
        if not words:
            return None
        assigned = re.search(_ASSIGNED.format("[ _-]?".join(words)), clues.text, re.IGNORECASE)
        text = assigned[1].strip('"') if assigned else ""
        if kind in _NUMBERS:
            with contextlib.suppress(ValueError):
                return float(text.replace(",", ""))
            units = set(map(stem, words))
            return next((number.value for number in clues.numbers if number.unit in units), None)
        if kind == "boolean":
            if clues.mentions("off") and {"on", "enabled", "power"}.intersection(words):
                return False
            if not clues.mentions(*(word for word in words if len(word) > 2)):
                return None
            denied = rf"\b(?:no|not|without|never) (?:{'|'.join(words)})"
            return text.lower() not in {"no", "false"} and not re.search(denied, clues.text.lower())
        return text or self._found({str(schema.get("format")), *words}) if kind == "string" else None

    def _found(self, words: set[str]) -> str | None:
        """Return what has the form that one of these words asks for, such as an address or a date."""
        for keys, pattern in _FOUND:
            if any(re.fullmatch(keys, word) for word in words):
                found = [match[match.lastindex or 0].strip() for match in re.finditer(pattern, self._dated)]
                if found:
                    return next((text for text in found if text not in self._taken), found[0])
        return None

    def _number(self, schema: Mapping[str, Any], value: Any, *, whole: bool) -> float:
        if not isinstance(value, int | float):
            value = self._numbers[0] if self._numbers and not self._whole else 1
        if value in self._numbers:
            self._numbers.remove(value)
        step = max(_number_in(schema, "multipleOf", whole), 0.0)
        low = max(_number_in(schema, name, -math.inf) for name in ("minimum", "exclusiveMinimum"))
        high = min(_number_in(schema, name, math.inf) for name in ("maximum", "exclusiveMaximum"))
        low += _INSIDE * (low == _number_in(schema, "exclusiveMinimum", -math.inf))
        high -= _INSIDE * (high == _number_in(schema, "exclusiveMaximum", math.inf))
        value = min(max(value, low), high)
        if step:
            value = round(value / step) * step
            value += step * ((value < low) - (value > high))
        return int(value) if whole or (value == value // 1 and abs(value) < 1e15) else round(value, 10)

    def _made_up(self, schema: Mapping[str, Any], name: str) -> str:
        words, form = name_words(name), str(schema.get("format", ""))
        day = self._found({"date"}) or str(self._today)
        if form == "date-time":
            return f"{day}T12:00:00Z"
        if form == "date" or "date" in words:
            return day
        for word in (form, *words):
            if word in _MADE_UP:
                return _MADE_UP[word] + ":00" * (form == "time")
        fitting = [text for text in self._texts if (text in self._clues.places) == is_place(name)]
        if text := next(iter(fitting or self._texts), None):
            if len(self._texts) > 1 or self._whole:
                self._texts.remove(text)
            return text
        return f"simulated {' '.join(words)}".strip() if self._whole else self._clues.topic


def _noted(description: str) -> dict[str, Any]:
    """Return the keywords that a description says in words."""
    found = {name: re.search(rf"(?:^|; |\(){note}", description[-500:]) for name, note in _NOTES.items()}
    return {
        name: match[1] if name in {"format", "pattern"} else json.loads(match[1])
        for name, match in found.items()
        if match
    }


def _kind(schema: Mapping[str, Any]) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        given = next((item for item in given if str(item).lower() != "null"), "null")
    if given:
        return str(given).lower()
    if "additionalProperties" in schema or schema.get("properties"):
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number_in(schema: Mapping[str, Any], keyword: str, otherwise: float) -> float:
    """Return a keyword's number, which protobuf may write as text."""
    given = schema.get(keyword, otherwise)
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(given, bool) and math.isfinite(number := float(given)):
            return number
    return otherwise


def _fit(text: str, schema: Mapping[str, Any]) -> str:
    """Make a text obey the schema's pattern and lengths."""
    least, most = int(_number_in(schema, "minLength", 0)), int(_number_in(schema, "maxLength", 1e6))
    if isinstance(pattern := schema.get("pattern"), str):
        runs = [letter * count for count in range(1, 41) for letter in "Aa10"]
        tries = [text, text.lower(), text.upper(), re.sub(r"\W+", "-", text.lower()), *_SHAPES, *runs]
        with contextlib.suppress(re.error):
            fits = (one for one in tries if least <= len(one) <= most and re.search(pattern, one))
            text = next(fits, text)
    return text.ljust(least, ".")[:most]
