from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import inspect
import json
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

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
    rebuilt,
    rig,
    run_python,
    until,
)
from gemini_nb.config import Settings
from gemini_nb.errors import (
    APIError,
    ArgumentError,
    BlockingCallError,
    GeminiError,
    PromptBlockedError,
)
from gemini_nb.redaction import Secret
from gemini_nb.streams import internals
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.events.log import Cursor
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream
from scripted import Signal, Wait, call, json_error, sse_answer, text


@pytest.fixture
def holding() -> Iterator[Rig]:
    """Every stream of this rig begins and does not end by itself."""
    with rig(hold()) as made:
        yield made


@pytest.fixture
def answering() -> Iterator[Rig]:
    with rig(always(text("Hel"), text("lo"), text("!", finish="STOP"))) as made:
        yield made


def first_text(stream: Stream) -> None:
    recorder = Recorder()
    stream.subscribe(recorder)
    recorder.wait("text_delta")


def ends(stream: Stream) -> list[str]:
    last = {"stream_completed", "stream_failed", "stream_stopped"}
    return [event.kind for event in stream.events if event.kind in last]


# ------------------------------------------------------------------ ways to wait


def test_result_and_wait_on_the_main_thread(answering: Rig) -> None:
    stream = answering.start()
    assert stream.result() == "Hello!"
    assert stream.wait() is stream
    assert (stream.status, stream.text, stream.finish_reason) == ("completed", "Hello!", "STOP")
    assert repr(stream) == f"<Stream {stream.stream_id} gemini-3.8-flash completed: 6 characters>"


def test_every_way_of_waiting_from_other_threads(answering: Rig) -> None:
    stream = answering.start()
    found: list[object] = []
    ways: list[Callable[[], object]] = [
        stream.result,
        lambda: stream.wait().text,
        lambda: "".join(event.text for event in stream if event.kind == "text_delta"),
        lambda: asyncio.run(awaited(stream)),
        lambda: asyncio.run(iterated(stream)),
    ]
    threads = [threading.Thread(target=lambda way=way: found.append(way())) for way in ways]
    for thread in threads:
        thread.start()
    join(*threads)
    assert found == ["Hello!"] * 5


async def awaited(stream: Stream) -> str:
    return await stream


async def iterated(stream: Stream) -> str:
    return "".join([event.text async for event in stream if event.kind == "text_delta"])


async def test_await_and_async_for_on_a_loop(answering: Rig) -> None:
    stream = answering.start()
    found = await asyncio.gather(awaited(stream), iterated(stream), awaited(stream))
    assert list(found) == ["Hello!"] * 3
    assert await iterated(stream) == "Hello!"  # an ended one replays


def test_inside_a_callback(answering: Rig) -> None:
    stream = answering.start()
    found: list[object] = []

    def callback(event: Any) -> None:
        if event.kind == "stream_started":
            other = answering.start()
            found.extend([other.result(), stream.wait().text, len(list(stream))])

    stream.subscribe(callback)
    stream.wait()
    other = Recorder()
    stream.subscribe(other)
    other.wait("stream_completed")
    assert found == ["Hello!", "Hello!", len(stream.events)]


async def test_on_the_background_loop_blocking_raises_at_once_and_awaiting_works(holding: Rig) -> None:
    stream = holding.start()
    first_text(stream)
    raised: list[type[Exception]] = []

    async def inside() -> None:
        for way in (stream.result, stream.wait, lambda: list(stream), holding.manager.shutdown):
            try:
                way()
            except BlockingCallError as error:
                raised.append(type(error))
        stream.stop()
        await stream

    await asyncio.wrap_future(holding.manager.runtime.loop.submit(inside()))
    assert raised == [BlockingCallError] * 4
    assert stream.status == "stopped"


def test_a_wait_that_takes_too_long_raises_timeout_and_the_stream_goes_on(holding: Rig) -> None:
    stream = holding.start()
    for way in (stream.wait, stream.result):
        with pytest.raises(TimeoutError, match=rf"{stream.stream_id} has not ended after 0\.01 s"):
            way(0.01)
    with pytest.raises(TimeoutError):
        stream.wait(timeout=0)
    assert stream.status == "active"


