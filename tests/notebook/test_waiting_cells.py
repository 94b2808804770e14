"""A cell that waits ends after all of its output was sent, however long it takes to make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from gemini_nb.simulator import Simulator
from kernels import Kernel

ITEM = "- item {} of *many* with `code` and $a_{}$\n"
LONG, SHORT = 200_000, 50_000  # characters
END = "The very end."


def long_answer(body: dict[str, Any], model: str) -> Iterator[Any]:
    size = LONG if "long" in str(body) else SHORT
    text = "".join(ITEM.format(number, number) for number in range(size // len(ITEM)))
    for place in range(0, len(text), 4_000):
        yield {"candidates": [{"content": {"parts": [{"text": text[place : place + 4_000]}]}}]}
    yield {"candidates": [{"content": {"parts": [{"text": f"\n\n{END}"}]}, "finishReason": "STOP"}]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Simulator(scenario=long_answer, pace=0) as simulator:
        yield simulator.base_url


@pytest.fixture(scope="module")
def environment(url: str) -> dict[str, str]:
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_NB_AUTH": "gemini", "GEMINI_API_KEY": "any"}


@pytest.fixture(scope="module")
def shell(make_shared_kernel: Callable[..., Kernel], environment: dict[str, str]) -> Kernel:
    kernel = make_shared_kernel(**environment)
    kernel.run("%load_ext gemini_nb\nletters = ['a', 'b', 'c']\ndef show(event): pass")
    return kernel


CELLS = {
    "one": ("%%gemini_stream --wait\nA long text.", 1),
    "one, in another magic": ("%%time\n%%gemini_stream --wait\nA text.", 1),
    "one line beside others": ("print('before')\n%gemini_stream --wait A text.\nprint('after')", 1),
    "a group": ("%%gemini_stream --each letters --wait\nA text on {item}.", 3),
    "side by side": ("%%gemini_stream -m gemini-2.5-flash -m gemini-2.5-pro --wait\nA text.", 2),
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_settled_answer_is_sent_before_the_cell_ends(shell: Kernel, cell: str) -> None:
    code, count = CELLS[cell]
    result = shell.run(code, timeout=90)
    assert result.error_text == ""
    kinds = [message["msg_type"] for message in result.messages]
    idle = max(
        place
        for place, message in enumerate(result.messages)
        if message["content"].get("execution_state") == "idle"
    )
    [answer] = [bundle["text/markdown"] for bundle in result.outputs if "text/markdown" in bundle]
    assert answer.count(END) == count
    assert max(i for i, kind in enumerate(kinds) if kind == "update_display_data") < idle


@pytest.mark.slow
def test_nbclient_keeps_all_of_them(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cells = ["%load_ext gemini_nb\nletters = ['a', 'b', 'c']", *(code for code, _ in CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell, (_, count) in zip(notebook.cells[1:], CELLS.values(), strict=True):
        said = "".join(output.get("data", {}).get("text/markdown", "") for output in cell.outputs)
        assert said.count(END) == count


HELD = """import ipywidgets, threading, gemini_nb
pressed = threading.Event()
def prompts():
    pressed.wait()
    yield "A text."
button = ipywidgets.Button()
button.on_click(lambda _: pressed.set())
held, name = gemini_nb.map(prompts()), "held"
print(button.model_id)"""


def test_a_wait_leaves_the_loop_to_the_buttons(shell: Kernel) -> None:
    """Of a page without subshells nothing reaches a cell that blocks, and what is waited for may need it."""
    button = shell.run(HELD).stdout.strip()
    assert shell.run("print(held.is_over)").stdout == "False\n"
    waiting = shell.start("%gemini_wait $name")
    shell.click(button)
    shell.finish(waiting)
    assert waiting.error_text == ""
    assert shell.run("print(held.is_over)").stdout == "True\n"


@pytest.mark.parametrize("cell", ["{loop}\n%gemini_wait", "%gemini_wait\n{loop}"])
def test_what_stands_beside_a_wait_can_be_interrupted(shell: Kernel, cell: str) -> None:
    """A coroutine would be cancelled instead, which code that computes never sees."""
    loop = "print('computing')\nwhile True:\n    pass"
    computing = shell.start(cell.format(loop=loop))
    shell.wait_until(lambda: "computing" in computing.stdout)
    shell.interrupt()
    shell.finish(computing)
    assert "KeyboardInterrupt" in computing.error_text
