"""The style sheets: each speaks of what stands in its own widget, and of nothing else on the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gemini_nb.notebook import static
from gemini_nb.notebook.static import style

ROOTS = {
    "pane": r"\.gemini-nb-pane",
    "answer": r"\.gemini-nb-pane",
    "dashboard": r"\.gemini-nb-dashboard",
    "chat": r"(?:\.jp-[\w-]+:has\((?:\+ \.jp-OutputArea-child )?)?\.gemini-nb-chat",
    "group": r"\.gemini-nb-(?:group|columns)",
}


def selectors(sheet: str) -> list[str]:
    """All selectors of a style sheet, also those inside @media and the like."""
    text = re.sub(r"</?style>", "", sheet)
    text = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", text)
    found = []
    for head in re.findall(r"([^{}]+)\{", text):
        if not head.strip().startswith("@"):
            found += [one.strip() for one in re.split(r",(?![^(]*\))", head)]
    return found


@pytest.mark.parametrize("name", ROOTS)
def test_every_rule_is_about_its_own_widget(name: str) -> None:
    found = selectors(style(name))
    assert len(found) > 5
    assert [one for one in found if not re.match(ROOTS[name] + r"(?![-\w])", one)] == []


def test_every_sheet_is_checked_and_no_comment_is_sent() -> None:
    assert {path.stem for path in Path(static.__file__).parent.glob("*.css")} == set(ROOTS)
    assert "/*" not in style(*ROOTS)
