"""Streams that are asked when others have ended: chats, prompts with holes, groups; no hole, no deadlock."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

import gemini_nb
from answers import PATIENCE, rig, run_python
from gemini_nb import Chat, Stream, ToolOrchestrator
from gemini_nb.errors import BlockingCallError, NotAskedError
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.manager import StreamManager
from scripted import Wait, call, json_error, sse_answer, text


def last(request: Any) -> str:
    words: str = request.json["contents"][-1]["parts"][0].get("text", "")
    return words


def gated(gate: threading.Event) -> Any:
    """Answers in capitals: what is asked "first" when the gate opens, all else at once; "bad" is refused."""

    def script(request: Any) -> Any:
        words = last(request)
        if words == "bad":
            return json_error(400)
        steps: list[Any] = [text("F"), Wait(gate)] if words == "first" else []
        return sse_answer(*steps, text(words.upper(), finish="STOP"))

    return script


def turns(chat: Chat) -> list[str]:
    return [turn["parts"][0]["text"] for turn in chat.history]


def test_messages_of_a_chat_wait_for_each_other_in_the_order_of_asking() -> None:
    gate = threading.Event()
    with rig(gated(gate), max_concurrent=1) as made:
        chat = Chat(manager=made.manager, **made.options)
        first, second, third = (chat.send(words) for words in ("first", "b", "c"))
        made.server.wait_requests(1)
        assert (second.waiting_for, third.waiting_for) == (first, second)
        assert made.manager.statistics().waiting == 2
        waiting = second.record.waiting
        assert waiting is not None
        assert waiting.reason == f"{first.stream_id} (the message before it)"
        gate.set()
        assert third.result(PATIENCE) == "C"
        assert turns(chat) == ["first", "FFIRST", "b", "B", "c", "C"]
        assert [len(request.json["contents"]) for request in made.server.requests] == [1, 3, 5]
        assert third.waiting_for is None


def test_a_message_goes_on_from_one_that_ends_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        chat = Chat(manager=made.manager, **made.options)
        first = chat.send("first")
        made.server.wait_requests(1)
        start = ToolOrchestrator.start

        def start_late(orchestrator: ToolOrchestrator) -> Stream:
            gate.set()
            first.wait(PATIENCE)
            return start(orchestrator)

        monkeypatch.setattr(ToolOrchestrator, "start", start_late)
        assert chat.send("b").result(PATIENCE) == "B"
        assert turns(chat) == ["first", "FFIRST", "b", "B"]
        assert len(made.server.requests[1].json["contents"]) == 3


@pytest.mark.parametrize("way", ["failed", "was stopped", "stop in the middle"])
def test_a_message_that_did_not_complete_ends_those_behind_it_unsent(way: str) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        chat = Chat(manager=made.manager, **made.options)
        streams = [chat.send(words) for words in (("bad" if way == "failed" else "first"), "b", "c")]
        made.server.wait_requests(1)
        if way == "was stopped":
            streams[0].stop()
        elif way == "stop in the middle":
            streams[1].stop()
            gate.set()
        for stream in streams:
            stream.wait(PATIENCE)
        assert isinstance(streams[2].error, NotAskedError)
        assert "Not asked: " + streams[1].stream_id in str(streams[2].error)
        if way != "stop in the middle":
            assert f"{streams[0].stream_id} (the message before it) {way}" in str(streams[1].error)
        assert len(made.server.requests) == 1
        assert chat.send("d").result(PATIENCE) == "D"


def test_stop_all_stops_those_that_wait_too() -> None:
    with rig(gated(threading.Event())) as made:
        chat = Chat(manager=made.manager, **made.options)
        streams = [chat.send("first"), *(chat.send("b") for _ in range(20))]
        made.server.wait_requests(1)
        made.manager.stop_all()
        assert [stream.wait(PATIENCE).status for stream in streams] == ["stopped"] * 21


def test_a_shutdown_ends_those_that_wait() -> None:
    with rig(gated(threading.Event())) as made:
        chat = Chat(manager=made.manager, **made.options)
        streams = [chat.send("first"), chat.send("b")]
        made.server.wait_requests(1)
        made.manager.shutdown()
        assert [stream.status for stream in streams] == ["stopped"] * 2


def test_rewind_and_save_wait_for_what_is_under_way_and_a_fork_gets_its_answers(tmp_path: Any) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        chat = Chat(manager=made.manager, **made.options)
        chat.send("first")
        made.server.wait_requests(1)
        fork = chat.fork()
        fourth = fork.send("fork")
        chat.send("b")
        threading.Timer(0.1, gate.set).start()
        chat.save(tmp_path / "talk.json")
        assert len(Chat.load(tmp_path / "talk.json").history) == 4
        assert len(chat.rewind(2)) == 4
        fourth.result(PATIENCE)
        assert turns(fork) == ["first", "FFIRST", "fork", "FORK"]


@pytest.mark.parametrize("asks", [True, False])
def test_a_chat_whose_instruction_names_a_stream_is_saved_with_its_text(tmp_path: Any, asks: bool) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        poem = made.start("first")
        named = interpolate("Know {poem}", {"poem": poem})
        chats = [
            Chat(manager=made.manager, system_instruction=one, **made.options)
            for one in (named, ["Know", poem])
        ]
        if asks:
            chats[0].send("x")
        threading.Timer(0.2, gate.set).start()
        for chat, expected in zip(chats, ("Know FFIRST", ["Know", "FFIRST"]), strict=True):
            chat.save(tmp_path / "chat.json")
            loaded = Chat.load(tmp_path / "chat.json", manager=made.manager, **made.options)
            assert loaded._options["system_instruction"] == expected
        failed = made.start("bad").wait(PATIENCE)
        with pytest.raises(NotAskedError, match="failed"):
            Chat(system_instruction=failed).save(tmp_path / "other.json")


def test_a_prompt_waits_for_the_streams_it_names() -> None:
    gate = threading.Event()
    with rig(gated(gate), max_concurrent=2) as made:
        poem = made.start("first")
        names = {"poem": poem, "city": "Oslo", "all": [poem, poem]}
        prompts = ["{poem} {city}", "{poem.text}", "{poem.answer:>8}", "{all}", "{all[0]}"]
        streams = [made.start(interpolate(prompt, names)) for prompt in prompts]
        system = made.start("x", system_instruction=interpolate("Be {poem}", names))
        python = made.start(["Say", poem])
        names.clear()
        names["poem"] = names["city"] = "other"
        made.server.wait_requests(1)
        assert {stream.waiting_for for stream in streams[:3]} == {poem}
        assert streams[0].request.contents[0]["parts"] == [{"text": "{poem} Oslo"}]
        gate.set()
        for stream in [*streams, system, python]:
            stream.result(PATIENCE)
        asked = [stream.request.contents[0]["parts"][0]["text"] for stream in streams]
        assert asked == ["FFIRST Oslo", "FFIRST", "  FFIRST", "FFIRST\n\nFFIRST", "FFIRST"]
        assert {last(request) for request in made.server.requests} >= set(asked)
        assert system.request.body["systemInstruction"] == {"parts": [{"text": "Be FFIRST"}]}
        assert [part["text"] for part in python.request.contents[0]["parts"]] == ["Say", "FFIRST"]


@pytest.mark.parametrize("prompt", ["{poem}", "{poem.nothing}", "{poem:d}"])
def test_a_prompt_whose_stream_failed_or_cannot_be_read_is_not_asked(prompt: str) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        poem = made.start("bad" if prompt == "{poem}" else "first")
        stream = made.start(interpolate(prompt, {"poem": poem}))
        gate.set()
        assert isinstance(stream.wait(PATIENCE).error, NotAskedError)
        assert len(made.server.requests) == 1


@pytest.mark.parametrize("prompt", ["{poem.nothing}", "{poem:d}", "{poem.code_blocks[0].code}"])
def test_what_cannot_be_read_of_an_ended_stream_is_asked_as_little(prompt: str) -> None:
    gate = threading.Event()
    gate.set()
    with rig(gated(gate)) as made:
        poem = made.start("first").wait(PATIENCE)
        stream = made.start(interpolate(f"Use {prompt}.", {"poem": poem})).wait(PATIENCE)
        assert f"Not asked: {prompt} cannot be filled in" in str(stream.error)
        assert len(made.server.requests) == 1


@pytest.mark.parametrize("running", [True, False])
def test_a_stream_among_other_values_is_waited_for_and_told_by_its_text(running: bool) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        poem = made.start("first")
        if not running:
            gate.set()
            poem.wait(PATIENCE)
        notes: list[Any] = ["old"]
        mixed = {"poem": poem, "n": [1, (poem, None)], "notes": notes}
        stream = made.start(interpolate("{mixed} {mixed['n']}", {"mixed": mixed}))
        assert (stream.waiting_for is poem) is running
        notes.append("new")
        mixed.clear()
        gate.set()
        stream.wait(PATIENCE)
        told = made.server.requests[1].json["contents"][0]["parts"][0]["text"]
    text = poem.text
    assert told == f"{ {'poem': text, 'n': [1, (text, None)], 'notes': ['old']} } {[1, (text, None)]}"


class Note:
    """A value of the user's that says something of a stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __str__(self) -> str:
        return f"Note: {self.stream.text}"


