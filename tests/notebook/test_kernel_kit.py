from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kernels import Kernel

LATE_OUTPUT = """
import threading
import ipywidgets
from IPython.display import display

go = threading.Event()
handle = display("first", display_id=True)
label = ipywidgets.Label("first")
button = ipywidgets.Button()
button.on_click(lambda _: setattr(label, "value", "clicked"))


def later():
    go.wait()
    label.value = "second"
    handle.update("second")


threading.Thread(target=later, daemon=True).start()
print("to stdout")
import sys; print("to stderr", file=sys.stderr)
(label.model_id, button.model_id)
"""


def test_output_is_filed_with_its_cell_also_when_it_comes_late(kernel: Kernel) -> None:
    first = kernel.run(LATE_OUTPUT)
    assert (first.status, first.stdout, first.stderr) == ("ok", "to stdout\n", "to stderr\n")
    assert first.texts()[0] == "'first'"
    label, button = eval(first.texts()[1])
    assert kernel.widgets[label]["value"] == "first"

    kernel.run("go.set()")
    kernel.wait_until(lambda: first.texts()[0] == "'second'")
    assert kernel.widgets[label]["value"] == "second"
    kernel.click(button)
    kernel.wait_until(lambda: kernel.widgets[label]["value"] == "clicked")
    assert kernel.request("complete_request", {"code": "handle.upda", "cursor_pos": 11})["matches"] == [
        "update"
    ]


def test_code_can_be_interrupted_asked_and_left_behind(kernel: Kernel) -> None:
    running = kernel.start("import time\nprint('asleep')\ntime.sleep(60)")
    queued = kernel.start("print('never')")
    kernel.wait_until(lambda: running.stdout == "asleep\n")
    assert not running.done
    kernel.interrupt()
    assert kernel.finish(running).status == "error"
    assert "KeyboardInterrupt" in running.error_text
    assert kernel.finish(queued).status == "aborted"

    assert kernel.run("input('name? ')", answers=["Ada"]).texts() == ["'Ada'"]
    refused = kernel.run("input('name? ')", allow_stdin=False)
    assert "StdinNotImplementedError" in refused.error_text
    with pytest.raises(TimeoutError, match="in vain"):
        kernel.run("time.sleep(60)", timeout=0.2)
    kernel.restart()
    assert "NameError" in kernel.run("print(time)").error_text


def test_a_kernel_is_isolated_and_leaves_no_process(
    make_kernel: Callable[..., Kernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "the key of the person who runs the tests")
    kernel = make_kernel(MARK="mine")
    seen = kernel.run(
        "import os, sys, IPython\n"
        "ipython = IPython.paths.get_ipython_dir()\n"
        "(os.environ.get('GEMINI_API_KEY'), os.environ['MARK'], sys.executable, ipython)"
    )
    key, mark, executable, ipython = eval(seen.texts()[0])
    assert (key, mark) == (None, "mine")
    assert Path(executable).samefile(sys.executable)
    assert Path(ipython).is_relative_to(tmp_path)
    pid = kernel.pid
    kernel.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
