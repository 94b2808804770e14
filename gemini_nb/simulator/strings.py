"""Texts for arguments and structured answers: found in the prompt by the parameter's name, or made up."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gemini_nb.simulator.clues import Clues, name_words
from gemini_nb.simulator.vocabulary import CODE_NAMES, PLACE_NAMES, PLACES

__all__ = ["StringMaker"]

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_FILE = re.compile(r"(?<![\w/])[\w./-]*\w\.[a-z][a-z0-9]{1,4}\b")
_URL = re.compile(r"https?://[^\s\"'<>)]+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+\w")

_LIKELY = (
    *("AB-123", "ABC-1234", "A1", "AB12", "a1", "X1Y2Z3", "en-US", "#1f6feb", "+15551234567", "555-0100"),
    *(
        "2026-01-31",
        "12:30",
        "someone@example.com",
        "https://example.com/",
        "1.0",
        "1.0.0",
        "v1.0.0",
        "12.50",
    ),
)
"""Texts that many patterns are meant for."""

_WAY = {
    "from": frozenset({"from", "origin", "start", "departure", "source"}),
    "to": frozenset({"to", "destination", "end", "arrival", "goal", "target"}),
}
_QUESTIONS = frozenset(
    {"query", "question", "q", "search", "topic", "subject", "keyword", "keywords", "term", "text", "message"}
)
_WHOLE_TEXT = frozenset({"prompt", "task", "instruction", "instructions", "request", "input"})
_PEOPLE = ("Ada Moreau", "Kenji Sato", "Amara Okafor", "Lena Fischer", "Mateo Silva")
_VENUES = ("Chez Nous", "The Green Table", "Harbour Kitchen")
_USUAL: dict[str, tuple[str, ...]] = {
    "language": ("English", "French", "Japanese"),
    "currency": ("EUR", "USD"),
    "unit": ("celsius",),
    "units": ("metric",),
    "color": ("blue", "green", "amber"),
    "colour": ("blue", "green", "amber"),
    "category": ("general",),
    "status": ("open",),
    "ticker": ("ACME",),
    "symbol": ("ACME",),
    "timezone": ("Europe/Paris",),
    "model": ("standard",),
}


class StringMaker:
    """Makes the texts of one schema; a quotation or a place is used once while there are others.

    Args:
        clues: what the prompt says.
        rng: where made-up texts come from.
        made_up: whether to make up content, for a structured answer, rather than to repeat the prompt.
    """

    def __init__(self, clues: Clues, rng: random.Random, *, made_up: bool) -> None:
        self.number: int | None = None
        """The index of the list item that is being made, None outside of lists."""
        self._clues = clues
        self._rng = rng
        self._made_up = made_up
        self._quoted = list(clues.quoted)
        self._places = list(clues.places)
        self._codes = list(clues.codes)
        self._by_format: dict[str, Callable[[], str]] = {
            "date": self._date,
            "time": lambda: self._clock() + ":00",
            "date-time": lambda: f"{self._date()}T{self._clock()}:00Z",
            "email": self._email,
            "uri": self._url,
            "url": self._url,
            "uri-reference": self._url,
            "uuid": lambda: (
                f"{self._rng.getrandbits(32):08x}-0000-4000-8000-{self._rng.getrandbits(48):012x}"
            ),
            "duration": lambda: "PT30M",
            "hostname": lambda: "example.com",
            "ipv4": lambda: "192.0.2.1",
            "ipv6": lambda: "2001:db8::1",
            "byte": lambda: "aGVsbG8=",
            "binary": lambda: "aGVsbG8=",
        }

    def make(self, schema: Mapping[str, Any], name: str) -> str:
        """Make the text for one parameter."""
        return _fit(self._find(schema, name), schema)

    def fits(self, schema: Mapping[str, Any], name: str) -> bool:
        """Whether the prompt holds a text for an optional parameter."""
        words = set(name_words(name))
        if self._assigned(name):
            return True
        if words & PLACE_NAMES:
            return bool(self._clues.places)
        if schema.get("format") in {"date", "date-time"} or words & {"date", "day", "when"}:
            return bool(self._clues.dates)
        if schema.get("format") == "time" or "time" in words:
            return bool(self._clues.clocks)
        return False

    def count(self, name: str) -> int:
        """How many items of a list of texts the prompt holds."""
        if set(name_words(name)) & PLACE_NAMES:
            return len(self._places)
        return 0 if self._made_up else len(self._quoted)

    def _find(self, schema: Mapping[str, Any], name: str) -> str:
        words = set(name_words(name))
        if value := self._assigned(name):
            return value
        if make := self._by_format.get(str(schema.get("format"))):
            return make()
        for found in (self._from_prompt(words), self._own(schema)):
            if found is not None:
                return found
        return self._invent(words, name)

    def _from_prompt(self, words: set[str]) -> str | None:
        clues = self._clues
        if way := self._end_of_way(words):
            return way
        if words & PLACE_NAMES and not (self._codes and words & CODE_NAMES):
            return self._place()
        if words & {"date", "day", "when"} and (clues.dates or words & {"date"}):
            return self._date()
        if words & {"time", "clock"}:
            return self._clock()
        if words & {"email", "mail"}:
            return self._email()
        if words & {"url", "uri", "link", "website"}:
            return self._url()
        if words & {"expression", "formula", "equation", "calculation"} and clues.expression:
            return clues.expression
        if words & {"path", "file", "filename"} and (match := _FILE.search(clues.text)):
            return str(match[0])
        if words & CODE_NAMES and self._codes:
            return self._codes.pop(0) if len(self._codes) > 1 else self._codes[0]
        if self._quoted and not self._made_up:
            return self._quoted.pop(0) if len(self._quoted) > 1 else self._quoted[0]
        if (
            words & {"name", "person", "author", "user", "customer", "title", "restaurant", "company"}
            and clues.names
        ):
            others = [found for found in clues.names if found not in clues.places]
            return others[0] if others else None
        return None

    def _own(self, schema: Mapping[str, Any]) -> str | None:
        for key in ("default", "example"):
            if isinstance(schema.get(key), str):
                return str(schema[key])
        examples = schema.get("examples")
        if isinstance(examples, list) and examples and isinstance(examples[0], str):
            return str(examples[0])
        return None

    def _invent(self, words: set[str], name: str) -> str:
        topic = self._clues.topic
        if not self._made_up and words & _WHOLE_TEXT and self._clues.text.strip():
            return self._clues.text.strip()
        if words & {"sql", "code", "script"}:
            return self._program(words)
        if words & _QUESTIONS:
            return topic
        for word in words:
            if word in _USUAL:
                return self._pick(_USUAL[word])
        if words & {"title", "headline", "heading"}:
            return topic[:1].upper() + topic[1:]
        if words & {"summary", "description", "text", "content", "answer", "explanation", "reason", "notes"}:
            return f"A simulated {name.replace('_', ' ')} about {topic}."
        if words & {"person", "author", "user", "customer"} or words == {"name"}:
            return self._pick(_PEOPLE)
        if words & {"restaurant", "venue", "hotel", "shop"}:
            return self._pick(_VENUES)
        if words & {"id", "identifier", "key"}:
            return f"{''.join(sorted(words - {'id'})) or 'item'}-{(self.number or 0) + 1}"
        label = " ".join(name_words(name)) or "value"
        if self.number is not None:
            label = f"{_ORDINALS[self.number % len(_ORDINALS)]} {label.removesuffix('s')}"
        return f"{label} of {topic}" if self._made_up else topic

    def _program(self, words: set[str]) -> str:
        if "sql" in words:
            # Whatever runs this gets plain letters from the prompt, nothing that could end the statement.
            table = next((word for word in self._clues.keywords if re.fullmatch("[a-z]+", word)), "items")
            return f"SELECT * FROM {table} LIMIT 10"  # noqa: S608 - letters only, see above
        return f"print({self._clues.expression or repr(self._clues.topic)})"

    def _pick(self, choices: tuple[str, ...]) -> str:
        return choices[self.number % len(choices)] if self.number is not None else self._rng.choice(choices)

    def _assigned(self, name: str) -> str:
        """What the prompt gives to this name: "units = metric", "city: Oslo"."""
        words = [re.escape(word) for word in name_words(name)]
        if not words:
            return ""
        pattern = rf"\b{'[ _-]?'.join(words)}\b\s*(?:=|:)\s*(\"[^\"\n]+\"|'[^'\n]+'|[^\s,;]+)"
        found = re.search(pattern, self._clues.text, re.IGNORECASE)
        return str(found[1]).strip("\"'.") if found else ""

    def _end_of_way(self, words: set[str]) -> str | None:
        """The place after "from" for an origin, the one after "to" for a destination."""
        for preposition, asking in _WAY.items():
            for name in self._clues.names if words & asking else ():
                if re.search(rf"\b{preposition}\s+{re.escape(name)}", self._clues.text, re.IGNORECASE):
                    return name
        return None

    def _place(self) -> str:
        if not self._places:
            return self._pick(PLACES)
        return self._places.pop(0) if len(self._places) > 1 else self._places[0]

    def _date(self) -> str:
        return self._clues.dates[0] if self._clues.dates else datetime.now(UTC).date().isoformat()

    def _clock(self) -> str:
        return self._clues.clocks[0] if self._clues.clocks else "19:00"

    def _email(self) -> str:
        found = _EMAIL.search(self._clues.text)
        return found[0] if found else "someone@example.com"

    def _url(self) -> str:
        found = _URL.search(self._clues.text)
        return found[0].rstrip(".,;") if found else "https://example.com/"


def _fit(text: str, schema: Mapping[str, Any]) -> str:
    """Make a text obey the schema's pattern and lengths."""
    least = int(schema.get("minLength") or 0)
    most = int(schema["maxLength"]) if schema.get("maxLength") is not None else None
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (found := _matching(pattern, text, least, most)) is not None:
        return found
    if len(text) < least:
        text = (text or "x").ljust(least, ".")
    return text if most is None else text[:most].rstrip() or text[:most]


def _matching(pattern: str, text: str, least: int, most: int | None) -> str | None:
    """Look for a text that matches a pattern among likely ones; None where none does, or it is no pattern."""
    try:
        regex = re.compile(pattern)
    except re.error:
        return None
    dashed = re.sub(r"\W+", "-", text.lower()).strip("-")
    words: list[str] = re.findall(r"\w+", text)
    runs = [letter * count for count in range(1, 41) for letter in "Aa10"]
    for candidate in (text, text.lower(), text.upper(), dashed, *words, *runs, *_LIKELY):
        if len(candidate) >= least and (most is None or len(candidate) <= most) and regex.search(candidate):
            return candidate
    return None
