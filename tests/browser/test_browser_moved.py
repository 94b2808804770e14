"""What becomes of an answer whose cell was moved while it streamed; one that stays sees no difference."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect
from test_browser_pane import CLOSE_VIEW, VIEW, wait_grown

from desk import Desk

pytestmark = pytest.mark.browser

MOVE = """([i, way]) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = i;
  return window.jupyterapp.commands.execute(`notebook:move-cell-${way}`);
}"""
WATCH = """area => {
  window.emptyFrames = 0;
  window.looks = true;
  const look = () => {
    const isShown = area.checkVisibility({contentVisibilityAuto: true});  // out of sight, it is not drawn
    if (isShown && !area.innerText.trim()) window.emptyFrames += 1;
    if (window.looks) requestAnimationFrame(look);
  };
  look();
}"""
SEEN_EMPTY = """() => { window.looks = false; return window.emptyFrames; }"""
KINDS = {
    "one": "%%gemini_stream\ngrow",
    "a group": "%gemini_stream --each letters -o both grow {item}",
    "columns": "%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro\ngrow",
}


def outputs(desk: Desk, i: int) -> list[Any]:
    """What the saved notebook holds."""
    return list(desk.page.save().cells[i].outputs)


@pytest.mark.parametrize(
    "kind", ["one", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "one")]
)
def test_a_moved_cell_settles_and_is_saved(desk: Desk, kind: str) -> None:
    page = desk.set(["letters = ['a', 'b']\n'before'", KINDS[kind], "'after'"])
    desk.run(1, 2, 3)
    expect(page.output(2)).to_contain_text(re.compile("growing|0/2"))
    page.page.evaluate(MOVE, [2, "up"])
    expect(page.output(1)).to_contain_text(re.compile("growing|0/2"))
    desk.open_gate("grown")
    expect(page.output(1).locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
    expect(page.output(1).locator(".gemini-nb-pane, .gemini-nb-group")).to_have_count(0)
    [saved] = outputs(desk, 1)
    assert "The end." in saved.data["text/markdown"]
    assert [len(outputs(desk, i)) for i in (2, 3)] == [1, 1]
    assert page.errors == []


def test_a_cell_that_was_moved_twice_and_back_settles(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow", "'middle'", "'last'"])
    desk.run(1, 2, 3)
    wait_grown(desk.pane(1))
    for number, way in ((1, "down"), (2, "down"), (3, "up"), (2, "down")):
        page.page.evaluate(MOVE, [number, way])
    wait_grown(desk.pane(3))
    desk.open_gate("grown")
    expect(page.output(3).locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
    [saved] = outputs(desk, 3)
    assert "The end." in saved.data["text/markdown"]


def test_what_stands_beside_the_pane_is_never_cleared(desk: Desk) -> None:
    page = desk.set(["'before'", "print('mine')\n%gemini_stream -o kept grow"])
    desk.run(1, 2)
    wait_grown(desk.pane(2))
    page.page.evaluate(MOVE, [2, "up"])
    wait_grown(desk.pane(1))
    desk.open_gate("grown")
    expect(desk.pane(1)).to_contain_text("The end.")
    expect(desk.pane(1)).to_contain_text(re.compile(r"may not hold this; %gemini_show s\d+ puts it there"))
    expect(page.output(1)).to_contain_text("mine")
    assert [output.output_type for output in outputs(desk, 1)] == ["stream", "display_data"]


def test_a_page_whose_cell_stays_sees_the_answer_once_and_never_an_empty_cell(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow"])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.page.evaluate(VIEW)
    view = page.page.locator(".jp-LinkedOutputView")
    wait_grown(view.locator(".gemini-nb-pane"))
    page.output(1).evaluate(WATCH)
    desk.open_gate("grown")
    expect(page.output(1).locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
    expect(view.locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
    assert page.page.evaluate(SEEN_EMPTY) == 0
    [saved] = outputs(desk, 1)
    assert "The end." in saved.data["text/markdown"]
    page.page.evaluate(CLOSE_VIEW)
