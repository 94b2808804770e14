"""Markdown as HTML for a live pane.

An ipywidgets HTML widget puts its value into the page as it is: `<img onerror>` runs there. So there are two
walls, each enough by itself: tokens that hold no HTML, images or odd links, and nh3 with a strict allow-list.
"""

from __future__ import annotations

import functools
import html
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.render.markdown.formulas import CLOSERS
from gemini_nb.notebook.render.markdown.neutral import escape, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from pygments.formatters import HtmlFormatter

_REL = "noopener noreferrer nofollow"
_TAGS = {"a", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
_TAGS |= {"input", "kbd", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody"}
_TAGS |= {"td", "th", "thead", "tr", "ul"}
_ALIGNMENTS = {"left", "center", "right"}
_LONGEST_HIGHLIGHTED = 20_000

# Only these reach a lexer: some of the several hundred others take quadratic time on hostile input.
_LANGUAGES = {"bash", "c", "c++", "cpp", "c#", "cs", "csharp", "css", "diff", "docker", "dockerfile", "go"}
_LANGUAGES |= {"golang", "graphql", "html", "ini", "java", "javascript", "js", "json", "jsx", "julia"}
_LANGUAGES |= {"kotlin", "latex", "lua", "make", "makefile", "markdown", "md", "matlab", "perl", "php"}
_LANGUAGES |= {"powershell", "py", "python", "python3", "pycon", "r", "rb", "ruby", "rs", "rust", "scala"}
_LANGUAGES |= {"sh", "shell", "sql", "swift", "tex", "toml", "ts", "tsx", "typescript", "xml", "yaml"}
_LANGUAGES |= {"yml", "zsh"}


def html_of(tokens: Sequence[Token]) -> str:
    """These tokens as sanitised HTML."""
    md = _renderer()
    cleaned: str = _cleaner().clean(md.renderer.render(tokens, md.options, {}))
    return cleaned


def scrollable(name: str, role: str = "group") -> str:
    """The attributes by which the keyboard reaches an element that may scroll.

    Args:
        name: what it is, for screen readers.
        role: empty for an element that has one of its own.
    """
    said = f' role="{role}"' if role else ""
    return f' tabindex="0"{said} aria-label="{escape(name)}"'


def raw_html(text: str) -> str:
    """Text that cannot be rendered, verbatim."""
    return f'<pre class="gemini-nb-code"{scrollable("text")}>{html.escape(visible(text))}</pre>\n'


@functools.cache
def _cleaner() -> Any:
    import nh3  # importing the package stays cheap

    return nh3.Cleaner(**_allow_list())  # `nh3.clean` would read all of it again for each piece


def _allow_list() -> dict[str, Any]:
    from pygments.token import STANDARD_TYPES  # importing the package stays cheap

    aligned = {f"gemini-nb-{side}" for side in _ALIGNMENTS}
    return {
        "tags": _TAGS,
        "clean_content_tags": {"script", "style"},
        "attributes": {
            "a": {"href", "title"},
            "ol": {"start"},
            "input": {"disabled", "checked", "aria-label"},
            "pre": {"aria-label"},
            "table": {"aria-label"},
        },
        "allowed_classes": {
            "span": {name for name in STANDARD_TYPES.values() if name},
            "pre": {"gemini-nb-code"},
            "code": {"gemini-nb-math", "gemini-nb-math-block", "gemini-nb-math-line"},
            "td": aligned,
            "th": aligned,
        },
        "tag_attribute_values": {
            "a": {"target": {"_blank"}},
            "input": {"type": {"checkbox"}},
            "pre": {"tabindex": {"0"}, "role": {"group"}},
            "table": {"tabindex": {"0"}},
        },
        "url_schemes": {"http", "https", "mailto"},
        "link_rel": _REL,
        "strip_comments": True,
    }


@functools.cache
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt  # importing the package stays cheap

    md = MarkdownIt("commonmark", {"html": False})
    for kind, rule in {
        "fence": _code,
        "code_block": _code,
        "table_open": _table_open,
        "math_inline": _math,
        "math_block": _math,
        "link_open": _link_open,
        "task": _task,
        "td_open": _cell_open,
        "th_open": _cell_open,
    }.items():
        md.add_render_rule(kind, rule)
    return md


def _code(_: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    token = tokens[index]
    words = visible(token.info).split()
    language = words[0] if words else ""
    code = _highlighted(token.content, language)
    name = f"{language.lower()} code" if language.lower() in _LANGUAGES else "code"
    return f'<pre class="gemini-nb-code"{scrollable(name)}><code>{code}</code></pre>\n'


def _table_open(*_: Any) -> str:
    return f"<table{scrollable('table', role='')}>\n"


@functools.lru_cache(maxsize=64)
def _highlighted(code: str, language: str) -> str:
    language = language.lower()
    if language not in _LANGUAGES or len(code) > _LONGEST_HIGHLIGHTED:
        return html.escape(code)
    import pygments  # importing the package stays cheap
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    return str(pygments.highlight(code, lexer, _formatter()))


@functools.cache
def _formatter() -> HtmlFormatter[str]:
    """One for all: each is a thousand objects, and pygments' own caches keep those of the last hundred."""
    from pygments.formatters import HtmlFormatter  # see above

    return HtmlFormatter(nowrap=True)


def _math(_: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    token = tokens[index]
    shown = html.escape(token.markup + token.content + CLOSERS[token.markup])
    if token.type == "math_block":
        return f'<p><code class="gemini-nb-math gemini-nb-math-block">{shown}</code></p>\n'
    line = " gemini-nb-math-line" if token.info == "line" else ""
    return f'<code class="gemini-nb-math{line}">{shown}</code>'


def _task(_: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    ticked = tokens[index].content == "x"
    state = ' checked aria-label="done"' if ticked else ' aria-label="not done"'
    return f'<input type="checkbox" disabled{state}> '


def _link_open(_: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    url = html.escape(str(tokens[index].attrs["href"]))
    return f'<a href="{url}" title="{url}" target="_blank">'


def _cell_open(_: Any, tokens: Sequence[Token], index: int, *_rest: Any) -> str:
    token = tokens[index]
    side = str(token.attrs.get("style", "")).removeprefix("text-align:")
    return f'<{token.tag} class="gemini-nb-{side}">' if side in _ALIGNMENTS else f"<{token.tag}>"
