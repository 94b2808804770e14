"""A minute of the soak; `make soak` runs it for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads its memory from /proc"),
]


def test_a_minute_under_random_faults() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "soak.py"), "--seconds", "60"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout  # which has its seed
    assert "lost or doubled" in done.stdout
