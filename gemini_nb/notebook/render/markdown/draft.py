"""A text rendered piece by piece, while it grows or all at once.

In one go, a long answer would keep the interpreter busy with trees that live so long that the garbage
collector walks the whole heap, and every event of every stream would wait. In pieces of some 2 KB nothing
grows but the result, and a piece that is finished is rendered once, for the page and for the notebook's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.render.markdown.citations import without_marks
from gemini_nb.notebook.render.markdown.html_writer import html_of, raw_html
from gemini_nb.notebook.render.markdown.markdown_writer import Written, raw_markdown, write
from gemini_nb.notebook.render.markdown.split import Cut, Part, Seam, read

if TYPE_CHECKING:
    from markdown_it.token import Token

_PIECE = 2000  # characters, whose tree is gone before the collector's middle generation is due
_DRAWN_TOGETHER = 4  # pieces
_ANSWERS = 4  # the level of an answer's highest heading: a notebook's own go from the first to the third
_END_OF_BLOCK = re.compile(r"</(?:ul|ol)>\n?$|</tbody>\n?</table>\n?$")
_BEGIN_OF_BLOCK = re.compile(r"(?:<ul>|<ol[^>]*>|<table[^>]*>\n?<tbody>)\n?")


@dataclass(frozen=True, slots=True)
class _Piece:
    source: str
    seam: Seam
    html: str
    written: Written
    known: int  # targets of links


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a page shows of a draft.

    Attributes:
        finished: blocks that are finished now and change no more, None where there are none.
        tail: what stands behind them.
        more: whether more of the text is there to be drawn.
    """

    finished: str | None
    tail: str
    more: bool = False


