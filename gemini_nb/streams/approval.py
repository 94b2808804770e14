"""A person's answer to whether a tool may run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib

__all__ = ["Approval"]


class Approval:
    """A question that is answered once, from any thread; a later answer changes nothing."""

    def __init__(self) -> None:
        self._denial: concurrent.futures.Future[str | None] = concurrent.futures.Future()
        # Running, so that the end of the stream cannot cancel it under somebody who answers just then.
        self._denial.set_running_or_notify_cancel()

    def approve(self) -> None:
        """Let it run."""
        self._answer(None)

    def deny(self, reason: str) -> None:
        """Do not let it run; the reason is told to the model."""
        self._answer(reason)

    def _answer(self, denial: str | None) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._denial.set_result(denial)

    async def denial(self) -> str | None:
        """Wait for the answer: None to let it run, or the reason why not."""
        return await asyncio.wrap_future(self._denial)
