"""Kept answers as a user meets them: what is asked again, what is not, and what is said about it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest

import answers
import gemini_nb
from answers import KEY, PATIENCE, Recorder, always, hello, rig, run_python, until
from gemini_nb import RetryPolicy
from gemini_nb.config import Settings
from gemini_nb.errors import ConfigError, MissingKeyError, NotKeptError
from gemini_nb.journal.kept.call_record import CallRecord
from gemini_nb.journal.kept.keep_file import KeepFile
from gemini_nb.simulator import Simulator
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.mapping import map_prompts
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from scripted import Answer, Close, Request, Wait, json_error, sse_answer, text

NOW = RetryPolicy(initial_delay=0.0)
SKY = "Why is the sky blue?"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def offline() -> Iterator[StreamManager]:
    """Another process's manager, with no key."""
    manager = StreamManager()
    yield manager
    manager.shutdown()


def counted(request: Request) -> Answer:
    """An answer that no other has."""
    return sse_answer(text(f"answer {next(_numbers)}", finish="STOP"))


_numbers = itertools.count(1)


def call(name: str, **args: Any) -> dict[str, Any]:
    part = {"functionCall": {"id": "c1", "name": name, "args": args}, "thoughtSignature": "c2ln"}
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}


def records(path: Path) -> list[CallRecord]:
    return [CallRecord.from_json(line) for line in path.read_bytes().splitlines()]


def same(one: Stream, other: Stream) -> None:
    assert (one.text, one.thoughts, one.status, one.error) == (
        other.text,
        other.thoughts,
        other.status,
        other.error,
    )
    assert (one.finish_reason, one.usage, one.parts) == (other.finish_reason, other.usage, other.parts)
    assert (one.model_version, one.response_id) == (other.model_version, other.response_id)
    assert one.chunks == other.chunks
    assert [(c.name, c.args, c.result, c.status) for c in one.tool_calls] == [
        (c.name, c.args, c.result, c.status) for c in other.tool_calls
    ]


# ---------------------------------------------------------------------------------------------- asked once


def test_what_was_answered_is_not_asked_again_also_after_a_restart(
    path: Path, offline: StreamManager
) -> None:
    chunks = [text("Because "), {**text("of light.", finish="STOP"), "usageMetadata": {"totalTokenCount": 7}}]
    with rig(always(*chunks)) as made:
        first = made.start(SKY, keep=path).wait(PATIENCE)
        assert first.kept is None
        again = made.start(SKY, keep=path).wait(PATIENCE)
        assert len(made.server.requests) == 1
    later = offline.start_stream(SKY, keep=str(path)).wait(PATIENCE)
    for stream in (again, later):
        same(stream, first)
        assert stream.kept is not None
        assert datetime.now(UTC) - stream.kept < timedelta(minutes=1)
        assert stream.record.saved.tokens == stream.usage.total_token_count == 7
        assert stream.cost == 0
    assert first.record.saved.tokens == first.saved == 0
    assert KEY not in path.read_text()


def test_what_was_kept_costs_nothing_and_says_what_it_saved(path: Path) -> None:
    counts = {"promptTokenCount": 1_000_000, "candidatesTokenCount": 1_000_000, "totalTokenCount": 2_000_000}
    answer = {**text("Long.", finish="STOP"), "usageMetadata": counts}
    with rig(always(answer)) as made:
        asked, kept = (made.start(SKY, keep=path, model="gemini-2.5-flash").wait(PATIENCE) for _ in range(2))
        assert asked.cost is not None
        assert (asked.cost > 0, asked.saved) == (True, Decimal())
        assert (kept.cost, kept.saved) == (Decimal(), asked.cost)
        totals = made.manager.statistics()
        assert (totals.tokens, totals.cost, totals.kept) == (2_000_000, asked.cost, 1)


def test_it_is_written_before_the_end_is_told(path: Path) -> None:
    found = []

    def look(event: Any) -> None:
        if event.kind == "stream_completed":
            found.append(len(records(path)))

    with rig(hello()) as made:
        made.start(SKY, look, keep=path).wait(PATIENCE)
    assert found == [1]


