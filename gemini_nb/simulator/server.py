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
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import tornado.httpserver
import tornado.web
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from gemini_nb.simulator.delivery import BrokenOffError, Encoder, Sink, deliver
from gemini_nb.simulator.protocol.refusals import RefusalError
from gemini_nb.simulator.protocol.rules import PAYLOAD_LIMIT
from gemini_nb.simulator.record import Fields
from gemini_nb.simulator.service import Service

if TYPE_CHECKING:
    from tornado.iostream import IOStream

__all__ = ["HOST", "Server"]

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_BACKLOG = 1024
_PATIENCE = 0.5
_NEXT_TRY = 0.02


def _bind(port: int) -> socket.socket:
    listener = socket.create_server((HOST, port), backlog=_BACKLOG)
    # Its connections inherit this; else the second piece of an answer waits 40 ms for an ACK of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


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
        self._socket = _bind(port)
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
        done: concurrent.futures.Future[None] = concurrent.futures.Future()

        def refuse() -> None:
            if self._reopening is not None:
                self._reopening.cancel()
            if self._listener is not None:
                self._listener.reset()
                self._listener = None
            self._reopening = self._loop.create_task(self._reopen(seconds), name="gemini_nb-reopening")
            done.set_result(None)

        if threading.current_thread() is self.thread:
            refuse()
            return
        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop has ended, and refuses anyhow
            self._loop.call_soon_threadsafe(refuse)
            done.result(10 * _PATIENCE)

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while self._listener is None:
            try:
                self._socket = _bind(self.port)
                self._listener = self._listen()
            except OSError:  # an outgoing connection may hold the port for a moment
                await asyncio.sleep(_NEXT_TRY)

    def _listen(self) -> _Listener:
        self._socket.setblocking(False)
        handler: Any = (r".*", _Handler, {"service": self._service, "running": self.running})
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
        if self._listener is not None:
            self._listener.stop()
        answers = list(self.running)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
        if self._listener is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listener.close_all_connections(), _PATIENCE)


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
            _reset_connection(stream)


class _Handler(RequestHandler):
    """Answers every path; the service knows which of them there are."""

    def initialize(self, service: Service, running: set[asyncio.Task[None]]) -> None:
        """Take what the application hands to each handler."""
        self._service = service
        self._running = running
        self._delivery: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        """Name the server, also in errors."""
        self.set_header("Server", "gemini-nb-simulator")

    def check_xsrf_cookie(self) -> None:
        """No cookies are used, so none can be forged."""

    def compute_etag(self) -> None:
        """Answers are not cached."""

    async def prepare(self) -> None:
        """Answer the request, whatever its verb."""
        request = self.request
        query = Fields(
            (name, values[-1].decode("utf-8", "replace")) for name, values in request.query_arguments.items()
        )
        headers = Fields(request.headers.get_all())
        reply = self._service.reply(request.method or "", unquote(request.path), query, headers, request.body)
        self.set_status(reply.status)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        sink = reply.breaking(_HandlerSink(self, reply.encoder))
        self._delivery = asyncio.create_task(
            deliver(reply.steps, reply.encoder, sink, pace=self._service.pace),
            name="gemini_nb-simulated-answer",
        )
        self._running.add(self._delivery)
        self._delivery.add_done_callback(self._running.discard)
        try:
            try:
                await self._delivery
            except BrokenOffError as broken:
                await sink.break_off(broken.how)
        except (asyncio.CancelledError, StreamClosedError):
            sink.cut()
        except Exception:
            if not self._headers_written:
                raise
            # The status is gone already, so a broken connection is the only way left to say that it failed.
            _log.exception("A scenario failed after its answer had begun.")
            sink.cut()

    def on_connection_close(self) -> None:
        """Stop answering a client that left."""
        if self._delivery is not None:
            self._delivery.cancel()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error body where the server itself failed."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        status, words = "INTERNAL", f"The simulator failed: {error!r}"
        if status_code < 500:
            status, words = "INVALID_ARGUMENT", f"The simulator cannot read this: {error}"
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(RefusalError(status_code, status, words).to_json())

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a failure without the request, whose URL may hold a key."""
        if not isinstance(value, HTTPError):
            _log.error("The simulator failed.", exc_info=(typ, value, tb))


class _HandlerSink(Sink):
    """Writes to the connection of one handler."""

    def __init__(self, handler: _Handler, encoder: Encoder) -> None:
        self._handler = handler
        self._content_type = encoder.content_type
        self._opened = False

    async def write(self, data: bytes) -> None:
        self._open()
        self._handler.write(data)
        await self._handler.flush()

    async def finish(self) -> None:
        self._open()
        await self._handler.finish()

    def cut(self, *, reset: bool = False) -> None:
        connection: Any = self._handler.request.connection
        if reset:
            _reset_connection(connection.stream)
        connection.stream.close()
        if not self._handler._finished:  # noqa: SLF001 - tornado has no public name for it
            self._handler.finish()

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self._handler.set_header("Content-Type", self._content_type)
            # Small pieces must leave at once; otherwise the system holds them back to send them together.
            connection: Any = self._handler.request.connection
            connection.stream.set_nodelay(True)


def _reset_connection(stream: Any) -> None:
    """Close tornado's stream so that the other side sees a reset.

    A socket that lingers for no time is reset when it is closed; one that does not linger says goodbye.
    """
    if not stream.closed():
        with contextlib.suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
