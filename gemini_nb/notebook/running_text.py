"""A growing text as frozen pieces and one live tail.

One widget with all of it would send all of it at every paint. What is finished is frozen here and never sent
again. Its pieces stand in sections, because a box names all its children whenever it gets one more. Once a
formula has come, pieces are of the kind that a page typesets, and end soon after one: only what is frozen is
typeset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.render.markdown import has_formulas, split_point, to_html, typeset
from gemini_nb.notebook.widgetry import box, close_tree, formulas, piece, set_value

if TYPE_CHECKING:
    import ipywidgets as widgets

__all__ = ["TextView"]

_TAIL = 1600  # characters that a tail may have before its finished part is frozen
_FORMULAS = 400  # the same for a tail that waits to be typeset
_SECTION = 16  # pieces that stand in one box


class TextView:
    """Text that is drawn as far as it has come."""

    def __init__(self, text: str = "", rewound: int = 0) -> None:
        self._frozen, self._rewound = 0, rewound
        self._typesets = False
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
        shown = to_html(tail)
        waits = has_formulas(shown)
        if waits and not self._typesets:
            self._begin_typesetting(shown)
        if len(tail) > (_FORMULAS if waits else _TAIL) and (cut := split_point(tail)):
            set_value(self._tail, self._html(to_html(tail[:cut]), live=False))
            self._frozen += cut
            rest = self._html(to_html(tail[cut:]))
            self._append(formulas(rest) if self._typesets else piece(rest))
        else:
            set_value(self._tail, self._html(shown))

    def close(self) -> None:
        """Take it off the page."""
        close_tree(self.widget)

    def _html(self, shown: str, *, live: bool = True) -> str:
        return typeset(shown, live=live) if self._typesets else shown

    def _begin_typesetting(self, shown: str) -> None:
        """Put a tail that can be typeset into the place of the one that cannot."""
        old, self._typesets = self._tail, True
        self._tail = formulas(typeset(shown, live=True))
        self._section.children = (*self._section.children[:-1], self._tail)
        close_tree(old)

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
        self._tail, self._pieces, self._typesets = piece(), 1, False
        self._section = box([self._tail])
        self.widget.children = (self._section,)
        for section in old:
            close_tree(section)
