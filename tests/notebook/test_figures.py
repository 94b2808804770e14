"""The line of figures beneath an answer."""

from __future__ import annotations

import io
import re
import threading
import time

import gemini_nb
from answers import Recorder, rig
from gemini_nb.notebook.dashboard.look import line_html
from gemini_nb.notebook.dashboard.trace import Trace
from gemini_nb.notebook.pane.stepper import head_html
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.chat_settled import question_of
from gemini_nb.notebook.render.settled import to_markdown, to_text
from gemini_nb.notebook.render.stream_table import table
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.redaction import Secret
from gemini_nb.streams.chat.messages import Exchange
from scripted import Wait, json_error, sse_answer, text

LONG = 1.0


def first_text(stream: gemini_nb.Stream) -> float:
    """Seconds to the first text, as the tooltips of a pane and of a settled answer say it."""
    details = figures.details(stream)
    assert f'title="{details}"' in head_html(stream)
    assert f'title="{details}"' in to_markdown(stream)
    found = re.match(r"first text after (\d+\.\d) s", details)
    assert found is not None
    return float(found[1])


def test_the_first_text_is_counted_from_the_request_not_from_the_queue() -> None:
    gate = threading.Event()
    first = sse_answer(text("a"), Wait(gate), text("b", finish="STOP"))
    with rig([first, sse_answer(text("c", finish="STOP"))], max_concurrent=1) as made:
        recorder = Recorder()
        running, queued = made.start(subscriber=recorder), made.start()
        recorder.wait("text_delta")
        threading.Timer(LONG, gate.set).start()
        queued.wait()
        assert running.status == queued.status == "completed"
        for stream in (running, queued):
            assert first_text(stream) < figures.elapsed(stream) - LONG / 2


def test_waiting_for_another_stream_does_not_count_either() -> None:
    gate = threading.Event()
    first = sse_answer(text("a"), Wait(gate), text("b", finish="STOP"))
    with rig([first, sse_answer(text("c", finish="STOP"))]) as made:
        poem = made.start()
        review = made.start(["Review this:", poem])
        made.server.wait_requests(1)
        threading.Timer(LONG, gate.set).start()
        review.wait()
        assert first_text(review) < figures.elapsed(review) - LONG / 2


def test_waiting_for_a_quota_that_another_stream_used_up_does_not_count() -> None:
    refused = json_error(429, "Please retry in 1.5s")
    with rig([refused, *[sse_answer(text("c", finish="STOP"))] * 2]) as made:
        recorder = Recorder()
        unlucky = made.start(subscriber=recorder)
        recorder.wait("retry_scheduled")
        other = made.start()
        unlucky.wait()
        other.wait()
        assert first_text(other) < figures.elapsed(other) - LONG / 2
        assert first_text(unlucky) > LONG, "its own request was sent, and refused"


def test_what_the_server_takes_counts() -> None:
    gate = threading.Event()
    with rig([sse_answer(Wait(gate), text("c", finish="STOP"))]) as made:
        stream = made.start()
        threading.Timer(LONG, gate.set).start()
        stream.wait()
        assert first_text(stream) >= LONG / 2


def test_pane_settled_answer_dashboard_and_terminal_say_the_same() -> None:
    counts = {"promptTokenCount": 1272, "candidatesTokenCount": 213, "thoughtsTokenCount": 62}
    end = {**text("Yes.", finish="STOP"), "usageMetadata": {**counts, "totalTokenCount": 1547}}
    with rig([sse_answer(end)]) as made:
        stream = made.start().wait()
        out = io.StringIO()
        print_stream(stream, out)
    took, tokens, price = figures.short(stream)
    assert re.fullmatch(r"\d+\.\d s", took)
    assert tokens == "1,272 in, 213 out, 62 thinking"
    assert re.fullmatch(r"\$0\.\d+", price)
    row = line_html(stream, Trace(stream.log), "Hi", time.time())
    words = f"{took} · {tokens} · {price}"
    for shown in (head_html(stream), to_markdown(stream), to_text(stream), row, out.getvalue()):
        assert words in re.sub(r"<[^>]+>", "", shown).replace("&#36;", "$")


def test_the_tokens_of_an_answer_are_estimated_until_they_are_counted() -> None:
    gate = threading.Event()
    with rig([sse_answer(text("x" * 400), Wait(gate), text("y", finish="STOP"))]) as made:
        stream = made.start()
        next(event for event in stream if event.kind == "text_delta")
        assert figures.short(stream)[1:] == ["≈100 out"]
        gate.set()
        assert figures.short(stream.wait())[1:] == []


def test_the_words_of_a_question_show_no_key_wherever_they_stand() -> None:
    key = Secret("AIzaSy-a-key-that-a-prompt-holds")
    with rig([sse_answer(text("a", finish="STOP"))]) as made:
        stream = made.start(f"   Where is {key.reveal()} from?").wait()
        assert "Where is [secret] from?" in table(made.manager)
    assert figures.first_words(stream) == "Where is [secret] from?"
    typed = Exchange("s1", typed=f"Is {key.reveal()} mine?")
    assert question_of(typed, None) == "Is [secret] mine?"
