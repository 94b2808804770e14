"""What a dashboard and a table say in words and numbers, before it becomes HTML or text."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.stream import Stream

__all__ = ["Totals", "clock", "count", "cut", "duration", "first_words", "stopped_words"]

_NAMED = 8  # streams that a line names


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


def stopped_words(streams: Sequence[Stream], asked: Sequence[Stream], names: Mapping[str, object]) -> str:
    """What a stop stopped, by the names that the user knows, and what goes on all the same.

    Args:
        streams: what was to be stopped.
        asked: those of them that ran.
        names: the names of the notebook.
    """
    stopped = [stream for stream in asked if stream.status in {Status.STOPPED, Status.ACTIVE}]
    ended = len(streams) - len(stopped)
    if not stopped:
        if not streams:
            return "No stream runs; nothing was stopped."
        was = "had ended before" if ended > 1 else f"had ended before ({streams[0].status.value})"
        return f"{_named(streams, names)} {was}; nothing was stopped."
    counted = f"{len(stopped):,} streams: " if len(stopped) > 1 else ""
    besides = f"; {ended:,} had ended before" if ended else ""
    tools = sorted({call.name for stream in asked for call in stream.tool_calls if call.still_running})
    left = f" Still running, since nothing can end a function in a thread: {', '.join(tools)}."
    return f"Stopped {counted}{_named(stopped, names)}{besides}.{left if tools else ''}"


def _named(streams: Sequence[Stream], names: Mapping[str, object]) -> str:
    """Streams by id, with the names of the notebook that stand for them, of many the first."""
    known: dict[str, list[str]] = {}
    for name, value in names.items():
        bound = value.streams if isinstance(value, StreamGroup) else [value]
        for stream in bound if not name.startswith("_") else ():
            if isinstance(stream, Stream):
                known.setdefault(stream.stream_id, []).append(name)
    shown = [
        f"{stream.stream_id} ({', '.join(known[stream.stream_id])})"
        if stream.stream_id in known
        else stream.stream_id
        for stream in streams[:_NAMED]
    ]
    rest = len(streams) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
