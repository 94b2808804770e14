"""The conversation behind one stream: model calls and tool rounds until the model has answered.

Text and thoughts are shown in every phase. Each model call is read to its end before its tools run, since
the later of several parallel calls, signatures and the token counts come last. What the model sent goes back
as it came, followed by one response for each call, in the order of the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Unpack, assert_never

from gemini_nb.api import failures
from gemini_nb.api.client import (
    ChunkReceived,
    CoolingDown,
    ModelCall,
    RetryPlanned,
    call_model,
)
from gemini_nb.api.content import JSON, Content, duplicate
from gemini_nb.api.functions import FunctionCall
from gemini_nb.api.models import is_retiring
from gemini_nb.api.sendable import is_answer
from gemini_nb.api.turn import ModelTurn
from gemini_nb.api.usage import Usage
from gemini_nb.config import Auth
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import EmptyAnswerError, GeminiError, InternalError, SchemaMismatchError, TurnLimitError
from gemini_nb.redaction import scrub, scrub_json, seal
from gemini_nb.streams.calls import ToolCall
from gemini_nb.streams.dependencies import Deferred, Dependencies, Need, defer
from gemini_nb.streams.options import RequestOptions
from gemini_nb.streams.place import Gate, Place
from gemini_nb.streams.record import StreamRecord
from gemini_nb.streams.request import StreamRequest, build_request, complete_request
from gemini_nb.streams.round import ToolRound, unanswered
from gemini_nb.streams.runtime import Runtime, default_runtime
from gemini_nb.streams.states import Phase, ToolStatus
from gemini_nb.streams.stream import Stream, Subscriber

__all__ = ["OrchestratorInfo", "ToolOrchestrator"]

logger = logging.getLogger("gemini_nb")

_FILTERS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR"}
_COUNT_SECONDS = 0.25  # between two tellings of a call's token counts

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
        options["credentials"] = seal(options.get("credentials"))
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
        self._contents = self._request.contents.copy()
        self._spent = Usage()
        self._counted: JSON | None = None
        self._next_count = 0.0
        self._partial: ModelTurn | None = None
        self._unread: ModelTurn | None = None
        self._round: ToolRound | None = None
        self._call_start = self._checkpoint = self._record.mark()
        self._place = Place(gate)
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._started = self._ending = self._answered = False
        self._failure: GeminiError | None = None
        self.stream = Stream(self._record, self._request, self._runtime, self._stop_soon)
        self.on_end: list[Callable[[ToolOrchestrator], object]] = []
        """Called on the loop thread when the stream has ended, before its terminal event."""
        self.on_answer: list[Callable[[], object]] = []
        """Called on the loop thread when the answer begins."""
        if subscriber is not None:
            self.stream.subscribe(subscriber)

    @property
    def phase(self) -> Phase:
        """What it is doing, or was when it ended."""
        return self._record.phase

    @property
    def history(self) -> list[Content]:
        """What was asked, and every finished round since."""
        return self._contents.copy()

    @property
    def history_with_partial(self) -> list[Content]:
        """The history, with what had arrived of a model call that did not end.

        A function call without a response would make Gemini refuse the conversation's next turn, so calls
        that a stop or an error kept from an answer are answered with that.
        """
        history = self._contents.copy()
        if self._partial is not None and self._partial.has_answer:
            history.append(self._partial.content)
        calls = [part for part in history[-1]["parts"] if isinstance(part.get("functionCall"), dict)]
        if calls and not self._answered and history[-1].get("role") == "model":
            ran = self._round if self._partial is None else None
            history.append({"role": "user", "parts": ran.answers() if ran is not None else unanswered(calls)})
        return history

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
        has_part = self._partial is not None and self._partial.has_answer
        return failures.is_refusal(self._failure) and not has_part

    def limit(self, gate: Gate) -> None:
        """Enter this for the whole run. Before the start only."""
        self._place = Place(gate)

    def queue(self, needs: Iterable[Need], history: Callable[[], list[Content]]) -> None:
        """Ask when these have ended, and then go on from this history. Before the start only."""
        self._dependencies.add(needs)
        self._history = history
        if not self._dependencies.pending and not self._later:
            self._take(complete_request(self._request, self._begun_with, history=history()))

    def start(self) -> Stream:
        """Begin, in a copy of the caller's context. Returns at once; starting twice is once."""
        with self._lock:
            if self._started or self._record.is_done:
                return self.stream
            self._runtime.enlist(self._record, self._end_early)
            self._started = True
        self._runtime.loop.spawn(self._run, contextvars.copy_context())
        return self.stream

    def stop(self) -> None:
        """Stop its requests and its tools."""
        self.stream.stop()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call one more subscriber with every event from the first."""
        self.stream.subscribe(subscriber)

    def info(self) -> OrchestratorInfo:
        """Return this moment as one value."""
        return OrchestratorInfo(
            stream_id=self._record.stream_id,
            subscribers=self.stream.info().subscribers,
            chat=tuple(scrub_json(self._contents)),
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
        """End the stream, once: whoever comes first decides how."""
        if self._record.is_done or self._ending:
            return
        self._ending = True
        try:
            self._take_facts()
        except Exception as caught:  # noqa: BLE001 - the stream must end all the same
            error = error or InternalError.of(caught)
        self._failure = error
        self._runtime.discharge(self._record)
        for callback in self.on_end:
            try:
                callback(self)
            except Exception as caught:  # noqa: BLE001 - the stream must end all the same
                logger.warning("at a stream's end: %s", scrub(f"{type(caught).__name__}: {caught}"))
        if error is not None:
            self._record.fail(error)
        elif stop:
            self._record.stop()
        else:
            self._record.complete()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        record = self._record
        if record.is_done:
            return
        try:
            record.start()
            await self._become_ready()
            async with self._place:
                await self._converse()
                self._check_form()
        except asyncio.CancelledError:
            self._end(stop=True)
        except GeminiError as caught:
            self._end(failures.detached(caught))
        except Exception as caught:  # noqa: BLE001 - a bug of ours ends this stream, not the loop
            self._end(InternalError.of(caught))
        else:
            self._answered = True
            self._end()

    def _known(self, name: str, value: object) -> object:
        """What is known of contents that may hold streams; the rest is filled in when they have ended."""
        value = defer(value)
        if not isinstance(value, Deferred):
            return value
        self._later[name] = value
        self._dependencies.add(value.needs)
        return value.preview

    async def _become_ready(self) -> None:
        """Wait for the streams that this one builds on, and put in what they said."""
        is_waiting = self._dependencies.pending
        await self._dependencies.settle()
        if not is_waiting and not self._later:
            return
        made = {
            name: await run_in_daemon_thread(later.complete, name="gemini_nb-prompt")
            for name, later in self._later.items()
        }
        history = None if self._history is None else self._history()
        self._take(complete_request(self._request, self._begun_with, history=history, **made))

    def _take(self, made: tuple[StreamRequest, int]) -> None:
        self._request, self._begun_with = made
        self._contents = self._request.contents.copy()
        self.stream.complete_request(self._request)

    def _lend_place(self) -> None:
        """Give the place to others while a tool waits for one of them. From any thread."""
        self._runtime.loop.call(self._lend_now)

    def _lend_now(self) -> None:
        if self._record.phase is Phase.EXECUTING_TOOLS and not self._record.is_done:
            self._place.lend()

    async def _converse(self) -> None:
        rounds = 0
        while True:
            turn = await self._call_model()
            if turn.block_reason is not None:
                raise failures.blocked(turn)
            calls = [(asked, self._call_of(asked)) for asked in turn.function_calls]
            if turn.has_answer:
                self._contents.append(turn.content)
            for asked, call in calls:
                self._record.add_call(call)
                if asked.part is None:  # nothing can be said of it to the model, which would have to see it
                    self._record.finish_call(
                        call, ToolStatus.FAILED, error=f"It did not run: {asked.problem}."
                    )
            calls = [(asked, call) for asked, call in calls if asked.part is not None]
            self._round = ToolRound(calls, self._request.tools, self._record, self._runtime, self._lend_place)
            self._partial = None
            if calls and turn.finish_reason in _FILTERS:
                reason = f"the model's turn was ended by {turn.finish_reason}, so this did not run"
                self._contents.append({"role": "user", "parts": self._round.refuse(reason)})
                return
            if not self._round.to_run:
                return
            if rounds >= self._request.turn_limit:
                raise TurnLimitError(
                    f"The model asked for tools again after {rounds} rounds of them.",
                    hint="Raise `turn_limit` if that many rounds are what the question needs.",
                )
            rounds += 1
            self._record.enter(Phase.EXECUTING_TOOLS)
            responses = await self._round.run()
            self._contents.append({"role": "user", "parts": responses})
            if self._round.is_open:
                return
            await self._place.regain()
            self._record.enter(Phase.AWAITING_FINAL_RESPONSE)

    def _check_form(self) -> None:
        """Fail where the answer does not have the form that was asked for."""
        schema = self._request.schema
        if schema is None:
            return
        try:
            schema.read(self._record.answer)
        except ValueError as error:
            reason = self._record.finish_reason
            cut = f" It ended with {reason}." if reason != "STOP" else ""
            raise SchemaMismatchError(
                f"The answer does not fit {schema.name}: {failures.excerpt(str(error), 500)}.{cut}",
                hint="Its text is kept. Ask again, or make the schema simpler.",
            ) from None

    async def _call_model(self) -> ModelTurn:
        request, record = self._request, self._record
        clients = await self._runtime.ready()
        turn = self._partial = self._unread = ModelTurn()
        call = ModelCall(
            endpoint=request.endpoint,
            body=request.body_for(self._contents, is_first=len(self._contents) == len(request.contents)),
            retry=request.retry,
            timeouts=request.timeouts,
            max_event_bytes=self._runtime.settings.max_event_bytes,
        )
        self._call_start = self._checkpoint = record.mark()
        try:
            async with contextlib.aclosing(call_model(clients, call, turn)) as events:
                async for event in events:
                    match event:
                        case ChunkReceived():
                            self._show(event, turn)
                        case RetryPlanned():
                            self._retry(event)
                        case CoolingDown():
                            record.wait_for(event.reason, event.until)
                        case _:
                            assert_never(event)
        except EmptyAnswerError:
            if turn.finish_reason is None or not record.text.strip():
                raise
        finally:
            self._take_facts()
        return turn

    def _retry(self, plan: RetryPlanned) -> None:
        if plan.from_start:
            self._checkpoint = self._call_start
        had_output = plan.had_output or self._checkpoint != self._record.mark()
        keeps = self._checkpoint.length if had_output else None
        self._record.retry(plan.attempt, plan.delay, plan.reason, keeps)
        self._record.wait_for(plan.awaited, time.time() + plan.delay)

    def _show(self, chunk: ChunkReceived, turn: ModelTurn) -> None:
        record = self._record
        if chunk.replaces:
            record.rewind(self._checkpoint)
        if not record.chunks or record.chunks[-1] is not chunk.data:
            record.chunks.append(chunk.data)
        for part in chunk.parts:
            if self.on_answer and is_answer(part):
                self._tell_answer()
            text = part.get("text")
            if isinstance(text, str):
                if text:
                    (record.add_thought if part.get("thought") is True else record.add_text)(text)
            elif "functionCall" not in part:
                record.add_part(part)
        # Every chunk brings counts; to add them up and tell of them costs as much as all of its text.
        if turn.usage is not self._counted and time.monotonic() >= self._next_count:
            self._count(turn)
        # Before any output the new place is the old one; what stands behind it is still to be replaced.
        if chunk.is_checkpoint and not turn.is_stale:
            self._checkpoint = record.mark()

    def _tell_answer(self) -> None:
        callbacks, self.on_answer = self.on_answer, []
        for callback in callbacks:
            callback()

    def _count(self, turn: ModelTurn) -> None:
        if turn.usage:
            self._counted = turn.usage
            self._next_count = time.monotonic() + _COUNT_SECONDS
            self._record.set_usage(self._spent + turn.total_usage)

    def _take_facts(self) -> None:
        """Note what the model call left behind, once, and before the stream's end is told."""
        turn, self._unread = self._unread, None
        if turn is None:
            return
        record = self._record
        self._count(turn)
        self._next_count = 0.0
        self._spent += turn.total_usage
        record.parts.extend(duplicate(turn.parts))  # those of the history are not for others to change
        record.finish_reason = turn.finish_reason
        record.finish_message = turn.finish_message
        record.model_version = turn.model_version or record.model_version
        record.response_id = turn.response_id or record.response_id
        self._warn_once(turn.model_status)

    def _warn_once(self, status: JSON) -> None:
        """Show that a model will be retired, behind the first answer of its that says so."""
        model, warned = self._request.endpoint.model, self._runtime.retiring_models
        if is_retiring(status) and model not in warned:
            warned.add(model)
            self._record.add_part({"modelStatus": {"model": model, **status}})

    def _call_of(self, asked: FunctionCall) -> ToolCall:
        name = self._request.tools.name_of(asked.name)
        return ToolCall(id=asked.id, name=name, args=duplicate(asked.args), turn=self._record.turn)
