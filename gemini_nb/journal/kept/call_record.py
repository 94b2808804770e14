"""The record of one model call, and the one line of JSON that it is on disk.

A dump of what the server sent loses the timing that makes a stream a stream, and cannot say which question it
answers. The whole request in every record would hold a history of fifty turns fifty times. So a record has
the chunks with the seconds between them, and of the question what sets it apart from others: its last words,
and a short form of each of its places.

The journal does not hold these records: an entry is a stream, with its tool calls, its trouble and what came
of a broken answer, and the chunks of an answer are several times as long as its text.

Keep files are shared, so a line may come from anywhere: reading checks all of it, and raises nothing but
`RecordError`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

from gemini_nb.api.wire import JSON, objects, read_json, whole_characters
from gemini_nb.redaction import scrub_json, scrub_parts

VERSION = 1
_KEY = re.compile(r"(?:[0-9a-f]{64})?")
_SERVICES = {"gemini", "vertex_ai", "simulator"}
_LONGEST_NAME = 500
_LONGEST_PROMPT = 10_000
_LONGEST_WAIT = 24 * 3600.0


class RecordError(ValueError):
    """A line is not the record of a model call, or of a version that is not known."""


class TimedChunk(NamedTuple):
    """One GenerateContentResponse.

    Attributes:
        wait: seconds between the one before, or the request, and this one.
        data: its JSON text.
    """

    wait: float
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One model call, with all requests that it took.

    Attributes:
        service: "gemini", "vertex_ai" or "simulator".
        model: the model as it was asked for.
        when: when the answer had ended.
        key: what makes it the answer of a question, see `Question.key`; empty where it was not computed.
        number: which of several equal questions of one group it answers, from 1.
        prompt: the beginning of what the user said last.
        question: a short form of each place of the request; see `Question.places`.
        model_version: the model that answered.
        finish_reason: Gemini's word for why it ended, empty where it did not.
        usage: the usageMetadata of all of its requests.
        chunks: what arrived, without what a later request repeated.
    """

    service: str
    model: str
    when: datetime
    key: str = ""
    number: int = 1
    prompt: str = ""
    question: Mapping[str, str] = field(default_factory=dict)
    model_version: str = ""
    finish_reason: str = ""
    usage: JSON = field(default_factory=dict)
    chunks: tuple[TimedChunk, ...] = ()

    def to_json(self) -> str:
        """Return its line, which ends with a line feed and holds no secret.

        It takes 5 ms for a megabyte: never call it on the loop thread.
        """
        head = {
            "key": self.key,
            "version": VERSION,
            "when": self.when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "service": self.service,
            "model": self.model,
            "model_version": self.model_version,
            "number": self.number,
            "prompt": self.prompt,
            "question": dict(self.question),
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "chunks": _clean([[round(wait, 3), _value(data)] for wait, data in self.chunks]),
        }
        return json.dumps(whole_characters(scrub_json(head)), ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, line: str | bytes) -> CallRecord:
        """Read a line.

        Raises:
            RecordError: it is none.
        """
        try:
            text = line.decode() if isinstance(line, bytes) else line
            text.encode()
            return _read(json.loads(text, parse_constant=_refuse_constant))
        except RecordError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise RecordError(f"it is not the record of a model call ({type(error).__name__})") from None


def _value(data: str) -> Any:
    return read_json(data.strip())


def _clean(chunks: list[Any]) -> list[Any]:
    """The chunks without a secret that lies across several of them."""
    parts = [
        part
        for _, value in chunks
        for response in objects(value)
        for candidate in objects(response.get("candidates"))[:1]
        for part in objects((candidate.get("content") or {}).get("parts"))
    ]
    for part, cleaned in zip(parts, scrub_parts(parts), strict=True):
        part.update(cleaned)
    return chunks


# ------------------------------------------------------------------------------------------- strict reading


def _refuse_constant(name: str) -> NoReturn:
    raise RecordError(f"{name} is not JSON")


def _read(found: Any) -> CallRecord:
    _check(isinstance(found, dict), "an object")
    version = found.get("version")
    if version != VERSION or isinstance(version, bool):
        raise RecordError("it is of a version that this gemini_nb does not know")
    key, number, question = found["key"], found["number"], found["question"]
    _check(isinstance(key, str) and _KEY.fullmatch(key) is not None, "a key")
    _check(type(number) is int and number >= 1, "a number")
    _check(found["service"] in _SERVICES, "a service")
    _check(isinstance(found["usage"], dict), "token counts")
    _check(isinstance(question, dict) and isinstance(found["chunks"], list), "a question with its answer")
    return CallRecord(
        service=found["service"],
        model=_text(found["model"]),
        when=_time(found["when"]),
        key=key,
        number=number,
        prompt=_text(found["prompt"], _LONGEST_PROMPT),
        question={_text(place): _text(form) for place, form in question.items()},
        model_version=_text(found["model_version"]),
        finish_reason=_text(found["finish_reason"]),
        usage=found["usage"],
        chunks=tuple(_chunk(*pair) for pair in found["chunks"]),
    )


def _check(fits: bool, what: str) -> None:
    if not fits:
        raise RecordError(f"it has not {what} where one stands")


def _text(value: Any, longest: int = _LONGEST_NAME) -> str:
    _check(isinstance(value, str) and len(value) <= longest, "a text")
    value.encode()  # half a surrogate pair cannot go into a request or a notebook
    return str(value)


def _time(value: Any) -> datetime:
    when = datetime.strptime(_text(value), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    _check(1970 < when.year < 9999, "a time")  # at the ends of the calendar there is no local time
    return when


def _chunk(wait: Any, value: Any) -> TimedChunk:
    is_time = isinstance(wait, (int, float)) and not isinstance(wait, bool) and math.isfinite(wait)
    _check(is_time and 0 <= wait <= _LONGEST_WAIT, "a time")
    _check(isinstance(value, (dict, list)), "a chunk")
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data.encode()
    return TimedChunk(float(wait), data)
