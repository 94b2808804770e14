"""The live pane beneath a cell: plain ipywidgets, painted from the stream's log.

One HTML widget with the whole answer would send the whole answer at every paint. Here the answer is a column
of blocks; what is finished is frozen and never sent again, and only the tail is rewritten. And a pane that
is not displayed would cost as much as one that is, so nothing is made before it is displayed.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import ipywidgets as widgets
from traitlets import Int

from gemini_nb.notebook.kernel import cells
from gemini_nb.notebook.kernel.cell_output import CellDisplay
from gemini_nb.notebook.kernel.page_loads import note_view
from gemini_nb.notebook.pane import look
from gemini_nb.notebook.pane.block_views import BlockView, block_html, view_for
from gemini_nb.notebook.pane.painter import Painter, painter_of, tidy
from gemini_nb.notebook.pane.running_text import TextView
from gemini_nb.notebook.pane.stepper import head_html
from gemini_nb.notebook.pane.thoughts import ThoughtsView, thoughts_html
from gemini_nb.notebook.pane.widgetry import (
    Container,
    OpensWhenNamed,
    close_tree,
    formulas,
    messages,
    piece,
    set_value,
    shared_layout,
    stop_button,
)
from gemini_nb.notebook.render.blocks.blocks import CallBlock, NoticeBlock, TextBlock
from gemini_nb.notebook.render.markdown import has_formulas, typeset
from gemini_nb.notebook.render.settled import mimebundle, render, to_text
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.streams.events.log import Cursor
from gemini_nb.streams.events.states import ToolStatus
from gemini_nb.streams.stream import Stream

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

_ENOUGH = 40  # messages after which the rest of a paint is left to the next one
_HEAD_PAUSE = 1.0
_CROWDED = 1.5  # seconds between two paints that say that many panes live
_QUICK, _CALM = 0.05, 0.12  # the first words must not wait; a long answer comes faster than it can be read
_SHORT = 8  # frozen pieces of an answer that is painted quickly
_SLOWER_FROM = 40_000  # characters of a tail, times paints a second, that a page takes with ease


class StreamPane(OpensWhenNamed, Container, widgets.VBox):
    """A live view of one stream.

    Shown in a cell by `%%gemini_stream`, or by any cell whose value it is. It may be shown in several places.

    Args:
        stream: the stream to show, running or finished.
    """

    children: tuple[widgets.Widget, ...]
    pace = 20.0
    """Paints a second at most."""
    notes: tuple[str, ...] = ()
    """What the user should know of the prompt, a line each, beneath the answer. Set before it is shown."""
    stands_alone = True
    """Whether it is shown by a cell; one that is a part of something else goes with that."""
    sent = 0  # apart from what `widgetry` counts
    _view_count = Int(None, allow_none=True).tag(sync=True, echo_update=False)  # no page asks for another's

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._live: _Live | None = None
        self._shown = False
        self._display: CellDisplay | None = None
        self._said: object = None  # by its tools, when it settled last
        self._settling = threading.Lock()  # holds together the display and whether it is settled
        self.settled = _unsettled()
        """Done once the last state was painted and, where there is a display to settle, sent."""
        self._was_seen = False
        # A view count of 0, not None, asks pages to keep it up to date.
        super().__init__([], layout=shared_layout(), model_id=uuid.uuid4().hex, _view_count=0)
        self.add_class("gemini-nb-pane")
        self.observe(self._on_views, "_view_count")

    @property
    def stream(self) -> Stream:
        """The stream it shows."""
        return self._stream

    @property
    def _painter(self) -> Painter:
        return painter_of(self._stream.runtime)

    @property
    def interval(self) -> float:
        """Seconds between two paints: more for long answers and long blocks (tables), none at the end."""
        if self._stream.is_done:
            return 0.0
        if self._live is None:
            return 1 / self.pace
        least = max(1 / self.pace, _QUICK if self._live.is_short else _CALM)
        return max(least, min(1.0, self._live.tail / _SLOWER_FROM))

    def _on_views(self, change: Any) -> None:
        if change["new"]:
            note_view()
            self._was_seen = True

    def request_stop(self) -> None:
        """Ask the stream to stop."""
        self._stream.request_stop()

    def open(self) -> None:
        """Nothing is opened before the pane is displayed, alone or in another widget."""
        if self._shown:
            super().open()

    @property
    def model_id(self) -> str:
        """The id by which a page finds it. ipywidgets reads it only to display the pane."""
        self._show()
        return str(self._model_id)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._show()
        cells.register_view(self)
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = to_text(self._stream)  # for front ends without widgets
        return bundle

    def _show(self) -> None:
        if self._shown:
            return
        self._shown = True
        self.open()
        if self.stands_alone:
            cells.register_view(self)
        self._painter.call(self._begin)

    def settle_into(self, handle: DisplayHandle) -> None:
        """Replace the pane by Markdown in this display once the stream has ended."""
        with self._settling:
            self._display = CellDisplay(handle, self._stream.cell_output())
            if self.settled.done() and self._shown:  # an answer that ended before it had a display
                self.settled = _unsettled()
        self._painter.call(self._wake)

    def detach(self) -> None:
        """Stop painting and close the widgets; displayed again, it begins anew. From any thread."""
        self._painter.call(self._end)

    def close(self) -> None:
        """Close it on every page. From any thread."""
        was_shown = self._shown
        if was_shown:
            super().close()
        self._shown = False
        self.__dict__.pop("_repr_mimebundle_", None)  # ipywidgets': a closed widget is never shown again
        self._model_id = uuid.uuid4().hex
        if was_shown:
            self._painter.call(self._clear)

    def _begin(self) -> None:
        if self._shown and self._live is None:
            self._painter.request(self)  # fifty at once would be more than a page can take

    def _end(self) -> None:
        self.close()  # first: what is closed sends nothing of its children
        self._clear()

    def _clear(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()
        self._painter.forget(self)
        old, self.children = self.children, ()
        self._painter.close_soon(_closers(old))
        self._set_settled(self._display)

    def _set_settled(self, into: CellDisplay | None) -> None:
        """What was to be put into this display is there, which says nothing of one that came meanwhile."""
        with self._settling:
            if into is self._display and not self.settled.done():
                self.settled.set_result(None)

    def _wake(self) -> None:
        if self._live is not None:
            self._live.wake()

    def paint(self) -> bool:
        """Draw what changed since the last time. Rendering thread only."""
        if not self._shown:
            return False
        try:
            if self._live is None:
                self._live = _Live(self, self._painter)
            more = self._live.paint()
            tidy()
            if more:
                return True
        except Exception:
            if self._stream.is_done:  # a cell waits for it, however long it takes
                self._set_settled(self._display)
            raise
        self._live.close()
        if self._live.settles_into is not (display := self._display):
            self._live.settles_into = display
            if self._stream.tool_calls:  # their threads may go on, and print
                self._said = said_by_tools(self._stream)
                self._stream.on_late_output(self._settle_again)
            self._painter.work(self._settle(self._live, display))
        return False

    @property
    def _taken(self) -> Callable[[], bool] | None:
        """Whether every page that showed it has put something else in its place, where pages tell."""
        return (lambda: not self._view_count) if self._was_seen else None

    def _settle_again(self) -> None:
        """Show what a tool or a thread of its says late, and that it has ended. Loop thread only."""
        before, self._said = self._said, said_by_tools(self._stream)
        if self._said != before and self._live is not None and self._shown:
            self._painter.work(self._settle(self._live, self._display))

    def _settle(self, live: _Live, display: CellDisplay | None) -> Iterator[None]:
        """Put Markdown in the pane's place, and shrink to one widget with the whole answer.

        The widget stays for a page that was reloaded in the middle: it cannot take the update, since it has
        forgotten the display, but it still shows the widget.
        """
        try:
            live.transcript.refresh(self._stream.tool_calls)
            for _ in render(live.transcript):
                yield
                if self._live is not live:  # closed, or begun anew
                    return
            if display is not None:
                display.replace(mimebundle(self._stream, live.transcript), self._taken)
            yield
            if self._live is live:
                old, shown = self.children, whole_html(self._stream, live.transcript) + notes_html(self.notes)
                names = self._stream.stream_id if self.stands_alone else ""
                self.children = (look.sheet(), whole(shown, names))
                live.painter.close_soon(_closers(old))
        finally:
            if self._live is live or self._live is None:
                self._set_settled(display)

    def __repr__(self) -> str:
        return f"<StreamPane of {self._stream.stream_id}>"


def _unsettled() -> concurrent.futures.Future[None]:
    future = concurrent.futures.Future[None]()
    future.set_running_or_notify_cancel()  # so that a cancelled waiter does not cancel it
    return future


def said_by_tools(stream: Stream) -> object:
    """What the tools of a stream have said so far, and which of them go on."""
    return [(call.still_running, call.output, call.shown) for call in stream.tool_calls]


class _Live:
    """What a displayed pane has while its stream runs. Rendering thread only."""

    def __init__(self, pane: StreamPane, painter: Painter) -> None:
        stream = pane.stream
        self.painter = painter
        self.transcript = Transcript(is_json=stream.is_structured)
        self._pane, self._stream = pane, stream
        self.settles_into: object = self  # nowhere yet; None is a display that cannot be replaced
        self._views: list[BlockView | None] = []
        self._thoughts: ThoughtsView | None = None
        self._head = piece(head_html(stream, is_live=True), "gemini-nb-headline")
        self._head_due, self._painted_at = 0.0, time.monotonic()
        self._head_state: object = None
        self._stop = None if stream.is_done else stop_button(stream)
        self._body: tuple[widgets.Widget, ...] = ()
        self._notes: Any = None
        self._paint_notes()
        self._cursor = Cursor(stream.log, self.wake)
        self.wake()

    @property
    def tail(self) -> int:
        """The length of the HTML that is sent anew with every paint."""
        last = next((view for view in reversed(self._views) if view is not None), None)
        return last.live if isinstance(last, TextView) else 0

    @property
    def is_short(self) -> bool:
        """Whether the answer is one that is read while it comes."""
        return len(self._views) < _SHORT and all(
            view.frozen < _SHORT for view in self._views if isinstance(view, TextView)
        )

    def wake(self) -> None:
        """Something changed."""
        self.painter.request(self._pane, sooner=self._stream.is_done)

    def close(self) -> None:
        """Stop listening and painting."""
        self._cursor.close()
        self.painter.forget(self._pane)

    def paint(self) -> bool:
        """Draw what changed; returns whether more will come."""
        self.transcript.apply_all(self._cursor.take())
        if self._cursor.at_end:  # what follows in a moment shows all of it, or stands there already
            if not self._pane.children:
                self._arrange()
            return False
        self._paint_head()
        more = self._paint_thoughts()
        more = self._paint_blocks() or more
        self._arrange()
        if more:
            self.wake()
        return True

    def _arrange(self) -> None:
        thoughts = None if self._thoughts is None else self._thoughts.widget
        parts = (look.sheet(), self._stop, self._head, thoughts, *self._body, self._notes)
        children = tuple(part for part in parts if part is not None)
        if self._pane.children != children:
            self._pane.children = children
        for view in self._views:
            if isinstance(view, TextView):
                view.close_dropped()

    def _paint_head(self) -> None:
        """Draw a new state at once; for figures once a second is enough, or every second paint in a crowd."""
        now, stream = time.monotonic(), self._stream
        since, self._painted_at = now - self._painted_at, now
        state = (
            stream.status,
            stream.phase,
            stream.turn,
            stream.retries,
            stream.waiting,
            stream.activity,
            stream.remarks,
        )
        if now >= self._head_due or state != self._head_state:
            pause = _HEAD_PAUSE if since < _CROWDED else 1.5 * since
            self._head_due, self._head_state = now + pause, state
            set_value(self._head, head_html(stream, is_live=True))

    def _paint_thoughts(self) -> bool:
        thoughts = self.transcript.thoughts
        if self._thoughts is None:
            if not thoughts:
                return False
            self._thoughts = ThoughtsView()
        return self._thoughts.draw(
            thoughts, self.transcript.thoughts_draft, thinking=self.transcript.thinking
        )

    def _paint_notes(self) -> None:
        """Say beneath the answer what does not stay: above, its text would move when the answer settles."""
        happened = (block.text for block in self.transcript.blocks if isinstance(block, NoticeBlock))
        shown = notes_html([*self._pane.notes, *happened])
        if self._notes is not None:
            set_value(self._notes, shown)
        elif shown:
            self._notes = piece(shown, "gemini-nb-notes")

    def _paint_blocks(self) -> bool:
        blocks, changed = self.transcript.blocks, self.transcript.changed
        self._views.extend([None] * (len(blocks) - len(self._views)))
        before = messages()
        if notices := {index for index in changed if isinstance(blocks[index], NoticeBlock)}:
            self._paint_notes()
            changed -= notices
        for index in sorted(changed | self._running_cards()):
            view, unfinished = view_for(blocks[index], self._views[index])
            self._views[index] = view
            if not unfinished:
                changed.discard(index)
            if messages() - before > _ENOUGH:
                break
        self._body = tuple(widget for view in self._views if view is not None for widget in view.widgets)
        return bool(changed)

    def _running_cards(self) -> set[int]:
        return {
            index
            for index, block in enumerate(self.transcript.blocks)
            if isinstance(block, CallBlock) and block.call.status is ToolStatus.RUNNING
        }


def notes_html(notes: Iterable[str]) -> str:
    """What the user should know of the prompt."""
    return "".join(map(look.notice_html, notes))


def whole_html(stream: Stream, transcript: Transcript) -> str:
    """All of an ended stream in one piece."""
    return head_html(stream) + body_html(transcript)


def body_html(transcript: Transcript) -> str:
    """What came, in one piece that changes no more."""
    thoughts = thoughts_html(transcript.thoughts, transcript.thoughts_draft) if transcript.thoughts else ""
    body = "".join(
        f'<div class="gemini-nb-text">{block_html(block)}</div>'
        if isinstance(block, TextBlock)
        else block_html(block)
        for block in transcript.blocks
    )
    return f'{thoughts}<div class="gemini-nb-body">{body}</div>'


def whole(shown: str, names: str) -> widgets.Widget:
    """The one widget that stays, for this HTML and what `%gemini_show` finds it by, if anything."""
    shown += look.kept_html(names) if names else ""
    return cast("widgets.Widget", formulas(typeset(shown)) if has_formulas(shown) else piece(shown))


def _closers(children: tuple[widgets.Widget, ...]) -> list[Callable[[], object]]:
    """One call for each widget, so that closing hundreds can be spread over time."""
    found: list[Callable[[], object]] = []
    for child in children:
        found += _closers(getattr(child, "children", ()))
        found.append(functools.partial(close_tree, child, deep=False))
    return found
