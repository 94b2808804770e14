r"""Where a formula begins and ends, for the live pane and for the settled Markdown alike.

Markdown knows no formulas. Left to it, `$a_1 + b_1$` turns into italics and the backslash of `\(` vanishes,
while a front end that looks for dollars turns "$5 and $6" into a formula. So formulas become tokens before
emphasis and escapes are read, by rules that would rather leave a formula as text than eat a price.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

CLOSERS = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]", "": ""}  # the last for a bare environment
# In code, by front ends that look for formulas in it.
SEEN_AS_MATH = re.compile(r"\$|\\\\[(\[]|\\begin\{|@@\d")
BLOCK_LINES = 100  # an opener with no closer in so many lines is text, however long the answer grows
NEEDS_DISPLAY = re.compile(r"\\(?:begin|end)|\\\\ *[(\[]")
DISPLAY_ROW = re.compile(r"\\\\ *[(\[]")
_INLINE_LENGTH = 1000
_DISPLAY_LENGTH = 8000
_TEX_SIGN = re.compile(r"[\\^_={}+<>|]")
_PRICE = re.compile(r"\d[^\\^_{}]*")

# What can open a link, load something, set attributes, or change what later formulas mean.
_DENIED = re.compile(
    r"""\\(?:href|url|html\w*|style|class|cssid|data|require|includegraphics|unicode|mmltoken|toggle|bbox|texttip
    |mathtip|tooltip|action|verb|x?def|edef|gdef|let|futurelet|(?:re|provide|declare)?(?:new)?(?:command|environment)
    |renewcommand|renewenvironment|newtheorem|declaremathoperator|global|long|csname|catcode|input|include|write
    |openin|openout|read|label|tag|(?:eq)?ref)(?![a-z])""",
    re.VERBOSE | re.IGNORECASE,
)
# What is drawn far from where it stands, or makes one formula as tall as a page.
_FAR = re.compile(
    r"""\\(?:raise|lower|moveleft|moveright|fontsize|[rR]ule|Space)(?![a-zA-Z])
    |(?:\\(?:m?kern|[hm]skip)|\\[hmv]space\*?\s*\{|\\\\\*?\s*\[)\s*-?\s*
    (?:\d{2,}[\d.,]*\s*(?:em|ex|cm|in|pc)|\d{3,}[\d.,]*\s*[a-z]{2})""",
    re.VERBOSE,
)
_LABEL = re.compile(r" ?\\label\s*\{[\w:. -]*\}")
_TAG = re.compile(r"\\tag\*?\s*\{([\w. '*-]{1,20})\}")
_COMMENT = re.compile(r" ?(?<!\\)%[^\n]*\n")
_BARE = re.compile(
    r"\\begin\{((?:equation|align|alignat|aligned|flalign|gather|gathered|multline|eqnarray|split|cases|array"
    r"|subarray|smallmatrix|[bBpvV]?matrix)\*?)\}"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]*\*?\}", re.IGNORECASE)
_OPENER = re.compile(r"\\\\|\\?\$\$?|\\[(\[]|\\begin\{")
_RULE = re.compile(r"[-:|][-:|\s]*")
_BAR, _HIDDEN_BAR = re.compile(r"(?<!\\)\|"), "\0"
_TEXT_MODE = re.compile(r"\\(?:text\w*|mbox|hbox)\b")
_MARKDOWN = re.compile(r"`|!\[|\]\(|\]\[|\]:|://|@@|\$|~~|(?<!\\)%|&[#\w]+;")


def safe_tex(tex: str) -> str | None:
    r"""`tex` in a form that is harmless even where it is read as Markdown or HTML; None if there is none.

    `<` and `>` become `\lt` and `\gt`. A label goes and a tag becomes text, since both name an element of the
    page. Braces must balance as the front end's search for formulas and MathJax count them, or it would end
    somewhere else than here.
    """
    tex = _TAG.sub(r"\\qquad (\1)", _LABEL.sub("", _COMMENT.sub("\n", tex))).strip()
    if _DENIED.search(tex) or _FAR.search(tex) or _MARKDOWN.search(tex) or tex.endswith("\\") or not tex:
        return None
    if (plain := _without_signs(tex)) is None:
        return None
    tex = plain
    as_front_end = re.sub(r"\\[{}$]", "", _ENVIRONMENT.sub("", tex))
    as_mathjax = re.sub(r"\\(?:[a-zA-Z]|.)", "", _ENVIRONMENT.sub("", tex), flags=re.DOTALL)
    is_balanced = _left_open(as_front_end, "{}") == 0 and _left_open(as_mathjax, "{}") == 0
    return tex if is_balanced else None


def _without_signs(tex: str) -> str | None:
    r"""`tex` with `\lt` and `\gt` in place of `<` and `>`; None where they cannot be replaced."""
    if "<" not in tex and ">" not in tex:
        return tex
    if _TEXT_MODE.search(tex):
        return None
    tex = re.sub(r" ?<(?: |(?=[^\w])|(?=\w))", r" \\lt ", tex)
    tex = re.sub(r" ?>(?: |(?=[^\w])|(?=\w)|$)", r" \\gt ", tex).strip()
    return None if "<" in tex or ">" in tex else tex


def _left_open(tex: str, pair: str) -> int | None:
    """How many brackets of this pair are not closed; None where one is closed that was not opened."""
    depth = 0
    for bracket in re.findall(f"[{pair}]", tex):
        depth += 1 if bracket == pair[0] else -1
        if depth < 0:
            return None
    return depth


def add_math_rules(md: MarkdownIt) -> None:
    """Add to `md` the tokens `math_inline` and `math_block`; `markup` is the opener, `content` the TeX."""
    md.inline.ruler.before("escape", "math", _inline)
    md.block.ruler.before("fence", "math", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    md.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})


def _inline(state: StateInline, silent: bool) -> bool:
    found = _match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    opener, tex, end = found
    if not silent:
        token = state.push("math_inline", "code", 0)
        token.markup, token.content = opener, tex
    state.pos = end
    return True


def _match(src: str, pos: int, limit: int) -> tuple[str, str, int] | None:
    """The formula that begins here: its opener, its TeX, and where it ends."""
    opener = src[pos : pos + 2]
    if opener in {"$$", r"\[", r"\("}:
        start = pos + 2
        end = src.find(CLOSERS[opener], start, min(limit, start + _DISPLAY_LENGTH))
        tex = src[start:end] if end >= 0 else ""
        return (opener, tex, end + 2) if _is_formula(opener, tex) else None
    if bare := _BARE.match(src, pos, limit):
        closer = rf"\end{{{bare[1]}}}"
        end = src.find(closer, bare.end(), min(limit, pos + _DISPLAY_LENGTH))
        tex = src[pos : end + len(closer)]
        return None if end < 0 or "`" in tex else ("", tex, pos + len(tex))
    return _between_dollars(src, pos, limit) if src[pos] == "$" else None


def _between_dollars(src: str, pos: int, limit: int) -> tuple[str, str, int] | None:
    if pos and (src[pos - 1].isalnum() or src[pos - 1] in "$\\"):
        return None
    end = src.find("$", pos + 1, min(limit, pos + _INLINE_LENGTH))
    tex = src[pos + 1 : end] if end >= 0 else ""
    following = src[end + 1 : end + 2]
    if not tex or following.isalnum() or following == "$":
        return None
    is_text = tex != tex.strip() or any(mark in tex for mark in "\n`") or tex.endswith("\\")
    return None if is_text or _PRICE.fullmatch(tex) else ("$", tex, end + 1)


def _is_formula(opener: str, tex: str) -> bool:
    return bool(tex.strip()) and "`" not in tex and (opener == "$$" or _looks_like_tex(opener, tex))


def _looks_like_tex(opener: str, tex: str) -> bool:
    r"""Tell a formula from brackets that a writer of Markdown escaped, as in `\[sic\]`."""
    return bool(_TEX_SIGN.search(tex)) or (opener == r"\(" and len(tex.split()) == 1)


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    first = _line(state, start)
    if (opening := _opening(first)) is None:
        return False
    (opener, closer), lines = opening, list[str]()
    limit = min(end, start + BLOCK_LINES)
    begin = state.bMarks[start] + state.tShift[start] + 2
    closes = state.src.find(closer, begin, state.eMarks[limit - 1]) >= 0
    for number in range(start, limit if closes else start):
        if number > start and _leaves_block(state, number):
            return False
        line = first[len(opener) :] if number == start else _line(state, number)
        body, found, rest = line.partition(closer)
        lines.append(body if opener else body + found)
        if found:
            tex = "\n".join(lines).strip()
            is_formula = not rest.strip() and _is_formula(opener, tex)
            if is_formula and not silent:
                _push_block(state, opener, tex, [start, number + 1])
            return is_formula
    if end == state.lineMax:
        state.env.setdefault("open_math", []).append(start)
    return False


def _opening(line: str) -> tuple[str, str] | None:
    """What opens a formula at the beginning of a line, and what closes it; an environment has no opener."""
    if bare := _BARE.match(line):
        return "", rf"\end{{{bare[1]}}}"
    return (line[:2], CLOSERS[line[:2]]) if line[:2] in {"$$", r"\["} else None


def _leaves_block(state: StateBlock, number: int) -> bool:
    return state.sCount[number] < state.blkIndent and not state.isEmpty(number)


def _push_block(state: StateBlock, opener: str, tex: str, lines: list[int]) -> None:
    token = state.push("math_block", "code", 0)
    token.markup, token.content, token.map, token.block = opener, tex, lines, True
    state.line = lines[1]


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a table whose formulas may hold bars, which are no borders of its cells."""
    from markdown_it.rules_block.table import table  # importing the package stays cheap

    if start + 2 > end or not _RULE.fullmatch(_line(state, start + 1)):
        return False
    source, known = state.src, len(state.tokens)
    last = start
    while not silent and last + 1 < end and not state.isEmpty(last + 1):
        last += 1
    first, behind = state.bMarks[start], state.eMarks[last]
    lines = source[first:behind].split("\n")
    state.src = source[:first] + "\n".join(map(_without_bars, lines)) + source[behind:]
    found = table(state, start, end, silent)
    state.src = source
    for token in state.tokens[known:]:
        token.content = token.content.replace(_HIDDEN_BAR, "|")
    return found


def _without_bars(line: str) -> str:
    """The line of a table with the bars in its formulas hidden."""
    position, parts = 0, list[str]()
    for opener in _OPENER.finditer(line) if "|" in line else ():
        found = _match(line, opener.start(), len(line)) if opener.start() >= position else None
        if found is not None and _may_hold_bars(found[1]):
            parts += [line[position : opener.start()], _BAR.sub(_HIDDEN_BAR, line[opener.start() : found[2]])]
            position = found[2]
    return "".join([*parts, line[position:]])


def _may_hold_bars(tex: str) -> bool:
    """Whether it is a formula rather than what stands between the dollars of two cells."""
    if _left_open(tex, "()") is None:
        return False
    return "\\" in tex or tex.count("|") % 2 == 0 or not (tex.startswith("|") or tex.endswith("|"))
