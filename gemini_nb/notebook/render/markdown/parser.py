"""Markdown as tokens that are already tame: no HTML, no image, no link but http, https and mailto.

Both the live pane and the settled Markdown are made from these tokens, so what a reader can click or load is
decided once. The parser is plain CommonMark with tables and strikethrough. Input that would take it out of
linear time, or so deep that it would drop text, is refused (None), and shown as it is by the callers.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.render.markdown.citations import place, take_out
from gemini_nb.notebook.render.markdown.formulas import SEEN_AS_MATH, add_math_rules
from gemini_nb.notebook.render.markdown.neutral import visible
from gemini_nb.notebook.render.markdown.nodes import new_token
from gemini_nb.notebook.render.words import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence

    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

_NESTING = 60
_ALLOWED = re.compile(r"(?:https?://[^/?#\s]|mailto:[^\s])", re.IGNORECASE)
_BARE_URL = re.compile(r"\bhttps?://[^\s<>\"'`\\^{}|*\[\]\u3000-\u303f\uff00-\uffef]{1,2000}")
_IN_URL = "-._/?#=%+,:;~!@&"
_BREAK = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)
_SMALL = re.compile(r"<(sub|sup|kbd)>((?!\s*</)(?:(?!<\1>)[^\n]){1,300}?)</\1>", re.IGNORECASE)
_TASK = re.compile(r"\[([ xX])\][ \t]+(?=\S)")
_MARKED = re.compile(r"[\\`~*_\[\]!<&$\n]")  # what anything but plain text begins with, or ends
_OWN_TAG = re.compile(r"<code>([^<>`]*)</code>|<span>(\\\$|\\\\)</span>")

# Above these, the parser's time grows with the square of the text.
_MOST_CHARACTERS = 1_000_000
_MOST_LINES = 20_000
_LONGEST_LINE = 100_000
_MOST_BRACKETS = 400
_MOST_MARKS = 4000
_DEEP = re.compile(r"^(?:[ \t]*(?:>|[-*+][ \t]|\d{1,9}[.)][ \t])){25}|^[ \t]{200}", re.MULTILINE)


def parse(text: str, env: dict[str, Any] | None = None) -> list[Token] | None:
    """The tokens of `text`, tamed; None when it must be shown without rendering.

    Args:
        text: the Markdown.
        env: what is known beside it. `references` are the targets of links, to which its own are added; in
            `open_math` are afterwards the lines (from 0) where a formula opens and does not close;
            `citations` are the addresses of the sources whose marks stand in the text.
    """
    links: dict[int, str] | None = (env or {}).get("citations")
    text, marks = (visible(text), []) if links is None else take_out(visible(text))
    if _is_pathological(text):
        return None
    tokens = _parser().parse(text, env)
    if any(token.level >= _NESTING - 2 for token in tokens):
        return None
    if links is not None and marks:
        known = dict(env or {})
        tokens = place(tokens, text, marks, links, lambda content: _parse_again(content, known))
    _mark_tasks(tokens)
    _part_lists_with_code(tokens)
    _mark_lines(tokens)
    for token in tokens:
        if token.children is not None:
            token.children = list(_tame(token.children))
    return tokens


def allowed_url(url: str) -> bool:
    """Whether `url` may be a link."""
    return _ALLOWED.match(url) is not None


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # importing the package stays cheap

    md = MarkdownIt("commonmark", {"html": False, "maxNesting": _NESTING, "langPrefix": ""})
    md.enable(["table", "strikethrough"]).disable(["html_block", "html_inline"])
    add_math_rules(md)
    md.core.ruler.at("inline", _inline)
    md.inline.ruler.before("autolink", "own_tags", _own_tags)
    return md


def _own_tags(state: StateInline, silent: bool) -> bool:
    """Line breaks, small text and keys, as models write them, and two forms that settled Markdown uses."""
    if state.src[state.pos] != "<":
        return False
    if found := _BREAK.match(state.src, state.pos, state.posMax):
        if not silent:
            state.push("hardbreak", "br", 0)
    elif found := _SMALL.match(state.src, state.pos, state.posMax):
        if not silent:
            _small(state, found)
    elif found := _OWN_TAG.match(state.src, state.pos, state.posMax):
        if not silent and found[2]:
            state.pending += found[2][1:]
        elif not silent:
            state.push("code_inline", "code", 0).content = visible(html.unescape(found[1])).replace("\n", " ")
    else:
        return False
    state.pos = found.end()
    return True


def _small(state: StateInline, found: re.Match[str]) -> None:
    """Tokens of what stands between two tags; emphasis that begins in it ends in it."""
    tag, limit = found[1].lower(), state.posMax
    state.push(f"{tag}_open", tag, 1)
    state.pos, state.posMax = found.span(2)
    state.md.inline.tokenize(state)
    state.posMax = limit
    state.push(f"{tag}_close", tag, -1)


def _parse_again(content: str, env: MutableMapping[str, Any]) -> list[Token]:
    """Parse inline text that stands outside the parser's own chain of rules, which joins texts last."""
    joined: list[Token] = []
    for token in _parse_inline(content, env):
        if token.type not in {"text", "text_special"}:
            joined.append(token)
        elif joined and joined[-1].type == "text":
            joined[-1].content += token.content
        else:
            joined.append(new_token("text", content=token.content))
    return joined


