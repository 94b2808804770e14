"""Contents kept at the service: made, asked about, refused at the call where they do not fit."""

from __future__ import annotations

import datetime as dt
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from gemini_nb import ArgumentError, ConfigError, GeminiError
from gemini_nb.notebook.render.figures import short
from gemini_nb.notebook.render.settled import to_markdown
from gemini_nb.simulator import Simulator
from scripted import ScriptedServer, json_error

LONG = "A lighthouse stands on a rock and shows ships the way. " * 120
MODEL = "gemini-3.8-flash"
SECRET = "AIzaSyA-key-that-must-not-be-seen-4711-0"


@pytest.fixture
def manager() -> Iterator[gemini_nb.StreamManager]:
    made = gemini_nb.StreamManager()
    yield made
    made.shutdown()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as made:
        yield made


class Desk:
    def __init__(self, manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
        self.manager, self.simulator = manager, simulator
        self.options: dict[str, Any] = {
            "auth": "gemini",
            "base_url": simulator.base_url,
            "credentials": {"api_key": SECRET},
        }

    def cache(self, contents: Any = LONG, **options: Any) -> gemini_nb.CachedContent:
        return gemini_nb.cache(contents, manager=self.manager, **{"model": MODEL, **self.options, **options})

    def ask(self, contents: Any = "Who is it?", **options: Any) -> gemini_nb.Stream:
        return self.manager.start_stream(contents, **options)


@pytest.fixture
def desk(manager: gemini_nb.StreamManager, simulator: Simulator) -> Desk:
    return Desk(manager, simulator)


def test_a_cache_is_made_asked_about_prolonged_and_deleted(desk: Desk) -> None:
    book = desk.cache(ttl="2h", system_instruction="Be brief.")
    sent = desk.simulator.requests[-1].body
    assert sent["ttl"] == "7200s"
    assert sent["model"] == f"models/{MODEL}"
    assert sent["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert book.tokens > 1024
    left = book.expires - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=118) < left <= dt.timedelta(hours=2)

    stream = desk.ask(cached=book).wait(20)
    assert stream.error is None
    body = desk.simulator.requests[-1].body
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "Who is it?"}]}],
        "cachedContent": book.name,
    }
    assert stream.model == MODEL
    assert stream.usage.cached_content_token_count == book.tokens
    assert f" in ({book.tokens:,} cached), " in " ".join(short(stream))
    assert f"({book.tokens:,} cached)" in to_markdown(stream)

    book.update(ttl=60)
    assert book.expires - dt.datetime.now(dt.UTC) <= dt.timedelta(minutes=1)
    book.delete()
    book.delete()
    assert desk.simulator.caches.names == []
    with pytest.raises(ConfigError, match="was deleted"):
        desk.ask(cached=book)


def test_the_cached_share_has_its_own_price(desk: Desk) -> None:
    book = desk.cache("word " * 40_000)
    cached = desk.ask(cached=book).wait(20)
    whole = desk.ask("word " * 40_000, model=MODEL, **desk.options).wait(20)
    assert cached.cost is not None
    assert whole.cost is not None
    assert cached.cost < whole.cost


def test_its_functions_run_here(desk: Desk) -> None:
    asked = []

    def weather(city: str) -> str:
        """Look up the weather."""
        asked.append(city)
        return "sunny"

    book = desk.cache(tools=[weather])
    stream = desk.ask("Weather in Lisbon?", cached=book).wait(20)
    assert stream.error is None
    assert asked == ["Lisbon"]
    assert "tools" not in desk.simulator.requests[-1].body
    assert desk.simulator.requests[-1].body["cachedContent"] == book.name


def test_a_name_is_enough(desk: Desk) -> None:
    book = desk.cache()
    stream = desk.ask(cached=book.name, model=MODEL, **desk.options).wait(20)
    assert stream.error is None
    assert stream.usage.cached_content_token_count == book.tokens


