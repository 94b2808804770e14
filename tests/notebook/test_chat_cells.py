"""Messages that belong to cells: a cell that runs again asks again from its place, and loses nothing."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from answers import KEY, PATIENCE, rig
from gemini_nb import Chat
from gemini_nb.errors import ConfigError, NotAskedError
from gemini_nb.notebook.pane.stepper import head_html
from gemini_nb.notebook.render.settled import to_markdown, to_text
from gemini_nb.streams.chat.messages import Message, Messages, Origin
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from kernels import Kernel
from scripted import Answer, Request, ScriptedServer, Wait, call, json_error, sse_answer, text

_runs = itertools.count(1)


class Script:
    """Answers in capitals, to "hold" when the gate opens; "bad" is refused, "use" uses a tool."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, request: Request) -> Answer:
        part = request.json["contents"][-1]["parts"][0]
        words = part.get("text", "a result")
        if words.startswith("bad"):
            return json_error(400)
        if words.startswith("use"):
            return sse_answer(call("book_table", finish="STOP"))
        if words.startswith("blocked"):
            return sse_answer({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
        steps: list[Any] = [Wait(self.gate)] if words.startswith("hold") else []
        steps = [text("B"), Wait()] if words.startswith("begin") else steps
        return sse_answer(*steps, text(words.upper(), finish="STOP"))


class Desk:
    """A chat, and cells that send to it."""

    def __init__(self, manager: StreamManager, **options: Any) -> None:
        self.chat = Chat(manager=manager, **options)

    def run(self, cell: str, *messages: str, chat: Chat | None = None, **options: Any) -> Stream:
        origin = Origin(cell, str(next(_runs)), "talk")
        streams = [(chat or self.chat).send_from(origin, words, kept={}, **options) for words in messages]
        return streams[-1]

    def asked(self, *cells: str) -> None:
        for cell in cells:
            self.run(cell, cell).result(PATIENCE)

    @property
    def said(self) -> list[str]:
        return words(self.chat)


def words(chat: Chat) -> list[str]:
    return [turn["parts"][0]["text"] for turn in chat.history if turn["role"] == "user"]


@contextlib.contextmanager
def desk() -> Iterator[tuple[Desk, Script, ScriptedServer]]:
    script = Script()
    with rig(script) as made:
        yield Desk(made.manager, **made.options), script, made.server


def test_a_cell_that_runs_again_asks_again_from_its_place() -> None:
    with desk() as (made, _, server):
        made.asked("a", "b", "c")
        stream = made.run("b", "new b")
        assert stream.result(PATIENCE) == "NEW B"
        assert [turn["parts"][0]["text"] for turn in server.requests[-1].json["contents"]] == [
            "a",
            "A",
            "new b",
        ]
        assert made.said == ["a", "new b"]
        for shown in (to_markdown(stream), to_text(stream), head_html(stream)):
            assert "2 messages were taken back" in shown
            assert "talk.restore()" in shown
            assert "append goes on instead" in shown
        made.run("c", "c").result(PATIENCE)
        made.run("b", "b3").result(PATIENCE)
        assert made.said == ["a", "b3"]


def test_nothing_is_lost_by_it() -> None:
    with desk() as (made, _, _server):
        made.asked("a", "b", "c")
        before = made.chat.history
        made.run("a", "new a").result(PATIENCE)
        made.run("a", "newest a").result(PATIENCE)
        assert [turn["parts"][0]["text"] for turn in made.chat.restore()] == ["newest a", "NEWEST A"]
        assert made.said == ["new a"]
        made.chat.restore()
        assert made.chat.history == before
        made.run("b", "new b").result(PATIENCE)
        assert made.said == ["a", "new b"]
        made.chat.restore()
        with pytest.raises(ConfigError, match="Nothing of this chat was taken back"):
            made.chat.restore()


def test_the_pane_names_the_tools_that_had_acted() -> None:
    def book_table() -> str:
        """Book it."""
        return "done"

    with desk() as (made, _, _server):
        made.run("a", "use it", tools=[book_table]).result(PATIENCE)
        stream = made.run("a", "a")
        stream.result(PATIENCE)
        assert "1 message was taken back. Tools that had acted already: book_table." in stream.remarks
        assert stream.info().remarks == stream.remarks


@pytest.mark.parametrize("way", ["bad", "blocked", "hold"])
def test_a_message_that_brings_nothing_leaves_the_chat_as_it_was(way: str) -> None:
    with desk() as (made, _, server):
        made.asked("a", "b")
        before = list(made.chat.history)
        stream = made.run("a", way)
        server.wait_requests(3)
        assert made.chat.history == before
        if way == "hold":
            stream.stop()
        stream.wait(PATIENCE)
        assert made.chat.history == before
        with pytest.raises(ConfigError, match="Nothing of this chat"):
            made.chat.restore()
        made.run("b", "new b").result(PATIENCE)
        assert made.said == ["a", "new b"]


def test_a_message_that_is_stopped_after_it_has_begun_stays_and_the_old_ones_can_be_restored() -> None:
    with desk() as (made, _, _server):
        made.asked("a", "b")
        stream = made.run("a", "begin")
        next(event for event in stream if event.kind == "text_delta")
        stream.stop()
        assert made.said == ["begin"]
        made.chat.restore()
        assert made.said == ["a", "b"]


def test_the_messages_of_one_run_belong_together() -> None:
    with desk() as (made, _, server):
        made.run("a", "1", "2").result(PATIENCE)
        made.asked("b")
        made.run("a", "3", "4", "5").result(PATIENCE)
        assert made.said == ["3", "4", "5"]
        assert len(server.requests[-1].json["contents"]) == 5


def test_append_copies_and_messages_without_a_cell_go_on_at_the_end() -> None:
    with desk() as (made, _, _server):
        made.asked("a")
        made.run("a", "b", append=True).result(PATIENCE)
        made.run("copy of a", "c").result(PATIENCE)
        made.chat.send("d").result(PATIENCE)
        made.chat.send("e").result(PATIENCE)
        assert made.said == ["a", "b", "c", "d", "e"]
        made.run("copy of a", "f").result(PATIENCE)
        assert made.said == ["a", "b", "f"]


def test_a_fork_keeps_the_places() -> None:
    with desk() as (made, _, _server):
        made.asked("a", "b")
        fork = made.chat.fork()
        made.run("a", "new", chat=fork).result(PATIENCE)
        assert words(fork) == ["new"]
        assert made.said == ["a", "b"]


def test_a_fork_of_a_message_under_way_follows_it() -> None:
    with desk() as (made, script, server):
        made.asked("a", "b")
        stream = made.run("a", "hold")
        server.wait_requests(3)
        fork = made.chat.fork()
        script.gate.set()
        stream.result(PATIENCE)
        assert fork.send("c").result(PATIENCE) == "C"
        assert words(fork) == ["hold", "c"]


def test_rewind_and_an_edited_history_drop_the_places() -> None:
    with desk() as (made, _, _server):
        made.asked("a", "b", "c")
        made.chat.rewind()
        made.run("c", "c").result(PATIENCE)
        assert made.said == ["a", "b", "c"]
        made.chat.history.append({"role": "user", "parts": [{"text": "mine"}]})
        stream = made.run("b", "new")
        stream.result(PATIENCE)
        assert made.said == ["a", "b", "c", "mine", "new"]
        assert "nothing was taken back" in to_markdown(stream)
        made.chat.history = made.chat.history[:2]
        made.run("a", "a2").result(PATIENCE)
        assert made.said == ["a2"]


def test_a_saved_chat_has_no_places(tmp_path: Any) -> None:
    with desk() as (made, _, _server):
        made.asked("a", "b")
        made.chat.save(tmp_path / "talk.json")
        loaded = Chat.load(tmp_path / "talk.json", manager=made.chat._manager, **made.chat._options)
        made.run("a", "a", chat=loaded).result(PATIENCE)
        assert words(loaded) == ["a", "b", "a"]


def test_all_cells_again_while_the_first_run_goes_on() -> None:
    with desk() as (made, script, server):
        old = [made.run(cell, f"hold {cell}") for cell in "abc"]
        server.wait_requests(1)
        new = []
        for stream, cell in zip(old, "abc", strict=True):
            stream.request_stop(asked_again=True)
            new.append(made.run(cell, f"hold new {cell}"))
        script.gate.set()
        assert new[-1].result(PATIENCE) == "HOLD NEW C"
        assert made.said == ["hold new a", "hold new b", "hold new c"]
        assert len(server.requests[-1].json["contents"]) == 5


def test_a_cell_asked_again_still_waits_for_those_before_it() -> None:
    with desk() as (made, script, server):
        made.run("a", "hold a")
        second = made.run("b", "b")
        server.wait_requests(1)
        second.request_stop(asked_again=True)
        again = made.run("b", "new b")
        second.wait(PATIENCE)
        assert again.status == "active"
        assert len(server.requests) == 1
        script.gate.set()
        assert again.result(PATIENCE) == "NEW B"
        assert made.said == ["hold a", "new b"]


def test_what_waits_behind_a_message_that_brings_nothing_is_not_asked() -> None:
    with desk() as (made, _, server):
        made.asked("a", "b")
        made.run("a", "bad")
        assert isinstance(made.run("b", "b").wait(PATIENCE).error, NotAskedError)
        assert made.said == ["a", "b"]
        assert len(server.requests) == 3


def test_a_prompt_that_names_a_chat_is_asked_when_its_messages_have_ended() -> None:
    script = Script()
    with rig(script) as made:
        desk = Desk(made.manager, **made.options)
        desk.run("a", "hold a")
        desk.run("b", "bad b")
        prompt = "About {talk} / {talk.history[1].role} / {talk.history[-1].parts[0].text}"
        asks = interpolate(prompt, {"talk": desk.chat})
        stream = made.manager.start_stream(asks, **made.options)
        desk.run("c", "later")
        assert stream.waiting_for is not None
        script.gate.set()
        about = "About User: hold a\n\nModel: HOLD A / model / HOLD A"
        assert stream.result(PATIENCE) == about.upper()
        desk.chat._wait_until_idle()
        assert interpolate(prompt, {"talk": desk.chat}) == [about]
        (empty,) = interpolate("{talk}", {"talk": Chat()})
        assert empty == "<Chat of 0 turns>"


# ------------------------------------------------------------------ in a kernel


@pytest.fixture
def shell(make_kernel: Callable[..., Kernel]) -> Iterator[tuple[Kernel, ScriptedServer]]:
    with ScriptedServer(Script()) as server:
        kernel = make_kernel(GEMINI_NB_AUTH="gemini", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=server.url)
        kernel.run("%load_ext gemini_nb")
        yield kernel, server


def test_cells_of_a_notebook(shell: tuple[Kernel, ScriptedServer]) -> None:
    kernel, server = shell
    cells = {"1": "%gemini_stream -c talk -m gemini-a -s Brief one", "2": "%gemini_stream -c talk two"}

    def run(cell: str, source: str = "") -> list[str]:
        """Run the cell and return what was asked in all."""
        kernel.run(source or cells[cell], cell_id=cell)
        kernel.run("%gemini_wait")
        return [turn["parts"][0]["text"] for turn in server.requests[-1].json["contents"]]

    assert run("1") == ["one"]
    assert run("2") == ["one", "ONE", "two"]
    assert run("2", "%gemini_stream -c talk zwei") == ["one", "ONE", "zwei"]
    assert run("2", "%gemini_stream -c talk --append drei") == ["one", "ONE", "zwei", "ZWEI", "drei"]
    assert run("1", "%gemini_stream -c talk -m gemini-b -s Long eins") == ["eins"]
    assert run("2") == ["eins", "EINS", "two"]
    assert "gemini-b" in server.requests[-1].path
    assert server.requests[-1].json["systemInstruction"] == {"parts": [{"text": "Long"}]}
    failed = kernel.run("%gemini_stream -c talk -m gemini-c -s Other --wait bad", cell_id="1")
    assert failed.status == "error"
    assert run("2") == ["eins", "EINS", "two"]
    assert "gemini-b" in server.requests[-1].path
    result = kernel.run("print([turn['parts'][0]['text'] for turn in talk.restore()])")
    assert result.stdout == "['two', 'TWO']\n", result.error_text
    assert kernel.run("%gemini_stream --append x").status == "error"

    kernel.run(
        "def ask(city):\n"
        "    talk = gemini_nb.Chat(system_instruction='Mine')\n"
        "    %gemini_stream -c talk in {city}\n"
        "    return talk\n"
        "import gemini_nb"
    )
    assert run("3", "mine = ask('Oslo')") == ["in Oslo"]
    assert server.requests[-1].json["systemInstruction"] == {"parts": [{"text": "Mine"}]}
    assert run("4", "%gemini_stream -c mine more") == ["in Oslo", "IN OSLO", "more"]


def test_a_cell_whose_message_was_stopped_keeps_its_place_while_others_wait_behind_it() -> None:
    def message(cell: str, run: str) -> Message:
        return Message(f"{cell}{run}", Origin(cell, run, "talk"))

    messages = Messages()
    first = [message(cell, "1") for cell in "abc"]
    for one in first:
        messages.add(one, [], append=False)
    messages.end(first[0], [], ())
    again = message("a", "2")
    messages.add(again, [], append=False)
    assert again.replaces == first
    assert messages.all == [again]
    for one in (*first[1:], again):
        messages.end(one, [], ())
    later = message("a", "3")
    messages.add(later, [], append=False)
    assert (later.replaces, messages.all) == ([], [later])
