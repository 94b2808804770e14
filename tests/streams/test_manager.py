from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import linecache
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import gemini_nb
from answers import (
    KEY,
    PATIENCE,
    Recorder,
    Rig,
    always,
    hello,
    hold,
    hold_loop,
    join,
    rig,
    run_python,
    until,
)
from gemini_nb.config import Settings
from gemini_nb.errors import (
    ArgumentError,
    BlockingCallError,
    CallerError,
    ConfigError,
    InternalError,
    StreamNotFoundError,
)
from gemini_nb.simulator import Simulator
from gemini_nb.streams import manager as manager_module
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.runtime import runtime as runtime_module
from gemini_nb.streams.runtime.delivery import Delivery
from gemini_nb.streams.runtime.ending import Ending
from gemini_nb.streams.runtime.loop import BackgroundLoop
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.stream import Stream
from scripted import ScriptedServer, Wait, call, response, sse_answer, text


@pytest.fixture
def holding() -> Iterator[Rig]:
    with rig(hold()) as made:
        yield made


@pytest.fixture
def answering() -> Iterator[Rig]:
    with rig(hello()) as made:
        yield made


def texted(made: Rig, **options: Any) -> gemini_nb.Stream:
    recorder = Recorder()
    stream = made.start(subscriber=recorder, **options)
    recorder.wait("text_delta")
    return stream


# ------------------------------------------------------------------ methods


def test_streams_are_found_and_listed(holding: Rig) -> None:
    manager = holding.manager
    first, second = texted(holding), texted(holding)
    assert manager.list_streams() == [first, second]
    for given in (first, first.stream_id):
        assert manager.get_stream(given) is first
        assert manager.get_stream_status(given) == "active"
        assert manager.get_stream_info(given).stream_id == first.stream_id
    manager.stop_stream(first.stream_id)
    assert first.status == "stopped"
    assert manager.list_streams() == [second]
    assert manager.list_streams(all=True) == [first, second]
    manager.stop_stream(first)
    manager.stop_all()
    assert manager.list_streams() == []
    assert manager.get_stream_status(second) == "stopped"
    for request in holding.server.requests:
        request.wait_closed()


