from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

import gemini_nb
from answers import KEY, PATIENCE, Recorder, Rig, always, hello, hold, join, rig
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import ConfigError, TurnLimitError
from gemini_nb.streams.conversation.orchestrator import ToolOrchestrator
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.stream import Stream
from scripted import Answer, Request, Wait, call, sse_answer, text

DONE = text("Done.", finish="STOP")


def turn_of(request: Request) -> int:
    """Which model call of the stream this is, from 1."""
    contents: list[dict[str, Any]] = request.json["contents"]
    return 1 + sum(1 for content in contents if content["role"] == "model")


def once(*chunks: Any) -> Callable[[Request], Answer]:
    """These chunks for the first model call, then the end."""
    return lambda request: sse_answer(*chunks) if turn_of(request) == 1 else sse_answer(DONE)


def chunk(*parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate]}


def response_of(made: Rig, request: int = 1, part: int = 0) -> dict[str, Any]:
    last = made.server.requests[request].json["contents"][-1]
    answer: dict[str, Any] = last["parts"][part]["functionResponse"]["response"]
    return answer


def phases(stream: Any) -> list[tuple[str, int]]:
    return [(event.phase, event.turn) for event in stream.events if event.kind == "phase_changed"]


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


# ------------------------------------------------------------------ a round


