from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest

import gemini_nb
from answers import PATIENCE, Recorder, always, echo, hello, hold, prompt_of, rig, until
from gemini_nb.errors import APIError, ArgumentError, CallerError, ConfigError
from gemini_nb.streams.group.group import StreamGroup
from scripted import Answer, Request, Wait, call, json_error, sse_answer, text


def test_results_come_in_the_order_of_the_prompts() -> None:
    with rig(echo) as made:
        group = gemini_nb.map(list("abcdef"), manager=made.manager, concurrency=3, **made.options)
        assert isinstance(group, StreamGroup)
        assert group.result() == group.texts == list("ABCDEF")
        assert group.wait() is group
        assert group.errors == [None] * 6
        assert (len(group), group[0].text, [stream.text for stream in group[1:3]]) == (6, "A", ["B", "C"])
        assert [stream.text for stream in group.streams] == group.texts
        assert sorted(group) == list(enumerate(group.streams))
        assert repr(group) == "<StreamGroup of 6 streams, 6 done>"


def test_the_concurrency_limit_holds() -> None:
    gates = [threading.Event() for _ in range(7)]

    def script(request: Any) -> Any:
        return sse_answer(text("a"), Wait(gates[int(prompt_of(request))]), text("b", finish="STOP"))

    with rig(script) as made:
        group = gemini_nb.map(map(str, range(7)), manager=made.manager, concurrency=3, **made.options)
        for done in range(7):
            made.server.wait_requests(min(done + 3, 7))
            assert len(made.server.requests) == min(done + 3, 7)
            assert made.server.open <= 4
            gates[done].set()
            group[done].wait()
        assert [prompt_of(request) for request in made.server.requests] == list("0123456")


def test_the_managers_own_limit_holds_too() -> None:
    go_on = threading.Event()
    with rig(always(text("a"), Wait(go_on), text("b", finish="STOP")), max_concurrent=2) as made:
        group = gemini_nb.map(list("abcde"), manager=made.manager, concurrency=4, **made.options)
        made.server.wait_requests(2)
        first = Recorder()
        group[0].subscribe(first)
        first.wait("text_delta")
        assert (len(made.server.requests), made.manager.statistics().waiting) == (2, 3)
        go_on.set()
        assert group.result() == ["ab"] * 5


async def test_awaiting_a_group_gives_its_result() -> None:
    with rig(lambda request: json_error(400) if prompt_of(request) == "b" else echo(request)) as made:
        heard: list[str] = []
        whole = gemini_nb.map(list("acd"), manager=made.manager, **made.options)
        for stream in whole.streams:
            stream.subscribe(lambda event: heard.append(event.kind))
        assert await whole == ["A", "C", "D"]
        until(lambda: heard.count("stream_completed") == 3)
        with pytest.raises(APIError):
            await gemini_nb.map(list("abc"), manager=made.manager, **made.options)
        assert await gemini_nb.map([], manager=made.manager, **made.options) == []


@pytest.mark.parametrize("way", ["await", "async for", "for", "one by one"])
async def test_a_tool_that_waits_for_a_group_lends_its_place(way: str) -> None:
    inner: list[gemini_nb.StreamGroup] = []

    async def ask() -> list[str]:
        "Ask others."
        inner.append(gemini_nb.map(["a", "b"], manager=made.manager, **made.options))
        if way == "await":
            return await inner[0]
        return [stream.text async for _, stream in inner[0]]

    def ask_blocking() -> list[str]:
        "Ask others."
        rows = iter(["a", "b"]) if way == "one by one" else ["a", "b"]
        inner.append(gemini_nb.map(rows, manager=made.manager, **made.options))
        return [stream.text for _, stream in inner[0]]

    def play(request: Request) -> Answer:
        if prompt_of(request) != "go":
            return sse_answer(text(prompt_of(request).upper(), finish="STOP"))
        is_over = "functionResponse" in str(request.json["contents"][-1])
        return sse_answer(text("Done.", finish="STOP") if is_over else call("ask", finish="STOP"))

    with rig(play, max_concurrent=1) as made:
        tool = gemini_nb.tool(ask if "a" in way else ask_blocking, name="ask", timeout=10)
        stream = made.manager.start_stream("go", tools=[tool], **made.options)
        assert await stream == "Done."
        assert stream.tool_calls[0].error is None
        assert inner[0].texts == ["A", "B"]


