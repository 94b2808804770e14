"""Where a growing answer can be cut in two without changing how either part looks.

A blank line is not enough: it may stand in a code fence, between two items of one list, or in a formula. So
a cut is offered only where a new block of the highest level has begun, and in a long list or table before an
item or a row; the part behind such a cut has to know what it goes on with.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.render.markdown.formulas import BLOCK_LINES
from gemini_nb.notebook.render.markdown.parser import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markdown_it.token import Token

LISTS = {"bullet_list", "ordered_list"}
_LINE = re.compile(r"\r\n?|\n")
_ROWS = {"table": ("tr_open", 2)} | dict.fromkeys(LISTS, ("list_item_open", 1))
"""What such a block is cut before, and its level."""
_LONG = 1500  # characters of a list or a table that is cut inside


@dataclass(frozen=True, slots=True)
class Seam:
    """What a part of a text needs to know about the part before it.

    Attributes:
        block: the kind of the list or table that goes on, empty where a new block begins.
        number: of the list's next item.
        tight: whether that list had no blank lines between its items.
        head: the first two lines of that table.
        last: the kind of the block that was written last.
        alternate: whether that was written with the other kind of marks.
    """

    block: str = ""
    number: int = 1
    tight: bool = True
    head: str = ""
    last: str = ""
    alternate: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to cut.

    Attributes:
        offset: characters before it.
        line: the line that begins there.
        before: the tokens of what stands before it.
        after: those of the rest.
        seam: what the rest has to know.
    """

    offset: int
    line: int
    before: list[Token]
    after: list[Token]
    seam: Seam


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text, parsed.

    Attributes:
        text: its source.
        seam: how it is joined to the one before it.
        tokens: its tokens.
        references: the targets of links that are known at its end.
        opened: the lines where a formula opens and does not close.
    """

    text: str
    seam: Seam
    tokens: list[Token]
    references: dict[str, Any]
    opened: Sequence[int]

    def defined_before(self, line: int) -> dict[str, Any]:
        """The targets of links that are known at this line."""
        return {
            label: found
            for label, found in self.references.items()
            if "map" not in found or found["map"][0] - self._shift < line
        }

    @property
    def has_formulas(self) -> bool:
        """Whether any formula stands in it."""
        return any(
            one.type.startswith("math_") for token in self.tokens for one in (token, *(token.children or ()))
        )

    @property
    def _shift(self) -> int:
        return self.seam.head.count("\n")

    def cut(self) -> Cut | None:
        """The last place to cut, so that both sides look as the whole does.

        The first line behind it is complete: "1" may yet become "1. next", an item of the list above.
        """
        starts = [0, *(found.end() for found in _LINE.finditer(self.text))]
        complete = len(starts) - 1
        opened = [line - self._shift for line in self.opened]
        limit = min((line for line in opened if line + BLOCK_LINES > complete), default=complete)
        last = min(complete - 1, limit)
        return self._inside(starts, last) or self._between(starts, last)

    def _between(self, starts: list[int], last: int) -> Cut | None:
        for index in range(len(self.tokens) - 1, -1, -1):
            token = self.tokens[index]
            if token.level or token.nesting < 0 or token.map is None:
                continue
            line = self._line(token)
            if 0 < line <= last and not self.text[starts[line - 1] : starts[line]].strip(" \t\r\n"):
                return Cut(starts[line], line, self.tokens[:index], self.tokens[index:], Seam())
        return None

    def _inside(self, starts: list[int], last: int) -> Cut | None:
        """Before the last item of a long list, or the last row of a long table, that nothing follows."""
        tokens = self.tokens
        at_top = (index for index in reversed(range(len(tokens))) if not tokens[index].level)
        begin = [0, *itertools.islice(at_top, 2)][-1]
        if not tokens or tokens[-1].nesting >= 0 or tokens[begin].map is None:
            return None
        block = tokens[begin].type.removesuffix("_open")
        kind, level = _ROWS.get(block, ("", 0))
        first = max(0, self._line(tokens[begin]))
        if not kind or len(self.text) - starts[first] < _LONG:
            return None
        rows = _starts(tokens, begin, kind, level)
        for place in range(len(rows) - 1, 0, -1):
            index, line = rows[place], self._line(tokens[rows[place]])
            if first < line <= last and tokens[index - 1].type != "tbody_open":
                before, after = _sides(tokens, begin, index)
                seam = self._seam(block, begin, place, starts[first : first + 3])
                if block == "ordered_list":
                    _set_number(after[0], seam.number)
                return Cut(starts[line], line, before, after, seam)
        return None

    def _line(self, token: Token) -> int:
        """The line of this part where a token begins."""
        return (token.map or [0])[0] - self._shift

    def _seam(self, block: str, begin: int, items: int, head: list[int]) -> Seam:
        if block == "table":
            goes_on = self.seam.block == "table" and begin == 0
            return Seam(block, head=self.seam.head if goes_on else self.text[head[0] : head[2]])
        number = int(self.tokens[begin].attrs.get("start", 1)) + items
        return Seam(block, number, all(token.hidden for token in _own_paragraphs(self.tokens[begin:])))


def read(
    text: str,
    seam: Seam | None = None,
    references: Mapping[str, Any] | None = None,
    citations: Mapping[int, str] | None = None,
) -> Part | None:
    """Parse a part of a text.

    Args:
        text: the part.
        seam: what it has to know of the one before it.
        references: the targets of links that those before it define.
        citations: the addresses of the sources whose marks stand in the text.

    Returns:
        None where it must be shown without rendering.
    """
    seam = seam or Seam()
    known = {label: _known(found) for label, found in (references or {}).items()}
    env: dict[str, Any] = {"references": known, "citations": citations}
    tokens = parse(seam.head + text, env)
    if tokens is None:
        return None
    if seam.block == "table":
        tokens = _without_head(tokens)
    elif seam.block:
        _go_on(tokens, seam)
    return Part(text, seam, tokens, env["references"], env.get("open_math", ()))


def _without_head(tokens: list[Token]) -> list[Token]:
    """The tokens of a table's rows, without the head that was put before them to be read as a table."""
    head = next(index for index, token in enumerate(tokens) if token.type == "thead_close")
    has_rows = any(token.type == "tbody_open" for token in tokens)
    return [*tokens[:1], *tokens[head + 1 :]] if has_rows else tokens[head + 2 :]


