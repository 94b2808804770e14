"""Run one tool call. Whatever happens, the model gets an answer and the stream goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gemini_nb.api.wire import duplicate
from gemini_nb.config import truth_value
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ConfigError, kind_of
from gemini_nb.redaction import scrub
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.places import call_in_place, call_on_kernel, is_pending
from gemini_nb.tools.report import Report, reporting
from gemini_nb.tools.result import ToolResult, to_result
from gemini_nb.tools.shown import table_of
from gemini_nb.tools.tool import Tool

_LONG = 10_000  # characters


class ToolFailedError(Exception):
    """A tool gave no result; the message goes to the model.

    Attributes:
        kind: why, in one word: the name of an exception, "timeout", or "tool_error" where the tool said so.
    """

    def __init__(self, message: str, kind: str = "tool_error") -> None:
        super().__init__(message)
        self.kind = kind


async def run_tool(tool: Tool, args: dict[str, Any], kernel: KernelLoop, report: Report) -> ToolResult:
    """Run a tool and return its result.

    Args:
        tool: the tool; its time is counted from when it starts, not while it waits for its place.
        args: the arguments as the model wrote them.
        kernel: the loop that runs the user's cells, if there is one.
        report: takes what the tool prints, and how far it says it is.

    Raises:
        ToolFailedError: bad arguments, an exception in the tool, or its time was over.
    """
    try:
        positional, named = tool.signature.bind(duplicate(args))
    except ValueError as error:
        raise ToolFailedError(str(error), "invalid_arguments") from None
    loop = asyncio.get_running_loop()
    try:
        with reporting(report):
            async with asyncio.timeout(None) as limit:

                def begin() -> None:
                    report.wait_for(None)
                    if tool.timeout is not None and not report.closed:
                        limit.reschedule(loop.time() + tool.timeout)

                result = await call_in_place(
                    tool, positional, named, kernel=kernel, report=report, begin=begin
                )
    except TimeoutError as error:
        if limit.expired():
            raise ToolFailedError(f"{tool.name} took longer than {tool.timeout:g} s", "timeout") from None
        raise _failed(error) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ToolFailedError(f"{tool.name} was cancelled", "cancelled") from None
    except GeneratorExit:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a tool, too, must not end the loop
        raise _failed(error) from None
    return await _as_result(result, report)


async def _as_result(value: Any, report: Report) -> ToolResult:
    try:
        if (
            value is None
            or isinstance(value, (bool, float))
            or (isinstance(value, str) and len(value) < _LONG)
        ):
            return to_result(value)
        # A figure is drawn, a file read, a large frame written out: not on the loop of all the streams.
        return await run_in_daemon_thread(_drawn, value, report, name="gemini_nb-result")
    except ConfigError as error:
        raise _failed(error) from None


def _drawn(value: Any, report: Report) -> ToolResult:
    """Make the result, with what the value's own representations print shown in the call's card."""
    with reporting(report):
        if (table := table_of(value)) is not None:
            report.add(table)
        return to_result(value)


async def check_with(confirm: Callable[..., Any], call: object, kernel: KernelLoop) -> bool | None:
    """Ask a tool's own confirm function, in a thread; one that is asynchronous, on the kernel's loop.

    Returns:
        True to run the tool, False to deny it, None to ask the user.

    Raises:
        ToolFailedError: it raised, or returned something else, which is no approval.
    """
    try:
        answer = await run_in_daemon_thread(confirm, call, name="gemini_nb-confirm")
        if is_pending(answer):
            answer = await call_on_kernel(lambda: answer, kernel)
    except Exception as error:  # noqa: BLE001 - whatever the user's function raises
        raise _failed(error) from None
    if answer is None:
        return None
    if (is_allowed := truth_value(answer)) is not None:
        return is_allowed
    raise ToolFailedError(
        f"its confirm function returned {kind_of(answer)}, which is neither True, False nor None"
    )


def _failed(error: BaseException) -> ToolFailedError:
    said = scrub(_words(error))
    kind = error.kind if isinstance(error, ToolFailedError) else type(error).__name__
    return ToolFailedError(said if len(said) <= _LONG else f"{said[:_LONG]}…", kind)


def _words(error: BaseException) -> str:
    """An exception's type and message; of a group, also those of its members."""
    if isinstance(error, ToolFailedError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}: {error.message}: {'; '.join(map(_words, error.exceptions))}"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own __str__ fails
        text = "(no message)"
    return f"{type(error).__name__}: {text[: 2 * _LONG]}"
