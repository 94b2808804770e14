"""Tools on Executors: heavy work leaves this process, and waiting for a place is not running."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest

import gemini_nb
from answers import rig
from approvals import asking
from gemini_nb.tools.tool import Tool


@pytest.fixture(scope="module")
def pool() -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as made:
        yield made


def add_up(limit: int = 1000) -> dict[str, int]:
    """Add up the squares below a limit."""
    print("adding up", limit)
    return {"sum": sum(number * number for number in range(limit)), "pid": os.getpid()}


def fail_elsewhere() -> None:
    """Print, and fail."""
    print("so far")
    raise ValueError("elsewhere")


@gemini_nb.tool
def decorated() -> int:
    """Say which process it is."""
    return os.getpid()


def test_a_process_pool_runs_a_tool_and_brings_its_prints_home(
    pool: concurrent.futures.ProcessPoolExecutor,
) -> None:
    with rig(asking("add_up", "fail_elsewhere")) as made:
        tools = [Tool(add_up, run_on=pool), Tool(fail_elsewhere, run_on=pool)]
        stream = made.start(tools=tools).wait(60)
    added, failed = stream.tool_calls
    assert added.result["sum"] == 332_833_500
    assert added.result["pid"] != os.getpid()
    assert added.output == "adding up 1000\n"
    assert (failed.error, failed.output) == ("ValueError: elsewhere", "so far\n")


def test_a_decorated_function_can_go_to_a_process_pool(
    pool: concurrent.futures.ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decorated, "run_on", pool)
    with rig(asking("decorated")) as made:
        (call,) = made.start(tools=[decorated]).wait(60).tool_calls
    assert call.error is None
    assert call.result != os.getpid()


def test_time_is_counted_from_when_a_tool_gets_its_place() -> None:
    free = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as one, rig(asking("quick")) as made:
        one.submit(free.wait, 10)
        stream = made.start(tools=[Tool(lambda: "done", name="quick", run_on=one, timeout=0.2)])
        waiting = next(event.call for event in stream if event.kind == "tool_call_updated")
        assert waiting.waits_for == "its executor"
        threading.Event().wait(0.3)  # longer than the tool's own time: a place to wait in is the point
        free.set()
        (call,) = stream.wait(10).tool_calls
    assert (call.result, call.error, call.waits_for) == ("done", None, None)
    assert call.duration is not None
    assert call.duration < 0.2


def test_a_stop_takes_a_waiting_call_off_the_executor() -> None:
    free, ran = threading.Event(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as one, rig(asking("late")) as made:
        one.submit(free.wait, 10)
        stream = made.start(tools=[Tool(ran.set, name="late", run_on=one)])
        next(event for event in stream if event.kind == "tool_call_updated")
        stream.stop()
        made.manager.shutdown()  # when the loop has ended, its tasks have taken back what they submitted
        free.set()
    assert stream.tool_calls[0].status == "cancelled"
    assert not ran.is_set()
