"""The fenced code blocks of an answer."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_PYTHON = re.compile(r"(?:i?python|py)[\d.]*|pycon|.+\.py")
_LANGUAGE = re.compile(r"(?:\{code-cell\})?[{.\s]*([\w+#.-]*)")  # ```{.python}, ```python,linenos


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block of an answer.

    Attributes:
        language: the first word behind the fence in lower case, empty where there is none.
        code: what stands between the fences, without the last line end.
    """

    language: str
    code: str

    @property
    def is_python(self) -> bool:
        """Whether its fence says that it is Python."""
        return _PYTHON.fullmatch(self.language) is not None


def find_code_blocks(text: str) -> list[CodeBlock]:
    """Return the fenced blocks of a Markdown text in their order, also of lists and quotations.

    A search for pairs of ``` would take a fence inside a longer fence for its end, and keep the marks of a
    quotation. A block that is not closed, as of an answer that was cut, reaches to the end.
    """
    return [
        CodeBlock(_language(token.info), token.content.removesuffix("\n"))
        for token in _parser().parse(text)
        if token.type == "fence"
    ]


def python_in(blocks: Iterable[CodeBlock]) -> list[CodeBlock]:
    """Return the blocks of Python; those without a language count where none has one."""
    listed = list(blocks)
    return [block for block in listed if block.is_python] or [one for one in listed if not one.language]


def _language(info: str) -> str:
    found = _LANGUAGE.match(info.strip())
    return found[1].lower() if found is not None else ""


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
