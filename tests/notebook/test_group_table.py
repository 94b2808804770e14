"""A group of many rows: the line that says how far it is, and the table that stays."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import gemini_nb
from answers import PATIENCE, rig
from gemini_nb.notebook.pane.group_view import view_of
from gemini_nb.notebook.render.group_settled import bundle_of
from gemini_nb.notebook.render.group_table import live_html, live_rows, progress_line, table_html
from gemini_nb.streams.group.group import StreamGroup
from scripted import Wait, json_error, sse_answer, text

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
}


def echo(request: Any) -> Any:
    words = request.json["contents"][0]["parts"][0]["text"]
    if words in {"7", "29"}:
        return json_error(400, f"{words} | is **bad** <b>")
    return sse_answer(text(f"about {words}\nand more", finish="STOP"))


def asked(count: int, script: Any = echo, **options: Any) -> StreamGroup:
    with rig(script) as made:
        rows = [str(number) for number in range(count)]
        return gemini_nb.map(rows, manager=made.manager, **made.options, **options).wait(PATIENCE * 2)


def test_many_rows_settle_as_a_table_with_failures_first() -> None:
    group = asked(130)
    made = bundle_of(group)
    lines = made["text/markdown"].split("\n")
    assert lines[2:4] == ["| item | answer |   |", "| --- | --- | --- |"]
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| 7", "| 29", "| 0"]
    assert "| 400: 7 &#124; is &#42;&#42;bad" in lines[4]
    assert lines[6] == "| 0 | about 0 and more | ✓ |"
    assert sum(line.startswith("| ") for line in lines) == 102
    assert lines[-1] == "… and 30 more; to_frame() has them all."
    assert "<details>" not in made["text/markdown"]
    assert "… and 30 more" in made["text/plain"]
    assert "<b>" not in table_html(group)


def test_fields_are_columns_of_the_table() -> None:
    def script(request: Any) -> Any:
        return sse_answer(text('{"city": "a|b", "people": 3}', finish="STOP"))

    group = asked(25, script, schema=SCHEMA)
    lines = bundle_of(group)["text/markdown"].split("\n")
    assert lines[2] == "| item | city | people |   |"
    assert lines[4] == "| 0 | a&#124;b | 3 | ✓ |"


def test_an_answer_that_was_cut_says_so_in_the_table() -> None:
    group = asked(21, lambda request: sse_answer(text("half", finish="MAX_TOKENS")))
    assert "✓ MAX&#95;TOKENS" in bundle_of(group)["text/markdown"]


def test_a_few_rows_stay_folds() -> None:
    assert bundle_of(asked(20))["text/markdown"].count("<details>") == 20


def test_the_line_says_what_is_done_left_failed_and_waiting() -> None:
    gate = threading.Event()

    def script(request: Any) -> Any:
        number = int(request.json["contents"][0]["parts"][0]["text"])
        return echo(request) if number < 12 else sse_answer(Wait(gate), text("late", finish="STOP"))

    with rig(script) as made:
        rows = [str(number) for number in range(1000)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=4, **made.options)
        ended = iter(group)
        for _ in range(12):
            next(ended)
        end = time.monotonic() + PATIENCE
        while group.counts.running != 4 or group.counts.completed != 11:
            assert time.monotonic() < end
            time.sleep(0.01)
        line = progress_line(group, 4.0)
        assert line == "12/1,000 · 4/s · 4 min 07 s left · 1 failed · 4 running · 984 waiting"
        assert progress_line(group, 0.5).startswith("12/1,000 · 30/min · 32 min 56 s left")
        assert progress_line(group, None).startswith("12/1,000 · 1 failed")
        shown = live_rows(group)
        assert len(shown) == 20
        assert shown[0] == 7
        assert set(shown[1:5]) == {12, 13, 14, 15}
        assert len(group.started) < 300  # looking makes no row
        group.stop()
        gate.set()


@pytest.mark.parametrize("count", [21, 400])
def test_a_table_of_what_was_never_asked(count: int) -> None:
    with rig(lambda request: json_error(404, "no such model")) as made:
        rows = [str(number) for number in range(count)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=1, **made.options).wait(PATIENCE)
        said = bundle_of(group)["text/markdown"]
    assert said.count("404") >= 5
    assert "✓" not in said


def test_failures_alone_are_shown_on_demand() -> None:
    with rig(echo) as made:
        rows = [str(number) for number in range(40)]
        group = gemini_nb.map(rows, manager=made.manager, **made.options)
        view = view_of(group)
        group.wait(PATIENCE)
        view.draw()
        top = view.children[1]
        button = top.children[1]
        assert (button.description, button.tooltip) == ("Failures", "Show failed rows only")
        assert live_html(group, failures=True).count("<tr") == 2
        for description, shown in [("All rows", 2), ("Failures", 20)]:
            button.click()
            end = time.monotonic() + PATIENCE
            while button.description != description:
                assert time.monotonic() < end
                time.sleep(0.01)
            view.draw()
            assert view.children[2].value.count("<tr") == shown
        view.close()


def test_without_a_failure_there_is_no_filter() -> None:
    with rig(echo) as made:
        group = gemini_nb.map(["a"] * 30, manager=made.manager, **made.options)
        view = view_of(group)
        group.wait(PATIENCE)
        view.draw()
        assert [child.description for child in view.children[1].children[1:]] == ["Stop"]
        view.close()