def test_a_tool_round_sends_back_what_came_and_the_results_in_order() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "First, ", "thoughtSignature": "dGV4dA=="},
        {"functionCall": {"id": "c1", "name": "double", "args": {"number": 2}}, "thoughtSignature": "c2ln"},
    ]
    more: list[dict[str, Any]] = [
        {"functionCall": {"name": "double", "args": {"number": 5}}, "someNewField": True}
    ]
    with rig(once(text("thinking", thought=True), chunk(*parts), chunk(*more, finish="STOP"))) as made:
        stream = made.start(
            "Go", tools=[double], system_instruction="Be brief.", generation_config={"topK": 3}
        )
        assert stream.result() == "First, \n\nDone."
        first, second = (request.json for request in made.server.requests)
        assert first["contents"] == [{"role": "user", "parts": [{"text": "Go"}]}]
        assert second == {
            **first,
            "contents": [
                *first["contents"],
                {"role": "model", "parts": [{"text": "thinking", "thought": True}, *parts, *more]},
                {
                    "role": "user",
                    "parts": [
                        {"functionResponse": {"id": "c1", "name": "double", "response": {"result": 4}}},
                        {"functionResponse": {"name": "double", "response": {"result": 10}}},
                    ],
                },
            ],
        }
        assert first["generationConfig"] == {"topK": 3}
        assert first["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
        assert [declared["name"] for declared in first["tools"][0]["functionDeclarations"]] == ["double"]


def test_what_a_round_shows() -> None:
    with rig(once(call("double", id="c1", args={"number": 2}, finish="STOP"))) as made:
        stream = made.start(tools=[double]).wait()
        kinds = [event.kind for event in stream.events]
        assert kinds == [
            "stream_started",
            "phase_changed",
            "tool_call_requested",
            "phase_changed",
            "tool_call_started",
            "tool_call_finished",
            "phase_changed",
            "text_delta",
            "stream_completed",
        ]
        assert phases(stream) == [
            ("awaiting_model_call", 1),
            ("executing_tools", 1),
            ("awaiting_final_response", 2),
        ]
        statuses = [event.call.status for event in stream.events if hasattr(event, "call")]
        assert statuses == ["pending", "running", "done"]
        (made_call,) = stream.tool_calls
        assert (made_call.id, made_call.name, made_call.args) == ("c1", "double", {"number": 2})
        assert (made_call.status, made_call.result, made_call.error) == ("done", 4, None)
        assert made_call.duration is not None
        assert made_call.duration >= 0


def test_several_rounds_and_text_in_each() -> None:
    def script(request: Request) -> Answer:
        turn = turn_of(request)
        words = text(f"{turn}.")
        return (
            sse_answer(words, DONE)
            if turn == 4
            else sse_answer(words, call("double", args={"number": turn}, finish="STOP"))
        )

    with rig(script) as made:
        stream = made.start(tools=[double]).wait()
        assert stream.text == "1.\n\n2.\n\n3.\n\n4.Done."
        assert stream.answer == "4.Done."
        assert [(one.turn, one.result) for one in stream.tool_calls] == [(1, 2), (2, 4), (3, 6)]
        assert phases(stream) == [
            ("awaiting_model_call", 1),
            ("executing_tools", 1),
            ("awaiting_final_response", 2),
            ("executing_tools", 2),
            ("awaiting_final_response", 3),
            ("executing_tools", 3),
            ("awaiting_final_response", 4),
        ]
        assert len(made.server.requests[3].json["contents"]) == 7


def test_parallel_calls_run_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def meet(name: str) -> str:
        together.wait(PATIENCE)
        return name.upper()

    calls = [{"functionCall": {"name": "meet", "args": {"name": name}}} for name in "abc"]
    with rig(once(chunk(*calls, finish="STOP"))) as made:
        stream = made.start(tools=[meet]).wait()
        assert [one.result for one in stream.tool_calls] == ["A", "B", "C"]
        assert [response_of(made, 1, index) for index in range(3)] == [{"result": name} for name in "ABC"]


def test_tools_run_after_the_model_call_has_been_read_to_its_end() -> None:
    go_on, ran = threading.Event(), threading.Event()
    script = once(call("touch"), Wait(go_on), call("touch", finish="STOP"))

    def touch() -> None:
        ran.set()

    with rig(script) as made:
        recorder = Recorder()
        stream = made.start(tools=[touch], subscriber=recorder)
        recorder.wait("phase_changed")
        made.server.wait_requests(1)
        assert not ran.is_set()
        go_on.set()
        stream.wait()
        assert [one.result for one in stream.tool_calls] == [None, None]


# ------------------------------------------------------------------ tools that fail


class Odd:
    def __repr__(self) -> str:
        return "<an odd thing>"


def fails() -> None:
    raise KeyError("missing")


def exits() -> None:
    raise SystemExit(2)


async def fails_later() -> None:
    raise ValueError("later")


async def exits_later() -> None:
    raise SystemExit(2)


async def gives_up() -> None:
    raise asyncio.CancelledError


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(PATIENCE)


async def is_closed() -> None:
    raise GeneratorExit


def odd() -> Odd:
    return Odd()


def never(until: int) -> None:
    threading.Event().wait(until)


FAILING: list[tuple[list[Any], dict[str, Any], str]] = [
    ([fails], {"name": "fails"}, "KeyError: 'missing'"),
    ([exits], {"name": "exits"}, "SystemExit"),
    ([fails_later], {"name": "fails_later"}, "ValueError: later"),
    ([gemini_nb.tool(exits_later, run_on="background")], {"name": "exits_later"}, "SystemExit: 2"),
    ([gives_up], {"name": "gives_up"}, "gives_up was cancelled"),
    ([cancels_itself], {"name": "cancels_itself"}, "cancels_itself was cancelled"),
    ([is_closed], {"name": "is_closed"}, "raised GeneratorExit"),
    ([double], {"name": "missing"}, "there is no tool 'missing'; the tools are: double"),
    ([double], {"name": "double", "args": {"number": "many"}}, "invalid arguments for double: number"),
    ([double], {"name": "double"}, "invalid arguments for double: number"),
    ([double], {"name": "double", "args": {"number": 1, "extra": 2}}, "invalid arguments for double: extra"),
    (
        [gemini_nb.tool(never, timeout=0.01)],
        {"name": "never", "args": {"until": 1}},
        "took longer than 0.01 s",
    ),
]


async def counts() -> AsyncIterator[int]:
    for number in range(3):
        await asyncio.sleep(0)
        yield number


async def says_later() -> str:
    return "later"


def gives_a_coroutine() -> Coroutine[Any, Any, str]:
    return says_later()


@pytest.mark.parametrize(
    ("tool", "result"), [(counts, [0, 1, 2]), (gives_a_coroutine, "later"), (says_later, "later")]
)
def test_what_a_tool_gives_bit_by_bit_or_later_is_awaited(tool: Callable[[], Any], result: object) -> None:
    with rig(once(call(tool.__name__, finish="STOP"))) as made:
        made.start(tools=[tool]).result(10)
        assert response_of(made) == {"result": result}


@pytest.mark.parametrize("way", ["wait", "result", "await"])
def test_a_tool_that_waits_for_its_own_stream_is_told_so_at_once(way: str) -> None:
    def own() -> Stream:
        return made.manager.list_streams()[0]

    def waits() -> object:
        return getattr(own(), way)()

    async def awaits() -> str:
        return await own()

    tool = gemini_nb.tool(awaits if way == "await" else waits, name="waits", timeout=None)
    with rig(once(call("waits", finish="STOP"))) as made:
        assert made.start(tools=[tool]).result(10) == "Done."
        assert "its own stream would never end" in response_of(made)["error"]


def test_a_tool_may_wait_for_another_stream() -> None:
    def ask() -> str:
        return made.start("Another").result(10)

    with rig(lambda request: sse_answer(DONE) if "Another" in str(request.json) else first(request)) as made:
        first = once(call("ask", finish="STOP"))
        made.start(tools=[ask]).result(10)
        [answered] = [one for one in made.server.requests if "functionResponse" in str(one.json)]
        assert "'result': 'Done.'" in str(answered.json)


def test_what_came_goes_back_whatever_tools_and_subscribers_do_to_their_copies() -> None:
    asked = {"functionCall": {"name": "empties", "args": {"box": {"full": [1]}}}}
    code = {"executableCode": {"code": "1", "language": "PYTHON"}}

    def empties(box: Any) -> int:
        box["full"].clear()
        return len(box.popitem())

    def scribbles(event: Any) -> None:
        if event.kind == "part_received":
            event.part.clear()
        if event.kind == "tool_call_requested":
            event.call.args.clear()

    def decides(asking: Any) -> bool:
        asking.args["box"] = None
        return True

    with rig(once(chunk(code, asked, finish="STOP"))) as made:
        tool = gemini_nb.tool(empties, confirm=decides)
        stream = made.start(tools=[tool], subscriber=scribbles).wait(10)
        for part in stream.parts:
            part.clear()
        assert made.server.requests[1].json["contents"][1]["parts"] == [code, asked]
        assert response_of(made) == {"result": 2}
    assert stream.tool_calls[0].args == {"box": {"full": [1]}}


def test_a_tool_does_not_show_the_key() -> None:
    def settings() -> dict[str, Any]:
        return {"headers": ["x-goog-api-key", KEY]}

    with rig(once(call("settings", finish="STOP"))) as made:
        stream = made.start(tools=[settings]).wait(10)
        assert response_of(made) == {"result": {"headers": ["x-goog-api-key", "[secret]"]}}
        assert KEY not in str(stream.events)


@pytest.mark.parametrize(("tools", "asked", "message"), FAILING, ids=[case[2] for case in FAILING])
def test_a_tool_that_fails_is_an_answer_and_the_stream_goes_on(
    tools: list[Any], asked: dict[str, Any], message: str
) -> None:
    with rig(once(chunk({"functionCall": asked}, finish="STOP"))) as made:
        stream = made.start(tools=tools).wait()
        assert (stream.status, stream.text) == ("completed", "Done.")
        assert list(response_of(made)) == ["error"]
        assert message in response_of(made)["error"]
        (failed,) = stream.tool_calls
        assert (failed.status, failed.error, failed.result) == ("failed", response_of(made)["error"], None)
        assert made.start("Again").wait().status == "completed"


def test_one_failure_leaves_the_other_calls_alone() -> None:
    calls = [
        {"functionCall": {"name": name, "args": args}}
        for name, args in (("fails", {}), ("double", {"number": 1}))
    ]
    with rig(once(chunk(*calls, finish="STOP"))) as made:
        stream = made.start(tools=[fails, double]).wait()
        assert [one.status for one in stream.tool_calls] == ["failed", "done"]
        assert response_of(made, 1, 1) == {"result": 2}


def test_a_result_that_is_not_json_is_sent_as_text() -> None:
    with rig(once(call("odd", finish="STOP"))) as made:
        assert made.start(tools=[odd]).wait().status == "completed"
        assert response_of(made) == {"result": "<an odd thing>"}


def test_a_tools_error_shows_no_key() -> None:
    def leaks() -> None:
        raise RuntimeError("used key-that-must-not-be-seen-4711")

    with rig(once(call("leaks", finish="STOP"))) as made:
        made.start(tools=[leaks]).wait()
        assert response_of(made) == {"error": "RuntimeError: used [secret]"}


# ------------------------------------------------------------------ limits, places, ends


@pytest.mark.parametrize("limit", [0, 2])
def test_the_turn_limit_is_checked_before_tools_run(limit: int) -> None:
    runs: list[int] = []

    def again() -> int:
        runs.append(1)
        return len(runs)

    with rig(always(call("again", finish="STOP"))) as made:
        stream = made.start(tools=[again], turn_limit=limit).wait()
        assert (stream.status, len(runs), len(made.server.requests)) == ("error", limit, limit + 1)
        assert isinstance(stream.error, TurnLimitError)
        assert [one.status for one in stream.tool_calls] == ["done"] * limit + ["cancelled"]


def test_a_stop_while_a_tool_runs() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go_on.wait(PATIENCE)
        ended.set()

    with rig(once(call("slow", finish="STOP"))) as made:
        stream = made.start(tools=[slow])
        assert began.wait(PATIENCE)
        assert stream.phase == "executing_tools"
        stream.stop()
        assert [event.kind for event in stream.events][-2:] == ["tool_call_finished", "stream_stopped"]
        assert (stream.status, stream.tool_calls[0].status) == ("stopped", "cancelled")
        go_on.set()
        assert ended.wait(PATIENCE)
        made.start("Next").wait()  # the late result came in before this
        assert stream.events[-1].kind == "stream_stopped"
        assert len(made.server.requests) == 3  # its first one, and two of the next stream


def test_a_stop_cancels_an_asynchronous_tool_even_one_that_resists() -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return "too late"

    with rig(once(call("stubborn", finish="STOP"))) as made:
        stream = made.start(tools=[stubborn])
        assert began.wait(PATIENCE)
        stream.stop()
        assert cancelled.wait(PATIENCE)
        assert made.start("Next").wait().status == "completed"
        assert (stream.status, stream.tool_calls[0].status) == ("stopped", "cancelled")
        assert stream.events[-1].kind == "stream_stopped"


def test_where_tools_run() -> None:
    places: dict[str, str] = {}

    def plain() -> None:
        places["plain"] = threading.current_thread().name

    async def later() -> None:
        await asyncio.sleep(0)
        places["later"] = threading.current_thread().name

    def pooled() -> None:
        places["pooled"] = threading.current_thread().name

    calls = [{"functionCall": {"name": name}} for name in ("plain", "later", "pooled")]
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="my-pool")
    with pool, rig(once(chunk(*calls, finish="STOP"))) as made:
        stream = made.start(tools=[plain, later, gemini_nb.tool(pooled, run_on=pool)]).wait()
        assert [one.status for one in stream.tool_calls] == ["done"] * 3
    assert places == {"plain": "gemini_nb-tool-plain", "later": "gemini_nb-loop", "pooled": "my-pool_0"}


