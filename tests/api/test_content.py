from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest
from google.genai import types

from gemini_nb.api.contents.content import encode_body, to_contents, to_part
from gemini_nb.api.wire import duplicate
from gemini_nb.errors import ArgumentError, ConfigError

FILE = {"fileData": {"mimeType": "image/png", "fileUri": "gs://a/b.png"}}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ("Hi", [{"role": "user", "parts": [{"text": "Hi"}]}]),
        (FILE, [{"role": "user", "parts": [FILE]}]),
        (["Hi", FILE, "there"], [{"role": "user", "parts": [{"text": "Hi"}, FILE, {"text": "there"}]}]),
        (("Hi",), [{"role": "user", "parts": [{"text": "Hi"}]}]),
        ({"parts": ["Hi"]}, [{"role": "user", "parts": [{"text": "Hi"}]}]),
        (
            {"role": "model", "parts": [{"text": "Hi", "x": 1}]},
            [{"role": "model", "parts": [{"text": "Hi", "x": 1}]}],
        ),
        (
            ["a", {"role": "model", "parts": [{"text": "b"}]}, "c", FILE],
            [
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "b"}]},
                {"role": "user", "parts": [{"text": "c"}, FILE]},
            ],
        ),
        (MappingProxyType({"text": "Hi"}), [{"role": "user", "parts": [{"text": "Hi"}]}]),
        (types.Part(text="Hi"), [{"role": "user", "parts": [{"text": "Hi"}]}]),
        (
            types.Content(role="model", parts=[types.Part(text="Hi", thought=True)]),
            [{"role": "model", "parts": [{"text": "Hi", "thought": True}]}],
        ),
    ],
)
def test_what_a_prompt_may_be(contents: object, expected: list[Any]) -> None:
    assert to_contents(contents) == expected


@pytest.mark.parametrize(
    "contents", ["", "  \n", [], (), {}, ["a", ""], {"parts": []}, {"parts": "Hi"}, [{}]]
)
def test_an_empty_prompt(contents: object) -> None:
    with pytest.raises(ConfigError):
        to_contents(contents)


@pytest.mark.parametrize("contents", [None, 3, b"bytes", [None], [["nested"]], types.Part, {"parts": [3]}])
def test_what_a_prompt_cannot_be(contents: object) -> None:
    with pytest.raises(ArgumentError, match="A prompt cannot hold"):
        to_contents(contents)


def test_what_the_caller_wrote_is_not_changed() -> None:
    written = {"parts": ["Hi"]}
    to_contents(written)[0]["parts"].append({"text": "more"})
    assert written == {"parts": ["Hi"]}
    part = {"text": "Hi"}
    to_part(part)["text"] = "changed"
    assert part == {"text": "Hi"}


def test_a_body_on_the_wire() -> None:
    body = {
        "contents": [{"parts": [{"inlineData": {"data": b"\x00\xff"}}, {"text": "ü 🌙 \u2028"}]}],
        "other": (bytearray(b"a"), MappingProxyType({"a": 1}), types.Part(text="x")),
    }
    encoded = encode_body(body)
    assert "ü 🌙 \u2028".encode() in encoded
    assert json.loads(encoded) == {
        "contents": [{"parts": [{"inlineData": {"data": "AP8="}}, {"text": "ü 🌙 \u2028"}]}],
        "other": ["YQ==", {"a": 1}, {"text": "x"}],
    }


def circular() -> dict[str, Any]:
    body: dict[str, Any] = {}
    body["body"] = body
    return body


def deep() -> dict[str, Any]:
    body: dict[str, Any] = {}
    for _ in range(100_000):
        body = {"body": body}
    return body


@pytest.mark.parametrize(
    "body",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": {1, 2}},
        {"a": object()},
        {("a",): 1},
        {"a": "\ud800"},
        circular(),
    ],
)
def test_a_body_that_json_cannot_say(body: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        encode_body(body)


def test_a_copy_of_what_is_deeper_than_the_stack() -> None:
    value = deep()
    assert duplicate(value) is value
    assert duplicate({"a": [1]}) == {"a": [1]}


def test_a_body_deeper_than_the_stack() -> None:
    with pytest.raises(ArgumentError):
        encode_body(deep())
