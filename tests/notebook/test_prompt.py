"""Names in braces become what they stand for; all other braces mean themselves."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import gemini_nb
from answers import hello, rig
from gemini_nb.streams.group.prompt import interpolate

NAMES: dict[str, Any] = {
    "city": "Lisbon",
    "n": 3,
    "pi": 3.14159,
    "rows": [{"tea": 1.5}, {"tea": 2}],
    "trip": SimpleNamespace(days=2, _secret="hidden", where=SimpleNamespace(name="Porto")),
    "tricky": "{city} {n}",
    "_": "the last one",
    "__": "the one before",
    "größe": 7,
    "a": 5,
}


def said(text: str) -> str:
    (made,) = interpolate(text, NAMES)
    assert isinstance(made, str)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plan a day in {city}.", "Plan a day in Lisbon."),
        ("{n}{n} {pi:.2f} {n:03d}", "33 3.14 003"),
        ("{trip.days} days in {trip.where.name}", "2 days in Porto"),
        ("{rows[0]['tea']} {rows[-1][\"tea\"]} {rows[1].tea:.1f}", "1.5 2 2.0"),
        ("{city!r} {city!s:.3} {rows[0]!a:>15} {pi!r:.4}", "'Lisbon' Lis    {'tea': 1.5} 3.14"),
        ("{_} {__} {größe}", "the last one the one before 7"),
        ("{tricky}", "{city} {n}"),
        ("a set: {{city}}", "a set: {city}"),
    ],
)
def test_what_resolves_is_replaced(text: str, expected: str) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Lisbon", "n": {"a": 1}}',
        "def f(): return {x for x in range(3)}",
        "{unknown} {city.nothing} {rows[9]} {rows['no']} {city.upper()} {len(city)}",
        "{trip._secret} {city.__class__} {__builtins__}",
        "{ city } {city!x} {city!} {print!r} {} {0} {city",
        '{a: 1} {n: "x"}',
        "{city:d} {n:%Y}",
        "\\frac{1}{2}",
        "{rows[n]} {rows[0:1]}",
    ],
)
def test_what_does_not_resolve_stays(text: str) -> None:
    assert said(text) == text


def test_json_survives_whatever_is_defined() -> None:
    value = json.dumps({"city": [1, {"n": None}], "rows": {}}, indent=2)
    assert said(f"Sum this up:\n{value}") == f"Sum this up:\n{value}"


def test_the_first_namespace_that_has_a_name_counts() -> None:
    assert interpolate("{item} in {city}", {"item": 1}, NAMES | {"item": 2}) == ["1 in Lisbon"]


def test_a_frame_becomes_a_table_and_an_image_a_part_of_its_own() -> None:
    picture = Image.new("RGB", (2, 2))
    names = {"frame": pd.DataFrame({"a": [1]}), "picture": picture}
    (text,) = interpolate("What is in {frame}?", names)
    assert "DataFrame, 1 rows x 1 columns" in text
    assert interpolate("Compare {picture} with\n{picture}", names) == [
        "Compare ",
        picture,
        " with\n",
        picture,
    ]
    assert interpolate("{picture} {picture}", names) == [picture, picture]


def test_a_stream_becomes_its_text() -> None:
    with rig(hello("So it is.")) as made:
        stream = made.start().wait(10)
    assert interpolate("Shorter: {s}", {"s": stream}) == [f"Shorter: {stream.text}"]


def test_a_group_becomes_its_texts() -> None:
    with rig(hello("So it is.")) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, **made.options).wait(10)
    assert interpolate("Shorter: {g}", {"g": group}) == ["Shorter: So it is.\n\nSo it is."]


@pytest.mark.parametrize("value", [said, json, SimpleNamespace, (n for n in "ab"), object(), "".join])
def test_what_has_no_text_of_its_own_is_left_to_the_code_it_stands_in(value: Any) -> None:
    assert interpolate("{f} {f.nothing}", {"f": value}) == ["{f} {f.nothing}"]


def test_bytes_that_are_text_are_text_and_others_are_left_for_the_request_to_refuse() -> None:
    assert interpolate("{b}", {"b": "größe".encode()}) == ["größe"]
    assert interpolate("{b}", {"b": b"\xff\x00\x01"}) == [b"\xff\x00\x01"]


def test_a_name_that_is_needed_must_stand_for_something() -> None:
    names = {"item": {"city": "Oslo"}}
    others = "{other} {{item.x}} {item: 1} {items[a]}"
    assert interpolate(f"{{item.city}} {others}", names, needed="item") == [f"Oslo {others}"]
    for wrong in ("{item.ctiy}", "{item.city:d}", "{item[0]}", "{item[city]}", "{item!x}", "{ item }"):
        with pytest.raises(LookupError) as raised:
            interpolate(f"About {wrong}:", names, needed="item")
        assert raised.value.args == (wrong,)


def test_an_empty_prompt_stays_empty() -> None:
    assert interpolate("  ", NAMES) == [""]
