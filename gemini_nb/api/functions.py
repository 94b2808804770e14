"""The function calls of a model's turn: which of them can run, and how each goes back to the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from gemini_nb.api.nesting import fault_in
from gemini_nb.api.pieces import assemble

__all__ = ["FunctionCall", "is_callable_name", "read_calls"]

Part = dict[str, Any]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


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


def is_callable_name(name: object) -> bool:
    """Whether the service takes this as a function's name."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def read_calls(parts: Iterable[Part], *, is_whole: bool) -> tuple[list[Part], list[FunctionCall]]:
    """Read the calls of a turn, and return the parts that go back and the calls, in their order.

    Args:
        parts: the parts as they came.
        is_whole: whether the model ended the turn, so that a call without an end has ended with it.
    """
    assembled, unfinished = assemble(parts)
    back: list[Part] = []
    calls: list[FunctionCall] = []
    by_id: dict[str, int] = {}
    for part in assembled:
        if not isinstance(part.get("functionCall"), dict):
            back.append(part)
            continue
        call = _read(part, is_open=part is unfinished and not is_whole)
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


def _read(part: Part, *, is_open: bool) -> FunctionCall:
    wire = part["functionCall"]
    name, given = wire.get("name"), wire.get("id")
    identity = str(given) if given not in {None, ""} and isinstance(given, (str, int)) else None
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


def _arguments(args: object) -> tuple[dict[str, Any] | None, str | None]:
    """The arguments as an object, or what is wrong with them."""
    if args is None:
        return {}, None
    value = args
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_refuse)
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, dict):
        fault = fault_in(value)
        return (value, None) if fault is None else (None, f"the object of its arguments {fault}")
    kind = "text" if isinstance(args, str) else f"a {type(args).__name__}"
    return None, f"its arguments are not an object but {kind}: {str(args)[:200]!r}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
