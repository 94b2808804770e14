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

import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal, get_args

from gemini_nb.errors import ConfigError

__all__ = ["Body", "Empty", "End", "ErrorForm", "Fault", "Inside", "QuotaSpan"]

Body = Literal["object", "array", "bare", "html", "empty"]
Empty = Literal["missing", "object", "role", "parts"]
End = Literal["fin", "rst", "end", "length"]
ErrorForm = Literal["event", "raw", "array", "bare"]
Inside = Literal["character", "json", "event"]
QuotaSpan = Literal["minute", "day"]

SSE_WORDS = frozenset({"comments", "lf", "cr", "nospace", "fields", "bom", "done", "multiline"})
CHOICES = {
    "body": get_args(Body),
    "empty": get_args(Empty),
    "how": get_args(End),
    "error_form": get_args(ErrorForm),
    "inside": get_args(Inside),
    "quota_per": get_args(QuotaSpan),
}

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request; each field is described in the table of this module.

    Raises:
        ConfigError: a value is not possible, or two fields contradict each other.
    """

    reset: bool = False
    close: bool = False
    wait: float | None = None
    status: int | None = None
    retry_after: float | None = None
    retry_date: float | None = None
    retry_info: float | None = None
    quota: int | None = None
    quota_per: QuotaSpan | None = None
    body: Body | None = None
    blocked: str | None = None
    rated: str | None = None
    empty: Empty | None = None
    finish: str | None = None
    finish_after: int | None = None
    no_finish: bool = False
    finish_twice: bool = False
    continuation: int | None = None
    checkpoint: int | None = None
    cut: int | None = None
    cut_bytes: int | None = None
    inside: Inside | None = None
    how: End | None = None
    error: int | None = None
    error_after: int | None = None
    error_form: ErrorForm | None = None
    stall: int | None = None
    stall_for: float | None = None
    drip: int | None = None
    drip_pause: float | None = None
    sse: Collection[str] = frozenset()
    gzip: bool = False

    def __post_init__(self) -> None:
        # One word or a list of them is as good; of a frozen object this is the way to keep it as a set.
        object.__setattr__(self, "sse", frozenset({self.sse} if isinstance(self.sse, str) else self.sse))
        _check_values(self)
        given = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        for name, bases in _NEEDS.items():
            if name in given and not given & set(bases):
                raise _wrong(f"{_word(name)} needs {' or '.join(map(_word, bases))}.")
        instead = [name for name in _INSTEAD if name in given]
        both = next((pair for pair in _BOTH if given.issuperset(pair)), instead[:2])
        if len(both) > 1:
            raise _wrong(f"{_word(both[0])} and {_word(both[1])} exclude each other.")
        if instead and (said := given & {"finish_after", "continuation", "checkpoint", "error", "cut"}):
            raise _wrong(f"{_word(instead[0])} leaves no answer for {_word(min(said))}.")
        if {"cr", "lf"} <= set(self.sse):
            raise _wrong("sse=cr and sse=lf exclude each other.")

    @property
    def refuses(self) -> bool:
        """Whether the request is not answered at all, or with an error status."""
        return self.reset or self.close or self.status is not None


def _check_values(fault: Fault) -> None:
    for name, choices in CHOICES.items():
        value = getattr(fault, name)
        if value is not None and value not in choices:
            raise _wrong(f"{_word(name)} is one of {', '.join(choices)}, not {value!r}.")
    if unknown := sorted(set(fault.sse) - SSE_WORDS):
        raise _wrong(f"sse knows {', '.join(sorted(SSE_WORDS))}, not {unknown[0]!r}.")
    for name in ("status", "error"):
        code = getattr(fault, name)
        if code is not None and not 200 <= code <= 599:
            raise _wrong(f"{_word(name)} is an HTTP status from 200 to 599, not {code}.")
    for field in fields(fault):
        value = getattr(fault, field.name)
        if isinstance(value, int | float) and (value < 0 or math.isnan(value)):
            raise _wrong(f"{_word(field.name)} cannot be {value}.")
    for name in ("retry_after", "retry_date", "retry_info"):
        if getattr(fault, name) == math.inf:
            raise _wrong(f"{_word(name)} is a number of seconds, not forever.")
    if fault.drip == 0:
        raise _wrong("drip is at least 1 byte at a time.")


def _word(name: str) -> str:
    return name.replace("_", "-")


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"Not a fault: {problem}", hint="See `gemini-nb simulator --list-faults`.")
