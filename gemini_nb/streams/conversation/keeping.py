"""What a stream does about kept answers: look up each model call, and keep the answer of what it asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gemini_nb.api.auth import NoCredentials
from gemini_nb.api.call import ChunkReceived
from gemini_nb.api.turn import ModelTurn
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.errors import NotKeptError
from gemini_nb.journal.kept.answers import KeptAnswers, has_other_results, is_whole, nearest, quoted
from gemini_nb.journal.kept.call_record import CallRecord, TimedChunk
from gemini_nb.journal.kept.key import Contents, Question, bare_model, question_of
from gemini_nb.streams.conversation.admission import Place
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.request.request import StreamRequest

_REAL = (Auth.GEMINI, Auth.VERTEX_AI)
_GOOGLE = ".googleapis.com"
_LONGEST_NAME = 200
_OTHER_RESULTS = "A tool returned something else than when this answer was kept."


class Repeats:
    """Numbers the equal questions of one group, so that ten samples of a prompt are ten answers."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._numbers: dict[tuple[object, str], int] = {}

    def of(self, row: object) -> Callable[[str], int]:
        """Return a function that gives this row's number by its question's key, the same when asked again."""

        def number(key: str) -> int:
            if (row, key) not in self._numbers:
                self._counts[key] += 1
                self._numbers[row, key] = self._counts[key]
            return self._numbers[row, key]

        return number


