"""The rows of a group: read as they are needed, started a window ahead of what has ended.

A stream that waits costs memory and time as one that runs does: ten thousand started at once block the cell
for seconds. So of many rows only so many are streams at a time. The others are made when it is their turn, on
a thread of their own, or when they are looked at.
"""

from __future__ import annotations

import collections
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from gemini_nb.api.usage import Usage
from gemini_nb.errors import GeminiError, NotAskedError
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.rows import Alone, Counts, Row, failure_of
from gemini_nb.streams.group.tally import Refusals, Tally
from gemini_nb.streams.request.request import StreamRequest
from gemini_nb.streams.runtime.collector import note_row
from gemini_nb.streams.stream import Stream

_IN_CALL = 50  # rows that are started, and checked, in the call itself
_WHOLE = 200  # rows that ended last and are kept with all that they were
_LISTING = "Make a list of the rows first, since the iterator belongs to the thread that made it: list(rows)."
_MENDING = "Mend it and ask again; with `keep`, what the rows before it answered is not paid for twice."


class Run:
    """Starts the rows of one group, and counts how they end. From any thread.

    Args:
        rows: the rows; a list is taken whole, an iterator as needed.
        start: starts the stream of a row.
        refuse: makes a stream that has failed, for a row that cannot be asked.
        window: rows that are streams at a time.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        start: Callable[[Row], Stream],
        refuse: Callable[[Row, GeminiError], Stream],
        window: int,
    ) -> None:
        is_list = isinstance(rows, list)
        self.rows: list[Row] = list(rows) if is_list else []
        for number, row in enumerate(self.rows):
            row.number = number
        self.ended: list[int] = []
        """The rows that have ended, in that order; one that was retried stands there again."""
        self.failed: dict[int, None] = {}
        """The rows whose streams have failed, in that order."""
        self.error: GeminiError | None = None
        """Why no further rows were read, or asked."""
        self.budget: Decimal | None = None
        """US dollars that all rows together may cost, None for no limit."""
        self._source: Iterator[Row] = iter(()) if is_list else iter(rows)
        self._is_read = self._is_empty = is_list  # nothing more is read until a retry, or at all
        self._is_reading = False
        self._broken: GeminiError | None = None  # why it cannot be read any further
        self._start, self._refuse, self._window = start, refuse, window
        self._own_name = ""
        self._is_of = weakref.ref(self)
        self.has_items = True
        """Whether each row was asked about something of its own."""
        self._lock = threading.RLock()  # of the counts; the loop takes it, so it is held for moments only
        self._starting = threading.RLock()
        self._next = self._making = 0  # the next row; how many are about to be streams
        self._active: dict[int, Stream] = {}
        self._just_ended: collections.deque[tuple[int, Stream]] = collections.deque()
        self._tally = Tally()
        self._refusals = Refusals()
        self._ended_by: GeminiError | None = None  # why no row is asked any more
        self._left: tuple[int, bool] | None = None  # rows that a budget left, and whether there may be more
        self._over: dict[str | None, GeminiError] = {}  # by model: why no more of its rows are asked
        self._is_stopped = False
        self._are_own = start is not _never
        self.keeps = False
        """Whether rows are looked up among kept answers, also when no further one is asked."""
        self._shrunk = 0  # of the ended rows
        self._alike: StreamRequest | None = None  # what they share of their requests
        self._wakers: list[Callable[[], object]] = []
        self._go_on = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, streams: Iterable[Stream], items: Iterable[object] | None) -> Run:
        """Return the run of streams that were started elsewhere."""
        known = list(streams)
        about = [None] * len(known) if items is None else list(items)
        rows = [Row(None, item, stream=stream) for stream, item in zip(known, about, strict=True)]
        run = cls(rows, _never, _never, len(rows))
        run.has_items = items is not None
        for index, stream in enumerate(known):
            run._watch(index, stream)
        run._next = len(rows)
        return run

    def begin(self) -> None:
        """Start the first rows, and go on with the others on a thread, so that the cell returns soon.

        Raises:
            GeminiError: the first of many rows, or one of a few, cannot be asked; settings do not fit.
        """
        if self._is_read:
            self._fill(is_call=True)
        if not self._is_read or self._next < len(self.rows):
            self._feed_on()

    @property
    def may_retry(self) -> bool:
        """Whether it can start its rows itself."""
        return self._are_own

    @property
    def total(self) -> int | None:
        """How many rows there are, None while an iterator goes on."""
        return len(self.rows) if self._is_read else None

    @property
    def is_over(self) -> bool:
        """Whether every row has ended, or will never be asked."""
        with self._lock:
            self.absorb()
            left = not self._is_read or (self._next < len(self.rows) and not self._is_stopped)
            return not left and not self._active and not self._making

    @property
    def counts(self) -> Counts:
        """How many rows are where."""
        with self._lock:
            self.absorb()
            active = len(self._active)
            running = sum(stream.record.waiting is None for stream in self._active.values())
            made = active + self._tally.by_status.total()
            unmade = len(self.rows) - made
            never = unmade if self._is_stopped else 0
            failed = never if self.error is not None else 0
            return Counts(
                total=self.total,
                waiting=active - running + unmade - never,
                running=running,
                completed=self._tally.by_status[Status.COMPLETED],
                stopped=self._tally.by_status[Status.STOPPED] + never - failed,
                failed=self._tally.by_status[Status.ERROR] + failed,
                kept=self._tally.kept,
            )

    @property
    def unmade(self) -> tuple[str, str | None]:
        """The status of rows that are no streams yet, and why they will not be."""
        if not self._is_stopped:
            return "active", None
        return ("stopped", None) if self.error is None else ("error", str(self.error))

    @property
    def usage(self) -> Usage:
        """The tokens of the rows that have ended."""
        return self._tally.usage

    @property
    def ended_cost(self) -> Decimal | None:
        """What the rows that have ended cost, None where that is unknown of one."""
        with self._lock:
            self.absorb()
            return self._tally.cost

    @property
    def paid(self) -> int:
        """How often rows have ended that were asked, and not kept already."""
        with self._lock:
            self.absorb()
            return self._tally.asked

    @property
    def remarks(self) -> list[str]:
        """What is to be known beside the answers: why no more were asked, and what their streams say."""
        return [*([] if self.error is None else [str(self.error)]), *self._tally.remarks]

    def take_warnings(self, *, with_error: bool) -> list[str]:
        """Return what is to be known beside the answers, each once; or not why no more were asked."""
        with self._lock:
            return self._tally.take_remarks(self.error if with_error else None)

    @property
    def spent(self) -> tuple[Decimal, int]:
        """What the rows that have ended cost as far as it is known, and of how many it is not."""
        with self._lock:
            self.absorb()
            return self._tally.spent, self._tally.of_unknown_cost

    @property
    def active(self) -> list[Stream]:
        """The streams that have not ended."""
        with self._lock:
            self.absorb()
            return list(self._active.values())

    @property
    def under_way(self) -> list[int]:
        """The rows whose streams have not ended, those first that are being answered."""
        with self._lock:
            self.absorb()
            return sorted(self._active, key=lambda index: self._active[index].record.waiting is not None)

    def stream(self, index: int) -> Stream:
        """Return a row's stream, which is made if it is not there yet."""
        count = len(self.rows)
        if not -count <= index < count:
            raise IndexError(f"There is no row {index}; {count:,} have been read so far.")
        return self._make(index % count)

    @property
    def ended_at(self) -> float | None:
        """When its last row ended, None while it goes on."""
        if not self.is_over:
            return None
        last = self.rows[self.ended[-1]].stream if self.ended else None
        return (last and last.ended_at) or 0.0

    def request_stop(self) -> None:
        """Ask all of them to stop, and return at once."""
        self.stop()
        for stream in reversed(self.active):
            stream.request_stop()

    def stop(self) -> None:
        """Ask no further row, and read no further one."""
        with self._lock:
            self._is_stopped = self._is_read = True
        self._go_on.set()
        self._wake()

    def end(self, error: GeminiError, model: str | None = None, *, all_models: bool = True) -> bool:
        """Ask no further row; what runs goes on, kept answers are looked up. Returns whether this is why."""
        with self._lock:
            if all_models:
                self.error = self._ended_by = self.error or error
                self._is_read = True
                self._is_stopped = self._is_stopped or not self.keeps
            self._over.setdefault(model, error)
            is_reason = all_models and self._ended_by is error
        self._go_on.set()
        return is_reason

    def say_left(self, left: int, *, more: bool) -> None:
        """Say in its error how many rows are left; those that prove to be kept ones are not.

        Args:
            left: how many have not ended.
            more: whether there may be others that were not read.
        """
        with self._lock:
            if (error := self._ended_by) is None:
                return
            self._left = left, more
            rows = f"{left:,} or more rows are" if more else "1 row is" if left == 1 else f"{left:,} rows are"
            self.error = type(error)(f"{error.message} {rows} left.", hint=error.hint)

    def check(self, row: Row) -> None:
        """Refuse to ask a row whose run has ended.

        Raises:
            NotAskedError: it has.
        """
        self.absorb()
        error = self._over.get(row.model) or self._ended_by
        if error is not None:
            raise NotAskedError(f"Not asked: {error.message}", hint=error.hint)

    def retry(self) -> None:
        """Ask again what failed, was stopped or was never asked, in the same places, and read on."""
        with self._starting, self._lock:
            self.absorb()
            again = [index for index, row in enumerate(self.rows) if row.may_retry]
            self._is_stopped, self.error, self._ended_by = False, self._broken, None
            self._is_read = self._is_empty
            self._left = None
            self._over.clear()
            self._refusals.clear()
            for index in again:
                row = self.rows[index]
                # One whose end is not counted yet, or is a matter of moments, will not be.
                if row.stream is not None and self._active.pop(index, None) is None:
                    self._tally.by_status[row.stream.status] -= 1
                row.stream, row.is_paced = None, False
                self.failed.pop(index, None)
            self._next = 0
        self._go_on.set()
        self._feed_on()

    def when_changed(self, seen: int, wake: Callable[[], object]) -> bool:
        """Have `wake` called once more rows have ended than `seen`, or all; return whether that is so."""
        with self._lock:
            if wake not in self._wakers:
                self._wakers.append(wake)
            self.absorb()
            return len(self.ended) > seen or self.is_over

    def absorb(self) -> None:
        """Count the rows that have ended since the last time."""
        with self._lock:
            while self._just_ended:
                index, stream = self._just_ended.popleft()
                if self._active.get(index) is not stream:
                    continue
                del self._active[index]
                self.ended.append(index)
                if stream.status is Status.ERROR:
                    self.failed[index] = None
                kept_before = self._tally.kept
                self._tally.add(stream)
                if self._left is not None and self._tally.kept > kept_before:
                    self.say_left(self._left[0] - 1, more=self._left[1])
                self._judge(self.rows[index], stream)
                self._shrink()

    def _shrink(self) -> None:
        """Let go of the machinery of a row that has ended some time ago; its answer stays."""
        while self._are_own and self._shrunk < len(self.ended) - _WHOLE:
            stream = self.rows[self.ended[self._shrunk]].stream
            self._shrunk += 1
            if stream is not None:
                self._alike = stream.shrink(self._alike)

    def _judge(self, row: Row, stream: Stream) -> None:
        """End a run whose rows are all refused for the same reason, which is not theirs."""
        if stream.record.is_replaced:
            self.stop()
            for other in self._active.values():
                other.request_stop(asked_again=True)
        if (reason := self._refusals.note(row.model, stream)) is not None:
            self.end(reason, row.model, all_models=len({one.model for one in self.rows}) == 1)

    def _make(self, index: int, *, is_call: bool = False) -> Stream:
        """Return a row's stream; where it cannot be asked, one that says so."""
        row = self.rows[index]
        with self._starting:
            if row.stream is not None:
                return row.stream
            try:
                stream = self._start(row)
            except Exception as error:  # noqa: BLE001 - whatever a user's objects raise is the row's fault
                stream = self._refused(row, error, is_call=is_call)
            row.stream = stream
            self._name(index, stream)
            self._watch(index, stream)
        if self._is_stopped and self.error is None:
            stream.request_stop()
        return stream

    def _refused(self, row: Row, error: Exception, *, is_call: bool) -> Stream:
        """Return the failed stream of a row that cannot be asked.

        In the call itself an error of one of a few rows, or of the first of many, is raised, and so is one of
        settings.
        """
        is_few = len(self.rows) <= _IN_CALL
        is_own = isinstance(error, NotAskedError) or isinstance(row.prompt, Alone)
        if is_call and (is_few or not row.number) and not is_own:
            raise error
        failure = failure_of(error)
        try:
            return self._refuse(row, failure)
        except Exception:
            if is_call:
                raise
            return self._refuse(Row(None), failure)

    @property
    def name(self) -> str:
        """What the notebook calls the group; empty where it has no name."""
        return self._own_name

    @name.setter
    def name(self, name: str) -> None:
        self._own_name = name  # before the look at the rows: one that is made meanwhile takes it by itself
        for index, row in enumerate(self.rows):
            if row.stream is not None:
                self._name(index, row.stream)

    def _name(self, index: int, stream: Stream) -> None:
        if self._own_name and not stream.record.name:
            stream.record.name = f"{self._own_name}[{index}]"

    def _watch(self, index: int, stream: Stream) -> None:
        if self._are_own:
            stream.record.group = self._is_of
        with self._lock:
            self._active[index] = stream
        stream.ending.call_when_reached(functools.partial(self._note_end, index, stream))

    def _note_end(self, index: int, stream: Stream) -> None:
        """Note that a row has ended. On the loop thread, which waits for no lock."""
        self._just_ended.append((index, stream))
        note_row()
        self._go_on.set()
        self._wake()

    def _wake(self) -> None:
        wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def _fill(self, *, is_call: bool = False) -> bool:
        """Start rows until the window is full; returns whether there may be more."""
        while True:
            with self._lock:
                self.absorb()
                if not self._has_more:
                    return False
                if len(self._active) >= self._window or (is_call and self._next >= _IN_CALL):
                    return True
                is_new = self._next >= len(self.rows)
                if is_new and self._is_reading:
                    return False  # the thread that waits for the next row will go on
                self._is_reading = self._is_reading or is_new
            if is_new:
                self._read()
                continue
            with self._lock:
                index = self._next
                if index >= len(self.rows):
                    continue
                self._next += 1
                self._making += 1
            try:
                self._make(index, is_call=is_call)
            except Exception as error:
                if is_call:
                    raise
                self.end(failure_of(error))  # not even a stream that has failed can have these settings
                self.stop()
            finally:
                with self._lock:
                    self._making -= 1

    @property
    def _has_more(self) -> bool:
        return not self._is_stopped and not (self._is_read and self._next >= len(self.rows))

    def _read(self) -> None:
        """Read another row, if there is one. On the feeding thread: it may take for ever."""
        row, made = None, None
        try:
            row = next(self._source, None)
        except BaseException as error:  # noqa: BLE001 - whatever the user's iterator raises, sys.exit() too
            made = _not_read(len(self.rows), error)
        with self._lock:
            self._is_reading = False
            if row is None:
                self._is_read = self._is_empty = True
                self._broken = made
                self.error = self.error or made
            elif self._is_read:  # it was stopped meanwhile; a retry asks this one, too
                self._source = itertools.chain([row], self._source)
            else:
                row.number = len(self.rows)
                self.rows.append(row)
            is_over = self._is_read
        if is_over:
            self._wake()

    def _feed_on(self) -> None:
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive() or self._is_reading:
                self._thread = threading.Thread(target=self._feed, name="gemini_nb-rows", daemon=True)
                self._thread.start()

    def _feed(self) -> None:
        while True:
            self._go_on.clear()
            if self._fill():
                self._go_on.wait()
                continue
            with self._lock:
                if not self._has_more or self._is_reading:  # else it was retried in this moment
                    if self._thread is threading.current_thread():
                        self._thread = None
                    break
        self._wake()


def _not_read(count: int, error: BaseException) -> GeminiError:
    reason = scrub_error(error).rstrip(".")
    hint = _LISTING if "thread" in reason.lower() else _MENDING
    return NotAskedError(f"No row was read after number {count}: {reason}.", hint=hint)


def _never(*_: object) -> Stream:
    raise NotAskedError("These streams were started one by one; ask the question again to retry it.")
