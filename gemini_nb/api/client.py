"""One model call over httpx: open, decode, notice what went wrong, ask again.

httpx is the interface, aiohttp the transport beneath it: a chunk that arrives by itself costs less than half
the processor time it costs in httpx's own transport (`tests/benchmarks` compares them). Two habits of that
transport are dealt with here: without an explicit 0 its pool stops at 100 connections, and only its client
class, not the bare transport, honours the proxy variables.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from gemini_nb.api import failures
from gemini_nb.api.content import JSON, Part, encode_body
from gemini_nb.api.idle import IdleTimeout
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.sse import MAX_EVENT_BYTES, SSEDecoder
from gemini_nb.config import is_loopback
from gemini_nb.errors import GeminiError, ProtocolError, StreamCutError

if TYPE_CHECKING:
    import httpx

    from gemini_nb.api.endpoint import Endpoint
    from gemini_nb.api.turn import ModelTurn

__all__ = ["CallEvent", "ChunkReceived", "HTTPClients", "ModelCall", "RetryPlanned", "Timeouts", "call_model"]

_MAX_ERROR_BODY = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds of silence that are put up with; there is no limit on the whole.

    Attributes:
        connect: until a connection stands.
        first_byte: until the answer begins; a model may think for many minutes without a word.
        idle: between two bytes of the answer.
    """

    connect: float = 10.0
    first_byte: float = 900.0
    idle: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """Everything one model call needs.

    Attributes:
        endpoint: where it goes, and as whom.
        body: the request body.
        retry: when to ask again.
        timeouts: how long to bear silence.
        max_event_bytes: largest event accepted.
    """

    endpoint: Endpoint
    body: JSON
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_event_bytes: int = MAX_EVENT_BYTES


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """A GenerateContentResponse arrived.

    Attributes:
        data: its JSON text, as it came.
        parts: the parts it added to the turn.
    """

    data: str
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class RetryPlanned:
    """The call failed before any output and is asked again.

    Attributes:
        attempt: the number of the request to come, 2 or more.
        delay: seconds until then.
        error: why.
    """

    attempt: int
    delay: float
    error: GeminiError


CallEvent: TypeAlias = ChunkReceived | RetryPlanned


