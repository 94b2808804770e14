"""One notebook of many cells asks the same, and leaves the same in its file, however it is executed.

Times are masked. One difference cannot be otherwise: a cell that waits fails with its stream, so that a run
that nobody watches ends there, while a cell of a live notebook has returned long before.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from papermill.exceptions import PapermillExecutionError

from answers import KEY
from kernels import Kernel, Result, isolated_environment
from lab import Browser, Lab, LabServer
from scripted import Answer, Request, ScriptedServer, call, json_error, sse_answer, text

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DEFINITIONS = '''
import asyncio, dataclasses
import gemini_nb
import pandas
from IPython.display import display

def weather(city: str) -> str:
    """Tell the weather."""
    print("looking out of the window in", city)
    display(pandas.DataFrame({"hour": [6, 12], "sky": ["grey", "blue"]}))
    return f"Rain in {city}."

async def sights(city: str) -> dict:
    """Tell the sights."""
    await asyncio.sleep(0.01)
    print("walking through", city)
    return {"seen": ["castle", "river"]}

@dataclasses.dataclass
class Town:
    name: str

def follow(event):
    if event.kind in ("text_delta", "stream_completed"):
        print("heard of", event.kind)
'''.strip()

CELLS = [
    DEFINITIONS,
    "%gemini_stream -c talk First question.",
    "%%gemini_stream -c talk -t weather\nSecond, look at the weather.",
    "%gemini_stream -c talk Third.",
    "%%gemini_stream -o poem -t weather,sights\nA poem, look at the weather and the sights.",
    '%gemini_stream -s "Know this: {poem}" -o hint What is {poem} about, and {poem.text:.5}?',
    "%%gemini_stream -o more -t sights\nGo on with {hint.answer}, look at the sights.",
    "rows, uneven = ['a', 'b', 'c'], ['well', 'to fail']",
    "%gemini_stream --each rows -o group On {item}.",
    "%%gemini_stream --each group -o second -t weather\nAfter {item}, look at the weather.",
    "%gemini_stream -o summary All of {group} and {second[0].text}",
    "%gemini_stream -m gemini-a -m gemini-b -o pair Compare {summary}.",
    "%gemini_stream -o broken This one is to fail.",
    "%gemini_stream It needs {broken}.",
    "1 / 0",
    "%gemini_stream --each uneven -o mixed {item}",
    "followed = gemini_nb.get_manager().start_stream('Something to follow.', follow)",
    "%gemini_stream -c talk --append Fourth, after {pair}.",
    "display('before'); poem",
    "second",
    "%gemini_show summary",
    "%gemini_wait",
    "%gemini_stream --schema Town -o town A town as JSON.",
    "town.result(), town.parsed",
    "%gemini_stream -c talk Is {undefined_name} known?",
]

SETTLED = """() => window.jupyterapp.shell.currentWidget.content.widgets.every(cell =>
  !JSON.stringify(cell.model.outputs.toJSON()).includes('widget-view'))"""
FIGURES = re.compile(r"\b\d[\d,.]* s\b")


class Server:
    """A service that takes its time, so that what is asked by Run All stands in a queue."""

    def __call__(self, request: Request) -> Answer:
        time.sleep(0.1)
        last = request.json["contents"][-1]["parts"]
        said = "|".join(part.get("text", "result") for part in last)
        if said.endswith(("to fail", "to fail.")):
            return json_error(400, "This one fails.", "INVALID_ARGUMENT")
        if asked := [tool for tool in ("weather", "sights") if f"the {tool}" in said]:
            return sse_answer(*[call(tool, args={"city": "Lima"}) for tool in asked], text("", finish="STOP"))
        if "JSON" in said:
            return sse_answer(text('{"name": "Lima"}', finish="STOP"))
        return sse_answer(text(said[:12].upper()), text(f" ({len(said)})", finish="STOP"))


Saved = list[list[tuple[str, Any]]]
"""Of each cell: its outputs, each by its kind and what stands in it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of the notebook: the requests, in an order of their own, and its outputs."""

    asked: list[str]
    saved: Saved


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of runs without a page start in this process's environment."""
    for name in list(os.environ):
        if name.startswith(("JUPYTER", "IPYTHON")):
            monkeypatch.delenv(name)
    for name, value in isolated_environment(tmp_path).items():
        monkeypatch.setenv(name, value)


def sources(server: ScriptedServer) -> list[str]:
    """The cells; the first says where the service is."""
    where = {"GEMINI_NB_AUTH": "gemini", "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": server.url}
    return [f"import os\nos.environ.update({where})\n%load_ext gemini_nb", *CELLS]


