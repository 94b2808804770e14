"""One open notebook for many browser tests, because opening one takes longer than most tests.

Each test gets it empty: new cells, no output, no stream that runs or is listed. The kernel stays, with what
the module's OPENING has done in it; without one the package is loaded and the stage open. A module whose
ADDRESS is `lab.NOTEBOOK_7` has it there. Modules that come one after the other and open it alike share it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, Locator, ViewportSize, expect

from browser_fixtures import FAILED
from lab import JUPYTERLAB, Browser, Lab, LabPage, LabServer

__all__ = ["Desk"]

SUPPORT = Path(__file__).parent
BROWSER_TESTS = SUPPORT.parent / "browser"
OPEN = f"""import sys; sys.path.insert(0, {str(SUPPORT)!r})
import gemini_nb
from stage import *
%load_ext gemini_nb
open_stage()"""
EMPTY = """import sys
if "gemini_nb" in sys.modules:
    manager = sys.modules["gemini_nb"].get_manager()
    manager.stop_all()
    with manager._lock:
        manager._streams.clear()
        manager._ended.clear()
        manager._tally = type(manager._tally)()"""
SET_CELLS = """sources => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const model = notebook.model.sharedModel;
  notebook.model.deletedCells.push(...model.cells.map(cell => cell.id));  // as its menu does
  model.transact(() => {
    model.deleteCellRange(0, model.cells.length);
    sources.forEach((source, i) => model.insertCell(i, {cell_type: 'code', source}));
  });
  notebook.activeCellIndex = 0;
}"""
IDLE = """() => window.jupyterapp.shell.currentWidget?.context?.sessionContext.session?.kernel?.status
  === 'idle'"""
WIDTH, HEIGHT = 1280, 900
BROKEN = (Error, AssertionError)  # of Playwright: a timeout, a page that is gone, what it expected in vain


class Desk:
    """A notebook whose kernel stays."""

    def __init__(
        self, server: LabServer, browser: Browser, opening: str = OPEN, address: str = JUPYTERLAB
    ) -> None:
        self.lab = Lab(server, browser, address)
        self.browser = browser
        self.page: LabPage = self.lab.open([opening])
        self._opening = opening
        self._run_first()

    def set(self, cells: Sequence[str], *, width: int = WIDTH, height: int = HEIGHT) -> LabPage:
        """Begin anew with these cells after cell 0; streams that run are stopped."""
        page = self.page
        self._set_size(width, height)
        page.page.wait_for_function(IDLE)
        page.page.evaluate(SET_CELLS, [EMPTY, *cells])
        expect(page.page.locator(".jp-Notebook .jp-Cell .cm-content")).to_have_count(len(cells) + 1)
        page.forget_prompts()
        self._run_first()
        folder = self.lab.server.notebooks / "gates"
        folder.mkdir(exist_ok=True)  # kept: a listing in which it is lost covers the page with an error
        for gate in folder.iterdir():
            gate.unlink()
        page.errors.clear()
        return page

    def run(self, *cells: int) -> None:
        """Run cells one after the other; the first of a test is 1."""
        for i in cells:
            self.page.run(i)
            self.page.wait_done(i)

    def open_gate(self, name: str) -> None:
        """Let a play go on."""
        (self.lab.server.notebooks / "gates" / name).touch()

    def pane(self, i: int) -> Locator:
        return self.page.output(i).locator(".gemini-nb-pane")

    def new_kernel(self) -> None:
        """Save, close, and open from disk with a new kernel, without running anything."""
        self.page.restart_kernel_and_reopen()

    def open_stage(self) -> None:
        """Make a new kernel one that talks to the stage."""
        self._run_opening(OPEN)

    def begin_again(self) -> None:
        """Do what the opening does once more: the module before may have left a kernel that knows nothing."""
        self._run_opening(self._opening)

    def _set_size(self, width: int, height: int) -> None:
        self.page.page.set_viewport_size(ViewportSize(width=width, height=height))

    def _run_opening(self, opening: str) -> None:
        self._set_size(WIDTH, HEIGHT)
        self.page.page.wait_for_function(IDLE)
        self.page.page.evaluate(SET_CELLS, [opening])
        self.page.forget_prompts()
        self._run_first()

    def _run_first(self) -> None:
        self.page.run(0)
        self.page.wait_done(0)


class Room:
    """Where the one desk stands that is open; a module that needs another has it replaced."""

    def __init__(self, server: LabServer, browser: Browser) -> None:
        self._server, self._browser = server, browser
        self._desk: Desk | None = None
        self._made_for: tuple[str, str] | None = None

    def desk_for(self, opening: str, address: str) -> Desk:
        """The desk that the module before has left, or a new one where that needed something else."""
        with self._browser.active():
            if self._made_for != (opening, address):
                self.clear()
            if self._desk is not None:
                try:
                    self._desk.begin_again()
                except BROKEN:  # such as a kernel that is busy or dead, or a dialog over the page
                    self.clear()
            if self._desk is None:
                self._desk = Desk(self._server, self._browser, opening, address)
                self._made_for = opening, address
            return self._desk

    def tidy(self) -> None:
        """End the streams that the last test of a module has left: nobody will open their gates."""
        if self._desk is not None:
            with self._browser.active():
                try:
                    self._desk.set([])
                except BROKEN:
                    self.clear()

    def close(self) -> None:
        with self._browser.active():
            self.clear()

    def clear(self) -> None:
        """Close the desk, also one that is broken."""
        desk, self._desk = self._desk, None
        if desk is not None:
            with suppress(*BROKEN):
                desk.lab.close()


ROOM = pytest.StashKey[Room]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """End the desk with the last test in the browser: its kernel and page would run on beside all others."""
    yield
    room = item.config.stash.get(ROOM, None)
    if room is not None and nextitem is not None and BROWSER_TESTS not in nextitem.path.parents:
        room.close()


@pytest.fixture(scope="session")
def room(lab_server: LabServer, browser: Browser, pytestconfig: pytest.Config) -> Iterator[Room]:
    room = pytestconfig.stash[ROOM] = Room(lab_server, browser)
    yield room
    del pytestconfig.stash[ROOM]
    room.close()


@pytest.fixture(scope="module")
def kept_desk(room: Room, request: pytest.FixtureRequest) -> Iterator[Desk]:
    yield room.desk_for(
        getattr(request.module, "OPENING", OPEN), getattr(request.module, "ADDRESS", JUPYTERLAB)
    )
    room.tidy()


@pytest.fixture
def desk(kept_desk: Desk, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The module's notebook; after a test that failed there is a picture of it."""
    with kept_desk.browser.active():
        yield kept_desk
        if request.node.stash.get(FAILED, False):
            kept_desk.page.screenshot(re.sub(r"\W+", "-", request.node.name).strip("-"))
        for page in kept_desk.lab.pages[1:]:
            page.close()
        del kept_desk.lab.pages[1:]
