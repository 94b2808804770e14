"""Reading the columns of a row of the journal, whatever stands in them.

A flipped bit, or a program that wrote into the file, must not hide all other entries: a value of
the wrong kind is read as a missing one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from gemini_nb.api.usage import NO_USAGE, Usage
from gemini_nb.journal import rows

_TEXTS = {
    *("uid", "stream_id", "kernel", "model", "model_version", "auth", "status", "finish_reason", "notebook"),
    *("cell", "usage", "host", "born", "prompt", "text", "error", "thoughts"),
}
_NEVER_EMPTY = {"uid", "stream_id", "kernel", "model", "auth", "status"}
_COUNTS = {"retries", "cost", "saved", "pid"}
_TIMES = {"started_at", "first_output_at", "ended_at", "kept"}
_LAST = 253_370_764_800.0  # the year 9999, behind which there are no dates


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """A tool call that the journal kept.

    Attributes:
        id: the model's id of the call, None where it gave none.
        name: the tool's name.
        args: the arguments as the model wrote them.
        status: "done", "failed" or "cancelled".
        result: what the tool returned, as it was sent to the model.
        error: why there is no result.
        output: what it printed.
        turn: the model call that asked for it, from 1.
        duration: seconds it ran, None where it did not.
    """

    id: str | None = None
    name: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    status: str = ""
    result: Any = None
    error: str | None = None
    output: str = ""
    turn: int = 1
    duration: float | None = None


_OF_CALLS: dict[str, Any] = {
    one.name: dict if one.name == "args" else (int, float) if one.name == "duration" else str
    for one in fields(PastCall)
} | {"result": object, "turn": int}


def checked(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return the columns of a row by their names."""
    found = {name: _checked(name, value) for name, value in zip(names, row, strict=True)}
    if found["started_at"] is None:
        found["started_at"] = 0.0
    return found


def _checked(name: str, value: Any) -> Any:
    if name in _TEXTS:
        return value if isinstance(value, str) else "" if name in _NEVER_EMPTY else None
    if name in _COUNTS:
        return value if isinstance(value, int) else 0 if name == "retries" else None
    if name in _TIMES:
        return float(value) if isinstance(value, (int, float)) and 0 <= value < _LAST else None
    return value if isinstance(value, bytes) else None


def whole(value: Any) -> int:
    """A sum as a whole number."""
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0


def dollars(trillionths: Any) -> Decimal | None:
    """A price in US dollars."""
    if not isinstance(trillionths, (int, float)) or not math.isfinite(trillionths):
        return None
    return (Decimal(trillionths) / rows.DOLLAR).normalize() + 0


def usage_from(found: Any) -> Usage:
    """Token counts from their JSON value."""
    if not isinstance(found, dict):
        return NO_USAGE
    return Usage(**{one.name: found[one.name] for one in fields(Usage) if _fits(one.name, found)})


def _fits(name: str, found: Mapping[str, Any]) -> bool:
    value, usual = found.get(name), getattr(NO_USAGE, name)
    if isinstance(usual, Mapping):
        return isinstance(value, dict) and all(type(count) is int for count in value.values())
    return type(value) is (str if usual is None else int)


def call_from(found: Any) -> PastCall | None:
    """A tool call from its JSON value; None where it is none."""
    if not isinstance(found, dict):
        return None
    known: dict[str, Any] = {
        name: value for name, value in found.items() if isinstance(value, _OF_CALLS.get(name, ()))
    }
    return PastCall(**known)
