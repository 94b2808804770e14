"""Kept answers, played back by a server: which one a request gets, and with what timing.

A request without a kept answer gets an error that says which question is the nearest, and what differs: the
answer to a similar question would pass for the answer to this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemini_nb.api.sse import encode
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError
from gemini_nb.journal.kept.answers import nearest, quoted
from gemini_nb.journal.kept.call_record import CallRecord
from gemini_nb.journal.kept.keep_file import KeepFile
from gemini_nb.journal.kept.key import Question, bare_model, question_of
from gemini_nb.simulator.delivery import Encoder, Reply, Step
from gemini_nb.simulator.requests import not_found

__all__ = ["Recordings", "bare_path"]

_SERVICES = (Auth.GEMINI, Auth.VERTEX_AI, Auth.SIMULATOR)
_STREAM = "text/event-stream"
_LONG_NAME = re.compile(r"(/v\w+/)models/.+/([^/]+)")


def bare_path(path: str) -> str:
    """The path of a model by its id alone, where its name has the project or publisher of Vertex AI."""
    return _LONG_NAME.sub(r"\1models/\2", path)


class Recordings:
    """The kept answers of a file or folder.

    Args:
        path: a file that streams kept their answers in, or a folder of them. Bodies alone, in files of the
            folder or of one below it that end in `.txt`, answer all that their name's model is asked.

    Raises:
        ConfigError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._bodies = {
            one.stem: one for pattern in ("*.txt", "*/*.txt") for one in sorted(path.glob(pattern))
        }
        self._kept = KeepFile(path, read_only=True)
        self._asked: dict[str, int] = {}

    def reply(self, model: str, body: dict[str, Any]) -> Reply:
        """Play back the answer to this request; asked again it gets the next of its group, at last the last.

        Raises:
            RefusalError: 404, there is none.
        """
        question = question_of(Auth.GEMINI.value, bare_model(model), body)
        number = self._asked.get(question.key, 0) + 1
        found = self._find(question.numbered(number))
        if found is None and number > 1:
            number -= 1
            found = self._find(question.numbered(number))
        if found is not None:
            self._asked[question.key] = number
            return Reply(encoder=Encoder(_STREAM), steps=_steps(found))
        if (path := self._bodies.get(model)) is not None:
            return _of_body(path)
        what = f"No answer in {self._kept.path.name} is kept for {quoted(question.prompt)} of {model}."
        raise not_found(f"{what} {nearest(self._kept, question)}")

    def _find(self, question: Question) -> CallRecord | None:
        asked = [question.as_asked_of(service.value) for service in _SERVICES]
        for one in asked:
            if (found := self._kept.find(one.key)) is not None:
                return found
        like = [self._kept.find_like(key) for one in asked for key in (one.plain_key, one.loose_key)]
        return next((found for found in like if found is not None), None)


def _steps(record: CallRecord) -> Iterator[Step]:
    for wait, data in record.chunks:
        yield wait
        yield encode(data)


def _of_body(path: Path) -> Reply:
    """A body without its question and its times, as others record them."""
    data = path.read_bytes()
    status, kind = 200, _STREAM
    if not data.lstrip().startswith(b"data:"):
        try:
            status, kind = int(json.loads(data)["error"]["code"]), "application/json"
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path.name} is not a recorded answer ({type(error).__name__}).") from None
    return Reply(status=status, encoder=Encoder(kind), steps=iter([data]))
