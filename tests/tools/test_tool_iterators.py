"""Tools that give their results bit by bit, for ever, or not at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemini_nb.tools.execution import ToolFailedError, run_tool
from gemini_nb.tools.kernel import KernelLoop
from gemini_nb.tools.report import Report
from gemini_nb.tools.tool import Tool


async def run(function: Callable[..., Any], report: Report | None = None, **options: Any) -> Any:
    made = await run_tool(Tool(function, **options), {}, KernelLoop(), report or Report(lambda: None))
    return made.value


def pages() -> Iterator[int]:
    """Give two pages, and fail at the third."""
    yield from (1, 2)
    raise ValueError("the third is missing")


def lazily() -> Iterator[int]:
    """The same by another iterator."""
    return map(int, ["1", "2", "third"])


async def later() -> Iterator[int]:
    """The same by an asynchronous function."""
    return pages()


@pytest.mark.parametrize(
    ("function", "said"),
    [(pages, "ValueError: the third"), (lazily, "ValueError: invalid"), (later, "ValueError: the third")],
)
@pytest.mark.parametrize("place", [None, "background", "pool"])
async def test_what_fails_while_it_gives_its_result_has_failed(
    function: Callable[..., Any], said: str, place: str | None
) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        run_on = pool if place == "pool" and function is not later else None if place == "pool" else place
        with pytest.raises(ToolFailedError, match=said):
            await run(function, run_on=run_on)


async def test_an_iterator_is_taken_in_the_thread_of_its_function() -> None:
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as opened:
        opened.execute("CREATE TABLE numbers AS SELECT 1 UNION SELECT 2")
        threads: list[int] = []

        def rows() -> Iterator[Any]:
            threads.append(threading.get_ident())
            return map(seen, opened.execute("SELECT * FROM numbers"))

        def seen(row: Any) -> Any:
            threads.append(threading.get_ident())
            return row

        assert await run(rows) == [[1], [2]]
    assert len(threads) == 3
    assert len(set(threads)) == 1


async def test_an_iterator_without_an_end_is_refused() -> None:
    with pytest.raises(ToolFailedError, match="more than 1,000,000 items"):
        await run(itertools.count, name="count")


@pytest.mark.parametrize("around", ["nothing", "a dictionary", "an asynchronous function"])
async def test_the_time_of_a_call_holds_while_it_gives_its_result_and_nothing_is_taken_afterwards(
    around: str,
) -> None:
    go, ended = threading.Event(), threading.Event()

    def within() -> dict[str, Any]:
        return {"pages": [slowly()]}

    async def later() -> dict[str, Any]:
        return within()

    def slowly() -> Iterator[int]:
        try:
            for number in itertools.count():
                go.wait(0.001)
                yield number
        finally:
            ended.set()

    with pytest.raises(ToolFailedError, match=r"took longer than 0\.05 s"):
        await run({"nothing": slowly, "a dictionary": within}.get(around, later), timeout=0.05)
    assert await asyncio.to_thread(ended.wait, 20)


async def test_an_asynchronous_function_that_resists_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemini_nb.tools.places._GRACE", 0.01)
    go, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        ended.set()
        raise ValueError("that nobody hears of")

    with pytest.raises(ToolFailedError, match=r"took longer than 0\.01 s"):
        await run(stubborn, timeout=0.01)
    go.set()
    await ended.wait()


async def test_an_asynchronous_function_has_time_to_clean_up() -> None:
    cleaned = False

    async def careful() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.001)
            cleaned = True

    with pytest.raises(ToolFailedError, match="took longer"):
        await run(careful, timeout=0.01)
    assert cleaned


async def test_the_words_of_an_exit_reach_the_model() -> None:
    def leave() -> None:
        raise SystemExit("no database")

    with pytest.raises(ToolFailedError, match="SystemExit: no database"):
        await run(leave)


async def numbers() -> AsyncIterator[int]:
    """Give two numbers."""
    yield 1
    yield 2


async def test_what_comes_bit_by_bit_is_a_list() -> None:
    assert await run(numbers) == [1, 2]
    assert await run(lambda: iter((1, 2)), name="two") == [1, 2]


@pytest.mark.parametrize("place", [None, "background"])
async def test_an_open_file_gives_its_contents(place: str | None) -> None:
    assert await run(lambda: io.StringIO("one\ntwo\n"), name="text", run_on=place) == "one\ntwo\n"
    with pytest.raises(ToolFailedError, match="larger than 20 MB"):
        await run(lambda: io.BytesIO(bytes(21 * 2**20)), name="large", run_on=place)


async def test_what_lies_within_a_result_is_taken_too() -> None:
    same = iter((1, 2))

    def within() -> dict[str, Any]:
        around: list[Any] = [io.StringIO("text"), (map(str, [1]), same), same]
        return {"many": around, "pages": (iter(range(n)) for n in range(3))}

    async def later() -> dict[str, Any]:
        return {"rows": iter((1, 2))}

    assert await run(within) == {"many": ["text", [["1"], [1, 2]], [1, 2]], "pages": [[], [0], [0, 1]]}
    assert await run(later) == {"rows": [1, 2]}


async def test_an_iterator_within_a_result_that_has_no_end_is_refused() -> None:
    with pytest.raises(ToolFailedError, match="more than 1,000,000 items"):
        await run(lambda: {"numbers": [itertools.count()]}, name="count")


async def test_a_result_that_holds_itself_is_refused_at_once() -> None:
    def itself() -> list[Any]:
        made: list[Any] = [iter((1, 2))]
        made += [made, made]
        return made

    with pytest.raises(ToolFailedError, match=r"itself|deep"):
        await run(itself)


def written(file: Any, contents: Any) -> Any:
    """Write into a file, and leave it at its end."""
    file.write(contents)
    return file


async def test_a_file_gives_what_was_just_written_to_it(tmp_path: Path) -> None:
    assert await run(lambda: written(io.StringIO(), "a,b"), name="text") == "a,b"
    image = await run(lambda: written(io.BytesIO(), b"\x89PNG\r\n\x1a\n"), name="image")
    assert image == await run(lambda: b"\x89PNG\r\n\x1a\n", name="image")
    with (tmp_path / "notes.txt").open("w+") as file:
        assert await run(lambda: written(file, "a,b"), name="notes") == "a,b"


async def test_a_file_that_cannot_be_read_stands_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "notes.txt").open("w") as file:
        assert "notes.txt" in await run(lambda: file, name="writes")
    assert "notes.txt" in await run(lambda: file, name="closed")
    closed = io.StringIO()
    closed.close()
    assert "StringIO" in await run(lambda: [closed], name="within")