def test_ids_are_unique_strings(holding: Rig) -> None:
    ids = [holding.start().stream_id for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(isinstance(name, str) for name in ids)


@pytest.mark.parametrize("unknown", ["s999999", "", None, 5, []])
def test_an_unknown_id(holding: Rig, unknown: Any) -> None:
    manager = holding.manager
    with pytest.raises(StreamNotFoundError) as caught:
        manager.get_stream(unknown)
    assert "None was started" in caught.value.hint
    known = holding.start()
    calls: list[Any] = [
        manager.get_stream,
        manager.get_stream_info,
        manager.get_stream_status,
        manager.stop_stream,
        manager.subscribe,
        manager.subscribe_stream,
        lambda name: manager.unsubscribe(name, print),
        lambda name: manager.subscribe(name, print),
    ]
    for method in calls:
        with pytest.raises(StreamNotFoundError) as caught:
            method(unknown)
        assert isinstance(caught.value, LookupError)
        assert known.stream_id in caught.value.hint


def test_subscribing_through_the_manager(holding: Rig) -> None:
    manager, recorder, late = holding.manager, Recorder(), Recorder()
    stream = texted(holding)
    assert manager.subscribe(stream.stream_id, recorder) is None
    manager.subscribe_stream(stream, late, replay=False)
    reader = manager.subscribe(stream)
    assert reader is not None
    manager.unsubscribe(stream, recorder)
    stream.stop()
    stream.wait()
    assert [event.kind for event in reader] == [event.kind for event in stream.events]
    assert late.kinds == ["stream_stopped"]
    assert "stream_stopped" not in recorder.kinds
    new_only = manager.subscribe(stream, replay=False)
    assert new_only is not None
    assert list(new_only) == []


async def test_an_iterator_of_the_managers_is_asynchronous_too(answering: Rig) -> None:
    reader = answering.manager.subscribe(answering.start())
    assert reader is not None
    assert [event.kind async for event in reader][-1] == "stream_completed"


def test_statistics(holding: Rig) -> None:
    running, stopped = texted(holding), texted(holding)
    stopped.stop()
    stopped.wait()
    counts = holding.manager.statistics()
    assert (counts.total, counts.active, counts.stopped, counts.completed, counts.error) == (2, 1, 1, 0, 0)
    assert (counts.waiting, counts.retries, counts.subscribers) == (0, 0, 2)
    running.stop()


def test_statistics_count_tokens_and_failures() -> None:
    usage = {"usageMetadata": {"totalTokenCount": 7}}
    answers = [sse_answer(text("a"), usage, text("b", finish="STOP")), response(400, {"Content-Length": "0"})]
    with rig(answers) as made:
        for _ in range(2):
            made.start().wait()
        counts = made.manager.statistics()
        assert (counts.tokens, counts.completed, counts.error) == (7, 1, 1)


@pytest.mark.parametrize("history", [0, 3, 200])
def test_statistics_count_what_has_left_the_list(history: int) -> None:
    usage = {"usageMetadata": {"totalTokenCount": 7}}
    answers = [sse_answer(text("a"), usage, text("b", finish="STOP")), response(400, {"Content-Length": "0"})]
    with rig(answers * 10, history=history) as made:
        for _ in range(20):
            made.start(subscriber=Recorder()).wait()
        counts = made.manager.statistics()
        assert len(made.manager.list_streams(all=True)) == min(history, 20)
        assert (counts.total, counts.completed, counts.error, counts.stopped, counts.active) == (
            20,
            10,
            10,
            0,
            0,
        )
        assert (counts.tokens, counts.subscribers, counts.retries) == (70, 20, 0)
        assert (counts.kept, counts.cost, counts.waiting, counts.waits) == (0, None, 0, {})


def test_statistics_add_up_at_every_moment() -> None:
    with rig([*[sse_answer(text("a", finish="STOP"))] * 60], history=5) as made:
        seen: list[gemini_nb.Statistics] = []
        streams = [made.start(subscriber=lambda _: seen.append(made.manager.statistics())) for _ in range(60)]
        for stream in streams:
            stream.wait()
        seen.append(made.manager.statistics())
    for counts in seen:
        assert counts.total == counts.active + counts.completed + counts.stopped + counts.error
        assert counts.waiting <= counts.active
    totals = [counts.total for counts in seen]
    assert totals[-1] == 60
    assert totals == sorted(totals)


def test_statistics_print_short_and_without_what_streams_wait_for(holding: Rig) -> None:
    assert repr(holding.manager.statistics()) == "Statistics(total=0)"
    holding.manager.max_concurrent = 1
    first = texted(holding)
    others = [holding.start() for _ in range(40)]
    while (counts := holding.manager.statistics()).waiting < 40:
        time.sleep(0.01)
    assert repr(counts) == "Statistics(total=41, active=41, waiting=40, subscribers=1)"
    assert counts.waits.keys() == {stream.stream_id for stream in others}
    assert first.stream_id not in counts.waits
    holding.manager.stop_all()


# ------------------------------------------------------------------ bad input

TEXT = {"contents": "Hi"}
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, TypeError, "not both"),
    ({**TEXT, "request_body": {"contents": "Hi"}}, TypeError, "not both"),
    ({"request_body": {}}, ConfigError, "empty"),
    ({"request_body": "Hi"}, ArgumentError, "dictionary"),
    ({"contents": ""}, ValueError, "empty"),
    ({"contents": "  \n"}, ValueError, "empty"),
    ({"contents": []}, ValueError, "empty"),
    ({"contents": [{}]}, ValueError, "empty"),
    ({"contents": {"role": "user", "parts": []}}, ValueError, "no parts"),
    ({"contents": 5}, TypeError, "int"),
    ({"contents": b"bytes"}, TypeError, "bytes"),
    ({"contents": ["a", object()]}, TypeError, "object"),
    ({"contents": {"text": {1, 2}}}, TypeError, "text is a string"),
    ({"contents": "\ud800"}, TypeError, "Unicode"),
    ({**TEXT, "auth": "openai"}, ConfigError, "openai"),
    ({**TEXT, "model": "a model"}, ConfigError, "model id"),
    ({**TEXT, "base_url": "not a url"}, ConfigError, "base URL"),
    ({**TEXT, "base_url": "ftp://127.0.0.1"}, ConfigError, "base URL"),
    ({**TEXT, "base_url": "http://example.com"}, ConfigError, "unencrypted"),
    ({**TEXT, "endpoint": "nowhere"}, ConfigError, "base URL"),
    ({**TEXT, "credentials": {}}, ConfigError, "key"),
    ({**TEXT, "credentials": {"password": "x"}}, ConfigError, "password"),
    ({**TEXT, "credentials": {"api_key": 5}}, ConfigError, "string"),
    ({**TEXT, "turn_limit": -1}, ConfigError, "turn_limit"),
    ({**TEXT, "turn_limit": 1.5}, ConfigError, "turn_limit"),
    ({**TEXT, "turn_limit": True}, ConfigError, "turn_limit"),
    ({**TEXT, "timeout": 0}, ConfigError, "timeout"),
    ({**TEXT, "timeout": "soon"}, ConfigError, "timeout"),
    ({**TEXT, "timeout": float("nan")}, ConfigError, "timeout"),
    ({**TEXT, "retry": 3}, ArgumentError, "RetryPolicy"),
    ({**TEXT, "tools": "weather"}, ArgumentError, "name of a tool"),
    ({**TEXT, "tools": ["weather"]}, ArgumentError, "name of a tool"),
    ({**TEXT, "tools": [5]}, ArgumentError, "int"),
    ({**TEXT, "tools": 5}, ArgumentError, "int"),
    ({**TEXT, "tools": [{"functionDeclarations": "f"}]}, ArgumentError, "list"),
    ({**TEXT, "tools": [{"functionDeclarations": [{"description": "no name"}]}]}, ArgumentError, "name"),
    ({**TEXT, "tools": [len, len]}, ConfigError, "Two tools"),
    ({**TEXT, "generation_config": "hot"}, ArgumentError, "generationConfig"),
    ({**TEXT, "tool_config": []}, ArgumentError, "toolConfig"),
    ({**TEXT, "safety_settings": "none"}, ArgumentError, "safety_settings"),
    ({**TEXT, "safety_settings": ["none"]}, ArgumentError, "safety setting"),
    ({**TEXT, "safety_settings": 5}, ArgumentError, "safety_settings"),
    ({**TEXT, "system_instruction": ""}, ConfigError, "system instruction"),
    ({**TEXT, "system_instruction": 5}, ArgumentError, "int"),
    ({**TEXT, "metadata": 5}, ArgumentError, "metadata"),
    ({**TEXT, "system_instruction": {"parts": []}}, ConfigError, "system instruction"),
    ({**TEXT, "system_instruction": {}}, ConfigError, "system instruction"),
    ({**TEXT, "gate": 5}, ArgumentError, "gate"),
    ({"request_body": {"contents": "Hi", "tools": 5}}, ArgumentError, "tools of a request_body is a list"),
    ({"request_body": {"contents": "Hi", "toolConfig": []}}, ArgumentError, "toolConfig"),
    ({"request_body": {"contents": "Hi", "generationConfig": [1]}}, ArgumentError, "generationConfig"),
    ({**TEXT, "chat": "a chat"}, ArgumentError, "chat is a Chat, not a str"),
    ({"request_body": {"contents": "Hi"}, "chat": gemini_nb.Chat()}, ArgumentError, "history"),
]


