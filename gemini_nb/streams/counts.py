"""Counts over all streams that a manager ever started, those too that have left its list."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from types import MappingProxyType

from gemini_nb.streams.events.info import Waiting
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Statistics:
    """Counts over all streams that a manager ever started, listed or not.

    Each stream is active, completed, stopped or failed, so that these four add up to the total.

    Attributes:
        total: all streams.
        active: streams running now.
        waiting: those of the active ones that wait: for a place, a quota, another attempt, another stream.
        completed: streams that ended with an answer.
        stopped: streams that were stopped.
        error: streams that failed.
        kept: those of the completed ones whose answer was a kept one.
        retries: model calls that were made again.
        subscribers: callbacks that get events, those of ended streams included.
        tokens: tokens of all model calls that were made; those of kept answers are not among them.
        cost: US dollars, None where no price is known.
        waits: for each stream that waits, by its id, for what and until when.
    """

    total: int = 0
    active: int = 0
    waiting: int = 0
    completed: int = 0
    stopped: int = 0
    error: int = 0
    kept: int = 0
    retries: int = 0
    subscribers: int = 0
    tokens: int = 0
    cost: Decimal | None = None
    waits: Mapping[str, Waiting] = field(default_factory=dict)

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)}" for name in _NUMBERS if getattr(self, name)]
        cost = [f"cost={self.cost}"] if self.cost is not None else []
        return f"Statistics({', '.join([*shown, *cost]) or 'total=0'})"

    def plus(self, other: Statistics) -> Statistics:
        """Return the counts over the streams of both."""
        known = [one.cost for one in (self, other) if one.cost is not None]
        return Statistics(
            **{name: getattr(self, name) + getattr(other, name) for name in _NUMBERS},
            cost=sum(known, Decimal()) if known else None,
            waits=MappingProxyType({**self.waits, **other.waits}),
        )


_NUMBERS = [one.name for one in fields(Statistics) if one.name not in {"cost", "waits"}]


class Tally:
    """Keeps the counts of streams that leave a manager's list, without the streams. Under its lock only."""

    def __init__(self) -> None:
        self._gone = Statistics()
        self._leaving: list[Stream] = []  # with no history a stream leaves a moment before its last event

    def leave(self, stream: Stream) -> None:
        """Keep the counts of a stream that is no longer listed."""
        self._leaving.append(stream)
        self.let_go()

    def count(self, listed: Iterable[Stream]) -> Statistics:
        """Return the counts over these streams and those that left."""
        self.let_go()
        return self._gone.plus(_count([*listed, *self._leaving]))

    def let_go(self) -> None:
        """Keep no stream that has ended."""
        ended = [stream for stream in self._leaving if stream.record.is_done]
        if ended:
            self._leaving = [stream for stream in self._leaving if stream not in ended]
            self._gone = self._gone.plus(_count(ended))


def _count(streams: Iterable[Stream]) -> Statistics:
    """Count in one pass: a dashboard counts a thousand streams four times a second."""
    by_status: collections.Counter[Status] = collections.Counter()
    kept = retries = subscribers = tokens = 0
    costs: list[Decimal] = []
    waits: dict[str, Waiting] = {}
    for stream in streams:
        record = stream.record
        status = record.status
        by_status[status] += 1
        retries += record.retries
        subscribers += stream.subscriber_count
        kept += status is Status.COMPLETED and record.kept is not None
        tokens += record.usage.total_token_count - record.saved.tokens
        if record.usage.total_token_count and (cost := stream.cost) is not None:
            costs.append(cost)
        if status is Status.ACTIVE and (waiting := record.waiting) is not None:
            waits[record.stream_id] = waiting
    return Statistics(
        total=by_status.total(),
        active=by_status[Status.ACTIVE],
        waiting=len(waits),
        completed=by_status[Status.COMPLETED],
        stopped=by_status[Status.STOPPED],
        error=by_status[Status.ERROR],
        kept=kept,
        retries=retries,
        subscribers=subscribers,
        tokens=tokens,
        cost=sum(costs, Decimal()) if costs else None,
        waits=waits,
    )
