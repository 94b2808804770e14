"""Rows that run unattended: a tenth of the requests broken, a quota, a kernel that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gemini_nb.simulator import Simulator
from kernels import Kernel
from overnight import ASK, FACTS, Service, judge, setup_of

ROWS = 2000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_rows_are_right_and_paid_for_once_in_spite_of_everything(
    make_kernel: Callable[..., Kernel], tmp_path: Path
) -> None:
    keep = tmp_path / "answers.jsonl"
    service, ask = Service(ROWS), ASK.replace("KEEP", str(keep))
    with Simulator(scenario=judge, faults=service.fault) as simulator:
        environment = {"GEMINI_API_KEY": "a-key-of-this-test", "GOOGLE_GEMINI_BASE_URL": simulator.base_url}
        environment["GEMINI_NB_AUTH"] = "gemini"
        first = make_kernel(**environment)
        first.run(setup_of(ROWS))
        assert first.run(ask).status == "ok"
        service.wait_for(ROWS // 2)
        os.kill(first.pid, signal.SIGKILL)
        first.close()

        second = make_kernel(**environment)
        second.run(setup_of(ROWS))
        service.note_kill(keep)
        asked = second.run(ask)
        assert asked.status == "ok", asked.error_text
        second.wait_until(lambda: any("text/markdown" in one for one in asked.outputs), timeout=400)
        said = second.run(FACTS)
        shown = second.run("%gemini_show judged")
    settled = next(one["text/markdown"] for one in asked.outputs if "text/markdown" in one)
    service.check(said.stdout + said.error_text, settled)
    assert any("✓" in str(one) for one in shown.outputs)
