"""What goes wrong in one stream, subscriber, widget or tool touches only that one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from typing import Any

import pytest

from answers import PATIENCE, Rig, hello, hold, rig
from gemini_nb.errors import InternalError
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.stream import Stream
from scripted import Answer, Request, call, sse_answer, text


def tooled(request: Request) -> Answer:
    """Ask for the tool first, then say how it went."""
    last = request.json["contents"][-1]["parts"][0]
    if "functionResponse" in last:
        went = "badly" if "error" in last["functionResponse"]["response"] else "well"
        return sse_answer(text(f"It went {went}.", finish="STOP"))
    return sse_answer(call("work"), text("", finish="STOP"))


def test_a_bug_in_one_stream_ends_that_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    add = StreamRecord.add_text
    bad: list[StreamRecord] = []

    def add_text(record: StreamRecord, words: str) -> None:
        if record in bad:
            raise ZeroDivisionError("a bug")
        add(record, words)

    monkeypatch.setattr(StreamRecord, "add_text", add_text)
    go_on = threading.Event()
    with rig(hello()) as made:
        made.manager.runtime.loop.call(go_on.wait, PATIENCE)  # nothing runs before the bug is in place
        streams = [made.start() for _ in range(10)]
        bad.append(streams[4].record)
        go_on.set()
        for stream in streams:
            stream.wait(PATIENCE)
        assert [str(stream.status) for stream in streams] == ["completed"] * 4 + ["error"] + ["completed"] * 5
        assert isinstance(streams[4].error, InternalError)
        assert "ZeroDivisionError: a bug" in str(streams[4].error)
        assert "the other streams go on" in str(streams[4].error)
        assert made.start().result(PATIENCE) == "Hello"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_raises_anything_fails_only_itself(error: type[BaseException], is_async: bool) -> None:
    def work() -> str:
        """Work."""
        raise error("no")

    async def work_later() -> str:
        """Work."""
        raise error("no")

    def good() -> str:
        """Work."""
        return "done"

    work_later.__name__ = good.__name__ = "work"
    with rig(tooled) as made:
        others = [made.start(tools=[good]) for _ in range(3)]
        bad = made.start(tools=[work_later if is_async else work]).wait(PATIENCE)
        assert [other.result(PATIENCE) for other in others] == ["It went well."] * 3
        assert (bad.status, bad.text) == ("completed", "It went badly.")
        assert made.start(tools=[good]).result(PATIENCE) == "It went well."


def test_of_a_group_of_errors_the_model_is_told_each() -> None:
    async def fail(words: str) -> None:
        raise ValueError(words)

    async def work() -> None:
        """Do two things at once."""
        async with asyncio.TaskGroup() as group:
            for words in ("first", "second"):
                group.create_task(fail(words))

    with rig(tooled) as made:
        stream = made.start(tools=[work])
        assert stream.result(PATIENCE) == "It went badly."
        assert "ValueError: first; ValueError: second" in str(stream.tool_calls[0].error)


def test_a_tool_that_hangs_holds_up_only_its_stream() -> None:
    go_on, began = threading.Event(), threading.Event()

    def work() -> str:
        """Work."""
        began.set()
        go_on.wait(PATIENCE)
        return "done"

    with rig(tooled) as made:
        stuck = made.start(tools=[work])
        assert began.wait(PATIENCE)
        began.clear()
        others = [made.start(tools=[lambda_tool()]) for _ in range(5)]
        assert [other.result(PATIENCE) for other in others] == ["It went well."] * 5
        assert stuck.status == "active"
        go_on.set()
        assert stuck.result(PATIENCE) == "It went well."


def lambda_tool() -> Any:
    def work() -> str:
        """Work."""
        return "done"

    return work


def test_subscribers_that_raise_or_leave_the_interpreter_do_not_disturb_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def raising(event: Any) -> None:
        raise SystemExit(3)

    heard: list[str] = []
    with rig(hello()) as made:
        stream = made.start(subscriber=raising)
        stream.subscribe(lambda event: heard.append(event.kind))
        assert stream.result(PATIENCE) == "Hello"
        stream.wait(PATIENCE)
        assert heard[-1] == "stream_completed"
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_dashboard_that_fails_does_not_keep_a_stream_from_starting(on_loop: bool) -> None:
    def broken(stream: Stream) -> None:
        raise RuntimeError("a widget that was closed")

    seen: list[Stream] = []
    with rig(hello()) as made:
        made.manager.on_start += [broken, seen.append]

        async def start() -> Stream:
            return made.start()

        loop = made.manager.runtime.loop
        stream = loop.submit(start()).result(PATIENCE) if on_loop else made.start()
        assert stream.result(PATIENCE) == "Hello"
        assert seen == [stream]


def test_the_manager_can_be_asked_at_any_time() -> None:
    over = threading.Event()

    def ask(made: Rig) -> int:
        times = 0
        while not over.is_set():
            times += 1
            counts = made.manager.statistics()
            assert counts.active + counts.completed + counts.error + counts.stopped <= counts.total
            for stream in made.manager.list_streams(all=True):
                info = made.manager.get_stream_info(stream)
                assert info.status in {"active", "completed", "error", "stopped"}
                assert made.manager.get_stream_status(stream)
        return times

    with rig(hello()) as made, concurrent.futures.ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask, made) for _ in range(2)]
        for _ in range(25):
            made.start(subscriber=lambda event: made.manager.statistics())
            made.start().stop()
        for stream in made.manager.list_streams():
            stream.wait(PATIENCE)
        made.manager.shutdown()
        over.set()
        assert all(done.result(PATIENCE) > 1 for done in asking)


@pytest.mark.slow
def test_shutdown_with_five_hundred_open_streams() -> None:
    blocked = threading.Event()

    def work() -> str:
        """Work."""
        blocked.wait(PATIENCE)
        return "done"

    def script(request: Request) -> Answer:
        return tooled(request) if "tools" in request.json else hold()(request)

    def stand(event: Any) -> None:
        blocked.wait(PATIENCE)

    with rig(script) as made:
        streams = [made.start(subscriber=stand if number % 100 == 0 else None) for number in range(480)]
        streams += [made.start(tools=[work]) for _ in range(20)]
        made.server.wait_requests(500)
        began = time.monotonic()
        made.manager.shutdown()
        took = time.monotonic() - began
        blocked.set()
        assert took < 5
        assert {str(stream.status) for stream in streams} == {"stopped"}
        assert made.manager.statistics().active == 0
