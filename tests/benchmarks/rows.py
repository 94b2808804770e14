"""Many rows at once: when the cell returns, rows a second, the main thread's lag, memory for each row.

Run it with `make bench`. The server answers at once, in a process of its own. What bare sockets get from it,
as many as rows run at a time, is shown beside. The last line is of a kernel with a dashboard in view; there
the loop that runs the cells is what lags. `--full` adds 100,000 rows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gemini_nb
from gemini_nb.streams.manager import StreamManager

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from kernels import Kernel

SIZES = (1_000, 10_000)
CONCURRENCY = 32
PAGE = 4096
LOOK = 0.005  # seconds between two looks at the main thread
KEY = "a-key-of-this-benchmark"
SERVER = """
import asyncio, json

def event(words, **more):
    part = {"content": {"role": "model", "parts": [{"text": words}]}, **more}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 60, "totalTokenCount": 69}
    return b"data: " + json.dumps({"candidates": [part], "usageMetadata": usage}).encode() + b"\\r\\n\\r\\n"

BODY = event("word " * 26) + event("more words " * 12, finishReason="STOP")
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY)

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            lengths = [line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0].split(b":")[1]))
            writer.write(HEAD + BODY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

LAGS = f"""
import asyncio, time

lags = []

async def look():
    while True:
        looked = time.perf_counter()
        await asyncio.sleep({LOOK})
        lags.append(time.perf_counter() - looked - {LOOK})

looking = asyncio.get_running_loop().create_task(look())
"""
ASK = f"""
began = time.perf_counter()
%gemini_stream --each prompts --concurrency {CONCURRENCY} -o group Look at {{item}}.
returned = time.perf_counter() - began
"""
FIGURES = """
await group
looking.cancel()
print(group.counts.completed, returned * 1e3, sorted(lags)[int(len(lags) * 0.99)] * 1e3)
"""


@contextlib.contextmanager
def instant_server() -> Iterator[str]:
    """A server in a process of its own, whose answers are there at once."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def bare(url: str, rows: int) -> float:
    """Requests a second over as many bare sockets."""
    host, port = urlsplit(url).hostname, urlsplit(url).port

    async def ask(count: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(count):
            writer.write(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"length: ")[2].partition(b"\r")[0]))
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(ask(rows // CONCURRENCY) for _ in range(CONCURRENCY)))

    began = time.perf_counter()
    asyncio.run(all_of_them())
    return rows // CONCURRENCY * CONCURRENCY / (time.perf_counter() - began)


def memory() -> int:
    """Bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measure(manager: StreamManager, options: dict[str, Any], rows: int) -> tuple[float, float, float, float]:
    """Milliseconds until `map` returned, rows a second, the 99th percentile of lag in ms, KB for each row."""
    prompts = [f"row {number}" for number in range(rows)]
    before, began = memory(), time.perf_counter()
    group = gemini_nb.map(prompts, concurrency=CONCURRENCY, manager=manager, **options)
    returned = time.perf_counter() - began
    ended = threading.Event()

    def wait() -> None:
        group.wait()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    lags = []
    while not ended.is_set():
        looked = time.perf_counter()
        time.sleep(LOOK)  # what a cell of the user's own would notice
        lags.append(time.perf_counter() - looked - LOOK)
    took = time.perf_counter() - began
    if group.counts.completed != rows:
        raise SystemExit(f"Not all rows were answered: {group.counts}")
    each = (memory() - before) / rows
    return returned * 1e3, rows / took, sorted(lags)[int(len(lags) * 0.99)] * 1e3, each / 1e3


def with_a_dashboard(url: str, rows: int) -> tuple[float, float]:
    """Milliseconds until the cell of a kernel returned, and the 99th percentile of its loop's lag in ms."""
    environment = {"GEMINI_NB_AUTH": "gemini", "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url}
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder) / "kernel", environment)
        for cell in ("%load_ext gemini_nb", "%gemini_dashboard", "%gemini_stream --wait Begin."):
            kernel.run(cell)
        kernel.run(f"prompts = [f'row {{number}}' for number in range({rows})]{LAGS}")
        kernel.run(ASK)
        completed, returned, lag = map(float, kernel.run(FIGURES, timeout=600).stdout.split())
        kernel.close()
    if completed != rows:
        raise SystemExit(f"Not all rows were answered: {completed:,.0f} of {rows:,}")
    return returned, lag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES))
    chosen = parser.parse_args()
    sizes = [*chosen.rows, *([100_000] if chosen.full else [])]
    print(f"\nmany rows, {CONCURRENCY} at a time, an instant server")
    print(
        f"{'rows':>8}{'returned ms':>13}{'rows/s':>9}{'bare/s':>9}{'lag p99 ms':>12}{'KB a row':>10}",
        flush=True,
    )
    with instant_server() as url:
        manager = StreamManager()
        options = {"auth": "gemini", "credentials": {"api_key": KEY}, "base_url": url}
        measure(manager, options, 400)  # imports, connections, the history of the manager
        for rows in sizes:
            returned, speed, lag, each = measure(manager, options, rows)
            line = (
                f"{rows:>8,}{returned:>13.0f}{speed:>9,.0f}{bare(url, rows):>9,.0f}{lag:>12.1f}{each:>10.1f}"
            )
            print(line, flush=True)
        manager.shutdown()
        returned, lag = with_a_dashboard(url, sizes[-1])
        print(f"{sizes[-1]:>8,}{returned:>13.0f}{'with a dashboard':>18}{lag:>12.1f}")


if __name__ == "__main__":
    main()
