"""The cells that ran, for prompts that include them."""

from __future__ import annotations

import collections
import itertools
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gemini_nb.notebook.kernel.names import name_streams
from gemini_nb.notebook.magics.failure import Failure, cut, fenced, source_of
from gemini_nb.redaction import scrub
from gemini_nb.streams.conversation.dependencies import (
    Deferred,
    Need,
    defer,
    growing,
    streams_in,
    whole_text,
)
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream

__all__ = ["CellLog"]

_KEPT = 200  # cells
_MOST_SOURCE = 8_000  # characters of a cell
_MOST_OUTPUT = 4_000
_OURS = re.compile(r"\s*%gemini_(?:fix|explain|code)\b")


@dataclass(frozen=True, slots=True)
class _Cell:
    number: int | None
    source: str
    error: BaseException | None
    asked: tuple[Stream | StreamGroup, ...]


class CellLog:
    """Remembers what ran, and what failed last.

    Args:
        shell: the IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._asked: list[Stream | StreamGroup] = []
        self._cells: collections.deque[_Cell] = collections.deque(maxlen=_KEPT)
        self._failure: Failure | None = None

    def register(self) -> None:
        """Start recording the cells that end."""
        self._shell.events.register("post_run_cell", self._look)

    def unregister(self) -> None:
        """Stop recording."""
        self._shell.events.unregister("post_run_cell", self._look)

    def note(self, made: Stream | StreamGroup) -> None:
        """Note what the running cell started."""
        self._asked.append(made)

    def _look(self, result: Any) -> None:
        name_streams(self._shell.user_ns)
        asked, self._asked = tuple(self._asked), []
        source = getattr(result.info, "raw_cell", None) or ""
        if result.info.silent or not source.strip():
            return
        error = result.error_before_exec or result.error_in_exec
        self._cells.append(_Cell(result.execution_count, source, error, asked))
        if isinstance(error, Exception) and not _OURS.match(source):
            self._failure = Failure(source, error)

    @property
    def failure(self) -> Failure | None:
        """The last failure, also one from before the extension was loaded."""
        if self._failure is not None:
            return self._failure
        error = getattr(sys, "last_value", None)  # where IPython leaves it
        return Failure(source_of(error), error) if isinstance(error, Exception) else None

    def above(self, count: int) -> tuple[int, str | Deferred]:
        """Return how many cells there are of the last `count`, and their sources and text outputs.

        Where some of their answers are still to come, the text is `Deferred` until these have ended.
        """
        cells = [(self._head(cell), self._output(cell)) for cell in list(self._cells)[-count:]]
        asked = [one for _, output in cells for one in output if not isinstance(one, str)]
        if not asked:
            return len(cells), _cells_text(cells) if cells else ""
        need = Need(streams_in(asked) or (), asked, "the cells above", must_complete=False)
        made: Any = defer(Deferred((need,), ["<the cells above>"], lambda: _cells_when_ended(cells, asked)))
        return len(cells), made if isinstance(made, Deferred) else made[0]

    def _head(self, cell: _Cell) -> str:
        number = "" if cell.number is None else f" {cell.number}"
        return f"Cell{number}:\n\n{fenced(cut(cell.source, _MOST_SOURCE))}"

    def _output(self, cell: _Cell) -> list[str | Stream | StreamGroup]:
        """What the cell printed, returned, raised and asked; IPython 8 does not keep what it printed."""
        history = self._shell.history_manager
        said: list[Any] = [
            "".join(output.bundle["stream"])
            for output in getattr(history, "outputs", {}).get(cell.number, ())
            if output.output_type in {"out_stream", "err_stream"}
        ]
        if cell.number in history.output_hist:
            value = history.output_hist[cell.number]
            as_text = self._shell.display_formatter.formatters["text/plain"]
            said.append(value if isinstance(value, (Stream, StreamGroup)) else as_text(value) or "")
        if cell.error is not None:
            said.append(f"{type(cell.error).__name__}: {cell.error}")
        return [*said, *cell.asked]


def _cells_when_ended(
    cells: Iterable[tuple[str, Iterable[Any]]], asked: Iterable[Stream | StreamGroup]
) -> list[str]:
    for one in asked:
        if growing(one):
            one.wait_only()  # its rows were not all known
    return [_cells_text(cells)]


def _cells_text(cells: Iterable[tuple[str, Iterable[Any]]]) -> str:
    """The cells as a prompt shows them."""
    return scrub("The cells above, as they ran:\n\n" + "\n\n".join(itertools.starmap(_shown, cells)))


def _shown(head: str, output: Iterable[Any]) -> str:
    texts = (one if isinstance(one, str) else whole_text(one) for one in output)
    said = "\n".join(filter(None, (text.strip("\n") for text in texts)))
    return f"{head}\n\nIts output:\n\n{fenced(cut(said, _MOST_OUTPUT))}" if said else head
