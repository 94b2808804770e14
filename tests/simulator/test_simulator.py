"""The simulator as an object: starting, scripting, recording, closing."""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gemini_nb.errors import CallerError, ConfigError
from gemini_nb.simulator import Scenario, Simulator
from gemini_nb.simulator.delivery import deliver
from simulator_wire import KEY, MODEL, STREAM, ask, chunks_of, text_of


def endless(body: dict[str, Any], model: str) -> Iterator[dict[str, Any] | float]:
    while True:
        yield {"candidates": [{"content": {"role": "model", "parts": [{"text": "on "}]}}]}
        yield 0.01


def waiting(body: dict[str, Any], model: str) -> Iterator[dict[str, Any] | threading.Event]:
    yield {"candidates": []}
    yield threading.Event()


def test_importing_it_does_not_import_a_server() -> None:
    code = "import sys, gemini_nb.simulator; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_address_can_be_connected_to_as_soon_as_start_returns() -> None:
    with Simulator() as sim:
        assert sim.base_url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{sim.base_url}/v1/models", headers=KEY).status_code == 200


def test_start_and_close_can_be_repeated() -> None:
    sim = Simulator(pace=0)
    with pytest.raises(CallerError, match="not running"):
        _ = sim.base_url
    sim.close()
    first = sim.start().base_url
    assert sim.start().base_url == first
    sim.close()
    sim.close()
    assert not sim.running
    with sim:
        assert httpx.get(f"{sim.base_url}/v1/models", headers=KEY).status_code == 200


def test_a_closed_simulator_takes_no_connections() -> None:
    with Simulator() as sim:
        url = sim.base_url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_port_that_is_taken_is_a_config_error() -> None:
    with Simulator() as sim, pytest.raises(ConfigError, match="cannot listen"):
        Simulator(port=int(sim.base_url.rpartition(":")[2])).start()


def test_an_empty_key_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="empty"):
        Simulator(api_key=" ")


def test_its_connections_do_not_wait_until_pieces_are_acknowledged() -> None:
    with Simulator() as sim, httpx.Client(base_url=sim.base_url, headers=KEY) as client:
        assert client.get("/v1/models").status_code == 200
        server = sim._server and sim._server._runner.server
        assert server
        [connection] = server.connections
        assert connection.transport is not None
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_close_is_quick_while_streams_are_open() -> None:
    sim = Simulator(scenario=endless).start()
    clients = [httpx.Client(base_url=sim.base_url, headers=KEY) for _ in range(5)]
    responses = [
        client.send(client.build_request("POST", STREAM, json=ask("x")), stream=True) for client in clients
    ]
    bodies = [response.iter_bytes() for response in responses]
    assert all(next(body) for body in bodies)
    assert sim.open_answers == 5
    started = time.monotonic()
    sim.close()
    assert time.monotonic() - started < 5
    for response, body in zip(responses, bodies, strict=True):
        with pytest.raises(httpx.RemoteProtocolError):
            list(body)
        response.close()
    for client in clients:
        client.close()


def test_close_is_quick_while_an_answer_waits_for_an_event() -> None:
    sim = Simulator(scenario=waiting).start()
    with (
        httpx.Client() as client,
        client.stream("POST", sim.base_url + STREAM, json=ask("x"), headers=KEY) as got,
    ):
        body = got.iter_bytes()
        assert next(body)
        started = time.monotonic()
        sim.close()
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("scenario", [endless, waiting])
def test_an_answer_ends_when_its_client_leaves(scenario: Scenario) -> None:
    with Simulator(scenario=scenario) as sim:
        with (
            httpx.Client() as client,
            client.stream("POST", sim.base_url + STREAM, json=ask("x"), headers=KEY) as got,
        ):
            body = got.iter_bytes()
            assert next(body)
            assert sim.open_answers == 1
        deadline = time.monotonic() + 5
        while sim.open_answers and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sim.open_answers == 0


def test_a_scenario_decides_every_chunk() -> None:
    script: list[Any] = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "one"}]}}], "odd": [1]},
        0.0,
        b": a comment\r\n\r\n",
        {"candidates": [{"content": {"parts": [{"text": " two"}]}, "finishReason": "SAFETY"}]},
    ]
    seen: list[Any] = []

    def scripted(body: dict[str, Any], model: str) -> list[Any]:
        seen.append((body, model))
        return script

    with Simulator(scenario=scripted) as sim, httpx.Client(base_url=sim.base_url, headers=KEY) as client:
        streamed = client.post(STREAM, json=ask("x"))
        whole = client.post(STREAM.replace("streamG", "g"), json=ask("x")).json()
    assert b": a comment" in streamed.content
    assert chunks_of(streamed.content) == [script[0], script[3]]
    assert seen[0] == (ask("x"), MODEL)
    assert whole["odd"] == [1]
    assert whole["candidates"] == [
        {"content": {"role": "model", "parts": [{"text": "one two"}]}, "finishReason": "SAFETY"}
    ]


