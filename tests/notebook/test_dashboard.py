"""The dashboard without a page: what its widgets hold and what it sends, on a manager of its own."""

from __future__ import annotations

import inspect
import itertools
import re
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import comm
import ipywidgets as widgets
import pytest
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _instances
from test_pane import said, shown

import gemini_nb
from answers import until
from gemini_nb.notebook.dashboard import stream_row as dashboard_rows
from gemini_nb.notebook.dashboard.dashboard import Dashboard, dashboard
from gemini_nb.notebook.dashboard.look import line_html, totals_html
from gemini_nb.notebook.pane import stepper
from gemini_nb.notebook.pane.painter import painter_of
from gemini_nb.notebook.render.figures import first_words
from gemini_nb.notebook.render.stream_table import rows_table, table
from gemini_nb.notebook.static import style
from gemini_nb.simulator import Simulator
from gemini_nb.streams.counts import Statistics
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import ToolStatus
from gemini_nb.streams.stream import Stream
from kernels import Kernel

NASTY = '<img src=x onerror="boom()">\u202e"\'</div><script>boom()</script>'


class Wire:
    """Every comm message that widgets send, with its size."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int]] = []

    @property
    def size(self) -> int:
        return sum(size for _, size in self.messages)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()

    class RecordingComm(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
            wire.messages.append((msg_type, len(repr(data))))

    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    return wire


@pytest.fixture
def manager() -> Iterator[gemini_nb.StreamManager]:
    manager = gemini_nb.StreamManager(history=2000)
    yield manager
    manager.shutdown()
    widgets.Widget.close_all()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Answers "short" at once; everything else has a first word and then nothing for a minute."""

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        text = body["contents"][0]["parts"][0]["text"]
        yield said("words")
        if text != "short":
            yield 60.0
        yield said(".", "STOP")

    with Simulator(scenario=scenario) as simulator:
        yield simulator


def rows_of(board: Dashboard) -> list[Any]:
    """The rows in the order in which the page shows them."""
    if not board.children:
        return []
    places = sorted(board.children[2].children, key=lambda place: int(place.layout.order or 0))
    return [row for place in places for row in place.children]


def part_of(row: Any, kind: type) -> Any:
    return next(child for child in row.children if type(child) is kind)


def on_page(board: Dashboard) -> Dashboard:
    """Show it, as a cell whose value it is does."""
    board._repr_mimebundle_()
    return board


def after_paints(manager: gemini_nb.StreamManager, seconds: float) -> None:
    """Let the dashboard refresh for a while; nothing is to happen, so there is no event to wait for."""
    threading.Event().wait(seconds)
    for thread in (manager.runtime.loop, painter_of(manager.runtime)):
        passed = threading.Event()
        thread.call(passed.set)
        assert passed.wait(30)


def test_counts_say_what_there_is_and_add_up() -> None:
    totals = Statistics(total=51, active=41, waiting=29, error=3, completed=7, cost=Decimal("1.2"), tokens=5)
    said = re.sub(r"<[^>]+>", "", totals_html(totals))
    assert said == "Gemini streams12 running · 29 waiting · 3 failed · 7 completed · $1.20"
    assert re.sub(r"<[^>]+>", "", totals_html(Statistics())) == "Gemini streams"


def test_a_row_keeps_its_place_on_the_page_when_it_moves(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    first, second, third = (manager.start_stream("long", **options) for _ in range(3))
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 3)
    places, rows = board.children[2].children, rows_of(board)
    first.stop()
    until(lambda: rows_of(board) == [rows[1], rows[2], rows[0]])
    third.stop()
    until(lambda: rows_of(board) == [rows[1], rows[2], rows[0]])
    assert board.children[2].children == places, "the page makes what is behind another child anew"
    assert [place.children for place in places] == [(row,) for row in rows]
    with manager._lock:
        manager._streams.pop(first.stream_id)
    manager.start_stream("long", **options)
    until(lambda: len(rows_of(board)) == 3 and rows[0] not in rows_of(board))
    assert board.children[2].children == places
    second.stop()


def test_what_ended_a_moment_later_stands_before_what_had_its_place_first(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    first = manager.start_stream("short", auth="simulator", base_url=simulator.base_url).wait(30)
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 1)
    assert first.ended_at is not None
    for number, later in enumerate(add_finished(manager, first, 5), 1):
        later.record.ended_at = first.ended_at + 0.02 * number
    board._show(shown=True)
    until(lambda: len(rows_of(board)) == 6)
    assert first.stream_id in shown(rows_of(board)[-1])


