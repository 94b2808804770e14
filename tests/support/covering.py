"""How much of the package the tests run, measured in pytest's own workers where the environment asks for it.

With `floor` in GEMINI_NB_COVERAGE a run fails that ran less of the package than pyproject.toml says under
`tool.slipcover`, with `table` it shows the lines that were not run. Nothing is measured in the kernels and
other processes that tests start: what only these run counts as not run.

Pytest loads this module before all that imports the package, whose code is instrumented as it is imported. A
worker's figures go to the main process with all else that it reports.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_NEVER = 2**31 - 1  # hits of a line: to take its probe out again would stop all threads for a while

_how = os.environ.get("GEMINI_NB_COVERAGE", "") if sys.version_info < (3, 15) else ""  # as slipcover's is
_settings: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["slipcover"]
_FLOOR = _settings["fail-under"]
_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_measured: list[dict[str, Any]] = []
"""What each worker ran."""


def _begin() -> Any:
    """Instrument what is imported from now on."""
    import slipcover

    source = [str(_ROOT / _settings["source"])]
    measuring = slipcover.Slipcover(
        source=source, exclude_also=_settings["exclude-also"], d_miss_threshold=_NEVER
    )
    slipcover.ImportManager(measuring, slipcover.FileMatcher(source)).__enter__()
    return measuring


_measuring = _begin() if _how and _IS_WORKER else None


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    if (said := getattr(node, "workeroutput", {}).get("coverage")) is not None:
        _measured.append(json.loads(said))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _measuring is not None:
        session.config.workeroutput["coverage"] = json.dumps(_measuring.get_coverage())  # type: ignore[attr-defined]  # xdist sets it
    elif "floor" in _how and not _IS_WORKER and not session.exitstatus and _percent() < _FLOOR:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _how:
        return
    import slipcover

    terminalreporter.section("coverage")
    if "table" in _how:
        slipcover.print_coverage(_together(), outfile=terminalreporter, skip_covered=True)
    percent, package = _percent(), _settings["source"]
    terminalreporter.write_line(f"These tests ran {percent:.1f} % of {package}, as far as is measured.")
    if "floor" in _how and percent < _FLOOR:
        short = (
            f"That is under the floor of {_FLOOR} % in pyproject.toml: `make coverage` shows what is left."
        )
        terminalreporter.write_line(short, red=True)


@functools.cache
def _together() -> dict[str, Any]:
    """All that was measured; nothing where no worker said anything."""
    import slipcover

    if not _measured:
        return {"summary": {"percent_covered": 0.0}}
    whole, *others = _measured
    for other in others:
        slipcover.merge_coverage(whole, other)
    return whole


def _percent() -> float:
    return float(_together()["summary"]["percent_covered"])
