"""When a row of a group may be asked: so many at a time, so many a minute, within a budget."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from decimal import Decimal, InvalidOperation

from gemini_nb.api.usage import Usage
from gemini_nb.config import real_number, whole_number
from gemini_nb.errors import ConfigError, NotAskedError
from gemini_nb.journal import prices
from gemini_nb.redaction import excerpt_of
from gemini_nb.streams.group.rows import Row
from gemini_nb.streams.group.run import Run

_WINDOW = 200  # rows that are streams at a time, at least
_WIDEST = 1000  # and at most, since each of them takes 60 KB and may hold a connection
_FIRST = 8  # places at the beginning: all that run are refused when they meet a quota
_GROWTH_SECONDS = 0.5  # until there is another place, as long as no quota was met
_MEAN_TIMES = 2  # times the mean so far is what a running row may yet cost
_ANY_USAGE = Usage(prompt_token_count=1, total_token_count=1)
_USED_TIMES = Decimal("1.5")  # times what it has used already


class Pace:
    """The turns of a group's rows, in their order, those that ask again too. Loop thread only.

    A hundred requests in the first second of a minute that allows a hundred are refused by a quota that is
    counted in shorter windows; so a rate is kept by even steps, never by bursts.

    Args:
        concurrency: rows that run at a time.
        rpm: requests a minute, None for no pace.

    Raises:
        ConfigError: one of them is no such number.
    """

    def __init__(self, concurrency: int, rpm: float | None) -> None:
        places, rate = whole_number(concurrency), real_number(rpm)
        if places is None or places < 1:
            raise ConfigError(f"concurrency is a whole number, at least 1, not {excerpt_of(concurrency)}.")
        if rpm is not None and (rate is None or not 0 < rate < math.inf):
            raise ConfigError(
                f"rpm is a number of requests a minute, greater than 0, not {excerpt_of(rpm)}.",
                hint="Leave it out for no limit.",
            )
        self.most = places
        """Rows that run at a time, at most."""
        self._free = places if rate is not None else min(places, _FIRST)
        self._grown = 0.0  # of the next place
        self._cut_at = 0.0
        self._growing: asyncio.TimerHandle | None = None
        self._step = None if rate is None else 60.0 / rate
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap, the first row on top
        self._asked = itertools.count()
        self._running = 0
        self._next_start = 0.0
        self.run: Run | None = None
        """The rows, once they are there."""

    @property
    def window(self) -> int:
        """How many rows are streams at a time."""
        return min(max(_WINDOW, 2 * self.most), _WIDEST)

    def gate(self, row: Row) -> Callable[[], contextlib.AbstractAsyncContextManager[object]]:
        """Return what a row's stream enters for its run."""
        return lambda: self._enter(row)

    @contextlib.asynccontextmanager
    async def _enter(self, row: Row) -> AsyncIterator[None]:
        await self._take_place(row)
        try:
            if not row.is_paced:
                self._check(row)
                await self._keep_step()
                self._check(row)
                row.is_paced = True
            since = time.monotonic()
            yield
            self._adapt(row, since)
        finally:
            self._running -= 1
            # Soon, not now: a row that ends counts as ended, with what it cost, a moment after this.
            asyncio.get_running_loop().call_soon(self._admit)

    def _adapt(self, row: Row, since: float) -> None:
        """Give half as many places after a quota was met, once an episode; else one more a round.

        Those that were refused have given their places back, and take new ones to ask again: so half as many
        ask again, too.
        """
        was_refused = row.stream is not None and row.stream.record.refused_at > since
        if was_refused and since > self._cut_at:
            self._cut_at = time.monotonic()
            self._free = max(1, self._free // 2)
        elif not was_refused:
            self._grown += 1 / self._free
            if self._grown >= 1:
                self._grow()

    def _grow(self) -> None:
        self._grown = 0.0
        self._free = min(self.most, self._free + 1)

    def _grow_soon(self) -> None:
        """Give another place after a while, also where answers take long; until a quota was met."""
        if self._growing is None and self._free < self.most and not self._cut_at:
            self._growing = asyncio.get_running_loop().call_later(_GROWTH_SECONDS, self._grow_now)

    def _grow_now(self) -> None:
        self._growing = None
        if self._waiting:
            self._grow()
            self._admit()

    def _check(self, row: Row) -> None:
        if self.run is not None:
            self.run.check(row)

    async def _take_place(self, row: Row) -> None:
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (row.number, next(self._asked), turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was its turn in this very moment
                self._running -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._running < self._places():
            turn = self._waiting[0][-1]
            if turn.done():  # its row was stopped
                heapq.heappop(self._waiting)
                continue
            if not self._may_pay():
                break
            self._running += 1
            heapq.heappop(self._waiting)
            turn.set_result(None)
        if self._waiting:
            self._grow_soon()

    def _places(self) -> int:
        """How many may run: few, with a budget, until some have ended and their cost is known."""
        if self.run is None or self.run.budget is None or self.run.error is not None:
            return self._free
        return min(self._free, self.run.paid + 2)

    async def _keep_step(self) -> None:
        if self._step is None:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + self._step
        await asyncio.sleep(start - now)

    def _may_pay(self) -> bool:
        """Whether another row fits into the budget; where none does and none runs, the run is ended."""
        run = self.run
        if run is None or run.budget is None or run.error is not None:
            return True
        known, unknown = run.spent
        if unknown and not known:
            run.end(
                NotAskedError(
                    "what the rows cost is not known, so the budget cannot be kept.",
                    hint="The service did not say how many tokens they took.",
                )
            )
            return True  # it is refused with this reason when it has its place
        mean = known / max(1, run.paid - unknown)
        spent = known + unknown * _MEAN_TIMES * mean
        each = _MEAN_TIMES * mean
        used = [_USED_TIMES * (stream.cost or 0) for stream in run.active]
        may_cost = self._running * each + sum((max(Decimal(), one - each) for one in used), Decimal())
        if spent < run.budget and spent + may_cost + each <= run.budget:
            return True
        if not self._running:
            _end(run, run.budget, known)
        return run.error is not None


def _end(run: Run, budget: Decimal, known: Decimal) -> None:
    """End a run whose budget allows no other row."""
    now = run.counts
    error = NotAskedError(
        f"the budget of {prices.dollars(budget)} does not allow another row; "
        f"{prices.dollars(known)} was spent.",
        hint="group.retry(budget=…) with a larger one asks what is left.",
    )
    if run.end(error):
        run.say_left(now.waiting + now.running, more=now.total is None)


def dollars_of(budget: object) -> Decimal | None:
    """Return a budget as a number, None where there is none.

    Raises:
        ConfigError: it is no number of US dollars.
    """
    if budget is None:
        return None
    try:
        number = budget if isinstance(budget, (str, Decimal)) else real_number(budget)
        dollars = Decimal(str(number))
    except (InvalidOperation, ValueError):  # the latter of whole numbers of thousands of digits
        dollars = Decimal(-1)
    if not dollars.is_finite() or dollars < 0:
        raise ConfigError(f"budget is a number of US dollars, 0 or more, not {excerpt_of(budget)}.")
    return dollars


def check_prices(models: Iterable[str]) -> None:
    """Refuse a budget where what an answer costs is not known.

    Raises:
        ConfigError: no price is known of one of these models.
    """
    prices.load()
    for model in set(models):
        if prices.price([model], [_ANY_USAGE], at=time.time()) is None:
            raise ConfigError(
                f"A budget cannot be kept for {model}, since no price is known.",
                hint="Leave the budget out, or install the prices: pip install 'gemini-nb[prices]'.",
            )
