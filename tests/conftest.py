from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# What measures coverage comes before all that imports the package.
pytest_plugins = ["covering", "kernels", "browser_fixtures", "calling", "google_accounts"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that drive a browser among the others: several at a time are slow and fail by that."""
    files = list(dict.fromkeys(item.path for item in items))
    others = [file for file in files if file.parent.name != "browser"]
    browser = [file for file in files if file.parent.name == "browser"]
    places = {file: float(place) for place, file in enumerate(others)}
    apart = 0.8 * len(others) / max(1, len(browser))  # the last fifth is for what is quick
    places |= {file: apart * number for number, file in enumerate(browser)}
    items.sort(key=lambda item: places[item.path])


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
