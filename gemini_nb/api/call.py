"""One request of a model call over httpx: open, decode, and notice what went wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gemini_nb.api import failures, no_answer
from gemini_nb.api.contents.content import encode_body
from gemini_nb.api.contents.objects import spell_answer
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder
from gemini_nb.api.wire import (
    JSON,
    MAX_SIZE,
    Part,
    fault_in,
    objects,
    parts_of,
    read_json,
    shallow,
    whole_characters,
)
from gemini_nb.errors import GeminiError, IdleTimeoutError, ProtocolError, StreamCutError
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    import httpx

    from gemini_nb.api.endpoint import Endpoint
    from gemini_nb.api.http import HTTPClients, IdleTimeout
    from gemini_nb.api.turn import ModelTurn


_TIER = "x-gemini-service-tier"


_SIMULATOR = "gemini-nb-simulator"
_MAX_ERROR_BODY = 256 * 1024

_CUT = "Ask again; if that never helps, a proxy on the way may end long answers."

_LITERAL = 5  # characters of JSON's longest word: an error in it is reported at its beginning

_ERROR_BODY_SECONDS = 10.0  # the status is known; its explanation is not worth a long wait

_LINGER = 30.0  # seconds of silence after a finishReason; nothing but the body's end is still to come


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How many seconds of silence are allowed; there is no limit on the whole.

    Attributes:
        connect: until a connection stands.
        first_byte: from then until the answer begins; a model may think for minutes before it sends anything.
        idle: between two bytes of the answer.
    """

    connect: float = 10.0
    first_byte: float = 900.0
    idle: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """Everything one model call needs.

    Attributes:
        endpoint: the model that is asked, and the key.
        body: the request body.
        retry: when to ask again.
        timeouts: how long silence may last.
        headers: more headers of the request; those that prove who asks go before them.
        max_event_bytes: largest event accepted.
    """

    endpoint: Endpoint
    body: JSON
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES


class ChunkReceived(NamedTuple):
    """A GenerateContentResponse that arrived.

    Attributes:
        data: its JSON text, as it came.
        parts: the parts it added to the turn.
        replaces: whether it replaces what a broken request had shown.
        is_checkpoint: whether the answer can go on from here.
    """

    data: str
    parts: list[Part]
    replaces: bool = False
    is_checkpoint: bool = False


async def request_once(
    clients: HTTPClients, call: ModelCall, turn: ModelTurn, *, refresh: bool
) -> AsyncGenerator[ChunkReceived, None]:
    """Make one request and yield its chunks; a body that ends without a finishReason was cut.

    Args:
        clients: the connection pools of the running loop.
        call: what to ask.
        turn: takes the answer; where it holds a continuation token, the request goes on from there.
        refresh: get a new access token first.

    Raises:
        GeminiError: no answer, a refusal, or a cut. What had arrived is in `turn`.
    """
    headers = {**call.headers, **await call.endpoint.authenticator.headers(refresh=refresh)}
    # The same body with a token, never with the text so far: the server knows it.
    token = turn.continuation_token
    content = encode_body(call.body if token is None else {**call.body, "continuationToken": token})
    timeouts = call.timeouts
    idle = clients.idle_timeout(timeouts.connect, timeouts.first_byte)
    try:
        response = await clients.post(
            call.endpoint.url, headers, content, connect=timeouts.connect, idle=idle
        )
        try:
            body = _body(response)
            if response.status_code != 200:
                idle.seconds = min(timeouts.idle, _ERROR_BODY_SECONDS)
                error = await _error_body(body, idle)
                raise failures.refused(response.status_code, response.headers, error, call.endpoint)
            turn.is_simulated = response.headers.get("server") == _SIMULATOR
            if tier := response.headers.get(_TIER):
                turn.set_tier(tier)
            decoder = SSEDecoder(max_event_bytes=call.max_event_bytes)
            read = _Read([])
            async with contextlib.aclosing(body):
                while not read.is_last:
                    read = await _read(body, decoder, idle, response.url.host)
                    for chunk in _chunks_in(read, call.endpoint, turn):
                        yield chunk
                    idle.seconds = min(timeouts.idle, _LINGER) if turn.is_surely_finished else timeouts.idle
            _check_end(read, response, decoder, turn)
        finally:
            with contextlib.suppress(Exception):  # closing reports again what went wrong before
                await response.aclose()
                del response.stream  # it leads back to the response
    finally:
        idle.close()


