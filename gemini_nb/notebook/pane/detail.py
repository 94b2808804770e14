"""A fold: a line that may change all the time, and a body beneath it.

A `<details>` whose HTML is set again closes under the reader, and a widget that folds has to ask the kernel,
which may be busy. Here the `<details>` holds nothing but the handle and is sent once; the line and the body
are widgets beside it, and the style sheet shows the body while the handle is open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.pane.widgetry import box, piece
from gemini_nb.notebook.render.markdown import escape, scrollable

if TYPE_CHECKING:
    import ipywidgets as widgets


def detail(label: str, line: widgets.Widget, body: widgets.Widget, kind: str) -> Any:
    """A fold that works while the kernel is busy.

    Args:
        label: what unfolds, for screen readers.
        line: always shown, and clicked on; its class is `gemini-nb-brief`.
        body: shown when unfolded; its class is `gemini-nb-inside`.
        kind: one more class.
    """
    key = piece(
        f'<details><summary aria-label="{escape(label)}" title="{escape(label)}"></summary></details>',
        "gemini-nb-key",
    )
    return box([key, line, body], "gemini-nb-detail", kind)


def detail_html(line: str, body: str, kind: str, *, scrolls: str = "") -> str:
    """The same for a page that changes no more; `scrolls` names a body that does."""
    if not body:
        return f'<div class="gemini-nb-detail {kind}"><div class="gemini-nb-brief">{line}</div></div>'
    return (
        f'<details class="gemini-nb-still {kind}"><summary>{line}</summary>'
        f'<div class="gemini-nb-inside"{scrollable(scrolls) if scrolls else ""}>{body}</div></details>'
    )
