"""Counts over many streams."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gemini_nb.streams.events.record import Waiting
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream

__all__ = ["Statistics", "count"]


class Statistics(NamedTuple):
    """Counts over a manager's streams.

    Attributes:
        total: streams started since the manager was made.
        active: streams running now.
        completed: streams listed that ended with an answer.
        error: streams listed that failed.
        stopped: streams listed that were stopped.
        waiting: active streams that wait for their turn, for a quota or for another attempt.
        subscribers: callbacks on listed streams.
        retries: model calls that listed streams made again.
        tokens: tokens of all listed streams.
        waits: for each stream that waits, by its id, for what and until when.
    """

    total: int
    active: int
    completed: int
    error: int
    stopped: int
    waiting: int
    subscribers: int
    retries: int
    tokens: int
    waits: Mapping[str, Waiting]


def count(streams: Sequence[Stream], *, total: int) -> Statistics:
    """Return the counts over these streams, of `total` that were ever started."""
    waits = {stream.stream_id: waiting for stream in streams if (waiting := stream.record.waiting)}
    by_status = collections.Counter(str(stream.status) for stream in streams)
    return Statistics(
        total=total,
        active=by_status[Status.ACTIVE],
        completed=by_status[Status.COMPLETED],
        error=by_status[Status.ERROR],
        stopped=by_status[Status.STOPPED],
        waiting=len(waits),
        subscribers=sum(stream.subscriber_count for stream in streams),
        retries=sum(stream.retries for stream in streams),
        tokens=sum(stream.usage.total_token_count for stream in streams),
        waits=waits,
    )
