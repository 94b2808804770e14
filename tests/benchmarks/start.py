"""What a stream costs beside its chunks, from `start_stream` to its end: ours, google-genai's, a bare socket.

Run it with `make bench`. A server in another process gives an answer of three chunks at once. First streams
one after the other, then all at once; clients take turns, each in a process of its own. The figures are
milliseconds of processor time per stream, medians over the rounds; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time

import paced_server
from paced import NAMES
from paced_client import CLIENTS, Ask, Watch

CHUNKS = 3
WARM_UP = 20
Costs = list[tuple[float, float]]


def cost(ask: Ask, streams: int, *, at_once: bool) -> float:
    """Return the milliseconds of processor time per stream."""
    name = paced_server.model(0, CHUNKS, 0)
    watch = Watch(CHUNKS)
    counts = [streams] if at_once else [1] * streams
    gc.collect()
    start = time.process_time()
    texts = [text for count in counts for text in ask(name, count, watch)]
    used = time.process_time() - start
    if not all(paced_server.is_whole(text, CHUNKS) for text in texts):
        raise SystemExit("An answer is not whole.")
    return used / streams * 1000


def measure(kind: str, port: int, streams: int) -> tuple[float, float]:
    """Measure one client in this process; imports, pools and first calls are not what is measured."""
    with CLIENTS[kind](port) as ask:
        for at_once in (False, True):
            cost(ask, WARM_UP, at_once=at_once)
        return cost(ask, streams, at_once=False), cost(ask, streams, at_once=True)


def run(kind: str, port: int, streams: int) -> tuple[float, float]:
    """Measure one client in a process of its own."""
    command = [sys.executable, __file__, "--client", kind, "--port", str(port), "--streams", str(streams)]
    alone, together = json.loads(subprocess.check_output(command, text=True))
    return alone, together


def show(found: dict[str, Costs], streams: int) -> None:
    """Print both tables."""
    for place, title in enumerate(("one after the other", "at once")):
        print(f"\n{streams:,} streams {title}; medians of {len(found['ours'])} rounds")
        print(f"{'':<21}{'ms/stream':>10}{'to socket':>11}{'to google':>11}")
        for kind, rounds in found.items():
            line = f"{NAMES[kind]:<21}{statistics.median(one[place] for one in rounds):>10.2f}"
            for peer in ("socket", "google"):
                pairs = zip(rounds, found[peer], strict=True)
                line += f"{statistics.median(own[place] / other[place] for own, other in pairs):>11.2f}"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--client", choices=list(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(measure(options.client, options.port, options.streams)))
        return
    with paced_server.serving() as port:
        found: dict[str, Costs] = {kind: [] for kind in NAMES}
        for _ in range(options.rounds):
            for kind, rounds in found.items():
                rounds.append(run(kind, port, options.streams))
    show(found, options.streams)


if __name__ == "__main__":
    main()