def test_bad_input_is_refused_at_the_call_and_nothing_is_sent(answering: Rig) -> None:
    for options, kind, message in BAD:
        with pytest.raises(kind, match=message) as caught:
            answering.manager.start_stream(**{**answering.options, **options})
        assert isinstance(caught.value, CallerError), options
    assert answering.manager.list_streams(all=True) == []
    assert answering.manager.statistics().total == 0
    answering.start().wait()
    assert len(answering.server.requests) == 1


def test_no_key_anywhere(answering: Rig) -> None:
    with pytest.raises(ConfigError) as caught:
        answering.manager.start_stream("Hi")
    assert "GEMINI_API_KEY" in caught.value.hint
    assert "simulator" in caught.value.hint


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, "none"])
@pytest.mark.parametrize("option", ["max_concurrent", "history"])
def test_a_manager_that_could_not_work_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        StreamManager(**{option: value})


def test_no_place_at_all_is_refused_and_no_history_is_not() -> None:
    with pytest.raises(ConfigError, match="max_concurrent"):
        StreamManager(max_concurrent=0)
    with pytest.raises(ConfigError, match="history"):
        StreamManager(history=None)  # type: ignore[arg-type]  # that it is refused is the point


def test_fields_of_a_whole_body_may_be_null(answering: Rig) -> None:
    body = {"contents": "Hi", "tools": None, "toolConfig": None, "generationConfig": None}
    stream = answering.manager.start_stream(**answering.options, request_body=body, tools=[len]).wait()
    assert (stream.status, stream.parsed) == ("completed", None)
    [request] = answering.server.requests
    assert [tool["functionDeclarations"][0]["name"] for tool in request.json["tools"]] == ["len"]