def test_a_chat_and_rows_read_it(desk: Desk) -> None:
    book = desk.cache()
    chat = gemini_nb.Chat(manager=desk.manager, cached=book)
    assert [chat.send(words).wait(20).error for words in ("One?", "Two?")] == [None, None]
    group = gemini_nb.map(["a", "b"], manager=desk.manager, cached=book)
    group.wait()
    assert all(one.usage.cached_content_token_count == book.tokens for one in group.streams)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"system_instruction": "x"}, "systemInstruction cannot be set beside a cache"),
        ({"tools": ["search"]}, "tools cannot be set beside a cache"),
        ({"tools": [print]}, "tools"),
        ({"tools": [gemini_nb.mcp(["never-started"])]}, "tools cannot be set beside a cache"),
        ({"tool_config": {"function_calling_config": {"mode": "NONE"}}}, "toolConfig cannot be set"),
        ({"generation_config": {"system_instruction": "x", "temperature": 1}}, "systemInstruction cannot"),
        ({"model": "gemini-3.5-flash"}, "is for model='gemini-3.8-flash', not 'gemini-3.5-flash'"),
        ({"auth": "vertex_ai"}, "is for auth='gemini'"),
    ],
)
def test_what_does_not_go_with_it_is_refused_at_the_call(
    desk: Desk, options: dict[str, Any], says: str
) -> None:
    book = desk.cache()
    before = desk.simulator.request_count
    with pytest.raises(ConfigError, match=re.escape(says)):
        desk.ask(cached=book, **options)
    assert desk.simulator.request_count == before


@pytest.mark.parametrize(
    "options",
    [
        {"contents": "x", "generation_config": {"cached_content": "cachedContents/a", "tools": ["search"]}},
        {
            "contents": "x",
            "generation_config": {"cachedContent": "cachedContents/a"},
            "system_instruction": "x",
        },
        {"contents": "x", "cached": "cachedContents/a", "tools": ["search"]},
        {
            "request_body": {
                "contents": "x",
                "cached_content": "cachedContents/a",
                "tool_config": {"functionCallingConfig": {"mode": "NONE"}},
            }
        },
        {
            "request_body": {
                "contents": "x",
                "cachedContent": "cachedContents/a",
                "systemInstruction": {"parts": [{"text": "x"}]},
            }
        },
    ],
)
def test_a_plain_name_beside_what_it_could_hold_is_refused_at_the_call(
    desk: Desk, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="cannot be set beside a cache"):
        desk.manager.start_stream(**{**desk.options, **options})
    assert desk.simulator.request_count == 0


def test_two_names_are_one_too_many(desk: Desk) -> None:
    with pytest.raises(ArgumentError, match="given twice"):
        desk.ask(cached="cachedContents/a", generation_config={"cachedContent": "cachedContents/b"})


@pytest.mark.parametrize(
    "cached", [3, "", "files/x", "cachedContents/a/b", "cachedContents/../x", ["cachedContents/a"]]
)
def test_what_is_no_cache_is_refused(desk: Desk, cached: Any) -> None:
    with pytest.raises(ArgumentError, match="cached is a CachedContent or its name"):
        desk.ask(cached=cached, **desk.options)


@pytest.mark.parametrize(
    "ttl", ["1 hour", "", 0, -5, True, None, float("nan"), float("inf"), "10000000h", [], "1h30m"]
)
def test_a_time_that_is_none_is_refused(desk: Desk, ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl is how long"):
        desk.cache(ttl=ttl)
    assert desk.simulator.request_count == 0


@pytest.mark.parametrize(
    ("ttl", "sent"),
    [("90s", "90s"), ("1.5h", "5400s"), (30, "30s"), (dt.timedelta(days=1), "86400s"), ("2D", "172800s")],
)
def test_times(desk: Desk, ttl: Any, sent: str) -> None:
    desk.cache(ttl=ttl)
    assert desk.simulator.requests[-1].body["ttl"] == sent


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"generation_config": {"temperature": 1}}, "keeps no generation_config"),
        ({"schema": dict}, "keeps no schema"),
        ({"contents": None}, "needs contents"),
        (
            {"tool_config": {"function_calling_config": {"mode": "ANY"}}, "tools": [print]},
            "does not take the mode ANY",
        ),
        ({"endpoint": "http://127.0.0.1:9/x", "base_url": None}, "a base_url, not an endpoint"),
    ],
)
def test_what_no_cache_can_keep_is_refused(desk: Desk, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, ArgumentError), match=says):
        desk.cache(**options)
    assert desk.simulator.request_count == 0


