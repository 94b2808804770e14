"""What all streams of a manager share: the loop, the delivery threads, the connections, the keys."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gemini_nb.config import Auth, Settings, journal_path, simulator_pace
from gemini_nb.daemon import importing
from gemini_nb.errors import BlockingCallError, ConfigError, GeminiError, InternalError
from gemini_nb.journal import prices
from gemini_nb.journal.writer import Writer, writer_for
from gemini_nb.streams.runtime.delivery import Delivery
from gemini_nb.streams.runtime.loop import BackgroundLoop, Flag
from gemini_nb.tools.kernel import KernelLoop, background

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients
    from gemini_nb.journal.kept.answers import KeptAnswers
    from gemini_nb.simulator import Simulator
    from gemini_nb.streams.events.record import StreamRecord
    from gemini_nb.tools.output import Target

_POLL = 0.2  # seconds between looks for a Ctrl-C where the platform's lock does not wake for one

T = TypeVar("T")

BlockOn = Callable[[Flag, "float | None"], None]
End = Callable[["GeminiError | None"], object]


class Runtime:
    """The machinery of one manager.

    Attributes:
        settings: defaults for every stream.
        kernel: the loop that runs the user's cells; a notebook sets it.
        can_ask: returns whether a user is there to approve a tool; a notebook sets it.
        block_on: waits for a flag on one of the user's threads; a notebook replaces it by one that keeps the
            kernel's loop going.
        cell_output: returns the output of the cell that runs, for what goes on after its end; a notebook
            knows.
        origin: returns the path of the notebook and the id of the cell that runs; a notebook knows.
        retiring_models: those that the user was warned of. Loop thread only.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.loop = BackgroundLoop("gemini_nb-loop", self._on_death, self._close_clients)
        self.delivery = Delivery(self.loop)
        self.kernel = KernelLoop()
        self.can_ask: Callable[[], bool] = lambda: True
        self.block_on: BlockOn = wait_for
        self.cell_output: Callable[[], Target | None] = lambda: None
        self.origin: Callable[[], tuple[str | None, str | None]] = lambda: (None, None)
        self.on_close: list[Callable[[], object]] = []
        self.retiring_models: set[str] = set()
        self.closed = False
        self._is_let_go = False
        self._writer: Writer | None = None
        self._clients: dict[asyncio.AbstractEventLoop, HTTPClients] = {}
        self._active: dict[StreamRecord, End] = {}
        self._client_import: concurrent.futures.Future[object] | None = None
        self._kept: dict[Path, KeptAnswers] = {}
        self._server: Simulator | None = None
        self._lock = threading.Lock()

    @property
    def clients(self) -> HTTPClients:
        """The connections of the running loop. Loop thread only."""
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            from gemini_nb.api.http import HTTPClients  # half a second

            clients = HTTPClients()
            self._clients[loop] = clients
        return clients

    def journal(self) -> Writer | None:
        """Return the writer that journals the streams that start now, None where the journal is off."""
        prices.load_soon()
        found = journal_path(self.settings)
        if found is None:
            return None
        path, is_default = found
        self._writer = writer_for(path, default=is_default, limit=self.settings.journal_megabytes * 2**20)
        return self._writer

    def kept_answers(self, path: str, *, read_only: bool = False) -> KeptAnswers:
        """Return the kept answers of a file or folder.

        Args:
            path: where it is.
            read_only: whether it must be there, since nothing is asked.

        Raises:
            ConfigError: it cannot be a file of kept answers.
        """
        from gemini_nb.journal.kept.answers import KeptAnswers
        from gemini_nb.journal.kept.keep_file import KeepFile  # only where answers are kept

        file = KeepFile(path, read_only=read_only)
        with self._lock:
            return self._kept.setdefault(file.path, KeptAnswers(file))

    def register(self, record: StreamRecord, end: End) -> None:
        """Call `end` if the loop dies (with an error) or is shut down (with None).

        Raises:
            ConfigError: it was shut down.
        """
        with self._lock:
            if self.closed:
                raise ConfigError(
                    "This manager was shut down.",
                    hint="gemini_nb.get_manager() makes a new one; magics do that by themselves.",
                )
            self._active[record] = end

    def unregister(self, record: StreamRecord) -> None:
        """Forget a stream that has ended."""
        with self._lock:
            self._active.pop(record, None)

    def check_may_block(self) -> None:
        """Refuse a wait that could never end.

        Raises:
            BlockingCallError: the caller is on the loop's thread.
        """
        if self.loop.is_current:
            raise BlockingCallError(
                "A blocking wait on the background loop's own thread would never end.",
                hint="Use `await stream` or `async for` there.",
            )

    def stand_in(self) -> Simulator:
        """Return the embedded server that makes up answers in Gemini's place; the first call starts it.

        Its key is a random one, made for this process.
        """
        with self._lock:
            if self._server is None:
                import secrets  # only where there is no real key

                from gemini_nb.simulator import Simulator  # a server that few need

                key = f"{Auth.SIMULATOR}-{secrets.token_urlsafe(24)}"
                self._server = Simulator(api_key=key, pace=simulator_pace()).start()
            return self._server

    def warm_up(self) -> concurrent.futures.Future[object]:
        """Import the client in a thread, once, so that neither the first stream nor the loop waits for it."""
        with self._lock:
            future = self._client_import
            if future is None:
                future = self._client_import = concurrent.futures.Future()
                future.set_running_or_notify_cancel()  # for all streams; a stopped one must not cancel it
                threading.Thread(
                    target=_import_client, args=(future,), name="gemini_nb-import", daemon=True
                ).start()
        return future

    async def ready(self) -> HTTPClients:
        """Return the connections of the running loop, once the client is imported."""
        future = self.warm_up()
        if not future.done():
            await asyncio.wrap_future(future)
        return self.clients

    def close(self, timeout: float = 2.0) -> None:
        """Stop every stream; end threads, connections and the embedded server. Idempotent.

        Where an interrupt ends it early, the next call does the rest.

        Raises:
            BlockingCallError: called on the loop's own thread.
        """
        self.check_may_block()
        with self._lock:
            if self._is_let_go:
                return
            self.closed = True
            server = self._server
        deadline = time.monotonic() + timeout
        if self.loop.is_alive:
            self.loop.call(self._end_all, None)
        self.loop.close(max(0.2, deadline - time.monotonic()))
        self._end_all(None)  # what came too late, or after the loop had died
        self.delivery.close(min(1.0, max(0.2, deadline - time.monotonic())))
        if server is not None:
            server.close()
        if self._writer is not None:
            self._writer.close(min(0.5, max(0.1, deadline - time.monotonic())))
        _let_go(self)
        while self.on_close:
            self.on_close.pop(0)()
        self._server, self._is_let_go = None, True

    async def _close_clients(self) -> None:
        clients = self._clients.pop(asyncio.get_running_loop(), None)
        if clients is not None:
            await clients.aclose()

    def _on_death(self) -> None:
        self._end_all("The background loop that ran this stream died.")

    def _end_all(self, reason: str | None) -> None:
        with self._lock:
            ends, self._active = list(self._active.values()), {}
        for end in ends:
            hint = "Start the stream again: a new loop takes over."
            end(None if reason is None else InternalError(reason, hint=hint))


