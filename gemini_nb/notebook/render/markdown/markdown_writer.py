"""Markdown from a model, written again so that it is harmless wherever a notebook is shown.

A front end renders the Markdown of a freshly run cell without sanitising it, nbconvert passes raw HTML
through, and neither can be switched off from inside an output. So the text is parsed and written anew from
tokens that hold nothing but formatting. What comes out is still plain Markdown that can be read in a diff.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.formulas import CLOSERS, SEEN_AS_MATH, safe_tex
from gemini_nb.notebook.render.markdown.inline import code_span, write_inline
from gemini_nb.notebook.render.markdown.neutral import visible
from gemini_nb.notebook.render.markdown.nodes import Node, tree
from gemini_nb.notebook.render.markdown.parser import allowed_url
from gemini_nb.notebook.render.markdown.split import LISTS, Seam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_OWN_TAGS = {f"<{side}{tag}>" for tag in ("code", "span", "sub", "sup", "kbd") for side in ("", "/")} | {
    "<br>"
}
# These languages are drawn instead of shown, and a diagram can load an image.
_DRAWN = re.compile(r"mermaid|math|geojson|topojson|stl|vega|plantuml|dot$|graphviz", re.IGNORECASE)
_EMPHASIS = {"strong_open", "em_open"}
_LIKE_TASK = re.compile(r"\[[ xX]\](?:\s|$)")
_BLOCK_IN_TEX = re.compile(r"^(?:[-+*#>=|~:`]|\d+[.)]|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Written:
    """Blocks as Markdown.

    Attributes:
        text: the Markdown.
        joint: what stands between it and the part before it.
        last: the kind of its last block, for what follows.
        alternate: whether that has the other kind of marks, for what follows.
    """

    text: str
    joint: str
    last: str
    alternate: bool


def write(tokens: Sequence[Token], seam: Seam, source: str) -> Written:
    """Write these tokens as Markdown that loads, runs and hides nothing in any front end.

    Args:
        tokens: what `split.read` returned, or one side of a cut.
        seam: what is to be known of the part before.
        source: what is shown if they should turn out to be harmful.
    """
    text, last, alternate = _blocks(tree(tokens), seam=seam)
    shown = f"{_any_head(text)}{text}" if seam.block == "table" else text
    if not _is_harmless(shown):
        return raw_markdown(source)
    tight = seam.block == "table" or (seam.block in LISTS and seam.tight and _is_tight(tree(tokens)[0]))
    return Written(text, "\n" if tight else "\n\n", last or seam.last, alternate)


def raw_markdown(text: str) -> Written:
    """Text that cannot be rendered, as a block of code."""
    return Written(_fenced(visible(text).strip("\n"), "text"), "\n\n", "fence", alternate=False)


def _any_head(rows: str) -> str:
    """A head, without which rows would not be read as a table."""
    columns = max(1, len(re.findall(r"(?<!\\)\|", rows.partition("\n")[0])) - 1)
    return f"{'| x ' * columns}|\n{'| - ' * columns}|\n"


def _is_harmless(settled: str) -> bool:
    """The second wall: read what was written as a front end would, with HTML on."""
    if "<" not in settled and "[" not in settled:  # as HTML, links and images begin
        return True
    for token in _reader().parse(settled):
        if token.type == "html_block":
            return False
        for child in token.children or ():
            if child.type == "image" or (child.type == "html_inline" and child.content not in _OWN_TAGS):
                return False
            if child.type == "link_open" and not allowed_url(str(child.attrs.get("href", ""))):
                return False
    return True


@functools.cache
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt  # importing the package stays cheap

    return MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable(["table", "strikethrough"])


def _is_tight(node: Node) -> bool:
    """Whether no blank line stands between the items of a list."""
    return not any(
        (block.type == "paragraph" and not block.token.hidden) or _holds_math_like_code(block)
        for item in node.children
        for block in item.children
    )


def _blocks(
    nodes: Sequence[Node], *, tight: bool = False, nested: bool = False, seam: Seam | None = None
) -> tuple[str, str, bool]:
    """The Markdown of blocks, the kind of the last one, and whether that has the other kind of marks."""
    seam = seam or Seam()
    written: list[str] = []
    previous: Node | None = None
    last, alternate = seam.last, seam.alternate
    for index, node in enumerate(_at_margin(nodes)):
        if index or not seam.block:
            alternate = last == node.type and not alternate
        headless = seam.block == "table" and not index
        source = _block(node, alternate=alternate, nested=nested, headless=headless)
        if not source:
            continue
        if previous is not None:
            written.append("\n" if tight and _may_touch(previous, node) else "\n\n")
        written.append(source)
        previous, last = node, node.type
    return "".join(written), last, alternate


def _at_margin(nodes: Sequence[Node]) -> Iterator[Node]:
    """The blocks of one level, code with dollars lifted out of its quotation.

    JupyterLab knows a fence only at the margin. In a quoted one it would take what stands between two dollars
    for a formula, and could lose the end of the fence with it.
    """
    for node in nodes:
        if node.type == "blockquote" and _holds_math_like_code(node):
            yield from _at_margin(node.children)
        else:
            yield node


def _may_touch(previous: Node, node: Node) -> bool:
    """Whether `node` is recognised on the line below `previous`, with no blank line between them."""
    if node.type in LISTS:
        interrupts = bool(node.children[0].children) and (
            node.type == "bullet_list" or int(node.attrs.get("start", 1)) == 1
        )
        return interrupts and previous.type in {"paragraph", "fence", "math_block"}
    if previous.type == "paragraph":
        return node.type in {"fence", "code_block", "blockquote", "math_block"}
    return previous.type in {"fence", "math_block"} and node.type == "paragraph"


def _block(node: Node, *, alternate: bool, nested: bool, headless: bool) -> str:
    writers: dict[str, Callable[[Node], str]] = {
        "paragraph": _paragraph,
        "heading": _heading,
        "table": lambda node: _table(node, headless=headless),
        "fence": lambda node: _code(node, nested=nested),
        "code_block": lambda node: _code(node, nested=nested),
        "blockquote": _quote,
        "bullet_list": lambda node: _list(node, alternate=alternate),
        "ordered_list": lambda node: _list(node, alternate=alternate),
        "math_block": lambda node: _math(node, nested=nested),
        "hr": lambda _: "___" if nested else "---",
    }
    return writers[node.type](node)


def _paragraph(node: Node) -> str:
    return write_inline(node.inline)


def _heading(node: Node) -> str:
    text = write_inline(node.inline, one_line=True)
    text = text[:-1] + r"\#" if text.endswith("#") else text
    is_small = "level" in node.token.meta and int(node.token.tag[1]) > 4
    if is_small and text and not any(token.type in _EMPHASIS for token in node.inline):
        text = f"**{text}**"  # front ends show the lowest headings as ordinary text
    return f"{'#' * int(node.token.tag[1])} {text}".rstrip(" ")


def _code(node: Node, *, nested: bool) -> str:
    """Write code.

    JupyterLab takes what stands between two dollars in an indented fence for a formula. It puts it back as it
    was, but not into code that is coloured.
    """
    plain = nested and SEEN_AS_MATH.search(node.token.content)
    return _fenced(node.token.content, "" if plain else node.token.info)


def _fenced(content: str, info: str) -> str:
    content = content.removesuffix("\n")
    words = re.sub(r"[^A-Za-z0-9_+#.\s-]", "", visible(info)).split()
    language = words[0] if words else ""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", content)), default=0))
    shown = "text" if _DRAWN.match(language) else language
    return "\n".join([fence + shown, *([content] if content else []), fence])


def _math(node: Node, *, nested: bool) -> str:
    lines = [line.strip() for line in node.token.content.split("\n")]
    tex = safe_tex("\n".join(lines))
    if tex is None:
        return code_span(" ".join([node.token.markup, *lines, CLOSERS[node.token.markup]]))
    if nested or _BLOCK_IN_TEX.search(tex):
        return f"$${' '.join(tex.split())}$$"
    return f"$$\n{tex}\n$$" if "\n" in tex else f"$${tex}$$"


def _holds_math_like_code(node: Node) -> bool:
    return any(
        child.type in {"fence", "code_block"} and SEEN_AS_MATH.search(child.token.content)
        for child in node.walk()
    )


def _quote(node: Node) -> str:
    inner = _blocks(node.children, nested=True)[0]
    return "\n".join(f"> {line}" if line else ">" for line in inner.split("\n"))


def _list(node: Node, *, alternate: bool) -> str:
    items, tight = [], _is_tight(node)
    for number, item in enumerate(node.children, int(node.attrs.get("start", 1))):
        ordered = f"{min(number, 999_999_999)}{')' if alternate else '.'}"
        marker = ordered if node.type == "ordered_list" else "*" if alternate else "-"
        inner = _blocks(item.children, tight=tight, nested=True)[0]
        if _LIKE_TASK.match(inner) and not _is_task(item):
            inner = f"&#91;{inner[1:]}"
        items.append(f"{marker} {inner}".replace("\n", f"\n{' ' * (len(marker) + 1)}").rstrip(" "))
    return re.sub(r"(?m)^ +$", "", ("\n" if tight else "\n\n").join(items))


def _is_task(item: Node) -> bool:
    return bool(item.children[0].inline) and item.children[0].inline[0].type == "task"


def _table(node: Node, *, headless: bool) -> str:
    rows = [row for part in node.children for row in part.children]
    lines = [[write_inline(cell.inline, in_table=True) for cell in row.children] for row in rows]
    if not headless:
        rules = []
        for cell in rows[0].children:
            side = str(cell.attrs.get("style", "")).removeprefix("text-align:")
            rules.append({"left": ":--", "right": "--:", "center": ":-:"}.get(side, "---"))
        lines.insert(1, rules)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