@dataclass
class Pair:
    one: Any
    other: int


@pytest.mark.parametrize("running", [True, False])
def test_a_stream_that_no_path_leads_to_is_waited_for_and_told_by_its_text(running: bool) -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        poem = made.start("first")
        if not running:
            gate.set()
            poem.wait(PATIENCE)
        held, frame = {poem}, pd.DataFrame({"poem": [poem], "n": 1})
        names = {
            "set": held,
            "note": Note(poem),
            "pair": Pair(poem, 1),
            "map": {"a": poem}.values(),
            "frame": frame,
        }
        prompt = "{set} {note} {pair} {map} {set!r:.7} {frame}"
        stream = made.start(interpolate(prompt, names))
        assert (stream.waiting_for is poem) is running
        held.clear()
        frame["n"] = 2
        gate.set()
        stream.wait(PATIENCE)
        told = made.server.requests[1].json["contents"][0]["parts"][0]["text"]
    assert told.startswith(
        "{'FFIRST'} Note: FFIRST Pair(one='FFIRST', other=1) dict_values(['FFIRST']) {'FFIRS"
    )
    assert "FFIRST',1" in told
    assert repr(poem).startswith("<Stream")


def test_an_object_that_speaks_of_a_failed_stream_is_not_asked_about() -> None:
    with rig(gated(threading.Event())) as made:
        failed = made.start("bad").wait(PATIENCE)
        stream = made.start(interpolate("See {note}", {"note": Note(failed)}))
        assert isinstance(stream.wait(PATIENCE).error, NotAskedError)
        assert len(made.server.requests) == 1


