"""Text from a model, a tool or a server, with the characters that act on a page or a terminal taken out.

HTML escaping alone is not enough: a right-to-left override turns `gpj.exe` into `exe.jpg` for everything that
follows it, a lone surrogate breaks the message to the browser, and an escape sequence retitles a terminal.
"""

from __future__ import annotations

import html
import re
import unicodedata

# One optional final byte and no nested repetition: a sequence that never ends costs linear time.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_NEWLINES = re.compile(r"\r\n?")
# Joiners (U+200C, U+200D) and variation selectors stay: scripts and emoji need them.
_INVISIBLE = "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\u206a-\u206f\ufeff\U000e0000-\U000e007f"
_ACTING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
# The flags of England, Scotland and Wales are spelled with tags, which could hide any text elsewhere.
_TAGS = ("gbeng", "gbsct", "gbwls")
_FLAGS = "|".join("".join(chr(0xE0000 + ord(letter)) for letter in tag) for tag in _TAGS)
_DROPPED = re.compile(f"(\U0001f3f4(?:{_FLAGS})\U000e007f)|[{_INVISIBLE}]")
_REPLACED = re.compile(f"[{_ACTING}]")


def _kept(found: re.Match[str]) -> str:
    return found[1] or ""


def visible(text: str) -> str:
    """`text` with plain newlines, without invisible characters, and with acting ones shown as U+FFFD."""
    if text.replace("\n", "").isprintable():  # none of those characters is
        return text
    return _REPLACED.sub("\ufffd", _DROPPED.sub(_kept, _NEWLINES.sub("\n", text)))


def plain(text: str) -> str:
    """`text` for a terminal or text/plain: no escape sequences, no control or direction characters."""
    return _REPLACED.sub("", _DROPPED.sub(_kept, _NEWLINES.sub("\n", _ANSI.sub("", text))))


def escape(text: str) -> str:
    """`text` for the inside of an HTML element or a quoted attribute, terminal colours removed."""
    return html.escape(visible(_ANSI.sub("", text)), quote=True)


def is_word(char: str) -> bool:
    """Whether CommonMark takes a character for a part of a word."""
    return not (char.isspace() or unicodedata.category(char)[0] in "PS")
