"""What holds for every answer, however it is cut, resumed, told anew and split into packets.

The client runs whole, from the manager's orchestrator to the decoder; only the socket is replaced, by a
server that tells an answer of several parts, hands out tokens to go on from, and breaks off where it likes.
Told anew from its beginning, its answer comes out differently, as a model's does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.sse import SSEDecoder, encode
from gemini_nb.api.wire import Part
from gemini_nb.streams.conversation.orchestrator import ToolOrchestrator
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.manager import StreamManager

# ------------------------------------------------------------------ the decoder

NEWLINES = st.sampled_from(["\n", "\r", "\r\n"])
LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
NOTHING = st.one_of(
    LINES.map(lambda words: f":{words}"),
    st.sampled_from(["", "retry: 7", "unknown: field", "unknown", "id: 3", ": ping"]),
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """An event stream with everything that may stand around the data, and the data."""
    datas: list[str] = []
    body = draw(st.sampled_from(["", "\N{BYTE ORDER MARK}"]))
    for _ in range(draw(st.integers(0, 5))):
        newline = draw(NEWLINES)
        data = draw(st.lists(LINES, min_size=1, max_size=3))
        lines = draw(st.lists(NOTHING, max_size=2))
        for line in data:
            lines.append(
                f"data:{line}" if draw(st.booleans()) and not line.startswith(" ") else f"data: {line}"
            )
            lines += draw(st.lists(NOTHING.filter(bool), max_size=1))
        body += newline.join([*lines, "", ""])
        datas.append("\n".join(data))
    return body.encode(), datas


def split(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at some places, each taken modulo their number."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


PLACES = st.lists(st.integers(0, 10**6), max_size=12)


@settings(deadline=None, database=None, max_examples=100)
@given(bodies(), PLACES)
def test_any_split_of_any_stream_gives_its_events(body: tuple[bytes, list[str]], places: list[int]) -> None:
    data, expected = body
    decoder = SSEDecoder()
    events = [event for chunk in split(data, places) for event in decoder.feed(chunk)]
    assert [event.data for event in events + decoder.finish()] == expected


# ------------------------------------------------------------------ answers that break

WORDS = st.text(st.sampled_from("ab \n☀é🌙"), min_size=1, max_size=8)
PARTS = st.one_of(
    WORDS.map(lambda words: {"text": words}),
    WORDS.map(lambda words: {"text": words, "thought": True}),
    WORDS.map(lambda words: {"text": words, "thoughtSignature": "c2ln"}),
    st.just({"text": ""}),
    st.just({"text": "", "thoughtSignature": "c2ln"}),
    st.just({"groundingMetadata": {"webSearchQueries": ["q"]}}),  # beside the parts, not one of them
    st.just({"executableCode": {"code": "1", "language": "PYTHON"}, "new": {"field": [1]}}),
)
ANSWERS = st.lists(st.lists(PARTS, max_size=7), min_size=1, max_size=3)


@dataclass(frozen=True)
class Trouble:
    """What happens to one request.

    Attributes:
        status: answered instead of a stream; None for a stream.
        until: the bytes that arrive, as a share of all.
        resets: whether the connection breaks, or the body ends properly.
        tokens: after how many parts there is a token, modulo their number.
        hops: whether the server ends the request early, with CONTINUATION.
        error: an error event in place of the rest.
    """

    status: int | None = None
    until: float = 1.0
    resets: bool = False
    tokens: tuple[int, ...] = ()
    hops: bool = False
    error: bool = False


TOKENS = st.lists(st.integers(0, 20), max_size=2).map(tuple)
TROUBLES = st.lists(
    st.one_of(
        st.builds(Trouble, status=st.sampled_from([400, 408, 429, 500, 503])),
        st.builds(
            Trouble,
            until=st.floats(0, 1),
            resets=st.booleans(),
            tokens=TOKENS,
            hops=st.booleans(),
            error=st.booleans(),
        ),
    ),
    max_size=10,
)


@dataclass
class Model:
    """The server: tells the answers, one for each time it is asked from the beginning.

    Attributes:
        answers: the parts of each; they are told in turn.
        troubles: what happens to each request; those after them go well.
        places: where the bytes are cut into packets.
        asked: requests so far.
        told: answers begun so far.
        reached: which answer the client has newest, and how many parts of it.
    """

    answers: list[list[Part]]
    troubles: list[Trouble]
    places: list[int]
    asked: int = 0
    told: int = 0
    reached: tuple[int, int] = (0, 0)

    def parts(self, version: int) -> list[Part]:
        return [*self.answers[version % len(self.answers)], {"text": f"The end of {version}."}]

    def text(self, version: int, parts: int | None = None) -> str:
        told = self.parts(version)[:parts]
        return "".join(part.get("text", "") for part in told if not part.get("thought"))

    def respond(self, request: httpx.Request) -> httpx.Response:
        trouble = self.troubles[self.asked] if self.asked < len(self.troubles) else Trouble()
        self.asked += 1
        token = json.loads(request.content).get("continuationToken")
        # Without a token to forget, a 400 would be the end.
        status = None if trouble.status == 400 and token is None else trouble.status
        if status is not None:
            return httpx.Response(status, json={"error": {"code": status, "message": "no"}}, request=request)
        if token is None:
            version, start = self.told, 0
            self.told += 1
        else:
            version, start = map(int, token.split(":"))
        data = self._body(version, start, trouble)
        stream = _Body(split(data, self.places), trouble.resets)
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=stream, request=request)

    def _body(self, version: int, start: int, trouble: Trouble) -> bytes:
        parts = self.parts(version)
        marks = {start + mark % (len(parts) - start) for mark in trouble.tokens}
        body, ends = b"", []
        for place, part in enumerate(parts[start:], start):
            beside = "groundingMetadata" in part
            candidate: dict[str, Any] = (
                part.copy() if beside else {"content": {"role": "model", "parts": [part]}}
            )
            if place in marks:
                candidate["continuationToken"] = f"{version}:{place + 1}"
            last = place + 1 == len(parts)
            hop = trouble.hops and not last and place in marks
            if last or hop:
                candidate["finishReason"] = "CONTINUATION" if hop else "STOP"
                candidate.pop("continuationToken", None) if last else None
            body += encode(json.dumps({"candidates": [candidate]}, ensure_ascii=False))
            ends.append(len(body))
            if hop:
                break
        cut = round(len(body) * trouble.until)
        if trouble.error and cut < ends[-1]:
            error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
            cut = max([0, *(end for end in ends if end <= cut)])
            body = body[:cut] + encode(json.dumps(error))
        else:
            body = body[:cut]
        # At a proper end the blank line may be missing, and at none its last byte counts.
        whole = sum(end - (1 if trouble.resets else 4) <= cut for end in ends)
        if any(part != {"text": ""} for part in parts[start : start + whole]):
            self.reached = (version, start + whole)
        return body


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes], resets: bool) -> None:
        self._pieces, self._resets = pieces, resets

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._resets:
            raise httpx.ReadError("reset")


class Follower:
    """A reader on the loop's own thread, who compares after each event."""

    def __init__(self, record: StreamRecord) -> None:
        self._record = record
        self._seen = 0
        self.text = ""
        self.thoughts = ""
        self.parts: list[Part] = []
        self.wrong: list[object] = []

    def notify(self) -> None:
        for event in self._record.log.since(self._seen):
            self._seen += 1
            if event.kind == "text_delta":
                self.text += event.text
            elif event.kind == "thought_delta":
                self.thoughts += event.text
            elif event.kind == "part_received":
                self.parts.append(event.part)
            elif event.kind == "text_rewound":
                self.text = self.text[: event.length]
                self.thoughts = self.thoughts[: event.thoughts_length]
                del self.parts[event.parts :]
        if (self.text, self.thoughts) != (self._record.text, self._record.thoughts):
            self.wrong.append((self._seen, self.text, self._record.text))


