from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from answers import PATIENCE, hold_loop, join, run_python
from gemini_nb.errors import ConfigError
from gemini_nb.streams.runtime import loop as loop_module
from gemini_nb.streams.runtime.loop import BackgroundLoop

Flag = threading.Event


@pytest.fixture
def deaths() -> list[threading.Thread]:
    return []


@pytest.fixture
def background(deaths: list[threading.Thread]) -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test-loop", lambda: deaths.append(threading.current_thread()))
    yield loop
    loop.close(PATIENCE)
    assert not loop.is_alive


def test_it_starts_with_its_first_use(background: BackgroundLoop) -> None:
    assert not background.is_alive
    done = Flag()
    seen: list[bool] = []
    background.call(lambda: seen.append(background.is_current))
    background.call(done.set)
    assert done.wait(PATIENCE)
    assert (background.is_alive, background.is_current, seen) == (True, False, [True])
    assert background._thread is not None
    assert background._thread.daemon


def test_many_threads_start_one_loop(background: BackgroundLoop) -> None:
    found: list[object] = []
    together = threading.Barrier(8)

    def use() -> None:
        together.wait(PATIENCE)
        found.append(background.loop)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert len(set(map(id, found))) == 1


def test_a_call_on_the_loop_is_made_at_once(background: BackgroundLoop) -> None:
    order: list[str] = []
    done = Flag()

    def outer() -> None:
        background.call(order.append, "inner")
        order.append("outer")
        done.set()

    background.call(outer)
    assert done.wait(PATIENCE)
    assert order == ["inner", "outer"]


def test_a_task_runs_in_the_context_it_is_given(background: BackgroundLoop) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    seen: list[str] = []
    done = Flag()

    async def look() -> None:
        seen.append(variable.get())
        done.set()

    background.spawn(look, context)
    assert done.wait(PATIENCE)
    assert seen == ["inside"]
    assert background.submit(asyncio.sleep(0, "result")).result(PATIENCE) == "result"


def test_a_callback_that_raises_is_logged_and_the_loop_goes_on(
    background: BackgroundLoop, caplog: pytest.LogCaptureFixture
) -> None:
    done = Flag()
    background.call(lambda: 1 / 0)
    background.call(done.set)
    assert done.wait(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_calls_that_come_together_are_made_in_their_order_and_one_wake_serves_them_all(
    background: BackgroundLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[int] = []
    done = Flag()
    go_on = hold_loop(background)
    wakes: list[object] = []
    wake = background.loop.call_soon_threadsafe

    def counted(*args: Any, **options: Any) -> object:
        wakes.append(args)
        return wake(*args, **options)

    monkeypatch.setattr(background.loop, "call_soon_threadsafe", counted)
    background.call(lambda: 1 / 0)
    for number in range(50):
        background.call(order.append, number)
    background.call(lambda: background.call(order.append, 51))
    background.call(done.set)
    go_on.set()
    assert done.wait(PATIENCE)
    assert order == [*range(50), 51]
    assert len(wakes) == 1
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_while_the_loop_is_woken_keeps_no_later_call_from_it(
    background: BackgroundLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Flag()
    loop = background.loop

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            background.call(done.is_set)
    background.call(done.set)
    assert done.wait(PATIENCE)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, None])
def test_a_loop_that_dies_tells_it_and_is_replaced(
    background: BackgroundLoop, deaths: list[threading.Thread], error: type[BaseException] | None
) -> None:
    first, thread = background.loop, background._thread
    assert thread is not None

    def die() -> None:
        if error is None:
            first.stop()
        else:
            raise error

    cancelled = Flag()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()

    background.spawn(wait, contextvars.copy_context())
    background.call(die)
    join(thread)
    assert deaths == [thread]
    assert cancelled.is_set()
    assert first.is_closed()
    assert background.loop is not first
    assert background.submit(asyncio.sleep(0, "again")).result(PATIENCE) == "again"


def test_closing_cancels_tasks_then_cleans_up(deaths: list[threading.Thread]) -> None:
    order: list[str] = []

    async def cleanup() -> None:
        order.append("cleanup")

    background = BackgroundLoop("test-loop", lambda: deaths.append(threading.current_thread()), cleanup)
    began = Flag()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("cancelled")

    background.spawn(work, contextvars.copy_context())
    assert began.wait(PATIENCE)
    background.close(PATIENCE)
    background.close(PATIENCE)
    assert order == ["cancelled", "cleanup"]
    assert deaths == []


def test_after_closing_calls_are_dropped_and_tasks_refused(background: BackgroundLoop) -> None:
    assert background.loop.is_running()
    background.close(PATIENCE)
    background.call(lambda: pytest.fail("called"))
    with pytest.raises(ConfigError, match="shut down"):
        background.spawn(lambda: asyncio.sleep(0), contextvars.copy_context())
    assert not background.is_alive


def test_a_loop_that_never_ran_can_be_closed() -> None:
    background = BackgroundLoop("test-loop", lambda: None)
    background.close(PATIENCE)
    with pytest.raises(ConfigError):
        _ = background.loop


def test_a_task_that_will_not_end_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop_module, "_PATIENCE", 0.05)
    background = BackgroundLoop("test-loop", lambda: None)
    began = Flag()
    stubborn: list[asyncio.Task[None] | None] = []

    async def resist() -> None:
        stubborn.append(asyncio.current_task())
        began.set()
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    background.spawn(resist, contextvars.copy_context())
    assert began.wait(PATIENCE)
    background.close(PATIENCE)
    assert not background.is_alive
    stubborn.clear()
    del background
    gc.collect()
    assert [record for record in caplog.records if "destroyed" in record.getMessage()] == []


