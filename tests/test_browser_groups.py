"""Many streams in one cell, as a person sees them: a list that fills, columns side by side."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from lab import Lab

pytestmark = pytest.mark.browser

LOAD = (
    "%load_ext gemini_nb\nimport os; os.environ['GEMINI_NB_AUTH'] = 'simulator'\n"
    "cities = [{'name': name} for name in ('Oslo', 'Lima', '<b>Rome</b>', 'Quito')]"
)


def test_a_list_fills_and_columns_stand_side_by_side_until_they_settle(lab: Lab) -> None:
    each = "%%gemini_stream --each cities --concurrency 2 -o group\nDescribe {item.name} in 900 words."
    models = (
        "%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro -o both\nDescribe a lighthouse in 900 words."
    )
    page = lab.open([LOAD, each, models], width=1100, height=1000)
    for i in range(3):
        page.run(i)
        page.wait_done(i)
    listed, columns = page.output(1).locator(".gemini-nb-group"), page.output(2).locator(".gemini-nb-columns")
    expect(listed.locator("tr")).to_have_count(4)
    expect(listed.locator("tr[data-status=active]").first).to_be_visible()
    panes = columns.locator(".gemini-nb-pane")
    expect(panes).to_have_count(2)
    expect(panes.nth(1)).to_contain_text("lighthouse")
    left, right = (panes.nth(i).bounding_box() for i in range(2))
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.screenshot("groups-running")
    listed.get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(1)).to_contain_text("4 answers: 4 stopped")
    expect(page.output(1).locator("details")).to_have_count(4)
    expect(page.output(1).locator("summary").nth(2)).to_contain_text("<b>Rome</b>")
    for i in range(2):
        panes.nth(i).get_by_role("button", name="Stop", exact=True).click()
    expect(page.output(2).locator("h4")).to_have_text(
        ["gemini-2.5-flash¶", "gemini-2.5-pro¶"], timeout=20_000
    )
    page.screenshot("groups-settled")
    assert not page.errors
