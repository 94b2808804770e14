"""Which functions are called, with what, and in which rounds.

The whole plan follows from the prompt and the declarations, so it is made anew for every request and what has
been answered is taken off it. Nothing has to be remembered between requests, and the plan ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemini_nb.simulator.arguments import make_arguments
from gemini_nb.simulator.clues import Clues, name_words, read_clues, stem
from gemini_nb.simulator.history import Exchange
from gemini_nb.simulator.prompt import Declaration, Prompt
from gemini_nb.simulator.vocabulary import (
    ASKING,
    CODE_NAMES,
    FUNCTION_WORDS,
    GENERIC,
    MEANT,
    PLACE_NAMES,
    TIME_WORDS,
)

__all__ = ["PlannedCall", "introduce", "next_calls"]

_MOST_CALLS = 4
_IN_ORDER = re.compile(r"\b(?:first|then|afterwards|after that|step by step)\b", re.IGNORECASE)
_FIRST = re.compile(r"\bfirst\b(?=\s*(?:[.,;:!?)]|$))|(?:^|[.!?]\s+)first\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;,!?\n]|\bthen\b|\bbut\b")
_VERBS = {
    "get": "check",
    "fetch": "fetch",
    "lookup": "look up",
    "find": "look for",
    "search": "search",
    "list": "list",
    "book": "book",
    "reserve": "reserve",
    "convert": "convert",
    "calculate": "calculate",
    "compute": "compute",
    "send": "send",
    "create": "create",
    "add": "add",
    "read": "read",
    "write": "write",
    "run": "run",
    "query": "query",
    "show": "show",
    "set": "set",
    "update": "update",
    "delete": "delete",
    "translate": "translate",
    "plot": "plot",
    "open": "open",
    "count": "count",
    "check": "check",
}


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that is about to be made."""

    name: str
    args: dict[str, Any]


def next_calls(prompt: Prompt) -> list[PlannedCall]:
    """Return the calls of the next round, none when everything was asked and answered."""
    done = Counter(exchange.name for exchanges in prompt.rounds for exchange in exchanges)
    for planned in _plan(prompt):
        waiting = []
        for call in planned:
            if done[call.name]:
                done[call.name] -= 1
            else:
                waiting.append(call)
        if waiting:
            facts = _facts(prompt.rounds)
            return [replace(call, args=_informed(call.args, facts)) for call in waiting]
    return []


def _facts(rounds: Iterable[Iterable[Exchange]]) -> dict[str, Any]:
    """What earlier tools said, by name: an id that one of them gave is what the next one is asked with."""
    facts: dict[str, Any] = {}
    for exchange in (exchange for exchanges in rounds for exchange in exchanges):
        result = exchange.response.get("result", exchange.response.get("output", exchange.response))
        if isinstance(result, Mapping):
            facts |= result
    return facts


def _informed(args: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: facts[name] if type(facts.get(name)) is type(value) else value for name, value in args.items()
    }


def introduce(calls: Iterable[PlannedCall], *, later: bool) -> str:
    """Say what is about to be done: "Let me check the weather in Paris."."""
    made: dict[str, list[Mapping[str, Any]]] = {}
    for call in calls:
        made.setdefault(call.name, []).append(call.args)
    phrases = [_deed(name) + _where(args) for name, args in made.items()]
    return ("Next, let me " if later else "Let me ") + " and ".join(phrases) + "."


def _plan(prompt: Prompt) -> list[list[PlannedCall]]:
    clues = prompt.clues
    chosen = _choose(prompt.declarations, clues)
    if not _IN_ORDER.search(clues.text):
        return [[call for declaration in chosen for call in _calls_of(declaration, prompt)]]
    ordered = sorted(chosen, key=lambda declaration: _position(declaration, clues.text))
    if len(ordered) == 1 and _FIRST.search(clues.text):
        # "Check the weather first": there is something to do after it, and a tool that may be for it.
        ordered += [declaration for declaration in prompt.declarations if declaration not in ordered][:1]
    return [_calls_of(declaration, prompt) for declaration in ordered]


def _choose(declarations: tuple[Declaration, ...], clues: Clues) -> list[Declaration]:
    words = _meant(clues.words)
    scores = {declaration.name: _score(declaration, words) for declaration in declarations}
    for least in (2, 1):
        if chosen := [declaration for declaration in declarations if scores[declaration.name] >= least]:
            return chosen
    return list(declarations[:1])


