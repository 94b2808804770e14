"""Every fault of the simulator, and what becomes of a stream that meets it.

The expected text is the answer that the same prompt gets where nothing goes wrong. What is true of all
streams is checked of each, in `asking`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from asking import Asker, count
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import (
    APIError,
    EmptyAnswerError,
    GeminiError,
    IdleTimeoutError,
    PromptBlockedError,
    StreamCutError,
    TransportError,
)
from gemini_nb.simulator import Fault, Simulator, parse_fault
from gemini_nb.streams.manager import StreamManager
from simulator_wire import CHOICES


@dataclass(frozen=True)
class Row:
    """One fault, and what comes of it; what is left out is a whole answer to the first request.

    Attributes:
        faults: one for each request in order.
        requests: how many are made.
        retries: RetryScheduled events; by default one for each request but the first.
        rewinds: TextRewound events.
        text: "whole", "part" (a beginning that is neither nothing nor all) or "nothing".
        error: the exact class of the error; then the stream's status is "error".
        says: words in the error's text.
        code: the error's status code.
        finish: the finish reason.
        options: for `start_stream`.
    """

    faults: tuple[str | None, ...]
    requests: int = 1
    retries: int | None = None
    rewinds: int = 0
    text: str = "whole"
    error: type[GeminiError] | None = None
    says: tuple[str, ...] = ()
    code: int | None = None
    finish: str | None = "STOP"
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return ",".join(str(fault) for fault in self.faults)


def once(fault: str, *, rewinds: int = 0, **more: Any) -> Row:
    """A fault that strikes once; asking again gets the whole answer."""
    return Row((fault,), requests=2, rewinds=rewinds, **more)


def fails(fault: str, error: type[GeminiError], *says: str, requests: int = 1, **more: Any) -> Row:
    """A fault that ends the stream with this error, however often it is asked."""
    more = {"text": "nothing", "finish": None, **more}
    return Row((f"{fault}~times=all",), requests=requests, error=error, says=says, **more)


def harmless(fault: str) -> Row:
    """A fault that nobody notices."""
    return Row((fault,))


PATIENT_ONLY_ONCE = {"retry": RetryPolicy(initial_delay=0.002, max_delay=0.01, max_server_delay=0.5)}
KEEP = {"retry": RetryPolicy(on_cut="keep")}
SHORT = {"timeout": 0.3}
GAVE_UP = "Gave up after 5 attempts"
RESTARTED = "Gave up after 4 attempts"

BEFORE = [
    once("reset"),
    once("close"),
    once("wait=0.05~reset"),
    once("wait=0.05~close"),
    harmless("wait=0.05"),
    *(once(str(status)) for status in (408, 429, 500, 502, 503, 504, 520, 529)),
    *(once(f"503~body={kind}") for kind in CHOICES["body"]),
    *(once(f"429~body={kind}") for kind in CHOICES["body"]),
    once("503~retry-after=0"),
    once("503~retry-after=1"),
    once("429~retry-date=1"),
    once("429~retry-info=0.05~quota"),
    once("429~retry-info=0.05~quota~body=array"),
    once("502~body=html~gzip"),
    Row(("reset", "503", "close", "429~retry-info=0.02"), requests=5),
    fails("reset", TransportError, "127.0.0.1 closed the connection", GAVE_UP, requests=5),
    fails("close", TransportError, "127.0.0.1 closed the connection", GAVE_UP, requests=5),
    fails("503", APIError, "503 UNAVAILABLE", "overloaded", "server's side", GAVE_UP, requests=5, code=503),
    fails("503~body=html", APIError, "Error 503 (Simulated)!!1", GAVE_UP, requests=5, code=503),
    fails("503~body=empty", APIError, "(empty body)", GAVE_UP, requests=5, code=503),
    fails("429", APIError, "429 RESOURCE_EXHAUSTED", "quota for gemini-3.8-flash", requests=5, code=429),
    fails(
        "429~retry-info=58.93~quota",
        APIError,
        "The server asks to wait 58.9 s, longer than the 0.5 s",
        "quota for gemini-3.8-flash",
        code=429,
        options=PATIENT_ONLY_ONCE,
    ),
    fails("503~retry-after=3600", APIError, "asks to wait 3600 s, longer than the 60 s", code=503),
    fails("429~retry-date=7200", APIError, "asks to wait 7", "longer than the 60 s", code=429),
    fails("429~quota=0~retry-info=1", APIError, "no quota for gemini-3.8-flash at all", code=429),
    fails(
        "429~quota=50~quota-per=day~retry-info=30",
        APIError,
        "The daily quota for gemini-3.8-flash is used up",
        "midnight Pacific time",
        code=429,
    ),
    fails("403~body=bare", APIError, "403 PERMISSION_DENIED", "the key is right", code=403),
    fails("400", APIError, "400 INVALID_ARGUMENT", "does not fit this model", code=400),
    fails("401", APIError, "401 UNAUTHENTICATED", "the key is right", code=401),
    fails("403", APIError, "403 PERMISSION_DENIED", "the key is right", code=403),
    fails("404", APIError, "404 NOT_FOUND", "a model 'gemini-3.8-flash'", "region", code=404),
    fails("400~body=array", APIError, "400 INVALID_ARGUMENT", code=400),
    fails("403~body=html", APIError, "Error 403", "the key is right", code=403),
    *(fails(str(status), APIError, str(status), code=status) for status in (409, 413, 499, 407)),
    fails("505", APIError, "505", "server's side", code=505),
    fails("501", APIError, "501", "server's side", code=501),
    fails("204", APIError, "204", code=204),
    fails("302", APIError, "a redirect", "not followed", code=302),
    fails("304", APIError, "a redirect", code=304),
    fails("blocked", PromptBlockedError, "blocked: SAFETY", "safety_settings", code=200),
    fails("blocked=PROHIBITED_CONTENT", PromptBlockedError, "PROHIBITED_CONTENT", code=200),
    fails("blocked~rated=harassment", PromptBlockedError, "(HARM_CATEGORY_HARASSMENT)", code=200),
    once("wait=forever", options=SHORT),
    fails("wait=forever", IdleTimeoutError, "nothing for", "`timeout`", requests=2, options=SHORT),
]

SAID = [
    *(once(f"empty={kind}") for kind in CHOICES["empty"]),
    *(
        fails(f"empty={kind}", EmptyAnswerError, "without a word", requests=3, code=200, finish="STOP")
        for kind in CHOICES["empty"]
    ),
    once("empty=role~finish-twice"),
    Row(("finish=SAFETY~finish-after=4",), text="part", finish="SAFETY"),
    Row(("finish=RECITATION~finish-after=4",), text="part", finish="RECITATION"),
    Row(("finish=MAX_TOKENS~finish-after=4",), text="part", finish="MAX_TOKENS"),
    Row(("finish=NEW_REASON~finish-after=4",), text="part", finish="NEW_REASON"),
    fails(
        "finish=SAFETY~finish-after=0",
        EmptyAnswerError,
        "SAFETY and without an answer",
        "safety_settings",
        code=200,
        finish="SAFETY",
    ),
    fails(
        "finish=SAFETY~finish-after=0~rated=dangerous_content",
        EmptyAnswerError,
        "SAFETY (HARM_CATEGORY_DANGEROUS_CONTENT)",
        code=200,
        finish="SAFETY",
    ),
    Row(("finish=MAX_TOKENS",), finish="MAX_TOKENS"),
    once("finish=MALFORMED_FUNCTION_CALL~finish-after=0"),
    once("finish=UNEXPECTED_TOOL_CALL~finish-after=3", rewinds=1),
    Row(("finish=MALFORMED_FUNCTION_CALL~times=2",), requests=3, rewinds=2),
    fails(
        "finish=MALFORMED_FUNCTION_CALL~finish-after=0",
        EmptyAnswerError,
        "MALFORMED_FUNCTION_CALL",
        "simplify the tools",
        requests=3,
        code=200,
        finish="MALFORMED_FUNCTION_CALL",
    ),
    once("no-finish", rewinds=1),
    fails("no-finish", StreamCutError, "finishReason", RESTARTED, requests=4, rewinds=3, text="whole"),
    harmless("finish-twice"),
    Row(("continuation=3",), requests=2, retries=0),
    Row(("continuation=0",), requests=2, retries=0),
    Row(("continuation=3", "continuation=5", "continuation=2"), requests=4, retries=0),
    harmless("checkpoint=0"),
    harmless("checkpoint=3"),
]

ARRIVES = [
    *(
        once(f"cut={events}~how={how}", rewinds=1)
        for events, how in itertools.product((1, 4, 20), CHOICES["how"])
    ),
    *(once(f"cut=0~how={how}") for how in CHOICES["how"]),
    *(
        once(f"cut=5~inside={inside}~how={how}", rewinds=1)
        for inside, how in itertools.product(CHOICES["inside"], CHOICES["how"])
    ),
    *(once(f"cut=0~inside={inside}") for inside in CHOICES["inside"]),
    *(once(f"cut-bytes={count}{how}") for count in (0, 1, 4, 5, 20) for how in ("", "~how=end")),
    *(once(f"cut-bytes={count}~how={how}", rewinds=1) for count in (2000, 4001) for how in CHOICES["how"]),
    once("cut-bytes=1000~gzip", rewinds=1),
    once("cut=9~gzip", rewinds=1),
    once("cut=9~gzip~how=rst", rewinds=1),
    Row(("cut=2", "cut=4", "cut=6"), requests=4, rewinds=3),
    Row(("cut=2", "503", "reset", "cut=4", "500", "429~retry-info=0.01", "408"), requests=8, rewinds=2),
    fails(
        "cut=3",
        TransportError,
        "closed in the middle of the answer",
        RESTARTED,
        requests=4,
        rewinds=3,
        text="part",
    ),
    Row(("cut=5", "400"), requests=2, text="part", error=APIError, says=("400",), code=400, finish=None),
    Row(("cut=5",), text="part", error=TransportError, options=KEEP, finish=None),
    *(harmless(f"how={how}{more}") for how in ("fin", "length", "end") for more in ("", "~finish-twice")),
    *(once(f"error={code}") for code in (408, 429, 500, 503, 504)),
    *(once(f"error=503~error-form={form}") for form in CHOICES["error_form"]),
    *(once(f"error=429~error-after=4~error-form={form}", rewinds=1) for form in CHOICES["error_form"]),
    *(once(f"error=503~error-after=4~how={how}", rewinds=1) for how in CHOICES["how"]),
    once("error=429~error-after=4~retry-info=0.05~quota", rewinds=1),
    fails("cut=3~how=rst", TransportError, "middle", RESTARTED, requests=4, rewinds=3, text="part"),
    fails("cut=3~how=end", StreamCutError, "finishReason", RESTARTED, requests=4, rewinds=3, text="part"),
    fails("cut=3~inside=event", StreamCutError, "an event", RESTARTED, requests=4, rewinds=3, text="part"),
    fails("error=503", APIError, "503 UNAVAILABLE", GAVE_UP, requests=5, code=503),
    fails("error=403", APIError, "403 PERMISSION_DENIED", "the key is right", code=403),
    fails("error=400~error-after=4", APIError, "400 INVALID_ARGUMENT", text="part", code=400),
    fails("error=429~quota=0~error-after=4", APIError, "no quota", text="part", code=429),
    fails("error=429~quota~quota-per=day~error-after=4", APIError, "daily quota", text="part", code=429),
    fails("error=429~retry-info=3600~error-after=4", APIError, "wait 3600 s", text="part", code=429),
    harmless("stall=3~stall-for=0.05"),
    harmless("stall=0~stall-for=0.05"),
    once("stall=3", rewinds=1, options=SHORT),
    once("stall=0", options=SHORT),
    fails("stall=0", IdleTimeoutError, "nothing for", requests=2, options=SHORT),
    fails("stall=3", IdleTimeoutError, "nothing for", requests=4, rewinds=3, text="part", options=SHORT),
    harmless("drip=400~drip-pause=0.0001"),
    Row(("drip=300~drip-pause=0.02",), options={"timeout": 1.0}),  # longer than the timeout in all
    once("drip=400~drip-pause=0.0001~cut=7", rewinds=1),
    *(harmless(f"sse={word}") for word in sorted(CHOICES["sse"])),
    harmless("sse=comments,cr,nospace,fields,bom,done,multiline"),
    harmless("sse=lf,comments,fields~gzip~drip=300~drip-pause=0.0001"),
    once("sse=comments,multiline~cut=6", rewinds=1),
    once("sse=cr~cut=6~inside=event", rewinds=1),
    harmless("gzip"),
]

RESUMES = [
    once("checkpoint=3~cut=5", rewinds=1),
    once("checkpoint=3~cut=5~how=rst", rewinds=1),
    once("checkpoint=3~cut=3"),  # nothing came after the place to go on from
    once("checkpoint=3~error=503~error-after=6", rewinds=1),
    once("checkpoint=3~stall=6", rewinds=1, options=SHORT),
    once("checkpoint=3~no-finish", rewinds=1),
    Row(("checkpoint=3~cut=5", "503", "checkpoint=4~cut=6", "reset"), requests=5, rewinds=2),
    Row(tuple(["checkpoint=3~cut=5"] * 8), requests=9, rewinds=8),  # each is further than the one before
    Row(("cut=3", "checkpoint=0"), requests=2, rewinds=1),  # a place to go on from before any output
    Row(("cut=3", "checkpoint=0~cut=1", "reset"), requests=4, rewinds=1),
    Row(("checkpoint=3~cut=5", "400"), requests=3, rewinds=1),  # the token is not known any more
    Row(("checkpoint=3~cut=5", "404"), requests=3, rewinds=1),
    Row(("continuation=3", "reset"), requests=3, retries=1),
    Row(("continuation=3", "cut=4"), requests=3, retries=1, rewinds=1),
    Row(("continuation=3~gzip", "503~retry-after=0"), requests=3, retries=1),
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as running:
        yield running


@pytest.fixture(scope="module")
def manager() -> Iterator[StreamManager]:
    made = StreamManager()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def asker(simulator: Simulator, manager: StreamManager) -> Asker:
    return Asker(simulator, manager)


@pytest.mark.parametrize("row", [*BEFORE, *SAID, *ARRIVES, *RESUMES], ids=str)
def test_a_fault(asker: Asker, row: Row) -> None:
    whole = asker.whole()
    before = asker.simulator.request_count
    asker.simulator.faults = row.faults
    stream = asker.ask(**row.options)
    assert stream.status == ("completed" if row.error is None else "error"), stream.error
    assert asker.simulator.request_count - before == row.requests
    assert count(stream, "retry_scheduled") == stream.retries
    assert stream.retries == (row.requests - 1 if row.retries is None else row.retries)
    assert count(stream, "text_rewound") == row.rewinds
    if row.text == "whole":
        assert stream.text == whole
    else:
        assert whole.startswith(stream.text)
        assert bool(stream.text) is (row.text == "part")
        assert stream.text != whole
    assert stream.finish_reason == row.finish
    if row.error is not None:
        error = stream.error
        assert error is not None
        assert type(error) is row.error
        assert all(words in str(error) for words in row.says), str(error)
        assert (error.status_code, error.attempts) == (row.code, row.requests)


def test_the_table_has_every_fault() -> None:
    specs = [spec for row in (*BEFORE, *SAID, *ARRIVES, *RESUMES) for spec in row.faults if spec]
    words = {term.partition("=")[0] for spec in specs for term in spec.split("~")}
    names = {name.replace("_", "-") for name in Fault.__dataclass_fields__}
    assert names - words == {"status"}  # which is written as its number
    assert all(parse_fault(spec) for spec in specs)