async def test_a_tool_that_reads_along_its_own_group_is_refused_at_once() -> None:
    groups: list[gemini_nb.StreamGroup] = []
    is_there = threading.Event()

    def ask() -> str:
        "Read along."
        is_there.wait(20)
        try:
            return str(list(groups[0]))
        except gemini_nb.GeminiError as error:
            return str(error)

    def play(request: Request) -> Answer:
        is_over = "functionResponse" in str(request.json["contents"][-1])
        return sse_answer(text("Done.", finish="STOP") if is_over else call("ask", finish="STOP"))

    with rig(play) as made:
        groups.append(gemini_nb.map(["go"], tools=[ask], manager=made.manager, **made.options))
        is_there.set()
        assert await groups[0] == ["Done."]
        assert "would never end" in groups[0].streams[0].tool_calls[0].result


async def test_cancelling_what_awaits_a_group_stops_it() -> None:
    with rig(hold()) as made:
        group = gemini_nb.map(list("abcd"), manager=made.manager, concurrency=2, **made.options)
        awaiting = asyncio.ensure_future(group)
        await asyncio.to_thread(made.server.wait_requests, 2)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        await asyncio.to_thread(group.wait, 20)
        assert [stream.status for stream in group.streams] == ["stopped"] * 4
        assert len(made.server.requests) == 2


def test_stopping_stops_all_also_those_that_wait() -> None:
    with rig(hold()) as made:
        group = gemini_nb.map(list("abcd"), manager=made.manager, concurrency=2, **made.options)
        made.server.wait_requests(2)
        group.stop()
        assert [stream.status for stream in group.streams] == ["stopped"] * 4
        assert len(made.server.requests) == 2
        assert len(group.result()) == 4


def test_a_failure_is_one_streams_own_and_result_raises_it() -> None:
    with rig(lambda request: json_error(400) if prompt_of(request) == "b" else echo(request)) as made:
        group = gemini_nb.map(list("abc"), manager=made.manager, **made.options).wait()
        assert group.texts == ["A", "", "C"]
        assert [type(error) for error in group.errors] == [type(None), APIError, type(None)]
        with pytest.raises(APIError):
            group.result()


def test_waiting_has_one_timeout_for_all() -> None:
    with rig(hold()) as made:
        group = gemini_nb.map(list("abc"), manager=made.manager, **made.options)
        with pytest.raises(TimeoutError):
            group.wait(0.05)
        assert [stream.status for stream in group.streams] == ["active"] * 3


def test_blocked_subscribers_cost_one_second_together() -> None:
    go_on = threading.Event()
    with rig(hello()) as made:

        def seconds(count: int) -> float:
            began = time.monotonic()
            options = {"manager": made.manager, "subscriber": Recorder("", go_on), **made.options}
            assert gemini_nb.map(list("abcdefghijkl"[:count]), **options).result() == ["Hello"] * count
            return time.monotonic() - began

        assert seconds(12) < 6 * seconds(1)
        go_on.set()


def test_a_prompt_that_cannot_be_sent_stops_what_was_started() -> None:
    with rig(hold()) as made:
        with pytest.raises(ConfigError):
            gemini_nb.map(["a", ""], manager=made.manager, **made.options)
        assert made.manager.list_streams() == []
        with pytest.raises(ConfigError):
            gemini_nb.map(["a"], manager=made.manager, concurrency=0, **made.options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "one prompt"}, "list of prompts"),
        ({"prompts": 5}, "list of prompts"),
        ({"prompts": {"text": "x"}}, "list of prompts"),
        ({"prompts": ["a"], "concurrency": "3"}, "concurrency"),
        ({"prompts": ["a"], "concurrency": 1.5}, "concurrency"),
        ({"prompts": ["a", "b"], "each": [{}]}, "2 prompts, but settings for 1"),
        ({"prompts": ["a", "b"], "items": ["a"]}, "2 prompts, but 1 items"),
    ],
)
def test_a_map_that_cannot_be_understood_starts_nothing(options: dict[str, Any], message: str) -> None:
    with rig(hold()) as made:
        with pytest.raises(CallerError, match=message):
            gemini_nb.map(manager=made.manager, **made.options, **options)
        assert made.manager.list_streams(all=True) == []


def test_no_prompts_no_streams() -> None:
    with rig(hello()) as made:
        group = gemini_nb.map([], manager=made.manager, **made.options)
        assert (group.result(), len(group)) == ([], 0)
        assert group.wait(PATIENCE) is group


def test_an_item_that_is_none_is_an_item_in_a_frame() -> None:
    with rig(echo) as made:
        group = gemini_nb.map(["a", "b"], items=[None, 3], manager=made.manager, **made.options).wait()
    frame = group.to_frame()
    assert list(frame.columns)[:2] == ["item", "answer"]
    assert frame["item"].isna().tolist() == [True, False]


