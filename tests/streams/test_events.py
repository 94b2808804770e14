from __future__ import annotations

import copy
import dataclasses
import pickle
import re
import typing
from typing import Any

import pytest

import gemini_nb
from gemini_nb.api.usage import Usage
from gemini_nb.errors import GeminiError
from gemini_nb.streams.events import events, log
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import Phase
from gemini_nb.streams.events.uploads import Upload

KINDS: tuple[type[Any], ...] = typing.get_args(events.StreamEvent)
VALUES: dict[str, Any] = {
    "phase": Phase.EXECUTING_TOOLS,
    "turn": 2,
    "text": "words",
    "length": 3,
    "call": ToolCall(id=None, name="f", args={}),
    "part": {"executableCode": {"code": "1"}},
    "upload": Upload(index=0, name="film.mp4"),
    "usage": Usage(),
    "attempt": 2,
    "delay": 0.5,
    "reason": "cut",
    "keeps": 3,
    "thoughts_length": 2,
    "parts": 1,
    "finish_reason": "STOP",
    "error": GeminiError("no"),
}


def made(kind: type[Any]) -> Any:
    own = {field.name for field in dataclasses.fields(kind) if field.init} - {"stream_id", "seq", "time"}
    return kind(stream_id="s", seq=0, time=1.0, **{name: VALUES[name] for name in own})


def test_the_union_is_closed_and_complete() -> None:
    classes = {value for value in vars(events).values() if isinstance(value, type)}
    assert set(KINDS) == {kind for kind in classes if issubclass(kind, events._Event)} - {events._Event}
    assert all(getattr(gemini_nb, kind.__name__) is kind for kind in KINDS)


def test_exactly_the_three_last_events_close_a_log() -> None:
    closing = set()
    for kind in KINDS:
        kept = log.EventLog()
        kept.append(made(kind))
        if kept.closed:
            closing.add(kind)
    assert closing == set(log.TERMINAL)
    assert {kind.__name__ for kind in closing} == {"StreamCompleted", "StreamFailed", "StreamStopped"}


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_frozen_slotted_and_keyword_only(kind: type[Any]) -> None:
    event = made(kind)
    assert not hasattr(event, "__dict__")
    for name in ("seq", "kind", "anything"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(event, name, 1)
    with pytest.raises(TypeError):
        kind("s", 0, 1.0)
    with pytest.raises(TypeError):
        kind(stream_id="s", seq=0, time=1.0, kind="other")
    assert copy.copy(event) == event


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_the_name_and_a_literal(kind: type[Any]) -> None:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    assert made(kind).kind == name
    assert typing.get_args(typing.get_type_hints(kind)["kind"]) == (name,)


def test_kinds_are_unique_and_events_can_be_kept() -> None:
    assert len({made(kind).kind for kind in KINDS}) == len(KINDS)
    event = made(events.TextDelta)
    assert pickle.loads(pickle.dumps(event)) == event
