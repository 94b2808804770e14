"""Keeping the kernel's loop going inside a call that blocks it.

`stream.result()` in a cell blocks the kernel's loop, and an async tool of that stream waits for the same
loop: neither ends. nest_asyncio lets a running loop be run again from inside, but it patches asyncio for the
whole process, and under newer ipykernels a nested run loses the messages of queued cells: all cells share
one context, which cannot be entered twice. So it is applied when a tool really waits, and handles that could
not run are kept and run afterwards.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections import deque
from collections.abc import Callable
from typing import Any

_TURN = 0.01


def pump(loop: asyncio.AbstractEventLoop, until: Callable[[], bool]) -> None:
    """Run a loop that is already running further up in this thread, until the condition holds.

    Args:
        loop: this thread's running loop.
        until: looked at a hundred times a second.
    """
    _nest().apply(loop)
    inner: Any = loop
    queue: deque[asyncio.Handle] = inner._ready  # noqa: SLF001 - see below
    counted = len(queue)
    task = loop.create_task(_turn(until))
    deferred: list[asyncio.Handle] = []
    handle_error = loop.call_exception_handler

    def keep_queued_cells(context: dict[str, Any]) -> None:
        error, handle = context.get("exception"), context.get("handle")
        if isinstance(error, RuntimeError) and "cannot enter context" in str(error) and handle is not None:
            deferred.append(handle)
        else:
            handle_error(context)

    # An exception handler would itself run in the entered context; only the method sees it before.
    inner.call_exception_handler = keep_queued_cells
    try:
        loop.run_until_complete(task)
    finally:
        del inner.call_exception_handler
        task.cancel()
        for handle in deferred:
            loop.call_soon(handle._run)  # noqa: SLF001 - it was taken off the queue without having run
        # A loop that was not patched before counted its queue at the beginning of its turn, and takes as many
        # handles now: what has run in here would be missing there, an IndexError that ends the kernel.
        for _ in range(counted - len(queue)):
            loop.call_soon(_nothing)


def _nothing() -> None:
    """Stand in for what has run already."""


async def _turn(until: Callable[[], bool]) -> None:
    while not until():  # noqa: ASYNC110 - the condition is set on another thread, without an event
        await asyncio.sleep(_TURN)


def _nest() -> Any:
    """nest_asyncio2 where it is installed and nothing else has patched asyncio; alone on Python 3.14."""
    patched = hasattr(asyncio, "_nest_patched") and not hasattr(asyncio, "_nest_asyncio2")
    newer = importlib.util.find_spec("nest_asyncio2") is not None
    return importlib.import_module("nest_asyncio2" if newer and not patched else "nest_asyncio")
