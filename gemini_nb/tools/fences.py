"""The fenced blocks of a text: models put JSON into them even where nothing but JSON was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

_OPENS = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})\s*(\w*)(.*)")
_ONE_LINE = re.compile(r"(`{3,})\s*(?:json\b)?([^`].*?)\1", re.DOTALL | re.IGNORECASE)


def is_fence(text: str) -> bool:
    """Whether a text begins with a fence."""
    return text.lstrip().startswith(("```", "~~~"))


def fenced(text: str) -> Iterator[str]:
    """Yield what stands in each fenced block; one that is not closed reaches to the end.

    A line of JSON is never a fence, since its strings hold no line ends: so no fence within one ends a block.
    """
    opening, lines = "", []
    for line in text.split("\n"):
        bare = line.strip()
        if not opening:
            if match := _OPENS.fullmatch(line):
                # A value may begin on the fence's own line, behind the language.
                opening, lines = match[1], [match[3]]
            elif match := _ONE_LINE.fullmatch(bare):
                yield match[2]
        elif bare.startswith(opening) and not bare.strip(opening[0]):
            yield "\n".join(lines)
            opening = ""
        elif bare.endswith(opening) and opening[0] == "`":  # "}```"
            yield "\n".join([*lines, bare.removesuffix(opening)])
            opening = ""
        else:
            lines.append(line)
    if opening:
        yield "\n".join(lines)


def read_fenced(text: str, read: Callable[[str], T]) -> T:
    """Read a text, or else the first of its fenced blocks that can be read.

    Raises:
        ValueError: none of them can; the message is about the first block, where there is one.
    """
    try:
        return read(text)
    except ValueError as error:
        problem = error
    first = True
    for block in fenced(text):
        try:
            return read(block.strip())
        except ValueError as error:
            problem, first = (error if first else problem), False
    raise problem
