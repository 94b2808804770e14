"""What the tests of streams share: a manager and a server that belong together, subscribers to be asked.

Waits are on conditions, and every one of them fails after `PATIENCE` seconds instead of hanging.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.runtime.loop import BackgroundLoop
from gemini_nb.streams.stream import Stream
from scripted import PATIENCE, Answer, Request, ScriptedServer, Wait, sse_answer, text

__all__ = [
    "KEY",
    "PATIENCE",
    "Recorder",
    "Rig",
    "always",
    "echo",
    "hello",
    "hold",
    "hold_loop",
    "is_running",
    "join",
    "prompt_of",
    "rebuilt",
    "rig",
    "run_python",
    "until",
]

KEY = "key-that-must-not-be-seen-4711"


@dataclass
class Rig:
    """A manager and the server that its streams ask."""

    manager: StreamManager
    server: ScriptedServer

    @property
    def options(self) -> dict[str, Any]:
        return {"auth": "gemini", "credentials": {"api_key": KEY}, "base_url": self.server.url}

    def start(self, contents: Any = "Hi", subscriber: Any = None, **options: Any) -> Stream:
        return self.manager.start_stream(contents, subscriber, **{**self.options, **options})


@contextlib.contextmanager
def rig(script: Iterable[Answer] | Callable[[Request], Answer], **options: Any) -> Iterator[Rig]:
    with ScriptedServer(script) as server:
        manager = StreamManager(**options)
        try:
            yield Rig(manager, server)
        finally:
            manager.shutdown()
        _settle(server)
        server.wait_open(0)  # a shutdown closes every connection


def _settle(server: ScriptedServer) -> None:
    """Let the server take in a connection that was given up while it stood in the backlog.

    asyncio drops one that is accepted in the very turn in which the server closes, with its socket open.
    """
    for _ in range(5):  # turns of its loop
        turned = threading.Event()
        server._loop.call_soon_threadsafe(turned.set)
        assert turned.wait(PATIENCE)


def always(*chunks: Any) -> Callable[[Request], Answer]:
    """The same answer for every request."""
    return lambda _: sse_answer(*chunks)


def hello(words: str = "Hello") -> Callable[[Request], Answer]:
    return always(text(words, finish="STOP"))


def prompt_of(request: Request) -> str:
    """The first text of a request."""
    words: str = request.json["contents"][0]["parts"][0]["text"]
    return words


def echo(request: Request) -> Answer:
    """The prompt in capitals."""
    return sse_answer(text(prompt_of(request).upper(), finish="STOP"))


def hold(words: str = "one ") -> Callable[[Request], Answer]:
    """An answer that begins and never ends."""
    return always(text(words), Wait())


class Recorder:
    """A subscriber that keeps what it gets, and can be made to stand still at an event of some kind.

    Where a test is about who does not wait for it, it may stand without a limit of time.
    """

    def __init__(
        self,
        stand_at: str = "",
        until: threading.Event | None = None,
        limit: float | None = PATIENCE,
    ) -> None:
        self.events: list[StreamEvent] = []
        self.threads: set[threading.Thread] = set()
        self._stand_at, self._until, self._limit = stand_at, until, limit
        self._changed = threading.Condition()

    def __call__(self, event: StreamEvent) -> None:
        with self._changed:
            self.events.append(event)
            self.threads.add(threading.current_thread())
            self._changed.notify_all()
        if self._until is not None and self._stand_at in {"", event.kind}:
            self._until.wait(self._limit)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def wait(self, kind: str, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.kinds.count(kind) >= count, PATIENCE), self.kinds


def rebuilt(stream: Stream) -> str:
    """The text that a subscriber makes of the events."""
    words = ""
    for event in stream.events:
        if event.kind == "text_delta":
            words += event.text
        elif event.kind == "text_rewound":
            words = words[: event.length]
    return words


def hold_loop(loop: BackgroundLoop) -> threading.Event:
    """Make the background loop stand still until the returned event is set."""
    held, go_on = threading.Event(), threading.Event()

    def stand() -> None:
        held.set()
        go_on.wait(PATIENCE)

    loop.call(stand)
    assert held.wait(PATIENCE)
    return go_on


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def run_python(code: str, *flags: str, arguments: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, with the package and these helpers in reach."""
    support = Path(__file__).parent
    path = os.pathsep.join([str(support.parents[1]), str(support)])
    return subprocess.run(
        [sys.executable, *flags, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_running(pid: int) -> bool:
    """Whether the process lives; one that only was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
