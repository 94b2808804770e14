"""A server in a process of its own, spoken to over its standard input and output.

The package's own transport gives a server four seconds to end. A kernel that restarts has two for all it has
to clean up, and nothing ends what outlives it. Here the process group is killed after half a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.redaction import scrub

_LOG_SIZE = 64 * 1024  # bytes of stderr kept: the last ones
_LONGEST = 64 * 2**20  # bytes of one message
_CHUNK = 256 * 1024  # bytes that are taken at once
_LARGE = 200_000  # bytes of a message that is not parsed on the loop of all the streams
_GRACE = 0.4  # seconds from the end of its input until it is signalled to end
_PATIENCE = 0.2  # seconds for each step after that: a manager that shuts down gives its tasks one
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has only the latter


class ErrorLog:
    """The end of what a server wrote to its standard error, and how its process ended.

    Attributes:
        was_started: whether there was a process.
        fault: what was wrong with what it said, where that is why it was ended.
        exit_code: how it ended by itself; None where it had to be ended.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.was_started = False
        self.fault = ""
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
        limit=_CHUNK,
        start_new_session=True,
    )
    log.was_started = True
    to_client, from_server = anyio.create_memory_object_stream[Any](0)
    to_server, from_client = anyio.create_memory_object_stream[Any](0)
    tasks: list[asyncio.Task[None]] = [
        asyncio.create_task(_read(process, to_client, log)),
        asyncio.create_task(_write(process, from_client, to_client)),
        asyncio.create_task(_keep(process, log)),
    ]
    tasks[0].add_done_callback(lambda _: on_end())
    try:
        yield from_server, to_server
    finally:
        try:
            log.exit_code = await _end(process, tasks[-1])
        finally:
            _signal(process, _KILL)  # and children that it did not take with it
            for task in tasks:
                task.cancel()
            for stream in (to_client, from_server, to_server, from_client):
                stream.close()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks, timeout=_PATIENCE)
            # Pipes that a grandchild keeps open would stay open here, too.
            inner: Any = process
            inner._transport.close()  # noqa: SLF001 - asyncio has no public way


async def _read(process: asyncio.subprocess.Process, to_client: Any, log: ErrorLog) -> None:
    """Pass on what the server says, line by line; other lines are its own prints."""
    import anyio

    assert process.stdout is not None
    async with to_client, contextlib.aclosing(_lines(process.stdout, log)) as lines:
        with contextlib.suppress(OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for line in lines:
                is_large = len(line) > _LARGE
                message = await run_in_daemon_thread(_parse, line) if is_large else _parse(line)
                if message is None:
                    await asyncio.sleep(0)  # a server that prints without end must not hold up the loop
                else:
                    await to_client.send(message)


async def _lines(reader: asyncio.StreamReader, log: ErrorLog) -> AsyncGenerator[bytes]:
    """The lines of a server, up to one that is longer than any message.

    The reader's own would keep as much of a flood in memory as its longest line may have, twice.
    """
    begun: list[bytes] = []
    while data := await reader.read(_CHUNK):
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield b"".join([*begun, line])
            begun.clear()
        begun.append(rest)
        if sum(map(len, begun)) > _LONGEST:
            log.fault = f"a message of more than {_LONGEST // 2**20} MB"
            return
    yield b"".join(begun)


def _parse(line: bytes) -> Any:
    """Return the message in a line, None where there is none.

    An answer that cannot be read becomes an error, since a call waits for it.
    """
    from mcp.shared.message import SessionMessage
    from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

    given: Any = None
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        pass
    try:
        given = json.loads(line)
        whole = json.dumps(given, ensure_ascii=False).encode("utf-8", "replace")  # half of a surrogate pair
        return SessionMessage(jsonrpc_message_adapter.validate_json(whole, by_name=False))
    except (ValueError, RecursionError):
        if not isinstance(given, dict) or "method" in given or not isinstance(number := given.get("id"), int):
            return None
    error = ErrorData(code=PARSE_ERROR, message="the answer cannot be read as JSON-RPC")
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=number, error=error))


async def _write(process: asyncio.subprocess.Process, from_client: Any, to_client: Any) -> None:
    assert process.stdin is not None
    async with from_client:
        try:
            async for message in from_client:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()
        except OSError:  # it has ended: those who wait for an answer must be woken
            await to_client.aclose()


async def _keep(process: asyncio.subprocess.Process, log: ErrorLog) -> None:
    assert process.stderr is not None
    while data := await process.stderr.read(_LOG_SIZE):
        log.write(data)


async def _end(process: asyncio.subprocess.Process, keeping: asyncio.Task[None]) -> int | None:
    """Close its input, which asks a server to end; else signal it, kill it. Then take in its last words.

    Returns:
        How it ended, where it did by itself.
    """
    is_asked = False
    if process.stdin is not None:
        process.stdin.close()
    for patience, number in ((_GRACE, signal.SIGTERM), (_PATIENCE, _KILL), (_PATIENCE, None)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await process.wait()
                break
        if number is not None:
            is_asked = True
            _signal(process, number)
    await asyncio.wait([keeping], timeout=_PATIENCE)
    return None if is_asked else process.returncode


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
