"""Markdown from a hostile model: what is rendered, what is stored, and where it may be cut."""

from __future__ import annotations

import html.parser
import itertools
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from attacks import SMALL
from gemini_nb.notebook.render.markdown import Draft, escape, neutral, parser, plain, settle, to_html, typeset
from gemini_nb.notebook.render.markdown.emphasis import parse_inline
from gemini_nb.notebook.render.markdown.html_writer import html_of
from gemini_nb.notebook.render.markdown.markdown_writer import write
from gemini_nb.notebook.render.markdown.split import Seam, read
from gemini_nb.notebook.static import style
from markdown_cases import CASES, Case, normal_formulas, seen

FORMATTING = {
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "input",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
    "dl",
    "dt",
    "dd",
}
ATTRIBUTES = {
    "a": {"href", "title", "target", "rel", "class"},
    "ol": {"start"},
    "input": {"class", "type", "disabled", "checked", "aria-label"},
    "pre": {"class", "tabindex", "role", "aria-label"},
    "table": {"class", "tabindex", "aria-label"},
}
STYLE = re.compile(r"text-align: ?(left|center|right);?|line-height: 125%;?")
URL = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)


class Walk(html.parser.HTMLParser):
    """Collects everything in a page that is not formatting, and its text."""

    def __init__(self, *, strict: bool) -> None:
        super().__init__()
        self.strict, self.bad, self.words = strict, list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in FORMATTING or (self.strict and tag in {"b", "i", "dl"}):
            self.bad.append(f"<{tag}>")
        for name, value in attrs:
            extra = {"class"} if self.strict else {"class", "id", "style"}
            if name not in ATTRIBUTES.get(tag, set()) | extra:
                self.bad.append(f"{tag} {name}={value}")
            if name == "href" and not URL.match(value or ""):
                self.bad.append(f"href={value}")
            if name == "style" and not STYLE.fullmatch(value or ""):
                self.bad.append(f"style={value}")
            if name == "type" and value != "checkbox":
                self.bad.append(f"type={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.bad.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.bad.append(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        self.bad.append(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        self.bad.append(f"<![{data}]>")


def split_point(text: str) -> int:
    """The last place to cut; 0 if there is none."""
    part = read(text)
    cut = part.cut() if part is not None else None
    return cut.offset if cut is not None else 0


def walk(page: str, *, strict: bool = False) -> Walk:
    walker = Walk(strict=strict)
    walker.feed(page)
    walker.close()
    return walker


def commonmark(source: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(source))


def nbconvert(source: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbconvert.filters.markdown_mistune import markdown2html_mistune

        return str(markdown2html_mistune(source))


# How JupyterLab finds formulas in the source before it parses, reduced to what decides where one begins.
LAB_TOKEN = re.compile(
    r"\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|\\\\[()\[\]]", re.IGNORECASE
)
LAB_FENCE = re.compile(r"^(`{3,})[^`\n]*\n[\s\S]*?^\1`*$", re.MULTILINE)
LAB_CODE = re.compile(r"(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)", re.MULTILINE)


def lab_formulas(source: str) -> list[str]:
    """The stretches of `source` that JupyterLab takes for formulas."""
    for pattern in (LAB_FENCE, LAB_CODE):
        source = pattern.sub(lambda found: found[0].replace("$", "_"), source)
    formulas, start, end, depth = list[str](), -1, "", 0
    closers = {"\\\\(": "\\\\)", "\\\\[": "\\\\]"}
    for found in LAB_TOKEN.finditer(source):
        token = found[0]
        if start < 0:
            if token in {"$", "$$", *closers} or token.lower().startswith("\\begin"):
                start, end = found.start(), closers.get(token, token.replace("begin", "end"))
                depth = 0
        elif token == end and not depth:
            formulas.append(source[start : found.end()])
            start = -1
        elif token.count("\n") > 1:
            start = -1
        else:
            depth += (token == "{") - (token == "}" and depth > 0)
    return formulas


def assert_live_is_harmless(source: str) -> Walk:
    walker = walk(to_html(source), strict=True)
    assert walker.bad == []
    return walker


def assert_settled_is_harmless(source: str) -> None:
    settled = settle(source)
    for page in (commonmark(settled), nbconvert(settled)):
        assert walk(page).bad == [], settled
    for formula in lab_formulas(settled):
        assert "<" not in formula, settled
        assert "`" not in formula, settled


BELL, ESC, RLO = "\x07", "\x1b", "\u202e"
ATTACKS = [
    *SMALL,
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="x" onerror="alert(1)"',
    '<IMG """><SCRIPT>alert("XSS")</SCRIPT>">',
    "<svg onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<base href=//evil.example>",
    "<form action=//evil.example><input type=submit></form>",
    "<video><source onerror=alert(1)></video>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<details open ontoggle=alert(1)>",
    "<div style='position:fixed;inset:0'>over it all</div>",
    "<a href='javascript:alert(1)'>raw</a>",
    "<!-- comment --><!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?php <img src=x onerror=alert(1)> ?>",
    "<!DOCTYPE html>",
    "</textarea></title></style></code></pre><img src=x onerror=alert(1)>",
    "<span>\\$</span><span onclick=alert(1)>x</span>",
    "<code>&lt;img src=x onerror=alert(1)&gt;</code>",
    "<code><img src=x onerror=alert(1)></code>",
    "<br onclick=alert(1)><br/><br />",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#x6A;avascript&colon;alert(1))",
    "[x](&#x1;javascript:alert(1))",
    "[x](javascript&#58alert(1))",
    "[x](%6aavascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](data:image/svg+xml,<svg onload=alert(1)>)",
    "[x](data:image/png;base64,AAAA)",
    "[x](file:///etc/passwd)",
    "[x](ftp://evil.example/)",
    "ftp://evil.example/ and www.evil.example",
    "[x](//evil.example/)",
    "[x](/api/shutdown)",
    "[x](#top)",
    "<javascript:alert(1)>",
    "<JAVASCRIPT:alert(1)> <data:text/html,x> <vbscript:x>",
    "[x][r]\n\n[r]: javascript:alert(1)",
    "[x][r]\n\n[r]: data:image/png;base64,AAAA",
    "![x][r]\n\n[r]: https://evil.example/leak.png",
    "![r]\n\n[r]: https://evil.example/leak.png 'title'",
    "![x](https://evil.example/leak.png)",
    "![x](data:image/svg+xml;base64,AAAA)",
    "![x](javascript:alert(1))",
    "[![x](https://evil.example/a.png)](https://evil.example/)",
    "![a ![b](https://evil.example/b.png)](https://evil.example/a.png)",
    "!&#91;x](https://evil.example/a.png)",
    "!\\[x](https://evil.example/a.png)",
    "\\![x](https://evil.example/a.png)",
    "![x]\\(https://evil.example/a.png)",
    "[[x](javascript:alert(1))](javascript:alert(2))",
    "[a](https://ok.example/[b](javascript:alert(1)))",
    '[x](https://ok.example "a\\" onmouseover=\\"alert(1)")',
    "[x](https://ok.example 'a\" onmouseover=\"alert(1)')",
    '[x](https://ok.example/"onmouseover="alert(1))',
    '[x](https://ok.example/$"onmouseover="alert(1)$)',
    "[x](<https://ok.example/ onmouseover=alert(1)>)",
    "[x](https://ok.example/\\)<img src=x onerror=alert(1)>)",
    '<https://ok.example/"onmouseover=alert(1)>',
    "https://ok.example/<img src=x onerror=alert(1)>",
    "| a | b |\n|---|---|\n| <img src=x onerror=alert(1)> | [x](javascript:alert(1)) |",
    "| a |\n|---|\n| `<img src=x onerror=alert(1)>` \\| ![x](https://evil.example/) |",
    "| <script>alert(1)</script> |\n|:-:|\n| `a | <img src=x onerror=alert(1)>` |",
    "# <img src=x onerror=alert(1)> {#id onclick=alert(1)}",
    "<img src=x onerror=alert(1)>\n===",
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    "~~~html' onmouseover='alert(1)\n</code></pre><img src=x onerror=alert(1)>\n~~~",
    "```\n</code></pre><script>alert(1)</script>\n",
    "- ```\n  <img src=x onerror=alert(1)>\n",
    "```html\n<img src=x onerror=alert(1)>\n```\n<img src=x onerror=alert(1)>",
    "```mermaid\ngraph LR; a@{ img: 'https://evil.example/' }\n```",
    "&lt;img src=x onerror=alert(1)&gt;",
    "&amp;lt;img src=x onerror=alert(1)&amp;gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "&#x0003C;svg/onload=alert(1)>",
    "&ltimg src=x onerror=alert(1)&gt",
    "\\<img src=x onerror=alert(1)>",
    "\\\\<img src=x onerror=alert(1)>",
    "a&NewLine;&NewLine;<img src=x onerror=alert(1)>&Tab;",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\href{javascript:alert(1)}{x}$$",
    "\\(\\class{evil}{x}\\) \\[\\style{position:fixed}{x}\\]",
    "$\\require{html}\\cssId{a}{x}$ $\\unicode{60}$ $\\def\\a{b}$",
    "$x$ `$` <img src=x onerror=alert(1)> `$`",
    "$x<img src=x onerror=alert(1)>$",
    "$x</span><img src=x onerror=alert(1)>$",
    "\\begin{a}<img src=x onerror=alert(1)>\\end{a}",
    "\\\\(<img src=x onerror=alert(1)>\\\\)",
    # Readers that pair dollars, backticks or stars differently see the second code span as text.
    "\\\\`$` $x$ `<img src=x onerror=alert(1)>`",
    "`$$` a `$$` `<img src=x onerror=alert(1)>` x",
    "**a `b**` <b>`<img src=x onerror=alert(1)>`</b> c**",
    "**a `b** <img src=x onerror=alert(1)>` c**",
    "\\$$x$ `a$b` `<img src=x onerror=alert(1)>`",
    "- ```\n  $\n  ```\n  $x$ a\n\n- ```\n  <img src=x onerror=alert(1)>\n  ```\n",
    "> ```\n> $\n> ```\n> $x$ a\n>\n> ```\n> <img src=x onerror=alert(1)>\n> ```\n",
    "`a``<img src=x onerror=alert(1)>`",
    "@@0@@ $x$ @@1@@ @@5$y$",
    f"{RLO}gpj.exe <img src=x onerror=alert(1)>",
    f"{ESC}[31m<img src=x onerror=alert(1)>{ESC}]0;title{BELL}",
    "<im\x00g src=x onerror=alert(1)>",
    "<\u200bimg src=x onerror=alert(1)>",
    "<img\x0csrc=x\x0bonerror=alert(1)>",
    "\ufeff<img src=x onerror=alert(1)>\u2028<svg onload=alert(1)>",
    "\ud800<img src=x onerror=alert(1)>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_shown_as_text(attack: str) -> None:
    for source in (attack, f"> {attack}", f"1. a\n   - {attack}", f"**{attack}**", f"$x$ {attack} $y$"):
        assert_live_is_harmless(source)
        assert_settled_is_harmless(source)


@pytest.mark.slow
def test_an_attack_cut_off_anywhere_is_shown_as_text() -> None:
    source = "\n\n".join(ATTACKS)
    for end in range(0, len(source), 97):
        assert_live_is_harmless(source[:end])


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(
                "`",
                "``",
                "```",
                "~~~",
                "*",
                "**",
                "_",
                "~~",
                "$",
                "$$",
                "\\(",
                "\\)",
                "\\[",
                "\\]",
                "\\",
                "\\\\",
            ),
            *("\\begin{a}", "\\end{a}", "{", "}", "|", "[", "](http://u/)", '](http://a/$"b)', "!", "<", ">"),
            *(
                "@@0@@",
                "\n",
                "\n\n",
                "\n- ",
                "\n1. ",
                "\n> ",
                "\n  ",
                "\n    ",
                "\n# ",
                "\n```\n",
                "\n  ```\n",
            ),
            *(
                "\n$$\n",
                "\n|a|b|\n|-|-|\n|",
                "  \n",
                "<br>",
                "<span>\\$</span>",
                "<code>&#36;</code>",
                "&#36;",
            ),
            *("&#96;", "alpha", "b c", "x_1", "$x$", "`$`", "`a$b`", "\n---\n", "\n===\n", "\n: ", "\t"),
            *(
                "<img src=x onerror=alert(1)>",
                "[x](javascript:alert(1))",
                "![i](http://e/i.png)",
                "<!--",
                "-->",
            ),
            *("</code><img src=x>", "[a]: javascript:x", "&lt;svg onload=x>", "<b", '"onmouseover="x'),
        ]
    ),
    max_size=20,
).map("".join)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(FRAGMENTS)
@example("<br>\n- a")
@example("<br><br><http://a.b/$c>")
def test_no_mixture_of_marks_makes_html(source: str) -> None:
    assert_live_is_harmless(source)
    assert_settled_is_harmless(source)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_no_text_raises_or_makes_html(source: str) -> None:
    assert_live_is_harmless(source)
    assert_settled_is_harmless(source)
    split_point(source)
    walker = walk(f"<pre>{escape(source)}</pre>")
    assert walker.bad == []
    assert not set(plain(source)) & {"\x1b", "\x00", "\x9b", RLO, "\r"}


WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
LINES = st.lists(
    st.builds(
        lambda before, word, after: before + word + after,
        st.sampled_from(["", "- ", "1. ", "> ", "# ", "  ", "**", "_", "$", "`", "<", "[", "| "]),
        WORD,
        st.sampled_from(["", " ", "**", "_", "$", "`", ">", "]", " |", "  ", "\n"]),
    )
)


@settings(max_examples=100, deadline=None)
@given(LINES)
def test_words_are_never_lost(lines: list[str]) -> None:
    source = "\n".join(lines)
    letters = re.findall("[a-z]", source)
    assert re.findall("[a-z]", "".join(walk(to_html(source)).words)) == letters
    assert re.findall("[a-z]", "".join(walk(commonmark(settle(source))).words)) == letters


ORDINARY = [
    "Plain text with *emphasis*, **strong**, ***both***, ~~struck~~ and `code`.",
    "A **bold *nested* text** and *an **inverse** one*, in**tra**word, snake_case_name, 2 * 3 * 4.",
    "# One\n\n## Two ##\n\nThree\n=====\n\nFour\n----\n\n###### Six",
    "A line\nand the next  \nafter a break\\\nand another",
    "- one\n- two\n  - nested\n    - deeper\n- three",
    "* one\n\n* two\n\n  with a paragraph\n\n* three",
    "3. three\n4. four\n   1. inner\n   2. inner two\n5. five",
    "1. Run this:\n   ```bash\n   ls -l\n   ```\n2. Then this.",
    "Intro\n\n> - a\n>   1. b\n>\n>      ```\n>      c\n>      ```",
    "- a\n- b\n\n* c\n* d\n\n1. e\n\n1) f",
    "- [ ] open\n- [x] done",
    "> quote\n> goes on\n>\n> > inner\n>\n> - list",
    "```python\ndef f(x):\n    return x * 2  # `$5`\n```\n\nand\n\n    indented <code>",
    "````md\n```\nnested fence\n```\n````",
    "``a ` b`` and `` `x` `` and `List<int>` and `a|b` and `$HOME` and `x\\y`",
    "| a | b | c |\n|:--|:-:|--:|\n| 1 | `x` | **y** |\n| a\\|b | <br> | [l](https://x.example/) |",
    "[link](https://example.com/a_b?x=1&y=2#z) and [mail](mailto:a@example.com), https://example.com/a_b.",
    "[one][r] and [r] and [two][]\n\n[r]: https://example.com/r\n[two]: https://example.com/two",
    "<https://example.com/?a=b*c*d> and (https://example.com/x_(y)).",
    "Escapes: \\*no\\* \\_no\\_ \\# \\[x\\](y) 1\\. &amp; &lt;tag&gt; &copy; AT&T R&D a<b -> C:\\temp\\new",
    "\\# no heading\n\n1\\. no list\n\n\\- no list\n\n\\> no quote\n\n\\+ x",
    "2024. was a year\n\n- - a\n  - b",
    "one\n\n---\n\ntwo\n\n***\n\nthree",
    "Price: $5.",
    "It costs $5 and then $6, or US$7/US$8.",
    "Inline $a_1 + b_1$ and $\\frac{1}{2}$ and $x < y$.",
    "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$",
    "Emoji 🎉, ünïcode, 日本語, עברית, 👩‍🚀.",
    "Footnote[^1] and citation [1] and [a] [b].\n\n[^1]: not a link",
    "a~b and ~100 to ~200",
    "",
    "\n\n  \n",
]