# ------------------------------------------------------------------ requests


def test_the_request_is_what_was_asked_and_no_more(answering: Rig) -> None:
    answering.start("Hi").wait()
    (request,) = answering.server.requests
    assert request.json == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    assert request.headers["x-goog-api-key"] == KEY
    assert KEY not in request.target


@pytest.mark.parametrize(
    ("contents", "sent"),
    [
        ("a", [{"role": "user", "parts": [{"text": "a"}]}]),
        (["a", {"text": "b"}], [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]),
        ({"parts": [{"text": "a"}]}, [{"role": "user", "parts": [{"text": "a"}]}]),
        (
            [{"role": "user", "parts": ["a"]}, {"role": "model", "parts": ["b"]}, "c"],
            [
                {"role": "user", "parts": [{"text": "a"}]},
                {"role": "model", "parts": [{"text": "b"}]},
                {"role": "user", "parts": [{"text": "c"}]},
            ],
        ),
        (
            {"inlineData": {"mimeType": "image/png", "data": b"\x01\x02"}},
            [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AQI="}}]}],
        ),
    ],
)
def test_forms_of_contents(answering: Rig, contents: Any, sent: Any) -> None:
    answering.start(contents).wait()
    assert answering.server.requests[0].json["contents"] == sent


def test_a_whole_body_and_a_whole_url_go_as_they_are(answering: Rig) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "labels": {"a": "b"},
        "safetySettings": [],
    }
    stream = answering.start(None, request_body=body, endpoint=f"{answering.server.url}/my/path?alt=sse")
    assert stream.result() == "Hello"
    (request,) = answering.server.requests
    assert (request.target, request.json) == ("/my/path?alt=sse", body)
    assert stream.info().endpoint == f"{answering.server.url}/my/path?alt=sse"


def test_settings_are_the_defaults() -> None:
    with rig(hello(), settings=Settings(model="my-model")) as made:
        stream = made.start()
        assert stream.wait().model == "my-model"
        assert made.start(model="other").model == "other"


# ------------------------------------------------------------------ many at once


def test_starting_returns_before_anything_is_sent() -> None:
    with ScriptedServer(lambda _: [Wait()]) as server:
        manager = StreamManager()
        go_on = hold_loop(manager.runtime.loop)
        stream = manager.start_stream("Hi", credentials={"api_key": KEY}, base_url=server.url)
        assert (stream.status, stream.events, server.connections) == ("active", (), 0)
        go_on.set()
        server.wait_requests(1)
        stream.stop()
        assert stream.status == "stopped"
        server.wait_open(0)
        manager.shutdown()


def test_a_hundred_at_once() -> None:
    go_on = threading.Event()
    with rig(always(text("a"), Wait(go_on), text("b", finish="STOP"))) as made:
        streams = [made.start(f"prompt {number}") for number in range(100)]
        made.server.wait_requests(100)
        made.server.wait_open(100)
        assert made.manager.statistics().active == 100
        go_on.set()
        assert [stream.result() for stream in streams] == ["ab"] * 100
        asked = {request.json["contents"][0]["parts"][0]["text"] for request in made.server.requests}
        assert asked == {f"prompt {number}" for number in range(100)}
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("gemini_nb")]
        assert len(names) < 10


def test_history_is_bounded_and_pushes_out_what_ended_first() -> None:
    def script(request: Any) -> Any:
        words = request.json["contents"][0]["parts"][0]["text"]
        return sse_answer(text(words), Wait()) if words == "hold" else sse_answer(text(words, finish="STOP"))

    with rig(script, history=2) as made:
        oldest = texted(made, contents="hold")
        ended = [made.start(f"{number}").wait() for number in range(4)]
        assert made.manager.list_streams(all=True) == [oldest, *ended[2:]]
        with pytest.raises(StreamNotFoundError):
            made.manager.get_stream(ended[0].stream_id)
        assert made.manager.get_stream(ended[0]) is ended[0]
        oldest.stop()
        oldest.wait()
        assert made.manager.list_streams(all=True) == [oldest, ended[3]]
        assert made.manager.statistics().total == 5


