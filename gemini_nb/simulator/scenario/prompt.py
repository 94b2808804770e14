"""A prompt: a request that has passed every rule, and what it says.

A few patterns read names, quotations, numbers and the wished length from it. The point is not to understand
the prompt but that the answer is visibly about it: the city that was asked for goes to the weather tool.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.simulator.protocol.caches import Cache
from gemini_nb.simulator.protocol.contents import check_contents
from gemini_nb.simulator.protocol.fields import read_body
from gemini_nb.simulator.protocol.history import (
    Exchange,
    check_image_signatures,
    check_order,
    check_signatures,
    current_rounds,
    read_turns,
)
from gemini_nb.simulator.protocol.routes import Route, check_model, signs_calls
from gemini_nb.simulator.protocol.rules import Asked, check_length, check_settings

__all__ = ["Clues", "Declaration", "Number", "Prompt", "name_words", "read_clues", "read_prompt", "stem"]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A function the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One valid request.

    Attributes:
        body: the request body, in camelCase.
        model: the bare id of the model.
        vertex: whether it came over Vertex AI.
        seed: decides, with the text, what is made up.
        clues: what was read from the user's last message.
        previous: the user's message before that, empty in a first turn.
        rounds: the calls made since those last words, with their results.
        declarations: the functions that may be called; none where calling is off.
        builtins: the names of the server-side tools that are on, such as "googleSearch".
        must_call: whether the request demands a call.
        config: the generation config.
        tokens: the length of the prompt, the cached part of it included.
        cached_tokens: of them those of the cache.
    """

    body: Mapping[str, Any]
    model: str
    vertex: bool
    seed: int
    clues: Clues
    previous: str
    rounds: list[list[Exchange]]
    declarations: tuple[Declaration, ...]
    builtins: frozenset[str]
    must_call: bool
    config: Mapping[str, Any]
    tokens: int
    cached_tokens: int = 0

    @property
    def signs(self) -> bool:
        """Whether calls carry an id and a signature."""
        return signs_calls(self.model)

    @property
    def shows_server_calls(self) -> bool:
        """Whether the answer holds the calls of server-side tools."""
        return self.body.get("toolConfig", {}).get("includeServerSideToolInvocations") is True

    @property
    def tier(self) -> str:
        """The tier that serves it, which is the one that it asks for."""
        asked = str(self.body.get("serviceTier", "")).lower()
        return asked if asked in {"flex", "priority"} else "standard"

    def rng(self, *purpose: object) -> random.Random:
        """Return a random generator that is the same for the same prompt and purpose."""
        return random.Random(f"{self.seed}|{self.clues.text.strip()}|{purpose}")  # noqa: S311 - no secrets


def read_prompt(
    route: Route,
    value: Any,
    *,
    seed: int = 0,
    verify: bool = True,
    known: Collection[str] = (),
    find_cache: Callable[[str, str], Cache | None] = lambda *_: None,
) -> Prompt:
    """Check a request body by all rules of the service, and read it.

    Args:
        route: where it was sent.
        value: the JSON of the body.
        seed: decides, with the text, what is made up.
        verify: whether signatures of function calls are checked.
        known: fields of parts that the table of fields does not have and that may come back.
        find_cache: finds the cache of a name, for a model.

    Raises:
        RefusalError: 400 or 404, what the service would say.
    """
    check_model(route)
    model = route.model
    body = read_body(value, vertex=route.vertex, known=known)
    check_contents(body, vertex=route.vertex)
    tokens = check_length(body)
    asked = Asked(
        body=body, model=model, vertex=route.vertex, streaming=route.method == "streamGenerateContent"
    )
    check_settings(asked)
    cache = find_cache(body["cachedContent"], model) if "cachedContent" in body else None
    contents = body["contents"]
    if cache is not None:
        contents = [*cache.held.get("contents", ()), *contents]
        whole = {**cache.held, **body, "contents": contents}
        asked = Asked(body=whole, model=model, vertex=route.vertex, streaming=asked.streaming)
    cached_tokens = cache.tokens if cache is not None else 0
    turns = read_turns(contents)
    check_order(turns)
    if verify and signs_calls(model):
        check_signatures(turns, vertex=route.vertex)
        if "image" in model:
            check_image_signatures(turns)
    messages = [turn.text for turn in turns if turn.kind == "user" and turn.text.strip()]
    return Prompt(
        body=body,
        model=model,
        vertex=route.vertex,
        seed=seed,
        clues=read_clues(messages[-1] if messages else ""),
        previous=messages[-2] if len(messages) > 1 else "",
        rounds=current_rounds(turns),
        declarations=_callable(asked),
        builtins=frozenset(asked.builtins),
        must_call=asked.mode == "ANY",
        config=asked.config,
        tokens=tokens + cached_tokens,
        cached_tokens=cached_tokens,
    )


