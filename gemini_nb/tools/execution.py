"""Running one tool call, so that whatever happens the model gets an answer and the stream goes on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.secrets import scrub
from gemini_nb.tools.tool import Tool

__all__ = ["KernelLoop", "ToolFailedError", "run_tool", "to_json"]

KernelLoop = Callable[[], "asyncio.AbstractEventLoop | None"]


class ToolFailedError(Exception):
    """A tool gave no result; the message goes to the model."""


async def run_tool(tool: Tool, args: dict[str, Any], kernel_loop: KernelLoop) -> Any:
    """Run a tool and return its result as JSON.

    Args:
        tool: the tool.
        args: the arguments as the model wrote them.
        kernel_loop: finds the loop that runs the person's cells, if there is one.

    Raises:
        ToolFailedError: bad arguments, an exception in the tool, or its time was over.
    """
    try:
        positional, named = tool.signature.bind(args)
    except ValueError as error:
        raise ToolFailedError(str(error)) from None
    try:
        async with asyncio.timeout(tool.timeout) as limit:
            result = await _call(tool, positional, named, kernel_loop)
    except TimeoutError as error:
        if limit.expired():
            raise ToolFailedError(f"{tool.name} took longer than {tool.timeout:g} s") from None
        raise _failed(error) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ToolFailedError(f"{tool.name} was cancelled") from None
    except Exception as error:  # noqa: BLE001 - whatever a person's function raises
        raise _failed(error) from None
    return to_json(result)


def _failed(error: BaseException) -> ToolFailedError:
    return ToolFailedError(scrub(f"{type(error).__name__}: {error}"))


async def _call(tool: Tool, positional: list[Any], named: dict[str, Any], kernel_loop: KernelLoop) -> Any:
    def call() -> Any:
        return tool.function(*positional, **named)

    if isinstance(tool.run_on, Executor):
        return await asyncio.wrap_future(tool.run_on.submit(tool.function, *positional, **named))
    place = tool.run_on or ("kernel" if tool.is_async else "thread")
    loop = kernel_loop() if place == "kernel" else None
    if loop is not None:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_settled(call), loop))
    if tool.is_async:
        return await call()
    result = await run_in_daemon_thread(call, name=f"gemini_nb-tool-{tool.name}")
    return await result if inspect.isawaitable(result) else result


async def _settled(call: Callable[[], Any]) -> Any:
    result = call()
    return await result if isinstance(result, Coroutine) or inspect.isawaitable(result) else result


def to_json(value: Any) -> Any:
    """Return a tool's result as JSON; what JSON cannot say becomes text, never a crash."""
    import pydantic_core  # noqa: PLC0415 - comes with pydantic, which tools load

    item = getattr(value, "tolist", None)  # numpy's arrays and scalars
    if callable(item) and not isinstance(value, type):
        value = item()
    try:
        return pydantic_core.to_jsonable_python(
            value, serialize_unknown=True, inf_nan_mode="null", bytes_mode="base64"
        )
    except (ValueError, TypeError, RecursionError):
        return scrub(repr(value))
