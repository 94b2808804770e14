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

from gemini_nb.notebook.magics.context.own_secrets import hide_secrets

_PACKAGE = str(Path(__file__).parents[2])
_MOST_SOURCE = 20_000  # characters
_MOST_MESSAGE = 2_000
_MOST_NAMES = 40
_MOST_FRAMES = 15
_FIRST_FRAMES = 3  # of those, which lead to what goes round in circles
_MOST_CAUSES = 10
_MOST_IN_GROUP, _DEEPEST_GROUP = 5, 3
_COMPILED = (".pyx", ".pxi", ".pxd")  # Cython's, of a library
_SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_LINE_ENDS = "\r\n"
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Failure:
    """A cell that failed.

    Attributes:
        source: the cell as it was written.
        error: what it raised.
    """

    source: str
    error: BaseException

    def describe(self, namespace: Mapping[str, Any]) -> str:
        """Return the cell, its error and the names it uses, as Markdown, without secrets."""
        frames = list(_own_frames(self.error.__traceback__))
        inner = frames[-1] if frames and frames[-1].f_code.co_name != "<module>" else None
        sections = [
            f"The cell:\n\n{fenced(cut(self.source, _MOST_SOURCE))}",
            f"The error:\n\n{fenced(cut(_traceback(self.error), _MOST_SOURCE))}",
        ]
        names = _described(_names_in(self.source), namespace)[:_MOST_NAMES]
        if inner is not None:
            within = _described(inner.f_locals, inner.f_locals)[:_MOST_NAMES]
            names += [f"- in {inner.f_code.co_name}: {line[2:]}" for line in within]
        if names:
            sections.append("The names it uses:\n\n" + "\n".join(names))
        return hide_secrets("\n\n".join(sections), namespace, *(frame.f_locals for frame in frames[-1:]))


def _traceback(error: BaseException, depth: int = 0) -> str:
    """The error and what caused it, oldest first, with the frames of the user's own code."""
    errors, seen, one = [error], {id(error)}, _cause(error)
    while one is not None and id(one) not in seen:  # a user may have made a circle
        errors.append(one)
        seen.add(id(one))
        one = _cause(one)
    shown = [_shown(one, depth) for one in errors[: _MOST_CAUSES // 2]]
    if (more := len(errors) - _MOST_CAUSES) > 0:
        shown.append(f"[… {more:,} errors left out …]")
    shown += [_shown(one, depth) for one in errors[_MOST_CAUSES // 2 :][-_MOST_CAUSES // 2 :]]
    return "\n\nwhich led to:\n\n".join(reversed(shown))


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _shown(error: BaseException, depth: int) -> str:
    """One error with its frames; of a group those it holds, too."""
    walked = list(traceback.walk_tb(error.__traceback__))
    lines = [_place(frame, line) for frame, line in walked if _is_own(frame)]
    if (more := len(lines) - _MOST_FRAMES) > 0:
        lines[_FIRST_FRAMES : _FIRST_FRAMES + more] = [f"[… {more:,} frames left out …]"]
    if isinstance(error, SyntaxError):
        return "\n".join([*lines, *_syntax_error(error)])
    if walked and not _is_own(walked[-1][0]):
        code = walked[-1][0].f_code
        lines.append(f"raised in {_short_path(code.co_filename)}, in {code.co_name}")
    message = "".join(traceback.format_exception_only(error)).strip()
    lines.append(cut(message, _MOST_MESSAGE))
    if isinstance(error, BaseExceptionGroup) and depth < _DEEPEST_GROUP:
        for number, inner in enumerate(error.exceptions[:_MOST_IN_GROUP], 1):
            lines += ["", f"its error {number} of {len(error.exceptions)}:", "", _traceback(inner, depth + 1)]
    return "\n".join(lines)


def _syntax_error(error: SyntaxError) -> list[str]:
    said = [line.rstrip() for line in traceback.format_exception_only(error)]
    said[-1] = said[-1].replace("_IncompleteInputError:", "SyntaxError:", 1)  # Python 3.13's private name
    if error.filename is not None:
        where = "cell" if _is_cell(error.filename) else _short_path(error.filename)
        said[0] = said[0].replace(f'File "{error.filename}"', where, 1).strip()
    return said


def _own_frames(trace: TracebackType | None) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(trace) if _is_own(frame))


def _is_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith((*_library_folders(), _PACKAGE, "<frozen")) and not name.endswith(_COMPILED)


@functools.cache
def _library_folders() -> tuple[str, ...]:
    known = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(filter(None, {*known, *site.getsitepackages(), site.getusersitepackages()}))


def _place(frame: FrameType, line: int) -> str:
    code = frame.f_code
    inside = "" if code.co_name == "<module>" else f", in {code.co_name}"
    where = "cell" if _is_cell(code.co_filename) else _short_path(code.co_filename)
    text = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    return f"{where}, line {line}{inside}{': ' if text else ''}{text}"


def _is_cell(filename: str) -> bool:
    return filename.startswith("<ipython-input") or "/ipykernel_" in filename.replace("\\", "/")


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
        if name in namespace and name.isidentifier() and not name.startswith("__")
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
        return f"{what} {value.__name__}{_signature(value)}"
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _short_frame(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)}, {value.dtype}"
    size = f" of {len(value)}" if isinstance(value, (list, tuple, dict, set, frozenset)) else ""
    return f"{kind}{size}, {_repr().repr(value)}"


def _short_frame(frame: Any) -> str:
    columns = [f"{name} ({dtype})" for name, dtype in zip(frame.columns, frame.dtypes, strict=False)]
    more = ", …" if len(columns) > _MOST_NAMES else ""
    return f"{type(frame).__name__}, {frame.shape[0]:,} rows: {', '.join(columns[:_MOST_NAMES])}{more}"


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):  # many of Python's own classes have none
        return ""


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
    return f"{fence}\n{text.rstrip().strip(_LINE_ENDS)}\n{fence}"


def cut(text: str, most: int) -> str:
    """Return the text with its middle left out where it is longer than `most`."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
