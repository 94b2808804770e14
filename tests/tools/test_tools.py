from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import datetime as dt
import enum
import functools
import inspect
import json
import math
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Optional, TypedDict

import pydantic
import pytest
import typing_extensions

import gemini_nb
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.tools.execution import ToolFailedError, run_tool
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.report import Report
from gemini_nb.tools.result import to_result
from gemini_nb.tools.schemas.docstring import argument_texts
from gemini_nb.tools.tool import Tool, ToolSet


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict):
    fast: bool


class Person(pydantic.BaseModel):
    name: str
    age: int = 0


def schema(function: Callable[..., Any]) -> dict[str, Any]:
    return Tool(function).signature.schema


def property_of(function: Callable[..., Any], name: str = "value") -> dict[str, Any]:
    found: dict[str, Any] = schema(function)["properties"][name]
    return found


def bind(function: Callable[..., Any], **args: Any) -> Any:
    """Call it as the model would."""
    made = function if isinstance(function, Tool) else Tool(function)
    positional, named = made.signature.bind(args)
    return made(*positional, **named)


# ------------------------------------------------------------------ declarations


def weather(city: str, days: int = 3) -> dict[str, Any]:
    """Tell the weather.

    For some days.
    """
    return {"city": city, "days": days}


def test_a_whole_declaration() -> None:
    assert Tool(weather).declaration == {
        "name": "weather",
        "description": "Tell the weather.\n\nFor some days.",
        "parametersJsonSchema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
            "required": ["city"],
        },
    }


def typed(kind: Any) -> Callable[..., Any]:
    def take(value: Any) -> Any:
        return value

    take.__annotations__ = {"value": kind}
    return take


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045 - users write it
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (
            Annotated[int, pydantic.Field(description="How many.", ge=1)],
            {"type": "integer", "description": "How many.", "minimum": 1},
        ),
        (Any, {}),
    ],
)
def test_types_as_the_model_sees_them(kind: Any, expected: dict[str, Any]) -> None:
    assert property_of(typed(kind)) == expected


@pytest.mark.parametrize("kind", [Colour, Point, Options, Person])
def test_composed_types_are_defined_in_the_schema(kind: type[Any]) -> None:
    made = schema(typed(kind))
    assert made["properties"]["value"]["$ref"] == f"#/$defs/{kind.__name__}"
    assert kind.__name__ in made["$defs"]
    json.dumps(made)


@pytest.mark.parametrize(
    ("kind", "wire", "value"),
    [
        (int, "3", 3),
        (int, 3.0, 3),
        (float, 2, 2.0),
        (bool, "true", True),
        (list[int], ["1", 2], [1, 2]),
        (Optional[int], None, None),  # noqa: UP045 - users write it
        (Colour, "red", Colour.RED),
        (Point, {"x": 1}, Point(1)),
        (Options, {"fast": True}, {"fast": True}),
        (Person, {"name": "Ada"}, Person(name="Ada")),
        (dt.date, "2026-11-21", dt.date(2026, 11, 21)),
        (Any, {"anything": [1]}, {"anything": [1]}),
    ],
)
def test_what_the_model_wrote_becomes_pythons(kind: Any, wire: Any, value: Any) -> None:
    result = bind(typed(kind), value=wire)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("kind", "wire"),
    [(int, "many"), (int, 1.5), (Literal["a"], "b"), (Colour, "green"), (Point, {"y": 1}), (list[int], 5)],
)
def test_what_does_not_fit_is_explained_to_the_model(kind: Any, wire: Any) -> None:
    with pytest.raises(ValueError, match="invalid arguments for take: value"):
        bind(typed(kind), value=wire)


def test_missing_and_unknown_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"city: Field required.*town: Extra inputs"):
        bind(weather, town="Rome")


def test_defaults_are_the_functions_own() -> None:
    thing = object()

    def take(a: int, b: Any = thing, c: list[int] = [], d: Colour = Colour.RED, e: float = math.inf) -> Any:  # noqa: B006 - users write it
        return b, c, d, e

    made = schema(take)
    assert made["required"] == ["a"]
    assert made["properties"]["d"]["default"] == "red"
    json.dumps(made, allow_nan=False)
    b, c, d, e = bind(take, a=1)
    assert (b is thing, c, d, e) == (True, [], Colour.RED, math.inf)
    assert c is inspect.signature(take).parameters["c"].default


