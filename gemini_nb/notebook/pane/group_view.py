"""Many streams in one cell: columns where models answer the same, else a compact list."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from gemini_nb.notebook.kernel import cells
from gemini_nb.notebook.kernel.cell_output import CellDisplay
from gemini_nb.notebook.pane.look import notice_html
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.pane.pane import StreamPane, said_by_tools, whole, whole_html
from gemini_nb.notebook.pane.widgetry import button, close_tree, piece, set_value
from gemini_nb.notebook.render.group_settled import SHOWN, bundle_of, counts, text_of
from gemini_nb.notebook.render.group_table import (
    Rate,
    is_table,
    item_words,
    live_html,
    notes_of,
    progress_line,
    table_html,
)
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.settled import render, transcript_of
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.notebook.render.words import duration, quantity
from gemini_nb.notebook.static import style
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

_INTERVAL = 0.25
_NAMED = 5


class GroupView(widgets.VBox):
    """A live view of a group of streams, which settles into Markdown when all have ended."""

    interval = _INTERVAL
    children: tuple[widgets.Widget, ...]

    def __init__(self, group: StreamGroup) -> None:
        self.group = group
        self.settled: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done once the last state was painted and, where there is a display to settle, sent."""
        self.settled.set_running_or_notify_cancel()  # so that a cancelled waiter does not cancel it
        self._display: CellDisplay | None = None
        self._painter = painter_of(group.runtime)
        self._started = time.time()
        self._transcripts: dict[int, Transcript] = {}  # rendered
        self._is_rendering = False
        self._late: dict[int, object] = {}  # of streams with tools: what these had said by the end
        super().__init__([])

    @property
    def stream(self) -> Stream | None:
        """The newest of its streams, which tells how old it is; None as long as no row was read."""
        return next(iter(self.group.started[-1:]), None)

    def settle_into(self, handle: DisplayHandle) -> None:
        """Replace the view by Markdown in this display once all have ended."""
        self._display = CellDisplay(handle, self.group.runtime.cell_output())
        cells.register_view(self)
        self._painter.request(self)

    def request_stop(self) -> None:
        """Ask all of them to stop."""
        self.group.request_stop()

    def detach(self) -> None:
        """Close the widgets. From any thread."""
        self._painter.call(self._end)

    def paint(self) -> bool:
        """Draw what changed since the last time. Rendering thread only."""
        try:
            self.draw()
        except Exception:
            if self.is_over:  # a cell waits for it, however long it takes
                self._end()
            raise
        if self.is_over:
            self._painter.forget(self)
            self._watch_late_tools()
            self._painter.work(self._settle())
            return False
        if not self._is_rendering:
            self._is_rendering = True
            self._painter.work(self._render())
        self._painter.request(self)
        return True

    def _render(self) -> Iterator[None]:
        """Render each answer that has ended since the last time, so that little is left for the end."""
        try:
            for index, stream in enumerate(() if is_table(self.group) else self.group[:SHOWN]):
                if index not in self._transcripts and stream.status is not Status.ACTIVE:
                    transcript = transcript_of(stream)
                    yield from render(transcript)
                    self._transcripts[index] = transcript
                    yield
        finally:
            self._is_rendering = False

    def _settle(self) -> Iterator[None]:
        """Put Markdown in its place, and keep what a page shows that was loaded anew and cannot take it."""
        try:
            while self._is_rendering:
                yield
            yield from self._render()
            if not self.settled.done():
                yield from self._put()
        finally:
            self._set_settled()

    def _put(self) -> Iterator[None]:
        if self._display is not None:
            for index, transcript in self._transcripts.items():
                transcript.refresh(self.group[index].tool_calls)
            self._display.replace(bundle_of(self.group, self._transcripts))
            yield
            self.keep(self._transcripts)

    def _watch_late_tools(self) -> None:
        for index, row in enumerate(self.group.run.rows[:SHOWN]):
            stream = row.stream
            if stream is not None and index not in self._late and stream.tool_calls:
                self._late[index] = said_by_tools(stream)
                stream.on_late_output(partial(self._painter.call, self._look_late, index))

    def _look_late(self, index: int) -> None:
        """Settle again when a tool or a thread of its says something late. Rendering thread only."""
        said = said_by_tools(self.group[index])
        if said != self._late[index]:
            self._late[index] = said
            self._painter.work(self._settle_again())

    def _settle_again(self) -> Iterator[None]:
        while not self.settled.done():
            yield
        yield from self._put()

    def keep(self, transcripts: Mapping[int, Transcript]) -> None:
        """Show all answers, as long as the widget lives. What its parts show already is enough."""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = text_of(self.group)  # for front ends without widgets
        return bundle

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.settled.done() or self.group.is_over

    def draw(self) -> None:
        """Draw what it shows by itself."""

    def _set_settled(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def _end(self) -> None:
        self._display = None
        self._set_settled()
        self._painter.forget(self)
        close_tree(self)


class _List(GroupView):
    """A progress bar and a line for each item; of many, for those to look at."""

    def __init__(self, group: StreamGroup) -> None:
        super().__init__(group)
        self._rate = Rate()
        self._head, self._table = piece("", "gemini-nb-group-head"), piece()
        self._is_of_failures = False
        self._filter = button("Failures", self._turn_filter, tooltip="Show failed rows only")
        stop = button("Stop", self.request_stop, tooltip="Stop all of them")
        self._top = widgets.HBox([self._head, stop])
        self.children = (piece(style("group")), self._top, self._table)
        self.add_class("gemini-nb-group")

    def _turn_filter(self) -> None:
        self._is_of_failures = not self._is_of_failures
        shown = "All rows" if self._is_of_failures else "Failures"
        self._painter.call(setattr, self._filter, "description", shown)
        self._painter.request(self)

    def draw(self) -> None:
        """Draw the progress and the lines."""
        group = self.group
        how_many = group.counts
        done = how_many.completed + how_many.stopped + how_many.failed
        most = f'max="{how_many.total}" ' if how_many.total else ""
        seconds = duration(int(time.time() - self._started))
        set_value(
            self._head,
            f'<progress {most}value="{done}" aria-label="answers"></progress> '
            f"{escape(progress_line(group, self._rate.of(done)))} · {seconds}",
        )
        set_value(self._table, _notes_html(group) + live_html(group, failures=self._is_of_failures))
        if how_many.failed and self._filter not in self._top.children:
            self._top.children = (*self._top.children[:1], self._filter, *self._top.children[1:])

    def keep(self, transcripts: Mapping[int, Transcript]) -> None:
        """Show all answers, each in a fold; many in a table."""
        folds = table_html(self.group) if is_table(self.group) else self._folds(transcripts)
        names = " ".join(stream.stream_id for stream in self.group[:_NAMED])
        names = names if len(self.group) <= _NAMED else "NAME, the one given by -o,"
        head = f"<p><b>{quantity(len(self.group), 'answer')}</b>: {escape(counts(self.group))}</p>"
        shown = whole(head + _notes_html(self.group) + folds, names)
        old, self.children = self.children, (piece(style("group")), shown)
        for child in old:
            close_tree(child)

    def _folds(self, transcripts: Mapping[int, Transcript]) -> str:
        return "".join(
            f"<details><summary>{escape(item_words(self.group, index))}</summary>"
            f"{whole_html(self.group[index], transcript)}</details>"
            for index, transcript in sorted(transcripts.items())
        )


def _notes_html(group: StreamGroup) -> str:
    return "".join(map(notice_html, notes_of(group)))


class _Columns(GroupView):
    """A pane for each stream, side by side."""

    def __init__(self, group: StreamGroup) -> None:
        super().__init__(group)
        self._panes = [StreamPane(stream) for stream in group.streams]
        columns = widgets.GridBox(self._panes)
        columns.layout.grid_template_columns = "repeat(auto-fit, minmax(min(22em, 100%), 1fr))"
        columns.layout.grid_gap = "8px"
        columns.add_class("gemini-nb-columns")
        self.children = (piece(style("group")), columns)

    @property
    def is_over(self) -> bool:
        """Whether every pane has drawn its last."""
        return self.settled.done() or all(pane.settled.done() for pane in self._panes)


def view_of(made: Stream | StreamGroup) -> Any:
    """The view of what a cell started."""
    if isinstance(made, Stream):
        return StreamPane(made)
    return _List(made) if made.has_items else _Columns(made)
