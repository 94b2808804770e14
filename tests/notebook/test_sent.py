"""A cell is cleared for its settled answer only where nothing else stands in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemini_nb.notebook.kernel.sent import SentOutputs
from kernels import Kernel, Result

PLAIN = "%gemini_stream -o kept Why is the sky blue?"
WAIT = "\nkept.wait(20);"
CHANGES = {"clear_output", "display_data", "update_display_data", "stream"}


@pytest.fixture(scope="module")
def shell(make_shared_kernel: Callable[..., Kernel]) -> Kernel:
    kernel = make_shared_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    loaded = kernel.run(
        "%load_ext gemini_nb\nimport gemini_nb\nfrom IPython.display import display, clear_output"
    )
    assert loaded.status == "ok", loaded.error_text
    return kernel


def kinds(result: Result) -> list[str]:
    """The messages that change what stands in the cell, after the pane was displayed."""
    return [message["msg_type"] for message in result.messages if message["msg_type"] in CHANGES]


def settled(result: Result) -> bool:
    return any("text/markdown" in bundle for bundle in result.outputs)


CLEARED = {
    "alone": PLAIN,
    "a cell magic": "%%gemini_stream\nWhy is the sky blue?",
    "it waits": "%gemini_stream --wait Why is the sky blue?",
    "cleared before": "print('gone'); clear_output()\n" + PLAIN,
    "cleared later": "print('gone'); clear_output(wait=True)\n" + PLAIN,
    "a comm": "import ipywidgets; button = ipywidgets.Button(); button.description = 'a'\n" + PLAIN,
}
KEPT = {
    "a print": "print('mine')\n" + PLAIN,
    "a later print": PLAIN + "\nprint('mine')",
    "an error": PLAIN + "\n1 / 0",
    "a value": PLAIN + "\n'mine'",
    "stderr": PLAIN + "\nimport sys; print('mine', file=sys.stderr)",
    "a display": PLAIN + "\ndisplay('mine')",
    "two panes": PLAIN + "\n%gemini_stream Why is the sea blue?",
    "help": PLAIN + "\nlen?",
    "a print after a clear": "clear_output(wait=True)\nprint('mine')\n" + PLAIN,
}


@pytest.mark.parametrize("case", CLEARED)
def test_a_pane_alone_is_cleared_and_shown_anew(shell: Kernel, case: str) -> None:
    result = shell.run(CLEARED[case])
    shell.wait_until(lambda: settled(result) and kinds(result)[-1] == "update_display_data")
    assert kinds(result)[-3:] == ["clear_output", "display_data", "update_display_data"]
    assert len(result.outputs) == 1
    shown, anew, update = [m["content"] for m in result.messages if m["msg_type"].endswith("display_data")][
        -3:
    ]
    assert anew["data"] == update["data"]
    assert update["transient"] == shown["transient"] != anew["transient"], "or a page would render it twice"


@pytest.mark.parametrize("case", KEPT)
def test_what_stands_beside_it_is_kept(shell: Kernel, case: str) -> None:
    result = shell.run(KEPT[case], stop_on_error=False)
    shell.run("for stream in gemini_nb.get_manager().list_streams(): stream.wait(20)")
    asked = KEPT[case].count("%gemini")
    shell.wait_until(lambda: sum("text/markdown" in bundle for bundle in result.outputs) == asked)
    said = result.stdout + result.stderr + result.error_text + str(result.texts())
    assert said.count("mine") == KEPT[case].count("mine")
    assert ("ZeroDivisionError" in said) == ("1 / 0" in KEPT[case])


def test_an_answer_that_a_clear_took_away_does_not_come_back(shell: Kernel) -> None:
    result = shell.run(PLAIN + "\nclear_output()" + WAIT)
    shell.run("import time; time.sleep(0.3)")
    assert result.outputs == []
    sent = kinds(result)[::-1]
    assert "display_data" not in sent[: sent.index("clear_output")], "sent after the user's clear"


def test_an_output_widget_keeps_its_answer_for_itself(shell: Kernel) -> None:
    shown = "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    get_ipython().run_line_magic("
    result = shell.run(shown + "'gemini_stream', '-o kept Why is the sky blue?')")
    shell.wait_until(lambda: settled(result))
    assert "clear_output" not in kinds(result)


def test_what_a_cell_captures_is_settled_there(shell: Kernel) -> None:
    result = shell.run("%%capture taken\nprint('mine')\n" + PLAIN + WAIT + "\nimport time; time.sleep(0.5)")
    assert kinds(result) == []
    told = shell.run("print(taken.stdout, [sorted(output.data) for output in taken.outputs])").stdout
    assert told.startswith("mine\n")
    assert "text/markdown" in told


def test_the_cell_that_loads_the_extension_is_never_cleared(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    result = kernel.run("import sys; print('mine'); sys.stdout.flush()\n%load_ext gemini_nb\n" + PLAIN)
    kernel.wait_until(lambda: settled(result))
    assert "clear_output" not in kinds(result)
    assert result.stdout == "mine\n"


def test_unloading_puts_the_session_back(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel()
    kernel.run("from jupyter_client.session import Session; before = Session.send")
    kernel.run("%load_ext gemini_nb")
    assert kernel.run("print(Session.send is before)").stdout == "False\n"
    kernel.run("%unload_ext gemini_nb")
    assert kernel.run("print(Session.send is before)").stdout == "True\n"


def test_only_the_last_runs_and_few_messages_of_each_are_kept() -> None:
    sent = SentOutputs()
    for number in range(5_000):
        sent.note("stream", {"text": "a"}, {"msg_id": f"run-{number}"})
        sent.note("stream", {"text": "a"}, {"header": {"msg_id": "last"}})
    assert len(sent._runs) <= 2_001
    assert len(sent._runs["last"]) <= 64
