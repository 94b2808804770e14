"""Numbered links to sources, put into a text at their places without changing how it is read.

A number written into the Markdown itself would stand in code, end a formula or keep a word from being bold.
So marks travel in the text, are taken out before it is parsed, and come back among the tokens that it became.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.nodes import new_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from markdown_it.token import Token

# Characters that no text may hold, between punctuation, beside which emphasis begins and ends as it should.
_OPEN, _CLOSE = "\u2e28\ufdd0", "\ufdd1\u2e29"
_MARK = re.compile(rf"{_OPEN}(\d+(?:,\d+)*){_CLOSE}")
_FORBIDDEN = re.compile("[\ufdd0\ufdd1]")
_ADDRESS = re.compile(r"\S*://\S*")
_CLOSERS = re.compile(r"[*_~`\"'\u201d\u2019)\]}\u00bb]+")
_WORD = re.compile(r"\S*")
# Letters, but of Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese, which put no space between words.
_UNSPACED = r"\u0e00-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W_{_UNSPACED}]"
_INSIDE_WORD = re.compile(rf"(?<={_LETTER}){_LETTER}+")
_TASK = re.compile(r"\[[ xX]\][ \t]+")
# What belongs to the character before it.
_JOINED = re.compile("[\u0300-\u036f\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]*")
_LEAVES = {"inline", "fence", "code_block", "math_block"}
_MOST = 40  # marks of one paragraph that are put at their own places; the others stand at its end


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a text, and what supports the words before it.

    Attributes:
        position: characters before it.
        numbers: of the sources.
    """

    position: int
    numbers: tuple[int, ...]


def marked(text: str, marks: Iterable[Mark]) -> str:
    """Write marks into a text; `take_out` finds them again."""
    text = _FORBIDDEN.sub("\ufffd", text)
    found: defaultdict[int, set[int]] = defaultdict(set)
    for mark in marks:
        joined = _JOINED.match(text, mark.position)
        found[joined.end() if joined else mark.position].update(mark.numbers)
    pieces, before = [], 0
    for position, numbers in sorted(found.items()):
        pieces += [text[before:position], _OPEN, ",".join(map(str, sorted(numbers))), _CLOSE]
        before = position
    return "".join([*pieces, text[before:]])


def without_marks(text: str) -> str:
    """Return a text as it was before `marked`."""
    return _MARK.sub("", text)


def take_out(text: str) -> tuple[str, list[Mark]]:
    """Return a text without its marks, and where they stood in it."""
    pieces: list[str] = []
    marks: list[Mark] = []
    before = length = 0
    for found in _MARK.finditer(text):
        pieces.append(text[before : found.start()])
        length += found.start() - before
        before = found.end()
        marks.append(Mark(length, tuple(map(int, found[1].split(",")))))
    return "".join([*pieces, text[before:]]), marks


def place(
    tokens: Sequence[Token],
    text: str,
    marks: Iterable[Mark],
    links: Mapping[int, str],
    parse: Callable[[str], list[Token]],
) -> list[Token]:
    """Put numbered links among the tokens of a text, behind what they must not stand in.

    Args:
        tokens: what the text became.
        text: the text.
        marks: the places.
        links: the address of each number that has one; the others are numbers only.
        parse: reads the inline text of a paragraph.
    """
    leaves = [index for index, token in enumerate(tokens) if token.type in _LEAVES and token.map]
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    lines = text.split("\n")
    wanted: defaultdict[int, list[Mark]] = defaultdict(list)
    for mark in marks if leaves else ():
        line = bisect.bisect_right(starts, mark.position) - 1
        index, position = _leaf(tokens, leaves, line, mark.position - starts[line], lines[line])
        wanted[index].append(Mark(position, mark.numbers))
    placed: list[Token] = []
    for index, token in enumerate(tokens):
        placed.append(token)
        if index not in wanted:
            continue
        if token.type == "inline":
            token.children = list(_among(token, wanted[index], links, parse))
        else:
            placed += _paragraph(token.level, wanted[index], links)
    return placed


def _leaf(
    tokens: Sequence[Token], leaves: Sequence[int], line: int, column: int, source: str
) -> tuple[int, int]:
    """Find the paragraph, cell or code that a place belongs to, and where in its content it is."""
    before = [index for index in leaves if (tokens[index].map or [0])[0] <= line] or leaves[:1]
    index = before[-1]
    row = [one for one in before if tokens[one].map == tokens[index].map and tokens[one].type == "inline"]
    if len(row) > 1:
        return _cell(tokens, row, column, source)
    lines = tokens[index].content.split("\n")
    number = line - (tokens[index].map or [0])[0]
    if not 0 <= number < len(lines):
        return index, len(tokens[index].content)
    within = max(0, min(len(lines[number]), column - source.rfind(lines[number])))
    return index, sum(len(one) + 1 for one in lines[:number]) + within


