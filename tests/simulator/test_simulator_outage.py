"""The whole server: how it refuses, what it remembers, and that faults do it no harm."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import math
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gemini_nb.errors import CallerError, ConfigError
from gemini_nb.simulator import Simulator, random_faults
from gemini_nb.simulator.requests import KEPT
from gemini_nb.simulator.server import Server
from raw_client import exchange
from simulator_wire import KEY, STREAM, ask


def connect(sim: Simulator) -> socket.socket:
    parts = urlsplit(sim.base_url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=10)


def wait_until_it_listens(sim: Simulator) -> float:
    deadline = time.monotonic() + 10
    while True:
        try:
            connect(sim).close()
        except (ConnectionRefusedError, ConnectionResetError):  # the latter by one that is about to close
            assert time.monotonic() < deadline
            time.sleep(0.005)
        else:
            return time.monotonic()


def open_files() -> int:
    """How many files and sockets this process has; 0 where that cannot be told."""
    folder = pathlib.Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def endless(body: dict[str, Any], model: str) -> Iterator[dict[str, Any] | float]:
    while True:
        yield {"n": 1}
        yield 0.001


def test_a_server_that_refuses_comes_back_on_its_port() -> None:
    with Simulator(pace=0) as sim:
        url = sim.base_url
        started = time.monotonic()
        sim.refuse(0.3)
        with pytest.raises(ConnectionRefusedError):
            connect(sim)
        assert sim.running
        assert wait_until_it_listens(sim) - started >= 0.3
        assert sim.base_url == url
        assert exchange(url).ending == "end"


def test_open_connections_are_reset() -> None:
    with Simulator(scenario=endless) as sim, connect(sim) as idle:
        client = httpx.Client(base_url=sim.base_url, headers=KEY)
        with client, client.stream("POST", STREAM, json=ask()) as got:
            body = got.iter_bytes()
            assert next(body)
            sim.refuse(0)
            with pytest.raises(httpx.ReadError, match="reset"):
                list(body)
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        wait_until_it_listens(sim)
        deadline = time.monotonic() + 5
        while sim.open_answers and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sim.open_answers == 0


def test_a_new_time_replaces_the_old_one() -> None:
    with Simulator(pace=0) as sim:
        sim.refuse(math.inf)
        with pytest.raises(ConnectionRefusedError):
            connect(sim)
        sim.refuse(0)
        wait_until_it_listens(sim)
        sim.refuse(0.05)
        sim.refuse(0.3)
        started = time.monotonic()
        assert wait_until_it_listens(sim) - started > 0.2


def test_an_outage_waits_for_a_port_that_is_taken() -> None:
    with Simulator(pace=0) as sim:
        port = int(urlsplit(sim.base_url).port or 0)
        sim.refuse(0.1)
        with socket.create_server(("127.0.0.1", port)):
            time.sleep(0.2)
        wait_until_it_listens(sim)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                assert exchange(sim.base_url).ending == "end"
                break
            except ConnectionError:  # the other socket's last connections
                time.sleep(0.01)


def test_a_script_can_end_its_own_server() -> None:
    def outage(body: dict[str, Any], model: str) -> list[dict[str, Any]]:
        sim.refuse(0)
        return [{"n": 1}]

    with Simulator(scenario=outage) as sim:
        assert exchange(sim.base_url).ending == "rst"
        wait_until_it_listens(sim)


def test_closing_in_an_outage_is_final() -> None:
    others = set(threading.enumerate())
    sim = Simulator(pace=0).start()
    url = sim.base_url
    sim.refuse(math.inf)
    sim.close()
    assert "gemini_nb-simulator" not in {one.name for one in set(threading.enumerate()) - others}
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_closing_does_not_leave_an_outage_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemini_nb.simulator.server._PATIENCE", 100.0)  # what is not told waits for long
    for _ in range(20):
        sim = Simulator(pace=0).start()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            server = sim._server
            assert server is not None
            held = threading.Event()
            server._loop.call_soon_threadsafe(held.wait)
            refusing = [pool.submit(server.refuse, math.inf) for _ in range(2)]
            closing = pool.submit(sim.close)
            held.set()
            assert not concurrent.futures.wait([*refusing, closing], timeout=60).not_done


def test_an_outage_that_begins_while_it_closes_leaves_no_task(caplog: pytest.LogCaptureFixture) -> None:
    def refuse_until_closed(server: Server) -> None:
        while server.thread.is_alive():
            server.refuse(math.inf)

    for _ in range(20):
        with Simulator(pace=0) as sim:
            server = sim._server
            assert server is not None
            refusing = [threading.Thread(target=refuse_until_closed, args=(server,)) for _ in range(2)]
            for one in refusing:
                one.start()
        for one in refusing:
            one.join()
    del server, sim
    gc.collect()  # asyncio says then which tasks have not ended
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "destroyed" in text or "never awaited" in text] == []


def test_only_a_running_server_can_refuse() -> None:
    with pytest.raises(CallerError, match="not running"):
        Simulator().refuse(1)
    with Simulator() as sim:
        for wrong in (-1, math.nan):
            with pytest.raises(ConfigError, match="cannot refuse"):
                sim.refuse(wrong)


def test_the_newest_requests_are_kept_and_all_are_counted() -> None:
    with Simulator(pace=0) as sim, httpx.Client(base_url=sim.base_url, headers=KEY) as client:
        client.get("/v1/models?page=0")
        [first] = sim.requests
        for _ in range(KEPT):  # the slow way, a request for each, shows no more
            sim._service.record.add(first, 0)
        for number in range(5):
            client.get(f"/v1/models?page={number}")
        assert sim.request_count == KEPT + 6
        assert len(sim.requests) == KEPT == 1000
        assert [request.query["page"] for request in sim.requests[-6:]] == ["0", "0", "1", "2", "3", "4"]


def test_a_server_under_many_faults_stays_well(caplog: pytest.LogCaptureFixture) -> None:
    with Simulator(pace=0, faults=random_faults(seed=3, rate=0.9)) as sim:
        exchange(sim.base_url)  # what is made once is made
        files = open_files()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            endings = set(pool.map(lambda _: exchange(sim.base_url).ending, range(120)))
        assert endings == {"end", "fin", "rst"}
        deadline = time.monotonic() + 5
        while sim.open_answers and time.monotonic() < deadline:
            time.sleep(0.005)
        assert sim.open_answers == 0
        sim.faults = None
        assert exchange(sim.base_url).ending == "end"
        while open_files() > files and time.monotonic() < deadline:
            time.sleep(0.005)
        assert open_files() <= files
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
