"""A growing text as frozen pieces and one live tail.

One widget with all of it would send all of it at every paint. What is finished is frozen here and never sent
again. Its pieces stand in sections, because a box names all its children whenever it gets one more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.markdown import split_point, to_html
from gemini_nb.notebook.widgetry import box, close_tree, piece, set_value

if TYPE_CHECKING:
    import ipywidgets as widgets

__all__ = ["TextView"]

_TAIL = 1600  # characters that a tail may have before its finished part is frozen
_SECTION = 16  # pieces that stand in one box


class TextView:
    """Text that is drawn as far as it has come."""

    def __init__(self, text: str = "", rewound: int = 0) -> None:
        self._frozen, self._rewound = 0, rewound
        self._tail, self._pieces = piece(), 1
        self._section = box([self._tail])
        self.widget = box([self._section], "gemini-nb-text")
        self.draw(text, rewound)

    @property
    def widgets(self) -> list[widgets.Widget]:
        """What stands in the pane."""
        return [self.widget]

    @property
    def live(self) -> int:
        """How many characters the tail's HTML has."""
        return len(self._tail.value)

    @property
    def frozen(self) -> int:
        """How many pieces are drawn no more."""
        return self._pieces - 1

    def draw(self, text: str, rewound: int = 0) -> None:
        """Draw the text, freezing what is finished.

        Args:
            text: all of it.
            rewound: how often its end was taken back; then all of it is drawn anew.
        """
        if rewound != self._rewound:
            self._rewound, self._frozen = rewound, 0
            self._begin_again()
        tail = text[self._frozen :]
        if len(tail) > _TAIL and (cut := split_point(tail)):
            set_value(self._tail, to_html(tail[:cut]))
            self._frozen += cut
            self._append(piece(to_html(tail[cut:])))
        else:
            set_value(self._tail, to_html(tail))

    def close(self) -> None:
        """Take it off the page."""
        close_tree(self.widget)

    def _append(self, tail: Any) -> None:
        self._tail = tail
        self._pieces += 1
        if len(self._section.children) < _SECTION:
            self._section.children = (*self._section.children, tail)
        else:
            self._section = box([tail])
            self.widget.children = (*self.widget.children, self._section)

    def _begin_again(self) -> None:
        old = self.widget.children
        self._tail, self._pieces = piece(), 1
        self._section = box([self._tail])
        self.widget.children = (self._section,)
        for section in old:
            close_tree(section)