def test_another_question_is_asked(path: Path) -> None:
    with rig(counted) as made:
        asked: list[dict[str, Any]] = [
            {},
            {"contents": "Why is grass green?"},
            {"system_instruction": "Be short."},
            {"generation_config": {"temperature": 1}},
            {"model": "gemini-flash-latest"},
            {"tools": [weather]},
        ]
        answers = [made.start(**{"contents": SKY, "keep": path, **one}).wait(PATIENCE).text for one in asked]
        assert len(set(answers)) == len(asked) == len(made.server.requests)
        again = [made.start(**{"contents": SKY, "keep": path, **one}).wait(PATIENCE).text for one in asked]
        assert again == answers
        assert len(made.server.requests) == len(asked)
        same_one = made.start(SKY, keep=path, generation_config={"temperature": 1.0}).wait(PATIENCE)
        assert same_one.text == answers[3]


def test_fresh_asks_anew_and_replaces(path: Path, offline: StreamManager) -> None:
    with rig(counted) as made:
        old = made.start(SKY, keep=path).wait(PATIENCE).text
        new = made.start(SKY, keep=path, fresh=True).wait(PATIENCE)
        assert (new.kept, new.text != old) == (None, True)
    assert offline.start_stream(SKY, keep=path).wait(PATIENCE).text == new.text
    assert len(records(path)) == 2


def test_nothing_is_kept_where_nobody_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with rig(counted) as made:
        assert made.start(SKY).wait(PATIENCE).text != made.start(SKY).wait(PATIENCE).text
        made.start(SKY, keep=False).wait(PATIENCE)
    assert list(tmp_path.glob("*.jsonl")) == []


def test_configuration_and_environment_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with rig(counted, settings=Settings(keep=True)) as made:
        first = made.start(SKY).wait(PATIENCE).text
        assert made.start(SKY).wait(PATIENCE).text == first
        assert made.start(SKY, keep=False).wait(PATIENCE).text != first
        assert made.start(SKY, keep="other.jsonl").wait(PATIENCE).text != first
    monkeypatch.setenv("GEMINI_NB_KEEP", "answers.jsonl")
    with rig(counted, settings=Settings(keep="")) as made:
        assert made.start(SKY).wait(PATIENCE).text == first
        monkeypatch.setenv("GEMINI_NB_KEEP", "off")
        assert made.start(SKY).wait(PATIENCE).text != first
        monkeypatch.setenv("GEMINI_NB_KEEP", "on")
        assert made.start(SKY).wait(PATIENCE).text == first
    assert sorted(one.name for one in tmp_path.glob("*.jsonl")) == ["answers.jsonl", "other.jsonl"]


@pytest.mark.parametrize("prompts", [["Name a river."] * 10, [f"River {n}" for n in range(10)]])
def test_fresh_rows_are_all_asked_anew(path: Path, prompts: list[str]) -> None:
    with rig(counted) as made:
        for fresh in (False, True, False):
            group = map_prompts(prompts, manager=made.manager, keep=path, fresh=fresh, **made.options)
            group.wait(PATIENCE)
        assert len(made.server.requests) == 20
        assert group.counts.kept == 10
        assert len(records(path)) == 20


def test_fresh_takes_no_answer_that_was_asked_for_before(path: Path) -> None:
    gate = threading.Event()

    def script(request: Any) -> Any:
        number = len(made.server.requests)
        return sse_answer(Wait(gate), text(f"answer {number}", finish="STOP"))

    with rig(script) as made:
        old = made.start(SKY, keep=path)
        made.server.wait_requests(1)
        fresh = [made.start(SKY, keep=path, fresh=True) for _ in range(2)]
        until(lambda: all(one.record.waiting is not None for one in fresh))
        gate.set()
        assert [one.wait(PATIENCE).text for one in (old, *fresh)] == ["answer 1", "answer 2", "answer 2"]
        assert made.start(SKY, keep=path).wait(PATIENCE).text == "answer 2"


async def read(group: StreamGroup) -> list[int]:
    return [index async for index, _ in group]


