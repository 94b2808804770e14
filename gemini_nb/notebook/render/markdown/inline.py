r"""Inline tokens written as Markdown that means the same in every front end.

Three readers with different rules see this text. JupyterLab cuts formulas out of the source before it
parses, and MathJax searches the finished page for them once more. The parser of nbconvert looks for formulas
first and ends emphasis inside code. CommonMark and GitHub do neither. Where two of them disagree on what is
a pair, text can slip out of a code span and become HTML. So nothing written here is harmful under *any*
pairing: a raw dollar in text only ever opens or closes a formula, `<` is written only in a few constant tags,
and code that would be harmful as text is written as entities.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.formulas import CLOSERS, DISPLAY_ROW, NEEDS_DISPLAY, safe_tex
from gemini_nb.notebook.render.markdown.neutral import is_word
from gemini_nb.notebook.render.markdown.parser import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markdown_it.token import Token

# Harmful or misleading if it is ever read as text: a tag, a link, an image, a formula's delimiter.
_HOT_CODE = re.compile(r"<[A-Za-z/!?]|\]\(|\]\[|\]:|!\[|\$\$|\\\\?[()\[\]]|\\(?:begin|end)\s*\{|@@|&[#\w]+;")
_CODE_ENTITIES = {ord(c): f"&#{ord(c)};" for c in "$\\@[]!*_`~|"} | {38: "&amp;", 60: "&lt;", 62: "&gt;"}
_SPECIAL = re.compile(
    r"[&<\[\]!\\$*_`~@|\t]|(?<=ftp):(?=//)|(?<=http):(?=//)|(?<=https):(?=//)", re.IGNORECASE
)
_MATHJAX_WORD = re.compile(r"\\(?:begin|end|(?:eq)?ref)\s*\{")
_PLAIN_URL = re.compile(r"https?://[\w./?#=%+,:~&()-]+", re.IGNORECASE)
_UNWRAPPED_URL = re.compile(r"(?:[A-Za-z0-9./?#=%+,:&-]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9]))+")
_TITLE = re.compile(r"[\w .,:;?/-]+")
_LINE_START = re.compile(r"[#>]|[-+*:](?=\s|$)|[-:|=][-:|= \t]*$|~~~")
_ORDERED = re.compile(r"(\d{1,9})([.)](?:\s|$))")
_MANY_BRACKETS = 100
_SMALL = {"sub", "sup", "kbd"}
_ALWAYS = {"<": "&lt;", "`": "&#96;", "\t": " "}
_PAIRING = {"[": "", "]": "([:", "!": "["}  # what must not follow these
_WHOLE = re.compile(r"(\*\*?)(?![*\s])[^*\\]+(?<!\s)\1")
_CONTAINERS = {"em": ("*", "_"), "strong": ("**", "__"), "s": ("~~",)}

# What a run of inline tokens becomes: source, ("em", children), ("math", source).
_Piece = str | tuple[str, "list[_Piece] | str"]


def write_inline(tokens: Sequence[Token], *, one_line: bool = False, in_table: bool = False) -> str:
    """Write a paragraph, a heading (`one_line`) or a table cell (`in_table`)."""
    writer = _Writer(tokens, one_line=one_line or in_table, in_table=in_table)
    source = re.sub(r"[ \t]*\n[ \t\n]*", "\n", _joined(writer.pieces)).strip(" \t\n")
    if one_line or in_table:
        return source
    # A tag alone on the first line would begin a block of raw HTML.
    source = re.sub(r"^(?:<br>\s*|\\\n\s*)+", "", source)
    return "\n".join(map(_at_line_start, source.split("\n")))


def code_span(content: str, *, in_table: bool = False, entities: bool = False) -> str:
    """A code span; written with entities where its content would be harmful if it were read as text."""
    if entities or _HOT_CODE.search(content):
        return f"<code>{content.translate(_CODE_ENTITIES)}</code>"
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", content)), default=0))
    if content[0] == "`" or content[-1] == "`" or (content[0] == content[-1] == " " and content.strip()):
        content = f" {content} "
    return fence + (content.replace("|", r"\|") if in_table else content) + fence


class _Writer:
    """One pass over the tokens; what is open is a stack of lists of pieces."""

    def __init__(self, tokens: Sequence[Token], *, one_line: bool, in_table: bool) -> None:
        self.pieces: list[_Piece] = []
        self._one_line, self._in_table = one_line, in_table
        self._links: list[tuple[Token, list[_Piece]]] = []
        self._stack: list[list[_Piece]] = []
        items = list(self._merged(tokens))
        text = "".join(item for item in items if isinstance(item, str))
        self._has_formula = any(isinstance(item, tuple) for item in items)
        # A lone dollar pairs with nothing. MathJax would pair two in one paragraph, escaped or not.
        self._bare_dollar = not self._has_formula
        # Readers look for a link behind each open bracket; many of them take quadratic time.
        self._many_brackets = text.count("[") > _MANY_BRACKETS
        self._at_end = False  # whether the text being escaped ends a line
        self._bare_tilde = text.count("~") == 1 and not any(token.type == "s_open" for token in tokens)
        for index, item in enumerate(items):
            if isinstance(item, str):
                following = items[index + 1 : index + 2]
                self._at_end = not following or getattr(following[0], "type", "") in {
                    "softbreak",
                    "hardbreak",
                }
                self.pieces.append(self._escaped(item))
            elif isinstance(item, tuple):
                self.pieces.append(item)
            else:
                self._write(item, last=index == len(items) - 1)

    def _merged(self, tokens: Iterable[Token]) -> Iterable[str | tuple[str, str] | Token]:
        """Runs of text as one string, formulas as ("math", source), the other tokens as they are."""
        text = ""
        for token in tokens:
            if token.type == "text":
                text += token.content
                continue
            if text:
                yield text
            text = ""
            formula = self._formula(token) if token.type == "math_inline" else None
            yield token if formula is None else ("math", formula)
        if text:
            yield text

    def _formula(self, token: Token) -> str | None:
        tex = safe_tex(" ".join(token.content.split()))
        if tex is not None and self._in_table and "|" in tex:
            tex = _without_bars(tex)
        if tex is None:
            return None
        if NEEDS_DISPLAY.search(tex) or token.markup in {"$$", r"\["}:
            if not self._one_line:
                return f"$${tex}$$"
            if DISPLAY_ROW.search(tex):
                return None
            tex = re.sub(r"\\(begin|end)\{", r"\\\1 {", tex)  # nbconvert would end the table there
        return f"${{{tex}}}$" if tex[0].isdigit() and not re.search(r"[\\^_{}]", tex) else f"${tex}$"

    def _write(self, token: Token, *, last: bool) -> None:
        kind, _, side = token.type.rpartition("_")
        if kind == "link":
            self._link(token, side)
        elif kind in _CONTAINERS or kind in _SMALL:
            self._surround(kind, side)
        elif token.type == "hardbreak":
            # A backslash may end a line, but not what a delimiter closes.
            at_start = not self.pieces or self.pieces[-1] in ("\n", "\\\n")
            plain = not (self._one_line or last or at_start or self._stack or self._links)
            self.pieces.append("\\\n" if plain else "<br>")
        else:
            self._leaf(token)

    def _surround(self, kind: str, side: str) -> None:
        """Begin emphasis or small text, or put together what stands in it."""
        if side == "open":
            self._stack.append(self.pieces)
            self.pieces = []
            return
        inner, self.pieces = self.pieces, self._stack.pop()
        self.pieces.append((kind, inner) if kind in _CONTAINERS else f"<{kind}>{_joined(inner)}</{kind}>")

    def _leaf(self, token: Token) -> None:
        match token.type:
            case "task":
                self.pieces.append(f"[{token.content or ' '}] ")
            case "code_inline":
                self._code(token.content)
            case "math_inline":  # one that is not safe: its source is shown instead
                self._code(" ".join((token.markup + token.content + CLOSERS[token.markup]).split()))
            case "softbreak":
                self.pieces.append(" " if self._one_line else "\n")

    def _code(self, content: str) -> None:
        if content:
            beside_code = bool(self.pieces) and str(self.pieces[-1]).endswith("`")
            entities = (
                beside_code or (self._has_formula and "$" in content) or (self._in_table and "|" in content)
            )
            self.pieces.append(code_span(content, in_table=self._in_table, entities=entities))

    def _link(self, token: Token, side: str) -> None:
        if side == "open":
            self._links.append((token, self.pieces))
            self.pieces = []
            return
        opening, outer = self._links.pop()
        href, label = str(opening.attrs["href"]), _joined(self.pieces).strip()
        self.pieces = outer
        title = str(opening.attrs.get("title", ""))
        if not title and (url := _as_address(label, href)):
            self.pieces.append(("url", url))
            return
        title = f' "{title}"' if _TITLE.fullmatch(title) else ""
        self.pieces.append(f"[{label}]({href.replace('&', '&amp;')}{title})")

    def _escaped(self, text: str) -> str:
        return _SPECIAL.sub(lambda found: self._escape(found[0], text, found.start()), text)

    def _escape(self, char: str, text: str, at: int) -> str:
        before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
        match char:
            case ":":  # nbconvert makes a link of an address, and shows the escapes in it
                return "&#58;" if self._links or text[at - 3 : at].lower() == "ftp" else ":"
            case "&" | "[" | "]" | "!":
                return self._escaped_by_next(char, after)
            case "\\":
                return self._backslash(text, at)
            case "$":
                bare, self._bare_dollar = self._bare_dollar, False
                return r"\$" if bare else r"<span>\$</span>"
            case "*" | "_" | "~" | "|":
                return char if self._is_no_mark(char, before, after) else f"\\{char}"
            case "@":
                return "&#64;" if before == "@" else "@"
        return _ALWAYS[char]

    def _escaped_by_next(self, char: str, after: str) -> str:
        """Escape what begins an entity, a link or an image with the character that follows."""
        if not after:
            is_risky = not self._at_end
        elif char == "&":
            is_risky = after == "#" or after.isalnum()
        else:
            is_risky = after in _PAIRING[char]
        if char == "&":
            return "&amp;" if is_risky else "&"
        is_risky = is_risky or (char != "!" and (bool(self._links) or self._many_brackets))
        return f"&#{ord(char)};" if is_risky else char

    def _is_no_mark(self, char: str, before: str, after: str) -> bool:
        """Whether every reader takes a star, an underscore, a tilde or a bar for itself."""
        match char:
            case "*":
                return before.isspace() and after.isspace()
            case "_":
                return before.isalnum() and after.isalnum()
            case "~":
                return self._bare_tilde
        return not self._in_table

    def _backslash(self, text: str, at: int) -> str:
        after = text[at + 1 : at + 2]
        if (
            (not after and self._has_formula)
            or after in {"\\", "$", "(", "["}
            or _MATHJAX_WORD.match(text, at)
        ):
            return r"<span>\\</span>"
        return "\\" if after.isascii() and after.isalnum() else "&#92;"


def _without_bars(tex: str) -> str | None:
    """Return a formula for a cell, which a bar would end; None where its bars cannot be said otherwise."""
    if re.search(r"\{[lcr\s|]*\|[lcr\s|]*\}", tex):  # the columns of an array
        return None
    return re.sub(r"\|\s*", r"\\vert ", re.sub(r"\\\|", r"\\Vert ", tex)).strip()


def _as_address(label: str, href: str) -> str:
    """The text of a link that only says where it goes, in a form without escapes; empty if there is none."""
    shown = re.sub(r"\\(?=[^\w\s])|\\(?=_)", "", html.unescape(label))
    return shown if _PLAIN_URL.fullmatch(shown) and canonical(shown) == href else ""


def _joined(pieces: Sequence[_Piece]) -> str:
    """Put the pieces together, choosing each delimiter by its neighbours."""
    source, pieces = "", list(pieces)
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            source += piece if piece != "\n" or not source.endswith("\n") else ""
            continue
        kind, inner = piece
        before, after = source[-1:], _first(pieces[index + 1 : index + 2])
        if kind == "math":
            source += f"{_gap(before)}{inner}{_gap(after)}"
        elif kind == "url":
            source += _url(str(inner), before, after)
        else:
            text = inner if isinstance(inner, str) else _joined(inner)
            emphasised, spell_before, spell_after = _emphasised(kind, text, before, after)
            if spell_after and isinstance(following := pieces[index + 1], str):
                pieces[index + 1] = f"&#{ord(after)};" + re.sub(r"^_", r"\_", following[1:])
            if spell_before:
                rest = re.sub(r"(?<!\\)_$", r"\_", re.sub(r"\\$", "&#92;", source[:-1]))
                source = f"{rest}&#{ord(before)};"
            source += emphasised
    return source


def _gap(beside: str) -> str:
    """The space between a formula and what would keep its dollar from being read as one."""
    return " " if beside.isalnum() or beside == "$" else ""


def _url(url: str, before: str, after: str) -> str:
    """An address by itself where nothing beside it could be taken for a part of it."""
    is_alone = (not before or before in " \n(") and (not after or after in " \n).,;:!?")
    return url if is_alone and _UNWRAPPED_URL.fullmatch(url) else f"<{url}>"


def _first(pieces: Sequence[_Piece]) -> str:
    if not pieces:
        return ""
    if isinstance(pieces[0], str):
        return pieces[0][:1]
    return {"math": "$", "url": "<"}.get(pieces[0][0], "*")


def _emphasised(kind: str, inner: str, before: str, after: str) -> tuple[str, bool, bool]:
    """Emphasised text, and whether the character before or after it has to be spelled as an entity.

    Between a word and a punctuation mark a delimiter belongs to the word, so that the bracket of a word like
    `**「重要」**です` would not be bold. The `&` of an entity is punctuation to every parser.
    """
    core = inner.strip()
    lead = inner[: len(inner) - len(inner.lstrip())]
    trail = inner[len(inner.rstrip()) :] if core else ""
    word_before = not lead and _is_word(before)
    word_after = not trail and _is_word(after)
    for delimiter in _CONTAINERS[kind] if core else ():
        beside = {lead[-1:] or before, trail[:1] or after}
        if _joins(delimiter[0], core, beside, {before, after}):
            continue
        if delimiter[0] != "_" or not (word_before or word_after):
            return (
                f"{lead}{delimiter}{core}{delimiter}{trail}",
                word_before and not _is_word(core[0]),
                word_after and not _is_word(core[-1]),
            )
    return inner, False, False


def _joins(mark: str, core: str, beside: set[str], around: set[str]) -> bool:
    """Whether a delimiter would be read together with the same mark beside or within it."""
    if mark == "*" and "*" not in around and _WHOLE.fullmatch(core):  # such as ***both***
        return False
    return mark in {*beside, core[0], core[-1]}


def _is_word(char: str) -> bool:
    return char != "" and is_word(char)


def _at_line_start(line: str) -> str:
    if found := _ORDERED.match(line):
        return f"{found[1]}\\{line[len(found[1]) :]}"
    return f"\\{line}" if _LINE_START.match(line) else line
