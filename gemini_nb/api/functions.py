"""The function calls of a conversation: read from a turn, put together, and checked before they go back.

Vertex AI streams arguments on request: a chunk with the name, then chunks without one whose `partialArgs`
each say a value, or a piece of a text, for one JSON path, and an empty call at the end, which some answers
lack. A piece is no call: taken for one, it would run a tool on its defaults. So a call is put together here,
and carries the signature of its first piece.

A history whose calls and results do not fit is refused here, at the call, with a message that names the
function; the service would answer it with a 400 that counts parts.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from gemini_nb.api.wire import Part, fault_in
from gemini_nb.errors import ArgumentError, kind_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[([0-9]{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPED = re.compile(r"\\(.)")
_DEPTH = 64
_VALUES = ("stringValue", "numberValue", "boolValue")
_MARKS = frozenset({"partialArgs", "partial_args", "willContinue", "will_continue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """A function call as the model made it.

    Attributes:
        part: the part as it goes back, None where the service would refuse it.
        id: the model's id of the call, None where it gave none.
        name: what it called.
        args: its arguments.
        problem: why it cannot run, for the model; None where it can.
    """

    part: Part | None
    id: str | None
    name: str
    args: dict[str, Any]
    problem: str | None = None


def is_callable_name(name: object) -> TypeGuard[str]:
    """Whether the service takes this as a function's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def read_calls(parts: Iterable[Part], *, is_whole: bool) -> tuple[list[Part], list[FunctionCall]]:
    """Read the calls of a turn, and return the parts that go back and the calls, in their order.

    Args:
        parts: the parts as they came.
        is_whole: whether the model ended the turn, so that a call without an end has ended with it.
    """
    assembled, unfinished = _assemble(parts)
    back: list[Part] = []
    calls: list[FunctionCall] = []
    by_id: dict[str, int] = {}
    for part in assembled:
        if not isinstance(part.get("functionCall"), dict):
            back.append(part)
            continue
        call = _read_call(part, is_open=part is unfinished and not is_whole)
        first = by_id.get(call.id) if call.id is not None and call.part is not None else None
        if first is not None:
            before = calls[first]
            if (before.name, before.args) == (call.name, call.args):
                continue
            problem = f"the id {call.id!r} is that of another call, {before.name}, in the same turn"
            call = FunctionCall(part=None, id=call.id, name=call.name, args=call.args, problem=problem)
        elif call.id is not None and call.part is not None:
            by_id[call.id] = len(calls)
        calls.append(call)
        if call.part is not None:
            back.append(call.part)
    return back, calls


def _read_call(part: Part, *, is_open: bool) -> FunctionCall:
    wire = _acceptable(part["functionCall"])
    name, identity = wire.get("name"), wire.get("id")
    part = {**part, "functionCall": wire}
    if not is_callable_name(name):
        shown = f"named {str(name)[:80]!r}, which no function can be" if name else "without a name"
        problem = f"a call {shown}"
        return FunctionCall(part=None, id=identity, name=str(name or "")[:200], args={}, problem=problem)
    args, wrong = _arguments(wire.get("args"))
    if args is None:
        part = {**part, "functionCall": {key: value for key, value in wire.items() if key != "args"}}
    elif isinstance(wire.get("args"), str):
        part = {**part, "functionCall": {**wire, "args": args}}
    if is_open:
        wrong = "its arguments broke off before their end"
    return FunctionCall(part=part, id=identity, name=name, args=args or {}, problem=wrong)


def _acceptable(call: Part) -> Part:
    """Return a call with an id of text or none, and its arguments in `args`: the service takes no other."""
    identity = _id_of(call.get("id"))
    if call.get("id") != identity:
        call = {key: value for key, value in call.items() if key != "id"}
        if identity:
            call["id"] = identity
    if "args" not in call and "arguments" in call:  # other models' word for them
        call = {"args" if key == "arguments" else key: value for key, value in call.items()}
    return call


def _id_of(given: object) -> str | None:
    is_id = isinstance(given, (str, int)) and not isinstance(given, bool) and given != ""
    return str(given) if is_id else None


def _arguments(args: object) -> tuple[dict[str, Any] | None, str | None]:
    """Return the arguments as an object, or what is wrong with them."""
    if args is None:
        return {}, None
    value = args
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_refuse)
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, dict):
        fault = fault_in(value)
        return (value, None) if fault is None else (None, f"the object of its arguments {fault}")
    kind = "text" if isinstance(args, str) else kind_of(args)
    return None, f"its arguments are not an object but {kind}: {str(args)[:200]!r}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


class _PiecesError(ValueError):
    """A piece does not fit what is there."""


