"""What a prompt says that a tool or an answer can use: topic, names, quotations, numbers, dates, wishes.

A few patterns are enough. The point is not to understand the prompt but that what comes back is visibly about
it: the city that was asked for goes to the weather tool, and the table that was wanted is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from gemini_nb.simulator.vocabulary import ACRONYMS, ASKING, FUNCTION_WORDS, NUMBER_WORDS, TIME_WORDS

__all__ = ["Clues", "Number", "name_words", "read_clues", "stem"]

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_QUOTED = re.compile(
    r"\"([^\"\n]{1,300})\"|\u201c([^\u201d\n]{1,300})\u201d|`([^`\n]{1,300})`|(?<!\w)'([^'\n]{1,300})'(?!\w)"
)
_NUMBER = re.compile(r"(?<![\w.,:/-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w:/]|-\d|\.\d)")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_CLOCK = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b|\b(1[0-2]|0?[1-9])\s?([ap])\.?m\b", re.IGNORECASE)
_NAME = r"[A-Z\u00c0-\u00de][\w'\u2019.-]*[\w]|[A-Z]"
_NAMES = re.compile(rf"(?:{_NAME})(?:[ ](?:(?:de|da|do|la|of the|am)[ ])?(?:{_NAME}))*(?:, ?[A-Z]{{2}}\b)?")
_BEFORE_PLACE = re.compile(r"\b(?:in|near|to|from|for|of|around|between|visit|visiting|via)\s+(?:the\s+)?$")
_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b")
_BETWEEN = re.compile(r"\s*(?:,|and|or|to|vs\.?|versus|,\s*and)\s+")
_AFTER_PREPOSITION = re.compile(
    r"\b(?:in|at|near|to|from|for)\s+([a-z][a-z-]{2,}(?:(?:,|\s+and|\s+or)\s+[a-z-]{3,})*)"
)
_EXPRESSION = re.compile(r"[-+(]?\d[\d\s.()]{0,24}(?:(?:\*\*|[-+*/^%])[\s(]{0,8}-?\d[\d\s.()]{0,24}){1,40}")
_COUNTED = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d+)[ -]?words?\b", re.IGNORECASE)


_LONGEST = 8_000
"""How much of a prompt is read; a document that is pasted into one may be far longer."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the prompt, with the words around it."""

    value: float
    near: frozenset[str]


@dataclass(frozen=True, slots=True)
class Clues:
    """What was read from a prompt.

    Attributes:
        text: the prompt.
        topic: what it is about, a phrase.
        keywords: its words that carry meaning, in order, in lower case.
        words: the stems of all its words.
        names: capitalised phrases, in order.
        places: those names that stand where a place stands ("in Oslo and Bergen"), or all of them.
        codes: words in capitals, such as currencies and tickers.
        quoted: quotations, in order.
        numbers: numbers, in order.
        dates: dates as YYYY-MM-DD, named days worked out.
        clocks: times of day as HH:MM.
        length: how many words the answer should have, None where it does not say.
    """

    text: str
    topic: str
    keywords: tuple[str, ...]
    words: frozenset[str]
    names: tuple[str, ...]
    places: tuple[str, ...]
    codes: tuple[str, ...]
    quoted: tuple[str, ...]
    numbers: tuple[Number, ...]
    dates: tuple[str, ...]
    clocks: tuple[str, ...]
    length: int | None

    def mentions(self, *words: str) -> bool:
        """Whether any of these words occurs, in singular or plural."""
        return any(stem(word) in self.words for word in words)

    @property
    def expression(self) -> str:
        """The first piece of arithmetic, such as "3 * (4 + 5)"; empty without one."""
        match = _EXPRESSION.search(_CLOCK.sub("", _DATE.sub("", self.text[:_LONGEST])))
        return match[0].strip(" .") if match else ""


