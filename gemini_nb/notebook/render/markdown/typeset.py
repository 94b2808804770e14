"""Formulas in a pane, typeset by the page where nothing changes any more.

A front end that typesets an element looks for dollars and backslashes in all of its text: prices become
formulas there, and TeX may hide a link. So only formulas that `safe_tex` lets pass are handed over, each in
an element of its own; every other dollar and backslash stands in one, too, since a formula never reaches
from one element into another. What still grows keeps its formulas as source: typesetting takes a moment,
and would flicker at each repaint.
"""

from __future__ import annotations

import html
import re

from gemini_nb.notebook.render.markdown.formulas import DISPLAY_ROW, NEEDS_DISPLAY, safe_tex

_FORMULA = "gemini-nb-math"
# A formula as `to_html` writes it, else a whole tag, else a character that may begin a formula.
_PIECES = re.compile(
    rf'<code class="({_FORMULA}[^"]*)">([^<]*)</code>|<(?:[^<>"]|"[^"]*")*>|[$\\]',
)


def has_formulas(shown: str) -> bool:
    """Whether this HTML of `to_html` has any."""
    return f'<code class="{_FORMULA}' in shown


def typeset(shown: str, *, live: bool = False) -> str:
    """HTML for a widget whose text the page typesets.

    Args:
        shown: sanitised HTML.
        live: whether it still grows; then its formulas stay source.
    """
    return _PIECES.sub(lambda found: _piece(found, live=live), shown)


def _piece(found: re.Match[str], *, live: bool) -> str:
    if found[1] is None:
        return f"<span>{found[0]}</span>" if found[0] in {"$", "\\"} else found[0]
    source = html.unescape(found[2])
    opener = next((mark for mark in ("$$", r"\[", r"\(", "$") if source.startswith(mark)), "")
    tex = None if live else safe_tex(source[len(opener) : len(source) - len(opener)])
    is_display, is_line = "block" in found[1] or opener in {"$$", r"\[", ""}, "line" in found[1]
    is_display = is_display or (tex is not None and NEEDS_DISPLAY.search(tex) is not None)
    if tex is None or (is_display and is_line and DISPLAY_ROW.search(tex)):
        return found[0]
    around = ("$$", "$$") if is_display and not is_line else ("$", "$")
    return f'<span class="{found[1]}">{around[0]}{html.escape(tex)}{around[1]}</span>'
