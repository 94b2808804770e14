"""A group of many streams as one row of a dashboard, which unfolds to the rows to look at."""

from __future__ import annotations

import time
from collections.abc import Callable

from gemini_nb.notebook.dashboard.base_row import BaseRow, RowStyle
from gemini_nb.notebook.render.entries import label_of, state_of
from gemini_nb.notebook.render.figures import first_words
from gemini_nb.notebook.render.group_table import Rate, live_html, progress_line
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import cut, duration
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.run import Run


class GroupRow(BaseRow):
    """One group: how far it is, a button that stops all of it, and its rows on demand."""

    more = "Rows"
    has_running_tools = False

    def __init__(self, run: Run, style: RowStyle, on_fold: Callable[[GroupRow], object]) -> None:
        self.entry = run
        self._group = StreamGroup(run)
        self._first = run.stream(0)
        self._words = first_words(self._first)
        self._rate = Rate()
        self._due = 0.0
        self._is_final = False
        super().__init__(style, on_fold)

    @property
    def _name(self) -> str:
        return label_of(self.entry)

    @property
    def _may_stop(self) -> bool:
        return not self.entry.is_over

    def _request_stop(self) -> None:
        self.entry.request_stop()

    @property
    def is_final(self) -> bool:
        """Whether nothing about it will change any more, as long as it is not retried."""
        return self._is_final and self.entry.is_over and not self._must_fold

    def paint(self, pause: float) -> int:
        """Draw what changed, after a pause in seconds. Returns the messages sent."""
        is_over = self.entry.is_over
        if time.monotonic() < self._due and not is_over:
            return 0
        self._due, self._is_final = time.monotonic() + pause, is_over
        return self._paint_all()

    def _more_html(self) -> str:
        return f'<div class="gemini-nb-items">{live_html(self._group)}</div>'

    def _line_html(self) -> str:
        run, first = self.entry, self._first
        (status, word), name, model = state_of(run), self._name, escape(cut(first.model, 60))
        took = (run.ended_at or time.time()) - first.started_at
        done = run.counts
        facts = progress_line(self._group, self._rate.of(done.completed + done.stopped + done.failed))
        said = "" if run.error is None else str(run.error)
        title, shown = escape(cut(said, 600)), escape(cut(said, 160))
        error = f'<span class="gemini-nb-error" title="{title}">{shown}</span>' if said else ""
        return (
            f'<div class="gemini-nb-line" data-stream-id="{escape(first.stream_id)}" '
            f'data-status="{status.value}" data-phase="{first.phase.value}" data-group="{escape(name)}">'
            f'<div class="gemini-nb-what"><div class="gemini-nb-asked"><b>{escape(cut(name, 40))}</b> '
            f'<bdi title="{escape(self._words)}">{escape(self._words)}</bdi></div>'
            f'<div class="gemini-nb-facts"><span class="gemini-nb-model">{model}</span>'
            f"<span>{escape(facts)}</span>{error}</div></div>"
            f'<span class="gemini-nb-badge" data-status="{status.value}">{escape(word)}</span><span></span>'
            '<span class="gemini-nb-figures">'
            f'<span class="gemini-nb-elapsed">{duration(int(took))}</span></span></div>'
        )