def read_clues(text: str, *, today: date | None = None) -> Clues:
    """Read a prompt.

    Args:
        text: the prompt.
        today: the day that "tomorrow" follows; None asks the clock.
    """
    asked = text
    text = text[:_LONGEST]
    words = [match[0].lower() for match in _WORD.finditer(text)]
    keywords = [word for word in words if word not in FUNCTION_WORDS | ASKING and len(word) > 2]
    counted = _COUNTED.search(text)
    named = _names(text)
    located = any(place for _, place in named)
    return Clues(
        text=asked,
        topic=_topic(text) or " and ".join(dict.fromkeys(keywords[:2])) or "your question",
        keywords=tuple(dict.fromkeys(keywords)),
        words=frozenset(stem(word) for whole in words for word in {whole, *whole.split("-")}),
        names=tuple(dict.fromkeys(name for name, _ in named)),
        places=tuple(dict.fromkeys(name for name, place in named if place or not located)),
        codes=tuple(dict.fromkeys(code for code in _CAPITALS.findall(text) if code not in ACRONYMS)),
        quoted=tuple("".join(found).strip() for found in _QUOTED.findall(text)),
        numbers=_numbers(text),
        dates=_dates(text, today or date.today()),  # noqa: DTZ011 - the person's day, as they mean "tomorrow"
        clocks=tuple(_clock(match) for match in _CLOCK.finditer(text)),
        length=int(counted[1].replace(",", "")) if counted else None,
    )