def test_a_program_is_warned_of_a_broken_file_once_a_run(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("no answers\n")
    with rig(hello()) as made:
        for wait in (
            StreamGroup.wait,
            StreamGroup.result,
            lambda group, _: list(group),
            lambda group, _: asyncio.run(read(group)),
        ):
            group = map_prompts(["a", "b"], manager=made.manager, keep=path, **made.options)
            caplog.clear()
            wait(group, PATIENCE)
            wait(group, PATIENCE)
            assert [one.getMessage() for one in caplog.records] == group.run.remarks
            assert path.name in caplog.text
            path = path.with_name(f"other-{path.name}")
            path.write_text("no answers\n")


@pytest.mark.parametrize(
    "options",
    [{"keep": 7}, {"keep": ""}, {"keep": b"x"}, {"keep": "missing/answers.jsonl"}, {"fresh": "yes"}],
)
def test_bad_input_is_refused_at_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    with rig(hello()) as made, pytest.raises(ConfigError):
        made.start(SKY, **options)


# ----------------------------------------------------------------------------------------- what is not kept


BAD: dict[str, tuple[Answer, dict[str, Any]]] = {
    "an error": (json_error(400), {}),
    "a block": (sse_answer({"promptFeedback": {"blockReason": "SAFETY"}}), {}),
    "a cut": (sse_answer(text("Half"), Close()), {"retry": RetryPolicy(on_cut="keep")}),
    "a filter": (sse_answer(text("Half", finish="SAFETY")), {}),
    "a recitation": (sse_answer(text("Half", finish="RECITATION")), {}),
    "a reason that is not known": (sse_answer(text("Half", finish="NEW_REASON")), {}),
    "another form": (sse_answer(text("no JSON", finish="STOP")), {"schema": {"type": "integer"}}),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_whole_and_valid_is_never_kept(path: Path, kind: str) -> None:
    answer, options = BAD[kind]
    with rig([answer]) as made:
        made.start(SKY, keep=path, **options).wait(PATIENCE)
    assert not path.exists()


def test_a_stopped_answer_is_not_kept(path: Path) -> None:
    recorder = Recorder()
    with rig([sse_answer(text("Half"), Wait())]) as made:
        stream = made.start(SKY, recorder, keep=path)
        recorder.wait("text_delta")
        stream.stop()
        stream.wait(PATIENCE)
    assert not path.exists()


def test_an_answer_that_its_token_limit_ended_is_whole(path: Path, offline: StreamManager) -> None:
    with rig([sse_answer(text("Once upon", finish="MAX_TOKENS"))]) as made:
        was = made.start(SKY, keep=path).wait(PATIENCE)
    now = offline.start_stream(SKY, keep=path).wait(PATIENCE)
    same(now, was)
    assert now.finish_reason == "MAX_TOKENS"


@pytest.mark.parametrize(
    "faults", [["429"], ["cut=2"], ["checkpoint=2~cut=4"], ["error=500~error-after=2"], ["empty=parts"]]
)
def test_of_an_answer_that_broke_the_whole_one_is_kept(path: Path, faults: list[str]) -> None:
    with Simulator(pace=0, faults=faults) as sim, rig(hello()) as made:
        options: dict[str, Any] = {"auth": "simulator", "base_url": sim.base_url, "keep": path, "retry": NOW}
        was = made.manager.start_stream(SKY, **options).wait(PATIENCE)
        assert was.error is None
        asked = sim.request_count
        now = made.manager.start_stream(SKY, **options).wait(PATIENCE)
        assert sim.request_count == asked
    assert (now.text, now.finish_reason, now.error) == (was.text, was.finish_reason, None)
    assert now.retries == 0


def told(
    words: str, *, token: str | None = None, finish: str | None = None, total: int = 0
) -> dict[str, Any]:
    chunk = text(words, finish=finish)
    if token is not None:
        chunk["candidates"][0]["continuationToken"] = token
    return {**chunk, "usageMetadata": {"totalTokenCount": total}} if total else chunk


END = sse_answer(told("three", finish="STOP", total=9))
BROKEN = {
    "a hop": [sse_answer(told("one "), told("two ", token="t", finish="CONTINUATION", total=5)), END],
    "a hop with counts behind": [
        sse_answer(
            told("one two ", token="t", finish="CONTINUATION"), {"usageMetadata": {"totalTokenCount": 5}}
        ),
        END,
    ],
    "a hop from an older place": [
        sse_answer(told("one ", token="t"), told("lost"), told("", finish="CONTINUATION")),
        sse_answer(told("two three", finish="STOP")),
    ],
    "three hops": [
        sse_answer(told("one ", token="t", finish="CONTINUATION")),
        sse_answer(told("two ", token="u", finish="CONTINUATION")),
        END,
    ],
    "a cut": [sse_answer(told("lost"), Close()), sse_answer(told("one two three", finish="STOP"))],
    "a cut behind a place": [
        sse_answer(told("one two ", token="t"), told("lost"), Close()),
        END,
    ],
    "two cuts behind one place": [
        sse_answer(told("one two ", token="t"), told("lost"), Close()),
        sse_answer(told("lost, too"), Close()),
        END,
    ],
    "a cut, then a cut behind a place": [
        sse_answer(told("lost"), Close()),
        sse_answer(told("one "), told("two ", token="t"), Close()),
        END,
    ],
    "a place that is no longer known": [
        sse_answer(told("lost ", token="t"), Close()),
        json_error(400),
        sse_answer(told("one two three", finish="STOP")),
    ],
    "an error in the stream": [
        sse_answer(told("lost"), {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}),
        sse_answer(told("one two three", finish="STOP")),
    ],
    "nothing said": [sse_answer(told("", finish="STOP")), sse_answer(told("one two three", finish="STOP"))],
}


@pytest.mark.parametrize("kind", BROKEN)
def test_whatever_happened_on_the_way_the_kept_answer_is_the_one_that_was_shown(
    path: Path, kind: str
) -> None:
    with rig(BROKEN[kind]) as made:
        was = made.start(SKY, keep=path, retry=NOW).wait(PATIENCE)
        assert (was.error, was.text) == (None, "one two three")
        now = made.start(SKY, keep=path).wait(PATIENCE)
    assert (now.error, now.text, now.kept is not None) == (None, was.text, True)
    assert (now.parts, now.finish_reason, now.retries) == (was.parts, "STOP", 0)
    assert now.usage.total_token_count <= was.usage.total_token_count
    assert "lost" not in path.read_text()


class Answered(pydantic.BaseModel):
    number: int


def test_a_kept_answer_that_no_longer_fits_is_asked_again(path: Path) -> None:
    answers = iter(['{"number": 1}', '{"number": 12}'])
    with rig(lambda _: sse_answer(text(next(answers), finish="STOP"))) as made:
        assert made.start(SKY, keep=path, schema=Answered).wait(PATIENCE).parsed.number == 1

        class Stricter(pydantic.BaseModel):
            number: int

            @pydantic.field_validator("number")
            @classmethod
            def check(cls, value: int) -> int:
                if value < 10:
                    raise ValueError("too small")
                return value

        Stricter.__name__ = Stricter.__qualname__ = "Answered"
        stream = made.start(SKY, keep=path, schema=Stricter).wait(PATIENCE)
        assert stream.error is None
        assert stream.parsed.number == 12
        assert made.start(SKY, keep=path, schema=Stricter).wait(PATIENCE).parsed.number == 12
        assert len(made.server.requests) == 2
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
        missed = made.manager.start_stream(SKY, auth="recording", keep=path, schema=Stricter).wait(PATIENCE)
        assert "does not fit what is asked for now" in str(missed.error)


# --------------------------------------------------------------------------------------- whole conversations


def weather(city: str) -> str:
    """Tell the weather."""
    return f"cloudless in {city}"


def converse(request: Request) -> Answer:
    last = request.json["contents"][-1]["parts"][0]
    if "functionResponse" in last:
        result = last["functionResponse"]["response"]
        return sse_answer(text(f"It is: {json.dumps(result)}", finish="STOP"))
    return sse_answer(call("weather", city="Lisbon"))


def test_tools_run_again_and_their_results_decide(path: Path) -> None:
    ran: list[str] = []

    def make(answer: str) -> Any:
        def weather(city: str) -> str:
            """Tell the weather."""
            ran.append(city)
            return answer

        return weather

    with rig(converse) as made:
        was = made.start(SKY, keep=path, tools=[make("sunny")]).wait(PATIENCE)
        assert (len(made.server.requests), len(ran)) == (2, 1)
        now = made.start(SKY, keep=path, tools=[make("sunny")]).wait(PATIENCE)
        assert (len(made.server.requests), len(ran)) == (2, 2)
        same(now, was)
        assert now.kept is not None
        other = made.start(SKY, keep=path, tools=[make("rainy")]).wait(PATIENCE)
        assert (len(made.server.requests), other.kept) == (3, None)
        assert "rainy" in other.text


def test_an_edited_tool_is_another_question(path: Path) -> None:
    def edited(city: str, unit: str = "C") -> str:
        """Tell the weather."""
        return f"cloudless in {city}, {unit}"

    edited.__name__ = "weather"
    with rig(converse) as made:
        made.start(SKY, keep=path, tools=[weather]).wait(PATIENCE)
        made.start(SKY, keep=path, tools=[edited]).wait(PATIENCE)
        assert len(made.server.requests) == 4


PROGRAM = """
import sys, gemini_nb
class A:
    pass
def weather(city: str):
    "Tell the weather."
    things = {"an": A(), "of": {"x", "yy", "zzz", "w"}, "method": A().__init__, "text": repr(A())}
    return {**things, "deep": [{A(): {1, "b"}}], "objects": {A(), "a", 2, (1, 2)}}
prompt = "Plan a day in Lisbon. Check the weather first."
where = {"auth": "simulator", "base_url": sys.argv[2]}
stream = gemini_nb.get_manager().start_stream(prompt, keep=sys.argv[1], tools=[weather], **where)
stream.wait(30)
print(stream.error, len(stream.tool_calls), stream.kept is not None)
"""


@pytest.mark.slow
def test_addresses_and_the_order_of_sets_make_no_other_question(path: Path) -> None:
    with Simulator(pace=0) as sim:
        for seed, kept in (("1", "False"), ("2", "True"), ("3", "True")):
            os.environ["PYTHONHASHSEED"] = seed
            try:
                done = run_python(PROGRAM, arguments=[str(path), sim.base_url])
            finally:
                del os.environ["PYTHONHASHSEED"]
            assert done.stdout.split() == ["None", "1", kept], done.stderr + done.stdout
        assert sim.request_count == 2


# -------------------------------------------------------------------------------------------- many at once


def answers_of(group: StreamGroup) -> list[str]:
    return [stream.text for stream in group.wait(PATIENCE).streams]


def test_ten_equal_rows_are_ten_answers_and_the_same_ten_again(path: Path) -> None:
    with rig(counted) as made:

        def ask(count: int) -> StreamGroup:
            return map_prompts([SKY] * count, manager=made.manager, keep=path, **made.options)

        first = answers_of(ask(10))
        assert len(set(first)) == len(made.server.requests) == 10
        assert sorted(answers_of(ask(10))) == sorted(first)
        assert len(made.server.requests) == 10
        assert set(answers_of(ask(12))) > set(first)
        assert len(made.server.requests) == 12
        alone = made.start(SKY, keep=path).wait(PATIENCE)
        assert alone.text in first
        assert len(made.server.requests) == 12


def test_a_fan_out_goes_on_where_it_broke_off(path: Path) -> None:
    prompts = [f"question {i}" for i in range(20)]

    def half(request: Request) -> Answer:
        number = int(request.json["contents"][0]["parts"][0]["text"].split()[1])
        return json_error(400) if number >= 12 else sse_answer(text(f"answer {number}", finish="STOP"))

    with rig(half) as made:
        map_prompts(prompts, manager=made.manager, keep=path, **made.options).wait(PATIENCE)
    with rig(counted) as made:
        group = map_prompts(prompts, manager=made.manager, keep=path, **made.options)
        group.wait(PATIENCE)
        assert len(made.server.requests) == 8
    assert [stream.kept is not None for stream in group.streams] == [True] * 12 + [False] * 8


def test_kept_rows_take_no_step_of_a_rate(path: Path) -> None:
    prompts = [f"question {i}" for i in range(20)]
    with rig(counted) as made:
        options: dict[str, Any] = {"manager": made.manager, "keep": path, **made.options}
        map_prompts(prompts, **options).wait(PATIENCE)
        group = map_prompts(prompts, rpm=1, concurrency=1, **options)
        group.wait(PATIENCE)  # a minute for each, if they were asked
        assert len(made.server.requests) == 20
        assert group.counts.kept == 20


KILLED = """
import sys, gemini_nb
prompts = [f"question {i}" for i in range(200)]
options = {"auth": "gemini", "credentials": {"api_key": "a-key-of-no-one"}, "base_url": sys.argv[2]}
group = gemini_nb.map(prompts, keep=sys.argv[1], concurrency=4, **options)
for _, stream in group:
    print(stream.text, flush=True)
"""


def test_a_killed_kernel_loses_no_answer_that_was_shown(path: Path) -> None:
    with rig(lambda r: sse_answer(text(r.json["contents"][0]["parts"][0]["text"], finish="STOP"))) as made:
        arguments = [sys.executable, "-c", KILLED, str(path), made.server.url]
        support = Path(answers.__file__).parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(support.parents[1]), str(support)])}
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as kernel:
            assert kernel.stdout is not None
            shown = [kernel.stdout.readline().strip() for _ in range(30)]
            kernel.kill()
            shown += kernel.stdout.read().splitlines()[:-1]  # the last may be half a line
        file = KeepFile(path)
        assert {record.prompt for record in file.records()} >= set(shown)
        asked = len(made.server.requests)
        kept = len(list(file.records()))
        prompts = [f"question {i}" for i in range(200)]
        map_prompts(prompts, manager=made.manager, keep=path, **made.options).wait(PATIENCE)
        assert len(made.server.requests) - asked == 200 - kept


