"""Function calls that come in pieces.

Vertex AI streams arguments on request: a chunk with the name, then chunks without one whose `partialArgs`
each say a value, or a piece of a text, for one JSON path, and an empty call at the end, which some answers
lack. A piece is no call: taken for one, it would run a tool on its defaults. So a call is put together here,
and carries the signature of its first piece.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

__all__ = ["PiecesError", "assemble"]

Part = dict[str, Any]
_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[([0-9]{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPED = re.compile(r"\\(.)")
_DEPTH = 64
_VALUES = ("stringValue", "numberValue", "boolValue")
_MARKS = frozenset({"partialArgs", "partial_args", "willContinue", "will_continue"})


class PiecesError(ValueError):
    """A piece does not fit what is there."""


def assemble(parts: Iterable[Part]) -> tuple[list[Part], Part | None]:
    """Put calls together.

    Returns:
        The parts, with one for each call in the place of its first piece; and the one of them whose end has
        not come, None where all have ended. A call with a piece that does not fit has text for `args`, so
        that nobody takes it for whole.
    """
    made: list[Part] = []
    current: _Call | None = None
    in_pieces = False
    for part in parts:
        call = part.get("functionCall")
        if not isinstance(call, dict):
            made.append(part)
            continue
        if current is not None and current.goes_on_with(call):
            current.add(part)
        elif call.keys() & _MARKS and (call.get("name") or _field(call, "partialArgs")):
            current, in_pieces = _Call(part), True
            made.append(current.part)
        elif call or not in_pieces:  # an end that is told twice is no call
            current = None
            made.append(part)
        if current is not None and not _field(call, "willContinue"):
            current = None
    return made, None if current is None else current.part


class _Call:
    """A call that is being put together."""

    def __init__(self, first: Part) -> None:
        call = {name: value for name, value in first["functionCall"].items() if name not in _MARKS}
        self.part: Part = {**first, "functionCall": call}
        self._call = call
        self._open: set[tuple[str | int, ...]] = set()
        self._add_pieces(first["functionCall"])

    def goes_on_with(self, call: Part) -> bool:
        """Whether this is a piece of it, and not the next call."""
        return not call.get("name") or (call.get("id") is not None and call.get("id") == self._call.get("id"))

    def add(self, part: Part) -> None:
        for name, value in part.items():
            self.part.setdefault(name, value)
        for name, value in part["functionCall"].items():
            if name not in _MARKS:
                self._call.setdefault(name, value)
        self._add_pieces(part["functionCall"])

    def _add_pieces(self, call: Part) -> None:
        pieces = _field(call, "partialArgs")
        if not pieces:
            return
        args = self._call.get("args")
        if args is None:
            args = {}
        try:
            for piece in pieces if isinstance(pieces, list) else [pieces]:
                self._put(args, piece)
        except PiecesError as error:
            args = str(error)
        self._call["args"] = args

    def _put(self, args: Any, piece: Any) -> None:
        if not isinstance(piece, dict) or not isinstance(args, dict):
            raise PiecesError("a piece of its arguments is no object")
        path = _steps(_field(piece, "jsonPath"))
        value = next((found for name in _VALUES if (found := _field(piece, name)) is not None), None)
        holder: Any = args
        for step, following in itertools.pairwise(path):
            holder = _inside(holder, step, following)
        if path in self._open:
            before = _at(holder, path[-1])
            value = before + (value if isinstance(value, str) else "") if isinstance(before, str) else value
        (self._open.add if _field(piece, "willContinue") else self._open.discard)(path)
        _set(holder, path[-1], value)


def _field(message: Part, name: str) -> Any:
    """A field by its name on the wire, or in snake_case."""
    if name in message:
        return message[name]
    return message.get(re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name))


def _steps(path: object) -> tuple[str | int, ...]:
    if not isinstance(path, str) or not path.startswith("$"):
        raise PiecesError(f"a piece of its arguments has no path: {str(path)[:60]!r}")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) >= _DEPTH:
            raise PiecesError(f"a piece of its arguments has a path that cannot be read: {path[:60]!r}")
        name, index, single, double = found.groups()
        quoted = single if single is not None else double
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else _ESCAPED.sub(r"\1", quoted))
        at = found.end()
    if not steps:
        raise PiecesError("a piece of its arguments has the path of all of them")
    return tuple(steps)


def _inside(holder: Any, step: str | int, following: str | int) -> Any:
    """What stands at a step, made where nothing does."""
    inner = _at(holder, step)
    if inner is None:
        inner = [] if isinstance(following, int) else {}
        _set(holder, step, inner)
    return inner


def _at(holder: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return holder[step] if isinstance(holder, list) and step < len(holder) else None
    return holder.get(step) if isinstance(holder, dict) else None


def _set(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(step, str) and isinstance(holder, dict):
        holder[step] = value
    elif isinstance(step, int) and isinstance(holder, list) and step <= len(holder):
        holder[step : step + 1] = [value]
    else:
        raise PiecesError(f"a piece of its arguments does not fit the others, at {step!r}")
