"""The HTTP server: a socket that is bound by the caller, served from an own thread and loop.

Binding in the server's thread would mean to wait for it before the port is known. Bound and listening in the
caller's, the address can be used at once: the system keeps connections until the loop takes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import tornado.httpserver
import tornado.web

from gemini_nb.simulator.handlers import ApiHandler
from gemini_nb.simulator.service import Service

__all__ = ["HOST", "Server"]

HOST = "127.0.0.1"
_BACKLOG = 1024
_PATIENCE = 0.5


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

    async def _serve(self) -> None:
        handler: Any = (r".*", ApiHandler, {"service": self._service, "running": self.running})
        application = tornado.web.Application([handler], log_function=lambda _: None)
        server = tornado.httpserver.HTTPServer(application, decompress_request=True)
        server.add_socket(self._socket)
        await self._stop.wait()
        server.stop()
        answers = list(self.running)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), _PATIENCE)
