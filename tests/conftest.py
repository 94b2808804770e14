from __future__ import annotations

import math
import os

import pytest

pytest_plugins = ["kernels", "browser_fixtures"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_connection_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that a server resets is a fault, however slow the machine was to use it again."""
    monkeypatch.setattr("gemini_nb.api.http._RESTED", math.inf)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, project or proxy of the person who runs the tests decides how they end."""
    for name in list(os.environ):
        if name.startswith(("GEMINI_", "GOOGLE_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
