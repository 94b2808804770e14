"""The floor under what the tests run of the package; `make test` sets it for a whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 15), reason="nothing is measured there yet"),
]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("", 0, []),
        ("table", 0, ["of gemini_nb", "gemini_nb/api/retry.py"]),
        ("floor", 1, ["under the floor of"]),
    ],
)
def test_a_run_of_one_file_is_under_the_floor_and_fails_where_there_is_one(
    asked: str, status: int, said: list[str]
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", HERE / "api" / "test_retry.py"],
        cwd=HERE.parent,
        env={**kept, "PYTHONPATH": str(HERE.parent), "GEMINI_NB_COVERAGE": asked},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert [words for words in said if words not in done.stdout] == []
    assert bool(asked) == ("coverage ==" in done.stdout)