def test_kinds_of_parameters() -> None:
    def take(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> Any:
        return a, b, c, rest, d, e, more

    assert list(schema(take)["properties"]) == ["a", "b", "c", "d", "e"]
    assert schema(take)["required"] == ["a", "d"]
    assert bind(take, a=1, d=4) == (1, 2, 3, (), 4, 5, {})
    assert bind(take, a=1, b=7, c=8, d=9, e=10) == (1, 7, 8, (), 9, 10, {})


def test_a_positional_argument_that_was_left_out_keeps_its_place() -> None:
    def take(a: int = 1, b: int = 2, c: int = 3, /) -> Any:
        return a, b, c

    assert bind(take, b=20) == (1, 20, 3)
    assert bind(take, c=30) == (1, 2, 30)
    assert bind(take) == (1, 2, 3)


def test_names_that_pydantic_keeps_for_itself() -> None:
    def take(
        json: int, schema: int, copy: int, *, _private: int, model_config: int, self: int, p0: int
    ) -> Any:
        return [json, schema, copy, _private, model_config, self, p0]

    args = {name: number for number, name in enumerate(schema(take)["properties"])}
    assert list(args) == ["json", "schema", "copy", "_private", "model_config", "self", "p0"]
    assert bind(take, **args) == list(range(7))


def test_an_unannotated_function() -> None:
    def take(a, b=2):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - that it has none is the point
        return a, b

    assert schema(take)["properties"] == {"a": {}, "b": {"default": 2}}
    assert bind(take, a="x") == ("x", 2)


def test_a_function_without_arguments_has_the_schema_of_an_empty_object() -> None:
    def now() -> str:
        return "now"

    empty = {"type": "object", "properties": {}}
    assert Tool(now).declaration == {"name": "now", "parametersJsonSchema": empty}
    with pytest.raises(ValueError, match="Extra inputs"):
        bind(now, zone="UTC")


GOOGLE = """Book a table.

Args:
    place (str, optional): The restaurant's name:
        with its street.

        Or without.
    people: How many.
    **rest: More.

Returns:
    when: Not an argument.
"""
NUMPY = """Book a table.

Parameters
----------
place : str, optional
    The restaurant's name: with its
    street. Or without.
people : int
    How many.

Returns
-------
when : str
    Not an argument.
"""
SPHINX = """Book a table.

:param str place: The restaurant's name: with its
    street. Or without.
:param people: How many.
:returns when: Not an argument.
"""


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX])
def test_argument_texts_come_from_the_docstring(docstring: str) -> None:
    def book(place: str, people: int, when: str = "now") -> None: ...

    book.__doc__ = docstring
    properties = schema(book)["properties"]
    texts = {name: value.get("description") for name, value in properties.items()}
    place = "The restaurant's name: with its street. Or without."
    assert texts == {"place": place, "people": "How many.", "when": None}


def test_an_annotations_own_text_goes_first() -> None:
    def take(value: Annotated[int, pydantic.Field(description="Own.")]) -> None:
        """Take.

        Args:
            value: The docstring's.
        """

    assert property_of(take)["description"] == "Own."


def test_a_text_in_an_annotation_is_the_arguments() -> None:
    def take(
        value: Annotated[int, "A plain text."],
        other: Annotated[str, typing_extensions.Doc("Documented."), "Both."] = "",
        more: Annotated[int, "Less than this.", pydantic.Field(description="Own.")] = 0,
    ) -> None:
        """Take.

        Args:
            value: The docstring's.
        """

    found = {name: one["description"] for name, one in schema(take)["properties"].items()}
    assert found == {"value": "A plain text.", "other": "Documented.", "more": "Own."}


@pytest.mark.parametrize(
    "docstring", [None, "", "Args:", "Parameters\n----------", "Parameters", ":param x:"]
)
def test_a_docstring_without_texts(docstring: str | None) -> None:
    assert argument_texts(docstring) == {}


class Shop:
    def __init__(self, discount: int = 0) -> None:
        self.discount = discount

    def price(self, item: str) -> str:
        """Tell a price."""
        return f"{item} -{self.discount}"

    def __call__(self, number: int) -> int:
        """Take a number."""
        return number + self.discount

    @staticmethod
    def static(number: int) -> int:
        return number

    @classmethod
    def make(cls, discount: int) -> Shop:
        return cls(discount)


class Later:
    async def __call__(self, number: int) -> int:
        return number


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


INTEGER = {"type": "integer"}


