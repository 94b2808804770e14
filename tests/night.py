"""Ten thousand rows over night: what an analyst leaves alone in the evening and finds in the morning.

Run it with `make night`, or `make night ROWS=300`. In a real JupyterLab a cell asks about each row, with a
schema and a keep file, at a service that breaks a tenth of the requests and refuses what is above its quota.
The page is closed; at half the kernel is killed. The cell runs again in another kernel, from a page that is
closed, too. In the morning a new page must show every row, right and paid for once, but for those that were
under way at the kill; and so must the cell in a third kernel, without a request. Pictures of both are in
`test-results/`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "support"))

from playwright.sync_api import expect

from gemini_nb.simulator import Simulator
from lab import Browser, Lab, LabPage, LabServer, find_chromium
from overnight import ASK, FACTS, Service, judge, setup_of

KEEP = "overnight.jsonl"
PATIENCE = 60_000  # milliseconds, for a page on a machine that does other things, too
START = """
import os
os.environ.update(GEMINI_API_KEY="any", GOOGLE_GEMINI_BASE_URL="ADDRESS", GEMINI_NB_AUTH="gemini")
with open("kernel.pid", "w") as file:
    file.write(str(os.getpid()))
"""


class Night:
    """A notebook, its service, and how the night goes.

    Args:
        server: JupyterLab's.
        lab: opens pages there.
        service: what is asked.
        address: the service's.
    """

    def __init__(self, server: LabServer, lab: Lab, service: Service, address: str) -> None:
        self._server, self._lab, self._service = server, lab, service
        self._cells = [
            START.replace("ADDRESS", address) + setup_of(service.rows),
            ASK.replace("KEEP", KEEP),
        ]

    def run(self) -> dict[str, Any]:
        """Spend the night, check the morning, and return the figures."""
        service, began = self._service, time.monotonic()
        evening = self._evening()
        service.wait_for(service.rows // 2)
        os.kill(int((self._server.notebooks / "kernel.pid").read_text()), signal.SIGKILL)
        self._in_the_night(evening.notebook)
        service.wait_for(service.rows)
        morning = self._lab.open_file(evening.notebook)
        facts = self._morning(morning)
        asked = time.monotonic() - began
        again = self._another_morning(morning)
        twice = sum(times > 1 for times in service.whole.values())
        return {
            "rows, right, paid for": f"{service.rows:,}, {facts['right']:,}, {service.whole.total():,}",
            "minutes": f"{asked / 60:.1f}",
            "requests": f"{service.requests:,}",
            "broken on purpose": f"{service.broken:,}",
            "refused by the quota": f"{service.refused:,}",
            "kept when the kernel was killed": f"{len(service.kept_at_kill):,}",
            "under way then, paid for twice": f"{len(service.under_way)}, {twice}",
            "memory of the second kernel": f"{facts['memory']} MB",
            "all from kept answers": f"{again:.1f} s",
        }

    def _evening(self) -> LabPage:
        page = self._lab.open([*self._cells, "%gemini_dashboard"])
        for number in range(2):
            self._run(page, number)
        expect(page.output(1)).to_contain_text(f"/{self._service.rows:,}", timeout=PATIENCE)
        self._run(page, 2)
        page.save()
        page.close()
        return page

    def _in_the_night(self, notebook: str) -> None:
        """Run the cell again in the kernel that the server has started meanwhile."""
        page = self._lab.open_file(notebook)
        self._run(page, page.add_cell(self._cells[0]))
        self._service.note_kill(self._server.notebooks / KEEP)
        number = page.add_cell(self._cells[1])
        self._run(page, number)
        expect(page.output(number)).to_contain_text(" kept", timeout=PATIENCE)
        page.close()

    def _morning(self, page: LabPage) -> dict[str, Any]:
        for source in (FACTS, "%gemini_show judged"):
            number = page.add_cell(source)
            self._run(page, number, 600)
        self._look(page, number, "night-morning")
        *_, said, shown = page.save().cells
        return self._service.check(said.outputs[0]["text"], shown.outputs[0]["data"]["text/markdown"])

    def _another_morning(self, page: LabPage) -> float:
        """Run the cell in a new kernel, where all is kept and nothing is asked; return the seconds."""
        asked = self._service.requests
        page.restart_kernel_and_reopen()
        self._run(page, page.add_cell(self._cells[0]))
        began, number = time.monotonic(), page.add_cell(self._cells[1])
        self._run(page, number)
        self._look(page, number, "night-kept")
        seconds = time.monotonic() - began
        self._run(page, page.add_cell(FACTS))
        *_, shown, said = page.save().cells
        facts = self._service.check(said.outputs[0]["text"], shown.outputs[0]["data"]["text/markdown"])
        assert (facts["kept"], self._service.requests) == (self._service.rows, asked)
        return seconds

    def _look(self, page: LabPage, number: int, name: str) -> None:
        """Wait until a cell shows the settled table, and take a picture of it."""
        expect(page.output(number)).to_contain_text(f"{self._service.rows:,} answers", timeout=2 * PATIENCE)
        expect(page.output(number).locator("table")).to_be_visible(timeout=PATIENCE)
        page.output(number).evaluate("output => output.scrollIntoView()")
        page.screenshot(name)

    def _run(self, page: LabPage, number: int, seconds: float = PATIENCE / 1000) -> None:
        page.run(number)
        page.wait_done(number, seconds)


def spend(rows: int, seed: int, server: LabServer, browser: Browser) -> dict[str, Any]:
    """Spend a night with so many rows, and return its figures.

    Raises:
        AssertionError: a row is wrong, missing or paid for twice, or a page does not show what it should.
    """
    service = Service(rows, seed)
    with Simulator(scenario=judge, faults=service.fault) as simulator, browser.active():
        lab = Lab(server, browser)
        try:
            return Night(server, lab, service, simulator.base_url).run()
        finally:
            lab.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    if (chromium := find_chromium()) is None:
        print("no browser: install Chromium or Chrome")
        return 2
    print(f"seed {options.seed}", flush=True)
    try:
        with contextlib.ExitStack() as stack:
            server = LabServer(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "lab")
            stack.callback(server.stop)
            server.start()
            browser = Browser(chromium)
            stack.callback(browser.close)
            figures = spend(options.rows, options.seed, server, browser)
    except AssertionError as error:
        print(f"WRONG: {error}")
        return 1
    width = max(map(len, figures))
    print("\n".join(f"| {name:{width}} | {value} |" for name, value in figures.items()))
    print(f"all {options.rows:,} rows are right, each paid for once but those under way at the kill")
    return 0


if __name__ == "__main__":
    sys.exit(main())
