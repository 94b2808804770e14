"""An HTTP/1.1 server whose answers are written out byte by byte.

A mock of the transport cannot show what a real connection does: where its bytes are cut, that it is reset,
that the other side has closed it. So this one listens on a real socket and plays, for each request, a list of
steps:

    bytes           sent as they are
    Wait(event)     until the event (of `threading`) is set; Wait() holds on until the client is gone
    Signal(event)   sets the event when the answer has come this far
    Close()         ends the connection as a server does that is done
    Reset()         ends it as a crashed server does

    with ScriptedServer([json_error(503), sse_answer(text("Hello"), text("!", finish="STOP"))]) as server:
        ...                      # talk to server.url
        server.requests[1].json  # what was asked

It has a thread of its own, so that tests with and without an event loop can use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, assert_never

from ports import listen
from scripted_answers import (
    Answer,
    Close,
    Reset,
    Signal,
    Step,
    Wait,
    answer,
    call,
    json_error,
    response,
    sse_answer,
    sse_event,
    text,
)

__all__ = [
    "Answer",
    "Close",
    "Request",
    "Reset",
    "ScriptedServer",
    "Signal",
    "Step",
    "Wait",
    "answer",
    "call",
    "json_error",
    "response",
    "sse_answer",
    "sse_event",
    "text",
]

PATIENCE = 20.0
"""Seconds after which a wait for something that must happen fails the test."""


@dataclass(slots=True, eq=False)
class Request:
    """One request as it came.

    Attributes:
        target: what the request line names: a path with its query, a whole URL (to a proxy) or host:port.
        headers: by lower-case name.
        connection: the number of the connection it came on, from 0.
        closed: set when that connection has ended, on whichever side.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def wait_closed(self) -> None:
        assert self.closed.wait(PATIENCE), "the connection is still open"


class ScriptedServer:
    """The server, running while its `with` block does.

    Args:
        script: the answers in the order of the requests, or a function that makes one for a request. A list
            that is too short is an error at the end of the block.
        read_body: False leaves request bodies unread, as a stuck server does.
    """

    def __init__(
        self, script: Iterable[Answer] | Callable[[Request], Answer], *, read_body: bool = True
    ) -> None:
        self.requests: list[Request] = []
        self.unexpected: list[Request] = []
        self.connections = 0
        self._script = script if callable(script) else _in_order(script)
        self._read_body = read_body
        self._changed = threading.Condition()
        self._open = 0
        self._loop = asyncio.new_event_loop()
        self._socket = listen(backlog=512)
        # asyncio does so only for its own sockets; else an answer in pieces waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._run, name="scripted-server", daemon=True)
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._gates: dict[int, asyncio.Event] = {}

    @property
    def open(self) -> int:
        """How many connections stand."""
        return self._open

    def wait_requests(self, count: int) -> list[Request]:
        """Return the requests once there are so many of them."""
        self._wait(lambda: len(self.requests) >= count, lambda: f"{len(self.requests)} of {count} requests")
        return self.requests

    def wait_open(self, count: int) -> None:
        """Wait until exactly so many connections stand."""
        self._wait(lambda: self._open == count, lambda: f"{self._open} connections are open, not {count}")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if kind is None:
            assert not self.unexpected, f"{len(self.unexpected)} more requests than answers"

    def _wait(self, true: Callable[[], bool], what: Callable[[], str]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), what()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()
            self._socket.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        writers: set[asyncio.StreamWriter] = set()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            tasks.add(task := self._loop.create_task(self._connection(reader, writer)))
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: writers.discard(writer))

        server = await asyncio.start_server(accept, sock=self._socket, backlog=512)
        self._started.set()
        await self._stop.wait()
        server.close()
        for _ in range(5):  # turns of the loop that it takes to hand over a connection just accepted
            await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        self._count(+1)
        mine: list[Request] = []
        try:
            ahead = b""
            while (request := await self._receive(reader, ahead, number)) is not None:
                mine.append(request)
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                try:
                    steps = self._script(request)
                except LookupError:
                    self.unexpected.append(request)
                    break
                alive, ahead = await self._play(steps, reader, writer)
                if not alive:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            for request in mine:
                request.closed.set()
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()

    async def _receive(self, reader: asyncio.StreamReader, ahead: bytes, number: int) -> Request | None:
        try:
            head = ahead + await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = line.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", 0)) if self._read_body else 0
        return Request(method, target, headers, await reader.readexactly(length), number)

    async def _play(
        self, steps: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[bool, bytes]:
        """Play the answer; return whether the connection goes on, and the next request's first byte."""
        playing = self._loop.create_task(self._steps(steps, writer))
        watching = self._loop.create_task(_first_byte(reader)) if self._read_body else None
        try:
            if watching is not None:
                await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
                if not playing.done() and not watching.result():
                    return False, b""
            alive = await playing
            return alive, b"" if watching is None or not alive else await watching
        finally:
            await _ended(playing)
            await _ended(watching)

    async def _steps(self, steps: Answer, writer: asyncio.StreamWriter) -> bool:
        for step in steps:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case Wait():
                    await self._gate(step.event).wait()
                case Signal():
                    step.event.set()
                case Close():
                    return False
                case Reset():
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return False
                case _:
                    assert_never(step)
        return True

    def _gate(self, event: threading.Event | None) -> asyncio.Event:
        if event is None:
            return asyncio.Event()
        gate = self._gates.get(id(event))
        if gate is None:
            gate = self._gates[id(event)] = asyncio.Event()
            # One thread for each event, not for each answer: a hundred answers may wait for the same.
            threading.Thread(target=self._pass_on, args=(event, gate), daemon=True).start()
        return gate

    def _pass_on(self, event: threading.Event, gate: asyncio.Event) -> None:
        while not event.wait(0.1):
            if self._loop.is_closed():
                return
        with contextlib.suppress(RuntimeError):  # the server was stopped meanwhile
            self._loop.call_soon_threadsafe(gate.set)


def _in_order(answers: Iterable[Answer]) -> Callable[[Request], Answer]:
    left = iter(list(answers))

    def following(_: Request) -> Answer:
        try:
            return next(left)
        except StopIteration:
            raise LookupError from None

    return following


async def _first_byte(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1)
    except OSError:
        return b""


async def _ended(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task
