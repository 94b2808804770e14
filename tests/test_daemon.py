from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from answers import run_python
from gemini_nb.daemon import DaemonQueue, run_in_daemon_thread

place = contextvars.ContextVar("place", default="nowhere")


async def test_the_result_comes_from_a_thread_of_its_own() -> None:
    thread = await run_in_daemon_thread(threading.current_thread, name="worker")
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name == "worker"


async def test_arguments_and_context_are_passed_on() -> None:
    place.set("here")
    assert await run_in_daemon_thread(lambda *args: (args, place.get()), 1, 2) == ((1, 2), "here")


async def test_an_exception_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_daemon_thread(lambda: 1 / 0)


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError]
)
async def test_what_would_end_the_loop_does_not(kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    with pytest.raises(RuntimeError, match=f"the function raised {kind.__name__}"):
        await run_in_daemon_thread(leave)


async def test_many_at_once_wait_for_nobody() -> None:
    everybody = threading.Barrier(40)
    places = await asyncio.gather(*(run_in_daemon_thread(everybody.wait, 20) for _ in range(40)))
    assert sorted(places) == list(range(40))


async def test_a_queue_calls_one_after_the_other_in_a_thread_that_ends() -> None:
    queue, go = DaemonQueue("queue"), threading.Event()
    order: list[int] = []
    place.set("here")

    def note(number: int) -> tuple[int, str, threading.Thread]:
        go.wait(20)
        order.append(number)
        if number == 3:
            raise SystemExit
        return number, place.get(), threading.current_thread()

    tasks = [asyncio.create_task(queue.run(note, number)) for number in range(6)]
    await asyncio.sleep(0)
    tasks[4].cancel()
    await asyncio.sleep(0)
    go.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    threads = {one[2] for one in done if isinstance(one, tuple)}
    assert (order, len(threads)) == ([0, 1, 2, 3, 5], 1)
    assert [one[:2] for one in done if isinstance(one, tuple)] == [(n, "here") for n in (0, 1, 2, 5)]
    assert [type(one) for one in done[3:5]] == [RuntimeError, asyncio.CancelledError]
    thread = threads.pop()
    assert (thread.daemon, thread.name) == (True, "queue")
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    again = (await queue.run(note, 7))[2]
    assert again is not thread


async def test_a_cancelled_wait_abandons_the_thread() -> None:
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go.wait()
        done.set()

    task = asyncio.create_task(run_in_daemon_thread(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert await asyncio.to_thread(done.wait, 20)


def test_a_thread_that_outlives_its_loop_says_nothing() -> None:
    go = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        started.set()
        go.wait()

    async def leave() -> None:
        task = asyncio.create_task(run_in_daemon_thread(work))
        await asyncio.to_thread(started.wait)
        task.cancel()

    started = threading.Event()
    asyncio.run(leave())
    go.set()
    threads[0].join(20)
    assert not threads[0].is_alive()


FORKED = """
import os, signal, sys, threading
{setup}
begun, go_on = threading.Event(), threading.Event()
class Held:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            begun.set()
            go_on.wait(20)
sys.meta_path.insert(0, Held())
threading.Thread(target=load, daemon=True).start()
begun.wait(20)
os.register_at_fork(before=go_on.set)
child = os.fork()
if child == 0:
    signal.alarm(20)
    load()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    ("setup", "module"),
    [
        ("from gemini_nb.journal.prices import load", "genai_prices"),
        ("import gemini_nb\ndef load(): return gemini_nb.tool(print, name='say').declaration", "pydantic"),
        (
            "from gemini_nb.tools.schemas.schema import OutputSchema\ndef load(): return OutputSchema(dict)",
            "pydantic.type_adapter",
        ),
    ],
)
def test_a_child_that_is_forked_amid_an_import_can_import_the_same(setup: str, module: str) -> None:
    done = run_python(
        FORKED.replace("{setup}", setup).replace("{module}", module),
        "-Wignore:This process:DeprecationWarning",
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
