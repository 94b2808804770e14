"""Where a message is typed: one line that Enter sends, or several with a Send button.

A page tells of Enter first and of the text right after it, in two messages, and of the text alone when the
user leaves the field. So Enter waits a moment for its text; what comes later, by the page's own clock, was
told because the user left. Nothing but the value of a field is ever changed: with any other change the page
would put the last value it told in the place of what the user is typing.
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

__all__ = ["Entry"]

_GRACE = 0.4  # seconds that Enter waits for its text; where none comes, the text is as it was told before
_TOGETHER = 0.05  # seconds between Enter and its text on the page, at most
_CLICK_GRACE = 0.2  # seconds that Send waits: a busy page tells of the text a moment after the click
_UNFOLDED = "gemini-nb-unfolded"
_UNFOLD, _FOLD = "Several lines", "One line"


class Entry:
    """The field of a chat box.

    Its methods are for the rendering thread.

    Args:
        name: what the chat is called.
        send: takes a text, on any thread but that, and returns whether it was sent.
        call: calls a function on the rendering thread.
    """

    def __init__(
        self, name: str, send: Callable[[str], bool], call: Callable[[Callable[[], object]], object]
    ) -> None:
        self._send, self._call = send, call
        self._lock = threading.Lock()
        self._entered: tuple[object, str] | None = None  # the page's time of an Enter, and the text before it
        self._under_way: list[str] = []  # what is being sent and still stands in the field
        self._unsent: list[str] = []  # those of them that are still to be sent
        self._aside = ""
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
    def is_unfolded(self) -> bool:
        """Whether it has several lines."""
        return _UNFOLDED in self.widget._dom_classes  # noqa: SLF001 - ipywidgets has no other name for them

    @property
    def text(self) -> str:
        """What is typed, as far as the page has told."""
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
        (self.widget.add_class if unfolded else self.widget.remove_class)(_UNFOLDED)
        self.fold.description = _FOLD if unfolded else _UNFOLD

    def _hear(self, message: Mapping[str, Any]) -> None:
        """Take a message of the page about the line, on whichever thread handles those."""
        data, at = message["content"]["data"], message.get("header", {}).get("date")
        if data.get("method") == "custom" and data["content"].get("event") == "submit":
            entered = self._entered = (at, str(self._line.value))
            _later(_GRACE, partial(self._take, entered, entered[1]))
        elif data.get("method") == "update" and "value" in data.get("state", {}):
            before = self._entered
            if before is not None and _together(before[0], at):
                self._take(before, str(self._line.value))

    def _take(self, entered: object, text: str) -> None:
        """Send what Enter was pressed for, once."""
        with self._lock:
            if self._entered is not entered:
                return
            self._entered = None
        self._send_text(text)

    def _clicked(self) -> None:
        _later(_CLICK_GRACE, lambda: self._send_text(self.text))

    def _send_text(self, text: str) -> None:
        """Send a text after those before it; not on this thread: a page waits for it with its next text."""
        with self._lock:
            if text in self._under_way or not text.strip():  # Enter was pressed twice for the same text
                return
            self._under_way.append(text)
            self._unsent.append(text)
            if len(self._unsent) == 1:
                _later(0, self._send_first)

    def _send_first(self) -> None:
        text, sent = self._unsent[0], False
        try:
            sent = self._send(text)
        finally:
            self._call(lambda: self._clear(text, sent=sent))
            with self._lock:
                self._unsent.pop(0)
                if self._unsent:
                    _later(0, self._send_first)

    def _clear(self, text: str, *, sent: bool) -> None:
        if sent and self.text == text:
            self.end_edit()
        self._under_way.remove(text)


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


def _together(entered: object, told: object) -> bool:
    """Whether a text belongs to the Enter before it; a page that does not say when is believed."""
    if isinstance(entered, datetime) and isinstance(told, datetime):
        return abs((told - entered).total_seconds()) < _TOGETHER
    return True
