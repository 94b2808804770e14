"""The place that a stream holds while it runs, and lends while one of its tools waits for another stream.

With one place for all streams, a tool that starts a stream and waits for it would wait for ever: its own
stream holds the place that the other one needs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Self

__all__ = ["Gate", "Place"]

Gate = Callable[[], AbstractAsyncContextManager[object]]


class Place:
    """What a gate gives to one stream. Loop thread only.

    Args:
        gate: gives the place when entered, and takes it back when left.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._held = contextlib.AsyncExitStack()
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._held.enter_async_context(self.gate())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._leaving is not None:
            await self._leaving
        await self._held.aclose()

    def lend(self) -> None:
        """Give it to the others until it is regained."""
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._held.aclose())

    async def regain(self) -> None:
        """Wait for a place again, where it was lent."""
        if self._leaving is not None:
            await self._leaving
            await self._held.enter_async_context(self.gate())
            self._leaving = None
