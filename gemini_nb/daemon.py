"""Daemon threads for blocking work that an event loop waits for.

`asyncio.to_thread` and the default executor are joined when the interpreter exits, so one tool that hangs,
or one token refresh behind a dead proxy, would hold a kernel's shutdown until it is killed. The threads made
here are daemons, one for each call or one for a queue of them: they are never joined.

What takes long to import is imported in a thread, too. A child that is forked in the middle of that has the
module's lock, held by a thread that is not there, so that its own import of the module would never end.
Therefore a fork waits for these imports.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

T = TypeVar("T")

_FORK = 3.0  # seconds that a fork waits for imports; a lock of the journal is held meanwhile

# Both survive a reload of this module.
_imports: dict[threading.Event, int] = globals().get("_imports", {})
"""What is set at the end of each import that goes on, with its thread."""
_is_registered: bool = globals().get("_is_registered", False)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Make forks in other threads wait for the imports within this context."""
    done = threading.Event()
    _imports[done] = threading.get_ident()
    try:
        yield
    finally:
        _imports.pop(done, None)
        done.set()


def _before_fork() -> None:
    deadline, here = time.monotonic() + _FORK, threading.get_ident()
    while others := [done for done, thread in list(_imports.items()) if thread != here]:
        if not others[0].wait(max(0.0, deadline - time.monotonic())):
            return


if hasattr(os, "register_at_fork") and not _is_registered:
    _is_registered = True
    os.register_at_fork(before=_before_fork, after_in_child=_imports.clear)


async def run_in_daemon_thread(function: Callable[..., T], *args: Any, name: str = "gemini_nb-worker") -> T:
    """Call `function(*args)` in a thread of its own and return its result.

    The caller's context variables are copied. Cancelling the awaiting task abandons the thread, since nothing
    can end a thread from outside: its result is thrown away.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    threading.Thread(target=_call_for(future, function, *args), name=name, daemon=True).start()
    return await future


class DaemonQueue:
    """Calls functions one after the other in a daemon thread, which ends when none is left.

    To start a thread for each of ten thousand short calls takes longer than the calls, and keeps the loop
    waiting each time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: collections.deque[tuple[asyncio.Future[Any], Callable[[], None]]] = collections.deque()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function(*args)` after those before it; one whose awaiting task is cancelled is left out."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._calls.append((future, _call_for(future, function, *args)))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        return await future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return
                future, call = self._calls.popleft()
            if not future.cancelled():
                call()


def _call_for(future: asyncio.Future[T], function: Callable[..., T], *args: Any) -> Callable[[], None]:
    """Return what calls the function on another thread, and gives its result to the future on its loop."""
    loop, context = future.get_loop(), contextvars.copy_context()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast("T", result))  # None only when T allows it
        elif isinstance(error, StopIteration) or not isinstance(error, Exception):
            # A future cannot hold the first, and a SystemExit would end the loop of all the other streams.
            words = f"the function raised {type(error).__name__}"
            with contextlib.suppress(Exception):  # the user's own words for it
                words += f": {error}" if str(error) else ""
            future.set_exception(RuntimeError(words))
        else:
            future.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args)
        except BaseException as caught:  # noqa: BLE001 - it belongs to the awaiting task, SystemExit too
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop was closed, nothing waits for it any more
            loop.call_soon_threadsafe(finish, result, error)

    return run
