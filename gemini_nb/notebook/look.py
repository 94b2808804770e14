"""The small pieces of HTML that panes share."""

from __future__ import annotations

from gemini_nb.notebook.markdown import code_css, escape
from gemini_nb.notebook.sheet import SHEET

__all__ = ["notice_html", "pre_html", "style"]

_LONGEST = 2000


def style() -> str:
    """The style sheet, once for each pane: it is its own widget, so it is sent once."""
    return f"<style>{SHEET}{code_css()}</style>"


def pre_html(text: str) -> str:
    """Text of a tool's or a server's, as it is."""
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"<pre>{escape(shown)}</pre>"


def notice_html(text: str) -> str:
    """Something that happened on the way."""
    return f'<div class="gemini-nb-notice">{escape(text)}</div>'
