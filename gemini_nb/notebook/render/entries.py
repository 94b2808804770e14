"""What a dashboard or a table lists: streams, and groups in the place of their streams."""

from __future__ import annotations

import math
from typing import TypeAlias

from gemini_nb.notebook.render.markdown import plain
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

Entry: TypeAlias = Stream | Run


def entries_of(manager: StreamManager) -> list[Entry]:
    """Return the streams of a manager, oldest first, and each group in the place of its oldest stream."""
    runs = [run for run in manager.groups if isinstance(run, Run) and _is_one_row(run)]
    entries: dict[Entry, None] = {run: None for run in runs if run.is_over}
    for stream in manager.list_streams(all=True):
        run = stream.row_of
        entries[run if isinstance(run, Run) and _is_one_row(run) else stream] = None
    return sorted(entries, key=_began)


def _began(entry: Entry) -> float:
    first = entry if isinstance(entry, Stream) else entry.rows[0].stream
    return math.inf if first is None else first.started_at


def _is_one_row(run: Run) -> bool:
    """Whether it stands for its streams: of models that answer the same side by side each has a row."""
    return run.has_items and len(run.rows) > 1


def is_active(entry: Entry) -> bool:
    """Whether it still goes on."""
    return entry.status is Status.ACTIVE if isinstance(entry, Stream) else not entry.is_over


def name_of(entry: Entry) -> str:
    """Return what no other entry is called."""
    return entry.stream_id if isinstance(entry, Stream) else f"group {id(entry)}"


def streams_in(entry: Entry) -> tuple[int, int]:
    """Return how many active and how many ended streams it stands for."""
    if isinstance(entry, Stream):
        is_running = entry.status is Status.ACTIVE
        return int(is_running), int(not is_running)
    return len(entry.active), len(entry.ended)


def label_of(run: Run) -> str:
    """Return what the user calls a group."""
    return plain(run.name) or quantity(len(run.rows), "row")


def state_of(run: Run) -> tuple[Status, str]:
    """Return the status of a group as a whole, and the word for it."""
    done = run.counts
    if not run.is_over:
        return Status.ACTIVE, "running" if done.running else "waiting"
    if run.error is not None or (done.failed and not done.completed):
        return Status.ERROR, "failed"
    if done.stopped:
        return Status.STOPPED, "stopped"
    return Status.COMPLETED, "completed"