async def test_asynchronous_tools_run_on_the_kernels_loop_when_there_is_one() -> None:
    here = asyncio.get_running_loop()
    seen: list[object] = []

    async def later() -> str:
        seen.append(asyncio.get_running_loop())
        return "kernel"

    async def exits_here() -> None:
        raise SystemExit(1)

    calls = [{"functionCall": {"name": name}} for name in ("later", "exits_here")]
    with rig(once(chunk(*calls, finish="STOP"))) as made:
        made.manager.runtime.kernel.find = lambda: here
        stream = made.start(tools=[later, exits_here])
        await stream
        assert seen == [here]
        assert [one.status for one in stream.tool_calls] == ["done", "failed"]


def test_a_kernel_loop_that_was_closed_is_not_used() -> None:
    async def later() -> str:
        return threading.current_thread().name

    gone = asyncio.new_event_loop()
    gone.close()
    with rig(once(call("later", finish="STOP"))) as made:
        made.manager.runtime.kernel.find = lambda: gone
        assert made.start(tools=[later]).wait().tool_calls[0].result == "gemini_nb-loop"


DECLARATION = {"name": "elsewhere", "description": "Answered by the caller."}


@pytest.mark.parametrize("form", ["declaration", "tool object", "request body"])
def test_a_declared_tool_ends_the_stream_with_its_call_pending(form: str) -> None:
    calls = [{"functionCall": {"name": name}} for name in ("elsewhere", "f")]
    with rig(always(chunk(*calls, finish="STOP"))) as made:
        forms: dict[str, list[Any]] = {
            "declaration": [DECLARATION],
            "tool object": [{"functionDeclarations": [DECLARATION]}],
            "request body": [],
        }
        if form == "request body":
            body = {
                "contents": [{"parts": [{"text": "Hi"}]}],
                "tools": [{"functionDeclarations": [DECLARATION]}],
            }
            stream = made.start(None, request_body=body)
        else:
            stream = made.start(tools=forms[form])
        stream.wait()
        assert (stream.status, [one.status for one in stream.tool_calls]) == ("completed", ["pending"] * 2)
        assert made.server.requests[0].json["tools"] == [{"functionDeclarations": [DECLARATION]}]
        assert len(made.server.requests) == 1


