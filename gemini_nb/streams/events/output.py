"""What a stream shows of its model calls: text and thoughts in pieces, without secrets, and a count of parts.

The ends of pieces that may be the beginning of a secret are held back until more has come. A model call that
breaks is taken back to a mark. Only the loop thread writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemini_nb.redaction import Veil

_BLANK_LINE = "\n\n"
_NONE: list[str] = []  # of all streams that have shrunk: nothing comes after their end
_SPENT = Veil()


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in what a stream has shown.

    Attributes:
        length: characters of the text before it.
        texts: pieces of the text before it.
        thoughts: pieces of the thoughts before it.
        parts: other parts before it.
        held: white space before it that is not shown yet.
    """

    length: int
    texts: int
    thoughts: int
    parts: int
    held: str = ""


class Output:
    """The text and the thoughts of one stream, over all its model calls.

    Attributes:
        length: how many characters the text has.
        parts: how many parts there are that are neither text nor a function call.
    """

    __slots__ = (
        "_answer_from",
        "_follows_text",
        "_held",
        "_text_veil",
        "_texts",
        "_thought_veil",
        "_thoughts",
        "length",
        "parts",
    )

    def __init__(self) -> None:
        self.length = self.parts = self._answer_from = 0
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._text_veil, self._thought_veil = Veil(), Veil()
        self._follows_text = False  # whether a model call before this one had text
        self._held = ""  # white space with which this call began, until other text follows

    @property
    def text(self) -> str:
        """The text of all model calls, a blank line between two that have any."""
        return "".join(self._texts)

    @property
    def answer(self) -> str:
        """The text of the last model call."""
        return "".join(self._texts[self._answer_from :])

    @property
    def thoughts(self) -> str:
        """The thought summaries of all model calls."""
        return "".join(self._thoughts)

    def feed_text(self, text: str) -> Sequence[str]:
        """Add text; return the pieces that can be shown now."""
        return self._add_text(self._text_veil.feed(text))

    def feed_thought(self, text: str) -> str:
        """Add text to the thoughts; return what of it can be shown now."""
        return self._add_thought(self._thought_veil.feed(text))

    def flush(self) -> tuple[str, Sequence[str]]:
        """Return the thought and the pieces of text that were held back, since other output follows."""
        return self._add_thought(self._thought_veil.flush()), self._add_text(self._text_veil.flush())

    def _add_thought(self, text: str) -> str:
        if text:
            self._thoughts.append(text)
        return text

    def _add_text(self, text: str) -> Sequence[str]:
        if not text:
            return ()
        if not self._follows_text or len(self._texts) != self._answer_from:
            self._texts.append(text)
            self.length += len(text)
            return (text,)
        text = self._held + text
        if not text.strip():
            self._held = text
            return ()
        self._held = ""
        self._answer_from += 1
        self._texts += (_BLANK_LINE, text)
        self.length += len(_BLANK_LINE) + len(text)
        return _BLANK_LINE, text

    def begin_call(self) -> None:
        """Begin the text of another model call."""
        self._answer_from, self._held = len(self._texts), ""
        self._follows_text = bool(self.text.strip())

    def mark(self) -> Mark:
        """Return the current place, to come back to."""
        return Mark(self.length, len(self._texts), len(self._thoughts), self.parts, self._held)

    def rewind(self, mark: Mark) -> bool:
        """Discard what came since that place; return whether any of it was shown."""
        self._text_veil.flush()
        self._thought_veil.flush()
        if mark == self.mark():
            return False
        del self._texts[mark.texts :]
        del self._thoughts[mark.thoughts :]
        self._answer_from, self._held = min(self._answer_from, mark.texts), mark.held
        self.length, self.parts = mark.length, mark.parts
        return True

    def shrink(self) -> None:
        """Drop all but the texts; nothing more will come."""
        before, answer = "".join(self._texts[: self._answer_from]), self.answer
        self._texts, self._answer_from = [text for text in (before, answer) if text], bool(before)
        self._thoughts = [self.thoughts] if self._thoughts else _NONE
        self._text_veil = self._thought_veil = _SPENT
