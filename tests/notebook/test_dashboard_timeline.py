"""What a dashboard knows of a stream: bars on a time axis and the pace, from events, and how they look."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gemini_nb.api.usage import Usage
from gemini_nb.notebook.dashboard.sparkline import SECONDS, Pace, sparkline
from gemini_nb.notebook.dashboard.trace import Lane, Trace
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.events.log import EventLog
from gemini_nb.streams.events.states import Phase, ToolStatus

T = 1_700_000_000.0


def make(kind: Any, at: float, **fields: Any) -> StreamEvent:
    event: StreamEvent = kind(stream_id="s1", seq=0, time=T + at, **fields)
    return event


def phase(at: float, phase: Phase, turn: int = 1) -> StreamEvent:
    return make(events.PhaseChanged, at, phase=phase, turn=turn)


def call(name: str, index: int, status: ToolStatus, error: str | None = None) -> ToolCall:
    made = ToolCall(id=None, name=name, args={}, status=status, error=error)
    made.index = index
    return made


def bars(lane: Lane) -> list[tuple[str, float, float | None]]:
    return [
        (bar.kind, round(bar.start - T, 3), None if bar.end is None else round(bar.end - T, 3))
        for bar in lane.bars
    ]


def trace_of(*happened: StreamEvent) -> Trace:
    trace = Trace(EventLog())
    trace.apply(happened)
    return trace


def test_a_tool_round_makes_lanes_in_the_order_they_began() -> None:
    asked, started, done = events.ToolCallRequested, events.ToolCallStarted, events.ToolCallFinished
    trace = trace_of(
        make(events.StreamStarted, 0),
        phase(0, Phase.AWAITING_MODEL_CALL),
        make(events.ThoughtDelta, 1, text="hm"),
        make(events.TextDelta, 2, text="I look."),
        make(asked, 3, call=call("weather", 0, ToolStatus.PENDING)),
        make(asked, 3, call=call("book", 1, ToolStatus.PENDING)),
        phase(3, Phase.EXECUTING_TOOLS),
        make(started, 4, call=call("weather", 0, ToolStatus.RUNNING)),
        make(started, 4, call=call("book", 1, ToolStatus.AWAITING_APPROVAL)),
        make(done, 5, call=call("weather", 0, ToolStatus.DONE)),
        make(done, 7, call=call("book", 1, ToolStatus.FAILED, "denied")),
        phase(7, Phase.AWAITING_FINAL_RESPONSE, 2),
        make(events.TextDelta, 8, text="Done."),
        make(events.StreamCompleted, 9, finish_reason="STOP"),
    )
    assert [(lane.label, lane.is_tool) for lane in trace.lanes] == [
        ("model call 1", False),
        ("weather", True),
        ("book", True),
        ("model call 2", False),
    ]
    first, weather, book, second = map(bars, trace.lanes)
    assert first == [("waiting_for_Gemini", 0, 1), ("thinking", 1, 2), ("writing", 2, 3)]
    assert weather == [("pending", 3, 4), ("done", 4, 5)]
    assert book == [("pending", 3, 4), ("awaiting_approval", 4, 7), ("failed", 7, 7)]
    assert trace.lanes[2].bars[-1].note == "denied"
    assert second == [("waiting_for_Gemini", 7, 8), ("writing", 8, 9)]


def test_a_retry_is_a_bar_of_its_length_and_a_stop_cuts_it_short() -> None:
    begin = phase(0, Phase.AWAITING_MODEL_CALL)
    retry = make(events.RetryScheduled, 1, attempt=2, delay=4.0, reason="503 <b>")
    waits = trace_of(begin, retry)
    assert bars(waits.lanes[0]) == [
        ("waiting_for_Gemini", 0, 1),
        ("retry", 1, 5),
        ("waiting_for_Gemini", 5, None),
    ]
    assert waits.last_retry == "503 <b>"
    assert (waits.again_at(T + 2), waits.again_at(T + 5.1)) == (T + 5, None)
    goes_on = trace_of(begin, retry, make(events.TextDelta, 6, text="x"))
    assert goes_on.again_at(T + 6) is None
    assert bars(goes_on.lanes[0])[2:] == [("waiting_for_Gemini", 5, 6), ("writing", 6, None)]
    stopped = trace_of(begin, retry, make(events.StreamStopped, 3))
    assert bars(stopped.lanes[0]) == [("waiting_for_Gemini", 0, 1), ("retry", 1, 3)]


def test_a_trace_reads_each_event_once() -> None:
    log = EventLog()
    trace = Trace(log)
    log.append(phase(0, Phase.AWAITING_MODEL_CALL))
    log.append(make(events.TextDelta, 1, text="12345678"))
    trace.read()
    trace.read()
    assert (trace.pace.characters, len(trace.lanes), trace.at_end) == (8, 1, False)
    log.append(make(events.TextDelta, 2, text="1234"))
    log.append(make(events.StreamStopped, 3))
    trace.read()
    assert (trace.pace.characters, len(trace.lanes), trace.at_end) == (12, 1, True)


def test_the_pace_counts_characters_by_the_second_until_counts_are_there() -> None:
    pace = Pace()
    for second in range(100):
        pace.add(T + second + 0.5, 40)
    unknown = pace.ratio(Usage())
    assert unknown == 0.25
    assert pace.series(T + 99.9, unknown) == [10.0] * SECONDS
    assert pace.now(T + 99.9, unknown) == 10.0
    assert pace.average(T + 100.5, unknown) == 10.0
    known = pace.ratio(Usage(candidates_token_count=2000, thoughts_token_count=9000))
    assert known == 0.5
    later = pace.series(T + 110.0, known)
    assert later[-11:] == [0.0] * 11
    assert pace.now(T + 110.0, known) == 0.0
    assert len(pace._seconds) <= SECONDS + 1


def test_the_pace_bears_a_clock_that_is_set_back() -> None:
    pace = Pace()
    pace.add(T + 10, 4)
    pace.add(T + 5, 4)
    assert sum(pace.series(T + 10, 1.0)) == 8


@pytest.mark.parametrize(
    "series", [[0.0] * 30, [0.5] * 30, [float(number) for number in range(30)], [1e9] * 30]
)
def test_a_sparkline_stays_in_its_box(series: list[float]) -> None:
    drawn = sparkline(series, "fast")
    heights = [int(found) for found in re.findall(r"v-(\d+)h", drawn)]
    assert len(heights) == sum(value > 0 for value in series)
    assert all(0 < height <= 18 for height in heights)
    assert 'aria-label="fast"' in drawn
