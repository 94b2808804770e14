"""Panes, what stays of them, and the chat box in Notebook 7, which shows the same cells on another page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from test_browser_access import ENDED_EARLY, FAILED, RULE, violations
from test_browser_chat import BOX, IS_SEEN, OVERFLOWS, TOP, box_of, button, enter, kept, line_of, say
from test_browser_pane import wait_grown
from test_browser_settled import READ, TOOLS, moved, too_far

from desk import Desk
from lab import NOTEBOOK_7

ADDRESS = NOTEBOOK_7
NEW_BOX = f"globals().pop('talk', None)\n{BOX}"
SLOW = """import os, threading, time
def wait_for(name):
    while not os.path.exists(f'gates/{name}'): time.sleep(0.01)
class Slow:
    def __str__(self):
        open('gates/reading', 'w').close()
        wait_for('read')
        return 'slow'
slow = Slow()"""
SENT = """for one in threading.enumerate():
    if isinstance(one, threading.Timer): one.join()
print(len(talk.history), 'turns')"""
FRAME = ".jp-OutputArea-output.jp-RenderedMarkdown > div"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
]


def test_ends_look_like_what_they_are(desk: Desk) -> None:
    ends = [
        "%%gemini_stream -o stopped\ngrow",
        "%%gemini_stream -o wrong -m no-such-model~404\nunknown",
        "%%gemini_stream -t pay -o asks\nconfirm it",
    ]
    page = desk.set(ends)
    desk.run(1)
    wait_grown(desk.pane(1), by=30)
    expect(desk.pane(1).locator(".gemini-nb-figures")).to_contain_text(re.compile(r"\d s"))
    desk.pane(1).get_by_role("button", name="Stop", exact=True).click()
    desk.run(2, 3)
    stopped, wrong = (page.output(number).locator(FRAME) for number in (1, 2))
    expect(stopped.locator("p").first).to_have_text(re.compile(r"^gemini-3.8-flash · stopped · s\d+$"))
    expect(stopped).to_contain_text("Stopped by you")
    expect(stopped.locator("sub")).to_have_text(re.compile(r"^stopped · [\d.]+ s"))
    expect(wrong).to_contain_text("Error:")
    expect(stopped).to_have_css(RULE, ENDED_EARLY)
    expect(wrong).to_have_css(RULE, FAILED)
    pane = desk.pane(3)
    expect(pane).to_contain_text("Run pay(amount=20)?")
    assert violations(page.page, ".gemini-nb-pane") == {}
    pane.get_by_role("button", name="Approve", exact=True).click()
    expect(page.output(3).locator(FRAME)).to_contain_text("So be it.")
    found = violations(page.page, ".jp-OutputArea-output.jp-RenderedMarkdown > *")
    assert {**found, "heading-order": []} == {"heading-order": []}, (
        "no heading of a notebook's own stands above"
    )
    page.screenshot("notebook7-ends")
    assert page.errors == []


@pytest.mark.parametrize("end", ["whole", "error"])
def test_nothing_that_is_read_moves(desk: Desk, end: str) -> None:
    assert too_far(moved(desk, TOOLS, end, texts=READ)) == {}


def test_the_chat_box_from_the_first_message_to_the_transcript(desk: Desk) -> None:
    page = desk.set([f"globals().pop('talk', None)\n{BOX}"])
    desk.run(1)
    box = box_of(page)
    say(box, "chat one")
    expect(box).to_contain_text("CHAT ONE")
    line_of(box).fill("hold it")
    button(box, "Send").click()
    expect(box).to_contain_text("It begins.")
    button(box, "Stop").click()
    expect(box).to_contain_text("Stopped by you")
    button(box, "Edit last").click()
    expect(line_of(box)).to_have_value("hold it")
    say(box, "another")
    expect(box).to_contain_text("ANOTHER")
    expect(box).not_to_contain_text("It begins.")
    assert violations(page.page, ".gemini-nb-chat") == {}
    page.screenshot("notebook7-chat")
    button(box, "Close").click()
    expect(box).to_have_count(0)
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("ANOTHER")
    expect(page.output(1).locator(".jp-OutputArea-child")).to_have_count(1)
    (markdown,) = kept(page)
    assert "> **You:** another" in markdown["text/markdown"]
    assert "hold it" not in markdown["text/plain"]
    assert page.errors == []


def test_a_second_message_follows_the_first_and_the_field_and_stop_stay_where_they_are(desk: Desk) -> None:
    page = desk.set(["print('above\\n' * 24)", NEW_BOX, SLOW, "wait_for('reading')"])
    desk.run(1, 2, 3)
    box = box_of(page, 2)
    line = line_of(box)
    enter(box, "chat {slow}")
    desk.run(4)
    expect(line).to_have_value("chat {slow}")  # it is still being read
    box.evaluate("box => box.scrollIntoView({block: 'end'})")
    enter(box, "hold it")
    top = line.evaluate(TOP)
    desk.open_gate("read")
    expect(box.locator(".gemini-nb-asked")).to_have_text(["chat {slow}", "hold it"])
    expect(box).to_contain_text("CHAT SLOW")
    expect(box).to_contain_text("It begins.")
    expect(line).to_have_value("")
    box.locator(".gemini-nb-chat-scroll").evaluate(OVERFLOWS)
    assert button(box, "Stop").evaluate(IS_SEEN)
    line.press_sequentially("typed while it grows")
    desk.open_gate("held")
    expect(box).to_contain_text("HOLD IT")
    expect(line).to_be_focused()
    expect(line).to_have_value("typed while it grows")
    expect(line).to_be_in_viewport(ratio=1)
    assert abs(line.evaluate(TOP) - top) < 2
    assert page.errors == []


def test_a_closed_box_shows_what_was_sent_and_sends_nothing_more(desk: Desk) -> None:
    page = desk.set([NEW_BOX, SLOW, "wait_for('reading')", SENT])
    desk.run(1, 2)
    box = box_of(page)
    say(box, "chat one")
    expect(box).to_contain_text("CHAT ONE")
    line_of(box).fill("hello {slow}")
    button(box, "Send").click()
    desk.run(3)
    button(box, "Close").click()
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("CHAT ONE")
    expect(box).to_have_count(0)
    desk.open_gate("read")
    desk.run(4)
    expect(page.output(4)).to_have_text("2 turns")
    expect(settled).not_to_contain_text("hello")
    assert page.errors == []