def _meant(words: frozenset[str]) -> frozenset[str]:
    """Add to the words of a prompt what they may mean: who asks for rain asks for the weather."""
    return words | {stem(meant) for word, meant in MEANT.items() if stem(word) in words}


def _score(declaration: Declaration, words: frozenset[str]) -> int:
    """2 where the prompt speaks of the tool's subject, 1 where it only shares a verb with it."""
    strong, weak = _subject(declaration)
    if strong & words or (weak and weak <= words):
        return 2
    described = {word for word in _described(declaration) if word not in ASKING | TIME_WORDS | PLACE_NAMES}
    if {stem(word) for word in described} & words:
        return 2
    return 1 if weak & words else 0


def _subject(declaration: Declaration) -> tuple[set[str], set[str]]:
    parts = [word for word in name_words(declaration.name) if word not in FUNCTION_WORDS | GENERIC]
    strong = {stem(word) for word in parts if word not in ASKING}
    weak = {stem(word) for word in parts if word in ASKING}
    return strong, (set() if strong else weak) or weak


def _described(declaration: Declaration) -> list[str]:
    words = [word.lower() for word in re.findall(r"[^\W\d_]{4,}", declaration.description)]
    return [word for word in words if word not in FUNCTION_WORDS | GENERIC]


def _position(declaration: Declaration, text: str) -> tuple[int, int]:
    """Where the prompt speaks of a tool; what is to be done "first" comes before everything."""
    strong, weak = _subject(declaration)
    wanted = strong | weak | {stem(word) for word in _described(declaration)}
    start = 0
    place = len(text)
    for clause in [*_CLAUSE.split(text), ""]:
        position = text.find(clause, start)
        start = position + len(clause)
        if not _meant(read_clues(clause).words) & wanted:
            continue
        if re.search(r"\bfirst\b", clause, re.IGNORECASE):
            return (0, position)
        place = min(place, position)
    return (1, place)


def _calls_of(declaration: Declaration, prompt: Prompt) -> list[PlannedCall]:
    """The calls of one tool: one, or one for each place or code that the prompt names."""
    clues = prompt.clues
    variants = [clues]
    if len(clues.places) > 1 and _takes_one(declaration.schema, PLACE_NAMES):
        variants = [replace(clues, places=(place,)) for place in clues.places[:_MOST_CALLS]]
    elif len(clues.codes) > 1 and _takes_one(declaration.schema, CODE_NAMES):
        variants = [replace(clues, codes=(code,)) for code in clues.codes[:_MOST_CALLS]]
    rngs = [prompt.rng("arguments", declaration.name, number) for number in range(len(variants))]
    return [
        PlannedCall(declaration.name, make_arguments(declaration.schema, variant, rng))
        for variant, rng in zip(variants, rngs, strict=True)
    ]


def _takes_one(schema: Mapping[str, Any], asking: frozenset[str]) -> bool:
    """Whether exactly one parameter asks for such a thing, and takes one of them."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    found = [inner for name, inner in properties.items() if set(name_words(name)) & asking]
    if len(found) != 1 or not isinstance(found[0], Mapping):
        return False
    return str(found[0].get("type", "string")).lower() == "string"


def _where(calls: Sequence[Mapping[str, Any]]) -> str:
    """Say where: " in Paris and London", or " from Oslo to Lima" for a way."""
    named = [
        (set(name_words(name)), value)
        for args in calls
        for name, value in args.items()
        if isinstance(value, str) and set(name_words(name)) & PLACE_NAMES
    ]
    starts = [value for words, value in named if words & {"origin", "from"}]
    ends = [value for words, value in named if words & {"destination", "to"}]
    if starts and ends:
        return f" from {starts[0]} to {ends[0]}"
    places = dict.fromkeys(value for _, value in named)
    return f" in {' and '.join(places)}" if places else ""


def _deed(name: str) -> str:
    words = name_words(name.rpartition(".")[2])
    verb = _VERBS.get(words[0]) if words else None
    if not set(words) - FUNCTION_WORDS:
        return f"ask `{name}`"
    if verb is None:
        return "check the " + " ".join(words)
    rest = [word for word in words[1:] if word not in {"current", "the"}]
    article = "a" if words[0] in {"book", "reserve", "create", "add", "send"} else "the"
    return f"{verb} {article} {' '.join(rest)}" if rest else f"{verb} this"
