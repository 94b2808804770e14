"""One stream from its start to its end: what it waits for, its conversation, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Unpack

from gemini_nb.api import failures
from gemini_nb.api.wire import Content
from gemini_nb.config import Auth
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import GeminiError, InternalError, without_traceback
from gemini_nb.journal.writer import Writer
from gemini_nb.redaction import scrub_error, scrub_json
from gemini_nb.sealing import seal_options
from gemini_nb.streams.conversation.admission import Gate, Place
from gemini_nb.streams.conversation.conversation import Conversation
from gemini_nb.streams.conversation.dependencies import Deferred, Dependencies, Need, defer
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import Phase
from gemini_nb.streams.journaling import StreamSource
from gemini_nb.streams.request.options import RequestOptions, takes_options
from gemini_nb.streams.request.request import (
    StreamRequest,
    build_request,
    complete_request,
    with_tools_of_sources,
)
from gemini_nb.streams.runtime.runtime import Runtime, default_runtime
from gemini_nb.streams.stream import Stream

logger = logging.getLogger("gemini_nb")

_numbers: Iterator[int] = globals().get("_numbers", itertools.count(1))  # survives a reload of this module


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorInfo:
    """One moment of an orchestration.

    Attributes:
        stream_id: the stream's name.
        subscribers: who gets its events by callback.
        chat: the history: what was asked, and every finished round.
        auth_strategy: the service that answers.
        config: the request body's fields beside the history.
        phase: what it is doing.
        turn: the model call it is in, from 1.
        turn_limit: tool rounds at most.
        error: why it failed.
    """

    stream_id: str
    subscribers: tuple[Subscriber, ...]
    chat: tuple[Content, ...]
    auth_strategy: Auth
    config: dict[str, Any]
    phase: Phase
    turn: int
    turn_limit: int
    error: GeminiError | None


class ToolOrchestrator:
    """Run one stream, with as many rounds of tools as the model asks for.

    A manager makes one for each stream; it also works by itself.

    Args:
        stream_id: the stream's name, None for a new one.
        subscriber: called with every event from the first, or None.
        chat: what is asked: a string, parts, contents, or anything with a `history` of contents.
        auth: "gemini", "vertex_ai", "simulator", "recording", or None for what the environment says.
        runtime: the machinery to run on; by default the kernel's.
        gate: entered for the whole run, for limits on concurrency.
        history: turns that go before what is asked.
        **options: as in `StreamOptions`.

    Raises:
        ArgumentError: neither or both of contents and request_body.
        ConfigError: a value does not fit.
    """

    @takes_options
    def __init__(
        self,
        stream_id: str | None,
        subscriber: Subscriber | None,
        chat: object,
        auth: str | None = None,
        *,
        runtime: Runtime | None = None,
        gate: Gate = contextlib.nullcontext,
        history: Iterable[Content] = (),
        **options: Unpack[RequestOptions],
    ) -> None:
        seal_options(options)
        self._runtime = runtime or default_runtime()
        self._record = StreamRecord(stream_id or f"s{next(_numbers)}")
        self._dependencies = Dependencies(self._record)
        self._later: dict[str, Deferred] = {}
        begin = list(history)
        contents = self._known("contents", getattr(chat, "history", chat))
        options["system_instruction"] = self._known("system", options.get("system_instruction"))
        self._request = build_request(self._runtime, contents, history=begin, auth=auth, **options)
        self._begun_with = len(begin)
        self._history: Callable[[], list[Content]] | None = None
        self._place = Place(gate)
        self._conversation = Conversation(self._record, self._request, self._runtime, self._place)
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._started = self._ending = False
        self._journal: Writer | None = None
        self._failure: GeminiError | None = None
        self.stream = Stream(self._record, self._request, self._runtime, self._stop_soon)
        self.on_end: list[Callable[[ToolOrchestrator], object]] = []
        """Called on the loop thread when the stream has ended, before its terminal event."""
        self._source = StreamSource(self.stream, lambda: self._begun_with, self._runtime.origin())
        self._record.entry_id = self._source.uid
        if subscriber is not None:
            self.stream.subscribe(subscriber)

    @property
    def phase(self) -> Phase:
        """What it is doing, or was when it ended."""
        return self._record.phase

    @property
    def history(self) -> list[Content]:
        """What was asked, and every finished round since."""
        return self._conversation.history

    @property
    def history_with_partial(self) -> list[Content]:
        """The history, with what had arrived of a model call that did not end, each call answered."""
        return self._conversation.history_with_partial

    @property
    def on_answer(self) -> list[Callable[[], object]]:
        """What is called on the loop thread when the answer begins."""
        return self._conversation.on_answer

    @property
    def turns(self) -> list[Content]:
        """The turns a chat takes into its history: the question and what came, or none where nothing came.

        A question without an answer would be asked again with every later message, and one that was refused
        would have each of them refused, too.
        """
        history = self.history_with_partial
        has_answer = len(history) > len(self._request.contents)
        return history[self._begun_with :] if has_answer and not self._was_refused else []

    @property
    def _was_refused(self) -> bool:
        """Whether the history as it was sent last was refused, so that it would be refused again."""
        return failures.is_refusal(self._failure) and not self._conversation.has_partial

    def number(self, number_of: Callable[[str], int]) -> None:
        """Number its question among the equal ones of its group. Before the start only."""
        self._conversation.number_of = number_of

    def limit(self, gate: Gate) -> None:
        """Enter this for the whole run. Before the start only."""
        self._place.gate = gate

    def queue(self, needs: Iterable[Need], history: Callable[[], list[Content]]) -> None:
        """Ask when these have ended, and then go on from this history. Before the start only."""
        self._dependencies.add(needs)
        self._history = history
        if not self._dependencies.pending and not self._later:
            self._take(complete_request(self._request, self._begun_with, history=history()))
            self._history = None

    def start(self) -> Stream:
        """Begin, in a copy of the caller's context. Returns at once; starting twice is once."""
        with self._lock:
            if self._started or self._record.is_done:
                return self.stream
            self._runtime.register(self._record, self._end_early)
            self._started = True
            self._journal = self._runtime.journal()
        if self._journal is not None:
            self._journal.add(self._source)
        self._runtime.loop.spawn(self._run, contextvars.copy_context())
        return self.stream

    def stop(self) -> None:
        """Stop its requests and its tools."""
        self.stream.stop()

    def fail(self, error: GeminiError) -> None:
        """End the stream with this error."""
        self._runtime.loop.call(self._end_early, error)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call one more subscriber with every event from the first."""
        self.stream.subscribe(subscriber)

    def info(self) -> OrchestratorInfo:
        """Return this moment as one value."""
        return OrchestratorInfo(
            stream_id=self._record.stream_id,
            subscribers=self.stream.info().subscribers,
            chat=tuple(scrub_json(self.history)),
            auth_strategy=self._request.endpoint.auth,
            config=scrub_json(self._request.body),
            phase=self._record.phase,
            turn=self._record.turn,
            turn_limit=self._request.turn_limit,
            error=self._record.error,
        )

    def _stop_soon(self) -> None:
        if self._runtime.closed:
            self._end_early(None)  # it was never started, and nothing runs any more
        else:
            self._runtime.loop.call(self._end_early, None)

    def _end_early(self, error: GeminiError | None) -> None:
        """Stop, or fail with the machinery's error; on the loop's thread, or when there is none any more."""
        self._end(error, stop=error is None)
        if self._task is not None and self._runtime.loop.is_current:
            self._task.cancel()

    def _end(self, error: GeminiError | None = None, *, stop: bool = False) -> None:
        """End the stream, once: the first call decides how."""
        if self._record.is_done or self._ending:
            return
        self._ending = True
        try:
            self._conversation.take_facts()
        except Exception as caught:  # noqa: BLE001 - the stream must end all the same
            error = error or InternalError.of(caught)
        self._failure = error
        self._runtime.unregister(self._record)
        for callback in self.on_end:
            try:
                callback(self)
            except Exception as caught:  # noqa: BLE001 - the stream must end all the same
                logger.warning("at a stream's end: %s", scrub_error(caught))
        self._source.hold()
        if error is not None:
            self._record.fail(error)
        elif stop:
            self._record.stop()
        else:
            self._record.complete()
        if self._journal is not None:
            self._journal.add(self._source)
        self.stream.let_go()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        record = self._record
        if record.is_done:
            return
        try:
            record.start()
            await self._become_ready()
            async with self._place:
                await self._conversation.run()
        except asyncio.CancelledError:
            self._end(stop=True)
        except GeminiError as caught:
            self._end(without_traceback(caught))
        except Exception as caught:  # noqa: BLE001 - a bug of ours ends this stream, not the loop
            self._end(InternalError.of(caught))
        else:
            self._end()

    def _known(self, name: str, value: object) -> object:
        """Return what is known of contents that may hold streams; the rest is filled in at their end."""
        value = defer(value)
        if not isinstance(value, Deferred):
            return value
        self._later[name] = value
        self._dependencies.add(value.needs)
        return value.preview

    async def _become_ready(self) -> None:
        """Wait for the streams that this one builds on, and put in what they said.

        They may have ended since it was queued, and what they said is to be put in all the same.
        """
        await self._dependencies.wait()
        if self._request.tools.sources:
            self._record.wait_for(", ".join(source.name for source in self._request.tools.sources))
            self._take((await with_tools_of_sources(self._request), self._begun_with))
            self._record.go_on()
        if self._history is None and not self._later:
            return
        made = {
            name: await run_in_daemon_thread(later.complete, name="gemini_nb-prompt")
            for name, later in self._later.items()
        }
        history = None if self._history is None else self._history()
        self._take(complete_request(self._request, self._begun_with, history=history, **made))

    def _take(self, made: tuple[StreamRequest, int]) -> None:
        self._request, self._begun_with = made
        self._conversation.ask(self._request)
        self.stream.complete_request(self._request)
