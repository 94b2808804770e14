"""Daemon threads for blocking work that an event loop waits for.

`asyncio.to_thread` and the default executor are joined when the interpreter exits, so one tool that hangs,
or one token refresh behind a dead proxy, would hold a kernel's shutdown until it is killed. The threads made
here are daemons, one for each call: they are never joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_in_daemon_thread"]

T = TypeVar("T")


async def run_in_daemon_thread(function: Callable[..., T], *args: Any, name: str = "gemini_nb-worker") -> T:
    """Call `function(*args)` in a thread of its own and return its result.

    The caller's context variables are copied. Cancelling the awaiting task abandons the thread, since nothing
    can end a thread from outside: its result is thrown away.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # None only when T allows it
        elif isinstance(error, StopIteration) or not isinstance(error, Exception):
            # A future cannot hold the first, and a SystemExit would end the loop of all the other streams.
            future.set_exception(RuntimeError(f"the function raised {type(error).__name__}"))
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

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
