"""A group of many rows: the line that says how far it is, and the table that stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import PATIENCE, rig, until
from gemini_nb.notebook.pane.group_view import view_of
from gemini_nb.notebook.render.group_settled import bundle_of
from gemini_nb.notebook.render.group_table import (
    item_words,
    live_html,
    live_rows,
    progress_line,
    table_html,
)
from gemini_nb.notebook.render.markdown import words_of
from gemini_nb.streams.group import pace
from gemini_nb.streams.group.asked_frame import contents_of
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


class Wordless:
    """An object of the user that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError


def test_an_item_without_a_text_and_a_long_one_are_shown_in_few_words() -> None:
    group = asked(3, items=[Wordless(), {"one": " " * 9_000 + "far", "two": 2}, "word " * 200_000])
    words = [item_words(group, index) for index in range(3)]
    assert words[:2] == ["<Wordless>", "far, 2"]
    assert words[2] == "word " * 15 + "word…"
    assert "about 0" in bundle_of(group)["text/markdown"]
    start = time.process_time()
    for _ in range(100):
        item_words(group, 2)
    assert time.process_time() - start < 1


def test_labels_name_the_model_only_where_several_are_asked() -> None:
    group = asked(2)
    words = [item_words(group, index) for index in range(2)]
    group.run.rows[0].stream = None  # it waits for its turn to be asked again
    assert [item_words(group, index) for index in range(2)] == words == ["0", "1"]
    models = asked(2, each=[{"model": "gemini-a"}, {"model": "gemini-b"}])
    assert [item_words(models, index) for index in range(2)] == ["0 · gemini-a", "1 · gemini-b"]


def test_a_row_that_lacks_what_is_asked_and_cannot_be_shown_is_named_by_its_type() -> None:
    with pytest.raises(gemini_nb.GeminiError, match="cannot be taken from <Wordless>"):
        contents_of("Describe {item.town}", Wordless())
    with pytest.raises(gemini_nb.GeminiError, match="<Wordless>"):
        gemini_nb.get_manager().start_stream("Hello", auth="simulator", schema=Wordless())


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


def test_a_run_that_pauses_says_what_for_and_how_long() -> None:
    with rig(lambda _: json_error(429, "Quota exceeded.", headers={"Retry-After": "7200"})) as made:
        group = gemini_nb.map(list("ab"), manager=made.manager, **made.options)
        for stream in group.streams:
            next(event for event in stream if event.kind == "retry_scheduled")
        words = f"waiting for quota of {group.streams[0].model}, retrying in 2 h"
        until(lambda: f"0/2 · 2 {words}" in progress_line(group, None))
        assert live_html(group).count(f"<td>waiting</td><td>{words.removeprefix('waiting ')}") == 2
        group.stop()
        assert progress_line(group, None) == "2/2 · 2 stopped"


def test_a_row_shows_words_without_the_marks_of_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, when it has ended, and in the table that stays."""
    monkeypatch.setattr(pace, "_FIRST", 21)
    gate = threading.Event()
    answer = "# A heading\n\nSome **bold** `code`, [a link](https://a.example/)\n\n- and **bo"
    read = "A heading Some bold code, a link and bo"

    def script(_: Any) -> Any:
        return sse_answer(text(answer), Wait(gate), text("ld**", finish="STOP"))

    with rig(script) as made:
        rows = [str(number) for number in range(21)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=21, **made.options)
        for stream in group.streams:
            next(event for event in stream if event.kind == "text_delta")
        assert live_html(group).count(f"<td>{read}</td>") == 20
        gate.set()
        group.wait(10)
        assert live_html(group).count(f"<td>{read}ld</td>") == 20
        assert bundle_of(group)["text/markdown"].count(f"| {read}ld |") == 21
    assert words_of("x = '*'\n```py\ny = 2 ** 3", grows=True) == "x = '*' y = 2 ** 3"
    assert words_of("", grows=True) == words_of("# **", grows=True) == ""


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        *((same, same) for same in ("1984.", "24. December 1944", "3) Paris", "+ 3", "- 3", "> 5", "2*3*4")),
        *((same, same) for same in ("---", "[1]: http://x.org", "__init__", r"\d+\.\d+", "*", "#", "- Oslo")),
        ("2.\n3.", "2. 3."),
        ("24. **December** 1944", "24. December 1944"),
        ("[a]: b\n[c]: d", "[a]: b\n[c]: d"),
        ("```\n```", "```\n```"),
        ("a\n\n- 3 apples\n- $4\n- pears", "a - 3 apples - $4 pears"),
        ("> 5\n\nas 2*3*4 is *big*", "> 5 as 2*3*4 is big"),
        ("- [x] tea\n- [ ] milk", "[x] tea [ ] milk"),
        ("これは**太字**です", "これは太字です"),
        ("**Paris**\n\n---\n\nFrance", "Paris France"),
    ],
)
def test_an_answer_that_is_data_stays_what_it_is_in_its_row(answer: str, read: str) -> None:
    assert words_of(answer) == read


def test_the_table_shows_numbers_that_markdown_takes_for_lists() -> None:
    group = asked(21, lambda _: sse_answer(text("1984.", finish="STOP")))
    assert table_html(group).count("<td>1984.</td>") == live_html(group).count("<td>1984.</td>") + 1 == 21


@pytest.mark.parametrize("count", [2, 40])
def test_a_run_that_was_cut_short_says_why(count: int) -> None:
    def rows() -> Iterator[str]:
        yield from map(str, range(count))
        raise OSError("the database has gone")

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
        for words in bundle_of(group).values():
            assert "the database has gone" in words


def test_a_run_of_which_no_row_could_be_read_says_why_and_nothing_else() -> None:
    def rows() -> Iterator[str]:
        yield from map(str, 7)  # type: ignore[call-overload]  # which raises

    with rig(echo) as made:
        group = gemini_nb.map(rows(), manager=made.manager, **made.options).wait(PATIENCE)
        words = bundle_of(group)["text/plain"]
        assert "not iterable" in words
        assert "used up" not in words


def test_a_table_says_why_answers_are_not_kept(tmp_path: Path) -> None:
    (keep := tmp_path / "kept.jsonl").write_text('{"a": 1}\n')
    with rig(echo) as made:
        rows = list(map(str, range(40)))
        group = gemini_nb.map(rows, keep=keep, manager=made.manager, **made.options).wait(PATIENCE)
        (said,) = group.run.remarks
        for words in bundle_of(group).values():
            assert said.split(".")[0] in words.replace("\\", "")


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