def _assemble(parts: Iterable[Part]) -> tuple[list[Part], Part | None]:
    """Put calls that came in pieces together.

    Returns:
        The parts, with one for each call in the place of its first piece; and the one of them whose end has
        not come, None where all have ended. A call with a piece that does not fit has text for `args`, so
        that it is not taken for whole.
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
        elif call or not in_pieces:  # an end that comes twice is no call
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
        """Whether a piece belongs to this call, and not to the next one."""
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
        except _PiecesError as error:
            args = str(error)
        self._call["args"] = args

    def _put(self, args: Any, piece: Any) -> None:
        if not isinstance(piece, dict) or not isinstance(args, dict):
            raise _PiecesError("a piece of its arguments is no object")
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
    """Return a field by its name on the wire, or in snake_case."""
    if name in message:
        return message[name]
    return message.get(re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name))


def _steps(path: object) -> tuple[str | int, ...]:
    if not isinstance(path, str) or not path.startswith("$"):
        raise _PiecesError(f"a piece of its arguments has no path: {str(path)[:60]!r}")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) >= _DEPTH:
            raise _PiecesError(f"a piece of its arguments has a path that cannot be read: {path[:60]!r}")
        name, index, single, double = found.groups()
        quoted = single if single is not None else double
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else _ESCAPED.sub(r"\1", quoted))
        at = found.end()
    if not steps:
        raise _PiecesError("a piece of its arguments has the path of all of them")
    return tuple(steps)


def _inside(holder: Any, step: str | int, following: str | int) -> Any:
    """Return the value at a step of a path; make an empty one where there is none."""
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
        raise _PiecesError(f"a piece of its arguments does not fit the others, at {step!r}")


def check_order(contents: Sequence[dict[str, Any]]) -> None:
    """Check that every function call is whole and answered once, in the turn after it.

    Args:
        contents: the conversation as it is about to be sent.

    Raises:
        ArgumentError: a call or a result that the service is known to refuse.
    """
    turns = _turns(contents)
    for before, turn, after in zip([None, *turns], turns, [*turns[1:], None], strict=False):
        if turn.calls:
            _check_calls(before, turn, after)
        if turn.results:
            _check_results(before, turn)


def _check_calls(before: _Turn | None, turn: _Turn, after: _Turn | None) -> None:
    where = f"contents[{turn.position}]"
    if turn.kind != "model":
        raise ArgumentError(f"{where} holds a functionCall, which belongs in a turn of the model.")
    if turn.results:
        raise ArgumentError(f"{where} holds a functionResponse, which belongs in the user turn after it.")
    for call in turn.calls:
        _check_call(call, where)
    if before is None:
        raise ArgumentError(f"{where} holds a functionCall, but no user turn comes before it.")
    _check_answers(turn, after.results if after is not None else [])


def _check_results(before: _Turn | None, turn: _Turn) -> None:
    where = f"contents[{turn.position}]"
    if turn.kind == "model":
        raise ArgumentError(f"{where} holds a functionResponse, which belongs in the user turn after it.")
    if before is None or not before.calls:
        raise ArgumentError(
            f"{where} holds the result of {_named(turn.results[0])}, but no call comes before it.",
            hint="Put the model's turn with the functionCall before it, as it came.",
        )


@dataclass(slots=True)
class _Turn:
    """Neighbouring contents of one kind, which the service reads as one."""

    position: int
    kind: str
    calls: list[Any]
    results: list[Any]


def _turns(contents: Iterable[dict[str, Any]]) -> list[_Turn]:
    turns: list[_Turn] = []
    turn: _Turn | None = None
    for position, content in enumerate(contents):
        parts = content["parts"]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        kind = "results" if len(results) == len(parts) else "user"
        if content.get("role") == "model":
            kind = "model"
        if turn is None or turn.kind != kind or kind == "user":
            turn = _Turn(position, kind, [], [])
            turns.append(turn)
        turn.calls += [part["functionCall"] for part in parts if "functionCall" in part]
        turn.results += results
    return turns


def _check_call(call: Any, where: str) -> None:
    name = call.get("name") if isinstance(call, dict) else None
    if not is_callable_name(name):
        raise ArgumentError(
            f"{where} holds a functionCall with the name {name!r}.",
            hint="A name begins with a letter or _, and has letters, digits, _ . : and - (128 at most).",
        )
    if not isinstance(call.get("args", {}), dict):
        raise ArgumentError(f"The args of {name} in {where} are {kind_of(call['args'])}, not a dictionary.")


def _check_answers(turn: _Turn, results: Sequence[Any]) -> None:
    """Match each call with its result, by id where both have one, else by name."""
    left = [result for result in results if isinstance(result, dict)]
    for call in turn.calls:
        fitting = (
            result
            for result in left
            if result.get("name") == call["name"] and (not result.get("id") or result["id"] == call.get("id"))
        )
        if (found := next(fitting, None)) is None:
            raise ArgumentError(
                f"The call of {call['name']} in contents[{turn.position}] has no result in the next turn.",
                hint='Answer it first: {"functionResponse": {"name": …, "id": …, "response": {…}}}.',
            )
        left.remove(found)
    if left:
        raise ArgumentError(
            f"The result of {_named(left[0])} answers no call of contents[{turn.position}].",
            hint="Give it the name and the id of the call that it answers, or leave it out.",
        )


def _named(call: Any) -> str:
    name = call.get("name") if isinstance(call, dict) else None
    return str(name) if name else "a function without a name"


def with_results_together(contents: list[Part]) -> list[Part]:
    """Return the contents with the results of one turn's calls in one content, as the service wants them.

    Where tools ran here and the caller answers the others, they come in two.
    """
    made: list[Part] = []
    for content in contents:
        parts, before = content["parts"], made[-1] if made else {}
        if (
            before.get("role") == content.get("role") == "user"
            and all("functionResponse" in part for part in before["parts"])
            and any("functionResponse" in part for part in parts)
        ):
            calls = [part.get("functionCall") for part in made[-2]["parts"]] if len(made) > 1 else []
            joined = sorted([*before["parts"], *parts], key=lambda part: _place(part, calls))
            made[-1] = {**before, "parts": joined}
        else:
            made.append(content)
    return made


def _place(part: Part, calls: list[Any]) -> int:
    """Return a result's place: results follow the order of the calls, and come before everything else."""
    result = part.get("functionResponse")
    if not isinstance(result, dict):
        return len(calls) + 1
    field = "id" if result.get("id") else "name"
    fits = (
        at for at, call in enumerate(calls) if isinstance(call, dict) and call.get(field) == result.get(field)
    )
    return next(fits, len(calls))