def normal(page: str) -> str:
    return re.sub(r"\s+", "", page).replace(r"\lt", "&lt;")


@pytest.mark.parametrize("source", ORDINARY)
def test_settling_keeps_the_meaning(source: str) -> None:
    settled = settle(source)
    assert normal(to_html(settled)) == normal(to_html(source))
    assert normal(to_html(settle(settled))) == normal(to_html(settled))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ORDINARY), max_size=4).map("\n\n".join))
def test_settling_twice_renders_like_settling_once(source: str) -> None:
    assert normal(to_html(settle(settle(source)))) == normal(to_html(settle(source)))


@pytest.mark.parametrize(
    "source",
    [
        "Plain text. With *emphasis* (and brackets), a dash - and 1.5 numbers!",
        "# Title\n\n- one\n- two\n\n1. a\n2. b\n\n> quote\n\n```python\nx = {'$a': 1}\n```",
        "See [docs](https://example.com/a-b_c) or https://example.com/x?y=1, snake_case, a > b, R & D, [1].",
        "| a | b |\n| --- | --: |\n| 1 | 2 |",
        "So $e^{i\\pi} = -1$.",
        "Run `echo $HOME` first.",
    ],
)
def test_ordinary_markdown_is_left_as_it_is(source: str) -> None:
    assert settle(source) == source


