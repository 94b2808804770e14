"""The background loop: one daemon thread with one asyncio loop, where everything that streams lives.

On the kernel's own loop a stream stands still while a cell computes, and a blocked cell would block itself.
A daemon thread goes on, does not hold up the interpreter's exit, and is replaced should it ever die.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gemini_nb.secrets import scrub

__all__ = ["BackgroundLoop"]

T = TypeVar("T")
logger = logging.getLogger("gemini_nb")


class BackgroundLoop:
    """An asyncio loop in a daemon thread, started by its first use.

    Args:
        name: the thread's name.
        on_death: called on the dying thread if the loop ends without `close`.
    """

    def __init__(self, name: str, on_death: Callable[[], object]) -> None:
        self._name = name
        self._on_death = on_death
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
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
        """The loop, running; started, or replaced after a death, where necessary."""
        loop = self._loop
        if loop is not None and self.is_alive:
            return loop
        with self._lock:
            if self._loop is None or not self.is_alive:
                self._start()
            assert self._loop is not None  # noqa: S101 - _start made it
            return self._loop

    def _start(self) -> None:
        self._closing = False
        self._tasks = set()
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_log_exception)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(loop, started), name=self._name, daemon=True)
        self._thread.start()
        started.wait()
        self._loop = loop

    def _run(self, loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        loop.call_soon(started.set)
        try:
            loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - whatever it was, the streams must hear of it
            logger.error("the background loop died: %s", scrub(f"{type(error).__name__}: {error}"))  # noqa: TRY400 - its frames may show a request
        finally:
            if not self._closing:
                self._loop = None
                self._on_death()
            _drain(loop)
            loop.close()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop's thread soon; at once when already there."""
        if self.is_current:
            function(*args)
        else:
            self.loop.call_soon_threadsafe(function, *args)

    def spawn(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        """Run a coroutine as a task of its own, in this context. It must not raise."""

        def start() -> None:
            task = asyncio.get_running_loop().create_task(coroutine, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.loop.call_soon_threadsafe(start)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine and return the future of its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self, timeout: float) -> None:
        """Cancel every task, end the thread and close the loop. Not from the loop's own thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._closing = True
            self._loop = None
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Let every task of a stopped loop hear of its cancellation and clean up."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    detail = f"{type(error).__name__}: {error}" if error is not None else ""
    logger.warning("%s", scrub(f"{context.get('message', 'error on the background loop')} {detail}").strip())