@pytest.mark.parametrize(
    ("function", "name", "properties", "args", "result"),
    [
        (Shop(5).price, "price", {"item": {"type": "string"}}, {"item": "pen"}, "pen -5"),
        (Shop(5), "Shop", {"number": INTEGER}, {"number": "1"}, 6),
        (Shop.static, "static", {"number": INTEGER}, {"number": "1"}, 1),
        (
            functools.partial(weather, "Rome"),
            "weather",
            {"days": {**INTEGER, "default": 3}},
            {"days": "1"},
            {"city": "Rome", "days": 1},
        ),
        (
            functools.partial(weather, days=1),
            "weather",
            {"city": {"type": "string"}, "days": {**INTEGER, "default": 1}},
            {"city": "Rome"},
            {"city": "Rome", "days": 1},
        ),
        (
            functools.partial(functools.partial(weather), city="X"),
            "weather",
            {"city": {"type": "string", "default": "X"}, "days": {**INTEGER, "default": 3}},
            {},
            {"city": "X", "days": 3},
        ),
        (wrapped(Shop.static), "static", {"number": INTEGER}, {"number": "2"}, 2),
        (functools.cache(Shop.static), "static", {"number": INTEGER}, {"number": "2"}, 2),
        (Tool(Shop.static), "static", {"number": INTEGER}, {"number": "2"}, 2),
        (lambda: 3, None, {}, {}, 3),
        (Point, "Point", {"x": INTEGER, "y": {**INTEGER, "default": 0}}, {"x": "4"}, Point(4)),
        (math.sqrt, "sqrt", {"x": {}}, {"x": 4}, 2.0),
    ],
)
def test_every_kind_of_callable(
    function: Callable[..., Any], name: str | None, properties: Any, args: Any, result: Any
) -> None:
    made = Tool(function, name=None if name else "unnamed")
    assert made.name == (name or "unnamed")
    assert made.signature.schema["properties"] == properties
    assert bind(made, **args) == result


def test_a_tool_is_still_its_function() -> None:
    @gemini_nb.tool(name="forecast", timeout=5, confirm=True, description="Short.")
    def f(city: str) -> str:
        """Long."""
        return city.upper()

    assert f("rome") == "ROME"
    assert (f.name, f.timeout, f.confirm, getattr(f, "__name__", ""), f.__doc__) == (
        "forecast",
        5,
        True,
        "f",
        "Long.",
    )
    assert f.declaration["description"] == "Short."
    assert repr(f) == "<Tool forecast>"
    assert gemini_nb.tool(weather).name == "weather"


def test_what_is_asynchronous() -> None:
    async def later() -> None: ...

    found = [Tool(value).is_async for value in (later, Later(), functools.partial(later), weather, Shop())]
    assert found == [True, True, True, False, False]


class Unsayable:
    pass


@pytest.mark.parametrize("kind", [Unsayable, Callable[[int], int], list[Unsayable], Iterator[Unsayable]])
def test_what_cannot_be_declared_names_function_and_argument(kind: Any) -> None:
    with pytest.raises(ConfigError, match="The argument 'value' of take cannot be described") as caught:
        Tool(typed(kind))
    assert caught.value.hint


def test_an_annotation_that_cannot_be_read() -> None:
    def take(value: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 - that it is missing is the point
        ...

    with pytest.raises(ConfigError, match="annotation of take"):
        Tool(take)


@pytest.mark.parametrize("name", ["my tool", "1st", "", "ü", "a" * 129])
def test_names_that_gemini_refuses(name: str) -> None:
    with pytest.raises(ConfigError):
        Tool(lambda: None, name=name or None)  # a lambda's own name is none


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_on": "gpu"}, "run_on"),
        ({"run_on": 5}, "run_on"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"name": 5}, "named 5"),
        ({"description": 5}, "description"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tool(weather, **options)


def test_what_is_no_tool() -> None:
    for value in (5, "weather", None):
        with pytest.raises(ArgumentError):
            ToolSet([value])
    with pytest.raises(ArgumentError):
        gemini_nb.tool(5)  # type: ignore[call-overload]  # that it is refused is the point


def test_an_asynchronous_function_does_not_run_on_an_executor() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match="asynchronous"):
        Tool(Later(), run_on=pool)


# ------------------------------------------------------------------ sets


def test_a_set_of_tools() -> None:
    declared = {"name": "elsewhere", "parameters": {"type": "OBJECT"}}
    tools = ToolSet([weather, declared, {"googleSearch": {}}, {"urlContext": {}, "functionDeclarations": []}])
    assert (tools.names, bool(tools), [made.name for made in tools]) == (["weather"], True, ["weather"])
    assert tools.get("weather") is not None
    assert tools.get("elsewhere") is None
    assert tools.is_declared_only("elsewhere")
    assert not tools.is_declared_only("weather")
    assert tools.wire() == [
        {"googleSearch": {}},
        {"urlContext": {}},
        {"functionDeclarations": [declared, Tool(weather).declaration]},
    ]


