"""The kit that the tests in the browser are written with."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.sync_api import expect

from desk import Desk

pytestmark = pytest.mark.browser

OPENING = "pass"  # these need a kernel, and nothing in it
WIDGET = "import ipywidgets; ipywidgets.HTML(\"<b class='probe'>hello</b>\")"


@pytest.mark.slow
def test_a_widget_is_seen_and_survives_a_reload(desk: Desk) -> None:
    page = desk.set([WIDGET, "6 * 7"])
    desk.run(1)
    expect(page.output(1).locator("b.probe")).to_have_text("hello")
    desk.run(2)
    expect(page.output(2)).to_contain_text("42")
    page.screenshot("browser-kit")
    assert page.frames_received > 5
    assert page.bytes_received > 1000

    saved = page.save()
    assert saved["cells"][2]["outputs"][0]["data"]["text/plain"] == "42"
    page.reload()
    expect(page.output(1).locator("b.probe")).to_have_text("hello")
    assert page.errors == []


@pytest.mark.slow
def test_a_running_cell_is_interrupted_and_a_new_kernel_knows_nothing(desk: Desk) -> None:
    page = desk.set(["import time\nx = 1\nprint('asleep')\ntime.sleep(60)", "print('x' in globals())"])
    page.run(1)
    expect(page.output(1)).to_contain_text("asleep")
    page.interrupt()
    page.wait_done(1)
    expect(page.output(1)).to_contain_text("KeyboardInterrupt")
    desk.run(2)
    expect(page.output(2)).to_have_text("True")

    page.restart_kernel_and_reopen()
    expect(page.output(1)).to_contain_text("KeyboardInterrupt")
    added = page.add_cell("print('added', 1 + 1)")
    desk.run(2)
    expect(page.output(2)).to_have_text("False")
    desk.run(added)
    expect(page.output(added)).to_have_text("added 2")


@pytest.mark.slow
def test_run_all_waits_for_the_new_run(desk: Desk) -> None:
    page = desk.set(["import time; time.sleep(0.5); print(time.time_ns())", "2 + 2"])
    page.run_all()
    page.wait_done(2)
    expect(page.output(1)).to_have_text(re.compile(r"^\s*\d+\s*$"))
    first = page.output(1).text_content() or ""
    page.run_all()
    page.wait_done(1)
    expect(page.output(1)).not_to_have_text(first)


async def test_asynchronous_tests_still_run_after_the_browser(anyio_backend: str) -> None:
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().is_running()


def test_no_loop_is_left_running() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
