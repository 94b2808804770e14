"""The end of a stream, and every way to wait for it: on a thread, on any event loop, for many at once.

Three waits could never end, and are refused at once: on the thread that would have to end them, inside a tool
whose own stream must end first, and in a forked child, which has the stream but not the thread it runs on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini_nb.config import seconds_to_wait
from gemini_nb.errors import BlockingCallError, Interrupted
from gemini_nb.streams.runtime.loop import Flag
from gemini_nb.streams.runtime.readers import sleep_until_set, waker

if TYPE_CHECKING:
    from gemini_nb.streams.events.record import StreamRecord
    from gemini_nb.streams.runtime.runtime import Runtime


class StreamInterrupted(Interrupted):
    """A wait for streams was interrupted."""


def interrupting(
    names: Sequence[str], had_ended: int, *, stopped: bool = True, unasked: int = 0
) -> StreamInterrupted:
    """Make the error of an interrupted wait.

    Args:
        names: what the streams that were waited for are called, `trip · s1` or an id alone.
        had_ended: how many of them had ended before.
        stopped: whether the others were stopped; else they go on.
        unasked: how many rows there are beside them, whose turn had not come.
    """
    if not names:
        return StreamInterrupted("nothing had been asked.")
    first, rest = names[0], len(names) - had_ended
    if len(names) == 1 and not unasked:
        what = (
            f"{first} had ended" if had_ended else f"{first} was stopped" if stopped else f"{first} goes on"
        )
    else:
        word = "stopped" if stopped else "go on" if rest != 1 else "goes on"
        what = f"{rest} {word}" + (f", {had_ended} had ended" if had_ended else "")
        what += f", {unasked:,} were not asked" if unasked else ""
    if not stopped and rest:
        return StreamInterrupted(f"{what}; %gemini_stop stops what runs.")
    return StreamInterrupted(f"{what}; %gemini_show {first.split()[-1]} shows what came.")


def mark_cancelled(error: BaseException, shown: StreamInterrupted) -> None:
    """Let IPython show a cancellation, which is what an interrupt is to a coroutine, as that one line."""
    error._render_traceback_ = shown._render_traceback_  # type: ignore[attr-defined]  # IPython's


@dataclass(slots=True, eq=False)
class _Tool:
    """A tool call that runs.

    Attributes:
        record: its stream.
        lend: gives the stream's place to others; from any thread.
        is_over: whether it has ended; threads that it left behind may wait for its stream.
    """

    record: StreamRecord
    lend: Callable[[], object]
    is_over: bool = False


_tool: contextvars.ContextVar[_Tool | None] = contextvars.ContextVar("gemini_nb_tool", default=None)


@contextlib.contextmanager
def in_tool_of(record: StreamRecord, lend: Callable[[], object]) -> Iterator[None]:
    """Treat what runs within this context, in threads and tasks too, as a tool of this stream.

    Args:
        record: the stream.
        lend: gives the stream's place to others while the tool waits for one of them; from any thread.
    """
    tool = _Tool(record, lend)
    token = _tool.set(tool)
    try:
        yield
    finally:
        tool.is_over = True
        _tool.reset(token)


def waiting_for(record: StreamRecord) -> contextlib.AbstractContextManager[None]:
    """Wait for a stream within this context; a tool that waits lends its own stream's place meanwhile.

    Raises:
        BlockingCallError: the stream waits, over others too, for the tool's own.
    """
    return contextlib.nullcontext() if record.is_done else waiting_for_rows([record])


@contextlib.contextmanager
def waiting_for_rows(records: Iterable[StreamRecord]) -> Iterator[None]:
    """Wait for one of several, as `waiting_for` does, of which none may be there yet.

    Raises:
        BlockingCallError: one of them waits, over others too, for the tool's own stream.
    """
    tool = _tool.get()
    if tool is None or tool.is_over:
        yield
        return
    own, waits = tool.record.waits_on, [record for record in records if not record.is_done]
    own.append(waits)  # before the look, so that of two that begin to wait for each other one sees it
    try:
        if _leads_to(waits, tool.record):
            record = next((one for one in waits if _leads_to([one], tool.record)), waits[0])
            raise BlockingCallError(
                "A tool that waits for the end of its own stream would never end."
                if record is tool.record
                else f"{record.label} waits for {tool.record.label}, whose tool would wait for it: "
                "neither would ever end.",
                hint="Return from the tool, and wait outside of it.",
            )
        tool.lend()
        yield
    finally:
        own.remove(waits)


def _leads_to(starts: Iterable[StreamRecord], goal: StreamRecord) -> bool:
    seen: set[StreamRecord] = set()
    left = list(starts)
    while left:
        record = left.pop()
        if record is goal:
            return True
        if record not in seen and not record.is_done:
            seen.add(record)
            left += itertools.chain.from_iterable(tuple(record.waits_on))
    return False


class Ending:
    """The end of one stream, known once.

    Args:
        record: the stream's state.
        runtime: knows how to wait.
    """

    def __init__(self, record: StreamRecord, runtime: Runtime) -> None:
        self._record = record
        self._runtime = runtime
        self._pid = os.getpid()
        self._reached = Flag()
        self._wakers: list[Callable[[], object]] = []
        if record.is_done and record.log.closed:
            self._reached.set()
        else:
            record.log.attach(self)

    def notify(self) -> None:
        """Note that the log has a new event. Loop thread only."""
        if self._record.log.closed and not self._reached.is_set():
            self._record.log.detach(self)
            self._reached.set()
            while self._wakers:
                self._wakers.pop(0)()

    def check_may_wait(self) -> None:
        """Refuse a wait that could never end.

        Raises:
            BlockingCallError: the caller is in a forked child.
        """
        if os.getpid() != self._pid and not self._reached.is_set():
            raise BlockingCallError(
                f"{self._record.label} runs in the process that this one was forked from.",
                hint="Wait for it there, or start a stream here.",
            )

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait within this context for more of the stream, as `waiting_for` does.

        Raises:
            BlockingCallError: the wait could never end.
            StreamInterrupted: the wait was interrupted; a coroutine sees this as its cancellation.
        """
        self.check_may_wait()
        try:
            with waiting_for(self._record):
                yield
        except KeyboardInterrupt:
            raise self._goes_on() from None
        except asyncio.CancelledError as error:
            mark_cancelled(error, self._goes_on())
            raise

    def _goes_on(self) -> StreamInterrupted:
        return interrupting([self._record.label], int(self._record.is_done), stopped=False)

    def wait(self, timeout: float | None) -> None:
        """Wait on one of the user's threads.

        Raises:
            TimeoutError: it has not ended in time.
            ConfigError: the time is no number.
            BlockingCallError: the wait could never end.
            StreamInterrupted: the wait was interrupted; the stream goes on.
        """
        self._runtime.check_may_block()
        timeout = seconds_to_wait(timeout)
        if not self._reached.is_set():
            try:
                with self.waiting():
                    self._runtime.block_on(self._reached, timeout)
            except TimeoutError:
                raise TimeoutError(f"{self._record.label} has not ended after {timeout:g} s.") from None

    async def wait_async(self) -> None:
        """Wait on the running loop, whichever it is."""
        ready = asyncio.Event()
        self._wakers.append(waker(ready))
        with waiting_for(self._record):
            while not self._reached.is_set():
                ready.clear()
                await sleep_until_set(ready)

    def call_when_reached(self, function: Callable[[], object]) -> None:
        """Call this, on some thread, when the stream has ended; it may be called twice."""
        if not self._reached.is_set():
            self._wakers.append(function)
        if self._reached.is_set():
            function()

    def wait_until(self, deadline: float) -> None:
        """Wait until this time of `time.monotonic` at most, but never on the thread that ends it."""
        if not self._runtime.loop.is_current:
            self._reached.wait(deadline - time.monotonic())
