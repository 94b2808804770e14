"""What panes cost a real kernel: how many widgets they leave, and how many messages they send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gemini_nb.notebook.pane.painter import BUDGET
from kernels import Kernel

SETUP = """%load_ext gemini_nb
import gemini_nb, os, threading
from IPython.display import display
from gemini_nb.simulator import Simulator
hold = threading.Event()
def scenario(body, model):
    for number in range(30):
        text = f'Paragraph {number}. ' + 'word ' * 80 + '\\n\\n'
        yield {'candidates': [{'content': {'parts': [{'text': text}]}}]}
        yield 0.02
    while body['contents'][0]['parts'][0]['text'].startswith('long') and not hold.is_set(): yield 0.02
    yield {'candidates': [{'content': {'parts': [{'text': 'The end.'}]}, 'finishReason': 'STOP'}]}
simulator = Simulator(scenario=scenario, pace=1).start()
os.environ.update(GOOGLE_GEMINI_BASE_URL=simulator.base_url, GEMINI_API_KEY='any', GEMINI_NB_AUTH='gemini')
def pane_of(prompt): return gemini_nb.StreamPane(gemini_nb.get_manager().start_stream(prompt))"""
KINDS = {"comm_open", "comm_msg", "comm_close"}


class Counting:
    """A kernel, and when each comm message left it."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.times: list[float] = []
        file = kernel._on_iopub

        def count(message: dict[str, Any]) -> None:
            if message["msg_type"] in KINDS:
                self.times.append(message["header"]["date"].timestamp())
            file(message)

        kernel._on_iopub = count  # type: ignore[method-assign]  # it has no hook for this

    def most_in_one_second(self) -> int:
        times = sorted(self.times)
        return max(sum(start <= then < start + 1.0 for then in times) for start in times)

    def quiet(self) -> None:
        """Wait until nothing has come for a while."""
        before = -1
        while before != len(self.times):
            before = len(self.times)
            self.kernel.run("import time; time.sleep(0.6)")

    def html(self) -> str:
        return "".join(str(state.get("value", "")) for state in self.kernel.widgets.values())


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory, make_shared_kernel: Callable[..., Kernel]) -> Counting:
    kernel = make_shared_kernel()
    kernel.run(SETUP)
    return Counting(kernel)


@pytest.fixture(autouse=True)
def begin_anew(counting: Counting) -> Iterator[None]:
    counting.kernel.run("hold.clear()")
    counting.times.clear()
    yield
    counting.kernel.run("hold.set(); gemini_nb.get_manager().stop_all()")


def test_a_pane_that_is_not_displayed_sends_nothing(counting: Counting) -> None:
    result = counting.kernel.run(
        "unseen = pane_of('short'); unseen.stream.wait(20); print(unseen.stream.status)"
    )
    assert result.stdout == "completed\n"
    counting.quiet()
    assert len(counting.times) <= 1, "the layout that all share"


@pytest.mark.slow
def test_a_finished_pane_leaves_one_widget_and_a_cell_that_runs_again_none(counting: Counting) -> None:
    kernel = counting.kernel
    kernel.run("pane_of('short')", cell_id="a")
    kernel.wait_until(lambda: "The end." in counting.html() and len(kernel.widgets) == 6)
    counting.quiet()
    shared = [
        state
        for state in kernel.widgets.values()
        if state["_model_name"] in {"LayoutModel", "HTMLStyleModel", "ButtonStyleModel"}
    ]
    assert len(shared) == 3
    kinds = sorted(state["_model_name"] for state in kernel.widgets.values())
    sheet = [state for state in kernel.widgets.values() if "gemini-nb-style" in state.get("_dom_classes", ())]
    assert len(sheet) == 1, "all panes share one"
    assert kinds == sorted(["HTMLModel", "VBoxModel", "HTMLModel", *(one["_model_name"] for one in shared)])
    assert "Paragraph 29." in counting.html()
    kernel.run("pane_of('long')", cell_id="a")  # the same cell again, and its pane is drawn
    kernel.wait_until(lambda: "Paragraph 29." in counting.html())
    kernel.run("1 + 1", cell_id="a")  # and again, with something else in it
    kernel.wait_until(lambda: len(kernel.widgets) == 4)
    counting.quiet()
    assert len(kernel.widgets) == 4
    counting.times.clear()
    kernel.run("import time; time.sleep(1.5)", cell_id="b")
    assert counting.times == [], "the stream goes on, but nobody looks"


@pytest.mark.slow
def test_many_panes_stay_within_the_budget(counting: Counting) -> None:
    kernel = counting.kernel
    kernel.run("for number in range(16): display(pane_of(f'long {number}'))", cell_id="many")
    kernel.wait_until(lambda: counting.html().count("Paragraph 29.") >= 16)
    kernel.run("hold.set()", cell_id="end")
    kernel.wait_until(lambda: counting.html().count("The end.") >= 16)
    counting.quiet()
    assert counting.most_in_one_second() <= BUDGET
    kernel.run("1 + 1", cell_id="many")
    kernel.wait_until(lambda: "The end." not in counting.html())


@pytest.mark.slow
def test_panes_that_are_displayed_at_once_do_not_flood_the_page(counting: Counting) -> None:
    kernel = counting.kernel
    kernel.run(
        "panes = [pane_of('long') for _ in range(40)]\nfor pane in panes: display(pane)", cell_id="all"
    )
    kernel.wait_until(lambda: counting.html().count('data-status="active"') >= 40)
    assert counting.most_in_one_second() <= BUDGET
    kernel.run("hold.set()", cell_id="all")
    kernel.wait_until(lambda: "Paragraph" not in counting.html())
