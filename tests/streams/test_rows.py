"""Many rows: read as needed, paced, within a budget, ended when all are refused alike, asked again."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import io
import itertools
import json
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from google.genai.types import GenerateContentConfig
from IPython.core.error import UsageError

import gemini_nb
from answers import PATIENCE, echo, hold, hold_loop, join, prompt_of, rig, run_python, until
from gemini_nb import RetryPolicy
from gemini_nb.errors import ArgumentError, CallerError, ConfigError, GeminiError, NotAskedError
from gemini_nb.notebook.render.group_table import item_words
from gemini_nb.streams.group.pace import Pace, dollars_of
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.group.rows import Row
from gemini_nb.streams.group.run import Run
from gemini_nb.tools.schemas.schema import OutputSchema
from gemini_nb.tools.tool import Tool
from scripted import Wait, json_error, sse_answer, text

FLASH = "gemini-2.5-flash"
ONCE = RetryPolicy(restarts=0)


def test_rows_are_asked_in_their_order_those_that_ask_again_too() -> None:
    asked: list[int] = []
    gate = threading.Event()

    def script(request: Any) -> Any:
        number = int(prompt_of(request))
        asked.append(number)
        if number in {5, 9} and asked.count(number) == 1:
            return json_error(404, "no such file")
        return sse_answer(Wait(gate), text("late", finish="STOP")) if number == 20 else echo(request)

    with rig(script) as made:
        rows = [str(number) for number in range(300)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=1, **made.options)
        until(lambda: 20 in asked and len(group.started) > 200)
        group.retry()
        until(lambda: all(group.streams[row].status == "active" for row in (5, 9)))
        gate.set()
        group.wait(PATIENCE)
    assert asked == [*range(21), 5, 9, *range(21, 300)]


def test_places_go_to_the_first_rows_whichever_came_first() -> None:
    async def entered() -> list[int]:
        pace, order = Pace(1, None), list[int]()
        rows = [Row("", number=number) for number in range(6)]

        async def enter(row: Row) -> None:
            async with pace.gate(row)():
                order.append(row.number)

        async with pace.gate(rows[0])():
            rows[4].is_paced = rows[2].is_paced = True  # they ask again
            waiting = [asyncio.create_task(enter(rows[number])) for number in (5, 2, 4, 1, 3)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(entered()) == [1, 2, 3, 4, 5]


MISSING = [None, float("nan"), pd.NA, pd.NaT, np.float32("nan"), np.datetime64("NaT", "ns"), Decimal("NaN")]


@pytest.mark.parametrize("value", MISSING, ids=lambda value: type(value).__name__)
def test_a_missing_value_is_an_empty_text(value: object) -> None:
    row = {"item": {"a": value, "b": 2}}
    assert interpolate("<{item.a}{item.a:>3}{item.b}{{item.a}}>", row, needed="item") == ["<2{item.a}>"]
    assert interpolate("{item.a!r}", row, needed="item") == [repr(value)]
    assert interpolate("{item.a}", row) == [str(value)]  # no row of many
    with pytest.raises(NotAskedError, match=r"\{item.a\} is missing in this row"):
        interpolate("{item.a} {{item.b}}", row, needed="item")


@pytest.mark.parametrize("value", [0, "", False, "nan", np.float32(0), Decimal(0), [], pd.NaT.__class__])
def test_what_is_no_missing_value(value: object) -> None:
    with contextlib.suppress(LookupError):
        interpolate("{item}", {"item": value}, needed="item")


def test_a_row_of_nothing_but_missing_values_is_not_asked() -> None:
    frame = pd.DataFrame(
        {
            "text": [None, "quiet", None],
            "stars": [float("nan"), 4.0, 3.0],
            "n": pd.array([None, 1, None], "Int64"),
            "when": pd.Series([pd.NaT, pd.Timestamp("2026-11-27"), pd.NaT]),
        }
    )
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        prompt = "a {item.text}b {item.stars:.0f}c {item.n}d {item.when:%Y}e"
        asked = gemini_nb.ask_frame(frame, prompt, **options)
        assert asked["answer"].tolist()[1:] == ["A QUIETB 4C 1D 2026E", "A B 3C D E"]
        assert asked["status"].tolist() == ["error", "completed", "completed"]
        assert "{item.text}, {item.stars:.0f}, {item.n}, {item.when:%Y} are missing" in asked["error"][0]
        assert len(made.server.requests) == 2
        for rows in (frame[:1], [None] * 5, frame.astype(object).where(frame.isna(), None)):
            with pytest.raises(ArgumentError, match=r"None of these rows can be asked: \{item.* is missing"):
                gemini_nb.estimate(rows, "{item}" if isinstance(rows, list) else "{item.text}", **options)


@pytest.mark.parametrize("bad", [7, 77])
@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "The prompt is empty"),
        ("\ud800", "not valid Unicode"),
        (3, "cannot hold an int"),
        (None, "this row has no prompt"),
        (float("nan"), "this row has no prompt"),
    ],
)
def test_a_row_that_cannot_be_asked_fails_alone_wherever_it_is(bad: int, prompt: Any, words: str) -> None:
    rows: list[Any] = [str(number) for number in range(80)]
    rows[bad] = prompt
    with rig(echo) as made:
        group = gemini_nb.map(rows, manager=made.manager, **made.options).wait(PATIENCE)
        assert (group.counts.completed, group.counts.failed, group.error) == (79, 1, None)
        assert words in str(group.errors[bad])
        assert len(made.server.requests) == 79


def test_the_first_row_and_settings_that_do_not_fit_are_the_calls_fault() -> None:
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        settings: list[Any] = [{} for _ in range(80)]
        for bad, kind in [({"model": 3}, ConfigError), ({"modle": "x"}, TypeError), (None, ArgumentError)]:
            settings[7] = bad
            with pytest.raises(kind):
                gemini_nb.map(["a"] * 80, each=settings, **options)
        for rows in (["", *"a" * 80], ["a", ""]):
            with pytest.raises(ConfigError):
                gemini_nb.map(rows, **options)
        first = gemini_nb.map([None, "a"], **options).wait(PATIENCE)
        assert first.counts[3:6] == (1, 0, 1)
        later = gemini_nb.map(iter("abc"), each=iter([{}, {"modle": "x"}, {}]), **options).wait(PATIENCE)
        assert later.counts[3:6] == (2, 0, 1)
        assert "modle" in str(later.errors[1])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("line 2 is no JSON"), "Mend it and ask again"),
        (RuntimeError("created in a thread, used in another"), "list(rows)"),
    ],
)
def test_an_iterator_that_raises_says_what_to_do(error: Exception, words: str) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        raise error

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
    assert group.error is not None
    assert str(error) in group.error.message
    assert words in group.error.hint
    assert group.results == ["A"]


def test_a_row_without_a_place_waits_from_the_beginning() -> None:
    with rig(echo) as made:
        made.manager.start_stream("first", **made.options).wait(PATIENCE)
        gate = threading.Event()
        made.manager.runtime.loop.call(gate.wait)  # so that no row can come to its place
        group = gemini_nb.map([str(number) for number in range(300)], manager=made.manager, **made.options)
        until(lambda: len(group.started) == 200)
        counts, totals = group.counts, made.manager.statistics()
        gate.set()
        assert (counts.running, counts.waiting) == (0, 300)
        assert (totals.active, totals.waiting) == (200, 200)
        group.wait(PATIENCE)


def test_of_many_rows_a_few_hundred_are_streams_at_a_time() -> None:
    with rig(hold()) as made:
        group = gemini_nb.map(map(str, range(5000)), manager=made.manager, **made.options)
        until(lambda: len(group) >= 200)
        assert len(made.manager.list_streams()) <= 201
        rows = [str(number) for number in range(5000)]
        listed = gemini_nb.map(rows, manager=made.manager, **made.options)
        assert (len(listed), listed.counts.total) == (5000, 5000)
        until(lambda: len(listed.started) == 200)
        assert listed.counts.waiting + listed.counts.running == 5000
        assert listed.streams[4321].status == "active"  # made since it is looked at
        assert len(listed.started) == 201
        listed.stop()
        group.stop()
        assert listed.counts == (5000, 0, 0, 0, 5000, 0, 0)
        assert listed.to_frame()["status"].value_counts().to_dict() == {"stopped": 5000}
        assert listed.is_over
        assert group.counts.total is not None


def test_a_million_at_a_time_are_a_thousand() -> None:
    with rig(echo) as made:
        made.manager.start_stream("first", **made.options).wait(PATIENCE)
        go_on = hold_loop(made.manager.runtime.loop)  # so that no row can end
        rows = [str(number) for number in range(1100)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=10**30, **made.options)
        until(lambda: len(group.started) >= 1000 and group.counts.waiting == 1100)
        assert len(group.started) == Pace(10**30, None).window == 1000
        group.request_stop()
        go_on.set()
        group.wait(PATIENCE)


def test_rows_end_in_any_order_and_are_iterated_in_that_order() -> None:
    gates = {name: threading.Event() for name in "ab"}

    def script(request: Any) -> Any:
        name = prompt_of(request)
        return sse_answer(*([Wait(gates[name])] if name in gates else []), text(name.upper(), finish="STOP"))

    with rig(script) as made:
        group = gemini_nb.map(list("abc"), manager=made.manager, **made.options)
        rows = iter(group)
        assert next(rows)[0] == 2
        gates["b"].set()
        assert (got := next(rows))[0] == 1
        assert got[1] is group.streams[1]
        gates["a"].set()
        assert next(rows)[0] == 0
        assert list(rows) == []
        assert [index for index, _ in group] == [2, 1, 0]

        async def read() -> list[int]:
            return [index async for index, _ in group]

        assert asyncio.run(read()) == [2, 1, 0]


def test_an_iterator_that_raises_ends_the_run_after_the_rows_it_gave() -> None:
    def rows() -> Iterator[str]:
        yield "a"
        yield "b"
        raise RuntimeError("the cursor belongs to another thread")

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
        assert group.texts == ["A", "B"]
        assert group.counts.total == 2
        with pytest.raises(NotAskedError, match=r"after number 2.*another thread"):
            group.result()


def test_what_an_iterator_or_a_row_raises_shows_no_password() -> None:
    class Row:
        def __str__(self) -> str:
            raise RuntimeError(url)

    url = "cannot reach postgres://user:hunter2@db:5432/x"

    def rows() -> Iterator[str]:
        yield "a"
        raise RuntimeError(url)

    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        group = gemini_nb.map(rows(), **options).wait(PATIENCE)
        failed = gemini_nb.ask_frame(pd.DataFrame({"a": ["b", Row()]}), "{item.a}", **options)
    for said in (str(group.error), str(failed["error"][1])):
        assert "hunter2" not in said
    assert "postgres://user:[secret]@db:5432/x" in str(group.error)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_iterator_that_wants_to_exit_ends_the_run(error: BaseException) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        raise error

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
        assert group.texts == ["A"]
        assert type(error).__name__ in str(group.error)


@pytest.mark.parametrize(
    ("prompts", "more"),
    [
        (iter("abc"), {"items": iter([1])}),
        (iter("a"), {"items": [1, 2]}),
        (iter("abc"), {"each": [{}]}),
    ],
)
def test_no_row_is_dropped_since_another_column_is_shorter(prompts: Any, more: dict[str, Any]) -> None:
    with rig(echo) as made:
        group = gemini_nb.map(prompts, manager=made.manager, **made.options, **more).wait(PATIENCE)
        assert group.texts == ["A"]
        assert "one ends after 1" in str(group.error)


def test_a_frame_is_no_list_of_prompts_but_one_of_items() -> None:
    frame = pd.DataFrame({"city": ["oslo", "rome"], "n": [1, 2]})
    with rig(echo) as made:
        with pytest.raises(ArgumentError, match="ask_frame"):
            gemini_nb.map(frame, manager=made.manager, **made.options)
        group = gemini_nb.map(["a", "b"], items=frame, manager=made.manager, **made.options).wait(PATIENCE)
        assert list(group.to_frame()["city"]) == ["oslo", "rome"]
        empty = gemini_nb.map([], items=frame[frame["n"] > 2], manager=made.manager, **made.options)
        assert empty.wait(PATIENCE).texts == []


def test_a_wait_that_is_too_short_says_what_is_missing() -> None:
    with rig(hold()) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, **made.options)
        with pytest.raises(TimeoutError, match=r"2 of 2 rows have not ended after 0.05 s\.$"):
            group.wait(0.05)
        endless = gemini_nb.map(iter(threading.Event().wait, 1), manager=made.manager, **made.options)
        with pytest.raises(TimeoutError, match="others are still read"):
            endless.wait(0.05)


def test_a_wait_that_is_too_short_counts_what_has_ended() -> None:
    go_on = threading.Event()
    with rig(lambda request: sse_answer(*[Wait(go_on)] * (prompt_of(request) == "b"), text("x"))) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, retry=ONCE, **made.options)
        group.streams[0].wait_end(PATIENCE)
        with pytest.raises(TimeoutError, match="1 of 2 rows"):
            group.wait(0.01)
        go_on.set()
        group.wait(PATIENCE)


class Unruly:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> str:
        return self._name


def test_an_item_whose_attributes_raise_is_a_row_of_the_frame() -> None:
    items = [Unruly("a"), {"k": 1}]
    with rig(echo) as made:
        group = gemini_nb.map(["a", "b"], items=items, manager=made.manager, **made.options).wait(PATIENCE)
    frame = group.to_frame()
    assert frame["item"][0] is items[0]
    assert frame["answer"].to_list() == ["A", "B"]


def test_what_cannot_be_read_is_refused_by_the_cell() -> None:
    from gemini_nb.notebook.magics.named import items_of

    for value in (np.array(7), Unruly("x"), type("Odd", (list,), {"__iter__": lambda _: 1 / 0})([1])):
        with pytest.raises(UsageError, match="--each"):
            items_of(value, "rows")


async def _arriving() -> AsyncIterator[str]:
    yield "a"


def test_rows_are_what_a_user_would_list(tmp_path: Path) -> None:
    from gemini_nb.notebook.magics.named import items_of

    frame = pd.DataFrame({"a": [1, 2]})
    rows: list[Any] = [{"a": 1}, {"a": 2}]
    for value in (
        frame,
        pl.DataFrame(rows),
        pa.Table.from_pylist(rows),
        iter(rows),
        {1: rows[0], 2: rows[1]}.values(),
    ):
        assert list(items_of(value, "towns")) == rows
    coroutine, dask = asyncio.sleep(0), import_module("dask.dataframe")
    with rig(echo) as made, contextlib.closing(coroutine):
        stream = made.start("Hi").wait(PATIENCE)
        others: list[tuple[Any, str]] = [
            ({"a": 1}, r"a dict: make it list\(towns.values\(\)\), or list\(towns.items\(\)\)"),
            (collections.Counter("ab"), r"a Counter: make it list"),
            (_arriving(), r"an async_generator: read it first, \[row async for row in towns\]"),
            (coroutine, "a coroutine: await it first"),
            (dask.from_pandas(frame, npartitions=1), "a DataFrame: compute it first.*ask_frame"),
            (pl.DataFrame(rows).lazy(), r"a LazyFrame: collect it first, towns.collect\(\)"),
            (stream, "a Stream: list its text"),
            (
                bytearray(b"ab"),
                r"a bytearray: decode and split them, bytes\(towns\).decode\(\).splitlines\(\)",
            ),
            (
                io.StringIO("a\nb"),
                r"a StringIO: list its lines, towns.read\(\).splitlines\(\), or read a table",
            ),
            (io.BytesIO(b"a"), "a BytesIO: list its lines"),
            ("towns.csv", r"a str: read the file first, such as pandas.read_csv\(towns\)"),
        ]
        for value, words in others:
            with pytest.raises(UsageError, match=f"--each takes a list or a frame; 'towns' is {words}"):
                items_of(value, "towns")
            said = words.replace("towns", "(prompts|items|rows)")
            options: dict[str, Any] = {"manager": made.manager, **made.options}
            with pytest.raises(ArgumentError, match=f"map takes a list of prompts, not {said}"):
                gemini_nb.map(value, **options)
            with pytest.raises(ArgumentError, match=f"items are a list or a frame, not {said}"):
                gemini_nb.map(["a"], items=value, **options)
            with pytest.raises(ArgumentError, match=f"estimate takes a list or a frame, not {said}"):
                gemini_nb.estimate(value, "{item}", **options)
        with pytest.raises(
            ArgumentError, match=r"not a PosixPath: read the file first, such as pandas.read_csv"
        ):
            gemini_nb.map(tmp_path / "towns.csv", **options)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(ArgumentError, match=r"not a str. One prompt alone goes to start_stream"):
            gemini_nb.map("Where is towns.csv from?", **options)
        for each in ({"model": FLASH}, "ab", 7):
            with pytest.raises(ArgumentError, match="Settings are a dictionary for each prompt"):
                gemini_nb.map(iter("ab"), each=each, **options)  # type: ignore[arg-type]  # wrong on purpose
        assert len(made.server.requests) == 1


def test_odd_values_are_refused_in_words_and_not_by_accident() -> None:
    class Odd:
        def model_dump(self) -> Any:
            raise ValueError

    inside: list[Any] = []
    inside.append(inside)
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options, "model": FLASH}
        for ask in (made.start, lambda prompt: gemini_nb.map([prompt], **options)):
            with pytest.raises(CallerError, match=r"holds itself|cannot hold a list"):
                ask(inside)
        with pytest.raises(ArgumentError, match=r"\{item\.x\} cannot be taken"):
            gemini_nb.estimate([Odd()], "{item.x}", **options)
        with pytest.raises(ConfigError, match="is not a model id"):
            gemini_nb.map(["a"], each=[{"model": ["x"]}], budget=2, **options)
        with pytest.raises(TypeError, match="no option 'chat'"):
            gemini_nb.map(["a"], **{**options, "chat": gemini_nb.Chat()})
        with pytest.raises(ArgumentError, match=r"not a polars DataFrame\. Pass frame\.to_pandas\(\)"):
            gemini_nb.ask_frame(pl.DataFrame({"a": ["x"]}), "{item.a}", **options)
        pivot = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
        with pytest.raises(ArgumentError, match=r"is no column.* frame\.columns\.map\(str\) makes them text"):
            gemini_nb.ask_frame(pivot, "{item.a}", **options)
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            gemini_nb.map(["a"], **options)["0"]  # type: ignore[call-overload]  # wrong on purpose


def test_an_iterator_that_never_goes_on_is_stopped() -> None:
    blocked = threading.Event()

    def rows() -> Iterator[str]:
        yield "a"
        blocked.wait(PATIENCE)

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options)
        assert next(iter(group))[1].text == "A"
        assert group.counts.total is None
        group.stop()
        assert group.wait(PATIENCE).counts.total == 1
        blocked.set()


def test_an_endless_iterator_is_read_a_window_ahead() -> None:
    read = []

    def rows() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield str(number)

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options)
        for seen, _ in enumerate(group):
            if seen == 300:
                group.stop()
        assert group.is_over
        assert len(read) < 800


def test_a_row_that_cannot_be_asked_fails_alone_when_its_turn_comes() -> None:
    with rig(echo) as made:
        rows = [str(number) for number in range(300)]
        rows[250] = ""
        group = gemini_nb.map(rows, manager=made.manager, **made.options).wait(PATIENCE)
        assert (group.counts.completed, group.counts.failed) == (299, 1)
        assert isinstance(group.streams[250].error, ConfigError)


def test_a_pace_is_kept_in_even_steps() -> None:
    times: list[float] = []

    def script(request: Any) -> Any:
        times.append(time.monotonic())
        return echo(request)

    with rig(script) as made:
        began = time.monotonic()
        gemini_nb.map(list("abcdef"), rpm=600, manager=made.manager, **made.options).wait(PATIENCE)
    assert times[-1] - began >= 0.5  # five steps of a tenth of a second


@pytest.mark.parametrize(("status", "message", "asked"), [(404, "model not found", 5), (400, "bad", 50)])
def test_refusals_alike_end_a_run(status: int, message: str, asked: int) -> None:
    with rig(lambda request: json_error(status, message)) as made:
        rows = [str(number) for number in range(2000)]
        group = gemini_nb.map(rows, concurrency=1, manager=made.manager, **made.options).wait(PATIENCE)
        assert len(made.server.requests) == asked
        assert group.counts.failed == 2000
        assert f"{asked} rows failed alike" in str(group.error)
        assert isinstance(group.streams[1999].wait(PATIENCE).error, NotAskedError)


def test_a_key_that_is_revoked_in_the_middle_ends_a_run() -> None:
    asked = itertools.count()
    with rig(lambda request: echo(request) if next(asked) < 30 else json_error(403, "denied")) as made:
        rows = [str(number) for number in range(2000)]
        group = gemini_nb.map(rows, concurrency=1, manager=made.manager, **made.options).wait(PATIENCE)
        assert len(made.server.requests) == 80
        assert (group.counts.completed, group.counts.failed) == (30, 1970)
        assert "50 rows failed alike" in str(group.error)


def test_kept_answers_do_not_hide_that_the_key_is_refused(tmp_path: Path) -> None:
    is_refused = threading.Event()
    with rig(lambda request: json_error(401) if is_refused.is_set() else echo(request)) as made:
        options = {"manager": made.manager, "keep": tmp_path / "kept.jsonl", **made.options}
        gemini_nb.map(list("abc"), **options).wait(PATIENCE)
        is_refused.set()
        rows = [*"abc", *map(str, range(300))]
        group = gemini_nb.map(rows, concurrency=1, **options).wait(PATIENCE)
        assert len(made.server.requests) == 3 + 5
        assert (group.counts.kept, group.counts.failed) == (3, 300)
        assert "5 rows failed alike" in str(group.error)


def test_refusals_of_some_rows_end_nothing() -> None:
    with rig(lambda request: json_error(404) if int(prompt_of(request)) % 2 else echo(request)) as made:
        rows = [str(number) for number in range(40)]
        group = gemini_nb.map(rows, concurrency=1, manager=made.manager, **made.options).wait(PATIENCE)
        assert (group.counts.completed, group.counts.failed) == (20, 20)


def test_retry_asks_again_what_failed_in_the_same_places() -> None:
    broken = {"b", "d"}

    def script(request: Any) -> Any:
        return json_error(400) if prompt_of(request) in broken else echo(request)

    with rig(script) as made:
        group = gemini_nb.map(list("abcde"), manager=made.manager, **made.options).wait(PATIENCE)
        assert (group.counts.completed, group.counts.failed) == (3, 2)
        first = group.streams[0]
        broken.clear()
        assert group.retry() is group
        assert group.wait(PATIENCE).texts == list("ABCDE")
        assert group.counts == (5, 0, 0, 5, 0, 0, 0)
        assert group.streams[0] is first
        assert len(made.server.requests) == 7


def test_retry_asks_what_was_never_asked() -> None:
    with rig(echo) as made:
        rows = [str(number) for number in range(100)]
        group = gemini_nb.map(rows, concurrency=2, manager=made.manager, **made.options)
        group.stop()
        assert group.counts.completed < 100
        group.retry().wait(PATIENCE * 3)
        assert group.counts.completed == 100
        assert group.texts == rows


def test_retry_right_after_stop_loses_no_row() -> None:
    with rig(echo) as made:
        rows = [str(number) for number in range(120)]
        group = gemini_nb.map(rows, concurrency=16, manager=made.manager, **made.options)
        for _ in range(12):
            group.request_stop()
            group.retry()
            time.sleep(0.01)
        group.wait(PATIENCE * 2)
        assert group.counts == (120, 0, 0, 120, 0, 0, 0)
        assert group.texts == rows


def test_retry_reads_on_where_a_stop_ended_the_reading() -> None:
    let_go = threading.Event()

    def rows() -> Iterator[str]:
        yield "a"
        let_go.wait(PATIENCE)
        yield from "bc"

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options)
        assert next(iter(group))[0] == 0
        group.stop()
        assert group.counts.total == 1
        let_go.set()
        group.retry()
        until(lambda: group.counts.total == 3)
        assert group.wait(PATIENCE).texts == list("ABC")
        assert group.error is None


def test_retry_asks_known_rows_while_the_iterator_blocks() -> None:
    let_go = threading.Event()
    broken = {"a"}

    def rows() -> Iterator[str]:
        yield from "ab"
        let_go.wait(PATIENCE)
        yield "c"

    with rig(lambda request: json_error(400) if prompt_of(request) in broken else echo(request)) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options)
        until(lambda: group.counts.failed == 1)
        broken.clear()
        group.retry()
        until(lambda: group.counts.completed == 2)
        let_go.set()
        assert group.wait(PATIENCE).texts == list("ABC")


def test_a_row_that_was_retried_is_given_once_and_with_its_new_answer() -> None:
    broken, gate = {"a", "b"}, threading.Event()

    def script(request: Any) -> Any:
        if prompt_of(request) in broken:
            return json_error(400)
        return sse_answer(Wait(gate), text(prompt_of(request).upper(), finish="STOP"))

    with rig(script) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, **made.options).wait(PATIENCE)
        early = iter(group)
        assert [next(early)[1].status, next(early)[1].status] == ["error", "error"]
        broken.clear()
        group.retry()
        late = iter(group)
        gate.set()
        for pairs in (late, early, iter(group)):
            assert sorted((index, stream.text) for index, stream in pairs) == [(0, "A"), (1, "B")]

        async def given() -> list[str]:
            return [stream.text async for _, stream in group]

        assert sorted(asyncio.run(given())) == ["A", "B"]


def test_retry_does_not_hide_that_the_reading_broke_off() -> None:
    def rows() -> Iterator[str]:
        yield "a"
        raise RuntimeError("the cursor was closed")

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
        group.retry().wait(PATIENCE)
        assert "the cursor was closed" in str(group.error)
        with pytest.raises(NotAskedError):
            group.result()


def test_streams_that_were_started_one_by_one_are_not_retried() -> None:
    with rig(echo) as made:
        group = gemini_nb.StreamGroup([made.start("a").wait(PATIENCE)])
        with pytest.raises(ArgumentError, match="one by one"):
            group.retry()


def test_counts_and_the_frame_say_the_same() -> None:
    with rig(lambda request: json_error(400) if prompt_of(request) == "b" else echo(request)) as made:
        group = gemini_nb.map(list("abc"), manager=made.manager, **made.options).wait(PATIENCE)
        statuses = group.to_frame()["status"].value_counts().to_dict()
        assert statuses == {"completed": group.counts.completed, "error": group.counts.failed}


def test_models_side_by_side_are_columns_of_a_wide_frame() -> None:
    with rig(echo) as made:
        each = [{"model": "gemini-a"}, {"model": "gemini-a"}, {"model": "gemini-b"}, {"model": "gemini-b"}]
        group = gemini_nb.map(
            list("abab"), items=["x", "y", "x", "y"], each=each, manager=made.manager, **made.options
        )
        frame = group.wait(PATIENCE).to_frame(wide=True)
    assert frame.to_dict("list") == {"item": ["x", "y"], "gemini-a": ["A", "B"], "gemini-b": ["A", "B"]}


def test_rows_that_were_never_asked_have_the_model_of_the_others() -> None:
    with rig(lambda request: hold()(request) if prompt_of(request) == "3" else echo(request)) as made:
        rows = [str(number) for number in range(500)]
        group = gemini_nb.map(rows, concurrency=1, manager=made.manager, **made.options)
        until(lambda: group.counts.completed == 3)
        assert item_words(group, 0) == "0"
        group.stop()
        assert group.run.rows[-1].stream is None
        assert "model" not in group.to_frame()
        wide = group.to_frame(wide=True)
        assert list(wide) == ["item", group[0].model]
        assert wide["item"].tolist() == rows
        assert wide[group[0].model].tolist()[:3] == rows[:3]
        assert item_words(group, 0) == "0"


def priced(request: Any) -> Any:
    counts = {"promptTokenCount": 0, "candidatesTokenCount": 1_000_000, "totalTokenCount": 1_000_000}
    return sse_answer({**text(prompt_of(request), finish="STOP"), "usageMetadata": counts})


def test_a_budget_ends_a_run_before_it_is_passed() -> None:
    with rig(priced) as made:
        rows = [str(number) for number in range(100)]
        options = {**made.options, "model": FLASH}
        group = gemini_nb.map(rows, budget=20, manager=made.manager, **options).wait(PATIENCE)
        assert group.cost is not None
        assert 5 < group.cost <= 20
        assert "the budget of $20" in str(group.error)
        assert 2 <= group.counts.completed < 10


def test_a_larger_budget_is_not_passed_by_a_retry() -> None:
    """Rows that were not asked cost nothing, and say nothing of what one costs."""
    with rig(priced) as made:
        rows = [str(number) for number in range(100)]
        options = {**made.options, "model": FLASH}
        group = gemini_nb.map(rows, budget=6, manager=made.manager, **options).wait(PATIENCE)
        group.retry(budget=40).wait(PATIENCE)
        assert group.cost is not None
        assert 20 < group.cost <= 40


def test_results_of_a_stopped_group_stand_beside_their_rows() -> None:
    with rig(lambda request: [Wait()]) as made:
        rows = [str(number) for number in range(500)]
        group = gemini_nb.map(rows, manager=made.manager, **made.options)
        group.stop()
        assert group.result(PATIENCE) == group.texts == [""] * 500


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "concurrency": np.int64(4),
        "rpm": np.float32(60_000),
        "budget": np.float64(2.5),
        "timeout": np.int64(5),
        "turn_limit": np.int16(3),
        "fresh": np.False_,
        "keep": np.False_,
        "retry": RetryPolicy(attempts=np.int64(2), max_delay=np.float32(0.5), patient=np.True_),  # type: ignore[arg-type]  # what a frame gives
        "model": FLASH,
        "generation_config": {"temperature": np.float32(0.5), "seed": np.int64(7), "topP": Fraction(1, 2)},
        "tool_config": {"includeServerSideToolInvocations": np.True_},
        "each": [{}, {"generation_config": {"max_output_tokens": np.uint8(9)}, "timeout": np.float16(2)}],
    }
    with rig(priced) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, **{**made.options, **options})
        assert group.wait(PATIENCE).texts == ["a", "b"]
        first, second = sorted((one.json for one in made.server.requests), key=str)
        made.manager.history = made.manager.max_concurrent = np.int64(5)  # type: ignore[assignment]  # no int to mypy
    configs = [one["generationConfig"] for one in (first, second)]
    assert {"temperature": 0.5, "seed": 7, "topP": 0.5} in configs
    assert {"maxOutputTokens": 9} in configs
    assert first["toolConfig"] == {"includeServerSideToolInvocations": True}
    request = group.streams[0].request
    assert (type(request.timeouts.idle), type(request.turn_limit), request.retry.attempts) == (int, int, 2)


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": seconds} for seconds in (0, float("nan"), np.float32("nan"), np.True_, 10**400, "5")),
        *({"turn_limit": limit} for limit in (-1, 2.0, np.float64(2), float("nan"), np.False_, "3")),
        *({"fresh": word} for word in (1, np.int64(1), None, "no", float("nan"))),
        *({"keep": word} for word in (1, float("nan"))),
        *({"generation_config": {"temperature": value}} for value in (float("nan"), np.float32("nan"))),
        {"generation_config": {"temperature": np.float64("inf")}},
    ],
)
def test_settings_that_are_no_such_number_are_refused(options: dict[str, Any]) -> None:
    with rig(echo) as made:
        for ask in (made.start, lambda prompt, **own: gemini_nb.map([prompt], manager=made.manager, **own)):
            with pytest.raises(CallerError):
                ask("a", **{**made.options, **options})
        assert made.server.requests == []


@pytest.mark.parametrize("name", ["attempts", "initial_delay", "max_delay", "max_server_delay", "restarts"])
def test_a_retry_policy_takes_no_number_that_is_none(name: str) -> None:
    wrong: tuple[Any, ...] = (float("nan"), np.float32("nan"), True, np.True_, "1", -1, None)
    for value in wrong:
        with pytest.raises(ConfigError):
            RetryPolicy(**{name: value})


def test_a_larger_budget_asks_what_was_left() -> None:
    with rig(priced) as made:
        rows = [str(number) for number in range(6)]
        options = {**made.options, "model": FLASH}
        group = gemini_nb.map(rows, budget=6, manager=made.manager, **options).wait(PATIENCE)
        done = group.counts.completed
        assert 1 <= done <= 2  # the second was asked before the first had ended, or was not
        group.retry().wait(PATIENCE)
        assert (group.counts.completed, group.counts.failed) == (done, 6 - done)
        assert f"{6 - done} rows are left" in str(group.error)
        with pytest.raises(ConfigError):
            group.retry(budget="much")
        assert group.retry(budget=100).wait(PATIENCE).texts == rows
        assert group.error is None


def test_a_used_up_budget_leaves_out_no_kept_row(tmp_path: Path) -> None:
    with rig(priced) as made:
        rows = [str(number) for number in range(300)]
        options = {**made.options, "model": FLASH, "keep": tmp_path / "kept.jsonl"}
        gemini_nb.map(rows[250:], manager=made.manager, **options).wait(PATIENCE)
        asked = len(made.server.requests)
        group = gemini_nb.map(rows, budget=6, manager=made.manager, **options).wait(PATIENCE * 2)
        counts = group.counts
        assert (counts.total, counts.kept, counts.failed) == (300, 50, 300 - counts.completed)
        assert counts.completed - counts.kept == len(made.server.requests) - asked <= 3
        assert group.texts[250:] == rows[250:]
        assert f"the budget of $6.00 does not allow another row; ${group.cost:.2f} was spent. " in str(
            group.error
        )
        assert f" {counts.failed} rows are left." in str(group.error)
        frame = group.to_frame()
        assert frame["status"].value_counts().to_dict() == {
            "completed": counts.completed,
            "error": counts.failed,
        }


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"rpm": rpm}
            for rpm in (0, -1, "x", True, np.True_, float("nan"), float("inf"), 10**400, 10**5000)
        ),
        *({"budget": budget} for budget in (-1, "much", "", True, float("nan"), "inf", b"2", [1], 10**5000)),
        *({"concurrency": places} for places in (0, -1, 2.0, True, None)),
    ],
)
def test_what_is_no_limit_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with rig(echo) as made, pytest.raises(ConfigError, match=f"^{name} is"):
        gemini_nb.map(["a"], manager=made.manager, **made.options, **options)


def test_more_places_than_there_are_rows_are_no_error() -> None:
    with rig(echo) as made:
        options: dict[str, Any] = {"rpm": 1e300, "concurrency": 10**9}
        group = gemini_nb.map(["a", "b"], manager=made.manager, **made.options, **options).wait(PATIENCE)
        assert group.texts == ["A", "B"]


def test_a_small_sum_is_said_with_digits_that_say_something() -> None:
    def cheap(request: Any) -> Any:
        counts = {"promptTokenCount": 0, "candidatesTokenCount": 3, "totalTokenCount": 3}
        return sse_answer({**text("A", finish="STOP"), "usageMetadata": counts})

    with rig(cheap) as made:
        options = {**made.options, "model": FLASH}
        group = gemini_nb.map(iter("abc"), budget="0.00001", manager=made.manager, **options).wait(PATIENCE)
        said = r"the budget of \$0\.000010 does not .*; \$0\.0000\d\d was spent\. \d (or more )?row"
        assert re.match(said, str(group.error))


def test_a_budget_may_be_any_number() -> None:
    for half in (Fraction(1, 2), 0.5, "0.5", Decimal("0.5"), np.float64(0.5)):
        assert dollars_of(half) == Decimal("0.5")


def test_a_budget_does_not_say_what_is_left_of_a_run_that_ended_before() -> None:
    run = Run.of([], None)
    assert run.end(broken := NotAskedError("No row was read."))
    assert not run.end(NotAskedError("The budget is used up."))
    assert run.error is broken


def test_a_budget_of_nothing_asks_nothing_that_is_not_kept(tmp_path: Path) -> None:
    with rig(priced) as made:
        options = {**made.options, "model": FLASH, "keep": tmp_path / "kept.jsonl"}
        gemini_nb.map(["b"], manager=made.manager, **options).wait(PATIENCE)
        group = gemini_nb.map(["a", "b"], budget=0, manager=made.manager, **options).wait(PATIENCE)
        assert (group.counts.kept, group.counts.failed, len(made.server.requests)) == (1, 1, 1)
        assert str(group.error).startswith(
            "the budget of $0.00 does not allow another row; $0.00 was spent. 1 row is"
        )
        assert gemini_nb.map(["a"], budget=0, manager=made.manager, **options).wait(PATIENCE).error


def test_a_budget_ends_where_no_cost_is_told() -> None:
    with rig(echo) as made:  # without token counts
        rows = [str(number) for number in range(300)]
        options = {**made.options, "model": FLASH}
        group = gemini_nb.map(rows, budget=1, manager=made.manager, **options).wait(PATIENCE)
        assert group.counts.completed < 20
        assert "not known" in str(group.error)


def test_a_budget_needs_a_price() -> None:
    with rig(echo) as made:
        options = {**made.options, "model": "gemini-99-unheard-of"}
        with pytest.raises(ConfigError, match="no price is known"):
            gemini_nb.map(["a"], budget=1, manager=made.manager, **options)
        group = gemini_nb.map(["a"], manager=made.manager, **options).wait(PATIENCE)
        with pytest.raises(ConfigError, match="no price is known"):
            group.retry(budget=1)
        each = iter([{"model": FLASH}, {}])
        rows = gemini_nb.map(iter("ab"), each=each, budget=100, manager=made.manager, **options).wait(
            PATIENCE
        )
        assert [stream.text for stream in rows.streams] == ["A", ""]
        assert "no price is known" in str(rows[1].error)
        assert len(made.server.requests) == 2


def test_settings_of_an_iterator_that_are_no_dictionary_end_the_run() -> None:
    with rig(echo) as made:
        each: Any = iter([{}, 3])
        group = gemini_nb.map(iter("ab"), each=each, manager=made.manager, **made.options)
        assert group.wait(PATIENCE).texts == ["A"]
        assert "Settings are a dictionary" in str(group.error)


@pytest.mark.parametrize("wrong", [{"temprature": 1}, {"schema": "nonsense"}, {"service_tier": "cheap"}])
def test_settings_that_fit_no_row_of_an_iterator_are_refused(wrong: dict[str, Any]) -> None:
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        known: list[Any] = [None, iter([{}, {}])]
        for each in known:
            with pytest.raises((TypeError, ConfigError), match=r"temprature|nonsense|cheap"):
                gemini_nb.map(iter("ab"), each=each, **options, **wrong)
        group = gemini_nb.map(iter("ab"), each=iter([wrong, {}]), **options).wait(PATIENCE)
        assert re.search("temprature|nonsense|cheap", str(group.streams[0].error))
        assert group.texts == ["", "B"]


def test_rows_of_an_iterator_that_no_key_fits_end_the_run() -> None:
    with rig(echo) as made:
        group = gemini_nb.map(iter("ab"), each=iter([{}, {}]), auth="gemini", manager=made.manager)
        assert "key" in str(group.wait(PATIENCE).error)
        assert (group.is_over, group.counts.failed, group.counts.waiting) == (True, 1, 0)
        assert group.to_frame()["status"].tolist() == ["error"]


def test_what_rows_with_settings_of_their_own_share_is_checked_at_the_call() -> None:
    wrong: list[dict[str, Any]] = [
        {"auth": "gemnii"},
        {"fresh": 1},
        {"generation_config": 7},
        {"headers": {"Host": "x"}},
        {"keep": 7},
        {"metadata": 7},
        {"retry": 3},
        {"safety_settings": 7},
        {"system_instruction": " "},
        {"timeout": 0},
        {"tool_config": 7},
        {"tools": 7},
        {"turn_limit": -1},
    ]
    with rig(echo) as made:
        own = made.options
        for one in wrong:
            with pytest.raises((ArgumentError, ConfigError)):
                gemini_nb.map(iter("ab"), each=iter([own, own]), manager=made.manager, **one)
        assert made.server.requests == []
        assert made.manager.list_streams(all=True) == []
        # A key, or a model that takes what is asked of it, may be a row's own.
        shared: dict[str, Any] = {"generation_config": {"thinking_config": {"thinking_budget": 0}}}
        each = iter([{**own, "model": FLASH}] * 2)
        group = gemini_nb.map(iter("ab"), each=each, manager=made.manager, **shared)
        assert group.result(PATIENCE) == ["A", "B"]


def test_what_rows_share_is_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[object] = []
    for kind in (OutputSchema, Tool):
        made: Any = kind.__init__

        def note(self: object, *args: Any, made: Any = made, **more: Any) -> None:
            described.append(type(self))
            made(self, *args, **more)

        monkeypatch.setattr(kind, "__init__", note)

    def look(town: str) -> str:
        """Look it up."""
        return town

    with rig(lambda _: sse_answer(text("7", finish="STOP"))) as made_rig:
        options: dict[str, Any] = {"manager": made_rig.manager, "schema": int, "tools": [look]}
        group = gemini_nb.map([*"abcdef"], **made_rig.options, **options).wait(PATIENCE)
        assert group.results == [7] * 6
        assert described == [OutputSchema, Tool]
        described.clear()
        del options["schema"]
        each: list[dict[str, Any]] = [
            {"schema": float},
            {"generation_config": {"response_schema": int}},
            {"generation_config": {"responseJsonSchema": list[int]}},
        ] * 3
        cases: list[Any] = [(each, [*"abcdefghi"]), (iter(each), iter("abcdefghi"))]
        for own, rows in cases:
            group = gemini_nb.map(rows, each=own, **made_rig.options, **options).wait(PATIENCE)
            assert [type(one) for one in group.results] == [float, int, type(None)] * 3
            assert described.count(OutputSchema) == 3
            described.clear()
        shared: dict[str, Any] = {"generation_config": GenerateContentConfig(response_schema=int, seed=4)}
        group = gemini_nb.map([*"abc"], **made_rig.options, **options, **shared).wait(PATIENCE)
        assert (group.results, described.count(OutputSchema)) == ([7] * 3, 1)
        assert made_rig.server.requests[-1].json["generationConfig"] == {
            "seed": 4,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "integer"},
        }


def test_tools_that_can_be_read_once_go_with_every_row() -> None:
    def once() -> dict[str, Any]:
        safety = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
        return {"tools": iter([{"google_search": {}}]), "safety_settings": iter([safety])}

    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        gemini_nb.map(["a", "b"], **options, **once()).wait(PATIENCE)
        gemini_nb.map(iter("ab"), **options, **once()).wait(PATIENCE)
        gemini_nb.ask_frame(pd.DataFrame({"x": ["a", "b"]}), "{item.x}", **options, **once())
        chat = gemini_nb.Chat(**options, **once())
        for words in "ab":
            chat.send(words).wait(PATIENCE)
        asked = [
            (request.json["tools"], len(request.json["safetySettings"])) for request in made.server.requests
        ]
        assert asked == [([{"googleSearch": {}}], 1)] * 8


def test_a_row_that_is_changed_or_filled_again_while_it_waits_is_asked_as_it_was() -> None:
    from gemini_nb.notebook.magics.named import items_of

    gate = threading.Event()

    def filled_again() -> Iterator[dict[str, str]]:
        row = {}
        for row["city"] in "ab":
            yield row

    def script(request: Any) -> Any:
        return sse_answer(Wait(gate), text(prompt_of(request).upper(), finish="STOP"))

    with rig(script) as made:
        rows, prompts = [{"city": "a"}, collections.OrderedDict(city="b")], [["a"], ["b"]]
        asked = items_of(rows, "rows")
        options: dict[str, Any] = {"manager": made.manager, "concurrency": 1, **made.options}
        group = gemini_nb.map(prompts, items=rows, **options)
        lazy = gemini_nb.map(iter(prompts), items=filled_again(), **options)
        until(lambda: len(lazy) == 2)
        for row in rows:
            row["city"] = "changed"
        gate.set()
        assert [row["city"] for row in asked] == ["a", "b"]
        assert [item["city"] for item in list(items_of(filled_again(), "rows"))] == ["a", "b"]
        for one in (group, lazy):
            frame = one.wait(PATIENCE).to_frame()
            assert frame[["city", "answer"]].to_numpy().tolist() == [["a", "A"], ["b", "B"]]


def test_rows_of_a_file_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"city": name}) + "\n" for name in "abc"))
    from gemini_nb.notebook.magics.named import items_of

    assert [row["city"] for row in items_of(path, "rows")] == list("abc")


def test_a_pipe_without_a_writer_blocks_no_cell_and_is_stopped(tmp_path: Path) -> None:
    from gemini_nb.notebook.magics.named import items_of

    path = tmp_path / "pipe"
    os.mkfifo(path)
    with rig(echo) as made:
        blocked = gemini_nb.map(items_of(path, "rows"), manager=made.manager, **made.options)
        assert blocked.counts == (None, 0, 0, 0, 0, 0, 0)
        until(lambda: blocked.run._is_reading)
        blocked.stop()
        assert blocked.is_over
        thread = blocked.run._thread
        assert thread is not None
        with path.open("wb") as writer:  # it waits for this, and ends
            writer.write(b'"left"\n')
        join(thread)
        group = gemini_nb.map(items_of(path, "rows"), manager=made.manager, **made.options)
        with path.open("wb", buffering=0) as writer:
            for row in (b'"a"\n', b'"b"\n'):
                writer.write(row)
                next(iter(group))
        assert group.wait(PATIENCE).results == ["A", "B"]


BLOCKED = """
import os, sys, threading, pathlib
import gemini_nb
from answers import until
from gemini_nb.notebook.magics.named import items_of

