"""Many streams of one kind: one prompt for each item."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Sized
from decimal import Decimal, InvalidOperation
from typing import Any, Unpack, overload

from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.turn import Usage
from gemini_nb.config import choose_keep, choose_model
from gemini_nb.errors import ArgumentError, ConfigError, GeminiError
from gemini_nb.journal import prices
from gemini_nb.redaction import seal
from gemini_nb.streams.conversation.keeping import Repeats
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.group.frame import records_of, result_of, to_frame
from gemini_nb.streams.group.pace import Pace
from gemini_nb.streams.group.rows import Counts, Row
from gemini_nb.streams.group.run import WINDOW, Run
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.request.options import StreamOptions, takes_options
from gemini_nb.streams.runtime.ending import StreamInterrupted
from gemini_nb.streams.runtime.loop import Flag
from gemini_nb.streams.runtime.runtime import Runtime
from gemini_nb.streams.stopping import stop_interrupted, stop_together
from gemini_nb.streams.stream import Stream

__all__ = ["Later", "StreamGroup", "map_prompts"]


class StreamGroup:
    """Streams that belong together, in the order of their prompts.

    Iterating gives pairs of a row's number and its stream, in the order in which the rows end, while others
    still run: `for index, stream in group`, or `async for`.

    Args:
        streams: the streams.
        items: what each of them was asked about, where there is such a thing.
        runtime: the machinery they run on; by default that of the first.
    """

    def __init__(
        self,
        streams: Iterable[Stream] | Run,
        items: Iterable[object] | None = None,
        *,
        runtime: Runtime | None = None,
    ) -> None:
        self._run = streams if isinstance(streams, Run) else Run.of(streams, items)
        self._runtime = runtime

    def __len__(self) -> int:
        return len(self._run.rows)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | Sequence[Stream]:
        return self.streams[index]

    def __iter__(self) -> Iterator[tuple[int, Stream]]:
        run = self._run
        for seen in itertools.count():
            self._until_ended(seen)
            if seen >= len(run.ended):
                return
            yield run.ended[seen], run.stream(run.ended[seen])

    async def __aiter__(self) -> AsyncIterator[tuple[int, Stream]]:
        run, loop = self._run, asyncio.get_running_loop()
        for seen in itertools.count():
            changed = asyncio.Event()

            def wake(event: asyncio.Event = changed) -> None:
                with contextlib.suppress(RuntimeError):  # the loop was closed
                    loop.call_soon_threadsafe(event.set)

            while not run.when_changed(seen, wake):
                await changed.wait()
                changed.clear()
            if seen >= len(run.ended):
                return
            yield run.ended[seen], run.stream(run.ended[seen])

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
        models were asked, also `model`. A name that is taken already gets "answer_" before it.

        Args:
            wide: give one row for each item, and one column for each model's answers.

        Raises:
            ConfigError: pandas is not installed.
        """
        return to_frame(self._run, has_items=self.has_items, wide=wide)

    def wait(self, timeout: float | None = None) -> StreamGroup:
        """Wait until all have ended.

        Args:
            timeout: seconds for all together.

        Raises:
            TimeoutError: some have not ended in time.
        """
        run = self._run
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
            left, more = len(self) - len(run.ended), ", and others are still read"
            raise TimeoutError(
                f"{left:,} of {len(self):,} rows have not ended after {timeout:g} s"
                f"{more if run.total is None else ''}."
            ) from None
        except KeyboardInterrupt:
            raise self.interrupt() from None
        return self

    def wait_only(self) -> None:
        """Wait until all have ended, also where some fail; an interrupt ends the wait only."""
        for _ in self:
            pass

    def interrupt(self) -> StreamInterrupted:
        """Stop them all, and return the error that says how many those were."""
        self._run.stop()
        started = self.started
        return stop_interrupted(started, len(self) - len(started))

    def result(self, timeout: float | None = None) -> list[str]:
        """Wait for all and return their texts; the first failure is raised."""
        self.wait(timeout)
        made = [stream.outcome() for stream in self.started]
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
        dollars = _budget(budget)
        if dollars is not None:
            self._run.budget = dollars
        self._run.retry()
        return self

    def _until_ended(self, seen: int, deadline: float | None = None) -> None:
        """Wait until more rows have ended than these, or all."""
        run, changed = self._run, Flag()
        while not run.when_changed(seen, changed.set):
            self.runtime.block_on(changed, _left(deadline))
            changed = Flag()


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
        return self._run.stream(index)

    def __repr__(self) -> str:
        return f"<{len(self)} streams>"


_MISSING = object()
_ANY_USAGE = Usage(prompt_token_count=1, total_token_count=1)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


