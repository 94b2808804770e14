"""Panes without a page: what the widgets hold, on a manager of their own."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ipywidgets as widgets
import pytest
from IPython.display import DisplayHandle
from ipywidgets.widgets import widget as widget_module

import gemini_nb
from answers import until
from gemini_nb.notebook.pane import running_text, widgetry
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.pane.pane import StreamPane
from gemini_nb.notebook.pane.running_text import TextView
from gemini_nb.notebook.pane.widgetry import messages
from gemini_nb.notebook.render.markdown import answer_draft, finished, has_formulas, to_html, typeset
from gemini_nb.simulator import Simulator
from gemini_nb.streams.events import events

Scenario = Callable[[dict[str, Any], str], Iterable[Any]]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Import the renderer before a test measures how often it paints."""
    to_html("")


@pytest.fixture
def manager() -> Iterator[gemini_nb.StreamManager]:
    manager = gemini_nb.StreamManager()
    yield manager
    manager.shutdown()
    widgets.Widget.close_all()


def said(text: str, reason: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate]}


def shown(widget: Any) -> str:
    """All HTML of a widget and its children."""
    own = widget.value if isinstance(widget, widgets.HTML) else ""
    return own + "".join(shown(child) for child in getattr(widget, "children", ()))


def displayed(stream: gemini_nb.Stream) -> StreamPane:
    """A pane as a cell displays it; one that nobody displays does nothing."""
    pane = StreamPane(stream)
    pane._repr_mimebundle_()
    return pane


def shows(widget: Any, words: str) -> bool:
    return words in shown(widget)


@contextmanager
def asked(
    manager: gemini_nb.StreamManager, scenario: Scenario | None, prompt: str = "x", **options: Any
) -> Iterator[tuple[gemini_nb.Stream, StreamPane]]:
    """A stream answered by the scenario, and its displayed pane."""
    with Simulator(scenario=scenario, pace=0) as simulator:
        stream = manager.start_stream(prompt, auth="simulator", base_url=simulator.base_url, **options)
        yield stream, displayed(stream)


def every(widget: Any, kind: type[Any] = widgets.Widget) -> list[Any]:
    """All widgets of a kind, in a widget and its children."""
    inner = [found for child in getattr(widget, "children", ()) for found in every(child, kind)]
    return [*([widget] if isinstance(widget, kind) else []), *inner]


def end_paint(manager: gemini_nb.StreamManager) -> None:
    """Wait until a paint that is under way has drawn all it has to draw."""
    ended = threading.Event()
    painter_of(manager.runtime).call(ended.set)
    assert ended.wait(30)


def press(pane: StreamPane, name: str) -> None:
    next(found for found in every(pane, widgets.Button) if found.description == name).click()


def happens(stream: gemini_nb.Stream, kind: Any, **fields: Any) -> None:
    """Let an event come that the simulator does not cause."""
    stream.runtime.loop.call(lambda: stream.record._append(kind, **fields))


def test_a_pane_grows_freezes_and_keeps_everything(
    manager: gemini_nb.StreamManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_text, "_SELDOM", math.inf)  # however slow the machine is
    paragraphs = [f"Paragraph {number} " + "word " * 200 for number in range(42)]
    steps = [threading.Event() for _ in paragraphs]

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        for paragraph, step in zip(paragraphs, steps, strict=True):
            yield said(paragraph + "\n\n")
            yield step
        yield said("The end.", "STOP")

    with asked(manager, scenario) as (_, pane):
        drawn: dict[str, str] = {}
        for number, step in enumerate(steps):
            until(partial(shows, pane, f"Paragraph {number} "))
            end_paint(manager)
            texts = [piece for piece in every(pane, widgets.HTML) if "gemini-nb-text" in piece._dom_classes]
            pieces = {piece.model_id: piece.value for piece in texts}
            changed = [piece for piece, value in drawn.items() if pieces[piece] != value]
            assert len(changed) <= 1, "only the tail is drawn again"
            drawn = pieces
            step.set()
        longest = max(len(group.children) for group in every(pane, widgets.Box))
        assert 16 <= longest < len(drawn), "a box that grew with the answer would be sent again and again"
        assert len(drawn) > 16, "finished text is frozen in widgets of its own"
        assert 'data-status="active"' in shown(pane)
        pane.settled.result(30)
    text = shown(pane)
    assert [text.count(f"Paragraph {number} ") for number in range(42)] == [1] * 42
    assert "The end." in text
    assert 'data-status="completed"' in text


