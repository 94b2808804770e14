"""A stream's events, folded into the blocks that a reader sees one beneath the other.

The live pane, the settled output and the terminal show the same blocks; this is where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from gemini_nb.api.content import Part
from gemini_nb.streams.calls import ToolCall
from gemini_nb.streams.events import (
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

__all__ = ["Block", "CallBlock", "NoticeBlock", "PartBlock", "TextBlock", "Transcript"]


@dataclass(slots=True)
class TextBlock:
    """A run of the model's text.

    Attributes:
        start: where it begins in the stream's text.
        text: the text.
        rewound: how often its end was taken back; a view that has drawn more must draw anew.
    """

    start: int
    text: str = ""
    rewound: int = 0


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
    """

    part: Part


Block: TypeAlias = TextBlock | CallBlock | NoticeBlock | PartBlock


@dataclass(slots=True)
class Transcript:
    """The blocks of one stream, and which of them changed since somebody looked.

    Attributes:
        blocks: in the order of reading.
        thoughts: the summary of the model's thoughts.
        changed: indexes of blocks that are new or different; whoever draws them clears it.
    """

    blocks: list[Block] = field(default_factory=list)
    thoughts: str = ""
    changed: set[int] = field(default_factory=set)
    _length: int = 0
    _calls: dict[int, int] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)

    def apply_all(self, events: list[StreamEvent]) -> None:
        """Fold several events in."""
        for event in events:
            self.apply(event)
        self._flush()

    def apply(self, event: StreamEvent) -> None:
        """Fold one event in."""
        match event:
            case TextDelta():
                self._pieces.append(event.text)
            case ThoughtDelta():
                self.thoughts += event.text
            case TextRewound():
                self._rewind(event.length)
                self.thoughts = self.thoughts[: event.thoughts_length]
            case ToolCallRequested() | ToolCallStarted() | ToolCallUpdated() | ToolCallFinished():
                self._set_call(event.call)
            case PartReceived():
                self._add(PartBlock(event.part))
            case RetryScheduled():
                self._add(NoticeBlock(f"{event.reason} Asking again in {event.delay:.1f} s."))
            case StreamStarted() | PhaseChanged() | UsageUpdated():
                pass
            case StreamCompleted() | StreamFailed() | StreamStopped():
                self._flush()
            case _:
                assert_never(event)

    def _flush(self) -> None:
        if not self._pieces:
            return
        added = "".join(self._pieces)
        self._pieces.clear()
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, TextBlock):
            last = TextBlock(self._length)
            self.blocks.append(last)
        last.text += added
        self._length += len(added)
        self.changed.add(len(self.blocks) - 1)

    def _add(self, block: Block) -> None:
        self._flush()
        self.blocks.append(block)
        self.changed.add(len(self.blocks) - 1)

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
        self._length = min(self._length, length)
        for index, block in enumerate(self.blocks):
            if isinstance(block, TextBlock) and block.start + len(block.text) > length:
                block.text = block.text[: max(0, length - block.start)]
                block.start = min(block.start, length)
                block.rewound += 1
                self.changed.add(index)
