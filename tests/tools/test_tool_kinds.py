"""Models, dataclasses and objects as tools: their types, their texts, and the call."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pydantic
import pytest

from gemini_nb.tools.tool import Tool


class Booking(pydantic.BaseModel):
    guests: int = pydantic.Field(gt=0, description="How many come.")
    day: dt.date
    table: str = pydantic.Field("window", alias="table-name", description="Which table.")
    tags: list[str] = pydantic.Field(default_factory=list)

    @pydantic.field_validator("guests")
    @classmethod
    def twice(cls, guests: int) -> int:
        return guests * 2


class Named(Booking):
    """Book a table."""


@pydantic.dataclasses.dataclass
class Checked:
    size: int = pydantic.Field(3, description="How large.", alias="theSize")


@dataclasses.dataclass
class Order:
    item: Annotated[str, pydantic.Field(description="What.")]
    count: int = 1


@dataclasses.dataclass
class Told:
    """Order something.

    Args:
        item: What to order.
    """

    item: str


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Teller:
    """A thing that tells."""

    def __call__(self, city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        return city


@dataclasses.dataclass
class Adder:
    """Add to a number."""

    start: int

    def __call__(self, number: int) -> int:
        return self.start + number


def call(function: Callable[..., Any], **args: Any) -> Any:
    made = Tool(function)
    positional, named = made.signature.bind(args)
    return made(*positional, **named)


BOOKING = {
    "guests": {"type": "integer", "minimum": 1, "description": "How many come."},
    "day": {"type": "string", "format": "date"},
    "table-name": {"type": "string", "default": "window", "description": "Which table."},
    "tags": {"type": "array", "items": {"type": "string"}, "default": None},
}


@pytest.mark.parametrize(
    ("function", "text", "properties", "required"),
    [
        (Booking, None, BOOKING, ["guests", "day"]),
        (Named, "Book a table.", BOOKING, ["guests", "day"]),
        (Checked, None, {"theSize": {"type": "integer", "default": 3, "description": "How large."}}, None),
        (
            Order,
            None,
            {"item": {"type": "string", "description": "What."}, "count": {"type": "integer", "default": 1}},
            ["item"],
        ),
        (Told, "Order something.", {"item": {"type": "string", "description": "What to order."}}, ["item"]),
        (Pair, None, {"left": {"type": "integer"}, "right": {"type": "string", "default": "r"}}, ["left"]),
        (Teller(), "Tell the weather.", {"city": {"type": "string", "description": "Where."}}, ["city"]),
        (Adder(3), "Add to a number.", {"number": {"type": "integer"}}, ["number"]),
        (functools.partial(Named, day=dt.date(2026, 11, 27)), "Book a table.", None, ["guests"]),
        (functools.partial(Teller()), "Tell the weather.", None, ["city"]),
    ],
)
def test_types_and_texts_stay(function: Any, text: str | None, properties: Any, required: Any) -> None:
    declaration = Tool(function).declaration
    assert declaration.get("description", "").partition("\n")[0] == (text or "")
    schema = declaration["parametersJsonSchema"]
    assert schema.get("required") == required
    assert properties is None or schema["properties"] == properties
    if isinstance(function, functools.partial) and function.func is Named:
        assert schema["properties"]["guests"] == BOOKING["guests"]
        assert schema["properties"]["table-name"] == BOOKING["table-name"]


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (
            Booking,
            {"guests": "2", "day": "2026-11-27", "table-name": "door"},
            Booking.model_validate({"guests": 2, "day": dt.date(2026, 11, 27), "table-name": "door"}),
        ),
        (Checked, {"theSize": "5"}, Checked(theSize=5)),
        (Order, {"item": "tea", "count": "2"}, Order("tea", 2)),
        (Pair, {"left": "1"}, Pair(1)),
        (Teller(), {"city": "Oslo"}, "Oslo"),
        (Adder(3), {"number": "4"}, 7),
    ],
)
def test_a_call_gets_checked_arguments(function: Any, args: Any, result: Any) -> None:
    assert call(function, **args) == result


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (Booking, {"guests": 0, "day": "2026-11-27"}, "guests: Input should be greater than 0"),
        (Booking, {"guests": 1, "day": "soon"}, "day: "),
        (Booking, {"guests": 1, "day": "2026-11-27", "table": "door"}, "table: Extra inputs"),
        (Order, {"count": 1}, "item: Field required"),
    ],
)
def test_arguments_that_do_not_fit_are_told(function: Any, args: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(function, **args)
