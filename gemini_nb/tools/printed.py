r"""Printed text as a terminal shows it: a progress bar is one line, and a flood keeps its end.

`print(..., end="\r")` and tqdm go back to the start of a line and write over it, so text that is only
appended would hold every step of a bar. A secret printed in two writes is whole only when both have arrived,
so the text is scrubbed as a whole, and an end that may be the beginning of a secret is held back.
"""

from __future__ import annotations

import re

from gemini_nb.redaction import partial_secret, scrub

LIMIT = 20_000
"""Characters kept of what one call prints: the last ones, and a line that says how many went before."""

_NOTICE = 80  # room for that line
_TOKEN = re.compile(
    r"(?P<text>(?:[^\r\n\x08\x1b]|\x1b\[[0-9;]*m)+)|(?P<down>\r?\n)|(?P<start>\r)|(?P<back>\x08)"
    r"|\x1b\[(?P<number>\d*)(?P<move>[ABK])"
    r"|(?P<other>\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))?)"  # cursors, links, titles
)


class Printed:
    r"""Text that grows by writes, with a cursor.

    `\r`, `\b`, and the escape sequences by which tqdm goes up and down between nested bars, move the
    cursor; what is written next takes the place of what stands there.
    """

    def __init__(self) -> None:
        self.clear()

    def write(self, text: str) -> None:
        """Write at the cursor."""
        for found in _TOKEN.finditer(text):
            match found.lastgroup:
                case "text":
                    self._put(found[0])
                case "down":
                    self._go(1)
                    self._column = 0
                case "start":
                    self._column = 0
                case "back":
                    self._column = max(0, self._column - 1)
                case "move":
                    self._move(found["move"], int(found["number"] or (0 if found["move"] == "K" else 1)))
        self._size += len(text)
        if self._size > 2 * LIMIT:
            self._drop_beginning()

    def clear(self) -> None:
        """Start empty."""
        self._lines = [""]
        self._row = self._column = 0
        self._size = 0  # at most, in characters
        self._omitted = 0

    def text(self, *, final: bool = False) -> str:
        """Return the text without secrets, cut to its last 20,000 characters.

        Args:
            final: whether nothing more is expected, so that nothing is held back.
        """
        whole = scrub("\n".join(self._lines))
        if not final and (held := partial_secret(whole)):
            whole = whole[:-held]
        return end_of(whole, LIMIT, omitted=self._omitted)

    def _put(self, text: str) -> None:
        line = self._lines[self._row]
        if self._column < len(line) and "\x1b" in line:
            line, self._column = "", 0  # columns of a coloured line cannot be counted
        if self._column > len(line):
            line = line.ljust(self._column)
        self._lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
        self._column += len(text)

    def _go(self, rows: int) -> None:
        self._row = max(0, self._row + rows)
        self._lines += [""] * (self._row + 1 - len(self._lines))

    def _move(self, kind: str, number: int) -> None:
        if kind == "A":
            self._go(-number)
        elif kind == "B":
            self._go(min(number, len(self._lines) - 1 - self._row))
        elif number == 2:
            self._lines[self._row], self._column = "", 0
        elif number == 0:
            self._lines[self._row] = self._lines[self._row][: self._column]

    def _drop_beginning(self) -> None:
        """Keep twice what is shown, so that dropping is rare. Secrets are taken out before they are cut."""
        before = len(self._lines) - self._row
        whole = scrub("\n".join(self._lines))
        kept = whole[-LIMIT:]
        self._omitted += len(whole) - len(kept)
        self._lines = kept.split("\n")
        self._row = max(0, len(self._lines) - before)
        self._column = min(self._column, len(self._lines[self._row]))
        self._size = len(kept)


def end_of(text: str, limit: int, *, omitted: int = 0) -> str:
    """Return the end of a text, under a line that says how many characters were left out before it.

    Args:
        text: the text.
        limit: characters to return at most.
        omitted: how many were left out before `text` already.
    """
    if len(text) <= limit and not omitted:
        return text
    kept = text[-(limit - _NOTICE) :]
    newline = kept.find("\n", 0, -1)
    if newline >= 0 and len(kept) < len(text):
        kept = kept[newline + 1 :]  # half a line says little
    return f"[the first {omitted + len(text) - len(kept):,} characters are left out]\n{kept}"
