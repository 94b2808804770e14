"""The style sheets: each speaks of what stands in its own widget, and of nothing else on the page."""

from __future__ import annotations

import re

import pytest

from gemini_nb.notebook.dashboard.style import STYLE
from gemini_nb.notebook.pane import look

SHEETS = {
    ".gemini-nb-pane": str(look.sheet().value),
    ".gemini-nb-dashboard": STYLE,
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


@pytest.mark.parametrize("root", SHEETS)
def test_every_rule_is_about_its_own_widget(root: str) -> None:
    found = selectors(SHEETS[root])
    assert len(found) > 50
    assert [one for one in found if not re.match(re.escape(root) + r"(?![-\w])", one)] == []
