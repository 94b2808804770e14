from __future__ import annotations

import asyncio
import gzip
import json
import threading
from itertools import pairwise
from typing import Any

import pytest

from calling import BODY, KEEP, KEY, NOW, Outcome, ask, call_to, collect, endpoint_to
from gemini_nb.api.call import ChunkReceived
from gemini_nb.api.client import call_model
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import APIError, ProtocolError, StreamCutError, TransportError
from scripted import (
    PATIENCE,
    Answer,
    Close,
    Request,
    Reset,
    ScriptedServer,
    Signal,
    Step,
    Wait,
    call,
    json_error,
    sse_answer,
    sse_event,
    text,
)

HELLO = [text("Hel"), text("lo"), text("!", finish="STOP")]
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}


async def test_an_answer(clients: HTTPClients) -> None:
    usage = {"usageMetadata": {"totalTokenCount": 9}}
    chunks = [
        text("Hmm", thought=True),
        text("Hel"),
        call("f", id="1"),
        {**text("lo", finish="STOP"), **usage},
    ]
    with ScriptedServer([sse_answer(*chunks)]) as server:
        outcome = await ask(clients, server)
        [request] = server.requests
    assert outcome.error is None
    assert outcome.turn.parts == [
        {"text": "Hmm", "thought": True},
        {"text": "Hel"},
        {"functionCall": {"name": "f", "id": "1"}},
        {"text": "lo"},
    ]
    assert outcome.turn.usage == {"totalTokenCount": 9}
    assert outcome.turn.finish_reason == "STOP"
    assert [json.loads(chunk.data) for chunk in outcome.chunks] == chunks
    assert [chunk.parts for chunk in outcome.chunks] == [
        one["candidates"][0]["content"]["parts"] for one in chunks
    ]
    assert request.method == "POST"
    assert request.target == "/v1beta/models/gemini-test:streamGenerateContent?alt=sse"
    assert request.json == BODY


async def test_the_key_is_in_a_header_and_nowhere_else(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(*HELLO)]) as server:
        await ask(clients, server)
        [request] = server.requests
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "text/event-stream"
    assert "authorization" not in request.headers
    assert KEY not in request.target
    assert KEY not in request.body.decode()


