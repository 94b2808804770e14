"""A pane's life in a real JupyterLab, in one notebook that every test gets empty."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from desk import Desk

pytestmark = pytest.mark.browser

LENGTH = """pane => [...pane.querySelectorAll('.gemini-nb-text')]
  .reduce((length, text) => length + text.textContent.length, 0)"""
SCROLLERS = """pane => [pane, ...pane.querySelectorAll('*')].filter(
  box => box.scrollHeight > box.clientHeight + 20 && /auto|scroll/.test(getComputedStyle(box).overflowY)
).length"""
SCROLL = "top => { document.querySelector('.jp-WindowedPanel-outer').scrollTop = top; }"
PLACE = """words => [...document.querySelectorAll('.jp-OutputArea p')].find(
  shown => shown.textContent.startsWith(words)).getBoundingClientRect().top"""
SPIN = "import os\nwhile not os.path.exists('gates/computed'): sum(range(1000))"
CLOSE_VIEW = """() => {
  const areas = ['main', 'left', 'right', 'down'];
  const widgets = areas.flatMap(area => [...window.jupyterapp.shell.widgets(area)]);
  widgets.find(widget => widget.node.matches(':has(.jp-LinkedOutputView), .jp-LinkedOutputView')).close();
}"""
VIEW = "() => { window.jupyterapp.commands.execute('notebook:create-output-view'); }"
INSIDE = """pane => [...pane.querySelectorAll('*')].every(
  element => element.getBoundingClientRect().right <= innerWidth + 1)"""
TURNS = """name => getComputedStyle(
  document.querySelector('.gemini-nb-call:has([data-status=running])'), '::after').animationName === name"""
COLOURS = """pane => {
  const of = element => getComputedStyle(element);
  return [of(pane).color, of(pane.querySelector('.gemini-nb-figures')).color,
          of(document.querySelector('.jp-NotebookPanel-notebook')).backgroundColor];
}"""

KILL = """() => window.jupyterapp.shell.currentWidget.context.sessionContext.restartKernel()"""
BEFORE = """pane => [pane, ...pane.querySelectorAll('.jupyter-widgets-disconnected')]
  .map(element => getComputedStyle(element, '::before').content)
  .map(content => ['none', 'normal'].includes(content) ? '' : content.replace(/^"|"$/g, ''))"""


def wait_grown(pane: Locator, by: int = 60) -> None:
    """Wait until the answer is longer by so many characters; it may be another element then."""
    expect(pane.locator(".gemini-nb-text").first).to_contain_text(re.compile(r"\w+ \w+"))
    before, end = pane.evaluate(LENGTH), time.monotonic() + 30
    while pane.evaluate(LENGTH) <= before + by:
        assert time.monotonic() < end, "the answer does not grow"
        pane.page.wait_for_timeout(50)


def test_two_panes_grow_while_a_later_cell_computes(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow one", "%%gemini_stream\ngrow two", SPIN])
    desk.run(1, 2)
    page.run(3)
    for i in (1, 2):
        wait_grown(desk.pane(i))
    expect(page.prompt(3)).to_have_text("[*]:")
    desk.open_gate("grown")
    for i in (1, 2):
        expect(page.output(i).locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
        expect(desk.pane(i)).to_have_count(0)
    desk.open_gate("computed")
    page.wait_done(3)
    assert page.errors == []


def test_a_tool_card_through_its_states(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream -t work\ncall it"])
    desk.run(1)
    pane = desk.pane(1)
    expect(pane.locator(".gemini-nb-thinking")).to_contain_text("Thinking about it.")
    steps = pane.locator(".gemini-nb-steps")
    expect(steps.locator("[aria-current=step]")).to_have_text("thinking")
    thoughts = pane.locator('summary[aria-label="The model\'s thoughts"]')
    thoughts.focus()
    page.page.keyboard.press("Enter")
    inside = pane.locator(".gemini-nb-thoughts .gemini-nb-inside")
    expect(inside.locator("strong")).to_have_text("Thinking")
    desk.open_gate("thought")
    card = pane.locator(".gemini-nb-card")
    expect(card).to_have_attribute("data-status", "running")
    expect(steps.locator("[aria-current=step]")).to_have_text("running tools")
    expect(card.locator("progress")).to_have_attribute("value", "25")
    expect(card.locator(".gemini-nb-printed")).to_have_text("working on light")
    expect(card.locator(".gemini-nb-state")).to_have_text(re.compile(r"running · [1-9]\d* s"))
    pane.locator("summary[aria-label='Details of the call of work']").click()
    details = pane.locator(".gemini-nb-call .gemini-nb-inside")
    expect(details).to_contain_text('"topic": "light"')
    desk.open_gate("half")
    expect(card.locator("progress")).to_have_attribute("value", "50")
    expect(details).to_be_visible()
    desk.open_gate("worked")
    expect(card).to_have_attribute("data-status", "done")
    expect(details).to_contain_text("done with <b>everything</b>")
    expect(details).to_be_visible()  # it was unfolded, and what came did not fold it
    expect(inside).to_be_visible()
    expect(steps.locator("[aria-current=step]")).to_have_text("writing")
    expect(pane.locator(".gemini-nb-turn")).to_have_text("turn 2")
    expect(pane.locator("table td").first).to_have_text("1")
    expect(pane.locator(".gemini-nb-code .nb")).to_have_text("print")
    desk.open_gate("answered")
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled.locator("summary").nth(1)).to_contain_text('work(topic="light"): done')
    expect(settled).to_contain_text("It costs $5 or $6")
    expect(settled.locator("mjx-container")).to_have_count(1)  # the formula, and not the prices
    assert page.errors == []


@pytest.mark.parametrize(("name", "status"), [("Approve", "done"), ("Deny", "failed")])
def test_a_person_answers_by_click(desk: Desk, name: str, status: str) -> None:
    page = desk.set(["%%gemini_stream -t pay\nconfirm it", SPIN])
    desk.run(1)
    expect(desk.pane(1).locator(".gemini-nb-card")).to_have_attribute("data-status", "awaiting_approval")
    page.run(2)
    desk.pane(1).get_by_role("button", name=name, exact=True).click()
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("So be it.")
    expect(settled.locator("summary")).to_contain_text("pay(amount=20)")
    expect(page.prompt(2)).to_have_text("[*]:")  # the click is answered while the kernel computes
    expect(settled.locator("summary")).to_contain_text("done" if status == "done" else "denied by the user")
    desk.open_gate("computed")
    page.wait_done(2)


def test_stop_keeps_what_came(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow", SPIN])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.run(2)
    desk.pane(1).get_by_role("button", name="Stop", exact=True).click()
    settled = page.output(1).locator(".jp-RenderedMarkdown")
    expect(settled).to_contain_text("stopped")
    expect(page.prompt(2)).to_have_text("[*]:")  # the click is answered while the kernel computes
    expect(settled).to_contain_text("lighthouses")
    desk.open_gate("computed")
    page.wait_done(2)


def test_the_answer_has_no_scroll_bar_of_its_own_and_never_moves_a_reader(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\nparagraphs"])
    desk.run(1)
    expect(desk.pane(1)).to_contain_text("Paragraph 39.")
    assert desk.pane(1).evaluate(SCROLLERS) == 0
    page.page.evaluate(SCROLL, 800)
    before = page.page.evaluate(PLACE, "Paragraph 20.")
    assert 0 < before < 900
    desk.open_gate("more")
    expect(desk.pane(1)).to_contain_text("Paragraph 59.")
    assert page.page.evaluate(PLACE, "Paragraph 20.") == before
    desk.open_gate("done")
    expect(page.output(1).locator(".jp-RenderedMarkdown")).to_contain_text("The end.")
    page.page.wait_for_timeout(1500)  # the page may be asked once more to take the answer
    assert abs(page.page.evaluate(PLACE, "Paragraph 20.") - before) <= 2, "also when it settles"


def test_a_reloaded_page_goes_on_and_gets_the_end(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow"])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.save()
    page.reload()
    wait_grown(desk.pane(1))
    desk.open_gate("grown")
    expect(desk.pane(1)).to_contain_text("The end.")
    expect(desk.pane(1).locator(".gemini-nb-badge")).to_have_text("completed")
    expect(desk.pane(1).get_by_role("button")).to_have_count(0)
    expect(desk.pane(1)).to_contain_text(re.compile(r"may not hold this; %gemini_show s\d+ puts it there"))


@pytest.mark.slow
def test_a_page_reloaded_again_and_again_loses_nothing_of_a_fast_answer(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\nrush"])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.save()
    for _ in range(5):
        page.reload()
        expect(desk.pane(1)).to_be_visible()
        wait_grown(desk.pane(1), by=10_000)
        shown = re.findall(r"Paragraph (\d+)\.", desk.pane(1).text_content() or "")
        assert shown == [str(number) for number in range(1, len(shown) + 1)]
        assert page.errors == []
    desk.open_gate("grown")
    expect(desk.pane(1)).to_contain_text("The end.", timeout=60_000)


@pytest.mark.slow
def test_a_reloaded_page_keeps_the_answers_of_groups(desk: Desk) -> None:
    each = "letters = ['a', 'b']\n%gemini_stream --each letters -o both grow {item}"
    page = desk.set([each, "%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro\ngrow"])
    desk.run(1, 2)
    expect(page.output(2).locator(".gemini-nb-columns")).to_contain_text("growing")
    page.save()
    page.reload()
    expect(page.output(1).locator(".gemini-nb-group")).to_contain_text("0/2")
    desk.open_gate("grown")
    for number in (1, 2):
        expect(page.output(number)).to_contain_text("may not hold this; %gemini_show s")
        expect(page.output(number)).to_contain_text("The end.")


def test_a_second_view_shows_the_same(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow"])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.page.evaluate(VIEW)
    view = page.page.locator(".jp-LinkedOutputView .gemini-nb-pane")
    wait_grown(view)
    view.get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(1)).to_contain_text("stopped")
    page.page.evaluate(CLOSE_VIEW)
    expect(page.page.locator(".jp-LinkedOutputView")).to_have_count(0)


@pytest.mark.slow
def test_fifty_panes(desk: Desk) -> None:
    many = """from IPython.display import display
