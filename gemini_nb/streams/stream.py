"""The handle on one run: what has arrived so far, and ways to wait for the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from gemini_nb.api.contents.audio import Audio, audio_in
from gemini_nb.api.contents.image import Image, images_in
from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import JSON, Part, read_json, shallow
from gemini_nb.config import Auth
from gemini_nb.errors import GeminiError
from gemini_nb.journal.prices import price
from gemini_nb.redaction import scrub, scrub_json
from gemini_nb.streams.code_blocks import CodeBlock, find_code_blocks
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.info import StreamInfo, Subscriber
from gemini_nb.streams.events.states import Phase, Status
from gemini_nb.streams.events.uploads import Upload
from gemini_nb.streams.internals import StreamInternals
from gemini_nb.streams.request.code import to_code
from gemini_nb.streams.runtime.ending import interrupting, mark_cancelled
from gemini_nb.streams.runtime.handle import Handle
from gemini_nb.streams.runtime.reached import note_stream
from gemini_nb.streams.runtime.readers import EventReader
from gemini_nb.streams.stopping import stop_interrupted, stop_together
from gemini_nb.tools.fences import read_fenced


class Stream(Handle, StreamInternals):
    """One run of the model, tools included, from its first request to its end.

    Attributes are what has arrived so far; `result()` waits for all of it.
    """

    _instead = "take result(), its text."

    def __repr__(self) -> str:
        record = self._record
        if note_stream(self):  # in a prompt a stream stands for its text
            return repr(record.text)
        shown = f"{len(record.text)} characters"
        return f"<Stream {self.label} {self.model} {self.status}: {shown}>"

    @property
    def stream_id(self) -> str:
        """The stream's name."""
        return self._record.stream_id

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
        """One of "active", "completed", "error" or "stopped"."""
        return self._record.status

    @property
    def phase(self) -> Phase:
        """What it does now, or did last before it ended."""
        return self._record.phase

    @property
    def turn(self) -> int:
        """The number of the model call that it makes now, from 1."""
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
    def uploads(self) -> tuple[Upload, ...]:
        """The files that were uploaded before the model was asked, and how far each of them is."""
        return self._record.uploads

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
        if self._final_cost is not None:  # a dashboard adds up hundreds, four times a second
            return self._final_cost
        is_final = record.is_done
        models = (record.model_version, self.model)
        found = price(models, record.requests, record.searches, at=record.started_at)
        if is_final:
            self._final_cost = found
        return found

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
        """The answer as a value, where a schema or JSON was asked for; None while it is incomplete."""
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
    def ended_at(self) -> float | None:
        """When it ended; None while it is active."""
        return self._record.ended_at

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The caller's own notes, without keys and tokens."""
        return scrub_json(self._request.metadata)

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

    def stop(self) -> None:
        """Stop the stream, its requests and its tools. What has arrived stays; stopping twice is once."""
        stop_together([self])

    def wait(self, timeout: float | None = None) -> Stream:
        """Wait until the stream has ended, whichever way, and subscribers have got its last event.

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

    def __await__(self) -> Generator[Any, None, str]:
        return self._result_async().__await__()

    async def _result_async(self) -> str:
        try:
            await self.wait_only_async()
        except asyncio.CancelledError as error:
            mark_cancelled(error, interrupting([self.label], had_ended=int(self._record.is_done)))
            self.request_stop()
            raise
        return self.outcome()

    def __iter__(self) -> EventReader:
        return self.reader()

    def __contains__(self, value: object) -> bool:
        if isinstance(value, str):  # no event is a text, so this would be False in silence
            raise TypeError("A stream holds events; look for a text in stream.result() or stream.text.")
        return any(event == value for event in self)

    def __aiter__(self) -> EventReader:
        return self.reader()


def _objects(data: str) -> list[JSON]:
    value = read_json(shallow(data).strip())
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
