"""Tools that ask with `input()` while a cell waits for them."""

from __future__ import annotations

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


@pytest.fixture
def shell(kernel: Kernel) -> Kernel:
    loaded = kernel.run(SCENARIO)
    assert loaded.status == "ok", loaded.error_text
    return kernel


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
    shell: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: set[str] = set()

    def answer(message: dict[str, Any]) -> None:
        prompt = message["content"]["prompt"]
        if prompt == "mine? ":
            shell._client.input("yes")
        else:
            ignored.add(prompt)

    monkeypatch.setattr(shell, "_on_stdin", answer)
    shell.run("await (asked := ask(gemini_nb.tool(name, timeout=0.2), gemini_nb.tool(word, timeout=0.2)))")
    own = shell.run("print(input('mine? '), [call.status for call in asked.tool_calls])")
    assert (own.stdout, own.error_text) == (
        "yes [<ToolStatus.FAILED: 'failed'>, <ToolStatus.FAILED: 'failed'>]\n",
        "",
    )
    assert ignored <= {"name? ", "word? "}
    gone = shell.run("%unload_ext gemini_nb\nprint('_input_request' in vars(get_ipython().kernel))")
    assert gone.stdout == "False\n"
