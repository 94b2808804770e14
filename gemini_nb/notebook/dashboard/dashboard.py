"""The dashboard: every stream of the kernel, what it does, and a button to stop it.

It is one widget that may be shown in many cells: each view costs the page something, none costs the kernel
more. While no page shows it, it draws nothing at all.
"""

from __future__ import annotations

import heapq
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython

from gemini_nb.notebook.dashboard.base_row import RowStyle
from gemini_nb.notebook.dashboard.group_row import GroupRow
from gemini_nb.notebook.dashboard.look import more_html, totals_html
from gemini_nb.notebook.dashboard.places import Places
from gemini_nb.notebook.dashboard.stream_row import ROW_COST, Allowance, Row
from gemini_nb.notebook.kernel.frontend import Frontend, frontend_of
from gemini_nb.notebook.kernel.page_loads import note_view
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.pane.widgetry import answer_where_asked, set_value
from gemini_nb.notebook.render.entries import Entry, entries_of, is_active, name_of, streams_in
from gemini_nb.notebook.render.stream_table import table
from gemini_nb.notebook.static import style
from gemini_nb.streams.counts import Statistics
from gemini_nb.streams.manager import StreamManager, manager_of
from gemini_nb.streams.stream import Stream

_ROWS = 20
_PAUSE = 0.5  # seconds between two drawings of a row's figures; longer where many move
_PAUSE_FOR_EACH = 0.05


