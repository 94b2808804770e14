"""What the simulator says: prose that reads the prompt, structured answers, arguments that fit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import pytest
from pydantic import AnyUrl, BaseModel, Field, TypeAdapter

from gemini_nb.simulator import Simulator
from gemini_nb.simulator.arguments import make_value
from gemini_nb.simulator.clues import read_clues
from gemini_nb.tools.schemas.wire_schema import clean_schema

PATH = "/v1beta/models/gemini-3.8-flash:generateContent"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        Simulator(pace=0) as sim,
        httpx.Client(base_url=sim.base_url, headers={"x-goog-api-key": "k"}) as opened,
    ):
        yield opened


def turn(role: str, text: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}, *parts]}


def answer(client: httpx.Client, *contents: dict[str, Any] | str, **config: Any) -> str:
    turns = [turn("user", content) if isinstance(content, str) else content for content in contents]
    response = client.post(PATH, json={"contents": turns, "generationConfig": config})
    assert response.status_code == 200, response.text
    return "".join(part["text"] for part in response.json()["candidates"][0]["content"]["parts"])


def words(text: str) -> int:
    return len(re.findall(r"\w+(?:['\u2019-]\w+)*", text))


def test_an_ordinary_answer_has_everything_a_pane_must_show(client: httpx.Client) -> None:
    text = answer(client, "Explain how tides work")
    assert text.startswith("## How tides work\n")
    assert "\n- " in text
    assert "\n| --- |" in text
    assert "```python\n" in text
    assert re.search(r"\n\$\$\n.+\n\$\$\n", text)
    assert text.count("simulated answer") == 1


def test_code_in_an_answer_runs(client: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", answer(client, "Code about owls"), re.DOTALL)
    assert len(code) == 1
    exec(code[0], {"__name__": __name__})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("wish", "pattern", "count"),
    [
        ("in 3 sentences", r"[.](?: |$)", 3),
        ("in four lines", r"(?m)^.", 4),
        ("as 5 bullets", r"(?m)^- ", 5),
        ("in two paragraphs", r"(?:^|\n\n).", 2),
    ],
)
def test_sentences_lines_and_bullets_can_be_asked_for(
    client: httpx.Client, wish: str, pattern: str, count: int
) -> None:
    text = answer(client, f"Describe sea otters {wish}")
    assert len(re.findall(pattern, text)) == count
    assert "otters" in text
    assert "simulated" in text


@pytest.mark.parametrize(
    ("wish", "mark", "others"),
    [
        ("list", "\n- ", ["| --- |", "```", "$$"]),
        ("table", "| --- |", ["```", "$$"]),
        ("formula", "$$", ["```"]),
    ],
)
def test_a_form_that_is_wished_for_is_the_one_that_comes(
    client: httpx.Client, wish: str, mark: str, others: list[str]
) -> None:
    text = answer(client, f"Give me a {wish} about owls")
    assert mark in text
    assert not any(other in text for other in others)


@pytest.mark.parametrize("count", [5, 40, 100, 200, 500, 2000])
def test_the_length_can_be_asked_for(client: httpx.Client, count: int) -> None:
    text = answer(client, f"Write {count} words about sea otters")
    assert abs(words(text) - count) <= max(20, count / 10)
    assert "otters" in text


def test_long_and_short_are_understood(client: httpx.Client) -> None:
    assert words(answer(client, "A long text about owls")) > 500
    assert words(answer(client, "Briefly, what are owls?")) < 80


def test_a_plan_has_its_hours(client: httpx.Client) -> None:
    text = answer(client, "Plan a day in Lisbon")
    assert text.startswith("## A day in Lisbon")
    assert "| 09:00 |" in text


def test_a_later_turn_looks_back(client: httpx.Client) -> None:
    first = [turn("user", "Explain how tides work"), turn("model", "Well.")]
    assert "how tides work" in answer(client, *first, "And what about rivers?")
    asked = "You asked before: “Explain how tides work”"
    for text in ("What was my previous question?", "What did I ask before?", "Thanks!", "Okay"):
        assert answer(client, *first, text).startswith(asked)


def test_greetings_echoes_files_and_nothing_get_an_answer(client: httpx.Client) -> None:
    assert answer(client, "Hi").startswith("Hello!")
    assert answer(client, "Say exactly: all is well").startswith("all is well\n")
    assert answer(client, "Please say hello").startswith("hello\n")
    assert answer(client, "echo hi").startswith("hi\n")
    assert answer(client, "Repeat after me: one two").startswith("one two\n")
    assert "`image/png`" in answer(
        client, turn("user", "Describe this lake", {"inlineData": {"mimeType": "image/png", "data": "aGk="}})
    )
    assert answer(client, " ")
    assert answer(client, "\U0001f600 {topic} {0} %s $$ | ` <script>")


LONG = [
    "x" * 2_000_000,
    "1 " * 900_000,
    "1((" * 4000,
    "1+" * 4000,
    '"a\n' * 4000,
    "a list of " * 90_000,
    "A." * 90_000,
    "what I " * 90_000,
    "!" * 90_000 + "x",
]


@pytest.mark.timeout(20)  # a pattern that begins anew at each letter takes minutes
def test_very_long_and_odd_prompts_are_read_to_their_end() -> None:
    named = ("expression", "url", "email", "path", "date", "time", "name")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in named}}
    for text in LONG * 3:
        clues = read_clues(text)
        assert clues.topic
        assert make_value(schema, clues).keys() == set(named)


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ("Do I need an umbrella in paris?", ("Paris",)),
        ("a train to bergen", ("Bergen",)),
        ("a train from kuala lumpur", ("Kuala Lumpur",)),
        ("Ein Zug nach Wien und Graz", ("Wien", "Graz")),
        ("El tiempo en Madrid y Sevilla", ("Madrid", "Sevilla")),
        ("Visit Rome", ("Rome",)),
        ("A cat in the garden", ()),
    ],
)
def test_places_are_read_in_small_letters_and_in_other_languages(asked: str, places: tuple[str, ...]) -> None:
    assert read_clues(asked).places == places


@pytest.mark.parametrize(
    ("asked", "topic"),
    [
        ("Describe a lighthouse in 900 words.", "a lighthouse"),
        ("Plan a day in Lisbon in about 1000 words. Check the weather.", "a day in Lisbon"),
        ("Why is the sky blue? In two sentences.", "Why is the sky blue"),
        ("Write a long text of 600 words about the lighthouses of Brittany.", "the lighthouses of Brittany"),
        ("Write me a haiku about frogs", "a haiku about frogs"),
    ],
)
def test_a_topic_ends_like_a_phrase_where_a_length_is_asked_for(asked: str, topic: str) -> None:
    assert read_clues(asked).topic == topic


def test_a_json_answer_without_a_schema_is_an_object(client: httpx.Client) -> None:
    assert isinstance(json.loads(answer(client, "About owls", responseMimeType="application/json")), dict)


def test_an_enum_answer_is_one_of_its_values(client: httpx.Client) -> None:
    schema = {"type": "STRING", "enum": ["soup", "bread", "cake"]}
    config = {"responseMimeType": "text/x.enum", "responseSchema": schema}
    assert answer(client, "Which goes with soup? bread!", **config) in {"soup", "bread", "cake"}
    assert answer(client, "Something sweet: cake", **config) == "cake"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Step(BaseModel):
    text: Annotated[str, Field(min_length=5, max_length=20)]
    minutes: Annotated[int, Field(ge=1, le=90, multiple_of=5)]


class Node(BaseModel):
    label: str
    children: list[Node] = []
    parent: Node | None = None


class Order(BaseModel):
    day: date
    moment: datetime
    reference: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    token: UUID
    link: AnyUrl
    wait: timedelta
    colour: Colour
    kind: Literal["large", "small"]
    share: Annotated[float, Field(gt=0, lt=1)]
    steps: Annotated[list[Step], Field(min_length=2, max_length=4)]
    tags: Annotated[set[str], Field(min_length=3)]
    place: tuple[float, float]
    counts: dict[str, int]
    note: str | None
    done: bool
    tree: Node
    either: Step | Node


@pytest.mark.timeout(20)  # a search that goes back for each way to split the words takes years
def test_a_pattern_takes_no_longer_than_the_text_is_long() -> None:
    schema = {"type": "string", "pattern": r"^(\w+\s?)+$"}
    said = '"The hotel was quiet and the breakfast was long!"'
    assert re.fullmatch(r"[\w-]+", make_value(schema, read_clues(said)))


@pytest.mark.parametrize("text", ["About owls", "3 steps, 500 minutes, red, share 7", "x", ""])
def test_a_structured_answer_validates(client: httpx.Client, text: str) -> None:
    for schema in (Order.model_json_schema(), clean_schema(Order.model_json_schema())):
        config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
        raw = answer(client, text, **config)
        order = Order.model_validate_json(raw)
        assert order.model_dump_json()
        assert raw == answer(client, text, **config)


class Log(BaseModel):
    days: Annotated[list[date], Field(min_length=2)]
    kinds: Annotated[list[Literal["note"]], Field(min_length=2)]
    codes: Annotated[list[Annotated[str, Field(pattern="^[A-Z]{3}$")]], Field(min_length=2)]
    share: Annotated[float, Field(gt=1, lt=4, multiple_of=2)]


def test_items_that_repeat_and_numbers_between_open_bounds_fit_their_schema() -> None:
    for schema in (Log.model_json_schema(), clean_schema(Log.model_json_schema())):
        for text in ("", "ABC and 7 notes", "tomorrow"):
            Log.model_validate(make_value(schema, read_clues(text)))


def test_the_openapi_dialect_of_schemas_is_read(client: httpx.Client) -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "names": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "2", "max_items": 5},
            "age": {"type": "INTEGER", "minimum": 30, "maximum": 31},
            "mood": {"type": "STRING", "enum": ["good"], "nullable": True},
        },
        "required": ["names"],
        "propertyOrdering": ["age", "names", "mood"],
    }
    value = json.loads(answer(client, "People", responseMimeType="application/json", responseSchema=schema))
    assert len(value["names"]) >= 2
    assert value["age"] in {30, 31}
    assert value["mood"] == "good"
    assert list(value) == ["age", "names", "mood"]


def arguments(text: str, properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    schema["required"] = list(properties) if required is None else required
    made = make_value(schema, read_clues(text), whole=False)
    assert isinstance(made, dict)
    return made


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


@pytest.mark.parametrize(
    ("text", "properties", "expected"),
    [
        (
            "From Oslo to Kuala Lumpur",
            {"destination": TEXT, "origin": TEXT},
            {"destination": "Kuala Lumpur", "origin": "Oslo"},
        ),
        ("without verbose", {"verbose": {"type": "boolean"}}, {"verbose": False}),
        ("Turn the lamp off", {"on": {"type": "boolean"}}, {"on": False}),
        (
            "What is the weather like in San Francisco, CA?",
            {"location": TEXT},
            {"location": "San Francisco, CA"},
        ),
        ("weather in paris", {"city": TEXT}, {"city": "Paris"}),
        ("4 people for 2 nights", {"nights": WHOLE, "people": WHOLE}, {"nights": 2, "people": 4}),
        ("a table for two", {"party_size": WHOLE}, {"party_size": 2}),
        ("Convert 1,250.50 USD to EUR", {"amount": {"type": "number"}}, {"amount": 1250.5}),
        ("Convert 10 USD to EUR", {"source": TEXT, "target": TEXT}, {"source": "USD", "target": "EUR"}),
        (
            'Send "see you" to "all"',
            {"message": TEXT, "audience": TEXT},
            {"message": "see you", "audience": "all"},
        ),
        ("Compute 3 * (4 + 5) on 2026-01-02", {"expression": TEXT}, {"expression": "3 * (4 + 5)"}),
        ("in fahrenheit, please", {"unit": {"enum": ["celsius", "fahrenheit"]}}, {"unit": "fahrenheit"}),
        ("on 2026-12-24 at 19:00", {"date": TEXT, "time": TEXT}, {"date": "2026-12-24", "time": "19:00"}),
        ("path: data/sales.csv", {"path": TEXT}, {"path": "data/sales.csv"}),
        ("email: anna@example.org", {"email": TEXT}, {"email": "anna@example.org"}),
        (
            "host: api.example.com, port: 80",
            {"host": TEXT, "port": WHOLE},
            {"host": "api.example.com", "port": 80},
        ),
        ("x", {"unit": {**TEXT, "examples": ["metre", "foot"]}}, {"unit": "metre"}),
        ("x", {"at": {**TEXT, "format": "time"}}, {"at": "12:00:00"}),
        ("Run `ls -l` now", {"command": TEXT}, {"command": "ls -l"}),
        ('Run `ls` as "ada"', {"user": TEXT, "command": TEXT}, {"user": "ada", "command": "ls"}),
        ("What is ((1+2) ) * 3?", {"expression": TEXT}, {"expression": "((1+2) ) * 3"}),
        ("units = imperial", {"units": TEXT}, {"units": "imperial"}),
        ("mail ada@example.com", {"email": TEXT}, {"email": "ada@example.com"}),
        ("read https://example.com/a.", {"url": TEXT}, {"url": "https://example.com/a"}),
        ("open data/trips.csv", {"path": TEXT}, {"path": "data/trips.csv"}),
        ("Plot 3, 1 and 2", {"values": {"type": "array", "items": WHOLE}}, {"values": [3, 1, 2]}),
        ("Oslo and Bergen", {"cities": {"type": "array", "items": TEXT}}, {"cities": ["Oslo", "Bergen"]}),
        ("Explain how tides work", {"query": TEXT}, {"query": "how tides work"}),
        ("x", {"limit": {"type": "integer", "default": 7}}, {"limit": 7}),
        ("500", {"limit": {"type": "integer", "maximum": 50}}, {"limit": 50}),
        ("x", {"fixed": {"const": 3}}, {"fixed": 3}),
        ("Walk from Lyon to Nice", {"start": TEXT, "end": TEXT}, {"start": "Lyon", "end": "Nice"}),
        ("Reserve a table at Chez Nous in Paris", {"restaurant": TEXT}, {"restaurant": "Chez Nous"}),
        ("Count the sales", {"sql": TEXT}, {"sql": "SELECT 1"}),
        ("Read this review of a hotel: The Casa Azul was quiet.", {"hotel": TEXT}, {"hotel": "Casa Azul"}),
        ("rain in san francisco today?", {"city": TEXT}, {"city": "San Francisco"}),
        (
            "Days between 2026-01-01 and 2026-03-01",
            {"start": {"type": "string", "format": "date"}, "end": {"type": "string", "format": "date"}},
            {"start": "2026-01-01", "end": "2026-03-01"},
        ),
        ("List the files in data/trips", {"path": TEXT}, {"path": "data/trips"}),
        ("¿Qué tiempo hace en Madrid?", {"city": TEXT}, {"city": "Madrid"}),
        (
            '{"city": "Lisbon", "people": 575739}',
            {"people": WHOLE, "city": TEXT},
            {"people": 575739, "city": "Lisbon"},
        ),
        (
            "Name: Ada Berg, age: 34, premium: no.",
            {"premium": {"type": "boolean"}, "age": WHOLE, "name": TEXT},
            {"premium": False, "age": 34, "name": "Ada Berg"},
        ),
    ],
)
def test_arguments_are_found_in_the_prompt(
    text: str, properties: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert arguments(text, properties) == expected


def test_optional_arguments_are_left_out_unless_the_prompt_speaks_of_them() -> None:
    properties = {
        "city": TEXT,
        "days": WHOLE,
        "unit": {"enum": ["celsius", "kelvin"]},
        "hourly": {"type": "boolean"},
        "date": TEXT,
        "note": TEXT,
    }
    assert arguments("Weather in Oslo", properties, ["city"]) == {"city": "Oslo"}
    assert arguments("Hourly weather in Oslo in kelvin tomorrow for 3 days", properties, ["city"]) == {
        "city": "Oslo",
        "days": 3,
        "unit": "kelvin",
        "hourly": True,
        "date": (datetime.now().astimezone().date() + timedelta(days=1)).isoformat(),
    }


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        [],
        {},
        {"type": "string"},
        {"properties": None},
        {"properties": ["a"], "required": 3},
        {"type": "object", "required": ["x"]},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"anyOf": []},
        {"anyOf": {"type": "string"}},
        {"items": True},
        {"enum": {"a": 1}},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**400},
        {"type": "array", "items": {"type": "string"}, "minItems": 10**9, "maxItems": "many"},
        {"type": "integer", "default": float("inf")},
        {"type": "number", "minimum": "inf"},
    ],
)
def test_no_schema_is_too_odd(schema: Any, whole: bool) -> None:
    for text in ("x", "9" * 400, "in Oslo on 2026-01-02"):
        json.dumps(make_value(schema, read_clues(text), whole=whole), allow_nan=False)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{number}": {"$ref": "#"} for number in range(60)}},
        {"type": "object", "allOf": [{"$ref": "#"}] * 60},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 60},
    ],
)
def test_a_schema_that_branches_into_itself_comes_to_an_end(schema: dict[str, Any]) -> None:
    assert make_value(schema, read_clues("x")) is not None


def test_arguments_validate_for_a_typed_function() -> None:
    class Arguments(BaseModel):
        steps: list[Step]
        colour: Colour = Colour.RED
        when: datetime
        either: int | str
        maybe: float | None = None

    schema = TypeAdapter(Arguments).json_schema()
    for text in ("3 blue steps", "steps of 7 minutes", ""):
        Arguments.model_validate(make_value(schema, read_clues(text), whole=False), strict=False)
