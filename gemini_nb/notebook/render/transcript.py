"""A stream's events, folded into the blocks that a reader sees one beneath the other.

The live pane, the settled output and the terminal show the same blocks; this is where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from gemini_nb.api.wire import Part
from gemini_nb.notebook.render.markdown import Draft
from gemini_nb.notebook.render.parts import METADATA
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.events import (
    PartReceived,
    PhaseChanged,
    RetryScheduled,
    StreamCompleted,
    StreamEvent,
    StreamFailed,
    StreamStarted,
    StreamStopped,
    TextDelta,
    TextRewound,
    ThoughtDelta,
    ToolCallFinished,
    ToolCallRequested,
    ToolCallStarted,
    ToolCallUpdated,
    UsageUpdated,
)

__all__ = [
    "Block",
    "CallBlock",
    "NoticeBlock",
    "PartBlock",
    "StruckBlock",
    "TextBlock",
    "Transcript",
    "retry_message",
]


@dataclass(slots=True)
class TextBlock:
    """A run of the model's text.

    Attributes:
        start: where it begins in the stream's text.
        text: the text.
        draft: what of it is rendered; another one once its end was taken back.
        is_json: whether it is the value of a structured answer, not Markdown.
    """

    start: int
    text: str = ""
    draft: Draft = field(default_factory=Draft, compare=False, repr=False)
    is_json: bool = False


@dataclass(slots=True)
class CallBlock:
    """A tool call.

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
class StruckBlock:
    """Text of a broken model call, shown until as much new text has taken its place.

    Attributes:
        start: where the new text begins in the stream's text.
        text: the text that no longer holds; empty once it is replaced.
    """

    start: int
    text: str


Block: TypeAlias = TextBlock | CallBlock | NoticeBlock | PartBlock | StruckBlock


