"""The words of a Markdown text, for a line that has room for nothing else."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

__all__ = ["words_of"]

_CODE = {"fence", "code_block", "math_block"}
_SPANS = {"text", "code_inline", "math_inline"}


@functools.lru_cache(maxsize=256)  # a list of rows is drawn four times a second, and few of them change
def words_of(text: str, *, grows: bool = False) -> str:
    """What a reader of this text reads, without the marks of headings, lists, emphasis and links.

    Args:
        text: the Markdown.
        grows: whether more will come; marks that are open at its end are not shown either.
    """
    tokens = parse(_closed(text) if grows else text)
    return text if tokens is None else " ".join(_words(tokens))


def _closed(text: str) -> str:
    """The text with the emphasis and code closed that are open at its end."""
    text = text.rstrip("*_`~#-> \t\n")
    last = text.rpartition("\n\n")[2]
    marks = () if "```" in last else ("`", "**")
    return text + "".join(mark for mark in marks if last.count(mark) % 2)


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in _CODE:
            yield token.content
        elif token.type == "inline":
            yield "".join(
                child.content if child.type in _SPANS else " " if "break" in child.type else ""
                for child in token.children or ()
            )
