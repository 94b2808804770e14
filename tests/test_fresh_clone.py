"""What a newcomer does: clone, `make demo`, open the page. Everything is installed anew: minutes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from kernels import isolated_environment

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_make_demo_in_a_fresh_clone_serves_the_quickstart(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout, so there is nothing to clone")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
    process = subprocess.Popen(
        ["make", "demo", "DEMO_ARGS=--no-browser"],
        cwd=clone,
        env=isolated_environment(tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        shown = ""
        address = None
        while address is None:
            line = process.stdout.readline()
            assert line, f"the demo ended:\n{shown}"
            shown += line
            address = re.search(r"(http://127\.0\.0\.1:\d+)/lab/tree/quickstart\.ipynb\?token=(\w+)", line)
        url, token = address.groups()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        notebook = None
        while notebook is None:  # Jupyter prints its address a moment before it listens
            assert process.poll() is None, "the demo ended"
            with suppress(ConnectionError, urllib.error.URLError):
                page = opener.open(f"{url}/api/contents/quickstart.ipynb?token={token}", timeout=60)
                with page:
                    notebook = json.load(page)
        assert notebook["type"] == "notebook"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert not subprocess.check_output(["git", "status", "--porcelain"], cwd=clone, text=True)
