"""Markdown as a terminal shows it while it comes: bold headings and words, coloured code.

A whole answer could be rendered when it is there; a stream has to be styled character by character, and what
was printed cannot be taken back. So only marks that decide at once are taken: a heading at the beginning of a
line, `**`, a backtick, a fence.
"""

from __future__ import annotations

import os
from typing import TextIO

_BOLD, _CODE, _FAINT, _PLAIN = "\x1b[1m", "\x1b[36m", "\x1b[2m", "\x1b[0m"


def can_style(out: TextIO) -> bool:
    """Whether this is a terminal that takes colours, and colours are not switched off."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Styler:
    """Styles one answer; without colours it changes nothing."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._held = ""  # marks at the end of a piece, which the next one may go on with
        self._at_line_start = True
        self._heading = self._bold = self._code = self._fence = False

    def feed(self, text: str) -> str:
        """Return a piece of the answer with its styles; marks at its end are kept for the next."""
        if not self._colours:
            return text
        text = self._held + text
        kept = len(text) - len(text.rstrip("*`#"))
        self._held = text[len(text) - kept :] if kept else ""
        return self._styled(text[: len(text) - kept])

    def finish(self) -> str:
        """Return what was kept, and end all styles."""
        if not self._colours:
            return ""
        rest, self._held = self._held, ""
        said = self._styled(rest)
        self._heading = self._bold = self._code = self._fence = False
        return said + _PLAIN

    def note(self, text: str) -> str:
        """A line that is not part of the answer, such as a notice."""
        return f"{_FAINT}{text}{_PLAIN}{self._style()}" if self._colours else text

    def _style(self) -> str:
        if self._fence or self._code:
            return _PLAIN + _CODE
        return _PLAIN + (_BOLD if self._heading or self._bold else "")

    def _styled(self, text: str) -> str:
        made: list[str] = []
        position = 0
        while position < len(text):
            mark = self._mark(text, position)
            made.append(self._take(text, position, mark))
            position += len(mark)
        return "".join(made)

    def _mark(self, text: str, position: int) -> str:
        """The mark at this place, or the character."""
        if text.startswith("```", position) and (self._at_line_start or self._fence):
            return "```"
        if self._fence:
            return text[position]
        if text.startswith("**", position) and not self._code:
            return "**"
        return text[position]

    def _take(self, text: str, position: int, mark: str) -> str:
        starts, self._at_line_start = self._at_line_start, mark == "\n"
        if mark == "```":
            self._fence = not self._fence
            return mark + self._style()
        if mark == "\n":
            ended, self._heading, self._bold, self._code = self._heading, False, False, False
            return self._style() + mark if ended else mark
        if self._fence:
            return mark
        if mark == "#" and starts and text[position:].lstrip("#").startswith(" "):
            self._heading = True
            return self._style() + mark
        if mark == "**":
            self._bold = not self._bold
            return self._style()
        if mark == "`":
            self._code = not self._code
            return self._style()
        return mark
