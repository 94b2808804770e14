"""Where a tool runs: a thread, the kernel's loop, this loop, or an Executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import io
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from gemini_nb.api.wire import MAX_LEVELS, MAX_SIZE, MAX_VALUES
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ConfigError
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.report import Report
from gemini_nb.tools.tool import Tool

_LOOK = 0.02  # seconds between looks whether an Executor has begun; a future has no event for it
_GRACE = 1.0  # seconds that an asynchronous function has to clean up in when it is cancelled

_CONTAINERS = frozenset({dict, list, tuple})
_PLAIN = frozenset({str, int, float, bool, type(None), bytes})

_left: set[asyncio.Task[Any]] = set()
"""Tasks that go on in spite of being cancelled: a loop refers to its tasks weakly."""


async def call_in_place(
    tool: Tool,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    *,
    kernel: KernelLoop,
    report: Report,
    begin: Callable[[], object],
) -> Any:
    """Call a tool where its `run_on` says, and return its result.

    Args:
        tool: the tool.
        positional: its arguments by position.
        named: its arguments by name.
        kernel: the loop that runs the user's cells, if there is one.
        report: shows what the call waits for until it starts.
        begin: called on this loop when it starts.
    """
    if isinstance(tool.run_on, Executor):
        result = await _on_executor(tool.run_on, tool, positional, named, report=report, begin=begin)
        return await _taken(result, report)

    def call() -> Any:
        return tool.function(*positional, **named)

    place = tool.run_on or ("kernel" if tool.is_async else "thread")
    if place == "kernel" and kernel.running() is not None:
        report.wait_for("the kernel")
        return await _taken(await call_on_kernel(call, kernel, begin), report)
    begin()
    if tool.is_async:
        return await _taken(await call_here(call), report)
    work = report.following(_whole(call, report))
    result = await run_in_daemon_thread(work, name=f"gemini_nb-tool-{tool.name}")
    return await _taken(await call_here(lambda: result), report) if is_pending(result) else result


async def call_on_kernel(
    call: Callable[[], Any], kernel: KernelLoop, begin: Callable[[], object] = lambda: None
) -> Any:
    """Call on the loop that runs the user's cells, or here where there is none, and await the result."""
    loop = kernel.running()
    if loop is None:
        begin()
        return await call_here(call)
    home = asyncio.get_running_loop()

    def begin_there() -> None:
        home.call_soon_threadsafe(begin)

    return await kernel.run(_outcome(call, begin_there, kernel), loop)


async def call_here(call: Callable[[], Any]) -> Any:
    """Call on this loop and await the result.

    In a task of its own: a function that cancels its task means itself, not the stream. One that goes on when
    it is cancelled is left alone after a second, as a thread would be.
    """
    task = asyncio.create_task(_outcome(call))
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        _left.add(task)
        task.add_done_callback(_forget)
        task.cancel()
        await asyncio.wait([task], timeout=_GRACE)
        if not task.done():
            raise
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()  # read, so that asyncio does not report it as never retrieved


