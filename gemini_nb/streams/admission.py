"""Who may run: a limit on the streams of each model, first come first served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gemini_nb.errors import ConfigError

if TYPE_CHECKING:
    from gemini_nb.streams.place import Gate
    from gemini_nb.streams.stream import Stream

__all__ = ["Admission"]


class Admission:
    """The places that a manager gives to its streams.

    Args:
        limit: streams of one model that run at a time, None for no limit.

    Raises:
        ConfigError: the limit leaves no place at all.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ConfigError(f"max_concurrent is at least 1, or None for no limit, not {limit!r}.")
        self.limit = limit
        # A semaphore belongs to the loop that it is used on, and a loop that died is replaced.
        self._places: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Semaphore] = {}

    @contextlib.asynccontextmanager
    async def enter(self, stream: Stream, gate: Gate | None) -> AsyncIterator[None]:
        """Wait for a place and keep it for the whole run.

        Args:
            stream: who wants it; says meanwhile what it waits for.
            gate: a limit of the caller's.
        """
        async with contextlib.AsyncExitStack() as stack:
            stream.record.wait_for("its turn")
            if gate is not None:  # the caller's first: what waits for that must not take up a place here
                await stack.enter_async_context(gate())
            if self.limit is not None:
                key = (asyncio.get_running_loop(), stream.model)
                places = self._places.setdefault(key, asyncio.Semaphore(self.limit))
                await places.acquire()
                stack.callback(places.release)
            stream.record.go_on()
            yield
