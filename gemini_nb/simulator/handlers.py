"""The requests of the HTTP server, handed to the service, and its replies written to the connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from typing import Any
from urllib.parse import unquote

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from gemini_nb.simulator.delivery import BrokenOffError, Encoder, Sink, deliver
from gemini_nb.simulator.fault_wire import FaultySink
from gemini_nb.simulator.record import Fields
from gemini_nb.simulator.refusals import RefusalError
from gemini_nb.simulator.service import Service

__all__ = ["ApiHandler", "reset_connection"]

_log = logging.getLogger(__name__)


class ApiHandler(RequestHandler):
    """Answers every path; which of them mean something is the service's business."""

    def initialize(self, service: Service, running: set[asyncio.Task[None]]) -> None:
        """Take what the application hands to each handler."""
        self._service = service
        self._running = running
        self._delivery: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        """Say what this is, also in errors."""
        self.set_header("Server", "gemini-nb-simulator")

    def check_xsrf_cookie(self) -> None:
        """No cookies are used, so none can be forged."""

    def compute_etag(self) -> None:
        """Answers are not cached."""

    async def prepare(self) -> None:
        """Answer here, whatever the verb."""
        request = self.request
        query = Fields(
            (name, values[-1].decode("utf-8", "replace")) for name, values in request.query_arguments.items()
        )
        headers = Fields(request.headers.get_all())
        reply = self._service.reply(request.method or "", unquote(request.path), query, headers, request.body)
        self.set_status(reply.status)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        connection = _HandlerSink(self, reply.encoder)
        faulty = None if reply.fault is None else FaultySink(connection, reply.fault)
        sink: Sink = faulty or connection
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
                if faulty is None:
                    raise
                await faulty.break_off(broken.how)
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
        if status_code < 500:
            refusal = RefusalError(
                status_code, "INVALID_ARGUMENT", f"The simulator cannot read this: {error}"
            )
        else:
            refusal = RefusalError(status_code, "INTERNAL", f"The simulator failed: {error!r}")
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(refusal.to_json())

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a failure without the request, whose URL may hold a key."""
        if not isinstance(value, HTTPError):
            _log.error("The simulator failed.", exc_info=(typ, value, tb))


def reset_connection(stream: Any) -> None:
    """Close tornado's stream so that the other side sees a reset.

    A socket that lingers for no time is reset when it is closed; one that does not linger says goodbye.
    """
    if not stream.closed():
        with contextlib.suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()


class _HandlerSink:
    """Writes to the connection of one handler."""

    def __init__(self, handler: ApiHandler, encoder: Encoder) -> None:
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
            reset_connection(connection.stream)
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
