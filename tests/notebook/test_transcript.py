from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import rig
from gemini_nb.errors import GeminiError
from gemini_nb.notebook.render.blocks.blocks import CallBlock, NoticeBlock, PartBlock, StruckBlock, TextBlock
from gemini_nb.notebook.render.settled import to_text
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Phase, ToolStatus
from scripted import sse_answer, text


def make(kind: Any, **fields: Any) -> Any:
    return kind(stream_id="s1", seq=0, time=0.0, **fields)


def call(status: ToolStatus, index: int = 0) -> ToolCall:
    return ToolCall(id=None, name="weather", args={}, status=status, index=index)


def texts(transcript: Transcript) -> list[str]:
    return [block.text for block in transcript.blocks if isinstance(block, TextBlock)]


def test_blocks_stand_in_the_order_of_reading() -> None:
    transcript = Transcript()
    transcript.apply_all(
        [
            make(events.TextDelta, text="before "),
            make(events.TextDelta, text="the call"),
            make(events.ToolCallRequested, call=call(ToolStatus.PENDING)),
            make(events.ThoughtDelta, text="hm"),
            make(events.TextDelta, text="after"),
            make(events.PartReceived, part={"executableCode": {}}),
            make(events.RetryScheduled, attempt=2, delay=1.0, reason="503."),
            make(events.ToolCallFinished, call=call(ToolStatus.DONE)),
        ]
    )
    kinds = [type(block) for block in transcript.blocks]
    assert kinds == [TextBlock, CallBlock, TextBlock, PartBlock, NoticeBlock]
    assert texts(transcript) == ["before the call", "after"]
    assert isinstance(transcript.blocks[1], CallBlock)
    assert transcript.blocks[1].call.status is ToolStatus.DONE
    assert transcript.thoughts == "hm"
    assert transcript.changed == {0, 1, 2, 3, 4}


def test_only_what_changed_is_marked() -> None:
    transcript = Transcript()
    transcript.apply_all(
        [
            make(events.TextDelta, text="a"),
            make(events.ToolCallRequested, call=call(ToolStatus.PENDING)),
        ]
    )
    transcript.changed.clear()
    transcript.apply_all([make(events.ToolCallStarted, call=call(ToolStatus.RUNNING))])
    assert transcript.changed == {1}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.integers(0, 40), st.just(None)), max_size=30))
def test_the_text_of_the_blocks_is_the_text_of_the_stream(steps: list[str | int | None]) -> None:
    """Deltas, rewinds and calls in any order; None stands for a call."""
    transcript, text, calls = Transcript(), "", 0
    for step in steps:
        if step is None:
            transcript.apply(make(events.ToolCallRequested, call=call(ToolStatus.PENDING, calls)))
            calls += 1
        elif isinstance(step, int):
            text = text[: min(step, len(text))]
            transcript.apply(make(events.TextRewound, length=len(text)))
        else:
            text += step
            transcript.apply(make(events.TextDelta, text=step))
    transcript.apply_all([])
    assert "".join(texts(transcript)) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=8), st.integers(0, 40), st.just(None)), max_size=30))
def test_nothing_is_lost_where_a_retry_brings_nothing(steps: list[str | int | None]) -> None:
    """Deltas, planned retries (a number: what they keep) and the new output of the last one (None)."""
    transcript, text = Transcript(), ""
    keeps: int | None = None
    for step in steps:
        if step is None and keeps is not None:
            text, keeps = text[:keeps], None
            transcript.apply(make(events.TextRewound, length=len(text)))
        elif isinstance(step, int):
            keeps = min(step, len(text)) if keeps is None else keeps
            transcript.apply(make(events.RetryScheduled, attempt=2, delay=0.0, reason="cut", keeps=keeps))
        elif isinstance(step, str) and keeps is None:
            text += step
            transcript.apply(make(events.TextDelta, text=step))
    transcript.apply_all([make(events.StreamFailed, error=GeminiError("no more"))])
    assert "".join(texts(transcript)) == text


def test_parts_of_a_broken_call_go_and_those_before_it_stay() -> None:
    transcript = Transcript()
    code = {"executableCode": {"code": "1"}}
    transcript.apply_all(
        [
            make(events.PartReceived, part=code),
            make(events.TextDelta, text="one"),
            make(events.PartReceived, part=code),
            make(events.RetryScheduled, attempt=2, delay=0.0, reason="cut", keeps=0),
            make(events.TextRewound, length=0, parts=1),
            make(events.PartReceived, part=code),
        ]
    )
    gone = [block.gone for block in transcript.blocks if isinstance(block, PartBlock)]
    assert gone == [False, True, False]


def rewound(*steps: Any) -> Transcript:
    transcript = Transcript()
    transcript.apply_all([make(events.TextDelta, text="Kept. Lost words.")])
    transcript.apply_all([make(events.RetryScheduled, attempt=2, delay=0.0, reason="It broke.", keeps=6)])
    transcript.apply_all([make(events.TextRewound, length=6), *steps])
    return transcript


