"""The code in an answer: which blocks there are, and what of them is Python."""

from __future__ import annotations

import pytest

from gemini_nb import CodeBlock
from gemini_nb.streams.code_blocks import find_code_blocks, python_in

FENCE = "```"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("No code at all.", []),
        (f"{FENCE}python\nx = 1\n{FENCE}", [("python", "x = 1")]),
        (f"{FENCE}Python title=a.py\nx = 1\n\ny = 2\n{FENCE}", [("python", "x = 1\n\ny = 2")]),
        (f"Run\n{FENCE}\nx\n{FENCE}\nand\n~~~bash\nls\n~~~", [("", "x"), ("bash", "ls")]),
        (f"1. First:\n   {FENCE}py\n   if x:\n       y\n   {FENCE}\n", [("py", "if x:\n    y")]),
        (f"> {FENCE}py\n> x = 1\n> {FENCE}", [("py", "x = 1")]),
        (f"````md\n{FENCE}py\nx\n{FENCE}\n````", [("md", f"{FENCE}py\nx\n{FENCE}")]),
        (f"Cut:\n{FENCE}python\nx = 1\ny =", [("python", "x = 1\ny =")]),
        (f"{FENCE}python\n{FENCE}", [("python", "")]),
        ("Inline `x = 1` and\n\n    indented = 1\n", []),
        (f"{FENCE}python\r\nx = '→ ü'\r\n{FENCE}\r\n", [("python", "x = '→ ü'")]),
    ],
)
def test_fenced_blocks_are_found(text: str, blocks: list[tuple[str, str]]) -> None:
    assert find_code_blocks(text) == [CodeBlock(*block) for block in blocks]


def test_python_is_what_says_so_or_what_says_nothing_where_nothing_does() -> None:
    python, other, bare = CodeBlock("py", "a"), CodeBlock("bash", "b"), CodeBlock("", "c")
    assert python_in([python, other, bare]) == [python]
    assert python_in([other, bare]) == [bare]
    assert python_in([other]) == []


@pytest.mark.parametrize(
    ("info", "language", "is_python"),
    [
        ("{python}", "python", True),
        (" {.python .numberLines}", "python", True),
        ("{code-cell} ipython3", "ipython3", True),
        ("python,linenos", "python", True),
        ("python:main.py", "python", True),
        ('Python\ttitle="a"', "python", True),
        ("main.py", "main.py", True),
        ("py3", "py3", True),
        ("python3.11", "python3.11", True),
        ("pycon", "pycon", True),
        ("c++", "c++", False),
        ("C#", "c#", False),
        ("objective-c", "objective-c", False),
        ("pyramid", "pyramid", False),
        ("{}", "", False),
    ],
)
def test_the_language_is_the_first_word_behind_the_fence(info: str, language: str, is_python: bool) -> None:
    (block,) = find_code_blocks(f"{FENCE}{info}\nx\n{FENCE}")
    assert (block.language, block.is_python) == (language, is_python)
