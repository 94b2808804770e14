"""What a user sees in a real JupyterLab: the quickstart, what stops an answer, many answers in one cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from desk import Desk

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
OPENING = "import os; os.environ['GEMINI_NB_AUTH'] = 'simulator'"  # the quickstart is the first to load it
LOAD = "%load_ext gemini_nb"
CITIES = "cities = [{'name': name} for name in ('Oslo', 'Lima', '<b>Rome</b>', 'Quito')]"
LONG = "Write a long text of 9000 words about lighthouses."
BOXES = "panes => panes.map(pane => pane.getBoundingClientRect().toJSON())"


def code_cells(name: str) -> list[str]:
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_quickstart_from_top_to_bottom(desk: Desk) -> None:
    page = desk.set(code_cells("quickstart.ipynb"), height=1400)
    page.run_all()
    first, trip, table, busy, last = 2, 4, 5, 6, 7
    page.wait_done(trip)
    pane = page.output(trip).locator(".gemini-nb-pane")
    expect(pane.locator("[data-stream-id][data-status=active]")).to_be_visible()
    expect(pane.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.output(table).locator(".gemini-nb-dashboard .gemini-nb-row")).to_have_count(2)
    page.screenshot("quickstart-running")
    page.wait_done(busy, timeout=30)
    page.wait_done(last, timeout=60)
    expect(page.output(last)).to_contain_text("Lisbon")
    expect(page.output(trip).locator("details summary")).to_contain_text("weather")
    expect(page.output(first).locator(".jp-RenderedMarkdown")).to_contain_text("simulated")
    page.screenshot("quickstart-settled")
    saved = page.save()
    outputs = [output for cell in saved.cells for output in cell.get("outputs", ())]
    assert sum("text/markdown" in output.get("data", {}) for output in outputs) == 2
    assert not page.errors


def test_stop_in_the_pane_and_in_the_dashboard(desk: Desk) -> None:
    asks = [f"%%gemini_stream -o a\n{LONG}", f"%%gemini_stream -o b\n{LONG} Again."]
    page = desk.set([LOAD, "%gemini_dashboard", *asks])  # on top, where no pane pushes it away from the mouse
    desk.run(1, 2, 3, 4)
    page.output(3).locator(".gemini-nb-pane").get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(3)).to_contain_text("stopped")
    stopped = page.output(2).locator("[data-stream-id][data-status=stopped]")
    expect(stopped).to_have_count(1)
    row = page.output(2).locator(".gemini-nb-row").filter(has=page.page.locator("[data-status=active]"))
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(4)).to_contain_text("stopped")
    expect(stopped).to_have_count(2)
    page.screenshot("stopped")


def test_a_list_fills_and_columns_stand_side_by_side_until_they_settle(desk: Desk) -> None:
    each = "%%gemini_stream --each cities --concurrency 2 -o group\nDescribe {item.name} in 900 words."
    models = (
        "%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro -o both\nDescribe a lighthouse in 900 words."
    )
    page = desk.set([f"{LOAD}\n{CITIES}", each, models], width=1100, height=1000)
    desk.run(1, 2, 3)
    listed, columns = page.output(2).locator(".gemini-nb-group"), page.output(3).locator(".gemini-nb-columns")
    expect(listed.locator("tr")).to_have_count(4)
    expect(listed.locator("tr[data-status=active]").first).to_be_visible()
    panes = columns.locator(".gemini-nb-pane")
    expect(panes).to_have_count(2)
    expect(panes.nth(1)).to_contain_text("lighthouse")
    left, right = panes.evaluate_all(BOXES)  # both at one moment, since what stands above may grow
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.screenshot("groups-running")
    listed.get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(2)).to_contain_text("4 answers: 4 stopped")
    expect(page.output(2).locator("details")).to_have_count(4)
    expect(page.output(2).locator("summary").nth(2)).to_contain_text("<b>Rome</b>")
    for i in range(2):
        panes.nth(i).get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(3).locator(".jp-RenderedMarkdown > div > p:first-child > strong")).to_have_text(
        ["gemini-2.5-flash (simulated)", "gemini-2.5-pro (simulated)"]
    )
    page.screenshot("groups-settled")
    assert not page.errors
