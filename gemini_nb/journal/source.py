"""What a stream hands to the journal: plain values, and a source of them that is asked off the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from gemini_nb.api.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The small facts of a stream, which stay when its texts are pruned.

    Attributes:
        stream_id: its name, unique in its kernel alone.
        model: the model's id, as it was asked for.
        model_version: the model that answered.
        auth: the service.
        status: "active", "completed", "error" or "stopped".
        finish_reason: Gemini's word for why the last model call ended.
        retries: model calls that were made again.
        notebook: the notebook's path, None where it is not known.
        cell: the id of its cell, likewise.
        started_at: in seconds since the epoch.
        first_output_at: likewise, None where nothing came.
        ended_at: likewise, None while it is active.
        usage: tokens of all model calls, those of broken ones too.
        spent: tokens of those that were made; those of kept answers are not among them.
        cost: in US dollars, None where no price is known.
        saved: what a kept answer would have cost.
        kept: when the answer was kept, in seconds since the epoch; None where it was asked for.
    """

    stream_id: str
    model: str
    model_version: str | None = None
    auth: str
    status: str
    finish_reason: str | None = None
    retries: int = 0
    notebook: str | None = None
    cell: str | None = None
    started_at: float
    first_output_at: float | None = None
    ended_at: float | None = None
    usage: Usage = NO_USAGE
    spent: Usage = NO_USAGE
    cost: Decimal | None = None
    saved: Decimal | None = None
    kept: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked, free of keys and tokens. It may hold megabytes of files.

    Attributes:
        prompt: the question, as text.
        details: the message and the settings, as JSON values.
    """

    prompt: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What came of it beside the answer's text, free of keys and tokens.

    Attributes:
        error: why it failed.
        thoughts: the summary of the model's thoughts.
        details: parts and tool calls, as JSON values.
    """

    error: str | None = None
    thoughts: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A stream, as the writer's thread reads it."""

    @property
    def uid(self) -> str:
        """The entry's name, unique across kernels."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more comes."""

    @property
    def version(self) -> int | None:
        """A number that changes when there is something new; None while it was not asked yet."""

    def text(self) -> str:
        """The answer so far."""

    def figures(self) -> Figures:
        """The small facts so far."""

    def asked(self) -> Asked:
        """What was asked; it stays as it is from then on."""

    def texts(self) -> Texts:
        """The large facts so far."""
