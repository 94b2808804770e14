"""A blank line stands between the texts of two model calls that said something, wherever text is shown."""

from __future__ import annotations

from typing import Any

import pytest

from answers import Recorder, Rig, rig
from calling import NOW
from gemini_nb.notebook.render.blocks.blocks import TextBlock
from gemini_nb.notebook.render.settled import to_markdown, to_text
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.streams.stream import Stream
from scripted import Answer, Close, call, json_error, sse_answer, text


def look() -> str:
    """Look."""
    return "seen"


def round_of(*words: str) -> Answer:
    return sse_answer(*map(text, words), call("look"), text("", finish="STOP"))


def last(*words: str) -> Answer:
    return sse_answer(*map(text, words), text("", finish="STOP"))


def rebuilt(events: Any) -> str:
    told = ""
    for event in events:
        if event.kind == "text_delta":
            told += event.text
        elif event.kind == "text_rewound":
            told = told[: event.length]
    return told


def check(made: Rig, stream: Stream, expected: str) -> None:
    late = Recorder()
    stream.subscribe(late)
    late.wait("stream_completed")
    transcript = Transcript()
    transcript.apply_all(list(stream.events))
    blocks = "".join(block.text for block in transcript.blocks if isinstance(block, TextBlock))
    assert stream.error is None
    assert [stream.text, stream.result(), rebuilt(stream.events), rebuilt(late.events), blocks] == [
        expected
    ] * 5


@pytest.mark.parametrize(
    ("calls", "expected", "answer"),
    [
        ([["I look."], ["I saw."]], "I look.\n\nI saw.", "I saw."),
        ([["I ", "look."], ["I ", "saw."]], "I look.\n\nI saw.", "I saw."),
        ([["a"], ["b"], ["c"]], "a\n\nb\n\nc", "c"),
        ([["a"], [], ["c"]], "a\n\nc", "c"),
        ([["a"], [""], ["c"]], "a\n\nc", "c"),
        ([["a"], ["\n", " "], ["c"]], "a\n\nc", "c"),
        ([[], ["b"]], "b", "b"),
        ([[""], ["b"]], "b", "b"),
        ([[], [], ["c"]], "c", "c"),
        ([["\n"], ["b"]], "\nb", "b"),
        ([["a"], [" ", "\n", "b"]], "a\n\n \nb", " \nb"),
        ([["a\n\n"], ["\n\nb"]], "a\n\n\n\n\n\nb", "\n\nb"),
    ],
)
def test_a_blank_line_between_two_that_said_something(
    calls: list[list[str]], expected: str, answer: str
) -> None:
    with rig([*(round_of(*words) for words in calls[:-1]), last(*calls[-1])]) as made:
        stream = made.start(tools=[look]).wait(10)
        check(made, stream, expected)
    assert stream.answer == answer


def test_the_blank_line_is_an_event_of_its_own_when_the_second_begins_to_speak() -> None:
    with rig(
        [round_of("I look."), sse_answer(text("hm", thought=True), text("I saw.", finish="STOP"))]
    ) as made:
        stream = made.start(tools=[look]).wait(10)
    told = [(event.kind, getattr(event, "text", "")) for event in stream.events]
    at = told.index(("text_delta", "\n\n"))
    assert told[at + 1] == ("text_delta", "I saw.")
    assert told.index(("thought_delta", "hm")) < at
    assert told.count(("text_delta", "\n\n")) == 1


def test_a_call_that_says_nothing_leaves_no_blank_line_behind() -> None:
    with rig([round_of("I look."), *[last(" ")] * 3]) as made:
        stream = made.start(tools=[look], retry=NOW).wait(10)
        check(made, stream, "I look.")


@pytest.mark.parametrize("lost", [["I s"], [" "], [" ", "I s"], []])
def test_a_broken_second_call_is_replaced_with_its_blank_line(lost: list[str]) -> None:
    cut = sse_answer(*map(text, lost), Close())
    with rig([round_of("I look."), cut, json_error(503), last("I saw.")]) as made:
        stream = made.start(tools=[look], retry=NOW).wait(10)
        check(made, stream, "I look.\n\nI saw.")
    assert stream.answer == "I saw."
    assert {event.length for event in stream.events if event.kind == "text_rewound"} <= {len("I look.")}


def token(words: str, finish: str | None = None) -> dict[str, Any]:
    made = text(words, finish=finish)
    made["candidates"][0]["continuationToken"] = f"t{words}"
    return made


@pytest.mark.parametrize(("first", "more"), [("I ", "saw."), (" ", "saw."), ("", "saw.")])
def test_a_second_call_that_goes_on_from_a_token(first: str, more: str) -> None:
    broken = sse_answer(token(first), text("lost"), Close())
    with rig([round_of("I look."), broken, last(more)]) as made:
        stream = made.start(tools=[look], retry=NOW).wait(10)
        check(made, stream, f"I look.\n\n{first}{more}")
    hop = sse_answer(token(first, "CONTINUATION"))
    with rig([round_of("I look."), hop, last(more)]) as made:
        stream = made.start(tools=[look], retry=NOW).wait(10)
        check(made, stream, f"I look.\n\n{first}{more}")


def test_the_settled_form_has_one_blank_line_between_its_blocks() -> None:
    with rig([round_of("I look."), last("I saw.")]) as made:
        stream = made.start(tools=[look]).wait(10)
    shown = to_text(stream)
    assert shown.startswith("I look.\n[look(): done")
    assert "]\nI saw.\n" in shown
    assert "\n\n\n" not in to_markdown(stream)


def test_a_structured_answer_after_a_tool_has_no_blank_line_in_its_block() -> None:
    with rig([round_of("I look."), last('{"a": 1}')]) as made:
        stream = made.start(tools=[look], generation_config={"responseMimeType": "application/json"}).wait(10)
    assert stream.parsed == {"a": 1}
    assert '```json\n{"a": 1}\n```' in to_markdown(stream)