def test_two_equal_questions_at_once_are_asked_once(path: Path) -> None:
    release = threading.Event()
    with rig(always(text("slow"), Wait(release), text("ly", finish="STOP"))) as made:
        recorder = Recorder()
        first = made.start(SKY, recorder, keep=path)
        recorder.wait("text_delta")
        others = [made.start(SKY, keep=path) for _ in range(5)]
        _until_waiting(others)
        release.set()
        assert [stream.wait(PATIENCE).text for stream in others] == ["slowly"] * 5
        assert first.wait(PATIENCE).text == "slowly"
        assert len(made.server.requests) == 1
        assert all(stream.kept is not None for stream in others)


def _until_waiting(streams: list[Stream]) -> None:

    deadline = time.monotonic() + PATIENCE
    while not all(
        stream.record.waiting and "same question" in stream.record.waiting.reason for stream in streams
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["stop", "fail"])
def test_when_the_first_fails_or_is_stopped_the_next_asks(path: Path, how: str) -> None:
    release = threading.Event()
    asked = iter([sse_answer(text("one"), Wait(release), Close()), sse_answer(text("two", finish="STOP"))])
    with rig(lambda _: next(asked)) as made:
        recorder = Recorder()
        first = made.start(SKY, recorder, keep=path, retry=RetryPolicy(on_cut="keep"))
        recorder.wait("text_delta")
        others = [made.start(SKY, keep=path) for _ in range(3)]
        _until_waiting(others)
        if how == "stop":
            first.stop()
        else:
            release.set()
        assert [stream.wait(PATIENCE).text for stream in others] == ["two"] * 3
        assert len(made.server.requests) == 2
        release.set()
        others[0].wait(PATIENCE)


