"""What can go wrong with one request to the simulator, on demand.

A client that was only ever tried on answers that arrive whole and in order loses text, waits for ever or
says something incomprehensible on the day when one does not. Each fault here is one of those days, made to
happen on a real connection, where a mock of the transport would leave out the cutting, resetting and framing.

The same words are fields of `Fault`, and, joined by `~`, a spec for the command line or a model's id:

    Fault(cut=3, how="rst")     gemini-nb simulator --fault cut=3~how=rst     gemini-3.8-flash~cut=3~how=rst

Before or instead of the answer
    reset                       the connection is reset, nothing having been sent
    close                       it is closed properly, nothing having been sent
    wait=S                      nothing is sent for S seconds (or `wait=forever`), not even the status
    503 (status=503)            this HTTP status, with an error body
    retry-after=S               Retry-After in seconds, for a status
    retry-date=S                Retry-After as an HTTP date S seconds from now, for a status
    retry-info=S                google.rpc.RetryInfo in the error body or error event
    quota=N                     google.rpc.QuotaFailure of that limit; N is 10 if left out, 0 never ends
    quota-per=SPAN              ... per minute or day
    body=KIND                   the status' body: object, array (of one object), bare (its "error" unwrapped),
                                html or empty
    blocked=REASON              the prompt is blocked, for SAFETY if left out
    rated=CATEGORY              ... by this category, such as HARASSMENT; a finish=SAFETY may name one, too
What the answer says; an event is one chunk of it, and N may be 0
    empty=KIND                  STOP and no text: content missing, object ({}), role (no parts) or parts ([])
    finish=REASON               this finishReason, such as SAFETY, RECITATION, MAX_TOKENS,
                                MALFORMED_FUNCTION_CALL or UNEXPECTED_TOOL_CALL (these two lose the calls)
    finish-after=N              ... after N events
    no-finish                   a proper end without finishReason
    finish-twice                a second, empty event with finishReason after the last
    continuation=N              CONTINUATION after N events, with the continuationToken to go on from
    checkpoint=N                the N-th event carries a continuationToken, and the answer goes on
How it arrives
    cut=N                       the answer breaks off after N events
    cut-bytes=N                 ... after N bytes of the body
    inside=KIND                 a cut goes on into the next event: to half a character, to half its json,
                                or to half its JSON as an event (the blank line is there)
    how=END                     the end: fin (closed, the default of a cut), rst (reset), end (proper, the
                                default of an error event) or length (closed, Content-Length promised more)
    error=CODE                  an error event in a 200 answer
    error-after=N               ... after N events, 0 if left out
    error-form=FORM             ... as event, raw (lines of JSON without `data:`), array (of one such) or
                                bare (an event with its "error" unwrapped)
    stall=N                     silence after N events
    stall-for=S                 ... of S seconds, otherwise until the client leaves
    drip=N                      N bytes at a time, 1 if left out
    drip-pause=S                ... with S seconds between them, 0.001 if left out
    sse=WORDS                   odd SSE, joined by commas: comments, lf, cr (line ends), nospace (`data:{`),
                                fields (event:, id:, retry:), bom, done (`[DONE]` last), multiline (data)
    gzip                        compressed, whether the client asked for it or not
Only in a spec
    times=N                     for the first N requests (with that model id and key), or `times=all`;
                                1 if left out
    tag=WORD                    means nothing: it gives a model id a count of its own
    none                        no fault, to keep the order on a command line

What fits together can be combined, as in `503~retry-after=2~body=html` or `checkpoint=3~cut=5~how=rst`. A
position beyond the end of the answer means its end, except that what has ended is not continued. Seconds are
real ones, whatever the simulator's pace. A response of generateContent arrives as one event, while what the
answer says is counted in the events that the stream would have had.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import pydantic
from pydantic import BeforeValidator, Field, StringConstraints

from gemini_nb.errors import ConfigError, kind_of
from gemini_nb.simulator.delivery import End
from gemini_nb.simulator.requests import Request

__all__ = [
    "Fault",
    "FaultPlan",
    "FaultSource",
    "ModelFaults",
    "Spec",
    "parse_fault",
    "random_faults",
    "split_model",
]

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


class Spec(NamedTuple):
    """A fault (None where it says `none`), and for how many requests it strikes (None for all)."""

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


FaultSource = (
    Iterable[Fault | str | None] | Mapping[int, Fault | None] | Callable[[int, Request], Fault | None] | None
)
"""One fault (or spec, or None) for each request in order, or by number from 0, or what says it."""


class FaultPlan:
    """Gives each request to the model its fault.

    Args:
        source: what the faults come from; None for no faults.

    Raises:
        ConfigError: a spec in a list cannot be read, or something in it is no fault.
    """

    def __init__(self, source: FaultSource = None) -> None:
        self.source = source
        self._numbers = itertools.count()
        self._faults: Iterator[Fault | None] = iter(())
        if isinstance(source, str | Fault):
            raise ConfigError(
                "faults is one fault for each request, not a single one.", hint=f"Write faults=[{source!r}]."
            )
        if isinstance(source, Sequence):
            self._faults = itertools.chain.from_iterable([_repeated(item) for item in source])
        elif source is not None and not isinstance(source, Mapping) and not callable(source):
            if not isinstance(source, Iterable):
                raise ConfigError(f"faults is one fault for each request, not {kind_of(source)}.")
            self._faults = itertools.chain.from_iterable(map(_repeated, source))

    def next(self, request: Request) -> Fault | None:
        """Give the fault of the next request.

        Raises:
            ConfigError: the source gave something that is no fault.
        """
        source, number = self.source, next(self._numbers)
        if isinstance(source, Mapping):
            return _checked(source.get(number))
        return _checked(source(number, request)) if callable(source) else next(self._faults, None)


_MOST_MODELS = 10_000  # that are counted; any caller may name a new one in each request


class ModelFaults:
    """Counts the requests to each model id with a fault in it, which strikes only so often."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()

    def next(self, spec: Spec, model: str, caller: str) -> Fault | None:
        """Give the fault of the caller's next request to this model id; None when it has struck often."""
        if spec.times is None:
            return spec.fault
        count = self._counts.pop((model, caller), 0)
        self._counts[model, caller] = min(count + 1, spec.times)
        if len(self._counts) > _MOST_MODELS:
            self._counts.popitem(last=False)
        return spec.fault if count < spec.times else None