streams = [gemini_nb.get_manager().start_stream('slow') for _ in range(50)]
for stream in streams: display(gemini_nb.StreamPane(stream))"""
    page = desk.set([many, "1 + 1"])
    desk.run(1, 2)
    expect(desk.pane(1)).to_have_count(50)
    for number in (0, 25, 49):
        wait_grown(desk.pane(1).nth(number), by=10)
    desk.open_gate("grown")
    badges = desk.pane(1).locator(".gemini-nb-badge[data-status=completed]")
    expect(badges).to_have_count(50)
    expect(desk.pane(1).filter(has_text="The end.")).to_have_count(50)
    assert page.errors == []


def test_the_pane_of_a_deleted_cell_is_closed(desk: Desk) -> None:
    know = """from ipywidgets.widgets.widget import _instances
from gemini_nb.notebook.pane.widgetry import _shared
known = set(_instances)
def more(): return len(set(_instances) - known - {widget.model_id for widget in _shared.values()})"""
    count = "print(more(), 'more widgets')"
    wait = f"""import time
end = time.monotonic() + 20
while more() and time.monotonic() < end: time.sleep(0.05)
{count}"""
    page = desk.set([know, "%%gemini_stream\ngrow", count, wait])
    desk.run(1, 2)
    wait_grown(desk.pane(2))
    desk.run(3)
    expect(page.output(3)).to_have_text(re.compile(r"[1-9]\d* more widgets"))
    page.cell(2).locator(".jp-InputPrompt").click()
    page.page.keyboard.press("Escape")
    page.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:delete-cell'); }")
    expect(page.page.locator(".gemini-nb-pane")).to_have_count(0)
    page.forget_prompts()
    desk.run(3)
    expect(page.output(3)).to_have_text("0 more widgets\n")


def test_a_dark_theme_and_a_narrow_window(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream -t work\ncall it"])
    desk.open_gate("thought")
    desk.run(1)
    pane = desk.pane(1)
    expect(pane.locator("progress")).to_be_visible()
    light = pane.evaluate(COLOURS)
    page.set_theme("JupyterLab Dark")
    dark = pane.evaluate(COLOURS)
    page.set_theme("JupyterLab Light")
    for text, background in (
        (light[0], light[2]),
        (light[1], light[2]),
        (dark[0], dark[2]),
        (dark[1], dark[2]),
    ):
        assert abs(brightness(text) - brightness(background)) > 0.3
    page.page.set_viewport_size({"width": 480, "height": 800})  # as with 250 % zoom
    try:
        page.page.wait_for_function(INSIDE, arg=pane.element_handle())
        expect(pane.get_by_role("button", name="Stop", exact=True)).to_be_in_viewport()
    finally:
        page.page.set_viewport_size({"width": 1280, "height": 900})


def brightness(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    return 0.3 * red + 0.59 * green + 0.11 * blue


def test_nothing_moves_for_those_who_ask_for_that(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream -t work\ncall it"])
    desk.open_gate("thought")
    desk.run(1)
    card = desk.pane(1).locator(".gemini-nb-call:has([data-status=running])")
    expect(card).to_be_visible()
    page.page.wait_for_function(TURNS, arg="gemini-nb-turn")
    page.page.emulate_media(reduced_motion="reduce")
    try:
        page.page.wait_for_function(TURNS, arg="none")
    finally:
        page.page.emulate_media(reduced_motion="no-preference")


def test_a_pane_says_once_that_the_kernel_died(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow"])
    desk.run(1)
    wait_grown(desk.pane(1))
    page.page.evaluate(KILL)
    expect(desk.pane(1)).to_have_class(re.compile("jupyter-widgets-disconnected"))
    marks = desk.pane(1).evaluate(BEFORE)
    assert [mark for mark in marks if mark] == [
        "The kernel ended, and this answer with it. Run the cell again to ask again."
    ]
    expect(desk.pane(1).get_by_role("button")).to_have_count(0)
    expect(desk.pane(1).get_by_text("active", exact=True)).to_be_hidden()
    desk.open_stage()


def test_the_answer_is_there_after_saving_and_opening_with_a_new_kernel(desk: Desk) -> None:
    page = desk.set(["%%gemini_stream\ngrow"])
    desk.run(1)
    wait_grown(desk.pane(1))
    desk.open_gate("grown")
    answer = page.output(1).locator(".jp-RenderedMarkdown")
    expect(answer).to_contain_text("The end.")
    before = answer.locator("h1, p").all_text_contents()
    desk.new_kernel()
    expect(answer).to_contain_text("The end.")
    assert answer.locator("h1, p").all_text_contents() == before
    saved: Any = page.save()
    assert [set(output.data) for output in saved.cells[1].outputs] == [{"text/markdown", "text/plain"}]
    desk.open_stage()