def _whole(function: Callable[..., Any], report: Report | None = None) -> Callable[..., Any]:
    """Return a function that gives what this one gives, with nothing in it that is still to be taken.

    All of it is taken where the function runs. Later it would be taken by what writes JSON: beyond the call's
    time, with its errors lost, and for ever where it has no end.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return _Taking(report).whole(function(*args, **kwargs))

    return call


class _Taking:
    """Takes one result: a list for a generator or another iterator, also within dictionaries and lists.

    An open file gives its contents, not its lines.
    """

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._seen = 0
        self._known: dict[int, tuple[Any, Any]] = {}  # one that stands in two places can be taken once only
        self._around: set[int] = set()

    def whole(self, value: Any, levels: int = MAX_LEVELS) -> Any:
        """Return the value, the same one where nothing in it was to be taken.

        Args:
            value: a result, or a part of one.
            levels: how much deeper to look. What lies beneath, or behind the last value that a result may
                hold, is refused with the result.
        """
        self._seen += 1
        if type(value) in _PLAIN or levels < 0:
            return value
        if type(value) in _CONTAINERS:
            return value if self._seen > MAX_VALUES else self._within(value, levels)
        if not isinstance(value, Iterator) or is_pending(value):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = value, value  # for one that gives itself
            made = _contents_of(value) if isinstance(value, io.IOBase) else self._items(value, levels)
            self._known[id(value)] = value, made
        return self._known[id(value)][1]

    def _within(self, value: Any, levels: int) -> Any:
        if id(value) in self._around:  # it holds itself
            return value
        self._around.add(id(value))
        items = list(value.values() if type(value) is dict else value)
        made = [self.whole(item, levels - 1) for item in items]
        self._around.discard(id(value))
        if all(map(operator.is_, items, made)):
            return value
        return dict(zip(value, made, strict=True)) if type(value) is dict else made

    def _items(self, values: Iterator[Any], levels: int) -> list[Any]:
        items: list[Any] = []
        for item in values:
            if self._report is not None and self._report.closed:
                return []  # the call was given up, and its result is dropped
            if self._seen > MAX_VALUES:
                raise ConfigError(f"The result gives more than {MAX_VALUES:,} items, so it was not sent.")
            items.append(self.whole(item, levels - 1))
        return items


def _contents_of(file: io.IOBase) -> Any:
    """Return what is in a file, also in one that was just written; one that cannot be read as it is."""
    if file.closed or not file.readable():
        return file
    if isinstance(file, (io.BytesIO, io.StringIO)):
        return file.getvalue()
    reader: Any = file
    contents = reader.read(MAX_SIZE + 1)
    if not contents and file.seekable():  # it stood at its end
        file.seek(0)
        contents = reader.read(MAX_SIZE + 1)
    return contents


async def _taken(result: Any, report: Report) -> Any:
    """Return the result of an asynchronous function whole: to take it may wait, as no loop should."""
    if type(result) not in _CONTAINERS and not isinstance(result, Iterator):
        return result
    return await run_in_daemon_thread(report.following(_whole(lambda: result, report)))


def is_pending(result: object) -> bool:
    """Whether what a function returned is awaitable."""
    return inspect.isawaitable(result) or inspect.isasyncgen(result)


async def _outcome(
    call: Callable[[], Any], begin: Callable[[], object] = lambda: None, kernel: KernelLoop | None = None
) -> Any:
    begin()
    task = asyncio.current_task()
    try:
        result = call()
        if inspect.isasyncgen(result):
            return [item async for item in result]
        return await result if inspect.isawaitable(result) else _whole(lambda: result)()
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        if isinstance(error, GeneratorExit) and not _is_current(task):
            raise  # not the function's own: this coroutine is thrown away with its loop
        if kernel is not None and kernel.is_pumped and isinstance(error, KeyboardInterrupt):
            raise
        # asyncio lets the first two through, which would end the loop; the third would end a task unheard.
        raise RuntimeError(f"the function raised {type(error).__name__}: {error}") from None


def _is_current(task: asyncio.Task[Any] | None) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs any more
        return False


async def _on_executor(
    executor: Executor,
    tool: Tool,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    *,
    report: Report,
    begin: Callable[[], object],
) -> Any:
    future = _submit(executor, tool, positional, named, report)
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
        report.put("stdout", getattr(error, "gemini_nb_output", ""))
        raise
    report.put("stdout", output)
    return result


def _submit(
    executor: Executor, tool: Tool, positional: Sequence[Any], named: Mapping[str, Any], report: Report
) -> concurrent.futures.Future[Any]:
    if _is_pool(executor, "thread", "ThreadPoolExecutor"):
        return executor.submit(
            contextvars.copy_context().run,
            report.following(_whole(tool.function, report)),
            *positional,
            **named,
        )
    if _is_pool(executor, "process", "ProcessPoolExecutor"):
        function = tool if isinstance(tool.__reduce__(), str) else tool.function
        return executor.submit(_in_process, function, positional, named)
    # Workers elsewhere may not have this package, so they get the bare function.
    return executor.submit(tool.function, *positional, **named)


def _is_pool(executor: object, module: str, name: str) -> bool:
    """Whether it is a pool of this kind, without importing the pool's module for those who have none."""
    found = sys.modules.get(f"concurrent.futures.{module}")
    return found is not None and isinstance(executor, getattr(found, name))


def _in_process(
    function: Callable[..., Any], positional: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, str]:
    """Run in a worker process, one call at a time, and return the result with what was printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            result = _whole(function)(*positional, **named)
        except Exception as error:
            vars(error)["gemini_nb_output"] = said.getvalue()  # travels with the error
            raise
    return result, said.getvalue()
