"""The states of a stream, its orchestration, tool calls and uploads: the only place where one changes.

A table says which step may follow which. `advance` looks a step up and refuses any other, leaving the state
as it was, so that a bug shows where it is made and not as a stream that ended twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from gemini_nb.errors import InternalError


class Status(StrEnum):
    """How a stream stands. Every stream begins active and ends exactly once."""

    ACTIVE = "active"
    COMPLETED = "completed"
    ERROR = "error"
    STOPPED = "stopped"


class Phase(StrEnum):
    """What an active stream is doing."""

    AWAITING_MODEL_CALL = "awaiting_model_call"
    EXECUTING_TOOLS = "executing_tools"
    AWAITING_FINAL_RESPONSE = "awaiting_final_response"


class ToolStatus(StrEnum):
    """How a tool call stands."""

    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class UploadStatus(StrEnum):
    """How a file stands that the service must have before the model is asked."""

    READING = "reading"
    UPLOADING = "uploading"
    PROCESSING = "processing"
    ACTIVE = "active"
    FAILED = "failed"
    CANCELLED = "cancelled"


State = TypeVar("State", Status, Phase, ToolStatus, UploadStatus)

STATUSES: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.ACTIVE: frozenset({Status.COMPLETED, Status.ERROR, Status.STOPPED}),
        Status.COMPLETED: frozenset(),
        Status.ERROR: frozenset(),
        Status.STOPPED: frozenset(),
    }
)

PHASES: Mapping[Phase, frozenset[Phase]] = MappingProxyType(
    {
        Phase.AWAITING_MODEL_CALL: frozenset({Phase.EXECUTING_TOOLS}),
        Phase.EXECUTING_TOOLS: frozenset({Phase.AWAITING_FINAL_RESPONSE}),
        Phase.AWAITING_FINAL_RESPONSE: frozenset({Phase.EXECUTING_TOOLS}),
    }
)

TOOL_STATUSES: Mapping[ToolStatus, frozenset[ToolStatus]] = MappingProxyType(
    {
        ToolStatus.PENDING: frozenset(
            {
                ToolStatus.AWAITING_APPROVAL,
                ToolStatus.RUNNING,
                ToolStatus.FAILED,
                ToolStatus.CANCELLED,
            }
        ),
        ToolStatus.AWAITING_APPROVAL: frozenset(
            {ToolStatus.RUNNING, ToolStatus.FAILED, ToolStatus.CANCELLED}
        ),
        ToolStatus.RUNNING: frozenset({ToolStatus.DONE, ToolStatus.FAILED, ToolStatus.CANCELLED}),
        ToolStatus.DONE: frozenset(),
        ToolStatus.FAILED: frozenset(),
        ToolStatus.CANCELLED: frozenset(),
    }
)

_UPLOAD_ENDS = frozenset({UploadStatus.ACTIVE, UploadStatus.FAILED, UploadStatus.CANCELLED})

UPLOAD_STATUSES: Mapping[UploadStatus, frozenset[UploadStatus]] = MappingProxyType(
    {
        UploadStatus.READING: _UPLOAD_ENDS | {UploadStatus.UPLOADING, UploadStatus.PROCESSING},
        UploadStatus.UPLOADING: _UPLOAD_ENDS | {UploadStatus.PROCESSING},
        # What was uploaded before may turn out to be gone while it is waited for.
        UploadStatus.PROCESSING: _UPLOAD_ENDS | {UploadStatus.READING, UploadStatus.UPLOADING},
        UploadStatus.ACTIVE: frozenset(),
        UploadStatus.FAILED: frozenset(),
        UploadStatus.CANCELLED: frozenset(),
    }
)


def advance(table: Mapping[State, frozenset[State]], current: State, target: State) -> State:
    """Return `target` if the table lets it follow `current`.

    Raises:
        InternalError: it does not.
    """
    if target not in table[current]:
        raise InternalError(f"{current} cannot become {target}.")
    return target
