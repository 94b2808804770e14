from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from gemini_nb.errors import InternalError
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import (
    PHASES,
    STATUSES,
    TOOL_STATUSES,
    Phase,
    Status,
    ToolStatus,
    advance,
)

ALLOWED: dict[type[StrEnum], set[tuple[str, str]]] = {
    Status: {("active", "completed"), ("active", "error"), ("active", "stopped")},
    Phase: {
        ("awaiting_model_call", "executing_tools"),
        ("executing_tools", "awaiting_final_response"),
        ("awaiting_final_response", "executing_tools"),
    },
    ToolStatus: {
        ("pending", "awaiting_approval"),
        ("pending", "running"),
        ("pending", "failed"),
        ("pending", "cancelled"),
        ("awaiting_approval", "running"),
        ("awaiting_approval", "failed"),
        ("awaiting_approval", "cancelled"),
        ("running", "done"),
        ("running", "failed"),
        ("running", "cancelled"),
    },
}
TABLES: dict[type[StrEnum], Mapping[Any, frozenset[Any]]] = {
    Status: STATUSES,
    Phase: PHASES,
    ToolStatus: TOOL_STATUSES,
}
STEPS = [(kind, current, target) for kind in ALLOWED for current in kind for target in kind]


@pytest.mark.parametrize(("kind", "current", "target"), STEPS)
def test_every_step_is_allowed_or_refused(kind: type[StrEnum], current: Any, target: Any) -> None:
    if (str(current), str(target)) in ALLOWED[kind]:
        assert advance(TABLES[kind], current, target) is target
    else:
        with pytest.raises(InternalError, match=f"{current} cannot become {target}"):
            advance(TABLES[kind], current, target)


@pytest.mark.parametrize("kind", list(TABLES))
def test_tables_know_every_state_and_cannot_be_changed(kind: type[StrEnum]) -> None:
    assert set(TABLES[kind]) == set(kind)
    with pytest.raises(TypeError):
        TABLES[kind][next(iter(kind))] = frozenset()  # type: ignore[index]  # that it is refused is the point


def test_states_are_strings() -> None:
    assert isinstance(Status.ACTIVE, str)
    assert f"{Phase.EXECUTING_TOOLS}" == "executing_tools"
    assert [str(status) for status in Status] == ["active", "completed", "error", "stopped"]


def test_a_refused_step_of_a_call_changes_nothing() -> None:
    call = ToolCall(id=None, name="f", args={})
    with pytest.raises(InternalError):
        call.advance(ToolStatus.DONE)
    assert call.status == "pending"


def test_a_refused_step_of_a_stream_changes_nothing_and_tells_nobody() -> None:
    record = StreamRecord("s")
    record.start()
    with pytest.raises(InternalError):
        record.enter(Phase.AWAITING_FINAL_RESPONSE)
    assert (str(record.phase), record.turn, len(record.log)) == ("awaiting_model_call", 1, 2)


def test_a_call_is_timed_and_a_snapshot_stays_as_it_was() -> None:
    call = ToolCall(id="1", name="f", args={}, started_at=1.0)
    assert call.duration is None
    before = call.snapshot()
    call.advance(ToolStatus.RUNNING)
    ended = dataclasses.replace(call, ended_at=1.5)
    assert ended.duration == 0.5
    assert (before.status, before.ended_at) == ("pending", None)
