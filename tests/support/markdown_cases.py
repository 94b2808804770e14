# ruff: noqa: RUF001 - full-width punctuation is what some of these are about
r"""What a model may write, and what a reader must see of it, wherever the answer is shown.

`seen` reads any page that a renderer made: the live pane, and the settled Markdown as others show it.
A block stands on a line of its own; `&lt;` is text, `<b>` is bold, `<i>` italic, `<s>` struck, `` ` `` code,
`⟦...⟧` a formula, `[x]` a ticked box, `{...}` where the link before it goes, ` | ` stands between two cells.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from bs4 import BeautifulSoup
from bs4.element import PageElement, Tag

__all__ = ["CASES", "Case", "normal_formulas", "seen"]


@dataclass(frozen=True)
class Case:
    """A source, and what a reader must see."""

    name: str
    source: str
    sees: str


_TABLE = "| a | b | c |\n|---|---|---|\n"
_HEAD = "a | b | c\n"

CASES = [
    Case("bold brackets", "これは**「重要」**です。", "これは<b>「重要」</b>です。"),
    Case("bold colon", "**重要：**次の点", "<b>重要：</b>次の点"),
    Case("bold stop", "**注意。**次に**大事。**最後", "<b>注意。</b>次に<b>大事。</b>最後"),
    Case(
        "two bold brackets",
        "**「甲」**と**「乙」**と*「丙」*と",
        "<b>「甲」</b>と<b>「乙」</b>と<i>「丙」</i>と",
    ),
    Case("bold before brackets", "日本**（にほん）**語", "日本<b>（にほん）</b>語"),
    Case("bold ASCII marks", "**C++**は**(重要)**で**100%**の", "<b>C++</b>は<b>(重要)</b>で<b>100%</b>の"),
    Case("bold Korean", '**"중요"**입니다. **안녕(hello)**은', '<b>"중요"</b>입니다. <b>안녕(hello)</b>은'),
    Case("bold Chinese", "这是**“重点”**内容，**注意：**后面", "这是<b>“重点”</b>内容，<b>注意：</b>后面"),
    Case("struck brackets", "これは~~「旧」~~です", "これは<s>「旧」</s>です"),
    Case("all three", "***「甲」***は", "<i><b>「甲」</b></i>は"),
    Case("bold code", "これは**`a`**です", "これは<b>`a`</b>です"),
    Case("bold link", "これは**[甲](https://a.example/)**です", "これは<b>甲{https://a.example/}</b>です"),
    Case("bold beside underscore", "x_a**（い）**b_y", "x_a<b>（い）</b>b_y"),
    Case("bold beside backslash", r"C:\t**「x」**\n", r"C:\t<b>「x」</b>\n"),
    Case("not bold", "2 ** 3 と 4 ** 5、a**b", "2 ** 3 と 4 ** 5、a**b"),
    Case("norm in a table", f"{_TABLE}| $|x|$ | two | three |", f"{_HEAD}⟦|x|⟧ | two | three"),
    Case(
        "condition in a table",
        rf"{_TABLE}| \(P(A|B)\) | $\left|x\right|$ | ${{x | x > 0}}$ |",
        rf"{_HEAD}⟦P(A|B)⟧ | ⟦\left|x\right|⟧ | ⟦{{x | x > 0}}⟧",
    ),
    Case(
        "cases in a table",
        _TABLE
        + r"| $\begin{cases} 1 & x > 0 \\ 0 & |x| = 0 \end{cases}$ | \begin{bmatrix}1 & 2\end{bmatrix} | c |",
        _HEAD + r"⟦\begin{cases}1&x>0\\0&|x|=0\end{cases}⟧ | ⟦\begin{bmatrix}1&2\end{bmatrix}⟧ | c",
    ),
    Case(
        "matrix in a title",
        r"### Of $\begin{matrix}a\\b\end{matrix}$",
        r"Of ⟦\begin{matrix}a\\b\end{matrix}⟧",
    ),
    Case("formula in a head", "| $|x|$ | b |\n|---|---|\n| 1 | 2 |", "⟦|x|⟧ | b\n1 | 2"),
    Case("prices in a table", f"{_TABLE}|$5|$6|($)|\n| $a | `$|` |", f"{_HEAD}$5 | $6 | ($)\n$a | `$ | `"),
    Case("code in a table", f"{_TABLE}| `a\\|b` | c | d |", f"{_HEAD}`a|b` | c | d"),
    Case(
        "bare align",
        "So:\n\\begin{align}\na &= b \\\\\n+ c &= d\n\\end{align}\nand on",
        "So:\n⟦\\begin{align}a&=b\\\\+c&=d\\end{align}⟧\nand on",
    ),
    Case(
        "bare equation*",
        "\\begin{equation*}\n\nx < y\n\n\\end{equation*}",
        "⟦\\begin{equation*}x<y\\end{equation*}⟧",
    ),
    Case(
        "matrix in a line",
        "Let \\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix} be it.",
        "Let ⟦\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}⟧ be it.",
    ),
    Case(
        "numbered gather",
        "\\begin{gather}\na = b \\tag{1} \\\\ % first\nc = d \\label{eq:c}\n\\end{gather}",
        "⟦\\begin{gather}a=b\\qquad(1)\\\\c=d\\end{gather}⟧",
    ),
    Case("environment without end", "\\begin{align}\na &= b", "\\begin{align} a &= b"),
    Case("list environment", "\\begin{itemize} x \\end{itemize}", "\\begin{itemize} x \\end{itemize}"),
    Case(
        "address with brackets",
        "See https://en.example.org/wiki/Foo_(bar).",
        "See https://en.example.org/wiki/Foo_(bar){https://en.example.org/wiki/Foo_(bar)}.",
    ),
    Case(
        "links with brackets",
        "[Foo_(bar)](https://e.example/Foo_(bar)_b) [https://e.example/_(a)](https://e.example/_(b))",
        "Foo_(bar){https://e.example/Foo_(bar)_b} https://e.example/_(a){https://e.example/_(b)}",
    ),
    Case(
        "address in angles", "<https://e.example/a_(b)>", "https://e.example/a_(b){https://e.example/a_(b)}"
    ),
    Case(
        "address in Japanese",
        "https://ja.example/漢字_(曖昧)、次",
        "https://ja.example/漢字_(曖昧){https://ja.example/漢字_(曖昧)}、次",
    ),
    Case("small", "H<sub>2</sub>O, x<sup>2</sup>", "H<sub>2</sub>O, x<sup>2</sup>"),
    Case("keys", "<kbd>Ctrl</kbd>+<kbd>C</kbd><br>next", "<kbd>Ctrl</kbd>+<kbd>C</kbd>\nnext"),
    Case(
        "small in bold",
        "**H<sub>2</sub>O**は x<sup>*n*+1</sup>",
        "<b>H<sub>2</sub>O</b>は x<sup><i>n</i>+1</sup>",
    ),
    Case("small in a table", f"{_TABLE}| CO<sub>2</sub> | a<br>b | c |", f"{_HEAD}CO<sub>2</sub> | a\nb | c"),
    Case("small in a link", "[H<sub>2</sub>O](https://a.example/)", "H<sub>2</sub>O{https://a.example/}"),
    Case("upper case", "H<SUB>2</SUB>O", "H<sub>2</sub>O"),
    Case(
        "other tags are text",
        '<sub class="x">1</sub> <sub>a <mark>b</mark> <sup>',
        '&lt;sub class="x">1&lt;/sub> &lt;sub>a &lt;mark>b&lt;/mark> &lt;sup>',
    ),
    Case(
        "task list",
        "- [ ] open\n- [x] **done**\n- [X] x\n- [y] no",
        "- [ ] open\n- [x] <b>done</b>\n- [x] x\n- [y] no",
    ),
    Case("task list, loose", "1. [ ] open\n\n2. [x] done", "- [ ] open\n- [x] done"),
    Case("no task list", "- \\[x] a\n- [ ]\n\n[x] b", "- \\[x] a\n- \\[ ]\n\\[x] b"),
    Case(
        "nested list with code",
        "- one\n  - two\n\n    ```sh\n    echo $A $B\n    ```\n  - three\n- four",
        "- one\n  - two\n    `echo $A $B`\n  - three\n- four",
    ),
    Case(
        "flags",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f and 🇯🇵",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f and 🇯🇵",
    ),
    Case("prices", "It costs $5 and $6, US$7.", "It costs $5 and $6, US$7."),
]

_MARKS = {"strong": "b", "em": "i", "del": "s", "s": "s", "sub": "sub", "sup": "sup", "kbd": "kbd"}
_BLOCKS = {"p", "div", "pre", "h1", "h2", "h3", "table", "tr", "ul", "ol", "blockquote", "hr"}
_DOLLARS = re.compile(r"\$\$([^$]+)\$\$|\$([^$\s](?:[^$]*[^$\s])?)\$")


def seen(page: str, *, typeset: bool = False) -> str:
    """What a reader sees of HTML.

    Args:
        page: the HTML.
        typeset: whether MathJax has been there, so that a formula no longer says what it was made from.
    """
    shown = _clean(_shown(BeautifulSoup(page, "html.parser"))).replace("\t", "  ")
    return normal_formulas(shown, typeset=typeset)


def normal_formulas(shown: str, *, typeset: bool = False) -> str:
    """A text in which a formula reads the same, however it is spelled."""
    return re.sub(r"(?s)⟦.*?⟧", "⟦⟧" if typeset else _formula, shown)


def _clean(shown: str) -> str:
    lines = (re.sub(" +", " ", line).strip(" ") for line in shown.split("\n"))
    return "\n".join(line for line in lines if line)


def _formula(found: re.Match[str]) -> str:
    tex = re.sub(r"\\left(?=\W)|\\right(?=\W)|\s", "", found[0])
    for name, sign in {"lt": "<", "gt": ">", "vert": "|", "Vert": r"\|"}.items():
        tex = tex.replace(f"\\{name}", sign)
    return tex


def _shown(node: Tag) -> str:
    return "".join(map(_piece, node.children))


def _piece(node: PageElement) -> str:
    if not isinstance(node, Tag):
        text = re.sub(r"\s+", " ", str(node))
        for sign in ("[ ]", "[x]"):
            text = text.replace(sign, f"\\{sign}")
        return _DOLLARS.sub(lambda found: f"⟦{found[1] or found[2]}⟧", text.replace("<", "&lt;"))
    classes = " ".join(node.get_attribute_list("class") or [])
    if node.name == "mjx-container" or "gemini-nb-math" in classes:
        return f"⟦{re.sub(r'^[$]+|[$]+$|^..(?<=[(])|..(?<=[)])$', '', node.get_text())}⟧"
    if node.name == "code":
        return f"`{node.get_text().strip()}`"
    if node.name == "input":
        return "[x] " if node.has_attr("checked") else "[ ] "
    if node.name == "br":
        return "\n"
    inner = _shown(node)
    if node.name in _MARKS:
        return f"<{_MARKS[node.name]}>{inner}</{_MARKS[node.name]}>"
    if node.name == "a":
        address = str(node.get("href"))
        return "" if address.startswith("#") else f"{inner}{{{urllib.parse.unquote(address)}}}"
    if node.name in {"td", "th"}:
        return f"{inner.strip()}{' | ' if node.find_next_sibling() else ''}"
    if node.name == "li":
        return "\n- " + _clean(inner).replace("\n", "\n\t") + "\n"
    return f"\n{inner}\n" if node.name in _BLOCKS else inner
