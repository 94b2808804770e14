"""Refuse at the call a conversation whose function calls and results the service would refuse.

The service answers such a history with a 400 that counts parts. Here the message names the call, and nothing
has been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gemini_nb.errors import ArgumentError

__all__ = ["check_order"]

_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,127}", re.ASCII)


@dataclass(slots=True)
class _Turn:
    """Neighbouring contents of one kind, which the service reads as one."""

    position: int
    kind: str
    calls: list[Any]
    results: list[Any]


def check_order(contents: Sequence[dict[str, Any]]) -> None:
    """Check that every function call is whole and answered once, in the turn after it.

    Args:
        contents: the conversation as it is about to be sent.

    Raises:
        ArgumentError: a call or a result that the service is known to refuse.
    """
    turns = list(_turns(contents))
    for before, turn, after in zip([None, *turns], turns, [*turns[1:], None], strict=False):
        where = f"contents[{turn.position}]"
        if turn.calls and turn.kind != "model":
            raise ArgumentError(f"{where} holds a functionCall, which belongs in a turn of the model.")
        if turn.results and turn.kind == "model":
            raise ArgumentError(f"{where} holds a functionResponse, which belongs in the user turn after it.")
        for call in turn.calls:
            _check_call(call, where)
        if turn.calls:
            if before is None:
                raise ArgumentError(f"{where} holds a functionCall, but no user turn comes before it.")
            _check_answers(turn, after.results if after is not None else [])
        elif turn.results and (before is None or not before.calls):
            raise ArgumentError(
                f"{where} holds the result of {_named(turn.results[0])}, but no call comes before it.",
                hint="Put the model's turn with the functionCall before it, as it came.",
            )


def _turns(contents: Iterable[dict[str, Any]]) -> Iterable[_Turn]:
    turn: _Turn | None = None
    for position, content in enumerate(contents):
        parts = content["parts"]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        kind = (
            "model" if content.get("role") == "model" else "results" if len(results) == len(parts) else "user"
        )
        if turn is None or turn.kind != kind or kind == "user":
            if turn is not None:
                yield turn
            turn = _Turn(position, kind, [], [])
        turn.calls += [part["functionCall"] for part in parts if "functionCall" in part]
        turn.results += results
    if turn is not None:
        yield turn


def _check_call(call: Any, where: str) -> None:
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            f"{where} holds a functionCall with the name {name!r}.",
            hint="A name begins with a letter or _, and has letters, digits, _ . : and - (128 at most).",
        )
    if not isinstance(call.get("args", {}), dict):
        raise ArgumentError(
            f"The args of {name} in {where} are a {type(call['args']).__name__}, not a dictionary."
        )


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
        raise ArgumentError(f"The result of {_named(left[0])} answers no call of contents[{turn.position}].")


def _named(call: Any) -> str:
    name = call.get("name") if isinstance(call, dict) else None
    return str(name) if name else "a function without a name"
