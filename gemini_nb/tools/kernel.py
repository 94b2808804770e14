"""The loop that runs the user's cells, and the tools that run on it.

An async tool belongs there: that is where the user's sessions and pools were made. While a cell blocks that
loop in a wait for the very stream the tool belongs to, neither would ever go on, so the wait has to know that
there is work.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gemini_nb.errors import InternalError

__all__ = ["Background", "KernelLoop", "background", "running_loop"]

T = TypeVar("T")


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
        """Run a coroutine on the loop and return its result. Only from one other loop."""
        self._working += 1
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
        finally:
            self._working -= 1


class Background:
    """The loop that streams run on, for what a tool needs of it outside of a stream.

    Attributes:
        find: returns the loop, running; the runtime sets it.
        loops: all loops that run streams, those of other managers, too.
    """

    def __init__(self) -> None:
        self.find: Callable[[], asyncio.AbstractEventLoop] = _no_loop
        self.loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def here(self) -> asyncio.AbstractEventLoop:
        """Return the running loop if streams run on it, else the one that `find` returns."""
        running = running_loop()
        return running if running is not None and running in self.loops else self.find()


def _no_loop() -> asyncio.AbstractEventLoop:
    raise InternalError("There is no background loop.")


background = Background()
