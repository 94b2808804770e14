"""A stream in a terminal: text as it comes, tool calls as lines."""

from __future__ import annotations

import sys
from typing import TextIO

from gemini_nb.api.contents.audio import audio_type
from gemini_nb.api.wire import Part
from gemini_nb.notebook.render import figures
from gemini_nb.notebook.render.ansi import Styler, can_style
from gemini_nb.notebook.render.blocks.notices import retry_message, upload_message
from gemini_nb.notebook.render.blocks.parts import METADATA, part_text
from gemini_nb.notebook.render.blocks.server_tools import answered, asked
from gemini_nb.notebook.render.markdown import plain
from gemini_nb.notebook.render.settled import call_line, called, source_lists, transcript_of
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.events import events
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.events.states import ToolStatus, UploadStatus
from gemini_nb.streams.events.uploads import Upload
from gemini_nb.streams.stream import Stream

_ENDS_THOUGHT = (events.TextDelta, events.ToolCallRequested, events.PartReceived, events.RetryScheduled)


def print_stream(stream: Stream, out: TextIO | None = None, *, stops: bool = True) -> bool:
    """Print a stream until it ends, and return whether Ctrl-C came first.

    Args:
        stream: the stream.
        out: where to; by default standard output.
        stops: whether Ctrl-C stops the stream, too; what came stays on the screen.
    """
    printer = _Printer(out or sys.stdout, stream)
    interrupted = False
    try:
        for event in stream:
            printer.print(event)
    except KeyboardInterrupt:
        interrupted = True
        if stops:
            stream.stop()
    printer.finish(stream)
    return interrupted


class _Printer:
    """Prints one stream to a terminal, where nothing can be taken back."""

    def __init__(self, out: TextIO, stream: Stream) -> None:
        self._out = out
        self._stream = stream
        self._styler = Styler(colours=can_style(out))
        self._length = 0
        self._thinks = False
        self._tail = ""  # of the text, since the last line that is not of it
        self._follows_line = False
        self._sound: str | None = None  # the type of the sound that came last, with nothing behind it
        self._asked: list[ToolCall] = []  # of Google's own tools
        self._uploads: dict[int, UploadStatus] = {}  # as last printed

    def print(self, event: events.StreamEvent) -> None:
        """Print what an event says."""
        if self._thinks and isinstance(event, _ENDS_THOUGHT):
            self._thinks = False
            self._out.write("\n\n")
        match event:
            case events.TextDelta():
                self._text(event.text)
            case events.ThoughtDelta():
                self._out.write(self._styler.note(plain(event.text)))
                self._thinks = True
            case events.TextRewound():
                self._rewind(event.length)
            case events.PartReceived():
                self._part(event.part, event.time)
            case events.ToolCallRequested():
                self._note(f"[{event.call.name} …]")
            case events.ToolCallStarted():
                self._ask(event.call)
            case events.ToolCallFinished():
                said = plain(f"{_said(event.call)}[{call_line(event.call)}]")
                self._out.write(f"{self._styler.note(said)}\n")
                self._end_line()
            case events.UploadUpdated():
                self._upload(event.upload)
            case events.RetryScheduled():
                self._note(f"[{retry_message(event, self._length, when=True)}]")
        self._out.flush()

    def _rewind(self, length: int) -> None:
        if self._length > length:
            self._note(f"[what follows replaces the last {quantity(self._length - length, 'character')}]")
        self._length = length

    def _upload(self, upload: Upload) -> None:
        if self._uploads.get(upload.index) != upload.status:
            self._uploads[upload.index] = upload.status
            self._note(f"[{upload_message(upload)}]")

    def finish(self, stream: Stream) -> None:
        """Print the sources, and how it ended."""
        for listed in source_lists(transcript_of(stream)):
            self._note(f"\n{listed}")
        facts = " · ".join([*figures.named(stream), stream.status.value, *figures.short(stream)])
        end = figures.ending(stream)
        shown = f"\n{end}" if end and stream.error is None else ""
        self._out.write(self._styler.finish() + plain(f"{shown}\n({facts})\n"))
        self._out.flush()

    def _ask(self, call: ToolCall) -> None:
        """Ask for a call that still waits for it; the event may be an old one that is replayed."""
        is_asking = call.status == ToolStatus.AWAITING_APPROVAL
        if is_asking and self._stream.tool_calls[call.index].status == ToolStatus.AWAITING_APPROVAL:
            _ask(call)

    def _text(self, text: str) -> None:
        shown = self._styler.feed(plain(text))
        if self._follows_line and text.startswith("\n"):  # the line's own end is one of those that make a gap
            shown = shown.replace("\n", "", 1)
        self._out.write(shown)
        self._length += len(text)
        self._tail, self._follows_line = (self._tail + text)[-2:], False

    def _note(self, text: str) -> None:
        gap = "" if self._tail == "\n\n" else "\n"
        self._out.write(f"{gap}{self._styler.note(plain(text))}\n")
        self._end_line()

    def _end_line(self) -> None:
        self._tail, self._follows_line = "", True

    def _part(self, part: Part, time: float) -> None:
        if any(name in part for name in METADATA) or part.get("thought") is True:
            return  # listed at the end; none of the answer's
        before, self._sound = self._sound, audio_type(part)
        if self._sound is not None:
            if self._sound != before:  # sound comes in many pieces
                self._note(f"[{self._sound}, in stream.audio]")
        elif "executableCode" in part:
            self._out.write(self._styler.feed(f"\n{part_text(part)}\n"))
        elif isinstance(part.get("toolCall"), dict):
            self._asked.append(asked(part["toolCall"], time))
            self._note(f"[{self._asked[-1].name} …]")
        elif isinstance(response := part.get("toolResponse"), dict):
            self._answer(response, time)
        else:
            self._note(part_text(part))

    def _answer(self, response: Part, time: float) -> None:
        calls = [call for call in self._asked if response.get("id") in (None, call.id)]
        call = calls[0] if calls else asked(response, time)
        self._asked = [one for one in self._asked if one is not call]
        self._note(f"[{call_line(answered(call, response, time))}]")


def _said(call: ToolCall) -> str:
    """What a tool printed, set apart from the answer."""
    return "".join(f"  | {line}\n" for line in call.output.splitlines())


def _ask(call: ToolCall) -> None:
    if call.approval is None or not sys.stdin.isatty():
        call.deny("there is no user to approve it")
    elif input(plain(f"Run {called(call)}? [y/N] ")).strip().lower() in {"y", "yes"}:
        call.approve()
    else:
        call.deny()
