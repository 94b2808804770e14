"""The words of a Markdown text, for a line that has room for nothing else."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.neutral import visible
from gemini_nb.notebook.render.markdown.parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

_CODE = {"fence", "code_block", "math_block"}
_SPANS = {"text", "code_inline", "math_inline"}
_MARKED = re.compile(r"#{1,6}(?:\s|\Z)|.*(?:`|(?<![0-9A-Za-z])\*+[^\s*]|\]\()")
_NUMBER = re.compile(r"[^\w\s]?\s?[.,]?\d")  # 3, $3, .5


@functools.lru_cache(maxsize=256)  # a list of rows is drawn four times a second, and few of them change
def words_of(text: str, *, grows: bool = False) -> str:
    """What a reader of this text reads, without the marks of headings, lists, emphasis and links.

    An answer may be data that Markdown takes for marks: `1984.`, `+ 3`, `> 5`, `2*3*4`. A single line stays
    as it is unless its marks are beyond doubt; numbers of lists, and signs before a number, stay everywhere.

    Args:
        text: the Markdown.
        grows: whether more will come; marks that are open at its end are not shown either.
    """
    shown = (_closed(text) if grows else text).strip()
    if "\n" not in shown and not _MARKED.match(shown):
        return visible(shown)
    tokens = parse(shown)
    words = None if tokens is None else " ".join(_words(tokens))
    return text if words is None or not (grows or words.strip()) else words


def _closed(text: str) -> str:
    """The text with the emphasis and code closed that are open at its end."""
    text = text.rstrip("*_`~#-> \t\n")
    last = text.rpartition("\n\n")[2]
    marks = () if "```" in last else ("`", "**")
    return text + "".join(mark for mark in marks if last.count(mark) % 2)


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    sign = ""
    for token in tokens:
        if token.type in _CODE:
            yield token.content
        elif token.type == "list_item_open" and token.info:
            yield f"{token.info}{token.markup}"
        elif token.type in {"list_item_open", "blockquote_open"}:
            sign = token.markup
        elif token.type == "inline":
            words = "".join(_spans(token.children or ()))
            yield f"{sign} {words}" if sign in {"+", "-", ">"} and _NUMBER.match(words) else words
            sign = ""


def _spans(children: Sequence[Token]) -> Iterator[str]:
    """The text of a paragraph, and stars between numbers or letters, which multiply them."""
    kept: list[bool] = []
    before = ""
    for child in children:
        if child.type in _SPANS:
            yield child.content
        elif child.type == "task":
            yield f"[{child.content or ' '}] "
        elif "break" in child.type:
            yield " "
        elif child.type in {"em_open", "strong_open"}:
            kept.append(before.isascii() and before.isalnum())
            yield child.markup if kept[-1] else ""
        elif child.type in {"em_close", "strong_close"}:
            yield child.markup if kept.pop() else ""
        before = child.content[-1:]
