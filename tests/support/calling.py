"""Model calls to a scripted server, and what came of them."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gemini_nb.api.call import ChunkReceived, ModelCall, Timeouts
from gemini_nb.api.client import CallEvent, RetryPlanned, call_model
from gemini_nb.api.endpoint import Endpoint, resolve_endpoint
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.sse import MAX_EVENT_BYTES
from gemini_nb.api.turn import ModelTurn
from gemini_nb.config import Settings
from gemini_nb.errors import GeminiError
from scripted import ScriptedServer

__all__ = [
    "BODY",
    "KEEP",
    "KEY",
    "NOW",
    "Outcome",
    "ask",
    "call_to",
    "clients",
    "collect",
    "endpoint_to",
    "shown",
]

KEY = "AIzaSy-made-up-for-tests-0123456789abcd"
CREDENTIALS = {"api_key": KEY}
BODY: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Why is the sky blue? ☀"}]}]}
NOW = RetryPolicy(initial_delay=0.0)
"""Asks again without waiting."""
KEEP = RetryPolicy(initial_delay=0.0, on_cut="keep")
"""The same, but an answer that broke stays as it is."""


@pytest.fixture(scope="module")
async def clients() -> AsyncIterator[HTTPClients]:
    pools = HTTPClients()
    yield pools
    await pools.aclose()


@dataclass(kw_only=True)
class Outcome:
    """Everything a call gave; `error` is None where it was complete."""

    turn: ModelTurn = field(default_factory=ModelTurn)
    events: list[CallEvent] = field(default_factory=list)
    error: GeminiError | None = None

    @property
    def text(self) -> str:
        return "".join(part["text"] for part in self.turn.parts if "text" in part)

    @property
    def retries(self) -> list[RetryPlanned]:
        return [event for event in self.events if isinstance(event, RetryPlanned)]

    @property
    def chunks(self) -> list[ChunkReceived]:
        return [event for event in self.events if isinstance(event, ChunkReceived)]

    @property
    def failure(self) -> GeminiError:
        assert self.error is not None, f"the call did not fail, it said {self.text!r}"
        return self.error


def endpoint_to(base_url: str, **options: Any) -> Endpoint:
    settings = Settings(allow_http=True)
    options = {"credentials": CREDENTIALS, "model": "gemini-test", **options}
    return resolve_endpoint(settings=settings, base_url=base_url, **options)


def call_to(
    server: ScriptedServer | str | Endpoint,
    *,
    body: Mapping[str, Any] = BODY,
    retry: RetryPolicy = NOW,
    timeouts: Timeouts | None = None,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> ModelCall:
    target = server.url if isinstance(server, ScriptedServer) else server
    return ModelCall(
        endpoint=endpoint_to(target) if isinstance(target, str) else target,
        body=dict(body),
        retry=retry,
        timeouts=timeouts or Timeouts(connect=10.0, first_byte=20.0, idle=20.0),
        max_event_bytes=max_event_bytes,
    )


async def collect(clients: HTTPClients, call: ModelCall, into: list[CallEvent], turn: ModelTurn) -> None:
    async with contextlib.aclosing(call_model(clients, call, turn, jitter=lambda: 1.0)) as events:
        async for event in events:
            into.append(event)  # noqa: PERF401 - what came before an error counts, too


async def ask(
    clients: HTTPClients, server: ScriptedServer | str | Endpoint | ModelCall, **options: Any
) -> Outcome:
    """Make a call to its end; any exception but a GeminiError is a failure of the test."""
    call = server if isinstance(server, ModelCall) else call_to(server, **options)
    outcome = Outcome()
    try:
        await collect(clients, call, outcome.events, outcome.turn)
    except GeminiError as error:
        outcome.error = error
    if outcome.error is not None:
        assert outcome.error.__cause__ is None
        assert outcome.error.__context__ is None
    return outcome


def shown(error: BaseException) -> str:
    """The most that a traceback can show of an error: every frame with its variables."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