def _callable(asked: Asked) -> tuple[Declaration, ...]:
    """Return the functions that may be called."""
    if asked.mode == "NONE":
        return ()
    allowed = asked.calling.get("allowedFunctionNames")
    return tuple(
        Declaration(
            one["name"],
            str(one.get("description", "")),
            one.get("parametersJsonSchema") or one.get("parameters") or {},
        )
        for one in asked.declarations
        if not allowed or one["name"] in allowed
    )


_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_QUOTED = re.compile(r"\"([^\"\n]{1,300})\"|\u201c([^\u201d\n]{1,300})\u201d|`([^`\n]{1,300})`")
_NUMBER = re.compile(r"(?<![\w.,:/-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w:/]|-\d|\.\d)")
_NUMBER_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10}
_UNITS = r"(word|sentence|line|bullet|paragraph)s?"
_LENGTH = re.compile(
    rf"\b(\d[\d,]*|{'|'.join(_NUMBER_WORDS)}|one|a)[ -](?:short |single )?{_UNITS}\b", re.IGNORECASE
)
_CAPITAL = r"[A-Z\u00c0-\u00de][\w'\u2019.-]*\w|[A-Z]"
_NAME = re.compile(rf"(?:{_CAPITAL})(?: (?:(?:de|da|do|la|of the) )?(?:{_CAPITAL}))*(?:, ?[A-Z]{{2}}\b)?")
_LISTED = re.compile(r"\s*(?:,|and|or|to|vs\.?)\s+(?:and )?[A-Z]")
_BEFORE_PLACE = re.compile(r"\b(?:in|near|to|from|around|between|visit)\s+(?:the\s+)?$")
_LOWER_PLACE = re.compile(
    r"\b(?:in|near|to|from)\s+(?!an?\b|the\b|my\b|your\b)([a-z-]{3,}(?:(?:, | and )[a-z-]{3,})*)"
)
_NO_NAME = re.compile(
    r"the|an?|from|to|with|i|we|you|it|he|she|they|th(?:is|at|ese|ere)|wh(?:at|ich|o|y|en|ere)|how|if|in|on|at"
    r"|for|and|but|is|are|do|does|can|please|first|then|today|tomorrow"
    r"|answer|book|check|compare|convert|describe|explain|find|get|give|list|look|make|name|plan|read|reserve"
    r"|search|send|show|simulate|summari[sz]e|tell|translate|write",
    re.IGNORECASE,
)
"""Words that are no part of a name, though they may have a capital where a sentence begins."""
_VERB = re.compile(
    r"^(?:please )?(?:plan|explain|describe|write|summari[sz]e|tell me|give me|compare|show)\b\s*"
    r"(?:(?:about|on|of)\b)?",
    re.IGNORECASE,
)
_LONGEST = 8_000  # characters that are read of a prompt, into which a whole document may have been pasted


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the prompt, with the word that follows it: "people" in "4 people"."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Clues:
    """What a prompt says.

    Attributes:
        text: the prompt.
        topic: what it is about: its first sentence without the verb.
        words: the stems of its words.
        names: its capitalised phrases, in order.
        places: those that stand where a place stands, as in "in Oslo and Bergen".
        quoted: its quotations, in order.
        numbers: its numbers, in order, without those that say how long the answer should be.
        length: how long the answer should be, such as (3, "sentence"); None where the prompt does not say.
    """

    text: str
    topic: str
    words: frozenset[str]
    names: tuple[str, ...]
    places: tuple[str, ...]
    quoted: tuple[str, ...]
    numbers: tuple[Number, ...]
    length: tuple[int, str] | None

    def mentions(self, *words: str) -> bool:
        """Whether any of these words occurs, in singular or plural."""
        return any(stem(word) in self.words for word in words)