def test_a_function_for_a_declaration_in_the_body_runs_and_is_not_declared_twice() -> None:
    declared = {"functionDeclarations": [{"name": "double", "parameters": {"type": "OBJECT"}}]}
    with rig(once(call("double", args={"number": 4}, finish="STOP"))) as made:
        body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "tools": [declared]}
        stream = made.start(None, request_body=body, tools=[double]).wait()
        assert stream.tool_calls[0].result == 8
        assert made.server.requests[0].json["tools"] == [declared]


def test_gemini_s_own_tools_pass_through_beside_functions() -> None:
    with rig(hello()) as made:
        made.start(tools=[{"googleSearch": {}}, double]).wait()
        search, functions = made.server.requests[0].json["tools"]
        assert search == {"googleSearch": {}}
        assert [declared["name"] for declared in functions["functionDeclarations"]] == ["double"]


def test_a_call_without_arguments() -> None:
    def count() -> int:
        return 3

    calls: list[dict[str, Any]] = [
        {"name": "count"},
        {"name": "count", "args": None},
        {"name": "count", "args": {}},
    ]
    parts = [{"functionCall": one} for one in calls]
    with rig(once(chunk(*parts, finish="STOP"))) as made:
        stream = made.start(tools=[count]).wait()
        assert [one.result for one in stream.tool_calls] == [3, 3, 3]


