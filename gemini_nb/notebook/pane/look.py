"""The small pieces of HTML that panes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gemini_nb.notebook.pane.widgetry import shared_piece
from gemini_nb.notebook.render.markdown import escape, scrollable
from gemini_nb.notebook.render.words import cut
from gemini_nb.notebook.static import style

if TYPE_CHECKING:
    import ipywidgets as widgets

_LONGEST = 2000


def sheet() -> widgets.Widget:
    """The style sheet: one widget that all panes show, so that it is sent once."""
    return cast("widgets.Widget", shared_piece(style("pane", "answer"), "gemini-nb-style"))


def pre_html(text: str) -> str:
    """Text of a tool or server, verbatim."""
    return f"<pre{scrollable('text')}>{escape(cut(text, _LONGEST))}</pre>"


def notice_html(text: str) -> str:
    """Something that happened on the way."""
    return f'<div class="gemini-nb-notice">{escape(text)}</div>'


def kept_html(names: str) -> str:
    """The note on a pane that stays: a reloaded page cannot put the answer into the notebook.

    Args:
        names: what `%gemini_show` finds it by.
    """
    said = f"The notebook may not hold this; <code>%gemini_show {escape(names)}</code> puts it there."
    return f'<div class="gemini-nb-notice">{said}</div>'
