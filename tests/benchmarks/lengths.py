"""What a chunk costs in answers of 1,000, 10,000 and 100,000 chunks: the same, if the cost is linear.

Run it with `make bench`. Once for the decoder alone, which gets its bytes in pieces that fit no event, and
once for the whole line with a subscriber, as fast as a server in another process gives. Lengths take turns;
the figures are medians, and ratios to the shortest of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from paced import run
from paced_server import TEXT, encoded, serving

from gemini_nb.api.sse import SSEDecoder

LENGTHS = (1_000, 10_000, 100_000)
PIECE = 1400
Costs = dict[int, list[tuple[float, float]]]


def decode(length: int) -> tuple[float, float]:
    """Microseconds per chunk for the decoder; what it keeps is nothing."""
    data = b"".join(encoded(number, length, TEXT) for number in range(length))
    decoder, count = SSEDecoder(), 0
    start = time.process_time()
    for place in range(0, len(data), PIECE):
        count += len(decoder.feed(data[place : place + PIECE]))
    if count != length:
        raise SystemExit("The decoder lost an event.")
    return (time.process_time() - start) / length * 1e6, 0.0


def read(port: int) -> Callable[[int], tuple[float, float]]:
    """Microseconds and bytes per chunk for the whole line."""

    def whole_line(length: int) -> tuple[float, float]:
        result = run("ours", port, (1, length, 0), ticking=False)
        if result.whole != 1:
            raise SystemExit("The answer is not whole.")
        return result.cpu / length * 1e6, result.memory / length

    return whole_line


def show(name: str, costs: Costs) -> None:
    """Print one table."""
    shortest = costs[LENGTHS[0]]
    print(f"\n{name}, medians of {len(shortest)} rounds")
    print(f"{'chunks':>9}{'µs/chunk':>10}{'ratio':>7}{'bytes/chunk':>13}")
    for length, found in costs.items():
        ratio = statistics.median(one[0] / first[0] for one, first in zip(found, shortest, strict=True))
        cost, kept = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{length:>9,}{cost:>10.1f}{ratio:>7.2f}{kept:>13,.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with serving() as port:
        for name, cost in {"decoder alone": decode, "whole line": read(port)}.items():
            costs: Costs = {length: [] for length in LENGTHS}
            for _ in range(rounds):
                for length, found in costs.items():
                    found.append(cost(length))
            show(name, costs)


if __name__ == "__main__":
    main()