def test_hits_and_those_that_wait_for_an_equal_question_take_no_place(path: Path) -> None:
    release = threading.Event()
    with rig(hello("kept")) as made:
        made.start("kept", keep=path).wait(PATIENCE)
    slow = [text("slow"), Wait(release), text("ly", finish="STOP")]
    with rig(lambda r: sse_answer(*(slow if "slow" in str(r.json) else [text("x", finish="STOP")]))) as made:
        made.manager.max_concurrent = 2
        recorder = Recorder()
        first = made.start("slow", recorder, keep=path)
        recorder.wait("text_delta")
        equal = [made.start("slow", keep=path) for _ in range(3)]
        _until_waiting(equal)
        assert made.start("another", keep=path).wait(PATIENCE).text == "x"
        blocking = Recorder()
        second = made.start("slow too", blocking, keep=path)
        blocking.wait("text_delta")
        assert made.start("kept", keep=path).wait(PATIENCE).text == "kept"
        release.set()
        assert {stream.wait(PATIENCE).text for stream in (first, second, *equal)} == {"slowly"}


# --------------------------------------------------------------------------------------- services and keys


def test_a_simulated_answer_is_never_a_real_services(path: Path) -> None:
    with Simulator(pace=0) as sim, rig(hello("real")) as made:
        simulated: dict[str, Any] = {"auth": "simulator", "base_url": sim.base_url, "keep": path}
        made.manager.start_stream(SKY, **simulated).wait(PATIENCE)
        through: dict[str, Any] = {**made.options, "base_url": sim.base_url, "keep": path}
        first = made.manager.start_stream(SKY, **through).wait(PATIENCE)
        assert first.kept is None
        assert made.manager.start_stream(SKY, **through).wait(PATIENCE).kept is not None
        assert sim.request_count == 2
        real = made.start(SKY, keep=path).wait(PATIENCE)
        assert (real.text, real.kept) == ("real", None)
        assert [one.service for one in records(path)] == ["simulator", "simulator", "gemini"]
        now = made.manager.start_stream(SKY, **simulated).wait(PATIENCE)
        assert (now.kept is not None, now.text != "real") == (True, True)