def test_a_system_instruction_alone_can_be_kept(desk: Desk) -> None:
    book = desk.cache(None, system_instruction=LONG)
    assert "contents" not in desk.simulator.requests[-1].body
    assert desk.ask(cached=book).wait(20).error is None


def test_what_is_too_small_says_so(desk: Desk) -> None:
    with pytest.raises(GeminiError, match=r"too small. total_token_count=\d+, min_total_token_count=1024"):
        desk.cache("short")


def test_an_expired_cache_says_so(desk: Desk) -> None:
    book = desk.cache()
    desk.simulator.caches.expire(book.name)
    stream = desk.ask(cached=book).wait(20)
    assert stream.error is not None
    assert stream.error.status_code == 403
    assert "The cache has expired, was deleted" in str(stream.error)
    with pytest.raises(GeminiError, match="The cache has expired"):
        book.update(ttl="1h")
    with pytest.raises(GeminiError, match="The cache has expired"):
        book.delete()


def test_the_end_of_a_block_takes_an_expired_cache_for_deleted_and_hides_no_error(desk: Desk) -> None:
    with desk.cache() as book:
        desk.simulator.caches.expire(book.name)
        book.expires = dt.datetime.now(dt.UTC)
    assert "deleted" in repr(book)
    other = desk.cache()
    desk.simulator.caches.expire(other.name)
    with pytest.raises(KeyError), other:
        raise KeyError("the user's own")


def test_a_server_that_answers_something_else_is_an_error(manager: gemini_nb.StreamManager) -> None:
    from scripted import response

    bodies = [
        b"<html>",
        b"[]",
        b"{}",
        b'{"name": "cachedContents/x"}',
        b'{"name":"cachedContents/x","expireTime":"?"}',
    ]
    answers: list[Any] = [
        response(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)
        for body in bodies
    ]
    with ScriptedServer([*answers, json_error(503)]) as server:
        for _ in range(6):
            with pytest.raises(GeminiError):
                gemini_nb.cache(
                    "x",
                    model=MODEL,
                    manager=manager,
                    auth="gemini",
                    base_url=server.url,
                    credentials={"api_key": SECRET},
                )


def test_vertex_ai_keeps_it_in_the_project(desk: Desk) -> None:
    account = {"project_id": "p", "location": "l", "access_token": SECRET}
    book = desk.cache(auth="vertex_ai", credentials=account)
    assert book.name.startswith("projects/p/locations/l/cachedContents/")
    assert (
        desk.simulator.requests[-1].body["model"]
        == f"projects/p/locations/l/publishers/google/models/{MODEL}"
    )
    assert desk.ask(cached=book).wait(20).error is None
    book.update(ttl="1h")
    with book:
        pass
    assert desk.simulator.caches.names == []


def test_no_key_is_in_its_repr_or_its_pickle(desk: Desk) -> None:
    book = desk.cache()
    assert SECRET not in repr(book) + repr(vars(book))
    data = pickle.dumps(book)
    assert SECRET.encode() not in data
    away = pickle.loads(data)
    assert (away.name, away.tokens) == (book.name, book.tokens)
    with pytest.raises(GeminiError, match="process that made it"):
        away.delete()
    assert desk.ask(cached=away, credentials={"api_key": SECRET}).wait(20).error is None


def test_kept_answers_are_found_by_what_the_cache_holds(desk: Desk, tmp_path: Path) -> None:
    keep = str(tmp_path / "answers.jsonl")
    first = desk.ask(cached=desk.cache(), keep=keep).wait(20)
    again = desk.ask(cached=desk.cache(), keep=keep).wait(20)
    assert again.kept is not None
    assert again.text == first.text
    assert desk.ask(cached=desk.cache(LONG + "more"), keep=keep).wait(20).kept is None

    before = desk.simulator.request_count
    book = gemini_nb.cache(LONG, model=MODEL, manager=desk.manager, auth="recording", keep=keep)
    replayed = desk.ask(cached=book, keep=keep).wait(20)
    book.delete()
    assert replayed.text == first.text
    assert desk.simulator.request_count == before


def test_its_functions_stand_in_no_program(desk: Desk) -> None:
    def weather(city: str) -> str:
        """Look up the weather."""
        return "sunny"

    stream = desk.ask(cached=desk.cache(tools=[weather])).wait(20)
    assert "'cachedContent'" in stream.to_code()
    assert "weather" not in stream.to_code()
