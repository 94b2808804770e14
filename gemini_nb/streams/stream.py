"""The handle on one run: what has arrived so far, and ways to wait for the rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from gemini_nb.api.contents.audio import Audio, audio_in
from gemini_nb.api.contents.image import Image, images_in
from gemini_nb.api.turn import Usage
from gemini_nb.api.wire import JSON, Content, Part, shallow
from gemini_nb.config import Auth
from gemini_nb.errors import GeminiError
from gemini_nb.journal.prices import price
from gemini_nb.redaction import scrub, scrub_json
from gemini_nb.streams.code_blocks import CodeBlock, find_code_blocks
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.info import StreamInfo, Subscriber
from gemini_nb.streams.events.log import EventLog
from gemini_nb.streams.events.record import StreamRecord, Waiting
from gemini_nb.streams.events.states import UPLOAD_STATUSES, Phase, Status
from gemini_nb.streams.events.uploads import Upload
from gemini_nb.streams.request.code import to_code
from gemini_nb.streams.request.request import StreamRequest
from gemini_nb.streams.runtime.ending import Ending, StreamInterrupted, interrupting, mark_cancelled
from gemini_nb.streams.runtime.reached import note_stream
from gemini_nb.streams.runtime.readers import EventReader
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.runtime.subscribers import Subscribers
from gemini_nb.tools.fences import read_fenced
from gemini_nb.tools.output import Target

__all__ = ["Stream", "replacing", "stop_interrupted", "stop_together"]

_INTERNAL = {
    "activity",
    "asked_at",
    "cell_output",
    "complete_request",
    "contents",
    "ending",
    "first_output_at",
    "has_functions",
    "is_done",
    "is_replaced",
    "is_structured",
    "is_uploading",
    "label",
    "let_go",
    "length",
    "log",
    "on_late_output",
    "outcome",
    "reader",
    "record",
    "request",
    "request_stop",
    "requested_tier",
    "row_of",
    "runtime",
    "shrink",
    "shows_thoughts",
    "silent_for",
    "stop_asked",
    "subscriber_count",
    "targets",
    "wait_delivered",
    "wait_end",
    "wait_only",
    "waiting",
}  # Tab does not offer these

_subscribing = threading.Lock()

_GRACE = 1.0  # seconds that `wait` gives callbacks to see the terminal event
_LOOK = 0.005  # seconds between two checks of that where a coroutine waits


class Stream:
    """One run of the model, tools included, from its first request to its end.

    Attributes are what has arrived so far; `result()` waits for all of it.
    """

    def __init__(
        self, record: StreamRecord, request: StreamRequest, runtime: Runtime, stop: Callable[[], object]
    ) -> None:
        self._record = record
        self._request = request
        self._runtime = runtime
        self._request_stop = stop
        self._made_subscribers: Subscribers | None = None
        self._made_ending: Ending | None = Ending(record, runtime)

    def __repr__(self) -> str:
        record = self._record
        if note_stream(self):  # in a prompt a stream stands for its text
            return repr(record.text)
        shown = f"{len(record.text)} characters"
        return f"<Stream {self.label} {self.model} {self.status}: {shown}>"

    @property
    def _subscribers(self) -> Subscribers:
        with _subscribing:
            if self._made_subscribers is None:
                self._made_subscribers = Subscribers(self._record.log, self._runtime)
            return self._made_subscribers

    @property
    def _ending(self) -> Ending:
        return self._made_ending or Ending(self._record, self._runtime)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INTERNAL]

    @property
    def stream_id(self) -> str:
        """The stream's name."""
        return self._record.stream_id

    @property
    def label(self) -> str:
        """What every view calls it: `trip · s1`, or its id where the notebook has no name for it."""
        return self._record.label

    @property
    def row_of(self) -> object:
        """The run whose row it is, None for a stream that was asked alone."""
        return self._record.group and self._record.group()

    @property
    def model(self) -> str:
        """The model's id, as it was asked for."""
        return self._request.endpoint.model

    @property
    def auth(self) -> Auth:
        """The service that answers: "gemini", "vertex_ai", "simulator" or "recording"."""
        return self._request.endpoint.auth

    @property
    def status(self) -> Status:
        """Is "active", "completed", "error" or "stopped"."""
        return self._record.status

    @property
    def phase(self) -> Phase:
        """What it is doing, or was when it ended."""
        return self._record.phase

    @property
    def turn(self) -> int:
        """The model call it is in, from 1."""
        return self._record.turn

    @property
    def text(self) -> str:
        """The text of all model calls so far, one after the other."""
        note_stream(self)
        return self._record.text

    @property
    def answer(self) -> str:
        """The text of the last model call so far."""
        note_stream(self)
        return self._record.answer

    @property
    def code_blocks(self) -> list[CodeBlock]:
        """The fenced code blocks of the text so far."""
        return find_code_blocks(self.text)

    @property
    def images(self) -> list[Image]:
        """The images of the answer, of the model calls that have ended."""
        return images_in(self._record.parts)

    @property
    def audio(self) -> list[Audio]:
        """The sounds of the answer, of the model calls that have ended, as files that can be played."""
        return audio_in(self._record.parts)

    @property
    def thoughts(self) -> str:
        """The summary of the model's thoughts so far."""
        return self._record.thoughts

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every tool call so far, in the model's order."""
        return self._record.tool_calls

    @property
    def activity(self) -> str:
        """What the model does now, "thinking" or "writing"; "" before it has sent any of it."""
        return self._record.activity

    @property
    def length(self) -> int:
        """How many characters the text has so far."""
        return self._record.length

    @property
    def stop_asked(self) -> bool:
        """Whether it was asked to stop."""
        return self._record.stop_asked

    @property
    def is_replaced(self) -> bool:
        """Whether it was stopped because its cell asked again."""
        return self._record.is_replaced

    def silent_for(self, now: float) -> float:
        """Return the seconds since the model sent something, where `now` is in seconds since the epoch."""
        return self._record.silent_for(now)

    @property
    def uploads(self) -> tuple[Upload, ...]:
        """The files that the service had to have before the model was asked, and how far they are."""
        return self._record.uploads

    @property
    def is_uploading(self) -> bool:
        """Whether one of them is still on its way."""
        return any(UPLOAD_STATUSES[upload.status] for upload in self._record.uploads)

    @property
    def usage(self) -> Usage:
        """Tokens of all model calls so far."""
        return self._record.usage

    @property
    def cost(self) -> Decimal | None:
        """What it cost so far in US dollars, with calls that were cut or made again.

        None where no price is known: the extra `prices` brings a list. What the simulator answers, and what
        is kept or played back, costs nothing.
        """
        record = self._record
        if self.auth in {Auth.SIMULATOR, Auth.RECORDING} or record.kept is not None:
            return Decimal()
        if record.first_output_at is not None and not record.usage.total_token_count:
            return None  # its tokens come at its end
        models = (record.model_version, self.model)
        return price(models, record.requests, record.searches, at=record.started_at)

    @property
    def saved(self) -> Decimal | None:
        """What its kept answers would have cost in US dollars; None where no price is known."""
        record = self._record
        if not record.saved.requests:
            return Decimal()
        models = (record.model_version, self.model)
        return price(models, record.saved.requests, record.saved.searches, at=record.started_at)

    @property
    def kept(self) -> datetime | None:
        """When the answer was kept, if it comes from a file of kept answers as a whole."""
        return self._record.kept

    @property
    def finish_reason(self) -> str | None:
        """Gemini's word for why the last model call ended."""
        return self._record.finish_reason

    @property
    def error(self) -> GeminiError | None:
        """Why the stream failed, None if it did not."""
        return self._record.error

    @property
    def parts(self) -> list[Part]:
        """The model's parts as they came, of all finished model calls."""
        return scrub_json(list(self._record.parts))

    @property
    def parsed(self) -> Any:
        """What the answer stands for where a schema or JSON was asked for, None while it is incomplete."""
        schema = self._request.schema
        if not self.is_structured:
            return None
        try:
            if schema is not None:
                return schema.read(self.answer)
            return scrub_json(read_fenced(self.answer, lambda text: json.loads(shallow(text))))
        except ValueError:
            return None

    @property
    def events(self) -> tuple[StreamEvent, ...]:
        """All events so far."""
        return tuple(self._record.log.since(0))

    @property
    def chunks(self) -> list[JSON]:
        """Every GenerateContentResponse as it came, those of broken calls too."""
        return scrub_json([value for data in self._record.chunks.copy() for value in _objects(data)])

    @property
    def model_version(self) -> str | None:
        """The model that really answered."""
        return self._record.model_version

    @property
    def response_id(self) -> str | None:
        """The server's name for its last answer."""
        return self._record.response_id

    @property
    def retries(self) -> int:
        """Model calls that were made again."""
        return self._record.retries

    @property
    def waiting_for(self) -> object:
        """The stream, group or list of streams that must end before it is asked; None where none must."""
        waiting = self._record.waiting
        return None if waiting is None else waiting.target

    @property
    def remarks(self) -> str:
        """What the user should know beside the answer, such as messages of the chat that were taken back."""
        return self._record.remarks

    @property
    def finish_message(self) -> str:
        """What the service says of why the last model call ended; mostly empty."""
        return self._record.finish_message

    @property
    def started_at(self) -> float:
        """When it was started, in seconds since the epoch."""
        return self._record.started_at

    @property
    def asked_at(self) -> float | None:
        """When its first request was sent, after all that it had to wait for."""
        return self._record.asked_at

    @property
    def first_output_at(self) -> float | None:
        """When the first text, thought or call came."""
        return self._record.first_output_at

    @property
    def ended_at(self) -> float | None:
        """When it ended; None while it is active."""
        return self._record.ended_at

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._record.is_done

    @property
    def waiting(self) -> Waiting | None:
        """What it waits for before its next request: a place, a quota, a retry or another stream."""
        return self._record.waiting

    @property
    def log(self) -> EventLog:
        """Its events, for readers that keep a place of their own in them."""
        return self._record.log

    @property
    def contents(self) -> list[Content]:
        """The turns it was asked with, as they are sent."""
        return self._request.contents

    @property
    def is_structured(self) -> bool:
        """Whether the answer is to be JSON."""
        config = self._request.body.get("generationConfig") or {}
        return bool(config.get("responseMimeType", config.get("response_mime_type")) == "application/json")

    @property
    def shows_thoughts(self) -> bool:
        """Whether the model was asked to summarise its thoughts."""
        config = self._request.body.get("generationConfig") or {}
        thinking = config.get("thinkingConfig") or {}
        return isinstance(thinking, dict) and bool(thinking.get("includeThoughts"))

    @property
    def has_functions(self) -> bool:
        """Whether it was given functions that it may call."""
        return self._request.tools.has_functions

    @property
    def requested_tier(self) -> str:
        """The service tier that was asked for; "unspecified" where none was."""
        return str(self._request.body.get("serviceTier") or "unspecified").lower()

    def on_late_output(self, callback: Callable[[], object]) -> None:
        """Call this when a tool reports progress after its call ended, for which there is no event.

        Loop thread only.
        """
        self._record.late_looks.append(callback)

    def cell_output(self) -> Target | None:
        """Return the output of the cell that runs now, None where there is no notebook."""
        return self._runtime.cell_output()

    @property
    def ending(self) -> Ending:
        """Its end, for those that wait for it."""
        return self._ending

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The caller's own notes, without keys and tokens."""
        return scrub_json(self._request.metadata)

    @property
    def record(self) -> StreamRecord:
        """The state behind this handle, for panes that read along."""
        return self._record

    @property
    def runtime(self) -> Runtime:
        """The machinery it runs on, for panes that paint on its loop."""
        return self._runtime

    @property
    def request(self) -> StreamRequest:
        """What was asked."""
        return self._request

    def complete_request(self, request: StreamRequest) -> None:
        """Take the request as it is sent, now that what it waited for is there. Loop thread only."""
        self._request = request

    def let_go(self) -> None:
        """Keep nothing of what runs it: it has ended."""
        self._request_stop = _nothing

    def shrink(self, like: StreamRequest | None) -> StreamRequest | None:
        """Keep the answer and its figures, but not what made them: chunks, what was asked, its machinery.

        A stream that has subscribers, or whose tools may still run, stays as it is.

        Args:
            like: a request of another stream that asked with the same settings, to share them.
        """
        record = self._record
        if not record.is_done or record.tool_calls or record.log.reader_count or self._made_subscribers:
            return like
        record.shrink()
        self._made_ending = self._made_subscribers = None
        bare = replace(self._request, contents=[])
        self._request = like if like is not None and _is_alike(bare, like) else bare
        return self._request

    def to_code(self) -> str:
        """Return the call of google-genai that asks the same; it reads the key from the environment."""
        return scrub(to_code(self._request))

    def info(self) -> StreamInfo:
        """Return this moment of the stream as one value."""
        record = self._record
        return StreamInfo(
            stream_id=record.stream_id,
            auth=self.auth,
            model=self.model,
            endpoint=scrub(self._request.endpoint.url),
            request_body=scrub_json(self._request.body_for(self._request.contents)),
            status=record.status,
            phase=record.phase,
            turn=record.turn,
            error=record.error,
            events=self.events,
            subscribers=self._subscribers.callbacks,
            started_at=record.started_at,
            ended_at=record.ended_at,
            retries=record.retries,
            usage=record.usage,
            tool_calls=tuple(call.snapshot() for call in record.tool_calls),
            metadata=self.metadata,
            remarks=record.remarks,
        )

    def subscribe(self, subscriber: Subscriber, *, replay: bool = True) -> None:
        """Call `subscriber` with every event, in order, on a thread for callbacks, never in a cell's way.

        Args:
            subscriber: any callable; an equal one (`==`) is subscribed already.
            replay: begin with the first event of the stream, however late it is.

        Raises:
            ArgumentError: it cannot be called, or is asynchronous.
        """
        self._subscribers.add(subscriber, replay=replay)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop calling a subscriber; the stream goes on. Unknown subscribers are no error."""
        self._subscribers.remove(subscriber)

    @property
    def subscriber_count(self) -> int:
        """How many callables get its events."""
        return 0 if self._made_subscribers is None else len(self._made_subscribers)

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """Where its subscribers' output goes."""
        return () if self._made_subscribers is None else self._made_subscribers.targets

    def stop(self) -> None:
        """Stop the stream, its requests and its tools. What has arrived stays; stopping twice is once."""
        stop_together([self])

    def request_stop(self, *, asked_again: bool = False) -> None:
        """Ask for the stop and return at once, from any thread.

        Args:
            asked_again: its question is asked again by another stream; those that wait for it say so.
        """
        if not self._record.is_done:
            self._record.stop_asked = True
            self._record.is_replaced = self._record.is_replaced or asked_again
            self._request_stop()

    def wait(self, timeout: float | None = None) -> Stream:
        """Wait until the stream has ended, whichever way, and subscribers have heard of it.

        A subscriber that is busy for longer than a second is not waited for. Ctrl-C stops the stream.

        Args:
            timeout: seconds, None for as long as it takes.

        Raises:
            TimeoutError: it has not ended in time.
            BlockingCallError: called on the background loop's thread, or in a tool of this stream.
        """
        self._runtime.check_may_block()
        try:
            self.wait_only(timeout)
        except KeyboardInterrupt:
            raise stop_interrupted([self]) from None
        return self

    def wait_only(self, timeout: float | None = None) -> None:
        """Wait like `wait`, but let the stream go on after a Ctrl-C."""
        self.wait_end(timeout)
        self.wait_delivered(time.monotonic() + _GRACE)

    def wait_end(self, timeout: float | None = None) -> None:
        """Wait for the end alone, not for the subscribers.

        Raises:
            TimeoutError: it has not ended in time.
            BlockingCallError: as in `wait`.
        """
        self._ending.wait(timeout)

    @property
    def _have_heard(self) -> bool:
        return self._made_subscribers is None or self._made_subscribers.have_heard

    def wait_delivered(self, deadline: float) -> None:
        """Wait until subscribers have heard of the end, or until this time of `time.monotonic`."""
        if self._made_subscribers is not None:
            self._made_subscribers.wait_heard(deadline)

    def result(self, timeout: float | None = None) -> str:
        """Wait for the end and return the text; of a stopped stream, what had arrived.

        Args:
            timeout: seconds, None for as long as it takes.

        Raises:
            GeminiError: the stream failed; its `text` keeps what had arrived.
            TimeoutError: it has not ended in time.
        """
        self.wait(timeout)
        return self.outcome()

    def outcome(self) -> str:
        """Return the text that is there, without waiting.

        Raises:
            GeminiError: the stream failed.
        """
        if self._record.error is not None:
            raise self._record.error.with_traceback(None)
        return self.text

    def __await__(self) -> Generator[Any, None, str]:
        return self._result_async().__await__()

    async def _result_async(self) -> str:
        self._ending.check_may_wait()
        try:
            await self._ending.wait_async()
            deadline = time.monotonic() + _GRACE
            while not self._have_heard and time.monotonic() < deadline:  # noqa: ASYNC110 - threads set it
                await asyncio.sleep(_LOOK)
        except asyncio.CancelledError as error:
            mark_cancelled(error, interrupting([self.label], had_ended=int(self._record.is_done)))
            self.request_stop()
            raise
        return self.outcome()

    def __iter__(self) -> EventReader:
        return self.reader()

    def __aiter__(self) -> EventReader:
        return self.reader()

    def reader(self, *, replay: bool = True) -> EventReader:
        """Return an iterator of events, from the first one or only of new ones."""
        return EventReader(self._record.log, self._runtime, self._ending.waiting, replay=replay)


