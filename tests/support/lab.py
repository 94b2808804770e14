"""A real JupyterLab in a real browser, for tests of what a user sees.

Four things make the obvious test fail now and then, and are handled here. A cell that is run before the
kernel is connected is lost. A prompt that reads `[1]` may be that of the run before. What is out of sight is
not drawn and has no `innerText`, but a `textContent`. And Playwright leaves its event loop marked as running
in the main thread, which breaks every asynchronous test that comes later: `Browser.active()` marks it only
while a browser test runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page, ViewportSize, WebSocket, expect, sync_playwright

from kernels import isolated_environment
from ports import free_port

__all__ = ["CONNECTED", "JUPYTERLAB", "NOTEBOOK_7", "Browser", "Lab", "LabPage", "LabServer", "find_chromium"]

_SET_THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
RESULTS = Path(__file__).parents[2] / "test-results"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
JUPYTERLAB, NOTEBOOK_7 = "doc/tree", "notebooks"  # where a server shows a notebook in which of them
START_SECONDS = 60.0
LOAD_MILLISECONDS = 60_000
RUN_MILLISECONDS = 30_000

CONNECTED = """wanted => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  const session = panel?.context?.sessionContext;
  const kernel = session?.session?.kernel;
  return !!panel?.context?.isReady && !!session?.isReady && kernel?.connectionStatus === 'connected'
    && wanted.includes(kernel?.status) && panel.content.widgets.length > 0;
}"""
COMMAND = "name => { window.jupyterapp.commands.execute(name); }"
FINISHED_COMMAND = "async name => { await window.jupyterapp.commands.execute(name); }"
PROMPT_CHANGED = """([i, before]) => {
  const cell = window.jupyterapp.shell.currentWidget.content.widgets[i];
  return cell.promptNode.textContent !== before;
}"""
ADD_CELL = """source => {
  const model = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
  model.insertCell(model.cells.length, {cell_type: 'code', source});
  return model.cells.length - 1;
}"""


def find_chromium() -> str | None:
    """Find the browser that this machine has."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


