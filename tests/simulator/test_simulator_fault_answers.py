"""Faults in what an answer says, and the ways to go on where one stopped."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from gemini_nb.simulator import Simulator
from raw_client import TIDES, Raw, exchange, reasons, said, struck
from simulator_wire import WEATHER, ask, parts_of, text_of


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(pace=0, api_key="right") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def whole(sim: Simulator) -> list[dict[str, Any]]:
    return exchange(sim.base_url).chunks


def test_an_answer_ends_twice_or_never(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    twice = struck(sim, "finish-twice")
    assert reasons(twice.chunks)[-3:] == [None, "STOP", "STOP"]
    assert text_of(twice.chunks) == text_of(whole)
    never = struck(sim, "no-finish")
    assert never.ending == "end"
    assert set(reasons(never.chunks)) == {None}
    assert parts_of(never.chunks) == parts_of(whole)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("missing", {}),
        ("object", {"content": {}}),
        ("role", {"content": {"role": "model"}}),
        ("parts", {"content": {"role": "model", "parts": []}}),
    ],
)
def test_an_answer_is_empty(sim: Simulator, kind: str, content: dict[str, Any]) -> None:
    for method in ("streamGenerateContent?alt=sse", "generateContent"):
        answer = struck(sim, f"empty={kind}", method=method)
        [chunk] = answer.chunks if "stream" in method else [answer.json]
        assert (answer.ending, chunk["usageMetadata"]["promptTokenCount"] > 0) == ("end", True)
        if "stream" in method:
            assert chunk["candidates"] == [{**content, "finishReason": "STOP", "index": 0}]


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"]
)
def test_an_answer_ends_for_another_reason(sim: Simulator, whole: list[dict[str, Any]], reason: str) -> None:
    answer = struck(sim, f"finish={reason}")
    assert reasons(answer.chunks) == [None] * (len(whole) - 1) + [reason]
    assert text_of(answer.chunks) == text_of(whole)
    early = struck(sim, f"finish={reason}~finish-after=2")
    assert reasons(early.chunks) == [None, None, reason]
    assert early.chunks[2]["candidates"][0]["content"] == {"role": "model"}
    assert (
        struck(sim, f"finish={reason}", method="generateContent").json["candidates"][0]["finishReason"]
        == reason
    )


def test_calls_are_lost_where_they_were_malformed(sim: Simulator) -> None:
    asked = {**ask("Check the weather in Oslo"), "tools": [{"functionDeclarations": [WEATHER]}]}
    normal = parts_of(exchange(sim.base_url, asked).chunks)
    assert any("functionCall" in part for part in normal)
    last = struck(sim, "finish=MALFORMED_FUNCTION_CALL", asked).chunks
    assert not any("functionCall" in part for part in parts_of(last))
    assert "Malformed function call" in last[-1]["candidates"][0]["finishMessage"]


# ------------------------------------------------------------------------------------------- and goes on

THINKING = {**TIDES, "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
TOOLS = {**ask("Compare the weather in Oslo and Lima"), "tools": [{"functionDeclarations": [WEATHER]}]}


def token_of(chunk: dict[str, Any]) -> str:
    token: str = chunk["candidates"][0]["continuationToken"]
    base64.b64decode(token, validate=True)
    return token


def go_on(sim: Simulator, body: dict[str, Any], token: str, **options: Any) -> Raw:
    return exchange(sim.base_url, {**body, "continuationToken": token}, **options)


def shown(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts, without the empty one at the end of a continued hop."""
    return [part for part in parts_of(chunks) if part != {"text": ""}]


@pytest.mark.parametrize("events", [0, 1, 3])
@pytest.mark.parametrize("body", [TIDES, THINKING, TOOLS], ids=["text", "thoughts", "calls"])
def test_an_answer_is_continued_where_it_ended(sim: Simulator, body: dict[str, Any], events: int) -> None:
    expected = exchange(sim.base_url, body).chunks
    first = struck(sim, f"continuation={events}", body).chunks
    assert reasons(first) == [None] * events + ["CONTINUATION"]
    second = go_on(sim, body, token_of(first[-1])).chunks
    assert shown(first) + shown(second) == shown(expected)
    assert reasons(second)[-1] == "STOP"


