"""Columns of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from gemini_nb.notebook.render.markdown import plain


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of plain text as lines with their columns beneath each other."""
    rows = [[" ".join(plain(cell).split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows
    ]
