"""Pictures, tables and texts that a tool displayed: on its card, and as settled Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gemini_nb.notebook.render.markdown import escape, plain, scrollable
from gemini_nb.tools.printed import end_of
from gemini_nb.tools.shown import Picture, Shown, Table

_LONG = 4000  # characters of a text


def shown_html(displayed: Sequence[Shown]) -> str:
    """Return the displays of a call as harmless HTML."""
    return "".join(map(_html, displayed))


def shown_markdown(displayed: Sequence[Shown]) -> str:
    """Return the same as Markdown for a notebook; a table is HTML, whose cells nothing can break."""
    return "\n\n".join(map(_html, displayed))


def _html(shown: Shown) -> str:
    if isinstance(shown, Picture):
        return (
            f'<img class="gemini-nb-picture" alt="a picture from the tool" '
            f'src="data:{shown.mime_type};base64,{escape(shown.data)}">'
        )
    if isinstance(shown, Table):
        return _table(shown)
    return f"<pre{scrollable('text from the tool')}>{_one_block(end_of(plain(shown.text), _LONG))}</pre>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{_cell(name)}</th>" for name in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    note = f"<div>{escape(table.note)}</div>" if table.note else ""
    begin = f"<table{scrollable('table from the tool', role='')}>"
    return f"{begin}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _cell(text: str) -> str:
    return _one_block(plain(text))


def _one_block(text: str) -> str:
    """Escape text for HTML within Markdown: a blank line would end the HTML, and a dollar begin a formula."""
    return escape(text).replace("$", "&#36;").replace("\n", "&#10;")
