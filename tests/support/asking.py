"""Streams to a simulator with faults, each held to what is true of all of them.

A subscriber can rebuild the text from the events, exactly one event ends the stream, and what failed is a
GeminiError with a hint and without the transport's frames.
"""

from __future__ import annotations

from typing import Any

from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import GeminiError
from gemini_nb.simulator import Simulator
from gemini_nb.streams.events.events import StreamEvent
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

__all__ = ["QUESTION", "QUICK", "Asker", "Reader", "check", "count"]

QUICK = RetryPolicy(initial_delay=0.002, max_delay=0.01)
QUESTION = "Why is the sky blue?"
ENDS = {"stream_completed", "stream_failed", "stream_stopped"}


class Reader:
    """A subscriber who rebuilds the text from the events."""

    def __init__(self) -> None:
        self.text = ""
        self.events: list[StreamEvent] = []

    def __call__(self, event: StreamEvent) -> None:
        self.events.append(event)
        if event.kind == "text_delta":
            self.text += event.text
        elif event.kind == "text_rewound":
            self.text = self.text[: event.length]


class Asker:
    """Asks through a manager; every stream is checked when it has ended."""

    def __init__(self, simulator: Simulator, manager: StreamManager) -> None:
        self.simulator = simulator
        self.manager = manager
        self._wholes: dict[str, str] = {}

    def start(self, prompt: str = QUESTION, subscriber: Any = None, **options: Any) -> Stream:
        options = {"base_url": self.simulator.base_url, "credentials": {"api_key": "any"}, **options}
        options = {"auth": "gemini", "model": "gemini-3.8-flash", "retry": QUICK, **options}
        return self.manager.start_stream(prompt, subscriber, **options)

    def ask(self, prompt: str = QUESTION, **options: Any) -> Stream:
        reader = Reader()
        stream = self.start(prompt, reader, **options).wait(20)
        check(stream, reader)
        return stream

    def whole(self, prompt: str = QUESTION, **options: Any) -> str:
        """The answer where nothing goes wrong."""
        if prompt not in self._wholes:
            self.simulator.faults = None
            stream = self.ask(prompt, **options)
            assert stream.status == "completed"
            self._wholes[prompt] = stream.text
        return self._wholes[prompt]


def check(stream: Stream, reader: Reader) -> None:
    """What is true of every stream that ended."""
    assert reader.text == stream.text
    assert reader.events == list(stream.events)
    assert [event.kind in ENDS for event in reader.events].count(True) == 1
    assert reader.events[-1].kind in ENDS
    assert (stream.status == "error") is (stream.error is not None)
    if stream.error is not None:
        assert isinstance(stream.error, GeminiError)
        assert len(stream.error.hint) > 20
        assert stream.error.hint in str(stream.error)
        assert (stream.error.__cause__, stream.error.__context__) == (None, None)
    for event in reader.events:
        if event.kind == "retry_scheduled":
            assert "; retrying" in event.reason


def count(stream: Stream, kind: str) -> int:
    return sum(event.kind == kind for event in stream.events)