def stem(word: str) -> str:
    """Cut the commonest endings, so that "temperatures" meets "temperature" and "booking" meets "book"."""
    word = word.lower()
    for ending, least in (("ings", 7), ("ing", 6), ("ies", 5), ("es", 6), ("ed", 6), ("s", 4)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            return word[: -len(ending)].rstrip("e") or word
    return word.rstrip("e") if len(word) > 3 else word


def name_words(name: str) -> list[str]:
    """Split an identifier into lower-case words: `getWeather_forCity` gives get, weather, for, city."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


_REQUEST = re.compile(
    r"""^(?:(?:please|hi|hello|hey|now|then|also|ok|okay|and|so)\b[,!]?\s*
    |(?:can|could|would|will)\s+you\s+
    |(?:i\s+(?:want|need|would\s+like)(?:\s+you)?(?:\s+to)?|help\s+me(?:\s+to)?|let's|let\s+us)\s+
    |(?:tell|show|give|teach|send|explain|write|describe)\s+(?:me|us)\s+
    |(?:explain|describe|define|summari[sz]e|outline|compare|plan|list|write|draft|create|make|generate|discuss
       |produce|find|check|name|suggest|recommend|propose|calculate|compute|estimate|solve|prove|look\s+up|tell|show
       |give|think|read|review|analy[sz]e|design|prepare|translate|implement)\s+
    |(?:what|who|where)(?:\s+is|\s+are|\s+was|\s+were|'s)\s+
    |(?:a|an|the|some|one)?\s*(?:(?:very|short|brief|long|detailed|simple|small|little|quick|full|good|nice)\s+)*
       (?:list|table|code|summary|explanation|overview|introduction|essay|text|article|paragraph|story|poem|haiku
       |report|note|description|formula|outline|example|answer)s?
       (?:\s+(?:and|or)\s+(?:an?\s+|the\s+)?(?:list|table|code|formula|example|text)s?)*
       \s+(?:of|for|on|about|to|with|from)\s+
    |\d[\d,]*[ -]words?\s+(?:of|for|on|about)\s+
    |(?:about|of|on)\s+)""",
    re.IGNORECASE | re.VERBOSE,
)
_MANNER = re.compile(
    r"""[\s,;]*\b(?:(?:in|with|using|as|within|about)\s+(?:about\s+|around\s+|at\s+most\s+|under\s+)?
    (?:(?:a|an|one|two|three|four|five|\d[\d,]*|some|simple|plain|few|short|numbered|bullet|small|markdown|the)[\s-]+)*
    (?:words?|sentences?|paragraphs?|lines?|lists?|tables?|code|formulas?|terms?|points?|bullets?|markdown|python
    |examples?|steps?|detail|english|form|json)\b.*
    |please|step\s+by\s+step|briefly|in\s+short|in\s+detail|for\s+me)\s*$""",
    re.IGNORECASE | re.VERBOSE,
)


_QUESTIONS = frozenset({"what", "who", "where", "when", "which", "is", "are", "do", "does", "did", "was"})


def _topic(text: str) -> str:
    """What is left of the first sentence that says something, without the asking and the manner."""
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", text.strip())[:6]:
        phrase = sentence[:300].strip(" .!?:;#*-_>\t")
        for cut in (_REQUEST, _MANNER):
            before = None
            while before != phrase:
                before, phrase = phrase, cut.sub("", phrase).strip(" .!?:;,\"'`")
        words = re.sub('["`\u201c\u201d]', "", phrase).split()[:9]
        while words and words[-1].lower().strip(",;") in FUNCTION_WORDS and words[-1].islower():
            words.pop()
        plain = FUNCTION_WORDS | ASKING
        if any(word.lower().strip(",;") not in plain or word[0].isupper() for word in words[1:]) or any(
            word.lower().strip(",;!") not in plain for word in words[:1]
        ):
            if words[0].lower() in _QUESTIONS:
                return ""
            if words[0].lower() in plain:
                words[0] = words[0].lower()
            return " ".join(words).rstrip(",;:")
    return ""


def _names(text: str) -> list[tuple[str, bool]]:
    """Find capitalised phrases, each with whether it stands where a place would."""
    plain = FUNCTION_WORDS | ASKING | TIME_WORDS
    found: list[tuple[str, bool]] = []
    doubtful: list[str] = []
    end = -1
    for match in _NAMES.finditer(text):
        words = match[0].strip(".'-").split()
        before = text[: match.start()]
        first = (before.rstrip(" \t\"'(*#-") or ".")[-1] in ".!?:\n"
        if first:
            while words and words[0].lower().partition("'")[0] in plain:
                before += words.pop(0).lower() + " "
                first = False
        while words and (words[0].lower() in TIME_WORDS or words[0].partition("'")[0] == "I"):
            words.pop(0)
        if not words:
            continue
        name = " ".join(words)
        if first and len(words) == 1 and not _BETWEEN.match(text, match.end()):
            # Any word is capitalised at the start of a sentence: "Reserve a table", but also "Lima weather".
            doubtful.append(name)
            continue
        follows = bool(found) and found[-1][1] and bool(_BETWEEN.fullmatch(text[end : match.start()]))
        found.append((name, follows or bool(_BEFORE_PLACE.search(before))))
        end = match.end()
    if found or doubtful:
        return found or [(name, False) for name in doubtful]
    # Nobody capitalises in a hurry: "weather in paris and london".
    listed = [word for phrase in _AFTER_PREPOSITION.findall(text) for word in _WORD.findall(phrase)]
    return [(word.title(), True) for word in listed if word not in plain and word not in NUMBER_WORDS]


def _numbers(text: str) -> tuple[Number, ...]:
    bare = _DATE.sub(lambda match: " " * len(match[0]), _COUNTED.sub(lambda match: " " * len(match[0]), text))
    bare = _CLOCK.sub(lambda match: " " * len(match[0]), bare)
    found = [(match.span(), float(match[0].replace(",", ""))) for match in _NUMBER.finditer(bare)]
    written = [(match.span(), NUMBER_WORDS.get(match[0].lower())) for match in _WORD.finditer(bare)]
    found += [(span, float(number)) for span, number in written if number is not None]
    numbers = []
    for (start, end), value in sorted(found):
        before = [stem(word) for word in _WORD.findall(bare[max(0, start - 40) : start])[-2:]]
        after = [stem(word) for word in _WORD.findall(bare[end : end + 40])[:2]]
        numbers.append(Number(value, frozenset(before + after)))
    return tuple(numbers)


def _dates(text: str, today: date) -> tuple[str, ...]:
    lower = text.lower()
    found = _DATE.findall(text)
    for word, days in (("today", 0), ("tonight", 0), ("tomorrow", 1), ("yesterday", -1)):
        if word in lower:
            found.append((today + timedelta(days=days)).isoformat())
    return tuple(found)


def _clock(match: re.Match[str]) -> str:
    if match[1]:
        return f"{int(match[1]):02d}:{match[2]}"
    hour = int(match[3]) % 12 + (12 if match[4].lower() == "p" else 0)
    return f"{hour:02d}:00"
