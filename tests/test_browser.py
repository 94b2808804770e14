"""What a person sees: the quickstart in a real JupyterLab, and the panes' life in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lab import Lab

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LOAD = "%load_ext gemini_nb\nimport os; os.environ['GEMINI_NB_AUTH'] = 'simulator'"
LONG = "Write a long text of 1500 words about lighthouses."


GROWN = """([i, n]) =>
    document.querySelectorAll('.jp-Cell')[i].querySelector('.gemini-nb-body').innerText.length > n"""
FULL = "() => document.querySelector('.gemini-nb-scroll').clientHeight >= 470"


def code_cells(name: str) -> list[str]:
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_quickstart_from_top_to_bottom(lab: Lab) -> None:
    cells = ["import os; os.environ['GEMINI_NB_AUTH'] = 'simulator'", *code_cells("quickstart.ipynb")]
    page = lab.open(cells, height=1400)
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


def test_stop_in_the_pane_and_in_the_dashboard(lab: Lab) -> None:
    asks = [f"%%gemini_stream -o a\n{LONG}", f"%%gemini_stream -o b\n{LONG} Again."]
    page = lab.open([LOAD, *asks, "%gemini_dashboard"])
    for i in range(4):
        page.run(i)
        page.wait_done(i)
    page.output(1).locator(".gemini-nb-pane").get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(1)).to_contain_text("stopped")
    row = page.output(3).locator(".gemini-nb-row").filter(has=page.page.locator("[data-status=active]"))
    expect(row).to_have_count(1)
    page.page.wait_for_function(FULL)  # until then the pane pushes the dashboard down, away from the mouse
    row.get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(2)).to_contain_text("stopped")
    expect(page.output(3).locator("[data-stream-id][data-status=stopped]")).to_have_count(2)
    page.screenshot("stopped")
