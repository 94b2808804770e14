"""Tools that ask with `input()` while a cell waits for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels import Kernel

SCENARIO = """
import getpass, gemini_nb
from gemini_nb.simulator import Simulator

def scenario(body, _):
    if len(body["contents"]) > 1:
        yield {"candidates": [{"content": {"parts": [{"text": "So be it."}]}, "finishReason": "STOP"}]}
        return
    names = [one["name"] for one in body["tools"][0]["functionDeclarations"]]
    calls = [{"functionCall": {"name": name, "args": {}}} for name in names]
    yield {"candidates": [{"content": {"role": "model", "parts": calls}, "finishReason": "STOP"}]}

def ask(*tools):
    return gemini_nb.get_manager().start_stream("Ask.", tools=tools)

simulator = Simulator(scenario=scenario, pace=0).start()
%env GOOGLE_GEMINI_BASE_URL={simulator.base_url}
%env GEMINI_API_KEY=a-key-that-nobody-checks
%load_ext gemini_nb
def name(): return input("name? ")
def word(): return getpass.getpass("word? ")
async def place(): return input("place? ")
"""


@pytest.fixture(scope="module")
def shared(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    return make_shared_kernel()


@pytest.fixture
def shell(shared: Kernel) -> Kernel:
    loaded = shared.run(SCENARIO)
    assert loaded.status == "ok", loaded.error_text
    return shared


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """A pipe: a cell that reads it waits until the test writes to it."""
    path = tmp_path / "go_on"
    os.mkfifo(path)
    return path


def test_tools_that_ask_at_once_are_answered_one_after_the_other(
    shell: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(message: dict[str, Any]) -> None:
        shell._client.input(f"{message['content']['prompt']}yes")

    monkeypatch.setattr(shell, "_on_stdin", answer)
    cell = shell.run(
        "await (asked := ask(*[gemini_nb.tool(one, name=f'{one.__name__}{number}')"
        " for number in range(4) for one in (name, word, place)]))\n"
        "print(all(call.result == call.name[:-1] + '? yes' for call in asked.tool_calls))"
    )
    assert (cell.stdout, cell.error_text) == ("True\n", "")


def test_a_question_that_was_given_up_takes_no_answer_to_the_next(
    shell: Kernel, monkeypatch: pytest.MonkeyPatch, go_on: Path
) -> None:
    ignored: list[str] = []

    def answer(message: dict[str, Any]) -> None:
        prompt = message["content"]["prompt"]
        if prompt == "mine? ":
            shell._client.input("yes")
            return
        ignored.append(prompt)
        if len(ignored) == 1:
            go_on.write_text("")

    monkeypatch.setattr(shell, "_on_stdin", answer)
    shell.run(f"asked = ask(name, word)\nopen({str(go_on)!r}).read()\nasked.stop()\nawait asked")
    own = shell.run("print(input('mine? '), [call.status.value for call in asked.tool_calls])")
    assert (own.stdout, own.error_text) == ("yes ['cancelled', 'cancelled']\n", "")
    assert len(set(ignored)) == len(ignored) > 0, "a question was repeated, or none was given up"
    gone = shell.run("%unload_ext gemini_nb\nprint('_input_request' in vars(get_ipython().kernel))")
    assert gone.stdout == "False\n"


def test_the_cell_that_runs_asks_before_the_tools_of_one_that_has_ended(
    shell: Kernel, monkeypatch: pytest.MonkeyPatch, go_on: Path
) -> None:
    prompts: list[str] = []

    def answer(message: dict[str, Any]) -> None:
        prompts.append(message["content"]["prompt"])
        if prompts[-1] == "name? ":
            go_on.write_text("")
        else:
            shell._client.input("yes")

    monkeypatch.setattr(shell, "_on_stdin", answer)
    for own in ("print(input('mine? '))", "await (other := ask(word))\nprint(other.tool_calls[0].result)"):
        shell.run(f"asked = ask(gemini_nb.tool(name, timeout=None))\nopen({str(go_on)!r}).read()")
        cell = shell.run(own)
        assert (cell.stdout, cell.error_text) == ("yes\n", "")
        failed = shell.run("await asked\nprint(asked.tool_calls[0].error)")
        assert "a later one asked" in failed.stdout
    assert prompts == ["name? ", "mine? ", "name? ", "word? "]


def test_an_end_of_file_and_a_bad_answer_mean_to_a_tool_what_they_mean_to_a_cell(
    shell: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(message: dict[str, Any]) -> None:
        client = shell._client
        if message["content"]["prompt"] == "name? ":
            client.stdin_channel.socket.send_multipart([b"<IDS|MSG>", b"", b"no", b"message"])
            client.input("\x04")
        else:
            client.stdin_channel.send(client.session.msg("input_reply", {}))

    monkeypatch.setattr(shell, "_on_stdin", answer)
    cell = shell.run(
        "await (asked := ask(name, word))\n"
        "print([(repr(call.result), 'EOFError' in str(call.error)) for call in asked.tool_calls])"
    )
    assert (cell.stdout, cell.error_text) == ("""[('None', True), ("''", False)]\n""", "")
