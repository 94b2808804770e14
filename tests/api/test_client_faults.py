from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest

from calling import KEEP, KEY, ask, call_to, collect, endpoint_to, shown
from gemini_nb.api.call import ChunkReceived, Timeouts
from gemini_nb.api.client import call_model
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import (
    APIError,
    ArgumentError,
    ConfigError,
    ConnectError,
    GeminiError,
    IdleTimeoutError,
    ProtocolError,
    StreamCutError,
    TransportError,
)
from scripted import (
    PATIENCE,
    Answer,
    Close,
    Request,
    Reset,
    ScriptedServer,
    Wait,
    answer,
    json_error,
    response,
    sse_answer,
    text,
)

ONCE = RetryPolicy(attempts=1)
ONCE_KEPT = RetryPolicy(attempts=1, on_cut="keep")
SHORT = Timeouts(connect=0.4, first_byte=0.1, idle=20.0)


HTML = b"<!doctype html>\n<title>Sign in</title>\n"
GARBLED = sse_answer(b"\x1f\x8b not gzip at all", headers={"Content-Encoding": "gzip"})
CHUNKED = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ([Close()], TransportError),
        ([Reset()], TransportError),
        ([b"HTTP/1.1 200", Close()], TransportError),
        ([b"SSH-2.0-OpenSSH_9.6\r\n", Close()], ProtocolError),
        ([b"HTTP/1.1 abc OK\r\n\r\n", Close()], ProtocolError),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", Close()], ProtocolError),
        (response(200, {"Content-Length": "many"}, Close()), ProtocolError),
        (response(200, {"Content-Length": "1000"}, b"data: x", Close()), TransportError),
        (sse_answer(Close()), TransportError),
        (sse_answer(Reset()), TransportError),
        (GARBLED, ProtocolError),
        (sse_answer(b"data: {nonsense}\n\n"), ProtocolError),
        (sse_answer(b"data: " + b"[" * 200_000 + b"\n\n"), ProtocolError),
        (sse_answer(b"data: " + b"1" * 10_000 + b"\n\n"), StreamCutError),
        (sse_answer(b"{ color: red; }\n"), ProtocolError),
        (sse_answer(b"\xff\xfe\x00\n\n"), ProtocolError),
        (sse_answer(), StreamCutError),
        (sse_answer(b'data: {"candidates'), StreamCutError),
        (sse_answer(b'data: {"candidates": 3}\n\ndata: [1, null]\n\n'), StreamCutError),
        (sse_answer({"error": None}), APIError),
        (sse_answer({"error": {"code": [], "details": [{"reason": []}], "message": []}}), APIError),
        (answer(200, {"Content-Type": "text/html"}, HTML), ProtocolError),
        (answer(200, {"Content-Type": "text/html"}), ProtocolError),
        (answer(200, {}, HTML), ProtocolError),
        (answer(204), APIError),
        (answer(599, {"Content-Type": "text/html"}, HTML), APIError),
        (response(503, {"Content-Length": "1000"}, b"half", Reset()), APIError),
        (response(400, {"Content-Encoding": "gzip", "Content-Length": "3"}, b"abc"), APIError),
    ],
)
async def test_every_fault_is_one_of_our_errors(
    clients: HTTPClients, fault: Answer, kind: type[GeminiError]
) -> None:
    with ScriptedServer([fault]) as server:
        outcome = await ask(clients, server, retry=ONCE)
    assert type(outcome.failure) is kind
    assert str(outcome.failure)
    assert KEY not in shown(outcome.failure)
    assert not outcome.turn.has_output


@pytest.mark.parametrize("late", [False, True])
async def test_chunks_that_are_none(clients: HTTPClients, late: bool) -> None:
    """Noticed when they come, not when the idle timeout is over, with the answer's head or after it."""
    begun = threading.Event()
    if late:  # the answer has begun and was read
        script = [*sse_answer(text("Hel"))[:-1], Wait(begun), b"XX not a chunk", Wait()]
    else:
        begun.set()
        script = response(200, CHUNKED, b"4\r\ndataXX", Wait())

    class Events(list[Any]):
        def append(self, event: Any) -> None:
            begun.set()

    with ScriptedServer([script]) as server:
        made = collect(clients, call_to(server, retry=ONCE_KEPT), Events(), ModelTurn())
        with pytest.raises(GeminiError) as caught:
            await asyncio.wait_for(made, 10)
    assert type(caught.value) in {ProtocolError, TransportError}


async def test_a_login_page_says_what_it_is(clients: HTTPClients) -> None:
    with ScriptedServer([answer(200, {"Content-Type": "text/html"}, HTML + KEY.encode())]) as server:
        failure = (await ask(clients, server)).failure
    assert "text/html: <!doctype html> <title>Sign in</title> [secret]" in failure.message
    assert "login page" in failure.hint


async def test_an_event_beyond_the_cap(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(b"data: " + b"x" * 5000)]) as server:
        failure = (await ask(clients, server, max_event_bytes=1000)).failure
    assert isinstance(failure, ProtocolError)
    assert "1,000 bytes" in failure.message


