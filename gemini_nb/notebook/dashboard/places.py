"""Where the rows of a dashboard stand: moved by the style sheet, never made anew on the page.

A page makes every child of a box anew that comes after the first one that is another. A row that went from
the active ones to the finished ones would lose the keyboard's focus, with all rows behind it. So each row
has a place of its own in one box, places are used again, and a number says in which order they are shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeAlias

import ipywidgets as widgets

from gemini_nb.notebook.dashboard.base_row import RowStyle
from gemini_nb.notebook.dashboard.group_row import GroupRow
from gemini_nb.notebook.dashboard.stream_row import Row
from gemini_nb.notebook.render.entries import Entry, is_active
from gemini_nb.streams.stream import Stream

AnyRow: TypeAlias = Row | GroupRow
_FAR = 1_000_000_000  # CSS orders by integers of 32 bits
_STEPS = 100  # in a second; a kernel may run for 115 days


class Places:
    """The rows on the page."""

    def __init__(self, style: RowStyle) -> None:
        self.box = widgets.VBox(layout=style.box, _dom_classes=("gemini-nb-places",))
        self._began = time.time()
        self._of: dict[AnyRow, widgets.Box] = {}
        self._free: list[widgets.Box] = []

    def arrange(self, rows: Iterable[AnyRow], gone: Iterable[AnyRow]) -> int:
        """Show these rows in their order, without those that are gone. Returns the messages sent for it."""
        sent = 0
        for row in gone:
            place = self._of.pop(row, None)
            if place is not None:
                self._free.append(place)
        made: list[widgets.Box] = []
        for row in rows:
            order = str(self._order_of(row.entry))
            place = self._of.get(row)
            if place is None:
                place = self._free.pop() if self._free else _new_place(made)
                self._of[row] = place
                place.children = (row.box,)
                sent += 1
            if place.layout.order != order:
                place.layout.order = order
                sent += 1
        for place in self._free:
            if place.children:
                place.children = ()
                sent += 1
        if made:
            self.box.children = (*self.box.children, *made)
            sent += 2 * len(made) + 1
        return sent

    def _order_of(self, entry: Entry) -> int:
        """The active ones first, oldest first; then those that ended, the last one first."""
        if is_active(entry):
            started = entry.started_at if isinstance(entry, Stream) else entry.stream(0).started_at
            return -_FAR + int(_STEPS * (started - self._began))
        return _FAR - int(_STEPS * ((entry.ended_at or time.time()) - self._began))

    def close(self) -> None:
        """Close the places; the rows close themselves."""
        for place in self.box.children:
            place.layout.close()
            place.close()


def _new_place(made: list[widgets.Box]) -> widgets.Box:
    made.append(widgets.Box(layout=widgets.Layout(), _dom_classes=("gemini-nb-place",)))
    return made[-1]