def test_wait_never_raises_for_the_stream_and_result_does() -> None:
    with rig(lambda _: json_error(400, "no such field", "INVALID_ARGUMENT")) as made:
        stream = made.start()
        assert stream.wait() is stream
        for _ in range(2):
            with pytest.raises(APIError, match="no such field") as caught:
                stream.result()
            assert caught.value is stream.error
        assert (caught.value.status_code, caught.value.api_status) == (400, "INVALID_ARGUMENT")
        assert stream.status == "error"
        assert ends(stream) == ["stream_failed"]


async def test_await_raises_the_streams_error() -> None:
    with rig(lambda _: json_error(404)) as made, pytest.raises(APIError):
        await made.start()


def test_wait_returns_after_callbacks_have_seen_the_end(answering: Rig) -> None:
    for _ in range(20):
        seen: list[str] = []

        def slow(event: Any, seen: list[str] = seen) -> None:
            time.sleep(0.002)
            seen.append(event.kind)

        answering.start(subscriber=slow).wait()
        assert seen[-1:] == ["stream_completed"]


async def test_await_returns_after_callbacks_have_seen_the_end(answering: Rig) -> None:
    recorder = Recorder()
    await answering.start(subscriber=recorder)
    assert recorder.kinds[-1] == "stream_completed"


@pytest.mark.parametrize("way", ["wait", "await"])
def test_wait_gives_up_on_a_blocked_callback_after_a_second(
    answering: Rig, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    assert internals.GRACE == 1.0
    monkeypatch.setattr(internals, "GRACE", 0.1)
    go_on = threading.Event()
    blocked = Recorder("", go_on, limit=None)
    stream = answering.start(subscriber=blocked)
    waiting = threading.Thread(
        target=stream.wait if way == "wait" else lambda: asyncio.run(awaited(stream)), daemon=True
    )
    began = time.monotonic()
    waiting.start()
    try:
        join(waiting)
        assert time.monotonic() - began > 0.05
        assert blocked.kinds == ["stream_started"], "it stands there still"
        assert stream.status == "completed"
    finally:
        go_on.set()


# ------------------------------------------------------------------ ends


def test_stop_is_there_when_the_call_returns_and_stopping_twice_is_once(holding: Rig) -> None:
    stream = holding.start()
    first_text(stream)
    left: list[Any] = []
    Cursor(stream.record.log, lambda: left.append(stream.parts), replay=False)
    stream.stop()
    assert (stream.status, stream.text, stream.result()) == ("stopped", "one ", "one ")
    assert left == [[{"text": "one "}]]  # there with the event that tells of the end
    stream.stop()
    stream.request_stop()
    assert ends(stream) == ["stream_stopped"]
    assert stream.info().ended_at is not None
    holding.server.requests[0].wait_closed()


def test_a_stop_before_the_first_byte_and_before_the_task_began(holding: Rig) -> None:
    go_on = hold_loop(holding.manager.runtime.loop)
    stream = holding.start()
    stream.request_stop()
    go_on.set()
    stream.wait()
    assert [event.kind for event in stream.events] == ["stream_started", "phase_changed", "stream_stopped"]
    holding.start().stop()
    assert stream.result() == ""


def test_stops_from_many_threads_make_one_end(holding: Rig) -> None:
    for _ in range(10):
        stream = holding.start()
        threads = [threading.Thread(target=stream.stop) for _ in range(6)]
        for thread in threads:
            thread.start()
        join(*threads)
        assert ends(stream) == ["stream_stopped"]


def test_a_stop_inside_a_callback(holding: Rig) -> None:
    def stop(event: Any) -> None:
        if event.kind == "text_delta":
            stream.stop()

    stream = holding.start()
    stream.subscribe(stop)
    assert stream.result() == "one "
    assert stream.status == "stopped"


def test_a_stop_by_a_reader_in_the_middle_of_a_chunk_is_the_end() -> None:
    chunk = {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "finishReason": "STOP"}]}
    with rig(always(chunk)) as made:
        stream = made.start(subscriber=None)
        record = stream.record

        class Stopper:
            def notify(self) -> None:
                if record.text == "a" and not record.is_done:
                    stream.stop()

        record.log.attach(Stopper())
        stream.wait()
        if stream.status == "stopped":  # unless it had come in before the reader
            assert (stream.text, rebuilt(stream)) == ("a", "a")
        assert len(ends(stream)) == 1


