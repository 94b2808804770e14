"""Tools in a real kernel: where they run, what they say, and cells that define them again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernels import Kernel

PROMPT = "Plan a day in Lisbon. Check the weather first."
START = f"trip = gemini_nb.get_manager().start_stream({PROMPT!r}, tools=[weather])"


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    return make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    loaded = shared.run(
        "%load_ext gemini_nb\n%gemini_stop all\nimport asyncio, gemini_nb, sys, threading, time"
    )
    assert loaded.status == "ok", loaded.error_text
    return shared


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_prints_of_a_tool_are_in_no_cell(shell: Kernel, kind: str) -> None:
    shell.run(
        f"{kind} weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    print('looking at', city)\n"
        "    print('warming up', file=sys.stderr)\n"
        "    gemini_nb.progress(1, 'looked')\n"
        "    return 'cloudless'"
    )
    first = shell.run(f"%%gemini_stream -t weather -o trip\n{PROMPT}")
    second = shell.run("print('mine'); trip.wait(20); print(repr(trip.tool_calls[0].output))")
    assert second.stdout.splitlines() == ["mine", repr("looking at Lisbon\nwarming up\n")]
    assert (first.stdout, first.stderr, second.stderr) == ("", "", "")


def test_a_tool_that_waits_for_the_kernel_says_so_and_its_time_has_not_begun(shell: Kernel) -> None:
    shell.run(
        "@gemini_nb.tool(timeout=0.3)\n"
        "async def weather(city: str) -> str:\n"
        "    'Tell the weather of a city.'\n"
        "    return 'cloudless'"
    )
    busy = shell.run(
        f"{START}\n"
        "end = time.monotonic() + 20\n"
        "while not (trip.tool_calls and trip.tool_calls[0].waits_for): assert time.monotonic() < end\n"
        "print(trip.tool_calls[0].waits_for)\n"
        "end = time.monotonic() + 0.5\n"
        "while time.monotonic() < end: pass"
    )
    assert (busy.stdout, busy.error_text) == ("the kernel\n", "")
    out = shell.run(
        "trip.wait(20); print(trip.tool_calls[0].result, trip.tool_calls[0].duration < 0.3)"
    ).stdout
    assert out.split() == ["cloudless", "True"]


def test_a_cell_that_defines_a_tool_again_replaces_it(shell: Kernel) -> None:
    for sky in ("grey", "blue"):
        shell.run(f"def weather(city: str) -> str:\n    'Tell the weather of a city.'\n    return {sky!r}")
        shell.run(f"%%gemini_stream -t weather -o trip -c talk --wait\n{PROMPT}")
        assert shell.run("print(trip.tool_calls[0].result)").stdout == f"{sky}\n"


def test_a_function_of_the_notebook_runs_on_a_process_pool(shell: Kernel) -> None:
    shell.run(
        "import concurrent.futures, multiprocessing, os, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork'))\n"
        "@gemini_nb.tool(run_on=pool)\n"
        "def weather(city: str) -> int:\n"
        "    'Tell the weather of a city.'\n"
        "    return os.getpid()"
    )
    out = shell.run(
        f"{START}\ntrip.wait(30); pool.shutdown()\n"
        "call = trip.tool_calls[0]; print(call.error, call.result != os.getpid())"
    )
    assert out.stdout.split() == ["None", "True"], out.error_text
