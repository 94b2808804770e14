"""What all streams of a manager share: the loop, the delivery threads, the connections, the keys."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gemini_nb.api.client import HTTPClients
from gemini_nb.config import Settings
from gemini_nb.errors import BlockingCallError, ConfigError, InternalError
from gemini_nb.secrets import Secret
from gemini_nb.streams.delivery import Delivery
from gemini_nb.streams.loop import BackgroundLoop

if TYPE_CHECKING:
    from gemini_nb.simulator import Simulator
    from gemini_nb.streams.record import StreamRecord

__all__ = ["Runtime", "default_runtime", "forget_default_runtime"]

_POLL = 0.2  # seconds between looks for a Ctrl-C where the platform's lock does not wake for one

BlockOn = Callable[["concurrent.futures.Future[object]", "float | None"], object]


class Runtime:
    """The machinery of one manager.

    Attributes:
        settings: defaults for every stream.
        kernel_loop: finds the loop that runs the person's cells; a notebook sets it.
        block_on: waits for a future in a thread of the person's; a notebook puts one in its place that keeps
            the kernel's loop going.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.loop = BackgroundLoop("gemini_nb-loop", self._on_death)
        self.delivery = Delivery()
        self.kernel_loop: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None
        self.block_on: BlockOn = wait_for
        self.closed = False
        self._clients: dict[asyncio.AbstractEventLoop, HTTPClients] = {}
        self._active: set[StreamRecord] = set()
        self._simulator: Simulator | None = None
        self._lock = threading.Lock()

    @property
    def clients(self) -> HTTPClients:
        """The connections of the running loop. Loop thread only."""
        return self._clients.setdefault(asyncio.get_running_loop(), HTTPClients())

    def enlist(self, record: StreamRecord) -> None:
        """Let this stream hear if the loop dies."""
        with self._lock:
            if self.closed:
                raise ConfigError(
                    "This manager was shut down.", hint="gemini_nb.get_manager() makes a new one."
                )
            self._active.add(record)

    def discharge(self, record: StreamRecord) -> None:
        """This stream ended."""
        with self._lock:
            self._active.discard(record)

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

    def simulator(self) -> Simulator:
        """The embedded simulator, started by its first use with a random key made for this process."""
        with self._lock:
            if self._simulator is None:
                import secrets  # noqa: PLC0415 - only where there is no real key

                from gemini_nb.simulator import Simulator  # noqa: PLC0415 - a server that few need

                self._simulator = Simulator(api_key=f"simulator-{secrets.token_urlsafe(24)}")
                self._simulator.start()
            return self._simulator

    def simulator_key(self) -> Secret:
        """The key that the embedded simulator accepts."""
        return Secret(self.simulator().api_key or "simulator")

    def warm_up(self) -> None:
        """Import the client on the loop's thread, so that the first stream does not wait for it."""
        self.loop.call(_import_client)

    def close(self, timeout: float = 2.0) -> None:
        """End threads, connections and the simulator. Idempotent."""
        with self._lock:
            self.closed = True
            simulator, self._simulator = self._simulator, None
        deadline = time.monotonic() + timeout
        if self.loop.is_alive:
            future = self.loop.submit(self._close_clients())
            concurrent.futures.wait([future], timeout=timeout / 2)
        self.loop.close(max(0.2, deadline - time.monotonic()))
        self.delivery.close(max(0.2, deadline - time.monotonic()))
        if simulator is not None:
            simulator.close()

    async def _close_clients(self) -> None:
        clients = self._clients.pop(asyncio.get_running_loop(), None)
        if clients is not None:
            await clients.aclose()

    def _on_death(self) -> None:
        with self._lock:
            records, self._active = self._active, set()
        for record in records:
            if not record.is_done:
                record.fail(
                    InternalError(
                        "The background loop that ran this stream died.",
                        hint="Start the stream again: a new loop takes over.",
                    )
                )


def wait_for(future: concurrent.futures.Future[object], timeout: float | None) -> object:
    """Wait for a future, open to Ctrl-C on every platform.

    Raises:
        TimeoutError: it is not done in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _POLL if deadline is None else min(_POLL, deadline - time.monotonic())
        try:
            return future.result(max(0.0, left))
        except TimeoutError:
            if future.done() or (deadline is not None and time.monotonic() >= deadline):
                raise


def _import_client() -> None:
    import httpx_aiohttp  # noqa: F401, PLC0415 - imported for its effect, httpx and aiohttp with it


_default: Runtime | None = globals().get("_default")  # survives a reload of this module
_default_lock = threading.Lock()


def default_runtime() -> Runtime:
    """The process's shared runtime, made on first use."""
    global _default  # noqa: PLW0603 - one for each process is what it is for
    with _default_lock:
        if _default is None or _default.closed:
            _default = Runtime()
        return _default


def forget_default_runtime() -> None:
    """In a forked child: the parent's threads are not here, so a new runtime is made when needed."""
    global _default, _default_lock  # noqa: PLW0603 - see above
    _default = None
    _default_lock = threading.Lock()  # the parent's may have been held at the fork