def test_what_was_spawned_and_not_yet_begun_is_not_left_unawaited() -> None:
    background = BackgroundLoop("test-loop", lambda: None)
    go_on = hold_loop(background)
    for _ in range(20):
        background.spawn(lambda: asyncio.sleep(60), contextvars.copy_context())
    loop = background.loop
    loop.call_soon_threadsafe(loop.stop)
    go_on.set()
    background.close(PATIENCE)
    assert loop.is_closed()


def test_what_is_given_to_a_loop_that_has_begun_to_end_is_for_the_next_one_or_refused() -> None:
    cleans, go_on = Flag(), Flag()
    called: list[asyncio.AbstractEventLoop] = []

    async def cleanup() -> None:
        cleans.set()
        go_on.wait(PATIENCE)

    async def running_loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    background = BackgroundLoop("test-loop", lambda: None, cleanup)
    first = background.loop
    first.call_soon_threadsafe(first.stop)  # it dies
    assert cleans.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="ended"):
        background._calls.put(print, ())
    background.call(lambda: called.append(asyncio.get_running_loop()))
    second = background.submit(running_loop()).result(PATIENCE)
    assert called == [second] != [first]
    closing = threading.Thread(target=background.close, args=(PATIENCE,))
    closing.start()
    go_on.set()
    join(closing)
    for ask in (background.submit, background.run):
        with pytest.raises(ConfigError, match="shut down"):
            ask(running_loop())  # which nothing awaits, and Python complains of that


def test_a_loop_that_cleans_up_is_not_stopped_by_a_second_close() -> None:
    ended: list[bool] = []

    async def cleanup() -> None:
        loop_module._stop(made._calls)  # of a thread that closed it, too, and came a moment later
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.append(True)

    made = BackgroundLoop("test-loop", lambda: None, cleanup)
    assert made.loop.is_running()
    made.close(PATIENCE)
    assert ended == [True]


def test_closing_tells_those_who_wait_for_a_result(background: BackgroundLoop) -> None:
    began = Flag()
    refused: list[ConfigError] = []

    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    def ask() -> None:
        try:
            background.run(wait())
        except ConfigError as error:
            refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert began.wait(PATIENCE)
    background.close(PATIENCE)
    join(asking)
    assert "shut down" in str(refused)


IMPORTS = """
import sys, threading
from answers import *
import gemini_nb
class Look:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread().name == "gemini_nb-loop":
            print(name)
sys.meta_path.insert(0, Look())
with rig(hello()) as made:
    made.start().wait()
"""


def test_the_loop_imports_nothing_for_a_stream() -> None:
    assert run_python(IMPORTS).stdout == ""
