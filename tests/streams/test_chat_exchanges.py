"""What a chat tells those who show it, and messages that are asked in place of the last one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from answers import PATIENCE, rig
from gemini_nb import Chat
from gemini_nb.errors import ArgumentError
from gemini_nb.streams.stream import Stream
from scripted import Answer, Request, Wait, json_error, sse_answer, text


class Script:
    """Answers in capitals: to "hold" when the gate opens, to "begin" never wholly; "bad" is refused."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: list[list[str]] = []

    def __call__(self, request: Request) -> Answer:
        contents = request.json["contents"]
        self.asked.append([turn["parts"][0]["text"] for turn in contents])
        words = contents[-1]["parts"][0]["text"]
        if words.startswith("bad"):
            return json_error(400)
        steps: list[Any] = [Wait(self.gate)] if words.startswith("hold") else []
        steps = [text("B"), Wait()] if words.startswith("begin") else steps
        return sse_answer(*steps, text(words.upper(), finish="STOP"))


@contextlib.contextmanager
def a_chat(*history: Any) -> Iterator[tuple[Chat, Script]]:
    script = Script()
    with rig(script) as made:
        yield Chat(list(history), manager=made.manager, **made.options), script
        script.gate.set()


def ask(chat: Chat, words: str, **options: Any) -> Stream:
    return chat.send_typed(words, f"{{{words}}}", **options)


def shown(chat: Chat) -> list[tuple[str, int, bool]]:
    return [(one.typed, len(one.turns), one.is_unanswered) for one, _ in chat.exchanges()]


def history(chat: Chat) -> list[str]:
    return [turn["parts"][0]["text"] for turn in chat.history]


OLD = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "A"}]}]


def test_the_messages_are_told_in_the_order_of_reading() -> None:
    with a_chat(*OLD) as (chat, script):
        ask(chat, "b").result(PATIENCE)
        ask(chat, "bad").wait(PATIENCE)
        chat.send("c").result(PATIENCE)
        held = ask(chat, "hold")
        queued = ask(chat, "d")
        assert shown(chat) == [
            ("", 2, False),
            ("{b}", 2, False),
            ("{bad}", 0, True),
            ("", 2, False),
            ("{hold}", 0, False),
            ("{d}", 0, False),
        ]
        pairs = chat.exchanges()
        assert [one.is_under_way for one, _ in pairs] == [False] * 4 + [True] * 2
        assert [stream for _, stream in pairs][-2:] == [held, queued]
        assert pairs[0][1] is None
        script.gate.set()
        queued.result(PATIENCE)
        assert [exchange.is_under_way for exchange, _ in chat.exchanges()] == [False] * 6


def test_a_change_is_told_and_what_was_taken_back_is_gone() -> None:
    with a_chat() as (chat, _):
        told: list[int] = []
        chat.on_change.append(lambda: told.append(len(chat.exchanges())))
        ask(chat, "a").result(PATIENCE)
        ask(chat, "b").result(PATIENCE)
        assert told[-1] == 2
        chat.rewind()
        assert told[-1] == 1
        assert shown(chat) == [("{a}", 2, False)]
        chat.history = [*chat.history, *OLD]
        assert shown(chat) == [("{a}", 2, False), ("", 2, False)]
        chat.history = "no history"  # type: ignore[assignment]  # a user's mistake
        with pytest.raises(ArgumentError, match="list of turns"):
            chat.exchanges()


def test_an_unanswered_message_goes_with_what_stood_before_it() -> None:
    with a_chat() as (chat, _):
        first = ask(chat, "bad")
        first.wait(PATIENCE)
        ask(chat, "a").result(PATIENCE)
        ask(chat, "bad too").wait(PATIENCE)
        assert shown(chat) == [("{bad}", 0, True), ("{a}", 2, False), ("{bad too}", 0, True)]
        chat.rewind()
        assert shown(chat) == [("{bad}", 0, True)]
        chat.dismiss(first.stream_id)
        assert shown(chat) == []


@pytest.mark.parametrize("of_a_file", [False, True])
def test_the_last_message_is_asked_anew_and_comes_back(of_a_file: bool) -> None:
    with a_chat(*(OLD if of_a_file else ())) as (chat, script):
        if not of_a_file:
            ask(chat, "a").result(PATIENCE)
        before = chat.history
        stream = ask(chat, "new", instead=True)
        assert stream.result(PATIENCE) == "NEW"
        assert script.asked[-1] == ["new"]
        assert history(chat) == ["new", "NEW"]
        assert "restore() brings that one back" in stream.remarks
        chat.restore()
        assert chat.history == before


def test_an_edit_that_fails_leaves_the_chat_as_it_was() -> None:
    with a_chat(*OLD) as (chat, _):
        ask(chat, "bad", instead=True).wait(PATIENCE)
        assert history(chat) == ["a", "A"]
        assert shown(chat) == [("", 2, False), ("{bad}", 0, True)]
        ask(chat, "b").result(PATIENCE)
        assert history(chat) == ["a", "A", "b", "B"]


def test_an_edit_tells_what_comes_back_if_it_fails() -> None:
    with a_chat(*OLD) as (chat, _):
        ask(chat, "hold", instead=True)
        begun = ask(chat, "begin", instead=True)
        next(event for event in begun if event.kind == "text_delta")
        ((exchange, _),) = chat.exchanges()
        assert [one.turns for one in exchange.replaces] == [tuple(OLD)]


def test_an_edit_stops_the_message_that_is_under_way() -> None:
    with a_chat(*OLD) as (chat, script):
        old = ask(chat, "hold")
        assert ask(chat, "b", instead=True).result(PATIENCE) == "B"
        assert old.status == "stopped"
        assert shown(chat) == [("", 2, False), ("{b}", 2, False)]
        begun = ask(chat, "begin")
        next(event for event in begun if event.kind == "text_delta")
        assert ask(chat, "c", instead=True).result(PATIENCE) == "C"
        assert history(chat) == ["a", "A", "b", "B", "c", "C"]
        assert script.asked[-1] == ["a", "A", "b", "B", "c"]


def test_an_edit_of_an_empty_chat_is_its_first_message() -> None:
    with a_chat() as (chat, _):
        assert ask(chat, "a", instead=True).result(PATIENCE) == "A"
        assert history(chat) == ["a", "A"]