def test_an_answer_is_continued_many_times(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    sim.faults = ["continuation=2~times=all"]
    body, chunks, hops = TIDES, [], 0
    while True:
        answer = exchange(sim.base_url, body).chunks
        chunks += answer
        hops += 1
        if reasons(answer)[-1] == "STOP":
            break
        body = {**TIDES, "continuationToken": token_of(answer[-1])}
    sim.faults = None
    assert shown(chunks) == shown(whole)
    assert hops == -(-len(whole) // 2)


def test_each_response_counts_its_own_tokens(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    first = struck(sim, "continuation=5").chunks
    second = go_on(sim, TIDES, token_of(first[-1])).chunks
    counts = [one[-1]["usageMetadata"]["candidatesTokenCount"] for one in (first, second, whole)]
    assert 0 < counts[0] < counts[2]
    assert 0 <= counts[0] + counts[1] - counts[2] <= 1
    assert first[0]["responseId"] != second[0]["responseId"]


@pytest.mark.parametrize("how", ["fin", "rst", "end"])
@pytest.mark.parametrize("events", [0, 2])
def test_an_answer_resumes_from_a_checkpoint(
    sim: Simulator, whole: list[dict[str, Any]], events: int, how: str
) -> None:
    answer = struck(sim, f"checkpoint={events}~cut=5~how={how}")
    assert (len(answer.chunks), answer.ending, set(reasons(answer.chunks))) == (5, how, {None})
    [at] = [n for n, chunk in enumerate(answer.chunks) if "continuationToken" in chunk["candidates"][0]]
    assert at == max(0, events - 1)
    resumed = go_on(sim, TIDES, token_of(answer.chunks[at])).chunks
    assert parts_of(resumed) == parts_of(whole[events:])


def test_a_checkpoint_does_not_end_an_answer(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "checkpoint=2")
    assert (answer.ending, parts_of(answer.chunks)) == ("end", parts_of(whole))
    assert reasons(struck(sim, "continuation=30").chunks)[-1] == "STOP"


def test_one_response_is_continued(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    first = struck(sim, "continuation=3", method="generateContent").json
    assert first["candidates"][0]["finishReason"] == "CONTINUATION"
    second = go_on(sim, TIDES, token_of(first), method="generateContent").json
    assert text_of([first]) + text_of([second]) == text_of(whole)
    assert "continuationToken" not in second["candidates"][0]


def test_a_token_goes_with_its_request(sim: Simulator) -> None:
    token = token_of(struck(sim, "continuation=3").chunks[-1])
    other = token[:60] + ("A" if token[60] != "A" else "B") + token[61:]
    for body, sent in ((TIDES, other), (ask("Explain owls"), token), (TIDES, token[:-8]), (TIDES, "eA==")):
        refused = go_on(sim, body, sent)
        assert refused.status == 400
        assert "continuation token is not valid" in refused.json["error"]["message"]
    assert go_on(sim, TIDES, token, model="gemini-3.5-flash").status == 400
    assert go_on(sim, TIDES, token.replace("+", "-").replace("/", "_").rstrip("=")).status == 200


def test_a_script_is_continued_too() -> None:
    seen: list[dict[str, Any]] = []

    def script(body: dict[str, Any], model: str) -> list[Any]:
        seen.append(body)
        return [{"candidates": [{"content": {"parts": [{"text": letter}]}}]} for letter in "abcd"]

    with Simulator(pace=0, scenario=script, faults=["continuation=1"]) as sim:
        first = exchange(sim.base_url).chunks
        second = go_on(sim, TIDES, token_of(first[-1])).chunks
        foreign = go_on(sim, TIDES, "eA==")
    assert (text_of(first), text_of(second)) == ("a", "bcd")
    assert (foreign.status, seen[1]) == (200, TIDES)
    assert seen[2]["continuationToken"] == "eA=="


# ------------------------------------------------------------------------------------ and is the same again


@pytest.mark.parametrize("body", [TIDES, THINKING, TOOLS], ids=["text", "thoughts", "calls"])
def test_a_request_gets_the_same_answer_again(sim: Simulator, body: dict[str, Any]) -> None:
    first, second = (exchange(sim.base_url, body) for _ in range(2))
    assert said(first.chunks) == said(second.chunks)
    assert [len(piece) for piece in first.pieces] == [len(piece) for piece in second.pieces]
    assert first.chunks[0]["responseId"] != second.chunks[0]["responseId"]


def test_a_later_request_gets_other_ids(sim: Simulator) -> None:
    later = {**TOOLS, "contents": [*TOOLS["contents"], {"role": "model", "parts": [{"text": "?"}]}]}
    later["contents"] += TOOLS["contents"]

    def ids(body: dict[str, Any]) -> set[str]:
        parts = parts_of(exchange(sim.base_url, body).chunks)
        return {part["functionCall"]["id"] for part in parts if "functionCall" in part}

    assert len(ids(TOOLS)) == len(ids(later)) == 2
    assert not ids(TOOLS) & ids(later)
