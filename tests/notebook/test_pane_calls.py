"""The cards of tool calls: what they say while a tool runs and afterwards, and what they ask."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest
from test_pane import asked, every, manager, press, shown

import gemini_nb
from answers import until
from gemini_nb.notebook.pane.card import CallView, call_html
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import ToolStatus

__all__ = ["manager"]  # a fixture

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def call(status: ToolStatus = ToolStatus.RUNNING, **facts: Any) -> ToolCall:
    facts = {"args": {"city": "Lisbon"}, **facts}
    return ToolCall(id=None, name="book", status=status, started_at=1.0, **facts)


@pytest.fixture(autouse=True)
def no_widget_is_left() -> Iterator[None]:
    yield
    widgets.Widget.close_all()


def test_a_card_goes_through_its_states(manager: gemini_nb.StreamManager) -> None:
    steps = [threading.Event() for _ in range(2)]

    def look_up(city: str) -> str:
        """Look something up."""
        print("asking <i>them</i>")
        gemini_nb.progress(0.25, "a quarter")
        steps[0].wait(30)
        gemini_nb.progress(0.75, "three <b>quarters</b>")
        steps[1].wait(30)
        return "<i>result</i>"

    with asked(manager, None, "Look up Paris.", tools=[look_up]) as (_, pane):
        until(lambda: 'value="25"' in shown(pane))
        assert 'class="gemini-nb-card" data-status="running"' in shown(pane)
        assert '<li data-step="now" aria-current="step">running tools' in shown(pane)
        assert "asking &lt;i&gt;them&lt;/i&gt;" in shown(pane)
        steps[0].set()
        until(lambda: 'value="75"' in shown(pane))
        assert "three &lt;b&gt;quarters&lt;/b&gt;" in shown(pane)
        until(lambda: re.search(r"running · [1-9]\d* s", shown(pane)))
        steps[1].set()
        pane.settled.result(30)
    assert 'class="gemini-nb-card" data-status="done"' in shown(pane)
    assert "&lt;i&gt;result&lt;/i&gt;" in shown(pane)
    assert "<progress" not in shown(pane)


@pytest.mark.parametrize(("name", "status"), [("Approve", "done"), ("Deny", "failed")])
def test_a_person_may_say_no(manager: gemini_nb.StreamManager, name: str, status: str) -> None:
    ran = []
    hold = threading.Event()

    def pay(amount: int) -> str:
        """Pay somebody."""
        ran.append(amount)
        return "paid"

    def wait() -> str:
        """Wait."""
        hold.wait(30)
        return "waited"

    tools = [gemini_nb.tool(pay, confirm=True), wait]
    with asked(manager, None, "Pay 20 now, and wait.", tools=tools) as (stream, pane):
        until(lambda: 'data-status="awaiting_approval"' in shown(pane))
        until(
            lambda: (
                {found.description for found in every(pane, widgets.Button)} == {"Stop", "Approve", "Deny"}
            )
        )
        assert ran == []
        assert '<div class="gemini-nb-question">Run pay(amount=20)?</div>' in shown(pane)
        press(pane, name)
        until(
            lambda: (
                "gemini-nb-question" not in re.sub(r"<style>.*?</style>", "", shown(pane), flags=re.DOTALL)
            )
        )
        until(lambda: f'data-status="{status}"' in shown(pane))
        assert {found.description for found in every(pane, widgets.Button)} <= {"Stop"}
        hold.set()
        pane.settled.result(30)
    assert stream.status == "completed"
    assert next(made for made in stream.tool_calls if made.name == "pay").status == status
    assert ran == ([20] if name == "Approve" else [])


def test_an_approval_shows_every_word_of_the_arguments() -> None:
    asks = call_html(call(status=ToolStatus.AWAITING_APPROVAL, args={"to": "x" * 900 + "<b>me"}))
    assert "x" * 900 + "&lt;b&gt;me" in asks


def test_a_card_says_what_keeps_it_from_running() -> None:
    assert "waiting for the kernel" in call_html(call(waits_for="the kernel"))


def test_only_the_last_lines_stand_open_and_all_of_them_inside() -> None:
    view = CallView(call(output="".join(f"line {number}\n" for number in range(50))))
    brief, inside = (piece.value for piece in every(view.widget, widgets.HTML)[1:])
    assert "line 45\n" not in brief
    assert "line 46\nline 47\nline 48\nline 49<" in brief
    assert "line 0\n" in inside


def test_an_error_stands_open_in_one_line_and_whole_inside() -> None:
    made = call_html(call(ToolStatus.FAILED, ended_at=2.0, error="ValueError: no <b>\nmore"))
    brief, _, inside = made.partition("</summary>")
    assert "ValueError: no &lt;b&gt;<" in brief
    assert "ValueError: no &lt;b&gt;\nmore" in inside


def test_a_picture_stands_open_and_only_kinds_that_do_nothing_are_shown() -> None:
    def part(kind: str) -> dict[str, Any]:
        return {"inlineData": {"mimeType": kind, "data": PICTURE, "displayName": 'a "chart"'}}

    parts = (part("image/png"), part("image/svg+xml"), part("text/html"))
    brief = call_html(call(ToolStatus.DONE, ended_at=2.0, result="x", parts=parts)).partition("</summary>")[0]
    assert brief.count("<img") == 1
    assert f'alt="a &quot;chart&quot;" src="data:image/png;base64,{PICTURE}"' in brief


def test_the_middle_of_a_huge_result_is_left_out() -> None:
    made = call_html(call(ToolStatus.DONE, ended_at=2.0, result="a" * 50_000 + "z" * 50_000))
    assert "80,000 characters more" in made
    assert len(made) < 25_000


def test_a_result_that_is_no_json_does_not_break_the_card() -> None:
    assert "object" in call_html(call(ToolStatus.DONE, ended_at=2.0, result={"x": object()}))


@pytest.mark.parametrize(
    ("args", "seen"),
    [
        ({"note": "A" * 30_000, "command": "rm -rf /"}, ["command=&quot;rm -rf /&quot;", "Not shown: "]),
        ({"command": "echo" + " " * 60_000 + "; rm -rf /"}, ["; rm -rf /", "Not shown: "]),
        ({f"a{number}": "x" * 9 for number in range(9_000)}, ["a8999=", "Not shown: "]),
        ({"a" * 30_000: 1, "b": 2}, ["b=2"]),
    ],
)
def test_no_argument_is_approved_unseen(args: dict[str, Any], seen: list[str]) -> None:
    html = call_html(call(ToolStatus.AWAITING_APPROVAL, args=args))
    assert all(words in html for words in seen)
    assert len(html) < 100_000


def test_what_is_cut_off_a_long_name_of_an_argument_is_counted_as_not_shown() -> None:
    html = call_html(call(ToolStatus.AWAITING_APPROVAL, args={"n" * 30_000: 1}))
    assert "Not shown: 29,800 characters." in html
