"""Structured answers: the schema that is sent, and the check of what comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pydantic
import pytest

from answers import Rig, always, rig
from gemini_nb.errors import ArgumentError, ConfigError, SchemaMismatchError
from gemini_nb.tools.schemas.schema import OutputSchema
from scripted import call, sse_answer, text


class Person(pydantic.BaseModel):
    name: str
    age: int


@dataclass
class Place:
    name: str
    people: int = 0


class Film(TypedDict):
    title: str
    year: int


class Part(TypedDict, total=False):
    note: str


class Whole(TypedDict):
    parts: list[Part]
    best: Annotated[Part | None, pydantic.Field(description="the best")]


@pytest.mark.parametrize(
    ("schema", "answer", "parsed"),
    [
        (Person, '{"name": "Ada", "age": 36}', Person(name="Ada", age=36)),
        (Place, '{"name": "Oslo"}', Place("Oslo")),
        (Film, '{"title": "M", "year": 1931}', {"title": "M", "year": 1931}),
        (list[Film], '[{"title": "M", "year": 1931}]', [{"title": "M", "year": 1931}]),
        (list[Person], '[{"name": "Ada", "age": 36}]', [Person(name="Ada", age=36)]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, '{"a": 1}', {"a": 1}),
    ],
)
def test_an_answer_becomes_what_it_stands_for(schema: Any, answer: str, parsed: Any) -> None:
    with rig(always(text(answer[:5]), text(answer[5:], finish="STOP"))) as made:
        stream = made.start(schema=schema, generation_config={"temperature": 0}).wait(10)
        config = made.server.requests[0].json["generationConfig"]
    assert (stream.status, stream.parsed, stream.text) == ("completed", parsed, answer)
    assert config["responseMimeType"] == "application/json"
    assert config["temperature"] == 0
    assert config["responseJsonSchema"]["type"] in {"object", "array"}


@pytest.mark.parametrize(
    ("answer", "finish", "words"),
    [
        (
            '{"name": "Ada", "age": "old"}',
            "STOP",
            "does not fit Person: age: Input should be a valid integer",
        ),
        ('{"name": "Ad', "MAX_TOKENS", "It ended with MAX_TOKENS"),
        ("I would rather not.", "STOP", "does not fit Person: the answer: Invalid JSON"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error_and_keeps_its_text(
    answer: str, finish: str, words: str
) -> None:
    with rig(always(text(answer, finish=finish))) as made:
        stream = made.start(schema=Person).wait(10)
    assert (stream.status, stream.text, stream.parsed) == ("error", answer, None)
    assert isinstance(stream.error, SchemaMismatchError)
    assert words in str(stream.error)


def test_the_last_answer_after_tools_is_the_one_that_counts() -> None:
    def look() -> str:
        """Look."""
        return "Ada"

    answers = [
        sse_answer(text("I look. "), call("look"), text("", finish="STOP")),
        sse_answer(text('{"name": "Ada", "age": 36}', finish="STOP")),
    ]
    with rig(answers) as made:
        stream = made.start(schema=Person, tools=[look]).wait(10)
    assert stream.parsed == Person(name="Ada", age=36)


def test_what_is_no_schema() -> None:
    with rig(always()) as made:
        with pytest.raises(ArgumentError, match="'Person' is no schema"):
            made.start(schema="Person")
        with pytest.raises(ConfigError, match="cannot be described to the model"):
            made.start(schema=list[Rig])


def test_typed_dicts_of_the_standard_library_anywhere_in_a_type() -> None:
    made = OutputSchema(dict[str, Whole])
    assert made.read('{"a": {"parts": [{}], "best": null}}') == {"a": {"parts": [{}], "best": None}}
    with pytest.raises(ValueError, match=r"a\.best: Field required"):
        made.read('{"a": {"parts": []}}')
    assert "the best" in str(made.json_schema)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('{"n": "three"}', "does not fit Count: n: 'three' is not of type 'integer'"),
        ("{}", "does not fit Count: the answer: 'n' is a required property"),
        ('{"n": 1, "list": [1, "b"]}', "list[1]: 'b' is not of type 'integer'"),
    ],
)
def test_an_answer_is_held_against_a_json_schema(answer: str, words: str) -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    properties = {"n": {"type": "integer"}, "list": numbers}
    schema = {"title": "Count", "type": "object", "properties": properties, "required": ["n"]}
    with rig(always(text(answer, finish="STOP"))) as made:
        stream = made.start(schema=schema).wait(10)
    assert isinstance(stream.error, SchemaMismatchError)
    assert words in str(stream.error)
    assert stream.text == answer


def test_what_is_no_json_schema_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"no JSON schema: 'thing' .*type"):
        OutputSchema({"type": "THING"})


def test_a_composed_type_has_a_name() -> None:
    assert OutputSchema(list[Film]).name == "list[test_schema.Film]"
    assert OutputSchema(Annotated[int, pydantic.Field(ge=1)]).name.startswith("Annotated[int")
