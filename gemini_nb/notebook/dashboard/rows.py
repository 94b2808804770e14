"""The rows of a dashboard as widgets, and how many messages they may send.

A widget opens a channel to the page for itself, one for its layout and one for its style. Twenty rows would
open two hundred; here all rows share theirs. Streams that end by the hundred would still open and close rows
faster than a page can follow, so an `Allowance` spreads that over the refreshes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_bool import ToggleButtonStyle
from ipywidgets.widgets.widget_string import HTMLStyle

from gemini_nb.notebook.dashboard.look import line_html
from gemini_nb.notebook.dashboard.timeline import timeline_html
from gemini_nb.notebook.dashboard.trace import Trace
from gemini_nb.notebook.pane.widgetry import answer_where_asked
from gemini_nb.notebook.render.figures import first_words
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream

__all__ = ["ROW_COST", "Allowance", "Row", "RowStyle"]

ROW_COST = 9
"""Messages that a row takes to come and to go: four widgets, and its place's new child."""


class Allowance:
    """A budget of messages: a burst at once, and a rate in the long run.

    Args:
        burst: how many at once.
        rate: how many are added every second.
    """

    def __init__(self, burst: float = 100.0, rate: float = 100.0) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._then = burst, time.monotonic()
        self.spent = 0
        """How many were sent in all."""

    def has(self, messages: int) -> bool:
        """Whether this many messages may be sent now."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._then) * self._rate)
        self._then = now
        return self._left >= messages

    def spend(self, messages: int) -> None:
        """Note that this many messages were sent."""
        self._left -= messages
        self.spent += messages


class RowStyle:
    """Layouts and styles that all rows of a dashboard share."""

    def __init__(self) -> None:
        self.box: Any = widgets.Layout()
        self.html: Any = HTMLStyle()
        self.stop: Any = widgets.ButtonStyle()
        self.fold: Any = ToggleButtonStyle()

    def close(self) -> None:
        """Close them, after the rows."""
        for shared in (self.box, self.html, self.stop, self.fold):
            shared.close()


class Row:
    """One stream: its line, a button that stops it, and a timeline that unfolds.

    Args:
        stream: the stream.
        style: what it shares with the other rows.
        on_fold: called with the row, on any thread, when the user folded or unfolded it.
    """

    def __init__(self, stream: Stream, style: RowStyle, on_fold: Callable[[Row], object]) -> None:
        self.stream = self.entry = stream
        self.trace = Trace(stream.log)
        self.trace.read()
        self._style = style
        self._words = first_words(stream)
        self._state: object = self._state_now()
        self._due = 0.0
        self._timeline: widgets.HTML | None = None
        shared = {"layout": style.box}
        self._line = widgets.HTML(
            self._line_html(), style=style.html, _dom_classes=("gemini-nb-cell",), **shared
        )
        self._fold = widgets.ToggleButton(
            tooltip=f"Timeline of {self._name}",
            style=style.fold,
            _dom_classes=("gemini-nb-fold",),
            **shared,
        )
        self._stop = widgets.Button(
            description="Stop",
            tooltip=f"Stop {self._name}",
            disabled=stream.status is not Status.ACTIVE,
            style=style.stop,
            _dom_classes=("gemini-nb-stop",),
            **shared,
        )
        self._stop.on_click(lambda _: stream.request_stop())
        self._fold.observe(lambda _: on_fold(self), "value")
        for clicked in (self._fold, self._stop):
            answer_where_asked(clicked)
        self.box = widgets.Box(
            [self._fold, self._line, self._stop], _dom_classes=("gemini-nb-row",), **shared
        )

    @property
    def is_final(self) -> bool:
        """Whether nothing about it will change any more."""
        return (
            self.trace.at_end
            and self._state == self._state_now()
            and not self._must_fold
            and not self.has_running_tools
        )

    @property
    def has_running_tools(self) -> bool:
        """Whether a tool goes on though its call has ended, as one in a thread does after a stop."""
        return any(call.still_running for call in self.stream.tool_calls)

    @property
    def _name(self) -> str:
        """What the stream is called; the notebook may give it a name later."""
        return plain(self.stream.label)

    @property
    def _must_fold(self) -> bool:
        return bool(self._fold.value) != (self._timeline is not None)

    def _state_now(self) -> object:
        """The state that is drawn at once when it changes; figures are drawn less often."""
        stream = self.stream
        calls = tuple((call.status, call.still_running) for call in stream.tool_calls)
        return (
            stream.status,
            stream.phase,
            stream.turn,
            stream.retries,
            calls,
            stream.waiting,
        )

    def paint(self, pause: float) -> int:
        """Draw what changed, figures only after a pause in seconds. Returns the messages sent."""
        self.trace.read()
        state, now = self._state_now(), time.monotonic()
        if state == self._state and now < self._due and not self._must_fold:
            return 0
        self._state, self._due = state, now + pause
        sent = _set(self._line, "value", self._line_html())
        sent += _set(self._stop, "disabled", self.stream.status is not Status.ACTIVE)
        sent += _set(self._stop, "tooltip", f"Stop {self._name}")
        return sent + self.paint_timeline()

    def paint_timeline(self) -> int:
        """Draw the timeline where it is unfolded, and take it away where it is folded."""
        if not self._fold.value:
            if self._timeline is None:
                return _set(self._fold, "tooltip", f"Timeline of {self._name}")
            self.box.children = self.box.children[:3]
            self._timeline.close()
            self._timeline = None
            return 2 + _set(self._fold, "tooltip", f"Timeline of {self._name}")
        shown = timeline_html(self.stream, self.trace, time.time())
        if self._timeline is not None:
            return _set(self._timeline, "value", shown)
        self._timeline = widgets.HTML(
            shown, layout=self._style.box, style=self._style.html, _dom_classes=("gemini-nb-unfolded",)
        )
        self.box.children = (*self.box.children[:3], self._timeline)
        # A screen reader learns the button's state from its name alone.
        return 2 + _set(self._fold, "tooltip", f"Timeline of {self._name}, shown below")

    def _line_html(self) -> str:
        return line_html(self.stream, self.trace, self._words, time.time())

    def close(self) -> None:
        """Close its widgets; what it shares stays."""
        for widget in (*self.box.children, self.box):
            widget.close()


def _set(widget: Any, name: str, value: object) -> int:
    if getattr(widget, name) == value:
        return 0
    setattr(widget, name, value)
    return 1
