"""An MCP server in a notebook: behind -t, in a card, and gone with its kernel."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from answers import KEY, PATIENCE, is_running
from kernels import Kernel
from scripted import ScriptedServer, sse_answer, text

SERVER = str(Path(__file__).parents[1] / "support" / "mcp_server.py")


def test_a_cell_uses_a_server_that_ends_with_the_kernel(make_kernel: Callable[..., Kernel]) -> None:
    call = {"functionCall": {"name": "pid", "args": {}}}
    turn = {"candidates": [{"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}]}
    with ScriptedServer([sse_answer(turn), sse_answer(text("Done.", finish="STOP"))]) as server:
        kernel = make_kernel(GEMINI_NB_AUTH="gemini", GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=server.url)
        made = kernel.run(
            f"%load_ext gemini_nb\nimport gemini_nb\ntests = gemini_nb.mcp([{sys.executable!r}, {SERVER!r}])"
        )
        assert made.status == "ok", made.error_text
        asked = kernel.run("%%gemini_stream -t tests -o answer --wait\nWhich process?")
        assert asked.status == "ok", asked.error_text
        said = kernel.run("print(answer.text, answer.tool_calls[0].result)")
        words, pid = said.stdout.split()
        assert words == "Done."
        assert is_running(int(pid))
    kernel.close()
    deadline = time.monotonic() + PATIENCE
    while is_running(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_restart_of_the_kernel_leaves_no_process(kernel: Kernel) -> None:
    code = f"import gemini_nb\nserver = gemini_nb.mcp([{sys.executable!r}, {SERVER!r}])\n"
    code += "import asyncio\ntool = next(one for one in server.tools if one.name == 'pid')\n"
    said = kernel.run(f"{code}print((await tool()).value)")
    assert said.status == "ok", said.error_text
    pid = int(said.stdout)
    assert is_running(pid)
    kernel.restart()
    deadline = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
