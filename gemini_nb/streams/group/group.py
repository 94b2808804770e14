"""Many streams of one kind: one prompt for each item."""

from __future__ import annotations

import asyncio
import itertools
import logging
import operator
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, overload

from gemini_nb.api.usage import Usage
from gemini_nb.config import seconds_to_wait
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ArgumentError, GeminiError
from gemini_nb.journal import prices
from gemini_nb.streams.group.frame import result_of, to_frame
from gemini_nb.streams.group.pace import check_prices, dollars_of
from gemini_nb.streams.group.rows import Counts, Shape
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.runtime.ending import StreamInterrupted, interrupting, mark_cancelled, waiting_for_rows
from gemini_nb.streams.runtime.handle import Handle
from gemini_nb.streams.runtime.loop import Flag
from gemini_nb.streams.runtime.readers import sleep_until_set, waker
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.stopping import interrupted, stop_interrupted, stop_together
from gemini_nb.streams.stream import Stream

logger = logging.getLogger("gemini_nb")

_UNKNOWN = Shape()


class StreamGroup(Handle):
    """Streams that belong together, in the order of their prompts.

    Iterating gives pairs of a row's number and its stream, in the order in which the rows end, while others
    still run: `for index, stream in group`, or `async for`. `await group` is `result()`, which blocks, for
    coroutines.

    Args:
        streams: the streams.
        items: what each of them was asked about, where there is such a thing.
        runtime: the machinery they run on; by default that of the first.
        shape: what is known of their table before there are any.
    """

    _instead = "take to_frame(), or results."

    def __init__(
        self,
        streams: Iterable[Stream] | Run,
        items: Iterable[object] | None = None,
        *,
        runtime: Runtime | None = None,
        shape: Shape = _UNKNOWN,
    ) -> None:
        self._run = streams if isinstance(streams, Run) else Run.of(streams, items)
        self._runtime = runtime
        self._shape = shape

    def side_by_side(self, models: Iterable[str]) -> StreamGroup:
        """Say which models are asked about each item, which no row shows before there are some."""
        self._shape = self._shape._replace(models=tuple(models))
        return self

    def __len__(self) -> int:
        return len(self._run.rows)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | Sequence[Stream]:
        return self.streams[index]

    def __iter__(self) -> Iterator[tuple[int, Stream]]:
        yield from self._pairs()
        self._warn()

    def _pairs(self) -> Iterator[tuple[int, Stream]]:
        run, given = self._run, dict[int, Stream]()
        for seen in itertools.count():
            self._until_ended(seen)
            if seen >= len(run.ended):
                return
            yield from _newly_ended(run, seen, given)

    def __contains__(self, value: object) -> bool:
        return any(stream is value for stream in self.streams)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Stream]]:
        given = dict[int, Stream]()
        async for place in self._ends():
            for pair in _newly_ended(self._run, place, given):
                yield pair
        self._warn()

    def _warn(self, *, with_error: bool = True) -> None:
        """Say to a program, which has no pane, what is wrong beside its rows, and why not all were asked."""
        for remark in self._run.take_warnings(with_error=with_error):
            logger.warning("%s", remark)

    def __await__(self) -> Generator[Any, None, list[str]]:
        return self._result_async().__await__()

    async def _result_async(self) -> list[str]:
        run = self._run
        try:
            for seen in itertools.count():
                for stream in run.active:
                    stream.ending.check_may_wait()
                    await stream.ending.wait_async()
                if run.is_over:
                    break
                await self._until_ended_async(seen)
            return await run_in_daemon_thread(self.result)  # subscribers may still be hearing the last of it
        except asyncio.CancelledError as error:
            started = self.started
            mark_cancelled(error, interrupted(started, len(self) - len(started)))
            self.request_stop()
            raise

    async def _ends(self) -> AsyncIterator[int]:
        """The places of the rows in the order in which they end, as they do."""
        for seen in itertools.count():
            await self._until_ended_async(seen)
            if seen >= len(self._run.ended):
                return
            yield seen

    def __repr__(self) -> str:
        counts = self.counts
        done = counts.completed + counts.stopped + counts.failed
        of = f"{len(self)}" if counts.total is not None else f"{len(self)} or more"
        return f"<StreamGroup of {of} streams, {done} done>"

    @property
    def streams(self) -> Sequence[Stream]:
        """The streams, in the order of their prompts; one whose turn has not come is made when asked for."""
        return _Streams(self._run)

    @property
    def started(self) -> list[Stream]:
        """The streams that are there, in the order of their prompts."""
        return [row.stream for row in self._run.rows if row.stream is not None]

    @property
    def runtime(self) -> Runtime:
        """The machinery they run on."""
        return self._runtime or self._run.stream(0).runtime

    @property
    def run(self) -> Run:
        """Its rows and how they are."""
        return self._run

    @property
    def has_items(self) -> bool:
        """Whether each was asked about something of its own."""
        return self._run.has_items

    @property
    def items(self) -> Sequence[object] | None:
        """What each was asked about, None where there is no such thing."""
        return [row.item for row in self._run.rows] if self.has_items else None

    @items.setter
    def items(self, items: None) -> None:
        self._run.has_items = items is not None

    @property
    def counts(self) -> Counts:
        """How many rows wait, run, and have ended in which way."""
        return self._run.counts

    @property
    def usage(self) -> Usage:
        """The tokens of all of them so far."""
        running = [stream.usage for stream in self._run.active]
        return sum(running, self._run.usage)

    @property
    def texts(self) -> list[str]:
        """What each stream has so far."""
        return ["" if row.stream is None else row.stream.text for row in self._run.rows]

    @property
    def cost(self) -> Decimal | None:
        """What all of them cost so far in US dollars; None where the price of one is not known."""
        running = [stream.cost for stream in self._run.active]
        return prices.total([self._run.ended_cost, *running])

    @property
    def error(self) -> GeminiError | None:
        """Why rows were not asked any more, None where the run goes on or ended in order."""
        return self._run.error

    @property
    def errors(self) -> list[GeminiError | None]:
        """Why each stream failed, None where it did not."""
        return [self._run.error if row.stream is None else row.stream.error for row in self._run.rows]

    @property
    def results(self) -> list[Any]:
        """What each gave: its parsed answer where there is a schema, else its text; None if it failed."""
        return [None if row.stream is None else result_of(row.stream) for row in self._run.rows]

    @property
    def is_over(self) -> bool:
        """Whether every row has ended, or will never be asked."""
        return self._run.is_over

    def to_frame(self, *, wide: bool = False) -> Any:
        """Return a pandas DataFrame: what each was asked about, what it answered, how it ended.

        The items' own columns come first, as they are. Then comes `answer`, or a column for each field of the
        schema, and `status`, `finish_reason`, `error`, `tokens`, `cost` (US dollars), `kept`; where several
        models were asked, also `model`. A name that is taken already gets "answer_" before it. Without rows
        it has the same columns, those of the items as far as they are known. What was asked of a pandas frame
        or series has its index: pandas would put answers with another one beside the wrong rows.

        Args:
            wide: give one row for each item, and one column for each model's answers.

        Raises:
            ConfigError: pandas is not installed.
        """
        return to_frame(self._run, self._shape, has_items=self.has_items, wide=wide)

    def wait(self, timeout: float | None = None) -> StreamGroup:
        """Wait until all have ended.

        Args:
            timeout: seconds for all together.

        Raises:
            TimeoutError: some have not ended in time.
        """
        self._wait(timeout)
        self._warn()
        return self

    def _wait(self, timeout: float | None) -> None:
        run, timeout = self._run, seconds_to_wait(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for seen in itertools.count():
                for stream in run.active:
                    stream.wait_end(_left(deadline))
                if run.is_over:
                    break
                self._until_ended(seen, deadline)
            grace = time.monotonic() + 1.0  # for the subscribers of all of them together
            for stream in self.started:
                stream.wait_delivered(grace)
        except TimeoutError:
            now, more = self.counts, ", and others are still read"
            left = now.waiting + now.running
            raise TimeoutError(
                f"{left:,} of {len(self):,} rows have not ended after {timeout:g} s"
                f"{more if run.total is None else ''}."
            ) from None
        except KeyboardInterrupt:
            raise self.interrupt() from None

    def wait_only(self) -> None:
        """Wait until all have ended, also where some fail; an interrupt ends the wait only."""
        for _ in self._pairs():
            pass

    async def wait_only_async(self) -> None:
        """Do the same on the running loop."""
        async for _ in self._ends():
            pass

    def interrupt(self) -> StreamInterrupted:
        """Stop them all, and return the error that says how many those were."""
        self._run.stop()
        started = self.started
        return stop_interrupted(started, len(self) - len(started))

    def result(self, timeout: float | None = None) -> list[str]:
        """Wait for all and return their texts, empty for rows not asked; the first failure is raised."""
        self._wait(timeout)
        self._warn(with_error=False)  # it is raised
        made = ["" if row.stream is None else row.stream.outcome() for row in self._run.rows]
        if self._run.error is not None:
            raise self._run.error
        return made

    def stop(self) -> None:
        """Stop them all, and ask no further one."""
        self._run.stop()
        stop_together(self._run.active)

    def request_stop(self) -> None:
        """Ask all of them to stop, and return at once."""
        self._run.request_stop()

    def retry(self, *, budget: float | str | Decimal | None = None) -> StreamGroup:
        """Ask again what failed, was stopped or was never asked, in the same places; returns this group.

        Args:
            budget: US dollars that the group may cost in all; None for the limit that it has, if any.

        Raises:
            ArgumentError: its streams were started one by one, so that nothing is known to ask again.
            ConfigError: it is no sum of dollars, or no price is known.
        """
        if not self._run.may_retry:
            raise ArgumentError(
                "These streams were started one by one, so the group cannot ask again.",
                hint="Start them anew.",
            )
        dollars = dollars_of(budget)
        if dollars is not None:
            check_prices(stream.model for stream in self.started)
            self._run.budget = dollars
        self._run.retry()
        return self

    def _until_ended(self, seen: int, deadline: float | None = None) -> None:
        """Wait until more rows have ended than these, or all."""
        run, changed = self._run, Flag()
        while not run.when_changed(seen, changed.set):
            with waiting_for_rows(stream.record for stream in run.active):
                try:
                    self.runtime.block_on(changed, _left(deadline))
                except KeyboardInterrupt:
                    raise self._goes_on() from None
            changed = Flag()

    async def _until_ended_async(self, seen: int) -> None:
        """Wait on the running loop until more rows have ended than these, or all."""
        changed = asyncio.Event()
        wake = waker(changed)
        while not self._run.when_changed(seen, wake):
            with waiting_for_rows(stream.record for stream in self._run.active):
                try:
                    await sleep_until_set(changed)  # for a Ctrl-C, which does not wake a loop
                except asyncio.CancelledError as error:
                    mark_cancelled(error, self._goes_on())
                    raise
            changed.clear()

    def _goes_on(self) -> StreamInterrupted:
        started = self.started
        had_ended = sum(stream.is_done for stream in started)
        return interrupting([stream.label for stream in started], had_ended, stopped=False)


class _Streams(Sequence[Stream]):
    """The streams of a run, made as they are asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __len__(self) -> int:
        return len(self._run.rows)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | Sequence[Stream]:
        if isinstance(index, slice):
            return [self._run.stream(one) for one in range(*index.indices(len(self)))]
        return self._run.stream(operator.index(index))

    def __repr__(self) -> str:
        return f"<{len(self)} streams>"


def _newly_ended(run: Run, place: int, given: dict[int, Stream]) -> list[tuple[int, Stream]]:
    """Return the row that ended at this place, unless it is asked again, or was given since.

    Args:
        run: the rows.
        place: a place in `run.ended`.
        given: the stream that was given last of each row, which takes this one.
    """
    index = run.ended[place]
    stream = run.rows[index].stream
    if stream is None or not stream.record.is_done or given.get(index) is stream:
        return []
    given[index] = stream
    return [(index, stream)]


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