class HTTPClients:
    """The connection pools of one event loop.

    Loopback gets a pool of its own that ignores proxy variables: a proxy cannot reach this machine's
    loopback, and must not be shown a key that was allowed to travel unencrypted because it stays here.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}

    def client_for(self, url: str) -> httpx.AsyncClient:
        """Return the client for this URL.

        Raises:
            ConfigError: the proxy variables name a proxy of an unknown kind.
        """
        local = is_loopback(urlsplit(url).hostname or "")
        client = self._clients.get(local)
        if client is None:
            client = self._clients[local] = _make_client(trust_env=not local)
        return client

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()


def _make_client(*, trust_env: bool) -> httpx.AsyncClient:
    import httpx  # noqa: PLC0415 - with aiohttp half a second, imported when the first stream starts
    from httpx_aiohttp import HttpxAiohttpClient  # noqa: PLC0415

    try:
        return HttpxAiohttpClient(
            # 0 is aiohttp's word for no limit; httpx's own, None, leaves aiohttp at its default of 100.
            limits=httpx.Limits(max_connections=0, max_keepalive_connections=20, keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=trust_env,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise failures.bad_proxy(error) from None


async def call_model(
    clients: HTTPClients,
    call: ModelCall,
    turn: ModelTurn,
    *,
    jitter: Callable[[], float] = random.random,
) -> AsyncGenerator[CallEvent, None]:
    """Make one model call and fold its answer into `turn`, asking again where that is right.

    Args:
        clients: the connection pools of the running loop.
        call: what to ask.
        turn: an empty turn, filled while events are yielded.
        jitter: random numbers from 0 to 1.

    Raises:
        GeminiError: the call failed for good. What had arrived is in `turn`.
    """
    attempt = 1
    refreshed = False
    while True:
        try:
            async with contextlib.aclosing(_attempt(clients, call, turn, refresh=refreshed)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except GeminiError as error:
            failure = failures.detached(error)
            failure.attempts = attempt
        else:
            return
        if turn.has_output:
            raise failure
        delay: float | None
        if failure.status_code == 401 and call.endpoint.authenticator.can_refresh and not refreshed:
            refreshed, delay = True, 0.0
        elif call.retry.is_retryable(failure):
            delay = call.retry.delay(attempt, hint=failure.retry_after, jitter=jitter())
        else:
            delay = None
        if delay is None:
            raise failures.final(failure, call.retry)
        attempt += 1
        yield RetryPlanned(attempt, delay, failure)
        await asyncio.sleep(delay)


async def _attempt(
    clients: HTTPClients, call: ModelCall, turn: ModelTurn, *, refresh: bool
) -> AsyncGenerator[ChunkReceived, None]:
    """Make one request and yield its chunks; a body that ends without a finishReason was cut."""
    url = call.endpoint.url
    headers = await call.endpoint.authenticator.headers(refresh=refresh)
    headers |= {"Content-Type": "application/json", "Accept": "text/event-stream"}
    client = clients.client_for(url)
    request = client.build_request(
        "POST",
        url,
        content=encode_body(call.body),
        headers=headers,
        timeout=_httpx_timeout(call.timeouts),
    )
    idle = IdleTimeout(max(call.timeouts.first_byte, call.timeouts.connect + 1))
    try:
        response = await _send(client, request, idle)
        async with contextlib.aclosing(response):
            if response.status_code != 200:
                raise failures.refused(
                    response.status_code, response.headers, await _error_body(response, idle), call
                )
            async for chunk in _chunks(response, call, turn, idle):
                yield chunk
    finally:
        idle.close()


def _httpx_timeout(timeouts: Timeouts) -> httpx.Timeout:
    import httpx  # noqa: PLC0415 - loaded with the client

    return httpx.Timeout(None, connect=timeouts.connect)


async def _send(client: httpx.AsyncClient, request: httpx.Request, idle: IdleTimeout) -> httpx.Response:
    try:
        return await idle.wait(client.send(request, stream=True))
    except (GeminiError, asyncio.CancelledError):
        raise
    except (Exception, ssl.SSLError) as error:  # noqa: BLE001 - each transport has its own exceptions
        raise failures.not_sent(error, request.url.host) from None


async def _chunks(
    response: httpx.Response, call: ModelCall, turn: ModelTurn, idle: IdleTimeout
) -> AsyncGenerator[ChunkReceived, None]:
    decoder = SSEDecoder(max_event_bytes=call.max_event_bytes)
    body = response.aiter_bytes()
    broken: GeminiError | None = None
    ended = False
    while not ended:
        try:
            events = decoder.feed(await idle.wait(anext(body)))
        except StopAsyncIteration:
            events, ended = decoder.finish(), True
        except (GeminiError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - see _send
            broken, events, ended = failures.broken(error, response.url.host), [], True
        idle.seconds = call.timeouts.idle
        for event in events:
            for value in _values(event.data, at_end=ended):
                if "error" in value and not isinstance(value.get("candidates"), list):
                    raise failures.reported(value["error"], call)
                yield ChunkReceived(event.data, turn.add(value))
    if broken is not None and not turn.is_surely_finished:
        raise broken
    if not turn.is_finished:
        _raise_unfinished(response, decoder, turn)


def _values(data: str, *, at_end: bool) -> list[JSON]:
    """The objects in an event's data; `[DONE]`, which some gateways send, says nothing."""
    text = data.strip()
    if not text or text == "[DONE]":
        return []
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        if at_end:
            raise StreamCutError("The answer was cut in the middle of an event.") from None
        raise ProtocolError(f"The server sent an event that is not JSON: {failures.excerpt(text)}") from None
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def _raise_unfinished(response: httpx.Response, decoder: SSEDecoder, turn: ModelTurn) -> None:
    kind = response.headers.get("content-type", "")
    if not turn.has_output and (decoder.junk or "html" in kind):
        raise ProtocolError(
            f"The server's answer is not a Gemini stream but {kind or 'of no named type'}: "
            f"{failures.excerpt(decoder.junk)}",
            hint="A proxy, a login page or a wrong base URL answers in Gemini's place.",
        )
    raise StreamCutError("The answer ended without a finishReason: it was cut on the way.")


async def _error_body(response: httpx.Response, idle: IdleTimeout) -> bytes:
    body = b""
    with contextlib.suppress(Exception):  # a broken error body leaves the status, which says more
        stream = response.aiter_bytes()
        while len(body) < _MAX_ERROR_BODY:
            body += await idle.wait(anext(stream))
    return body[:_MAX_ERROR_BODY]
