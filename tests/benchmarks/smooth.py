"""How smooth a page with many live panes is: fifty answers of 20 chunks a second, in headless Chromium.

Frames are counted by requestAnimationFrame. Before, the same streams run without a pane, so that what remains
of the kernel's time is the panes'. What the page does meanwhile is Chromium's own count of its main thread.
Linux only; it says so and measures nothing where there is no Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from panes import ASKED, SETUP, SHOW, START, WAIT, CommTimes, Meter, lab_and_answers

from lab import Lab, LabPage

SETTLING = 4000.0  # milliseconds
PACE = 20  # chunks a second of each answer
WATCH = """() => {
  window.gaps = [];
  let before = performance.now();
  const frame = now => { window.gaps.push(now - before); before = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""
DOES = {"ScriptDuration": "scripts", "RecalcStyleDuration": "style", "LayoutDuration": "layout"}


class PageWork:
    """Seconds that the page's main thread worked, in all and on what, since it was made."""

    def __init__(self, page: LabPage) -> None:
        self._session: Any = page.page.context.new_cdp_session(page.page)
        self._session.send("Performance.enable")
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return {metric["name"]: metric["value"] for metric in metrics}

    def words(self, seconds: float) -> str:
        """How much of each second it worked, since this was asked last."""
        now = self._read()
        spent = {name: (value - self._before.get(name, 0)) / seconds for name, value in now.items()}
        self._before = now
        parts = ", ".join(f"{said} {spent[name]:.0%}" for name, said in DOES.items())
        return f"page's main thread busy {spent['TaskDuration']:.0%} ({parts})"


def frames_of(page: LabPage) -> list[float]:
    """Milliseconds between two frames, since this was asked last."""
    found: list[float] = page.page.evaluate("() => window.gaps.splice(0)")
    return sorted(found)


def p95(values: list[float]) -> float:
    return values[int(len(values) * 0.95)]


class Bench:
    """A notebook whose cells start the streams and wait for them, without and with panes."""

    def __init__(self, lab: Lab, url: str, count: int, seconds: float) -> None:
        self._count = count
        start = START.replace(repr(ASKED), repr(f"[{int(seconds * PACE)}, {1 / PACE}]")).format(count=count)
        self.page = lab.open([SETUP.format(url=url), start, WAIT, f"{start}\n{SHOW}", WAIT])
        self._times = CommTimes(self.page)
        self.page.reload(idle=True)  # which opens the websocket that is listened to
        self._run(0)
        self._kernel = self.page.output(0).inner_text().strip()
        self.page.page.evaluate(WATCH)

    def _run(self, cell: int) -> None:
        self.page.run(cell)
        self.page.wait_done(cell, 120)

    def alone(self) -> float:
        """Seconds of CPU that the streams cost without panes."""
        meter = Meter(self.page, self._kernel)
        self._run(1)
        self._run(2)
        self.page.page.wait_for_timeout(SETTLING)
        return meter.cpu

    def round(self) -> tuple[float, float]:
        """Measure once and say it; returns the frames' p95 and the panes' share of CPU."""
        page, alone = self.page, self.alone()
        self._times.busiest()
        meter, work, began = Meter(page, self._kernel), PageWork(page), time.monotonic()
        frames_of(page)
        self._run(3)
        self._run(4)
        live, words = frames_of(page), work.words(time.monotonic() - began)
        size, took = json.loads(page.output(4).inner_text())
        page.page.wait_for_timeout(SETTLING)
        print(
            f"{self._count} live panes, {size:,} bytes of text in {took:.1f} s; load {os.getloadavg()[0]:.1f}"
        )
        for what, found in (("live", live), ("settling", frames_of(page))):
            middle = statistics.median(found)
            print(f"  frames, {what}: median {middle:.0f} ms, p95 {p95(found):.0f}, longest {found[-1]:.0f}")
        print(f"  kernel: {meter.cpu:.2f} s of CPU, {alone:.2f} without panes")
        print(
            f"  {meter.frames:,} messages of {meter.bytes:,} bytes,"
            f" {self._times.busiest()} comm messages in the busiest second"
        )
        print(f"  {words}")
        return p95(live), meter.cpu - alone


def measure(lab: Lab, url: str, count: int, seconds: float, rounds: int) -> None:
    bench = Bench(lab, url, count, seconds)
    bench.page.page.wait_for_timeout(2000)
    print(f"no pane: frames p95 {p95(frames_of(bench.page)):.0f} ms; load {os.getloadavg()[0]:.1f}")
    frames, shares = zip(*(bench.round() for _ in range(rounds)), strict=True)
    print(f"median: p95 {statistics.median(frames):.0f} ms, panes {statistics.median(shares):.2f} s of CPU")
    lab.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with lab_and_answers() as (lab, url):
        measure(lab, url, options.panes, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
