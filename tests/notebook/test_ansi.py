"""An answer in a terminal: styled as it comes, however it is cut."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini_nb.notebook.render.ansi import Styler, can_style

BOLD, CODE, PLAIN = "\x1b[1m", "\x1b[36m", "\x1b[0m"


def styled(*pieces: str) -> str:
    styler = Styler(colours=True)
    return "".join(map(styler.feed, pieces)) + styler.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("# Tea\nis", f"{PLAIN}{BOLD}# Tea{PLAIN}\nis"),
        ("a **b** c", f"a {PLAIN}{BOLD}b{PLAIN} c"),
        ("a `b*c` d", f"a {PLAIN}{CODE}b*c{PLAIN} d"),
        ("```py\n# x **y**\n```\nz", f"```{PLAIN}{CODE}py\n# x **y**\n```{PLAIN}\nz"),
        ("#tag and 5 * 3", "#tag and 5 * 3"),
    ],
)
def test_marks_become_styles(text: str, expected: str) -> None:
    assert styled(text) == expected + PLAIN


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab*`# \n", max_size=6), max_size=12))
def test_it_does_not_matter_where_it_is_cut(pieces: list[str]) -> None:
    def told(text: str) -> str:
        return re.sub(r"\x1b\[\d+m", "", text)

    words = "".join(pieces)
    assert told(styled(*pieces)).replace("*", "").replace("`", "") == words.replace("*", "").replace("`", "")
    assert styled(*pieces) == styled(words)


def test_without_colours_nothing_changes() -> None:
    styler = Styler(colours=False)
    assert styler.feed("# **a** `b") + styler.note("[x]") + styler.finish() == "# **a** `b[x]"


def test_only_a_terminal_is_styled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert can_style(Terminal())
    assert not can_style(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not can_style(Terminal())
