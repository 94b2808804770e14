"""The dashboard in a real JupyterLab: what a user sees, presses and is spared.

All tests share one notebook, in which cell 0 belongs to the desk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from desk import Desk
from lab import LabPage

pytestmark = pytest.mark.browser

OPENING = r"""
import asyncio, os, threading
os.environ["GEMINI_NB_AUTH"] = "simulator"
%load_ext gemini_nb
import gemini_nb
from gemini_nb.simulator import Simulator
manager = gemini_nb.get_manager()
async def weather(city: str) -> str:
    "Tell the weather of a city."
    return "sunny"
async def book_table(place: str) -> str:
    "Book a table."
    await asyncio.sleep(600)
tries = {}
def scenario(body, model):
    text = body["contents"][-1]["parts"][0].get("text", "")
    tries[text] = tries.get(text, 0) + 1
    if "flaky" in text and tries[text] == 1:
        return  # an answer without an end: it is asked for again
    for number in range(3000):
        yield {"candidates": [{"content": {"role": "model", "parts": [{"text": "word word "}]}}],
               "usageMetadata": {"candidatesTokenCount": 2 * number, "totalTokenCount": 9 + 2 * number}}
        yield 0.05
server = Simulator(scenario=scenario).start()
import ipykernel.comm.comm as kernel_comm
sent, publish = [], kernel_comm.BaseComm.publish_msg
def counted(self, *args, **fields):
    sent.append(args)
    return publish(self, *args, **fields)
kernel_comm.BaseComm.publish_msg = counted
endless = dict(base_url=server.base_url)
"""
FRESH = "gemini_nb.dashboard().close()"  # the kernel has one, which goes on until it is closed
TEN = r"""
tries.clear()  # each test asks the flaky question
manager.start_stream("Describe a lighthouse in one sentence.").wait()
manager.start_stream("Hello?", model="nothing").wait()
manager.start_stream("Plan a day. Check the weather first and book a table.", tools=[weather, book_table])
manager.start_stream("a flaky question", **endless)
for number in range(6):
    manager.start_stream(f"Question {number}", model=f"gemini-3.{number}-flash", **endless)
"""
BUSY = "import os\nwhile not os.path.exists('gates/computed'): sum(range(1000))"
LATER = r"""
import time
def stop_three():
    while not os.path.exists('gates/stop'): time.sleep(0.02)
    for stream in manager.list_streams()[:3]: stream.stop()
threading.Thread(target=stop_three, daemon=True).start()
"""
ATTACK = r"""
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import ToolStatus
from gemini_nb.streams.stream import Stream
evil = '"><img src="http://127.0.0.1:9/leak" onerror="window.boom = 1"><svg onload="window.boom = 1">'
evil += '</div></div><style>body { display: none }</style><script>window.boom = 1</script>'
like = manager.start_stream(evil, **endless)
for name in (evil, "second"):
    record = StreamRecord(name)
    record.start()
    call = ToolCall(id=None, name=evil, args={})
    record.add_call(call)
    record.start_call(call)
    record.finish_call(call, ToolStatus.FAILED, error=evil)
    record.retry(2, 60.0, evil)
    manager._streams[name] = Stream(record, like.request, manager.runtime, lambda: None)
record.fail(gemini_nb.GeminiError(evil))
"""
THOUSAND = r"""
like = manager.start_stream("Describe a lighthouse in one sentence.").wait()
manager._history = 2000
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.stream import Stream
def add(number):
    for index in range(number):
        record = StreamRecord(f"f{index}")
        record.start()
        for _ in range(20):
            record.add_text("some words ")
        record.complete()
        manager._streams[record.stream_id] = Stream(record, like.request, manager.runtime, lambda: None)
add(1000)
"""
QUIET = """
import time
end = time.monotonic() + 15
while True:  # what was drawn before may still be sent
    before = len(sent)
    time.sleep(1.2)
    if len(sent) == before or time.monotonic() > end: break
