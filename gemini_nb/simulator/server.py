"""The HTTP server: a socket bound by the caller, served from a thread and a loop of its own.

Bound in the server's thread, its port would be known only after a wait. Bound and listening in the caller's,
the address can be used at once: the system keeps connections until the loop takes them. Requests are handed
to the service, and its replies written to the connection.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import struct
import threading
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from gemini_nb.simulator.delivery import BrokenOffError, End, Reply, deliver
from gemini_nb.simulator.requests import Fields, RefusalError
from gemini_nb.simulator.service import Service

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_NAME = {"Server": "gemini-nb-simulator"}
_BACKLOG = 1024
_PATIENCE = 0.5
_NEXT_TRY = 0.02
_HOUR = 3600.0
_LONGEST_LINE = 2**16


def _bind(port: int) -> socket.socket:
    return socket.create_server((_HOST, port), backlog=_BACKLOG)


def _readable(text: str) -> str:
    """Return a text of a request's head without stray bytes, which no reply could repeat."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _settle(done: concurrent.futures.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


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
        self._socket = _bind(port)
        self.port: int = self._socket.getsockname()[1]
        self.running: set[asyncio.Task[Any] | None] = set()
        """The answers that are being written."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listens = threading.Event()
        self._listener: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._refusing: set[concurrent.futures.Future[None]] = set()
        application = web.Application(client_max_size=0)  # the service says itself what is too large
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            application,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_PATIENCE,
            keepalive_timeout=_HOUR,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self.thread = threading.Thread(target=self._run, name="gemini_nb-simulator", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End all answers, the server and its thread."""
        try:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            if threading.current_thread() is not self.thread:
                self.thread.join(10 * _PATIENCE)
        finally:
            self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())
        for done in list(self._refusing):  # the loop has not come to them
            _settle(done)

    async def _serve(self) -> None:
        await self._runner.setup()
        await self._listen(self._socket)
        self._listens.set()
        await self._stop.wait()
        if self._reopening is not None:
            self._reopening.cancel()
        await self._stop_listening()
        answers = [answer for answer in self.running if answer is not None]
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        left = [one.transport for one in (self._runner.server.connections if self._runner.server else ())]
        await self._runner.cleanup()
        for transport in left:  # one whose client does not read would wait for it
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        await asyncio.sleep(0)

    async def _listen(self, bound: socket.socket) -> None:
        # Nothing is awaited before the listener is known: cancelled there, a task would leave it open.
        self._listener = await self._loop.create_server(
            self._factory, sock=bound, backlog=_BACKLOG, start_serving=False
        )
        await self._listener.start_serving()

    async def _stop_listening(self) -> None:
        """Close the listener, once each connection that it has accepted has got its transport."""
        listener, self._listener = self._listener, None
        if listener is not None:
            for one in listener.sockets:
                with contextlib.suppress(NotImplementedError):  # Windows' loop has none
                    self._loop.remove_reader(one.fileno())
            try:
                for _ in range(3):
                    await asyncio.sleep(0)
            finally:
                listener.close()

    def _factory(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    def refuse(self, seconds: float) -> None:
        """Stop listening and reset all connections; listen on the same port again after so many seconds."""
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def refuse() -> None:
            if self._stop.is_set():  # the loop closes without waiting for a new task
                _settle(done)
                return
            if self._reopening is not None:
                self._reopening.cancel()
            self._reset_connections()
            self._reopening = self._loop.create_task(self._reopen(seconds, done), name="gemini_nb-reopening")
            self._reopening.add_done_callback(lambda _: _settle(done))  # cancelled before it began

        if threading.current_thread() is self.thread:
            refuse()
            return
        self._listens.wait(10 * _PATIENCE)
        self._refusing.add(done)
        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended, and refuses anyhow
            self._loop.call_soon_threadsafe(refuse)
            done.result(10 * _PATIENCE)
        self._refusing.discard(done)

    def _reset_connections(self) -> None:
        for connection in self._runner.server.connections if self._runner.server else ():
            _close(connection.transport, reset=True)

    async def _reopen(self, seconds: float, done: concurrent.futures.Future[None]) -> None:
        try:
            await self._stop_listening()
            self._reset_connections()
            await asyncio.sleep(0)  # a transport closes its socket in the loop's next round
        finally:
            _settle(done)
        await asyncio.sleep(seconds)
        while self._listener is None:
            try:
                await self._listen(_bind(self.port))
            except OSError:  # an outgoing connection may hold the port for a moment
                await asyncio.sleep(_NEXT_TRY)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        self.running.add(task)
        try:
            return await self._write(request)
        finally:
            self.running.discard(task)

    async def _write(self, request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            path, raw = unquote(_readable(request.rel_url.raw_path)), await request.read()
            query, headers = (
                Fields(request.query.items()),
                Fields((name, _readable(value)) for name, value in request.headers.items()),
            )
            reply = self._service.reply(request.method, path, query, headers, raw)
            sent = {**_NAME, "Content-Type": reply.encoder.content_type, **reply.headers}
            response = web.StreamResponse(status=reply.status, headers=sent)
            await self._deliver(reply, request, response)
        except ConnectionError:  # the client has left
            pass
        except Exception as error:  # noqa: BLE001 - it is logged, and the client hears of it
            _log.exception("The simulator failed.")
            if response is None or not response.prepared:
                failure = RefusalError(500, "INTERNAL", f"The simulator failed: {error!r}")
                return web.json_response(failure.to_json(), status=500, headers=_NAME)
            # The status is gone already, so a broken connection is the only way left to say that it failed.
            _close(request.transport)
        return response or web.Response()

    async def _deliver(self, reply: Reply, request: web.Request, response: web.StreamResponse) -> None:
        async def write(data: bytes) -> None:
            await response.prepare(request)  # once; the headers are sent even where there is no data yet
            if data:
                await response.write(data)

        how: End = "end"
        try:
            await deliver(reply.pieces(), write, pace=self._service.pace)
        except BrokenOffError as broken:
            how = broken.how
        if how == "end":
            await write(b"")
            await response.write_eof()
        else:
            _close(request.transport, reset=how == "rst")


def _close(transport: asyncio.BaseTransport | None, *, reset: bool = False) -> None:
    """Close a connection, or reset it.

    A socket that lingers for no time is reset when it is closed; one that does not linger says goodbye.
    """
    if transport is None:
        return
    if reset:
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.close()