def test_a_pane_that_is_not_displayed_costs_nothing(manager: gemini_nb.StreamManager) -> None:
    with Simulator(pace=0) as simulator:
        stream = manager.start_stream("Hello", auth="simulator", base_url=simulator.base_url)
        before = messages()
        pane = StreamPane(stream)
        stream.wait(30)
        stream.runtime.loop.call(lambda: None)
        assert messages() - before <= 1, "at most the layout that all share"
        assert pane.comm is None
        outer = widgets.VBox([pane])  # embedded, it is displayed with what holds it
        outer.get_state()
        pane.settled.result(30)
        assert stream.text.split()[0] in shown(pane)


def test_a_pane_of_a_short_answer_opens_few_channels(manager: gemini_nb.StreamManager) -> None:
    """Fifty panes open, close and are sent each of them, which costs the kernel more than their texts do."""
    end = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("Some words.\n\n")
        yield end
        yield said("The end.", "STOP")

    def alive() -> int:
        return len(set(widget_module._instances.values()) - set(widgetry._shared.values()))

    with asked(manager, scenario) as (_, pane):
        until(partial(shows, pane, "Some words."))
        assert alive() <= 4, "the pane, its head and button, and the text that grows"
        end.set()
        pane.settled.result(30)
        until(lambda: alive() <= 2)
        before = messages()
        pane.detach()
        until(lambda: not alive())
    assert messages() - before <= 2, "to close the pane and its answer"


def test_what_is_painted_seldom_is_frozen_in_few_pieces() -> None:
    """Where many answers grow, some kilobytes that are sent again cost less than a widget for each."""
    paragraph = f"{'word ' * 100}\n\n"
    often, seldom = TextView(), TextView()
    for number in range(1, 41):
        often.draw(paragraph * number)
        seldom._drawn_at = -1e9
        seldom.draw(paragraph * number)
    assert seldom.frozen == 1
    assert often.frozen > 3
    for view in (often, seldom):
        assert sum(shown(one).count("word") for one in view.widgets) == 4000
        view.close()


def as_shown(text: str) -> str:
    made = finished(answer_draft(), text).html
    return typeset(made) if has_formulas(made) else made


def test_a_finished_pane_is_one_widget_and_a_detached_one_none(manager: gemini_nb.StreamManager) -> None:
    def alive() -> int:
        return len(own())

    def own() -> set[widgets.Widget]:
        return set(widget_module._instances.values()) - set(widgetry._shared.values())

    with asked(manager, None, "Describe a lighthouse in 400 words.") as (stream, pane):
        pane.settled.result(30)
        until(lambda: alive() <= 2)
        sheet, answer = pane.children
        assert sheet in widgetry._shared.values()
        assert own() == {pane, answer}
        assert as_shown(stream.text) in shown(pane)
        pane.detach()
        until(lambda: own() == set())
        pane._repr_mimebundle_()
        until(lambda: as_shown(stream.text) in shown(pane))


def test_a_settled_pane_painted_again_names_no_closed_widget(manager: gemini_nb.StreamManager) -> None:
    with asked(manager, None, "Describe a lighthouse in 40 words.") as (_, pane):
        pane.settled.result(30)
        pane._painter.call(pane.paint)
        painted = threading.Event()
        pane._painter.call(painted.set)
        assert painted.wait(30)
        assert [child.comm is not None for child in pane.children] == [True, True]


def test_a_display_that_comes_after_the_end_is_waited_for(manager: gemini_nb.StreamManager) -> None:
    """A quick answer has ended before `display` has returned the handle of its pane."""
    updates: list[Any] = []

    class Handle(DisplayHandle):
        def __init__(self) -> None:
            self.display_id = "of the pane"

        def update(self, obj: Any, **_: Any) -> None:
            updates.append(obj)

    with asked(manager, None, "Why is the sky blue?") as (stream, pane):
        pane.settled.result(30)
        pane.settle_into(Handle())
        pane.settled.result(30)
        assert stream.text in updates[0]["text/plain"]