def test_a_group_that_still_takes_its_items_is_waited_for_to_its_last_row() -> None:
    gate, more = threading.Event(), threading.Event()
    gate.set()

    def items() -> Iterator[str]:
        yield "a"
        assert more.wait(PATIENCE)
        yield from ("b", "c")

    with rig(gated(gate)) as made:
        group = gemini_nb.map(items(), manager=made.manager, concurrency=1, **made.options)
        next(iter(group))
        streams = [
            made.start(interpolate("All: {group}", {"group": group})),
            made.start(interpolate("All: {held}", {"held": {"group": group}})),
            made.start(group),
        ]
        assert not any(stream.is_done for stream in streams)
        more.set()
        for stream in streams:
            assert stream.wait(PATIENCE).error is None
            assert all(text in str(stream.request.contents) for text in group.texts)
        assert len(group.texts) == 3


def test_what_is_asked_again_ends_those_that_wait_for_the_old_answer() -> None:
    with rig(gated(threading.Event())) as made:
        poem = made.start("first")
        stream = made.start(interpolate("{poem}", {"poem": poem}))
        poem.request_stop(asked_again=True)
        assert f"{poem.stream_id} (poem) was asked again" in str(stream.wait(PATIENCE).error)


def test_rows_wait_for_their_own_stream_alone() -> None:
    gate = threading.Event()
    with rig(gated(gate)) as made:
        group = gemini_nb.map(["a", "first", "bad"], manager=made.manager, **made.options)
        prompts = [interpolate("On {item}", {"item": stream}, needed="item") for stream in group.streams]
        rows = gemini_nb.map(prompts, concurrency=1, manager=made.manager, **made.options)
        assert rows[0].result(PATIENCE) == "ON A"
        assert isinstance(rows[2].wait(PATIENCE).error, NotAskedError)
        assert rows[1].status == "active"
        gate.set()
        assert rows[1].result(PATIENCE) == "ON FFIRST"
        whole = made.start(interpolate("{group}", {"group": group}))
        assert isinstance(whole.wait(PATIENCE).error, NotAskedError)


def tool_calls(request: Any) -> Any:
    asks = len(request.json["contents"]) == 1 and last(request) == "use"
    return sse_answer(call("work", finish="STOP") if asks else text("ok", finish="STOP"))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_whose_tool_waits_for_another_lends_its_place(is_async: bool) -> None:
    with rig(tool_calls, max_concurrent=1) as made:

        def work() -> str:
            """Ask another."""
            return made.start("inner").result(PATIENCE)

        async def work_async() -> str:
            """Ask another."""
            return await made.start("inner")

        tool = gemini_nb.tool(work_async if is_async else work, name="work")
        outer = made.start("use", tools=[tool])
        assert outer.result(PATIENCE) == "ok"
        assert outer.tool_calls[0].result == "ok"


