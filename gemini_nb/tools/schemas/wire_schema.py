"""JSON schemas as the service takes them.

Gemini documents a part of JSON Schema. What else a schema says is refused (`$ref` beside other keywords) or
ignored (`const`, `pattern`), as the documentation says or users report; none of it was measured. So a schema
is rewritten before it is sent: what has another word gets that word, what has none goes into the description,
where the model reads it. What comes back is held against the schema as it was given, which the rewritten one
only widens.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard
from urllib.parse import unquote

from gemini_nb.errors import ConfigError
from gemini_nb.redaction import excerpt

_KEPT = ("type", "description", "minItems", "maxItems", "minimum", "maximum", "default", "propertyOrdering")
_FORMATS = {"date-time", "date", "time"}
_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_BOUNDS = ("minItems", "maxItems", "minimum", "maximum")
_NOTES = {
    "format": "format: {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "multipleOf": "a multiple of {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "uniqueItems": "no item twice",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "pattern: {}",
}
# Keywords whose value is a schema, a list of schemas, schemas by name.
ONE = ("items", "additionalItems", "additionalProperties", "not", "contains", "propertyNames")
MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
NAMED = ("properties", "patternProperties", "$defs", "definitions")
_SAYING = {*_KEPT, *_NOTES, *ONE, *MANY, "properties", "patternProperties", "required", "enum", "const"}
_SILENT = frozenset(
    {"title", "examples", "example", "deprecated", "readOnly", "writeOnly", "nullable", "discriminator"}
    | {"contentEncoding", "contentMediaType", "contentSchema", "xml", "externalDocs", "minContains"}
    | {"maxContains", "if", "then", "else", "dependencies", "dependentRequired", "dependentSchemas"}
    | {"unevaluatedItems", "unevaluatedProperties", "definitions"}
)
_COPIES = 200
"""Definitions that one schema may copy: each copy may copy in its turn."""


def clean_schema(schema: Mapping[str, Any], *, is_foreign: bool = False) -> dict[str, Any]:
    """Return the schema with nothing in it that the service refuses or ignores.

    Names and values of the caller's (a property named `title`, a default that holds `const`) stay.

    Args:
        schema: the schema.
        is_foreign: whether the user cannot mend it, such as a server's. What is wrong in it is left out,
            and the rest stays.

    Raises:
        ConfigError: it refers to what is not in it, is nested too deeply, or is no schema.
    """
    try:
        return _Cleaner(schema, is_foreign=is_foreign).whole()
    except RecursionError:
        raise too_deep() from None
    except TypeError as error:
        raise ConfigError(
            f"A keyword of the schema has a value of the wrong kind: {excerpt(str(error))}."
        ) from None


def too_deep() -> ConfigError:
    """Return the error for a schema that a recursion does not get to the end of."""
    return ConfigError("The schema is nested too deeply, or holds itself.")


class _Cleaner:
    """One walk over a schema; `inside` holds the pointers of definitions being written out."""

    def __init__(self, root: Mapping[str, Any], *, is_foreign: bool) -> None:
        self._root = root
        self._is_foreign = is_foreign
        self._anchors: dict[object, str] = {}
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}
        self._reached: dict[str, set[str]] = {}
        self._copies = 0

    def whole(self) -> dict[str, Any]:
        made = self._schema(self._root, frozenset({""}), is_root=True)
        return {**made, "$defs": self._definitions} if self._definitions else made

    def _schema(
        self, given: Any, inside: frozenset[str], *, in_property: bool = False, is_root: bool = False
    ) -> dict[str, Any]:
        if not isinstance(given, Mapping):  # true
            return {}
        given, inside = self._flat(given, inside)
        if self._is_foreign:
            given = _without_faults(given)
        if isinstance(given.get("$ref"), str):
            return self._reference(given, inside, in_property=in_property, is_root=is_root)
        made = {name: given[name] for name in _KEPT if name in given}
        made |= {name: value for name, value in given.items() if _is_unknown(name)}
        if _is_sent(given.get("format")):
            made["format"] = given["format"]
        self._add_inner(made, given, inside, in_property=in_property)
        self._add_object(made, given, inside, in_property=in_property)
        _bound(made, given)
        made = _enumerate(made, given)
        if notes := _notes(given):
            text = made.get("description")
            made["description"] = f"{text} ({notes})" if text else notes
        return made

    def _add_inner(
        self, made: dict[str, Any], given: Mapping[str, Any], inside: frozenset[str], *, in_property: bool
    ) -> None:
        """Add the alternatives and items."""

        def inner(schema: Any) -> dict[str, Any]:
            return self._schema(schema, inside, in_property=in_property)

        options = None if _values(given) else given.get("anyOf", given.get("oneOf"))
        if is_list(options) and any(some := [inner(one) for one in options if one is not False]):
            made["anyOf"] = some
        first, items = _items_of(given)
        if first:
            made["prefixItems"] = [inner(one) for one in first]
        if items is False:
            most = made.get("maxItems")
            made["maxItems"] = len(first) if most is None else min(len(first), most)
        elif isinstance(items, Mapping):
            made["items"] = inner(items)

    def _add_object(
        self, made: dict[str, Any], given: Mapping[str, Any], inside: frozenset[str], *, in_property: bool
    ) -> None:
        """Add what an object holds."""
        properties = given.get("properties")
        if isinstance(properties, Mapping):
            made["properties"] = {
                name: self._schema(one, inside, in_property=True)
                for name, one in properties.items()
                if one is not False
            }
            names = given["required"] if is_list(given.get("required")) else []
            # The service takes references in a circle only where a property may be left out.
            required = [
                name
                for name in names
                if name in made["properties"] and not self._turns(properties[name], inside)
            ]
            if required:
                made["required"] = required
        extra = _extra_of(given)
        if isinstance(extra, bool):
            made["additionalProperties"] = extra
        elif isinstance(extra, Mapping):
            made["additionalProperties"] = self._schema(extra, inside, in_property=in_property)

    # ------------------------------------------------------------ references

    def _flat(
        self, given: Mapping[str, Any], inside: frozenset[str]
    ) -> tuple[Mapping[str, Any], frozenset[str]]:
        """Return the schema with the parts of its `allOf` merged in, and the definitions opened for that."""
        parts = given.get("allOf")
        if not is_list(parts):
            return given, inside
        whole: Mapping[str, Any] = {name: value for name, value in given.items() if name != "allOf"}
        parts = [part for part in parts if isinstance(part, Mapping)]
        if len(parts) == 1 and not _says(whole):
            return self._flat({**whole, **parts[0]}, inside)
        for part in reversed(parts):
            flat, inside = self._opened(part, inside)
            flat, inside = self._flat(flat, inside)
            whole = _merge(flat, whole)
        return whole, inside

    def _opened(
        self, part: Mapping[str, Any], inside: frozenset[str]
    ) -> tuple[Mapping[str, Any], frozenset[str]]:
        """Return a part with the definitions that it refers to written out, and those opened for that."""
        while isinstance(part.get("$ref"), str):
            pointer = self._pointer(part["$ref"])
            part = {name: value for name, value in part.items() if name != "$ref"}
            if pointer not in inside:
                part, inside = _merge(self._target(pointer), part), inside | {pointer}
        return part, inside

    def _reference(
        self, given: Mapping[str, Any], inside: frozenset[str], *, in_property: bool, is_root: bool
    ) -> dict[str, Any]:
        """Return a reference by itself, or the definition with what is said beside it."""
        pointer = self._pointer(given["$ref"])
        if not in_property and self._reach(pointer) & inside:
            return {}
        beside = {name: value for name, value in given.items() if name in _SAYING or _is_unknown(name)}
        if (beside or is_root) and pointer not in inside and self._copies < _COPIES:
            self._copies += 1
            copied = _merge(self._target(pointer), beside)
            return self._schema(copied, inside | {pointer}, in_property=in_property, is_root=is_root)
        return {"$ref": f"#/$defs/{self._define(pointer)}"}

    def _define(self, pointer: str) -> str:
        """Return the name of a definition, and write the definition out once."""
        if pointer not in self._names:
            plain = re.sub(r"[^\w.-]+", "_", pointer.rpartition("/")[2], flags=re.ASCII) or "root"
            name = plain
            for number in range(2, len(self._names) + 3):
                if name not in self._definitions:
                    break
                name = f"{plain}_{number}"
            self._names[pointer] = name
            self._definitions[name] = {}
            self._definitions[name] = self._schema(self._target(pointer), frozenset({pointer}))
        return self._names[pointer]

    def _turns(self, schema: Any, inside: frozenset[str]) -> bool:
        """Whether something in the schema leads back to where it stands."""
        return any(self._reach(self._pointer(reference)) & inside for reference in _references(schema))

    def _reach(self, pointer: str) -> set[str]:
        """Return the definitions that one leads to, itself among them."""
        if pointer not in self._reached:
            found, new = {pointer}, [pointer]
            while new:
                targets = {self._pointer(reference) for reference in _references(self._target(new.pop()))}
                new += targets - found
                found |= targets
            self._reached[pointer] = found
        return self._reached[pointer]

    def _pointer(self, reference: str) -> str:
        if reference.startswith("#/") or reference == "#":
            return unquote(reference[1:])
        if not self._anchors:  # once: a schema may have thousands of references
            for path, one in paths(self._root):
                for name in ("$id", "$anchor"):
                    if isinstance(anchor := one.get(name), str):
                        self._anchors.setdefault(anchor, path)
        anchor = reference.removeprefix("#")
        if anchor not in self._anchors and not self._is_foreign:
            raise _missing(reference)
        return self._anchors.get(anchor, f"/{reference}")

    def _target(self, pointer: str) -> Mapping[str, Any]:
        target: Any = self._root
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping):
                target = target.get(key, target.get(f"${key}"))
            elif is_list(target) and key.isdecimal() and int(key) < len(target):
                target = target[int(key)]
            else:
                target = None
        if isinstance(target, Mapping):
            return target
        if isinstance(target, bool) or self._is_foreign:
            return {}
        raise _missing(f"#{pointer}")


def _extra_of(given: Mapping[str, Any]) -> Any:
    """Return what other properties may be; names that fit a pattern are among those, for the service."""
    extra, patterns = given.get("additionalProperties"), given.get("patternProperties")
    if extra or not isinstance(patterns, Mapping) or not patterns:
        return extra
    forms = list(patterns.values())
    return {"anyOf": forms} if len(forms) > 1 else forms[0]


def _missing(reference: str) -> ConfigError:
    return ConfigError(f"A schema refers to {reference}, which is not in it.", hint="Put it under $defs.")


def is_list(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is an array of JSON."""
    return isinstance(value, (list, tuple))