nobody_writes, _ = os.pipe()
sources = [items_of(pathlib.Path(sys.argv[1]), "rows"), (line for line in os.fdopen(nobody_writes))]
groups = [gemini_nb.map(rows, auth="gemini", credentials={"api_key": "any"}) for rows in sources]
until(lambda: all(group.run._is_reading for group in groups))
for group in groups:
    group.stop()
threads = [one for one in threading.enumerate() if one.name == "gemini_nb-rows"]
print(all(group.is_over for group in groups), [one.daemon for one in threads], flush=True)
child = os.fork()
if not child:
    print(gemini_nb.get_manager().statistics().total, flush=True)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_thread_that_still_reads_a_pipe_holds_up_no_fork_and_no_exit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run_python(BLOCKED, "-Wignore:This process:DeprecationWarning", arguments=[str(tmp_path / "pipe")])
    assert (done.stdout, done.stderr, done.returncode) == ("True [True, True]\n0\n7\n", "", 0)


def test_a_file_without_an_end_of_line_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from gemini_nb.notebook.magics import named

    monkeypatch.setattr(named, "_LONGEST_LINE", 1000)
    with pytest.raises(ArgumentError, match="line 1 of /dev/zero is longer"):
        next(iter(named.items_of(Path("/dev/zero"), "rows")))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 2', "line 3"),
        (b'\xff{"a": 1}', "line 3"),
        (b"[" * 100_000, "line 3"),
        (b"1" * 5000, "line 3"),
    ],
)
def test_a_broken_line_of_a_file_is_named(line: bytes, reason: str, tmp_path: Path) -> None:
    from gemini_nb.notebook.magics.named import items_of

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n' + line + b"\n")
    rows = iter(items_of(path, "rows"))
    assert next(rows) == {"a": 1}
    with pytest.raises(ArgumentError, match=reason):
        next(rows)


