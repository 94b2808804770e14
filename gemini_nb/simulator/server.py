"""The HTTP server: a socket that is bound by the caller, served from an own thread and loop.

Binding in the server's thread would mean to wait for it before the port is known. Bound and listening in the
caller's, the address can be used at once: the system keeps connections until the loop takes them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import tornado.httpserver
import tornado.web

from gemini_nb.simulator.handlers import ApiHandler, reset_connection
from gemini_nb.simulator.rules import PAYLOAD_LIMIT
from gemini_nb.simulator.service import Service

if TYPE_CHECKING:
    from tornado.iostream import IOStream

__all__ = ["HOST", "Server"]

HOST = "127.0.0.1"
_BACKLOG = 1024
_PATIENCE = 0.5
_NEXT_TRY = 0.02


class Server:
    """Serves one service until it is closed.

    Args:
        service: answers the requests.
        port: the port to listen on, 0 for any that is free.

    Raises:
        OSError: the port cannot be bound.
    """

    def __init__(self, service: Service, port: int) -> None:
        self._service = service
        # tornado's own bind_sockets leaks the socket when the port is taken.
        self._socket = socket.create_server((HOST, port), backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.running: set[asyncio.Task[None]] = set()
        """The answers that are being written."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listener: _Listener | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.thread = threading.Thread(target=self._run, name="gemini_nb-simulator", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End all answers, the server and its thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self.thread:
            self.thread.join(10 * _PATIENCE)
        self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def refuse(self, seconds: float) -> None:
        """Stop listening and reset all connections; listen on the same port again after so many seconds."""
        if threading.current_thread() is self.thread:
            self._refuse(seconds)
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def refuse() -> None:
            self._refuse(seconds)
            done.set_result(None)

        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended, and refuses anyhow
            self._loop.call_soon_threadsafe(refuse)
            done.result(10 * _PATIENCE)

    def _refuse(self, seconds: float) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        if self._listener is not None:
            self._listener.reset()
            self._listener = None
        self._reopening = self._loop.create_task(self._reopen(seconds), name="gemini_nb-reopening")

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while True:
            try:
                self._socket = socket.create_server((HOST, self.port), backlog=_BACKLOG)
            except OSError:  # somebody's outgoing connection may hold the port for a moment
                await asyncio.sleep(_NEXT_TRY)
                continue
            self._socket.setblocking(False)
            self._listener = self._listen()
            return

    def _listen(self) -> _Listener:
        handler: Any = (r".*", ApiHandler, {"service": self._service, "running": self.running})
        application = tornado.web.Application([handler], log_function=lambda _: None)
        # A larger body is read, too, so that the service can say what is wrong with it.
        listener = _Listener(application, decompress_request=True, max_body_size=2 * PAYLOAD_LIMIT)
        listener.add_socket(self._socket)
        return listener

    async def _serve(self) -> None:
        self._listener = self._listen()
        await self._stop.wait()
        if self._reopening is not None:
            self._reopening.cancel()
        listener = self._listener
        if listener is not None:
            listener.stop()
        answers = list(self.running)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        if listener is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.close_all_connections(), _PATIENCE)


class _Listener(tornado.httpserver.HTTPServer):
    """tornado's server, which does not say which connections it has."""

    def initialize(self, *args: Any, **options: Any) -> None:
        """Take what tornado's server takes."""
        super().initialize(*args, **options)
        self._streams: weakref.WeakSet[IOStream] = weakref.WeakSet()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Take a connection."""
        self._streams.add(stream)
        super().handle_stream(stream, address)

    def reset(self) -> None:
        """Stop listening and reset all connections."""
        self.stop()
        for stream in list(self._streams):
            reset_connection(stream)