def test_no_history_at_all() -> None:
    with rig(hello(), history=0) as made:
        stream = made.start()
        assert stream.result() == "Hello"
        assert made.manager.list_streams(all=True) == []
        with pytest.raises(StreamNotFoundError, match="left the history"):
            made.manager.get_stream(stream.stream_id)


def test_a_stream_that_ends_while_it_leaves_the_history_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[bool] = []

    with rig(hello(), history=0) as made:

        def at_once(_: Ending, count: Callable[[], object]) -> None:
            held.append(made.manager._lock.locked())
            if not held[-1]:  # else this would wait for ever
                count()

        monkeypatch.setattr(Ending, "call_when_reached", at_once)
        made.start().wait()
        until(lambda: bool(held))
        assert held == [False]
        assert made.manager.statistics().completed == 1


def test_nothing_is_kept_of_streams_that_left_the_history() -> None:
    with rig(hello(), history=0) as made:
        ended = [weakref.ref(made.start().wait()) for _ in range(3)]
        until(lambda: gc.collect() >= 0 and not any(stream() for stream in ended))
        assert made.manager.statistics().completed == 3


def test_max_concurrent_holds_first_come_first_served() -> None:
    gates = [threading.Event() for _ in range(6)]

    def script(request: Any) -> Any:
        number = int(request.json["contents"][0]["parts"][0]["text"])
        return sse_answer(text("a"), Wait(gates[number]), text("b", finish="STOP"))

    with rig(script, max_concurrent=2) as made:
        streams = [made.start(str(number)) for number in range(6)]
        for done in range(6):
            made.server.wait_requests(min(done + 2, 6))
            counts = made.manager.statistics()
            assert len(made.server.requests) == min(done + 2, 6)
            assert (counts.active, counts.waiting) == (6 - done, max(0, 4 - done))
            gates[done].set()
            streams[done].wait()
        order = [request.json["contents"][0]["parts"][0]["text"] for request in made.server.requests]
        assert order == list("012345")


def test_a_waiting_stream_can_be_stopped_and_gives_its_place_up() -> None:
    with rig(hold(), max_concurrent=1) as made:
        first = texted(made)
        second, third = made.start(), made.start()
        second.stop()
        assert second.status == "stopped"
        first.stop()
        made.server.wait_requests(2)
        other = made.start(model="another-model")
        made.server.wait_requests(3)
        assert third.status == other.status == "active"


@pytest.mark.parametrize(("limit", "begun"), [(3, 3), (None, 6)])
def test_a_higher_limit_lets_those_go_on_that_wait_in_their_order(limit: int | None, begun: int) -> None:
    with rig(hold(), max_concurrent=1) as made:
        streams = [made.start(str(number)) for number in range(6)]
        made.server.wait_requests(1)
        made.manager.max_concurrent = limit
        made.server.wait_requests(begun)
        assert made.manager.statistics().waiting == 6 - begun
        asked = sorted(request.json["contents"][0]["parts"][0]["text"] for request in made.server.requests)
        assert asked == list("012345")[:begun]
        assert {stream.status for stream in streams} == {"active"}


def test_a_lower_limit_holds_once_enough_have_ended() -> None:
    gates = [threading.Event() for _ in range(5)]

    def script(request: Any) -> Any:
        number = int(request.json["contents"][0]["parts"][0]["text"])
        return sse_answer(text("a"), Wait(gates[number]), text("b", finish="STOP"))

    with rig(script) as made:
        streams = [made.start(str(number)) for number in range(3)]
        made.server.wait_requests(3)
        made.manager.max_concurrent = 1
        streams += [made.start(str(number)) for number in range(3, 5)]
        for done in range(2):
            gates[done].set()
            streams[done].wait()
        assert (len(made.server.requests), made.manager.statistics().waiting) == (3, 2)
        streams[3].stop()  # one that waits
        gates[2].set()
        made.server.wait_requests(4)
        gates[4].set()
        assert streams[4].result() == "ab"
        assert made.server.requests[3].json["contents"][0]["parts"][0]["text"] == "4"
        with pytest.raises(ConfigError):
            made.manager.max_concurrent = 0
        assert made.manager.max_concurrent == 1


