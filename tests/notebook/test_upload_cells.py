"""Large files in a notebook: the pane shows how far they are, and the magics know what is uploaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from films import KEY, film
from gemini_nb.simulator import Fault, Simulator
from kernels import Kernel


class Gate:
    """Holds the answer to the second request of an upload back, for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.reached = threading.Event()
        self.number, self.seconds = 2, seconds

    def __call__(self, number: int, _request: Any) -> Fault | None:
        if number != self.number:
            return None
        self.reached.set()
        return Fault(wait=self.seconds)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as made:
        yield made


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
    make_shared_kernel: Callable[..., Kernel],
    simulator: Simulator,
) -> Kernel:
    kernel = make_shared_kernel(
        GEMINI_NB_AUTH="gemini",
        GEMINI_API_KEY=KEY,
        GOOGLE_GEMINI_BASE_URL=simulator.base_url,
        GEMINI_NB_JOURNAL=str(tmp_path_factory.mktemp("journal") / "journal.db"),
    )
    assert kernel.run("%load_ext gemini_nb").status == "ok"
    return kernel


def html_of(kernel: Kernel) -> str:
    return unescape("".join(str(state.get("value", "")) for state in kernel.widgets.values()))


def test_the_pane_shows_how_far_an_upload_is(shared: Kernel, simulator: Simulator, tmp_path: Path) -> None:
    path = film(tmp_path / "a<b>.mp4", 24)
    gate = simulator.file_faults = Gate(4)
    cell = shared.start(f"%%gemini_stream --file '{path}' -o trip\nWhat happens?")
    shared.finish(cell)
    assert cell.status == "ok", cell.error_text
    assert gate.reached.wait(20)
    shared.wait_until(lambda: "uploading a<b>.mp4 · " in html_of(shared))
    assert " of 24 MB" in html_of(shared)
    assert "waiting for the upload" not in html_of(shared)
    done = shared.run("print(trip.result(20)[:4], trip.uploads[0].status)")
    assert done.stdout.endswith("active\n"), done.error_text
    shared.wait_until(lambda: "What happens?" in str(cell.outputs))
    assert "uploading" not in str(cell.outputs)  # what stays in the notebook is the answer


def test_the_history_lists_what_is_uploaded(shared: Kernel, simulator: Simulator, tmp_path: Path) -> None:
    simulator.file_faults = None
    path = film(tmp_path / "film ü.mp4", 22)
    code = f"import gemini_nb\nfilm = gemini_nb.File({str(path)!r})\n"
    code += "s = gemini_nb.get_manager().start_stream([film, '?']); s.result(20)"
    asked = shared.run(code)
    assert asked.status == "ok", asked.error_text
    listed = shared.run("%gemini_history --files").stdout
    (line,) = [line for line in listed.splitlines() if "film ü.mp4" in line]
    assert "22 MB" in line
    assert "video/mp4" in line
    assert simulator.files.uploaded[-1] in line
    assert KEY not in listed
    gone = shared.run("print(film.delete())")
    assert gone.stdout == "True\n"
    assert "film ü.mp4" not in shared.run("%gemini_history --files").stdout
    wrong = shared.run("%gemini_history --files --clear")
    assert "--files stands alone" in wrong.stderr


def test_a_cell_takes_an_address(shared: Kernel, simulator: Simulator) -> None:
    asked = shared.run("%%gemini_stream --file https://host.example/paper.pdf --wait\nWhat is in it?")
    assert asked.status == "ok", asked.error_text
    part = simulator.requests[-1].body["contents"][0]["parts"][0]
    assert part == {"fileData": {"mimeType": "application/pdf", "fileUri": "https://host.example/paper.pdf"}}
    missing = shared.run("%%gemini_stream --file missing.mp4\nWhat is in it?")
    assert "missing.mp4 cannot be read: No such file" in missing.error_text
    assert len(missing.error_text.splitlines()) < 5


def test_a_stop_in_mid_upload(shared: Kernel, simulator: Simulator, tmp_path: Path) -> None:
    path = film(tmp_path / "stopped.mp4", 23)
    gate = simulator.file_faults = Gate(60)
    shared.run(f"%%gemini_stream --file '{path}' -o stopped\nWhat happens?")
    assert gate.reached.wait(20)
    said = shared.run("%gemini_stop stopped\nprint(stopped.wait(20).status, stopped.uploads[0].status)")
    assert said.stdout.endswith("stopped cancelled\n"), said.error_text
