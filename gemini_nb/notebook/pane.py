"""The live pane beneath a cell: plain ipywidgets, painted from the stream's log.

One HTML widget with the whole answer would send the whole answer at every paint. Here the answer is a column
of blocks; what is finished is frozen and never sent again, and only the tail is rewritten.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

import ipywidgets as widgets

from gemini_nb.notebook import look
from gemini_nb.notebook.markdown import split_point, to_html
from gemini_nb.notebook.painter import painter_of
from gemini_nb.notebook.settled import code_block, mimebundle, to_text
from gemini_nb.notebook.transcript import Block, CallBlock, NoticeBlock, PartBlock, TextBlock, Transcript
from gemini_nb.streams.calls import ToolCall
from gemini_nb.streams.log import Cursor
from gemini_nb.streams.states import Status, ToolStatus
from gemini_nb.streams.stream import Stream

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

__all__ = ["StreamPane"]

_TAIL = 800  # characters that a tail may have before its finished part is frozen


class StreamPane(widgets.VBox):
    """A live view of one stream.

    Shown in a cell by `%%gemini_stream`, or by any cell whose value it is. It may be shown in several places.

    Args:
        stream: the stream to show, running or finished.
    """

    interval = 0.05
    children: tuple[widgets.Widget, ...]

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._painter = painter_of(stream.runtime)
        self._transcript = Transcript()
        self._views: list[Any] = []  # what `_view_for` makes; ipywidgets has no types to tell them apart
        self._handle: DisplayHandle | None = None
        self._context = contextvars.copy_context()
        self._thoughts: widgets.HTML | None = None
        self.settled: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done once the last state was painted and, where there is a display to settle, sent."""
        self.settled.set_running_or_notify_cancel()  # whoever stops waiting cannot cancel it for others
        self._head = html(look.head_html(stream))
        self._head.layout.flex = "1 1 auto"  # or the Stop button moves with every figure
        self._head_due = 0.0
        self._head_state: object = None
        self._stop = stop_button(stream)
        self._body = widgets.VBox()
        self._body.add_class("gemini-nb-body")
        # A reversed column sticks to its end while it grows, and leaves a reader who scrolled up in peace.
        scroll = widgets.Box([self._body])
        scroll.add_class("gemini-nb-scroll")
        super().__init__([html(look.style()), widgets.HBox([self._head, self._stop]), scroll])
        self.add_class("gemini-nb-pane")
        self._cursor = Cursor(stream.record.log, self._wake)
        stream.runtime.loop.call(self._wake)

    @property
    def stream(self) -> Stream:
        """The stream it shows."""
        return self._stream

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = to_text(self._stream)  # for front ends without widgets
        return bundle

    def settle_into(self, handle: DisplayHandle) -> None:
        """Replace the pane by Markdown in this display once the stream has ended."""
        self._handle = handle
        self._stream.runtime.loop.call(self._wake)

    def detach(self) -> None:
        """Stop painting and close the widgets. From any thread."""
        self._stream.runtime.loop.call(self._close_all)

    def _close_all(self) -> None:
        self._cursor.close()
        self._painter.forget(self)
        self._set_settled()
        self.close_all()

    def _set_settled(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def _wake(self) -> None:
        self._painter.request(self)

    def paint(self) -> bool:
        """Draw what changed since the last time. Loop thread only."""
        transcript = self._transcript
        transcript.apply_all(self._cursor.take())
        self._paint_head()
        self._paint_thoughts()
        running = self._running_cards()
        for index in sorted(transcript.changed | running):
            self._paint_block(index, transcript.blocks[index])
        transcript.changed.clear()
        self._arrange()
        if not self._cursor.at_end:
            return True
        self._stop.layout.display = "none"
        self._cursor.close()
        self._settle()
        return False

    def _paint_head(self) -> None:
        """Draw a new state at once; for figures four times a second is enough."""
        now, stream = time.monotonic(), self._stream
        state = (stream.status, stream.phase, stream.turn)
        if now >= self._head_due or state != self._head_state:
            self._head_due, self._head_state = now + 0.25, state
            set_value(self._head, look.head_html(self._stream))

    def _running_cards(self) -> set[int]:
        return {
            index
            for index, block in enumerate(self._transcript.blocks)
            if isinstance(block, CallBlock) and block.call.status is ToolStatus.RUNNING
        }

    def _paint_thoughts(self) -> None:
        thoughts = self._transcript.thoughts
        if not thoughts:
            return
        if self._thoughts is None:
            self._thoughts = html()
            fold = widgets.Accordion([self._thoughts], titles=("Thoughts",), selected_index=None)
            self.children = (*self.children[:2], fold, *self.children[2:])
        set_value(self._thoughts, to_html(thoughts))

    def _paint_block(self, index: int, block: Block) -> None:
        for missing in self._transcript.blocks[len(self._views) : index + 1]:
            self._views.append(_view_for(missing))
        view = self._views[index]
        match block:
            case TextBlock():
                view.draw(block)
            case CallBlock():
                view.draw(block.call)
            case NoticeBlock():
                set_value(view, look.notice_html(block.text))
            case PartBlock():
                set_value(view, part_html(block))
            case _:
                assert_never(block)

    def _arrange(self) -> None:
        children: list[widgets.Widget] = []
        for view in self._views:
            children.extend(view.widgets if isinstance(view, _TextView) else [view])
        if list(self._body.children) != children:
            self._body.children = tuple(children)

    def _settle(self) -> None:
        """Shrink to one widget that holds the whole answer, and put Markdown in the pane's place.

        The widget stays for a page that was reloaded in the middle: it cannot take the update, since it has
        forgotten the display, but it still shows the widget.
        """
        if self._handle is not None:
            whole = html(f"<div>{look.head_html(self._stream)}{to_html(self._stream.text)}</div>")
            old = [*self.children[2:]]
            self.children = (self.children[0], whole)
            for widget in old:
                close_tree(widget)
            self._context.run(self._handle.update, mimebundle(self._stream), raw=True)
        self._set_settled()

    def __repr__(self) -> str:
        return f"<StreamPane of {self._stream.stream_id}>"


class _TextView:
    """A run of text as frozen blocks and one live tail."""

    def __init__(self) -> None:
        self.widgets: list[widgets.HTML] = [html()]
        self._frozen = 0
        self._rewound = 0

    def draw(self, block: TextBlock) -> None:
        """Draw the text, freezing what is finished."""
        if block.rewound != self._rewound:
            self._rewound, self._frozen = block.rewound, 0
            for widget in self.widgets[1:]:
                widget.close()
            del self.widgets[1:]
        tail = block.text[self._frozen :]
        if len(tail) > _TAIL and (cut := split_point(tail)):
            set_value(self.widgets[-1], to_html(tail[:cut]))
            self.widgets.append(html())
            self._frozen += cut
            tail = tail[cut:]
        set_value(self.widgets[-1], to_html(tail))


class _CallView(widgets.VBox):
    """A tool call's card, with Approve and Deny while it waits for them."""

    children: tuple[widgets.Widget, ...]

    def __init__(self) -> None:
        self._card = html()
        super().__init__([self._card])

    def draw(self, call: ToolCall) -> None:
        """Draw the card, and the buttons if they are wanted."""
        set_value(self._card, look.call_html(call))
        asking = call.status == ToolStatus.AWAITING_APPROVAL
        if asking and len(self.children) == 1:
            approve, deny = button("Approve", call.approve), button("Deny", call.deny)
            self.children = (self._card, widgets.HBox([approve, deny]))
        elif not asking and len(self.children) == 2:
            buttons = self.children[1]
            self.children = (self._card,)
            close_tree(buttons)


def _view_for(block: Block) -> _TextView | _CallView | widgets.HTML:
    if isinstance(block, TextBlock):
        return _TextView()
    return _CallView() if isinstance(block, CallBlock) else html()


def html(value: str = "") -> widgets.HTML:
    """An HTML widget; its margins are the style sheet's."""
    return widgets.HTML(value)


def set_value(widget: Any, value: str) -> None:
    """Send a value if it is new."""
    if widget.value != value:
        widget.value = value


def stop_button(stream: Stream) -> widgets.Button:
    """A button that stops a stream."""
    made = button("Stop", stream.request_stop, tooltip=f"Stop {stream.stream_id}")
    made.layout.flex = "0 0 auto"
    made.layout.display = "" if stream.status is Status.ACTIVE else "none"
    return made


def button(name: str, action: Callable[[], object], tooltip: str = "") -> widgets.Button:
    """A button; its action must not block, and runs while a cell does where the platform allows it."""
    made = widgets.Button(description=name, tooltip=tooltip)
    made.layout.width = "auto"
    made.on_click(lambda _: action())
    answer_where_asked(made)
    return made


def answer_where_asked(widget: widgets.Widget) -> None:
    """Let clicks be handled while the kernel runs a cell.

    JupyterLab sends them to a subshell for that; ipykernel 7.4 hands them to the busy main shell again, the
    one that last sent on the comm.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _, default: default  # noqa: SLF001 - there is no public way


def close_tree(widget: widgets.Widget) -> None:
    """Close a widget and everything in it, layouts and styles too."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for name in ("layout", "style"):
        if (part := getattr(widget, name, None)) is not None and isinstance(part, widgets.Widget):
            part.close()
    widget.close()


def part_html(block: PartBlock) -> str:
    """Code, its output and the rest, as text."""
    code, outcome = block.part.get("executableCode"), block.part.get("codeExecutionResult")
    if isinstance(code, dict):
        return to_html(code_block(str(code.get("code") or ""), "python"))
    if isinstance(outcome, dict):
        return look.pre_html(str(outcome.get("output") or outcome.get("outcome") or ""))
    return look.notice_html(", ".join(block.part))
