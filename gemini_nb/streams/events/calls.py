"""A tool call: what the model asked for, and what became of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import time
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.api.wire import Part, duplicate
from gemini_nb.errors import ConfigError
from gemini_nb.streams.events.states import TOOL_STATUSES, ToolStatus, advance
from gemini_nb.tools.report import Work
from gemini_nb.tools.shown import Shown


class Approval:
    """A question that is answered once, from any thread; a later answer changes nothing."""

    def __init__(self) -> None:
        self._denial: concurrent.futures.Future[str | None] = concurrent.futures.Future()
        # Running, so that the end of the stream cannot cancel it under a user who answers just then.
        self._denial.set_running_or_notify_cancel()

    def approve(self) -> None:
        """Let it run."""
        self._answer(None)

    def deny(self, reason: str) -> None:
        """Do not let it run; the model gets the reason."""
        self._answer(reason)

    def _answer(self, denial: str | None) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self._denial.set_result(denial)

    async def denial(self) -> str | None:
        """Wait for the answer: None to let it run, or the reason why not."""
        return await asyncio.wrap_future(self._denial)


# Tab does not offer these.
_INTERNAL = {"advance", "approval", "finish", "index", "note", "snapshot", "start", "work"}


@dataclass(slots=True, kw_only=True)
class ToolCall:
    """One call of one tool.

    Attributes:
        id: the model's id of the call, None where it gave none.
        name: the tool's name.
        args: the arguments as the model wrote them.
        status: "pending", "awaiting_approval", "running", "done", "failed" or "cancelled".
        result: what the tool returned, as it was sent to the model.
        parts: the images and files it returned, which `result` refers to by their display names.
        error: why there is no result.
        output: what it printed and logged, as a terminal shows it. Of more than 20,000 characters the last
            ones, under a line that says how many went before.
        shown: what it displayed beside text, and the table that it returned.
        progress: the progress that it reported, from 0 to 1; None where it reported none.
        progress_text: what it reported to be doing.
        waits_for: what keeps it from starting, such as "the kernel" while a cell computes.
        turn: the model call that asked for it, from 1.
        started_at: when it began to run, in seconds since the epoch.
        ended_at: when it ended.
    """

    id: str | None
    name: str
    args: dict[str, Any]
    status: ToolStatus = ToolStatus.PENDING
    result: Any = None
    parts: tuple[Part, ...] = field(default=(), repr=False)
    error: str | None = None
    output: str = ""
    shown: tuple[Shown, ...] = ()
    progress: float | None = None
    progress_text: str = ""
    waits_for: str | None = None
    turn: int = 1
    started_at: float | None = None
    ended_at: float | None = None
    index: int = field(default=0, repr=False)
    work: Work | None = field(default=None, repr=False, compare=False)
    approval: Approval | None = field(default=None, repr=False, compare=False)

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name not in _INTERNAL]

    @property
    def duration(self) -> float | None:
        """Seconds it ran, None while it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at

    @property
    def still_running(self) -> bool:
        """Whether its function goes on in a thread, which nothing can end, though the call has ended."""
        return self.ended_at is not None and self.work is not None and self.work.is_going

    def approve(self) -> None:
        """Let a call that awaits approval run. From any thread; the first answer counts.

        Raises:
            ConfigError: it does not wait for approval.
        """
        self._asked().approve()

    def deny(self, reason: str = "") -> None:
        """Do not let a call that awaits approval run; the stream goes on and the model gets the reason.

        Raises:
            ConfigError: it does not wait for approval.
        """
        self._asked().deny(reason)

    def _asked(self) -> Approval:
        if self.approval is None:
            raise ConfigError(
                f"{self.name} does not await approval.", hint="gemini_nb.tool(f, confirm=True) makes it ask."
            )
        return self.approval

    def advance(self, status: ToolStatus) -> None:
        """Go on to another status."""
        self.status = advance(TOOL_STATUSES, self.status, status)

    def start(self) -> None:
        """Begin to run."""
        self.advance(ToolStatus.RUNNING)
        self.started_at = time.time()

    def finish(self, status: ToolStatus, *, result: Any, parts: tuple[Part, ...], error: str | None) -> None:
        """End, with what came of it."""
        self.advance(status)
        self.ended_at = time.time()
        self.result, self.parts, self.error = result, parts, error

    def note(
        self,
        *,
        output: str,
        shown: tuple[Shown, ...],
        progress: float | None,
        progress_text: str,
        waits_for: str | None,
    ) -> bool:
        """Take what the running tool says; returns whether any of it is new."""
        said = (output, shown, progress, progress_text, waits_for)
        if said == (self.output, self.shown, self.progress, self.progress_text, self.waits_for):
            return False
        if self.waits_for is not None and waits_for is None:
            self.started_at = time.time()
        self.output, self.shown, self.progress, self.progress_text, self.waits_for = said
        return True

    def snapshot(self) -> ToolCall:
        """Return a copy that does not change any more."""
        made = copy.copy(self)
        made.args = duplicate(self.args)
        return made
