"""MCP servers as tools: one process or connection for each, shared by all streams that use it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fnmatch
import importlib.util
import itertools
import json
import os
import re
import shlex
import threading
import weakref
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from gemini_nb.config import Settings, check_header, http_allowed, is_loopback
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ArgumentError, BlockingCallError, ConfigError, Interrupted, kind_of
from gemini_nb.redaction import Secret, scrub
from gemini_nb.sealing import seal
from gemini_nb.tools.execution import ToolFailedError
from gemini_nb.tools.kernel import LoopEndedError, background, running_loop
from gemini_nb.tools.mcp.session import Session, Target
from gemini_nb.tools.output import current_target
from gemini_nb.tools.report import Report
from gemini_nb.tools.result import ToolResult
from gemini_nb.tools.schemas.declaration import Signature
from gemini_nb.tools.schemas.wire_schema import clean_schema
from gemini_nb.tools.tool import DEFAULT_TIMEOUT, Tool, ToolSource

T = TypeVar("T")

_SECRET = re.compile(r"auth|cookie|cred|key|pass|pwd|secret|session|token", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:-]")
_LAUNCHER = re.compile(r"(python|pypy|node|uvx?|npx|bunx?|deno|docker|pipx|run|env|sh|bash)[\d.]*(\.exe)?")
_LONGEST_NAME = 64
_LONGEST_DESCRIPTION = 10_000
_CLOSING = 3.0  # seconds that `close` waits


def mcp(
    command_or_url: str | Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    include: str | Sequence[str] | None = None,
    confirm: bool | Callable[..., object] = False,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> MCPServer:
    """Return an MCP server whose tools a stream may use: in `tools=[...]`, or as `-t NAME`.

    Nothing is started here: the first stream that uses it does that, and all share it.

    Args:
        command_or_url: the command, such as "uvx mcp-server-time", its words as a list, or the https:// URL
            of a server that speaks streamable HTTP.
        env: variables for the command. A server does not get the kernel's environment, but for PATH, HOME and
            the like.
        cwd: the folder to run it in.
        headers: HTTP headers for the URL.
        include: names of the tools to offer, with * for any characters; by default all.
        confirm: ask the user before each call, or a function that decides; as for `tool`.
        timeout: seconds that the start, and each call, may take; None for no limit.

    Raises:
        ArgumentError: this is neither a command nor a URL, or an option does not go with it.
        ConfigError: the package `mcp` is not installed, or a value does not fit.
    """
    env, headers = _sealed(env, "env"), _sealed(headers, "headers")
    for name, value in (headers or {}).items():
        check_header(name, value)
    target = _target(command_or_url, env, cwd, headers)
    if importlib.util.find_spec("mcp") is None:
        raise ConfigError(
            "MCP servers need the package `mcp`.", hint='Install it with pip install "gemini-nb[mcp]".'
        )
    names = [include] if isinstance(include, str) else include
    if names is not None and not (
        isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in names)
    ):
        raise ArgumentError(f"include is a list of names of tools, not {include!r}.")
    Tool(_nothing, timeout=timeout, confirm=confirm)  # refuses what does not fit, with the words for a tool
    return MCPServer(
        target, include=None if names is None else tuple(names), confirm=confirm, timeout=timeout
    )


def _nothing() -> None:
    """Do nothing."""


class MCPServer(ToolSource):
    """A server that offers tools; `gemini_nb.mcp` makes one.

    Its process or connection is started at the first use, again if it died, and is closed with the kernel,
    by `close()`, at the end of a `with` block, or when nothing refers to the server any more.

    Attributes:
        name: what cards and messages call it.
    """

    def __init__(
        self,
        target: Target,
        *,
        include: tuple[str, ...] | None,
        confirm: bool | Callable[..., object],
        timeout: float | None,
    ) -> None:
        self.name = target.name
        self._target = target
        self._include = include
        self._confirm = confirm
        self._timeout = timeout
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._finalizer = weakref.finalize(self, _nothing)

    def __repr__(self) -> str:
        state = "running" if self._session is not None and self._session.is_alive else "not running"
        return f"<MCPServer {self.name}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The end of what it wrote to its standard error, without secrets."""
        return "" if self._session is None else self._session.log.text

    @property
    def tools(self) -> list[Tool]:
        """Its tools, as the server lists them now; starts it where necessary.

        Raises:
            ConfigError: it cannot be started.
            ConnectError: it cannot be reached.
            BlockingCallError: asked for on the background loop's own thread.
            Interrupted: the wait was interrupted.
        """
        if running_loop() in background.gates:
            raise BlockingCallError(
                "The background loop cannot wait for itself.", hint="Use `await server.list_tools()` there."
            )
        try:
            tools: list[Tool] = background.wait(self.list_tools())
        except Interrupted:
            raise Interrupted(f"{self.name} has not listed its tools yet.") from None
        return tools

    def close(self) -> None:
        """End its process or connection. The next use starts it again."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None and session.is_alive:
            ended = session.end()
            if session.loop is not running_loop():
                with contextlib.suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
                    ended.result(_CLOSING)

    async def list_tools(self, taken: Collection[str] = ()) -> list[Tool]:
        """Return its tools as they are now, under names that are not taken.

        Raises:
            ConfigError: it cannot be started, or has no tool of a name in `include`.
            ConnectError: it cannot be reached.
        """
        try:
            found = await self._ask(lambda session: session.list_tools(), may_repeat=True)
        except ToolFailedError as error:
            raise ConfigError(f"The tools cannot be listed: {error}") from None
        known = [str(spec.name) for spec in found]
        if self._include is not None:
            for pattern in self._include:
                if not any(fnmatch.fnmatchcase(name, pattern) for name in known):
                    offers = scrub(", ".join(known[:50])) or "none"
                    raise ConfigError(f"{self.name} has no tool {pattern!r}.", hint=f"It has: {offers}.")
            found = [
                spec for spec in found if any(fnmatch.fnmatchcase(spec.name, one) for one in self._include)
            ]
        # A hundred tools take longer than the loop of all the streams may stand still.
        return await run_in_daemon_thread(self._tools_of, found, taken)

    def _tools_of(self, found: Sequence[Any], taken: Collection[str]) -> list[Tool]:
        names, made = set(taken), []
        for spec in found:
            made.append(self._tool(spec, _free_name(spec.name, self.name, names)))
            names.add(made[-1].name)
        return made

    def _tool(self, spec: Any, name: str) -> Tool:
        about = scrub(str(spec.description or spec.title or ""))[:_LONGEST_DESCRIPTION]
        schema = spec.input_schema if isinstance(spec.input_schema, Mapping) else {}

        async def call(**arguments: Any) -> ToolResult:
            return await self._call(spec.name, arguments)

        return _ServersTool(call, scrub(name), about, schema, timeout=self._timeout, confirm=self._confirm)

    async def _call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        from gemini_nb.tools.mcp.result import result_of

        report = current_target()
        to = report if isinstance(report, Report) else None
        answer = await self._ask(lambda session: session.call(name, arguments, to))
        return await run_in_daemon_thread(result_of, answer)  # which may be large

    async def _ask(self, ask: Callable[[Session], Coroutine[Any, Any, T]], *, may_repeat: bool = False) -> T:
        """Ask the session, on its own loop; ask a new one where its death is noticed only now."""
        session = self._current()
        was_ready = session.is_ready
        try:
            return await self._on_its_loop(session, ask)
        except ToolFailedError:
            if not (may_repeat and was_ready and not session.is_alive):
                raise
        return await self._on_its_loop(self._current(), ask)

    async def _on_its_loop(self, session: Session, ask: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        if session.loop is running_loop():
            return await session.use(ask)
        try:
            return await background.run(session.loop, session.use(ask))
        except LoopEndedError:
            session.end()
            raise ToolFailedError(f"{self.name} ended with the loop that it ran on.") from None

    def _current(self) -> Session:
        """Return the session; make a new one where there is none, or where it has ended."""
        with self._lock:
            if self._session is None or not self._session.is_alive:
                try:
                    self._session = Session(self._target, background.here(), self._timeout)
                except LoopEndedError:
                    raise ToolFailedError(f"{self.name} cannot be started: its loop has ended.") from None
                self._finalizer.detach()
                self._finalizer = weakref.finalize(self, self._session.end)
                self._finalizer.atexit = False
            return self._session


class _ServersTool(Tool):
    """A tool whose arguments the server checks."""

    def __init__(
        self,
        call: Callable[..., Any],
        name: str,
        description: str,
        schema: Mapping[str, Any],
        **options: Any,
    ) -> None:
        self._schema = schema
        super().__init__(call, name=name, description=description, run_on="background", **options)

    def _describe(self, function: Callable[..., Any]) -> Signature:
        return _Arguments(function, self.name, self._schema)


class _Arguments(Signature):
    """Arguments by the schema that a server gave."""

    def __init__(self, function: Callable[..., Any], name: str, schema: Mapping[str, Any]) -> None:
        super().__init__(function, name)
        try:
            self._schema = clean_schema(schema, is_foreign=True)
            json.dumps(self._schema, allow_nan=False)
        except (ConfigError, ValueError):  # nested too deeply, infinite ...; the server checks them anyway
            self._schema = {}
        if self._schema.get("type") != "object":
            self._schema = {"type": "object"}
        self._schema.setdefault("properties", {})

    @property
    def schema(self) -> dict[str, Any]:
        return dict(self._schema)

    def bind(self, args: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return [], dict(args)


def _free_name(wanted: str, server: str, taken: Collection[str]) -> str:
    """A name that the service takes, and that no other tool has."""
    plain = _NOT_IN_NAMES.sub("_", wanted) or "tool"
    own = plain if plain[0].isalpha() or plain[0] == "_" else f"_{plain}"
    prefixed = f"_{_NOT_IN_NAMES.sub('_', server)}_{plain}".lstrip("_")
    prefixed = prefixed if prefixed[0].isalpha() else f"_{prefixed}"
    number = 2
    name = own[:_LONGEST_NAME]
    while name in taken:
        end = "" if number == 2 else f"_{number - 1}"
        name = prefixed[: _LONGEST_NAME - len(end)] + end
        number += 1
    return name


def _sealed(values: Mapping[str, str] | None, option: str) -> Any:
    """Values that no traceback shows.

    Raises:
        ArgumentError: they are no texts by name.
    """
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{option} is a dictionary, not {kind_of(values)}.")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ArgumentError(f"A name and a value in {option} are text; those of {name!r} are not.")
        if option == "env" and (not name or "=" in name or "\0" in name + value):
            raise ArgumentError(f"{name!r} is not the name of a variable, or its value holds a null byte.")
    return seal(values)


def _target(command_or_url: Any, env: Any, cwd: Any, headers: Any) -> Target:
    is_url = isinstance(command_or_url, str) and re.match(r"https?://", command_or_url, re.IGNORECASE)
    if is_url and (env is not None or cwd is not None):
        raise ArgumentError("env and cwd are for a command, not for a URL.", hint="A URL takes headers.")
    if not is_url and headers is not None:
        raise ArgumentError("headers are for a URL, not for a command.", hint="A command takes env.")
    secrets = _secrets_in(env) + _secrets_in(headers)
    if is_url:
        return _url_target(command_or_url, headers, secrets)
    words = _words(command_or_url)
    if cwd is not None and not isinstance(cwd, (str, os.PathLike)):
        raise ArgumentError(f"cwd is the path of a folder, not {kind_of(cwd)}.")
    secrets += _secret_words(words)
    folder = None if cwd is None else str(Path(cwd).expanduser())
    name = _name_of(words, [secret.reveal() for secret in secrets])
    return Target(name, tuple(words), env=env, cwd=folder, secrets=tuple(filter(None, secrets)))


def _secret_words(words: Sequence[str]) -> list[Secret]:
    """The words of a command behind an option or a name that is called secret."""
    behind = [
        word
        for flag, word in itertools.pairwise(words)
        if flag.startswith("-") and "=" not in flag and _SECRET.search(flag)
    ]
    given = [word.partition("=") for word in words]
    return [Secret(word) for word in (*behind, *(value for name, _, value in given if _SECRET.search(name)))]


def _url_target(url: str, headers: Any, secrets: list[Secret]) -> Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ArgumentError("This is not the URL of an MCP server.", hint="For example https://host/mcp.")
    pairs = [pair.partition("=")[::2] for pair in parts.query.split("&")]
    if secrets or parts.password or any(_SECRET.search(name) for name, _ in pairs):
        _check_encrypted(parts.scheme, host)
    secrets += map(Secret, filter(None, [parts.password, *(value for _, value in pairs)]))
    name = host if port is None else f"{host}:{port}"
    return Target(name, url=url, headers=headers, secrets=tuple(secrets))


def _check_encrypted(scheme: str, host: str) -> None:
    if scheme == "http" and not (is_loopback(host) or http_allowed(Settings())):
        raise ConfigError(
            f"A secret would travel unencrypted to {host}.",
            hint="Use https, or allow it with GEMINI_NB_ALLOW_HTTP=1 if that network is yours.",
        )


def _words(command: Any) -> list[str]:
    hint = 'For example "uvx mcp-server-time", a list of words, or "https://host/mcp".'
    if isinstance(command, str):
        try:
            words = shlex.split(command, posix=os.name != "nt")
        except ValueError as error:
            raise ArgumentError(f"The command cannot be read: {error}.", hint=hint) from None
    elif isinstance(command, (list, tuple)):
        words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in command]
    else:
        raise ArgumentError(f"An MCP server is a command or an address, not {kind_of(command)}.", hint=hint)
    if not words or not all(isinstance(word, str) and "\0" not in word for word in words) or not words[0]:
        raise ArgumentError("The command has no words, or one that is not text.", hint=hint)
    if re.match(r"[a-z]+://", words[0], re.IGNORECASE):
        raise ArgumentError("Only http:// and https:// can stand before an MCP server's name.", hint=hint)
    return words


def _name_of(words: Sequence[str], secrets: Collection[str]) -> str:
    """What a user would call the command: not the program that only launches it, a setting or a secret."""
    named = [word for word in words if not word.startswith("-") and word not in secrets]
    bare = [re.split(r"[/\\]", word.rstrip("/\\"))[-1] for word in named]
    plain = [name for name in bare if name and not re.search(r"[=\s?]", name)]
    return next((name for name in plain if not _LAUNCHER.fullmatch(name)), plain[0] if plain else "server")[
        :80
    ]


def _secrets_in(values: Mapping[str, str] | None) -> list[Secret]:
    """The values that are secret by their names, and what stands behind "Bearer"."""
    found = [value for name, value in (values or {}).items() if _SECRET.search(name)]
    return [Secret(text) for value in found for text in {value, value.rpartition(" ")[2]}]