# ------------------------------------------------------------------ ends


def threads_of_ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("gemini_nb")}


def shut_down(manager: StreamManager) -> None:
    """Shut it down; fails where that waits for what does not end."""
    closing = threading.Thread(target=manager.shutdown, daemon=True)
    closing.start()
    join(closing)


def test_shutdown_with_a_hundred_open_streams() -> None:
    before = threads_of_ours()
    with rig(hold()) as made:
        recorder = Recorder()
        streams = [made.start(subscriber=recorder if number == 0 else None) for number in range(100)]
        made.server.wait_requests(100)
        shut_down(made.manager)
        assert {str(stream.status) for stream in streams} == {"stopped"}
        assert recorder.kinds[-1] == "stream_stopped"
        until(lambda: threads_of_ours() <= before)  # of those of another test some may have ended, too
        made.server.wait_open(0)
        made.manager.shutdown()
        with pytest.raises(ConfigError, match="shut down"):
            made.start()
        assert made.manager.list_streams() == []
        assert streams[0].result() == streams[0].text


def test_shutdown_does_not_wait_for_a_blocked_callback_or_tool() -> None:
    go_on, began_tool = threading.Event(), threading.Event()

    def slow() -> None:
        began_tool.set()
        go_on.wait()

    chunk = {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "slow"}}]}, "finishReason": "STOP"}]
    }
    with rig(always(chunk)) as made:
        blocked = Recorder("", go_on, limit=None)
        try:
            stream = made.start(subscriber=blocked, tools=[slow])
            assert began_tool.wait(PATIENCE)
            shut_down(made.manager)
            assert blocked.kinds == ["stream_started"], "it stands there still"
            assert stream.status == "stopped"
        finally:
            go_on.set()


def test_shutdown_while_others_start_leaves_nothing_running(holding: Rig) -> None:
    streams: list[gemini_nb.Stream] = []
    began = threading.Event()

    def start() -> None:
        try:
            for _ in range(200):
                streams.append(holding.start())
                began.set()
        except ConfigError:
            pass

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert began.wait(PATIENCE)
    holding.manager.shutdown()
    join(*threads)
    for stream in streams:
        assert stream.wait(PATIENCE).status == "stopped"
    assert holding.manager.list_streams() == []
    assert not holding.manager.runtime.loop.is_alive


def test_a_shutdown_that_the_loop_cannot_hear_ends_streams_all_the_same(holding: Rig) -> None:
    stream = texted(holding)
    go_on = hold_loop(holding.manager.runtime.loop)
    unheard = holding.start()
    holding.manager.runtime.close(timeout=0.1)
    assert stream.wait(2).status == unheard.wait(2).status == "stopped"
    go_on.set()


@pytest.mark.slow  # a manager with a simulator for each of forty lines
def test_a_shutdown_that_was_interrupted_is_finished_by_the_next(holding: Rig) -> None:
    """An interrupt at each line in turn, of all that a shutdown runs on the user's thread."""
    parts = [StreamManager.shutdown, Runtime.close, BackgroundLoop.close, Delivery.close, Simulator.close]
    codes = {part.__code__ for part in parts}
    for number in itertools.count(1):
        manager = StreamManager()
        stream = manager.start_stream("Hi", print, **holding.options)
        simulator, left = manager.runtime.stand_in(), number

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            here = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            # Python looks for signals between a lock and its block, but not at this place.
            left -= event == "line" and not here.startswith("with ")
            if left == 0:
                raise KeyboardInterrupt
            return line

        before = sys.gettrace()
        sys.settrace(lambda frame, _event, _arg: line if frame.f_code in codes else None)
        try:
            manager.shutdown()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        manager.shutdown()
        assert stream.status == "stopped"
        assert not manager.runtime.loop.is_alive
        assert "not running" in repr(simulator)
        assert not [thread for thread in manager.runtime.delivery._threads if thread.is_alive()]
        if left > 0:
            break
    assert number > 30


def test_shutdown_in_a_callback(answering: Rig) -> None:
    done = threading.Event()

    def shut(event: Any) -> None:
        if event.kind == "stream_completed":
            answering.manager.shutdown()
            done.set()

    answering.start(subscriber=shut)
    assert done.wait(PATIENCE)
    assert answering.manager.runtime.closed


