"""Counts over all streams that a manager ever started, those too that have left its list."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
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


_NUMBERS = [one.name for one in fields(Statistics) if one.name not in {"cost", "waits"}]


class Tally:
    """Keeps the counts of streams that leave a manager's list, without the streams. Under its lock only."""

    def __init__(self) -> None:
        self._gone = _Sums()
        self._leaving: list[Stream] = []  # with no history a stream leaves a moment before its last event

    def leave(self, stream: Stream) -> None:
        """Keep the counts of a stream that is no longer listed."""
        self._leaving.append(stream)
        if stream.record.is_done:
            self.let_go()

    def count(self, listed: Iterable[Stream]) -> Statistics:
        """Return the counts over these streams and those that left."""
        self.let_go()
        sums = self._gone.copy()
        for stream in (*listed, *self._leaving):
            sums.add(stream)
        return sums.statistics()

    def let_go(self) -> None:
        """Keep no stream that has ended."""
        leaving, self._leaving = self._leaving, []
        for stream in leaving:
            if stream.record.is_done:
                self._gone.add(stream)
            else:
                self._leaving.append(stream)


@dataclass(slots=True)
class _Sums:
    """Counts that grow stream by stream: a dashboard counts a thousand of them four times a second."""

    by_status: collections.Counter[Status] = field(default_factory=collections.Counter)
    kept: int = 0
    retries: int = 0
    subscribers: int = 0
    tokens: int = 0
    cost: Decimal | None = None
    waits: dict[str, Waiting] = field(default_factory=dict)

    def add(self, stream: Stream) -> None:
        """Count one more."""
        record = stream.record
        status = record.status
        self.by_status[status] += 1
        self.retries += record.retries
        self.subscribers += stream.subscriber_count
        self.kept += status is Status.COMPLETED and record.kept is not None
        self.tokens += record.usage.total_token_count - record.saved.tokens
        if record.usage.total_token_count and (cost := stream.cost) is not None:
            self.cost = cost if self.cost is None else self.cost + cost
        if status is Status.ACTIVE and (waiting := record.waiting) is not None:
            self.waits[record.stream_id] = waiting

    def copy(self) -> _Sums:
        """Return the same counts, to which others can be added."""
        return replace(self, by_status=self.by_status.copy(), waits=self.waits.copy())

    def statistics(self) -> Statistics:
        """Return them as they are now."""
        by_status = self.by_status
        return Statistics(
            total=by_status.total(),
            active=by_status[Status.ACTIVE],
            waiting=len(self.waits),
            completed=by_status[Status.COMPLETED],
            stopped=by_status[Status.STOPPED],
            error=by_status[Status.ERROR],
            kept=self.kept,
            retries=self.retries,
            subscribers=self.subscribers,
            tokens=self.tokens,
            cost=self.cost,
            waits=MappingProxyType(self.waits),
        )
