"""The cells that ran, for prompts that include them."""

from __future__ import annotations

import collections
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gemini_nb.notebook.kernel.names import name_streams
from gemini_nb.notebook.magics.failure import Failure, cut, fenced, source_of
from gemini_nb.redaction import scrub
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
    asked: tuple[Stream, ...]


class CellLog:
    """Remembers what ran, and what failed last.

    Args:
        shell: the IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._asked: list[Stream] = []
        self._cells: collections.deque[_Cell] = collections.deque(maxlen=_KEPT)
        self._failure: Failure | None = None

    def register(self) -> None:
        """Start recording the cells that end."""
        self._shell.events.register("post_run_cell", self._look)

    def unregister(self) -> None:
        """Stop recording."""
        self._shell.events.unregister("post_run_cell", self._look)

    def note(self, streams: Iterable[Stream]) -> None:
        """Note the stream that the running cell started."""
        self._asked += streams

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

    def above(self, count: int) -> tuple[int, str]:
        """Return how many cells there are of the last `count`, and their sources and text outputs."""
        cells = list(self._cells)[-count:]
        return len(cells), scrub("\n\n".join(map(self._shown, cells)))

    def _shown(self, cell: _Cell) -> str:
        number = "" if cell.number is None else f" {cell.number}"
        shown = f"Cell{number}:\n\n{fenced(cut(cell.source, _MOST_SOURCE))}"
        output = self._output(cell)
        return f"{shown}\n\nIts output:\n\n{fenced(cut(output, _MOST_OUTPUT))}" if output else shown

    def _output(self, cell: _Cell) -> str:
        """What the cell printed, returned and raised, as text; IPython 8 does not keep what it printed."""
        history = self._shell.history_manager
        printed = [
            "".join(output.bundle["stream"])
            for output in getattr(history, "outputs", {}).get(cell.number, ())
            if output.output_type in {"out_stream", "err_stream"}
        ]
        if cell.number in history.output_hist:
            as_text = self._shell.display_formatter.formatters["text/plain"]
            printed.append(as_text(history.output_hist[cell.number]) or "")
        if cell.error is not None:
            printed.append(f"{type(cell.error).__name__}: {cell.error}")
        printed += [stream.text for stream in cell.asked]
        return "\n".join(filter(None, (text.strip("\n") for text in printed)))
