"""Which functions are called, in which rounds, and with what; and instances of a schema.

What is made up follows from the prompt and the declarations alone, so the whole plan is made anew for every
request, and what has been answered is taken off it: nothing has to be remembered, and the plan ends.

One walk over a schema takes what is fixed (const, enum), what the prompt says of a property by name, the
schema's own default or example, then the prompt's numbers, quotations and names in order, within the bounds.
What is made up is valid where it can be, since a cell with `--schema` holds it against the schema.
Both dialects are read: JSON Schema, and the OpenAPI subset with its upper-case types and `nullable`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

from gemini_nb.simulator.clues import NAME, Clues, name_words, read_clues, stem
from gemini_nb.simulator.fields import camel, find_definition
from gemini_nb.simulator.rules import Prompt

__all__ = ["introduce", "make_value", "next_calls"]

_MOST_CALLS = 4  # of one tool, and tools in one answer
_IN_ORDER = re.compile(r"\b(?:first|then|afterwards|after that|step by step)\b", re.IGNORECASE)
_FIRST = re.compile(r"\bfirst\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;,!?\n]|\bthen\b|\bbut\b|\band\b")
_SENTENCE = re.compile(r"(?<=[.;!?\n])\s")
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")
_VERB = re.compile("get|fetch|find|look|lookup|search|list|read|show|set|make|do|call|run|current")
_PLACE = re.compile("city|cities|town|place|location|country|region|area|origin|destination|from|to|airport")


def next_calls(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the functionCalls of the next round; none when everything was asked and answered."""
    exchanges = [exchange for exchanges in prompt.rounds for exchange in exchanges]
    # An argument may be what an earlier tool returned under its name: the id of the hotel that was found.
    facts: dict[str, Any] = {}
    for exchange in exchanges:
        result = exchange.response.get("result", exchange.response.get("output", exchange.response))
        facts |= result if isinstance(result, Mapping) else {}
    answered = len(exchanges)
    for planned in _plan(prompt):
        if answered < len(planned):
            return [
                {**call, "args": call["args"] | _known(call["args"], facts)} for call in planned[answered:]
            ]
        answered -= len(planned)
    return []


def _known(args: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name, value in args.items() if type(facts.get(name)) is type(value)}


def introduce(calls: Iterable[Mapping[str, Any]]) -> str:
    """Say what is about to be called: "Let me call `weather` (city: Oslo)."."""
    asked = []
    for call in calls:
        args = ", ".join(f"{key}: {value}" for key, value in call["args"].items())
        asked.append(f"`{call['name']}`" + (f" ({args})" if args else ""))
    return f"Let me call {' and '.join(asked)}."


def _plan(prompt: Prompt) -> list[list[dict[str, Any]]]:
    """Return all calls: in one round, or one tool a round where the prompt gives an order."""
    text, chosen = prompt.clues.text, _choose(prompt)
    if not _IN_ORDER.search(text):
        return [[call for one in chosen[:_MOST_CALLS] for call in _calls_of(one, prompt)]]
    clauses = [(clause, _stems(clause)) for clause in _CLAUSE.split(text)]
    read = [word for _, words in clauses for word in words]

    def mentioned(declaration: Mapping[str, Any]) -> tuple[bool, int]:
        subject = _subject(declaration)
        first = any(_FIRST.search(clause) and subject.intersection(words) for clause, words in clauses)
        return not first, next((place for place, word in enumerate(read) if word in subject), len(read))

    ordered = sorted(chosen, key=mentioned)
    if len(ordered) == 1 and not re.search(r"\bthen\b", text, re.IGNORECASE):
        # "Check the weather first": there is something to do after it, and a tool that may be for it.
        ordered += [one for one in prompt.functions if one not in ordered][:1]
    return [_calls_of(one, prompt) for one in ordered[:_MOST_CALLS]]