def test_without_a_key_what_is_not_kept_is_an_error_that_says_both(
    path: Path, offline: StreamManager
) -> None:
    with rig(hello()) as made:
        made.start(SKY, keep=path, generation_config={"temperature": 0.5}).wait(PATIENCE)
    failed = offline.start_stream(SKY, keep=path, generation_config={"temperature": 1}).wait(PATIENCE)
    assert isinstance(failed.error, NotKeptError)
    for part in ("answers.jsonl", SKY, "generationConfig.temperature (0.5 was kept, 1 is asked)", "API key"):
        assert part in str(failed.error)
    with pytest.raises(MissingKeyError):
        offline.start_stream(SKY)
    kept: dict[str, Any] = {"keep": path, "generation_config": {"temperature": 0.5}}
    assert offline.start_stream(SKY, auth="gemini", **kept).wait(PATIENCE).text == "Hello"
    assert offline.start_stream(SKY, auth="vertex_ai", **kept).wait(PATIENCE).text == "Hello"
    failed = offline.start_stream(SKY, fresh=True, **kept).wait(PATIENCE)
    assert "cannot be asked anew" in str(failed.error)
    assert "API key" in str(failed.error)
    assert "differs" not in str(failed.error)
    failed = offline.start_stream("Another", auth="vertex_ai", keep=path).wait(PATIENCE)
    assert "Google Cloud project" in str(failed.error)