def _go_on(tokens: list[Token], seam: Seam) -> None:
    """Let a list be as the one that it goes on with: its number, and the room between its items."""
    if seam.block == "ordered_list":
        _set_number(tokens[0], seam.number)
    if not seam.tight:
        end = next(index for index, token in enumerate(tokens) if index and not token.level)
        for token in _own_paragraphs(tokens[:end]):
            token.hidden = False


def _starts(tokens: Sequence[Token], begin: int, kind: str, level: int) -> list[int]:
    """The places of the tokens of this kind and level, from the block on that begins there."""
    found = enumerate(tokens[begin:], begin)
    return [index for index, token in found if token.type == kind and token.level == level]


def _known(found: dict[str, Any]) -> dict[str, Any]:
    """A target that was defined before this text began, so that its lines say nothing here."""
    return {name: value for name, value in found.items() if name != "map"}


def _own_paragraphs(tokens: Sequence[Token]) -> list[Token]:
    """The paragraphs right inside the items of the list that these tokens are."""
    return [token for token in tokens if token.level == 2 and token.type.startswith("paragraph_")]


def _set_number(token: Token, number: int) -> None:
    token.attrs = {"start": number} if number != 1 else {}


def _sides(tokens: list[Token], begin: int, index: int) -> tuple[list[Token], list[Token]]:
    """Both sides of a cut inside the last block, each whole."""
    opening, closing = [dataclasses.replace(tokens[begin], attrs={})], [tokens[-1]]
    if tokens[begin].type == "table_open":
        opening.append(next(token for token in tokens[begin:] if token.type == "tbody_open"))
        closing.insert(0, tokens[-2])
    return [*tokens[:index], *closing], [*opening, *tokens[index:]]
