"""Where a tool runs: a thread, the kernel's loop, this loop, or an Executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.report import Report
from gemini_nb.tools.tool import Tool

__all__ = ["call_in_place"]

_LOOK = 0.02  # seconds between looks whether an Executor has begun; a future tells nobody


async def call_in_place(
    tool: Tool,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    *,
    kernel: KernelLoop,
    report: Report,
    begin: Callable[[], object],
) -> Any:
    """Call a tool where it wants to run, and return what it returned.

    Args:
        tool: the tool.
        positional: its arguments by position.
        named: its arguments by name.
        kernel: the loop that runs the person's cells, if there is one.
        report: told what the call waits for until it starts.
        begin: called on this loop when it starts.
    """
    if isinstance(tool.run_on, Executor):
        return await _on_executor(tool.run_on, tool, positional, named, report=report, begin=begin)

    def call() -> Any:
        return tool.function(*positional, **named)

    place = tool.run_on or ("kernel" if tool.is_async else "thread")
    if place == "kernel" and (loop := kernel.running()) is not None:
        report.wait_for("the kernel")
        home = asyncio.get_running_loop()
        return await kernel.run(_settled(call, lambda: home.call_soon_threadsafe(begin), kernel), loop)
    begin()
    if tool.is_async:
        return await call()
    result = await run_in_daemon_thread(call, name=f"gemini_nb-tool-{tool.name}")
    return await result if inspect.isawaitable(result) else result


async def _settled(call: Callable[[], Any], begin: Callable[[], object], kernel: KernelLoop) -> Any:
    begin()
    try:
        result = call()
        return await result if inspect.isawaitable(result) else result
    except (SystemExit, KeyboardInterrupt) as error:
        if kernel.is_pumped and isinstance(error, KeyboardInterrupt):
            raise
        # asyncio lets these two through, and they would end the kernel's loop.
        raise RuntimeError(f"the function raised {type(error).__name__}: {error}") from None


async def _on_executor(
    executor: Executor,
    tool: Tool,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    *,
    report: Report,
    begin: Callable[[], object],
) -> Any:
    future = _submit(executor, tool, positional, named)
    report.wait_for("its executor")
    waiting = asyncio.wrap_future(future)
    try:
        while not (future.running() or waiting.done()):
            await asyncio.wait([waiting], timeout=_LOOK)
    except asyncio.CancelledError:
        waiting.cancel()
        raise
    begin()
    if not _is_pool(executor, "process", "ProcessPoolExecutor"):
        return await waiting
    try:
        result, output = await waiting
    except Exception as error:
        report.write(getattr(error, "gemini_nb_output", ""))
        raise
    report.write(output)
    return result


def _submit(
    executor: Executor, tool: Tool, positional: Sequence[Any], named: Mapping[str, Any]
) -> concurrent.futures.Future[Any]:
    if _is_pool(executor, "thread", "ThreadPoolExecutor"):
        return executor.submit(contextvars.copy_context().run, tool.function, *positional, **named)
    if _is_pool(executor, "process", "ProcessPoolExecutor"):
        function = tool if isinstance(tool.__reduce__(), str) else tool.function
        return executor.submit(_in_process, function, positional, named)
    # Workers elsewhere may not have this package, so they get the bare function.
    return executor.submit(tool.function, *positional, **named)


def _is_pool(executor: object, module: str, name: str) -> bool:
    """Whether it is a pool of this kind; whoever has one has imported its module, nobody else pays for it."""
    found = sys.modules.get(f"concurrent.futures.{module}")
    return found is not None and isinstance(executor, getattr(found, name))


def _in_process(
    function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, str]:
    """Run in a worker process, one call at a time, and bring home what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            result = function(*positional, **named)
        except Exception as error:
            error.gemini_nb_output = said.getvalue()  # type: ignore[attr-defined]  # travels with the error
            raise
    return result, said.getvalue()