async def test_nobody_listens(clients: HTTPClients) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = await ask(clients, f"http://127.0.0.1:{port}")
    assert isinstance(outcome.failure, ConnectError)
    assert outcome.failure.attempts == 5
    assert "127.0.0.1" in outcome.failure.message


async def test_a_server_without_tls_where_there_should_be_one(clients: HTTPClients) -> None:
    with ScriptedServer([]) as server:
        outcome = await ask(clients, f"https://127.0.0.1:{server.port}", retry=ONCE, timeouts=SHORT)
        assert server.requests == []
    assert isinstance(outcome.failure, ConnectError)


async def test_a_body_that_cannot_be_sent(clients: HTTPClients) -> None:
    with ScriptedServer([]) as server:
        outcome = await ask(clients, server, body={"contents": object()})
    assert isinstance(outcome.failure, ArgumentError)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/\u0100 x", "http://[::1", "http://xn--/x"])
async def test_a_url_that_is_none(clients: HTTPClients, url: str) -> None:
    endpoint = endpoint_to("http://127.0.0.1:1")
    object.__setattr__(endpoint, "url", url)
    failure = (await ask(clients, endpoint, retry=ONCE)).failure
    assert isinstance(failure, (ConfigError, ConnectError))


class Quoting:
    """An authenticator whose header no request can carry."""

    identity = "quoting"
    can_refresh = False

    def __init__(self, value: str) -> None:
        self.value = value

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:
        return {"x-goog-api-key": self.value}


@pytest.mark.parametrize("mark", ["é", "\n", "\0", "🌙"])
async def test_a_header_that_cannot_be_sent_is_not_shown(clients: HTTPClients, mark: str) -> None:
    with ScriptedServer([]) as server:
        endpoint = endpoint_to(server.url)
        object.__setattr__(endpoint, "authenticator", Quoting(KEY + mark))
        failure = (await ask(clients, endpoint)).failure
        assert server.connections == 0
    assert isinstance(failure, ConfigError)
    assert KEY not in shown(failure)


async def test_a_traceback_shows_no_key(clients: HTTPClients) -> None:
    """Not even with the variables of every frame, and whatever the server sends back."""
    echo = f"Your key {KEY} is no good"
    with ScriptedServer([sse_answer(text("x"), {"error": {"code": 403, "message": echo}})]) as server:
        outcome = await ask(clients, server)
    assert "[secret] is no good" in outcome.failure.message
    traceback = shown(outcome.failure)
    assert "call_model" in traceback
    assert KEY not in traceback


async def test_silence_before_the_answer(clients: HTTPClients) -> None:
    with ScriptedServer(lambda _: [Wait()]) as server:
        outcome = await ask(clients, server, timeouts=SHORT)
        assert len(server.requests) == 2
        for request in server.requests:
            await asyncio.to_thread(request.wait_closed)
    assert isinstance(outcome.failure, IdleTimeoutError)
    assert outcome.failure.attempts == 2


async def test_silence_before_the_answer_is_counted_from_when_the_connection_stands(
    clients: HTTPClients,
) -> None:
    patient = Timeouts(connect=PATIENCE, first_byte=0.1, idle=20.0)
    for script in ([Wait()], sse_answer(Wait())):
        with ScriptedServer(lambda _, script=script: script) as server:  # type: ignore[misc]  # of this round
            outcome = await asyncio.wait_for(ask(clients, server, timeouts=patient), PATIENCE / 2)
        assert isinstance(outcome.failure, IdleTimeoutError)
        assert outcome.failure.message == "The server sent nothing for 0.1 s."


async def test_silence_in_the_middle_ends_after_the_shorter_time(clients: HTTPClients) -> None:
    timeouts = Timeouts(connect=10, first_byte=3600, idle=0.1)
    with ScriptedServer([sse_answer(text("Hel"), Wait())]) as server:
        outcome = await ask(clients, server, timeouts=timeouts, retry=KEEP)
        await asyncio.to_thread(server.requests[0].wait_closed)
    assert isinstance(outcome.failure, IdleTimeoutError)
    assert "0.1 s" in outcome.failure.message
    assert outcome.text == "Hel"


async def test_silence_after_the_finish_reason_is_an_end(clients: HTTPClients) -> None:
    timeouts = Timeouts(connect=10, first_byte=20, idle=0.1)
    with ScriptedServer([sse_answer(text("Hello", finish="STOP"), Wait())]) as server:
        outcome = await ask(clients, server, timeouts=timeouts)
    assert (outcome.text, outcome.error) == ("Hello", None)


