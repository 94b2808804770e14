"""What one chunk that arrives by itself costs: httpx's own transport, httpx over aiohttp, a bare socket.

Run it with `make bench`. A server in a process of its own paces 100 streams at 20 chunks a second; each
client is a process of its own, too, that decodes every chunk and reports the processor time it used. The
figures are ratios to the bare socket of the same round, medians over all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from gemini_nb.api.sse import SSEDecoder, encode

STREAMS, CHUNKS, PAUSE = 100, 60, 0.05
EVENT = encode(
    json.dumps(
        {
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": "a few words of text"}]}, "index": 0}
            ],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 12, "totalTokenCount": 19},
            "modelVersion": "gemini-3.8-flash",
            "responseId": "RUy4aObyJcTujrEPqtKYKQ",
        }
    )
)
Read = Callable[[int], Coroutine[Any, Any, int]]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head)
    await asyncio.sleep(1)  # until every client is connected
    for _ in range(CHUNKS):
        writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        await asyncio.sleep(PAUSE)
    writer.write(b"0\r\n\r\n")
    writer.close()


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def read_socket(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    count = 0
    while size := int(await reader.readline(), 16):
        json.loads((await reader.readexactly(size + 2))[5:])
        count += 1
    writer.close()
    return count


def read_with(client: httpx.AsyncClient) -> Read:
    async def read(port: int) -> int:
        decoder, count = SSEDecoder(), 0
        async with client.stream("POST", f"http://127.0.0.1:{port}/") as response:
            async for data in response.aiter_bytes():
                for event in decoder.feed(data):
                    json.loads(event.data)
                    count += 1
        return count

    return read


async def measure(read: Read, port: int) -> float:
    start = time.process_time()
    counts = await asyncio.gather(*(read(port) for _ in range(STREAMS)))
    if counts != [CHUNKS] * STREAMS:
        raise SystemExit(f"chunks were lost: {counts}")
    return (time.process_time() - start) / (STREAMS * CHUNKS) * 1e6


async def run_client(kind: str, port: int) -> None:
    if kind == "socket":
        print(await measure(read_socket, port))
        return
    limits = httpx.Limits(max_connections=0 if kind == "aiohttp" else None)
    make = HttpxAiohttpClient if kind == "aiohttp" else httpx.AsyncClient
    async with make(limits=limits, timeout=60, trust_env=False) as client:
        print(await measure(read_with(client), port))


def compare(rounds: int) -> None:
    names = {
        "socket": "bare asyncio socket",
        "aiohttp": "httpx over aiohttp",
        "httpx": "httpx's own transport",
    }
    costs: dict[str, list[float]] = {kind: [] for kind in names}
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        for _ in range(rounds):
            for kind, found in costs.items():
                command = [sys.executable, __file__, "--client", kind, "--port", port]
                found.append(float(subprocess.check_output(command, text=True)))
        server.terminate()
    print(f"{STREAMS} streams, {1 / PAUSE:.0f} chunks/s each, {rounds} rounds")
    print(f"{'transport':<24}{'µs per chunk':>14}{'ratio to socket':>17}")
    for kind, name in names.items():
        ratios = [cost / bare for cost, bare in zip(costs[kind], costs["socket"], strict=True)]
        print(f"{name:<24}{statistics.median(costs[kind]):>14.0f}{statistics.median(ratios):>17.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.client:
        asyncio.run(run_client(options.client, options.port))
    else:
        compare(options.rounds)


if __name__ == "__main__":
    main()