def test_a_wait_in_a_tool_that_leads_back_to_its_own_stream_raises_at_once() -> None:
    with rig(tool_calls) as made:
        chat = Chat(manager=made.manager, **made.options)

        def work() -> str:
            """Send to its own chat and wait."""
            try:
                return chat.send("inner").result(PATIENCE)
            except BlockingCallError as error:
                return str(error)

        outer = chat.send("use", tools=[work])
        assert outer.result(PATIENCE) == "ok"
        assert "neither would ever end" in outer.tool_calls[0].result
        chat.rewind(0)
        assert [turn["role"] for turn in chat.history] == ["user", "model", "user", "model", "user", "model"]


def test_a_manager_that_was_shut_down_leaves_no_message_that_others_wait_for() -> None:
    manager = StreamManager()
    chat = Chat(manager=manager, auth="gemini", credentials={"api_key": "k"}, base_url="http://127.0.0.1:9")
    manager.shutdown()
    for _ in range(2):
        with pytest.raises(gemini_nb.GeminiError, match="shut down"):
            chat.send("a")
    assert chat.rewind(0) == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_reads_the_events_of_another_stream_lends_its_place(is_async: bool) -> None:
    with rig(tool_calls, max_concurrent=1) as made:

        def work() -> str:
            """Ask another."""
            return [event.kind for event in made.start("inner")][-1]

        async def work_async() -> str:
            """Ask another."""
            return [event.kind async for event in made.start("inner")][-1]

        tool = gemini_nb.tool(work_async if is_async else work, name="work")
        outer = made.start("use", tools=[tool])
        assert outer.result(PATIENCE) == "ok"
        assert outer.tool_calls[0].result == "stream_completed"


def test_a_tool_that_reads_the_events_of_what_waits_for_it_raises_at_once() -> None:
    with rig(tool_calls) as made:
        chat = Chat(manager=made.manager, **made.options)

        def work() -> str:
            """Send to its own chat and read along."""
            try:
                return str(list(chat.send("inner")))
            except BlockingCallError as error:
                return str(error)

        outer = chat.send("use", tools=[work])
        assert outer.result(PATIENCE) == "ok"
        assert "neither would ever end" in outer.tool_calls[0].result


@pytest.mark.parametrize("is_turn", [False, True])
def test_what_stands_beside_a_stream_is_taken_when_it_is_asked(tmp_path: Any, is_turn: bool) -> None:
    gate = threading.Event()
    path = tmp_path / "notes.txt"
    path.write_text("before")
    turn: dict[str, Any] = {"role": "user", "parts": [{"text": "before"}]}
    with rig(gated(gate)) as made:
        poem = made.start("first")
        stream = made.start([turn, poem] if is_turn else [gemini_nb.File(path), poem])
        path.write_text("after")
        turn["parts"][0]["text"] = "after"
        gate.set()
        stream.wait(PATIENCE)
        sent = str(made.server.requests[-1].json)
        assert "after" not in sent
        assert "FFIRST" in sent
        assert "before" in sent


def test_the_frame_of_a_group_over_streams_shows_their_texts() -> None:
    with rig(gated(threading.Event())) as made:
        streams = [made.start("a"), made.start("b")]
        prompts = [interpolate("On {item}", {"item": stream}, needed="item") for stream in streams]
        group = gemini_nb.map(prompts, items=streams, manager=made.manager, **made.options)
        group.wait(PATIENCE)
        assert list(group.to_frame()["item"]) == ["A", "B"]


FORK = """
import os, threading
from answers import PATIENCE, rig, run_python
from gemini_nb import Chat
from gemini_nb.streams.manager import StreamManager
from scripted import Wait, sse_answer, text

gate = threading.Event()
with rig(lambda request: sse_answer(Wait(gate), text("ok", finish="STOP"))) as made:
    chat = Chat(manager=made.manager, **made.options)
    poem = chat.send("first")
    made.server.wait_requests(1)
    child = os.fork()
    if child == 0:
        try:
            manager = StreamManager()
            for contents, other in (("second", chat), (["On", poem], None)):
                stream = manager.start_stream(contents, chat=other, **made.options)
                assert "forked" in str(stream.wait(PATIENCE).error), stream
            try:
                next(event for event in poem if event.kind == "stream_completed")
            except Exception as error:
                assert "forked" in str(error)
                os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    gate.set()
    assert poem.result(PATIENCE) == "ok"
print("fine")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_what_waits_in_a_forked_child_for_the_parents_streams_ends_with_an_error() -> None:
    done = run_python(FORK)
    assert done.stdout == "fine\n", done.stdout + done.stderr
