"""One moment of a stream as values: all of it, for callers of the public API, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.errors import GeminiError
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.states import Phase, Status

Subscriber: TypeAlias = Callable[[StreamEvent], object]
"""A callback that gets a stream's events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One moment of a stream, without secrets.

    Attributes:
        stream_id: the stream's name.
        auth: the service that answers.
        model: the model's id.
        endpoint: the URL of its requests.
        request_body: the first request's body.
        status: "active", "completed", "error" or "stopped".
        phase: what it is doing, or was when it ended.
        turn: the model call it is in, from 1.
        error: why it failed.
        events: all events so far.
        subscribers: who gets its events by callback.
        started_at: in seconds since the epoch.
        ended_at: likewise, None while it is active.
        retries: model calls that were made again.
        usage: tokens of all model calls.
        tool_calls: every call so far.
        metadata: the caller's own notes.
        remarks: what the user should know beside the answer, empty where there is nothing.
    """

    stream_id: str
    auth: Auth
    model: str
    endpoint: str
    request_body: JSON = field(repr=False)
    status: Status
    phase: Phase
    turn: int
    error: GeminiError | None
    events: tuple[StreamEvent, ...] = field(repr=False)
    subscribers: tuple[Subscriber, ...]
    started_at: float
    ended_at: float | None
    retries: int
    usage: Usage
    tool_calls: tuple[ToolCall, ...]
    metadata: Mapping[str, Any]
    remarks: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a stream waits for.

    Attributes:
        reason: what it is, in a few words.
        until: when it goes on, in seconds since the epoch; None where that is unknown.
        target: the stream, group or list it waits for, None for anything else.
    """

    reason: str
    until: float | None = None
    target: object = field(default=None, repr=False, compare=False)