def _cell(tokens: Sequence[Token], row: Sequence[int], column: int, source: str) -> tuple[int, int]:
    """The same among the cells of a table's row."""
    end = at = 0
    for index in row:
        content = tokens[index].content
        at = source.find(content, end)
        end = at + len(content) if at >= 0 else end
        if column <= end:
            break
    return index, max(0, min(len(content), column - at)) if at >= 0 else len(content)


def _among(
    token: Token, marks: Sequence[Mark], links: Mapping[int, str], parse: Callable[[str], list[Token]]
) -> Iterator[Token]:
    """The tokens of a paragraph with its links; those that would change how it is read stand at its end."""
    content, plain = token.content, _shape(token.children or ())
    tail = list(marks[_MOST:])
    taken = [Mark(next(_candidates(content, mark.position)), mark.numbers) for mark in marks[:_MOST]]
    children = parse(marked(content, taken))
    if _shape(children) != plain:
        taken = []
        for mark in marks[:_MOST]:
            for position in _candidates(content, mark.position):
                tried = [*taken, Mark(position, mark.numbers)]
                if _shape(parse(marked(content, tried))) == plain:
                    taken = tried
                    break
            else:
                tail.append(mark)
        children = parse(marked(content, taken))
    yield from _with_links(children, links)
    yield from _links((number for mark in tail for number in mark.numbers), links)


def _candidates(content: str, position: int) -> Iterator[int]:
    """Where a mark may stand: where it was, behind what closes there, behind the word."""
    if task := _TASK.match(content):
        position = max(position, task.end())
    for found in _ADDRESS.finditer(content):
        if found.start() < position < found.end():
            position = found.end()
    if rest := _INSIDE_WORD.match(content, position):
        position = rest.end()
    yield position
    if closers := _CLOSERS.match(content, position):
        yield closers.end()
    if word := _WORD.match(content, position):
        yield word.end()


def _shape(tokens: Iterable[Token]) -> list[tuple[object, ...]]:
    """What a reader sees of tokens, apart from marks."""
    shape: list[tuple[object, ...]] = []
    for token in tokens:
        content = without_marks(token.content)
        if token.type == "text":
            joined = shape and shape[-1][0] == "text"
            before = str(shape.pop()[1]) if joined else ""
            if before + content:
                shape.append(("text", before + content))
        else:
            inside = _shape(token.children or ())
            shape.append((token.type, content, token.markup, sorted(token.attrs.items()), inside))
    return shape


def _with_links(children: Iterable[Token], links: Mapping[int, str]) -> Iterator[Token]:
    depth, held = 0, list[int]()
    for child in children:
        depth += child.nesting if child.type.startswith("link_") else 0
        pieces = _MARK.split(child.content)
        if child.type == "text" and not depth:
            yield from _linked(pieces, links)
            continue
        held += [int(number) for piece in pieces[1::2] for number in piece.split(",")]
        child.content = without_marks(child.content)
        for inner in child.children or ():
            inner.content = without_marks(inner.content)
        yield child
        if not depth and held:
            yield from _links(held, links)
            held = []


def _linked(pieces: Sequence[str], links: Mapping[int, str]) -> Iterator[Token]:
    """The pieces of a text, with links in the place of every second one, which is a mark."""
    for number, piece in enumerate(pieces):
        if number % 2:
            yield from _links(map(int, piece.split(",")), links)
        elif piece:
            yield new_token("text", content=piece)


def _links(numbers: Iterable[int], links: Mapping[int, str]) -> Iterator[Token]:
    listed = sorted(set(numbers))
    if not listed:
        return
    yield new_token("sup_open", "sup", 1)
    for number in listed:
        if (address := links.get(number)) is not None:
            opening = new_token("link_open", "a", 1)
            opening.attrs["href"] = address
            yield opening
        yield new_token("text", content=f"[{number}]")
        if address is not None:
            yield new_token("link_close", "a", -1)
    yield new_token("sup_close", "sup", -1)


def _paragraph(level: int, marks: Iterable[Mark], links: Mapping[int, str]) -> Iterator[Token]:
    """A paragraph of links behind code or a formula, in which none can stand."""
    inline = new_token("inline")
    inline.children = list(_links((number for mark in marks for number in mark.numbers), links))
    for token, nested in (
        (new_token("paragraph_open", "p", 1), 0),
        (inline, 1),
        (new_token("paragraph_close", "p", -1), 0),
    ):
        token.level, token.block = level + nested, True
        yield token