def test_a_loop_that_died_fails_its_streams_and_a_new_one_takes_over(holding: Rig) -> None:
    def die() -> None:
        raise SystemExit

    chat = gemini_nb.Chat(manager=holding.manager)
    recorder = Recorder()
    stream = chat.send("Hi", recorder, **holding.options)
    recorder.wait("text_delta")
    thread = holding.manager.runtime.loop._thread
    assert thread is not None
    holding.manager.runtime.loop.call(die)
    with pytest.raises(InternalError, match="loop"):
        stream.result(PATIENCE)
    assert (stream.status, stream.text) == ("error", "one ")
    assert [content["role"] for content in chat.history] == ["user", "model"]
    join(thread)
    holding.server.requests[0].wait_closed()
    again = texted(holding)
    assert (again.status, again.text) == ("active", "one ")


def test_a_stream_that_starts_while_the_loop_dies_ends(holding: Rig) -> None:
    def die() -> None:
        raise SystemExit

    for _ in range(10):
        streams = [holding.start()]
        holding.manager.runtime.loop.call(die)
        streams += [holding.start() for _ in range(3)]
        for stream in streams:
            stream.stop()
            assert stream.wait(PATIENCE).status in {"stopped", "error"}


async def test_shutdown_on_the_loops_own_thread_is_refused(answering: Rig) -> None:
    answering.start().wait()
    raised = threading.Event()

    def shut() -> None:
        with pytest.raises(BlockingCallError):
            answering.manager.shutdown()
        raised.set()

    answering.manager.runtime.loop.call(shut)
    assert raised.wait(PATIENCE)
    assert not answering.manager.runtime.closed


# ------------------------------------------------------------------ the kernel's one


