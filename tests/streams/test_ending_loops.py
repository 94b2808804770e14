"""What a tool asks of a loop that ends at that moment: whoever waits for it hears of the end."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import gemini_nb
from answers import PATIENCE, hold_loop, join, until
from gemini_nb.streams.runtime.loop import BackgroundLoop
from gemini_nb.streams.runtime.runtime import default_runtime
from gemini_nb.tools import kernel as kernel_module
from gemini_nb.tools.kernel import KernelLoop, LoopEndedError, background

Flag = threading.Event


async def answer() -> str:
    return "answer"


@pytest.fixture
def ending() -> Iterator[tuple[asyncio.AbstractEventLoop, Callable[[], None]]]:
    """A loop that cleans up until it is told to end."""
    cleans, go_on = Flag(), Flag()

    async def cleanup() -> None:
        cleans.set()
        await asyncio.to_thread(go_on.wait, PATIENCE)

    made = BackgroundLoop("test-loop", lambda: None, cleanup)
    loop = made.loop
    loop.call_soon_threadsafe(loop.stop)
    assert cleans.wait(PATIENCE)
    yield loop, go_on.set
    go_on.set()
    made.close(PATIENCE)


def test_a_loop_that_has_begun_to_end_refuses_what_it_is_given(
    ending: tuple[asyncio.AbstractEventLoop, Callable[[], None]],
) -> None:
    loop, _ = ending
    assert not loop.is_closed()
    with pytest.raises(LoopEndedError):
        asyncio.run(asyncio.wait_for(background.run(loop, answer()), PATIENCE))
    with pytest.raises(LoopEndedError):
        background.call(loop, lambda: None)


def test_a_loop_that_has_ended_is_not_kept() -> None:
    made = BackgroundLoop("test-loop", lambda: None)
    loop = made.loop
    assert asyncio.run(background.run(loop, answer())) == "answer"
    made.close(PATIENCE)
    assert loop not in background.gates
    with pytest.raises(LoopEndedError):
        asyncio.run(background.run(loop, answer()))


def test_who_waits_for_what_a_loop_still_runs_hears_of_its_end() -> None:
    made = BackgroundLoop("test-loop", lambda: None)
    began = Flag()
    told: list[BaseException] = []

    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    def ask(loop: asyncio.AbstractEventLoop) -> None:
        try:
            asyncio.run(background.run(loop, wait()))
        except BaseException as error:  # noqa: BLE001 - a cancellation, too, is what the test is about
            told.append(error)

    asking = threading.Thread(target=ask, args=(made.loop,))
    asking.start()
    assert began.wait(PATIENCE)
    made.close(PATIENCE)
    join(asking)
    assert [type(error) for error in told] == [LoopEndedError]


def test_a_kernels_loop_that_is_closed_before_a_tool_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "_LOOK", 0.01)
    kernel, loop = KernelLoop(), asyncio.new_event_loop()

    async def ask() -> None:
        asking = asyncio.ensure_future(kernel.run(answer(), loop))
        await asyncio.sleep(0)
        loop.close()
        await asyncio.wait_for(asking, PATIENCE)

    with pytest.raises(LoopEndedError):
        asyncio.run(ask())
    assert not kernel.has_work


def test_a_stopped_stream_cancels_its_tool_on_the_kernels_loop() -> None:
    kernel = KernelLoop()
    began, ended = Flag(), Flag()

    async def tool() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def ask(loop: asyncio.AbstractEventLoop) -> None:
        asking = asyncio.ensure_future(kernel.run(tool(), loop))
        assert await asyncio.to_thread(began.wait, PATIENCE)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    made = BackgroundLoop("test-kernel", lambda: None)
    asyncio.run(ask(made.loop))
    assert ended.wait(PATIENCE)
    made.close(PATIENCE)


def silent_server() -> gemini_nb.MCPServer:
    return gemini_nb.mcp([sys.executable, "-c", "import sys; sys.stdin.read()"])


@pytest.mark.parametrize("has_begun", [False, True])
def test_an_mcp_server_whose_loop_ends_before_it_has_started(has_begun: bool) -> None:
    server = silent_server()
    go_on = hold_loop(default_runtime().loop)
    session = server._current()
    if has_begun:
        go_on.set()
        until(lambda: session._task is not None)
    session.loop.call_soon_threadsafe(session.loop.stop)
    go_on.set()
    assert session._ended.result(PATIENCE) is None
    assert "shut down" in str(session._ready.exception(0))
    assert not session.is_alive
    server.close()


def test_the_tools_of_an_mcp_server_whose_manager_is_shut_down_meanwhile() -> None:
    server = silent_server()
    refused: list[BaseException] = []

    def ask() -> None:
        try:
            _ = server.tools
        except BaseException as error:  # noqa: BLE001 - which one it is is what the test asks
            refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: server._session is not None)
    assert asking.is_alive(), "it waits for a server that says nothing"
    closing = threading.Thread(target=gemini_nb.get_manager().shutdown)
    closing.start()
    join(asking, closing)
    assert [type(error) for error in refused] == [gemini_nb.ConfigError]
    server.close()
