"""One client in a process of its own: ours, google-genai's, or a bare socket, as few lines as each allows.

What it used and saw goes to its standard output as JSON. Processor time and memory are counted from the first
chunk on: what importing, connecting and a first stream cost is behind it then.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paced_server

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = 0.01
ENDPOINT = "http://127.0.0.1:{port}"


@dataclass
class Result:
    """What one client used and saw.

    Attributes:
        cpu: seconds of processor time, first chunk to last.
        wall: seconds, likewise.
        memory: bytes per stream, at the end.
        whole: answers that arrived whole.
        first: median milliseconds from a first byte written to its event seen.
        lag: 99th percentile of how late the main thread's ticks were, in milliseconds.
    """

    cpu: float = 0.0
    wall: float = 0.0
    memory: float = 0.0
    whole: int = 0
    first: float = 0.0
    lag: float = 0.0


@dataclass
class Watch:
    """Takes what clients show, and starts counting with the first of it."""

    chunks: int
    memory: int = 0
    cpu: float = 0.0
    start: float = 0.0
    delays: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def viewer(self) -> Callable[[str], None]:
        """Return what one stream calls with each piece of its text."""
        seen = False

        def see(text: str) -> None:
            nonlocal seen
            if not seen:
                seen = True
                now = time.monotonic()
                if not self.start:
                    self.start, self.cpu = now, time.process_time()
                self.delays.append(now - float(text))

        return see

    def result(self, texts: list[str]) -> Result:
        cpu, now = time.process_time() - self.cpu, time.monotonic()
        late = sorted(self.lags)
        return Result(
            cpu=cpu,
            wall=now - self.start,
            memory=(_memory() - self.memory) / len(texts),
            whole=sum(paced_server.is_whole(text, self.chunks) for text in texts),
            first=statistics.median(self.delays) * 1000,
            lag=late[int(len(late) * 0.99)] * 1000 if late else 0.0,
        )


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


Ask = Callable[[str, int, Watch], list[str]]


@contextlib.contextmanager
def ours(port: int) -> Iterator[Ask]:
    from gemini_nb.streams.events.events import StreamEvent, TextDelta
    from gemini_nb.streams.manager import StreamManager

    manager = StreamManager(history=0)

    def viewer(watch: Watch) -> Callable[[StreamEvent], None]:
        see = watch.viewer()

        def subscriber(event: StreamEvent) -> None:
            if isinstance(event, TextDelta):
                see(event.text)

        return subscriber

    def ask(model: str, count: int, watch: Watch) -> list[str]:
        streams = [
            manager.start_stream(
                "Go on.",
                viewer(watch),
                model=model,
                auth="gemini",
                credentials={"api_key": "any"},
                base_url=ENDPOINT.format(port=port),
            )
            for _ in range(count)
        ]
        return [stream.result() for stream in streams]

    yield ask
    manager.shutdown()


@contextlib.contextmanager
def google(port: int) -> Iterator[Ask]:
    from google import genai

    client = genai.Client(api_key="any", http_options={"base_url": ENDPOINT.format(port=port)})

    async def read(model: str, see: Callable[[str], None]) -> str:
        texts: list[str] = []
        async for chunk in await client.aio.models.generate_content_stream(model=model, contents="Go on."):
            texts.append(chunk.text or "")
            see(texts[-1])
        return "".join(texts)

    with _background(read) as ask:
        yield ask


@contextlib.contextmanager
def socket(port: int) -> Iterator[Ask]:
    async def read(model: str, see: Callable[[str], None]) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        path = f"/v1beta/models/{model}:streamGenerateContent?alt=sse"
        writer.write(f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        texts: list[str] = []
        while size := int(await reader.readline(), 16):
            value = json.loads((await reader.readexactly(size + 2))[5:])
            texts.append(value["candidates"][0]["content"]["parts"][0]["text"])
            see(texts[-1])
        writer.close()
        return "".join(texts)

    with _background(read) as ask:
        yield ask


@contextlib.contextmanager
def _background(read: Callable[[str, Callable[[str], None]], Any]) -> Iterator[Ask]:
    """The others' streams on a loop in a thread, as ours are, so that the main thread can tick."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def read_all(model: str, count: int, watch: Watch) -> list[str]:
        return list(await asyncio.gather(*(read(model, watch.viewer()) for _ in range(count))))

    def ask(model: str, count: int, watch: Watch) -> list[str]:
        return asyncio.run_coroutine_threadsafe(read_all(model, count, watch), loop).result()

    yield ask
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def _tick(watch: Watch, done: threading.Event) -> None:
    while not done.is_set():
        before = time.monotonic()
        time.sleep(TICK)
        if watch.start:
            watch.lags.append(time.monotonic() - before - TICK)


def measure(ask: Ask, streams: int, chunks: int, pace: int, *, ticking: bool) -> Result:
    """Ask for all of them at once; with `ticking` the main thread ticks meanwhile."""
    name = paced_server.model(streams, chunks, pace)
    ask(paced_server.model(1, 3, 20), 1, Watch(3))  # imports and pools are not what is measured
    gc.collect()
    watch = Watch(chunks, memory=_memory())
    if not ticking:
        return watch.result(ask(name, streams, watch))
    found: list[Result] = []
    done = threading.Event()

    def work() -> None:
        try:
            found.append(watch.result(ask(name, streams, watch)))
        finally:
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    _tick(watch, done)
    worker.join()
    return found[0]


CLIENTS = {"ours": ours, "google": google, "socket": socket}


def main() -> None:
    _, kind, port, streams, chunks, pace, ticking = sys.argv
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with CLIENTS[kind](int(port)) as ask:
        print(
            json.dumps(asdict(measure(ask, int(streams), int(chunks), int(pace), ticking=ticking == "tick")))
        )


if __name__ == "__main__":
    main()
