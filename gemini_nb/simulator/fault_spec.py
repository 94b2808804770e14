"""Faults written as text: `503~retry-after=2~times=2`.

The text stands in model ids, too, and so in URLs: it is made of characters that need no escape there, and `~`
does not occur in the id of any model.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from gemini_nb.errors import ConfigError
from gemini_nb.simulator.faults import CHOICES, Fault

__all__ = ["MARK", "Spec", "parse_fault", "split_model"]

MARK = "~"

_FLAGS = frozenset({"reset", "close", "no-finish", "finish-twice", "gzip"})
_COUNTS = {
    "status": None,
    "quota": 10,
    "finish-after": None,
    "continuation": None,
    "checkpoint": None,
    "cut": None,
    "cut-bytes": None,
    "error": None,
    "error-after": None,
    "stall": None,
    "drip": 1,
}
_SECONDS = frozenset({"wait", "retry-after", "retry-date", "retry-info", "stall-for", "drip-pause"})
_WORDS = {"finish": None, "blocked": "SAFETY", "rated": None}
_NAMES = sorted(
    {
        *_FLAGS,
        *_COUNTS,
        *_SECONDS,
        *_WORDS,
        *(name.replace("_", "-") for name in CHOICES),
        "sse",
        "times",
        "tag",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A fault and how often it strikes.

    Attributes:
        fault: what goes wrong; None where the spec says `none`.
        times: for how many requests, None for all.
    """

    fault: Fault | None
    times: int | None = 1


def split_model(model: str) -> tuple[str, str | None]:
    """Split a model's id into the id proper and the spec appended to it, if there is one."""
    bare, mark, spec = model.partition(MARK)
    return bare, spec if mark else None


def parse_fault(text: str) -> Spec:
    """Read a spec.

    Raises:
        ConfigError: a word is unknown, comes twice, or has a value that it cannot have.
    """
    values: dict[str, Any] = {}
    times: int | None = 1
    seen: set[str] = set()
    for term in text.strip().split(MARK):
        name, equals, value = term.strip().partition("=")
        if re.fullmatch(r"[0-9]{3}", name) and not equals:
            name, equals, value = "status", "=", name
        if name in seen:
            raise _wrong(text, f"{name} is there twice")
        seen.add(name)
        if name == "times":
            times = None if value == "all" else _number(text, name, value, least=1)
        elif name != "tag" and term.strip() != "none":
            values[name.replace("-", "_")] = _value(text, name, value if equals else None)
    if "none" in seen and values:
        raise _wrong(text, "none stands for no fault, and there is one")
    if not values and "none" not in seen:
        raise _wrong(text, "it names no fault")
    return Spec(fault=Fault(**values) if values else None, times=times)


def _value(text: str, name: str, value: str | None) -> Any:
    if name in _FLAGS:
        if value is not None:
            raise _wrong(text, f"{name} takes no value")
        return True
    if name in _COUNTS:
        return _number(text, name, value) if value is not None else _default(text, name, _COUNTS[name])
    if name in _SECONDS:
        return _seconds(text, name, value)
    if name in _WORDS:
        return value.upper() if value else _default(text, name, _WORDS[name])
    if name == "sse":
        return frozenset((value or _default(text, name, None)).split(","))
    if name.replace("-", "_") in CHOICES:
        return value or _default(text, name, None)
    raise _wrong(text, f"{name!r} is not known; there are the statuses (503) and {', '.join(_NAMES)}")


def _number(text: str, name: str, value: str, *, least: int = 0) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
        raise _wrong(text, f"{name} is a whole number from {least} on, not {value!r}")
    return int(value)


def _seconds(text: str, name: str, value: str | None) -> float:
    if value == "forever":
        return math.inf
    if value is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        raise _wrong(text, f"{name} is a number of seconds, not {value or 'nothing'!r}")
    return float(value)


def _default(text: str, name: str, default: Any) -> Any:
    if default is None:
        raise _wrong(text, f"{name} needs a value: {name}=…")
    return default


def _wrong(text: str, problem: str) -> ConfigError:
    return ConfigError(
        f"The fault {text!r} cannot be read: {problem}.", hint="See `gemini-nb simulator --list-faults`."
    )
