"""Answers that break after they began: nothing is told twice, nothing is lost without a word."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from answers import rebuilt, rig, until
from calling import NOW, ask, call_to
from gemini_nb.api import retry
from gemini_nb.api.client import call_model
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import Cooldowns, CoolingDown, RetryPolicy
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import APIError, EmptyAnswerError, StreamCutError
from gemini_nb.streams.stream import Stream
from scripted import Answer, Close, Reset, ScriptedServer, call, json_error, sse_answer, text

HELLO = sse_answer(text("Hel"), text("lo"), text("!", finish="STOP"))
CUTS: dict[str, list[Any]] = {
    "proper end": [],
    "close": [Close()],
    "reset": [Reset()],
    "half an event": [b'data: {"candidates": [{"conte'],
    "nonsense": [b"data: {nonsense}\n\n"],
    "error event": [{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}],
    "raw error": [b'[{\n"error": {"code": 429, "message": "no more",\n"status": "RESOURCE_EXHAUSTED"}}]'],
}


@pytest.fixture
async def clients() -> AsyncIterator[HTTPClients]:
    pools = HTTPClients()
    yield pools
    await pools.aclose()


def cut(*chunks: Any, how: str = "proper end") -> Answer:
    return sse_answer(*chunks, *CUTS[how], framing="close" if how == "proper end" else "chunked")


def token(value: str, words: str, finish: str | None = None) -> dict[str, Any]:
    made = text(words, finish=finish)
    made["candidates"][0]["continuationToken"] = value
    return made


def kinds(stream: Stream) -> list[str]:
    return [event.kind for event in stream.events]


@pytest.mark.parametrize("how", CUTS)
def test_an_answer_that_broke_is_asked_again_and_replaced(how: str) -> None:
    with rig([cut(text("Hel"), text("ter"), how=how), HELLO]) as made:
        stream = made.start(retry=NOW).wait(10)
        assert len(made.server.requests) == 2
        assert made.server.requests[0].json == made.server.requests[1].json
    assert (stream.status, stream.text, rebuilt(stream), stream.retries) == (
        "completed",
        "Hello!",
        "Hello!",
        1,
    )
    told = kinds(stream)
    assert told.index("retry_scheduled") < told.index("text_rewound") < len(told) - 1
    (retry,) = [event for event in stream.events if event.kind == "retry_scheduled"]
    (rewound,) = [event for event in stream.events if event.kind == "text_rewound"]
    assert (retry.keeps, rewound.length) == (0, 0)


def test_what_was_shown_stays_until_something_takes_its_place() -> None:
    refused, seen = threading.Event(), threading.Event()

    def script(request: Any) -> Answer:
        if len(made.server.requests) == 1:
            return cut(text("Hel"))
        refused.set()
        assert seen.wait(10)
        return json_error(400, "no more")

    with rig(script) as made:
        stream = made.start(retry=NOW)
        assert refused.wait(10)
        assert stream.text == "Hel"
        seen.set()
        stream.wait(10)
    assert (stream.status, stream.text, rebuilt(stream)) == ("error", "Hel", "Hel")
    assert "text_rewound" not in kinds(stream)


def test_three_restarts_and_no_more() -> None:
    with rig(lambda _: cut(text("Hel"))) as made:
        stream = made.start(retry=NOW).wait(10)
        assert len(made.server.requests) == 4
    assert (stream.status, stream.text, rebuilt(stream)) == ("error", "Hel", "Hel")
    assert isinstance(stream.error, StreamCutError)
    assert stream.error.attempts == 4
    assert "Gave up after 4 attempts" in str(stream.error)


def test_failures_before_output_between_restarts_count_by_themselves() -> None:
    busy = json_error(503, "busy")
    with rig([cut(text("a")), busy, busy, busy, cut(text("b")), busy, busy, busy, HELLO]) as made:
        stream = made.start(retry=NOW).wait(10)
    assert (stream.status, stream.text, stream.retries) == ("completed", "Hello!", 8)


def test_a_person_may_keep_what_broke() -> None:
    with rig([cut(text("Hel"))]) as made:
        stream = made.start(retry=RetryPolicy(on_cut="keep")).wait(10)
    assert (stream.status, stream.text, stream.retries) == ("error", "Hel", 0)


def test_an_error_after_output_that_asking_again_cannot_help() -> None:
    error = {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}
    with rig([sse_answer(text("Hel"), error)]) as made:
        stream = made.start(retry=NOW).wait(10)
    assert (stream.status, stream.text, stream.retries) == ("error", "Hel", 0)
    assert stream.error is not None
    assert stream.error.status_code == 403


def test_thoughts_and_other_parts_are_replaced_too() -> None:
    thought = {"candidates": [{"content": {"parts": [{"text": "Hm. ", "thought": True}]}}]}
    code = {"candidates": [{"content": {"parts": [{"executableCode": {"code": "1"}}]}}]}
    with rig([cut(thought, code), sse_answer(thought, code, text("1", finish="STOP"))]) as made:
        stream = made.start(retry=NOW).wait(10)
    assert (stream.thoughts, stream.text) == ("Hm. ", "1")
    (rewound,) = [event for event in stream.events if event.kind == "text_rewound"]
    assert (rewound.length, rewound.thoughts_length, rewound.parts) == (0, 0, 0)
    assert [next(iter(part)) for part in stream.parts] == ["text", "executableCode", "text"]


def test_tokens_of_a_broken_request_are_paid_for() -> None:
    usage = {"usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 7}}
    broken = {**text("Hel"), **usage}
    with rig([cut(broken), sse_answer({**text("Hello!", finish="STOP"), **usage})]) as made:
        stream = made.start(retry=NOW).wait(10)
    assert (stream.usage.prompt_token_count, stream.usage.total_token_count) == (10, 14)


def test_a_checkpoint_is_gone_on_from() -> None:
    first = [text("Once "), token("t1", "upon "), text("a tie")]
    second = [text("a "), token("t2", "time "), text("th")]
    with rig([cut(*first), cut(*second), sse_answer(text("there.", finish="STOP"))]) as made:
        stream = made.start(retry=NOW).wait(10)
        bodies = [request.json for request in made.server.requests]
    assert (stream.text, rebuilt(stream)) == ("Once upon a time there.",) * 2
    assert [body.pop("continuationToken", None) for body in bodies] == [None, "t1", "t2"]
    assert bodies[0] == bodies[1] == bodies[2]
    assert [event.length for event in stream.events if event.kind == "text_rewound"] == [10, 17]


def test_checkpoints_are_progress() -> None:
    pieces = [cut(token(f"t{number}", f"{number} "), text("lost")) for number in range(8)]
    with rig([*pieces, sse_answer(text("end", finish="STOP"))]) as made:
        stream = made.start(retry=NOW).wait(10)
    assert (stream.status, stream.text) == ("completed", "0 1 2 3 4 5 6 7 end")


def test_a_token_that_the_server_does_not_know_any_more() -> None:
    answers = [cut(token("t1", "Hel")), json_error(400, "continuationToken expired"), HELLO]
    with rig(answers) as made:
        stream = made.start(retry=NOW).wait(10)
        assert "continuationToken" not in made.server.requests[2].json
    assert (stream.text, rebuilt(stream)) == ("Hello!", "Hello!")


def test_a_long_answer_goes_on_by_itself() -> None:
    hops = [
        sse_answer(text("Once "), token("t1", "upon ", finish="CONTINUATION")),
        sse_answer(token("t2", "", finish="CONTINUATION")),
        sse_answer(text("a time.", finish="STOP")),
    ]
    with rig(hops) as made:
        stream = made.start(retry=NOW).wait(10)
        asked = [request.json.get("continuationToken") for request in made.server.requests]
    assert (stream.text, stream.finish_reason, stream.retries) == ("Once upon a time.", "STOP", 0)
    assert asked == [None, "t1", "t2"]
    assert stream.parts == [{"text": "Once upon a time."}]


@pytest.mark.parametrize("words", ["", "more "])
def test_a_server_that_comes_no_further_is_not_asked_for_ever(words: str) -> None:
    with rig(lambda _: sse_answer(token("t1", words, "CONTINUATION"))) as made:
        stream = made.start(retry=NOW).wait(10)
        assert len(made.server.requests) in {5, 6}
    assert isinstance(stream.error, StreamCutError)
    assert "came no further" in stream.error.message
    assert stream.text == rebuilt(stream) == words * 2


def test_places_without_a_word_between_them_are_not_followed_for_ever() -> None:
    numbers = itertools.count()
    with rig(lambda _: sse_answer(token(f"t{next(numbers)}", "", "CONTINUATION"))) as made:
        stream = made.start(retry=NOW).wait(10)
        assert 64 < len(made.server.requests) < 80
    assert isinstance(stream.error, StreamCutError)


def test_finished_tools_never_run_again_and_cut_calls_not_at_all() -> None:
    ran: list[str] = []

    def look(where: str) -> str:
        """Look somewhere."""
        ran.append(where)
        return "seen"

    answers = [
        cut(text("I "), call("look", args={"where": "nowhere"})),
        sse_answer(text("I look. "), call("look", args={"where": "here"}), text("", finish="STOP")),
        cut(text("I sa")),
        sse_answer(text("I saw.", finish="STOP")),
    ]
    with rig(answers) as made:
        stream = made.start(tools=[look], retry=NOW).wait(10)
        last = made.server.requests[3].json["contents"]
    assert (ran, stream.text, rebuilt(stream)) == (["here"], "I look. \n\nI saw.", "I look. \n\nI saw.")
    assert [part for turn in last for part in turn["parts"] if "functionCall" in part] == [
        {"functionCall": {"name": "look", "args": {"where": "here"}}}
    ]


def flawed(reason: str, *chunks: Any) -> Answer:
    return sse_answer(*chunks, {"candidates": [{"finishReason": reason, "finishMessage": "no such tool"}]})


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "STOP"])
def test_a_slip_of_the_models_is_asked_again_twice(reason: str) -> None:
    with rig([flawed(reason), flawed(reason), HELLO]) as made:
        stream = made.start(retry=RetryPolicy(attempts=1)).wait(10)
    assert (stream.status, stream.text, stream.retries) == ("completed", "Hello!", 2)
    with rig(lambda _: flawed(reason)) as made:
        stream = made.start().wait(10)
        assert len(made.server.requests) == 3
    assert stream.status == "error"
    assert isinstance(stream.error, EmptyAnswerError)
    assert (stream.error.api_status, stream.error.attempts) == (reason, 3)


def test_a_slip_after_text_keeps_the_last_text_in_the_end() -> None:
    slips = [flawed("MALFORMED_FUNCTION_CALL", text(words)) for words in ("one", "two", "three")]
    with rig(slips) as made:
        stream = made.start().wait(10)
    assert (stream.status, stream.text, rebuilt(stream)) == ("completed", "three", "three")
    assert stream.finish_reason == "MALFORMED_FUNCTION_CALL"


def test_silence_after_a_tool_is_an_answer_where_there_is_text_already() -> None:
    asked = sse_answer(text("I look. "), call("look"), text("", finish="STOP"))
    with rig([asked, *[flawed("STOP")] * 3]) as made:
        stream = made.start(tools=[look_around]).wait(10)
    assert (stream.status, stream.text) == ("completed", "I look. ")


def look_around() -> str:
    """Look around."""
    return "seen"


look_around.__name__ = "look"


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "MAX_TOKENS", "SOMETHING_NEW"])
def test_other_reasons_are_the_models_last_word(reason: str) -> None:
    with rig([flawed(reason, text("Hel"))]) as made:
        stream = made.start().wait(10)
    assert (stream.status, stream.finish_reason, stream.retries) == ("completed", reason, 0)
    assert stream.text == "Hel"


def test_a_chat_keeps_the_last_that_was_shown() -> None:
    from gemini_nb import Chat

    with rig([cut(text("Hel")), json_error(400, "no more")]) as made:
        chat = Chat(manager=made.manager, **made.options)
        chat.send("Hi", retry=NOW).wait(10)
    assert chat.history[-1] == {"role": "model", "parts": [{"text": "Hel"}]}


# ------------------------------------------------------------------ quotas


async def test_one_refusal_makes_every_call_of_that_quota_wait(clients: HTTPClients) -> None:
    first_refused = asyncio.Event()
    policy = RetryPolicy(initial_delay=0.3)

    def script(request: Any) -> Answer:
        return json_error(429, "quota") if request is server.requests[0] else HELLO

    with ScriptedServer(script) as server:

        async def first() -> ModelTurn:
            turn = ModelTurn()
            async for event in call_model(clients, call_to(server, retry=policy), turn, jitter=lambda: 1.0):
                if not isinstance(event, CoolingDown):
                    first_refused.set()
            return turn

        task = asyncio.ensure_future(first())
        await first_refused.wait()
        outcomes = await asyncio.gather(*(ask(clients, server) for _ in range(5)))
        pauses = [event for outcome in outcomes for event in outcome.events if isinstance(event, CoolingDown)]
        assert len(pauses) == 5
        starts = sorted(pause.until for pause in pauses)
        assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(starts))
        assert all("quota" in pause.reason for pause in pauses)
        assert (await task).is_finished
        assert len(server.requests) == 7  # nobody else was refused


async def test_a_hundred_start_one_after_the_other_and_a_newcomer_behind_them() -> None:
    cooldowns = Cooldowns()
    cooldowns.impose("quota", 0.05, "quota of m")
    started: list[tuple[float, int]] = []

    async def start(number: int) -> None:
        async for pause in cooldowns.admit("quota"):
            started.append((pause.until, number))  # noqa: PERF401 - when each begins is what is looked at

    first = [asyncio.ensure_future(start(number)) for number in range(100)]
    await asyncio.sleep(0.06)  # the quota is free again, and most of them still wait
    late = asyncio.ensure_future(start(100))
    await asyncio.sleep(0)
    moments = [moment for moment, _ in started]
    assert moments == sorted(moments)
    assert [number for _, number in started] == list(range(101))
    assert all(later > earlier for earlier, later in itertools.pairwise(moments))
    assert moments[-1] - moments[0] < 30
    for task in [*first, late]:
        task.cancel()
    await asyncio.gather(*first, late, return_exceptions=True)


async def test_a_clock_that_is_set_prolongs_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [1_800_000_000.0]
    clock = SimpleNamespace(time=lambda: shown[0], monotonic=time.monotonic)
    monkeypatch.setattr(retry, "time", clock)
    cooldowns = Cooldowns()
    cooldowns.impose("quota", 60, "quota of m")
    for now in (1_800_000_000.0, 1_700_000_000.0, 1_900_000_000.0):
        shown[0] = now
        async with contextlib.aclosing(cooldowns.admit("quota")) as pauses:
            pause = await anext(pauses)
        assert 0 < pause.until - now <= 61
    assert "quota" in cooldowns


async def test_another_model_does_not_wait(clients: HTTPClients) -> None:
    clients.cooldowns.impose(("elsewhere", "m", "k"), 60, "quota of m")
    with ScriptedServer([HELLO]) as server:
        outcome = await ask(clients, server)
    assert not any(isinstance(event, CoolingDown) for event in outcome.events)


async def test_a_wait_beyond_the_cap_holds_nobody_else_up(clients: HTTPClients) -> None:
    with ScriptedServer([json_error(429, "Please retry in 3600s"), HELLO]) as server:
        refused = await ask(clients, server)
        assert (await ask(clients, server)).text == "Hello!"
    assert isinstance(refused.failure, APIError)
    assert "asks to wait 3600 s" in str(refused.failure)


def test_a_stream_tells_what_it_waits_for() -> None:
    with rig(lambda _: json_error(429, "Please retry in 30s")) as made:
        stream = made.start()
        next(event for event in stream if event.kind == "retry_scheduled")
        until(lambda: stream.record.waiting)
        waiting = stream.record.waiting
        assert waiting is not None
        assert waiting.reason == f"quota of {stream.model}"
        assert made.manager.statistics().waiting == 1
        assert made.manager.statistics().waits == {stream.stream_id: waiting}
        stream.stop()
        assert stream.record.waiting is None


def test_sources_that_came_before_any_text_are_replaced_too() -> None:
    sources: dict[str, Any] = {"candidates": [{"groundingMetadata": {"webSearchQueries": ["q"]}}]}
    with rig([cut(sources), sse_answer(sources, text("Hello!", finish="STOP"))]) as made:
        stream = made.start(retry=NOW).wait(10)
    [rewound] = [event for event in stream.events if event.kind == "text_rewound"]
    assert (stream.text, rewound.parts, kinds(stream).count("part_received")) == ("Hello!", 0, 2)


def test_a_checkpoint_before_any_new_output_keeps_nothing_of_what_broke() -> None:
    answers = [cut(text("Hel")), cut(token("t1", "")), sse_answer(text("Hello!", finish="STOP"))]
    with rig(answers) as made:
        stream = made.start(retry=NOW).wait(10)
        assert made.server.requests[2].json["continuationToken"] == "t1"
    assert (stream.text, rebuilt(stream), stream.parts) == ("Hello!", "Hello!", [{"text": "Hello!"}])