def test_one_tool_needs_no_list_and_none_is_none() -> None:
    assert ToolSet(weather).names == ["weather"]
    assert ToolSet({"googleSearch": {}}).wire() == [{"googleSearch": {}}]
    assert ToolSet(["search", {"googleSearch": {}}, "search"]).wire() == [{"googleSearch": {}}]
    nothing: list[Any] = [(), None, []]
    for none in nothing:
        assert not ToolSet(none)
        assert ToolSet(none).wire() == []


@pytest.mark.parametrize("key", ["functionDeclarations", "function_declarations"])
def test_a_declaration_is_no_tool_of_the_service(key: str) -> None:
    assert ToolSet({"name": "f", key: None}).wire() == [{"functionDeclarations": [{"name": "f"}]}]
    assert ToolSet({"name": "f", key: [{"name": "g"}]}).wire() == [{"functionDeclarations": [{"name": "g"}]}]


def test_two_of_one_name() -> None:
    for other in (weather, {"name": "weather"}, gemini_nb.tool(math.sqrt, name="weather")):
        with pytest.raises(ConfigError, match="Two tools are named 'weather'"):
            ToolSet([weather, other])


# ------------------------------------------------------------------ results


class Silent:
    def __repr__(self) -> str:
        raise ValueError("no words")


class FakeArray:
    def tolist(self) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ((1, 2), [1, 2]),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        (Point(1), {"x": 1, "y": 0}),
        (Person(name="Ada"), {"name": "Ada", "age": 0}),
        (Colour.RED, "red"),
        (dt.date(2026, 11, 21), "2026-11-21"),
        (math.nan, None),
        ({"a": math.inf}, {"a": None}),
        (b"\x01\x02", "AQI="),
        (FakeArray(), [1, 2]),
        ({"a": FakeArray()}, {"a": [1, 2]}),
        (3 + 4j, "3+4j"),
        ({3}, [3]),
        (Silent(), "<Silent>"),
        ("half a pair: \ud800", "'half a pair: \\ud800'"),
    ],
)
def test_results_become_json(value: Any, result: Any) -> None:
    made = to_result(value).value
    assert made == result
    json.dumps(made, allow_nan=False, ensure_ascii=False).encode()


# ------------------------------------------------------------------ running


async def run(function: Callable[..., Any], **options: Any) -> Any:
    made = await run_tool(Tool(function, **options), {}, KernelLoop(), Report(lambda: None))
    return made.value


async def test_a_tool_that_runs_too_long_is_given_up() -> None:
    never = threading.Event()
    with pytest.raises(ToolFailedError, match=r"took longer than 0\.01 s"):
        await run(never.wait, name="wait", timeout=0.01)
    never.set()


async def test_a_timeout_of_the_tools_own_is_told_as_such() -> None:
    def fetch() -> None:
        raise TimeoutError("the other server")

    with pytest.raises(ToolFailedError, match="TimeoutError: the other server"):
        await run(fetch)


async def test_a_cancellation_from_outside_is_not_a_failure() -> None:
    began = asyncio.Event()

    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(run(wait))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_limit_at_all() -> None:
    assert await run(lambda: 3, name="three", timeout=None) == 3


async def test_a_plain_function_that_returns_something_to_await() -> None:
    async def later() -> int:
        return 4

    def forward(function: Callable[[], Any]) -> Any:
        return function()

    assert await run(functools.partial(forward, later), name="four") == 4


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


async def test_an_exception_without_words() -> None:
    def fail() -> None:
        raise UnspeakableError

    with pytest.raises(ToolFailedError, match="UnspeakableError"):
        await run(fail)


async def test_an_executor_that_is_shut_down() -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ToolFailedError, match="RuntimeError"):
        await run(math.pi.is_integer, name="f", run_on=pool)


class Proxy:
    """Gives another one for every name, as clients of remote objects do."""

    __name__ = "proxy"

    def __getattr__(self, name: str) -> Proxy:
        if name.startswith("__") and name != "__wrapped__":
            raise AttributeError(name)
        return Proxy()

    def __call__(self, number: int) -> int:
        return number


def endless() -> None:
    """Wrap itself."""


vars(endless)["__wrapped__"] = endless


@pytest.mark.parametrize("function", [Proxy(), endless])
def test_wrappers_without_an_end_are_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        gemini_nb.tool(function)