@pytest.mark.parametrize(
    ("source", "formulas"),
    [
        ("It costs $5 and $6, or $7.", []),
        ("US$5/US$6 and $HOME/$USER and \\$x\\$ and $ x $", []),
        ("`$a` and `$b`, then\n\n    $x = $y\n", []),
        ("1. a\n   ```bash\n   echo $A $B\n   ```\n2. $x$", ["$A $", "$x$"]),
        ("$a_1$ and \\(b\\), not $5", ["$a_1$", "$b$"]),
        ("\\(5\\) apples", ["${5}$"]),
        ("\\[ x = 1 \\]", ["$$x = 1$$"]),
        ("$$\nx\ny\n$$", ["$$\nx\ny\n$$"]),
        ("> $$\n> x\n> - y\n> $$", ["$$x - y$$"]),
        ("| a |\n|---|\n| \\(\\lvert x \\rvert\\) |", ["$\\lvert x \\rvert$"]),
        ("$x < y$", ["$x \\lt y$"]),
        ("$\\href{https://x.example}{y}$ and $\\{x$ and ${x$", ["$\\{x$"]),
        ("\\\\(x\\\\) \\\\[y\\\\] \\begin{z}w\\end{z}", []),
        ("`\\\\(x\\\\)` `\\begin{z}` `$$x$$`", []),
    ],
)
def test_only_what_is_clearly_a_formula_stays_one(source: str, formulas: list[str]) -> None:
    settled = settle(source)
    assert lab_formulas(settled) == formulas
    # MathJax searches the page again, element by element, and knows no escapes that Markdown has used up.
    page = re.sub(r"(?s)<(code|pre)>.*?</\1>", "<code></code>", commonmark(settled))
    for run in re.split(r"<(?!br)[^>]*>", page):
        expected = sum(formula in run.replace("&lt;", "<") for formula in formulas)
        assert run.count("$") <= 1 or expected or "$" in "".join(formulas), settled
        assert not re.search(r"\\[(\[]|\\begin\{", run) or expected, settled


