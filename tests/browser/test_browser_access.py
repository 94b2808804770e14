"""Panes and the dashboard for those who use the keyboard, or hear the page."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from test_browser_pane import SCROLLERS

from desk import Desk

pytestmark = pytest.mark.browser

FOCUSED = "element => element === document.activeElement"
RULE = "border-left-color"
FAILED, ENDED_EARLY = "rgb(211, 47, 47)", "rgb(239, 138, 0)"
WIDE = "element => element.scrollWidth > element.clientWidth + 10"


def violations(page: Page, selector: str) -> dict[str, list[str]]:
    """What axe finds wrong there: the broken rules, with the elements that break them."""
    expect(page.locator(selector).first).to_be_attached()
    found = Axe().run(page, context=selector)
    return {one["id"]: [node["html"][:200] for node in one["nodes"]] for one in found.response["violations"]}


def focused_by_tab(page: Page, element: Locator) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(30):
        if element.evaluate(FOCUSED):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab never reaches it")


@pytest.mark.slow
def test_the_keyboard_reaches_all_of_a_long_answer(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\nscrolls"])
    desk.run(1)
    pane = desk.pane(1)
    expect(pane).to_contain_text("The last line.")
    assert pane.evaluate(SCROLLERS) == 0, "it scrolls with the page"
    assert violations(page.page, ".gemini-nb-pane") == {}

    page.page.keyboard.press("Escape")
    code = pane.locator("pre.gemini-nb-code").first
    expect(code).to_have_attribute("role", "group")
    expect(code).to_have_attribute("aria-label", "python code")
    focused_by_tab(page.page, code)
    assert not code.evaluate(WIDE), "the arrow keys are JupyterLab's: all of its width is shown"
    desk.open_gate("read")
    expect(pane).to_have_count(0)
    assert page.errors == []


@pytest.mark.slow
def test_a_card_and_thoughts_that_are_unfolded_have_no_violations(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream -t work\ncall it"])
    desk.run(1)
    pane = desk.pane(1)
    for label in ("The model's thoughts", "Details of the call of work"):
        if label.startswith("Details"):
            desk.open_gate("thought")
        summary = pane.locator(f'summary[aria-label="{label}"]')
        summary.focus()
        page.page.keyboard.press("Enter")
    inside = pane.locator(".gemini-nb-call .gemini-nb-inside")
    expect(inside.locator("pre").first).to_have_attribute("aria-label", "arguments")
    assert violations(page.page, ".gemini-nb-pane") == {}
    desk.open_gate("half")
    desk.open_gate("worked")
    expect(pane.locator("table")).to_have_attribute("tabindex", "0")
    assert violations(page.page, ".gemini-nb-pane") == {}
    desk.open_gate("answered")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("It costs")
    assert violations(page.page, ".jp-OutputArea-output.jp-RenderedMarkdown > *") == {}


@pytest.mark.slow
def test_the_pane_that_stays_on_a_page_loaded_anew_has_no_violations(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\nscrolls"])
    desk.run(1)
    expect(desk.pane(1)).to_contain_text("The last line.")
    page.save()
    page.reload()
    pane = desk.pane(1)
    expect(pane).to_contain_text("The last line.")
    desk.open_gate("read")
    expect(pane).to_contain_text("The end.")
    expect(pane).to_contain_text("puts it there")
    assert violations(page.page, ".gemini-nb-pane") == {}


@pytest.mark.slow
def test_a_question_and_every_kind_of_end_have_no_violations(desk: Desk) -> None:
    ends = [
        "%%gemini_stream -t pay -o asks\nconfirm it",
        "%%gemini_stream -o stopped\ngrow",
        "%%gemini_stream -o wrong -m no-such-model~404\nunknown",
        "%gemini_stop stopped",
    ]
    page = desk.set(ends)
    desk.run(1, 2)
    expect(desk.pane(1)).to_contain_text("Run pay(amount=20)?")
    expect(desk.pane(2)).to_contain_text("growing")
    assert violations(page.page, ".gemini-nb-pane") == {}
    desk.run(3, 4)
    frame = ".jp-OutputArea-output.jp-RenderedMarkdown > div"
    expect(page.output(2).locator(frame)).to_contain_text("Stopped by you")
    expect(page.output(3).locator(frame)).to_contain_text("Error:")
    expect(page.output(3).locator(frame)).to_have_css(RULE, FAILED)
    expect(page.output(2).locator(frame)).to_have_css(RULE, ENDED_EARLY)
    assert violations(page.page, ".jp-OutputArea-output.jp-RenderedMarkdown > *") == {}
    desk.new_kernel()  # a notebook that is not trusted is sanitised
    expect(page.output(2).locator(frame)).to_have_css(RULE, ENDED_EARLY)
    desk.open_stage()


@pytest.mark.slow
def test_the_dashboard_has_no_violations(desk: Desk) -> None:
    page = desk.set(
        ["%%gemini_stream -o one\nscrolls", "%%gemini_stream -t work\ncall it", "%gemini_dashboard"]
    )
    desk.run(1, 2, 3)
    desk.open_gate("thought")
    board = page.output(3).locator(".gemini-nb-dashboard")
    rows = board.locator(".gemini-nb-row")
    expect(rows).to_have_count(2)
    expect(board.locator('[data-tool-status="running"]')).to_have_count(1)
    rows.nth(1).locator(".gemini-nb-fold").click()
    expect(board.locator(".gemini-nb-timeline")).to_be_visible()
    assert violations(page.page, ".gemini-nb-dashboard") == {}
    desk.open_gate("read")
    expect(board.locator('[data-total="completed"]')).to_have_text("1 completed")
    expect(board.locator('.gemini-nb-line[data-status="completed"]')).to_have_count(1)
    assert violations(page.page, ".gemini-nb-dashboard") == {}
