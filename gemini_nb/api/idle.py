"""A timeout on silence that costs nothing per chunk.

`asyncio.timeout` around every read, or a timer moved at every chunk, is work for each of thousands of chunks.
Here one timer is armed; a chunk only notes the time, and the timer looks at the note when it goes off. It
acts on nothing but the wait that it guards, since the reader of an async generator may be suspended
elsewhere, in code that is none of its business. All waits are one task's.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gemini_nb.errors import IdleTimeoutError

__all__ = ["IdleTimeout", "on_connected"]

T = TypeVar("T")

on_connected: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar(
    "gemini_nb_on_connected", default=None
)
"""Called by the transport when a connection stands and the answer is what is waited for."""


class IdleTimeout:
    """Guards the awaits of one reader against a peer that says nothing.

    Args:
        seconds: how long one wait may take; change it at any time through the attribute of this name.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._since: float | None = None
        self._expired = False
        self._timer = self._loop.call_later(seconds, self._check)

    @property
    def seconds(self) -> float:
        """How long one wait may take."""
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        shorter = seconds < self._seconds
        self._seconds = seconds
        if shorter:
            # The armed timer would look at the note too late.
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._check)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something of the peer's.

        Raises:
            IdleTimeoutError: it took longer than `seconds`.
        """
        self._since = self._loop.time()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._expired and self._task is not None and self._task.uncancel() == 0:
                raise IdleTimeoutError(
                    f"The server sent nothing for {self._seconds:g} s.",
                    hint="It may be overloaded, or the connection is dead. A longer `timeout` waits longer.",
                ) from None
            raise
        finally:
            self._since = None

    def begin(self, seconds: float) -> None:
        """Count anew, in the middle of a wait: its first part is over, and its second may take so long."""
        self._since = self._loop.time()
        self.seconds = seconds

    def close(self) -> None:
        """Disarm the timer."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        start = now if self._since is None else self._since
        if self._since is not None and self._task is not None and now >= start + self._seconds:
            self._expired = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(start + self._seconds, self._check)
