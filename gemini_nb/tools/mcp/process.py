"""A server in a process of its own, spoken to over its standard input and output.

The package's own transport gives a server four seconds to end. A kernel that restarts has two for all it has
to clean up, and nothing ends what outlives it. Here the process group is killed after half a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.redaction import scrub

__all__ = ["ErrorLog", "stdio"]

_LOG_SIZE = 64 * 1024  # bytes of stderr kept: the last ones
_LONGEST = 64 * 2**20  # bytes of one message
_LARGE = 200_000  # bytes of a message that is not parsed on the loop of all the streams
_GRACE = 0.4  # seconds from the end of its input until it is told to end
_PATIENCE = 0.2  # seconds for each step after that: a manager that shuts down gives its tasks one
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has only the latter


class ErrorLog:
    """The end of what a server wrote to its standard error, and how its process ended."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.exit_code: int | None = None

    def write(self, data: bytes) -> None:
        """Append bytes; only the last 64 KB are kept."""
        self._data += data
        del self._data[:-_LOG_SIZE]

    @property
    def text(self) -> str:
        """What is kept, without secrets."""
        return scrub(self._data.decode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def stdio(
    words: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | None,
    log: ErrorLog,
    on_end: Callable[[], object],
) -> AsyncIterator[Any]:
    """Run a server and give the two streams of messages that the package's client speaks through.

    Args:
        words: the command.
        env: variables beside the few that the package passes on, which are not all of the kernel's.
        cwd: its folder.
        log: takes its standard error.
        on_end: called when it says no more.

    Raises:
        OSError: it cannot be started.
    """
    import anyio
    from mcp.client.stdio import get_default_environment

    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**get_default_environment(), **(env or {})},
        cwd=cwd,
        limit=_LONGEST,
        start_new_session=True,
    )
    to_client, from_server = anyio.create_memory_object_stream[Any](0)
    to_server, from_client = anyio.create_memory_object_stream[Any](0)
    tasks: list[asyncio.Task[None]] = [
        asyncio.create_task(_read(process, to_client)),
        asyncio.create_task(_write(process, from_client, to_client)),
        asyncio.create_task(_keep(process, log)),
    ]
    tasks[0].add_done_callback(lambda _: on_end())
    try:
        yield from_server, to_server
    finally:
        try:
            await _end(process, tasks[-1])
        finally:
            _signal(process, _KILL)  # and children that it did not take with it
            log.exit_code = process.returncode
            for task in tasks:
                task.cancel()
            for stream in (to_client, from_server, to_server, from_client):
                stream.close()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks, timeout=_PATIENCE)
            # Pipes that a grandchild keeps open would stay open here, too.
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no public way


async def _read(process: asyncio.subprocess.Process, to_client: Any) -> None:
    """Pass on what the server says, line by line; other lines are its own prints."""
    import anyio

    assert process.stdout is not None  # noqa: S101 - it is a pipe
    async with to_client:
        with contextlib.suppress(ValueError, OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while line := await process.stdout.readline():  # ValueError: it is longer than any message
                is_large = len(line) > _LARGE
                message = await run_in_daemon_thread(_parse, line) if is_large else _parse(line)
                if message is not None:
                    await to_client.send(message)


def _parse(line: bytes) -> Any:
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None


async def _write(process: asyncio.subprocess.Process, from_client: Any, to_client: Any) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    async with from_client:
        try:
            async for message in from_client:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()
        except OSError:  # it has ended: those who wait for an answer must be woken
            await to_client.aclose()


async def _keep(process: asyncio.subprocess.Process, log: ErrorLog) -> None:
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    while data := await process.stderr.read(_LOG_SIZE):
        log.write(data)


async def _end(process: asyncio.subprocess.Process, keeping: asyncio.Task[None]) -> None:
    """Close its input, which asks a server to end; else signal it, kill it. Then take in its last words."""
    if process.stdin is not None:
        process.stdin.close()
    for patience, number in ((_GRACE, signal.SIGTERM), (_PATIENCE, _KILL), (_PATIENCE, None)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await process.wait()
                break
        if number is not None:
            _signal(process, number)
    await asyncio.wait([keeping], timeout=_PATIENCE)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