def test_the_totals_count_streams_that_are_listed_no_more(simulator: Simulator) -> None:
    manager = gemini_nb.StreamManager(history=30)
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    try:
        running = manager.start_stream("long", **options)
        board = on_page(Dashboard(manager))
        for stream in [manager.start_stream("short", **options) for _ in range(50)]:
            stream.wait(20)
        until(lambda: 'data-total="completed" data-count="50"' in shown(board))
        until(lambda: "… and 31 more: 31 finished" in shown(board))
        found = re.findall(r'data-total="(\w+)" data-count="(\d+)"', shown(board))
        counts = {kind: int(number) for kind, number in found}
        assert sum(counts.values()) == 51
        assert set(counts) <= {"running", "waiting", "completed"}
        printed = table(manager)
        assert "… 20 earlier streams" in printed
        tokens = manager.statistics().tokens
        assert printed.endswith(f"1 running · 50 completed · {tokens:,} tokens")
        assert f'title="51 streams, {tokens:,} tokens"' in shown(board)
        running.stop()
    finally:
        manager.shutdown()
        widgets.Widget.close_all()


def test_the_table_of_a_manager_without_history_has_totals(simulator: Simulator) -> None:
    manager = gemini_nb.StreamManager(history=0)
    try:
        assert table(manager) == "No stream was started yet."
        manager.start_stream("short", auth="simulator", base_url=simulator.base_url).wait(20)
        until(lambda: "1 completed" in table(manager))
        assert "… 1 earlier stream\n" in table(manager)
    finally:
        manager.shutdown()


def add_finished(manager: gemini_nb.StreamManager, like: Stream, number: int) -> list[Stream]:
    """List finished streams that were never asked for, with the request of another."""
    added = []
    for index in range(number):
        record = StreamRecord(f"f{index}")
        record.start()
        for _ in range(20):
            record.add_text("some words ")
        record.complete()
        stream = Stream(record, like.request, manager.runtime, lambda: None)
        manager._streams[stream.stream_id] = stream
        added.append(stream)
    return added


def test_active_streams_come_first_and_stop_all_stops_them(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    board = on_page(Dashboard(manager))
    until(lambda: "No stream was started yet" in shown(board))
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    short = manager.start_stream("short", **options).wait()
    streams = [manager.start_stream(f"long <b>{number}</b>", **options) for number in range(3)]
    until(lambda: shown(board).count('data-status="active"') >= 3 and len(rows_of(board)) == 4)
    for row, stream in zip(rows_of(board), [*streams, short], strict=True):
        assert f'data-stream-id="{stream.stream_id}"' in shown(row)
    assert "long &lt;b&gt;0&lt;/b&gt;" in shown(board)
    assert re.search(r'data-total="(running|waiting)" data-count="3"', shown(board))
    stop_all = board.children[1].children[1]
    assert (stop_all.description, stop_all.disabled) == ("Stop all", False)
    stop_all.click()
    until(lambda: 'data-status="active"' not in shown(board))
    assert [stream.status for stream in streams] == ["stopped"] * 3
    until(lambda: 'data-total="stopped" data-count="3"' in shown(board) and bool(stop_all.disabled))
    latest = max(streams, key=lambda stream: stream.record.ended_at or 0.0)
    assert f'data-stream-id="{latest.stream_id}"' in shown(rows_of(board)[0]), "the last that ended is first"


def test_a_group_is_one_row_that_unfolds(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url, "manager": manager}
    alone = manager.start_stream("short", auth="simulator", base_url=simulator.base_url).wait()
    rows = ["short", "a <b>long</b> one", *(f"row {number}" for number in range(300))]
    group = gemini_nb.map(rows, concurrency=3, **options)
    group.run.name = "verdicts"
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 2 and "1/302" in shown(board) and "3 running" in shown(board))
    row = rows_of(board)[0]
    assert alone.stream_id in shown(rows_of(board)[1])
    line = shown(row)
    assert f'data-stream-id="{group[0].stream_id}"' in line
    assert 'data-status="active"' in line
    assert "<b>verdicts</b>" in line
    assert "row 7" not in shown(board)
    assert "more:" not in shown(board), "its streams are counted with it"
    fold = part_of(row, widgets.ToggleButton)
    assert fold.tooltip == "Rows of verdicts"
    fold.value = True
    until(lambda: "a &lt;b&gt;long" in shown(row))
    assert shown(row).count("<tr data-stream-id") == 20
    until(lambda: bool(fold.tooltip == "Rows of verdicts, shown below"))
    fold.value = False
    until(lambda: "<tr" not in shown(row))
    stop = part_of(row, widgets.Button)
    assert stop.tooltip == "Stop verdicts"
    stop.click()
    until(lambda: group.is_over and 'data-status="stopped"' in shown(rows_of(board)[0]) and stop.disabled)
    assert group.counts.stopped == 301
    assert len(rows_of(board)) == 2


