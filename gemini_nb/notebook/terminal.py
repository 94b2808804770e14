"""A stream in a terminal: text as it comes, tool calls as lines."""

from __future__ import annotations

import sys
from typing import TextIO

from gemini_nb.notebook import figures
from gemini_nb.notebook.ansi import Styler, can_style
from gemini_nb.notebook.markdown import plain
from gemini_nb.notebook.settled import call_line
from gemini_nb.notebook.transcript import retry_words
from gemini_nb.streams.calls import ToolCall
from gemini_nb.streams.events import (
    RetryScheduled,
    TextDelta,
    TextRewound,
    ToolCallFinished,
    ToolCallRequested,
    ToolCallStarted,
)
from gemini_nb.streams.states import ToolStatus
from gemini_nb.streams.stream import Stream

__all__ = ["print_stream"]


def print_stream(stream: Stream, out: TextIO | None = None) -> None:
    """Print a stream until it ends. Ctrl-C stops it; what came stays on the screen.

    Args:
        stream: the stream.
        out: where to; by default standard output.
    """
    out = out or sys.stdout
    styler = Styler(colours=can_style(out))
    length = 0
    try:
        for event in stream:
            match event:
                case TextDelta():
                    out.write(styler.feed(plain(event.text)))
                    length += len(event.text)
                case TextRewound():  # a terminal cannot take back what it has printed
                    if length > event.length:
                        lost = f"[what follows replaces the last {length - event.length:,} characters]"
                        out.write(f"\n{styler.note(lost)}\n")
                    length = event.length
                case ToolCallRequested():
                    out.write(f"\n{styler.note(plain(f'[{event.call.name} …]'))}\n")
                case ToolCallStarted() if event.call.status == ToolStatus.AWAITING_APPROVAL:
                    _ask(event.call)
                case ToolCallFinished():
                    line = plain(f"{_said(event.call)}[{call_line(event.call)}]")
                    out.write(f"{styler.note(line)}\n")
                case RetryScheduled():
                    out.write(f"\n{styler.note(plain(f'[{retry_words(event, length)}]'))}\n")
                case _:
                    continue
            out.flush()
    except KeyboardInterrupt:
        stream.stop()
    facts = " · ".join([figures.title(stream), stream.status.value, *figures.summary(stream)])
    end = figures.ending(stream)
    shown = f"\n{end}" if end and stream.error is None else ""
    out.write(styler.finish() + plain(f"{shown}\n({facts})\n"))
    out.flush()


def _said(call: ToolCall) -> str:
    """What a tool printed, set apart from the answer."""
    return "".join(f"  | {line}\n" for line in call.output.splitlines())


def _ask(call: ToolCall) -> None:
    if call.approval is None or not sys.stdin.isatty():
        call.deny("nobody is there to approve it")
    elif input(plain(f"[{call.name} {call.args}: run it? y/N] ")).strip().lower() in {"y", "yes"}:
        call.approve()
    else:
        call.deny()
