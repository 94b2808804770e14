"""What streams that arrive in real time cost: ours, google-genai's and the bare limit, side by side.

Run it with `make bench`. First 100 streams at 20 chunks a second with a subscriber on each: processor time
per chunk. Then 100 and 1,000 streams at 10 chunks a second: are they whole, what do they cost, how soon is
the first event seen, and how late is a main thread that ticks every 10 ms. Clients take turns, and each
figure is the median over the rounds; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from paced_client import Result
from paced_server import serving

NAMES = {"socket": "bare asyncio socket", "ours": "gemini_nb", "google": "google-genai"}
CLIENT = Path(__file__).with_name("paced_client.py")


def run(kind: str, port: int, shape: tuple[int, int, int], *, ticking: bool) -> Result:
    """Measure one client in a process of its own."""
    command = [sys.executable, CLIENT, kind, *map(str, (port, *shape)), "tick" if ticking else "still"]
    return Result(**json.loads(subprocess.check_output(command, text=True)))


def rounds_of(
    kinds: list[str], port: int, shape: tuple[int, int, int], rounds: int, *, ticking: bool
) -> dict[str, list[Result]]:
    """Let the clients take turns."""
    found: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, results in found.items():
            results.append(run(kind, port, shape, ticking=ticking))
    return found


def show(found: dict[str, list[Result]], shape: tuple[int, int, int], *, ticking: bool) -> None:
    streams, chunks, pace = shape
    rounds = len(found["socket"])
    print(f"\n{streams:,} streams, {chunks} chunks each, {pace} a second; medians of {rounds} rounds")
    head = f"{'':<21}{'whole':>7}{'µs/chunk':>10}{'to socket':>11}{'to google':>11}{'first ms':>10}"
    print(head + (f"{'KB/stream':>11}{'p99 lag ms':>12}" if ticking else ""))
    for kind, results in found.items():
        cost = statistics.median(one.cpu for one in results) / (streams * chunks) * 1e6
        line = f"{NAMES[kind]:<21}{min(one.whole for one in results):>7,}{cost:>10.0f}"
        for peer in ("socket", "google"):
            line += f"{_ratio(results, found.get(peer)):>11}"
        line += f"{statistics.median(one.first for one in results):>10.2f}"
        if ticking:
            line += f"{statistics.median(one.memory for one in results) / 1000:>11.0f}"
            line += f"{statistics.median(one.lag for one in results):>12.1f}"
        print(line, flush=True)


def _ratio(ours: list[Result], peers: list[Result] | None) -> str:
    if peers is None:
        return "-"
    return f"{statistics.median(own.cpu / peer.cpu for own, peer in zip(ours, peers, strict=True)):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=40, help="of the first table; the others have half")
    parser.add_argument("--only", choices=("cpu", "100", "1000"))
    parser.add_argument(
        "--full", action="store_true", help="a thousand of google-genai's, too; it takes long"
    )
    options = parser.parse_args()
    tables = {
        "cpu": ((100, options.chunks, 20), False),
        "100": ((100, options.chunks // 2, 10), True),
        "1000": ((1000, options.chunks // 2, 10), True),
    }
    with serving() as port:
        for name, (shape, ticking) in tables.items():
            if options.only in {None, name}:
                kinds = list(NAMES) if options.full or name != "1000" else ["socket", "ours"]
                found = rounds_of(kinds, port, shape, options.rounds, ticking=ticking)
                show(found, shape, ticking=ticking)


if __name__ == "__main__":
    main()