def test_stop_all_starts_no_further_row_of_a_group(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url, "manager": manager}
    groups = [gemini_nb.map([f"row {number}" for number in range(500)], **options) for _ in "ab"]
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 2)
    board.children[1].children[1].click()
    until(lambda: all(group.is_over for group in groups))
    assert [group.counts.stopped for group in groups] == [500, 500]
    again = gemini_nb.map([f"row {number}" for number in range(500)], **options)
    manager.stop_all()
    assert again.wait(30).counts.stopped == 500


def test_models_side_by_side_are_a_row_each(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url, "manager": manager}
    group = gemini_nb.map(["one", "one"], each=[{"model": "gemini-a"}, {"model": "gemini-b"}], **options)
    group.items = None
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 2)
    assert "gemini-b" in shown(rows_of(board)[1])


def test_a_row_stops_its_own_stream(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    first, second = (manager.start_stream(word, **options) for word in ("one", "two"))
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 2)
    button = part_of(rows_of(board)[1], widgets.Button)
    assert (button.description, button.tooltip) == ("Stop", f"Stop {second.stream_id}")
    button.click()
    second.wait(30)
    assert (first.status, second.status) == ("active", "stopped")
    until(lambda: bool(button.disabled))


def test_without_a_page_it_draws_nothing(
    manager: gemini_nb.StreamManager, simulator: Simulator, wire: Wire
) -> None:
    never, closed, left = Dashboard(manager), on_page(Dashboard(manager)), on_page(Dashboard(manager))
    left._view_count = 1
    left._view_count = 0  # the only view's cell ran again
    closed.close()
    after_paints(manager, 0.3)
    wire.messages.clear()
    manager.start_stream("long", auth="simulator", base_url=simulator.base_url)
    after_paints(manager, 0.6)
    assert wire.messages == []
    assert [len(rows_of(board)) for board in (never, left)] == [0, 0]
    left._view_count = 1
    until(lambda: len(rows_of(left)) == 1)


def test_a_closed_dashboard_is_made_anew(manager: gemini_nb.StreamManager) -> None:
    widgets.Widget.close_all()
    board = on_page(dashboard(manager))
    assert dashboard(manager) is board
    until(lambda: "No stream" in shown(board))
    board.close()
    until(lambda: not _instances)
    hooks = len(manager.on_start)
    assert dashboard(manager) is not board
    assert len(manager.on_start) == hooks + 1 == 1


def test_a_timeline_survives_refreshes_and_is_taken_away_when_folded(
    manager: gemini_nb.StreamManager,
) -> None:
    go_on = threading.Event()

    def look_up(city: str) -> str:
        """Look something up."""
        go_on.wait(30)
        return "found"

    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        if len(body["contents"]) == 1:
            part = {"functionCall": {"name": "look_up", "args": {"city": "Rome"}}}
            yield {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}
        else:
            yield said("done")
            yield 60.0

    with Simulator(scenario=scenario) as simulator:
        stream = manager.start_stream("x", auth="simulator", base_url=simulator.base_url, tools=[look_up])
        board = on_page(Dashboard(manager))
        until(lambda: 'data-tool-status="running"' in shown(board))
        (row,) = rows_of(board)
        assert "gemini-nb-timeline" not in shown(row)
        fold = part_of(row, widgets.ToggleButton)
        assert fold.tooltip == f"Timeline of {stream.stream_id}"
        fold.value = True
        until(lambda: "gemini-nb-timeline" in shown(row))
        until(lambda: bool(fold.tooltip.endswith("shown below")))
        unfolded = row.children[-1]
        assert 'data-kind="running"' in unfolded.value
        go_on.set()
        until(lambda: "model call 2" in unfolded.value and 'data-tool-status="done"' in shown(board))
        assert rows_of(board) == [row]
        assert row.children[-1] is unfolded
        assert "look_up</bdi>" in unfolded.value
        fold.value = False
        until(lambda: "gemini-nb-timeline" not in shown(row))
        until(lambda: unfolded.comm is None)
        assert len(row.children) == 3
        stream.stop()


