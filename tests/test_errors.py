"""The words of messages."""

from __future__ import annotations

import ast
import itertools
from collections import UserDict
from pathlib import Path
from uuid import UUID

import pytest

import gemini_nb
from gemini_nb.errors import kind_of, with_article


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "an int"),
        ("x", "a str"),
        (object(), "an object"),
        (None, "None"),
        (UserDict(), "a UserDict"),
        (UUID(int=0), "a UUID"),
        (ValueError(), "a ValueError"),
    ],
)
def test_a_kind_has_its_article(value: object, kind: str) -> None:
    assert kind_of(value) == kind


def test_letters_that_are_spoken_as_others() -> None:
    assert [with_article(name) for name in ("MCPServer", "HTTPError", "Hidden", "XMLParser", "UUID")] == [
        "an MCPServer",
        "an HTTPError",
        "a Hidden",
        "an XMLParser",
        "a UUID",
    ]
    assert [with_article(name) for name in ("ndarray", "_Odd", "uint8")] == [
        "an ndarray",
        "an _Odd",
        "a uint8",
    ]


def test_no_message_puts_an_article_before_a_type_itself() -> None:
    def is_type(node: ast.AST) -> bool:
        return isinstance(node, ast.FormattedValue) and ".__name__" in ast.unparse(node)

    found = []
    for path in Path(gemini_nb.__file__).parent.rglob("*.py"):
        texts = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.JoinedStr)]
        for text in texts:
            for before, after in itertools.pairwise(text.values):
                words = str(before.value) if isinstance(before, ast.Constant) else ""
                if is_type(after) and words.lower().endswith((" a ", " an ")):
                    found.append(f"{path.name}:{text.lineno}")
    assert found == []
