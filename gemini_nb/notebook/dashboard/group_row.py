"""A group of many streams as one row of a dashboard, which unfolds to the rows to look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from gemini_nb.notebook.dashboard.rows import RowStyle
from gemini_nb.notebook.pane.widgetry import answer_where_asked
from gemini_nb.notebook.render.entries import label_of, state_of
from gemini_nb.notebook.render.figures import first_words
from gemini_nb.notebook.render.group_table import Rate, live_html, progress_line
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import cut, duration
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.run import Run

__all__ = ["GroupRow"]


class GroupRow:
    """One group: how far it is, a button that stops all of it, and its rows on demand.

    Args:
        run: its rows.
        style: what it shares with the other rows of the dashboard.
        on_fold: called with this, on any thread, when the user folded or unfolded it.
    """

    has_running_tools = False

    def __init__(self, run: Run, style: RowStyle, on_fold: Callable[[GroupRow], object]) -> None:
        self.entry = run
        self._group = StreamGroup(run)
        self._first = run.stream(0)
        self._words = first_words(self._first)
        self._rate = Rate()
        self._style = style
        self._due = 0.0
        self._is_final = False
        self._items: widgets.HTML | None = None
        shared: dict[str, Any] = {"layout": style.box}
        self._line = widgets.HTML(
            self._line_html(), style=style.html, _dom_classes=("gemini-nb-cell",), **shared
        )
        self._fold = widgets.ToggleButton(
            tooltip=f"Rows of {self._name}", style=style.fold, _dom_classes=("gemini-nb-fold",), **shared
        )
        self._stop = widgets.Button(
            description="Stop",
            tooltip=f"Stop {self._name}",
            disabled=run.is_over,
            style=style.stop,
            _dom_classes=("gemini-nb-stop",),
            **shared,
        )
        self._stop.on_click(lambda _: run.request_stop())
        self._fold.observe(lambda _: on_fold(self), "value")
        for clicked in (self._fold, self._stop):
            answer_where_asked(clicked)
        self.box = widgets.Box(
            [self._fold, self._line, self._stop], _dom_classes=("gemini-nb-row",), **shared
        )

    @property
    def _name(self) -> str:
        return label_of(self.entry)

    @property
    def is_final(self) -> bool:
        """Whether nothing about it will change any more, as long as it is not retried."""
        return self._is_final and self.entry.is_over and bool(self._fold.value) == (self._items is not None)

    def paint(self, pause: float) -> int:
        """Draw what changed, after a pause in seconds. Returns the messages sent."""
        is_over = self.entry.is_over
        if time.monotonic() < self._due and not is_over:
            return 0
        self._due, self._is_final = time.monotonic() + pause, is_over
        sent = _set(self._line, "value", self._line_html())
        sent += _set(self._stop, "disabled", is_over)
        return sent + self.paint_timeline()

    def paint_timeline(self) -> int:
        """Draw the rows to look at where it is unfolded, and take them away where it is folded."""
        if not self._fold.value:
            if self._items is None:
                return 0
            self.box.children = self.box.children[:3]
            self._items.close()
            self._items = None
            return 2 + _set(self._fold, "tooltip", f"Rows of {self._name}")
        shown = f'<div class="gemini-nb-items">{live_html(self._group)}</div>'
        if self._items is not None:
            return _set(self._items, "value", shown)
        self._items = widgets.HTML(
            shown, layout=self._style.box, style=self._style.html, _dom_classes=("gemini-nb-unfolded",)
        )
        self.box.children = (*self.box.children[:3], self._items)
        return 2 + _set(self._fold, "tooltip", f"Rows of {self._name}, shown below")

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

    def close(self) -> None:
        """Close its widgets; what it shares stays."""
        for widget in (*self.box.children, self.box):
            widget.close()


def _set(widget: Any, name: str, value: object) -> int:
    if getattr(widget, name) == value:
        return 0
    setattr(widget, name, value)
    return 1