class Draft:
    """A text that grows, and as much of it as is finished, rendered.

    Args:
        citations: the addresses of the sources whose marks stand in the text, by their numbers; None where
            it has none.
        top: the level that its first heading gets; the others follow, down to the sixth, and none is higher.
    """

    def __init__(self, citations: Mapping[int, str] | None = None, *, top: int = 1) -> None:
        self._citations, self._top = citations, top
        self._first: int | None = None  # the level of the first heading as it was written
        self._done = 0  # characters that are finished
        self._pieces: list[_Piece] = []
        self._seam = Seam()
        self._references: dict[str, Any] = {}
        self._window = _PIECE
        self._shown = 0  # pieces that `draw` returned as finished

    @property
    def html(self) -> str:
        """What is finished, as HTML."""
        return _joined((piece.html, piece.seam) for piece in self._pieces)

    @property
    def markdown(self) -> str:
        """What is finished, as Markdown."""
        text: list[str] = []
        for piece in self._pieces:
            if piece.written.text:
                text += [piece.written.joint if text else "", piece.written.text]
        return "".join(text)

    def draw(self, text: str, least: Callable[[bool], int], *, held: int = 0) -> Drawn:
        """Render what is not finished yet, and finish some pieces of it where there are places to cut.

        Args:
            text: all of the text.
            least: characters of an unfinished part from which on it is cut, given whether it has formulas.
            held: characters of HTML that may be finished and still be returned with the tail.
        """
        for _ in range(_DRAWN_TOGETHER):
            tokens, more = self._draw_next(text, least)
            if not more:
                break
        tail = tokens if isinstance(tokens, str) else html_of(tokens)
        waiting = sum(len(piece.html) for piece in self._pieces[self._shown :])
        if self._seam.block or waiting <= held:
            return Drawn(None, self._tail(tail), more)
        finished = _joined((piece.html, piece.seam) for piece in self._pieces[self._shown :])
        self._shown = len(self._pieces)
        return Drawn(finished, tail, more)

    def _draw_next(self, text: str, least: Callable[[bool], int]) -> tuple[str | list[Token], bool]:
        """Finish one piece if there is a place to cut; returns what stands behind, and whether more comes.

        What stands behind comes as tokens, or as HTML where there are none.
        """
        source, part = self._read(text)
        if part is None:
            if self._done + len(source) == len(text):
                return raw_html(self._bare(source)), False
            self._give_up(source, whole=False)
            return "", True
        cut = part.cut() if len(source) > least(part.has_formulas) else None
        if cut is not None:
            self._finish(part, cut)
            return cut.after, self._done + len(source) - cut.offset < len(text)
        more = self._done + len(source) < len(text)
        if more:
            self._window *= 2
        return part.tokens, more

    def finish(self, text: str) -> Iterator[None]:
        """Render the rest of a text that grows no more, piece by piece."""
        while self._done < len(text):
            if self._finish_next(text):
                yield
        for index, piece in enumerate(self._pieces):
            if piece.known < len(self._references) and "[" in piece.source and self._lacks(piece):
                self._pieces[index] = self._made_again(piece)
                yield

    def _finish_next(self, text: str) -> bool:
        """Render one more piece if there is a place to cut, and keep nothing of its tree."""
        source, part = self._read(text)
        whole = self._done + len(source) == len(text)
        if part is None:
            return self._give_up(source, whole=whole)
        cut = None if whole and len(source) <= _PIECE else part.cut()
        if cut is None and not whole:
            self._window *= 2
            return False
        self._finish(part, cut)
        return True

    def _read(self, text: str) -> tuple[str, Part | None]:
        source = text[self._done : self._done + self._window]
        return source, self._parse(source, self._seam)

    def _parse(self, source: str, seam: Seam) -> Part | None:
        part = read(source, seam, self._references, self._citations)
        if part is not None and self._top > 1:
            self._lower(part.tokens)
        return part

    def _lower(self, tokens: Iterable[Token]) -> None:
        first = self._first
        for token in tokens:
            if token.type.startswith("heading_"):
                token.meta["level"] = level = int(token.tag[1])
                first = first or level
                token.tag = f"h{max(self._top, min(6, self._top + level - first))}"

    def _bare(self, source: str) -> str:
        return source if self._citations is None else without_marks(source)

    def _tail(self, shown: str) -> str:
        held = [(piece.html, piece.seam) for piece in self._pieces[self._shown :]]
        return _joined([*held, (shown, self._seam)])

    def _finish(self, part: Part, cut: Cut | None) -> None:
        source = part.text if cut is None else part.text[: cut.offset]
        tokens = part.tokens if cut is None else cut.before
        self._first = self._first or next((one.meta["level"] for one in tokens if "level" in one.meta), None)
        self._references.update(part.references if cut is None else part.defined_before(cut.line))
        piece = self._piece(source, tokens, self._seam)
        self._pieces.append(piece)
        following = Seam() if cut is None else cut.seam
        self._seam = replace(following, last=piece.written.last, alternate=piece.written.alternate)
        self._done += len(source)
        self._window = _PIECE

    def _piece(self, source: str, tokens: list[Token], seam: Seam) -> _Piece:
        written = write(tokens, seam, self._bare(source))
        return _Piece(source, seam, html_of(tokens), written, len(self._references))

    def _give_up(self, source: str, *, whole: bool) -> bool:
        """Finish paragraphs that cannot be rendered, as they are; returns whether one has ended."""
        if not whole:
            source = source[: source.rfind("\n\n") + 2] if "\n\n" in source else ""
        if not source:
            self._window *= 2
            return False
        bare = self._bare(source)
        written = raw_markdown(bare)
        self._pieces.append(_Piece(source, Seam(), raw_html(bare), written, len(self._references)))
        self._seam = Seam(last=written.last, alternate=written.alternate)
        self._done += len(source)
        self._window = _PIECE
        return True

    def _lacks(self, piece: _Piece) -> bool:
        """Whether a piece names the target of a link that was defined after it."""
        words = " ".join(piece.source.split()).lower().upper()
        return any(f"[{label}]" in words for label in list(self._references)[piece.known :])

    def _made_again(self, piece: _Piece) -> _Piece:
        part = self._parse(piece.source, piece.seam)
        return piece if part is None else self._piece(piece.source, part.tokens, piece.seam)


def answer_draft(citations: Mapping[int, str] | None = None) -> Draft:
    """A draft of what a model said in a notebook, whose headings stand below the notebook's own."""
    return Draft(citations, top=_ANSWERS)


def settle(text: str) -> str:
    """Rewrite Markdown from a model as Markdown that loads, runs and hides nothing in any front end."""
    return finished(Draft(), text).markdown


def to_html(text: str) -> str:
    """Render Markdown, possibly cut off anywhere, as sanitised HTML."""
    return finished(Draft(), text).html


def finished(draft: Draft, text: str) -> Draft:
    """Render the rest of a text that grows no more, and return the draft."""
    for _ in draft.finish(text):
        pass
    return draft


def _joined(pieces: Iterable[tuple[str, Seam]]) -> str:
    """Join pieces of HTML; a list or table that was cut becomes one again."""
    shown: list[str] = []
    for piece, seam in pieces:
        begin = _BEGIN_OF_BLOCK.match(piece) if seam.block and shown else None
        if begin is None:
            shown.append(piece)
            continue
        shown[-1] = _END_OF_BLOCK.sub("", shown[-1])
        shown.append(piece[begin.end() :])
    return "".join(shown)
