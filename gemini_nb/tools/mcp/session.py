"""One session with an MCP server: a task of the background loop that opens it, keeps it and closes it.

The package's client has to be closed by the task that opened it, so no stream can own it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import importlib
import logging
import math
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from gemini_nb.config import is_loopback
from gemini_nb.daemon import importing, run_in_daemon_thread
from gemini_nb.errors import ConfigError, ConnectError, GeminiError
from gemini_nb.redaction import Secret, excerpt, scrub
from gemini_nb.tools.execution import ToolFailedError
from gemini_nb.tools.kernel import background
from gemini_nb.tools.mcp.lenient import lenient
from gemini_nb.tools.mcp.process import ErrorLog, stdio
from gemini_nb.tools.report import Report

T = TypeVar("T")

_PAGES = 100  # of a list of tools: one that never ends would hold the stream
_LAST_WORDS = 2_000  # characters of stderr in an error
_BROUGHT_BY = {"uvx": "uv: pip install uv", "uv": "uv: pip install uv", "npx": "Node.js", "docker": "Docker"}
_CONNECT = 30.0  # seconds for a connection; an answer may take as long as its call


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is.

    Attributes:
        name: what it is called in cards and messages.
        words: its command, empty for a URL.
        url: its URL, empty for a command.
        env: variables for the command.
        cwd: the folder to run it in.
        headers: HTTP headers for the URL.
        secrets: what the scrubber looks for as long as this lives.
    """

    name: str
    words: tuple[str, ...] = field(default=(), repr=False)
    url: str = field(default="", repr=False)
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    secrets: tuple[Secret, ...] = ()


