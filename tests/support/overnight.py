"""A night of many rows: what they ask, a service with a quota that breaks a tenth of it, and the morning."""

from __future__ import annotations

import collections
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemini_nb.simulator import Fault

__all__ = ["ASK", "CONCURRENCY", "FACTS", "Service", "judge", "kept_rows", "setup_of"]

CONCURRENCY = 32
PER_MINUTE = 4200
PATIENCE = 120.0  # seconds without a request, after which the run has ended or hangs
USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 12, "totalTokenCount": 20}
SETUP = """
%load_ext gemini_nb
from dataclasses import dataclass

@dataclass
class Judged:
    number: int
    is_even: bool
    note: str

def right(number):
    return Judged(number, number % 2 == 0, f"Nº {number}")

rows = [{"number": number} for number in range(COUNT)]
"""
ASK = f"""%%gemini_stream --each rows --schema Judged --concurrency {CONCURRENCY} --keep "KEEP" -o judged
Judge the number {{item.number}}."""
FACTS = """
import json, resource
frame = judged.wait(600).to_frame()
print(json.dumps({
    "right": sum(one == right(number) for number, one in enumerate(judged.results)),
    "rows": len(judged),
    "counts": judged.counts,
    "statuses": frame["status"].value_counts().to_dict(),
    "kept": int(frame["kept"].sum()),
    "tokens": [judged.usage.total_token_count, int(frame["tokens"].sum())],
    "numbers": (frame["number"] == range(len(frame))).all().item(),
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
}))
"""
BROKEN = [
    Fault(reset=True),
    Fault(close=True),
    Fault(status=500),
    Fault(status=503),
    Fault(status=502, body="html"),
    Fault(error=503, error_after=1),
    Fault(cut=1, inside="json"),
    Fault(cut=1, inside="character", how="rst"),
    Fault(cut=1, inside="event", how="end"),
    Fault(error=500, error_after=1, error_form="raw"),
    Fault(no_finish=True),
]


def setup_of(rows: int) -> str:
    """Return the cell that makes so many rows."""
    return SETUP.replace("COUNT", str(rows))


def number_in(body: Any) -> int:
    return int(body["contents"][0]["parts"][0]["text"].rstrip(".").split()[-1])


def judge(body: dict[str, Any], model: str) -> Iterator[Any]:
    number = number_in(body)
    answer = {"number": number, "is_even": number % 2 == 0, "note": f"Nº {number}"}
    text = json.dumps(answer, ensure_ascii=False)
    for piece, reason in ((text[:9], None), (text[9:], "STOP")):
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": piece}]}}
        if reason is None:
            yield {"candidates": [candidate]}
        else:
            yield {"candidates": [{**candidate, "finishReason": reason}], "usageMetadata": USAGE}


def kept_rows(path: Path) -> set[int]:
    """Return the rows whose answers are in a keep file."""
    return {
        int(number) for number in re.findall(r'"prompt": "Judge the number (\d+)\..*\]}\n', path.read_text())
    }


class Service:
    """Breaks a tenth of what is within its quota, and counts the answers that are whole.

    Args:
        rows: how many will be asked.
        seed: decides which requests are broken, and how.
    """

    def __init__(self, rows: int, seed: int = 3) -> None:
        self.rows = rows
        self.whole: collections.Counter[int] = collections.Counter()
        self.requests = self.refused = self.broken = 0
        self.kept_at_kill: set[int] = set()
        self.under_way: set[int] = set()
        """Rows that had been answered, and not kept, when the kernel was killed."""
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._quota = min(PER_MINUTE, 4 * rows)  # few rows must not all be answered before the kill
        self._left = self._last = 0.0

    def wait_for(self, rows: int) -> None:
        """Wait until this many have been answered, as long as it goes on."""
        seen, end = -1, 0.0
        while (answered := len(self.whole)) < rows:
            if self.requests > seen:
                seen, end = self.requests, time.monotonic() + PATIENCE
            assert time.monotonic() < end, (
                f"{answered:,} of {rows:,} rows were answered, and nothing is asked"
            )
            time.sleep(0.01)

    def fault(self, _: int, request: Any) -> Fault | None:
        with self._lock:
            self.requests += 1
            now, most = time.monotonic(), self._quota / 60
            if self.requests == 1:
                self._last = now  # so that the first is refused, however slow the machine
            self._left, self._last = min(most, self._left + (now - self._last) * most), now
            if self._left < 1:
                self.refused += 1
                return Fault(status=429, retry_info=0.1, quota=self._quota)
            self._left -= 1
            if self._random.random() < 0.1:
                self.broken += 1
                return self._random.choice(BROKEN)
            self.whole[number_in(request.body)] += 1
            return None

    def note_kill(self, keep: Path) -> None:
        """Note what was kept and what was under way, once the kernel is dead."""
        with self._lock:
            self.kept_at_kill = kept_rows(keep)
            self.under_way = set(self.whole) - self.kept_at_kill

    def check(self, said: str, settled: str) -> dict[str, Any]:
        """Check that all rows are right, and paid for once but for those under way; return the facts.

        Args:
            said: what `FACTS` printed.
            settled: the Markdown that shows the group.
        """
        facts: dict[str, Any] = json.loads(said)
        rows, kept = self.rows, facts["kept"]
        assert (facts["right"], facts["rows"], facts["numbers"]) == (rows, rows, True), said
        assert facts["statuses"] == {"completed": rows}, said
        assert facts["counts"] == [rows, 0, 0, rows, 0, 0, kept], said
        assert facts["tokens"][0] == facts["tokens"][1] >= USAGE["totalTokenCount"] * rows, said
        assert kept >= len(self.kept_at_kill) >= rows / 2 - CONCURRENCY, said
        assert (self.broken > rows / 20, self.refused > 0) == (True, True), (self.broken, self.refused)
        assert set(self.whole) == set(range(rows))
        again = {row: times for row, times in self.whole.items() if times > 1}
        assert set(again) <= self.under_way, f"paid for again: {again}; under way: {sorted(self.under_way)}"
        assert set(again.values()) <= {2}, f"paid for again: {again}"
        assert len(self.under_way) <= CONCURRENCY
        assert f"**{rows:,} answers**: {rows:,} completed" in settled, settled[:500]
        assert settled.count("✓") == 100
        assert "| 0 | True | Nº 0 | ✓ |" in settled, settled[:500]
        return facts
