"""What panes and groups need of a stream, and a user does not: its state, its machinery, its waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from gemini_nb.api.wire import Content
from gemini_nb.streams.events.info import Waiting
from gemini_nb.streams.events.log import EventLog
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import UPLOAD_STATUSES
from gemini_nb.streams.request.request import StreamRequest
from gemini_nb.streams.runtime.ending import Ending
from gemini_nb.streams.runtime.reached import note_stream
from gemini_nb.streams.runtime.readers import EventReader
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.runtime.subscribers import Subscribers
from gemini_nb.tools.output import Target

_LOOK = 0.005  # seconds between two checks of whether callbacks have seen the end, where a coroutine waits
GRACE = 1.0
"""Seconds that a wait gives callbacks to see the terminal event, and a stop the stream to end."""

_subscribing = threading.Lock()


class StreamInternals:
    """The part of a `Stream` that panes, groups and other streams use. Tab offers none of it."""

    def __init__(
        self, record: StreamRecord, request: StreamRequest, runtime: Runtime, stop: Callable[[], object]
    ) -> None:
        self._record = record
        self._request = request
        self._runtime = runtime
        self._request_stop = stop
        self._final_cost: Decimal | None = None
        self._made_subscribers: Subscribers | None = None
        self._made_ending: Ending | None = Ending(record, runtime)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name[0] == "_" or name not in vars(StreamInternals)]

    @property
    def _subscribers(self) -> Subscribers:
        with _subscribing:
            if self._made_subscribers is None:
                self._made_subscribers = Subscribers(self._record.log, self._runtime)
            return self._made_subscribers

    @property
    def _ending(self) -> Ending:
        return self._made_ending or Ending(self._record, self._runtime)

    @property
    def label(self) -> str:
        """What every view calls it: `trip · s1`, or its id where the notebook has no name for it."""
        return self._record.label

    @property
    def entry_id(self) -> str:
        """The id of its entry in the journal."""
        return self._record.entry_id

    @property
    def row_of(self) -> object:
        """The run whose row it is, None for a stream that was asked alone."""
        return self._record.group and self._record.group()

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
    def is_uploading(self) -> bool:
        """Whether a file is still being uploaded for it."""
        return any(UPLOAD_STATUSES[upload.status] for upload in self._record.uploads)

    @property
    def asked_at(self) -> float | None:
        """When its first request was sent, after all that it had to wait for."""
        return self._record.asked_at

    @property
    def first_output_at(self) -> float | None:
        """When the first text, thought or call came."""
        return self._record.first_output_at

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
        """The turns that are sent as its question."""
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
        """Call this when a tool reports progress after its call has ended, for which there is no event.

        Loop thread only.
        """
        self._record.late_looks.append(callback)

    def cell_output(self) -> Target | None:
        """Return the output of the cell that runs now, None where there is no notebook."""
        return self._runtime.cell_output()

    @property
    def ending(self) -> Ending:
        """Its end, for code that waits for it or wants to be called then."""
        return self._ending

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
        """Drop the reference to the orchestrator of a stream that has ended."""
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

    @property
    def subscriber_count(self) -> int:
        """How many callables get its events."""
        return 0 if self._made_subscribers is None else len(self._made_subscribers)

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """Where its subscribers' output goes."""
        return () if self._made_subscribers is None else self._made_subscribers.targets

    def request_stop(self, *, asked_again: bool = False) -> None:
        """Request the stop and return at once. From any thread.

        Args:
            asked_again: its question is asked again by another stream; those that wait for it say so.
        """
        if not self._record.is_done:
            self._record.stop_asked = True
            self._record.is_replaced = self._record.is_replaced or asked_again
            self._request_stop()

    def wait_only(self, timeout: float | None = None) -> None:
        """Wait like `wait`, but let the stream go on after a Ctrl-C."""
        self.wait_end(timeout)
        self.wait_delivered(time.monotonic() + GRACE)

    async def wait_only_async(self) -> None:
        """`wait_only` on the running loop.

        Raises:
            BlockingCallError: as in `wait`.
        """
        self._ending.check_may_wait()
        await self._ending.wait_async()
        deadline = time.monotonic() + GRACE
        while not self._have_heard and time.monotonic() < deadline:  # noqa: ASYNC110 - threads set it
            await asyncio.sleep(_LOOK)

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
        """Wait until subscribers have got the last event, or until this time of `time.monotonic`."""
        if self._made_subscribers is not None:
            self._made_subscribers.wait_heard(deadline)

    def outcome(self) -> str:
        """Return the text that has arrived so far.

        Raises:
            GeminiError: the stream failed.
        """
        if self._record.error is not None:
            raise self._record.error.with_traceback(None)
        note_stream(self)
        return self._record.text

    def reader(self, *, replay: bool = True) -> EventReader:
        """Return an iterator of events, from the first one or only of new ones."""
        return EventReader(self._record.log, self._runtime, self._ending.waiting, replay=replay)


def _nothing() -> None:
    pass


def _is_alike(one: StreamRequest, other: StreamRequest) -> bool:
    """Whether two requests are equal in everything that an ended stream shows of them."""
    return (
        (one.endpoint.url, one.endpoint.auth, one.retry)
        == (other.endpoint.url, other.endpoint.auth, other.retry)
        and one.body == other.body
        and one.metadata == other.metadata
        and (one.schema and one.schema.name) == (other.schema and other.schema.name)
    )
