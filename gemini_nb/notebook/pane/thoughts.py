"""The model's thoughts: one line that lives while it thinks, and all of them when it is unfolded."""

from __future__ import annotations

import re
import time
from typing import Any

from gemini_nb.notebook.pane.detail import detail, detail_html
from gemini_nb.notebook.pane.running_text import TextView
from gemini_nb.notebook.pane.widgetry import box, close_tree, piece, scroll_key, set_value
from gemini_nb.notebook.render.markdown import Draft, escape, finished

_MARKS = re.compile(r"^[#>\s]+|[*`]+|\b_|_\b")
_PAUSE = 0.25  # thoughts are glanced at, so they need not be smooth


class ThoughtsView:
    """The live fold of a stream's thoughts."""

    def __init__(self) -> None:
        self._brief = piece("", "gemini-nb-brief")
        self._text = TextView()
        self._due = 0.0
        self._body = box(self._text.widgets)
        inside = box([scroll_key("Thoughts"), self._body], "gemini-nb-inside")
        self.widget: Any = detail("The model's thoughts", self._brief, inside, "gemini-nb-thoughts")

    def draw(self, thoughts: str, draft: Draft, *, thinking: bool) -> bool:
        """Draw what changed; returns whether there is more to draw soon."""
        now = time.monotonic()
        if thinking and now < self._due:
            return True
        self._due = now + _PAUSE
        set_value(self._brief, _brief(thoughts, thinking=thinking))
        more = self._text.draw(thoughts, draft)
        set_value(self._body, tuple(self._text.widgets), "children")
        self._text.close_dropped()
        return more

    def close(self) -> None:
        """Close the widgets."""
        close_tree(self.widget)


def thoughts_html(thoughts: str, draft: Draft) -> str:
    """The fold for a page that changes no more."""
    body = finished(draft, thoughts).html
    return detail_html(_brief(thoughts, thinking=False), body, "gemini-nb-thoughts", scrolls="Thoughts")


def _brief(thoughts: str, *, thinking: bool) -> str:
    if not thinking:
        return '<div class="gemini-nb-thinking">Thoughts</div>'
    lines = [line for line in (_MARKS.sub("", line).strip() for line in thoughts[-600:].split("\n")) if line]
    last = escape(lines[-1][-200:]) if lines else ""
    return f'<div class="gemini-nb-thinking" data-thinking="">Thinking<bdi>{last}</bdi></div>'