async def test_silence_after_the_finish_reason_is_borne_for_a_shorter_time(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemini_nb.api.call._LINGER", 0.1)
    unsure = sse_answer(text("Hel", finish="STOP"), text("lo", finish="STOP"), Wait())
    with ScriptedServer([sse_answer(text("Hello", finish="STOP"), Wait()), unsure]) as server:
        patient = Timeouts(connect=10, first_byte=3600, idle=3600)
        assert (await ask(clients, server, timeouts=patient)).text == "Hello"
        with pytest.raises(TimeoutError):  # a reason with every chunk is none: more may come
            await asyncio.wait_for(ask(clients, server, timeouts=patient), 0.5)


async def test_text_is_made_of_whole_characters(clients: HTTPClients) -> None:
    event = b'data: {"candidates": [{"content": {"parts": [{"text": "%b"}]}, "finishReason": "STOP"}]}\n\n'
    for written, read in (
        (rb"\ud83d\ude00\u00e9", "😀é"),
        (rb"a\ud83d", "a\ufffd"),
        (rb"\uDE00\\ud83d", "\ufffd\\ud83d"),
    ):
        with ScriptedServer([sse_answer(event % written)]) as server:
            assert (await ask(clients, server)).text == read


async def test_what_is_not_json_is_read_as_null(clients: HTTPClients) -> None:
    part = b'{"functionCall": {"name": "f", "args": {"x": NaN, "y": -Infinity}}}'
    chunk = b'data: {"candidates": [{"content": {"parts": [%b]}, "finishReason": "STOP"}]}\n\n' % part
    with ScriptedServer([sse_answer(chunk)]) as server:
        outcome = await ask(clients, server)
    assert outcome.turn.parts == [{"functionCall": {"name": "f", "args": {"x": None, "y": None}}}]


async def test_a_reader_that_takes_its_time_is_not_the_servers_silence(clients: HTTPClients) -> None:
    timeouts = Timeouts(connect=10, first_byte=20, idle=0.05)
    with ScriptedServer([sse_answer(text("Hel"), text("lo", finish="STOP"))]) as server:
        events = call_model(clients, call_to(server, timeouts=timeouts), ModelTurn())
        assert isinstance(await anext(events), ChunkReceived)
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, over.set)
        await over.wait()
        assert [type(event) async for event in events] == [ChunkReceived]


async def test_an_error_body_is_not_waited_for(clients: HTTPClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemini_nb.api.call._ERROR_BODY_SECONDS", 0.1)
    with ScriptedServer([response(400, {"Content-Length": "1000"}, b"Bad requ", Wait())]) as server:
        outcome = await ask(clients, server, timeouts=Timeouts(connect=10, first_byte=3600, idle=3600))
    assert outcome.failure.status_code == 400
    assert "Bad requ" in outcome.failure.message


async def stopped(
    clients: HTTPClients, server: ScriptedServer, reached: threading.Event | None = None
) -> None:
    """Cancel the call once the server has its request, and wait until the server has noticed."""
    task = asyncio.create_task(collect(clients, call_to(server), [], ModelTurn()))
    [request] = await asyncio.to_thread(server.wait_requests, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(request.wait_closed)


@pytest.mark.parametrize("script", [[Wait()], sse_answer(Wait()), sse_answer(text("Hel"), Wait())])
async def test_a_cancelled_call_closes_its_connection(clients: HTTPClients, script: Answer) -> None:
    with ScriptedServer([script]) as server:
        await stopped(clients, server)


async def test_a_call_left_midway_closes_its_connection(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(text("Hel"), Wait())]) as server:
        events = call_model(clients, call_to(server), ModelTurn())
        await anext(events)
        await events.aclose()
        await asyncio.to_thread(server.requests[0].wait_closed)


async def test_a_cancelled_wait_for_the_next_attempt(clients: HTTPClients) -> None:
    patient = RetryPolicy(initial_delay=3600, max_delay=3600)
    with ScriptedServer([json_error(503)]) as server:
        planned = asyncio.Event()

        class Events(list[Any]):
            def append(self, event: Any) -> None:
                planned.set()

        task = asyncio.create_task(collect(clients, call_to(server, retry=patient), Events(), ModelTurn()))
        await planned.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancelling_while_a_large_body_is_stuck(clients: HTTPClients) -> None:
    body = {"contents": "x" * 30_000_000}
    with ScriptedServer([[Wait()]], read_body=False) as server:
        task = asyncio.create_task(collect(clients, call_to(server, body=body), [], ModelTurn()))
        await asyncio.to_thread(server.wait_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_refusal_that_comes_before_the_body_was_read(clients: HTTPClients) -> None:
    body = {"contents": "x" * 30_000_000}
    refusal = json_error(400, "too large", headers={"Connection": "close"})
    with ScriptedServer([[*refusal, Wait()]], read_body=False) as server:
        failure = (await ask(clients, server, body=body, retry=ONCE)).failure
    assert "too large" in failure.message


async def test_one_cancelled_call_leaves_the_others(clients: HTTPClients) -> None:
    release = threading.Event()

    def script(_: Request) -> Answer:
        return sse_answer(text("Hel"), Wait(release), text("lo", finish="STOP"))

    with ScriptedServer(script) as server:
        tasks = [asyncio.create_task(ask(clients, server)) for _ in range(3)]
        await asyncio.to_thread(server.wait_requests, 3)
        tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[1]
        await asyncio.to_thread(server.wait_open, 2)
        release.set()
        assert [(await task).text for task in (tasks[0], tasks[2])] == ["Hello", "Hello"]
