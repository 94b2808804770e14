"""A night of many rows: what they ask, a service with a quota that breaks a tenth of it, and the morning."""

from __future__ import annotations

import collections
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

from gemini_nb.simulator import Fault

__all__ = ["ASK", "CONCURRENCY", "FACTS", "ROWS", "SETUP", "Service", "check_morning", "judge"]

ROWS = int(os.environ.get("OVERNIGHT_ROWS", "2000"))
"""A night's: `OVERNIGHT_ROWS=10000 make test-slow`."""
CONCURRENCY = 32
PER_MINUTE = 6000
SETUP = f"""
%load_ext gemini_nb
from dataclasses import dataclass

@dataclass
class Judged:
    number: int
    is_even: bool

rows = [{{"number": number}} for number in range({ROWS})]
"""
ASK = f"""%%gemini_stream --each rows --schema Judged --concurrency {CONCURRENCY} --keep "KEEP" -o judged
Judge the number {{item.number}}."""
BROKEN = [
    Fault(reset=True),
    Fault(status=500),
    Fault(status=503),
    Fault(cut=1, inside="json"),
    Fault(no_finish=True),
]


def number_in(body: Any) -> int:
    return int(body["contents"][0]["parts"][0]["text"].rstrip(".").split()[-1])


def judge(body: dict[str, Any], model: str) -> Iterator[Any]:
    number = number_in(body)
    text = json.dumps({"number": number, "is_even": number % 2 == 0})
    for piece, reason in ((text[:9], None), (text[9:], "STOP")):
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": piece}]}}
        yield {"candidates": [{**candidate, "finishReason": reason} if reason else candidate]}


class Service:
    """Breaks a tenth of what is within its quota, and counts the answers that are whole."""

    def __init__(self) -> None:
        self.whole: collections.Counter[int] = collections.Counter()
        self.refused = self.broken = 0
        self._random, self._lock = random.Random(3), threading.Lock()
        self._left, self._last = PER_MINUTE / 60, time.monotonic()

    def wait_for(self, rows: int) -> None:
        """Wait until this many have been answered."""
        end = time.monotonic() + 200 + rows / 5
        while len(self.whole) < rows:
            assert time.monotonic() < end
            time.sleep(0.01)

    def fault(self, _: int, request: Any) -> Fault | None:
        with self._lock:
            now, most = time.monotonic(), PER_MINUTE / 60
            self._left, self._last = min(most, self._left + (now - self._last) * most), now
            if self._left < 1:
                self.refused += 1
                return Fault(status=429, retry_info=0.1, quota=PER_MINUTE)
            self._left -= 1
            if self._random.random() < 0.1:
                self.broken += 1
                return self._random.choice(BROKEN)
            self.whole[number_in(request.body)] += 1
            return None


FACTS = """
frame = judged.wait(300).to_frame()
right = [one == Judged(number, number % 2 == 0) for number, one in enumerate(judged.results)]
statuses = frame['status'].value_counts().to_dict()
print(all(right), len(right), statuses, int(frame['kept'].sum()), *judged.counts)
"""


def check_morning(service: Service, said: str, settled: str) -> None:
    """All rows are right, each was paid for once but for those under way at the kill, and a table shows them.

    Args:
        service: what was asked.
        said: what `FACTS` printed.
        settled: the Markdown that shows the group.
    """
    is_right, length, *_ = said.split()
    kept, *counts = map(int, said.split()[-8:])
    assert (is_right, int(length)) == ("True", ROWS), said
    assert f"{{'completed': {ROWS}}}" in said
    assert counts == [ROWS, 0, 0, ROWS, 0, 0, kept]
    assert kept >= ROWS / 2 - 2 * CONCURRENCY
    assert service.broken > ROWS / 20
    assert set(service.whole) == set(range(ROWS))
    assert sum(service.whole.values()) <= ROWS + CONCURRENCY
    assert f"**{ROWS:,} answers**: {ROWS:,} completed" in settled
    assert settled.count("✓") == 100
    assert "| 0 | True | ✓ |" in settled
