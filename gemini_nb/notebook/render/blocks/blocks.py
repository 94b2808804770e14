"""The kinds of blocks that a stream's events become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from gemini_nb.api.wire import Part
from gemini_nb.notebook.render.markdown import Draft, Mark, answer_draft
from gemini_nb.streams.events.calls import ToolCall


@dataclass(slots=True)
class TextBlock:
    """A run of the model's text.

    Attributes:
        start: where it begins in the stream's text.
        text: the text.
        draft: what of it is rendered; another one once its end was taken back.
        is_json: whether it is the value of a structured answer, not Markdown.
        marks: the places in it that sources support.
    """

    start: int
    text: str = ""
    draft: Draft = field(default_factory=answer_draft, compare=False, repr=False)
    is_json: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(slots=True)
class CallBlock:
    """A tool call, of a function or of one of Google's own tools.

    Attributes:
        call: the newest snapshot of it.
    """

    call: ToolCall


@dataclass(slots=True)
class NoticeBlock:
    """Something that happened on the way, such as a retry.

    Attributes:
        text: what, in one sentence.
    """

    text: str


@dataclass(slots=True)
class PartBlock:
    """Code, its output, an image, sources.

    Attributes:
        part: the part as it came.
        gone: whether the model call that sent it broke and was made again.
    """

    part: Part
    gone: bool = False


@dataclass(slots=True)
class AudioBlock:
    """Sound, in the pieces in which it comes.

    Attributes:
        kind: its type.
        pieces: the parts so far; none where the model call that sent them broke.
        is_whole: whether no more of it comes.
    """

    kind: str
    pieces: list[Part] = field(default_factory=list)
    is_whole: bool = False


@dataclass(slots=True)
class StruckBlock:
    """Text of a broken model call, shown until as much new text has taken its place.

    Attributes:
        start: where the new text begins in the stream's text.
        text: the text that no longer holds; empty once it is replaced.
    """

    start: int
    text: str


Block: TypeAlias = TextBlock | CallBlock | NoticeBlock | PartBlock | AudioBlock | StruckBlock
