"""Model calls and rounds of tools, one after the other, until the model has answered.

Text and thoughts are shown in every phase. Each model call is read to its end before its tools run, since
the later of several parallel calls, signatures and the token counts come last. What the model sent goes back
as it came, followed by one response for each call, in the order of the calls.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import assert_never

from gemini_nb.api import failures, no_answer
from gemini_nb.api.call import ChunkReceived, ModelCall
from gemini_nb.api.client import CallEvent, RetryPlanned, call_model
from gemini_nb.api.contents.content import is_answer
from gemini_nb.api.contents.generation import is_retiring
from gemini_nb.api.functions import FunctionCall
from gemini_nb.api.resources.uploads import RemoteFile
from gemini_nb.api.retry import CoolingDown
from gemini_nb.api.turn import ModelTurn
from gemini_nb.api.usage import NO_USAGE, Usage
from gemini_nb.api.wire import JSON, Content, Part, duplicate
from gemini_nb.config import Auth, replay_pace
from gemini_nb.errors import APIError, EmptyAnswerError, SchemaMismatchError, TurnLimitError
from gemini_nb.journal.kept.answers import replay
from gemini_nb.journal.kept.call_record import CallRecord
from gemini_nb.redaction import excerpt, scrub_arriving
from gemini_nb.streams.conversation.admission import Place
from gemini_nb.streams.conversation.keeping import Keeper
from gemini_nb.streams.conversation.round import ToolRound, unanswered
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import Phase, ToolStatus
from gemini_nb.streams.request.files import files_in
from gemini_nb.streams.request.request import StreamRequest
from gemini_nb.streams.request.uploads import uploads_of
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.telemetry import ModelCallWatch, watch_model_call

_FILTERS = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR"}
_FILTERS |= {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
_FILTERS |= set("6789")  # a filter by one service's numbers or the other's
_COUNT_SECONDS = 0.25  # between two events with a call's token counts


class Conversation:
    """What one stream and the model say to each other. Loop thread only, but for reading the history.

    Args:
        record: the stream's state.
        request: what is asked.
        runtime: the machinery to run on.
        place: the stream's place among those that run, which it lends while a tool waits for another stream.
    """

    def __init__(self, record: StreamRecord, request: StreamRequest, runtime: Runtime, place: Place) -> None:
        self._record = record
        self._runtime = runtime
        self._place = place
        self.on_answer: list[Callable[[], object]] = []
        """Called on the loop thread when the answer begins."""
        self.number_of: Callable[[str], int] | None = None
        """Numbers its first question among the equal ones of its group; see `Repeats`."""
        self._keeper: Keeper | None = None
        self._kept: CallRecord | None = None
        self._spent = NO_USAGE
        self._requests: tuple[Usage, ...] = ()
        self._uploads: dict[str, RemoteFile] = {}
        self._counted: JSON | None = None
        self._next_count = 0.0
        self._partial: ModelTurn | None = None
        self._unread: ModelTurn | None = None
        self._round: ToolRound | None = None
        self._is_complete = False
        self._call_start = self._checkpoint = record.mark()
        self.ask(request)

    def ask(self, request: StreamRequest) -> None:
        """Replace the request. Before it runs only."""
        self._request = request
        self._contents = request.contents.copy()

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
        if calls and not self._is_complete and history[-1].get("role") == "model":
            ran = self._round if self._partial is None else None
            history.append({"role": "user", "parts": ran.answers() if ran is not None else unanswered(calls)})
        return history

    @property
    def has_partial(self) -> bool:
        """Whether a part of an answer had arrived when its model call broke off."""
        return self._partial is not None and self._partial.has_answer

    async def run(self) -> None:
        """Converse until the model has answered.

        Raises:
            GeminiError: a model call failed, the model asked for too many rounds of tools, or the answer does
                not have the form that was asked for.
        """
        request = self._request
        if request.kept is not None:
            contents_of = uploads_of(self._runtime).memory.content_of
            self._keeper = Keeper(
                request.kept, self._record, request, self._place, self.number_of, contents_of=contents_of
            )
        try:
            turn = await self._converse()
            self._check_form()
            await self._keep(turn)
        finally:
            if self._keeper is not None:
                self._keeper.end()
        self._is_complete = True

    async def _keep(self, turn: ModelTurn) -> None:
        if self._keeper is not None:
            await self._keeper.keep(turn)

    async def _converse(self) -> ModelTurn:
        rounds = 0
        while True:
            turn = await self._call_model_with_files()
            if turn.block_reason is not None:
                raise no_answer.blocked(turn)
            ran = self._round = self._begin_round(turn)
            if ran.calls and (turn.finish_reason or "").upper() in _FILTERS:
                reason = f"the model's turn was ended by {turn.finish_reason}, so this did not run"
                self._contents.append({"role": "user", "parts": ran.refuse(reason)})
                return turn
            if not ran.to_run:
                return turn
            await self._keep(turn)
            if rounds >= self._request.turn_limit:
                raise TurnLimitError(
                    f"The model asked for tools again after {rounds} rounds of them.",
                    hint="Raise `turn_limit` if that many rounds are what the question needs.",
                )
            rounds += 1
            self._record.enter(Phase.EXECUTING_TOOLS)
            responses = await ran.run(self._lend_place)
            self._contents.append({"role": "user", "parts": responses})
            if ran.is_open:
                return turn
            self._record.enter(Phase.AWAITING_FINAL_RESPONSE)

    def _begin_round(self, turn: ModelTurn) -> ToolRound:
        """Take a whole model turn into the history, and its calls into the record."""
        calls = [self._checked(asked, self._call_of(asked)) for asked in turn.function_calls]
        if turn.has_answer:
            self._contents.append(turn.content)
        for asked, call in calls:
            self._record.add_call(call)
            if asked.part is None:  # nothing can be said of it to the model, which would have to see it
                self._record.finish_call(call, ToolStatus.FAILED, error=f"It did not run: {asked.problem}.")
        calls = [(asked, call) for asked, call in calls if asked.part is not None]
        self._partial = None
        return ToolRound(calls, self._request.tools, self._record, self._runtime)

    def _checked(self, asked: FunctionCall, call: ToolCall) -> tuple[FunctionCall, ToolCall]:
        """Give a call that the request does not allow the reason why it cannot run."""
        bar = self._request.bar_to(call.name, is_first=self._is_first)
        return (asked if bar is None or asked.problem else replace(asked, problem=bar)), call

    @property
    def _is_first(self) -> bool:
        """Whether no round of tools has been added to what was asked."""
        return len(self._contents) == len(self._request.contents)

    def _call_of(self, asked: FunctionCall) -> ToolCall:
        name = self._request.tools.name_of(asked.name)
        return ToolCall(id=asked.id, name=name, args=duplicate(asked.args), turn=self._record.turn)

    def _lend_place(self) -> None:
        """Give the place to others while a tool waits for one of them. From any thread."""
        self._runtime.loop.call(self._lend_now)

    def _lend_now(self) -> None:
        if self._record.phase is Phase.EXECUTING_TOOLS and not self._record.is_done:
            self._place.lend()

    def _check_form(self) -> None:
        """Fail where the answer does not have the form that was asked for."""
        schema = self._request.schema
        if schema is None or (self._round is not None and self._round.is_open):  # its answer is still to come
            return
        try:
            schema.read(self._record.answer)
        except ValueError as error:
            reason = self._record.finish_reason
            cut = f" It ended with {reason}." if reason != "STOP" else ""
            raise SchemaMismatchError(
                f"The answer does not fit {schema.name}: {excerpt(str(error), 500)}.{cut}",
                hint="Its text is kept. Ask again, or make the schema simpler.",
            ) from None

    async def _call_model_with_files(self) -> ModelTurn:
        """Call the model; where a file has gone or is not ready, have it made ready and call once more."""
        try:
            return await self._call_model()
        except APIError as error:
            if not failures.is_about_file(error):
                raise
        self._record.go_on()
        if self._keeper is not None:
            self._keeper.retry(0.0, from_start=True)
        return await self._call_model(again=True)

    async def _call_model(self, *, again: bool = False) -> ModelTurn:
        record = self._record
        body = self._request.body_for(self._contents, is_first=self._is_first)
        kept = None if self._keeper is None or again else await self._keeper.find(body)
        turn = self._partial = self._unread = ModelTurn()
        self._call_start = self._checkpoint = record.mark()
        try:
            events = await self._events(kept, body, turn, again=again)
            watching = contextlib.nullcontext() if kept else self._watching(body, turn)
            async with contextlib.aclosing(events):
                with watching as watch:
                    async for event in events:
                        if watch is not None and isinstance(event, ChunkReceived):
                            watch.note_chunk()
                        self._take(event, turn)
        except EmptyAnswerError:
            if turn.finish_reason is None or not record.text.strip():
                raise
        finally:
            self.take_facts()
        return turn

    def _watching(
        self, body: JSON, turn: ModelTurn
    ) -> contextlib.AbstractContextManager[ModelCallWatch | None]:
        return watch_model_call(self._request.endpoint, body, turn, self._record.stream_id)

    def _take(self, event: CallEvent, turn: ModelTurn) -> None:
        record = self._record
        match event:
            case ChunkReceived():
                self._show(event, turn)
            case RetryPlanned():
                self._retry(event)
            case CoolingDown():
                record.wait_for(event.reason, event.until)
                if record.turn == 1 and not record.retries:  # nothing was sent yet
                    record.asked_at = event.until
            case _:
                assert_never(event)

    async def _events(
        self, kept: CallRecord | None, body: JSON, turn: ModelTurn, *, again: bool
    ) -> AsyncGenerator[CallEvent, None]:
        """Return the events of a model call: of a kept one, or of one that is made now."""
        request, record, settings = self._request, self._record, self._runtime.settings
        self._kept = kept
        record.note_call(None if kept is None else kept.when)
        if kept is None:
            await self._place.take()
            body = await self._with_uploads(body, again=again)
        record.asked_at = record.asked_at or time.time()
        if kept is not None:
            record.go_on()  # it takes no place
            is_replay = request.endpoint.auth is Auth.RECORDING
            return replay(kept, turn, pace=replay_pace(settings) if is_replay else 0.0)
        call = ModelCall(
            endpoint=request.endpoint,
            body=body,
            retry=request.retry,
            timeouts=request.timeouts,
            headers=request.headers,
            max_event_bytes=settings.max_event_bytes,
        )
        return call_model(await self._runtime.ready(), call, turn, take_place=self._place.take)

    async def _with_uploads(self, body: JSON, *, again: bool) -> JSON:
        """Return the body with uploads in the place of files that the service must have first."""
        request, system = self._request, body.get("systemInstruction")
        contents = [*self._contents, *([system] if isinstance(system, dict) else [])]
        if not files_in(contents):
            return body
        clients = await self._runtime.ready()
        ready = await uploads_of(self._runtime).put_up(
            clients, request, self._record, contents, self._uploads, again=again
        )
        if ready is contents:
            return body
        self._contents = ready[: len(self._contents)]
        body = request.body_for(self._contents, is_first=self._is_first)
        return {**body, "systemInstruction": ready[-1]} if isinstance(system, dict) else body

    def _retry(self, plan: RetryPlanned) -> None:
        if self._keeper is not None:
            self._keeper.retry(plan.delay, from_start=plan.from_start)
        if plan.from_start:
            self._checkpoint = self._call_start
        had_output = plan.had_output or self._checkpoint != self._record.mark()
        keeps = self._checkpoint.length if had_output else None
        if plan.error.status_code == 429 and plan.error.per_minute is None:
            self._record.refused_at = time.monotonic()
            if self._request.retry.patient:  # a row of many: fewer of them ask again
                self._place.lend()
        self._record.retry(plan.attempt, plan.delay, plan.message, keeps)
        self._record.wait_for(plan.waits_for, time.time() + plan.delay)

    def _show(self, chunk: ChunkReceived, turn: ModelTurn) -> None:
        record = self._record
        if chunk.replaces:
            record.rewind(self._checkpoint)
        if self._keeper is not None and self._kept is None:
            self._keeper.take(chunk, turn)
        if not record.chunks or record.chunks[-1] is not chunk.data:
            record.chunks.append(chunk.data)
        for part in chunk.parts:
            self._show_part(part)
        # Every chunk brings counts; to add them up and report them costs as much as all of its text.
        if turn.usage is not self._counted and time.monotonic() >= self._next_count:
            self._count(turn)
        # Before any output the new place is the old one; what stands behind it is still to be replaced.
        if chunk.is_checkpoint and not turn.is_stale:
            self._checkpoint = record.mark()

    def _show_part(self, part: Part) -> None:
        if self.on_answer and is_answer(part):
            self._announce_answer()
        text = part.get("text")
        if isinstance(text, str):
            if text:
                (self._record.add_thought if part.get("thought") else self._record.add_text)(text)
        elif "functionCall" not in part:
            self._record.add_part(part)

    def _announce_answer(self) -> None:
        callbacks, self.on_answer = self.on_answer, []
        for callback in callbacks:
            callback()

    def _count(self, turn: ModelTurn) -> None:
        if turn.usage:
            self._counted = turn.usage
            self._next_count = time.monotonic() + _COUNT_SECONDS
            asked = turn.requests
            spent = sum(asked, self._spent)
            self._record.set_usage(spent, (*self._requests, *(asked if self._kept is None else ())))

    def take_facts(self) -> None:
        """Note what the model call left behind, once, and before the stream's last event."""
        turn, self._unread = self._unread, None
        if turn is None:
            return
        record = self._record
        self._count(turn)
        self._next_count = 0.0
        requests = turn.requests
        self._spent = sum(requests, self._spent)
        if self._kept is None:
            self._requests += requests
            record.add_searches(turn.searches)
        else:
            record.save(requests, turn.searches, is_billed=self._kept.service != Auth.SIMULATOR)
        record.sources += tuple({name: turn.metadata[name]} for name in turn.metadata)
        record.parts.extend(duplicate(turn.parts))  # those of the history are not for others to change
        record.finish_reason = turn.finish_reason
        record.finish_message = turn.finish_message
        model_version, response_id = scrub_arriving((turn.model_version, turn.response_id))
        record.model_version = model_version or record.model_version
        record.response_id = response_id or record.response_id
        self._warn_once(turn.model_status)

    def _warn_once(self, status: JSON) -> None:
        """Show that a model will be retired, behind the first answer of its that says so."""
        model, warned = self._request.endpoint.model, self._runtime.retiring_models
        if is_retiring(status) and model not in warned:
            warned.add(model)
            self._record.add_part({"modelStatus": {"model": model, **status}})
