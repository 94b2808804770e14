"""The rows of a dashboard's streams, and how many messages all rows may send.

Streams that end by the hundred would open and close rows faster than a page can follow, so an `Allowance`
spreads that over the refreshes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gemini_nb.notebook.dashboard.base_row import BaseRow, RowStyle
from gemini_nb.notebook.dashboard.look import line_html
from gemini_nb.notebook.dashboard.timeline import timeline_html
from gemini_nb.notebook.dashboard.trace import Trace
from gemini_nb.notebook.render.figures import first_words
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream

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


class Row(BaseRow):
    """One stream: its line, a button that stops it, and a timeline that unfolds."""

    more = "Timeline"

    def __init__(self, stream: Stream, style: RowStyle, on_fold: Callable[[Row], object]) -> None:
        self.stream = self.entry = stream
        self.trace = Trace(stream.log)
        self.trace.read()
        self._words = first_words(stream)
        self._state: object = self._state_now()
        self._due = 0.0
        super().__init__(style, on_fold)

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
        return plain(self.stream.label)

    @property
    def _may_stop(self) -> bool:
        return self.stream.status is Status.ACTIVE

    def _request_stop(self) -> None:
        self.stream.request_stop()

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
        return self._paint_all()

    def _line_html(self) -> str:
        return line_html(self.stream, self.trace, self._words, time.time())

    def _more_html(self) -> str:
        return timeline_html(self.stream, self.trace, time.time())