def test_what_ended_long_ago_keeps_its_answer_and_not_its_machinery(tmp_path: Path) -> None:
    with rig(priced) as made:
        rows = [f"row {number}" for number in range(260)]
        options = {**made.options, "model": FLASH, "generation_config": {"temperature": 0.5}}
        group = gemini_nb.map(rows, manager=made.manager, concurrency=8, **options).wait(PATIENCE * 2)
        old, new = group.streams[group.run.ended[0]], group.streams[group.run.ended[-1]]
        assert old.text == rows[group.run.ended[0]]
        assert (old.status, old.finish_reason, old.usage) == ("completed", "STOP", new.usage)
        assert old.cost == new.cost
        assert [event.kind for event in old.events] == [
            "stream_started",
            "text_delta",
            "usage_updated",
            "stream_completed",
        ]
        assert [event.seq for event in old.events] == [0, 1, 2, 3]
        assert (old.chunks, old.contents) == ([], [])
        assert (len(new.chunks), len(new.contents)) == (1, 1)
        other = group.streams[group.run.ended[1]]
        assert old.request is other.request
        assert old.request.body == new.request.body
        old.stop()
        assert old.status == "completed"
        assert [index for index, _ in group] == group.run.ended
        assert group.to_frame()["answer"].to_list() == rows


