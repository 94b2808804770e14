"""An answer that settles: what the user reads stays where it is, whatever stands above, however it ends."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from desk import Desk

pytestmark = [pytest.mark.browser, pytest.mark.slow]

READ = ("Three tools.", "After them.", "an item", "a quotation", "A heading", "The last line.")
ALLOWED = 2.0  # pixels
PLACES = """([cell, texts, formulas]) => {
  const walker = document.createTreeWalker(cell.querySelector('.jp-OutputArea'), NodeFilter.SHOW_TEXT);
  const top = cell.getBoundingClientRect().top, found = {};
  while (walker.nextNode()) {
    const text = texts.find(one => walker.currentNode.textContent.trim().startsWith(one));
    if (text === undefined || text in found) continue;
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    found[text] = range.getBoundingClientRect().top - top;
  }
  const whole = texts.every(text => text in found) && document.fonts.status === 'loaded'
    && cell.querySelectorAll('.jp-Cell-outputArea mjx-container').length === formulas;
  const seen = JSON.stringify(found);  // MathJax makes its formulas first, and their styles and fonts later
  window.framesAlike = seen === window.seenBefore ? window.framesAlike + 1 : 0;
  window.seenBefore = seen;
  return whole && window.framesAlike >= 10 && found;
}"""


def moved(
    desk: Desk, source: str, end: str, *, width: int = 1280, texts: tuple[str, ...] = READ, formulas: int = 0
) -> dict[str, float]:
    """Run a cell, let its answer end this way, and return how far each text moved when it settled."""
    page = desk.set([source], width=width)
    desk.run(1)
    pane, cell = desk.pane(1), page.cell(1)
    expect(pane).to_contain_text(texts[-1])
    expect(pane.locator(".gemini-nb-steps [aria-current=step]")).to_have_text("writing")
    whole = [cell.element_handle(), texts, formulas]
    before = page.page.wait_for_function(PLACES, arg=whole).json_value()
    if end == "stopped":
        pane.get_by_role("button", name="Stop", exact=True).click()
    else:
        written = desk.lab.server.notebooks / "gates" / "written"
        written.write_text(end)
        written.rename(written.with_name("end"))  # whole, since the play looks for it all the time
        desk.open_gate("read")
    expect(page.output(1).locator(".jp-RenderedMarkdown sub")).to_be_attached()
    expect(pane).to_have_count(0)
    after = page.page.wait_for_function(PLACES, arg=whole).json_value()
    page.screenshot(f"settled-{end}-{width}")
    return {text: round(after[text] - before[text], 1) for text in texts}


def too_far(found: dict[str, float]) -> dict[str, float]:
    return {text: distance for text, distance in found.items() if abs(distance) > ALLOWED}


TOOLS = "%%gemini_stream -t fail,succeed -o a_name_of_some_length\ntools"


@pytest.mark.parametrize("end", ["whole", "error", "cut", "stopped"])
def test_nothing_moves_when_an_answer_with_tools_ends(desk: Desk, end: str) -> None:
    assert too_far(moved(desk, TOOLS, end)) == {}


def test_nothing_moves_in_the_dark_and_in_a_narrow_window(desk: Desk) -> None:
    desk.page.set_theme("JupyterLab Dark")
    try:
        assert too_far(moved(desk, TOOLS, "whole")) == {}
    finally:
        desk.page.set_theme("JupyterLab Light")
    texts = ("Paragraph 0.", "Paragraph 19.", "The last line.")
    assert (
        too_far(
            moved(desk, "%%gemini_stream -o a_name_of_some_length\nscrolls", "whole", width=600, texts=texts)
        )
        == {}
    )


def test_nothing_moves_after_a_request_that_was_made_again(desk: Desk) -> None:
    texts = ("The first line.", "The last line.")
    assert too_far(moved(desk, "%%gemini_stream\nbreaks", "whole", texts=texts)) == {}


SEEN = """(pane, widths) => widths.map(width => {  // in one go: the head says more with each second
  pane.style.width = `${width}px`;
  const figures = pane.querySelector('.gemini-nb-figures');
  const box = figures.getBoundingClientRect();
  const walker = document.createTreeWalker(figures, NodeFilter.SHOW_TEXT);
  const left = box.left + (parseFloat(getComputedStyle(figures).clipPath.split(' ').pop()) || 0);
  let seen = '';
  while (walker.nextNode()) {
    for (let at = 0; at < walker.currentNode.length; at++) {
      const range = document.createRange();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + 1);
      const place = range.getBoundingClientRect();
      if (place.top < box.bottom - 6 && place.left >= left - 1 && place.right <= box.right + 1) seen += range;
    }
  }
  return [pane.getBoundingClientRect().width, seen.trim(), figures.textContent.trim()];
})"""
SHAPES = (
    "The first line.",
    "After the tables.",
    "After the heading.",
    "After the matrix.",
    "an item",
    "a nested item",
    "nested next",
    "a second item",
    "After the list.",
    "a number",
    "tighter",
    "next number",
    "After the numbers.",
    "without",
    "The last line.",
)
FORMULAS = 6


def test_nothing_moves_for_formulas_in_tables_and_code_in_lists(desk: Desk) -> None:
    for width in (1280, 600):
        found = moved(desk, "%%gemini_stream\nshapes", "whole", width=width, texts=SHAPES, formulas=FORMULAS)
        assert too_far(found) == {}


def test_figures_are_cut_whole_and_the_first_one_never(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream -o a_name_of_some_length\nshapes"])
    desk.run(1)
    pane = desk.pane(1)
    expect(pane.locator(".gemini-nb-figures")).to_contain_text("1,234 in, 567 out, 89 thinking · $")
    found = set()
    widths = range(1100, 140, -5)
    for width, (shown, *texts) in zip(widths, pane.evaluate(SEEN, [*widths]), strict=True):
        seen, whole = (re.split(r"\s*·\s*", text) for text in texts)
        assert shown == width
        assert seen == whole[: len(seen)], width
        found.add(len(seen))
    assert found == {1, 2, 3}
    page.screenshot("figures-narrow")
    desk.open_gate("read")
    expect(page.output(1).locator(".jp-RenderedMarkdown sub")).to_be_attached()


def test_nothing_moves_for_a_note_or_what_is_wide_and_the_head_is_one_line(desk: Desk) -> None:
    texts = ("Paragraph 0.", "Paragraph 19.", "The last line.")
    assert too_far(moved(desk, "%%gemini_stream\nscrolls {no_such_name}", "whole", texts=texts)) == {}
    page = desk.set(["%%gemini_stream -o poem -t succeed\ntools"])
    desk.run(1)
    head = desk.pane(1).locator(".gemini-nb-title")
    for width in (1280, 800, 480):
        page.page.set_viewport_size({"width": width, "height": 900})
        expect(head).to_have_css("height", "26px")
        expect(head.locator("[data-step=now]")).to_be_in_viewport()
    page.page.set_viewport_size({"width": 1280, "height": 900})