def read_clues(text: str) -> Clues:
    """Read a prompt."""
    read = text[:_LONGEST]
    length = _LENGTH.search(read)
    names, places = _names(_LENGTH.sub(" ", read))
    return Clues(
        text=text,
        topic=_topic(read),
        words=frozenset(stem(part) for word in _WORD.findall(read) for part in {word, *word.split("-")}),
        names=names,
        places=places,
        quoted=tuple(next(filter(None, groups)) for groups in _QUOTED.findall(read)),
        numbers=_numbers(_LENGTH.sub(" ", read)),
        length=(_count(length[1]), length[2].lower()) if length else None,
    )


def stem(word: str) -> str:
    """Cut the plural's s, roughly, and fold case."""
    word = word.lower().partition("'")[0]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def name_words(name: str) -> list[str]:
    """Split an identifier into its words, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _names(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found: list[tuple[str, bool]] = []
    end = 0
    for match in _NAME.finditer(text):
        before, words = text[: match.start()], match[0].strip(".'-").split()
        starts = (before.rstrip(" \t\"'(*#-") or ".")[-1] in ".!?:\n"
        while words and _NO_NAME.fullmatch(words[0]):
            starts = False
            before += words.pop(0).lower() + " "
        # Any word has a capital where a sentence begins: "Reserve a table", but also "Oslo and Bergen".
        if not words or (starts and len(words) == 1 and not _LISTED.match(text, match.end())):
            continue
        follows_place = (
            bool(found) and found[-1][1] and bool(_LISTED.fullmatch(text[end : match.start() + 1]))
        )
        found.append((" ".join(words), follows_place or bool(_BEFORE_PLACE.search(before[-20:]))))
        end = match.end()
    found = found or [(name, True) for name in _lower_places(text)]
    names = tuple(dict.fromkeys(name for name, _ in found))
    return names, tuple(dict.fromkeys(name for name, is_place in found if is_place))


def _lower_places(text: str) -> list[str]:
    """Read places without capitals, as in "weather in paris and oslo"."""
    found = _LOWER_PLACE.search(text)
    return [word.title() for word in re.split(", | and ", found[1])] if found else []


def _numbers(text: str) -> tuple[Number, ...]:
    found = [(match.span(), float(match[0].replace(",", ""))) for match in _NUMBER.finditer(text)]
    written = [(match.span(), _NUMBER_WORDS.get(match[0].lower())) for match in _WORD.finditer(text)]
    found += [(span, float(number)) for span, number in written if number is not None]
    after = ((value, _WORD.search(text[end : end + 40])) for (_, end), value in sorted(found))
    return tuple(Number(value, stem(word[0]) if word else "") for value, word in after)


def _count(text: str) -> int:
    return _NUMBER_WORDS.get(text.lower()) or (int(text.replace(",", "")) if text[0].isdigit() else 1)


def _topic(text: str) -> str:
    sentence = re.split(r"(?<=\w)[.?!](?:\s|$)|\n|:\s", text.strip(), maxsplit=1)[0]
    sentence = re.sub(rf"(?:\b(?:in|with|of|as)\s+(?:about\s+)?)?(?:{_LENGTH.pattern})", "", sentence)
    sentence = re.sub(r",? with .*", "", sentence)
    topic = " ".join(_VERB.sub("", sentence).split()).strip(" ,;")
    return topic[:80].rstrip() or "your question"