@pytest.mark.parametrize(
    ("answer", "status", "reason", "words"),
    [
        (sse_answer(text("cut", finish="MAX_TOKENS")), "completed", "MAX_TOKENS", "cut"),
        (sse_answer(text("half", finish="SAFETY")), "completed", "SAFETY", "half"),
        (sse_answer(text("new", finish="SOMETHING_NEW")), "completed", "SOMETHING_NEW", "new"),
        (sse_answer({"promptFeedback": {"blockReason": "SAFETY"}}), "error", None, ""),
        (json_error(403, "denied", "PERMISSION_DENIED"), "error", None, ""),
    ],
)
def test_each_way_to_end_has_one_terminal_event(
    answer: Any, status: str, reason: str | None, words: str
) -> None:
    with rig([answer]) as made:
        stream = made.start().wait()
        assert (stream.status, stream.finish_reason, stream.text) == (status, reason, words)
        assert len(ends(stream)) == 1
        assert stream.events[-1].kind == ends(stream)[0]
        assert (stream.error is None) == (status == "completed")
        assert rebuilt(stream) == stream.text


def test_a_blocked_prompt_says_so() -> None:
    with rig(always({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})) as made:
        error = made.start().wait().error
        assert isinstance(error, PromptBlockedError)
        assert error.hint
        assert "PROHIBITED_CONTENT" in str(error)


# ------------------------------------------------------------------ cancelling


async def test_a_cancelled_await_stops_the_stream(holding: Rig) -> None:
    stream = holding.start()
    task = asyncio.ensure_future(awaited(stream))
    await asyncio.to_thread(first_text, stream)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(stream.wait)
    assert stream.status == "stopped"


async def test_a_cancelled_iteration_does_not(holding: Rig) -> None:
    stream = holding.start()
    task = asyncio.ensure_future(iterated(stream))
    await asyncio.to_thread(first_text, stream)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.status == "active"