def stop_together(streams: Iterable[Stream]) -> None:
    """Stop these streams, and give them a moment, so that their status is there when the call returns."""
    stopping = list(streams)
    for stream in reversed(stopping):  # those that wait for others first, so that they count as stopped, too
        stream.request_stop()
    deadline = time.monotonic() + _GRACE
    for stream in stopping:
        stream.ending.wait_until(deadline)


@contextlib.contextmanager
def replacing(streams: Iterable[Stream]) -> Generator[None, None, None]:
    """Stop these for what is asked within this context in their place; where that fails, they go on.

    What is asked there counts them as stopped already: a chat's message does not depend on them.
    """
    old = [stream for stream in streams if not stream.record.stop_asked]
    for stream in old:
        stream.record.stop_asked = True
    try:
        yield
    except BaseException:
        for stream in old:
            stream.record.stop_asked = False
        raise
    for stream in reversed(old):
        stream.request_stop(asked_again=True)


def stop_interrupted(streams: Sequence[Stream]) -> StreamInterrupted:
    """Stop what an interrupted wait waited for, and return the error that says how many those were."""
    stop_together(streams)
    had_ended = sum(stream.status in {Status.COMPLETED, Status.ERROR} for stream in streams)
    return interrupting([stream.label for stream in streams], had_ended)


def _objects(data: str) -> list[JSON]:
    value = json.loads(shallow(data))
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _nothing() -> None:
    pass


def _is_alike(one: StreamRequest, other: StreamRequest) -> bool:
    """Whether two requests differ in nothing that an ended stream tells of them."""
    return (
        (one.endpoint.url, one.endpoint.auth, one.retry)
        == (other.endpoint.url, other.endpoint.auth, other.retry)
        and one.body == other.body
        and one.metadata == other.metadata
        and (one.schema and one.schema.name) == (other.schema and other.schema.name)
    )