def test_get_manager_gives_one_from_any_thread() -> None:
    found: list[StreamManager] = []
    together = threading.Barrier(12)

    def get() -> None:
        together.wait(PATIENCE)
        found.append(get_manager())

    threads = [threading.Thread(target=get) for _ in range(12)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert len(set(map(id, found))) == 1
    assert gemini_nb.get_manager() is found[0]
    found[0].shutdown()
    after = get_manager()
    assert after is not found[0]
    after.shutdown()


RELOADED = """
import importlib, sys, threading
from answers import *
import gemini_nb
from scripted import Wait, sse_answer, text
go_on = threading.Event()
with ScriptedServer(lambda _: sse_answer(text("a"), Wait(go_on), text("b", finish="STOP"))) as server:
    options = dict(auth="gemini", credentials={"api_key": KEY}, base_url=server.url)
    manager = gemini_nb.get_manager()
    recorder = Recorder()
    stream = manager.start_stream("Hi", recorder, **options)
    recorder.wait("text_delta")
    ours = [name for name in sys.modules if name.startswith("gemini_nb") and sys.modules[name] is not None]
    for name in sorted(ours, key=lambda name: (name == "gemini_nb", name)):
        importlib.reload(sys.modules[name])
    assert gemini_nb.get_manager() is manager
    assert manager.get_stream(stream) is stream and manager.list_streams() == [stream]
    second = manager.start_stream("Hi", **options)
    assert second.stream_id != stream.stream_id, "ids go on"
    assert manager.list_streams() == [stream, second]
    go_on.set()
    assert stream.result() == second.result() == "ab"
    assert [event.kind for event in stream][-1] == "stream_completed"
    print(manager.statistics().completed)
    manager.shutdown()
"""


def test_a_reload_of_every_module_keeps_the_manager_and_its_streams() -> None:
    done = run_python("from scripted import ScriptedServer\n" + RELOADED)
    assert (done.stdout.strip(), done.stderr) == ("2", "")


FORKED = """
import asyncio, os, sys, threading
from answers import *
import gemini_nb
from scripted import ScriptedServer, Wait, sse_answer, text
go_on = threading.Event()
def script(request):
    waits = request.json["contents"][0]["parts"][0]["text"] == "parent"
    return sse_answer(text("a"), *([Wait(go_on)] if waits else []), text("b", finish="STOP"))
with ScriptedServer(script) as server:
    options = dict(auth="gemini", credentials={"api_key": KEY}, base_url=server.url)
    manager = gemini_nb.get_manager()
    own = gemini_nb.StreamManager()
    streams = [one.start_stream("parent", **options) for one in (manager, own)]
    server.wait_requests(2)
    child = os.fork()
    if child == 0:
        assert gemini_nb.get_manager() is not manager
        stream = gemini_nb.get_manager().start_stream("child", **options)
        assert stream.result(20) == "ab"
        assert [each.status for each in streams] == ["active", "active"]
        for each in streams:
            try:
                each.wait()
            except gemini_nb.GeminiError as error:
                assert "forked" in str(error)
            else:
                sys.exit("a wait without end")
            try:
                for event in each:
                    pass
            except gemini_nb.GeminiError as error:
                assert "forked" in str(error)
            else:
                sys.exit("an iteration without end")
            async def read():
                async for event in each:
                    pass
            try:
                asyncio.run(read())
            except gemini_nb.GeminiError as error:
                assert "forked" in str(error)
            else:
                sys.exit("an asynchronous iteration without end")
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    assert gemini_nb.get_manager() is manager
    go_on.set()
    print(os.waitstatus_to_exitcode(status), [each.result(20) for each in streams])
    manager.shutdown()
    own.shutdown()
"""


@pytest.mark.slow
def test_managers_can_be_collected_after_their_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_NB_SIMULATOR_PACE", "0")
    monkeypatch.setattr(manager_module, "_manager", None)
    monkeypatch.setattr(runtime_module, "_default", None)

    def use(manager: StreamManager) -> list[weakref.ref[Any]]:
        stream = manager.start_stream("Hi", Recorder(), auth="simulator")
        assert [event.kind for event in stream][-1] == "stream_completed"
        asyncio.run(awaited(stream))
        assert stream.result(PATIENCE)
        manager.shutdown()
        manager.shutdown()
        return [weakref.ref(one) for one in (manager, manager.runtime, stream)]

    async def awaited(stream: Stream) -> None:
        await stream

    def are_gone(left: list[weakref.ref[Any]]) -> bool:
        gc.collect()
        return not any(one() for one in left)

    makers: list[Callable[[], StreamManager]] = [lambda: StreamManager(max_concurrent=1), get_manager]
    for make in makers:
        left = use(make())
        until(functools.partial(are_gone, left))  # the journal's thread may still write


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_makes_its_own_and_leaves_its_parents_alone() -> None:
    done = run_python(
        FORKED, "-Wignore:This process:DeprecationWarning"
    )  # Python 3.12 warns of any such fork
    assert (done.stdout.strip(), done.stderr) == ("7 ['ab', 'ab']", "")


EXITED = """
import logging, sys, threading
logging.getLogger("asyncio").setLevel(logging.ERROR)  # -X dev tells of every step that takes 0.1 s
from answers import Recorder
import gemini_nb
def tool():
    threading.Event().wait()
options = dict(credentials={"api_key": "a-key"}, base_url=sys.argv[1])
manager = gemini_nb.get_manager()
recorder, stuck = Recorder(), Recorder("text_delta", threading.Event())
for number in range(20):
    manager.start_stream("Hi", recorder if number == 0 else stuck, **options)
manager.start_stream("tool", recorder, tools=[tool], **options)
alone = gemini_nb.ToolOrchestrator(None, None, "Hi", **options).start()
recorder.wait("text_delta")
recorder.wait("tool_call_started")
reader = iter(alone)
next(reader)
print(len(manager.list_streams()))
"""


@pytest.mark.slow
def test_the_interpreter_may_end_in_the_middle_without_a_word() -> None:
    def script(request: Any) -> Any:
        if request.json["contents"][0]["parts"][0]["text"] == "tool":
            return sse_answer(call("tool", finish="STOP"))
        return sse_answer(text("a"), Wait())

    with ScriptedServer(script) as server:
        done = run_python(EXITED, "-X", "dev", "-W", "error", arguments=[server.url])
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "21", "")
        server.wait_open(0)


ALONE = """
import sys
import gemini_nb
def tell(event):
    if event.kind == "stream_stopped":
        print(event.kind)
options = dict(credentials={"api_key": "a-key"}, base_url=sys.argv[1])
stream = gemini_nb.ToolOrchestrator(None, tell, "Hi", **options).start()
next(event for event in stream if event.kind == "text_delta")
"""


def test_an_orchestrator_without_a_manager_is_stopped_at_the_interpreters_end() -> None:
    with ScriptedServer(hold()) as server:
        done = run_python(ALONE, arguments=[server.url])
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "stream_stopped", "")
        server.wait_open(0)