def test_a_closed_child_leaves_a_page_the_other_widgets() -> None:
    closed, open_one = widgetry.piece("closed"), widgetry.piece("open")
    held = widgetry.box([closed, open_one])
    closed.close()
    assert held.get_state()["children"] == [f"IPY_MODEL_{open_one.model_id}"]
    widgetry.close_tree(held)


def test_only_its_own_widgets_are_closed(manager: gemini_nb.StreamManager) -> None:
    mine = widgets.Text("mine")
    with asked(manager, None) as (_, pane):
        pane.settled.result(30)
        pane.detach()
        until(lambda: pane.comm is None)
    assert mine.comm is not None


def test_the_head_shows_the_steps_and_the_figures(manager: gemini_nb.StreamManager) -> None:
    asking, answering = threading.Event(), threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield asking
        counts = {"promptTokenCount": 12, "candidatesTokenCount": 34, "thoughtsTokenCount": 5}
        yield {**said("words"), "usageMetadata": {**counts, "totalTokenCount": 51}}
        yield answering
        yield said(".", "STOP")

    with asked(manager, scenario) as (_, pane):
        until(lambda: '<li data-step="now" aria-current="step">waiting for Gemini' in shown(pane))
        assert '<span class="gemini-nb-auth" data-auth="simulator">simulated</span>' in shown(pane)
        assert {found.description for found in every(pane, widgets.Button)} == {"Stop"}
        asking.set()
        until(lambda: '<li data-step="now" aria-current="step">writing' in shown(pane))
        assert "tools</li>" not in shown(pane), "it was given none"
        assert '<li data-step="done">waiting for Gemini' in shown(pane)
        until(lambda: "12 in, 34 out, 5 thinking" in shown(pane))
        assert "first text after" in shown(pane)
        answering.set()
        pane.settled.result(30)
    assert "gemini-nb-steps" not in re.sub(r"<style>.*?</style>", "", shown(pane), flags=re.DOTALL)
    assert not every(pane, widgets.Button)


def seconds_left(pane: StreamPane) -> float:
    """How long the pane says that it waits."""
    found = re.search(r"waiting for quota &lt;b&gt;, retrying in (\d+) s", shown(pane))
    return math.inf if found is None else int(found[1])


def test_what_a_stream_waits_for_is_said(manager: gemini_nb.StreamManager) -> None:
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield hold
        yield said(".", "STOP")

    with asked(manager, scenario) as (stream, pane):
        until(lambda: "waiting for Gemini" in shown(pane))
        stream.record.wait_for("quota <b>", time.time() + 50)
        until(lambda: 40 <= seconds_left(pane) <= 50)
        before = seconds_left(pane)
        until(lambda: seconds_left(pane) < before)
        assert '<li data-step="now" aria-current="step">retrying' in shown(pane)
        stream.record.wait_for("trip · s1")
        until(lambda: '<li data-step="now" aria-current="step">waiting</li>' in shown(pane))
        assert "waiting for trip · s1" in shown(pane)
        hold.set()
        pane.settled.result(30)