def write(path: Path, server: ScriptedServer) -> Path:
    """Write the notebook, with the tag that allows errors."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources(server)]
    for cell in cells:
        cell.metadata["tags"] = ["raises-exception"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def outputs_of(path: Path) -> list[list[dict[str, Any]]]:
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def ran(server: ScriptedServer, cells: Iterable[Iterable[Mapping[str, Any]]]) -> Run:
    asked = sorted(
        f"{request.path} {json.dumps(request.json, sort_keys=True)}" for request in server.requests
    )
    return Run(asked, [joined(outputs) for outputs in cells])


def joined(outputs: Iterable[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """What stands in a cell; in how many messages a text came is no matter."""
    made: list[tuple[str, Any]] = []
    for output in outputs:
        match output["output_type"]:
            case "stream" if made and made[-1][0] == output["name"]:
                made[-1] = (output["name"], made[-1][1] + output["text"])
            case "stream":
                made.append((output["name"], output["text"]))
            case "error":
                made.append(("error", output["ename"]))
            case _:
                masked = {kind: FIGURES.sub("#", text) for kind, text in output["data"].items()}
                made.append(("shown", masked))
    return made


def by_nbclient(server: ScriptedServer, folder: Path) -> Run:
    notebook = nbformat.read(write(folder / "whole.ipynb", server), as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return ran(server, [cell.outputs for cell in notebook.cells])


def by_nbconvert(server: ScriptedServer, folder: Path) -> Run:
    path = write(folder / "whole.ipynb", server)
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
        "--allow-errors",
        "--inplace",
    ]
    subprocess.run([*command, str(path)], check=True, timeout=90, capture_output=True)
    return ran(server, outputs_of(path))


def by_papermill(server: ScriptedServer, folder: Path) -> Run:
    path = write(folder / "whole.ipynb", server)
    with pytest.raises(
        PapermillExecutionError, match="ZeroDivisionError"
    ):  # at the end, whatever a tag allows
        papermill.execute_notebook(str(path), str(path), progress_bar=False)
    return ran(server, outputs_of(path))


def cell_by_cell(server: ScriptedServer, kernel: Kernel) -> Run:
    """Run each cell when nothing runs any more, as a user does who reads every answer."""
    results: list[Result] = []
    for number, source in enumerate(sources(server)):
        results.append(kernel.run(source, cell_id=str(number)))
        kernel.run("%gemini_wait", cell_id="wait")
    kernel.wait_until(lambda: "widget-view" not in str([result.outputs for result in results]))
    return ran(server, [list(pictured(result)) for result in results])


def pictured(result: Result) -> Iterator[dict[str, Any]]:
    """The outputs of a cell as they stand there now."""
    kept: list[dict[str, Any]] = []
    clears = False
    for message in result.messages:
        kind = message["msg_type"]
        clears = clears or kind == "clear_output"  # when the next output comes
        if kind in {"display_data", "execute_result", "stream", "error"}:
            kept, clears = [*(() if clears else kept), {"output_type": kind, **message["content"]}], False
    bundles = iter(result.outputs)
    for output in kept:
        yield {**output, "data": next(bundles)} if "data" in output else output


def run_all(server: ScriptedServer, lab: Lab) -> Run:
    path = write(lab.server.notebooks / "whole.ipynb", server)
    page = lab.open_file(path.name)
    page.run_all()
    for number in range(len(CELLS) + 1):
        page.wait_done(number)
    page.page.wait_for_function(SETTLED)
    page.save()
    return ran(server, outputs_of(path))


def check_same(made: Run, expected: Run) -> None:
    assert made.asked == expected.asked
    for number, (cell, wanted) in enumerate(zip(made.saved, expected.saved, strict=True)):
        assert cell == wanted, f"cell {number}"


@pytest.fixture(scope="module")
def expected(make_shared_kernel: Callable[..., Kernel]) -> Run:
    with ScriptedServer(Server()) as server:
        return cell_by_cell(server, make_shared_kernel())


def test_cell_by_cell_every_answer_is_whole_and_the_errors_are_where_they_belong(expected: Run) -> None:
    assert len(expected.asked) == 28
    assert not any(re.search(r"\{(?!undefined)\w+[}.\[]", asked) for asked in expected.asked)
    assert [
        number for number, cell in enumerate(expected.saved) if ("error", "ZeroDivisionError") in cell
    ] == [15]
    assert "active" not in str(expected.saved)
    assert expected.saved[17] == [
        ("stdout", "heard of text_delta\nheard of text_delta\nheard of stream_completed\n")
    ]


def test_run_all_in_jupyterlab(expected: Run, lab_server: LabServer, browser: Browser) -> None:
    with browser.active(), ScriptedServer(Server()) as server:
        lab = Lab(lab_server, browser)
        try:
            check_same(run_all(server, lab), expected)
        finally:
            lab.close()


@pytest.mark.parametrize("way", [by_nbclient, by_nbconvert, by_papermill])
def test_a_run_without_a_page(
    way: Callable[[ScriptedServer, Path], Run], expected: Run, tmp_path: Path
) -> None:
    with ScriptedServer(Server()) as server:
        made = way(server, tmp_path)
    failed = {13: "APIError", 14: "NotAskedError"}
    for cell, error in failed.items():
        assert made.saved[cell].pop() == ("error", error)
    check_same(made, expected)
