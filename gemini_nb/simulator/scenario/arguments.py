"""Make values for a JSON schema from a prompt: the arguments of a call, or a whole structured answer.

Random values of the right type would pass validation and look absurd. So each value is what the schema
fixes (const, enum), what the prompt says for it by name, the schema's own default or example, or the next
number, quotation or name of the prompt; what has to be made up says that it is simulated. Both dialects are
read: JSON Schema, and the OpenAPI subset with its upper-case types and `nullable`.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gemini_nb.simulator.protocol.fields import camel
from gemini_nb.simulator.scenario.prompt import Clues, name_words, stem

__all__ = ["is_place", "make_arguments", "make_value"]

_MAX_DEPTH = 5
_FOUND = {
    "url": r"https?://[^\s\"'<>)]*[^\s\"'<>).,;]",
    "email": r"[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "path": r"(?<![\w/])[\w./-]*\w\.[a-z][a-z0-9]{1,4}\b",
    "expression": r"[(\d][\d\s.()]{0,24}(?:(?:\*\*|[-+*/^%])[\s(]{0,8}\d[\d.()]{0,24}[\s)]{0,4}){1,40}",
    "date": r"\b\d{4}-\d{2}-\d{2}\b",
    "time": r"\b(?:[01]\d|2[0-3]):[0-5]\d\b",
}
_ALIASES = {"uri": "url", "link": "url", "mail": "email", "file": "path", "filename": "path", "day": "date"}
_MADE_UP = {
    "url": "https://example.com/",
    "uri-reference": "https://example.com/",
    "email": "reader@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "PT30M",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "byte": "aGVsbG8=",
    "binary": "aGVsbG8=",
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
    "pattern": r"pattern: (.*)$",
}
"""What the service has no keyword for stands in the description, by itself or in brackets at its end."""
_PLACE = re.compile(
    "city|cities|town|place|location|country|region|area|origin|destination|from|to|airport|station"
)
_WAYS = {"from": {"from", "origin", "start", "departure"}, "to": {"to", "destination", "end", "arrival"}}


def make_arguments(schema: Any, clues: Clues, rng: random.Random) -> dict[str, Any]:
    """Make the arguments of a call: what is required, and of the rest what the prompt names.

    Args:
        schema: the schema of the parameters; anything but an object schema gives no arguments.
        clues: what the prompt says.
        rng: decides what is made up.
    """
    value = _make(schema, clues, rng, everything=False)
    return value if isinstance(value, dict) else {}


def make_value(schema: Any, clues: Clues, rng: random.Random) -> Any:
    """Make an instance of a schema with all its properties."""
    return _make(schema, clues, rng, everything=True)


def is_place(name: str) -> bool:
    """Whether a parameter of this name asks for a place."""
    return any(map(_PLACE.fullmatch, name_words(name)))


def _make(schema: Any, clues: Clues, rng: random.Random, *, everything: bool) -> Any:
    if not isinstance(schema, Mapping):
        return {}
    return _Maker(schema, clues, rng, everything=everything).value(schema, "", 0)


class _Maker:
    """Walks over a schema once; what was taken from the prompt is not taken again while there is more."""

    def __init__(
        self, root: Mapping[str, Any], clues: Clues, rng: random.Random, *, everything: bool
    ) -> None:
        self._root = root
        self._clues = clues
        self._rng = rng
        self._everything = everything
        self._numbers = list(clues.numbers)
        self._number_lists = 1
        self._texts = [*clues.quoted, *(name for name in clues.names if name not in clues.quoted)]

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Make a value for the property `name`."""
        schema = self._plain(schema)
        kind = _kind(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            mentioned = self._from_prompt(schema, kind, name)
            return schema.get("default", schema["enum"][0]) if mentioned is None else mentioned
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        found = self._from_prompt(schema, kind, name)
        if found is None:
            found = _example(schema)
        if kind in {"integer", "number"}:
            return self._number(schema, found, whole=kind == "integer")
        if kind == "boolean":
            return found if isinstance(found, bool) else True
        if kind == "null":
            return None
        return _fit(found if isinstance(found, str) else self._text(schema, name), schema)

    def _plain(self, schema: Any) -> dict[str, Any]:
        """Resolve references, merge `allOf` and take the first alternative that is not null."""
        plain = {camel(key): value for key, value in schema.items()} if isinstance(schema, Mapping) else {}
        for _ in range(20):
            if "$ref" in plain or "ref" in plain:
                plain = {**self._lookup(str(plain.pop("$ref", None) or plain.pop("ref", ""))), **plain}
            elif "allOf" in plain:
                for part in plain.pop("allOf"):
                    plain = _merge(self._plain(part), plain)
            elif options := plain.pop("anyOf", None) or plain.pop("oneOf", None):
                plain = {**_alternative(options), **plain}
            else:
                break
        return {**_noted(plain.get("description")), **plain}

    def _lookup(self, reference: str) -> dict[str, Any]:
        target: Any = self._root
        for step in reference.lstrip("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key and isinstance(target, Mapping):
                target = target.get(key, target.get(key.removeprefix("$"), {}))
        return {**target} if isinstance(target, Mapping) else {}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        given: Mapping[str, Any] = schema.get("properties") or {}
        if (
            not given
            and depth < _MAX_DEPTH
            and isinstance(extra := schema.get("additionalProperties"), Mapping)
        ):
            count = max(2, int(schema.get("minProperties") or 0))
            return {f"item {number}": self.value(extra, "item", depth + 1) for number in range(1, count + 1)}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        ordered = [name for name in schema.get("propertyOrdering") or () if name in given]
        lists = [self._plain(self._plain(inner).get("items")) for inner in given.values()]
        self._number_lists = sum(_kind(items) in {"integer", "number"} for items in lists)
        return {
            name: self.value(given.get(name, {}), name, depth + 1)
            for name in dict.fromkeys([*ordered, *given, *required])
            if name in required or self._is_wanted(given.get(name, {}), name, depth)
        }

    def _is_wanted(self, schema: Any, name: str, depth: int) -> bool:
        """Whether a property that is not required is made: where all are, or where the prompt names it."""
        if self._everything and depth < _MAX_DEPTH:
            return True
        schema = self._plain(schema)
        return self._from_prompt(schema, _kind(schema), name, take=False) is not None

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        if isinstance(fixed := schema.get("prefixItems"), list):
            return [self.value(item, name, depth + 1) for item in fixed]
        inner = self._plain(schema.get("items"))
        least, most = int(schema.get("minItems") or 0), int(schema.get("maxItems") or 99)
        if depth > _MAX_DEPTH:
            return [self.value(inner, name, depth + 1) for _ in range(least)]
        if inner.get("enum"):
            return list(inner["enum"])[: min(max(least, 1), most)]
        found = self._available(_kind(inner))
        count = min(max(least, found or (2 if self._everything else 1)), most)
        items: list[Any] = []
        for number in range(count):
            item = self.value(inner, f"{name} {number + 1}" if not found else name, depth + 1)
            items.append(f"{item} {number + 1}" if isinstance(item, str) and item in items else item)
        return items

    def _available(self, kind: str) -> int:
        """Return how many items the prompt has for a list; lists of numbers share what there is."""
        if kind == "string":
            return len(self._texts)
        if kind not in {"integer", "number"}:
            return 0
        share = len(self._numbers) // max(self._number_lists, 1)
        self._number_lists -= 1
        return share

    def _from_prompt(self, schema: Mapping[str, Any], kind: str, name: str, *, take: bool = True) -> Any:
        """Look for what the prompt says for this property by name; None where it says nothing."""
        words = name_words(name)
        if schema.get("enum"):
            return next((one for one in schema["enum"] if self._clues.mentions(*name_words(str(one)))), None)
        if kind in {"integer", "number"}:
            return self._counted(words, take=take)
        if kind == "boolean":
            return self._wished(words)
        return self._named_text(schema, words) if kind == "string" and words else None

    def _counted(self, words: list[str], *, take: bool) -> float | None:
        """Return the number before one of these words, as in "4 people"."""
        near = next((one for one in self._numbers if one.unit and one.unit in map(stem, words)), None)
        if near is not None and take:
            self._numbers.remove(near)
        return None if near is None else near.value

    def _wished(self, words: list[str]) -> bool | None:
        """Whether one of these words is there, and not "without" it; None where none is."""
        if not any(len(word) > 2 and self._clues.mentions(word) for word in words):
            return None
        denied = rf"\b(?:no|not|without|never) (?:{'|'.join(words)})"
        return not re.search(denied, self._clues.text.lower())

    def _named_text(self, schema: Mapping[str, Any], words: list[str]) -> str | None:
        """Return what is assigned to these words, or has their form, or comes after their preposition."""
        label = "[ _-]?".join(map(re.escape, words))
        pattern = rf"\b{label}\b\s*[=:]\s*(\"[^\"\n]+\"|[^\s,;.]+(?=\s*(?:[,;.]|$)))"
        assigned = re.search(pattern, self._clues.text, re.IGNORECASE)
        return assigned[1].strip('"') if assigned else self._pattern(schema, words) or self._way(words)

    def _pattern(self, schema: Mapping[str, Any], words: list[str]) -> str | None:
        for word in [str(schema.get("format", "")), *words]:
            key = _ALIASES.get(word, word)
            if key in _FOUND and (found := re.search(_FOUND[key], self._clues.text[:8_000])):
                return found[0].strip()
            if key == "date" and (days := {"today": 0, "tomorrow": 1}.keys() & self._clues.words):
                return (datetime.now(UTC) + timedelta(days="tomorrow" in days)).date().isoformat()
        return None

    def _way(self, words: list[str]) -> str | None:
        for preposition, asking in _WAYS.items():
            for name in self._clues.names if asking & set(words) else ():
                if re.search(rf"\b{preposition}\s+{re.escape(name)}", self._clues.text, re.IGNORECASE):
                    return name
        return None

    def _number(self, schema: Mapping[str, Any], value: Any, *, whole: bool) -> float:
        if value is None and not self._everything and self._numbers:
            value = self._numbers.pop(0).value
        if not isinstance(value, int | float):
            value = self._rng.randint(1, 5) if whole else round(self._rng.random(), 2)
        step = schema.get("multipleOf")
        grid = float(step) if isinstance(step, int | float) and step > 0 else float(whole)
        nudge = grid or 1e-6
        low, high = _bound(schema, "inimum", nudge), -_bound(schema, "aximum", nudge, sign=-1)
        value = min(max(value, low), high)
        if grid:
            least = math.ceil(low / grid) if low > -math.inf else low
            value = float(min(max(round(value / grid), least), high // grid) * grid)
        return int(value) if whole or (value.is_integer() and abs(value) < 1e15) else round(value, 10)

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        words = name_words(name)
        form = str(schema.get("format", ""))
        if form == "date-time":
            return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:00Z")
        if form == "date" or "date" in words:
            return datetime.now(UTC).date().isoformat()
        for word in [form, *words]:
            if (made := _MADE_UP.get(_ALIASES.get(word, word))) is not None:
                return f"{made}:00" if form == "time" else made
        if text := self._next_text(name):
            return text
        if self._everything:
            return f"simulated {' '.join(words)}".strip()
        return "Paris" if is_place(name) else self._clues.topic

    def _next_text(self, name: str) -> str | None:
        """Take the prompt's next name or quotation, a place for a place; the last one stays."""
        fitting = [text for text in self._texts if (text in self._clues.places) == is_place(name)]
        text = next(iter(fitting or self._texts), None)
        if text is not None and (len(self._texts) > 1 or self._everything):
            self._texts.remove(text)
        return text


def _example(schema: Mapping[str, Any]) -> Any:
    """Return the schema's own default or example, None where it has none."""
    examples = schema.get("examples")
    given = [schema.get("default"), schema.get("example"), *(examples if isinstance(examples, list) else [])]
    return next((one for one in given if one is not None), None)


def _noted(description: Any) -> dict[str, Any]:
    """Return the keywords that a description says in words."""
    text = str(description or "")[-500:]
    start = "|".join(pattern.partition(" ")[0] for pattern in _NOTES.values())
    if not re.match(start, text):
        found = re.search(rf"\((({start}) .*)\)$", text)
        text = found[1] if found else ""
    said = {name: re.search(rf"(?:^|; ){pattern}", text) for name, pattern in _NOTES.items()}
    return {
        name: match[1] if name in {"format", "pattern"} else json.loads(match[1])
        for name, match in said.items()
        if match
    }


def _kind(schema: Mapping[str, Any]) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        given = next((item for item in given if str(item).lower() != "null"), "null")
    if given:
        return str(given).lower()
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _alternative(options: Any) -> Mapping[str, Any]:
    """Return the first alternative that is not null."""
    usable = [one for one in options if isinstance(one, Mapping)]
    return next(
        (one for one in usable if str(one.get("type")).lower() != "null"), usable[0] if usable else {}
    )


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = {**first, **second}
    if "properties" in first and "properties" in second:
        both["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        both["required"] = [*first["required"], *second["required"]]
    return both


def _bound(schema: Mapping[str, Any], end: str, nudge: float, sign: int = 1) -> float:
    """Return the bound on one side, negated for the upper one; older schemas have a true exclusive one."""
    inclusive, exclusive = schema.get(f"m{end}"), schema.get(f"exclusiveM{end}")
    limits = [-math.inf]
    if isinstance(inclusive, int | float):
        limits.append(sign * inclusive + (nudge if exclusive is True else 0))
    if isinstance(exclusive, int | float) and not isinstance(exclusive, bool):
        limits.append(sign * exclusive + nudge)
    return max(limits)


def _fit(text: str, schema: Mapping[str, Any]) -> str:
    """Make a text obey the schema's pattern and lengths."""
    least, most = int(schema.get("minLength") or 0), int(schema.get("maxLength") or 1_000_000)
    if isinstance(pattern := schema.get("pattern"), str):
        runs = [letter * count for count in range(1, 41) for letter in "Aa10"]
        likely = ["AB-123", "ABC-1234", "A1", "a1", "en-US", "#1f6feb", "+15551234567", "12.50", "1.0.0"]
        for candidate in (
            text,
            text.lower(),
            text.upper(),
            re.sub(r"\W+", "-", text.lower()),
            *runs,
            *likely,
        ):
            try:
                if least <= len(candidate) <= most and re.search(pattern, candidate):
                    return candidate
            except re.error:
                break
    return text.ljust(least, ".")[:most]