def test_denied_formulas_and_foreign_links_are_shown_as_code() -> None:
    assert settle("$\\href{javascript:x}{y}$") == "`$\\href{javascript:x}{y}$`"
    assert settle("[a](ftp://x.example/)") == "a (`ftp://x.example/`)"
    assert settle("![a cat](https://x.example/c.png)") == "🖼 [a cat](https://x.example/c.png)"
    assert settle("![dot](data:image/png;base64,AA)") == "🖼 dot (`data:image/png;base64,AA`)"


@pytest.mark.parametrize(
    "tex",
    [
        r"\raise{20em}{x}",
        r"\Rule{300em}{300em}{1em}",
        r"\hspace{-60em} x",
        r"\kern -100em x",
        r"\mskip -999mu y",
        r"\begin{array}{c}\\[-90em] x\end{array}",
    ],
)
def test_a_formula_that_is_drawn_far_away_stays_source(tex: str) -> None:
    assert tex not in settle(f"${tex}$").replace(f"`${tex}$`", "")


@pytest.mark.parametrize(
    "tex", [r"a\hspace{1em}b", r"a\kern 3pt b", r"\begin{array}{c}a\\[2pt] b\\ 100 cm\end{array}"]
)
def test_small_spaces_are_left_in_a_formula(tex: str) -> None:
    assert settle(f"${tex}$").strip("$") == tex


