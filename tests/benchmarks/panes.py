"""What live panes cost: bytes and frames on the websocket, gaps between the page's frames, kernel time.

Run it by itself; it needs Chromium. One answer of 100 KB comes in 2,000 chunks within ten seconds; then
one, ten and fifty such answers grow at once, as fast as the machine can where that is slower. Before each,
the same streams run without a pane, so that what remains is the panes'. The server that answers is a
process of its own. Linux only.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from lab import Browser, Lab, LabPage, LabServer, find_chromium

CHUNKS, SECONDS, PANES = 2000, 10.0, (1, 10, 50)
SERVER = """import json, sys, threading
from gemini_nb.simulator import Simulator
WORDS = 'Some words of an answer that a person may read, one of them *strong*. '
def scenario(body, model):
    count, pause = json.loads(body['contents'][0]['parts'][0]['text'])
    for number in range(count):
        end = '\\n\\n' if number % 9 == 8 else ''
        text = WORDS[:46] + f' {number:>3}' + end
        yield {'candidates': [{'content': {'parts': [{'text': text}]}}]}
        yield pause
    yield {'candidates': [{'content': {'parts': [{'text': 'THE' + '-END'}]}, 'finishReason': 'STOP'}]}
print(Simulator(scenario=scenario, pace=1).start().base_url, flush=True)
sys.stdin.read()"""
SETUP = """%load_ext gemini_nb
import gemini_nb, os, json
from IPython.display import display
os.environ.update(GOOGLE_GEMINI_BASE_URL={url!r}, GEMINI_API_KEY='any', GEMINI_NB_AUTH='gemini')
print(os.getpid())"""
ASKED = f"[{CHUNKS}, {SECONDS / CHUNKS * 0.8}]"
ONE = f"%%gemini_stream -o one\n{ASKED}"
FACTS = """from gemini_nb import TextDelta
print(json.dumps([len(one.text.encode()), [e.time for e in one.events if isinstance(e, TextDelta)][-1],
                  one.record.ended_at - one.record.started_at]))"""
START = f"many = [gemini_nb.get_manager().start_stream({ASKED!r}) for _ in range({{count}})]"
SHOW = "for stream in many: display(gemini_nb.StreamPane(stream))"
WAIT = """import asyncio
for stream in many: await stream
print(json.dumps([sum(len(stream.text.encode()) for stream in many),
                  max(stream.record.ended_at - stream.record.started_at for stream in many)]))"""
WATCH = """() => {
  window.gaps = []; window.seen = null;
  let before = performance.now();
  const frame = now => { window.gaps.push(now - before); before = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new MutationObserver(() => {
    const text = document.querySelector('.jp-Notebook').textContent;
    if (window.seen === null && text.includes('THE-END')) window.seen = Date.now() / 1000;
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def gaps(page: LabPage) -> str:
    found = sorted(page.page.evaluate("() => window.gaps.splice(0)"))
    p95 = found[int(len(found) * 0.95)]
    return (
        f"frame gaps: median {statistics.median(found):.0f} ms, p95 {p95:.0f} ms, longest {found[-1]:.0f} ms"
    )


class Meter:
    """Bytes and frames on the websocket, and the kernel's CPU seconds, since it was made."""

    def __init__(self, page: LabPage, kernel: str) -> None:
        self._page, self._kernel = page, kernel
        self._bytes, self._frames, self._cpu = page.bytes_received, page.frames_received, self._seconds()

    def _seconds(self) -> float:
        user, system = Path(f"/proc/{self._kernel}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def bytes(self) -> int:
        return int(self._page.bytes_received - self._bytes)

    @property
    def frames(self) -> int:
        return int(self._page.frames_received - self._frames)

    @property
    def cpu(self) -> float:
        return self._seconds() - self._cpu


class CommTimes:
    """When the kernel sent each comm message, as its header says."""

    DATE = re.compile(
        r'"msg_type": ?"comm_\w+".{0,300}?"date": ?"([^"]+)"|"date": ?"([^"]+)".{0,300}?"msg_type": ?"comm_'
    )

    def __init__(self, page: LabPage) -> None:
        self.times: list[float] = []
        page.page.on("websocket", lambda socket: socket.on("framereceived", self._note))

    def _note(self, payload: str | bytes) -> None:
        head = payload[:2000].decode("utf-8", "replace") if isinstance(payload, bytes) else payload[:2000]
        if found := self.DATE.search(head):
            self.times.append(datetime.fromisoformat(found[1] or found[2]).timestamp())

    def busiest(self) -> int:
        """The most within any second; forgets them."""
        window: deque[float] = deque()
        most = 0
        for when in sorted(self.times):
            window.append(when)
            while window[0] <= when - 1:
                window.popleft()
            most = max(most, len(window))
        self.times.clear()
        return most


def one_long_answer(page: LabPage, kernel: str) -> None:
    page.page.evaluate("() => { window.gaps.splice(0); }")
    meter = Meter(page, kernel)
    page.run(1)
    page.wait_done(1)
    page.page.wait_for_function("() => window.seen !== null", timeout=60_000)
    sent, frames, cpu = meter.bytes, meter.frames, meter.cpu
    seen = page.page.evaluate("() => window.seen")
    shown = gaps(page)
    page.run(2)
    page.wait_done(2)
    size, last, took = json.loads(page.output(2).inner_text())
    print(f"one answer of {size:,} bytes in {CHUNKS:,} chunks and {took:.1f} s:")
    print(f"  {sent:,} bytes in {frames:,} frames on the websocket, {sent / size:.1f} for each byte of text")
    print(f"  {1000 * (seen - last):.0f} ms from the last chunk to the page; {shown}; {cpu:.2f} s of CPU")


def run_streams(page: LabPage, kernel: str, first: int) -> tuple[int, float, Meter]:
    """Run the cell that starts them and the one that waits; returns bytes of text, seconds and the costs."""
    meter = Meter(page, kernel)
    page.run(first)
    page.wait_done(first)
    page.run(first + 1)
    page.wait_done(first + 1, 120)
    page.page.wait_for_timeout(2500)  # the last states
    size, took = json.loads(page.output(first + 1).inner_text())
    return size, took, meter


def many_panes(page: LabPage, kernel: str, times: CommTimes, count: int, first: int) -> None:
    _, before, plain = run_streams(page, kernel, first)
    alone = plain.cpu
    page.page.evaluate("() => { window.gaps.splice(0); }")
    times.busiest()
    size, took, meter = run_streams(page, kernel, first + 2)
    print(f"{count} live panes, {size:,} bytes of text in {took:.1f} s ({before:.1f} s without panes):")
    print(
        f"  {meter.bytes:,} bytes in {meter.frames:,} frames on the websocket, {meter.bytes / size:.1f} for"
        f" each byte of text; {times.busiest()} comm messages in the busiest second"
    )
    print(f"  {meter.cpu:.2f} s of CPU in the kernel, {alone:.2f} s without panes; {gaps(page)}")


def measure(lab: Lab, url: str) -> None:
    cells = []
    for count in PANES:
        start = START.format(count=count)
        cells += [start, WAIT, f"{start}\n{SHOW}", WAIT]
    page = lab.open([SETUP.format(url=url), ONE, FACTS, *cells])
    times = CommTimes(page)
    page.reload(idle=True)  # which opens the websocket that is listened to
    page.run(0)
    page.wait_done(0)
    kernel = page.output(0).inner_text().strip()
    page.page.evaluate(WATCH)
    page.page.wait_for_timeout(3000)
    print(f"no pane: {gaps(page)}")
    one_long_answer(page, kernel)
    print(f"  {times.busiest()} comm messages in the busiest second")
    for number, count in enumerate(PANES):
        many_panes(page, kernel, times, count, 3 + 4 * number)
    lab.close()


@contextmanager
def lab_and_answers() -> Iterator[tuple[Lab, str]]:
    """JupyterLab in a browser, and the address of a server that answers."""
    executable = find_chromium()
    if executable is None:
        sys.exit("There is no Chromium in PATH.")
    answers = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    browser, server = Browser(executable), LabServer(Path(tempfile.mkdtemp()))
    server.start()
    try:
        with browser.active():
            assert answers.stdout is not None
            yield Lab(server, browser), answers.stdout.readline().strip()
    finally:
        browser.close()
        server.stop()
        answers.terminate()
        answers.wait()


def main() -> None:
    with lab_and_answers() as (lab, url):
        measure(lab, url)


if __name__ == "__main__":
    main()
