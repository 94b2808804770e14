from __future__ import annotations

import collections
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini_nb.api.sse import ServerSentEvent, SSEDecoder, encode
from gemini_nb.errors import ProtocolError


def decode(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.finish()


def datas(*chunks: bytes) -> list[str]:
    return [event.data for event in decode(*chunks)]


def bytewise(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\ndata: b\n\r\n", ["a", "b"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a \n\n", [" a "]),
        (b"data: a\ndata:b\ndata\ndata: c\n\n", ["a\nb\n\nc"]),
        (b"data\n\n", [""]),
        (b"data:\n\n", [""]),
        (b"\n\n\ndata: a\n\n\n\n", ["a"]),
        (b": ping\n\n:\ndata: a\n: in between\n\n", ["a"]),
        (b"unknown: field\nunknown\ndata: a\n\n", ["a"]),
        (b"dataset: b\ndata: a\n\n", ["a"]),
        (b" data: b\ndata: a\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", ["a"]),
        (b"data: a", ["a"]),
        (b"data: a\n", ["a"]),
        (b"event: e\nid: 1\n", []),
        (b"", []),
        (
            "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
            ["a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"],
        ),
        ("data: 秋风清 🌙\n\n".encode(), ["秋风清 🌙"]),
        (b"data: \xff\xfe\n\n", ["\ufffd\ufffd"]),
    ],
)
def test_the_rules_of_the_event_stream(body: bytes, expected: list[str]) -> None:
    assert datas(body) == expected
    assert datas(*bytewise(body)) == expected


def test_type_and_id() -> None:
    body = b"event: first\nid: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0y\nevent: lost\n\ndata: d\n\n"
    assert decode(body) == [
        ServerSentEvent("a", "first", "7"),
        ServerSentEvent("b", "message", "7"),
        ServerSentEvent("c", "message", ""),
        ServerSentEvent("d", "message", ""),
    ]


@pytest.mark.parametrize("line", [b"retry: 250", b"retry: 2x", b"retry: " + b"9" * 5000])
def test_a_reconnection_time_is_read_over(line: bytes) -> None:
    decoder = SSEDecoder()
    assert (decoder.feed(line + b"\n\n"), decoder.junk) == ([], "")


def test_an_event_comes_with_its_blank_line_and_not_later() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\n") == []
    assert [event.data for event in decoder.feed(b"\r")] == ["a"]
    assert decoder.feed(b"\n") == []


def test_an_empty_chunk_between_carriage_return_and_line_feed() -> None:
    assert datas(b"data: a\r", b"", b"\ndata: b\r", b"\n\r\n") == ["a\nb"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', [{"a": 1}]),
        (b'{\n  "a": {\n    "b": "}]\\"{"\n  }\n}\n', [{"a": {"b": '}]"{'}}]),
        (b'[{"a": 1},\n{"a": 2}]', [{"a": 1}, {"a": 2}]),
        (b'[{\n"a": [1, [2]]\n}\n,\r\n{\n"a": 2\n}\n]\n', [{"a": [1, [2]]}, {"a": 2}]),
        (b'{"a": 1}{"a": 2}', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1} {"a":\n2}\n[{"a": 3}] {"a": 4}', [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]),
        (b'  {"a": 1}\n', [{"a": 1}]),
        (b'[\n\n{"a": 1}\n\n]\n', [{"a": 1}]),
        (b'["{", {"a": "\\\\"}, 3, {"a": "]"}]', [{"a": "\\"}, {"a": "]"}]),
        (b"[]", []),
        (b'data: {"a": 0}\n\n{\n"error": {"code": 499}\n}\n', [{"a": 0}, {"error": {"code": 499}}]),
        (b'data: {"a": 0}\n\n[{"error": 1}]\n\ndata: {"a": 2}\n\n', [{"a": 0}, {"error": 1}, {"a": 2}]),
        (b'data: {"a": 0}\n{"error": 1}\n', [{"a": 0}, {"error": 1}]),
        (b'{"a": 1}\n\ndata: {"a": 2}\n\n', [{"a": 1}, {"a": 2}]),
    ],
)
def test_bare_json_comes_out_object_by_object(body: bytes, expected: list[Any]) -> None:
    assert [json.loads(data) for data in datas(body)] == expected
    assert [json.loads(data) for data in datas(*bytewise(body))] == expected


def test_bare_json_says_so_and_comes_as_soon_as_it_is_whole() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b'[{"a": 1}\n') == [ServerSentEvent('{"a": 1}', raw=True)]
    assert decoder.feed(b',\n{"a":\n') == []
    assert decoder.feed(b"2}\n") == [ServerSentEvent('{"a":\n2}', raw=True)]
    assert decoder.finish() == []