def test_code_with_dollars_stays_in_its_list_and_leaves_its_quotation() -> None:
    source = "4. run\n   ```sh\n   echo $A $B\n   ```\n   then\n   - look\n"
    source += "     > ```\n     > $C\n     > ```\n5. end"
    settled = settle(source)
    inner = "   - look\n\n     ```\n     $C\n     ```"
    assert settled == f"4. run\n\n   ```\n   echo $A $B\n   ```\n\n   then\n\n{inner}\n\n5. end"
    assert lab_formulas(settled) == ["$A $"], "which stays in the code"
    assert settle(settled) == settled


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_reader_sees_the_same_live_settled_and_exported(case: Case) -> None:
    must_see = normal_formulas(case.sees)
    assert seen(typeset(to_html(case.source))) == must_see
    settled = settle(case.source)
    assert seen(nbconvert(settled)) == must_see
    assert seen(typeset(to_html(settled))) == must_see
    assert settle(settled) == settled


LONG: dict[str, Callable[[int], str]] = {
    "paragraphs": lambda size: "".join(f"Paragraph {n} with *words* and `code`.\n\n" for n in range(size)),
    "items": lambda size: "".join(f"- item {n} and **words**\n" for n in range(5 * size // 3)),
    "numbers": lambda size: "".join(f"{n}. item\n   - inner {n}\n" for n in range(3, size)),
    "loose items": lambda size: "".join(f"* item {n}\n\n  goes on\n\n" for n in range(size)),
    "rows": lambda size: "| a | b |\n|:--|--:|\n" + "".join(f"| {n} | *x* |\n" for n in range(5 * size // 3)),
    "two lists": lambda size: "- a\n\n* b\n\n" * size,
    "links": lambda size: (
        "".join(f"See [this][r{n % 7}] and [r{n % 7}].\n\n" for n in range(size))
        + "".join(f"[r{n}]: https://example.com/{n}\n" for n in range(7))
    ),
    "code": lambda size: "```python\n" + "x = 1  # a line\n" * (2 * size) + "```\n\nThe end.",
}


SLOW = {"links", "numbers", "rows", "two lists"}


@pytest.mark.parametrize("size", [250, pytest.param(900, marks=pytest.mark.slow)])  # seconds each
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in LONG]
)
def test_what_is_rendered_in_pieces_is_what_the_whole_would_be(name: str, size: int) -> None:
    source = LONG[name](size)
    part = read(source)
    assert part is not None
    whole = write(part.tokens, Seam(), source)
    assert settle(source) == whole.text
    assert to_html(source) == html_of(part.tokens)
    for held in (0, 6000):
        draft, shown = Draft(), list[str]()
        for end in (*range(0, len(source), 3000), len(source)):
            more = True
            while more:
                drawn = draft.draw(source[:end], lambda _: 1600, held=held)
                shown += [drawn.finished] if drawn.finished is not None else []
                more = drawn.more
        assert all(len(piece) > held for piece in shown), "fewer pieces where they are held"
        assert name == "links" or normal("".join([*shown, drawn.tail])) == normal(to_html(source))
        for _ in draft.finish(source):
            pass
        assert normal(draft.html) == normal(to_html(source))
        assert to_html(draft.markdown) == to_html(whole.text)


def test_what_cannot_be_rendered_holds_up_nothing_behind_it() -> None:
    source = "Before.\n\n" + "> " * 1200 + "deep\n\n" + "Behind, **well**.\n\n" * 300
    draft, shown = Draft(), list[str]()
    for end in (*range(0, len(source), 700), len(source)):
        more = True
        while more:
            drawn = draft.draw(source[:end], lambda _: 1600)
            shown += [drawn.finished] if drawn.finished is not None else []
            more = drawn.more
    live = "".join([*shown, drawn.tail])
    for page in (live, to_html(source), to_html(settle(source))):
        assert page.count("<strong>well</strong>") > 200
        assert page.count("Behind") == 300
        assert "deep" in page


@pytest.mark.parametrize("name", LONG)
@pytest.mark.slow
def test_the_time_of_a_long_text_grows_with_its_length(name: str) -> None:
    def seconds(source: str) -> float:
        started = time.thread_time()
        settle(source)
        return time.thread_time() - started

    once = LONG[name](900)
    twice = f"{once}\n\n{once}"
    assert min(seconds(twice) for _ in range(2)) < 4 * min(seconds(once) for _ in range(2)) + 0.1


def test_a_link_shows_where_it_goes_and_tells_nothing_about_us() -> None:
    page = to_html('[x](https://example.com/?a=1&b=2 "Your bank")')
    assert 'title="https://example.com/?a=1&amp;b=2"' in page
    assert 'rel="noopener noreferrer nofollow"' in page
    assert 'target="_blank"' in page
    assert "Your bank" not in page


def test_formulas_stay_readable_and_prices_stay_text() -> None:
    page = to_html("So $a_1 + b_1$, \\(c_1 * d_1\\) and\n\n\\[\ne_1\n\n- f_1\n\\]\n\nfor $5 and $6.")
    assert "<em>" not in page
    assert "<li>" not in page
    for shown in ("$a_1 + b_1$", "\\(c_1 * d_1\\)"):
        assert f'<code class="gemini-nb-math">{shown}</code>' in page
    assert "\\[e_1\n\n- f_1\\]</code>" in page
    assert "for $5 and $6." in page


def test_code_is_highlighted_with_classes_that_the_sheet_knows() -> None:
    page = to_html("```python\ndef f(): return 'x'\n```")
    assert '<span class="k">def</span>' in page
    assert "style=" not in page
    assert ".gemini-nb-pane .gemini-nb-code :is(.k, .kd, .kn" in style("answer")
    assert "--jp-mirror-editor-keyword-color" in style("answer")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("```python\nx = 1", "<pre"),
        ("| a |\n|---|\n| 1", "<td>1</td>"),
        ("a **bold", "a **bold"),
        ("a [link](https://exa", "a [link](<a"),
        ("a `code", "a `code"),
        ("$$\nx", "$$\nx"),
    ],
)
def test_what_is_not_finished_still_shows(source: str, expected: str) -> None:
    assert expected in to_html(source)


