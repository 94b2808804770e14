"""From a frame to a frame of answers, and what a run will cost."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gemini_nb
from answers import KEY, PATIENCE, rig
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.simulator import Simulator
from gemini_nb.streams.group.asked_frame import contents_of
from gemini_nb.streams.group.prompt import ObjectText
from scripted import ScriptedServer, Wait, answer, json_error, sse_answer, text

FLASH = "gemini-2.5-flash"


class Mood(enum.Enum):
    GOOD = "good"


@dataclasses.dataclass
class Review:
    stars: int
    mood: Mood
    status: str | None
    tags: list[str]


def echo(request: Any) -> Any:
    words = request.json["contents"][0]["parts"][0]["text"]
    if "bad" in words:
        return json_error(400)
    return sse_answer(text(words.upper(), finish="STOP"))


def review(request: Any) -> Any:
    if "bad" in request.json["contents"][0]["parts"][0]["text"]:
        return json_error(400)
    value = {"stars": 4, "mood": "good", "status": None, "tags": ["a"]}
    return sse_answer(text(json.dumps(value), finish="STOP"))


def test_answers_have_the_index_and_the_columns_of_their_meta() -> None:
    frame = pd.DataFrame({"city": ["oslo", "bad", "rome"]}, index=[7, 3, 9])
    with rig(echo) as made:
        answers = gemini_nb.ask_frame(frame, "Say {item.city}", manager=made.manager, **made.options)
    assert list(answers.index) == [7, 3, 9]
    assert answers["answer"].to_list()[::2] == ["SAY OSLO", "SAY ROME"]
    assert answers["status"].to_list() == ["completed", "error", "completed"]
    assert pd.isna(answers["answer"][3])
    assert "400" in answers["error"][3]
    meta = gemini_nb.ask_frame.meta()
    assert answers.dtypes.to_dict() == meta.dtypes.to_dict()
    assert (len(meta), list(meta)) == (0, list(answers))


def test_fields_of_a_schema_are_columns_of_fixed_types() -> None:
    frame = pd.DataFrame({"city": ["oslo", "bad"]})
    with rig(review) as made:
        answers = gemini_nb.ask_frame(
            frame, "{item.city}", schema=Review, manager=made.manager, **made.options
        )
    assert answers.dtypes.to_dict() == gemini_nb.ask_frame.meta(Review).dtypes.to_dict()
    assert list(answers)[:4] == ["stars", "mood", "answer_status", "tags"]
    assert (answers["stars"][0], answers["mood"][0], answers["tags"][0]) == (4, "good", ["a"])
    assert str(answers.dtypes["stars"]) == "Int64"
    assert pd.isna(answers["stars"][1])


def test_columns_may_be_numbers() -> None:
    with rig(echo) as made:
        frame = pd.DataFrame({0: ["oslo"], "n": [1]})
        answers = gemini_nb.ask_frame(frame, "{item[0]}", manager=made.manager, **made.options)
        assert list(answers["answer"]) == ["OSLO"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Judge {0}", r"\{0\} stands for nothing; the columns are 'city', 7, 'two words', 'b'"),
        ("Judge {}: {:.2f}", r"\{\} stands for nothing"),
        ("{item.city}: {1:>3}", r"\{1:>3\} stands"),
        ("{item.city} on {0:%Y-%m-%d}", r"\{0:%Y-%m-%d\} stands"),
        ("Sum of the set {1} and {item.city}", r"\{1\} stands"),
        ("Where is {city}?", r"Did you mean \{item\.city\}\? \{\{city\}\} sends the braces"),
        ("Where is {ctiy.name!r}?", r"Did you mean \{item\.city\}"),
        ("Where is {row['two words']}?", r"Did you mean \{item\['two words'\]\}"),
        ("How many {7}?", r"Did you mean \{item\[7\]\}"),
        ("Is {b} = {city.upper()}?", r"\{b\} stands"),
        ("{item.city}: {len(city)} or { city }", r"\{len\(city\)\} stands"),
        ("{len(item)} letters", r"\{len\(item\)\} stands"),
        ("Where is {item.ctiy}?", r"item\.ctiy\} is no column.* Did you mean \{item\.city\}"),
        ("{item[8]}", r"is no column; the columns are 'city', 7"),
    ],
)
def test_braces_that_name_no_column_are_refused(prompt: str, words: str) -> None:
    frame = pd.DataFrame({"city": ["oslo"], 7: [1], "two words": ["x"], "b": [2]})
    with rig(echo) as made:
        options: dict[str, Any] = {**made.options, "manager": made.manager}
        with pytest.raises(ArgumentError, match=words):
            gemini_nb.ask_frame(frame, prompt, **options)
        with pytest.raises(ArgumentError):
            gemini_nb.estimate(frame, prompt, **options)
        assert made.server.requests == []


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ('As {"stars": 1, "b": {}}: {item.city}', 'AS {"STARS": 1, "B": {}}: OSLO'),
        ("{{city}}, {{0}}, {{item.city}} of {item.city}", "{CITY}, {0}, {ITEM.CITY} OF OSLO"),
        (r"\frac{1}{2} $x_{0}{city}$ `{city}` a{3} f'{city}' {item.b}", None),
        ("def f(): return {city: x for city in y} # {item.b}", None),
        ("{1: 2} {2,3} [a-z]{2} ${city} {item.b}", None),
        ("Use {!important} {item.b}", None),
        ("Reply {:smile:} to {item.b}", None),
    ],
)
def test_braces_that_mean_themselves_are_sent(prompt: str, sent: str | None) -> None:
    frame = pd.DataFrame({"city": ["oslo"], "b": ["{city} {0} {{b}}"]})
    with rig(echo) as made:
        options: dict[str, Any] = {**made.options, "manager": made.manager}
        answers = gemini_nb.ask_frame(frame, prompt, **options)
    assert answers["answer"][0] == (sent or prompt.replace("{item.b}", "{city} {0} {{b}}").upper())


def test_a_frame_without_rows_gives_one_without_rows() -> None:
    with rig(echo) as made:
        empty = pd.DataFrame({"city": pd.Series(dtype="str")})
        answers = gemini_nb.ask_frame(empty, "{item.city}", manager=made.manager, **made.options)
        assert (len(answers), made.server.requests) == (0, [])
        assert answers.dtypes.to_dict() == gemini_nb.ask_frame.meta().dtypes.to_dict()


@pytest.mark.parametrize(
    ("frame", "prompt", "words"),
    [
        (pd.DataFrame({"city": ["x"]}), "{item.town}", "item.town"),
        ([{"city": "x"}], "{item.city}", "DataFrame"),
        (pd.DataFrame([["x", "y"]], columns=["city", "city"]), "{item.city}", "Two columns"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_the_call(frame: Any, prompt: Any, words: str) -> None:
    with rig(echo) as made:
        with pytest.raises(ArgumentError, match=words):
            gemini_nb.ask_frame(frame, prompt, manager=made.manager, **made.options)
        assert not made.server.requests


def test_rows_that_do_not_fit_the_prompt_fail_alone_wherever_they_are() -> None:
    nested = [{"x": 1}, None, {"b": {"c": ["one"]}}, float("nan"), {"b": None}, {"b": {"c": [""]}}]
    frame = pd.DataFrame({"a": pd.Series(nested, dtype=object)})
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        answers = gemini_nb.ask_frame(frame, "{item.a.b.c[0]}", **options)
        assert answers["status"].to_list() == ["error", "error", "completed", "error", "error", "error"]
        assert answers["answer"][2] == "ONE"
        for row, words in enumerate(["cannot be taken", "missing", "", "missing", "missing", "empty"]):
            assert words in str(answers["error"][row])
        with pytest.raises(ArgumentError, match="cannot be taken from"):
            gemini_nb.ask_frame(frame, "{item.a.b.d}", **options)
        with pytest.raises(TypeError, match="modle"):
            gemini_nb.ask_frame(frame, "{item.a}", modle="x", **options)
        assert gemini_nb.ask_frame(pd.DataFrame(), "{item.a}", **options).empty
        assert len(made.server.requests) == 1


@pytest.mark.parametrize("place", [1, 88, 119])
def test_one_row_that_fits_the_prompt_is_asked_wherever_it_is(place: int) -> None:
    nested = [{"b": 7} if number == place else {"x": 1} for number in range(120)]
    frame = pd.DataFrame({"a": nested}, index=[number / 7 for number in range(120)])
    with rig(echo) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        answers = gemini_nb.ask_frame(frame, "{item.a.b}", **options)
        assert answers["status"].value_counts().to_dict() == {"error": 119, "completed": 1}
        assert answers["answer"].iloc[place] == "7"
        with pytest.raises(ArgumentError, match="cannot be taken from"):
            gemini_nb.ask_frame(frame, "{item.a.c}", **options)
        assert len(made.server.requests) == 1


@pytest.mark.slow
def test_a_dask_frame_takes_the_prompts_that_a_pandas_frame_takes() -> None:
    dask: Any = import_module("dask")
    dd: Any = import_module("dask.dataframe")
    pa: Any = import_module("pyarrow")
    struct = pd.ArrowDtype(pa.struct([("b", pa.int64())]))
    nested = [{"b": {"c": [number]}} for number in range(4)]
    frame = pd.DataFrame({"o": nested, "s": pd.Series([{"b": 7}] * 4, dtype=struct), "n": list("wxyz")})
    frame["text"] = ["(see p. 3) fine", "b", "[1, 2]", "{}"]
    frame["list"] = pd.Series([[{"b": [number]}] for number in range(4)], dtype=object)
    cases = {
        "{item.o.b.c[0]}": [*"0123"],
        "{item['o']['b']!r:.8}": ["{'c': [0", "{'c': [1", "{'c': [2", "{'c': [3"],
        "{item.s.b} {item.n[0]}": ["7 W", "7 X", "7 Y", "7 Z"],
        "{item.text[0]} {item.text}": ["( (see p. 3) fine", "b b", "[ [1, 2]", "{ {}"],
        "{item.list[0].b[-1]} {item.list}": [f"{number} [{{'b': [{number}]}}]" for number in range(4)],
    }
    with ScriptedServer(echo) as server:
        options: dict[str, Any] = {
            "auth": "gemini",
            "credentials": {"api_key": KEY},
            "base_url": server.url,
        }
        for converts in (True, False):
            with dask.config.set({"dataframe.convert-string": converts}):
                cut = dd.from_pandas(frame, npartitions=2)
            for prompt, expected in cases.items():
                lazy = gemini_nb.ask_frame(cut, prompt, **options)
                asked = len(server.requests)
                assert lazy.compute(scheduler="sync")["answer"].to_list() == [one.upper() for one in expected]
                assert len(server.requests) == asked + 4
            with pytest.raises(ArgumentError, match="is no column"):
                gemini_nb.ask_frame(cut, "{item.x.b}", **options)
            typo = gemini_nb.ask_frame(cut, "{item.o.b.d}", **options).compute(scheduler="sync")
            assert typo["error"].str.contains("cannot be taken from").all()
        with pytest.raises(ArgumentError, match="no manager"):
            gemini_nb.ask_frame(cut, "{item.n}", manager=gemini_nb.get_manager(), **options)
        named = gemini_nb.ask_frame(cut, "{item.text.b}", **options).compute(scheduler="sync")
        assert named["error"].notna().all()


def test_a_text_that_stands_for_an_object_is_a_text_unless_a_part_is_named() -> None:
    note = ObjectText("[1, {'b': 2}]")
    note.stands_for = [1, {"b": 2}]
    prompt = "{item.note[0]} {item.note} {item.note[1].b} {item.note[1]['b']}"
    assert contents_of(prompt, {"note": note}) == "[ [1, {'b': 2}] 2 2"


@pytest.mark.slow
def test_a_dask_frame_is_asked_when_it_is_computed(tmp_path: Path) -> None:
    dd: Any = import_module("dask.dataframe")
    frame = pd.DataFrame({"city": [f"town {number}" for number in range(12)]}, index=range(100, 112))
    with Simulator() as simulator:
        options = {
            "auth": "gemini",
            "credentials": {"api_key": KEY},
            "base_url": simulator.base_url,
            "keep": tmp_path,
        }
        lazy = gemini_nb.ask_frame(dd.from_pandas(frame, npartitions=3), "{item.city}", **options)
        assert not simulator.requests
        assert list(lazy.columns) == list(gemini_nb.ask_frame.meta())
        answers = lazy.compute(scheduler="sync")
        assert list(answers.index) == list(frame.index)
        assert (answers["status"] == "completed").all()
        asked = len(simulator.requests)
        assert asked == 12
        again = lazy.compute(scheduler="sync")
        assert len(simulator.requests) == asked
        assert again["kept"].all()
        with pytest.raises(ArgumentError):
            gemini_nb.ask_frame(dd.from_pandas(frame, npartitions=3), "{item.town}", **options)
        with pytest.raises(ArgumentError, match="takes no `each`"):
            gemini_nb.ask_frame(dd.from_pandas(frame, npartitions=3), "{item.city}", each=[{}] * 12)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_pays_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dd: Any = import_module("dask.dataframe")
    distributed: Any = import_module("distributed")
    rows, concurrency = 400, 4
    frame = pd.DataFrame({"city": [f"town {number}" for number in range(rows)]}, index=range(7, 7 + rows))
    folder = tmp_path / "answers"
    folder.mkdir()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        town = body["contents"][0]["parts"][0]["text"]
        yield 0.02
        part = {"text": town.upper()}
        yield {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}

    with Simulator(scenario=scenario) as simulator:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", simulator.base_url)

        def asked() -> collections.Counter[str]:
            return collections.Counter(
                request.body["contents"][0]["parts"][0]["text"] for request in list(simulator.requests)
            )

        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
        )
        with cluster, distributed.Client(cluster) as client:
            workers = client.run(os.getpid)
            assert len(workers) == 2

            def ask(partitions: int) -> Any:
                cut = dd.from_pandas(frame, npartitions=partitions)
                return gemini_nb.ask_frame(
                    cut, "{item.city}", auth="gemini", keep=folder, concurrency=concurrency
                )

            future = client.compute(ask(8))
            end = time.monotonic() + 60
            while len(asked()) < rows // 2:
                assert time.monotonic() < end
                time.sleep(0.01)
            os.kill(next(iter(workers.values())), signal.SIGKILL)
            answers = future.result(timeout=120)
            counts = asked()
            again = ask(5).compute()  # the same graph would still have its answers
        assert sum(asked().values()) == sum(counts.values())
    assert list(answers.index) == list(frame.index)
    assert list(answers["answer"]) == [town.upper() for town in frame["city"]]
    assert (answers["status"] == "completed").all()
    assert again["kept"].all()
    assert set(counts) == set(frame["city"])
    assert sum(counts.values()) <= rows + concurrency  # one partition at a time was the worker's


def test_an_estimate_counts_a_sample_and_generates_nothing() -> None:
    with Simulator() as simulator, rig(echo) as made:
        options: dict[str, Any] = {
            "auth": "gemini",
            "credentials": {"api_key": KEY},
            "base_url": simulator.base_url,
            "model": FLASH,
            "system_instruction": "Answer in one word.",
            "manager": made.manager,
        }
        rows = [{"city": f"town {number}"} for number in range(200)]
        found = gemini_nb.estimate(rows, "Where is {item.city}?", rpm=60, **options)
        assert (found.requests, found.input_tokens > 200) == (200, True)
        assert found.low is not None
        assert found.high is not None
        assert Decimal() < found.low < found.high
        limited = gemini_nb.estimate(
            pd.DataFrame(rows),
            "Where is {item.city}?",
            generation_config={"max_output_tokens": 10},
            **options,
        )
        assert limited.high is not None
        assert found.low < limited.high < found.high
        assert all("countTokens" in request.path for request in simulator.requests)
        assert len(simulator.requests) <= 20
        assert gemini_nb.estimate([], "{item}", **options).requests == 0
        mixed = [{"city": "x"}, *[{"city": {"town": "y"}}] * 3]
        assert gemini_nb.estimate(mixed, "{item.city.town}", **options).requests == 3
        unknown = gemini_nb.estimate(["a"], "{item}", **{**options, "model": "gemini-99-unheard-of"})
        assert (unknown.low, unknown.high) == (None, None)


def test_what_cannot_be_estimated_is_refused() -> None:
    with rig(lambda request: json_error(403)) as made:
        options: dict[str, Any] = {**made.options, "manager": made.manager}
        for rows in (iter("ab"), "ab", 7):
            with pytest.raises(ArgumentError, match="list or a frame"):
                gemini_nb.estimate(rows, "{item}", **options)
        with pytest.raises(ArgumentError, match=r"item\.town"):
            gemini_nb.estimate([{"city": "x"}], "{item.town}", **options)
        with pytest.raises(gemini_nb.APIError):
            gemini_nb.estimate(["x"], "{item}", **options)
        with pytest.raises(ConfigError):
            gemini_nb.estimate(["x"], "{item}", **options, endpoint=f"{made.server.url}/own")


def test_an_estimate_of_rows_that_alternate_counts_those_that_are_asked() -> None:
    with Simulator() as simulator, rig(echo) as made:
        options: dict[str, Any] = {"auth": "gemini", "credentials": {"api_key": KEY}, "manager": made.manager}
        options |= {"base_url": simulator.base_url, "model": FLASH}

        def counted(rows: list[Any]) -> tuple[int, int]:
            found = gemini_nb.estimate(rows, "{item}", **options)
            assert found == gemini_nb.estimate(rows, "{item}", **options)
            return found.requests, found.input_tokens

        few = ["a word", float("nan")] * 100
        assert counted(few)[0] == 100
        many = ["a word", None] * 5000
        assert 4500 < counted(many)[0] < 5500
        short, both = counted(["a"] * 1000)[1], counted(["a", *["word " * 200] * 9] * 100)[1]
        assert both > 5 * short  # every tenth of a hundred thousand is short, not all of them


def test_an_estimate_says_which_stream_is_to_be_waited_for() -> None:
    gate = threading.Event()

    def script(request: Any) -> Any:
        if "countTokens" in request.path:
            return answer(body=b'{"totalTokens": 7}')
        if "fail" in request.body.decode():
            return json_error(403)
        return sse_answer(Wait(gate), text("a poem", finish="STOP"))

    with rig(script) as made:
        options: dict[str, Any] = {**made.options, "manager": made.manager}
        poem, failed = made.start("a poem"), made.start("fail").wait(PATIENCE)
        for rows in ([poem], [{"text": poem}], [{"text": [poem, failed]}]):
            with pytest.raises(ArgumentError, match=r"still run.*wait\(\)"):
                gemini_nb.estimate(rows, "{item}", **options)
        gate.set()
        poem.wait(PATIENCE)
        assert gemini_nb.estimate([{"text": poem}, failed], "{item}", **options).requests == 1


def test_what_is_no_prompt_for_many_rows_is_refused() -> None:
    wrong: list[Any] = [None, 7, "", " ", ["{item}"], b"{item}"]
    with rig(echo) as made:
        options: dict[str, Any] = {**made.options, "manager": made.manager}
        for prompt in wrong:
            with pytest.raises(ArgumentError, match="estimate takes a prompt, a text such as"):
                gemini_nb.estimate(["a"], prompt, **options)
            with pytest.raises(ArgumentError, match="ask_frame takes a prompt, a text such as"):
                gemini_nb.ask_frame(pd.DataFrame({"a": ["x"]}), prompt, **options)
        assert made.server.requests == []