def test_a_cut_object_is_handed_over_for_the_caller_to_notice() -> None:
    assert datas(b'[{"a": 1},\n{"a": "b') == ['{"a": 1}', '{"a": "b']
    assert datas(b'data: {"a": "b') == ['{"a": "b']


def test_what_is_no_event_is_kept_to_be_shown() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"<!doctype html>\n<h1>Sign in</h1>\n" + b"<p>" * 200 + b"\n")
    decoder.finish()
    assert decoder.junk.startswith("<!doctype html>\n<h1>Sign in</h1>\n")
    assert len(decoder.junk) == 200


@pytest.mark.parametrize(
    "body", [b"data: %b\n\n", b"data: %b", b"data: x\ndata: %b\n\n", b'{"a": "%b"}', b'[{"a": "%b"}]', b"%b"]
)
def test_an_event_larger_than_the_cap(body: bytes) -> None:
    decoder = SSEDecoder(max_event_bytes=1000)
    with pytest.raises(ProtocolError, match="more than 1,000 bytes"):
        collections.deque(map(decoder.feed, bytewise(body % (b"a" * 2000))))


@pytest.mark.parametrize("body", [encode("a" * 900), b'{"a": "%b"}\n' % (b"a" * 900)])
def test_the_cap_is_for_one_event_and_not_for_all(body: bytes) -> None:
    decoder = SSEDecoder(max_event_bytes=1000)
    assert sum(len(decoder.feed(body)) for _ in range(10)) == 10


json_bodies = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=3),
    max_size=4,
).map(lambda value: json.dumps(value, indent=1, ensure_ascii=False).encode())
lines = st.sampled_from(
    [b"data: x", b"data:", b"data", b": c", b"id: 1", b"event: e", b"{", b"}", b"[", b"]", b'"', b"\\", b"{}"]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b""])
streams = st.lists(st.tuples(lines | json_bodies | st.binary(max_size=8), ends)).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)


@settings(deadline=None, database=None, max_examples=60)
@given(body=streams | st.binary(), data=st.data())
def test_any_cut_gives_the_events_of_the_whole(body: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(body))).map(sorted))
    pieces = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
    assert decode(*pieces) == decode(body)
    assert decode(*bytewise(body)) == decode(body)


names = st.none() | st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), min_size=1, max_size=8
)


@settings(deadline=None, database=None, max_examples=60)
@given(
    data=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r")),
    event=names,
    id=names,
    newline=st.sampled_from(["\n", "\r", "\r\n"]),
)
def test_what_is_encoded_is_decoded(data: str, event: str | None, id: str | None, newline: str) -> None:  # noqa: A002 - the field's name
    expected = ServerSentEvent(data, event or "message", id or "")
    body = encode(data, event=event, event_id=id, newline=newline)
    assert decode(body) == [expected]
    assert decode(*bytewise(body)) == [expected]


@settings(deadline=None, database=None, max_examples=60)
@given(body=json_bodies)
def test_an_array_of_objects_gives_the_objects(body: bytes) -> None:
    assert [json.loads(data) for data in datas(body)] == json.loads(body)


def operations(function: Callable[[], object]) -> int:
    """Count the lines that a call runs, which no other process on the machine changes."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def many(count: int) -> dict[str, Iterable[bytes]]:
    one = json.dumps({"text": "[x" * 20}).encode()
    return {
        "events": [b"data: " + one + b"\n\n"] * count,
        "one long event": [b"data: ", *[b"x" * 50] * count, b"\n\n"],
        "one event of many lines": [*[b"data: x\n"] * count, b"\n"],
        "bytes of one event": bytewise(b"data: " + b"x" * 10 * count),
        "an array in one piece": [b"[" + b",\n".join([one] * count) + b"]"],
        "an object over many lines": [b"{\n", *[b'"a": [1],\n'] * count, b'"b": 1}\n'],
        "junk": [b"<p>\n"] * count,
    }


@pytest.mark.parametrize("kind", many(1))
def test_work_grows_with_the_input_and_no_faster(kind: str) -> None:
    few, more = (operations(functools.partial(decode, *many(count)[kind])) for count in (50, 200))
    assert more <= 4.5 * few


def test_a_large_event_in_small_pieces_is_not_copied_again_and_again() -> None:
    def seconds(pieces: int) -> float:
        chunks = [b"data: ", *[b"x" * 256] * pieces, b"\n\n"]
        start = time.thread_time()
        [event] = decode(*chunks)
        assert len(event.data) == 256 * pieces
        return time.thread_time() - start

    few, more = (min(seconds(pieces) for _ in range(3)) for pieces in (4_000, 16_000))
    assert more < 10 * few  # joined anew at every piece, it would be 16 times as much
