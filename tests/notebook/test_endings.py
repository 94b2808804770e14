"""How a stream ended, in the same words wherever it is shown."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from test_pane import asked, manager, said, shown

import gemini_nb
from answers import until
from gemini_nb.notebook.dashboard.dashboard import Dashboard
from gemini_nb.notebook.render.settled import to_markdown, to_text
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.simulator import Simulator
from gemini_nb.streams.stream import Stream

__all__ = ["manager"]  # a fixture

ENDINGS = [
    ("MAX_TOKENS", "Cut off: token limit (--max-tokens)"),
    ("SAFETY", "Cut off: safety filter"),
    ("RECITATION", "Cut off: too close to a published text"),
    ("IMAGE_SAFETY", "No image: safety filter"),
    ("OTHER", "Ended early: the service gives no reason"),
    ("LUNAR ECLIPSE", "Ended early: LUNAR ECLIPSE"),
]


def board_of(manager: gemini_nb.StreamManager) -> Dashboard:
    board = Dashboard(manager)
    board._repr_mimebundle_()
    return board


def everywhere(stream: Stream, pane: Any, board: Dashboard) -> Iterator[str]:
    """The stream as its pane, the settled forms, a terminal and the dashboard show it."""
    printed = io.StringIO()
    print_stream(stream, printed)
    yield from (shown(pane), to_markdown(stream), to_text(stream), printed.getvalue(), shown(board))


@pytest.mark.parametrize(("reason", "words"), ENDINGS)
def test_a_reason_is_said_in_plain_words_everywhere(
    manager: gemini_nb.StreamManager, reason: str, words: str
) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("partial", reason)

    with asked(manager, scenario) as (stream, pane):
        pane.settled.result(10)
        board = board_of(manager)
        until(lambda: "partial" in shown(pane) and words in shown(board))
        for form in everywhere(stream, pane, board):
            assert words in form
            assert "_" not in reason or reason not in form
    assert (stream.status, stream.finish_reason) == ("completed", reason)


def test_what_the_server_says_of_the_ending_follows(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        cut = said("partial", "SAFETY")
        cut["candidates"][0]["finishMessage"] = "Too much heat."
        yield cut

    with asked(manager, scenario) as (stream, pane):
        pane.settled.result(10)
        assert "> **Cut off: safety filter** Too much heat." in to_markdown(stream)
        assert "Cut off: safety filter. Too much heat." in shown(pane)


def test_a_reason_that_attacks_stays_text(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("partial", "<img src=x onerror=boom()>**" + "Z" * 500)

    with asked(manager, scenario) as (stream, pane):
        pane.settled.result(10)
        board = board_of(manager)
        until(lambda: "Ended early" in shown(board))
        for form in (shown(pane), to_markdown(stream), shown(board)):
            assert "<img" not in form
            assert "Z" * 100 not in form


def test_the_dashboard_shows_a_tool_that_goes_on_after_a_stop(manager: gemini_nb.StreamManager) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow_lookup(city: str) -> str:
        """Look a city up."""
        begun.set()
        assert go.wait(20)
        return "found"

    with Simulator() as simulator:
        stream = manager.start_stream(
            "Plan a day in Lisbon.", auth="simulator", base_url=simulator.base_url, tools=[slow_lookup]
        )
        board = board_of(manager)
        assert begun.wait(10)
        until(lambda: 'data-tool-status="running"' in shown(board))
        assert "still running" not in shown(board)
        stream.stop()
        until(lambda: 'data-status="stopped"' in shown(board) and "still running" in shown(board))
        assert 'title="still running, cancelled after' in shown(board)
        go.set()
        until(lambda: "still running" not in shown(board))
        assert 'data-tool-status="cancelled"' in shown(board)
        board.close()