def test_a_scenario_that_waits_for_an_event_goes_on_when_it_is_set() -> None:
    gate = threading.Event()

    def gated(body: dict[str, Any], model: str) -> Iterator[dict[str, Any] | threading.Event]:
        yield {"n": 1}
        yield gate
        yield {"n": 2}

    with (
        Simulator(scenario=gated, pace=0) as sim,
        httpx.Client() as client,
        client.stream("POST", sim.base_url + STREAM, json=ask("x"), headers=KEY) as got,
    ):
        body = got.iter_bytes()
        assert chunks_of(next(body)) == [{"n": 1}]
        gate.set()
        assert chunks_of(b"".join(body)) == [{"n": 2}]


def test_a_scenario_that_raises_at_once_is_a_500_and_later_a_cut() -> None:
    def fails(body: dict[str, Any], model: str) -> Iterator[dict[str, Any]]:
        if "later" in str(body):
            yield {"n": 1}
        raise RuntimeError("scripted badly")

    with Simulator(scenario=fails) as sim, httpx.Client(base_url=sim.base_url, headers=KEY) as client:
        answer = client.post(STREAM, json=ask("now"))
        assert answer.status_code == 500
        assert "scripted badly" in answer.json()["error"]["message"]
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(STREAM, json=ask("later"))


def test_requests_are_recorded_with_secrets_out_of_sight() -> None:
    with Simulator(pace=0) as sim, httpx.Client(base_url=sim.base_url) as client:
        before = time.time()
        client.post(
            STREAM, json=ask("Hello"), headers={"X-Goog-Api-Key": "s3cret", "Authorization": "Bearer s3cret"}
        )
        client.post("/v1/nowhere?key=s3cret", content=b"not json")
        first, second = sim.requests
    assert (first.method, first.path) == ("POST", f"/v1beta/models/{MODEL}:streamGenerateContent")
    assert first.query["alt"] == "sse"
    assert first.body == ask("Hello")
    assert first.headers["x-goog-API-key"] == "s3cret"
    assert before <= first.time <= second.time
    assert (second.path, second.body, second.query["key"]) == ("/v1/nowhere", None, "s3cret")
    assert "s3cret" not in repr(first) + repr(second)


def test_the_repr_hides_the_key() -> None:
    with Simulator(api_key="s3cret") as sim:
        assert sim.api_key == "s3cret"
        assert sim.base_url in repr(sim)
        assert "s3cret" not in repr(sim) + repr(sim._service)


def test_delays_are_multiplied_by_the_pace() -> None:
    with Simulator(pace=1) as sim, httpx.Client(base_url=sim.base_url, headers=KEY) as client:
        started = time.monotonic()
        with client.stream("POST", STREAM, json=ask("Explain rain in 12 words")) as answer:
            arrivals = [time.monotonic() - started for _ in answer.iter_bytes()]
    assert 0.15 < arrivals[0] < 1.5
    assert len(arrivals) >= 4
    assert arrivals[-1] - arrivals[0] > 0.08


async def test_an_answer_without_delays_gives_way_to_others() -> None:
    written = 0

    async def write(data: bytes) -> None:  # a connection that takes everything at once
        nonlocal written
        written += 1
        assert written < 1000

    writing = asyncio.create_task(deliver(itertools.repeat(b"1"), write, pace=0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert 0 < written < 20
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


@pytest.mark.slow
async def test_two_hundred_streams_run_at_once() -> None:
    gate = threading.Event()

    def gated(body: dict[str, Any], model: str) -> Iterator[Any]:
        text = body["contents"][0]["parts"][0]["text"]
        yield {"candidates": [{"content": {"parts": [{"text": text}]}}]}
        yield gate
        yield {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}]}

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    with Simulator(scenario=gated, pace=0) as sim:
        async with httpx.AsyncClient(base_url=sim.base_url, headers=KEY, limits=limits, timeout=60) as client:
            opened = 0

            async def one(number: int) -> str:
                nonlocal opened
                async with client.stream("POST", STREAM, json=ask(f"number {number}")) as answer:
                    body = answer.aiter_bytes()
                    data = await anext(body)
                    opened += 1
                    if opened == 200:
                        assert sim.open_answers == 200
                        gate.set()
                    data += b"".join([piece async for piece in body])
                return text_of(chunks_of(data))

            texts = await asyncio.gather(*(one(number) for number in range(200)))
    assert texts == [f"number {number}!" for number in range(200)]


def test_the_command_serves_until_it_is_interrupted() -> None:
    code = "from gemini_nb.simulator import serve; serve(0, 'right', 0.0)"
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        assert httpx.get(f"{url}/v1/models", headers={"x-goog-api-key": "right"}).status_code == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.wait(20)
    finally:
        process.kill()
        process.communicate()
    assert "Press Ctrl-C" in rest
    assert rest.endswith("Stopped.\n")
    assert process.returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        {"pace": -1},
        {"pace": math.nan},
        {"pace": math.inf},
        {"pace": "fast"},
        {"api_key": 5},
        {"api_key": " "},
    ],
)
def test_a_simulator_that_could_not_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Simulator(**options)