class Dashboard(widgets.VBox):
    """All streams of a manager: the active ones first, oldest first, then the last that finished.

    The rows of a group are one row here, which unfolds to those to look at.
    """

    interval = 0.25
    children: tuple[widgets.Widget, ...]

    def __init__(self, manager: StreamManager) -> None:
        self._manager = manager
        self._painter = painter_of(manager.runtime)
        self._style = RowStyle()
        self._rows: dict[str, Row | GroupRow] = {}
        self._allowance = Allowance()
        self._shown = self._closed = False
        plain = {"layout": self._style.box}
        self._totals = widgets.HTML(style=self._style.html, **plain)
        self._stop_all = widgets.Button(
            description="Stop all",
            tooltip="Stop every active stream",
            disabled=True,
            style=self._style.stop,
            **plain,
        )
        self._stop_all.on_click(lambda _: manager.request_stop_all())
        answer_where_asked(self._stop_all)
        head = widgets.Box([self._totals, self._stop_all], _dom_classes=("gemini-nb-board-head",), **plain)
        self._places = Places(self._style)
        self._more = widgets.HTML(style=self._style.html, **plain)
        sheet = widgets.HTML(style("dashboard"), style=self._style.html, **plain)
        # A view count of 0, not None, asks pages to keep it up to date.
        super().__init__(
            [sheet, head, self._places.box, self._more],
            _dom_classes=("gemini-nb-dashboard",),
            _view_count=0,
        )
        self.observe(self._on_views, "_view_count")
        manager.on_start.append(self._wake)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shell = get_ipython()
        if shell is not None and frontend_of(shell) in {Frontend.HEADLESS, Frontend.TERMINAL}:
            return {"text/plain": repr(self)}  # a widget would not move there
        self._show(shown=True)
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = repr(self)
        return bundle

    def __repr__(self) -> str:
        return table(self._manager, limit=_ROWS)

    @property
    def is_shown(self) -> bool:
        """Whether a page shows it, as far as pages tell."""
        return self._shown and not self._closed

    def _on_views(self, change: Any) -> None:
        if change["new"]:
            note_view()
        self._show(shown=bool(change["new"]))

    def _show(self, *, shown: bool) -> None:
        self._shown = shown
        if shown:
            self._wake()

    def close(self) -> None:
        """Close it, its rows and what they share."""
        if self._closed:
            return
        self._closed = True
        if self._wake in self._manager.on_start:
            self._manager.on_start.remove(self._wake)
        self._painter.call(self._close_parts)
        super().close()

    def _close_parts(self) -> None:
        self._painter.forget(self)
        for row in self._rows.values():
            row.close()
        self._rows.clear()
        self._places.close()
        for child in (*self.children[1].children, *self.children):
            child.close()
        self.layout.close()
        self._style.close()

    def _wake(self, _: Stream | None = None) -> None:
        """Request a paint as soon as the interval allows. From any thread."""
        if self.is_shown:
            self._painter.request(self)

    @property
    def sent(self) -> int:
        """Messages sent so far, for the painter's budget."""
        return self._allowance.spent

    def paint(self) -> bool:
        """Draw what changed since the last time. Rendering thread only."""
        if not self.is_shown:
            return False
        entries, totals = entries_of(self._manager), self._manager.statistics()
        active = [entry for entry in entries if is_active(entry)]
        set_value(self._totals, totals_html(totals))
        set_value(self._stop_all, not active, "disabled")
        arranged = self._arrange(_chosen(entries, active))
        set_value(self._more, self._more_html(totals))
        shown = sum(is_active(row.entry) for row in self._rows.values())
        drawn = self._draw_rows(max(_PAUSE, shown * _PAUSE_FOR_EACH))
        going_on = active or any(row.has_running_tools for row in self._rows.values())
        if going_on or not arranged or not drawn:
            # Tokens and times move without an event of the dashboard's own.
            self._wake()
            return True
        return False

    def _more_html(self, totals: Statistics) -> str:
        counted = [streams_in(row.entry) for row in self._rows.values()]
        running = totals.active - sum(running for running, _ in counted)
        finished = totals.total - totals.active - sum(ended for _, ended in counted)
        return more_html(max(0, running), max(0, finished), shown=len(self._rows))

    def _arrange(self, wanted: list[Entry]) -> bool:
        """Show these as far as the allowance permits; returns whether all are shown."""
        found = {name_of(entry): self._row_of(entry) for entry in wanted}
        rows = {name: row for name, row in found.items() if row is not None}
        old = [row for row in self._rows.values() if row not in rows.values()]
        for row in old[: len(found) - len(rows)]:  # what had a place keeps it until another can take it
            rows.setdefault(name_of(row.entry), row)
        gone = [row for row in old if row not in rows.values()]
        self._rows = rows
        self._allowance.spend(self._places.arrange(rows.values(), gone))
        for row in gone:
            row.close()
        return None not in found.values()

    def _row_of(self, entry: Entry) -> Row | GroupRow | None:
        """Return the row of an entry; None where the allowance does not permit a new one."""
        row = self._rows.get(name_of(entry))
        if row is not None and row.entry is entry:
            return row
        if not self._allowance.has(ROW_COST):
            return None
        self._allowance.spend(ROW_COST)
        if isinstance(entry, Stream):
            return Row(entry, self._style, self._on_fold)
        return GroupRow(entry, self._style, self._on_fold)

    def _draw_rows(self, pause: float) -> bool:
        complete = True
        for row in self._rows.values():
            if row.is_final:
                continue
            if not self._allowance.has(1):
                complete = False
                continue
            self._allowance.spend(row.paint(pause))
        return complete

    def _on_fold(self, row: Row | GroupRow) -> None:
        """Called on the thread that handled the front end's message."""
        self._painter.call(self._fold, row)

    def _fold(self, row: Row | GroupRow) -> None:
        if self._rows.get(name_of(row.entry)) is row:
            self._allowance.spend(row.paint_more())


def _chosen(entries: Iterable[Entry], active: list[Entry]) -> list[Entry]:
    """The streams and groups that get a row."""
    finished = heapq.nlargest(
        max(0, _ROWS - len(active)),
        (entry for entry in entries if not is_active(entry)),
        key=lambda entry: entry.ended_at or 0.0,
    )
    return [*active[:_ROWS], *finished]


_dashboards: weakref.WeakKeyDictionary[StreamManager, Dashboard] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def dashboard(manager: StreamManager | None = None) -> Dashboard:
    """Return the dashboard of the kernel's streams, to be shown in any cell, any number of times.

    Args:
        manager: another manager's.
    """
    chosen = manager_of(manager)
    with _lock:
        found = _dashboards.get(chosen)
        if found is None or found.comm is None:  # it was closed
            found = _dashboards[chosen] = Dashboard(chosen)
        return found
