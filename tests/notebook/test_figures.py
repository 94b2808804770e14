"""The line of figures beneath an answer."""

from __future__ import annotations

import re
import threading

import gemini_nb
from answers import Recorder, rig
from gemini_nb.notebook.render import figures
from scripted import Wait, json_error, sse_answer, text

LONG = 1.0


def first_text(stream: gemini_nb.Stream) -> float:
    """Seconds to the first text, as a pane and a settled answer say it."""
    said = [fact for facts in (figures.summary, figures.facts) for fact in facts(stream) if "first" in fact]
    assert len(said) == 2
    assert len(set(said)) == 1
    found = re.fullmatch(r"first text after (\d+\.\d) s", said[0])
    assert found is not None
    return float(found[1])


def test_the_first_text_is_counted_from_the_request_not_from_the_queue() -> None:
    gate = threading.Event()
    first = sse_answer(text("a"), Wait(gate), text("b", finish="STOP"))
    with rig([first, sse_answer(text("c", finish="STOP"))], max_concurrent=1) as made:
        running, queued = made.start(), made.start()
        made.server.wait_requests(1)
        threading.Timer(LONG, gate.set).start()
        queued.wait()
        assert running.status == queued.status == "completed"
        assert figures.elapsed(queued) > LONG
        assert first_text(queued) < LONG / 2
        assert first_text(running) < LONG / 2


def test_waiting_for_another_stream_does_not_count_either() -> None:
    gate = threading.Event()
    first = sse_answer(text("a"), Wait(gate), text("b", finish="STOP"))
    with rig([first, sse_answer(text("c", finish="STOP"))]) as made:
        poem = made.start()
        review = made.start(["Review this:", poem])
        made.server.wait_requests(1)
        threading.Timer(LONG, gate.set).start()
        review.wait()
        assert figures.elapsed(review) > LONG
        assert first_text(review) < LONG / 2


def test_waiting_for_a_quota_that_another_stream_used_up_does_not_count() -> None:
    refused = json_error(429, "Please retry in 1.5s")
    with rig([refused, *[sse_answer(text("c", finish="STOP"))] * 2]) as made:
        recorder = Recorder()
        unlucky = made.start(subscriber=recorder)
        recorder.wait("retry_scheduled")
        other = made.start()
        unlucky.wait()
        other.wait()
        assert figures.elapsed(other) > LONG
        assert first_text(other) < LONG / 2
        assert first_text(unlucky) > LONG, "its own request was sent, and refused"


def test_what_the_server_takes_counts() -> None:
    gate = threading.Event()
    with rig([sse_answer(Wait(gate), text("c", finish="STOP"))]) as made:
        stream = made.start()
        threading.Timer(LONG, gate.set).start()
        stream.wait()
        assert first_text(stream) >= LONG / 2