INTERRUPTED = """
import _thread, os, signal, threading
from answers import *
with rig(hold()) as made:
    stream = made.start()
    waits, block_on = threading.Event(), made.manager.runtime.block_on
    def wait(*arguments):
        waits.set()
        block_on(*arguments)
    made.manager.runtime.block_on = wait
    def interrupt(event):
        if event.kind == "text_delta" and waits.wait(20):
            os.kill(os.getpid(), signal.SIGINT)
    stream.subscribe(interrupt)
    try:
        stream.{way}()
    except KeyboardInterrupt:
        stream.wait_end(5) if {stops} else None
        print(stream.status)
"""


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("result", "stopped"),
        pytest.param("wait", "stopped", marks=pytest.mark.slow),
        pytest.param("wait_only", "active", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_cancels_the_work_too(way: str, status: str) -> None:
    done = run_python(INTERRUPTED.format(way=way, stops=status == "stopped"))
    assert (done.stdout.strip(), done.stderr) == (status, "")


# ------------------------------------------------------------------ iterators


def test_an_iterator_dropped_in_the_middle_leaves_the_log_and_the_stream(holding: Rig) -> None:
    stream = holding.start()
    log = stream.record.log
    before = log.reader_count
    for event in stream:
        if event.kind == "text_delta":
            break
    until(lambda: log.reader_count == before)  # the loop's thread may be waking the one above just now
    reader = stream.reader()
    gone = weakref.ref(reader)
    assert next(reader).kind == "stream_started"
    assert log.reader_count == before + 1
    del reader
    gc.collect()
    until(lambda: gone() is None)  # the loop's thread may be waking it just now
    assert log.reader_count == before
    assert stream.status == "active"


async def test_an_async_iterator_dropped_in_the_middle(holding: Rig) -> None:
    stream = holding.start()
    before = stream.record.log.reader_count
    async for event in stream:
        if event.kind == "text_delta":
            break
    gc.collect()
    until(lambda: stream.record.log.reader_count == before)  # the loop's thread may be waking it just now
    assert stream.status == "active"


def test_a_reader_waiting_when_the_stream_ends_ends(holding: Rig) -> None:
    stream = holding.start()
    kinds: list[str] = []
    thread = threading.Thread(target=lambda: kinds.extend(event.kind for event in stream))
    thread.start()
    first_text(stream)
    stream.stop()
    join(thread)
    assert kinds[-1] == "stream_stopped"
    stream.wait()
    assert stream.record.log.reader_count == 0


def test_a_reader_without_replay(holding: Rig) -> None:
    stream = holding.start()
    first_text(stream)
    reader = stream.reader(replay=False)
    stream.stop()
    assert [event.kind for event in reader] == ["stream_stopped"]


def test_a_reader_whose_loop_is_closed_harms_nobody(holding: Rig) -> None:
    stream = holding.start()
    reader = stream.reader()

    async def begin() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(drain(), 0.01)

    async def drain() -> None:
        async for _ in reader:
            pass

    asyncio.run(begin())
    stream.stop()
    assert [event.kind for event in reader][-1] == "stream_stopped"


# ------------------------------------------------------------------ subscribers


def test_subscribers_are_told_apart_by_equality_and_twice_is_once(answering: Rig) -> None:
    class Person:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def hear(self, event: Any) -> None:
            self.kinds.append(event.kind)

    person, other = Person(), Person()
    stream = answering.start(subscriber=person.hear)
    stream.subscribe(person.hear)
    stream.subscribe(other.hear)
    stream.wait()
    stream.subscribe(person.hear)
    assert person.kinds == other.kinds == [event.kind for event in stream.events]
    assert stream.info().subscribers == (person.hear, other.hear)
    stream.unsubscribe(person.hear)
    stream.unsubscribe(person.hear)
    assert stream.info().subscribers == (other.hear,)


def test_subscribing_the_same_from_many_threads_is_once(holding: Rig) -> None:
    stream = holding.start()
    recorder = Recorder()
    together = threading.Barrier(8)

    def subscribe() -> None:
        together.wait(PATIENCE)
        stream.subscribe(recorder)

    threads = [threading.Thread(target=subscribe) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    stream.stop()
    stream.wait()
    assert stream.subscriber_count == 1
    assert recorder.kinds == [event.kind for event in stream.events]


def test_unsubscribing_stops_the_calls_and_never_the_stream(holding: Rig) -> None:
    recorder = Recorder()
    stream = holding.start(subscriber=recorder)
    recorder.wait("text_delta")
    stream.unsubscribe(recorder)
    assert stream.status == "active"
    stream.stop()
    stream.wait()
    assert "stream_stopped" not in recorder.kinds


class AsyncCallable:
    async def __call__(self, event: Any) -> None: ...


async def _later(event: Any) -> None: ...


async def _generating(event: Any) -> Any:
    yield event


@pytest.mark.parametrize("subscriber", [_later, AsyncCallable(), _generating, 5, "print"])
def test_what_cannot_be_called_back_is_refused_and_nothing_is_sent(answering: Rig, subscriber: Any) -> None:
    with pytest.raises(ArgumentError):
        answering.start(subscriber=subscriber)
    stream = answering.start()
    with pytest.raises(ArgumentError):
        stream.subscribe(subscriber)
    stream.wait()
    assert len(answering.server.requests) == 1


def test_callbacks_are_neither_on_the_loop_nor_on_the_main_thread(answering: Rig) -> None:
    recorder = Recorder()
    answering.start(subscriber=recorder).wait()
    loop = answering.manager.runtime.loop._thread
    assert recorder.threads.isdisjoint({threading.main_thread(), threading.current_thread(), loop})


# ------------------------------------------------------------------ what it shows

SIGNED = {"text": "Let me look. ", "thoughtSignature": "c2ln", "unknownField": {"kept": [1]}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}


def rounds(request: Any) -> Any:
    """A thought, a signed text and a call; then an answer."""
    if len(request.json["contents"]) == 1:
        return sse_answer(
            text("I think. ", thought=True),
            {
                "candidates": [{"content": {"parts": [SIGNED, CODE]}}],
                "modelVersion": "m-1",
                "responseId": "r1",
            },
            call("f", args={}, finish="STOP"),
            {"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}},
        )
    return sse_answer(
        text("The "),
        {"usageMetadata": {"promptTokenCount": 20, "totalTokenCount": 21}},
        text("answer.", finish="STOP"),
        {"usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 7, "totalTokenCount": 27}},
    )


def f() -> int:
    """Count."""
    return 1


def test_everything_that_arrived_can_be_read() -> None:
    with rig(rounds) as made:
        stream = made.start(tools=[f], metadata={"cell": 3}).wait()
        assert stream.text == rebuilt(stream) == "Let me look. \n\nThe answer."
        assert stream.answer == "The answer."
        assert stream.thoughts == "I think. "
        function_call = {"functionCall": {"name": "f", "args": {}}}
        thought = {"text": "I think. ", "thought": True}
        assert stream.parts == [thought, SIGNED, CODE, function_call, {"text": "The answer."}]
        assert [event.part for event in stream.events if event.kind == "part_received"] == [CODE]
        usage = stream.usage
        assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (
            30,
            12,
            42,
        )
        updates = [event.usage.total_token_count for event in stream.events if event.kind == "usage_updated"]
        assert updates == [15, 36, 42]
        assert (stream.turn, stream.phase, stream.retries) == (2, "awaiting_final_response", 0)
        assert (stream.model_version, stream.response_id, stream.finish_reason) == ("m-1", "r1", "STOP")
        assert len(stream.chunks) == 8
        assert stream.chunks[1]["candidates"][0]["content"]["parts"] == [SIGNED, CODE]
        assert stream.metadata == {"cell": 3}
        assert [event.seq for event in stream.events] == list(range(len(stream.events)))


def test_the_info_is_a_moment_without_secrets() -> None:
    with rig(rounds) as made:
        stream = made.start("Why?", tools=[f], metadata={"cell": 3}).wait()
        info = stream.info()
        assert (
            info.endpoint == f"{made.server.url}/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
        )
        assert info.request_body["contents"] == [{"role": "user", "parts": [{"text": "Why?"}]}]
        assert info.request_body == made.server.requests[0].json
        assert (info.status, info.turn, info.phase, info.error) == (
            "completed",
            2,
            "awaiting_final_response",
            None,
        )
        assert (info.auth, info.model, info.stream_id) == ("gemini", "gemini-3.8-flash", stream.stream_id)
        assert info.events == stream.events
        assert info.ended_at is not None
        assert info.started_at <= info.ended_at
        assert [made.name for made in info.tool_calls] == ["f"]
        with pytest.raises(dataclasses.FrozenInstanceError):
            info.status = "active"  # type: ignore[misc,assignment]  # that it is refused is the point


@pytest.mark.parametrize(
    ("words", "config", "parsed"),
    [
        ('{"a": 1}', {"responseMimeType": "application/json"}, {"a": 1}),
        ('{"a": 1}', {"response_mime_type": "application/json"}, {"a": 1}),
        ('{"a": ', {"responseMimeType": "application/json"}, None),
        ('{"a": 1}', None, None),
    ],
)
def test_parsed(words: str, config: dict[str, str] | None, parsed: Any) -> None:
    with rig(hello(words)) as made:
        assert made.start(generation_config=config).wait().parsed == parsed


def test_what_is_shown_while_it_runs() -> None:
    go_on, shown = threading.Event(), threading.Event()
    script = always(text("a"), text("b"), Signal(shown), Wait(go_on), text("c", finish="STOP"))
    with rig(script) as made:
        stream = made.start()
        for event in stream:
            if event.kind == "text_delta" and event.text == "b":
                break
        assert (stream.status, stream.phase, stream.text) == ("active", "awaiting_model_call", "ab")
        assert stream.info().ended_at is None
        go_on.set()
        assert stream.result() == "abc"


def test_what_the_caller_changes_after_the_call_changes_nothing(answering: Rig) -> None:
    go_on = hold_loop(answering.manager.runtime.loop)
    file = {"fileData": {"fileUri": "before"}}
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [file]}], "labels": {"a": "before"}}
    stream = answering.start(None, request_body=body)
    file["fileData"]["fileUri"] = body["labels"]["a"] = "after"
    go_on.set()
    stream.wait()
    sent = answering.server.requests[0].json
    assert sent["contents"][0]["parts"] == [{"fileData": {"fileUri": "before"}}]
    assert sent["labels"] == {"a": "before"}


# ------------------------------------------------------------------ secrets


def reachable(root: object) -> Iterator[object]:
    """Everything that attributes, items and closures of our own objects lead to; a Secret keeps its own."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (Secret, type, threading.Thread)):
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            todo += value
        elif inspect.isfunction(value):
            todo += [cell.cell_contents for cell in value.__closure__ or ()]
        elif type(value).__module__.startswith("gemini_nb") or isinstance(value, BaseException):
            todo += vars(value).values() if hasattr(value, "__dict__") else ()
            slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
            todo += [getattr(value, name) for name in slots if hasattr(value, name)]


def test_a_copy_of_a_stream_is_the_stream_and_a_pickle_says_what_to_take() -> None:
    with rig(hello()) as made:
        stream, chat = made.start(), Chat(manager=made.manager, **made.options)
        group = StreamGroup([stream])
        chat.send("Hello").wait(PATIENCE)
        for handle in (stream, group):
            assert copy.copy(handle) is handle
            assert copy.deepcopy({"kept": [handle]}) == {"kept": [handle]}
        for copied in (copy.copy(chat), copy.deepcopy(chat)):
            assert copied.history == chat.history
            assert copied.history is not chat.history
        for one, instead in ((stream, "result"), (group, "to_frame"), (chat, "save")):
            with pytest.raises(TypeError, match=rf"is not pickled; .*{instead}\("):
                pickle.dumps(one)


def test_a_text_is_not_looked_for_among_events_nor_a_stream_among_pairs() -> None:
    with rig(hello()) as made:
        stream, other = made.start().wait(PATIENCE), made.start()
        assert stream.events[-1] in stream
        with pytest.raises(TypeError, match="look for a text"):
            assert "Hello" in stream
        assert stream in StreamGroup([stream])
        assert other not in StreamGroup([stream])


@pytest.mark.parametrize("fails", [False, True])
def test_keys_appear_nowhere(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    def script(request: Any) -> Any:
        assert request.headers["x-goog-api-key"] == KEY
        return json_error(400, f"bad key {request.headers['x-goog-api-key']}") if fails else rounds(request)

    with caplog.at_level(logging.DEBUG), rig(script, settings=Settings()) as made:
        stream = made.start(tools=[f], subscriber=lambda _: 1 / 0).wait()
        shown = [
            repr(stream),
            repr(stream.info()),
            repr(vars(stream)),
            repr(stream.events),
            str(stream.error),
        ]
        shown += [repr(stream.request), repr(made.manager), repr(vars(made.manager)), caplog.text]
        shown += [json.dumps(stream.info().request_body), repr(made.manager.statistics())]
        for text_shown in shown:
            assert KEY not in text_shown
        for value in reachable([stream, made.manager, stream.info()]):
            assert not (isinstance(value, (str, bytes)) and KEY in str(value))
            assert KEY not in repr(value)
        if fails:
            error = stream.error
            assert isinstance(error, GeminiError)
            assert (error.__cause__, error.__context__, error.__traceback__) == (None, None, None)
