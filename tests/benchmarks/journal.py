"""What the journal costs for each stream: on the loop's thread, and in all.

Run it with `make bench`. A stream that has ended is told again and again, so that nothing but the journal is
measured. The loop's cost is that of its append.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gemini_nb.journal.store import Store
from gemini_nb.journal.writer import Writer
from gemini_nb.simulator import Simulator
from gemini_nb.streams.journaling import StreamSource
from gemini_nb.streams.manager import StreamManager

STREAMS = 1_000
ROUNDS = 5
SIZES = (1_000, 30_000)
KEY = "a-key-of-this-benchmark"


def measure(folder: Path, sources: list[StreamSource]) -> tuple[float, float]:
    """Microseconds for each stream: to tell of it, and of CPU until it is written."""
    writer = Writer(Store(folder / "journal.db"))
    cpu, began = time.process_time(), time.perf_counter()
    for source in sources:
        writer.add(source)
    told = time.perf_counter() - began
    if not writer.flush(60) or writer.trouble is not None:
        raise SystemExit(f"The journal was not written: {writer.trouble}")
    spent = time.process_time() - cpu
    writer.close()
    return told / len(sources) * 1e6, spent / len(sources) * 1e6


def main() -> None:
    print(f"\nthe journal, medians of {ROUNDS} rounds of {STREAMS:,} streams")
    print(f"{'asked':>9}{'answered':>10}{'µs told':>10}{'µs of CPU in all':>18}", flush=True)
    with Simulator(pace=0, api_key=KEY) as server, tempfile.TemporaryDirectory() as name:
        manager = StreamManager()
        options: dict[str, Any] = {
            "auth": "gemini",
            "credentials": {"api_key": KEY},
            "base_url": server.base_url,
        }
        for size in SIZES:
            stream = manager.start_stream("word " * (size // 5), **options)
            stream.wait()
            found = []
            for number in range(ROUNDS):
                folder = Path(name) / f"{size}-{number}"
                sources = [StreamSource(stream, int, ("a.ipynb", "cell")) for _ in range(STREAMS)]
                found.append(measure(folder, sources))
            told, spent = (statistics.median(values) for values in zip(*found, strict=True))
            print(f"{size:>9,}{len(stream.text):>10,}{told:>10.1f}{spent:>18.0f}", flush=True)
        manager.shutdown()


if __name__ == "__main__":
    main()