def test_no_key_is_read_into_the_file(path: Path) -> None:
    with rig(always(text(f"your key is {KEY[:15]}"), text(f"{KEY[15:]}!", finish="STOP"))) as made:
        made.start(f"Is {KEY} a key?", keep=path).wait(PATIENCE)
    assert KEY not in path.read_text()
    assert "[secret]" in path.read_text()


# ---------------------------------------------------------------------------------------------- bad files


def test_a_bad_line_is_said_in_the_stream_that_meets_it(path: Path) -> None:
    path.write_text('{"key": "half a line\n<script>alert(1)</script>\n')
    with rig(hello()) as made:
        first = made.start(SKY, keep=path).wait(PATIENCE)
        assert "answers.jsonl has lines that are not kept answers" in first.record.remarks
        second = made.start(SKY, keep=path).wait(PATIENCE)
        assert (second.record.remarks, second.text, second.kept is not None) == ("", "Hello", True)


def test_where_nothing_can_be_written_the_answer_is_shown_and_that_said(path: Path) -> None:
    path.write_text("import os\n")
    with rig(hello()) as made:
        stream = made.start(SKY, keep=path).wait(PATIENCE)
        assert (stream.text, stream.error) == ("Hello", None)
        assert "something else than kept answers" in stream.record.remarks
    assert path.read_text() == "import os\n"


