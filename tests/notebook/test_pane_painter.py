"""The painter: everything is painted in the end, and never more is sent than a page can take."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from answers import run_python
from gemini_nb.notebook.kernel import page_loads
from gemini_nb.notebook.pane import painter as painter_module
from gemini_nb.notebook.pane.painter import BUDGET, Painter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def painter() -> Iterator[Painter]:
    made = Painter(lambda: 0)
    yield made
    made.retire(10)
    assert not made._thread.is_alive


class Board:
    """A view that sends some messages with each paint."""

    interval = 0.0

    def __init__(self, painter: Painter, cost: int = 1) -> None:
        self.painter, self.cost = painter, cost
        self.sent = 0
        self.paints: list[float] = []
        self.wanted = self.shown = 0

    def change(self) -> None:
        self.wanted += 1
        self.painter.request(self)

    def paint(self) -> bool:
        self.shown = self.wanted
        self.sent += self.cost
        self.paints.append(time.monotonic())
        return False


async def until_shown(*boards: Board) -> None:
    async with asyncio.timeout(30):
        while any(  # noqa: ASYNC110 - what is looked at knows no events
            board.shown != board.wanted for board in boards
        ):
            await asyncio.sleep(0.01)


def most_in_one_second(boards: list[Board]) -> int:
    paints = sorted((then, board.cost) for board in boards for then in board.paints)
    return max(sum(cost for then, cost in paints if start <= then < start + 1.0) for start, _ in paints)


async def test_a_view_is_painted_twenty_times_a_second_at_most(painter: Painter) -> None:
    board = Board(painter)
    start = time.monotonic()
    async with asyncio.timeout(30):
        while time.monotonic() < start + 0.5 or len(board.paints) < 3:
            board.change()
            await asyncio.sleep(0.002)
    await until_shown(board)
    assert 3 <= len(board.paints) <= 2 + 20 * (time.monotonic() - start)


async def test_a_view_that_waits_for_its_turn_wakes_the_thread_no_more(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty panes of 20 chunks a second each would wake it a thousand times a second."""
    board = Board(painter)
    board.interval = 30.0
    board.change()
    await until_shown(board)
    woken = threading.Event()
    calls: list[object] = []
    call = painter._thread.call

    def counted(function: Callable[..., object], *args: object) -> None:
        calls.append(function)
        call(function, *args)

    monkeypatch.setattr(painter._thread, "call", counted)
    board.change()
    painter._thread.loop.call_soon_threadsafe(woken.set)  # behind what the change asked for
    assert await asyncio.to_thread(woken.wait, 30)
    for _ in range(100):
        board.change()
    assert len(calls) == 1
    board.interval = 0.0
    painter.request(board, sooner=True)
    await until_shown(board)
    assert len(board.paints) == 2


async def test_a_view_whose_turn_comes_earlier_is_painted_then(painter: Painter) -> None:
    board = Board(painter)
    board.interval = 30.0
    board.change()
    await until_shown(board)
    board.change()
    await asyncio.sleep(0.05)
    board.interval = 0.0
    board.wanted += 1
    painter.request(board, sooner=True)
    await until_shown(board)


async def test_many_living_views_are_painted_less_often_together(painter: Painter) -> None:
    class Living(Board):
        def paint(self) -> bool:
            super().paint()
            end = time.thread_time() + 0.006 * (time.monotonic() < start + 2.6)
            while time.thread_time() < end:
                pass
            return time.monotonic() < start + 2.6

    boards = [Living(painter) for _ in range(24)]
    start = time.monotonic()
    while time.monotonic() < start + 2.5:
        for board in boards:
            board.change()
        await asyncio.sleep(0.02)
    paints = sum(then > start + 1.5 for board in boards for then in board.paints)
    assert 0 < paints <= 12, "a sixteenth of the time, not a tenth"
    async with asyncio.timeout(20):
        while painter._living:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)


async def test_never_more_than_the_budget_and_the_last_state_of_all(painter: Painter) -> None:
    boards = [Board(painter, cost) for cost in (2, 5, 20, 59) * 10]
    start = time.monotonic()
    while time.monotonic() < start + 2.2:
        for board in boards:
            board.change()
        await asyncio.sleep(0.02)
    closed: list[int] = []
    closers = [lambda number=number: closed.append(number) for number in range(30)]
    painter.call(painter.close_soon, closers)
    assert most_in_one_second(boards) <= BUDGET
    for board in boards:
        board.cost = 1
    await until_shown(*boards)
    assert closed == list(range(30))


