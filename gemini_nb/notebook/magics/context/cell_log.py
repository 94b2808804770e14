"""The cells that ran, for prompts that include them."""

from __future__ import annotations

import collections
import io
import itertools
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from IPython.lib.pretty import RepresentationPrinter

from gemini_nb.errors import Interrupted
from gemini_nb.notebook.kernel.names import name_streams
from gemini_nb.notebook.magics.context.failure import Failure, cut, fenced, source_of
from gemini_nb.notebook.magics.context.own_secrets import hide_secrets
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

_KEPT = 200  # cells
_MOST_SOURCE = 8_000  # characters of a cell
_MOST_OUTPUT = 4_000
_NO_FAILURES = (SystemExit, Interrupted)
_OURS = re.compile(r"\s*%gemini_(?:fix|explain|code)\b")


@dataclass(frozen=True, slots=True)
class _Cell:
    number: int | None
    source: str
    error: BaseException | None
    asked: tuple[Stream | StreamGroup, ...]


class CellLog:
    """Remembers what ran, and what failed last."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._asked: list[Stream | StreamGroup] = []
        self._cells: collections.deque[_Cell] = collections.deque(maxlen=_KEPT)
        self._failure: Failure | None = None
        self._last_value: BaseException | None = None

    def register(self) -> None:
        """Start recording the cells that end; one that failed before counts, too."""
        error = self._last_value = getattr(sys, "last_value", None)  # where IPython leaves it
        if isinstance(error, Exception):
            self._failure = Failure(source_of(error), error)
        self._shell.events.register("pre_run_cell", self._look_before)
        self._shell.events.register("post_run_cell", self._look)

    def unregister(self) -> None:
        """Stop recording."""
        self._shell.events.unregister("pre_run_cell", self._look_before)
        self._shell.events.unregister("post_run_cell", self._look)

    def note(self, made: Stream | StreamGroup) -> None:
        """Note what the running cell started."""
        self._asked.append(made)

    def _look_before(self, _info: Any) -> None:
        """Note an error that was shown between two cells, as of a widget's callback: it is neither's."""
        shown, self._last_value = self._last_value, getattr(sys, "last_value", None)
        error = self._last_value
        if error is not shown and isinstance(error, Exception) and not isinstance(error, _NO_FAILURES):
            self._failure = Failure(source_of(error), error)

    def _look(self, result: Any) -> None:
        name_streams(self._shell.user_ns)
        asked, self._asked = tuple(self._asked), []
        shown, self._last_value = self._last_value, getattr(sys, "last_value", None)
        source = getattr(result.info, "raw_cell", None) or ""
        if result.info.silent or not source.strip():
            return
        error = result.error_before_exec or result.error_in_exec
        if error is None and self._last_value is not shown:  # as of %run, which shows it and goes on
            error = self._last_value
        self._cells.append(_Cell(result.execution_count, source, error, asked))
        if error is not None and not isinstance(error, _NO_FAILURES) and not _OURS.match(source):
            self._failure = Failure(source, error)

    @property
    def failure(self) -> Failure | None:
        """The last failure, also one from before the extension was loaded."""
        return self._failure

    def above(self, count: int) -> tuple[int, str | Deferred]:
        """Return how many cells there are of the last `count`, and their sources and text outputs.

        Where some of their answers are still to come, the text is `Deferred` until these have ended.
        """
        cells = [(self._head(cell), self._output(cell)) for cell in list(self._cells)[-count:]]
        asked = [one for _, output in cells for one in output if not isinstance(one, str)]
        if not asked:
            return len(cells), self._text(cells) if cells else ""
        need = Need(streams_in(asked) or (), asked, "the cells above", must_complete=False)
        made: Any = defer(Deferred((need,), ["<the cells above>"], lambda: self._when_ended(cells, asked)))
        return len(cells), made if isinstance(made, Deferred) else made[0]

    def _when_ended(
        self, cells: Iterable[tuple[str, Iterable[Any]]], asked: Iterable[Stream | StreamGroup]
    ) -> list[str]:
        for one in asked:
            if growing(one):
                one.wait_only()  # its rows were not all known
        return [self._text(cells)]

    def _text(self, cells: Iterable[tuple[str, Iterable[Any]]]) -> str:
        """The cells as a prompt shows them."""
        shown = "\n\n".join(itertools.starmap(_shown, cells))
        return hide_secrets(f"The cells above, as they ran:\n\n{shown}", self._shell.user_ns)

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
            said.append(value if isinstance(value, (Stream, StreamGroup)) else self._text_of(value))
        if cell.error is not None:
            lines = traceback.format_exception_only(cell.error)
            said.append("".join(lines[-1:] if isinstance(cell.error, SyntaxError) else lines))
        return [*said, *cell.asked]

    def _text_of(self, value: object) -> str:
        """A value as a cell shows it; a user's own object may fail at that."""
        text, own = io.StringIO(), self._shell.display_formatter.formatters["text/plain"]
        printer = RepresentationPrinter(
            text,
            singleton_pprinters=own.singleton_printers,
            type_pprinters=own.type_printers,
            deferred_pprinters=own.deferred_printers,
        )
        try:
            printer.pretty(value)
            printer.flush()
        except Exception:  # noqa: BLE001 - whatever a user's __repr__ raises
            return type(value).__name__
        return text.getvalue()


def _shown(head: str, output: Iterable[Any]) -> str:
    texts = (one if isinstance(one, str) else whole_text(one) for one in output)
    said = "\n".join(filter(None, (text.strip("\n") for text in texts)))
    return f"{head}\n\nIts output:\n\n{fenced(cut(said, _MOST_OUTPUT))}" if said else head
