"""The background loop: one daemon thread with one asyncio loop, where everything that streams lives.

On the kernel's own loop a stream stands still while a cell computes, and a blocked cell would block itself.
A daemon thread goes on, does not hold up the interpreter's exit, and is replaced should it ever die.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gemini_nb.errors import ConfigError, GeminiError, Interrupted, without_traceback
from gemini_nb.redaction import scrub, scrub_error
from gemini_nb.tools.kernel import LoopEndedError, background
from gemini_nb.tools.output import leave_target, targeting


class Flag:
    """Set once, by any thread."""

    __slots__ = ("_is_set", "_tokens")

    def __init__(self) -> None:
        self._is_set = False
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it and wake the threads that wait. Never blocks."""
        self._is_set = True
        self._tokens.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, or so many seconds; returns whether it is set."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._tokens.get(timeout=max(0.0, timeout))
                self._tokens.put(None)  # for the next one who waits
        return self._is_set


T = TypeVar("T")
logger = logging.getLogger("gemini_nb")

_GIVEN_UP = "the request was given up; the service may have carried it out all the same."
_PATIENCE = 1.0  # seconds that a task may take to hear of its cancellation when the loop ends


class _Calls:
    """What other threads want a loop to call.

    To wake a loop takes a system call and a switch of threads, as much as a whole request. So calls that wait
    share one wake-up. A loop that ends takes what was put before, the next one what comes after: a task that
    began in its last turns would never end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.has_ended = False
        self._lock = threading.RLock()  # a finalizer may run, and put a call, in the middle of `put`
        self._waiting: collections.deque[tuple[Callable[..., object], tuple[Any, ...]]] = collections.deque()
        self._is_woken = False

    def put(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Have a function called soon.

        Raises:
            LoopEndedError: the loop has ended.
        """
        with self._lock:
            self._check()
            self._waiting.append((function, args))
            if self._is_woken:
                return
            try:
                self._is_woken = True
                self.loop.call_soon_threadsafe(self._take, context=contextvars.Context())
            except BaseException:  # an interrupt, too: the next call must wake the loop
                self._is_woken = False
                raise

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Have a coroutine run, and return the future of its result.

        Raises:
            LoopEndedError: the loop has ended.
        """
        with self._lock:
            self._check()
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def end(self) -> None:
        """Take no more."""
        with self._lock:
            self.has_ended = True

    def _check(self) -> None:
        if self.has_ended:
            raise LoopEndedError("This loop has ended.")

    def _take(self) -> None:
        self._is_woken = False  # first: what is added from now on wakes the loop again
        calls = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for function, args in calls[1:]:
            self.loop.call_soon(function, *args, context=contextvars.Context())
        for function, args in calls[:1]:  # at once: a call that comes alone needs no further turn of the loop
            function(*args)


class BackgroundLoop:
    """An asyncio loop in a daemon thread, started by its first use.

    Args:
        name: the thread's name.
        on_death: called on the dying thread if the loop ends without `close`.
        cleanup: runs on the loop when it ends, either way, after its tasks were cancelled.
    """

    def __init__(
        self,
        name: str,
        on_death: Callable[[], object],
        cleanup: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._name = name
        self._on_death = on_death
        self._cleanup = cleanup
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._calls: _Calls  # made with the loop
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread."""
        return threading.current_thread() is self._thread

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running; started, or replaced after a death, where necessary.

        Raises:
            ConfigError: it was closed.
        """
        loop = self._loop
        if loop is not None and self.is_alive and not self._closed:
            return loop
        with self._lock:
            if self._closed:
                raise _shut_down()
            if self._loop is None or not self.is_alive:
                self._loop = self._start()
            return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_log_exception)
        calls, started = _Calls(loop), threading.Event()
        thread = threading.Thread(target=self._run, args=(calls, started), name=self._name, daemon=True)
        try:
            with targeting(None):
                thread.start()
        except RuntimeError:  # the system has no more threads, or the interpreter is ending
            loop.close()
            raise
        self._thread = thread
        self._calls = calls
        started.wait()
        return loop

    def _run(self, calls: _Calls, started: threading.Event) -> None:
        loop = calls.loop
        background.gates[loop] = calls
        loop.call_soon(started.set)
        try:
            loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - whatever it was, the streams must hear of it
            logger.error("the background loop died: %s", scrub_error(error))  # noqa: TRY400 - its frames may show a request
        with self._lock:
            died = self._loop is loop and not self._closed
            if self._loop is loop:
                self._loop = None
        calls.end()
        try:
            if died:
                self._on_death()
            loop.run_until_complete(_drain(self._cleanup))
        except BaseException as error:  # noqa: BLE001 - a task that raises SystemExit again
            logger.warning("the background loop ended badly: %s", scrub_error(error))
        finally:
            background.gates.pop(loop, None)
            loop.close()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop's thread soon; at once when already there. Dropped after `close`."""
        if self.is_current:
            with targeting(None):
                function(*args)
            return
        with contextlib.suppress(ConfigError):
            self._schedule(function, *args)

    def _schedule(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop's thread soon."""
        self._hand_over(lambda calls: calls.put(function, args))

    def _hand_over(self, give: Callable[[_Calls], T]) -> T:
        """Give something to the running loop, or to the next one if that ends at this moment."""
        while True:
            _ = self.loop  # it runs
            calls = self._calls
            try:
                return give(calls)
            except RuntimeError:
                if not calls.has_ended:
                    raise

    def spawn(self, function: Callable[[], Coroutine[Any, Any, None]], context: contextvars.Context) -> None:
        """Run a coroutine function as a task of its own, in this context. It must not raise.

        The context keeps no target of output: a stream that a tool starts is not a part of that tool.

        Raises:
            ConfigError: the loop was closed.
        """
        context.run(leave_target)

        def start() -> None:
            task = asyncio.get_running_loop().create_task(function(), context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._schedule(start)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine and return the future of its result.

        Raises:
            ConfigError: the loop was closed.
        """
        try:
            return self._hand_over(lambda calls: calls.submit(coroutine))
        except BaseException:
            with contextlib.suppress(ValueError):  # an interrupt came when it ran already
                coroutine.close()  # else Python complains that nothing awaited it
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result; Ctrl-C cancels it.

        Its errors come without the frames of the loop, which hold the requests' headers.

        Raises:
            ConfigError: the loop was closed, be it meanwhile.
            Interrupted: the wait was interrupted.
        """
        future = None
        try:
            future = self.submit(coroutine)
            return future.result()
        except GeminiError as error:
            failure: GeminiError = without_traceback(error)
        except concurrent.futures.CancelledError:
            if not self._closed:
                raise
            failure = _shut_down()
        except BaseException as error:
            if future is not None:
                future.cancel()
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(_GIVEN_UP) from None
            raise
        raise failure

    def join(self, timeout: float) -> None:
        """Wait for the end of a thread that ends by itself."""
        if (thread := self._thread) is not None:
            thread.join(timeout)

    def close(self, timeout: float) -> None:
        """Cancel every task, end the thread and close the loop, for good. Not from the loop's own thread.

        Closing twice is fine, and does what an interrupt left undone.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            self._closed = True
        if thread is None or not thread.is_alive():
            return
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it died in between
                loop.call_soon_threadsafe(_stop, self._calls)
        thread.join(timeout)


def _stop(calls: _Calls) -> None:
    """Stop a loop that runs; one that cleans up already ends by itself, and would be kept from it."""
    if not calls.has_ended:
        calls.loop.stop()


def _shut_down() -> ConfigError:
    return ConfigError(
        "This manager was shut down.",
        hint="gemini_nb.get_manager() makes a new one; magics do that by themselves.",
    )


async def _drain(cleanup: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
    """Let every task of a stopped loop hear of its cancellation and clean up."""
    await asyncio.sleep(0)  # what was scheduled before the end begins, so that it can be cancelled
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        if loop.time() >= deadline:
            for task in tasks:  # they are left on purpose: nothing is to be said once they are collected
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio does
            break
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=max(0.0, deadline - loop.time()))
    if cleanup is not None:
        await cleanup()
    await asyncio.sleep(0)  # closed connections hear of it in the next round
    await loop.shutdown_asyncgens()


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    detail = f"{type(error).__name__}: {error}" if error is not None else ""
    logger.warning("%s", scrub(f"{context.get('message', 'error on the background loop')} {detail}").strip())