async def test_views_take_turns(painter: Painter) -> None:
    boards = [Board(painter) for _ in range(12)]
    for _ in range(60):
        for board in boards:
            board.change()
        await asyncio.sleep(0.01)
    await until_shown(*boards)
    counts = [len(board.paints) for board in boards]
    assert max(counts) - min(counts) <= 1


async def test_one_broken_view_does_not_stop_the_others(
    painter: Painter, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Board):
        def paint(self) -> bool:
            raise ZeroDivisionError

    broken, whole = Broken(painter), Board(painter)
    broken.change()
    whole.change()
    await until_shown(whole)
    assert "ZeroDivisionError" in caplog.text


async def test_a_forgotten_view_is_not_painted(painter: Painter) -> None:
    gone, stays = Board(painter), Board(painter)

    def change() -> None:
        gone.change()
        stays.change()
        painter.forget(gone)

    painter.call(change)
    await until_shown(stays)
    assert gone.paints == []


async def test_what_lives_is_painted_by_time_alone(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter_module, "_TICK", 0.05)

    class Living(Board):
        def paint(self) -> bool:
            super().paint()
            return len(self.paints) < 4

    board = Living(painter)
    board.change()
    async with asyncio.timeout(30):
        while len(board.paints) < 4:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.15)
    assert len(board.paints) == 4


FORKED = """
import os, sys, threading
import gemini_nb
from gemini_nb.notebook.pane.pane import StreamPane
from gemini_nb.simulator import Simulator
def settled():
    with Simulator(pace=0) as simulator:
        stream = gemini_nb.get_manager().start_stream("x", auth="simulator", base_url=simulator.base_url)
        pane = StreamPane(stream)
        pane._repr_mimebundle_()
        pane.settled.result(30)
        return "completed" in pane.children[1].value
assert settled()
child = os.fork()
if child == 0:
    os._exit(7 if settled() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), settled())
gemini_nb.get_manager().shutdown()
print([thread.name for thread in threading.enumerate() if thread.name == "gemini_nb-render"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.slow
def test_a_forked_child_paints_on_a_thread_of_its_own() -> None:
    done = run_python(FORKED, "-Wignore:This process:DeprecationWarning")
    assert (done.stdout.split("\n")[:2], done.stderr) == (["7 True", "[]"], "")


COLLECTIONS = """
import gc, threading
from gemini_nb.notebook.pane.painter import Painter
from gemini_nb.notebook.render.markdown import Draft, settle

BLOCK = '''## Section {0}

Some *words* of an answer with `code`, **strong** ones and [a link](https://example.com/{0}); it costs $5.

- one item
- another, with $a_{0}^2$

| a | b |
|---|---|
| 1 | {0} |

```python
print({0})
```

'''
ANSWERS = {
    "long": "".join(BLOCK.format(number) for number in range(1_700)),
    "list": "".join(f"- item {number} of *many*\\n" for number in range(5_000)),
}
settle(BLOCK)
painter = Painter(lambda: 0)
whole = []
gc.callbacks.append(lambda phase, facts: phase == "stop" and facts["generation"] == 2 and whole.append(1))
for name, text in ANSWERS.items():
    done = threading.Event()
    draft = Draft()

    def steps():
        yield from draft.finish(text)
        done.set()

    gc.collect()
    whole.clear()
    painter.call(painter.work, steps())
    assert done.wait(60)
    print(name, len(whole), len(draft.markdown) > len(text) / 2)
painter.retire(10)
"""


@pytest.mark.slow
def test_settling_a_long_answer_never_has_the_whole_heap_collected() -> None:
    """Each time would hold back every stream, by the size of the notebook's heap."""
    assert run_python(COLLECTIONS).stdout.splitlines() == ["long 0 True", "list 0 True"]


async def test_nothing_is_painted_or_worked_at_while_a_page_connects_and_restores(painter: Painter) -> None:
    asked: list[object] = []
    shell = SimpleNamespace(
        kernel=SimpleNamespace(shell_handlers={"kernel_info_request": asked.append}, control_handlers={})
    )
    stop_watching = page_loads.watch_connections(shell)
    board, worked = Board(painter), threading.Event()
    shell.kernel.shell_handlers["kernel_info_request"]("who are you?")
    assert asked == ["who are you?"]
    board.change()
    painter.call(painter.work, (step() for step in [worked.set]))
    await asyncio.sleep(0.4)
    assert not board.paints
    assert not worked.is_set()
    page_loads.note_restore()
    await asyncio.sleep(0.4)
    assert not board.paints
    restored = time.monotonic()
    page_loads.note_view()  # long before a page that restores would be given up
    await until_shown(board)
    assert board.paints[0] - restored < 2.0
    assert worked.wait(30)
    stop_watching()
    assert shell.kernel.shell_handlers == {"kernel_info_request": asked.append}
