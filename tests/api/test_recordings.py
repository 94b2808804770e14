"""Answers as the services send them, ours after their forms and, where they are at hand, theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gemini_nb.api.sse import ServerSentEvent, SSEDecoder
from gemini_nb.api.turn import ModelTurn
from gemini_nb.simulator import Simulator
from raw_client import exchange

BODIES = Path(__file__).parents[1] / "support" / "bodies"
FOLDER = Path(__file__).parents[3] / "shared" / "recordings"

needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason="the recorded Gemini streams (../shared/recordings) are not on this machine: "
    "the decoder is tested against bodies of the same form, NOT against real answers",
)


@dataclass(frozen=True, kw_only=True)
class Expected:
    events: int
    kinds: list[str] = field(default_factory=lambda: ["text"])
    begins: str = ""
    ends: str = ""
    finish: str | None = "STOP"
    total: int | None = None
    error: int | None = None
    blocked: str | None = None


OURS = {
    "gemini-blocked.txt": Expected(events=1, kinds=[], finish=None, blocked="SAFETY"),
    "gemini-citations.txt": Expected(events=5, begins="Lighthouses mark", ends="it sees.\n", total=75),
    "gemini-code-execution.txt": Expected(
        events=6,
        kinds=["text", "executableCode", "codeExecutionResult", "text"],
        begins="The first six square numbers",
        ends="The sum of the first six squares is 91.",
        total=421,
    ),
    "gemini-refused.txt": Expected(events=1, kinds=[], finish=None, error=400),
    "gemini-short.txt": Expected(events=3, begins="Tea is best brewed at about **95 °C**.\n", total=22),
    "gemini-thoughts-and-call.txt": Expected(
        events=3,
        kinds=["thought", "functionCall+thoughtSignature", "functionCall"],
        begins="**Finding the Tide Table**",
        total=198,
    ),
    "vertex-call.txt": Expected(events=1, kinds=["functionCall"]),
    "vertex-error-mid-stream.txt": Expected(events=3, begins="One Two ", ends="One Two ", error=503),
    "vertex-long.txt": Expected(events=4, begins="Good bread needs", ends="you cut it.\n", total=822),
    "vertex-quotes-no-finish.txt": Expected(
        events=4,
        begins=' The words "affect" and',
        ends="has changed. C:\\effects\\new is a path.",
        finish=None,
    ),
    "vertex-safety.txt": Expected(events=1, begins="I will not", finish="SAFETY", total=17),
    "vertex-unknown-model.txt": Expected(events=1, kinds=[], finish=None, error=404),
    "vertex-utf8.txt": Expected(events=4, begins="古池や\n蛙飛び込む水の音", ends="، نهاية القصيدة."),
}
EXPECTED = {
    "googleai/streaming-failure-image-rejected.txt": Expected(events=1, kinds=[], finish=None, error=400),
    "googleai/streaming-failure-prompt-blocked-safety.txt": Expected(
        events=1, kinds=[], finish=None, blocked="SAFETY"
    ),
    "googleai/streaming-success-basic-reply-short.txt": Expected(
        events=3, begins="The capital of Wyoming is **Cheyenne**.\n", total=17
    ),
    "googleai/streaming-success-citations.txt": Expected(
        events=26, begins="Okay, let's break down quantum mechanics."
    ),
    "googleai/streaming-success-code-execution.txt": Expected(
        events=6,
        kinds=["text", "executableCode", "codeExecutionResult", "text"],
        ends="The sum of the first 5 prime numbers is 28.",
        total=485,
    ),
    "googleai/streaming-success-thinking-function-call-thought-summary-signature.txt": Expected(
        events=3, kinds=["thought", "functionCall+thoughtSignature"], begins="**Calculating the Days**"
    ),
    "vertexai/streaming-failure-error-mid-stream.txt": Expected(
        events=3, begins="First Second ", ends="First Second ", error=499
    ),
    "vertexai/streaming-failure-finish-reason-safety.txt": Expected(
        events=1, begins="<redacted>", finish="SAFETY"
    ),
    "vertexai/streaming-failure-unknown-model.txt": Expected(events=1, kinds=[], finish=None, error=404),
    "vertexai/streaming-success-basic-reply-long.txt": Expected(
        events=4, begins="Okay, let's brew a decent cup of coffee!", ends="coffee in no time.\n"
    ),
    "vertexai/streaming-success-function-call-short.txt": Expected(events=1, kinds=["functionCall"]),
    "vertexai/streaming-success-quotes-escaped.txt": Expected(
        events=4,
        begins=' Pineapples and "bananas" are',
        ends="pineapples do not grow on banana plants.",
        finish=None,
    ),
    "vertexai/streaming-success-utf8.txt": Expected(events=4, begins="秋风瑟瑟"),
}


def decode(*pieces: bytes) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def body_of(name: str) -> bytes:
    return ((BODIES if name in OURS else FOLDER) / name).read_bytes()


ALL = [*OURS, *(pytest.param(name, marks=needs_recordings) for name in EXPECTED)]


def fold(events: list[ServerSentEvent]) -> tuple[ModelTurn, list[Any]]:
    turn = ModelTurn()
    values = [json.loads(event.data) for event in events]
    for value in values:
        turn.add(value)
    return turn, [value["error"] for value in values if "error" in value]


def kind_of(part: dict[str, Any]) -> str:
    return "thought" if part.get("thought") is True else "+".join(part)


@needs_recordings
def test_every_recording_is_expected_to_say_something() -> None:
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.txt")}
    assert there == set(EXPECTED)


@pytest.mark.parametrize("name", ALL)
def test_a_recording_cut_anywhere_gives_the_same_events(name: str) -> None:
    body = body_of(name)
    whole = decode(body)
    assert len(whole) == (OURS | EXPECTED)[name].events
    for at in range(len(body) + 1):
        assert decode(body[:at], body[at:]) == whole, f"cut at byte {at}"
    assert decode(*(body[at : at + 1] for at in range(len(body)))) == whole


@pytest.mark.parametrize("name", ALL)
def test_a_recording_folds_into_a_turn(name: str) -> None:
    expected = (OURS | EXPECTED)[name]
    turn, errors = fold(decode(body_of(name)))
    words = "".join(part["text"] for part in turn.parts if "text" in part)
    assert [kind_of(part) for part in turn.parts] == expected.kinds
    assert words.startswith(expected.begins)
    assert words.endswith(expected.ends)
    assert turn.finish_reason == expected.finish
    assert turn.block_reason == expected.blocked
    assert [error["code"] for error in errors] == ([] if expected.error is None else [expected.error])
    if expected.total is not None:
        assert turn.usage["totalTokenCount"] == expected.total


@pytest.mark.parametrize("name", ALL)
def test_no_text_of_a_recording_is_lost(name: str) -> None:
    values = [json.loads(event.data) for event in decode(body_of(name))]
    parts = [
        part
        for value in values
        for candidate in value.get("candidates", [])
        for part in candidate["content"].get("parts", [])
    ]
    turn, _ = fold(decode(body_of(name)))
    assert "".join(part.get("text", "") for part in turn.parts) == "".join(
        part.get("text", "") for part in parts
    )
    assert [part for part in turn.parts if "text" not in part] == [
        part for part in parts if "text" not in part
    ]


def test_the_forms_of_the_services_are_all_there() -> None:
    assert {path.name for path in BODIES.glob("*.txt")} == set(OURS)
    bodies = {name: body_of(name) for name in OURS}
    assert b"\r\n\r\n" in bodies["gemini-short.txt"]  # a checkout that changed line ends would test less
    assert b"\r" not in bodies["vertex-error-mid-stream.txt"]
    assert not bodies["gemini-blocked.txt"].endswith(b"\r\n\r\n")
    assert not bodies["vertex-quotes-no-finish.txt"].endswith(b"\n\n")


def test_the_signature_of_parallel_calls_stays_on_the_first() -> None:
    turn, _ = fold(decode(body_of("gemini-thoughts-and-call.txt")))
    first, second = turn.function_calls
    assert len((first.part or {})["thoughtSignature"]) == 960
    assert second.part == {"functionCall": {"name": "now", "args": {}}}
    assert turn.content == {"role": "model", "parts": turn.parts}


def test_citations_and_traffic_of_our_bodies_are_kept() -> None:
    turn, _ = fold(decode(body_of("gemini-citations.txt")))
    assert [source.get("license") for source in turn.metadata["citationMetadata"]["citationSources"]] == [
        None,
        "mit",
    ]
    turn, _ = fold(decode(body_of("vertex-long.txt")))
    assert turn.usage["trafficType"] == "ON_DEMAND"
    assert turn.response_id == "xvYIafnCBZvW1PIPj9qfyAE"


@needs_recordings
def test_the_signature_stays_on_its_call() -> None:
    turn, _ = fold(
        decode(body_of("googleai/streaming-success-thinking-function-call-thought-summary-signature.txt"))
    )
    [call] = turn.function_calls
    assert (call.part or {})["functionCall"] == {"name": "now", "args": {}}
    assert (call.part or {})["thoughtSignature"].startswith("CiIBVKhc7vB+vaaq6rA/KC79Ts7iXagIOA4EBOyBFDpl")
    assert turn.content == {"role": "model", "parts": turn.parts}


@needs_recordings
def test_facts_of_a_vertex_answer() -> None:
    turn, _ = fold(decode(body_of("vertexai/streaming-success-basic-reply-long.txt")))
    assert turn.usage["trafficType"] == "ON_DEMAND"
    assert turn.usage["candidatesTokenCount"] == 1706
    assert turn.model_version == "gemini-2.0-flash"
    assert turn.response_id == "By4ZaNWAEPKQhMIP4KS3oAc"


@needs_recordings
def test_citations_are_kept_beside_the_parts() -> None:
    turn, _ = fold(decode(body_of("googleai/streaming-success-citations.txt")))
    assert turn.metadata["citationMetadata"]["citationSources"]
    assert [kind_of(part) for part in turn.parts] == ["text"]


@needs_recordings
@pytest.mark.parametrize(
    "name", ["vertexai/streaming-success-utf8.txt", "vertexai/streaming-failure-unknown-model.txt"]
)
def test_bodies_alone_answer_for_the_model_of_their_name(name: str) -> None:
    with Simulator(pace=0, recordings=FOLDER) as sim:
        got = exchange(sim.base_url, model=Path(name).stem)
    assert got.status == (EXPECTED[name].error or 200)
    assert got.body == body_of(name)
