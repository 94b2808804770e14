"""One row of a group, its prompt that may be made late, and how many rows are where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gemini_nb.errors import ArgumentError, GeminiError
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.group.origin import Origin
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.schemas.schema import OutputSchema


class Later:
    """A prompt that is made when its row starts."""

    __slots__ = ("_given", "_make")

    def __init__(self, make: Any, *given: Any) -> None:
        self._make, self._given = make, given

    def __call__(self) -> Any:
        """Make it."""
        return self._make(*self._given)


class Alone(Later):
    """The same where the settings are known to fit, so that whatever is wrong is this row's alone."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Row:
    """One row.

    Attributes:
        prompt: what is asked, or a `Later` that makes it.
        item: what it is about.
        options: settings of this row only.
        stream: its stream, once it is there.
        is_paced: whether it has had its turn at the pace.
        number: which of the group's rows it is.
    """

    prompt: Any
    item: object = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stream: Stream | None = None
    is_paced: bool = False
    number: int = 0

    @property
    def model(self) -> str | None:
        """The model that is asked, None for the group's."""
        own = self.options.get("model")
        return own if isinstance(own, str) else None  # what is no name is refused when it starts

    @property
    def may_retry(self) -> bool:
        """Whether it has no answer, and none is under way."""
        stream = self.stream
        if stream is None or stream.status is Status.ACTIVE:
            return stream is None or stream.record.stop_asked
        return stream.status is not Status.COMPLETED

    def question(self) -> Any:
        """Return what is asked."""
        return self.prompt() if isinstance(self.prompt, Later) else self.prompt


class Counts(NamedTuple):
    """How many rows of a group are where.

    Attributes:
        total: all of them, None while an iterator goes on.
        waiting: those whose turn has not come.
        running: those that are being answered.
        completed: those with an answer.
        stopped: those that were stopped.
        failed: those that failed, or were not asked since the run had ended.
        kept: those of the completed ones whose answer was a kept one.
    """

    total: int | None
    waiting: int
    running: int
    completed: int
    stopped: int
    failed: int
    kept: int


class Shape(NamedTuple):
    """What is known of a group's table before any row was asked, or read.

    Attributes:
        columns: what each row has of its own.
        form: returns the schema of the answers, given a row's own settings.
        model: the model that is asked where a row names none.
        origin: the frame or series that the rows come from.
        models: those that are asked side by side, where there are several.
    """

    columns: tuple[Any, ...] = ()
    form: Callable[[Mapping[str, Any]], OutputSchema | None] = lambda _: None
    model: str | None = None
    origin: Origin | None = None
    models: tuple[str, ...] = ()


def failure_of(error: Exception) -> GeminiError:
    """Return why a row cannot be asked."""
    if isinstance(error, GeminiError):
        return error
    return ArgumentError(f"Not asked: {scrub_error(error)}")
