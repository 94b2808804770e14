"""One message in a chat box: what was asked, and beneath it the answer, live or as it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gemini_nb.notebook.pane import look
from gemini_nb.notebook.pane.pane import StreamPane, body_html, whole, whole_html
from gemini_nb.notebook.pane.widgetry import box, close_tree, piece, set_value
from gemini_nb.notebook.render.chat_settled import (
    UNANSWERED,
    question_html,
    question_of,
    transcript_of,
)
from gemini_nb.notebook.render.settled import render
from gemini_nb.streams.chat.messages import Exchange
from gemini_nb.streams.stream import Stream


class ExchangeView:
    """The widgets of one message. Rendering thread only.

    Args:
        exchange: the message.
        stream: its stream, as far as it is listed.
        ended: called on any thread when the live answer has ended and is drawn.
    """

    def __init__(self, exchange: Exchange, stream: Stream | None, ended: Callable[[], object]) -> None:
        self.stream = stream
        self._exchange = exchange
        self._question = piece(question_html(question_of(exchange, stream)), "gemini-nb-question")
        self._answer: Any
        if stream is not None and not stream.is_done:
            self._answer = _InnerPane(stream)
            self._answer.settled.add_done_callback(lambda _: ended())
        else:
            self._answer = box([], "gemini-nb-pane")
        self._note = piece("", "gemini-nb-note")
        self.widget = box([self._question, self._answer, self._note], "gemini-nb-exchange")
        self.update(exchange)

    @property
    def is_live(self) -> bool:
        """Whether its answer draws itself."""
        return isinstance(self._answer, _InnerPane)

    def update(self, exchange: Exchange) -> None:
        """Draw what is known of the message now."""
        self._exchange = exchange
        set_value(self._note, look.notice_html(UNANSWERED) if exchange.is_unanswered else "")

    def fill(self) -> Iterator[None]:
        """Draw an answer that changes no more, step by step."""
        transcript = transcript_of(self._exchange, self.stream)
        yield
        yield from render(transcript)
        if self._answer.comm is not None:
            shown = body_html(transcript) if self.stream is None else whole_html(self.stream, transcript)
            self._answer.children = (look.sheet(), whole(shown, ""))

    def close(self) -> None:
        """Close the widgets."""
        if isinstance(self._answer, _InnerPane):
            self._answer.detach()
        close_tree(self.widget)


class _InnerPane(StreamPane):
    """The pane of an answer inside a box, which settles with it."""

    stands_alone = False
