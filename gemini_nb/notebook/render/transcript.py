"""A stream's events, folded into the blocks that a reader sees one beneath the other.

The live pane, the settled output and the terminal show the same blocks; this is where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from gemini_nb.api.contents.audio import audio_type
from gemini_nb.api.wire import JSON, Part
from gemini_nb.notebook.render.blocks.blocks import (
    AudioBlock,
    Block,
    CallBlock,
    NoticeBlock,
    PartBlock,
    StruckBlock,
    TextBlock,
)
from gemini_nb.notebook.render.blocks.notices import retry_message, upload_message
from gemini_nb.notebook.render.blocks.parts import METADATA
from gemini_nb.notebook.render.blocks.server_tools import answered, asked, ended
from gemini_nb.notebook.render.markdown import Draft, Mark, answer_draft
from gemini_nb.notebook.render.sources import Grounding, Sources, read_sources, without_listed
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.uploads import Upload


@dataclass(slots=True)
class Transcript:
    """The blocks of one stream, and which of them changed since they were drawn.

    Attributes:
        blocks: in the order of reading.
        thoughts_draft: what of it is rendered; another one once its end was taken back.
        thinking: whether thoughts are the last that came.
        changed: indexes of blocks that are new or different; the view that draws them clears it.
        is_json: whether the answer is structured.
        sources: what the answer stands on, as far as the server said.
    """

    blocks: list[Block] = field(default_factory=list)
    thoughts_draft: Draft = field(default_factory=answer_draft, compare=False, repr=False)
    thinking: bool = False
    changed: set[int] = field(default_factory=set)
    is_json: bool = False
    sources: Sources = field(default_factory=Sources)
    _length: int = 0
    _calls: dict[int, int] = field(default_factory=dict)
    _uploads: dict[int, int] = field(default_factory=dict)
    _pieces: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list, compare=False)
    _struck: StruckBlock | None = None
    _unsure: bool = False  # whether the struck text may still hold, since no new output has come
    _parts: list[int] = field(default_factory=list)
    _call_parts: int = 0  # of them those of earlier model calls
    _call_start: int = 0  # of the text that the model call brings
    _groundings: dict[int, Grounding] = field(default_factory=dict)  # by the number of the part
    _is_cited: bool = True
    _asked: dict[int, ToolCall] = field(default_factory=dict)  # Google's tools, by block

    @property
    def thoughts(self) -> str:
        """The summary of the model's thoughts."""
        if len(self._thoughts) > 1:
            self._thoughts[:] = ["".join(self._thoughts)]
        return self._thoughts[0] if self._thoughts else ""

    def apply_all(self, several: list[events.StreamEvent]) -> None:
        """Apply several events."""
        for event in several:
            self.apply(event)
        self._flush()
        if not self._is_cited:
            self._cite()

    def apply(self, event: events.StreamEvent) -> None:
        """Apply one event."""
        if not isinstance(event, events.UsageUpdated | events.RetryScheduled):
            self.thinking = isinstance(event, events.ThoughtDelta)
        match event:
            case events.StreamStarted() | events.UsageUpdated():
                pass
            case events.TextDelta():
                self._pieces.append(event.text)
            case events.ThoughtDelta():
                self._thoughts.append(event.text)
            case events.TextRewound():
                self._take_back(event)
            case (
                events.ToolCallRequested()
                | events.ToolCallStarted()
                | events.ToolCallUpdated()
                | events.ToolCallFinished()
            ):
                self._set_call(event.call)
            case events.PartReceived():
                self._add_part(event.part, event.time)
            case events.UploadUpdated():
                self._set_upload(event.upload)
            case events.RetryScheduled():
                self._plan_retry(event)
            case events.PhaseChanged() | events.StreamCompleted():
                self._begin_call(event.time)
            case events.StreamFailed() | events.StreamStopped():
                self._flush()
                self._restore()
                self._end_server_tools(event.time)
                self._end_audio()
            case _:
                assert_never(event)

    def _take_back(self, event: events.TextRewound) -> None:
        """Strike what new output replaces: text, thoughts and parts."""
        self._rewind(event.length)
        self._unsure = False
        if event.thoughts_length < len(self.thoughts):
            self._thoughts = [self.thoughts[: event.thoughts_length]]
            self.thoughts_draft = answer_draft()
        self._drop_parts(event.parts)

    def _flush(self) -> None:
        if not self._pieces:
            return
        added = "".join(self._pieces)
        self._pieces.clear()
        index = len(self.blocks) - 1
        while index >= 0 and _is_list(self.blocks[index]):  # which parts no text: a sentence goes on
            index -= 1
        last = self.blocks[index] if index >= 0 else None
        if not isinstance(last, TextBlock):
            self._end_audio()
            last = TextBlock(self._length, is_json=self.is_json)
            self.blocks.append(last)
            index = len(self.blocks) - 1
        last.text += added
        self._length += len(added)
        self.changed.add(index)
        struck = self._struck
        if struck is not None and self._length - struck.start >= len(struck.text):
            self._drop_struck()

    def _begin_call(self, time: float) -> None:
        """Close the model call that ran, and drop struck text that something shorter has replaced."""
        self._flush()
        self._drop_struck()
        self._end_server_tools(time)
        self._end_audio()
        self._call_parts, self._call_start = len(self._parts), self._length

    def _end_server_tools(self, time: float) -> None:
        for index, call in self._asked.items():
            self._set(index, CallBlock(ended(call, time)))
        self._asked.clear()

    def _set(self, index: int, block: Block) -> None:
        self.blocks[index] = block
        self.changed.add(index)

    def _drop_struck(self) -> None:
        if self._struck is not None:
            self._struck.text = ""
            self.changed.add(next(i for i, block in enumerate(self.blocks) if block is self._struck))
            self._struck = None

    def _add(self, block: Block) -> None:
        self._flush()
        self._end_audio()
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
            self._set(index, CallBlock(call))

    def _set_upload(self, upload: Upload) -> None:
        notice = NoticeBlock(upload_message(upload))
        index = self._uploads.get(upload.index)
        if index is None:
            self._add(notice)
            self._uploads[upload.index] = len(self.blocks) - 1
        else:
            self._set(index, notice)

    def _rewind(self, length: int) -> None:
        self._flush()
        taken: list[str] = []
        for index, block in enumerate(self.blocks):
            if isinstance(block, TextBlock) and block.start + len(block.text) > length:
                keep = max(0, length - block.start)
                taken.append(block.text[keep:])
                block.text = block.text[:keep]
                block.start = min(block.start, length)
                block.draft, block.marks = answer_draft(), ()
                self._is_cited = not self._groundings
                self.changed.add(index)
        self._length = min(self._length, length)
        if text := "".join(taken):
            self._strike(StruckBlock(self._length, text))

    def _add_part(self, part: Part, time: float) -> None:
        """Add a part; the newest list of a model call's sources replaces the one before."""
        kind = next((name for name in METADATA if name in part), None)
        if kind is not None:
            self._drop_listed(kind)
        if isinstance(part.get("toolCall"), dict):
            call = asked(part["toolCall"], time)
            self._add(CallBlock(call))
            self._asked[len(self.blocks) - 1] = call
        elif (sound := audio_type(part)) is not None:
            self._add_audio(part, sound)
        elif isinstance(part.get("toolResponse"), dict):
            self._answer(part["toolResponse"], time)
        else:
            self._add(PartBlock(part))
        self._parts.append(len(self.blocks) - 1)
        if kind == "groundingMetadata":
            self._note_grounding(part["groundingMetadata"])
        if kind in {"groundingMetadata", "urlContextMetadata"}:
            self._is_cited = False

    def _drop_listed(self, kind: str) -> None:
        """Show the lists of this kind no more that the model call has sent so far."""
        for index in self._parts[self._call_parts :]:
            block = self.blocks[index]
            if isinstance(block, PartBlock) and kind in block.part:
                block.gone = True
                self.changed.add(index)

    def _note_grounding(self, value: JSON) -> None:
        starts = [block.start for block in self.blocks if isinstance(block, TextBlock)]
        within = tuple(start for start in starts if start >= self._call_start)
        self._groundings[len(self._parts) - 1] = Grounding(value, self._call_start, within)

    def _add_audio(self, part: Part, kind: str) -> None:
        self._flush()
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, AudioBlock) or last.is_whole or last.kind != kind:
            last = AudioBlock(kind)
            self._add(last)
        last.pieces.append(part)
        self.changed.add(len(self.blocks) - 1)

    def _end_audio(self) -> None:
        """Mark the sound as whole, since other output follows; a player is made of it then."""
        last = self.blocks[-1] if self.blocks else None
        if isinstance(last, AudioBlock) and not last.is_whole:
            last.is_whole = True
            self.changed.add(len(self.blocks) - 1)

    def _answer(self, response: Part, time: float) -> None:
        """Put the answer of one of Google's tools on its card; the answer's own block stays empty."""
        for index, call in self._asked.items():
            if response.get("id") in (None, call.id):
                self._set(index, CallBlock(answered(call, response, time)))
                del self._asked[index]
                self._add(PartBlock({"toolResponse": response}, gone=True))
                return
        self._add(CallBlock(answered(asked(response, time), response, time)))

    def _cite(self) -> None:
        """Number the sources, list them once, behind the newest of them, and mark what they support."""
        self._is_cited = True
        texts = [block for block in self.blocks if isinstance(block, TextBlock)]
        groundings = list(self._groundings.values())
        sources = self.sources = read_sources(groundings, "".join(block.text for block in texts))
        last = max(self._groundings, default=-1)
        for number in self._groundings:
            block = PartBlock(sources.part, gone=number != last)
            if self.blocks[self._parts[number]] != block:
                self._set(self._parts[number], block)
        self._mark(texts, sources)
        for index in self._parts:
            pages = self.blocks[index]
            if isinstance(pages, PartBlock) and "urlContextMetadata" in pages.part:
                self._set(index, PartBlock(without_listed(pages.part, sources), gone=pages.gone))

    def _mark(self, texts: list[TextBlock], sources: Sources) -> None:
        for block in texts:
            end = block.start + len(block.text)
            marks = tuple(
                Mark(mark.position - block.start, mark.numbers)
                for mark in sources.marks
                if block.start < mark.position <= end
            )
            if marks != block.marks:
                block.marks, block.draft = marks, answer_draft(sources.links)
                self.changed.add(next(index for index, one in enumerate(self.blocks) if one is block))

    def _plan_retry(self, event: events.RetryScheduled) -> None:
        self._flush()
        self._add(NoticeBlock(retry_message(event, self._length)))
        if event.keeps is not None:
            if not self._unsure:
                self._drop_struck()  # what an earlier attempt lost is gone for good
            self._rewind(event.keeps)
            self._unsure = True

    def _drop_parts(self, kept: int) -> None:
        for number, index in enumerate(self._parts[kept:], kept):
            block = self.blocks[index]
            if isinstance(block, PartBlock):
                block.gone = True
                self.changed.add(index)
            elif isinstance(block, AudioBlock):
                block.pieces.pop()  # the newest pieces are dropped, one for each part
                self.changed.add(index)
            else:
                self._asked.pop(index, None)
                self._set(index, PartBlock({}, gone=True))
            if self._groundings.pop(number, None) is not None:
                self._is_cited = False
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
        self._set(last, struck)
        self._add(notice)


def _is_list(block: Block) -> bool:
    """Whether a block lists sources, which come again and again while an answer grows."""
    return isinstance(block, PartBlock) and any(name in block.part for name in METADATA)
