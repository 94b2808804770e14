"""Which pane stands in which cell, so that one whose cell runs again or was deleted costs nothing more.

A pane cannot know by itself that its output was cleared: no front end says so. But each request to run a cell
names the cell, and those that were deleted since the last one.
"""

from __future__ import annotations

from typing import Any, Protocol

from IPython.core.getipython import get_ipython

from gemini_nb.notebook.kernel.frontend import cell_id, deleted_cells
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.stream import Stream

__all__ = ["remember"]

_NAME = "gemini_nb_cells"


class _Shown(Protocol):
    """What stands in a cell."""

    @property
    def stream(self) -> Stream:
        """What it shows."""

    def detach(self) -> None:
        """Close it."""


def remember(pane: _Shown) -> None:
    """Note that this pane is being shown by the cell that runs now."""
    shell = get_ipython()
    if shell is None or getattr(shell, "kernel", None) is None:
        return
    current = cell_id(shell)
    if current is None:
        return
    cells = getattr(shell, _NAME, None)
    if cells is None:
        cells = _Cells(shell)
        setattr(shell, _NAME, cells)
    cells.put(current, pane)


class _Cells:
    """The panes of one shell's cells."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._panes: dict[str, list[_Shown]] = {}
        shell.events.register("pre_run_cell", self._before_cell)

    def put(self, cell: str, pane: _Shown) -> None:
        panes = self._panes.setdefault(cell, [])
        if pane not in panes:
            panes.append(pane)

    def _before_cell(self, _: object) -> None:
        gone = [
            pane for cell in (cell_id(self._shell), *deleted_cells(self._shell)) for pane in self._take(cell)
        ]
        manager = get_manager()
        listed = manager.list_streams(all=True)
        for cell, panes in list(self._panes.items()):
            for pane in [pane for pane in panes if _left_history(pane.stream, manager, listed)]:
                panes.remove(pane)
                gone.append(pane)
            if not panes:
                del self._panes[cell]
        for pane in gone:
            if not any(pane in panes for panes in self._panes.values()):
                pane.detach()
        if not self._panes:
            self._shell.events.unregister("pre_run_cell", self._before_cell)
            setattr(self._shell, _NAME, None)

    def _take(self, cell: str | None) -> list[_Shown]:
        return self._panes.pop(cell, []) if cell is not None else []


def _left_history(stream: Stream, manager: StreamManager, listed: list[Stream]) -> bool:
    """Whether it is listed no longer, as far as the kernel's own manager decides that."""
    return stream.runtime is manager.runtime and all(stream is not other for other in listed)
