"""One notebook asks the same however it is run: cell by cell, as a whole, headless, as a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from answers import KEY
from kernels import Kernel, isolated_environment
from scripted import Answer, Request, ScriptedServer, Wait, call, sse_answer, text

CELLS = [
    "%load_ext gemini_nb",
    'def weather(city: str) -> str:\n    """Tell the weather."""\n    return f"Rain in {city}."',
    "%gemini_stream -c talk First.",
    "%gemini_stream -c talk Second.",
    "%%gemini_stream -o poem -t weather\nA poem about tool weather.",
    "%gemini_stream What is {poem} about, and {poem.text:.3}, {poem.answer}.",
    '%gemini_stream -s "{poem}" -o hint Explain it.',
    "city = 'Oslo'",
    "%gemini_stream -o poem Another one, on {city} and {hint}.",
    "%gemini_stream -m gemini-a -m gemini-b -o pair Compare {poem}.",
    "city = 'Rome'",
    "%gemini_stream Which is better: {pair}",
    "rows = ['a', 'b']",
    "%gemini_stream --each rows -o group On {item}.",
    "%gemini_stream --each group -o again Again {item}, in {city}.",
    "both = [hint, poem]",
    "%gemini_stream -o last All: {group} {both} {again[0].text}",
    "del hint, poem, both",
    "%gemini_stream -c talk Third, after {last!r:.9}.",
    "fork = talk.fork()",
    "%gemini_stream -c fork Fourth.",
    "%gemini_stream -c talk Fifth.",
]

ERRORS = """
from gemini_nb import get_manager
print([f"{one!r}: {one.error}" for one in get_manager().list_streams(all=True) if one.status != "completed"])
"""


class Server:
    """A service that holds its answers back while it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, request: Request) -> Answer:
        steps: list[Any] = [Wait(self.gate)]
        last = request.json["contents"][-1]["parts"]
        if "tool weather" in last[0].get("text", ""):
            return sse_answer(*steps, call("weather", args={"city": "Lima"}, finish="STOP"))
        spoken = "|".join(part.get("text", "result") for part in last)
        return sse_answer(*steps, text(spoken[:12].upper()), text(f" ({len(spoken)})", finish="STOP"))


def environment(server: ScriptedServer) -> dict[str, str]:
    return {
        "GEMINI_NB_AUTH": "gemini",
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": server.url,
    }


Way = Callable[[Callable[..., Kernel], ScriptedServer, threading.Event, Path], None]


def cell_by_cell(make: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, _: Path) -> None:
    gate.set()
    kernel = make(**environment(server))
    for number, cell in enumerate(CELLS):
        assert kernel.run(cell, cell_id=str(number)).status == "ok"
        if number:
            kernel.run("%gemini_wait", cell_id="wait")


def run_all(make: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, _: Path) -> None:
    kernel = make(**environment(server))
    results = [kernel.start(cell, cell_id=str(number)) for number, cell in enumerate(CELLS)]
    for result in results:
        assert kernel.finish(result).status == "ok", result.error_text
    gate.set()
    assert kernel.run("%gemini_wait").status == "ok"


def headless(_: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, folder: Path) -> None:
    gate.set()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("JUPYTER", "IPYTHON")):
                patch.delenv(name)
        for name, value in {**isolated_environment(folder), **environment(server)}.items():
            patch.setenv(name, value)
        NotebookClient(notebook(), timeout=60, kernel_name="python3").execute()


def script_in_a_kernel(
    make: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, folder: Path
) -> None:
    write_script(folder / "all.ipy")
    run_file(make(**environment(server)), folder / "all.ipy", gate)


def notebook_run_in_a_kernel(
    make: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, folder: Path
) -> None:
    nbformat.write(notebook(), folder / "all.ipynb")
    run_file(make(**environment(server)), folder / "all.ipynb", gate)


def run_file(kernel: Kernel, path: Path, gate: threading.Event) -> None:
    result = kernel.run(f"%run {path}", cell_id="1")
    assert result.status == "ok", result.error_text
    assert not result.stdout + result.stderr + result.error_text
    gate.set()
    assert kernel.run("%gemini_wait").status == "ok"
    assert kernel.run(ERRORS).stdout == "[]\n"


def script_in_a_terminal(
    _: Callable[..., Kernel], server: ScriptedServer, gate: threading.Event, folder: Path
) -> None:
    gate.set()
    write_script(folder / "all.ipy")
    subprocess.run(
        [sys.executable, "-m", "IPython", str(folder / "all.ipy")],
        env={**isolated_environment(folder), **environment(server)},
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )


def write_script(path: Path) -> None:
    path.write_text("\n".join(map(as_line, CELLS)))


def as_line(cell: str) -> str:
    """A cell as it is written in a script: its magic on one line."""
    return cell[1:].replace("\n", " ") if cell.startswith("%%") else cell


def notebook() -> nbformat.NotebookNode:
    made: nbformat.NotebookNode = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]
    )
    return made


def asked(server: ScriptedServer) -> list[str]:
    """What was asked, in an order of its own: streams that wait for nothing are asked together."""
    return sorted(f"{request.path} {json.dumps(request.json, sort_keys=True)}" for request in server.requests)


@pytest.fixture(scope="module")
def expected(
    make_shared_kernel: Callable[..., Kernel], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    script = Server()
    with ScriptedServer(script) as server:
        cell_by_cell(make_shared_kernel, server, script.gate, tmp_path_factory.mktemp("expected"))
        return asked(server)


def test_cell_by_cell_each_question_has_what_it_names(expected: list[str]) -> None:
    assert len(expected) == 18
    assert not any(name in request for request in expected for name in ("{poem", "{pair", "{group", "{again"))


@pytest.mark.parametrize(
    "way",
    [
        run_all,
        headless,
        *(
            pytest.param(way, marks=pytest.mark.slow)
            for way in (script_in_a_kernel, notebook_run_in_a_kernel, script_in_a_terminal)
        ),
    ],
    ids=lambda way: way.__name__,
)
def test_a_notebook_asks_the_same_however_it_is_run(
    make_kernel: Callable[..., Kernel], expected: list[str], tmp_path: Path, way: Way
) -> None:
    script = Server()
    with ScriptedServer(script) as server:
        way(make_kernel, server, script.gate, tmp_path)
        assert asked(server) == expected