def test_hostile_names_are_text(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    like = manager.start_stream(NASTY, auth="simulator", base_url=simulator.base_url)
    like.stop()
    record = StreamRecord(NASTY)
    record.start()
    for fails in (False, True):
        record.add_call(call := ToolCall(id=None, name=NASTY, args={}))
        record.start_call(call)
        if fails:
            record.finish_call(call, ToolStatus.FAILED, error=NASTY)
    record.retry(2, 60.0, NASTY)
    record.wait_for(NASTY, time.time() + 60)
    stream = Stream(record, like.request, manager.runtime, lambda: None)
    manager._streams[NASTY] = stream
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 2)
    for row in rows_of(board):
        part_of(row, widgets.ToggleButton).value = True
    until(lambda: sum("gemini-nb-legend" in shown(row) for row in rows_of(board)) == 2)
    everything = "".join(shown(row) for row in rows_of(board))
    assert "onerror=" in everything
    for hostile in ("<img", "<script", "\u202e", 'onerror="'):
        assert hostile not in everything
    assert all(
        "\u202e" not in child.tooltip for row in rows_of(board) for child in row.children if child.tooltip
    )
    assert "data-waiting" in everything
    assert "waiting for &lt;img" in everything
    record.fail(gemini_nb.GeminiError(NASTY))
    until(lambda: 'data-status="error"' in shown(board))
    assert "<img" not in shown(rows_of(board)[0])


def test_a_wait_says_for_what_and_until_when(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    stream = manager.start_stream("long", auth="simulator", base_url=simulator.base_url)
    next(event for event in stream if event.kind == "text_delta")  # it has had its turn
    reason = "quota of gemini-3.8-flash"
    stream.record.wait_for(reason, time.time() + 50)
    board = on_page(Dashboard(manager))
    until(lambda: f"waiting for {reason}, retrying in 4" in shown(board))
    assert 'data-total="waiting" data-count="1"' in shown(board)
    stream.record.go_on()
    until(lambda: "waiting for" not in shown(board) and 'data-total="waiting"' not in shown(board))


@pytest.mark.slow
def test_a_thousand_finished_streams_cost_twenty_rows(
    manager: gemini_nb.StreamManager, simulator: Simulator, wire: Wire
) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    like = manager.start_stream("long", **options)
    add_finished(manager, like, 1000)
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 20 and "and 981 more: 981 finished" in shown(board))
    assert 'data-total="completed" data-count="1,000"' in shown(board).replace("1000", "1,000")
    assert len(wire.messages) < 250
    assert wire.size < 150_000
    start = time.monotonic()
    wire.messages.clear()
    after_paints(manager, 1.2)
    sent, seconds = len(wire.messages), time.monotonic() - start
    assert sent <= 5 * seconds, "one row moves, the others are not sent again"
    like.stop()
    until(lambda: 'data-status="active"' not in shown(board))
    after_paints(manager, 0.3)
    wire.messages.clear()
    after_paints(manager, 0.6)
    assert wire.messages == [], "nothing moves any more"


def test_finished_rows_are_not_even_looked_at_again(
    manager: gemini_nb.StreamManager, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def counted(stream: Stream, *rest: Any) -> str:
        drawn.append(stream.stream_id)
        return line_html(stream, *rest)

    monkeypatch.setattr(dashboard_rows, "line_html", counted)
    like = manager.start_stream("long", auth="simulator", base_url=simulator.base_url)
    add_finished(manager, like, 15)
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 16)
    until(lambda: drawn.count(like.stream_id) >= 3)
    assert all(drawn.count(f"f{index}") == 1 for index in range(15))


@pytest.mark.slow
def test_ten_streams_that_write_all_the_time_send_figures_twice_a_second(
    manager: gemini_nb.StreamManager, wire: Wire
) -> None:
    def scenario(body: dict[str, Any], model: str) -> Iterator[Any]:
        for _ in range(3000):
            yield said("word ")
            yield 0.03

    with Simulator(scenario=scenario) as simulator:
        for _ in range(10):
            manager.start_stream("x", auth="simulator", base_url=simulator.base_url)
        board = on_page(Dashboard(manager))
        until(lambda: shown(board).count(" out</span>") == 10)
        before, start = len(wire.messages), time.monotonic()
        after_paints(manager, 2.0)
        until(lambda: len(wire.messages) - before > 20)
        sent, seconds = len(wire.messages) - before, time.monotonic() - start
        assert sent < 32 * seconds, "ten rows twice a second, and the totals at most four times"
        manager.stop_all()