@pytest.mark.parametrize("limit", [0, 100])
def test_on_a_full_disk_the_answer_is_shown_and_that_said(path: Path, limit: int) -> None:
    import resource  # not everywhere
    import signal

    with rig(counted) as made:
        kept = made.start(SKY, keep=path).wait(PATIENCE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + limit, limits[1]))
        try:
            lost = made.start("Another", keep=path).wait(PATIENCE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert (lost.error, lost.text != "") == (None, True)
        assert "Nothing can be kept in answers.jsonl: File too large." in lost.record.remarks
        assert made.start(SKY, keep=path).wait(PATIENCE).text == kept.text
        again = made.start("Another", keep=path).wait(PATIENCE)
        assert again.kept is None
        assert made.start("Another", keep=path).wait(PATIENCE).text == again.text


def test_a_hostile_answer_costs_no_more_than_a_models(path: Path, offline: StreamManager) -> None:
    with rig(hello()) as made:
        made.start(SKY, keep=path).wait(PATIENCE)
    [kept] = records(path)
    nasty: list[list[Any]] = [
        [[0, {"candidates": 7}]],
        [[0, {"error": {"code": 500, "message": "x"}}]],
        [[0, []]],
        [],
        [[0, {"candidates": [{"content": {"parts": [{"text": "half"}]}}]}]],
        [[0, {"usageMetadata": {"totalTokenCount": "many"}, "candidates": [{"finishReason": 7}]}]],
    ]
    for chunks in nasty:
        path.write_text(json.dumps({**json.loads(kept.to_json()), "chunks": chunks}) + "\n")
        stream = offline.start_stream(SKY, keep=path).wait(PATIENCE)
        assert isinstance(stream.error, NotKeptError), chunks
    line = {**json.loads(kept.to_json()), "chunks": [[86000, json.loads(kept.chunks[0].data)]]}
    path.write_text(json.dumps(line) + "\n")
    assert offline.start_stream(SKY, keep=path).wait(PATIENCE).text == "Hello"  # at once, whatever it says


def test_five_megabytes_and_unicode_come_back(path: Path) -> None:
    words = "é\u2028\U0001f30a" * (5 * 2**20 // 9)
    with rig(always(text(words), text(".", finish="STOP"))) as made:
        was = made.start(SKY, keep=path).wait(PATIENCE)
        now = made.start(SKY, keep=path).wait(PATIENCE)
        assert (now.text == was.text == words + ".", now.kept is not None) == (True, True)
        assert len(made.server.requests) == 1


def test_a_file_from_a_windows_machine_answers(path: Path, offline: StreamManager) -> None:
    with rig(hello()) as made:
        made.start(SKY, keep=path).wait(PATIENCE)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert offline.start_stream(SKY, keep=path).wait(PATIENCE).text == "Hello"


def test_chats_go_on_from_kept_answers(path: Path, offline: StreamManager) -> None:
    with rig(lambda r: sse_answer(text(f"{len(r.json['contents'])} turns", finish="STOP"))) as made:
        chat = gemini_nb.Chat(manager=made.manager, keep=path, **made.options)
        was = [chat.send(prompt).wait(PATIENCE).text for prompt in ("one", "two", "three")]
        assert len(made.server.requests) == 3
    again = gemini_nb.Chat(manager=offline, keep=path)
    streams = [again.send(prompt) for prompt in ("one", "two", "three")]
    assert [stream.wait(PATIENCE).text for stream in streams] == was
    assert [stream.kept is not None for stream in streams] == [True] * 3
    assert again.history == chat.history


def test_the_file_is_a_folder_for_many_processes(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with rig(counted) as made:
        first = made.start(SKY, keep=folder).wait(PATIENCE).text
        assert made.start(SKY, keep=folder).wait(PATIENCE).text == first
    assert len(list(KeepFile(folder).records())) == 1