@dataclass(slots=True)
class Transcript:
    """The blocks of one stream, and which of them changed since they were drawn.

    Attributes:
        blocks: in the order of reading.
        thoughts_draft: what of it is rendered; another one once its end was taken back.
        thinking: whether thoughts are the last that came.
        changed: indexes of blocks that are new or different; the view that draws them clears it.
        is_json: whether the answer is structured.
    """

    blocks: list[Block] = field(default_factory=list)
    thoughts_draft: Draft = field(default_factory=Draft, compare=False, repr=False)
    thinking: bool = False
    changed: set[int] = field(default_factory=set)
    is_json: bool = False
    _length: int = 0
    _calls: dict[int, int] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list, compare=False)
    _struck: StruckBlock | None = None
    _unsure: bool = False  # whether the struck text may still hold, since no new output has come
    _parts: list[int] = field(default_factory=list)

    @property
    def thoughts(self) -> str:
        """The summary of the model's thoughts."""
        if len(self._thoughts) > 1:
            self._thoughts[:] = ["".join(self._thoughts)]
        return self._thoughts[0] if self._thoughts else ""

    def note(self, text: str) -> None:
        """Add a line that no event has brought, such as what was wrong with the prompt."""
        self._add(NoticeBlock(text))

    def apply_all(self, events: list[StreamEvent]) -> None:
        """Apply several events."""
        for event in events:
            self.apply(event)
        self._flush()

    def apply(self, event: StreamEvent) -> None:
        """Apply one event."""
        if not isinstance(event, UsageUpdated | RetryScheduled):
            self.thinking = isinstance(event, ThoughtDelta)
        match event:
            case StreamStarted() | UsageUpdated():
                pass
            case TextDelta():
                self._pieces.append(event.text)
            case ThoughtDelta():
                self._thoughts.append(event.text)
            case TextRewound():
                self._rewind(event.length)
                self._unsure = False
                if event.thoughts_length < len(self.thoughts):
                    self._thoughts = [self.thoughts[: event.thoughts_length]]
                    self.thoughts_draft = Draft()
                self._drop_parts(event.parts)
            case ToolCallRequested() | ToolCallStarted() | ToolCallUpdated() | ToolCallFinished():
                self._set_call(event.call)
            case PartReceived():
                self._add_part(event.part)
            case RetryScheduled():
                self._plan_retry(event)
            case PhaseChanged() | StreamCompleted():
                self._begin_call()
            case StreamFailed() | StreamStopped():
                self._flush()
                self._restore()
            case _:
                assert_never(event)

    def _flush(self) -> None:
        if not self._pieces:
            return
        added = "".join(self._pieces)
        self._pieces.clear()
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, TextBlock):
            last = TextBlock(self._length, is_json=self.is_json)
            self.blocks.append(last)
        last.text += added
        self._length += len(added)
        self.changed.add(len(self.blocks) - 1)
        struck = self._struck
        if struck is not None and self._length - struck.start >= len(struck.text):
            self._drop_struck()

    def _begin_call(self) -> None:
        """Close the model call that ran: text it struck was replaced by something shorter."""
        self._flush()
        self._drop_struck()

    def _drop_struck(self) -> None:
        if self._struck is not None:
            self._struck.text = ""
            self.changed.add(next(i for i, block in enumerate(self.blocks) if block is self._struck))
            self._struck = None

    def _add(self, block: Block) -> None:
        self._flush()
        self.blocks.append(block)
        self.changed.add(len(self.blocks) - 1)

    def refresh(self, calls: Sequence[ToolCall]) -> None:
        """Update calls with what their tools said after they had ended, of which there is no event."""
        for call in calls:
            if call.ended_at is not None and call.index in self._calls:
                self._set_call(call.snapshot())

    def _set_call(self, call: ToolCall) -> None:
        index = self._calls.get(call.index)
        if index is None:
            self._add(CallBlock(call))
            self._calls[call.index] = len(self.blocks) - 1
        else:
            self.blocks[index] = CallBlock(call)
            self.changed.add(index)

    def _rewind(self, length: int) -> None:
        self._flush()
        taken: list[str] = []
        for index, block in enumerate(self.blocks):
            if isinstance(block, TextBlock) and block.start + len(block.text) > length:
                keep = max(0, length - block.start)
                taken.append(block.text[keep:])
                block.text = block.text[:keep]
                block.start = min(block.start, length)
                block.draft = Draft()
                self.changed.add(index)
        self._length = min(self._length, length)
        if text := "".join(taken):
            self._strike(StruckBlock(self._length, text))

    def _add_part(self, part: Part) -> None:
        """Add a part; the newest list of sources replaces the one before."""
        kind = next((name for name in METADATA if name in part), None)
        for index in self._parts if kind is not None else ():
            block = self.blocks[index]
            if isinstance(block, PartBlock) and kind in block.part:
                block.gone = True
                self.changed.add(index)
        self._add(PartBlock(part))
        self._parts.append(len(self.blocks) - 1)

    def _plan_retry(self, event: RetryScheduled) -> None:
        self._flush()
        self._add(NoticeBlock(retry_message(event, self._length)))
        if event.keeps is not None:
            if not self._unsure:
                self._drop_struck()  # what an earlier attempt lost is gone for good
            self._rewind(event.keeps)
            self._unsure = True

    def _drop_parts(self, kept: int) -> None:
        for index in self._parts[kept:]:
            block = self.blocks[index]
            if isinstance(block, PartBlock):
                block.gone = True
                self.changed.add(index)
        del self._parts[kept:]

    def _restore(self) -> None:
        """Bring back the struck text, which nothing has replaced."""
        if self._unsure and self._struck is not None:
            text = self._struck.text
            self._drop_struck()
            self._add(TextBlock(self._length, text, is_json=self.is_json))
            self._length += len(text)

    def _strike(self, struck: StruckBlock) -> None:
        """Insert the struck text before the notice that explains it."""
        self._drop_struck()
        self._struck = struck
        last = len(self.blocks) - 1
        if last < 0 or not isinstance(self.blocks[last], NoticeBlock):
            self._add(struck)
            return
        notice = self.blocks[last]
        self.blocks[last] = struck
        self.changed.add(last)
        self._add(notice)


def retry_message(event: RetryScheduled, length: int) -> str:
    """Why a model call is made again, and what becomes of what it had shown.

    Args:
        event: what was planned.
        length: characters of the text that were there.
    """
    reason = event.reason.strip()
    if event.keeps is None:
        return reason
    whole = quantity(length, "character")
    replaced = f"{length - event.keeps:,} of the {whole}" if event.keeps else f"the {whole}"
    return f"{reason} The retry replaces {replaced} received so far."
