"""A growing text as frozen pieces and one live tail.

One widget with all of it would send all of it at every paint. What is finished is frozen here and never sent
again. Its pieces stand in sections, but for the first ones, because a box names all its children whenever it
gets one more. Once a formula has come, pieces are of the kind that a page typesets, and end soon after one:
only what is frozen is typeset.

The pieces stand in no box of their own: in a crowd of panes, to open and close it would cost more than what
is painted in it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.pane.widgetry import box, close_tree, formulas, piece, set_value
from gemini_nb.notebook.render.markdown import Draft, has_formulas, typeset

if TYPE_CHECKING:
    import ipywidgets as widgets

_TAIL = 1600  # characters that a tail may have before its finished part is frozen
_FORMULAS = 400  # the same for a tail that waits to be typeset
_CLASS = "gemini-nb-text"
_SECTION = 16  # pieces that stand in one box
_SELDOM = 0.8  # seconds between two paints from which on the length of a paint matters less than its messages
_HELD = 16_000  # characters of HTML that are finished and sent again, where that is seldom


class TextView:
    """A view of a text that grows."""

    def __init__(self, text: str = "", draft: Draft | None = None) -> None:
        self._draft = draft or Draft()
        self._dropped: list[widgets.Widget] = []
        self._begin()
        self._drawn_at = time.monotonic()
        self.draw(text, self._draft)

    def _begin(self) -> None:
        self._tail: Any = piece("", _CLASS)
        self.widgets: list[widgets.Widget] = [self._tail]
        """What stands in the pane."""
        self._section: Any = None
        self._pieces, self._typesets = 1, False

    @property
    def live(self) -> int:
        """How many characters the tail's HTML has."""
        return len(self._tail.value)

    @property
    def frozen(self) -> int:
        """How many pieces are frozen."""
        return self._pieces - 1

    def draw(self, text: str, draft: Draft | None = None) -> bool:
        """Draw the text, freezing what is finished; returns whether more of it is there.

        Args:
            text: all of it.
            draft: what of it is rendered; if it is another one, all of it is drawn anew.
        """
        if draft is not None and draft is not self._draft:
            self._draft = draft
            self._dropped += self.widgets
            self._begin()
        now, before = time.monotonic(), self._drawn_at
        self._drawn_at = now
        held = _HELD if now - before > _SELDOM and not self._typesets else 0
        drawn = self._draft.draw(text, lambda with_formulas: _FORMULAS if with_formulas else _TAIL, held=held)
        if not self._typesets and has_formulas((drawn.finished or "") + drawn.tail):
            self._begin_typesetting()
        if drawn.finished is not None:
            set_value(self._tail, self._html(drawn.finished, live=False))
            rest = self._html(drawn.tail)
            self._append(formulas(rest, _CLASS) if self._typesets else piece(rest, _CLASS))
        else:
            set_value(self._tail, self._html(drawn.tail))
        return drawn.more

    def close(self) -> None:
        """Close the widgets."""
        self._dropped += self.widgets
        self.close_dropped()

    def close_dropped(self) -> None:
        """Close what no longer stands in the pane: one that closed before would leave a gap for a moment."""
        dropped, self._dropped = self._dropped, []
        for one in dropped:
            close_tree(one)

    def _html(self, shown: str, *, live: bool = True) -> str:
        return typeset(shown, live=live) if self._typesets else shown

    def _begin_typesetting(self) -> None:
        """Replace the tail by one that the page can typeset."""
        old, self._typesets = self._tail, True
        self._tail = formulas(typeset(old.value, live=True), _CLASS)
        if self._section is None:
            self.widgets[-1] = self._tail
        else:
            self._section.children = (*self._section.children[:-1], self._tail)
        self._dropped.append(old)

    def _append(self, tail: Any) -> None:
        self._tail = tail
        self._pieces += 1
        section = self.widgets if self._section is None else self._section.children
        if len(section) >= _SECTION:
            self._section = box([tail])
            self.widgets.append(self._section)
        elif self._section is None:
            self.widgets.append(tail)
        else:
            self._section.children = (*section, tail)
