"""What all tests in the browser share: JupyterLab and Chromium.

Where no Chromium is found these tests are skipped, and say so; with GEMINI_NB_REQUIRE_BROWSER=1 they fail.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import expect

from lab import CHROMIUM_NAMES, Browser, LabServer, find_chromium

REQUIRED = os.environ.get("GEMINI_NB_REQUIRE_BROWSER") == "1"  # read now: tests run without GEMINI_ variables
FAILED = pytest.StashKey[bool]()
EXPECT_MILLISECONDS = 20_000  # a machine with two cores runs three workers, each with a Lab and a browser


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed, so that its fixture can take a picture."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = find_chromium()
    if path is None:
        message = f"no browser: none of {', '.join(CHROMIUM_NAMES)} is in PATH (run `make browser`)"
        if REQUIRED:
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def lab_server(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer(tmp_path_factory.mktemp("lab"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser(chromium_path: str) -> Iterator[Browser]:
    browser = Browser(chromium_path)
    expect.set_options(timeout=EXPECT_MILLISECONDS)
    yield browser
    browser.close()
