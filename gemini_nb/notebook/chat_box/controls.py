"""The buttons of a chat box: edit the last message, take it back, attach a variable, close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

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
from gemini_nb.streams.chat.messages import Exchange
from gemini_nb.streams.stream import Stream

_EDIT, _GIVE_UP = "Edit last", "Cancel edit"


class _Actions(Protocol):
    """What the buttons do."""

    @property
    def edit_last(self) -> Callable[[], object]: ...
    @property
    def take_back(self) -> Callable[[], object]: ...
    @property
    def settle(self) -> Callable[[], object]: ...
    @property
    def attach(self) -> Callable[[str], object]: ...
    @property
    def names(self) -> Callable[[], list[str]]: ...


class Controls:
    """The buttons, which know what can be done now. Rendering thread only."""

    def __init__(self, actions: _Actions, *first: Any) -> None:
        self._actions = actions
        self.close_button: Any = button(
            "Close", actions.settle, tooltip="Close this box; the notebook keeps the transcript"
        )
        self._edit = button(_EDIT, actions.edit_last, tooltip="Ask the last message anew, in other words")
        self._take_back = button(
            "Take back", actions.take_back, tooltip="Take back the last message and its answer"
        )
        self._names = _Names(options=(), description="A variable of this notebook")
        answer_where_asked(self._names)
        self._attach = button(
            "Attach", self._attach_chosen, tooltip="Add the variable to the message, as {name}"
        )
        attaching = box([self._names, self._attach], "gemini-nb-attach")
        self.widget = box([*first, self._edit, self._take_back, attaching], "gemini-nb-controls")

    def draw(self, exchanges: Sequence[tuple[Exchange, Stream | None]], *, is_editing: bool) -> None:
        """Offer what can be done with a chat of these messages."""
        is_under_way = bool(exchanges) and exchanges[-1][0].is_under_way
        set_value(self._edit, not exchanges and not is_editing, "disabled")
        set_value(self._edit, _GIVE_UP if is_editing else _EDIT, "description")
        set_value(self._take_back, not exchanges or is_under_way, "disabled")
        names = tuple(self._actions.names())
        if names != self._names.options:
            chosen = self._names.value
            self._names.options = names
            self._names.value = chosen if chosen in names else next(iter(names), None)
        set_value(self._names, not names, "disabled")
        set_value(self._attach, not names, "disabled")

    def close(self) -> None:
        """Close the widgets."""
        close_tree(self.close_button)
        close_tree(self.widget)

    def _attach_chosen(self) -> None:
        if self._names.value is not None:
            self._actions.attach(self._names.value)


class _Names(Counted, widgets.Dropdown):
    """The names to choose from."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(layout=shared_layout(), **traits)