print('messages:', len(sent) - before, manager.list_streams())
"""
RESET = """([i, source]) => {
    window.jupyterapp.shell.currentWidget.content.model.cells.get(i).sharedModel.setSource(source) }"""
ELAPSED = """([i, before]) =>
    document.querySelectorAll('.jp-Cell')[i].querySelector('.gemini-nb-elapsed').textContent !== before"""
IS_ABOVE = """words => {
  const rows = [...document.querySelectorAll('.jp-Cell')[2].querySelectorAll('.gemini-nb-row')];
  const [above, below] = words.map(
    word => rows.find(row => row.textContent.includes(word)).getBoundingClientRect().top);
  return above < below;
}"""
FITS = "board => board.scrollWidth <= board.clientWidth"
LUMINANCE = """board => getComputedStyle(board).backgroundColor.match(/[0-9.]+/g)
    .slice(0, 3).reduce((sum, value) => sum + Number(value), 0) / 3"""
ANIMATED = "([row, name]) => getComputedStyle(row, '::before').animationName === name"


@pytest.fixture
def opened(desk: Desk) -> Iterator[LabPage]:
    """A notebook with ten streams and two dashboards, in cells 2 and 3."""
    page = desk.set([f"{FRESH}{TEN}", "%gemini_dashboard", "gemini_nb.dashboard()"], height=1400)
    desk.run(1, 2, 3)
    expect(rows(page, 2)).to_have_count(10)
    yield page
    assert not page.errors


def rows(page: LabPage, cell: int, status: str | None = None) -> Locator:
    found = page.output(cell).locator(".gemini-nb-dashboard .gemini-nb-row")
    state = page.page.locator(f"[data-stream-id][data-status={status}]")
    return found if status is None else found.filter(has=state)


def stop_in(row: Locator) -> Locator:
    return row.get_by_role("button", name="Stop", exact=True)


@pytest.mark.slow
def test_ten_streams_in_two_views_with_stops_while_the_kernel_is_busy(desk: Desk, opened: LabPage) -> None:
    page = opened
    expect(rows(page, 3)).to_have_count(10)
    for cell in (2, 3):
        expect(rows(page, cell, "active")).to_have_count(8)
        expect(rows(page, cell).nth(0)).to_contain_text(re.compile("weather ✓.*book_table …"))
        expect(rows(page, cell).nth(1)).to_contain_text("1 retry")
        expect(rows(page, cell, "error")).to_contain_text("404")
        expect(stop_in(rows(page, cell))).to_have_count(8)
    expect(page.output(2).locator("[data-total=running]")).to_have_text("8 running")
    page.screenshot("dashboard-ten")
    page.add_cell(BUSY)
    page.run(4)
    expect(page.prompt(4)).to_have_text("[*]:")
    rows(page, 2).nth(0).get_by_role("button", name=re.compile("^Timeline")).click()
    expect(rows(page, 2).nth(0).locator(".gemini-nb-timeline")).to_be_visible()
    stop_in(rows(page, 3).nth(2)).click()
    expect(rows(page, 2, "stopped")).to_have_count(1)
    expect(rows(page, 2, "stopped")).to_contain_text("Question 0")
    page.output(2).get_by_role("button", name="Stop all", exact=True).click()
    for cell in (2, 3):
        expect(rows(page, cell, "active")).to_have_count(0)
        expect(rows(page, cell, "stopped")).to_have_count(8)
    expect(page.prompt(4)).to_have_text("[*]:")
    expect(page.output(2).get_by_role("button", name="Stop all", exact=True)).to_be_disabled()
    expect(stop_in(rows(page, 2))).to_have_count(0)
    desk.open_gate("computed")
    page.wait_done(4)


@pytest.mark.slow
def test_a_timeline_unfolds_by_mouse_and_keyboard_and_stays_open(opened: LabPage) -> None:
    page = opened
    row = rows(page, 2).nth(0)
    fold = row.get_by_role("button", name=re.compile("^Timeline of s"))
    fold.click()
    timeline = row.locator(".gemini-nb-timeline")
    expect(timeline).to_be_visible()
    for name in ("model call 1", "weather", "model call 2", "book_table"):
        expect(timeline.locator(".gemini-nb-lane").filter(has_text=name)).to_have_count(1)
    expect(timeline.locator("[data-kind=running]").first).to_be_visible()
    expect(page.page.locator(".gemini-nb-timeline")).to_have_count(2)  # both views show it
    for _ in range(3):
        before = row.locator(".gemini-nb-elapsed").text_content()
        page.page.wait_for_function(ELAPSED, arg=[2, before])
        expect(timeline).to_be_visible()
    page.screenshot("dashboard-unfolded")
    fold.focus()
    page.page.keyboard.press("Space")
    expect(timeline).to_have_count(0)
    page.page.keyboard.press("Tab")
    expect(stop_in(row)).to_be_focused()
    page.page.keyboard.press("Space")
    expect(rows(page, 2, "stopped")).to_have_count(1)
    expect(rows(page, 2, "stopped")).to_contain_text("Plan a day.")


def test_a_row_that_moves_keeps_the_focus(desk: Desk, opened: LabPage) -> None:
    page = opened
    last = page.add_cell(LATER)
    page.run(last)
    page.wait_done(last)
    row = rows(page, 2).filter(has_text="Question 0")
    row.get_by_role("button", name=re.compile("^Timeline")).focus()
    desk.open_gate("stop")
    expect(rows(page, 2, "stopped")).to_have_count(3)
    expect(row.locator(".gemini-nb-badge")).to_have_text("stopped")
    expect(row.get_by_role("button", name=re.compile("^Timeline"))).to_be_focused()
    page.page.wait_for_function(IS_ABOVE, arg=["Question 5", "Question 0"])  # what runs, and what ended


@pytest.mark.slow
def test_what_no_page_shows_is_not_sent_and_a_reloaded_page_goes_on(opened: LabPage) -> None:
    page = opened
    for cell in (2, 3):
        page.page.evaluate(RESET, [cell, "print('something else')"])
        page.run(cell)
        page.wait_done(cell)
        expect(page.output(cell)).to_contain_text("something else")
    quiet = page.add_cell(QUIET)
    page.run(quiet)
    page.wait_done(quiet)
    expect(page.output(quiet)).to_contain_text("messages: 0 [<Stream")
    last = page.add_cell("%gemini_dashboard")
    page.run(last)
    expect(rows(page, last)).to_have_count(10)
    tokens = rows(page, last).nth(2).locator(".gemini-nb-tokens")
    expect(tokens).not_to_have_text(tokens.text_content() or "")
    page.save()
    page.reload()
    expect(rows(page, last)).to_have_count(10)
    expect(tokens).not_to_have_text(tokens.text_content() or "")


def test_themes_narrow_columns_and_no_motion(opened: LabPage) -> None:
    page = opened
    board = page.output(2).locator(".gemini-nb-dashboard")
    assert board.evaluate(LUMINANCE) > 200
    active = rows(page, 2, "active").first
    page.page.wait_for_function(ANIMATED, arg=[active.element_handle(), "gemini-nb-breathe"])
    page.page.emulate_media(reduced_motion="reduce")
    page.page.wait_for_function(ANIMATED, arg=[active.element_handle(), "none"])
    page.page.emulate_media(reduced_motion="no-preference")
    active.get_by_role("button", name=re.compile("^Timeline")).click()
    expect(active.locator(".gemini-nb-timeline")).to_be_visible()
    page.set_theme("JupyterLab Dark")
    assert board.evaluate(LUMINANCE) < 80
    page.screenshot("dashboard-dark")
    for width in (900, 700, 480):
        page.page.set_viewport_size({"width": width, "height": 1400})
        expect(stop_in(active)).to_be_in_viewport()
        page.page.wait_for_function(FITS, arg=board.element_handle())
    page.screenshot("dashboard-narrow")
    page.set_theme("JupyterLab Light")  # the server keeps it for the next test


def test_hostile_names_stay_text(desk: Desk) -> None:
    page = desk.set([f"{FRESH}{ATTACK}", "%gemini_dashboard"])
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    desk.run(1, 2)
    expect(rows(page, 2)).to_have_count(3)
    for row in rows(page, 2).all():
        row.get_by_role("button", name=re.compile("^Timeline")).click()
    expect(page.output(2).locator(".gemini-nb-legend")).to_have_count(3)
    board = page.output(2).locator(".gemini-nb-dashboard")
    assert board.locator("img, script, iframe, svg[onload]").count() == 0
    expect(board).to_contain_text("<img src=")
    assert page.page.evaluate("() => window.boom === undefined")
    assert not [url for url in asked if "127.0.0.1:9/" in url]
    page.screenshot("dashboard-hostile")


@pytest.mark.slow
def test_a_thousand_streams_are_twenty_rows_and_quiet(desk: Desk) -> None:
    page = desk.set([f"{FRESH}{THOUSAND}", "%gemini_dashboard"])
    desk.run(1, 2)
    board = page.output(2).locator(".gemini-nb-dashboard")
    expect(rows(page, 2)).to_have_count(20)
    expect(rows(page, 2, "completed")).to_have_count(20)  # a row comes first, and what it shows later
    expect(board).to_contain_text("… and 981 more: 981 finished")
    expect(board.locator("[data-total=completed]")).to_have_text("1,001 completed")
    quiet = page.add_cell(QUIET)
    page.run(quiet)
    page.wait_done(quiet)
    expect(page.output(quiet)).to_contain_text("messages: 0 []")
