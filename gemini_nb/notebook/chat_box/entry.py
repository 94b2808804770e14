"""Where a message is typed: one line that Enter sends, or several with a Send button.

A page reports Enter first and the text right after it, in two messages, and the text alone when the user
leaves the field. So Enter waits a moment for its text; what comes later, by the page's own clock, was sent
because the user left, or was kept back by a page that waited for a busy kernel. Neither is sent on, and the
user is told of the second. Nothing but the value of a field is ever changed: with any other change the page
would put the last value that it sent in the place of what the user is typing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import ipywidgets as widgets

from gemini_nb.notebook.pane.widgetry import (
    Counted,
    answer_where_asked,
    box,
    button,
    close_tree,
    set_value,
    shared_layout,
)

_GRACE = 0.4  # seconds that Enter waits for its text; else the text is the one sent before
_TOGETHER = 0.05  # seconds between Enter and its text on the page, at most
_CLICK_GRACE = 0.2  # seconds that Send waits: a busy page sends the text a moment after the click
_UNFOLDED = "gemini-nb-unfolded"
_LATE = "The kernel was busy when you pressed Enter. Press it again to send what is in the field."
_UNFOLD, _FOLD = "Several lines", "One line"


class Entry:
    """The field of a chat box.

    Its methods are for the rendering thread.

    Args:
        name: what the chat is called.
        send: sends a text, on any thread but that, and returns why it was not sent, "" where it was.
        refuse: says why something was not sent; takes also the texts that stand in the field no more.
        call: calls a function on the rendering thread.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[str], str],
        refuse: Callable[[str, list[str]], object],
        call: Callable[[Callable[[], object]], object],
    ) -> None:
        self._send, self._refuse, self._call = send, refuse, call
        self._lock = threading.Lock()
        # The page's time of an Enter whose text may be to come, and the text that was known then.
        self._entered: tuple[object, str] | None = None
        self._under_way: list[str] = []  # what is being sent and still stands in the field
        self._unsent: list[str] = []  # those of them that are still to be sent
        self._aside = ""
        self.is_unfolded = False
        """Whether it has several lines."""
        label = f"Message to {name}"
        self._line = _Line(self._hear, placeholder="Ask Gemini; Enter sends", description=label)
        self._area = _Area(placeholder="Ask Gemini; Send sends", description=label, rows=5)
        for field in (self._line, self._area):
            answer_where_asked(field)
        send_button = button("Send", self._clicked, tooltip=f"Send to {name}")
        send_button.button_style = "primary"
        self.fold: Any = button(_UNFOLD, lambda: call(self._toggle), tooltip="Enter sends in one line only")
        self.widget = box([self._line, self._area, send_button], "gemini-nb-entry")

    @property
    def is_sending(self) -> bool:
        """Whether something was entered that is still to be sent."""
        with self._lock:
            return self._entered is not None or bool(self._unsent)

    @property
    def text(self) -> str:
        """What is typed, as far as the page has sent it."""
        return str((self._area if self.is_unfolded else self._line).value)

    def put(self, text: str) -> None:
        """Put a text there, for the user to change."""
        if "\n" in text and not self.is_unfolded:
            self._set_unfolded(True)
        self._set(text)
        self.focus()

    def begin_edit(self, text: str) -> None:
        """Put a text there in place of what is typed, which comes back afterwards."""
        self._aside = self.text
        self.put(text)

    def end_edit(self) -> None:
        """Put back what was typed before the edit."""
        aside, self._aside = self._aside, ""
        self._set("")
        if aside:
            self.put(aside)

    def insert(self, text: str) -> None:
        """Add to what is typed."""
        before = self.text
        self.put(f"{before}{' ' if before and not before[-1].isspace() else ''}{text}")

    def focus(self) -> None:
        """Let the user type on."""
        (self._area if self.is_unfolded else self._line).focus()

    def close(self) -> None:
        """Close the widgets."""
        close_tree(self.widget)

    def _set(self, text: str) -> None:
        set_value(self._area if self.is_unfolded else self._line, text)

    def _toggle(self) -> None:
        text = self.text
        self._set("")
        self._set_unfolded(not self.is_unfolded)
        self._set(text if self.is_unfolded else " ".join(text.split("\n")))
        self.focus()

    def _set_unfolded(self, unfolded: bool) -> None:
        self.is_unfolded = unfolded
        (self.widget.add_class if unfolded else self.widget.remove_class)(_UNFOLDED)
        self.fold.description = _FOLD if unfolded else _UNFOLD

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Take a message of the page about the line, on whichever thread handles those."""
        data, at = message["content"]["data"], message.get("header", {}).get("date")
        if data.get("method") == "custom" and data["content"].get("event") == "submit":
            known = str(self._line.value)
            with self._lock:
                is_again = known in self._under_way  # it is sent already
            self._enter(at, _GRACE, partial(str, "" if is_again else known), known)
        elif data.get("method") == "update" and "value" in data.get("state", {}):
            self._hear_text(str(self._line.value), at)

    def _hear_text(self, text: str, at: object) -> None:
        with self._lock:
            before = self._entered
            if before is None:
                return
            is_its_own = _together(before[0], at)
            is_other = not is_its_own and bool(text.strip()) and before[1] not in {"", text}
            if is_other:
                self._entered = None  # what was known may be the beginning of this text
        if is_its_own:
            self._take(before, text)
        elif is_other:
            self._refuse(_LATE, [])

    def _clicked(self) -> None:
        self._enter(None, _CLICK_GRACE, lambda: self.text)

    def _enter(self, at: object, grace: float, text: Callable[[], str], known: str = "") -> None:
        """Wait for the text that belongs to Enter or Send; where none comes, take this."""
        entered = (at, known)
        with self._lock:
            _later(grace, lambda: self._take(entered, text()))
            self._entered = entered

    def _take(self, entered: tuple[object, str], text: str) -> None:
        """Send once what was entered, after what was before; not on this thread: a page waits for it."""
        with self._lock:
            if self._entered is not entered:
                return
            self._entered = None
            if text in self._under_way or not text.strip():  # Enter was pressed twice for the same text
                return
            self._under_way.append(text)
            self._unsent.append(text)
            is_first = len(self._unsent) == 1
        if is_first:
            self._start()

    def _start(self) -> None:
        try:
            _later(0, self._send_first)
        except RuntimeError:
            self._give_up("Not sent. The system starts no more threads now. Try again later.")

    def _send_first(self) -> None:
        text, why_not = self._unsent[0], "Not sent. Reading it was broken off."
        try:
            why_not = self._send(text)
        finally:
            if why_not:
                self._give_up(why_not)
            else:
                self._go_on(text)

    def _go_on(self, sent: str) -> None:
        with self._lock:
            self._unsent.pop(0)
            is_more = bool(self._unsent)
        if is_more:
            self._start()
        self._call(lambda: self._clear(sent))

    def _give_up(self, why: str) -> None:
        """Send nothing of what waits: it was entered to follow what is not sent."""
        with self._lock:
            texts = self._unsent[:]
            self._unsent.clear()
            for text in texts:
                self._under_way.remove(text)
        shown = self.text
        self._refuse(why, [text for text in texts if text != shown])

    def _clear(self, sent: str) -> None:
        if self.text == sent:
            self.end_edit()
        self._under_way.remove(sent)


class _Line(Counted, widgets.Text):
    """One line, whose messages can be read whole."""

    def __init__(self, hear: Callable[[Mapping[str, Any]], None], **traits: Any) -> None:
        self._hear = hear
        super().__init__(continuous_update=False, layout=shared_layout(), **traits)

    def _handle_msg(self, message: Any) -> None:
        super()._handle_msg(message)
        self._hear(message)


class _Area(Counted, widgets.Textarea):
    """Several lines."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(continuous_update=False, layout=shared_layout(), **traits)


def _later(seconds: float, action: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _together(entered: object, sent: object) -> bool:
    """Whether a text belongs to the Enter before it; a page that does not say when is believed."""
    if isinstance(entered, datetime) and isinstance(sent, datetime):
        return abs((sent - entered).total_seconds()) < _TOGETHER
    return True