@pytest.mark.slow
def test_streams_that_end_by_the_hundred_do_not_flood_the_page(
    manager: gemini_nb.StreamManager, simulator: Simulator, wire: Wire
) -> None:
    like = manager.start_stream("short", auth="simulator", base_url=simulator.base_url).wait()
    board = on_page(Dashboard(manager))
    until(lambda: len(rows_of(board)) == 1)
    before = len(wire.messages)
    start = time.monotonic()
    for _ in range(10):
        add_finished(manager, like, 100)
        board._show(shown=True)
        after_paints(manager, 0.1)
    seconds = time.monotonic() - start
    assert len(wire.messages) - before < 260 + 110 * seconds
    last = {stream.stream_id for stream in add_finished(manager, like, 100)[-20:]}
    board._show(shown=True)

    def rows_are_the_last() -> bool:
        return all(any(f'data-stream-id="{name}"' in shown(row) for row in rows_of(board)) for name in last)

    until(rows_are_the_last)
    assert len(rows_of(board)) == 20


def test_it_refreshes_four_times_a_second_at_most(
    manager: gemini_nb.StreamManager, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = on_page(Dashboard(manager))
    painted: list[float] = []
    paint = board.paint

    def counted() -> bool:
        painted.append(time.monotonic())
        return paint()

    monkeypatch.setattr(board, "paint", counted)
    manager.start_stream("long", auth="simulator", base_url=simulator.base_url)
    for _ in range(30):
        manager.start_stream("short", auth="simulator", base_url=simulator.base_url)
        threading.Event().wait(0.03)
    until(lambda: len(painted) >= 4)
    gaps = [later - earlier for earlier, later in itertools.pairwise(painted)]
    assert min(gaps) > 0.24


def test_the_table_lists_and_counts(manager: gemini_nb.StreamManager, simulator: Simulator) -> None:
    assert table(manager) == "No stream was started yet."
    like = manager.start_stream("short", auth="simulator", base_url=simulator.base_url).wait()
    add_finished(manager, like, 30)
    lines = table(manager).splitlines()
    assert len(lines) == 1 + 31 + 1
    assert lines[0].split() == ["stream", "status", "phase", "model", "tokens", "tools", "time", "prompt"]
    assert lines[-1].startswith("31 completed · ")
    assert "(simulated)" in lines[1]
    short = repr(Dashboard(manager)).splitlines()
    assert len(short) == 1 + 1 + 20 + 1
    assert "11 earlier streams" in short[1]


def test_the_table_has_one_line_for_a_group_in_the_order_of_beginning(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    first = manager.start_stream("short", **options).wait(20)
    ended = gemini_nb.map(["short"] * 30, manager=manager, **options).wait(20)
    last = manager.start_stream("short", **options).wait(20)
    lines = table(manager).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [first.stream_id, "30", last.stream_id]
    assert lines[2].startswith("30 rows")
    assert lines[2].endswith("30/30")
    assert lines[4:] == [lines[-1]]
    assert lines[-1].startswith("32 completed · ")
    rows = rows_table(ended, limit=10).splitlines()
    assert (len(rows), rows[-1]) == (12, "… and 20 more; to_frame() has them all.")


@pytest.mark.slow
def test_a_headless_run_gets_a_table_once(kernel: Kernel) -> None:
    kernel.run("%load_ext gemini_nb\nimport os; os.environ['GEMINI_NB_AUTH'] = 'simulator'")
    kernel.run("import gemini_nb; s = gemini_nb.get_manager().start_stream('Describe a lighthouse.').wait()")
    for code in ("gemini_nb.dashboard()", "%gemini_dashboard"):
        result = kernel.start(code, allow_stdin=False)
        kernel.finish(result)
        text = result.stdout or result.texts()[0]
        assert "1 completed" in text
        assert "Describe a lighthouse." in text
        assert all("application/vnd.jupyter.widget-view+json" not in bundle for bundle in result.outputs)
    live = kernel.run("gemini_nb.dashboard()")
    assert "application/vnd.jupyter.widget-view+json" in live.outputs[0]


def test_the_first_words_of_whatever_was_asked(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    options: dict[str, Any] = {"auth": "simulator", "base_url": simulator.base_url}
    long = manager.start_stream("many  words \n" * 100_000, **options)
    assert first_words(long, 20) == "many words many wor…"
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert first_words(manager.start_stream([image, "and text"], **options)) == "and text"
    assert first_words(manager.start_stream([image], **options)) == ""
    manager.stop_all()


def test_the_dashboards_style_reaches_into_no_pane() -> None:
    """Both stand on one page; a rule for a class that a pane has, too, would change its header."""
    panes = set(re.findall(r'class="(gemini-nb-head[\w-]*)"', inspect.getsource(stepper)))
    assert panes
    assert not panes & set(re.findall(r"\.(gemini-nb-[\w-]+)", style("dashboard")))
