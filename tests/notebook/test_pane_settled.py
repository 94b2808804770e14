"""What a stream leaves in the notebook: Markdown to be read, whatever happened on the way."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets
import pytest
from test_markdown import commonmark
from test_pane import asked, displayed, happens, manager, said, shown

import gemini_nb
from answers import until
from gemini_nb.notebook.pane import pane as pane_module
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.render.history import entry_bundle
from gemini_nb.notebook.render.markdown import answer_draft, finished
from gemini_nb.notebook.render.settled import framed, literal, render, title_html, to_markdown, to_text
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.simulator import Simulator
from gemini_nb.streams.events import events

__all__ = ["manager"]  # a fixture

LONG = (
    "Some *words* of an answer, `code` and [a link](https://example.com).\n\n- one\n- two\n\n" * 4200
)  # 354 KB

ROOM = '<div style="margin: 1em 0">\n\n'


def broken(
    manager: gemini_nb.StreamManager, rest: str | None, part: dict[str, Any] | None = None
) -> gemini_nb.Stream:
    """A stream whose text is taken back to its first word; without a rest it is stopped then."""
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        if part is not None:
            yield {"candidates": [{"content": {"parts": [part]}}]}
        yield said("Kept. Lost <b>words</b>.")
        yield hold
        yield said(rest or "never", "STOP")

    with Simulator(scenario=scenario, pace=0) as simulator:
        stream = manager.start_stream("x", auth="simulator", base_url=simulator.base_url)
        until(lambda: "words" in stream.text)
        happens(stream, events.RetryScheduled, attempt=2, delay=0.0, reason="It broke.")
        happens(stream, events.TextRewound, length=6)
        if rest is None:
            stream.stop()
        hold.set()
        return stream.wait(30)


def inside(settled: str) -> str:
    """What stands in the frame of a settled answer, beneath who answered."""
    found = re.fullmatch(
        r'<div style="border-left: 3px solid #\w{6}; padding: [^"]+">\n\n'
        r"\*\*[^\n]+\n\n(.+)\n\n</div>",
        settled,
        re.DOTALL,
    )
    assert found is not None
    return found[1]


def test_an_answer_has_a_frame_and_headings_below_the_notebooks_own(
    manager: gemini_nb.StreamManager,
) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield {"candidates": [{"content": {"parts": [{"text": "# Idea\n\nSo.", "thought": True}]}}]}
        yield said("# One\n\nText\n\nTwo\n---\n\n### Three\n\n###### Six\n\n" + "Words.\n\n" * 600)
        yield hold
        yield said("## Late\n\n> # Quoted\n\n- # Listed", "STOP")

    hold = threading.Event()
    with asked(manager, scenario) as (stream, pane):
        until(lambda: "<h4>One</h4>" in shown(pane))
        until(lambda: "<h5>Two</h5>" in shown(pane))
        hold.set()
        pane.settled.result(30)
    for html in (shown(pane), commonmark(to_markdown(stream)), commonmark(entry_of(stream))):
        found = re.findall(r"<h(\d)>(?:<strong>)?(\w+)", html)
        levels = {"One": "4", "Two": "5", "Three": "6", "Six": "6", "Late": "5", "Quoted": "4", "Listed": "4"}
        assert {word: level for level, word in found} == {**levels, "Idea": "4"}
    settled = to_markdown(stream)
    assert "\n##### **Two**\n" in settled
    assert settled.startswith(
        '<div style="border-left: 3px solid #9e9e9e; padding: 8px 0 1px 12px; overflow-wrap: break-word">'
    )
    assert f"**{stream.model} (simulated)** · {stream.stream_id}\n\n{ROOM}<details>" in settled
    assert inside(settled).endswith("</sub>")


@pytest.mark.parametrize(
    ("source", "levels"),
    [
        ("## A\n\n### B\n\n# C", "454"),
        ("Text\n\n#### A\n\n## B\n\n##### C", "445"),
        ("> ### A\n\n### B\n\n#### *C*", "445"),
    ],
)
def test_the_first_heading_is_the_highest_wherever_it_began(source: str, levels: str) -> None:
    draft, growing = answer_draft(), answer_draft()
    long = f"{source}\n\n{'Words. ' * 400}\n\n"
    for end in range(1, len(long)):
        growing.draw(long[:end], lambda _: 100)
    for html in (finished(draft, long).html, finished(growing, long).html, commonmark(draft.markdown)):
        assert "".join(re.findall(r"<h(\d)>", html)) == levels


def entry_of(stream: gemini_nb.Stream) -> str:
    """What `%gemini_show` shows of it in a later kernel."""
    until(lambda: gemini_nb.journal().get(stream.stream_id) is not None)
    return entry_bundle(gemini_nb.journal().get(stream.stream_id))["text/markdown"]


@pytest.mark.parametrize(
    ("way", "colour"), [("cut", "#ef8a00"), ("stopped", "#ef8a00"), ("error", "#d32f2f")]
)
def test_the_rule_of_the_frame_says_how_it_ended(
    manager: gemini_nb.StreamManager, way: str, colour: str
) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("So far")
        if way == "stopped":
            yield ended
        yield said(".", "MAX_TOKENS")

    ended = threading.Event()
    with asked(manager, scenario, model="nothing" if way == "error" else None) as (stream, pane):
        if way == "stopped":
            until(lambda: "So far" in stream.text)
            stream.stop()
            ended.set()
        pane.settled.result(30)
    assert f"border-left: 3px solid {colour};" in to_markdown(stream)
    assert f'data-end="{way}"' in shown(pane)


def test_text_that_was_replaced_is_gone(manager: gemini_nb.StreamManager) -> None:
    settled = to_markdown(broken(manager, "New."))
    assert inside(settled).startswith("Kept.\n\nNew.\n\n<sub ")
    assert "Lost" not in settled


def test_text_that_nothing_replaced_is_folded_and_harmless(manager: gemini_nb.StreamManager) -> None:
    settled = to_markdown(broken(manager, None))
    assert inside(settled).startswith(
        f"Kept.\n\n{ROOM}<details><summary>Text of an attempt that broke</summary>"
    )
    assert "&lt;b>words&lt;/b>" in settled
    assert "> **Stopped by you**" in settled


def test_a_picture_of_the_models_is_kept_and_other_data_only_named(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        for kind, data in (("image/png", "aGVsbG8="), ("image/svg+xml", "aGVsbG8="), ("image/png", "no)](x")):
            part = {"inlineData": {"mimeType": kind, "data": data}}
            yield {"candidates": [{"content": {"parts": [part]}}]}
        yield said("Done.", "STOP")

    with Simulator(scenario=scenario, pace=0) as simulator:
        stream = manager.start_stream("x", auth="simulator", base_url=simulator.base_url).wait(30)
    settled = to_markdown(stream)
    assert settled.count("![") == 1
    assert "![an image from the model](data:image/png;base64,aGVsbG8=)" in settled
    assert "*image/svg+xml*" in settled
    assert "*image/png*" in settled
    assert "aGVsbG8=" not in to_text(stream)


def test_a_models_id_is_shown_as_it_is() -> None:
    shown = commonmark(literal("gemini-3.8-flash~503~times=2 & <b> *_[x](y) $5$ `c`"))
    assert shown == "<p>gemini-3.8-flash~503~times=2 &amp; &lt;b&gt; *_[x](y) $5$ `c`</p>\n"


def test_a_structured_answer_is_code_live_and_settled(
    manager: gemini_nb.StreamManager,
) -> None:
    hold = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said('{"name": "_Ada_", "note": "<b>')
        yield hold
        yield said('"}', "STOP")

    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    with asked(manager, scenario, schema=schema) as (stream, pane):
        until(lambda: "_Ada_" in shown(pane))
        assert "<code" in shown(pane)
        assert "&lt;b&gt;" in shown(pane)
        hold.set()
        pane.settled.result(30)
    assert '```json\n{"name": "_Ada_", "note": "<b>"}\n```' in to_markdown(stream)
    assert stream.parsed == {"name": "_Ada_", "note": "<b>"}


def test_a_stream_that_goes_on_says_how_to_see_more(manager: gemini_nb.StreamManager) -> None:
    ended = threading.Event()

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("So far.")
        yield ended
        yield said(" The end.", "STOP")

    with asked(manager, scenario) as (stream, _pane):
        later = stream.record.entry_id  # a notebook that is saved now may be read in another kernel
        assert f"show {later} shows more" in to_markdown(stream)
        assert f"show {later} shows more" in to_text(stream)
        ended.set()
        stream.wait(30)
        assert "shows more" not in to_markdown(stream)


def test_what_a_call_was_given_and_what_came_of_it_are_told_apart(manager: gemini_nb.StreamManager) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        if len(body["contents"]) > 1:
            yield said("Well.", "STOP")
            return
        part = {"functionCall": {"name": "absent", "args": {"x": 1}}}
        yield {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}

    with asked(manager, scenario) as (stream, _pane):
        settled = to_markdown(stream.wait(30))
    assert '*arguments*\n\n```json\n{\n  "x": 1\n}\n```\n\n*error*\n\n```\n' in settled


def test_two_dollars_in_a_folds_title_are_no_formula() -> None:
    shown = title_html("pay(a=$5, b=$6) \\(x\\) <b>")
    assert "$" not in shown
    assert shown.count("<span>&#36;</span>") == 2
    assert shown.count("<span>&#92;</span>") == 2
    assert "&lt;b&gt;" in shown


@pytest.mark.slow
def test_events_come_while_a_long_answer_is_settled(
    manager: gemini_nb.StreamManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, came = threading.Event(), threading.Event()
    threads: set[str] = set()
    in_time: list[bool] = []

    def held(transcript: Transcript) -> Iterator[None]:
        for step, _ in enumerate(render(transcript)):
            threads.add(threading.current_thread().name)
            if step == 1:
                began.set()
                in_time.append(came.wait(30))
            yield

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        if body["contents"][0]["parts"][0]["text"] == "short":
            yield began
            yield said("Here.", "STOP")
        else:
            yield said(LONG, "STOP")

    monkeypatch.setattr(pane_module, "render", held)
    with Simulator(scenario=scenario, pace=0) as simulator:
        options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
        manager.start_stream(
            "short", lambda event: came.set() if event.kind == "text_delta" else None, **options
        )
        displayed(manager.start_stream("long", **options)).settled.result(60)
    assert in_time == [True]
    assert threads == {"gemini_nb-render"}


@pytest.mark.parametrize("way", ["the streams' loop dies", "the thread that renders dies", "shutdown"])
def test_a_pane_settles_whatever_dies(manager: gemini_nb.StreamManager, way: str) -> None:
    def end() -> None:
        raise SystemExit

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        yield said("So far.")
        yield ended
        yield said(" The end.", "STOP")

    ended = threading.Event()
    with asked(manager, scenario) as (stream, pane):
        until(lambda: "So far." in shown(pane))
        if way == "the streams' loop dies":
            manager.runtime.loop.call(end)
        elif way == "shutdown":
            manager.shutdown()
        else:
            painter_of(manager.runtime).call(end)
        ended.set()
        pane.settled.result(30)
        until(lambda: len(pane.children) == 2)
        assert "So far." in shown(pane)
        assert "The end." in shown(pane) or "died" in shown(pane) or stream.status == "stopped"


def test_the_thread_that_renders_ends_with_the_last_manager() -> None:
    manager = gemini_nb.StreamManager()
    with asked(manager, lambda *_: iter([said("Well.", "STOP")])) as (_stream, pane):
        pane.settled.result(30)
        manager.shutdown()
    assert "gemini_nb-render" not in {thread.name for thread in threading.enumerate()}
    widgets.Widget.close_all()


def test_code_and_folds_stand_apart_from_the_text_in_a_frame() -> None:
    blocks = [
        "Text.\n\n````text\n```\nx\n```\n````\n\nMore.\n\n- ```text\n  y\n  ```\n\n```text\nz\n```",
        "<details>a</details>",
    ]
    body = framed(["m"], blocks, "whole")
    assert body.count(ROOM) == 3
    for one in ("````text\n```\nx\n```\n````", "```text\nz\n```", "<details>a</details>"):
        assert f"{ROOM}{one}\n\n</div>" in body
    assert body.replace(ROOM, "").replace("\n\n</div>", "").endswith("\n\n".join(["**m**", *blocks]))