def _stems(text: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[^\W\d_]+", text)]


def _choose(prompt: Prompt) -> list[Mapping[str, Any]]:
    """Take the tools that the prompt mentions by name, else by description, else the first of use.

    One that must be given a place is of no use to a prompt that names none, unless a tool must be called.
    """
    words, declarations = prompt.clues.words, prompt.functions
    named = [one for one in declarations if _subject(one) & words]
    described = [
        one for one in declarations if words & set(map(stem, _LONG_WORD.findall(one.get("description", ""))))
    ]
    anywhere = prompt.mode == "ANY" or prompt.clues.places
    useful = [one for one in declarations if anywhere or not _is_place(_only_text(_schema_of(one)))]
    return named or described or useful[:1]


def _subject(declaration: Mapping[str, Any]) -> set[str]:
    words = name_words(declaration["name"].rpartition(".")[2])
    nouns = [word for word in words if len(word) > 2 and not _VERB.fullmatch(word)]
    return set(map(stem, nouns or words))


def _calls_of(declaration: Mapping[str, Any], prompt: Prompt) -> list[dict[str, Any]]:
    """Make the calls of one tool: one for each name where the tool takes one and the prompt has several."""
    clues = _near(declaration, prompt.clues)
    wanted = _only_text(schema := _schema_of(declaration))
    names = (clues.places if _is_place(wanted) else ()) or clues.names
    variants = [clues]
    if wanted and len(names) > 1 and not clues.quoted:
        variants = [replace(clues, names=(name,), places=(name,)) for name in names[:_MOST_CALLS]]
    found = [make_value(schema, variant, whole=False) for variant in variants]
    return [{"name": declaration["name"], "args": args if isinstance(args, dict) else {}} for args in found]


def _schema_of(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = declaration.get("parametersJsonSchema") or declaration.get("parameters")
    return schema if isinstance(schema, Mapping) else {}


def _near(declaration: Mapping[str, Any], clues: Clues) -> Clues:
    """Narrow the names to the sentence that mentions the tool, where that sentence has some."""
    for sentence in _SENTENCE.split(clues.text):
        read = read_clues(sentence)
        if read.names and _subject(declaration) & read.words:
            return replace(clues, names=read.names, places=read.places)
    return clues


def _only_text(schema: Mapping[str, Any]) -> str:
    """Return the name of the one required parameter where it takes any text, else nothing."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [name for name in schema.get("required") or properties if name in properties]
    wanted = properties[required[0]] if len(required) == 1 else None
    if not isinstance(wanted, Mapping) or wanted.keys() & {"enum", "format"}:
        return ""
    return required[0] if str(wanted.get("type", "string")).lower() == "string" else ""


def _is_place(name: str) -> bool:
    return any(map(_PLACE.fullmatch, name_words(name)))


# --------------------------------------------------------------------------------- the walk over a schema

_MAX_DEPTH = 5
_MOST_ITEMS = 100  # whatever a schema demands
_MOST_SCHEMAS = 1_000  # that are read; one that branches into itself has no end otherwise
_LONGEST = 100_000  # characters of a text, whatever a schema demands
_EXACT = 2.0**53  # up to here a float holds each whole number
_INSIDE = 1e-6  # how far a number stays from a bound that is excluded
_ASSIGNED = (
    r"(?:(?:^|[\n,;{{(:\"'])\s*{0}[\"']?\s*:|\b{0}\s*=)\s*"
    r"(?:\"([^\"\n]*)\"|((?:[^\n\"{{\[,;}}.]|,(?=\d)|\.(?=\w))+))"
)
"""How a prompt says what a property is, as in `"city": "Oslo"` and `age = 3`."""
_FOUND = (
    ("url|uri|link", r"https?://[^\s\"'<>)]*[^\s\"'<>).,;]"),
    ("e?mail|to|recipient", r"(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    (
        "path|file|filename|folder|directory",
        r"(?<![\w/:.-])(?:[\w.-]+(?:/[\w.-]*\w)+|[\w-]+\.[a-z]\w{1,4}\b)",
    ),
    (
        "expression|formula",
        r"(?<![\d.()+*/^%-])[(\d][\d\s.()]{0,24}(?:[-+*/^%]{1,2}[\s(]{0,8}\d[\d.()]{0,24}(?:\s{1,2}\){1,4}){0,4}\s?){1,40}",
    ),
    ("date|day", r"\b\d{4}-\d{2}-\d{2}\b"),
    ("time", r"\b(?:[01]\d|2[0-3]):[0-5]\d\b"),
    ("from|origin|start|departure", rf"(?<=\b[Ff]rom ){NAME}"),
    ("to|destination|end|arrival", rf"(?<=\b[Tt]o ){NAME}"),
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
    "minLength": r"at least (\d{1,9}) characters",
    "maxLength": r"at most (\d{1,9}) characters",
    "multipleOf": r"a multiple of (\d{1,9}(?:\.\d{1,9})?)",
    "exclusiveMinimum": r"greater than (-?\d{1,9}(?:\.\d{1,9})?)",
    "exclusiveMaximum": r"less than (-?\d{1,9}(?:\.\d{1,9})?)",
    "const": r"always (true|false)",
    "pattern": r"pattern: (.*?)\)?$",
}
"""What the service has no keyword for stands in the description, by itself or in brackets at its end."""
_SHAPES = ("AB-123", "ABC-1234", "A1", "a1", "en-US", "#1f6feb", "+15551234567", "12.50", "1.0.0")
"""Texts that are tried where a schema has a pattern, beside repeated letters."""


def make_value(schema: Any, clues: Clues, *, whole: bool = True) -> Any:
    """Make an instance of a schema.

    Args:
        schema: the schema.
        clues: what the prompt says.
        whole: whether all properties are made; otherwise those that are required or that the prompt names.
    """
    return _Walk(schema, clues, whole=whole).value(schema, "", 0) if isinstance(schema, Mapping) else {}


class _Walk:
    """Walks over a schema once; what was taken from the prompt is not taken again while there is more."""

    def __init__(self, root: Mapping[str, Any], clues: Clues, *, whole: bool) -> None:
        self._root = {"$defs": root.get("defs"), **root}  # as the OpenAPI subset calls the definitions
        self._clues = clues
        self._whole = whole
        self._today = datetime.now().astimezone().date()
        dated = re.sub(r"(?i)\btoday\b", str(self._today), clues.text)
        self._dated = re.sub(r"(?i)\btomorrow\b", str(self._today + timedelta(1)), dated)
        self._numbers = [value for value, _ in clues.numbers]
        self._texts = list(dict.fromkeys((*clues.quoted, *clues.names)))
        self._taken: list[Any] = []
        self._left = _MOST_SCHEMAS

    def value(self, schema: Any, name: str, depth: int) -> Any:
        """Make a value for the property `name`; nothing where the schema has no end."""
        if self._left <= 0 or depth > 2 * _MAX_DEPTH:
            return None
        schema = self._plain(schema)
        kind = _kind(schema)
        if "const" in schema:
            return schema["const"]
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        given = (
            self._said(schema, name),
            schema.get("default"),
            schema.get("example"),
            *_list(schema.get("examples")),
        )
        said = next((one for one in given if one is not None), None)
        self._taken.append(said)
        if choices := _list(schema.get("enum")):
            return choices[0] if said is None else said
        if kind in {"integer", "number"}:
            return self._number(schema, said, whole=kind == "integer")
        if kind in {"boolean", "null"}:
            return None if kind == "null" else said is not False
        form = str(schema.get("format", ""))
        return _fit(said if isinstance(said, str) else self._made_up(form, name), schema)

    def _plain(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """Resolve references, merge `allOf` and take the first alternative that is not null."""
        self._left -= 1
        own = {camel(key): value for key, value in schema.items()} if isinstance(schema, Mapping) else {}
        options = [*_list(own.pop("anyOf", None)), *_list(own.pop("oneOf", None))]
        options.sort(key=lambda one: isinstance(one, Mapping) and str(one.get("type")).lower() == "null")
        reference = str(own.pop("$ref", own.pop("ref", ""))).replace("#/defs/", "#/$defs/")
        parts = [find_definition(reference, self._root), *_list(own.pop("allOf", None)), *options[:1]]
        plain = _noted(str(own.get("description")))
        properties: dict[str, Any] = {}
        required: list[Any] = []
        deeper = (
            self._plain(one, depth + 1) for one in parts if one and depth < _MAX_DEPTH and self._left > 0
        )
        for part in (*deeper, own):
            properties |= part["properties"] if isinstance(part.get("properties"), Mapping) else {}
            required += _list(part.get("required"))
            plain |= part
        return {**plain, "properties": properties, "required": required}

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        given, required = schema["properties"], [name for name in schema["required"] if isinstance(name, str)]
        extra = schema.get("additionalProperties")
        if not given and depth < _MAX_DEPTH and isinstance(extra, Mapping):
            count = min(max(2, int(_number_in(schema, "minProperties", 0))), _MOST_ITEMS)
            return {f"item {number}": self.value(extra, "item", depth + 1) for number in range(1, count + 1)}
        ordered = [name for name in _list(schema.get("propertyOrdering")) if name in given]
        return {
            name: self.value(given.get(name), name, depth + 1)
            for name in dict.fromkeys([*ordered, *given, *required])
            if name in required
            or (self._whole and depth < _MAX_DEPTH)
            or self._said(self._plain(given[name]), name) is not None
        }

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        if fixed := _list(schema.get("prefixItems")):
            return [self.value(item, name, depth + 1) for item in fixed]
        inner = self._plain(schema.get("items"))
        kind = _kind(inner)
        found = self._texts if kind == "string" else self._numbers if kind in {"integer", "number"} else ()
        wished = 0 if depth > _MAX_DEPTH else len(found) or 1 + self._whole
        least, most = _number_in(schema, "minItems", 0), _number_in(schema, "maxItems", _MOST_ITEMS)
        count = int(min(max(least, wished), most, _MOST_ITEMS))
        if choices := _list(inner.get("enum")):
            return (choices * count)[:count]
        items: list[Any] = []
        for number in range(1, count + 1):
            item = self.value(inner, name, depth + 1)
            repeats = (
                isinstance(item, str) and item in items and not inner.keys() & {"const", "format", "pattern"}
            )
            items.append(_fit(f"{item} {number}", inner) if repeats else item)
        return items

    def _said(self, schema: Mapping[str, Any], name: str) -> Any:
        """Return what the prompt says of a property by name; None where it says nothing."""
        clues, words, kind = self._clues, name_words(name), _kind(schema)
        if choices := _list(schema.get("enum")):
            return next((one for one in choices if clues.mentions(*name_words(str(one)))), None)
        if not words:
            return None
        assigned = re.search(_ASSIGNED.format("[ _-]?".join(words)), clues.text, re.IGNORECASE)
        text = (assigned[1] or assigned[2] or "").strip() if assigned else ""
        if kind in {"integer", "number"}:
            with contextlib.suppress(ValueError):
                return float(text.replace(",", ""))
            return next((value for value, unit in clues.numbers if unit in map(stem, words)), None)
        if kind == "boolean":
            if clues.mentions("off") and {"on", "enabled", "power"}.intersection(words):
                return False
            if not clues.mentions(*(word for word in words if len(word) > 2)):
                return None
            denied = rf"\b(?:no|not|without|never) (?:{'|'.join(words)})"
            return text.lower() not in {"no", "false", "off"} and not re.search(denied, clues.text.lower())
        return text or self._found({str(schema.get("format")), *words}) if kind == "string" else None

    def _found(self, words: set[str]) -> str | None:
        """Return what has the form that one of these words asks for, such as an address or a date."""
        for keys, pattern in _FOUND:
            if any(re.fullmatch(keys, word) for word in words):
                found = [match[0].strip() for match in re.finditer(pattern, self._dated)]
                if found:
                    return next((text for text in found if text not in self._taken), found[0])
        return None

    def _number(self, schema: Mapping[str, Any], said: Any, *, whole: bool) -> float:
        value = float(said) if isinstance(said, int | float) else 1.0
        if not isinstance(said, int | float) and self._numbers and not self._whole:
            value = self._numbers[0]
        if value in self._numbers:
            self._numbers.remove(value)
        step = max(_number_in(schema, "multipleOf", whole), 0.0)
        low = max(_number_in(schema, name, -math.inf) for name in ("minimum", "exclusiveMinimum"))
        high = min(_number_in(schema, name, math.inf) for name in ("maximum", "exclusiveMaximum"))
        low += _INSIDE * (low == _number_in(schema, "exclusiveMinimum", -math.inf))
        high -= _INSIDE * (high == _number_in(schema, "exclusiveMaximum", math.inf))
        value = min(max(value if math.isfinite(value) else 1.0, low), high)
        if step and abs(value / step) < _EXACT:
            value = round(value / step) * step
            value += step * ((value < low) - (value > high))
        return int(value) if whole or value.is_integer() else round(value, 10)

    def _made_up(self, form: str, name: str) -> str:
        words = name_words(name)
        day = self._found({"date"}) or str(self._today)
        if form == "date-time":
            return f"{day}T12:00:00Z"
        if form == "date" or "date" in words:
            return day
        if made_up := next((_MADE_UP[word] for word in (form, *words) if word in _MADE_UP), None):
            return made_up + ":00" * (form == "time")
        fitting = [text for text in self._texts if (text in self._clues.places) == _is_place(name)]
        if text := next(iter(fitting or self._texts), None):
            if len(self._texts) > 1 or self._whole:
                self._texts.remove(text)
            return text
        return f"simulated {' '.join(words)}".strip() if self._whole else self._clues.topic


def _kind(schema: Mapping[str, Any]) -> str:
    given = schema.get("type")
    if isinstance(given, list):
        given = next((item for item in given if str(item).lower() != "null"), "null")
    if given:
        return str(given).lower()
    if "additionalProperties" in schema or schema.get("properties"):
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number_in(schema: Mapping[str, Any], keyword: str, otherwise: float) -> float:
    """Return a keyword's number, which protobuf may write as text."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if math.isfinite(number := float(schema.get(keyword, otherwise))):
            return number
    return otherwise


def _noted(description: str) -> dict[str, Any]:
    """Return the keywords that a description says in words."""
    found = {name: re.search(rf"(?:^|; |\(){note}", description[-500:]) for name, note in _NOTES.items()}
    return {
        name: match[1] == "true" if name == "const" else match[1] for name, match in found.items() if match
    }


def _fit(text: str, schema: Mapping[str, Any]) -> str:
    """Make a text obey the schema's pattern and lengths."""
    least, most = int(_number_in(schema, "minLength", 0)), int(_number_in(schema, "maxLength", 1e6))
    if isinstance(pattern := schema.get("pattern"), str):
        runs = [letter * count for count in range(1, 41) for letter in "Aa10"]
        tries = [text, text.lower(), text.upper(), re.sub(r"\W+", "-", text.lower()), *_SHAPES, *runs]
        with contextlib.suppress(SchemaError):  # pydantic's patterns take no longer than the text is long
            check = SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python
            text = next((one for one in tries if least <= len(one) <= most and check(one)), text)
    return text.ljust(min(least, _LONGEST), ".")[:most]
