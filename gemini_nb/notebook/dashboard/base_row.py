"""What all rows of a dashboard are made of: their widgets, and the styles that they share.

A widget opens a channel to the page for itself, one for its layout and one for its style. Twenty rows would
open two hundred; here all rows share theirs.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from ipywidgets.widgets.widget_bool import ToggleButtonStyle
from ipywidgets.widgets.widget_string import HTMLStyle

from gemini_nb.notebook.pane.widgetry import answer_where_asked, set_value


class RowStyle:
    """Layouts and styles that all rows of a dashboard share."""

    def __init__(self) -> None:
        self.box: Any = widgets.Layout()
        self.html: Any = HTMLStyle()
        self.stop: Any = widgets.ButtonStyle()
        self.fold: Any = ToggleButtonStyle()

    def close(self) -> None:
        """Close them, after the rows."""
        for shared in (self.box, self.html, self.stop, self.fold):
            shared.close()


class BaseRow(abc.ABC):
    """A line, a button that stops what it stands for, and something more that unfolds beneath it.

    Args:
        style: what it shares with the other rows.
        on_fold: called with the row, on any thread, when the user folded or unfolded it.
    """

    more = ""
    """What unfolds, in a word."""

    def __init__(self, style: RowStyle, on_fold: Callable[[Any], object]) -> None:
        self._style = style
        self._unfolded: widgets.HTML | None = None
        shared: dict[str, Any] = {"layout": style.box}
        self._line = widgets.HTML(
            self._line_html(), style=style.html, _dom_classes=("gemini-nb-cell",), **shared
        )
        self._fold = widgets.ToggleButton(
            tooltip=self._fold_words, style=style.fold, _dom_classes=("gemini-nb-fold",), **shared
        )
        self._stop = widgets.Button(
            description="Stop",
            tooltip=f"Stop {self._name}",
            disabled=not self._may_stop,
            style=style.stop,
            _dom_classes=("gemini-nb-stop",),
            **shared,
        )
        self._stop.on_click(lambda _: self._request_stop())
        self._fold.observe(lambda _: on_fold(self), "value")
        for clicked in (self._fold, self._stop):
            answer_where_asked(clicked)
        self.box = widgets.Box(
            [self._fold, self._line, self._stop], _dom_classes=("gemini-nb-row",), **shared
        )

    @property
    @abc.abstractmethod
    def _name(self) -> str:
        """What it is called; the notebook may give it a name later."""

    @property
    @abc.abstractmethod
    def _may_stop(self) -> bool:
        """Whether there is anything to stop."""

    @abc.abstractmethod
    def _request_stop(self) -> None:
        """Ask for the stop, and return at once."""

    @abc.abstractmethod
    def _line_html(self) -> str:
        """Return the line."""

    @abc.abstractmethod
    def _more_html(self) -> str:
        """Return what unfolds."""

    @property
    def _fold_words(self) -> str:
        return f"{self.more} of {self._name}"

    @property
    def _must_fold(self) -> bool:
        return bool(self._fold.value) != (self._unfolded is not None)

    def _paint_all(self) -> int:
        sent = set_value(self._line, self._line_html())
        sent += set_value(self._stop, not self._may_stop, "disabled")
        sent += set_value(self._stop, f"Stop {self._name}", "tooltip")
        return sent + self.paint_more()

    def paint_more(self) -> int:
        """Draw what unfolds, and take it away where it is folded. Returns the messages sent."""
        if not self._fold.value:
            sent = set_value(self._fold, self._fold_words, "tooltip")
            if self._unfolded is None:
                return sent
            self.box.children = self.box.children[:3]
            self._unfolded.close()
            self._unfolded = None
            return 2 + sent
        shown = self._more_html()
        if self._unfolded is not None:
            return set_value(self._unfolded, shown)
        self._unfolded = widgets.HTML(
            shown, layout=self._style.box, style=self._style.html, _dom_classes=("gemini-nb-unfolded",)
        )
        self.box.children = (*self.box.children[:3], self._unfolded)
        # A screen reader learns the button's state from its name alone.
        return 2 + set_value(self._fold, f"{self._fold_words}, shown below", "tooltip")

    def close(self) -> None:
        """Close its widgets; what it shares stays."""
        for widget in (*self.box.children, self.box):
            widget.close()
