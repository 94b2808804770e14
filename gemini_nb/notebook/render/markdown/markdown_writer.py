"""Markdown from a model, written again so that it is harmless wherever a notebook is shown.

A front end renders the Markdown of a freshly run cell without sanitising it, nbconvert passes raw HTML
through, and neither can be told otherwise from inside an output. So the text is parsed and written anew from
tokens that hold nothing but formatting. What comes out is still plain Markdown that a person reads in a diff.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini_nb.notebook.render.markdown.formulas import CLOSERS, safe_tex
from gemini_nb.notebook.render.markdown.inline import code_span, write_inline
from gemini_nb.notebook.render.markdown.neutral import visible
from gemini_nb.notebook.render.markdown.parser import allowed_url, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markdown_it.tree import SyntaxTreeNode

__all__ = ["settle"]

_OWN_TAGS = {"<code>", "</code>", "<span>", "</span>", "<br>"}
_SEEN_AS_MATH = re.compile(r"\$|\\\\[(\[]|\\begin\{|@@\d")
# These languages are drawn instead of shown, and a diagram can load an image.
_DRAWN = re.compile(r"mermaid|math|geojson|topojson|stl|vega|plantuml|dot$|graphviz", re.IGNORECASE)
_BLOCK_IN_TEX = re.compile(r"^(?:[-+*#>=|~:`]|\d+[.)]|$)", re.MULTILINE)


def settle(text: str) -> str:
    """Rewrite Markdown from a model as Markdown that loads, runs and hides nothing in any front end."""
    from markdown_it.tree import SyntaxTreeNode  # noqa: PLC0415 - importing the package stays cheap

    tokens = parse(text)
    if tokens is not None:
        settled = _blocks(SyntaxTreeNode(tokens).children)
        if _is_harmless(settled):
            return settled
    return _fenced(visible(text).strip("\n"), "text")


def _is_harmless(settled: str) -> bool:
    """The second wall: read what was written as a front end would, with HTML on."""
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
    from markdown_it import MarkdownIt  # noqa: PLC0415 - importing the package stays cheap

    return MarkdownIt("commonmark", {"html": True, "maxNesting": 100}).enable(["table", "strikethrough"])


@dataclass(frozen=True, slots=True)
class _List:
    """A list, or the stretch of one that stands between two pieces of code with dollars."""

    type: str
    start: int
    items: Sequence[Sequence[SyntaxTreeNode]]

    @property
    def tight(self) -> bool:
        return not any(
            block.type == "paragraph" and not block.hidden for item in self.items for block in item
        )


def _blocks(nodes: Sequence[SyntaxTreeNode], *, tight: bool = False, nested: bool = False) -> str:
    written = ""
    previous: SyntaxTreeNode | _List | None = None
    alternate = False
    for node in _at_margin(nodes):
        alternate = previous is not None and previous.type == node.type and not alternate
        source = _block(node, alternate=alternate, nested=nested)
        if not source:
            continue
        if previous is not None:
            written += "\n" if tight and _may_touch(previous, node) else "\n\n"
        written += source
        previous = node
    return written


def _at_margin(nodes: Sequence[SyntaxTreeNode]) -> Iterator[SyntaxTreeNode | _List]:
    """The blocks of one level, code with dollars lifted out of its list or quotation.

    JupyterLab knows a fence only at the margin. In an indented one it would take what stands between two
    dollars for a formula, and could lose the end of the fence with it.
    """
    for node in nodes:
        if node.type == "blockquote" and _holds_math_like_code(node):
            yield from _at_margin(node.children)
        elif node.type in {"bullet_list", "ordered_list"}:
            yield from _list_parts(node)
        else:
            yield node


def _list_parts(node: SyntaxTreeNode) -> Iterator[SyntaxTreeNode | _List]:
    number = int(node.attrs.get("start", 1))
    items: list[Sequence[SyntaxTreeNode]] = []
    for item in node.children:
        lifted = next((i for i, block in enumerate(item.children) if _holds_math_like_code(block)), None)
        items.append(item.children[:lifted])
        if lifted is not None:
            yield _List(node.type, number, items)
            number, items = number + len(items), []
            yield from _at_margin(item.children[lifted:])
    if items:
        yield _List(node.type, number, items)


def _may_touch(previous: SyntaxTreeNode | _List, node: SyntaxTreeNode | _List) -> bool:
    """Whether `node` is recognised on the line below `previous`, with no blank line between them."""
    if isinstance(node, _List):
        interrupts = bool(node.items[0]) and (node.type == "bullet_list" or node.start == 1)
        return interrupts and previous.type in {"paragraph", "fence", "math_block"}
    if previous.type == "paragraph":
        return node.type in {"fence", "code_block", "blockquote", "math_block"}
    return previous.type in {"fence", "math_block"} and node.type == "paragraph"


def _block(node: SyntaxTreeNode | _List, *, alternate: bool, nested: bool) -> str:
    if isinstance(node, _List):
        return _list(node, alternate=alternate)
    writers: dict[str, Callable[[SyntaxTreeNode], str]] = {
        "paragraph": _paragraph,
        "heading": _heading,
        "table": _table,
        "fence": lambda node: _fenced(node.content, node.info),
        "code_block": lambda node: _fenced(node.content, ""),
        "blockquote": _quote,
        "math_block": lambda node: _math(node, nested=nested),
        "hr": lambda _: "___" if nested else "---",
    }
    return writers[node.type](node)


def _inline(node: SyntaxTreeNode) -> Sequence[Token]:
    token = node.children[0].token if node.children else None
    return (token.children if token else None) or ()


def _paragraph(node: SyntaxTreeNode) -> str:
    return write_inline(_inline(node))


def _heading(node: SyntaxTreeNode) -> str:
    text = write_inline(_inline(node), one_line=True)
    text = text[:-1] + r"\#" if text.endswith("#") else text
    return f"{'#' * int(node.tag[1])} {text}".rstrip(" ")


def _fenced(content: str, info: str) -> str:
    content = content.removesuffix("\n")
    words = re.sub(r"[^A-Za-z0-9_+#.\s-]", "", visible(info)).split()
    language = words[0] if words else ""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", content)), default=0))
    shown = "text" if _DRAWN.match(language) else language
    return "\n".join([fence + shown, *([content] if content else []), fence])


def _math(node: SyntaxTreeNode, *, nested: bool) -> str:
    lines = [line.strip() for line in node.content.split("\n")]
    tex = safe_tex("\n".join(lines))
    if tex is None:
        return code_span(" ".join([node.markup, *lines, CLOSERS[node.markup]]))
    if nested or _BLOCK_IN_TEX.search(tex):
        return f"$${' '.join(tex.split())}$$"
    return f"$$\n{tex}\n$$" if "\n" in tex else f"$${tex}$$"


def _holds_math_like_code(node: SyntaxTreeNode) -> bool:
    return any(
        child.type in {"fence", "code_block"} and _SEEN_AS_MATH.search(child.content) for child in node.walk()
    )


def _quote(node: SyntaxTreeNode) -> str:
    inner = _blocks(node.children, nested=True)
    return "\n".join(f"> {line}" if line else ">" for line in inner.split("\n"))


def _list(node: _List, *, alternate: bool) -> str:
    items = []
    for number, blocks in enumerate(node.items, node.start):
        ordered = f"{min(number, 999_999_999)}{')' if alternate else '.'}"
        marker = ordered if node.type == "ordered_list" else "*" if alternate else "-"
        inner = _blocks(blocks, tight=node.tight, nested=True)
        items.append(f"{marker} {inner}".replace("\n", f"\n{' ' * (len(marker) + 1)}").rstrip(" "))
    return re.sub(r"(?m)^ +$", "", ("\n" if node.tight else "\n\n").join(items))


def _table(node: SyntaxTreeNode) -> str:
    rows = [row for part in node.children for row in part.children]
    lines = [[write_inline(_inline(cell), in_table=True) for cell in row.children] for row in rows]
    rules = []
    for cell in rows[0].children:
        side = str(cell.attrs.get("style", "")).removeprefix("text-align:")
        rules.append({"left": ":--", "right": "--:", "center": ":-:"}.get(side, "---"))
    lines.insert(1, rules)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
