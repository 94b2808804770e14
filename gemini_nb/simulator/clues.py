"""What a prompt says: its topic, names, places, quotations and numbers, and how long an answer it wants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["NAME", "Clues", "name_words", "read_clues", "stem"]

_LONGEST = 8_000  # characters that are read, since a whole document may have been pasted
_WORD = re.compile(r"[^\W\d_]+")
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201d\n]{1,300})[\"\u201d](?!\s*:)")
_TICKED = re.compile(r"`([^`\n]{1,300})`")
_NUMBER = re.compile(
    r"(?<![\w.,:/-])(-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,15})?)(?![\w:/]|-\d|\.\d)(?:[ -]([^\W\d_]+))?"
)
_NUMBER_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10}
_LENGTH = re.compile(
    rf"(?:\b(?:in|with|of|as)\s+(?:about\s+)?)?\b(\d[\d,]{{0,9}}|{'|'.join(_NUMBER_WORDS)}|one|a)[ -]"
    r"(?:short |single )?(word|sentence|line|bullet|paragraph)s?\b(?: points?\b)?",
    re.IGNORECASE,
)
_CAPITAL = r"(?:[A-Z\u00c0-\u00de][\w'\u2019.-]*\w|[A-Z])"
NAME = rf"{_CAPITAL}(?: (?:(?:de|da|do|la|of the) )?{_CAPITAL})*(?:, ?[A-Z]{{2}}\b)?"
_NEXT = r"(?:,| and| or| to| vs\.?| und| y| et) (?:and )?"
_PLACES = re.compile(
    rf"\b(?i:in|near|to|from|around|between|visit|nach|en)\s+(?:the\s+)?({NAME}(?:{_NEXT}{NAME})*)"
)
_LOWER = r"[a-z-]{3,}(?: (?!(?:and|for|like|next|now|please|this|to\w*|with)\b)[a-z-]{3,})?"
_LOWER_PLACES = re.compile(
    rf"\b(?:in|near|to|from)\s+(?!an?\b|the\b|my\b|your\b)({_LOWER}(?:(?:, | and ){_LOWER})*)(?![\w/.])"
)
_NO_NAME = re.compile(
    r"the|an?|from|to|with|i|we|you|it|he|she|they|th(?:is|at|ese|ere)|wh(?:at|ich|o|y|en|ere)|how|if|in|on|at"
    r"|for|and|but|is|are|do|does|can|please|first|then|today|tomorrow"
    r"|answer|book|check|compare|convert|describe|explain|find|get|give|list|look|make|name|plan|read|reserve"
    r"|search|send|show|simulate|summari[sz]e|tell|translate|write",
    re.IGNORECASE,
)
"""Words that are no part of a name, though they may have a capital where a sentence begins."""
_REQUEST = re.compile(
    r"^(?:please )?(?:plan|explain|describe|draw|write|summari[sz]e|tell|give|compare|show)\b(?: me\b)?"
    r"(?: an? (?:long |short )?text\b)?\s*(?:(?:about|on|of)\b)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """What a prompt says."""

    text: str  # as far as it is read
    topic: str  # its first sentence without the verb
    words: frozenset[str]  # the stems of them
    names: tuple[str, ...]  # its capitalised phrases, in order
    places: tuple[str, ...]  # those that stand where a place stands, as in "in Oslo and Bergen"
    quoted: tuple[str, ...]
    numbers: tuple[tuple[float, str], ...]  # with the stem of what follows: "night" in "4 nights"
    length: tuple[int, str] | None  # how long it should be, such as (3, "sentence")

    def mentions(self, *words: str) -> bool:
        """Whether any of these words occurs, in singular or plural."""
        return any(stem(word) in self.words for word in words)


def read_clues(text: str) -> Clues:
    """Read a prompt."""
    return _read(text[:_LONGEST])


@lru_cache(maxsize=256)  # each tool looks for the sentence that speaks of it
def _read(text: str) -> Clues:
    length, rest = _LENGTH.search(text), _LENGTH.sub("", text)
    names = _names(rest)
    places = [name for found in _PLACES.findall(rest) for name in re.findall(NAME, found)]
    if not names and (lower := _LOWER_PLACES.search(rest)):  # "weather in paris"
        names = places = [word.title() for word in re.split(", | and ", lower[1])]
    return Clues(
        text=text,
        topic=_topic(rest),
        words=frozenset(map(stem, _WORD.findall(text))),
        names=tuple(dict.fromkeys(names)),
        places=tuple(dict.fromkeys(places)),
        quoted=(*_QUOTED.findall(text), *_TICKED.findall(text)),
        numbers=_numbers(rest),
        length=(_count(length[1].lower()), length[2].lower()) if length else None,
    )


def stem(word: str) -> str:
    """Cut the plural's s, roughly, and fold case."""
    word = word.lower()
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def name_words(name: str) -> list[str]:
    """Split an identifier into its words, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _names(text: str) -> list[str]:
    names = []
    for match in re.finditer(NAME, text):
        words = match[0].split()
        starts = (text[: match.start()].rstrip(" \t\"'(*#-") or ".")[-1] in ".!?:\n\u00bf\u00a1"
        while words and _NO_NAME.fullmatch(words[0]):
            starts = False
            words.pop(0)
        # Any word has a capital where a sentence begins: "Reserve a table", but also "Oslo and Bergen".
        if words and not (starts and len(words) == 1 and not re.match(_NEXT + "[A-Z]", text[match.end() :])):
            names.append(" ".join(words))
    return names


def _numbers(text: str) -> tuple[tuple[float, str], ...]:
    digits = _WORD.sub(lambda match: str(_NUMBER_WORDS.get(match[0].lower(), match[0])), text)
    return tuple((float(one.replace(",", "")), stem(unit)) for one, unit in _NUMBER.findall(digits))


def _count(word: str) -> int:
    return _NUMBER_WORDS.get(word, 1) if word.isalpha() else int(word.replace(",", ""))


def _topic(text: str) -> str:
    # The sentence may end in a gap: a length that was asked for has been taken out before the full stop.
    text = _REQUEST.sub("", re.sub(r"\s+([.?!,;])", r"\1", text).strip(" \n:,"))
    sentence = re.split(r"(?<=\w)[.?!](?:\s|$)|\n|:\s", text.strip(" \n:,"), maxsplit=1)[0]
    topic = " ".join(re.sub(r",? with .*", "", sentence).split()).strip(" ,;.?!")
    return topic[:80].rstrip() or "your question"
