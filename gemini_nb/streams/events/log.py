"""The event log of one stream, and the cursors that read it.

A queue for each subscriber would hold what a slow one has not taken, lose what came before it, and let the
slowest decide for all. Here events are kept once, in order, and a reader is a position: it replays from the
first event, lags without slowing the others, and leaves without a trace.

Only the loop thread appends. Readers on other threads look at a list that only grows, which needs no lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from gemini_nb.errors import InternalError
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.events.events import StreamCompleted, StreamEvent, StreamFailed, StreamStopped

TERMINAL = (StreamCompleted, StreamFailed, StreamStopped)
_LAST_KINDS = {"stream_completed", "stream_failed", "stream_stopped"}  # classes differ after a reload
_CONTINUING = {"text_delta", "thought_delta", "usage_updated"}
_PLAIN = {"stream_started", "phase_changed"} | _CONTINUING | _LAST_KINDS

logger = logging.getLogger("gemini_nb")


class Reader(Protocol):
    """A reader to notify of new events."""

    def notify(self) -> None:
        """Handle a new event. Called on the loop thread; must neither block nor raise."""


class EventLog:
    """An append-only list of events, closed by exactly one terminal event."""

    __slots__ = ("_events", "_gone", "_lock", "_readers", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._events: list[StreamEvent] = []
        self._readers: tuple[Reader, ...] = ()
        self._gone: list[Reader] = []
        self._lock = threading.Lock()  # for the readers, who come and go on any thread

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: int) -> StreamEvent:
        return self._events[index]

    def append(self, event: StreamEvent, *, before_readers: Callable[[], object] | None = None) -> None:
        """Append an event and notify the readers. Loop thread only.

        Args:
            event: the event.
            before_readers: called when the event is there and before a reader knows of it.

        Raises:
            InternalError: the stream has ended; nothing comes after that.
        """
        if self.closed:
            raise InternalError(f"{event.kind} cannot follow the end of {event.stream_id}.")
        self._events.append(event)
        if event.kind in _LAST_KINDS:
            self.closed = True
        if before_readers is not None:
            before_readers()
        for reader in self._readers:
            try:
                reader.notify()
            except Exception as error:  # noqa: BLE001 - a broken reader must not break the stream
                logger.warning("a reader failed: %s", scrub_error(error))

    @property
    def goes_on(self) -> bool:
        """Whether the newest event only continues the text, as the one before it did."""
        events = self._events
        return len(events) > 1 and events[-1].kind in _CONTINUING and events[-2].kind in _CONTINUING

    def since(self, position: int) -> list[StreamEvent]:
        """Return the events from a position on."""
        return self._events[position:]

    @classmethod
    def of(cls, events: Iterable[StreamEvent]) -> EventLog:
        """Return the closed log of a stream that has ended, with these events in this order."""
        log = cls()
        log._events = [replace(event, seq=seq) for seq, event in enumerate(events)]
        log.closed = True
        return log

    @property
    def is_plain(self) -> bool:
        """Whether it holds nothing but texts, figures and phases, a start and an end."""
        return all(event.kind in _PLAIN for event in self._events)

    def shrunk(self) -> EventLog:
        """Return a closed log with its start, its texts as one event each, what went wrong, and its end."""
        kept: list[StreamEvent] = []
        for event in self._events:
            if kept and event.kind == kept[-1].kind and event.kind in _CONTINUING:
                said = getattr(kept[-1], "text", None)
                more = {} if said is None else {"text": said + getattr(event, "text", "")}
                kept[-1] = replace(event, **more)
            elif event.kind != "phase_changed":
                kept.append(event)
        return self.of(kept)

    def attach(self, reader: Reader) -> None:
        """Notify this reader from now on."""
        with self._lock:
            self._readers = (*self._remaining(), reader)

    def detach(self, reader: Reader) -> None:
        """Notify this reader no longer.

        Finalizers call this, and the garbage collector runs those in the middle of anything, even of this
        very method: so it never waits for the lock. The thread that holds it leaves the rest to the next.
        """
        self._gone.append(reader)
        if self._lock.acquire(blocking=False):
            try:
                self._readers = self._remaining()
            finally:
                self._lock.release()

    def _remaining(self) -> tuple[Reader, ...]:
        while self._gone:
            gone = self._gone.pop()
            self._readers = tuple(reader for reader in self._readers if reader is not gone)
        return self._readers

    @property
    def reader_count(self) -> int:
        """How many read along."""
        gone = self._gone.copy()
        return sum(all(reader is not other for other in gone) for reader in self._readers)


class Cursor:
    """A position in a log, and what to call when there is more to read.

    Args:
        log: the log to read.
        wake: called on the loop thread whenever the log grew.
        replay: start at the first event, or only with what is still to come.
    """

    __slots__ = ("_log", "_wake", "position")

    def __init__(self, log: EventLog, wake: Callable[[], object], *, replay: bool = True) -> None:
        self.position = 0 if replay else len(log)
        self._log = log
        self._wake = wake
        log.attach(self)

    def notify(self) -> None:
        """Call `wake`."""
        self._wake()

    def take(self) -> list[StreamEvent]:
        """Return the events not read yet and move past them."""
        events = self._log.since(self.position)
        self.position += len(events)
        return events

    @property
    def has_more(self) -> bool:
        """Whether there are events not read yet."""
        return self.position < len(self._log)

    @property
    def at_end(self) -> bool:
        """Whether everything was read and nothing more will come."""
        return self._log.closed and self.position >= len(self._log)

    def close(self) -> None:
        """Leave the log. The stream goes on."""
        self._log.detach(self)
        self._wake = _nothing  # it leads back to what holds this cursor


def _nothing() -> None:
    pass