def test_a_frame_keeps_the_items_own_columns_first() -> None:
    items: list[dict[Any, Any]] = [
        {"status": "new", "city": "Oslo", "model": "T", "answer": 1, "error": "e", "tokens": 9},
        {"city": "Lima", "status": "old", "finish_reason": "f", 7: "seven"},
    ]
    own = ["status", "city", "model", "answer", "error", "tokens", "finish_reason", 7]
    with rig(lambda request: json_error(400) if prompt_of(request) == "b" else echo(request)) as made:
        group = gemini_nb.map(["a", "b"], items=items, manager=made.manager, **made.options).wait()
    frame = group.to_frame()
    added = ["answer_answer", "answer_status", "answer_finish_reason", "answer_error", "answer_tokens"]
    assert list(frame.columns) == [*own, *added, "cost", "kept"]
    for name in own:
        has = [name in item for item in items]
        assert frame[name].notna().tolist() == has
        assert frame[name][has].tolist() == [item[name] for item in items if name in item]
    assert frame["answer_answer"].notna().tolist() == [True, False]
    assert frame["answer_status"].tolist() == ["completed", "error"]
    assert frame["answer_finish_reason"].notna().tolist() == [True, False]
    assert frame["answer_error"].notna().tolist() == [False, True]


def test_a_frame_without_clashes_has_the_plain_names_and_several_models_are_told_apart() -> None:
    ends = ["answer", "status", "finish_reason", "error", "tokens", "cost", "kept"]
    with rig(echo) as made:
        options = {"manager": made.manager, **made.options}
        one = gemini_nb.map(["a", "b"], items=[{"x": 1}, {"x": 2}], **options).wait().to_frame()
        models = [{"model": "gemini-a"}, {"model": "gemini-b"}]
        two = gemini_nb.map(["a", "a"], items=["p", "p"], each=models, **options).wait().to_frame()
        none = gemini_nb.map([], **options).to_frame()
    assert list(one.columns) == ["x", *ends]
    assert list(two.columns) == ["item", *ends, "model"]
    assert two["model"].tolist() == ["gemini-a", "gemini-b"]
    assert len(none) == 0


class Seen(pydantic.BaseModel):
    city: str
    status: str
    grade: int


@pytest.mark.parametrize("schema", [Seen, Seen.model_json_schema()])
def test_the_fields_of_a_schema_are_columns_also_where_rows_failed(schema: Any) -> None:
    def script(request: Any) -> Any:
        said = '{"city": "Oslo", "status": "fine", "grade": 2}' if prompt_of(request) == "a" else "no"
        return sse_answer(text(said, finish="STOP"))

    with rig(script) as made:
        options = {"manager": made.manager, "schema": schema, **made.options}
        both = gemini_nb.map(["b", "a"], items=[{"city": "x"}, {"city": "y"}], **options).wait()
        failed = gemini_nb.map(["b"], items=[{"city": "x"}], **options).wait()
    columns = [
        "city",
        "answer_city",
        "answer_status",
        "grade",
        "status",
        "finish_reason",
        "error",
        "tokens",
        "cost",
        "kept",
    ]
    frame = both.to_frame()
    assert list(frame.columns) == list(failed.to_frame().columns) == columns
    assert frame["city"].tolist() == ["x", "y"]
    assert frame["answer_status"].notna().tolist() == [False, True]
    assert frame["status"].tolist() == ["error", "completed"]


ENDS = ["status", "finish_reason", "error", "tokens", "cost", "kept"]


@pytest.mark.parametrize(
    ("items", "own"),
    [
        (None, ["item"]),
        ([], []),
        (pd.DataFrame({"city": [], "river": []}), ["city", "river"]),
        (pl.DataFrame({"city": [], "river": []}), ["city", "river"]),
        (pa.table({"city": [], "river": []}), ["city", "river"]),
    ],
)
@pytest.mark.parametrize("prompts", [list, lambda: iter(())])
def test_a_frame_without_rows_has_the_columns_of_one_with_rows(prompts: Any, items: Any, own: Any) -> None:
    with rig(hello()) as made:
        options: Any = {"manager": made.manager, **made.options, "model": "gemini-a", "items": items}
        texts = gemini_nb.map(prompts(), **options).wait(PATIENCE)
        seen = gemini_nb.map(prompts(), schema=Seen, **options).wait(PATIENCE)
        config = {"response_schema": Seen}
        configured = gemini_nb.map(prompts(), generation_config=config, **options).wait(PATIENCE)
        assert made.server.requests == []
    assert list(texts.to_frame()) == [*own, "answer", *ENDS]
    fields = ["answer_city" if "city" in own else "city", "answer_status", "grade"]
    assert list(seen.to_frame()) == list(configured.to_frame()) == [*own, *fields, *ENDS]
    assert list(seen.to_frame(wide=True)) == [*own, "gemini-a"]
    frame = seen.to_frame()
    assert list(frame[frame["kept"]]) == list(frame[frame["status"] == "error"]) == list(frame)
    assert frame["tokens"].sum() == frame["cost"].sum() == 0


