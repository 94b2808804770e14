"""What a tool says while it runs: prints, log lines and progress, kept with its call.

A tool runs in a thread, or on the kernel's loop while another cell computes. What it prints would appear in
whichever cell happens to run, or in none. `contextlib.redirect_stdout` is no way out: it redirects the whole
process, the person's cells with it. Here the streams' own `write` looks, for as long as a tool runs, whether
the writer is inside a tool's context, and lets everybody else pass. Handlers of `logging` that were made
with the same streams are diverted along with them.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gemini_nb.errors import ConfigError
from gemini_nb.tools.printed import Printed

__all__ = ["Report", "progress", "reporting"]


class Report:
    """What one running call said so far; written from any thread.

    Args:
        changed: called after each change, on the thread that made it.

    Attributes:
        fraction: how far it is, from 0 to 1, None where it did not say.
        text: what it is doing, in its own words.
        waits_for: what keeps it from starting, None once it runs.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self.fraction: float | None = None
        self.text = ""
        self.waits_for: str | None = None
        self.closed = False
        self._changed = changed
        self._lock = threading.Lock()
        self._printed = Printed()

    @property
    def output(self) -> str:
        """What was printed and logged, without secrets, the last 20,000 characters of it."""
        with self._lock:
            return self._printed.text(final=self.closed)

    def write(self, text: str) -> None:
        """Something was printed."""
        with self._lock:
            self._printed.write(text)
        self._changed()

    def advance(self, fraction: float | None, text: str) -> None:
        """The tool came this far."""
        self.fraction, self.text = fraction, text
        self._changed()

    def wait_for(self, what: str | None) -> None:
        """It cannot start before `what` is free; None when it starts."""
        if self.waits_for != what:
            self.waits_for = what
            self._changed()


_report: contextvars.ContextVar[Report | None] = contextvars.ContextVar("gemini_nb_report", default=None)


def progress(fraction: float | None, text: str = "") -> None:
    """Say, from inside a tool, how far it is; its card shows it.

    Outside a tool call it does nothing, so the same function can be called by hand. It does nothing, too, in
    another process: a tool on a process pool reports when it has ended.

    Args:
        fraction: from 0 to 1, or None where nobody can tell.
        text: what is being done, in a few words.

    Raises:
        ConfigError: the fraction is no number from 0 to 1.
    """
    if fraction is not None:
        fraction = _checked(fraction)
    report = _report.get()
    if report is not None and not report.closed:
        report.advance(fraction, str(text))


def _checked(fraction: object) -> float:
    try:
        value = float(fraction)  # type: ignore[arg-type]  # numpy's numbers, too; the rest is refused here
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"Progress is a fraction from 0 to 1, or None, not {fraction!r}.")
    return value


@contextlib.contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Within this context, threads and tasks that begin here included, prints go to the report."""
    token = _report.set(report)
    try:
        with _diversion:
            yield
    finally:
        report.closed = True
        _report.reset(token)


class _Diversion:
    """The standard streams with a `write` that knows reports; in place while any tool runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._undo = [undo for name in ("stdout", "stderr") if (undo := _divert(getattr(sys, name)))]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for undo in self._undo:
                    undo()
                self._undo = []


_diversion = _Diversion()


def _divert(stream: Any) -> Callable[[], object] | None:
    """Let a stream ask who writes; returns what undoes it, or None for a stream that cannot be changed."""
    own = getattr(stream, "__dict__", {}).get("write")
    original = getattr(stream, "write", None)

    def write(text: str) -> Any:
        report = _report.get()
        if report is None or report.closed or not isinstance(text, str):
            return original(text)  # type: ignore[misc]  # there is one, or this was not put in its place
        report.write(text)
        return len(text)

    def undo() -> None:
        if stream.__dict__.get("write") is write:  # else somebody wrapped it again, and calls this one
            if own is None:
                del stream.write
            else:
                stream.write = own

    try:
        stream.write = write
    except (AttributeError, TypeError):  # no stream at all, or one of a class without attributes
        return None
    return undo
