"""A short night; `make night` spends a long one."""

from __future__ import annotations

import pytest

from lab import Browser, LabServer
from night import spend

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_closed_page_and_a_killed_kernel_cost_no_row(lab_server: LabServer, browser: Browser) -> None:
    figures = spend(300, seed=5, server=lab_server, browser=browser)
    assert figures["rows, right, paid for"].startswith("300, 300, ")
