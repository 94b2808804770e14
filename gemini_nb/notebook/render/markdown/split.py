"""Where a growing answer can be cut in two without changing how either part looks.

A blank line is not enough: it may stand in a code fence, between two items of one list, or in a formula. So
the block structure is parsed, and a cut is offered only where a new top-level block has begun.
"""

from __future__ import annotations

import re

from gemini_nb.notebook.render.markdown.formulas import BLOCK_LINES
from gemini_nb.notebook.render.markdown.parser import block_tokens

__all__ = ["split_point"]

_LINE = re.compile(r"\r\n?|\n")


def split_point(text: str) -> int:
    """The last offset where `text` can be cut so that both parts render as the whole does; 0 if none.

    The first line of the second part is complete: "1" may yet become "1. next", an item of the list above. A
    link reference does not reach across a cut.
    """
    parsed = block_tokens(text)
    if parsed is None:
        return 0
    tokens, opened = parsed
    starts = [0, *(found.end() for found in _LINE.finditer(text))]
    complete = len(starts) - 1
    limit = min((line for line in opened if line + BLOCK_LINES > complete), default=complete)
    for token in reversed(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        line = token.map[0]
        if (
            0 < line < complete
            and line <= limit
            and not text[starts[line - 1] : starts[line]].strip(" \t\r\n")
        ):
            return starts[line]
    return 0