def test_a_stream_that_says_nothing_for_long_says_so(manager: gemini_nb.StreamManager) -> None:
    hold = threading.Event()

    def weather(city: str) -> str:
        """Look up the weather."""
        hold.wait(30)
        return city

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        if len(body["contents"]) == 1:
            yield {"candidates": [{"content": {"parts": [{"text": "Hm.", "thought": True}]}}]}
            yield hold
            hold.clear()
            call = {"functionCall": {"name": "weather", "args": {"city": "Rome"}}}
            yield {"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]}
        else:
            yield said(".", "STOP")

    with asked(manager, scenario, tools=[weather]) as (stream, pane):
        until(lambda: '<li data-step="now" aria-current="step">thinking' in shown(pane))
        assert '<li data-step="next">running tools' in shown(pane)
        assert "no text for" not in shown(pane)
        stream.record.heard_at -= 9
        stream.record.asked_at = stream.started_at - 20
        until(lambda: "no text for 1" in shown(pane))
        until(lambda: re.search(r"no text for 1[1-9] s", shown(pane)))
        hold.set()
        until(lambda: '<li data-step="now" aria-current="step">running tools' in shown(pane))
        stream.record.heard_at -= 100
        time.sleep(1.1)  # a paint of the head
        assert "no text for" not in shown(pane), "nothing is asked of the model now"
        hold.set()
        pane.settled.result(30)


def test_thoughts_are_folded_and_their_last_line_lives(manager: gemini_nb.StreamManager) -> None:
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        thought = {"text": "**First** idea\n\n**Second** <i>idea</i>", "thought": True}
        yield {"candidates": [{"content": {"parts": [thought]}}]}
        yield hold
        yield said("Answer", "STOP")

    with asked(manager, scenario) as (_, pane):
        until(lambda: "<bdi>Second &lt;i&gt;idea&lt;/i&gt;</bdi>" in shown(pane))
        handles = [piece for piece in every(pane, widgets.HTML) if "<summary" in piece.value]
        assert [piece.value.count("<details>") for piece in handles] == [1]
        assert "idea" not in handles[0].value, "what is set again would close under the reader"
        hold.set()
        pane.settled.result(30)
    assert "<strong>First</strong> idea" in shown(pane)
    assert "<bdi>" not in shown(pane)


def test_a_retry_and_what_it_takes_back_are_said_where_they_happen(manager: gemini_nb.StreamManager) -> None:
    first, second = threading.Event(), threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("Kept. ")
        yield said("Lost <b>words</b>.")
        yield first
        yield said("New")
        yield second
        yield said(" and long enough words.", "STOP")

    with asked(manager, scenario) as (stream, pane):
        until(lambda: "words" in shown(pane))
        happens(stream, events.RetryScheduled, attempt=2, delay=0.0, reason="The line is dead.", keeps=6)
        reason = "The line is dead. The retry replaces 18 of the 24 characters received so far."
        until(lambda: "<del>" in shown(pane))
        happens(stream, events.TextRewound, length=6)
        assert "<del>Lost &lt;b&gt;words&lt;/b&gt;.</del>" in shown(pane)
        assert f'<div class="gemini-nb-notice">{reason}</div>' in shown(pane)
        assert shown(pane).index("Kept.") < shown(pane).index("<del>") < shown(pane).index(reason)
        first.set()
        until(lambda: "<p>New</p>" in shown(pane))
        assert "<del>" in shown(pane), "until it is replaced"
        second.set()
        pane.settled.result(30)
    assert "<del>" not in shown(pane)
    assert "long enough" in shown(pane)


def test_an_error_and_a_strange_ending_are_said(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("partial", "MAX_TOKENS")

    with asked(manager, scenario) as (_, ended):
        ended.settled.result(30)
    with asked(manager, scenario, model="nothing") as (_, failed):
        failed.settled.result(30)
    assert "Cut off: token limit (--max-tokens)" in shown(ended)
    assert 'data-end="cut"' in shown(ended)
    assert "partial" in shown(ended)
    assert "404" in shown(failed)
    assert 'data-status="error"' in shown(failed)
    assert 'data-end="error"' in shown(failed)


def test_the_stop_button_stops(manager: gemini_nb.StreamManager) -> None:
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("so far")
        yield hold
        yield said("never", "STOP")

    with asked(manager, scenario) as (stream, pane):
        until(lambda: "so far" in shown(pane))
        press(pane, "Stop")
        pane.settled.result(30)
        hold.set()
    assert stream.status == "stopped"
    assert "so far" in shown(pane)
    assert 'data-status="stopped">stopped' in shown(pane)
    assert 'data-kind="stopped" role="alert">Stopped by you</div>' in shown(pane)
    assert not every(pane, widgets.Button)


@pytest.mark.slow
def test_a_long_table_is_drawn_less_often_but_to_its_end(manager: gemini_nb.StreamManager) -> None:
    hold = threading.Event()
    rows = "".join(f"| {number} | {'word ' * 30} |\n" for number in range(300))

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said(f"| a | b |\n|---|---|\n{rows}")
        yield hold
        yield said("| end | end |\n", "STOP")

    with asked(manager, scenario) as (_, pane):
        until(lambda: "299" in shown(pane))
        assert pane.interval > 0.5
        hold.set()
        pane.settled.result(30)
    assert "<td>end</td>" in shown(pane)
