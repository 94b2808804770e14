"""Panes without a page: what the widgets hold, on a manager of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ipywidgets as widgets
import pytest

import gemini_nb
from gemini_nb.notebook.markdown import to_html
from gemini_nb.notebook.pane import StreamPane
from gemini_nb.simulator import Simulator

Scenario = Callable[[dict[str, Any], str], Iterable[Any]]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Import the renderer before a test measures how often it paints."""
    to_html("")


@pytest.fixture
def manager() -> Iterator[gemini_nb.StreamManager]:
    manager = gemini_nb.StreamManager()
    yield manager
    manager.shutdown()
    widgets.Widget.close_all()


def said(text: str, reason: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate]}


def shown(widget: Any) -> str:
    """All HTML of a widget and its children."""
    return getattr(widget, "value", "") + "".join(shown(child) for child in getattr(widget, "children", ()))


def until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(1000):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it never happened")


def test_a_pane_grows_freezes_and_keeps_everything(manager: gemini_nb.StreamManager) -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 60 for number in range(30)]
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        for number, paragraph in enumerate(paragraphs):
            yield said(paragraph + "\n\n")
            yield 0.03  # or all of it is painted at once
            if number == 20:
                hold.wait(10)
        yield said("The end.", "STOP")

    with Simulator(scenario=scenario, pace=1) as simulator:
        stream = manager.start_stream("x", auth="simulator", base_url=simulator.base_url)
        pane = StreamPane(stream)
        until(lambda: "Paragraph 20" in shown(pane))
        assert 'data-status="active"' in shown(pane)
        blocks = [
            child for child in pane.children[-1].children[0].children if isinstance(child, widgets.HTML)
        ]
        assert len(blocks) > 3, "finished text is frozen in widgets of its own"
        frozen = blocks[0].value
        hold.set()
        pane.settled.result(10)
    assert blocks[0].value == frozen
    text = shown(pane)
    assert [text.count(f"Paragraph {number} ") for number in range(30)] == [1] * 30
    assert "The end." in text
    assert 'data-status="completed"' in text


def test_a_tool_card_goes_through_its_states(manager: gemini_nb.StreamManager) -> None:
    running, go_on = threading.Event(), threading.Event()

    def look_up(city: str) -> str:
        """Look something up."""
        running.set()
        go_on.wait(10)
        return "<i>result</i>"

    with Simulator(pace=0) as simulator:
        stream = manager.start_stream(
            "Look up Paris.", auth="simulator", base_url=simulator.base_url, tools=[look_up]
        )
        pane = StreamPane(stream)
        assert running.wait(10)
        until(lambda: 'gemini-nb-card" data-status="running"' in shown(pane))
        assert "running tools" in shown(pane)
        go_on.set()
        pane.settled.result(10)
    assert 'gemini-nb-card" data-status="done"' in shown(pane)
    assert "&lt;i&gt;result&lt;/i&gt;" in shown(pane)


@pytest.mark.parametrize(("press", "status"), [("Approve", "done"), ("Deny", "failed")])
def test_a_person_may_say_no(manager: gemini_nb.StreamManager, press: str, status: str) -> None:
    ran = []

    def pay(amount: int) -> str:
        """Pay somebody."""
        ran.append(amount)
        return "paid"

    with Simulator(pace=0) as simulator:
        stream = manager.start_stream(
            "Pay 20 now.",
            auth="simulator",
            base_url=simulator.base_url,
            tools=[gemini_nb.tool(pay, confirm=True)],
        )
        pane = StreamPane(stream)
        until(lambda: 'data-status="awaiting_approval"' in shown(pane))
        assert ran == []
        assert stream.tool_calls[0].status == "awaiting_approval"
        next(found for found in buttons(pane) if found.description == press).click()
        stream.wait(10)
        pane.settled.result(10)
    assert stream.status == "completed"
    assert stream.tool_calls[0].status == status
    assert ran == ([20] if press == "Approve" else [])
    assert {found.description for found in buttons(pane)} == {"Stop"}


def buttons(widget: Any) -> list[widgets.Button]:
    """All buttons of a widget and its children."""
    inner = [found for child in getattr(widget, "children", ()) for found in buttons(child)]
    return [*([widget] if isinstance(widget, widgets.Button) else []), *inner]


def test_an_error_and_a_strange_ending_are_said(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("partial", "MAX_TOKENS")

    with Simulator(scenario=scenario, pace=0) as simulator:
        ended = StreamPane(manager.start_stream("x", auth="simulator", base_url=simulator.base_url))
        ended.settled.result(10)
        unknown = manager.start_stream("x", auth="simulator", base_url=simulator.base_url, model="nothing")
        failed = StreamPane(unknown)
        failed.settled.result(10)
    assert "MAX_TOKENS" in shown(ended)
    assert "partial" in shown(ended)
    assert "404" in shown(failed)
    assert 'data-status="error"' in shown(failed)


def test_the_stop_button_stops(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("so far")
        yield 60.0
        yield said("never", "STOP")

    with Simulator(scenario=scenario, pace=1) as simulator:
        stream = manager.start_stream("x", auth="simulator", base_url=simulator.base_url)
        pane = StreamPane(stream)
        until(lambda: "so far" in shown(pane))
        button = next(child for child in pane.children[1].children if isinstance(child, widgets.Button))
        button.click()
        pane.settled.result(10)
    assert stream.status == "stopped"
    assert "so far" in shown(pane)
    assert "stopped" in shown(pane)
    assert button.layout.display == "none"
