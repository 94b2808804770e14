"""Two thousand rows at a quota, on a clock that runs as fast as the work is done.

The pace, the cooldowns and the calls are the real ones; what is simulated is time, and a server that counts
requests in one of the three ways in which services do.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import random
import types
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from gemini_nb.api import client, outages, retry
from gemini_nb.api.call import ChunkReceived, chunks_of
from gemini_nb.api.retry import Cooldowns, RetryPolicy
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import APIError
from gemini_nb.streams.conversation.admission import Place
from gemini_nb.streams.group import pace
from gemini_nb.streams.group.rows import Row

ROWS = 2000
CONCURRENCY = 32
WINDOW = 200
SECONDS = 1.5  # an answer takes, more or less
REFUSAL = 0.05  # seconds that a refusal takes
ANSWER = json.dumps(
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}]}
)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes forward by what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1e6
        selector = self._selector  # type: ignore[attr-defined]  # asyncio's own
        look = selector.select

        def select(timeout: float | None) -> Any:
            self._now += timeout or 0.0
            return look(0)

        selector.select = select

    def time(self) -> float:
        return self._now


class Rolling:
    """So many in any sixty seconds."""

    def __init__(self, per_minute: int) -> None:
        self.times: collections.deque[float] = collections.deque(maxlen=per_minute)

    def wait(self, now: float) -> float:
        times = self.times
        if len(times) == times.maxlen and times[0] > now - 60:
            return times[0] + 60 - now
        times.append(now)
        return 0.0


class Fixed:
    """So many in each minute of the clock."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute, self.count, self.minute = per_minute, 0, -1

    def wait(self, now: float) -> float:
        minute = int(now // 60)
        self.minute, self.count = minute, self.count + 1 if minute == self.minute else 1
        return (minute + 1) * 60 - now if self.count > self.per_minute else 0.0


class Bucket:
    """A tenth of a minute's at once, and then as they come."""

    def __init__(self, per_minute: int) -> None:
        self.rate, self.most = per_minute / 60, per_minute / 10
        self.left, self.last = self.most, 0.0

    def wait(self, now: float) -> float:
        self.left, self.last = min(self.most, self.left + (now - self.last) * self.rate), now
        if self.left < 1:
            return (1 - self.left) / self.rate
        self.left -= 1
        return 0.0


class Run:
    """Rows that ask one simulated service."""

    def __init__(self, counting: Any, per_minute: int, rpm: float | None) -> None:
        self.counting, self.per_minute = counting(per_minute), per_minute
        self.pace = pace.Pace(CONCURRENCY, rpm)
        self.clients = types.SimpleNamespace(cooldowns=Cooldowns(), outages=outages.Outages())
        self.random = random.Random(4)
        self.requests = self.refusals = self.answers = 0

    async def request(self, *_: Any, turn: ModelTurn) -> AsyncGenerator[ChunkReceived, None]:
        loop = asyncio.get_running_loop()
        self.requests += 1
        wait = self.counting.wait(loop.time())
        await asyncio.sleep(REFUSAL)
        if wait:
            self.refusals += 1
            error = APIError("Quota exceeded.")
            error.status_code, error.retry_after, error.per_minute = 429, wait, float(self.per_minute)
            raise error
        await asyncio.sleep(SECONDS * (0.5 + self.random.random()))
        for chunk in chunks_of(ANSWER, turn):
            yield chunk

    async def ask(self, window: asyncio.Semaphore, number: int) -> None:
        async with window, Place(self.pace.gate(Row("", number=number))) as place:
            await place.take()
            endpoint = types.SimpleNamespace(quota="one", model="m")
            call: Any = types.SimpleNamespace(endpoint=endpoint, retry=RetryPolicy(patient=True))
            clients: Any = self.clients
            events = client.call_model(
                clients, call, ModelTurn(), jitter=self.random.random, take_place=place.take
            )
            async with contextlib.aclosing(events):
                async for _ in events:
                    pass
            self.answers += 1

    async def all(self) -> float:
        loop, window = asyncio.get_running_loop(), asyncio.Semaphore(WINDOW)
        began = loop.time()
        await asyncio.gather(*(self.ask(window, number) for number in range(ROWS)))
        return loop.time() - began


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastLoop]:
    loop = FastLoop()
    clock = types.SimpleNamespace(time=loop.time, monotonic=loop.time)
    for module in (retry, outages, pace):
        monkeypatch.setattr(module, "time", clock)
    yield loop
    loop.close()


@pytest.mark.parametrize("counting", [Rolling, Fixed, Bucket])
@pytest.mark.parametrize("per_minute", [60, 600])
@pytest.mark.parametrize("is_told", [False, True], ids=["named by a 429", "told as rpm"])
def test_a_quota_is_kept_and_used(
    counting: Any, per_minute: int, is_told: bool, loop: FastLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(counting, per_minute, per_minute if is_told else None)

    def request(_clients: Any, _call: Any, turn: ModelTurn, *, refresh: bool) -> Any:
        assert not refresh
        return run.request(turn=turn)

    monkeypatch.setattr(client, "request_once", request)
    took = loop.run_until_complete(run.all())
    assert run.answers == ROWS
    assert run.refusals <= 0.01 * run.requests
    assert took <= 1.1 * 60 * ROWS / per_minute