def test_a_row_that_is_listened_to_stays_as_it_is() -> None:
    seen: list[str] = []
    with rig(echo) as made:
        rows = [str(number) for number in range(220)]
        group = gemini_nb.map(
            rows,
            manager=made.manager,
            subscriber=lambda event: seen.append(event.kind),
            **made.options,
        ).wait(PATIENCE * 2)
        old = group.streams[group.run.ended[0]]
        assert len(old.chunks) == 1
        until(lambda: seen.count("stream_completed") == 220)


def test_the_journal_keeps_what_rows_were_asked() -> None:
    with rig(echo) as made:
        rows = [f"row {number}" for number in range(260)]
        gemini_nb.map(rows, manager=made.manager, **made.options).wait(PATIENCE * 2)
        writer = made.manager.runtime.journal()
        assert writer is not None
        assert writer.flush(PATIENCE)
        from gemini_nb.journal.entries import Journal

        assert {entry.prompt for entry in Journal(writer).streams(limit=500)} >= set(rows)


def test_what_rows_leave_behind_is_freed_without_the_collector() -> None:
    kinds = {
        "Conversation",
        "EventLog",
        "IdleTimeout",
        "Response",
        "Stream",
        "StreamSource",
        "ToolOrchestrator",
    }
    with rig(priced) as made:
        gemini_nb.map(["a", "b"], manager=made.manager, **made.options).wait(PATIENCE)
        gc.collect()
        gc.disable()
        try:
            rows = [f"row {number}" for number in range(260)]
            group = gemini_nb.map(rows, manager=made.manager, **made.options).wait(PATIENCE * 2)
            del group, rows
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = collections.Counter(type(one).__name__ for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    # The group itself is let go whole; each of its last rows was whole.
    assert {kind: count for kind, count in left.items() if kind in kinds and count > 220} == {}


@pytest.mark.slow
def test_full_collections_are_rarer_while_many_rows_end() -> None:
    before, seen = (701, 11, 12), set()
    until(lambda: gc.get_threshold()[2] < 100)  # after the test before this one
    usual = gc.get_threshold()
    gc.set_threshold(*before)
    with rig(echo) as made:
        gemini_nb.map(["a"] * 5, manager=made.manager, **made.options).wait(PATIENCE)
        assert gc.get_threshold() == before
        group = gemini_nb.map(["a"] * 400, manager=made.manager, concurrency=16, **made.options)
        for _ in group:
            seen.add(gc.get_threshold())
        assert (701, 11, 120) in seen <= {before, (701, 11, 120)}
        until(lambda: gc.get_threshold() == before)
    gc.set_threshold(*usual)


def test_an_ended_row_answers_for_all_that_a_stream_does() -> None:
    with rig(priced) as made:
        rows = [f"row {number}" for number in range(230)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=8, **made.options).wait(PATIENCE * 2)
        index = group.run.ended[0]
        old = group.streams[index]
        assert old.chunks == []
        assert old.wait(1) is old
        assert (old.result(1), asyncio.run(_awaited(old))) == (rows[index], rows[index])
        assert [event.kind for event in old] == [event.kind for event in old.events]
        seen: list[str] = []
        old.subscribe(lambda event: seen.append(event.kind))
        until(lambda: len(seen) == len(old.events))
        assert old.subscriber_count == 1
        assert old.info().usage == old.usage
        assert old.to_code()
        assert repr(old)


async def _awaited(stream: Any) -> Any:
    return await stream


def test_a_frame_is_no_list_of_prompts_whatever_its_columns() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["city", "city"])
    for frame in (twice, pd.DataFrame({"city": ["Lisbon"]})):
        with pytest.raises(ArgumentError, match="a list of prompts, not a frame"):
            gemini_nb.map(frame)


def test_a_loop_that_ends_before_all_rows_were_asked_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with rig(lambda _: json_error(403)) as made:
        group = gemini_nb.map([f"{n}" for n in range(60)], manager=made.manager, **made.options)
        caplog.clear()
        assert list(group)
        assert list(group.wait()) == list(group)
        said = [one.getMessage() for one in caplog.records if one.name == "gemini_nb"]
        assert said == [str(group.error)]


def test_a_wait_that_ends_before_all_rows_were_asked_says_why_unless_it_raises_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "gemini_nb"]

    def two() -> Iterator[str]:
        yield from ("a", "b")
        raise ValueError("the source broke")

    with rig(lambda _: sse_answer(text("Yes", finish="STOP"))) as made:
        group = gemini_nb.map(two(), manager=made.manager, **made.options)
        with pytest.raises(GeminiError, match="the source broke"):
            group.result()
        assert not said()
        group.wait()
        assert said() == [str(group.error)]
