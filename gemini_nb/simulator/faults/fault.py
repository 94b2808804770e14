"""A fault, and how it is written as text: `503~retry-after=2~times=2`.

The text stands in model ids, too, and so in URLs: it is made of characters that need no escape there, and `~`
does not occur in the id of any model.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, StringConstraints

from gemini_nb.errors import ConfigError
from gemini_nb.simulator.delivery import End

__all__ = ["Fault", "Spec", "parse_fault", "split_model"]

MARK = "~"
T = TypeVar("T")

_NEEDS = {
    "retry_after": ("status",),
    "retry_date": ("status",),
    "retry_info": ("status", "error"),
    "quota": ("status", "error"),
    "quota_per": ("quota",),
    "rated": ("blocked", "finish"),
    "body": ("status",),
    "finish_after": ("finish",),
    "inside": ("cut",),
    "error_after": ("error",),
    "error_form": ("error",),
    "stall_for": ("stall",),
    "drip_pause": ("drip",),
}
_INSTEAD = ("reset", "close", "status", "blocked", "empty")
_BOTH = (
    ("retry_after", "retry_date"),
    ("cut", "cut_bytes"),
    ("cut", "error"),
    ("no_finish", "finish"),
    ("no_finish", "finish_twice"),
    ("continuation", "checkpoint"),
)
_DEFAULTS = {"quota": 10, "drip": 1, "blocked": "SAFETY"}
"""What a field is where a spec names it without a value."""


_Count = Annotated[int | None, Field(ge=0)]
_Status = Annotated[int | None, Field(ge=200, le=599)]
_Delay = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]
_Seconds = Annotated[
    float | None, Field(ge=0), BeforeValidator(lambda value: math.inf if value == "forever" else value)
]
_Word = Annotated[str | None, StringConstraints(to_upper=True, min_length=1)]
_SSE = Literal["comments", "lf", "cr", "nospace", "fields", "bom", "done", "multiline"]


def _raising_config_errors(cls: type[T]) -> type[T]:
    """Make a pydantic dataclass raise a ConfigError that names the field as a spec does."""
    validate = vars(cls)["__init__"]

    @functools.wraps(validate)
    def init(self: T, **values: Any) -> None:
        try:
            validate(self, **values)
        except pydantic.ValidationError as error:
            raise _wrong(_problem(error)) from None

    type.__setattr__(cls, "__init__", init)
    return cls


@_raising_config_errors
@pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config={"extra": "forbid"})
class Fault:
    """What goes wrong with one request; each field is described in the table of `gemini_nb.simulator.faults`.

    Raises:
        ConfigError: a value is not possible, or two fields contradict each other.
    """

    reset: bool = False
    close: bool = False
    wait: _Seconds = None
    status: _Status = None
    retry_after: _Delay = None
    retry_date: _Delay = None
    retry_info: _Delay = None
    quota: _Count = None
    quota_per: Literal["minute", "day"] | None = None
    body: Literal["object", "array", "bare", "html", "empty"] | None = None
    blocked: _Word = None
    rated: _Word = None
    empty: Literal["missing", "object", "role", "parts"] | None = None
    finish: _Word = None
    finish_after: _Count = None
    no_finish: bool = False
    finish_twice: bool = False
    continuation: _Count = None
    checkpoint: _Count = None
    cut: _Count = None
    cut_bytes: _Count = None
    inside: Literal["character", "json", "event"] | None = None
    how: End | None = None
    error: _Status = None
    error_after: _Count = None
    error_form: Literal["event", "raw", "array", "bare"] | None = None
    stall: _Count = None
    stall_for: _Seconds = None
    drip: Annotated[int | None, Field(ge=1)] = None
    drip_pause: _Seconds = None
    sse: Annotated[
        frozenset[_SSE],
        BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    ] = frozenset()
    gzip: bool = False

    def __post_init__(self) -> None:
        given = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        for name, bases in _NEEDS.items():
            if name in given and not given & set(bases):
                raise ValueError(f"{_word(name)} needs {' or '.join(map(_word, bases))}")
        if {"cr", "lf"} <= self.sse:
            raise ValueError("sse=cr and sse=lf exclude each other")
        instead = [name for name in _INSTEAD if name in given]
        both = next((pair for pair in _BOTH if given.issuperset(pair)), instead[:2])
        if len(both) > 1:
            raise ValueError(f"{_word(both[0])} and {_word(both[1])} exclude each other")
        if instead and (later := given & {"finish_after", "continuation", "checkpoint", "error", "cut"}):
            raise ValueError(f"{_word(instead[0])} leaves no answer for {_word(min(later))}")

    @property
    def refuses(self) -> bool:
        """Whether the request is not answered at all, or with an error status."""
        return self.reset or self.close or self.status is not None


_FIELDS = {field.name.replace("_", "-"): field for field in fields(Fault)}


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
    for term in text.strip().split(MARK):
        name, equals, value = term.strip().partition("=")
        if re.fullmatch(r"[0-9]{3}", name) and not equals:
            name, equals, value = "status", "=", name
        if name in values:
            raise _wrong(f"{name} is there twice", text)
        values[name] = _value(text, name, value if equals else None)
    times, no_fault, _ = values.pop("times", 1), values.pop("none", False), values.pop("tag", None)
    if no_fault and values:
        raise _wrong("none stands for no fault, and there is one", text)
    if not values and not no_fault:
        raise _wrong("it names no fault", text)
    fault = Fault(**{name.replace("-", "_"): value for name, value in values.items()}) if values else None
    return Spec(fault=fault, times=times)


def _value(text: str, name: str, value: str | None) -> Any:
    if name == "times":
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}|all", value or ""):
            raise _wrong(f"times is a whole number from 1 on, or all, not {value!r}", text)
        return None if value == "all" else int(value or 1)
    if name == "tag":
        return value
    field = _FIELDS.get(name)
    if field is None and name != "none":
        known = ", ".join(sorted([*_FIELDS, "tag", "times"]))
        raise _wrong(f"{name!r} is not known; there are the statuses (503) and {known}", text)
    if field is None or field.default is False:
        if value is not None:
            raise _wrong(f"{name} takes no value", text)
        return True
    if not value and name not in _DEFAULTS:
        raise _wrong(f"{name} needs a value: {name}=…", text)
    return value or _DEFAULTS[name]


def _word(name: str) -> str:
    return name.replace("_", "-")


def _problem(error: pydantic.ValidationError) -> str:
    """Say in a spec's words what pydantic found first."""
    found = error.errors(include_url=False)[0]
    cause = found.get("ctx", {}).get("error")
    name = _word(str(found["loc"][0])) if found["loc"] else ""
    if cause is not None and not name:
        return str(cause)
    return f"{found['msg'].replace('Input', name)}, not {found['input']!r}"


def _wrong(problem: str, text: str | None = None) -> ConfigError:
    subject = "Not a fault" if text is None else f"The fault {text!r} cannot be read"
    return ConfigError(f"{subject}: {problem}.", hint="See `gemini-nb simulator --list-faults`.")