def test_rewound_text_is_struck_before_the_notice_until_as_much_has_replaced_it() -> None:
    transcript = rewound()
    kinds = [type(block) for block in transcript.blocks]
    assert kinds == [TextBlock, StruckBlock, NoticeBlock]
    assert transcript.blocks[1] == StruckBlock(6, "Lost words.")
    assert transcript.blocks[2] == NoticeBlock(
        "It broke. The retry replaces 11 of the 17 characters received so far."
    )
    transcript.changed.clear()
    transcript.apply_all([make(events.TextDelta, text="New")])
    assert transcript.blocks[1] == StruckBlock(6, "Lost words.")
    transcript.apply_all([make(events.TextDelta, text=" words for it")])
    assert transcript.blocks[1] == StruckBlock(6, "")
    assert transcript.changed == {1, 3}
    assert texts(transcript) == ["Kept. ", "New words for it"]


def test_a_shorter_answer_replaces_what_was_struck_when_it_is_complete() -> None:
    assert rewound(make(events.TextDelta, text="New")).blocks[1] == StruckBlock(6, "Lost words.")
    ended = rewound(make(events.TextDelta, text="New"), make(events.StreamCompleted, finish_reason="STOP"))
    assert ended.blocks[1] == StruckBlock(6, "")


def test_what_nothing_replaced_stays_to_be_read() -> None:
    assert rewound(make(events.StreamStopped)).blocks[1] == StruckBlock(6, "Lost words.")


def test_a_second_break_strikes_the_second_attempt() -> None:
    again = make(events.RetryScheduled, attempt=3, delay=2.0, reason="It broke again.", keeps=6)
    steps = [make(events.TextDelta, text="Newer"), again, make(events.TextRewound, length=6)]
    transcript = rewound(*steps)
    struck = [block for block in transcript.blocks if isinstance(block, StruckBlock) and block.text]
    assert struck == [StruckBlock(6, "Newer")]
    assert transcript.blocks[-1] == NoticeBlock(
        "It broke again. The retry replaces 5 of the 11 characters received so far."
    )


def test_parts_and_thoughts_of_the_broken_call_go_and_those_before_stay() -> None:
    transcript = Transcript()
    transcript.apply_all(
        [
            make(events.ThoughtDelta, text="first"),
            make(events.TextDelta, text="One."),
            make(events.PartReceived, part={"executableCode": {}}),
            make(events.PhaseChanged, phase=Phase.AWAITING_FINAL_RESPONSE, turn=2),
            make(events.PartReceived, part={"codeExecutionResult": {}}),
            make(events.ThoughtDelta, text="second"),
            make(events.TextDelta, text="Two."),
            make(events.TextRewound, length=4, thoughts_length=5, parts=1),
        ]
    )
    assert [block.gone for block in transcript.blocks if isinstance(block, PartBlock)] == [False, True]
    assert transcript.thoughts == "first"


def test_a_resumed_call_keeps_its_thoughts_and_what_came_before_the_checkpoint() -> None:
    transcript = Transcript()
    transcript.apply_all(
        [
            make(events.ThoughtDelta, text="thought"),
            make(events.PartReceived, part={"executableCode": {}}),
            make(events.TextDelta, text="Checked. Not."),
            make(events.TextRewound, length=8, thoughts_length=7, parts=1),
        ]
    )
    assert transcript.thoughts == "thought"
    assert [block.gone for block in transcript.blocks if isinstance(block, PartBlock)] == [False]
    assert texts(transcript) == ["Checked."]


def test_it_is_known_whether_the_model_thinks_just_now() -> None:
    transcript = Transcript()
    transcript.apply_all([make(events.ThoughtDelta, text="hm")])
    assert transcript.thinking
    transcript.apply_all([make(events.TextDelta, text="a")])
    assert not transcript.thinking


def test_forty_thousand_thoughts_cost_as_much_each_as_five_thousand() -> None:
    def seconds(count: int) -> float:
        told = [events.ThoughtDelta(stream_id="s", seq=n, time=0.0, text="x" * 100) for n in range(count)]
        times = []
        for _ in range(3):
            transcript = Transcript()
            began = time.thread_time()
            for event in told:
                transcript.apply(event)
            assert len(transcript.thoughts) == 100 * count
            times.append(time.thread_time() - began)
        return min(times)

    assert seconds(40_000) < 8 * 4 * seconds(5_000)


@pytest.mark.slow
def test_forty_thousand_thoughts_of_a_stream_cost_linear_time() -> None:
    def seconds(count: int) -> float:
        chunks = [text(f"thought {number} ", thought=True) for number in range(count)]
        with rig([sse_answer(*chunks, text("Done.", finish="STOP"))]) as made:
            began = time.process_time()
            stream = made.start().wait(60)
            assert len(stream.thoughts.split()) == 2 * count
            assert to_text(stream).startswith("Done.")
            return time.process_time() - began

    few = seconds(5_000)
    assert seconds(40_000) < 8 * 4 * few
