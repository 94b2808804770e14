"""The loop that runs the user's cells, and the tools that run on it.

An async tool belongs there: that is where the user's sessions and pools were made. While a cell blocks that
loop in a wait for the very stream the tool belongs to, neither would ever go on, so the wait has to know that
there is work.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from gemini_nb.errors import InternalError

T = TypeVar("T")

_LOOK = 1.0  # seconds between looks whether the kernel's loop was closed; a loop calls nothing when it is


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs the calling code, None outside of every loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class KernelLoop:
    """The loop that runs the user's cells; there is none until a notebook sets `find`.

    Attributes:
        find: returns the loop, or None where there is none.
        is_pumped: whether a call that blocks the loop keeps it going from inside. An interrupt that hits a
            tool is then meant for that call.
    """

    def __init__(self) -> None:
        self.find: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None
        self.is_pumped = False
        self._working = 0

    @property
    def has_work(self) -> bool:
        """Whether a tool waits for the loop, or runs on it."""
        return self._working > 0

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop if it can take work."""
        loop = self.find()
        return None if loop is None or loop.is_closed() else loop

    async def run(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
        """Run a coroutine on the loop and return its result. Only from one other loop.

        Raises:
            LoopEndedError: the loop was closed before the coroutine had ended.
        """
        self._working += 1
        try:
            result = asyncio.wrap_future(_given(coroutine, loop))
            while not result.done():
                await _end_of(result)
                if not result.done() and loop.is_closed():
                    raise LoopEndedError("The loop that runs the cells was closed.")
            return result.result()
        finally:
            self._working -= 1
            if loop.is_closed() and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()  # else Python complains that nothing awaited it


def _given(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
) -> concurrent.futures.Future[T]:
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        raise LoopEndedError("The loop that runs the cells was closed.") from None


async def _end_of(future: asyncio.Future[Any]) -> None:
    """Wait for its end, or a while; what ends this wait ends the future."""
    try:
        await asyncio.wait([future], timeout=_LOOK)
    except asyncio.CancelledError:
        future.cancel()
        raise


class LoopEndedError(RuntimeError):
    """A loop takes nothing more, or ended before what it took had ended."""


class Gate(Protocol):
    """Takes what a loop is to do; refuses it, by a LoopEndedError, when the loop has ended.

    A closed loop refuses, too. One that is about to be closed does not: what it takes then is never begun.
    """

    def put(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have a function called soon, in no context of the caller's."""

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have a coroutine run, and return the future of its result."""


class Background:
    """The loop that streams run on, for what a tool needs of it outside of a stream.

    Attributes:
        find: returns the loop, running; the runtime sets it.
        wait: runs a coroutine on that loop and returns its result, for other threads; the runtime sets it.
        gates: all loops that run streams, those of other managers, too.
    """

    def __init__(self) -> None:
        self.find: Callable[[], asyncio.AbstractEventLoop] = _no_loop
        self.wait: Callable[[Coroutine[Any, Any, Any]], Any] = _no_wait
        self.gates: dict[asyncio.AbstractEventLoop, Gate] = {}

    def here(self) -> asyncio.AbstractEventLoop:
        """Return the running loop if streams run on it, else the one that `find` returns."""
        running = running_loop()
        return running if running is not None and running in self.gates else self.find()

    def call(self, loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
        """Call a function on one of the loops soon.

        Raises:
            LoopEndedError: the loop has ended.
        """
        self._gate(loop).put(function, ())

    async def run(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on one of the loops, from another loop, and return its result.

        Raises:
            LoopEndedError: the loop has ended, be it meanwhile.
        """
        try:
            future = self._gate(loop).submit(coroutine)
        except LoopEndedError:
            coroutine.close()
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise LoopEndedError("The loop that this ran on has ended.") from None

    def _gate(self, loop: asyncio.AbstractEventLoop) -> Gate:
        gate = self.gates.get(loop)
        if gate is None:
            raise LoopEndedError("This loop has ended.")
        return gate


def _no_loop() -> asyncio.AbstractEventLoop:
    raise InternalError("There is no background loop.")


def _no_wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
    coroutine.close()
    raise InternalError("There is no background loop.")


background = Background()
