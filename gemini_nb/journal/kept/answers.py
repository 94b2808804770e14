"""The kept answers of one file, as streams use them: look up, ask once, write down, play back.

Two cells that ask the same at once would both pay, and the second answer would replace the first. So one of
them asks, and the others wait for what it keeps; if it fails, the next one asks.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from gemini_nb.api.call import ChunkReceived, chunks_of
from gemini_nb.api.turn import ModelTurn
from gemini_nb.daemon import DaemonQueue
from gemini_nb.errors import ConfigError, GeminiError
from gemini_nb.journal.kept.call_record import CallRecord
from gemini_nb.journal.kept.keep_file import KeepFile
from gemini_nb.journal.kept.key import RESULTS, Question
from gemini_nb.redaction import scrub

_WHOLE = frozenset({"STOP", "MAX_TOKENS"})
_SLICE = 0.005  # seconds for which playing back may keep the loop from other streams
_SHOWN = 60  # characters of a prompt

T = TypeVar("T")
Fits = Callable[[ModelTurn], bool]


class KeptAnswers:
    """One file's answers, and which questions are being asked. Loop thread only."""

    def __init__(self, file: KeepFile) -> None:
        self.file = file
        self._queue = DaemonQueue("gemini_nb-kept")
        self.added = 0
        """How many answers were kept by these streams."""
        # By question and whether it was asked anew: when, as that number was then.
        self._added: dict[tuple[bytes, bool], int] = {}
        # A lock lives as long as a stream holds or wants it. It belongs to its loop, which may be replaced.
        self._locks: weakref.WeakValueDictionary[tuple[int, str], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    def _lock(self, question: Question) -> asyncio.Lock:
        return self._locks.setdefault((id(asyncio.get_running_loop()), question.key), asyncio.Lock())

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that works on the file, off the loop, one at a time."""
        return await self._queue.run(function, *args)

    def was_added(self, question: Question, since: int, *, fresh: bool = False) -> bool:
        """Whether a stream kept an answer to this since `added` was that number; with `fresh`, a new one."""
        key = bytes.fromhex(question.key)
        return any(self._added.get((key, one), 0) > since for one in {fresh, True})

    def is_asked(self, question: Question) -> bool:
        """Whether a stream asks this now."""
        return self._lock(question).locked()

    async def begin(self, question: Question) -> Callable[[], None]:
        """Wait until no other stream asks this; others wait until the returned function is called."""
        lock = self._lock(question)
        await lock.acquire()
        held = [lock]

        def end() -> None:
            if held:
                held.pop().release()

        return end

    def find(self, questions: Sequence[Question], fits: Fits, *, is_loose: bool = False) -> CallRecord | None:
        """Return the answer to the first of these questions that has one. By `run` only.

        Args:
            questions: the same one, as each of the services that may have answered would be asked.
            fits: whether an answer can still be shown.
            is_loose: take one that was given to other results of tools, or by another server, where there is
                no other.
        """
        for question in questions:
            found = self.file.find(question.key)
            if found is None and is_loose:
                found = self.file.find_like(question.plain_key) or self.file.find_like(question.loose_key)
            if found is not None and fits(_folded(found)):
                return found
        return None

    async def add(self, record: CallRecord, question: Question, *, fresh: bool = False) -> None:
        """Keep an answer to this question; a stream does not fail where that is impossible.

        Args:
            record: the answer.
            question: what it answers.
            fresh: whether it was asked for in spite of a kept one.
        """
        try:
            await self.run(self.file.append, record)
            self.added += 1
            self._added[bytes.fromhex(question.key), fresh] = self.added
        except ConfigError as error:
            self.file.warn(str(error))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self.file.warn(scrub(f"Nothing can be kept in {self.file.path.name}: {reason}."))


def is_whole(turn: ModelTurn) -> bool:
    """Whether a model call has an answer that is worth keeping, and could be shown again."""
    return turn.block_reason is None and turn.finish_reason in _WHOLE and turn.has_answer


def _folded(record: CallRecord) -> ModelTurn:
    turn = ModelTurn()
    try:
        for chunk in record.chunks:
            _fold(chunk.data, turn)
    except GeminiError:  # a line that was made by hand
        return ModelTurn()
    return turn


def _fold(data: str, turn: ModelTurn) -> list[ChunkReceived]:
    if turn.is_continued:  # another request went on here
        turn.go_on()
    return list(chunks_of(data, turn))


async def replay(
    record: CallRecord, turn: ModelTurn, *, pace: float = 0.0
) -> AsyncGenerator[ChunkReceived, None]:
    """Give the chunks of a kept answer as they came.

    Args:
        record: the answer.
        turn: an empty turn, which takes them.
        pace: what the time between them is multiplied by; 0 for at once.
    """
    began = time.monotonic()
    for wait, data in record.chunks:
        if wait * pace > 0:
            await asyncio.sleep(wait * pace)
            began = time.monotonic()
        elif time.monotonic() - began > _SLICE:
            await asyncio.sleep(0)
            began = time.monotonic()
        for chunk in _fold(data, turn):
            yield chunk


# --------------------------------------------------------------------------------------- what there is else


def nearest(file: KeepFile, question: Question) -> str:
    """Return which kept question is the nearest to this one, and what differs."""
    known = file.newest()
    if not known:
        return f"{file.path.name} holds no answers."

    def likeness(record: CallRecord) -> tuple[bool, bool, int, int, bool]:
        begun = zip(record.prompt, question.prompt, strict=False)
        alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], begun))
        same = sum(question.places.get(name) == form for name, form in record.question.items())
        is_number = record.number == question.number
        return record.prompt == question.prompt, record.model == question.model, alike, same, is_number

    record = max(known, key=likeness)
    differing = _differing(record, question)
    if not differing:
        return "The answer that it keeps does not fit what is asked for now."
    shown = "; ".join(differing[:3]) + (f" and {len(differing) - 3} more" if len(differing) > 3 else "")
    said = f"The nearest kept question is {quoted(record.prompt)} of {record.model}. It differs in {shown}."
    # Control characters in a shared file may move the cursor.
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in said)


def has_other_results(record: CallRecord, question: Question) -> bool:
    """Whether a tool returned something else than when this was kept."""
    return any(
        question.places.get(name) != form for name, form in record.question.items() if name.endswith(RESULTS)
    )


def quoted(prompt: str) -> str:
    """Return the beginning of a prompt, in quotes."""
    if not prompt:
        return "one without text"
    return f'"{prompt}"' if len(prompt) <= _SHOWN else f'"{prompt[: _SHOWN - 1]}…"'


def _differing(record: CallRecord, question: Question) -> list[str]:
    """List what differs between a kept question and this one, in words."""
    found = []
    pairs = [("model", record.model, question.model), ("service", record.service, question.service)]
    places = [*record.question, *(name for name in question.places if name not in record.question)]
    pairs += [(name, record.question.get(name, ""), question.places.get(name, "")) for name in places]
    pairs.append(("its number among equal ones", str(record.number), str(question.number)))
    for name, kept, asked in pairs:
        if kept == asked:
            continue
        note = ""
        if not kept or not asked:
            note = " (not asked)" if kept else " (not kept)"
        elif not kept.startswith("#") and not asked.startswith("#"):
            note = f" ({kept} was kept, {asked} is asked)"
        found.append(name + note)
    return found