def _without_faults(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema without wrong types and bounds, for which the service refuses the whole request."""
    kinds = schema.get("type")
    known = [one for one in (kinds if is_list(kinds) else [kinds]) if one in _TYPES]
    faults = {name for name in _BOUNDS if name in schema and not _is_number(schema[name])}
    whole = {name: value for name, value in schema.items() if name not in faults and name != "type"}
    return whole if not known else {"type": known if is_list(kinds) else known[0], **whole}


def _says(schema: Mapping[str, Any]) -> bool:
    return any(name in _SAYING or name == "$ref" or _is_unknown(name) for name in schema)


def _is_unknown(name: str) -> bool:
    """Whether JSON Schema has no such keyword: it may be a new one of the service, which stays."""
    return name not in _SAYING | _SILENT and not str(name).startswith(("$", "x-"))


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the schemas that stand in a schema, each with the way to it."""
    for name in (*ONE, *MANY):
        value = schema.get(name)
        if is_list(value):
            yield from ((f"/{name}/{index}", one) for index, one in enumerate(value))
        else:
            yield f"/{name}", value
    for name in NAMED:
        if isinstance(named := schema.get(name), Mapping):
            for key, one in named.items():
                yield f"/{name}/" + str(key).replace("~", "~0").replace("/", "~1"), one


def paths(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schema and all schemas in it, each with its pointer."""
    if isinstance(schema, Mapping):
        yield path, schema
        for step, one in _inner(schema):
            yield from paths(one, path + step)


def _references(schema: Any) -> Iterator[str]:
    return (one["$ref"] for _, one in paths(schema) if isinstance(one.get("$ref"), str))


def _merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two schemas; the second wins where they differ."""
    both = {**first, **second}
    if "properties" in first and "properties" in second:
        both["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        both["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return both


def _bound(made: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Convert exclusive bounds into inclusive ones, the only ones the service knows."""
    whole = given.get("type") == "integer"
    for name, inclusive, nearest, step in (
        ("exclusiveMinimum", "minimum", math.floor, 1),
        ("exclusiveMaximum", "maximum", math.ceil, -1),
    ):
        bound, other = given.get(name), given.get(inclusive)
        if bound is True:  # as it was written before 2019
            bound, other = other, None
        if _is_number(bound):
            tight = nearest(bound) + step if whole else bound
            choose = max if step > 0 else min
            made[inclusive] = choose(tight, other) if _is_number(other) else tight


def _is_sent(form: object) -> bool:
    return isinstance(form, str) and form in _FORMATS


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _notes(given: Mapping[str, Any]) -> str:
    """Describe in words what the service has no keyword for."""
    notes = []
    values = _values(given)
    said = all(value is None or isinstance(value, str) or _is_number(value) for value in values)
    if not said and sorted(map(_json, values)) != ["false", "true"]:
        notes.append(("one of " if len(values) > 1 else "always ") + ", ".join(map(_json, values)))
    for name, words in _NOTES.items():
        if (value := _noted(name, given)) is not None and value is not False:
            notes.append(words.format(value))
    return "; ".join(notes)


def _noted(name: str, given: Mapping[str, Any]) -> Any:
    """Return the value of a keyword as it is said in words; None where a keyword of the service says it."""
    value = given.get(name)
    if name.startswith("exclusive"):
        if given.get("type") == "integer":
            return None
        return given.get(name.replace("exclusiveM", "m")) if value is True else value
    return None if name == "format" and _is_sent(value) else value


def _items_of(given: Mapping[str, Any]) -> tuple[list[Any] | tuple[Any, ...], Any]:
    """Return the schemas of the first items of an array, and that of all others."""
    first, items = given.get("prefixItems"), given.get("items")
    if is_list(items):  # as it was written before 2020
        first, items = items, given.get("additionalItems")
    return first if is_list(first) else [], items


def _values(given: Mapping[str, Any]) -> list[Any]:
    """Return the only values that are allowed; none where all are."""
    values = [given["const"]] if "const" in given else given.get("enum")
    return list(values) if is_list(values) else []


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _enumerate(made: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the values that are allowed; the service knows enumerations of texts, and of numbers."""
    if not (values := _values(given)):
        return made
    kinds: dict[str, list[Any]] = {}
    for value in values:
        kinds.setdefault(_kind(value), []).append(value)
    if "number" in kinds and "integer" in kinds:
        kinds["number"] = [*kinds.pop("integer"), *kinds["number"]]
    options: list[dict[str, Any]] = []
    for kind, members in kinds.items():
        wider = "number" if kind == "integer" and given.get("type") == "number" else kind
        options.append(
            {"type": wider} | ({"enum": members} if kind in {"string", "integer", "number"} else {})
        )
    made = {name: value for name, value in made.items() if name != "type"}
    return {**made, **options[0]} if len(options) == 1 else {**made, "anyOf": options}


def _kind(value: object) -> str:
    for types, name in ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number")):
        if isinstance(value, types):
            return name
    return "null" if value is None else "array" if is_list(value) else "object"