class Session:
    """A running server.

    Args:
        target: where it is.
        loop: the loop to live on.
        timeout: seconds that the start may take, None for no limit.

    Raises:
        LoopEndedError: the loop has ended.
    """

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        self.loop = loop
        self.log = ErrorLog()
        self._target = target
        self._timeout = timeout
        self._pid = os.getpid()
        self._is_open = True
        self._stop = asyncio.Event()
        self._reports: list[Report] = []
        self._client: Any = None
        self._refusal = ""
        self._task: asyncio.Task[None] | None = None
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        for future in (self._ready, self._ended):
            future.set_running_or_notify_cancel()  # for all who wait; a stopped stream must not cancel it
        background.call(loop, self._start)

    @property
    def is_alive(self) -> bool:
        """Whether it can be used: it starts, or runs."""
        return self._is_open and not self.loop.is_closed() and self._pid == os.getpid()

    @property
    def is_ready(self) -> bool:
        """Whether it has started."""
        return self._ready.done()

    def end(self) -> concurrent.futures.Future[None]:
        """Close the session soon. From any thread; the returned future is done when it is closed."""
        self._is_open = False
        if self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # the loop was closed, and this with it
                self.loop.call_soon_threadsafe(self._stop.set)
        return self._ended

    async def use(self, ask: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Wait until the session has started, and return what `ask` gets from it. On its loop.

        Raises:
            ConfigError: it did not start.
            ConnectError: it could not be reached.
            ToolFailedError: it refused, or ended meanwhile.
        """
        await asyncio.wrap_future(self._ready)
        from mcp import MCPError  # imported by now, in a thread
        from pydantic import ValidationError

        name = self._target.name
        try:
            return await ask(self)
        except MCPError as error:
            refusal, self._refusal = self._refusal, ""
            if not self._is_lost(error, refusal):
                said = excerpt(error.message, 1_000)
                raise ToolFailedError(f"{name}: {f'{refusal}: {said}' if refusal else said}") from None
        except ValidationError as error:
            raise ToolFailedError(f"{name} answered what is not MCP: {_misfit(error)}") from None
        except (OSError, ExceptionGroup) as error:
            self.end()
            raise ToolFailedError(f"{name}: {_words(error)}") from None
        self.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.shield(asyncio.wrap_future(self._ended))
        raise ToolFailedError(
            f"{name} ended before it answered{self._fate()}. The next call starts it again."
        )

    def _is_lost(self, error: Any, refusal: str) -> bool:
        """Whether there is no connection, or no session at the server, any more.

        The package says the former by a number that servers use for any error of theirs.
        """
        from mcp_types import CONNECTION_CLOSED

        is_forgotten = refusal.startswith(("400", "404")) and "session" in error.message.lower()
        return is_forgotten or (error.code, error.message) == (CONNECTION_CLOSED, "Connection closed")

    async def list_tools(self) -> list[Any]:
        """Return what it offers now; a server that does not say so in time is ended.

        Raises:
            ToolFailedError: it did not.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._listed()
        except TimeoutError:
            self.end()
            raise ToolFailedError(
                f"{self._target.name} did not list its tools within {self._timeout:g} s"
            ) from None

    async def _listed(self) -> list[Any]:
        found: dict[str, Any] = {}
        cursors: list[str | None] = [None]
        while len(cursors) <= _PAGES:
            page = await self._client.list_tools(cursor=cursors[-1])
            for spec in page.tools:
                found.setdefault(spec.name, spec)
            if not page.next_cursor or page.next_cursor in cursors:
                break
            cursors.append(page.next_cursor)
        return list(found.values())

    async def call(self, name: str, arguments: dict[str, Any], report: Report | None) -> Any:
        """Call a tool and return the server's answer; what it says meanwhile goes to the report."""

        async def progress(done: float, total: float | None, text: str | None) -> None:
            if report is None or report.closed:
                return
            share = done / total if total and math.isfinite(done) and math.isfinite(total) else None
            words = text or ("" if share is not None else f"{done:g}")
            report.advance(None if share is None else min(1.0, max(0.0, share)), scrub(words)[:500])

        if report is not None:
            self._reports.append(report)
        try:
            return await self._client.call_tool(name, arguments, progress_callback=progress)
        finally:
            if report is not None:
                self._reports.remove(report)

    async def _show_log(self, params: Any) -> None:
        """Put a log message where the calls are shown: it does not say which of them it belongs to."""
        text = params.data if isinstance(params.data, str) else repr(params.data)
        for report in self._reports:
            if not report.closed:
                report.put("stdout", f"{params.level}: {text}\n")

    def _start(self) -> None:
        # Not in the caller's context: what it says later belongs to no tool.
        context = contextvars.Context()
        self._task = self.loop.create_task(self._own(), context=context)  # kept: a loop refers to it weakly
        self._task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        """Wake all waiters, also where the task was cancelled before it began."""
        self._is_open = False
        if task.cancelled():
            self._fail(ConfigError("This manager was shut down."))
        self._ended.set_result(None)

    async def _own(self) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(self._timeout):
                        self._client = await self._open(stack)
                except TimeoutError:
                    raise ConfigError(self._failure(f"did not start within {self._timeout:g} s")) from None
                self._ready.set_result(None)
                await self._stop.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it must not end the loop, and callers hear of it
            self._fail(self._as_our_error(error))
        finally:
            self._is_open = False

    def _fail(self, error: GeminiError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)

    async def _open(self, stack: contextlib.AsyncExitStack) -> Any:
        await run_in_daemon_thread(_import, name="gemini_nb-mcp-import")
        from mcp import Client
        from mcp_types import Implementation

        target = self._target
        if target.words:
            env = None if target.env is None else dict(target.env)
            transport: Any = stdio(target.words, env, target.cwd, self.log, self.end)
        else:
            import httpx2
            from mcp.client.streamable_http import streamable_http_client

            timeout = httpx2.Timeout(_CONNECT, read=None)
            http = httpx2.AsyncClient(
                headers=dict(target.headers or {}),
                timeout=timeout,
                trust_env=not is_loopback(urlsplit(target.url).hostname or ""),  # as for requests to Gemini
                event_hooks={"response": [self._note_refusal]},
            )
            await stack.enter_async_context(http)
            transport = streamable_http_client(target.url, http_client=http)
        client = Client(
            lenient(transport),
            client_info=Implementation(name="gemini_nb", version="0"),
            logging_callback=self._show_log,
            log_level="info",
            cache=None,  # what the server offers is asked for each time: it may have changed
        )
        opened: Any = await stack.enter_async_context(client)
        opened.session.validate_tool_result = _accept
        self._refusal = ""  # of what only newer servers know, which is asked first
        return opened

    async def _note_refusal(self, response: Any) -> None:
        """Keep the status of a request that was refused, which the package's errors do not say."""
        if response.status_code >= 400 and response.request.method == "POST":
            self._refusal = f"{response.status_code} {response.reason_phrase}".strip()

    def _as_our_error(self, error: BaseException) -> GeminiError:
        if isinstance(error, GeminiError):
            return error
        first = _first(error)
        if isinstance(first, ImportError):
            return ConfigError(
                f"The package `mcp` cannot be used: {first}.",
                hint='Install it with pip install -U "gemini-nb[mcp]".',
            )
        if self._target.url:
            return self._unreached(first)
        if isinstance(first, OSError) and not self.log.was_started:
            return self._not_started(first)
        from mcp_types import CONNECTION_CLOSED

        is_end = getattr(first, "code", None) == CONNECTION_CLOSED or isinstance(first, OSError)
        return ConfigError(self._failure("did not start", "" if is_end else _words(first)))

    def _not_started(self, error: OSError) -> GeminiError:
        program = self._target.words[0]
        reason, named = error.strerror or str(error), error.filename or program
        hint = "Check the command, or give its whole path."
        if named == self._target.cwd:
            hint = "Check cwd, the folder to run it in."
        elif isinstance(error, FileNotFoundError) and program in _BROUGHT_BY:
            hint = f"{program} comes with {_BROUGHT_BY[program]}."
        return ConfigError(
            f"The MCP server {self._target.name} cannot be started: {reason}: {named}.", hint=hint
        )

    def _unreached(self, error: BaseException) -> GeminiError:
        if not self._refusal:
            return ConnectError(
                f"The MCP server {self._target.name} cannot be reached: {_words(error)}.",
                hint="Check its URL and headers.",
            )
        hint = "Check its URL and headers."
        if self._refusal.startswith(("401", "403")):
            hint = 'Pass what it asks for, such as headers={"Authorization": "Bearer ..."}.'
        return ConnectError(f"The MCP server {self._target.name} refused: {self._refusal}.", hint=hint)

    def _failure(self, what: str, why: str = "") -> str:
        said = self.log.text[-_LAST_WORDS:].strip()
        end = f" The end of its log:\n{said}" if said else " It wrote nothing to its log."
        because = f": {why.rstrip('.')}" if why else self._fate()
        return f"The MCP server {self._target.name} {what}{because}.{end}"

    def _fate(self) -> str:
        code = self.log.exit_code
        if self.log.fault:
            return f": it sent {self.log.fault}"
        if code is None:
            return ""
        return f" (exit code {code})" if code >= 0 else f" (killed by signal {-code})"


async def _accept(_name: str, _result: object) -> None:
    """Take a result as it is, in place of the package's check against the schema that the server gave.

    A pattern there can hold up the loop of all the streams, and the model can read what does not fit.
    """


def _import() -> None:
    with importing():
        importlib.import_module("mcp")
    for name in ("mcp", "client"):  # its loggers, which would print what a server does wrong into a cell
        logging.getLogger(name).addHandler(logging.NullHandler())


def _first(error: BaseException) -> BaseException:
    """The first error of a group: the package's tasks wrap one into several."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _misfit(error: Any) -> str:
    """What pydantic found first, without what was given."""
    first = error.errors(include_url=False, include_input=False)[0]
    return excerpt(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", 300)


def _words(error: BaseException) -> str:
    first = _first(error)
    if hasattr(first, "errors"):
        return _misfit(first)
    return excerpt(str(first), 500) or type(first).__name__