def _body(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    if "content-encoding" in response.headers:
        return cast("AsyncGenerator[bytes, None]", response.aiter_bytes())
    # httpx's decoding is two generators more for every chunk to pass, for nothing
    return cast("AsyncGenerator[bytes, None]", aiter(cast("httpx.AsyncByteStream", response.stream)))


class _Read(NamedTuple):
    """What one read of a body brought; `failure` says why it is the last one where it broke."""

    events: list[ServerSentEvent]
    is_last: bool = False
    failure: GeminiError | None = None


async def _read(
    body: AsyncGenerator[bytes, None], decoder: SSEDecoder, idle: IdleTimeout, host: str
) -> _Read:
    try:
        return _Read(decoder.feed(await idle.wait(anext(body))))
    except StopAsyncIteration:
        return _Read(decoder.finish(), is_last=True)
    except IdleTimeoutError as silence:
        return _Read([], is_last=True, failure=silence)
    except GeminiError:
        raise
    except Exception as error:  # noqa: BLE001 - each transport has its own exceptions
        return _Read([], is_last=True, failure=failures.broken(error, host))


def _chunks_in(read: _Read, endpoint: Endpoint, turn: ModelTurn) -> Iterator[ChunkReceived]:
    for event in read.events:
        for value in _values(event.data, at_end=read.is_last):
            _raise_error_in(value, event, endpoint)
            yield _chunk(event.data, value, turn)


def _check_end(read: _Read, response: httpx.Response, decoder: SSEDecoder, turn: ModelTurn) -> None:
    """Fail where the body broke off, or ended before the model did."""
    if read.failure is not None and not turn.is_surely_finished:
        raise read.failure
    if not turn.is_finished:
        _raise_unfinished(response, decoder, turn)


def _raise_error_in(value: JSON, event: ServerSentEvent, endpoint: Endpoint) -> None:
    if value.get("candidates") and "error" not in value:
        return
    error = failures.error_in(value, is_error=event.event == "error")
    if error is not None:
        raise failures.reported(error, endpoint)


def chunks_of(data: str, turn: ModelTurn) -> Iterator[ChunkReceived]:
    """Fold a chunk into the turn that arrived before now.

    Raises:
        GeminiError: it is no chunk.
    """
    for value in _values(data, at_end=True):
        yield _chunk(data, value, turn)


def _chunk(data: str, value: JSON, turn: ModelTurn) -> ChunkReceived:
    if len(data) > MAX_SIZE:
        data = _without_oversized(data, value)
    stale, token = turn.is_stale, turn.continuation_token
    parts = turn.add(value)
    return ChunkReceived(
        data,
        parts,
        replaces=stale and not turn.is_stale,
        is_checkpoint=turn.continuation_token is not token,
    )


def _without_oversized(data: str, value: JSON) -> str:
    """Take arguments that are too large out of an event's value and return the event's text without them."""
    is_smaller = False
    for candidate in objects(value.get("candidates")):
        for part in parts_of(candidate):
            call = part.get("functionCall")
            if isinstance(call, dict) and (fault := fault_in(call.get("args"))) is not None:
                call["args"], is_smaller = f"(left out: it {fault})", True
    return json.dumps(value, ensure_ascii=False) if is_smaller else data


def _values(data: str, *, at_end: bool) -> list[JSON]:
    """Return the objects in an event's data; `[DONE]`, which some gateways send, is none."""
    text = data.strip()
    if not text or text == "[DONE]":
        return []
    value = _decode(text, at_end=at_end)
    if "\\ud" in text or "\\uD" in text:
        value = whole_characters(value)
    values = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
    is_dumped = '"finish_reason"' in text or '"prompt_feedback"' in text
    return list(map(spell_answer, values)) if is_dumped else values


def _decode(text: str, *, at_end: bool) -> Any:
    try:
        value = read_json(text := shallow(text))
    except (ValueError, RecursionError) as error:
        if at_end or _breaks_off(text, error):
            raise StreamCutError("The answer was cut in the middle of an event.", hint=_CUT) from None
        raise ProtocolError(
            f"The server sent an event that is not JSON: {excerpt(text)}",
            hint="A proxy on the way may have changed it, or the base URL is another service's.",
        ) from None
    return value


def _breaks_off(text: str, error: Exception) -> bool:
    """Whether this is the beginning of an object that was cut on the way, and not a broken one."""
    if not isinstance(error, json.JSONDecodeError) or not text.startswith("{"):
        return False
    return error.pos >= len(text) - _LITERAL or error.msg.startswith("Unterminated")


def _raise_unfinished(response: httpx.Response, decoder: SSEDecoder, turn: ModelTurn) -> None:
    kind = response.headers.get("content-type", "")
    # A cut may leave half the word `data` of an event.
    strange = decoder.junk and not "data".startswith(decoder.junk.strip())
    if not turn.has_output and (strange or "html" in kind):
        raise ProtocolError(
            f"The server's answer is not a Gemini stream but {excerpt(kind) or 'of no named type'}: "
            f"{excerpt(decoder.junk)}",
            hint="A proxy, a login page or a wrong base URL answers in Gemini's place.",
            is_foreign=True,
        )
    if turn.lacks_candidates:
        raise no_answer.empty(turn)
    raise StreamCutError("The answer ended without a finishReason: it was cut on the way.", hint=_CUT)


async def _error_body(pieces: AsyncGenerator[bytes, None], idle: IdleTimeout) -> bytes:
    body = b""
    with contextlib.suppress(Exception):  # a broken error body leaves the status, which says more
        async with contextlib.aclosing(pieces) as stream:
            while len(body) < _MAX_ERROR_BODY:
                body += await idle.wait(anext(stream))
    return body[:_MAX_ERROR_BODY]
