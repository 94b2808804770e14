"""What a live pane costs a page: bytes on the websocket, lag behind the last chunk, gaps between frames.

Run it by itself; it needs Chromium. One answer of 100 KB comes in 2,000 chunks within ten seconds; then eight
panes grow at once. Before each, an empty round says what the page does without a pane.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lab import Browser, Lab, LabPage, LabServer, find_chromium

CHUNKS, SECONDS, PANES = 2000, 10.0, 8
SETUP = """%load_ext gemini_nb
import gemini_nb, os, json
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
simulator = Simulator(scenario=scenario, pace=1).start()
os.environ.update(GOOGLE_GEMINI_BASE_URL=simulator.base_url, GEMINI_API_KEY='any', GEMINI_NB_AUTH='gemini')"""
ONE = f"%%gemini_stream -o one\n[{CHUNKS}, {SECONDS / CHUNKS * 0.8}]"
MANY = f"""from IPython.display import display
many = [gemini_nb.get_manager().start_stream('[400, 0.02]') for _ in range({PANES})]
for stream in many: display(gemini_nb.StreamPane(stream))"""
FACTS = """from gemini_nb import TextDelta
print(json.dumps([len(one.text.encode()), [e.time for e in one.events if isinstance(e, TextDelta)][-1],
                  one.record.ended_at - one.record.started_at]))"""
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


def one_long_answer(page: LabPage) -> None:
    page.page.evaluate("() => { window.gaps.splice(0); }")
    before, frames = page.bytes_received, page.frames_received
    page.run(1)
    page.wait_done(1)
    page.page.wait_for_function("() => window.seen !== null", timeout=60_000)
    sent, frames = page.bytes_received - before, page.frames_received - frames
    seen = page.page.evaluate("() => window.seen")
    shown = gaps(page)
    page.run(2)
    page.wait_done(2)
    size, last, took = json.loads(page.output(2).inner_text())
    print(f"one answer of {size:,} bytes in {CHUNKS:,} chunks and {took:.1f} s:")
    print(f"  {sent:,} bytes in {frames:,} frames on the websocket, {sent / size:.1f} for each byte of text")
    print(f"  {1000 * (seen - last):.0f} ms from the last chunk to the page; {shown}")


def many_panes(page: LabPage) -> None:
    page.run(3)
    page.wait_done(3)
    page.page.wait_for_timeout(1500)
    page.page.evaluate("() => { window.gaps.splice(0); }")
    page.page.wait_for_timeout(6000)
    print(f"{PANES} live panes: {gaps(page)}")


def main() -> None:
    executable = find_chromium()
    if executable is None:
        sys.exit("There is no Chromium in PATH.")
    browser, server = Browser(executable), LabServer(Path(tempfile.mkdtemp()))
    server.start()
    try:
        with browser.active():
            lab = Lab(server, browser)
            page = lab.open([SETUP, ONE, FACTS, MANY])
            page.run(0)
            page.wait_done(0)
            page.page.evaluate(WATCH)
            page.page.wait_for_timeout(3000)
            print(f"no pane: {gaps(page)}")
            one_long_answer(page)
            many_panes(page)
            lab.close(None)
    finally:
        browser.close()
        server.stop()


if __name__ == "__main__":
    main()
