"""Terminal IPython: the text streams to standard output, and the cell waits."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import rig
from approvals import approvals, asking
from gemini_nb.notebook.render.settled import to_text
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.simulator import Simulator
from kernels import isolated_environment
from scripted import sse_answer, text


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**isolated_environment(tmp_path), "GEMINI_NB_AUTH": "simulator", "TERM": "dumb"}


def ipython(environment: dict[str, str], script: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", str(script)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_a_cell_in_a_script_prints_its_answer(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "ask.ipy"
    script.write_text(
        "%load_ext gemini_nb\n"
        "def weather(city: str) -> str:\n"
        "    '''Tell the weather.'''\n"
        "    return 'cloudless'\n"
        "prompt = 'Plan a day in Lisbon. Check the weather first.'\n"
        "get_ipython().run_cell_magic('gemini_stream', '-t weather -o trip', prompt)\n"
        "print('then', trip.status)\n"
    )
    done = ipython(environment, script)
    assert done.returncode == 0, done.stderr
    assert '[weather(city="Lisbon"): done' in done.stdout
    assert "cloudless" in done.stdout
    assert "completed" in done.stdout
    assert done.stdout.strip().endswith("then completed")
    assert not done.stderr


def test_a_call_is_asked_about_once_however_often_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, pay, _ = approvals(confirm=True)
    keyboard, terminal = os.openpty()
    with open(terminal) as stdin, rig(asking("pay")) as made:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdin", stdin)
        stream = made.start(tools=[pay])
        os.write(keyboard, b"y\n")
        print_stream(stream)
        assert capsys.readouterr().out.count("Run pay()? [y/N]") == 1
        assert (ran, stream.status) == (["pay"], "completed")
        os.write(keyboard, b"n\n")
        print_stream(stream)
        shown = capsys.readouterr().out
        assert "[y/N]" not in shown
        assert "[pay(): done" in shown
    os.close(keyboard)


def test_text_arrives_while_the_stream_goes_on_and_control_characters_do_not() -> None:
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield {"candidates": [{"content": {"parts": [{"text": "red \x1b[31mtext"}]}}]}
        yield hold
        yield {"candidates": [{"content": {"parts": [{"text": " ends"}]}, "finishReason": "STOP"}]}

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "red" in text:
                hold.set()  # only what was printed lets the answer end
            return super().write(text)

    with Simulator(scenario=scenario, pace=0) as simulator:
        stream = gemini_nb.get_manager().start_stream("hello", auth="simulator", base_url=simulator.base_url)
        out = Out()
        print_stream(stream, out)
    assert "red text ends" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_one_blank_line_stands_before_and_after_a_tools_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def weather() -> str:
        """Tell the weather."""
        return "cloudless"

    asks = {"functionCall": {"name": "weather", "args": {}}}
    first = {
        "candidates": [{"content": {"parts": [{"text": "Let me see.\n\n"}, asks]}, "finishReason": "STOP"}]
    }
    answers = [sse_answer(first), sse_answer(text("It is "), text("fine.\n\n\nReally.", finish="STOP"))]

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for out in (io.StringIO(), Screen()):
        with rig(answers) as made:
            print_stream(made.start(tools=[weather]), out)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
        assert shown.startswith("Let me see.\n\n[weather …]\n[weather(): done"), shown
        assert " s]\n\nIt is fine.\n\n\nReally.\n(" in shown, shown


def test_what_was_printed_and_is_taken_back_is_said() -> None:
    first, second = threading.Event(), threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield {"candidates": [{"content": {"parts": [{"text": "Kept. Lost."}]}}]}
        yield first
        yield {"candidates": [{"content": {"parts": [{"text": "New."}]}, "finishReason": "STOP"}]}

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "Lost" in text:
                second.set()
            return super().write(text)

    with Simulator(scenario=scenario, pace=0) as simulator:
        stream = gemini_nb.get_manager().start_stream("hello", auth="simulator", base_url=simulator.base_url)
        out = Out()
        printing = threading.Thread(target=print_stream, args=(stream, out))
        printing.start()
        assert second.wait(10)
        reason = "The line is dead.\x1b[31m"
        for kind, fields in (
            (gemini_nb.RetryScheduled, {"attempt": 2, "delay": 0.0, "reason": reason, "keeps": 6}),
            (gemini_nb.TextRewound, {"length": 6}),
        ):
            stream.runtime.loop.call(lambda kind=kind, fields=fields: stream.record._append(kind, **fields))
        stream.runtime.loop.call(first.set)
        printing.join(10)
    notice = "[The line is dead. The retry replaces 5 of the 11 characters received so far.]"
    assert f"Kept. Lost.\n{notice}\n\n[what follows replaces the last 5 characters]\nNew." in out.getvalue()


def test_ctrl_c_stops_the_stream_and_leaves_its_text(environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(
        "import sys, gemini_nb\n"
        "from gemini_nb.notebook.render.terminal import print_stream\n"
        "stream = gemini_nb.get_manager().start_stream('Write a long text of 3000 words.')\n"
        "print_stream(stream)\n"
        "print('status:', stream.status)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = process.stdout.read(40)
    os.kill(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert len(seen) == 40
    assert rest.strip().endswith("status: stopped")


@pytest.mark.parametrize(
    "options",
    [
        "--each rows --concurrency 1",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("", "-m gemini-3.8-flash -m gemini-2.5-pro")),
    ],
)
def test_ctrl_c_stops_all_that_a_line_asked_and_ends_the_script(
    environment: dict[str, str], tmp_path: Path, options: str
) -> None:
    script = tmp_path / "long.ipy"
    script.write_text(
        "%load_ext gemini_nb\n"
        "import atexit, gemini_nb\n"
        "manager = gemini_nb.get_manager()\n"
        "atexit.register(lambda: print('then', {s.status.value for s in manager.list_streams(all=True)}))\n"
        "rows = ['Oslo', 'Lima']\n"
        f"%gemini_stream {options} Write a long text of 3000 words.\n"
        "print('never')\n"
    )
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", str(script)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    process.stdout.read(300)  # the note, the row, and some of its answer
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert "KeyboardInterrupt: " in rest
    assert "%gemini_show s1 shows what came" in rest
    assert "never" not in rest
    assert rest.strip().endswith("then {'stopped'}")


def shown(*parts: dict[str, Any]) -> tuple[str, str]:
    """What is printed while it comes, and what a finished stream is in a terminal."""

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        for part in parts:
            yield {"candidates": [part if "content" in part else {"content": {"parts": [part]}}]}
        yield {"candidates": [{"content": {"parts": [{"text": " The end."}]}, "finishReason": "STOP"}]}

    out = io.StringIO()
    with Simulator(scenario=scenario, pace=0) as simulator:
        manager = gemini_nb.get_manager()
        stream = manager.start_stream("Hi", auth="simulator", base_url=simulator.base_url)
        assert not print_stream(stream, out)
    return out.getvalue(), to_text(stream)


def test_thoughts_stand_apart_from_the_answer() -> None:
    printed, kept = shown({"text": "Hm, well.", "thought": True}, {"text": "So it is."})
    assert printed.startswith("Hm, well.\n\nSo it is. The end.\n(")
    assert kept.startswith("So it is. The end.\n(")


def test_code_its_output_and_files_are_shown() -> None:
    for said in shown(
        {"executableCode": {"code": "print(6 * 7)", "language": "PYTHON"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n43\n"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoA"}},
    ):
        assert "```python\nprint(6 * 7)\n```" in said
        assert "  | 42\n  | 43\n" in said
        assert "[image/png, 9 bytes, in the stream's parts]" in said


def test_sources_are_shown_once_at_the_end() -> None:
    def grounded(*titles: str) -> dict[str, Any]:
        chunks = [{"web": {"uri": f"https://{title}.example/a_b", "title": title}} for title in titles]
        return {"content": {"parts": [{"text": "x"}]}, "groundingMetadata": {"groundingChunks": chunks}}

    printed, kept = shown(grounded("first_one"), grounded("first_one", "second"))
    for said in (printed, kept):
        assert said.count("Sources\n\n1. [first_one](https://first_one.example/a_b)\n2. [second]") == 1
    assert printed.index("The end.") < printed.index("Sources")
