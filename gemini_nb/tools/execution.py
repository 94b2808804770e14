"""Running one tool call, so that whatever happens the model gets an answer and the stream goes on."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.secrets import scrub
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.tool import Tool

__all__ = ["ToolFailedError", "check_with", "run_tool", "to_json"]


class ToolFailedError(Exception):
    """A tool gave no result; the message goes to the model."""


async def run_tool(tool: Tool, args: dict[str, Any], kernel: KernelLoop) -> Any:
    """Run a tool and return its result as JSON.

    Args:
        tool: the tool.
        args: the arguments as the model wrote them.
        kernel: the loop that runs the person's cells, if there is one.

    Raises:
        ToolFailedError: bad arguments, an exception in the tool, or its time was over.
    """
    try:
        positional, named = tool.signature.bind(args)
    except ValueError as error:
        raise ToolFailedError(str(error)) from None
    try:
        async with asyncio.timeout(tool.timeout) as limit:
            result = await _call(tool, positional, named, kernel)
    except TimeoutError as error:
        if limit.expired():
            raise ToolFailedError(f"{tool.name} took longer than {tool.timeout:g} s") from None
        raise _failed(error) from None
    except ToolFailedError:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ToolFailedError(f"{tool.name} was cancelled") from None
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a tool, too, must not end the loop
        raise _failed(error) from None
    return to_json(result)


async def check_with(confirm: Callable[..., Any], call: object) -> bool:
    """Ask a tool's own confirm function, in a thread.

    Raises:
        ToolFailedError: it raised, which is no approval.
    """
    try:
        return bool(await run_in_daemon_thread(confirm, call, name="gemini_nb-confirm"))
    except Exception as error:  # noqa: BLE001 - whatever a person's function raises
        raise _failed(error) from None


def _failed(error: BaseException) -> ToolFailedError:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ fails
        text = "(no message)"
    return ToolFailedError(scrub(f"{type(error).__name__}: {text}"))


async def _call(tool: Tool, positional: list[Any], named: dict[str, Any], kernel: KernelLoop) -> Any:
    def call() -> Any:
        return tool.function(*positional, **named)

    if isinstance(tool.run_on, Executor):
        return await asyncio.wrap_future(tool.run_on.submit(tool.function, *positional, **named))
    place = tool.run_on or ("kernel" if tool.is_async else "thread")
    loop = kernel.running() if place == "kernel" else None
    if loop is not None:
        return await kernel.run(_settled(call), loop)
    if tool.is_async:
        return await call()
    result = await run_in_daemon_thread(call, name=f"gemini_nb-tool-{tool.name}")
    return await result if inspect.isawaitable(result) else result


async def _settled(call: Callable[[], Any]) -> Any:
    try:
        result = call()
        return await result if inspect.isawaitable(result) else result
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio lets these two through, and they would end the kernel's loop.
        raise _failed(error) from None


def to_json(value: Any) -> Any:
    """Return a tool's result as JSON; what JSON cannot say becomes text, never a crash."""
    import pydantic_core  # noqa: PLC0415 - comes with pydantic, which tools load

    try:
        made = pydantic_core.to_jsonable_python(
            value, fallback=_plain, inf_nan_mode="null", bytes_mode="base64"
        )
        json.dumps(made, allow_nan=False, ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001 - a circle, half a surrogate pair, a person's own __str__ ...
        return _text(value)
    return made


def _plain(value: Any) -> Any:
    """What to send of an object that JSON does not know: numpy's values have `tolist`."""
    convert = getattr(value, "tolist", None)
    if callable(convert) and not isinstance(value, type):
        converted = convert()
        if isinstance(converted, (str, int, float, bool, list, type(None))):
            return converted
    return str(value)


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - see to_json
        return f"<{type(value).__name__}>"
    return scrub(text).encode("utf-8", "replace").decode()
