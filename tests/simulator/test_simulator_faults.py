"""Each fault as it looks on a raw socket."""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from gemini_nb.simulator import Simulator
from raw_client import Raw, exchange, reasons, said, struck
from simulator_wire import ask, chunks_of

EVENTS = 30
"""More events than the answer has."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator(pace=0, api_key="right") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def whole(sim: Simulator) -> list[dict[str, Any]]:
    answer = exchange(sim.base_url)
    assert answer.ending == "end"
    assert 6 < len(answer.chunks) < EVENTS
    return answer.chunks


# ------------------------------------------------------------------------------- instead of the answer


@pytest.mark.parametrize(("spec", "ending"), [("reset", "rst"), ("close", "fin"), ("wait=0.1~reset", "rst")])
def test_the_connection_ends_before_anything_is_sent(sim: Simulator, spec: str, ending: str) -> None:
    answer = struck(sim, spec)
    assert (answer.status, answer.body, answer.ending) == (0, b"", ending)
    assert answer.seconds >= (0.1 if "wait" in spec else 0)


def error_of(answer: Raw) -> dict[str, Any]:
    error: dict[str, Any] = answer.json["error"]
    assert error["code"] == answer.status
    return error


def detail(answer: Raw, kind: str) -> dict[str, Any]:
    [found] = [one for one in error_of(answer)["details"] if one["@type"].endswith("google.rpc." + kind)]
    return dict(found)


def seconds_until(date: str) -> float:
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    return parsedate_to_datetime(date).timestamp() - time.time()


STATUSES: list[tuple[str, int, Callable[[Raw], bool]]] = [
    ("503", 503, lambda got: error_of(got)["status"] == "UNAVAILABLE"),
    ("408", 408, lambda got: bool(error_of(got)["message"])),
    ("429~retry-after=2", 429, lambda got: got.headers["retry-after"] == "2"),
    ("429~retry-date=60", 429, lambda got: 55 < seconds_until(got.headers["retry-after"]) <= 61),
    ("429~retry-info=58.93", 429, lambda got: detail(got, "RetryInfo")["retryDelay"] == "58.93s"),
    ("429~retry-info=58.93", 429, lambda got: "Please retry in 58.93s." in error_of(got)["message"]),
    ("429~quota", 429, lambda got: detail(got, "QuotaFailure")["violations"][0]["quotaValue"] == "10"),
    ("429~quota=0", 429, lambda got: ", limit: 0, model: gemini-3.8-flash" in error_of(got)["message"]),
    ("429~quota=0~retry-info=1", 429, lambda got: len(error_of(got)["details"]) == 2),
    ("403~body=array", 403, lambda got: [*got.json[0]] == ["error"] and len(got.json) == 1),
    ("502~body=html", 502, lambda got: b"<b>502.</b>" in got.body and "html" in got.headers["content-type"]),
    ("200~body=html", 200, lambda got: got.body.startswith(b"<!DOCTYPE html>")),
    ("500~body=empty", 500, lambda got: got.body == b""),
    ("204", 204, lambda got: got.body == b""),
    ("wait=0.1~500", 500, lambda got: got.seconds >= 0.1),
]


@pytest.mark.parametrize(("spec", "status", "right"), STATUSES)
def test_a_status(sim: Simulator, spec: str, status: int, right: Callable[[Raw], bool]) -> None:
    answer = struck(sim, spec)
    assert answer.status == status
    assert (
        answer.ending == ("fin" if status == 204 else "end") or answer.headers.get("content-length") is None
    )
    assert right(answer)


def test_the_error_of_an_array_is_wrapped_in_any_case(sim: Simulator) -> None:
    assert struck(sim, "503", method="streamGenerateContent").json[0]["error"]["code"] == 503
    plain = struck(sim, "503~body=object", method="streamGenerateContent")
    assert plain.json["error"]["code"] == 503


def test_an_error_body_breaks_off(sim: Simulator) -> None:
    answer = struck(sim, "503~cut-bytes=20~how=rst")
    assert (answer.status, len(answer.body), answer.ending) == (503, 20, "rst")


def test_a_prompt_is_blocked(sim: Simulator) -> None:
    for spec, reason in (("blocked", "SAFETY"), ("blocked=PROHIBITED_CONTENT", "PROHIBITED_CONTENT")):
        [chunk] = struck(sim, spec).chunks
        assert chunk["promptFeedback"] == {"blockReason": reason}
        assert "candidates" not in chunk
        assert chunk["usageMetadata"]["promptTokenCount"] == chunk["usageMetadata"]["totalTokenCount"] > 0


# ------------------------------------------------------------------------------------------- cut answers

CUTS = [
    ("cut=3", 3, "fin"),
    ("cut=3~how=fin", 3, "fin"),
    ("cut=3~how=rst", 3, "rst"),
    ("cut=3~how=end", 3, "end"),
    ("cut=3~how=length", 3, "fin"),
    ("cut=0", 0, "fin"),
    ("cut=0~how=rst", 0, "rst"),
    ("cut=0~how=end", 0, "end"),
    (f"cut={EVENTS}~how=rst", None, "rst"),
    ("how=rst", None, "rst"),
    ("how=length", None, "fin"),
    ("how=end", None, "end"),
    (f"cut-bytes={10**6}", None, "fin"),
]


@pytest.mark.parametrize(("spec", "events", "ending"), CUTS)
def test_an_answer_is_cut_after_events(
    sim: Simulator, whole: list[dict[str, Any]], spec: str, events: int | None, ending: str
) -> None:
    answer = struck(sim, spec)
    assert (answer.status, answer.ending) == (200, ending)
    assert said(answer.chunks) == said(whole[:events])
    promised = answer.headers.get("content-length")
    assert (promised is not None and int(promised) > len(answer.body)) == ("length" in spec)


@pytest.mark.parametrize("how", ["fin", "rst", "end", "length"])
@pytest.mark.parametrize("size", [0, 1, 700])
def test_an_answer_is_cut_after_bytes(sim: Simulator, how: str, size: int) -> None:
    answer = struck(sim, f"cut-bytes={size}~how={how}")
    assert (answer.status, len(answer.body)) == (200, size)
    assert answer.ending == ("fin" if how == "length" else how)


@pytest.mark.parametrize("text", ["Explain how tides work", "Explain Größe, 日本語 and 🌊"])
def test_a_cut_goes_through_a_character(sim: Simulator, text: str) -> None:
    answer = struck(sim, "cut=2~inside=character", ask(text))
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        answer.body.decode()
    assert len(chunks_of(answer.body[: answer.body.rindex(b"data:")])) == 2


def test_a_cut_goes_through_json(sim: Simulator) -> None:
    for spec, blank in (("cut=2~inside=json~how=end", False), ("cut=2~inside=event~how=rst", True)):
        answer = struck(sim, spec)
        *events, last = answer.body.split(b"data: ")[1:]
        assert len(events) == 2
        assert last.endswith(b"\r\n\r\n") == blank
        with pytest.raises(json.JSONDecodeError):
            json.loads(last)


def test_an_array_is_cut(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "cut=2~how=end", method="streamGenerateContent")
    assert said(json.loads(answer.body + b"]")) == said(whole[:2])
    complete = struck(sim, "how=rst", method="streamGenerateContent")
    assert (said(complete.json), complete.ending) == (said(whole), "rst")


def test_one_response_is_one_event(sim: Simulator) -> None:
    before = struck(sim, "cut=0", method="generateContent")
    assert (before.status, before.body, before.ending) == (200, b"", "fin")
    after = struck(sim, "cut=1~how=rst", method="generateContent")
    assert (reasons([after.json]), after.ending) == (["STOP"], "rst")
    half = struck(sim, "cut-bytes=50", method="generateContent")
    assert (len(half.body), half.ending) == (50, "fin")


# ------------------------------------------------------------------------------- errors inside an answer


@pytest.mark.parametrize("events", [0, 2])
@pytest.mark.parametrize(
    ("form", "start"), [("event", b'data: {"error"'), ("raw", b"{\n"), ("array", b"[\n")]
)
def test_an_error_stands_in_the_answer(
    sim: Simulator, whole: list[dict[str, Any]], events: int, form: str, start: bytes
) -> None:
    answer = struck(sim, f"error=429~error-after={events}~error-form={form}~retry-info=3")
    assert (answer.status, answer.ending) == (200, "end")
    *chunks, error = answer.chunks
    assert said(chunks) == said(whole[:events])
    assert (error["error"]["code"], error["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["error"]["details"][0]["retryDelay"] == "3s"
    assert answer.pieces[-1].startswith(start)
    assert (b"data:" in answer.pieces[-1]) == (form == "event")


def test_a_connection_breaks_after_an_error(sim: Simulator) -> None:
    answer = struck(sim, "error=500~how=rst")
    assert (answer.chunks[0]["error"]["status"], answer.ending) == ("INTERNAL", "rst")


# -------------------------------------------------------------------------------------- silent and slow


@pytest.mark.parametrize(
    ("spec", "status", "events"), [("stall=2", 200, 2), ("stall=0", 200, 0), ("wait=forever", 0, 0)]
)
def test_an_answer_stalls_until_its_client_leaves(
    sim: Simulator, whole: list[dict[str, Any]], spec: str, status: int, events: int
) -> None:
    sim.faults = [spec]
    answer = exchange(sim.base_url, patience=0.2)
    assert (answer.status, answer.ending, said(answer.chunks)) == (status, "silent", said(whole[:events]))
    deadline = time.monotonic() + 5
    while sim.open_answers and time.monotonic() < deadline:
        time.sleep(0.005)
    assert sim.open_answers == 0


def test_a_stalled_answer_goes_on_or_ends(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "stall=2~stall-for=0.2")
    assert (said(answer.chunks), answer.ending) == (said(whole), "end")
    assert 0.2 <= answer.seconds < 2
    cut = struck(sim, "stall=2~stall-for=0.2~cut=2~how=rst")
    assert (said(cut.chunks), cut.ending) == (said(whole[:2]), "rst")
    assert cut.seconds >= 0.2


def test_an_answer_drips(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "drip=7~drip-pause=0")
    assert said(answer.chunks) == said(whole)
    assert max(map(len, answer.pieces)) == 7
    slow = struck(sim, "drip~drip-pause=0.01~cut-bytes=20")
    assert (list(map(len, slow.pieces)), slow.seconds >= 0.19) == ([1] * 20, True)


# ------------------------------------------------------------------------------------- odd, and yet right

ODD: list[tuple[str, Callable[[bytes], bool]]] = [
    ("comments", lambda body: body.startswith(b": keep-alive\r\n\r\ndata: {")),
    ("lf", lambda body: b"\r" not in body and body.endswith(b"\n\n")),
    ("cr", lambda body: b"\n" not in body and body.endswith(b"\r\r")),
    ("nospace", lambda body: body.startswith(b"data:{")),
    ("fields", lambda body: body.startswith(b"event: message\r\nid: 1\r\nretry: 1000\r\n")),
    ("bom", lambda body: body.startswith(b"\xef\xbb\xbfdata: {") and body.count(b"\xef\xbb\xbf") == 1),
    ("done", lambda body: body.endswith(b"}\r\n\r\ndata: [DONE]\r\n\r\n")),
    ("multiline", lambda body: body.startswith(b'data: {\r\ndata:  "candidates"')),
    ("bom,cr,nospace,comments", lambda body: body.startswith(b"\xef\xbb\xbf: keep-alive\r\rdata:{")),
]


@pytest.mark.parametrize(("words", "right"), ODD)
def test_odd_events_say_the_same(
    sim: Simulator, whole: list[dict[str, Any]], words: str, right: Callable[[bytes], bool]
) -> None:
    answer = struck(sim, f"sse={words}")
    assert right(answer.body), answer.body[:200]
    assert said(chunks_of(answer.body.replace(b"data: [DONE]", b""))) == said(whole)


def test_an_answer_is_compressed(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert said(chunks_of(gzip.decompress(answer.body))) == said(whole)
    first = zlib.decompressobj(wbits=31).decompress(answer.pieces[0])
    assert said(chunks_of(first)) == said(whole[:1])
    error = struck(sim, "gzip~error=503")
    assert chunks_of(gzip.decompress(error.body))[0]["error"]["code"] == 503
    cut = struck(sim, "gzip~cut-bytes=100")
    assert (len(cut.body), cut.ending) == (100, "fin")


# -------------------------------------------------------------------------------------------- and together


def test_faults_are_combined(sim: Simulator, whole: list[dict[str, Any]]) -> None:
    answer = struck(sim, "wait=0.05~drip=50~drip-pause=0~sse=nospace,cr~stall=1~stall-for=0.05~cut=4~how=rst")
    assert (said(answer.chunks), answer.ending) == (said(whole[:4]), "rst")
    assert answer.seconds >= 0.1
    assert max(map(len, answer.pieces)) == 50
    assert b"\n" not in answer.body


def test_a_script_has_faults_as_well() -> None:
    def script(body: dict[str, Any], model: str) -> list[Any]:
        return [{"n": 1}, 0.0, b": raw\r\n\r\n", {"n": 2}, {"n": 3}]

    with Simulator(pace=0, scenario=script, faults=["cut=2", "error=503~error-after=1"]) as sim:
        assert exchange(sim.base_url).chunks == [{"n": 1}, {"n": 2}]
        first, error = exchange(sim.base_url).chunks
    assert (first, error["error"]["code"]) == ({"n": 1}, 503)