_RECOVERABLE = """
    reset close wait=0.05~reset 408 429~retry-info=0.05~quota=10 429~retry-after=0~body=array 500
    502~body=html 503~body=empty 503~retry-after=0 504 error=503 error=429~error-form=raw
    error=500~error-form=array error=503~error-after=4 error=429~error-after=7~error-form=raw
    cut=0 cut=1~how=rst cut=3 cut=5~how=end cut=6~how=length cut=2~inside=character cut=4~inside=json~how=rst
    cut=4~inside=event~how=end
    cut-bytes=700~gzip no-finish continuation=3 checkpoint=3~cut=5~how=rst finish-twice
    checkpoint=2~error=503~error-after=6 stall=3~stall-for=0.1 drip=16~drip-pause=0.0005
    sse=comments,cr,nospace,fields,bom,done,multiline sse=lf,comments~gzip~drip=32~drip-pause=0.0005
"""


def random_faults(
    seed: int = 0, rate: float = 0.2, *, choices: Sequence[Fault] | None = None
) -> Callable[[int, Request], Fault | None]:
    """Make a plan of random faults: the same seed gives the same fault to the request of the same number.

    Args:
        seed: decides which requests are struck, and by what.
        rate: how many are, from 0 (none) to 1 (all).
        choices: what they are struck by. None is everything after which a client can still get the
            whole answer, without a wait of more than a tenth of a second.

    Raises:
        ConfigError: the rate is not from 0 to 1, or there is nothing to choose from.
    """
    recoverable = [fault for spec in _RECOVERABLE.split() if (fault := parse_fault(spec).fault)]
    faults = tuple(recoverable if choices is None else choices)
    if not 0 <= rate <= 1 or not faults:
        raise ConfigError(
            f"random_faults cannot work with a rate of {rate!r} and {len(faults)} faults.",
            hint="Give a rate from 0 to 1, and at least one fault.",
        )

    def pick(number: int, request: Request) -> Fault | None:  # noqa: ARG001 - the form of every plan
        rng = random.Random(f"{seed}|{number}")
        return rng.choice(faults) if rng.random() < rate else None

    return pick


def _repeated(item: object) -> Iterator[Fault | None]:
    if not isinstance(item, str):
        return iter((_checked(item),))
    spec = parse_fault(item)
    return itertools.repeat(spec.fault) if spec.times is None else itertools.repeat(spec.fault, spec.times)


def _checked(found: object) -> Fault | None:
    if found is None or isinstance(found, Fault):
        return found
    raise ConfigError(f"{found!r} is not a fault.", hint="Give a Fault, or None for no fault.")
