"""A tool on a Dask cluster: heavy work leaves this machine, or at least this process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from answers import rig
from approvals import asking
from gemini_nb.tools.tool import Tool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster) as made,
    ):
        yield made


def test_the_executor_of_a_dask_client_runs_a_tool(client: Client) -> None:
    def simulate(steps: int = 1000) -> dict[str, int]:
        """Add up the squares below a number of steps."""
        return {"sum": sum(number * number for number in range(steps)), "pid": os.getpid()}

    def fail() -> None:
        """Fail on the worker."""
        raise ValueError("out of memory, over there")

    executor = client.get_executor()
    with rig(asking("simulate", "simulate", "fail")) as made:
        tools = [Tool(simulate, run_on=executor), Tool(fail, run_on=executor)]
        stream = made.start(tools=tools).wait(60)
    first, second, failed = stream.tool_calls
    assert first.result == second.result
    assert first.result["sum"] == 332_833_500
    assert first.result["pid"] != os.getpid()
    assert failed.error == "ValueError: out of memory, over there"
    assert stream.status == "completed"
