"""How long an unrelated stream waits while answers are settled, and how long a settled one takes.

Run it with `make bench`. A stream gets a few words every 20 ms from a server in another process; beside it,
live panes show and settle an answer of 354 KB, a list of 5,000 items, and 200 answers of a group, all as fast
as they come, and one answer of 100 KB that streams for ten seconds. What is shown is the longest gap between
two events of the unrelated stream (20 ms is none) from the last event on, and the time until the settled
output. The main thread only waits.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gemini_nb
from gemini_nb import Stream, StreamManager
from gemini_nb.notebook.pane.group_view import view_of
from gemini_nb.notebook.render.markdown import settle, to_html
from gemini_nb.streams.group.group import StreamGroup

TITLE = "a stream's longest gap (20 ms is none), and time to settle, after the last event"
ROUNDS = 3
SERVER = """import json, sys
from gemini_nb.simulator import Simulator
BLOCK = '''## Section {0}

Some *words* of an answer with `code`, **strong** ones and [a link](https://example.com/{0}); it costs $5.

- one item
- another, with $a_{0}^2$

| a | b |
|---|---|
| 1 | {0} |

```python
print({0})
```

'''
def said(text, **more):
    return {'candidates': [{'content': {'parts': [{'text': text}]}, **more}]}
def scenario(body, model):
    kind, size, seconds = json.loads(body['contents'][0]['parts'][0]['text'])
    if kind == 'tick':
        while True:
            yield said('words ')
            yield 0.02
    if kind == 'list':
        text = ''.join(f'- item {number} of *many*\\n' for number in range(size))
    else:
        text = ''.join(BLOCK.format(number) for number in range(size // 205 + 1))[:size]
    step = 400
    for place in range(0, len(text), step):
        yield said(text[place:place + step])
        if seconds:
            yield seconds * step / len(text)
    yield said('', finishReason='STOP')
print(Simulator(scenario=scenario, pace=1).start().base_url, flush=True)
sys.stdin.read()"""
CASES: dict[str, tuple[str, int, float, int]] = {
    "an answer of 177 KB": ("mixed", 177_000, 0, 1),
    "an answer of 354 KB": ("mixed", 354_000, 0, 1),
    "a list of 2,500 items": ("list", 2_500, 0, 1),
    "a list of 5,000 items": ("list", 5_000, 0, 1),
    "100 answers of a group, 2 KB each": ("mixed", 2_000, 0, 100),
    "200 answers of a group, 2 KB each": ("mixed", 2_000, 0, 200),
    "an answer of 100 KB that streamed for ten seconds": ("mixed", 100_000, 10, 1),
}


class Display:
    """Where the settled output goes, in place of a notebook's."""

    def __init__(self) -> None:
        self.then = 0.0

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        """Note when it came."""
        if raw and bundle["text/markdown"]:
            self.then = time.time()


@contextmanager
def server() -> Iterator[str]:
    """The server's address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def measured(manager: StreamManager, url: str, case: tuple[str, int, float, int]) -> tuple[float, float]:
    """The longest gap and the time to settle, in seconds."""
    kind, size, seconds, count = case
    begun = threading.Event()

    def start(prompt: str, subscriber: Any = None) -> Stream:
        credentials = {"api_key": "any"}
        return manager.start_stream(prompt, subscriber, auth="gemini", base_url=url, credentials=credentials)

    ticking = start('["tick", 0, 0]', lambda event: begun.set() if event.kind == "text_delta" else None)
    begun.wait(10)
    display = Display()
    streams = [start(f'["{kind}", {size}, {seconds}]') for _ in range(count)]
    view = view_of(streams[0] if count == 1 else StreamGroup(streams, items=range(count)))
    view.settle_into(display)
    view._repr_mimebundle_()
    for stream in streams:
        stream.wait()
    ended = max(stream.record.ended_at or 0.0 for stream in streams)
    view.settled.result(300)
    if not display.then:
        raise SystemExit("Nothing was settled.")
    times = [event.time for event in ticking.events if event.time > ended]
    ticking.stop()
    view.detach()
    return max(
        b - a for a, b in zip([ended, *times], [*times, time.time()], strict=True)
    ), display.then - ended


def main() -> None:
    settle(to_html("Imported *now*."))
    manager = gemini_nb.StreamManager()
    print(f"\nmedians of {ROUNDS} rounds, as docs/figures.md has them\n")
    print(f"| {TITLE} | gap, ms | settled, ms |")
    print("|---|---:|---:|")
    with server() as url:
        for name, case in CASES.items():
            found = [measured(manager, url, case) for _ in range(ROUNDS)]
            gap, settled = (statistics.median(values) * 1000 for values in zip(*found, strict=True))
            print(f"| {name} | {gap:,.0f} | {settled:,.0f} |", flush=True)
    manager.shutdown()


if __name__ == "__main__":
    main()
