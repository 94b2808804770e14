"""Schemas as they are sent: without what the service refuses or ignores, with all that a model can read."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import jsonschema
import pydantic
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import always, rig
from gemini_nb.errors import ConfigError
from gemini_nb.simulator.fields import check_json_schema
from gemini_nb.simulator.requests import RefusalError
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.result import to_result
from gemini_nb.tools.schemas.openapi import from_openapi, tidy_tools
from gemini_nb.tools.schemas.schema import OutputSchema
from gemini_nb.tools.schemas.wire_schema import clean_schema
from gemini_nb.tools.tool import Tool, ToolSet
from scripted import text

DOCUMENTED = {
    *("$ref", "$defs", "type", "format", "description", "default", "enum", "items", "prefixItems"),
    *("minItems", "maxItems", "minimum", "maximum", "anyOf", "properties", "additionalProperties"),
    *("required", "propertyOrdering", "newWord"),
}


def schemas_in(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all that stand in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name in ("properties", "$defs"):
        for one in schema.get(name, {}).values():
            yield from schemas_in(one)
    for name in ("items", "additionalProperties"):
        yield from schemas_in(schema.get(name))
    for name in ("anyOf", "prefixItems"):
        for one in schema.get(name, ()):
            yield from schemas_in(one)


def check_sendable(schema: dict[str, Any]) -> None:
    for one in schemas_in(schema):
        assert one.keys() <= DOCUMENTED, one
        assert "$ref" not in one or one.keys() == {"$ref"}
        assert one.get("format", "date") in {"date-time", "date", "time"}
    assert "$ref" not in schema
    check_json_schema(schema, "schema")
    jsonschema.Draft202012Validator.check_schema(schema)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(pydantic.BaseModel):
    """A place in a tree."""

    label: str = pydantic.Field(min_length=2, examples=["root"])
    children: list[Node]
    above: Optional[Node] = pydantic.Field(description="the node above")  # noqa: UP045 - it is not defined yet


class Whole(pydantic.BaseModel):
    title: str
    const: Literal["fixed"]
    default: Literal[True, 3] | None
    examples: Annotated[int, pydantic.Field(gt=0, lt=10)] = 3
    colour: Colour = pydantic.Field(Colour.RED, title="The colour", description="of the wall")
    either: Annotated[Colour | int, pydantic.Field(json_schema_extra={"$comment": "x"})]
    pair: tuple[int, str]
    codes: dict[Annotated[str, pydantic.Field(pattern="^[A-Z]$")], int]
    tree: Node = pydantic.Field(description="where it stands")


@dataclass
class Endless:
    name: str
    rest: Endless


@pytest.mark.parametrize(
    "kind", [Node, Whole, Endless, list[Node], dict[str, Whole], Colour, tuple[int, ...]]
)
def test_a_types_schema_is_sent_in_documented_words(kind: Any) -> None:
    made = OutputSchema(kind).json_schema
    check_sendable(made)
    assert clean_schema(made) == made

    def take(value: Any) -> None: ...

    take.__annotations__ = {"value": kind}
    check_sendable(Tool(take).declaration["parametersJsonSchema"])


def test_names_of_properties_are_no_keywords() -> None:
    made = OutputSchema(Whole).json_schema
    properties = made["properties"]
    assert list(properties) == list(Whole.model_fields)
    assert set(made["required"]) == {"title", "const", "default", "either", "pair", "codes", "tree"}
    assert properties["title"] == {"type": "string"}
    assert properties["const"] == {"type": "string", "enum": ["fixed"]}
    assert properties["examples"] == {"type": "integer", "default": 3, "minimum": 1, "maximum": 9}
    assert properties["codes"] == {"type": "object", "additionalProperties": {"type": "integer"}}


def test_what_stands_beside_a_reference_stays() -> None:
    properties = OutputSchema(Whole).json_schema["properties"]
    assert properties["colour"] == {
        "type": "string",
        "enum": ["red", "blue"],
        "default": "red",
        "description": "of the wall",
    }
    assert properties["tree"]["description"] == "where it stands"
    assert properties["tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_circle_is_closed_by_a_property_that_may_be_left_out() -> None:
    for made in (OutputSchema(Node).json_schema, OutputSchema(list[Node]).json_schema["$defs"]["Node"]):
        assert made["required"] == ["label"]
        assert made["properties"]["above"]["description"] == "the node above"
        assert made["properties"]["label"]["description"] == "at least 2 characters"
    assert OutputSchema(Endless).json_schema["required"] == ["name"]


X: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"const": None}, {"type": "null"}),
        ({"const": True}, {"type": "boolean", "description": "always true"}),
        ({"enum": [True, False]}, {"type": "boolean"}),
        (
            {"const": 2, "title": "Two", "description": "Two."},
            {"type": "integer", "enum": [2], "description": "Two."},
        ),
        ({"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        (
            {"oneOf": [{"type": "string"}, {"const": 1}]},
            {"anyOf": [{"type": "string"}, {"type": "integer", "enum": [1]}]},
        ),
        ({"type": "integer", "exclusiveMinimum": 1.5}, {"type": "integer", "minimum": 2}),
        ({"type": "integer", "exclusiveMinimum": 3, "minimum": 9}, {"type": "integer", "minimum": 9}),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {"type": "integer", "minimum": 4}),
        (
            {"type": "number", "exclusiveMaximum": 1, "multipleOf": 0.5},
            {"type": "number", "maximum": 1, "description": "a multiple of 0.5; less than 1"},
        ),
        (
            {"type": "string", "format": "email", "pattern": "@", "description": "Whose."},
            {"type": "string", "description": "Whose. (format: email; pattern: @)"},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        (
            {"definitions": {"a": {"type": "string"}}, "type": "array", "items": {"$ref": "#/definitions/a"}},
            {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "string"}}},
        ),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}, "b": {}}, "$schema": "x"},
            {"type": "string"},
        ),
        (
            {"allOf": [{"$ref": "#/$defs/a"}, {"description": "A."}], "$defs": {"a": X}},
            {**X, "description": "A."},
        ),
        (
            {"allOf": [X, {"properties": {"y": {}}, "required": ["y"]}]},
            {"type": "object", "properties": {"x": {"type": "integer"}, "y": {}}, "required": ["x", "y"]},
        ),
        (
            {"type": "array", "items": [{"type": "integer"}], "additionalItems": False},
            {"type": "array", "prefixItems": [{"type": "integer"}], "maxItems": 1},
        ),
        (
            {"properties": {"no": False, "yes": True}, "required": ["no", "yes"]},
            {"properties": {"yes": {}}, "required": ["yes"]},
        ),
        (
            {"properties": {"more": {"$ref": "#"}}, "required": ["more"]},
            {
                "properties": {"more": {"$ref": "#/$defs/root"}},
                "$defs": {"root": {"properties": {"more": {"$ref": "#/$defs/root"}}}},
            },
        ),
        (
            {"items": {"$ref": "#it"}, "$defs": {"q": {"$anchor": "it", "type": "string"}}},
            {"items": {"$ref": "#/$defs/q"}, "$defs": {"q": {"type": "string"}}},
        ),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, {}),
        (
            {"default": {"const": 1, "title": "t", "$ref": "x"}},
            {"default": {"const": 1, "title": "t", "$ref": "x"}},
        ),
        ({"newWord": 1, "x-own": 2, "deprecated": True}, {"newWord": 1}),
        ({"properties": {"$ref": {"type": "string"}}}, {"properties": {"$ref": {"type": "string"}}}),
    ],
)
def test_each_keyword_gets_a_word_that_the_service_knows(schema: Any, sent: Any) -> None:
    before = json.dumps(schema)
    assert clean_schema(schema) == sent
    check_sendable(sent)
    assert clean_schema(sent) == sent
    assert json.dumps(schema) == before


def test_a_reference_to_nothing_and_a_schema_that_holds_itself_are_told() -> None:
    for reference in ("#/$defs/nothing", "https://example.org/x.json", "#nothing", "#/type"):
        with pytest.raises(ConfigError, match="which is not in it"):
            clean_schema({"type": "object", "properties": {"a": {"$ref": reference}}})
    circle: dict[str, Any] = {}
    circle["items"] = circle
    for change in (clean_schema, from_openapi):
        with pytest.raises(ConfigError, match="nested too deeply"):
            change(circle)


def test_definitions_that_copy_each_other_stay_small() -> None:
    said = {"description": "x"}
    definitions: dict[str, Any] = {
        f"d{number}": {"properties": {name: {"$ref": f"#/$defs/d{number + 1}", **said} for name in "ab"}}
        for number in range(40)
    }
    made = clean_schema({"$ref": "#/$defs/d0", "$defs": {**definitions, "d40": {"type": "string"}}})
    check_sendable(made)
    assert len(json.dumps(made)) < 100_000


def test_an_answer_is_held_against_the_schema_as_it_was_given() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}, "title": "Ex"}
    with rig(always(text('{"a": "y"}', finish="STOP"))) as made:
        stream = made.start(schema=schema).wait(10)
        sent = made.server.requests[0].json["generationConfig"]["responseJsonSchema"]
    assert "does not fit Ex: a: 'y' does not match '^x'" in str(stream.error)
    assert sent["properties"]["a"] == {"type": "string", "description": "pattern: ^x"}


def test_a_declaration_is_sent_in_documented_words_and_in_the_field_for_its_kind() -> None:
    simple = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True, "title": "A"}}}
    listed = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    fixed = {"type": "OBJECT", "properties": {"a": {"const": "x"}, "b": {"type": "STRING", "nullable": True}}}
    given = [
        {"name": "simple", "parameters": simple},
        {"name": "listed", "parameters": listed, "response": fixed},
        {"name": "json", "parametersJsonSchema": {**fixed, "title": "T", "$schema": "s"}},
    ]
    [tool] = ToolSet(given).wire()
    assert tidy_tools([{"functionDeclarations": given}, {"googleSearch": {}}]) == [tool, {"googleSearch": {}}]
    declarations = tool["functionDeclarations"]
    sent = {
        "type": "object",
        "properties": {"a": {"type": "string", "enum": ["x"]}, "b": {"type": ["string", "null"]}},
    }
    assert declarations[0] == {"name": "simple", "parameters": simple}
    assert declarations[1] == {"name": "listed", "parametersJsonSchema": listed, "responseJsonSchema": sent}
    assert declarations[2] == {"name": "json", "parametersJsonSchema": sent}


@pytest.mark.parametrize("mode", ["ANY", "any", "AUTO"])
def test_a_call_that_is_demanded_has_a_schema_also_without_arguments(mode: str) -> None:
    def now() -> str:
        return "now"

    bare = {"name": "bare"}
    calling = {"functionCallingConfig": {"mode": mode}}
    body = {"contents": "hi", "tools": [{"functionDeclarations": [{"name": "own", "parameters": {}}]}]}
    with rig(always(text("ok", finish="STOP"))) as made:
        for options in ({"contents": "hi"}, {"contents": None, "request_body": body}):
            made.start(**options, tools=[now, bare], tool_config=calling).wait(10)
        sent = [
            one
            for got in made.server.requests
            for tool in got.json["tools"]
            for one in tool["functionDeclarations"]
        ]
    empty = {"type": "object", "properties": {}}
    demanded = {"parametersJsonSchema": empty} if mode != "AUTO" else {}
    assert {one["name"] for one in sent} == {"now", "bare", "own"}
    for one in sent:
        if one["name"] == "now":
            assert one == {"name": "now", "parametersJsonSchema": empty}
        else:
            assert one.get("parametersJsonSchema") == demanded.get("parametersJsonSchema")


OPENAPI = {
    "type": "OBJECT",
    "properties": {"n": {"type": "INTEGER", "minimum": 1}, "note": {"type": "STRING", "nullable": True}},
    "required": ["n"],
}
JSON_SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1}, "note": {"type": ["string", "null"]}},
    "required": ["n"],
}
FIXED: dict[str, Any] = {**OPENAPI, "additionalProperties": False}


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"schema": types.Schema.model_validate(OPENAPI)}, {"responseJsonSchema": JSON_SCHEMA}),
        ({"schema": OPENAPI}, {"responseJsonSchema": JSON_SCHEMA}),
        ({"generation_config": {"response_schema": OPENAPI}}, {"responseSchema": OPENAPI}),
        (
            {"generation_config": {"responseSchema": types.Schema.model_validate(OPENAPI)}},
            {"responseSchema": OPENAPI},
        ),
        (
            {
                "generation_config": types.GenerateContentConfig(
                    response_schema=types.Schema.model_validate(OPENAPI),
                    response_mime_type="application/json",
                )
            },
            {"responseSchema": OPENAPI},
        ),
        (
            {"generation_config": {"response_schema": FIXED}},
            {"responseJsonSchema": {**JSON_SCHEMA, "additionalProperties": False}},
        ),
        (
            {"generation_config": {"response_json_schema": {**JSON_SCHEMA, "title": "T"}}},
            {"responseJsonSchema": JSON_SCHEMA},
        ),
        (
            {"request_body": {"contents": "hi", "generation_config": {"response_schema": FIXED}}},
            {"responseJsonSchema": {**JSON_SCHEMA, "additionalProperties": False}},
        ),
    ],
)
def test_a_schema_in_the_openapi_form_is_checked_like_any_other(options: Any, sent: dict[str, Any]) -> None:
    for answer, parsed in (
        ('{"n": 3, "note": null}', {"n": 3, "note": None}),
        ('{"n": 0}', None),
        ('{"note": 1}', None),
    ):
        with rig(always(text(answer, finish="STOP"))) as made:
            first = () if "request_body" in options else ("hi",)
            stream = made.manager.start_stream(*first, **{**made.options, **options}).wait(10)
            config = made.server.requests[0].json["generationConfig"]
        assert config == {"responseMimeType": "application/json", **sent}
        expected = json.loads(answer) if "request_body" in options else parsed  # whose answer is not judged
        assert stream.parsed == expected
        assert stream.status == ("completed" if expected else "error")


def test_an_enumeration_as_text_is_left_as_it_is() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}
    with rig(always(text("a", finish="STOP"))) as made:
        stream = made.start(generation_config=config).wait(10)
        assert made.server.requests[0].json["generationConfig"] == config
    assert stream.status == "completed"


def test_what_is_no_schema_in_a_config_is_refused_at_the_call() -> None:
    with rig(always()) as made, pytest.raises(ConfigError, match="no JSON schema"):
        made.start(generation_config={"response_schema": {"type": "THING"}})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {}}, "title": "no"},
        {"properties": {"a": {"$ref": "#/definitions/a"}}, "definitions": {"a": {}}},
        {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
        {
            "$defs": {
                "a": {"properties": {"b": {"$ref": "#/$defs/b"}}},
                "b": {"properties": {"a": {"items": {"$ref": "#/$defs/a"}}}, "required": ["a"]},
            }
        },
    ],
)
def test_the_simulator_refuses_references_as_the_service_does(schema: Any) -> None:
    with pytest.raises(RefusalError):
        check_json_schema(schema, "schema")


def test_a_tools_own_references_are_not_read_as_names_of_parts() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    found = to_result(
        {
            "schema": {
                "items": [{"$ref": "#/$defs/a", "ref": 1}],
                "deep": {"a": {"b": {"$ref": "x"}}},
            },
            "kept": {"$ref": 3, "properties": {"$ref": {"type": "string"}}},
            "picture": image,
        }
    )
    assert found.value == {
        "schema": {"items": [{"_ref": "#/$defs/a", "ref": 1}], "deep": {"a": {"b": {"ref": "x"}}}},
        "kept": {"$ref": 3, "properties": {"$ref": {"type": "string"}}},
        "picture": {"$ref": "image-1"},
    }
    assert len(found.parts) == 1


def test_the_simulator_refuses_a_reference_to_no_part() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk=", "displayName": "image-1"}}
    declared = [{"functionDeclarations": [{"name": "f"}]}]

    def answer(reference: str) -> Stream:
        response = {"name": "f", "response": {"r": [{"$ref": reference}]}, "parts": [image]}
        call = {
            "functionCall": {"name": "f", "args": {}},
            "thoughtSignature": "skip_thought_signature_validator",
        }
        contents = [
            {"role": "user", "parts": [{"text": "Look."}]},
            {"role": "model", "parts": [call]},
            {"role": "user", "parts": [{"functionResponse": response}]},
        ]
        return manager.start_stream(contents, auth="simulator", tools=declared).wait(20)

    manager = StreamManager()
    try:
        assert answer("image-1").error is None
        assert "names none of its parts" in str(answer("image-2").error)
    finally:
        manager.shutdown()


# ------------------------------------------------------------------ any schema

NAMES = st.sampled_from(["a", "title", "const", "default", "$ref", "enum"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from(["", "a", "bcd", "2026-11-27", "@"]),
    st.just(1.5),
)
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
REFERENCES = st.sampled_from(["#/$defs/one", "#/$defs/two", "#/definitions/one", "#"])


def _some(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


TEXTS = {
    "title": st.just("T"),
    "description": st.just("D"),
    "examples": st.just([{"$ref": "x"}]),
    "default": JSON,
}
NUMBER = st.integers(-2, 9) | st.just(2.5)
LEAVES = st.one_of(
    st.booleans(),
    _some(**TEXTS, const=JSON),
    _some(**TEXTS, enum=st.lists(JSON, min_size=1, max_size=4)),
    _some(
        **TEXTS,
        type=st.sampled_from(["integer", "number"]),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBER),
        multipleOf=st.just(2),
    ),
    _some(
        **TEXTS,
        type=st.sampled_from(["string", ["string", "null"]]),
        minLength=st.just(2),
        pattern=st.just("a"),
    ),
    st.builds(lambda beside, ref: {**beside, "$ref": ref}, _some(**TEXTS), REFERENCES),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _some(
            **TEXTS,
            type=st.just("object"),
            properties=st.dictionaries(NAMES, inner, max_size=3),
            required=st.lists(NAMES, max_size=2, unique=True),
            additionalProperties=inner,
        ),
        _some(**TEXTS, type=st.just("array"), items=inner, minItems=st.just(1), uniqueItems=st.booleans()),
        _some(type=st.just("array"), prefixItems=st.lists(inner, min_size=1, max_size=2), items=inner),
        _some(
            **TEXTS, **{name: st.lists(inner, min_size=1, max_size=3) for name in ("anyOf", "oneOf", "allOf")}
        ),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict)), SCHEMAS, SCHEMAS, st.lists(JSON, max_size=8))
def test_what_fits_a_schema_fits_what_is_sent(
    schema: dict[str, Any], one: Any, two: Any, values: list[Any]
) -> None:
    whole = {**schema, "$defs": {"one": one, "two": two}, "definitions": {"one": two}}
    made = clean_schema(whole)
    check_sendable(made)
    assert clean_schema(made) == made
    original, sent = jsonschema.Draft202012Validator(whole), jsonschema.Draft202012Validator(made)
    for value in values:
        try:
            fits = original.is_valid(value)
        except RecursionError:  # a reference that leads to itself
            continue
        assert not fits or sent.is_valid(value)
