"""Values made from a JSON schema and a prompt: the arguments of a tool call, or a whole structured answer.

Random values of the right type would pass validation and look absurd in a demo. So each value is first looked
for in the prompt, by the parameter's name, type and format; then come the schema's own default and example;
only then is something plausible made up. Both dialects are read: JSON Schema and the OpenAPI subset with
its upper-case types and `nullable`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from gemini_nb.simulator.clues import Clues, name_words, stem
from gemini_nb.simulator.fields import camel
from gemini_nb.simulator.numerals import fit_number, invent_number
from gemini_nb.simulator.strings import StringMaker

__all__ = ["make_arguments", "make_value"]

_MAX_DEPTH = 5
_ALTERNATIVES = ("anyOf", "oneOf")


def make_arguments(schema: Any, clues: Clues, rng: random.Random) -> dict[str, Any]:
    """Make the arguments of a call: what is required, and of the rest what the prompt speaks of.

    Args:
        schema: the schema of the parameters; anything but an object schema gives no arguments.
        clues: what the prompt says.
        rng: where made-up values come from.
    """
    if not isinstance(schema, Mapping):
        return {}
    value = _Maker(schema, clues, rng, everything=False).value(schema, "", 0)
    return value if isinstance(value, dict) else {}


def make_value(schema: Any, clues: Clues, rng: random.Random) -> Any:
    """Make an instance of a schema with all its properties."""
    if not isinstance(schema, Mapping):
        return {}
    return _Maker(schema, clues, rng, everything=True).value(schema, "", 0)


class _Maker:
    """One pass over a schema. What was taken from the prompt is not taken again."""

    def __init__(
        self, root: Mapping[str, Any], clues: Clues, rng: random.Random, *, everything: bool
    ) -> None:
        self._root = root
        self._clues = clues
        self._rng = rng
        self._everything = everything
        self._numbers = list(clues.numbers)
        self._number_lists = 1
        self._strings = StringMaker(clues, rng, made_up=everything)

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Make a value; `name` is the property it is for."""
        schema = self._plain(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choice(schema)
        kind = self._kind(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        if kind in {"integer", "number"}:
            return self._number(schema, name, whole=kind == "integer")
        if kind == "boolean":
            return self._boolean(schema, name)
        if kind == "null":
            return None
        return self._strings.make(schema, name)

    def _plain(self, schema: Any, depth: int) -> dict[str, Any]:
        """Resolve references, merge `allOf` and choose one alternative."""
        # JSON schemas have no keyword with an underscore; the other dialect may be written with them.
        plain = {camel(key): value for key, value in schema.items()} if isinstance(schema, Mapping) else {}
        for _ in range(20):
            if "$ref" in plain or "ref" in plain:
                target = self._lookup(str(plain.pop("$ref", None) or plain.pop("ref", "")))
                plain = {**target, **plain}
            elif "allOf" in plain:
                for part in plain.pop("allOf"):
                    plain = _merge(self._plain(part, depth), plain)
            elif name := next((name for name in _ALTERNATIVES if plain.get(name)), None):
                plain = {**self._alternative(plain.pop(name), depth), **plain}
            else:
                break
        return plain

    def _lookup(self, reference: str) -> dict[str, Any]:
        target: Any = self._root
        for step in reference.lstrip("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key and isinstance(target, Mapping):
                target = target.get(key, target.get(key.removeprefix("$"), {}))
        return {**target} if isinstance(target, Mapping) else {}

    def _alternative(self, options: list[Any], depth: int) -> dict[str, Any]:
        plain = [option for option in options if isinstance(option, Mapping)]
        none = [option for option in plain if str(option.get("type", "")).lower() == "null"]
        if none and depth > _MAX_DEPTH:
            return dict(none[0])
        if not (rest := [option for option in plain if option not in none]):
            return dict(none[0]) if none else {}
        for option in rest:
            # An alternative that lists the very word of the prompt is the one that was meant.
            if any(self._clues.mentions(str(choice)) for choice in option.get("enum", ())):
                return dict(option)
        return dict(rest[0])

    @staticmethod
    def _kind(schema: Mapping[str, Any]) -> str:
        given = schema.get("type")
        if isinstance(given, list):
            given = next((item for item in given if str(item).lower() != "null"), "null")
        if given:
            return str(given).lower()
        if "properties" in schema or "additionalProperties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        return "number" if "minimum" in schema or "maximum" in schema else "string"

    def _choice(self, schema: Mapping[str, Any]) -> Any:
        choices = list(schema["enum"])
        text = f" {self._clues.text.lower()} "
        for choice in choices:
            if str(choice).lower() in text and self._clues.mentions(*name_words(str(choice))):
                return choice
        if "default" in schema:
            return schema["default"]
        return self._rng.choice(choices) if self._everything else choices[0]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        given: Mapping[str, Any] = schema.get("properties") or {}
        order = [name for name in schema.get("propertyOrdering") or () if name in given]
        properties = {name: given[name] for name in dict.fromkeys([*order, *given])}
        required = [name for name in schema.get("required", ()) if isinstance(name, str)]
        kinds = [self._item_kind(inner, depth) for inner in properties.values()]
        self._number_lists = max(1, sum(kind in {"integer", "number"} for kind in kinds))
        result: dict[str, Any] = {}
        for name, inner in properties.items():
            wanted = self._everything and depth < _MAX_DEPTH
            if name in required or wanted or self._fits(inner, name, depth):
                result[name] = self.value(inner, name, depth + 1)
        for name in required:
            if name not in result:
                result[name] = self.value({}, name, depth + 1)
        extra = schema.get("additionalProperties")
        if not properties and isinstance(extra, Mapping) and depth < _MAX_DEPTH:
            keys = list(dict.fromkeys([*self._clues.keywords, "first", "second"]))
            for name in keys[: max(2, int(schema.get("minProperties") or 0))]:
                result[name] = self.value(extra, name, depth + 1)
        return result

    def _fits(self, schema: Any, name: str, depth: int) -> bool:
        """Whether the prompt speaks of this optional property."""
        plain = self._plain(schema, depth)
        words = name_words(name)
        if plain.get("enum"):
            return any(self._clues.mentions(*name_words(str(choice))) for choice in plain["enum"])
        kind = self._kind(plain)
        if kind in {"integer", "number"}:
            near = {stem(word) for word in words}
            return any(number.near & near for number in self._numbers)
        if kind == "boolean":
            return self._clues.mentions(*words)
        if kind == "string":
            return self._strings.fits(plain, name)
        return False

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        fixed = schema.get("prefixItems")
        if isinstance(fixed, list):
            return [self.value(item, name, depth + 1) for item in fixed]
        least = int(schema.get("minItems") or 0)
        most = int(schema["maxItems"]) if schema.get("maxItems") is not None else None
        inner = schema.get("items") if isinstance(schema.get("items"), Mapping) else {}
        plain = self._plain(inner, depth + 1)
        if depth > _MAX_DEPTH and "const" not in plain and not plain.get("enum"):
            count = least
        else:
            found = self._count_in_prompt(plain, name)
            count = max(least, found or (3 if self._everything else 1))
        if most is not None:
            count = min(count, most)
        if schema.get("uniqueItems") and plain.get("enum"):
            return list(plain["enum"])[:count]
        items: list[Any] = []
        for number in range(count):
            self._strings.number = number
            item = self.value(inner, name, depth + 1)
            if schema.get("uniqueItems") and item in items:
                item = self._vary(item, number, items)
            items.append(item)
        self._strings.number = None
        return items

    def _count_in_prompt(self, item: Mapping[str, Any], name: str) -> int:
        kind = self._kind(item)
        if item.get("enum"):
            return 1
        if kind in {"integer", "number"}:
            # Two lists of numbers, as for a plot, share the numbers of the prompt.
            share = len(self._numbers) // self._number_lists
            self._number_lists = max(1, self._number_lists - 1)
            return share
        return self._strings.count(name) if kind == "string" else 0

    def _item_kind(self, schema: Any, depth: int) -> str:
        """The type of a list's items; empty for what is no list."""
        plain = self._plain(schema, depth)
        return self._kind(self._plain(plain.get("items"), depth)) if self._kind(plain) == "array" else ""

    @staticmethod
    def _vary(item: Any, number: int, others: list[Any]) -> Any:
        if isinstance(item, bool) or item is None:
            return item
        if isinstance(item, int | float):
            while item in others:
                item += 1
            return item
        return f"{item} {number + 1}" if isinstance(item, str) else item

    def _number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> float:
        near = {stem(word) for word in name_words(name)}
        # A number with the parameter's name beside it, "4 people", belongs to it; else the next one in order.
        chosen = next((number for number in self._numbers if number.near & near), None)
        if chosen is None and not self._everything and self._numbers:
            chosen = self._numbers[0]
        if chosen is not None:
            self._numbers.remove(chosen)
            value = chosen.value
        elif isinstance(schema.get("default"), int | float):
            value = schema["default"]
        elif isinstance(schema.get("example"), int | float):
            value = schema["example"]
        else:
            value = invent_number(name_words(name), schema, self._rng, whole=whole)
        return fit_number(value, schema, whole=whole)

    def _boolean(self, schema: Mapping[str, Any], name: str) -> bool:
        words = [word for word in name_words(name) if len(word) > 2]
        if words and self._clues.mentions(*words):
            text = self._clues.text.lower()
            return not any(
                f"{no} {word}" in text for no in ("no", "not", "without", "never") for word in words
            )
        if isinstance(schema.get("default"), bool):
            return bool(schema["default"])
        return self._rng.random() < 0.5 if self._everything else True


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**first, **second}
    if "properties" in first and "properties" in second:
        merged["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        merged["required"] = [*first["required"], *second["required"]]
    return merged