@pytest.fixture(scope="module")
def manager() -> Iterator[StreamManager]:
    made = StreamManager()
    yield made
    made.shutdown()


def joined(parts: list[Part]) -> list[Part]:
    """The parts as they go into the history, told once more in another way."""
    made: list[Part] = []
    for part in parts:
        if "groundingMetadata" in part:
            continue
        plain = set(part) <= {"text", "thought"}
        if plain and not part["text"]:
            continue
        before = made[-1] if made else {"x": 0}
        if plain and set(before) <= {"text", "thought"} and before.get("thought") == part.get("thought"):
            made[-1] = {**before, "text": before["text"] + part["text"]}
        else:
            made.append(part)
    return made


def converse(manager: StreamManager, model: Model, policy: RetryPolicy) -> tuple[ToolOrchestrator, Follower]:
    options: dict[str, Any] = {
        "credentials": {"api_key": "k"},
        "base_url": "http://127.0.0.1:1",
        "retry": policy,
    }
    made = ToolOrchestrator(None, None, "Hi", "gemini", runtime=manager.runtime, **options)
    follower = Follower(made.stream.record)
    made.stream.record.log.attach(follower)
    with pytest.MonkeyPatch.context() as patch:

        async def send(client: object, request: httpx.Request, idle: object) -> httpx.Response:
            return model.respond(request)

        patch.setattr("gemini_nb.api.http._send", send)
        made.start().wait(20)
    return made, follower


ENDLESS = RetryPolicy(attempts=100, restarts=100, initial_delay=0)
STRICT = RetryPolicy(attempts=2, restarts=1, initial_delay=0)


@pytest.mark.slow
@settings(deadline=None, database=None, max_examples=100)
@given(answers=ANSWERS, troubles=TROUBLES, places=PLACES)
def test_an_answer_comes_out_whole_whatever_happens_to_it(
    manager: StreamManager, answers: list[list[Part]], troubles: list[Trouble], places: list[int]
) -> None:
    model = Model(answers, troubles, places)
    made, follower = converse(manager, model, ENDLESS)
    stream = made.stream
    assert not follower.wrong
    assert stream.status == "completed", stream.error
    version = model.reached[0]
    assert stream.text == follower.text == model.text(version)
    parts = model.parts(version)
    assert stream.parts == joined(parts)
    assert stream.thoughts == "".join(part["text"] for part in parts if part.get("thought"))
    assert follower.parts == [part for part in parts if "text" not in part]
    assert made.history[-1] == {"role": "model", "parts": stream.parts}


@settings(deadline=None, database=None, max_examples=100)
@given(answers=ANSWERS, troubles=TROUBLES, places=PLACES, keep=st.booleans())
def test_what_is_given_up_is_shown_as_far_as_it_came(
    manager: StreamManager, answers: list[list[Part]], troubles: list[Trouble], places: list[int], keep: bool
) -> None:
    model = Model(answers, troubles, places)
    policy = RetryPolicy(attempts=2, initial_delay=0, on_cut="keep") if keep else STRICT
    made, follower = converse(manager, model, policy)
    stream = made.stream
    assert not follower.wrong
    version, parts = model.reached
    assert follower.text == stream.text
    assert model.text(version).startswith(stream.text)
    assert stream.text.startswith(model.text(version, parts))
    if stream.status == "completed":
        assert stream.text == model.text(version)
