"""What a tool prints, logs and says about its progress stands with its call, and nowhere else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
from typing import Any

import pytest

import gemini_nb
from answers import KEY, rig
from approvals import asking
from gemini_nb.errors import ConfigError
from gemini_nb.tools.report import Report, reporting
from gemini_nb.tools.tool import Tool


def speak(times: int = 1) -> str:
    """Print on both streams, and log."""
    for number in range(times):
        print("printed", number)
    print("to stderr", file=sys.stderr)
    return "spoken"


async def speak_later() -> str:
    """Print after a pause."""
    await asyncio.sleep(0)
    return speak()


SPOKEN = "printed 0\nto stderr\n"


@pytest.mark.parametrize(
    "options",
    [{}, {"run_on": "background"}, {"run_on": concurrent.futures.ThreadPoolExecutor(1)}],
    ids=["thread", "background", "thread pool"],
)
def test_prints_land_with_the_call(options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    tool = Tool(speak, **options)
    with rig(asking("speak")) as made:
        (call,) = made.start(tools=[tool]).wait(10).tool_calls
    assert (call.result, call.output) == ("spoken", SPOKEN)
    assert capsys.readouterr() == ("", "")


def test_prints_of_an_async_tool_and_of_the_threads_it_asks_land_with_the_call() -> None:
    async def speak_in_a_thread() -> str:
        await speak_later()
        return await asyncio.to_thread(speak)

    with rig(asking("speak_in_a_thread")) as made:
        (call,) = made.start(tools=[speak_in_a_thread]).wait(10).tool_calls
    assert call.output == SPOKEN * 2


def test_parallel_calls_keep_their_prints_apart_and_a_persons_own_stay_where_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = threading.Barrier(3)

    def one() -> None:
        """Print one."""
        both.wait(10)
        print("one")

    def two() -> None:
        """Print two."""
        both.wait(10)
        print("two")

    with rig(asking("one", "two")) as made:
        stream = made.start(tools=[one, two])
        both.wait(10)
        print("mine")
        stream.wait(10)
    assert [call.output for call in stream.tool_calls] == ["one\n", "two\n"]
    assert capsys.readouterr().out == "mine\n"


def test_a_logger_that_writes_to_the_cell_writes_to_the_call() -> None:
    logger = logging.getLogger("of a person's")
    logger.propagate = False
    logger.handlers = [logging.StreamHandler(sys.stderr)]

    def work() -> None:
        """Log something."""
        logger.warning("took the long way")

    with rig(asking("work")) as made:
        (call,) = made.start(tools=[work]).wait(10).tool_calls
    assert call.output == "took the long way\n"


def test_what_a_failing_tool_printed_stays() -> None:
    def fail() -> None:
        """Print, and fail."""
        print("so far")
        raise ValueError("no further")

    with rig(asking("fail")) as made:
        (call,) = made.start(tools=[fail]).wait(10).tool_calls
    assert (call.output, call.error) == ("so far\n", "ValueError: no further")


def test_the_streams_are_as_they_were_when_no_tool_runs() -> None:
    before = sys.stdout.write
    with reporting(Report(lambda: None)):
        assert sys.stdout.write is not before
    assert "write" not in vars(sys.stdout)


def test_a_flood_of_prints_is_kept_short_and_told_a_few_times_only() -> None:
    def flood() -> None:
        """Print a lot."""
        speak(20_000)

    with rig(asking("flood")) as made:
        stream = made.start(tools=[flood]).wait(20)
    (call,) = stream.tool_calls
    assert len(call.output) <= 20_000
    assert call.output.endswith("printed 19999\nto stderr\n")
    assert sum(event.kind == "tool_call_updated" for event in stream.events) < 200


def test_progress_is_told_while_the_tool_runs() -> None:
    seen = threading.Event()

    def read() -> str:
        """Read slowly."""
        gemini_nb.progress(0.4, "reading")
        assert seen.wait(10)
        return "read"

    with rig(asking("read")) as made:
        stream = made.start(tools=[read])
        update = next(event.call for event in stream if event.kind == "tool_call_updated")
        seen.set()
        stream.wait(10)
    assert (update.progress, update.progress_text, update.status) == (0.4, "reading", "running")


def test_progress_outside_a_tool_does_nothing_and_checks_its_fraction() -> None:
    gemini_nb.progress(None, "thinking")
    gemini_nb.progress(1)
    for wrong in (40, -0.1, "half", float("nan")):
        with pytest.raises(ConfigError, match="from 0 to 1"):
            gemini_nb.progress(wrong)  # type: ignore[arg-type]  # the point of the test


def test_secrets_in_prints_are_hidden() -> None:
    def leak() -> None:
        """Print the key."""
        print("my key is", KEY)

    with rig(asking("leak")) as made:
        stream = made.start(tools=[leak]).wait(10)
    assert stream.tool_calls[0].output.startswith("my key is")
    assert KEY not in repr(stream.events)
