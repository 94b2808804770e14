"""Which view stands in which cell, and which streams the cell asked.

A view cannot know by itself that its output was cleared: no front end says so. But each request to run a cell
names the cell, and those that were deleted since the last one. So a view whose cell runs again or was deleted
is closed, and a stream whose cell asks again can be replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

from IPython.core.getipython import get_ipython

from gemini_nb.notebook.kernel.frontend import cell_id, deleted_cells, request_id
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.stopping import replacing
from gemini_nb.streams.stream import Stream

_NAME = "gemini_nb_cells"


class _View(Protocol):
    """What stands in a cell."""

    @property
    def stream(self) -> Stream | None:
        """The stream it shows, of several the first; None for a view that no stream's age ends."""

    def detach(self) -> None:
        """Close it."""


def register_view(view: _View) -> None:
    """Register a view as shown by the cell that runs now."""
    cells = _cells_of(get_ipython())
    if cells is not None:
        cells.add_view(view)


@contextlib.contextmanager
def replacing_earlier(shell: Any) -> Generator[None, None, None]:
    """Stop what an earlier run of this cell asked, for what is asked within this context in its place."""
    cells = _cells_of(shell)
    earlier = [] if cells is None else cells.earlier()
    with replacing([stream for made in earlier for stream in _running(made)]):
        yield
    for made in earlier:
        if isinstance(made, StreamGroup):  # its rows to come, too
            made.request_stop()


def register_asked(shell: Any, made: Stream | StreamGroup) -> None:
    """Register a stream or group as asked by this run of the cell, in place of those of an earlier run."""
    cells = _cells_of(shell)
    if cells is not None:
        cells.add(made)


@dataclass(slots=True)
class _Cell:
    """One cell: its views, each with the run that shows it, and what one run of it asked."""

    run: str | None = None
    views: list[tuple[_View, str | None]] = field(default_factory=list)
    asked: list[Stream | StreamGroup] = field(default_factory=list)


class _Cells:
    """The cells of one shell that have a view or asked something."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: dict[str, _Cell] = {}
        shell.events.register("pre_run_cell", self._before_cell)

    def add_view(self, view: _View) -> None:
        cell = self._current()
        cell.views = [(other, run) for other, run in cell.views if other is not view]
        cell.views.append((view, request_id(self._shell)))

    def earlier(self) -> list[Stream | StreamGroup]:
        cell = self._current()
        return [] if cell.run == request_id(self._shell) else list(filter(is_running, cell.asked))

    def add(self, made: Stream | StreamGroup) -> None:
        cell, run = self._current(), request_id(self._shell)
        cell.asked = [*(cell.asked if cell.run == run else ()), made]
        cell.run = run

    def _current(self) -> _Cell:
        return self._cells.setdefault(cell_id(self._shell) or "", _Cell())

    def _before_cell(self, _: object) -> None:
        """Close the views of cells that run again or were deleted, and of streams that are listed no more.

        Code that a cell or a tool runs by `run_cell` is of the same run.
        """
        gone = self._take_replaced()
        for name in deleted_cells(self._shell):
            gone += [view for view, _ in self._cells.pop(name, _Cell()).views]
        gone += self._take_old()
        kept = [view for cell in self._cells.values() for view, _ in cell.views]
        for view in gone:
            if view not in kept:
                view.detach()
        if not self._cells:
            self._shell.events.unregister("pre_run_cell", self._before_cell)
            setattr(self._shell, _NAME, None)

    def _take_replaced(self) -> list[_View]:
        """Take the views of the cell that runs now which an earlier run has shown."""
        cell, run = self._cells.get(cell_id(self._shell) or "", _Cell()), request_id(self._shell)
        gone = [view for view, shown_by in cell.views if shown_by != run]
        cell.views = [pair for pair in cell.views if pair[1] == run]
        return gone

    def _take_old(self) -> list[_View]:
        """Take the views of streams that are listed no more, and forget the cells that have nothing left."""
        manager = get_manager()
        listed = manager.list_streams(all=True)
        gone: list[_View] = []
        for name, cell in list(self._cells.items()):
            old = [view for view, _ in cell.views if _left_history(view.stream, manager, listed)]
            cell.views = [pair for pair in cell.views if pair[0] not in old]
            cell.asked = list(filter(is_running, cell.asked))
            gone += old
            if not cell.views and not cell.asked:
                del self._cells[name]
        return gone


def _cells_of(shell: Any) -> _Cells | None:
    """The register of a shell; None where its front end does not name cells."""
    if getattr(shell, "kernel", None) is None or cell_id(shell) is None:
        return None
    cells: _Cells | None = getattr(shell, _NAME, None)
    if cells is None:
        cells = _Cells(shell)
        setattr(shell, _NAME, cells)
    return cells


def _running(made: Stream | StreamGroup) -> list[Stream]:
    return [made] if isinstance(made, Stream) else made.run.active


def is_running(made: Stream | StreamGroup) -> bool:
    """Whether more will come."""
    return not (made.is_done if isinstance(made, Stream) else made.is_over)


def _left_history(stream: Stream | None, manager: StreamManager, listed: list[Stream]) -> bool:
    """Whether a stream of the kernel's own manager is no longer listed there; streams of others stay."""
    if stream is None:
        return False
    return stream.runtime is manager.runtime and all(stream is not other for other in listed)