def test_a_frame_without_rows_of_several_models_tells_them_apart() -> None:
    with rig(hello()) as made:
        group = gemini_nb.map(iter(()), each=iter(()), manager=made.manager, **made.options)
        group.side_by_side(["gemini-a", "gemini-b"]).wait(PATIENCE)
    assert list(group.to_frame()) == ["item", "answer", *ENDS, "model"]
    assert list(group.to_frame(wide=True)) == ["item", "gemini-a", "gemini-b"]


def test_rows_that_were_never_asked_have_the_columns_of_the_schema() -> None:
    with rig(hello()) as made:
        no_key: Any = {"auth": "gemini", "model": "gemini-a", "manager": made.manager}
        group = gemini_nb.map(iter("ab"), schema=Seen, each=iter([{}, {}]), **no_key).wait(PATIENCE)
        own = [{"schema": Seen}, {"schema": Seen}]
        each = gemini_nb.map(iter("ab"), each=iter(own), **no_key).wait(PATIENCE)
    assert group.started == each.started == []
    assert (
        list(group.to_frame()) == list(each.to_frame()) == ["item", "city", "answer_status", "grade", *ENDS]
    )
    assert group.to_frame(wide=True).to_dict("list") == {"item": ["a"], "gemini-a": [None]}


@pytest.mark.parametrize("one", ["Name a river.", {"text": "Name a river."}, b"abc"])
def test_one_prompt_is_not_a_list_of_letters(one: Any) -> None:
    with rig(echo) as made:
        with pytest.raises(ArgumentError, match="a list of prompts"):
            gemini_nb.map(one, manager=made.manager, **made.options)
        assert made.manager.list_streams(all=True) == []


def filtered() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "text": list("abcd"),
            "n": pd.array([1, 2, None, 4], dtype="Int64"),
            "kind": pd.Categorical(list("uvuv")),
            "when": pd.date_range("2026-01-01", periods=4, tz="Europe/Lisbon"),
            ("a", "b"): [1, 2, 3, 4],
        }
    )
    return frame[frame["text"] != "b"]


def test_answers_stand_beside_the_rows_of_a_filtered_frame() -> None:
    """pandas puts columns together by their index: another one would be a silent mistake."""
    frame = filtered()
    with rig(echo) as made:
        options = {"manager": made.manager, **made.options}
        groups = [
            gemini_nb.map(frame["text"], **options),
            gemini_nb.map(list(frame["text"]), items=frame["text"], **options),
            gemini_nb.map(list(frame["text"]), items=frame, **options),
        ]
        for group in groups:
            frame["answer"] = group.wait().to_frame()["answer"]
            assert frame["answer"].tolist() == ["A", "C", "D"]
            assert group.to_frame(wide=True).index.equals(frame.index)
        models = [{"model": model} for model in ("gemini-a", "gemini-b") for _ in range(3)]
        items = pd.concat([filtered(), filtered()]).set_index(["n", "kind"])
        pair = gemini_nb.map(list(items["text"]), items=items, each=models, **options).wait()
    assert pair.to_frame().index.equals(items.index)


def test_answers_stand_beside_their_rows_where_the_prompts_ended_early() -> None:
    frame = filtered()
    with rig(echo) as made:
        options = {"manager": made.manager, **made.options}
        group = gemini_nb.map(iter(["a", "c"]), items=frame, **options)
        table = group.wait().to_frame()
    assert table.index.tolist() == frame.index.tolist()[:2]
    assert table["kind"].dtype == frame["kind"].dtype


def test_the_columns_of_a_frame_keep_their_types_and_what_they_held() -> None:
    frame = filtered()
    with rig(echo) as made:
        group = gemini_nb.map(list("acd"), items=frame, manager=made.manager, **made.options)
        frame.loc[:, "text"] = "changed"
        table = group.wait().to_frame()
    pd.testing.assert_frame_equal(table.iloc[:, :5], filtered())
    assert list(table.columns)[5:] == ["answer", *ENDS]
