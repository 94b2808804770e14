"""A chat box in a real JupyterLab: typing into it, what the notebook keeps, a reload, a restart."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, expect

from desk import Desk
from lab import LabPage

pytestmark = pytest.mark.browser

BOX = "%gemini_chat talk -t pay"
OVERFLOWS = """(scroll) => new Promise((done) => {
  const look = () => scroll.scrollHeight > scroll.clientHeight + 400 ? done() : requestAnimationFrame(look);
  look();
})"""
IS_SEEN = """(button) => {
  const place = button.getBoundingClientRect();
  return document.elementFromPoint(place.x + place.width / 2, place.y + place.height / 2) === button;
}"""
SPIN = "import os\nwhile not os.path.exists('gates/computed'): sum(range(1000))"
VIEW = "() => { window.jupyterapp.commands.execute('notebook:create-output-view'); }"
RESTART = "() => window.jupyterapp.shell.currentWidget.context.sessionContext.restartKernel()"
AT_END = "box => Math.abs(box.scrollTop) < 2 && box.scrollHeight > box.clientHeight + 100"
TOP = "element => element.getBoundingClientRect().top"
HEIGHT = "element => element.getBoundingClientRect().height"
FOCUSED = """() => {
  const focused = document.activeElement, label = focused.labels?.[0]?.textContent;
  const place = focused.getBoundingClientRect();
  const down = Math.min(place.height, 20) / 2;
  const middle = document.elementFromPoint(place.x + place.width / 2, place.y + down);
  const seen = place.height === 0 || focused.contains(middle) || !!middle?.contains(focused);
  return [label || focused.getAttribute('aria-label') || focused.innerText, seen];
}"""
INSIDE = """box => [...box.querySelectorAll('*')].every(
  element => element.getBoundingClientRect().right <= innerWidth + 1)"""


def box_of(page: LabPage, cell: int = 1) -> Locator:
    return page.output(cell).locator(".gemini-nb-chat")


def line_of(box: Locator) -> Locator:
    return box.locator("input[type=text]")


def enter(box: Locator, words: str) -> None:
    line_of(box).fill(words)
    line_of(box).press("Enter")


def say(box: Locator, words: str) -> None:
    """Send a message, and wait until it has left the field."""
    enter(box, words)
    expect(line_of(box)).to_have_value("")


def opened(desk: Desk, *more: str) -> tuple[LabPage, Locator]:
    page = desk.set([f"globals().pop('talk', None)\ncity = 'Lisbon'\n{BOX}", *more])
    desk.run(1)
    return page, box_of(page)


def button(box: Locator, name: str) -> Locator:
    return box.get_by_role("button", name=name, exact=True)


def kept(page: LabPage, cell: int = 1) -> list[Any]:
    return [output.get("data", {}) for output in page.save().cells[cell].outputs]


def test_enter_sends_and_the_field_keeps_what_is_typed_meanwhile(desk: Desk) -> None:
    page, box = opened(desk)
    transcript = page.output(1).locator(".jp-RenderedMarkdown")
    expect(transcript).to_be_hidden()
    line = line_of(box)
    line.press_sequentially("chat of {city}")  # no pause between the last letter and Enter
    line.press("Enter")
    expect(box).to_contain_text("You said CHAT OF LISBON")
    expect(box.locator(".gemini-nb-asked")).to_have_text("chat of {city}")
    expect(line).to_have_value("")
    say(box, "hold it")
    expect(box).to_contain_text("It begins.")
    line.press_sequentially("typed while")
    desk.open_gate("held")
    expect(box).to_contain_text("HOLD IT")
    expect(transcript).to_contain_text("HOLD IT")  # is sent anew
    page.page.keyboard.type(" it came")
    expect(line).to_have_value("typed while it came")
    line.press("Tab")  # leaving it sends nothing
    expect(line).to_have_value("typed while it came")
    markdown, widget = kept(page)
    assert "> **You:** chat of {city}" in markdown["text/markdown"]
    assert "HOLD IT" in markdown["text/plain"]
    assert "typed while" not in markdown["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert page.errors == []


def test_a_cell_and_the_box_answer_each_other_while_the_kernel_computes(desk: Desk) -> None:
    page, box = opened(desk, "%%gemini_stream -c talk\nchat from a cell", SPIN, "talk.rewind(); None")
    desk.run(2)
    expect(box).to_contain_text("CHAT FROM A CELL")
    page.run(3)
    say(box, "pay for it")
    button(box, "Approve").click()
    expect(box.locator(".gemini-nb-exchange").last).to_contain_text("You said so")
    box.evaluate("box => box.scrollIntoView({block: 'end'})")
    say(box, "hold this")
    expect(box).to_contain_text("It begins.")
    box.locator(".gemini-nb-chat-scroll").evaluate(OVERFLOWS)
    assert button(box, "Stop").evaluate(IS_SEEN), "it stays in reach, however long the answer"
    button(box, "Stop").click()
    expect(box).to_contain_text("Stopped by you")
    expect(page.prompt(3)).to_have_text("[*]:")  # all this is answered while the kernel computes
    desk.open_gate("computed")
    page.wait_done(3)
    desk.run(4)
    expect(box).not_to_contain_text("hold this")
    button(box, "Take back").click()
    expect(line_of(box)).to_have_value("pay for it")
    expect(box.locator(".gemini-nb-exchange")).to_have_count(1)


def test_a_box_low_on_the_page_keeps_its_field_where_it_is(desk: Desk) -> None:
    page = desk.set(["print('above\\n' * 24)", f"globals().pop('talk', None)\n{BOX}"])
    desk.run(1, 2)
    box = box_of(page, 2)
    line = line_of(box)
    assert box.evaluate(HEIGHT) < 200, "without messages it is small"
    line.press_sequentially("chat one")
    top = line.evaluate(TOP)
    line.press("Enter")
    expect(box).to_contain_text("CHAT ONE")
    expect(line).to_have_value("")
    line.press_sequentially("hold it")
    line.press("Enter")
    expect(box).to_contain_text("It begins.")
    box.locator(".gemini-nb-chat-scroll").evaluate(OVERFLOWS)
    line.press_sequentially("typed while it grows")
    desk.open_gate("held")
    expect(box).to_contain_text("HOLD IT")
    expect(line).to_be_focused()
    expect(line).to_be_in_viewport(ratio=1)
    assert abs(line.evaluate(TOP) - top) < 2
    page.screenshot("chat-low")


@pytest.mark.slow
def test_several_lines_an_edit_and_closing(desk: Desk) -> None:
    page, box = opened(desk)
    say(box, "chat one")
    expect(box).to_contain_text("CHAT ONE")
    line_of(box).press_sequentially("first")
    button(box, "Several lines").click()
    area = box.locator("textarea")
    expect(area).to_be_focused()
    expect(area).to_have_value("first")
    area.press("End")
    area.press("Enter")
    area.press_sequentially("second")
    button(box, "Send").click()
    expect(box).to_contain_text("FIRST SECOND")
    expect(area).to_have_value("")
    button(box, "One line").click()
    expect(line_of(box)).to_be_focused()  # else what is typed would be the notebook's own keys
    line_of(box).press_sequentially("a draft")
    button(box, "Edit last").click()
    expect(area).to_have_value("first\nsecond")
    area.fill("third")
    button(box, "Send").click()
    expect(box).to_contain_text("THIRD")
    expect(box).not_to_contain_text("FIRST")
    expect(area).to_have_value("a draft")
    button(box, "Close").click()
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("THIRD")
    expect(box).to_have_count(0)
    expect(page.output(1).locator(".jp-OutputArea-child")).to_have_count(1)
    assert len(kept(page)) == 1
    assert page.errors == []


@pytest.mark.slow
def test_it_looks_well_and_can_be_used_by_all(desk: Desk) -> None:
    page, box = opened(desk)
    expect(box).to_contain_text("Type a message below.")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.set_theme(theme)
        found = Axe().run(page.page, context=".gemini-nb-chat").response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        page.screenshot(f"chat-empty-{theme.split()[-1].lower()}")
    say(box, "chat of a long text")
    expect(box).to_contain_text("You said")
    say(box, "pay for it")
    expect(button(box, "Approve")).to_be_visible()
    say(box, "hold")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.set_theme(theme)
        found = Axe().run(page.page, context=".gemini-nb-chat").response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    button(box, "Approve").click()
    expect(box).to_contain_text("It begins.")
    scroll = box.locator(".gemini-nb-chat-scroll")
    page.page.wait_for_function(AT_END, arg=scroll.element_handle())
    scroll.evaluate("box => { box.scrollTop = -150; }")
    read = box.locator(".gemini-nb-asked").last
    top = read.evaluate(TOP)
    desk.open_gate("held")
    expect(box).to_contain_text("HOLD")
    expect(button(box, "Stop")).to_have_count(0)
    assert abs(read.evaluate(TOP) - top) < 2, "a reader is not moved"
    page.page.set_viewport_size({"width": 600, "height": 900})
    page.page.wait_for_function(INSIDE, arg=box.element_handle())
    page.screenshot("chat-narrow")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(640, 450), (600, 900)])  # 1280 by 900 at 200 %, and narrow
def test_in_a_small_window_nothing_is_cut_and_the_keyboard_reaches_all(
    desk: Desk, width: int, height: int
) -> None:
    page, box = opened(desk)
    page.page.set_viewport_size({"width": width, "height": height})
    page.page.wait_for_function(INSIDE, arg=box.element_handle())  # JupyterLab has followed
    expect(box).to_contain_text("Type a message below.")
    page.screenshot(f"chat-empty-{width}")
    line = line_of(box)
    line.fill(f"chat of {'a long question ' * 20}")
    top = line.evaluate(TOP)
    line.press("Enter")
    expect(box).to_contain_text("You said")
    assert height > 600 or abs(line.evaluate(TOP) - top) < 2, (
        "the answer does not push the field out of sight"
    )
    say(box, "pay for it")
    expect(button(box, "Approve")).to_be_visible()
    expect(button(box, "Take back")).to_be_disabled()  # while an answer is under way
    say(box, "hold")
    expect(box).to_contain_text("waiting for s")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.set_theme(theme)
        found = Axe().run(page.page, context=".gemini-nb-chat").response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    page.page.wait_for_function(INSIDE, arg=box.element_handle())
    button(box, "Close").focus()
    reached = []
    for _ in range(30):
        page.page.keyboard.press("Tab")
        reached.append(page.page.evaluate(FOCUSED))
        if reached[-1][0] == "Attach":
            break
    names = [name for name, _ in reached]
    assert all(is_seen for _, is_seen in reached), reached
    wanted = ("Stop", "Approve", "Deny", "Message to talk", "Send", "Several lines", "Edit last", "Attach")
    assert [name for name in dict.fromkeys(names) if name in wanted] == list(wanted)
    page.screenshot(f"chat-{width}")


@pytest.mark.slow
def test_a_reload_a_second_view_and_a_restart(desk: Desk) -> None:
    page, box = opened(desk)
    say(box, "chat before")
    expect(box).to_contain_text("CHAT BEFORE")
    page.page.evaluate(VIEW)
    view = page.page.locator(".jp-LinkedOutputView .gemini-nb-chat")
    say(view, "from the view")
    for one in (box, view):
        expect(one).to_contain_text("FROM THE VIEW")
    say(box, "quiet now")
    expect(box).to_contain_text("It begins.")
    page.save()
    page.reload()
    box = box_of(page)
    expect(box).to_contain_text("It begins.")
    expect(box).to_contain_text("This page was loaded again")
    expect(page.output(1).locator(".jp-RenderedMarkdown")).to_be_hidden()
    desk.open_gate("held")
    expect(box).to_contain_text("QUIET NOW")
    say(box, "afterwards")
    expect(box).to_contain_text("AFTERWARDS")
    desk.run(1)  # a new chat in this cell, which begins by deleting the old one
    desk.page.add_cell("%gemini_chat talk")
    say(box_of(page), "chat anew")
    expect(box_of(page)).to_contain_text("CHAT ANEW")
    page.save()
    page.page.evaluate(RESTART)
    box = box_of(page)
    before = "box => getComputedStyle(box, '::before').content.includes('The kernel ended')"
    page.page.wait_for_function(before, arg=box.element_handle())
    expect(line_of(box)).to_be_hidden()
    desk.new_kernel()
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_be_visible()
    expect(settled).to_contain_text("CHAT ANEW")
    desk.open_stage()
