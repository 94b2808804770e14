"""What a docstring says about each argument, in the three styles people write.

The model reads a description beside each argument more surely than one in the middle of a long text. A
library that parses docstrings knows dozens of forms; tools need the name and its text, so this is enough.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["argument_texts"]

_GOOGLE_HEAD = re.compile(r"(?:Args|Arguments|Parameters):\s*$")
_GOOGLE_ITEM = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX_ITEM = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$")


def argument_texts(docstring: str | None) -> dict[str, str]:
    """Return the text of each argument that a docstring describes, in Google's, NumPy's or Sphinx's style."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        if _GOOGLE_HEAD.match(line):
            found |= _google(lines[index + 1 :])
        elif line.strip() == "Parameters" and lines[index + 1 : index + 2] and _is_rule(lines[index + 1]):
            found |= _numpy(lines[index + 2 :])
        elif match := _SPHINX_ITEM.match(line):
            found[match[1]] = [match[2], *_indented(lines[index + 1 :], deeper_than=0)]
    return {name: text for name, words in found.items() if (text := " ".join(" ".join(words).split()))}


def _google(lines: list[str]) -> dict[str, list[str]]:
    """Items one step to the right of the head; what stands further right goes on with the last one."""
    found: dict[str, list[str]] = {}
    body = _indented(lines, deeper_than=0)
    depth = min((_depth(line) for line in body if line.strip()), default=0)
    name = None
    for line in body:
        match = _GOOGLE_ITEM.match(line.strip()) if _depth(line) == depth else None
        if match:
            name = match[1]
            found[name] = [match[2]]
        elif name is not None:
            found[name].append(line)
    return found


def _numpy(lines: list[str]) -> dict[str, list[str]]:
    """Items at the margin, their texts to the right, until the next heading with its rule."""
    found: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        if not line.strip() or _depth(line) > 0:
            continue
        match = _NUMPY_ITEM.match(line)
        if match is None or _is_rule(lines[index + 1] if index + 1 < len(lines) else ""):
            break
        text = _indented(lines[index + 1 :], deeper_than=0)
        found |= {name.strip(): text for name in match[1].split(",")}
    return found


def _indented(lines: list[str], *, deeper_than: int) -> list[str]:
    """The lines up to the first that is not indented."""
    end = next(
        (at for at, line in enumerate(lines) if line.strip() and _depth(line) <= deeper_than), len(lines)
    )
    return lines[:end]


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_rule(line: str) -> bool:
    return len(line.strip()) > 2 and set(line.strip()) == {"-"}
