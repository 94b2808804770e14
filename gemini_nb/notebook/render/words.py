"""What a dashboard and a table say in words and numbers, before it becomes HTML or text."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gemini_nb.streams.record import StreamRecord
from gemini_nb.streams.states import Status
from gemini_nb.streams.stream import Stream

__all__ = ["Totals", "clock", "count", "cut", "duration", "first_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over all listed streams, those without a row, too."""

    active: int
    waiting: int
    completed: int
    error: int
    stopped: int
    tokens: int


def count(records: Iterable[StreamRecord]) -> Totals:
    """Count in one pass; a thousand streams are counted four times a second."""
    by_status: collections.Counter[str] = collections.Counter()
    waiting = tokens = 0
    for record in records:
        by_status[record.status] += 1
        tokens += record.usage.total_token_count
        waiting += record.status is Status.ACTIVE and record.waiting is not None
    return Totals(
        active=by_status[Status.ACTIVE],
        waiting=waiting,
        completed=by_status[Status.COMPLETED],
        error=by_status[Status.ERROR],
        stopped=by_status[Status.STOPPED],
        tokens=tokens,
    )


def first_words(stream: Stream, limit: int = 120) -> str:
    """The beginning of what was asked last, in one line."""
    contents = stream.request.contents
    parts = contents[-1].get("parts", ()) if contents else ()
    for part in parts:
        if isinstance(text := part.get("text"), str):
            return cut(" ".join(text[: 4 * limit].split()), limit)
    return ""


def duration(seconds: float) -> str:
    """Seconds as a person says them; whole ones are said whole."""
    if isinstance(seconds, float) and seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d}"
    return f"{whole // 3600} h {whole // 60 % 60:02d}"


def clock(when: float) -> str:
    """A time of the day."""
    return time.strftime("%H:%M:%S", time.localtime(when))


def cut(text: str, limit: int) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