def test_a_null_id_is_not_echoed() -> None:
    with rig(once(call("double", id=None, args={"number": 1}, finish="STOP"))) as made:
        made.start(tools=[double]).wait()
        part = made.server.requests[1].json["contents"][-1]["parts"][0]
        assert part == {"functionResponse": {"name": "double", "response": {"result": 2}}}


# ------------------------------------------------------------------ by itself


@pytest.fixture
def options() -> Iterator[dict[str, Any]]:
    with rig(once(text("Look. "), call("double", args={"number": 3}, finish="STOP"))) as made:
        plain = {key: value for key, value in made.options.items() if key != "auth"}
        yield {**plain, "runtime": made.manager.runtime, "tools": [double]}


def test_an_orchestrator_by_itself(options: dict[str, Any]) -> None:
    first, second = Recorder(), Recorder()
    orchestrator = ToolOrchestrator("mine", first, "Hi", "gemini", turn_limit=3, **options)
    before = orchestrator.info()
    assert (before.phase, before.turn, before.error) == ("awaiting_model_call", 1, None)
    assert (before.stream_id, before.auth_strategy, before.turn_limit) == ("mine", "gemini", 3)
    assert before.chat == ({"role": "user", "parts": [{"text": "Hi"}]},)
    assert list(before.config) == ["tools"]
    stream = orchestrator.start()
    assert orchestrator.start() is stream is orchestrator.stream
    orchestrator.subscribe(second)
    assert stream.result() == "Look. \n\nDone."
    assert first.events == second.events == list(stream.events)
    after = orchestrator.info()
    assert (after.phase, after.turn, orchestrator.phase) == ("awaiting_final_response", 2, after.phase)
    assert after.subscribers == (first, second)
    assert [content["role"] for content in after.chat] == ["user", "model", "user", "model"]
    assert list(after.chat) == orchestrator.history


