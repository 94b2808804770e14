"""What the journal records of a stream, read from its record when the journal's thread asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gemini_nb.api.usage import NO_USAGE
from gemini_nb.api.wire import Content, objects
from gemini_nb.journal.rows import kernel
from gemini_nb.journal.source import Asked, Figures, Texts
from gemini_nb.redaction import scrub_json, scrub_parts
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.stream import Stream

_numbers: Iterator[int] = globals().get("_numbers", itertools.count(1))  # survives a reload of this module


class StreamSource:
    """One stream, as the journal's thread sees it.

    Args:
        stream: the stream.
        begun_with: returns how many turns of its contents are a chat's history.
        origin: the notebook's path and the cell's id, as far as they are known.
    """

    def __init__(
        self, stream: Stream, begun_with: Callable[[], int], origin: tuple[str | None, str | None]
    ) -> None:
        self.uid = f"{stream.stream_id}-{kernel()}{next(_numbers):x}"
        self._stream = stream
        self._begun_with = begun_with
        self._origin = origin
        self._request = stream.request
        self._parts = stream.record.parts

    def hold(self) -> None:
        """Keep what was asked and what came until it is written: the stream itself lets go of all that."""
        self._look()
        begun_with = self._begun_with()
        self._begun_with = lambda: begun_with

    def _look(self) -> None:
        self._request, self._parts = self._stream.request, self._stream.record.parts

    @property
    def is_done(self) -> bool:
        """Whether nothing more comes."""
        return self._stream.record.is_done

    @property
    def version(self) -> int | None:
        """A number that changes when there is something new; None while it was not asked yet."""
        record = self._stream.record
        return len(record.log) if record.asked_at is not None or record.is_done else None

    def text(self) -> str:
        """The answer so far."""
        return self._stream.text

    def figures(self) -> Figures:
        """The small facts so far."""
        stream, record = self._stream, self._stream.record
        return Figures(
            stream_id=stream.stream_id,
            model=stream.model,
            model_version=record.model_version,
            auth=str(stream.auth),
            status=str(record.status),
            finish_reason=record.finish_reason,
            retries=record.retries,
            notebook=self._origin[0],
            cell=self._origin[1],
            started_at=record.started_at,
            first_output_at=record.first_output_at,
            ended_at=record.ended_at,
            usage=record.usage,
            spent=sum(record.requests, NO_USAGE),
            cost=stream.cost,
            saved=stream.saved,
            kept=None if record.kept is None else record.kept.timestamp(),
        )

    def asked(self) -> Asked:
        """What was asked; it stays as it is once it was sent."""
        if not self._stream.record.is_done:
            self._look()
        message = self._request.contents[self._begun_with() :]
        asked: dict[str, Any] = {
            "prompt": prompt_of(message),
            "message": message,
            "settings": self._request.body,
        }
        details = dict(scrub_json(asked))
        return Asked(prompt=details.pop("prompt"), details=details)

    def texts(self) -> Texts:
        """The large facts so far."""
        record = self._stream.record
        if not record.is_done:
            self._look()
        details = {
            "tool_calls": [_call(call) for call in record.tool_calls],
            "finish_message": record.finish_message,
            **({"sources": list(record.sources)} if record.sources else {}),
            "response_id": record.response_id,
        }
        return Texts(
            error=None if record.error is None else str(record.error),
            thoughts=record.thoughts,
            details={"parts": scrub_parts(self._parts), **scrub_json(details)},
        )


def prompt_of(message: Iterable[Content]) -> str:
    """What was asked, as text, with a word in brackets for each file."""
    parts = [part for content in message for part in objects(content.get("parts"))]
    return "\n".join(filter(None, map(_words, parts)))


def _words(part: dict[str, Any]) -> str:
    if isinstance(text := part.get("text"), str):
        return text
    for name in ("inlineData", "fileData"):
        if isinstance(data := part.get(name), dict):
            return f"[{data.get('displayName') or data.get('mimeType') or 'file'}]"
    return ""


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "args": call.args,
        "status": str(call.status),
        "result": call.result,
        "error": call.error,
        "output": call.output,
        "turn": call.turn,
        "duration": call.duration,
    }