async def test_a_connection_is_used_again(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(*HELLO), sse_answer(*HELLO)]) as server:
        assert (await ask(clients, server)).text == "Hello!"
        assert (await ask(clients, server)).text == "Hello!"
        assert [request.connection for request in server.requests] == [0, 0]


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["closed", "reset"])
async def test_a_connection_that_was_closed_while_it_rested_costs_no_attempt(
    clients: HTTPClients, end: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives the connections up at the very moment of the next request, all three of them."""
    monkeypatch.setattr("gemini_nb.api.transport._RESTED", 0.0)
    ready, all_there = [threading.Event() for _ in range(4)], threading.Event()
    answered: set[int] = set()

    def script(request: Request) -> Answer:
        if request.connection in answered:
            return [end]
        answered.add(request.connection)
        return [Signal(ready[request.connection]), Wait(all_there), *sse_answer(*HELLO)]

    with ScriptedServer(script) as server:
        first = [asyncio.create_task(ask(clients, server)) for _ in range(3)]
        for event in ready[:3]:
            await asyncio.to_thread(event.wait, PATIENCE)
        all_there.set()
        assert [outcome.text for outcome in await asyncio.gather(*first)] == ["Hello!"] * 3
        outcome = await ask(clients, server)
        assert len(server.requests) == 3 + 3 + 1
    assert (outcome.text, outcome.retries) == ("Hello!", [])


async def test_half_an_answers_head_is_an_attempt_on_whichever_connection(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemini_nb.api.transport._RESTED", 0.0)
    half: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Ty", Close()]
    with ScriptedServer([sse_answer(*HELLO), half, half, sse_answer(*HELLO)]) as server:
        assert (await ask(clients, server)).text == "Hello!"
        outcome = await ask(clients, server)
    assert outcome.text == "Hello!"
    for retry in outcome.retries:
        assert retry.error.message.endswith("it broke off in the middle of the answer's head.")
    assert len(outcome.retries) == 2


BODY_BYTES = b"".join(map(sse_event, [text("秋风 "), text("🌙"), text("\u2028.", finish="STOP")]))


@pytest.mark.parametrize(
    "pieces",
    [
        [BODY_BYTES],
        [BODY_BYTES[at : at + 1] for at in range(len(BODY_BYTES))],
        [BODY_BYTES[start:end] for start, end in pairwise(range(0, len(BODY_BYTES) + 7, 7))],
        [BODY_BYTES.rstrip()],
        [BODY_BYTES.replace(b"\r\n", b"\n")],
        [b"[" + BODY_BYTES.replace(b"data: ", b"").strip().replace(b"\r\n\r\n", b",\r\n") + b"]"],
    ],
    ids=["whole", "bytes", "sevens", "no blank line", "line feeds", "array"],
)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_an_answer_however_it_is_cut(clients: HTTPClients, pieces: list[bytes], framing: Any) -> None:
    with ScriptedServer([sse_answer(*pieces, framing=framing)]) as server:
        outcome = await ask(clients, server)
    assert (outcome.text, outcome.error) == ("秋风 🌙\u2028.", None)


async def test_a_compressed_answer(clients: HTTPClients) -> None:
    body = gzip.compress(BODY_BYTES)
    headers = {"Content-Encoding": "gzip"}
    with ScriptedServer([sse_answer(body[:40], body[40:], headers=headers)]) as server:
        assert (await ask(clients, server)).text == "秋风 🌙\u2028."
        assert "gzip" in server.requests[0].headers["accept-encoding"]


async def test_text_comes_before_the_answer_is_whole(clients: HTTPClients) -> None:
    more = threading.Event()
    turn = ModelTurn()
    with ScriptedServer([sse_answer(text("Hel"), Wait(more), text("lo", finish="STOP"))]) as server:
        events = call_model(clients, call_to(server), turn)
        assert isinstance(await anext(events), ChunkReceived)
        assert turn.parts == [{"text": "Hel"}]
        more.set()
        assert [type(event) async for event in events] == [ChunkReceived]
    assert turn.parts == [{"text": "Hello"}]


@pytest.mark.parametrize(
    "data", [b"data: [DONE]\n\n", b": ping\n\n", b"event: end\ndata:\n\n", b'data: "x"\n\n']
)
async def test_events_that_say_nothing(clients: HTTPClients, data: bytes) -> None:
    with ScriptedServer([sse_answer(data, *HELLO, data)]) as server:
        outcome = await ask(clients, server)
    assert (outcome.text, outcome.error, len(outcome.chunks)) == ("Hello!", None, 3)


@pytest.mark.parametrize(
    ("rest", "kind", "status"),
    [
        ([{"error": {"code": 503, "message": "busy"}}], APIError, 503),
        ([b'{\n"error": {\n"code": 499,\n"message": "gone"}\n}\n'], APIError, 499),
        ([b'[{"error": {"code": 429}}]'], APIError, 429),
        ([], StreamCutError, None),
        ([b'data: {"candidates": [{"conte'], StreamCutError, None),
        ([b"data: {nonsense}\n\n"], ProtocolError, None),
        ([Close()], TransportError, None),
    ],
)
async def test_what_broke_after_output_is_told_with_what_had_come(
    clients: HTTPClients, rest: list[Any], kind: type[Exception], status: int | None
) -> None:
    with ScriptedServer([sse_answer(text("Hel"), *rest)]) as server:
        outcome = await ask(clients, server, retry=KEEP)
    assert type(outcome.failure) is kind
    assert outcome.failure.status_code == status
    assert outcome.text == "Hel"
    assert outcome.retries == []


async def test_a_body_that_ends_properly_without_a_finish_reason_was_cut(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(text("Hel"), framing="close")]) as server:
        outcome = await ask(clients, server, retry=KEEP)
    assert isinstance(outcome.failure, StreamCutError)
    assert outcome.text == "Hel"


async def answered_until(clients: HTTPClients, chunks: list[dict[str, Any]], end: Step) -> Outcome:
    """Read the chunks, and only then let the connection end."""
    read = threading.Event()
    outcome = Outcome()
    with ScriptedServer([sse_answer(*chunks, Wait(read), end)]) as server:

        class Events(list[Any]):
            def append(self, event: Any) -> None:
                super().append(event)
                if len(self) == len(chunks):
                    read.set()

        outcome.events = Events()
        await collect(clients, call_to(server), outcome.events, outcome.turn)
    return outcome


@pytest.mark.parametrize("end", [Reset(), Close()])
async def test_a_connection_that_breaks_after_the_finish_reason(clients: HTTPClients, end: Step) -> None:
    outcome = await answered_until(clients, HELLO, end)
    assert outcome.text == "Hello!"


@pytest.mark.parametrize("end", [Reset(), Close()])
async def test_a_finish_reason_in_every_chunk_does_not_excuse_a_broken_connection(
    clients: HTTPClients, end: Step
) -> None:
    with pytest.raises(TransportError):
        await answered_until(clients, [text("Hel", finish="STOP"), text("lo", finish="STOP")], end)


async def test_a_blocked_prompt_is_an_answer(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer({"promptFeedback": {"blockReason": "SAFETY"}})]) as server:
        outcome = await ask(clients, server)
    assert outcome.error is None
    assert outcome.turn.block_reason == "SAFETY"


async def test_as_many_streams_at_once_as_are_asked_for(clients: HTTPClients) -> None:
    release = threading.Event()

    def script(_: Request) -> Answer:
        return sse_answer(text("Hel"), Wait(release), text("lo", finish="STOP"))

    with ScriptedServer(script) as server:
        tasks = [asyncio.create_task(ask(clients, server)) for _ in range(150)]
        await asyncio.to_thread(server.wait_open, 150)
        await asyncio.to_thread(server.wait_requests, 150)
        release.set()
        outcomes = await asyncio.gather(*tasks)
    assert {outcome.text for outcome in outcomes} == {"Hello"}


async def test_endpoint_and_policy_are_of_each_call(clients: HTTPClients) -> None:
    once = RetryPolicy(attempts=1)
    with ScriptedServer([json_error(503), json_error(503), sse_answer(*HELLO)]) as server:
        assert (await ask(clients, endpoint_to(server.url, model="a"), retry=once)).failure.attempts == 1
        assert (await ask(clients, endpoint_to(server.url, model="b"), retry=NOW)).text == "Hello!"
        assert [request.path.split("/")[-1].split(":")[0] for request in server.requests] == ["a", "b", "b"]
