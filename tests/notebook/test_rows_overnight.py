"""Rows that run unattended: a tenth of the requests broken, a quota, a kernel that is killed."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemini_nb.simulator import Fault, Simulator
from kernels import Kernel

ROWS = 2000
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_rows_are_right_and_paid_for_once_in_spite_of_everything(
    make_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    service, ask = Service(), ASK.replace("KEEP", str(tmp_path / "answers.jsonl"))
    with Simulator(scenario=judge, faults=service.fault) as simulator:
        environment = {"GEMINI_API_KEY": "a-key-of-this-test", "GOOGLE_GEMINI_BASE_URL": simulator.base_url}
        environment["GEMINI_NB_AUTH"] = "gemini"
        first = make_kernel(**environment)
        first.run(SETUP)
        assert first.run(ask).status == "ok"
        end = time.monotonic() + 200
        while len(service.whole) < ROWS / 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
        first.close()

        second = make_kernel(**environment)
        second.run(SETUP)
        asked = second.run(ask)
        assert asked.status == "ok", asked.error_text
        second.wait_until(lambda: any("text/markdown" in one for one in asked.outputs), timeout=300)
        said = second.run(
            "frame = judged.to_frame()\n"
            "right = [one == Judged(number, number % 2 == 0) for number, one in enumerate(judged.results)]\n"
            "statuses = frame['status'].value_counts().to_dict()\n"
            "print(all(right), len(right), statuses, int(frame['kept'].sum()), *judged.counts)"
        )
        shown = second.run("%gemini_show judged")
    settled = next(one["text/markdown"] for one in asked.outputs if "text/markdown" in one)
    is_right, length, *_ = said.stdout.split()
    kept, *counts = map(int, said.stdout.split()[-8:])
    assert (is_right, int(length)) == ("True", ROWS), said.error_text
    assert f"{{'completed': {ROWS}}}" in said.stdout
    assert counts == [ROWS, 0, 0, ROWS, 0, 0, kept]
    assert kept >= ROWS / 2 - 2 * CONCURRENCY
    assert service.broken > ROWS / 20
    assert set(service.whole) == set(range(ROWS))
    assert sum(service.whole.values()) <= ROWS + CONCURRENCY
    assert f"**{ROWS:,} answers**: {ROWS:,} completed" in settled
    assert settled.count("✓") == 100
    assert "| 0 | True | ✓ |" in settled
    assert any("✓" in str(one) for one in shown.outputs)
