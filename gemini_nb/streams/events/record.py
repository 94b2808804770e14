"""What is known of one stream, written on the loop thread, readable from everywhere.

Every change is made by a method here, which changes the state, then appends the event that reports it. So
what a subscriber rebuilds from the events and what the stream shows are one and the same. No key or token
gets past these methods, wherever it came from.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar

from gemini_nb.api.usage import NO_USAGE, Usage
from gemini_nb.api.wire import Part, duplicate
from gemini_nb.errors import GeminiError, InternalError
from gemini_nb.redaction import scrub, scrub_json
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.info import Waiting
from gemini_nb.streams.events.log import EventLog
from gemini_nb.streams.events.output import Mark, Output
from gemini_nb.streams.events.saved import Saved
from gemini_nb.streams.events.states import (
    PHASES,
    STATUSES,
    UPLOAD_STATUSES,
    Phase,
    Status,
    ToolStatus,
    UploadStatus,
    advance,
)
from gemini_nb.streams.events.uploads import Upload

_NONE: list[Any] = []  # of all streams that have shrunk: nothing comes after their end
_ASKED: list[datetime | None] = [None]

E = TypeVar("E", bound=events.StreamEvent)


class StreamRecord:
    """The state of one stream and the log of its events."""

    __slots__ = (
        "__weakref__",
        "_calls",
        "_log",
        "_output",
        "_waiting",
        "activity",
        "asked_at",
        "chunks",
        "ended_at",
        "entry_id",
        "error",
        "finish_message",
        "finish_reason",
        "first_output_at",
        "group",
        "heard_at",
        "is_replaced",
        "late_looks",
        "model_version",
        "name",
        "parts",
        "phase",
        "refused_at",
        "remarks",
        "requests",
        "response_id",
        "retries",
        "saved",
        "searches",
        "sources",
        "started_at",
        "status",
        "stop_asked",
        "stream_id",
        "tool_calls",
        "turn",
        "uploads",
        "usage",
        "waits_on",
    )  # more attributes than a dictionary shares between objects: 1.6 KB each

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.entry_id = ""
        """The id of its entry in the journal, which no stream of another kernel has."""
        self.name = ""
        """What the notebook calls it, such as `trip` or `trip[2]`; empty where it has no name."""
        self.group: Callable[[], object] | None = None
        """Returns the run that it is a row of, None once that is gone."""
        self._log: EventLog | None = EventLog()
        self.status = Status.ACTIVE
        self.phase = Phase.AWAITING_MODEL_CALL
        self.turn = 1
        self.error: GeminiError | None = None
        self.finish_reason: str | None = None
        self.finish_message = ""
        self.model_version: str | None = None
        self.response_id: str | None = None
        self.usage = NO_USAGE
        self.requests: tuple[Usage, ...] = ()  # the same for each request, by which long prompts are billed
        self.searches: tuple[int, ...] = ()  # of each model call that searched the web, its queries
        self.saved = Saved()
        self.retries = 0
        self.refused_at = 0.0
        """When a quota was met that names no pace, on the monotonic clock."""
        self.tool_calls: tuple[ToolCall, ...] = ()
        self.uploads: tuple[Upload, ...] = ()
        self.late_looks: list[Callable[[], object]] = []  # called when a tool reports progress after its call
        self.parts: list[Part] = []
        self.sources: tuple[Part, ...] = ()  # of each model call: citations, grounding, pages
        self.chunks: list[str] = []
        self.started_at = time.time()
        self.asked_at: float | None = None
        """When its first request was sent, after all that it had to wait for."""
        self.first_output_at: float | None = None
        self.activity: Literal["", "thinking", "writing"] = ""
        """What the model call has brought last; empty until it brings something."""
        self.heard_at = 0.0
        """When that came, or when the phase began, in seconds since the epoch."""
        self.ended_at: float | None = None
        self.remarks = ""
        """What the user should know beside the answer; empty where there is nothing."""
        self.is_replaced = False
        """Whether its question is asked again by another stream, which is why this one is stopped."""
        self.stop_asked = False
        """Whether it was asked to stop, so that its end is a matter of moments."""
        self.waits_on: list[list[StreamRecord]] = []
        """Streams that must end before it goes on: those it is asked after, those that its tools wait for.
        A list for each wait; written from any thread, since the operations of a list are atomic."""
        self._output = Output()
        self._waiting: Waiting | None = None
        self._calls: list[datetime | None] = []

    @property
    def label(self) -> str:
        """What every view calls it: `trip · s1`, or its id alone."""
        return f"{self.name} · {self.stream_id}" if self.name else self.stream_id

    @property
    def log(self) -> EventLog:
        """Its events. Once it has shrunk they are made from what it keeps, each time."""
        return self._log if self._log is not None else EventLog.of(self._retold())

    @property
    def text(self) -> str:
        """The text of all model calls, a blank line between two that have any."""
        return self._output.text

    @property
    def length(self) -> int:
        """How many characters the text has."""
        return self._output.length

    @property
    def answer(self) -> str:
        """The text of the last model call."""
        return self._output.answer

    @property
    def thoughts(self) -> str:
        """The thought summaries of all model calls."""
        return self._output.thoughts

    @property
    def is_done(self) -> bool:
        """Whether the stream ended."""
        return self.status != Status.ACTIVE

    @property
    def waiting(self) -> Waiting | None:
        """What the stream waits for before it can ask again, None where it does not."""
        waiting = self._waiting
        is_over = waiting is None or (waiting.until is not None and waiting.until <= time.time())
        return None if is_over else waiting

    def wait_for(self, reason: str, until: float | None = None, target: object = None) -> None:
        """Show what the stream waits for."""
        self._waiting = Waiting(scrub(reason), until, target)

    def go_on(self) -> None:
        """Show that the stream waits no longer."""
        self._waiting = None

    def remark(self, text: str) -> None:
        """Show the user a remark beside the answer, in place of earlier ones."""
        self.remarks = scrub(text)

    def remark_also(self, text: str) -> None:
        """Show the user one more remark beside the answer."""
        self.remark(f"{self.remarks} {text}".strip())

    def note_call(self, kept: datetime | None) -> None:
        """Note where a model call's answer comes from.

        Args:
            kept: when it was kept; None where it is asked for now.
        """
        self._calls.append(kept)

    @property
    def kept(self) -> datetime | None:
        """When the answer was kept; None where a model call of it was made now."""
        calls = self._calls
        return calls[-1] if calls and None not in calls else None

    def _append(self, event: type[E], **fields: Any) -> None:
        log = self.log
        log.append(event(stream_id=self.stream_id, seq=len(log), time=time.time(), **fields))

    def _check_active(self) -> None:
        """Refuse a change after the end, so that what the user has seen last stays true."""
        if self.is_done:
            raise InternalError(f"{self.stream_id} has ended and cannot go on.")

    def start(self) -> None:
        """Append the first events."""
        self._append(events.StreamStarted)
        self._append(events.PhaseChanged, phase=self.phase, turn=self.turn)

    def enter(self, phase: Phase) -> None:
        """Enter another phase."""
        self._check_active()
        self._unveil()
        self.phase = advance(PHASES, self.phase, phase)
        if phase is Phase.AWAITING_FINAL_RESPONSE:
            self.turn += 1
            self._output.begin_call()
        self._note_activity("")
        self._append(events.PhaseChanged, phase=phase, turn=self.turn)

    def _note_activity(self, activity: Literal["", "thinking", "writing"]) -> None:
        self.activity, self.heard_at = activity, time.time()

    def silent_for(self, now: float) -> float:
        """Return the seconds since the model sent anything; 0 while nothing is asked of it.

        Args:
            now: in seconds since the epoch.
        """
        if self.is_done or self.phase is Phase.EXECUTING_TOOLS or self.waiting is not None:
            return 0.0
        waited = self._waiting.until if self._waiting is not None else None
        return now - max(self.heard_at, self.asked_at or self.started_at, waited or 0.0)

    def add_text(self, text: str) -> None:
        """Add text to the answer."""
        self._check_active()
        self._show_texts(self._output.feed_text(text))

    def add_thought(self, text: str) -> None:
        """Add text to the thought summary."""
        self._check_active()
        self._show_thought(self._output.feed_thought(text))

    def _show_texts(self, pieces: Iterable[str]) -> None:
        for text in pieces:
            if self.first_output_at is None:
                self.first_output_at = time.time()
            self._note_activity("writing")
            seq = len(log := self.log)
            log.append(events.TextDelta(stream_id=self.stream_id, seq=seq, time=self.heard_at, text=text))

    def _show_thought(self, text: str) -> None:
        if text:
            self._note_activity("thinking")
            self._append(events.ThoughtDelta, text=text)

    def _unveil(self) -> None:
        """Show what was held back as the possible beginning of a secret: other output follows."""
        thought, pieces = self._output.flush()
        self._show_thought(thought)
        self._show_texts(pieces)

    def add_part(self, part: Part) -> None:
        """Add a part that is neither text nor a function call."""
        self._unveil()
        self._note_activity("writing")
        self._output.parts += 1
        self._append(events.PartReceived, part=scrub_json(duplicate(part)))

    def mark(self) -> Mark:
        """Return the current place, to come back to."""
        if not self.is_done:
            self._unveil()
        return self._output.mark()

    def rewind(self, mark: Mark) -> None:
        """Discard what was shown since that place."""
        self._check_active()
        if self._output.rewind(mark):
            thoughts = len(self.thoughts)
            self._append(events.TextRewound, length=mark.length, thoughts_length=thoughts, parts=mark.parts)

    def add_call(self, call: ToolCall) -> None:
        """Add a tool call that the model asked for."""
        self._check_active()
        self._unveil()
        call.id, call.name, call.args = call.id and scrub(call.id), scrub(call.name), scrub_json(call.args)
        call.index = len(self.tool_calls)
        self.tool_calls = (*self.tool_calls, call)
        self._append(events.ToolCallRequested, call=call.snapshot())

    def ask_for_call(self, call: ToolCall) -> None:
        """Note that a tool call waits for the user's approval."""
        self._check_active()
        call.advance(ToolStatus.AWAITING_APPROVAL)
        self._append(events.ToolCallStarted, call=call.snapshot())

    def start_call(self, call: ToolCall) -> None:
        """Note that a tool begins to run."""
        self._check_active()
        call.start()
        self._append(events.ToolCallStarted, call=call.snapshot())

    def report_call(self, call: ToolCall, **facts: Any) -> None:
        """Report a tool's output or progress; after its end only its call shows them."""
        changed = call.note(**facts)
        if call.ended_at is not None:
            for look in self.late_looks:
                look()
        elif not self.is_done and changed:
            self._append(events.ToolCallUpdated, call=call.snapshot())

    def finish_call(
        self,
        call: ToolCall,
        status: ToolStatus,
        *,
        result: Any = None,
        parts: tuple[Part, ...] = (),
        error: str | None = None,
    ) -> None:
        """Note how a tool ended."""
        self._check_active()
        call.finish(status, result=result, parts=parts, error=error and scrub(error))
        self._append(events.ToolCallFinished, call=call.snapshot())

    def add_upload(self, name: str) -> int:
        """Add a file that the service must have before the model is asked; returns its number."""
        self._check_active()
        upload = Upload(index=len(self.uploads), name=scrub(name))
        self.uploads = (*self.uploads, upload)
        self._append(events.UploadUpdated, upload=upload)
        return upload.index

    def update_upload(self, index: int, status: UploadStatus, **facts: Any) -> None:
        """Note how far a file is."""
        self._check_active()
        upload = self.uploads[index].advanced(status, **facts)
        if upload != self.uploads[index]:
            self.uploads = (*self.uploads[:index], upload, *self.uploads[index + 1 :])
            self._append(events.UploadUpdated, upload=upload)

    def add_searches(self, queries: int) -> None:
        """Count the web searches of each model call."""
        if queries:
            self.searches = (*self.searches, queries)

    def save(self, requests: tuple[Usage, ...], queries: int, *, is_billed: bool) -> None:
        """Count the requests and queries that a kept answer saved."""
        self.saved = self.saved.plus(requests, queries, is_billed=is_billed)

    def set_usage(self, usage: Usage, requests: tuple[Usage, ...] = ()) -> None:
        """Set the token counts of all calls so far, and of each request."""
        self._check_active()
        self.requests = requests
        if usage != self.usage:
            self.usage = usage
            self._append(events.UsageUpdated, usage=usage)

    def retry(self, attempt: int, delay: float, reason: str, keeps: int | None = None) -> None:
        """Note that a model call is made again."""
        self._check_active()
        self._note_activity("")
        self.retries += 1
        self._append(events.RetryScheduled, attempt=attempt, delay=delay, reason=scrub(reason), keeps=keeps)

    def shrink(self) -> None:
        """Drop what only an unfinished stream or a close look needs; texts and figures stay."""
        self._output.shrink()
        self.parts = [part for part in self.parts if "text" not in part] or _NONE
        self.chunks = self.late_looks = self.waits_on = _NONE
        self._calls = _ASKED if None in self._calls else self._calls
        for name in ("model_version", "finish_reason"):  # the same in all rows
            if value := getattr(self, name):
                setattr(self, name, sys.intern(value))
        log = self.log
        self._log = None if log.is_plain else log.shrunk()

    def _retold(self) -> Iterator[events.StreamEvent]:
        """Make the events of a stream whose log held nothing but texts and figures; they say the same."""
        began, ended = self.first_output_at or self.started_at, self.ended_at or self.started_at
        name = self.stream_id
        yield events.StreamStarted(stream_id=name, seq=0, time=self.started_at)
        if thoughts := self.thoughts:
            yield events.ThoughtDelta(stream_id=name, seq=0, time=began, text=thoughts)
        if text := self.text:
            yield events.TextDelta(stream_id=name, seq=0, time=began, text=text)
        if self.usage != NO_USAGE:
            yield events.UsageUpdated(stream_id=name, seq=0, time=ended, usage=self.usage)
        if self.error is not None:
            yield events.StreamFailed(stream_id=name, seq=0, time=ended, error=self.error)
        elif self.status is Status.STOPPED:
            yield events.StreamStopped(stream_id=name, seq=0, time=ended)
        else:
            reason = self.finish_reason
            yield events.StreamCompleted(stream_id=name, seq=0, time=ended, finish_reason=reason)

    def complete(self) -> None:
        """End the stream: its answer is complete."""
        self._end(Status.COMPLETED, events.StreamCompleted, finish_reason=self.finish_reason)

    def fail(self, error: GeminiError) -> None:
        """End the stream with an error."""
        self._end(Status.ERROR, events.StreamFailed, error=error)

    def stop(self) -> None:
        """End the stream: it was stopped."""
        self._end(Status.STOPPED, events.StreamStopped)

    def _end(self, status: Status, last: type[events.StreamEvent], **fields: Any) -> None:
        """End the stream so that a thread that sees the new status finds its event in the log."""
        target = advance(STATUSES, self.status, status)
        self._waiting = None
        try:
            self._close_open_parts(status)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave it active for ever
            target, last, fields = Status.ERROR, events.StreamFailed, {"error": InternalError.of(error)}
        self.error = fields.get("error")
        self.ended_at = time.time()
        self.log.append(
            last(stream_id=self.stream_id, seq=len(self.log), time=self.ended_at, **fields),
            before_readers=lambda: self._set_status(target),
        )

    def _close_open_parts(self, status: Status) -> None:
        """Show what was held back, before the end."""
        if not len(self.log):  # stopped before its task began
            self.start()
        self._unveil()
        for upload in self.uploads:
            if UPLOAD_STATUSES[upload.status]:
                self.update_upload(upload.index, UploadStatus.CANCELLED, note="")
        for call in self.tool_calls:
            if status != Status.COMPLETED and call.ended_at is None:
                self.finish_call(call, ToolStatus.CANCELLED, error="the stream ended")

    def _set_status(self, status: Status) -> None:
        self.status = status