class LabServer:
    """A JupyterLab server that knows nothing of the user's settings; without a token, so for tests only."""

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.log = folder / "server.log"
        self.notebooks.mkdir(parents=True)
        home = folder / "home"
        home.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        environment = isolated_environment(home)
        environment["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
        environment["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
        news = home / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.notebooks}"]
        command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
        command += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.notebooks, env=self._environment, stdout=log, stderr=log
            )
        for _ in range(int(START_SECONDS / 0.1)):
            with suppress(OSError):
                self.request("GET", "/api/status")
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
                break
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def request(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            body = response.read()
        return json.loads(body) if body else None

    def end_sessions(self, notebook: str | None = None) -> None:
        """Shut the kernels down, all or those of one notebook."""
        for session in self.request("GET", "/api/sessions"):
            if notebook is None or session["path"] == notebook:
                self.request("DELETE", f"/api/sessions/{session['id']}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Browser:
    """One Chromium for the whole test run."""

    def __init__(self, executable: str) -> None:
        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()  # Playwright's, which counts as running from here on
        try:
            self.chromium: Chromium = self._playwright.chromium.launch(
                executable_path=executable, args=list(CHROMIUM_ARGUMENTS)
            )
        finally:
            self._leave()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let Playwright be called inside; outside, the main thread has no running loop."""
        asyncio._set_running_loop(self._loop)
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        asyncio._set_running_loop(self._loop)
        try:
            self.chromium.close()
            self._playwright.stop()
        finally:
            self._leave()

    def _leave(self) -> None:
        asyncio._set_running_loop(None)


class LabPage:
    """One notebook, open in a tab; cells are numbered from 0."""

    def __init__(self, server: LabServer, page: Page, notebook: str, address: str = JUPYTERLAB) -> None:
        self.server = server
        self._address = address
        self.page = page
        self.notebook = notebook
        self.path = server.notebooks / notebook
        self.errors: list[str] = []
        """Uncaught JavaScript errors of the page."""
        self.frames_received = self.bytes_received = 0
        page.on("websocket", self._count)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._before: dict[int, str] = {}

    def load(self, *, idle: bool = True) -> None:
        self.page.goto(f"{self.server.url}/{self._address}/{self.notebook}", timeout=LOAD_MILLISECONDS)
        self._wait_connected(idle=idle)

    def reload(self, *, idle: bool = False) -> None:
        """Load the page again, as F5 does; what was not saved is gone, the kernel goes on."""
        self.page.reload(timeout=LOAD_MILLISECONDS)
        self._wait_connected(idle=idle)

    def restart_kernel_and_reopen(self, *, save: bool = True) -> None:
        """Close the notebook, end its kernel, and open it from disk with a new one."""
        if save:
            self.save()
        self.page.goto("about:blank")
        self.server.end_sessions(self.notebook)
        self.load()

    def cell(self, i: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(i)

    def output(self, i: int) -> Locator:
        """Everything below the cell's source; empty but present for a cell without output."""
        return self.cell(i).locator(".jp-Cell-outputArea")

    def prompt(self, i: int) -> Locator:
        return self.cell(i).locator(".jp-InputPrompt")

    def add_cell(self, source: str) -> int:
        """Append a code cell and return its number."""
        number: int = self.page.evaluate(ADD_CELL, source)
        expect(self.cell(number).locator(".cm-content")).to_be_attached()
        return number

    def run(self, i: int) -> None:
        """Run one cell with Ctrl+Enter and return when JupyterLab has taken it."""
        before = self.prompt(i).text_content() or ""
        self._before[i] = before
        self.cell(i).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(PROMPT_CHANGED, arg=[i, before])

    def run_all(self) -> None:
        """Run all cells; returns at once."""
        count = self.page.locator(".jp-Notebook .jp-Cell").count()
        self._before = {
            i: self.prompt(i).text_content() or ""
            for i in range(count)
            if "jp-CodeCell" in (self.cell(i).get_attribute("class") or "")
        }
        self.page.evaluate(COMMAND, "notebook:run-all-cells")

    def wait_done(self, i: int, timeout: float = RUN_MILLISECONDS / 1000) -> None:
        """Wait until the cell has finished the run that `run` or `run_all` started."""
        before = self._before.get(i, "")
        other = f"(?!{re.escape(before)}$)" if re.fullmatch(r"\[\d+\]:?", before) else ""
        expect(self.prompt(i)).to_have_text(re.compile(rf"^{other}\[\d+\]:?$"), timeout=timeout * 1000)

    def interrupt(self) -> None:
        self.page.evaluate(COMMAND, "notebook:interrupt-kernel")

    def save(self) -> Any:
        """Save, and return the notebook as nbformat reads it from the file."""
        import nbformat  # takes seconds, and pytest loads this module in every run

        self.page.evaluate(FINISHED_COMMAND, "docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def forget_prompts(self) -> None:
        """The cells are others now."""
        self._before.clear()

    def set_theme(self, name: str) -> None:
        """Change the theme, and wait until it is there and what JupyterLab covers the page with is gone."""
        self.page.evaluate(_SET_THEME, name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def screenshot(self, name: str) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        """Close the tab; the kernel goes on."""
        self.page.context.close()

    def _wait_connected(self, *, idle: bool) -> None:
        wanted = ["idle"] if idle else ["idle", "busy"]
        self.page.wait_for_function(CONNECTED, arg=wanted, timeout=LOAD_MILLISECONDS)
        self._before.clear()

    def _count(self, socket: WebSocket) -> None:
        def received(payload: str | bytes) -> None:
            self.frames_received += 1
            self.bytes_received += len(payload)

        socket.on("framereceived", received)


class Lab:
    """What a test gets: opens notebooks, and closes them with their kernels afterwards."""

    def __init__(self, server: LabServer, browser: Browser, address: str = JUPYTERLAB) -> None:
        self.server = server
        self.browser = browser
        self._address = address
        self.pages: list[LabPage] = []
        self._made: set[str] = set()

    def open(self, cells: Sequence[str], *, width: int = 1280, height: int = 900) -> LabPage:
        """Write a notebook of these code cells and open it with a kernel of its own."""
        notebook = f"test-{len(list(self.server.notebooks.glob('test-*.ipynb')))}.ipynb"
        document = {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": f"cell-{i}",
                    "metadata": {},
                    "outputs": [],
                    "source": source,
                }
                for i, source in enumerate(cells)
            ],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (self.server.notebooks / notebook).write_text(json.dumps(document))
        return self.open_file(notebook, width=width, height=height)

    def open_file(self, notebook: str, *, width: int = 1280, height: int = 900) -> LabPage:
        """Open a notebook that exists in the server's folder, also a second time in a tab of its own."""
        context = self.browser.chromium.new_context(viewport=ViewportSize(width=width, height=height))
        page = LabPage(self.server, context.new_page(), notebook, self._address)
        self.pages.append(page)
        is_new = notebook not in self._made
        self._made.add(notebook)  # its kernel may be there even where the page does not load
        page.load(idle=is_new)
        return page

    def close(self) -> None:
        """Close what was opened here; the server's other notebooks keep their kernels."""
        try:
            for page in self.pages:
                page.close()
        finally:
            for notebook in self._made:
                self.server.end_sessions(notebook)
