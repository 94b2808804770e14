"""A chat as a box in a cell: its messages, live, and a field for the next one.

The box and `-c NAME` in cells are two ways into one `Chat`: each message of either is shown here. The
transcript stands in an output of its own before the box and is sent anew after each message. In the output of
the box itself that would make the page build the box anew each time, and take the field from under the user's
hands. A style sheet hides the transcript while the box is there.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from gemini_nb.errors import GeminiError
from gemini_nb.notebook.chat_box.controls import Controls
from gemini_nb.notebook.chat_box.entry import Entry
from gemini_nb.notebook.chat_box.exchange_view import ExchangeView
from gemini_nb.notebook.kernel.cell_output import CellDisplay
from gemini_nb.notebook.pane import look
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.pane.widgetry import (
    Container,
    box,
    close_tree,
    piece,
    scroll_key,
    set_value,
    shared_layout,
    shared_piece,
)
from gemini_nb.notebook.render.chat_settled import Settled, chat_bundle, key_of, question_of, render_settled
from gemini_nb.notebook.render.markdown import escape
from gemini_nb.notebook.render.words import quantity
from gemini_nb.notebook.static import style
from gemini_nb.redaction import scrub
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.chat.messages import Exchange
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.stream import Stream

_SHOWN = 40  # messages; the transcript has all
_AGAIN = (
    "This page was loaded again, so the notebook may not hold what comes from here on. "
    "Run this cell again, and it does."
)
_HINT = "Type a message below. Write {name} to insert a variable of this notebook."
_RUN_AGAIN = "Run this cell again to go on with what it stands for now."


@dataclass(frozen=True, slots=True)
class Notebook:
    """What a box needs of the notebook it stands in.

    Attributes:
        runtime: what the streams run on.
        find: returns what a name stands for now, None where it stands for nothing.
        read: makes the contents to send from what was typed; adds notes for the user to the list.
        names: returns the names of the variables that a message can show.
    """

    runtime: Runtime
    find: Callable[[str], object]
    read: Callable[[str, list[str]], Any]
    names: Callable[[], list[str]]


class ChatBox(Container, widgets.VBox):
    """A live view of a chat, with a field for the next message.

    Args:
        name: what the notebook calls the chat.
        chat: the chat.
        notebook: where it stands.
        options: as `Chat.send` takes them, for each message from here.
    """

    interval = 0.1
    sent = 0  # apart from what `widgetry` counts
    children: tuple[widgets.Widget, ...]

    def __init__(self, name: str, chat: Chat, notebook: Notebook, options: dict[str, Any]) -> None:
        self.name, self.chat = name, chat
        self._notebook, self._options = notebook, options
        self._painter = painter_of(notebook.runtime)
        self._context = contextvars.copy_context()  # so that messages count as those of the box's cell
        self._sending, self._closing = threading.Lock(), threading.Lock()
        self._views: dict[object, ExchangeView] = {}
        self._settled: dict[object, Settled] = {}
        self._display: CellDisplay | None = None
        self._beside: CellDisplay | None = None
        self._bundle: dict[str, str] = {}
        self._is_keeping = self._keeps_again = self._is_closing = self._was_loaded_again = False
        self._kept: set[object] | None = None  # the messages that were known when it was closed
        self._edited: Exchange | None = None
        self._notice, self._notice_kind = "", ""
        self._head = piece("", "gemini-nb-chat-head")
        self._body = box([], "gemini-nb-chat-body")
        scroll = box([scroll_key("Messages"), self._body], "gemini-nb-chat-scroll")
        self._said = piece("", "gemini-nb-chat-said")
        self._entry = Entry(name, self.send, self._refuse, self._painter.call)
        self._controls = Controls(self, self._entry.fold)
        self._top = box([self._head, self._controls.close_button], "gemini-nb-chat-top")
        sheet = shared_piece(style("chat"), "gemini-nb-style")
        super().__init__(
            [sheet, look.sheet(), self._top, scroll, self._said, self._entry.widget, self._controls.widget],
            layout=shared_layout(),
            _dom_classes=("gemini-nb-chat",),
        )
        chat.on_change.append(self.wake)
        self.wake()

    @property
    def stream(self) -> Stream | None:
        """None: the box stays, whichever of its streams are still listed."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether messages can be typed."""
        return not self._is_closing and self.comm is not None

    def stand_in(self, display: CellDisplay, beside: CellDisplay) -> None:
        """Keep the transcript in a display.

        Args:
            display: of the transcript.
            beside: of the box, which goes when it is closed.
        """
        self._display, self._beside = display, beside
        self.wake()

    def wake(self) -> None:
        """Draw what changed soon. From any thread."""
        if self.comm is not None:  # a closed box is woken after each cell for as long as something holds it
            self._painter.request(self)

    def send(self, text: str) -> str:
        """Send a message, and return why it was not sent, "" where it was.

        Not on the rendering thread: what a message names is the user's own.
        """
        notes: list[str] = []
        try:
            with self._sending:
                self._check_name()
                contents = self._notebook.read(text, notes)
                edited = self._edited_now()
                instead = edited is not None and not edited.is_unanswered
                with self._closing:  # what was read may have taken its time
                    self._check_open()
                    self._context.run(self.chat.send_typed, contents, text, instead=instead, **self._options)
                if edited is not None and edited.is_unanswered:
                    self.chat.dismiss(edited.stream_id)
                self._edited = None
        except Exception as error:  # noqa: BLE001 - what a user's own objects raise is said where the user looks
            words = str(error) if isinstance(error, GeminiError) else f"{type(error).__name__}: {error}"
            return f"Not sent. {words}"
        self.say("\n".join(dict.fromkeys(notes)))
        return ""

    def edit_last(self) -> None:
        """Put the last message into the field, to be asked anew; a second time, give that up."""
        if self._entry.is_sending:  # it would be sent in place of the last message, or no longer be
            self.say("A message is still being sent. Wait until the chat shows it.", "error")
            return
        if self._edited is not None:
            self._edited = None
            self.say("")
            self._painter.call(self._entry.end_edit)
            return
        exchanges = self._exchanges()
        if not exchanges:
            return
        self._edited, stream = exchanges[-1]
        question = question_of(self._edited, stream)
        self._painter.call(self._entry.begin_edit, question)
        self.say("Sending asks the last message anew; its old answer is taken back when the new one begins.")

    def take_back(self) -> None:
        """Take the last message and its answer back; what was asked is put into the field."""
        exchanges = self._exchanges()
        if not exchanges:
            return
        last, stream = exchanges[-1]
        if last.is_under_way:
            self.say("Its answer is still to come. Stop it first, then take it back.", "error")
            return
        question = question_of(last, stream)
        try:
            if last.is_unanswered:
                self.chat.dismiss(last.stream_id)
            else:
                self.chat.rewind()
        except GeminiError as error:
            self.say(str(error), "error")
            return
        self._edited = None
        kept = f" %gemini_show {last.stream_id} shows its answer." if stream is not None else ""
        self.say(f"The last message was taken back.{kept}")
        self._painter.call(self._give_back, question)

    def attach(self, name: str) -> None:
        """Add a variable to the message, as `{name}`."""
        self._painter.call(self._entry.insert, f"{{{name}}}")

    def names(self) -> list[str]:
        """The variables that can be attached."""
        return self._notebook.names()

    def say(self, words: str, kind: str = "") -> None:
        """Say something above the field, in place of what was said before."""
        self._notice, self._notice_kind = words, kind
        self.wake()

    def settle(self) -> None:
        """Close the box, and leave the transcript in its place. From any thread."""
        with self._closing:
            if self._is_closing:
                return
            shown = [exchange for exchange, _ in self._exchanges()]
            self._kept = {key_of(one) for exchange in shown for one in (exchange, *exchange.replaces)}
            self._is_closing = True
        self._painter.call(self._close_for_good)
        self.wake()

    def detach(self) -> None:
        """Close the widgets; the transcript beside them stays. From any thread."""
        self._leave()
        self._is_closing = True
        self._painter.call(self._end)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """The state of the widget; a page that asks for all of it was loaded after the box was shown.

        The notice is drawn now, on this thread: a page that builds its widgets loses what the painter sends
        meanwhile, and ipywidgets looks at all of them twice before it answers.
        """
        if key is None and self.comm is not None and not self._was_loaded_again:
            self._was_loaded_again = True
            self._draw_notice()
        return super().get_state(key, drop_defaults)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["text/plain"] = f"Chat {self.name}: its transcript stands beside this."
        return bundle

    def __repr__(self) -> str:
        return f"<ChatBox of {self.name}>"

    def _check_name(self) -> None:
        found = self._notebook.find(self.name)
        if found is not self.chat:
            became = "was deleted" if found is None else "is another object now"
            raise GeminiError(f"{self.name} {became}, so this box has lost its chat. {_RUN_AGAIN}")
        self._check_open()

    def _check_open(self) -> None:
        if not self.is_open:
            raise GeminiError("This box is closed.")

    def _edited_now(self) -> Exchange | None:
        """The message that is edited; it must still be the last."""
        if self._edited is None:
            return None
        exchanges = self._exchanges()
        if not exchanges or key_of(exchanges[-1][0]) != key_of(self._edited):
            self._edited = None
            raise GeminiError("The chat has gone on since you began to edit. Sending now goes on at its end.")
        return exchanges[-1][0]

    def _refuse(self, why: str, texts: list[str]) -> None:
        """Say why a message was not sent, and keep the texts that have left the field."""
        gone = [f'Not sent, and no longer in the field: "{text}"' for text in texts]
        self.say(scrub("\n".join([why, *gone])), "error")

    def _give_back(self, question: str) -> None:
        if not self._entry.text.strip():
            self._entry.put(question)

    def _exchanges(self) -> list[tuple[Exchange, Stream | None]]:
        try:
            exchanges = self.chat.exchanges()
        except GeminiError as error:
            self._notice, self._notice_kind = f"The chat cannot be shown. {error}", "error"
            return []
        kept = self._kept
        return exchanges if kept is None else [one for one in exchanges if key_of(one[0]) in kept]

    def paint(self) -> bool:
        """Draw what changed since the last time. Rendering thread only."""
        if self.comm is None:
            return False
        exchanges = self._exchanges()
        self._arrange(exchanges)
        self._draw_head(exchanges)
        self._draw_notice()
        if not self._is_closing:
            self._controls.draw(exchanges, is_editing=self._edited is not None)
        self._keep()
        return False

    def _arrange(self, exchanges: Sequence[tuple[Exchange, Stream | None]]) -> None:
        """Show the last messages, each by the view it has already."""
        views = {
            key_of(exchange): self._view_of(exchange, stream) for exchange, stream in exchanges[-_SHOWN:]
        }
        gone = [view for key, view in self._views.items() if key not in views]
        self._views = views
        above = []
        if more := len(exchanges) - len(views):
            words = f"{quantity(more, 'earlier message')} in the transcript, which the notebook keeps"
            above = [shared_piece(_aside_html(words))]
        elif not views and not self._is_closing:
            above = [shared_piece(_aside_html(_HINT))]
        children = (*above, *(view.widget for view in views.values()))
        if self._body.children != children:
            self._body.children = children
        for view in gone:
            view.close()

    def _view_of(self, exchange: Exchange, stream: Stream | None) -> ExchangeView:
        view = self._views.get(key_of(exchange))
        if view is not None:
            view.update(exchange)
            return view
        view = ExchangeView(exchange, stream, self.wake)
        if not view.is_live:
            self._painter.work(view.fill())
        return view

    def _draw_head(self, exchanges: Sequence[tuple[Exchange, Stream | None]]) -> None:
        models = [stream.model for _, stream in exchanges if stream is not None]
        facts = [*models[-1:], quantity(len(exchanges), "message")]
        shown = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
        set_value(self._head, f"<b>{escape(self.name)}</b>{shown}")

    def _draw_notice(self) -> None:
        lost = self._notebook.find(self.name) is not self.chat
        words = self._notice
        if lost:
            words = f"{self.name} is not this chat any more. {_RUN_AGAIN}"
        elif not words and self._was_loaded_again:
            words = _AGAIN
        kind = "error" if lost else self._notice_kind
        role = "alert" if kind == "error" else "status"
        html = f'<div class="gemini-nb-notice" data-kind="{kind}" role="{role}">{escape(words)}</div>'
        set_value(self._said, html if words else "")

    def _keep(self) -> None:
        """Send the transcript if it has changed, and once more if it changes meanwhile."""
        if self._is_keeping:
            self._keeps_again = True
            return
        self._is_keeping = True
        self._painter.work(self._keep_transcript())

    def _keep_transcript(self) -> Iterator[None]:
        try:
            self._keeps_again = False
            exchanges, kept = self._exchanges(), self._settled
            found, final = dict[object, Settled](), dict[object, Settled]()
            for exchange, stream in exchanges:
                key, is_final = key_of(exchange), stream is None or stream.is_done
                if key in kept and exchange.is_unanswered is kept[key].is_unanswered:
                    found[key] = kept[key]
                else:
                    yield from render_settled(exchange, stream, found)
                    yield
                if is_final:
                    final[key] = found[key]
            self._settled = final
            bundle = chat_bundle(self.name, [found[key_of(one)] for one, _ in exchanges])
            yield
            self._put(bundle)
            if self._is_closing and not any(exchange.is_under_way for exchange, _ in exchanges):
                self._leave()
        finally:
            self._is_keeping = False
            if self._keeps_again:
                self.wake()

    def _put(self, bundle: dict[str, str]) -> None:
        if self._display is None or bundle == self._bundle:
            return
        self._bundle = bundle
        if self._is_closing:
            self._display.replace(bundle)
        else:
            self._display.update(bundle)

    def _close_for_good(self) -> None:
        """Leave the transcript alone in the cell; a page that cannot take it keeps the messages."""
        self._bundle = {}
        if self._beside is not None:
            self._beside.update({"text/plain": ""})
        self._notice, self._notice_kind = f"This box is closed. %gemini_chat {self.name} opens another.", ""
        old = self.children
        self.children = (*old[:2], self._head, *old[3:5])
        self._top.close()
        self._entry.close()
        self._controls.close()

    def _leave(self) -> None:
        if self.wake in self.chat.on_change:
            self.chat.on_change.remove(self.wake)

    def _end(self) -> None:
        self._painter.forget(self)
        for view in self._views.values():
            view.close()
        self._views.clear()
        self._entry.close()
        self._controls.close()
        close_tree(self)


def _aside_html(words: str) -> str:
    return f'<div class="gemini-nb-aside">{words}</div>'
