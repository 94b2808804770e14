"""Formulas that a page typesets: those that may be, and nothing else on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from attacks import MARKDOWN
from gemini_nb.notebook.render.markdown import has_formulas, to_html, typeset


class Texts(HTMLParser):
    """The texts that a page looks through for formulas, each within one element."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"br", "hr"}:
            self._within.append(str(dict(attrs).get("class", "")) if tag == "span" else tag)

    def handle_endtag(self, tag: str) -> None:
        self._within.pop()

    def handle_data(self, data: str) -> None:
        if not {"code", "pre"} & set(self._within):  # which are left out
            self.found.append((self._within[-1] if self._within else "", data))


def searched(shown: str) -> list[tuple[str, str]]:
    texts = Texts()
    texts.feed(shown)
    texts.close()
    return texts.found


def test_a_formula_is_handed_over_and_a_price_is_not() -> None:
    shown = typeset(to_html("Pay $5 or $6 for $x^2 < y$.\n\n$$\\frac{1}{2}$$"))
    assert '<span class="gemini-nb-math">$x^2 \\lt y$</span>' in shown
    assert '<span class="gemini-nb-math gemini-nb-math-block">$$\\frac{1}{2}$$</span>' in shown
    assert "Pay <span>$</span>5 or <span>$</span>6" in shown


def test_what_grows_keeps_its_source() -> None:
    shown = to_html("Pay $5 for $x^2$.")
    assert has_formulas(shown)
    assert '<code class="gemini-nb-math">$x^2$</code>' in typeset(shown, live=True)
    assert "<span>$</span>5" in typeset(shown, live=True)


def test_what_stands_in_a_tag_is_left_alone() -> None:
    tag = '<a href="http://a.test/$b$" title="> $c$">'
    assert typeset(f"{tag}x</a>") == f"{tag}x</a>"


@pytest.mark.parametrize("text", [*MARKDOWN, "\\begin{a}\\href{javascript:x}{y}\\end{a} \\ref{z} a\\$b"])
@pytest.mark.parametrize("live", [False, True])
def test_no_formula_begins_outside_an_element_of_its_own(text: str, live: bool) -> None:
    for kind, found in searched(typeset(to_html(text), live=live)):
        if "gemini-nb-math" in kind:
            assert not live
            assert not re.search("href|unicode|style|require|Rule|raise", found)
        else:
            assert found in {"$", "\\"} or not re.search(r"[$\\]", found)
