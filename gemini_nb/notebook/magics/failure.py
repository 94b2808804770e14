"""The last failed cell, described for a model that explains it.

A whole traceback is mostly the inside of libraries, and says nothing of the values that led there. So the
frames of the user's own code are kept, and the names that the cell uses are listed with their types and short
values. Names that sound like a secret are listed without a value.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
import reprlib
import site
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

from gemini_nb.redaction import scrub

__all__ = ["Failure", "cut", "fenced", "source_of"]

_PACKAGE = str(Path(__file__).parents[2])
_MOST_SOURCE = 20_000  # characters
_MOST_MESSAGE = 2_000
_MOST_NAMES = 40
_MOST_FRAMES = 15
_SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that failed.

    Attributes:
        source: the cell as it was written.
        error: what it raised.
    """

    source: str
    error: Exception

    def describe(self, namespace: Mapping[str, Any]) -> str:
        """Return the cell, its error and the names it uses, as Markdown, without secrets.

        Args:
            namespace: the notebook's names.
        """
        frames = list(_own_frames(self.error.__traceback__))
        sections = [
            f"The cell:\n\n{fenced(cut(self.source, _MOST_SOURCE))}",
            f"The error:\n\n{fenced(_traceback(self.error))}",
        ]
        names = _described(_names_in(self.source), namespace)
        if frames and frames[-1].f_code.co_name != "<module>":
            inner = frames[-1]
            names += [
                f"- in {inner.f_code.co_name}: {line[2:]}"
                for line in _described(inner.f_locals, inner.f_locals)
            ]
        if names:
            sections.append("The names it uses:\n\n" + "\n".join(names[:_MOST_NAMES]))
        return scrub("\n\n".join(sections))


def _traceback(error: BaseException) -> str:
    """The error and what caused it, oldest first, with the frames of the user's own code."""
    lines: list[str] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        lines += [_traceback(cause), "", "which led to:", ""]
    if isinstance(error, SyntaxError):
        said = [line.rstrip() for line in traceback.format_exception_only(error)]
        said[-1] = said[-1].replace("_IncompleteInputError:", "SyntaxError:", 1)  # Python 3.13's private name
        return "\n".join([*lines, *said])
    walked = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for frame, line in [(frame, line) for frame, line in walked if _is_own(frame)][-_MOST_FRAMES:]:
        lines.append(f"{_place(frame, line)}: {_line(frame, line)}")
    if walked and not _is_own(walked[-1][0]):
        code = walked[-1][0].f_code
        lines.append(f"raised in {_short_path(code.co_filename)}, in {code.co_name}")
    message = "".join(traceback.format_exception_only(error)).strip()
    lines.append(cut(message, _MOST_MESSAGE))
    return "\n".join(lines)


def _own_frames(trace: TracebackType | None) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(trace) if _is_own(frame))


def _is_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith((*_library_folders(), _PACKAGE, "<frozen"))


@functools.cache
def _library_folders() -> tuple[str, ...]:
    known = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(filter(None, {*known, *site.getsitepackages(), site.getusersitepackages()}))


def _place(frame: FrameType, line: int) -> str:
    code = frame.f_code
    inside = "" if code.co_name == "<module>" else f", in {code.co_name}"
    where = "cell" if _is_cell(code.co_filename) else _short_path(code.co_filename)
    return f"{where}, line {line}{inside}"


def _is_cell(filename: str) -> bool:
    return filename.startswith("<ipython-input") or "/ipykernel_" in filename.replace("\\", "/")


def _line(frame: FrameType, line: int) -> str:
    return linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()


def _short_path(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


def source_of(error: object) -> str:
    """Return the source of the cell that raised this, if it is still known."""
    walked = list(traceback.walk_tb(getattr(error, "__traceback__", None)))
    files = [frame.f_code.co_filename for frame, _ in walked if _is_cell(frame.f_code.co_filename)]
    return "".join(linecache.getlines(files[0])) if files else ""


def _names_in(source: str) -> list[str]:
    """The names that a source uses, in order of appearance."""
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    except (SyntaxError, ValueError):  # magics, or what failed for that
        return list(dict.fromkeys(_NAME.findall(source)))
    nodes.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.id for node in nodes))


def _described(names: Any, namespace: Mapping[str, Any]) -> list[str]:
    return [
        f"- `{name}`: {'a value that is not shown' if _SECRET.search(name) else _value(namespace[name])}"
        for name in names
        if name in namespace and not name.startswith("__")
    ]


def _value(value: object) -> str:
    """A value's type and a short form of it; a user's own object may fail at both."""
    try:
        return _short(value)
    except Exception:  # noqa: BLE001 - whatever a user's __repr__ raises
        return type(value).__name__


def _short(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, ModuleType):
        version = getattr(value, "__version__", "")
        return f"module {value.__name__} {version if isinstance(version, str) else ''}".rstrip()
    if inspect.isclass(value) or inspect.isroutine(value):
        what = "class" if inspect.isclass(value) else "function"
        return f"{what} {value.__name__}{inspect.signature(value)}"
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        columns = [f"{name} ({dtype})" for name, dtype in zip(value.columns, value.dtypes, strict=False)]
        more = ", …" if len(columns) > _MOST_NAMES else ""
        return f"{kind}, {value.shape[0]:,} rows: {', '.join(columns[:_MOST_NAMES])}{more}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)}, {value.dtype}"
    size = f" of {len(value)}" if isinstance(value, (list, tuple, dict, set, frozenset)) else ""
    return f"{kind}{size}, {_repr().repr(value)}"


@functools.cache
def _repr() -> reprlib.Repr:
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 100
    return short


def fenced(text: str) -> str:
    """Return the text as a fenced block."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.strip()}\n{fence}"


def cut(text: str, most: int) -> str:
    """Return the text with its middle left out where it is longer than `most`."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