class Keeper:
    """Looks a stream's model calls up in a file of kept answers. Loop thread only.

    Args:
        answers: the file's answers.
        record: the stream's state.
        request: what is asked.
        place: is lent while another stream asks the same.
        number_of: gives the number of the stream's first question among the equal ones of its group.
        contents_of: what files and uploads hold.
    """

    def __init__(
        self,
        answers: KeptAnswers,
        record: StreamRecord,
        request: StreamRequest,
        place: Place,
        number_of: Callable[[str], int] | None = None,
        *,
        contents_of: Contents = lambda _: None,
    ) -> None:
        self._answers = answers
        self._record = record
        self._request = request
        self._place = place
        self._number_of = number_of
        self._contents_of = contents_of
        self._number: int | None = None
        self._question: Question | None = None
        self._stop_asking: Callable[[], None] | None = None
        self._tape: list[TimedChunk] = []
        self._checkpoint = 0  # chunks that no later request repeats
        self._last = 0.0

    async def find(self, body: JSON) -> CallRecord | None:
        """Return the kept answer to this; None where this stream is to ask, and no other does until `end`.

        Raises:
            NotKeptError: there is none, and nothing can be asked.
        """
        answers, added = self._answers, self._answers.added
        question, found = await answers.run(self._look_up, body)
        self._question = question
        if found is None:
            found = await self._find_or_begin(question, added)
        self.say_warnings()
        if found is None:
            await self._check_may_ask(question)
            self._tape, self._checkpoint, self._last = [], 0, time.monotonic()
        elif has_other_results(found, question):
            self._record.remark_also(_OTHER_RESULTS)
        return found

    async def _find_or_begin(self, question: Question, added: int) -> CallRecord | None:
        """Begin to ask, when no other stream does; if one did meanwhile, take its answer."""
        answers = self._answers
        waited = answers.is_asked(question)
        if waited:
            self._place.lend()
            self._record.wait_for("the same question, which is being asked")
        self._stop_asking = await answers.begin(question)
        if waited:
            self._record.go_on()
        if not answers.was_added(question, added, fresh=self._is_fresh):
            return None
        found = await answers.run(self._find, question)
        if found is not None:
            self.end()
        return found

    def _look_up(self, body: JSON) -> tuple[Question, CallRecord | None]:
        """The question, and its kept answer where there is one. Not on the loop's thread."""
        endpoint = self._request.endpoint
        model = bare_model(endpoint.model, "" if endpoint.auth is Auth.RECORDING else endpoint.url)
        service = Auth.GEMINI if endpoint.auth is Auth.RECORDING else endpoint.auth
        question = question_of(service.value, model, body, contents_of=self._held)
        if self._number is None:
            self._number = 1 if self._number_of is None else self._number_of(question.key)
        question = question.numbered(self._number)
        return question, None if self._is_fresh else self._find(question)

    @property
    def _is_fresh(self) -> bool:
        """Whether it is to be asked anew; where answers are played back, nothing can be."""
        return self._request.fresh and self._request.endpoint.auth is not Auth.RECORDING

    def _held(self, name: str) -> str | None:
        """What a name in the request stands for; not on the loop's thread."""
        return self._request.held.get(name) or self._contents_of(name)

    def _find(self, question: Question) -> CallRecord | None:
        is_loose = self._request.endpoint.auth is Auth.RECORDING
        return self._answers.find(self._as_asked(question), self._fits, is_loose=is_loose)

    def _as_asked(self, question: Question) -> list[Question]:
        """The question as it was kept by each service whose answer will do, the likeliest first."""
        endpoint = self._request.endpoint
        asked = [question]
        if endpoint.auth is Auth.RECORDING or isinstance(endpoint.authenticator, NoCredentials):
            asked += [question.as_asked_of(one.value) for one in _REAL if one.value != question.service]
        if endpoint.auth is Auth.RECORDING:
            asked.append(question.as_asked_of(Auth.SIMULATOR.value))
        elif server := self._server():
            asked.append(question.as_asked_of(Auth.SIMULATOR.value, server))
        return asked

    def _server(self) -> str:
        """Where the simulator is, if it stands in the place of a service."""
        endpoint = self._request.endpoint
        parts = urlsplit(endpoint.url)
        if endpoint.auth not in _REAL or (parts.hostname or _GOOGLE).endswith(_GOOGLE):
            return ""
        return f"{parts.scheme}://{parts.netloc}"

    def _fits(self, turn: ModelTurn) -> bool:
        schema = self._request.schema
        if not is_whole(turn):
            return False
        if schema is None or turn.function_calls:
            return True
        try:
            schema.read("".join(part.get("text", "") for part in turn.parts if not part.get("thought")))
        except ValueError:
            return False
        return True

    async def _check_may_ask(self, question: Question) -> None:
        proof, answers = self._request.endpoint.authenticator, self._answers
        if isinstance(proof, NoCredentials):
            what = f"{quoted(question.prompt)} of {question.model}"
            if self._is_fresh:
                raise NotKeptError(f"{what} cannot be asked anew.", hint=str(proof.error))
            instead = await answers.run(nearest, answers.file, question)
            raise NotKeptError(
                f"No answer in {answers.file.path.name} is kept for {what}. {instead}", hint=str(proof.error)
            )

    def take(self, chunk: ChunkReceived, turn: ModelTurn) -> None:
        """Record a chunk of the answer."""
        if chunk.replaces:
            del self._tape[self._checkpoint :]
        now = time.monotonic()
        if not self._tape or self._tape[-1].data is not chunk.data:  # several values may come in one
            self._tape.append(TimedChunk(max(0.0, now - self._last), chunk.data))
            self._last = now
        if chunk.is_checkpoint and not turn.is_stale:
            self._checkpoint = len(self._tape)

    def retry(self, delay: float, *, from_start: bool) -> None:
        """Drop the chunks since the checkpoint: the call is made again, and repeats them."""
        if from_start:
            self._checkpoint = 0
        del self._tape[self._checkpoint :]
        self._last = time.monotonic() + delay

    async def keep(self, turn: ModelTurn) -> None:
        """Write the answer down, if it is whole, and let others ask the same."""
        question = self._question
        try:
            if self._stop_asking is None or question is None or not is_whole(turn):
                return
            asked = question
            if turn.is_simulated:
                question = question.as_asked_of(Auth.SIMULATOR.value, self._server())
            await self._answers.add(
                CallRecord(
                    key=question.key,
                    service=question.service,
                    model=question.model,
                    when=datetime.now(UTC).replace(microsecond=0),
                    number=question.number,
                    prompt=question.prompt,
                    question=question.places,
                    model_version=str(turn.model_version or "")[:_LONGEST_NAME],
                    finish_reason=turn.finish_reason or "",
                    usage=turn.usage,
                    chunks=tuple(self._tape),
                ),
                asked,
                fresh=self._is_fresh,
            )
            self.say_warnings()
        finally:
            self.end()

    def end(self) -> None:
        """Let others ask what this stream asked, if it still does."""
        end, self._stop_asking = self._stop_asking, None
        if end is not None:
            end()

    def say_warnings(self) -> None:
        """Show what is wrong with the file, in the first stream that notices."""
        for warning in self._answers.file.take_warnings():
            self._record.remark_also(warning)
