"""Make values for a JSON schema from a prompt: the arguments of a call, or a whole structured answer.

One walk over the schema takes what is fixed (const, enum), what the prompt says of a property by name, the
schema's own default or example, then the prompt's numbers, quotations and names in order, within the bounds.
What has to be made up says that it is simulated. Both dialects are read: JSON Schema, and the OpenAPI subset
with its upper-case types and `nullable`.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gemini_nb.simulator.protocol.fields import camel
from gemini_nb.simulator.scenario.clues import LONGEST, NAME, Clues, name_words, stem

__all__ = ["is_place", "make_arguments", "make_value"]

_MAX_DEPTH = 5
_NUMBERS = {"integer", "number"}
_SAID = (
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
_PLACE = re.compile(
    "city|cities|town|place|location|country|region|area|origin|destination|from|to|airport|station"
)


def make_arguments(schema: Any, clues: Clues) -> dict[str, Any]:
    """Make the arguments of a call: what is required, and of the rest what the prompt names.

    Args:
        schema: the schema of the parameters; anything but an object schema gives no arguments.
        clues: what the prompt says.
    """
    value = _Walk(schema, clues, whole=False).value(schema, "", 0) if isinstance(schema, Mapping) else {}
    return value if isinstance(value, dict) else {}


def make_value(schema: Any, clues: Clues) -> Any:
    """Make an instance of a schema with all its properties."""
    return _Walk(schema, clues, whole=True).value(schema, "", 0) if isinstance(schema, Mapping) else {}


def is_place(name: str) -> bool:
    """Whether a parameter of this name asks for a place."""
    return any(map(_PLACE.fullmatch, name_words(name)))


class _Walk:
    """Walks over a schema once; what was taken from the prompt is not taken again while there is more."""

    def __init__(self, root: Mapping[str, Any], clues: Clues, *, whole: bool) -> None:
        self._root = root
        self._clues = clues
        self._whole = whole
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
        given = [self._said(schema, kind, name), schema.get("default"), schema.get("example")]
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
        return _fit(value if isinstance(value, str) else self._text(schema, name), schema)

    def _plain(self, schema: Any) -> dict[str, Any]:
        """Resolve references, merge `allOf` and take the first alternative that is not null."""
        plain = {camel(key): value for key, value in schema.items()} if isinstance(schema, Mapping) else {}
        for _ in range(20):
            if reference := plain.pop("$ref", None) or plain.pop("ref", None):
                plain = {**self._target(str(reference)), **plain}
            elif parts := plain.pop("allOf", None):
                for part in map(self._plain, parts):
                    properties = {**part.get("properties", {}), **plain.get("properties", {})}
                    required = [*part.get("required", ()), *plain.get("required", ())]
                    plain = {**part, **plain, "properties": properties, "required": required}
            elif options := plain.pop("anyOf", None) or plain.pop("oneOf", None):
                usable = [one for one in options if isinstance(one, Mapping)]
                usable.sort(key=lambda one: str(one.get("type")).lower() == "null")
                plain = {**(usable[0] if usable else {}), **plain}
            else:
                break
        return {**_noted(str(plain.get("description"))), **plain}

    def _target(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        for step in filter(None, reference.lstrip("#").split("/")):
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key, target.get(key.removeprefix("$"))) if isinstance(target, Mapping) else {}
        return target if isinstance(target, Mapping) else {}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        given: Mapping[str, Any] = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        if not given and depth < _MAX_DEPTH and isinstance(extra, Mapping):
            count = max(2, int(schema.get("minProperties") or 0))
            return {f"item {number}": self.value(extra, "item", depth + 1) for number in range(1, count + 1)}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        ordered = [name for name in schema.get("propertyOrdering") or () if name in given]
        return {
            name: self.value(given.get(name, {}), name, depth + 1)
            for name in dict.fromkeys([*ordered, *given, *required])
            if name in required or self._is_wanted(given.get(name, {}), name, depth)
        }

    def _is_wanted(self, schema: Any, name: str, depth: int) -> bool:
        """Whether a property that is not required is made: where all are, or where the prompt names it."""
        schema = self._plain(schema)
        return (self._whole and depth < _MAX_DEPTH) or self._said(schema, _kind(schema), name) is not None

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        if isinstance(fixed := schema.get("prefixItems"), list):
            return [self.value(item, name, depth + 1) for item in fixed]
        inner = self._plain(schema.get("items"))
        least, most = int(schema.get("minItems") or 0), int(schema.get("maxItems") or 99)
        if inner.get("enum"):
            return list(inner["enum"])[: min(max(least, 1), most)]
        kind = _kind(inner)
        found = len(self._texts if kind == "string" else self._numbers if kind in _NUMBERS else ())
        count = least if depth > _MAX_DEPTH else min(max(least, found or 1 + self._whole), most)
        items: list[Any] = []
        for number in range(1, count + 1):
            item = self.value(inner, name, depth + 1)
            items.append(f"{item} {number}" if isinstance(item, str) and item in items else item)
        return items

    def _said(self, schema: Mapping[str, Any], kind: str, name: str) -> Any:
        """Return what the prompt says of a property by name; None where it says nothing."""
        clues, words = self._clues, name_words(name)
        if enum := schema.get("enum"):
            return next((one for one in enum if clues.mentions(*name_words(str(one)))), None)
        if not words:
            return None
        assigned = re.search(_SAID.format("[ _-]?".join(words)), clues.text[:LONGEST], re.IGNORECASE)
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
        return text or self._found(schema, words) if kind == "string" else None

    def _found(self, schema: Mapping[str, Any], words: list[str]) -> str | None:
        for keys, pattern in _FOUND:
            if any(re.fullmatch(keys, word) for word in (str(schema.get("format")), *words)):
                found = re.finditer(pattern, self._clues.text[:LONGEST])
                if texts := [match[match.lastindex or 0].strip() for match in found]:
                    return next((text for text in texts if text not in self._taken), texts[0])
        dated = "date" in words and self._clues.mentions("today", "tomorrow")
        return self._day().date().isoformat() if dated else None

    def _day(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._clues.mentions("tomorrow"))

    def _number(self, schema: Mapping[str, Any], value: Any, *, whole: bool) -> float:
        if not isinstance(value, int | float):
            value = self._numbers[0] if self._numbers and not self._whole else 1
        if value in self._numbers:
            self._numbers.remove(value)
        multiple = schema.get("multipleOf")
        step = float(multiple) if isinstance(multiple, int | float) and multiple > 0 else float(whole)
        low, high = _bounds(schema, step or 1e-6)
        value = min(max(value, low), high)
        if step:
            least = math.ceil(low / step) if low > -math.inf else low
            value = float(min(max(round(value / step), least), high // step) * step)
        return int(value) if whole or (value == value // 1 and abs(value) < 1e15) else round(value, 10)

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        words, form = name_words(name), str(schema.get("format", ""))
        if form == "date-time":
            return self._day().strftime("%Y-%m-%dT%H:%M:00Z")
        if form == "date" or "date" in words:
            return self._day().date().isoformat()
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


def _bounds(schema: Mapping[str, Any], step: float) -> tuple[float, float]:
    """Return the least and the largest number; in older schemas an exclusive bound is true."""
    bounds = []
    for end, sign in (("inimum", 1), ("aximum", -1)):
        bound, exclusive = schema.get(f"m{end}"), schema.get(f"exclusiveM{end}")
        limits = [sign * bound + step * (exclusive is True)] if isinstance(bound, int | float) else []
        if isinstance(exclusive, int | float) and exclusive is not True and exclusive is not False:
            limits.append(sign * exclusive + step)
        bounds.append(max(limits, default=-math.inf))
    return bounds[0], -bounds[1]


def _fit(text: str, schema: Mapping[str, Any]) -> str:
    """Make a text obey the schema's pattern and lengths."""
    least, most = int(schema.get("minLength") or 0), int(schema.get("maxLength") or 1_000_000)
    if isinstance(pattern := schema.get("pattern"), str):
        runs = [letter * count for count in range(1, 41) for letter in "Aa10"]
        tries = [text, text.lower(), text.upper(), re.sub(r"\W+", "-", text.lower()), *_SHAPES, *runs]
        with contextlib.suppress(re.error):
            fits = [one for one in tries if least <= len(one) <= most and re.search(pattern, one)]
            text = fits[0] if fits else text
    return text.ljust(least, ".")[:most]
