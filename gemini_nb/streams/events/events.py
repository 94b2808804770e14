"""Everything that can happen to a stream, as a closed union of values.

Events are frozen: the same object goes to every subscriber, on threads of their own, and to those who come
late. What they carry is a snapshot of the moment, tool calls too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import Part, brief
from gemini_nb.errors import GeminiError
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Phase
from gemini_nb.streams.events.uploads import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """What every event has.

    Attributes:
        stream_id: the stream it belongs to.
        seq: its number in the stream, from 0.
        time: when it happened, in seconds since the epoch.
    """

    stream_id: str
    seq: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStarted(_Event):
    """The stream's task began; always the first event."""

    kind: Literal["stream_started"] = field(default="stream_started", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChanged(_Event):
    """The orchestration went on to another phase.

    Attributes:
        phase: the phase that begins.
        turn: the model call it belongs to, from 1; a tool round has the number of the call that asked for it.
    """

    kind: Literal["phase_changed"] = field(default="phase_changed", init=False)
    phase: Phase
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(_Event):
    """Text was appended to the answer.

    Attributes:
        text: what was added.
    """

    kind: Literal["text_delta"] = field(default="text_delta", init=False)
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtDelta(_Event):
    """Text was appended to the summary of the model's thoughts.

    Attributes:
        text: what was added.
    """

    kind: Literal["thought_delta"] = field(default="thought_delta", init=False)
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRewound(_Event):
    """New output of a model call that broke and was made again; it replaces what the call had shown.

    Attributes:
        length: characters of the stream's text that stay.
        thoughts_length: characters of its thoughts that stay.
        parts: other parts (`PartReceived`) that stay, counted from the stream's first.
    """

    kind: Literal["text_rewound"] = field(default="text_rewound", init=False)
    length: int
    thoughts_length: int = 0
    parts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRequested(_Event):
    """The model asked for a tool.

    Attributes:
        call: the call as it stood then.
    """

    kind: Literal["tool_call_requested"] = field(default="tool_call_requested", init=False)
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted(_Event):
    """A tool began to run, or to wait for the user's approval.

    Attributes:
        call: the call as it stood then.
    """

    kind: Literal["tool_call_started"] = field(default="tool_call_started", init=False)
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallUpdated(_Event):
    """A running tool printed text, reported progress, or got the place it waited for.

    Attributes:
        call: the call as it stood then.
    """

    kind: Literal["tool_call_updated"] = field(default="tool_call_updated", init=False)
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished(_Event):
    """A tool ended, one way or another.

    Attributes:
        call: the call with its result or error.
    """

    kind: Literal["tool_call_finished"] = field(default="tool_call_finished", init=False)
    call: ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReceived(_Event):
    """A part other than text or a function call arrived: code, its output, an image, sources.

    Attributes:
        part: the part as it came.
    """

    kind: Literal["part_received"] = field(default="part_received", init=False)
    part: Part

    def __repr__(self) -> str:  # which subscribers print
        return f"PartReceived(stream_id={self.stream_id!r}, seq={self.seq}, part={brief(self.part)!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadUpdated(_Event):
    """A file on its way to the service got further: reported four times a second at most, and at its end.

    Attributes:
        upload: how it stood then.
    """

    kind: Literal["upload_updated"] = field(default="upload_updated", init=False)
    upload: Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageUpdated(_Event):
    """The token counts changed: reported four times a second at most, and at the end of every model call.

    Attributes:
        usage: the counts of all model calls of the stream so far.
    """

    kind: Literal["usage_updated"] = field(default="usage_updated", init=False)
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(_Event):
    """A model call failed and is made again.

    Attributes:
        attempt: the number of the request to come, 2 or more.
        delay: seconds until then.
        reason: what went wrong.
        keeps: characters of the stream's text that will stay when new output comes; None where the call had
            shown nothing. Until then, and if nothing comes, all of it stays.
    """

    kind: Literal["retry_scheduled"] = field(default="retry_scheduled", init=False)
    attempt: int
    delay: float
    reason: str
    keeps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCompleted(_Event):
    """The model ended its answer.

    Attributes:
        finish_reason: Gemini's word for why.
    """

    kind: Literal["stream_completed"] = field(default="stream_completed", init=False)
    finish_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFailed(_Event):
    """The stream ended with an error; the text that arrived stays.

    Attributes:
        error: what went wrong.
    """

    kind: Literal["stream_failed"] = field(default="stream_failed", init=False)
    error: GeminiError


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStopped(_Event):
    """The stream was stopped; the text that arrived stays."""

    kind: Literal["stream_stopped"] = field(default="stream_stopped", init=False)


StreamEvent: TypeAlias = (
    StreamStarted
    | PhaseChanged
    | TextDelta
    | ThoughtDelta
    | TextRewound
    | ToolCallRequested
    | ToolCallStarted
    | ToolCallUpdated
    | ToolCallFinished
    | PartReceived
    | UploadUpdated
    | UsageUpdated
    | RetryScheduled
    | StreamCompleted
    | StreamFailed
    | StreamStopped
)
"""Every event; match on the class and end with `assert_never`."""