def test_an_orchestrator_continues_a_history(options: dict[str, Any]) -> None:
    chat = gemini_nb.Chat([{"role": "user", "parts": [{"text": "Earlier"}]}])
    orchestrator = ToolOrchestrator(None, None, chat, "gemini", **options)
    assert orchestrator.info().chat == ({"role": "user", "parts": [{"text": "Earlier"}]},)
    assert orchestrator.start().wait().status == "completed"


def test_starting_from_many_threads_is_once(options: dict[str, Any]) -> None:
    orchestrator = ToolOrchestrator(None, None, "Hi", "gemini", **options)
    together = threading.Barrier(6)

    def start() -> None:
        together.wait(PATIENCE)
        orchestrator.start()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    join(*threads)
    stream = orchestrator.stream.wait()
    assert [event.kind for event in stream.events].count("stream_started") == 1
    assert stream.text == "Look. \n\nDone."


def test_a_stop_before_the_start_is_the_end(options: dict[str, Any]) -> None:
    orchestrator = ToolOrchestrator(None, None, "Hi", "gemini", **options)
    orchestrator.stop()
    stream = orchestrator.start()
    stream.wait()
    orchestrator.stop()
    assert [event.kind for event in stream.events] == ["stream_started", "phase_changed", "stream_stopped"]
    assert options["runtime"]._active == {}


def test_a_stop_in_the_middle_of_a_run() -> None:
    with rig(hold()) as made:
        plain = {key: value for key, value in made.options.items() if key != "auth"}
        recorder = Recorder()
        orchestrator = ToolOrchestrator(None, recorder, "Hi", "gemini", runtime=made.manager.runtime, **plain)
        orchestrator.start()
        recorder.wait("text_delta")
        orchestrator.stop()
        assert orchestrator.stream.status == "stopped"
        assert orchestrator.history_with_partial[-1] == {"role": "model", "parts": [{"text": "one "}]}


def test_after_a_shutdown_nothing_starts_and_a_stop_still_ends(options: dict[str, Any]) -> None:
    orchestrator = ToolOrchestrator(None, None, "Hi", "gemini", **options)
    options["runtime"].close()
    with pytest.raises(ConfigError, match="shut down"):
        orchestrator.start()
    orchestrator.stop()
    assert orchestrator.stream.wait(PATIENCE).status == "stopped"


@pytest.mark.parametrize(("holder", "name"), [(ModelTurn, "requests"), (StreamRecord, "_unveil")])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_failure_inside_a_streams_end_ends_it(
    holder: Any, name: str, is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    go_on = threading.Event()
    with rig([sse_answer(text("Hello"), Wait(go_on), text("", finish="STOP"))]) as made:
        seen = Recorder()
        stream = made.start(subscriber=seen)
        seen.wait("text_delta")
        monkeypatch.setattr(holder, name, property(broken) if holder is ModelTurn else broken)
        if is_stopped:
            stream.stop()
        go_on.set()
        stream.wait(PATIENCE)
        assert stream.status == "error"
        assert "RuntimeError: the disk is on fire" in str(stream.error)
        assert stream.events[-1].kind == "stream_failed"
        assert made.manager.list_streams() == []


def test_an_internal_error_in_a_round_of_tools_is_told_by_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(StreamRecord, "start_call", broken)
    with rig([sse_answer(call("take"), call("take", finish="STOP"))]) as made:
        stream = made.start(tools=[gemini_nb.tool(name="take")(lambda: 1)]).wait(PATIENCE)
        assert str(stream.error).startswith("gemini_nb failed: RuntimeError: the disk is on fire")
        assert "Group" not in str(stream.error)
        assert {one.status for one in stream.tool_calls} == {"cancelled"}


def test_a_callback_at_the_end_that_fails_or_stops_again_changes_nothing(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator = ToolOrchestrator(None, None, "Hi", "gemini", **options)
    orchestrator.on_end += [lambda _: 1 / 0, lambda ended: ended.stop()]
    stream = orchestrator.start().wait(PATIENCE)
    assert stream.status == "completed"
    assert "ZeroDivisionError" in caplog.text
