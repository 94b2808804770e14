"""Recorded answers, played back: which one a request gets, and with what timing.

The folder is looked at anew for every request, so what was recorded a moment ago can be played back, and a
file that was edited counts; files that did not change are not read again. A request that nobody recorded gets
an error that says what there is: an answer to a similar question would pass for the answer to this one.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemini_nb.api.recording import Recording, normalised, prompt_of, read_recording, request_key
from gemini_nb.errors import ConfigError
from gemini_nb.simulator.delivery import BrokenOffError, BytesEncoder, Pause, Reply
from gemini_nb.simulator.faults.fault import Fault
from gemini_nb.simulator.faults.wire import FaultySink
from gemini_nb.simulator.protocol.refusals import not_found
from gemini_nb.simulator.scenario.chunks import Step

__all__ = ["Recordings", "bare_path"]

_PATTERNS = ("*.jsonl", "*/*.jsonl", "*.txt", "*/*.txt")
_LISTED = 5
_GRACE = 2.0  # seconds until an answer that nobody had read to its end breaks off
_LONG_NAME = re.compile(r"(/v\w+/)models/.+/([^/]+)")


def bare_path(path: str) -> str:
    """The path of a model by its id alone, where its name has the project or publisher of Vertex AI."""
    return _LONG_NAME.sub(r"\1models/\2", path)


class Recordings:
    """A folder of recordings.

    Args:
        folder: what `StreamManager.record` wrote; bodies alone, in files that end in `.txt`, answer
            everything that their name's model is asked.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"There is no folder of recordings {str(folder)!r}.")
        self._folder = folder
        self._files: dict[Path, tuple[tuple[int, int], _Entry]] = {}
        self._problems: list[str] = []
        self._asked: Counter[str] = Counter()

    def reply(self, model: str, body: dict[str, Any]) -> Reply:
        """Play back what this request received: the first time its first recording, at last always the last.

        What the tools returned is compared only where that tells two recordings apart: a tool that looks at
        the clock would find no recording otherwise.

        Raises:
            RefusalError: 404, it was not recorded.
        """
        entries = self._read()
        exact, loose = request_key(model, body), request_key(model, body, results=False)
        for key, found in (
            (exact, [entry.recording for entry in entries if entry.exact == exact]),
            (loose, [entry.recording for entry in entries if entry.loose == loose]),
            (model, [entry.recording for entry in entries if entry.any_of == model]),
        ):
            if found:
                found.sort(key=lambda recording: recording.number)
                recording = found[min(self._asked[key], len(found) - 1)]
                self._asked[key] += 1
                return _replay(recording)
        raise not_found(self._unmatched(model, body, [entry.recording for entry in entries]))

    def _read(self) -> list[_Entry]:
        """The folder as it is now."""
        before, self._files, self._problems = self._files, {}, []
        for path in sorted(path for pattern in _PATTERNS for path in self._folder.glob(pattern)):
            try:
                facts = path.stat()
                state = (facts.st_mtime_ns, facts.st_size)
                known = before.get(path)
                same = known is not None and known[0] == state
                self._files[path] = known if known and same else (state, _Entry(read_recording(path)))
            except (ConfigError, OSError) as error:
                if path.suffix != ".txt":
                    self._problems.append(str(error).partition("\n")[0])
        return [entry for _, entry in self._files.values()]

    def _unmatched(self, model: str, body: dict[str, Any], recordings: list[Recording]) -> str:
        lines = [f"No recording in {self._folder.name!r} answers {_quoted(prompt_of(body))} of {model}."]
        asked = normalised(body)
        nearest = [
            difference
            for recording in recordings
            if recording.model == model
            and recording.body is not None
            and prompt_of(recording.body) == prompt_of(body)
            and (difference := _difference(normalised(recording.body), asked))
        ]
        if nearest:
            # Another number of turns is another round of tools; a longer place is named more exactly.
            closest = min(nearest, key=lambda place: (place == "contents", -len(place)))
            lines.append(f"The one of this prompt differs at {closest}.")
        known = dict.fromkeys(
            f"{_quoted(prompt_of(recording.body))} of {recording.model}" for recording in recordings
        )
        listed = ", ".join(list(known)[:_LISTED])
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        lines.append(f"Recorded are: {listed}{more}." if known else "There are no recordings.")
        return " ".join([*lines, *self._problems[:_LISTED]])


class _Entry:
    """A recording and what it answers."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        body, model = recording.body, recording.model
        self.exact = None if body is None else request_key(model, body)
        self.loose = None if body is None else request_key(model, body, results=False)
        self.any_of = model if body is None else None


def _quoted(prompt: str) -> str:
    if not prompt:
        return "the request"
    return f'"{prompt}"' if len(prompt) <= 60 else f'"{prompt[:59]}…"'


def _difference(one: Any, other: Any, path: str = "") -> str:
    """The first place at which two bodies differ, empty where they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        items = [(f"{path}.{name}", one.get(name), other.get(name)) for name in sorted({*one, *other})]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        items = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    else:
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        return "" if same else path.lstrip(".") or "the body"
    return next((found for where, a, b in items if (found := _difference(a, b, where))), "")


def _replay(recording: Recording) -> Reply:
    headers = {name: value for name, value in recording.headers.items() if name != "content-type"}
    return Reply(
        status=recording.status,
        headers=headers,
        encoder=BytesEncoder(recording.headers.get("content-type", "application/octet-stream")),
        steps=_steps(recording),
        breaking=functools.partial(FaultySink, fault=Fault()),
    )


def _steps(recording: Recording) -> Iterator[Step | Pause]:
    yield recording.wait
    yield b""  # the status and the headers
    for wait, piece in recording.pieces:
        yield wait
        yield piece
    yield recording.end_wait
    if recording.end == "complete":
        return
    if recording.end == "silent":
        yield Pause(math.inf)
    if recording.end == "left":
        yield Pause(_GRACE)
    raise BrokenOffError("fin")