def test_characters_that_act_on_their_surroundings_are_made_visible() -> None:
    text = f"a{RLO}b\u2067c\x00d\x85e\u200bf{ESC}[31mg{ESC}]0;t{BELL}h\r\ni"
    assert (
        escape(f"<b title='x'>{text}")
        == "&lt;b title=&#x27;x&#x27;&gt;a\ufffdb\ufffdc\ufffdd\ufffdef" + "gh\ni"
    )
    assert plain(text) == "abcdefgh\ni"
    for shown in (to_html(text), settle(text), to_html("a&#x202e;b"), settle("a&#x202e;b")):
        assert RLO not in shown
        assert "\ufffd" in shown
    assert "👩‍🚀" in to_html("👩‍🚀")
    "".join([to_html("\ud800"), settle("\ud800"), escape("\ud800"), plain("\ud800")]).encode()


def test_what_takes_the_short_way_through_the_parser_comes_out_as_on_the_long_way() -> None:
    """Text without any mark is not parsed, and printable text not searched for characters that act."""
    whole = "".join(char for code in range(sys.maxunicode + 1) if (char := chr(code)).isprintable())
    assert neutral._NEWLINES.search(whole) is None
    assert neutral._REPLACED.search(whole) is None
    assert neutral._DROPPED.search(whole) is None
    for char in map(chr, range(0x20, 0x7F)):
        for text in (f"a{char}b", f"{char}a b", f"a b{char}", f"a {char} b{char}{char}c"):
            long_way: list[Any] = []
            parse_inline(text, parser._parser(), {"references": {}}, long_way)
            short_way = parser._parse_inline(text, {"references": {}})
            assert [one.as_dict() for one in short_way] == [one.as_dict() for one in long_way], text


def test_flags_keep_their_tags_and_nothing_else_does() -> None:
    england = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbeng") + "\U000e007f"
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all")
    for render in (to_html, settle, escape, plain):
        shown = render(f"a {england} b{hidden} \U0001f3f4{hidden}\U000e007f")
        assert england in shown
        assert hidden[:3] not in shown.replace(england, "")