def _mark_tasks(tokens: Sequence[Token]) -> None:
    """Give each item of a task list a token that says whether it is done."""
    for index, token in enumerate(tokens):
        if token.type != "inline" or index < 2 or tokens[index - 2].type != "list_item_open":
            continue
        found, first = _TASK.match(token.content), next(iter(token.children or ()), None)
        if found is None or first is None or first.type != "text":
            continue
        if task := _TASK.match(f"{first.content}x"):
            first.content = first.content[task.end() :]
            token.children = [new_token("task", content=found[1].strip().lower()), *(token.children or ())]


def _part_lists_with_code(tokens: Sequence[Token]) -> None:
    """Put room around the items of lists whose code a front end searches for formulas.

    When such an answer settles, a blank line must stand before its code, which gives every item room.
    """
    lists: list[int] = []
    parted: set[int] = set()
    own: list[tuple[int, Token]] = []
    for index, token in enumerate(tokens):
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            lists.append(index)
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            lists.pop()
        elif token.type in {"fence", "code_block"} and SEEN_AS_MATH.search(token.content):
            parted.update(lists)
        elif lists and token.level == tokens[lists[-1]].level + 2 and token.type.startswith("paragraph_"):
            own.append((lists[-1], token))
    for begin, token in own:
        token.hidden = token.hidden and begin not in parted


def _mark_lines(tokens: Sequence[Token]) -> None:
    """Mark formulas where there is one line only: in a cell or a heading none stands by itself."""
    for before, token in itertools.pairwise(tokens):
        if token.type == "inline" and before.type in {"th_open", "td_open", "heading_open"}:
            for child in token.children or ():
                if child.type == "math_inline":
                    child.info = "line"


def _is_pathological(text: str) -> bool:
    """Whether `text` as a whole cannot be read as rendered text."""
    return len(text) > _MOST_CHARACTERS or text.count("\n") > _MOST_LINES or _DEEP.search(text) is not None


def _inline(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline":
            token.children = _parse_inline(token.content, state.env)


def _parse_inline(content: str, env: MutableMapping[str, Any]) -> list[Token]:
    """Parse the inline text, but leave alone what holds more marks than any real paragraph."""
    from gemini_nb.notebook.render.markdown.emphasis import parse_inline

    if not _MARKED.search(content):
        return [new_token("text", content=content)] if content else []
    marks = sum(map(content.count, "*_`~<"))
    if content.count("[") > _MOST_BRACKETS or marks > _MOST_MARKS or len(content) > _LONGEST_LINE:
        return [new_token("text", content=content)]
    children: list[Token] = []
    parse_inline(content, _parser(), env, children)
    return children


def _tame(children: Sequence[Token]) -> Iterator[Token]:
    opened: list[Token | None] = []  # the links we are in; None for one that is kept
    previous: Token | None = None
    for token in children:
        if token.type == "image":
            yield from _image(token, in_link=bool(opened))
        elif token.type == "link_open":
            token.attrs["href"] = url = canonical(str(token.attrs.get("href", "")))
            keep = allowed_url(url) and not opened
            opened.append(None if keep else token)
            if keep:
                yield token
        elif token.type == "link_close":
            yield from _link_end(token, opened.pop(), previous)
        elif token.type == "text":
            content = _one_line(token.content)
            yield from [new_token("text", content=content)] if opened else _linkified(content)
        else:
            yield token
        previous = token


def _link_end(token: Token, dropped: Token | None, previous: Token | None) -> Iterator[Token]:
    """The end of a link: of one that is dropped its address; one without words gets its address for them."""
    if dropped is not None:
        yield from _address(str(dropped.attrs.get("href", "")))
        return
    if previous is not None and previous.nesting == 1:
        yield new_token("text", content=str(previous.attrs.get("href", "")) or "link")
    yield token


def _one_line(content: str) -> str:
    """An entity can put any character into a text, even those that `visible` took out of the source."""
    return visible(content).replace("\n", " ")


def _image(token: Token, *, in_link: bool) -> Iterator[Token]:
    url, alt = str(token.attrs.get("src", "")), _one_line(_alt(token.children or ())) or "image"
    yield new_token("text", content="🖼 ")
    if allowed_url(url) and not in_link:
        yield from _link(url, alt)
    else:
        yield new_token("text", content=alt)
        yield from _address(url)


def _alt(children: Sequence[Token]) -> str:
    return "".join(
        _alt(child.children or ())
        if child.type == "image"
        else "\n"
        if "break" in child.type
        else child.content
        for child in children
    )


def _address(url: str) -> Iterator[Token]:
    shown = visible(url).replace("\n", " ").strip()
    if shown:
        yield new_token("text", content=" (")
        yield new_token("code_inline", "code", content=cut(shown, 200))
        yield new_token("text", content=")")


def _link(url: str, text: str, info: str = "") -> Iterator[Token]:
    opening = new_token("link_open", "a", 1)
    opening.attrs["href"], opening.info = canonical(url), info
    yield opening
    yield new_token("text", content=text)
    yield new_token("link_close", "a", -1)


def canonical(url: str) -> str:
    """`url` with everything encoded that could end it, or begin something else, in any Markdown dialect."""
    return urllib.parse.quote(url, safe=_IN_URL, errors="replace").replace("@@", "%40%40")


def _linkified(content: str) -> Iterator[Token]:
    position = 0
    for found in _BARE_URL.finditer(content):
        url = found[0].rstrip(".,;:!?~_'\"")
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1].rstrip(".,;:!?~_'\"")
        href = _parser().normalizeLink(url)
        if not allowed_url(href):
            continue
        if found.start() > position:
            yield new_token("text", content=content[position : found.start()])
        yield from _link(href, url, "bare")
        position = found.start() + len(url)
    if position < len(content):
        yield new_token("text", content=content[position:])
