from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# What measures coverage comes before all that imports the package.
pytest_plugins = ["covering", "kernels", "browser_fixtures", "desk", "calling", "google_accounts"]

_BROWSER = "tests/browser/"


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give one worker all files that drive a browser, which then need one JupyterLab and few pages."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    scheduler = LoadFileScheduling(config, log)
    file_of = scheduler._split_scope
    scheduler._split_scope = lambda name: _BROWSER if name.startswith(_BROWSER) else file_of(name)
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the browser, which takes one worker longest; those that open it alike share an open page."""

    def place(item: pytest.Item) -> tuple[bool, str]:
        is_in_browser = item.nodeid.startswith(_BROWSER)
        module = item.getparent(pytest.Module)
        opened = (getattr(module.obj, name, "") for name in ("ADDRESS", "OPENING")) if module else ()
        return not is_in_browser, " ".join(opened) if is_in_browser else ""

    items.sort(key=place)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_connection_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that a server resets is a fault, however slow the machine was to use it again."""
    monkeypatch.setattr("gemini_nb.api.transport._RESTED", math.inf)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What this test logs, and not what a test before it left for the garbage collector to complain about."""
    gc.collect()
    caplog.clear()
    return caplog


@pytest.fixture(scope="session", autouse=True)
def no_journal_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What outlives a test writes into the session's own journal."""
    os.environ["GEMINI_NB_JOURNAL"] = str(tmp_path_factory.mktemp("journal"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, project or proxy of the user who runs the tests decides how they end, or is sent."""
    from gemini_nb.journal import writer

    for name in list(os.environ):
        if name.startswith(("GEMINI_", "GOOGLE_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GEMINI_NB_JOURNAL", str(tmp_path / "journal" / "journal.db"))
    # A key that a test sets is known at once, not a quarter of a second after the last look of another one.
    monkeypatch.setattr("gemini_nb.redaction._sought", [(-math.inf, 0, ())])
    yield
    writer.close_all()