@takes_options
def map_prompts(
    prompts: Iterable[object],
    *,
    subscriber: Subscriber | None = None,
    concurrency: int = 8,
    rpm: float | None = None,
    budget: float | str | Decimal | None = None,
    manager: StreamManager | None = None,
    items: Iterable[object] | None = None,
    each: Iterable[Mapping[str, Any]] | None = None,
    **options: Unpack[StreamOptions],
) -> StreamGroup:
    """Start one stream for each prompt, a few at a time, and return at once.

    What has a length is copied at the call; an iterator is read as its rows are needed, on a thread of its
    own. Of many rows a few hundred are streams at a time, so that ten thousand cost no more than their
    answers. A quota, a server that is down or a lost connection fails no row, unless `retry` says so: all of
    them wait and one tries again about every 30 seconds. Where the server names a quota of requests a
    minute, they keep to it; a used-up quota of a day ends the run, with the rest unasked.

    Args:
        prompts: what to ask, each as `StreamManager.start_stream` takes it.
        subscriber: called with every event of each stream.
        concurrency: streams that run at a time.
        rpm: requests a minute at most, in even steps.
        budget: US dollars. No new row is asked once what was spent and what the running rows may yet cost
            would pass it; what runs goes on.
        manager: who runs them; by default the kernel's.
        items: what each is about, for `to_frame`; by default the prompts.
        each: settings for each prompt by itself.
        **options: as in `StreamOptions`.

    Raises:
        ArgumentError: no list of prompts, or not as many settings.
        ConfigError: a value does not fit; what was started is stopped.
    """
    options["credentials"] = seal(options.get("credentials"))
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ConfigError(f"concurrency is a whole number, at least 1, not {concurrency!r}.")
    if rpm is not None and (isinstance(rpm, bool) or not isinstance(rpm, (int, float)) or not rpm > 0):
        raise ConfigError(f"rpm is a number of requests a minute, greater than 0, not {rpm!r}.")
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise ArgumentError(
            f"map takes a list of prompts, not a {type(prompts).__name__}.",
            hint="One prompt alone goes to start_stream.",
        )
    if records_of(prompts) is not None:
        raise ArgumentError(
            "map takes a list of prompts, not a frame.",
            hint='gemini_nb.ask_frame(frame, "… {item.column} …"), or frame["column"].',
        )
    chosen, dollars = manager or get_manager(), _budget(budget)
    if dollars is not None:
        _check_prices(chosen, options, each)
    pace, repeats = Pace(concurrency, rpm), Repeats()

    def start(row: Row) -> Stream:
        prompt = row.prompt() if isinstance(row.prompt, Later) else row.prompt
        number_of = repeats.of(row)
        settings: StreamOptions = {**options, **row.options}  # type: ignore[typeddict-item]  # checked when it starts
        if settings.get("retry") is None:
            settings["retry"] = RetryPolicy(on_cut=chosen.runtime.settings.on_cut, patient=True)
        return chosen.start_stream(prompt, subscriber, gate=pace.gate(row), number_of=number_of, **settings)

    def refuse(row: Row, error: GeminiError) -> Stream:
        return chosen.refuse_stream(error, subscriber, **{**options, **row.options})

    run = pace.run = Run(_rows_of(prompts, items, each), start, refuse, max(WINDOW, 2 * concurrency))
    run.budget, run.keeps = dollars, _keeps(chosen, options, each)
    chosen.add_group(run)
    group = StreamGroup(run, runtime=chosen.runtime)
    try:
        run.begin()
    except BaseException:
        group.stop()  # nothing else would have a handle on them
        raise
    return group


def _keeps(manager: StreamManager, options: StreamOptions, each: Iterable[Mapping[str, Any]] | None) -> bool:
    """Whether rows may be among kept answers."""
    of_rows = any(row.get("keep") for row in each) if isinstance(each, Sized) else False
    return of_rows or choose_keep(options.get("keep"), manager.runtime.settings) is not None


class Later:
    """A prompt that is made when its row starts.

    Args:
        make: makes it.
        *given: what it is made of.
    """

    __slots__ = ("_given", "_make")

    def __init__(self, make: Any, *given: Any) -> None:
        self._make, self._given = make, given

    def __call__(self) -> Any:
        """Make it."""
        return self._make(*self._given)


def _budget(budget: float | str | Decimal | None) -> Decimal | None:
    if budget is None:
        return None
    try:
        dollars = Decimal(str(budget))
    except InvalidOperation:
        dollars = Decimal(-1)
    if isinstance(budget, bool) or not dollars.is_finite() or dollars < 0:
        raise ConfigError(f"budget is a number of US dollars, 0 or more, not {budget!r}.")
    return dollars


def _check_prices(
    manager: StreamManager, options: StreamOptions, each: Iterable[Mapping[str, Any]] | None
) -> None:
    """Refuse a budget where what an answer costs is not known."""
    prices.load()
    of_rows = {row.get("model") for row in each} if isinstance(each, Sized) else {None}
    for model in {choose_model(own or options.get("model"), manager.runtime.settings) for own in of_rows}:
        if prices.price([model], [_ANY_USAGE], at=time.time()) is None:
            raise ConfigError(
                f"A budget cannot be kept for {model}, since no price is known.",
                hint="Leave the budget out, or install the prices: pip install 'gemini-nb[prices]'.",
            )


def _rows_of(
    prompts: Iterable[object], items: Iterable[object] | None, each: Iterable[Mapping[str, Any]] | None
) -> Iterable[Row]:
    items = items if items is None else records_of(items) or items
    if not isinstance(prompts, Sized):
        return _rows_as_they_come(prompts, items, each)
    asked = list(prompts)
    settings = [{} for _ in asked] if each is None else list(each)
    if len(settings) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but settings for {len(settings)}.")
    known = asked if items is None else list(items)
    if len(known) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but {len(known)} items.")
    return list(map(Row, asked, known, settings))


def _rows_as_they_come(
    prompts: Iterable[object], items: Iterable[object] | None, each: Iterable[Mapping[str, Any]] | None
) -> Iterator[Row]:
    """Rows of iterators; one that ends before the others is an error, else their last rows would be lost."""
    columns: list[Iterable[Any]] = [one for one in (prompts, items, each) if one is not None]
    for number, row in enumerate(itertools.zip_longest(*columns, fillvalue=_MISSING)):
        if any(one is _MISSING for one in row):
            raise ArgumentError(
                f"There are not as many prompts, items and settings: one ends after {number}."
            )
        prompt, *rest = row
        about = prompt if items is None else rest.pop(0)
        yield Row(prompt, about, rest.pop() if rest else {})
