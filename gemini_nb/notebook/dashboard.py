"""The dashboard: every stream of the kernel, what it does, and a button to stop it.

It is one widget that may be shown in many cells: each view costs the page something, none costs the kernel
more.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import ipywidgets as widgets

from gemini_nb.notebook import look
from gemini_nb.notebook.painter import painter_of
from gemini_nb.notebook.pane import button, close_tree, html, set_value, stop_button
from gemini_nb.notebook.table import table
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.states import Status
from gemini_nb.streams.stream import Stream

__all__ = ["Dashboard", "dashboard"]

_ACTIVE_ROWS = 50
_FINISHED_ROWS = 10


class Dashboard(widgets.VBox):
    """All streams of a manager: the active ones first, then the last that finished.

    Args:
        manager: whose streams.
    """

    interval = 0.25

    def __init__(self, manager: StreamManager) -> None:
        self._manager = manager
        self._painter = painter_of(manager.runtime)
        self._rows: dict[str, _Row] = {}
        self._totals = html()
        self._stop_all = button("Stop all", self._request_stop_all, tooltip="Stop every active stream")
        self._list = widgets.VBox()
        head = widgets.HBox([self._totals, self._stop_all])
        head.layout.justify_content = "space-between"
        super().__init__([html(look.style()), head, self._list])
        self.add_class("gemini-nb-dashboard")
        manager.on_start.append(self._wake)
        manager.runtime.loop.call(self._wake)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._manager.runtime.loop.call(self._wake)
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = table(self._manager)
        return bundle

    def _request_stop_all(self) -> None:
        for stream in self._manager.list_streams():
            stream.request_stop()

    def _wake(self, _: Stream | None = None) -> None:
        self._painter.request(self)

    def paint(self) -> bool:
        """Draw what changed since the last time. Loop thread only."""
        streams = self._manager.list_streams(all=True)
        active = [stream for stream in streams if stream.status is Status.ACTIVE]
        finished = [stream for stream in reversed(streams) if stream.status is not Status.ACTIVE]
        set_value(self._totals, look.totals_html(streams))
        self._stop_all.disabled = not active
        shown = [*active[:_ACTIVE_ROWS], *finished[:_FINISHED_ROWS]]
        self._arrange(shown)
        if active:
            # Tokens and times move without an event of the dashboard's own.
            self._manager.runtime.loop.loop.call_later(self.interval, self._wake)
        return False

    def _arrange(self, shown: list[Stream]) -> None:
        gone = self._rows.keys() - {stream.stream_id for stream in shown}
        boxes = tuple(self._row(stream).box for stream in shown)
        if self._list.children != boxes:
            self._list.children = boxes
        for stream_id in gone:
            close_tree(self._rows.pop(stream_id).box)

    def _row(self, stream: Stream) -> _Row:
        row = self._rows.get(stream.stream_id)
        if row is None:
            row = self._rows[stream.stream_id] = _Row(stream)
        row.paint()
        return row

    def __repr__(self) -> str:
        return table(self._manager)


class _Row:
    """One stream of the dashboard."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._line = html(look.dashboard_row(stream))
        self._line.layout.flex = "1 1 auto"
        self._button = stop_button(stream)
        self.box = widgets.HBox([self._line, self._button])
        self.box.add_class("gemini-nb-row")

    def paint(self) -> None:
        """Draw what changed."""
        set_value(self._line, look.dashboard_row(self._stream))
        display = "" if self._stream.status is Status.ACTIVE else "none"
        if self._button.layout.display != display:
            self._button.layout.display = display


_dashboards: weakref.WeakKeyDictionary[StreamManager, Dashboard] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def dashboard(manager: StreamManager | None = None) -> Dashboard:
    """Return the dashboard of the kernel's streams, to be shown in any cell, any number of times.

    Args:
        manager: another manager's.
    """
    chosen = manager or get_manager()
    with _lock:
        found = _dashboards.get(chosen)
        if found is None:
            found = _dashboards[chosen] = Dashboard(chosen)
        return found
