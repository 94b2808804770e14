"""Rows that run unattended: a tenth of the requests broken, a quota, a kernel that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gemini_nb.simulator import Simulator
from kernels import Kernel
from overnight import ASK, FACTS, ROWS, SETUP, Service, check_morning, judge


@pytest.mark.slow
@pytest.mark.timeout(300 + ROWS // 5)
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
        service.wait_for(ROWS // 2)
        os.kill(first.pid, signal.SIGKILL)
        first.close()

        second = make_kernel(**environment)
        second.run(SETUP)
        asked = second.run(ask)
        assert asked.status == "ok", asked.error_text
        second.wait_until(
            lambda: any("text/markdown" in one for one in asked.outputs), timeout=200 + ROWS // 10
        )
        said = second.run(FACTS)
        shown = second.run("%gemini_show judged")
    settled = next(one["text/markdown"] for one in asked.outputs if "text/markdown" in one)
    check_morning(service, said.stdout + said.error_text, settled)
    assert any("✓" in str(one) for one in shown.outputs)
