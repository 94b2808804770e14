"""What a tool reports while it runs: prints, displays, log lines and progress, kept with its call."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gemini_nb.errors import ConfigError
from gemini_nb.redaction import excerpt_of
from gemini_nb.tools.output import Display, Target, current_target, diverting, targeting
from gemini_nb.tools.printed import Printed
from gemini_nb.tools.shown import Shown, Words, shown_of

_DISPLAYS = 20  # pictures, tables and updatable texts kept of one call: the last ones


class Work:
    """Whether a tool's function is being executed; in a thread it goes on after a stop or a timeout."""

    __slots__ = ("is_going",)

    def __init__(self) -> None:
        self.is_going = False


class Report(Target):
    """The output and progress of one running call; written from any thread.

    Args:
        changed: called after each change, on the thread that made it.

    Attributes:
        fraction: how far it is, from 0 to 1, None where it did not say.
        text: what it is doing, in its own words.
        waits_for: what keeps it from starting, None once it runs.
        work: whether its function is being executed in a thread.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        super().__init__()
        self.fraction: float | None = None
        self.text = ""
        self.waits_for: str | None = None
        self.closed = False
        self.work = Work()
        self._changed = changed
        self._lock = threading.Lock()
        self._printed = Printed()
        self._shown: list[tuple[str | None, Shown]] = []
        self._clear_next = False

    @property
    def output(self) -> str:
        """What was printed and logged, without secrets, the last 20,000 characters of it."""
        with self._lock:
            return self._printed.text(final=self.closed)

    @property
    def shown(self) -> tuple[Shown, ...]:
        """What was displayed beside text: the last 20 pictures, tables and texts that can be updated."""
        with self._lock:
            return tuple(shown for _, shown in self._shown)

    def put(self, _name: str, text: str) -> None:  # both streams stand in one card
        """Append printed text."""
        with self._lock:
            self._clear_if_due()
            self._printed.write(text)
        self._changed()

    def show(self, shown: Display) -> bool:
        """Add or update a display; returns False for an update of a display that is not here."""
        name, made = shown.transient.get("display_id"), shown_of(shown.data)
        with self._lock:
            at = [index for index, (known, _) in enumerate(self._shown) if known == name]
            if shown.update:
                if name is None or not at:
                    return False
                for index in at:
                    self._shown[index] = (name, made)
            else:
                self._clear_if_due()
                if name is None and isinstance(made, Words):
                    self._printed.write(f"{made.text}\n")
                else:
                    self._keep(name, made)
        self._changed()
        return True

    def add(self, shown: Shown) -> None:
        """Keep a picture or table of the call's result."""
        with self._lock:
            self._keep(None, shown)
        self._changed()

    def wipe(self, *, wait: bool) -> None:
        """Clear what was printed and displayed: now, or when the next output comes."""
        with self._lock:
            self._clear_next = True
            if not wait:
                self._clear_if_due()
        self._changed()

    def following(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function that a thread runs, so that its end is noted even after the call was given up."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.work.is_going = True
            try:
                return function(*args, **kwargs)
            finally:
                self.work.is_going = False
                if self.closed:
                    self._changed()

        return run

    def advance(self, fraction: float | None, text: str) -> None:
        """Note how far the tool is."""
        self.fraction, self.text = fraction, text
        self._changed()

    def wait_for(self, what: str | None) -> None:
        """Note what the call waits for before it can start; None when it starts."""
        if self.waits_for != what:
            self.waits_for = what
            self._changed()

    def _keep(self, name: str | None, shown: Shown) -> None:
        self._shown = [*self._shown, (name, shown)][-_DISPLAYS:]

    def _clear_if_due(self) -> None:
        if self._clear_next:
            self._clear_next = False
            self._printed.clear()
            self._shown = []


def progress(fraction: float | None, text: str = "") -> None:
    """Report the progress of the running tool; its card shows it.

    Outside a tool call it does nothing, so the same function can be called by hand. It does nothing, too, in
    another process: a tool on a process pool reports when it has ended.

    Args:
        fraction: from 0 to 1, or None where that is unknown.
        text: what is being done, in a few words.

    Raises:
        ConfigError: the fraction is no number from 0 to 1.
    """
    if fraction is not None:
        fraction = _checked(fraction)
    report = current_target()
    if isinstance(report, Report) and not report.closed:
        report.advance(fraction, str(text))


def _checked(fraction: Any) -> float:
    try:
        value = float(fraction)  # numpy's numbers, too
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"Progress is a fraction from 0 to 1, or None, not {excerpt_of(fraction)}.")
    return value


@contextlib.contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Within this context, threads and tasks that begin here included, output goes to the report."""
    try:
        with diverting(), targeting(report):
            yield
    finally:
        report.closed = True
