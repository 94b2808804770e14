"""Notebooks that are executed without a person: what is left must read like a document."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter, MarkdownExporter

from gemini_nb.simulator import Simulator
from kernels import isolated_environment

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
QUICKSTART = NOTEBOOKS / "quickstart.ipynb"


@pytest.fixture(autouse=True)
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of these tests start in this process's environment."""
    for name in list(os.environ):
        if name.startswith(("JUPYTER", "IPYTHON")):
            monkeypatch.delenv(name)
    for name, value in isolated_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GEMINI_NB_AUTH", "simulator")
    monkeypatch.setenv("GEMINI_NB_SIMULATOR_PACE", "0.1")


def execute(*cells: str) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = made_of(*cells)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return notebook


def made_of(*cells: str) -> nbformat.NotebookNode:
    made: nbformat.NotebookNode = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
    )
    return made


def test_nbclient_keeps_every_answer_and_exports_read_well() -> None:
    notebook = execute(
        "%load_ext gemini_nb",
        'def weather(city: str) -> str:\n    """Tell the weather."""\n    return "cloudless <b>sky</b>"',
        "%%gemini_stream -t weather -o trip\nPlan a day in Lisbon. Check the weather first.",
        "%%gemini_stream -o second\nDescribe a lighthouse.",
        "%gemini_streams\nprint(trip.text[:20])",
    )
    for cell in notebook.cells[2:4]:
        (output,) = cell.outputs
        assert set(output.data) == {"text/markdown", "text/plain"}
    assert "widgets" not in notebook.metadata
    assert "completed" in notebook.cells[4].outputs[0].text
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "cloudless &lt;b&gt;sky&lt;/b&gt;" in page
    assert "<details>" in page
    frame = r'<div style="border-left: 3px solid #9e9e9e; [^"]*">\s*<p><strong>gemini-3.8-flash'
    assert len(re.findall(frame, page)) == 2
    assert re.findall(r"<h[1-6]", page.partition("<body")[2]) == ["<h4"]
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert "lighthouse" in text.lower()


def test_nbclient_keeps_what_subscribers_print_and_streams_that_are_shown() -> None:
    notebook = execute(
        "%load_ext gemini_nb\nimport gemini_nb\nstart = gemini_nb.get_manager().start_stream",
        "heard = []\n"
        "def follow(event):\n"
        "    if event.kind == 'stream_completed': print('heard of the end')\n"
        "stream = start('Describe a lighthouse.', follow); start('Hello', heard.append)",
        "silent = start('Describe a lighthouse.')\nprint(silent.status)",
        "silent",
        "other = start('Describe a lighthouse.')\n%gemini_show other",
        "def go_on(event):\n"
        "    if event.kind == 'stream_completed': start('And now a mill.', follow)\n"
        "begun = start('Describe a lighthouse.', go_on)",
    )
    said, status, value, shown, followed = (cell.outputs[-1] for cell in notebook.cells[1:])
    assert said.text.endswith("heard of the end\n")
    assert status.text == "active\n"  # a cell that nothing is to be shown in does not wait
    assert followed.text == "heard of the end\n"
    for output in (value, shown):
        assert "lighthouse" in output.data["text/markdown"].lower()
        assert "completed" in output.data["text/markdown"]


@pytest.mark.slow
def test_a_failed_stream_fails_the_run_and_keeps_its_output() -> None:
    notebook = made_of("%load_ext gemini_nb", "%%gemini_stream -m unknown-model\nHello", "print('never')")
    with pytest.raises(CellExecutionError, match="404"):
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert "404" in notebook.cells[1].outputs[0].data["text/markdown"]


@pytest.mark.slow
def test_papermill_runs_the_quickstart(tmp_path: Path) -> None:
    done = tmp_path / "done.ipynb"
    papermill.execute_notebook(str(QUICKSTART), str(done), progress_bar=False)
    notebook = nbformat.read(done, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("text/markdown" in output.get("data", {}) for output in outputs) == 2
    assert not any("widget-view" in str(output.get("data", {})) for output in outputs)


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells left in the notebook, cell by cell, those without an output left out."""
    texts = [
        "".join(str(output.get("data", output)) for output in cell.outputs) for cell in code_of(notebook)
    ]
    return [text for text in texts if text]


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
def test_the_tools_notebook_shows_every_kind_of_call() -> None:
    cities, booking, report, traffic, tea, ride = shown(executed("tools.ipynb"))
    assert cities.count("<summary>tool weather") == cities.count("<summary>tool population") == 2
    assert "4 stations answered" in cities
    assert all(words in booking for words in ("tool find_hotel", "reserve_room(hotel_id=17)", "R-2041"))
    assert "send_confirmation was denied: there is no user to approve it" in booking
    assert "ConnectionError: the exchange is closed" in report
    assert "completed" in report
    assert traffic.count("<summary>tool simulate_traffic") == 2
    assert "<summary>tool Google Search" in tea
    assert ")<sup>[&#91;1&#93;](https://example.com/overview)" in tea.replace(".)<sup>", ")<sup>")
    assert "<summary>tool next_tram(" in ride
    assert "<summary>tool weather(" in ride


def executed(name: str) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOKS / name, as_version=4)
    with tempfile.TemporaryDirectory() as folder:  # some leave a file beside them
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=100, kernel_name="python3", resources=place).execute()
    return notebook


@pytest.mark.slow
def test_the_dashboard_notebook_runs_ten_streams_through_trouble() -> None:
    outputs = shown(executed("dashboard.ipynb"))
    stop, counts, usage = outputs[-3:]
    assert "characters came before the stop" in stop
    assert "completed=9, stopped=1" in counts
    assert "retries=" in counts
    assert "retries=0" not in counts
    assert "tokens in" in usage


@pytest.mark.slow
def test_the_data_notebook_asks_about_frames_and_figures_and_gets_values() -> None:
    reading, code, seeing, verdicts, frame = shown(executed("data.ipynb"))
    assert "completed" in reading
    assert "print(averages)" in code
    assert "completed" in seeing
    assert verdicts.count("<details><summary>") == 3
    assert all(column in frame for column in ("would_return", "hotel", "completed"))


@pytest.mark.slow
def test_the_notebook_of_breakages_gets_over_them() -> None:
    sky, story, events, failed, broken, fixed = shown(executed("when_things_break.ipynb"))
    assert "1 retry" in sky
    assert "completed" in story
    assert "404" in failed
    assert "error" in events, "what was kept of a broken answer"
    assert "TypeError" in broken
    assert "completed" in fixed
    assert events.index("retry_scheduled") < events.index("text_rewound")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_clean_and_short_and_run_in_any_jupyter(path: Path) -> None:
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert len(notebook.cells) < 17
    for cell in code_of(notebook):
        assert not cell.outputs
        assert cell.execution_count is None


@pytest.mark.slow
def test_the_quickstart_with_a_key_against_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wired to the embedded simulator: the same cells, a key, and a server of another process."""
    key = "a-key-for-this-test"
    with Simulator(api_key=key, pace=0) as server:
        monkeypatch.setenv("GEMINI_NB_AUTH", "gemini")
        monkeypatch.setenv("GEMINI_API_KEY", key)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.base_url)
        notebook: nbformat.NotebookNode = nbformat.read(QUICKSTART, as_version=4)
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
        asked = [request for request in server.requests if request.path.endswith(":streamGenerateContent")]
    assert len(asked) == 3  # one question, and one with a round of tools
    assert "simulated)" not in str(notebook)
    assert key not in str(notebook)
    assert "**gemini-3.8-flash** · " in str(notebook)
