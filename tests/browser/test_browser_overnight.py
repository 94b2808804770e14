"""The same night in JupyterLab, whose page is closed while the rows run, and opened again in the morning."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.sync_api import expect

from gemini_nb.simulator import Simulator
from lab import Browser, Lab, LabServer
from overnight import ASK, FACTS, ROWS, SETUP, Service, check_morning, judge

pytestmark = [pytest.mark.browser, pytest.mark.slow]

START = """
import os
os.environ.update(GEMINI_API_KEY="any", GOOGLE_GEMINI_BASE_URL="ADDRESS", GEMINI_NB_AUTH="gemini")
with open("kernel.pid", "w") as file:
    file.write(str(os.getpid()))
"""


@pytest.mark.timeout(300 + ROWS // 5)
def test_a_closed_page_and_a_killed_kernel_cost_no_row(lab_server: LabServer, browser: Browser) -> None:
    service = Service()
    with Simulator(scenario=judge, faults=service.fault) as simulator, browser.active():
        lab = Lab(lab_server, browser)
        cells = [START.replace("ADDRESS", simulator.base_url) + SETUP, ASK.replace("KEEP", "overnight.jsonl")]
        evening = lab.open(cells)
        try:
            for number in (0, 1):
                evening.run(number)
                evening.wait_done(number)
            expect(evening.output(1)).to_contain_text(f"/{ROWS:,}")
            evening.save()
            evening.close()
            service.wait_for(ROWS // 2)
            os.kill(int((lab_server.notebooks / "kernel.pid").read_text()), signal.SIGKILL)

            night = lab.open_file(evening.notebook)  # the server has started another kernel
            for source in cells:
                number = night.add_cell(source)
                night.run(number)
                night.wait_done(number)
            expect(night.output(number)).to_contain_text(" kept")
            night.close()
            service.wait_for(ROWS)

            morning = lab.open_file(evening.notebook)
            for source in (FACTS, "%gemini_show judged"):
                number = morning.add_cell(source)
                morning.run(number)
                morning.wait_done(number, 300)
            expect(morning.output(number)).to_contain_text(f"{ROWS:,} answers")
            *_, said, shown = morning.save().cells
        finally:
            lab.close()
    check_morning(service, said.outputs[0]["text"], shown.outputs[0]["data"]["text/markdown"])