PATHOLOGICAL = {
    "one long line": "a" * 1_000_000,
    "one long line of words": "word " * 200_000,
    "brackets": "[" * 10_000,
    "image brackets": "![" * 10_000,
    "half links": "[a](" * 5000,
    "stars": "*" * 10_000,
    "opened emphasis": "**a " * 5000,
    "mixed emphasis": "*_" * 5000 + "a",
    "quotes": ">" * 10_000,
    "spaced quotes": "> " * 10_000,
    "lazy quotes": "> " * 20 + "\n" + "a\n" * 2000,
    "list markers": "- " * 10_000,
    "nested lists": "\n".join("  " * depth + "- x" for depth in range(200)),
    "backticks": " ".join("`" * length for length in range(400)),
    "dollars": "$a " * 30_000,
    "open formulas": "$$ x\n" * 10_000 + "\\[ y\n" * 10_000,
    "tags": "<a " * 20_000,
    "small text": "<sub>" * 20_000 + "</sub>" * 20_000,
    "small text that never ends": "<kbd>a</sub>" * 20_000,
    "bars between dollars": "| a |\n|---|\n" + "| $(|x|" * 20_000,
    "tables of bars": "| $|x|$ |\n|---|\n\n" * 5000,
    "environments": "\\begin{align} x\n" * 10_000,
    "bold brackets": "**「a」**b" * 10_000,
    "definitions": "[a]: b\n" * 10_000,
    "wide table": "|" * 20_000 + "\n" + "|-" * 20_000,
    "entities": "&amp;" * 20_000,
    "backslashes": "\\" * 100_000,
    "newlines": "\n" * 200_000,
    "address": "http://a" + ").,_" * 20_000,
    "escape sequences": "\x1b]" * 20_000 + "\x1b[" + "1;" * 50_000,
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
@pytest.mark.slow
def test_hostile_input_takes_bounded_time(name: str) -> None:
    source = PATHOLOGICAL[name]
    for render in (to_html, settle, split_point, escape, plain):
        started = time.process_time()
        render(source)
        assert time.process_time() - started < 4, render.__name__


def test_text_that_is_nested_too_deeply_is_shown_whole() -> None:
    source = "\n".join("  " * depth + f"- item{depth}" for depth in range(90))
    assert "item89" in to_html(source)
    assert "item89" in settle(source)
    assert "<img" not in to_html("> " * 5000 + "<img src=x>")


BLOCKS = [
    *ORDINARY,
    "$$\na\n\nb\n$$",
    "\\[\nx = 1\n\n- y\n\\]",
    "- a\n\n  b\n\n\n- c\n\npara",
    "\\begin{align}\na\n\nb\n\\end{align}",
    "| $|a|$ | **「b」**c |\n|---|---|\n| $|x|$ | - [ ] y |\n\n- [x] done",
    "1. x\n\n\n1) y",
]
PAIRS = [f"{one}\n\n{two}\n\nThe end.\n" for one, two in itertools.pairwise(BLOCKS)]


@pytest.mark.parametrize("source", [*PAIRS, *ATTACKS[::3]])
def test_a_cut_changes_nothing_that_is_seen(source: str) -> None:
    source = re.sub(r"(?m)^\[\w+\]: ", "", source)
    cuts = set[int]()
    for end in range(len(source) + 1):
        cut = split_point(source[:end])
        if cut in cuts:
            continue
        cuts.add(cut)
        assert 0 <= cut < max(1, end)
        for whole in (source[:end], source):
            assert normal(to_html(whole[:cut]) + to_html(whole[cut:])) == normal(to_html(whole)), (cut, whole)
    assert source not in PAIRS or len(cuts) > 1


@pytest.mark.parametrize(
    "source",
    [
        "one paragraph\nof two lines\n",
        "para\n\nnext line is not complete",
        "```\na\n\nb\n\nc\n",
        "- a\n\n- b\n\n  c\n",
        "1. a\n\n2. b\n",
        "$$\na\n\nb\n",
        "\\[\na\n\nb\n",
        "\\begin{align}\na\n\nb\n",
    ],
)
def test_there_is_no_cut_inside_a_block(source: str) -> None:
    assert split_point(source) == 0


def test_a_cut_is_the_last_one_and_counts_the_characters_that_came() -> None:
    assert split_point("a\n\nb\n\nc\n") == 6
    assert split_point("a\r\n\r\nb\r\n\r\nc\r\n") == 10
    assert split_point("a\x00\u200b\n\nb\n") == 5
    stray = "$$ costs\n\n" + "more text\n\n" * 100
    assert split_point(stray) > 0


def test_importing_loads_no_parser() -> None:
    heavy = {"nh3", "markdown_it", "pygments"}
    code = f"import sys, gemini_nb.notebook.render.markdown; print({heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