def wait_for(flag: Flag, timeout: float | None) -> None:
    """Wait for a flag, open to Ctrl-C on every platform.

    Raises:
        TimeoutError: it was not set in time.
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    while not flag.wait(min(_POLL, deadline - time.monotonic())):
        if time.monotonic() >= deadline:
            raise TimeoutError


def _import_client(future: concurrent.futures.Future[object]) -> None:
    try:
        with importing():
            from gemini_nb.api.http import import_late_parts  # httpx and aiohttp with it

            import_late_parts()
    finally:  # what failed here fails again, and is reported, where the client is made
        future.set_result(None)


_default: Runtime | None = globals().get("_default")  # survives a reload of this module
_default_lock = threading.Lock()


def default_runtime() -> Runtime:
    """Return the process's shared runtime, made on first use."""
    global _default
    with _default_lock:
        if _default is None or _default.closed:
            _default = Runtime()
            atexit.register(_default.close)
        return _default


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    return default_runtime().loop.run(coroutine)


background.find = lambda: default_runtime().loop.loop
background.wait = _wait


def _let_go(runtime: Runtime) -> None:
    """Keep nothing of a closed runtime, so that it and its manager can be collected."""
    global _default
    atexit.unregister(runtime.close)
    if _default is runtime:
        _default = None


def forget_default_runtime() -> None:
    """In a forked child: the parent's threads are not here, so a new runtime is made when needed."""
    global _default, _default_lock
    if _default is not None:
        atexit.unregister(_default.close)
    _default = None
    _default_lock = threading.Lock()  # the parent's may have been held at the fork
