"""Choose which functions are called, with what, and in which rounds.

The whole plan follows from the prompt and the declarations, so it is made anew for every request, and what
has been answered is taken off it. Nothing has to be remembered between requests, and the plan ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gemini_nb.simulator.protocol.history import Exchange
from gemini_nb.simulator.scenario.arguments import is_place, make_arguments
from gemini_nb.simulator.scenario.prompt import Clues, Declaration, Prompt, name_words, read_clues, stem

__all__ = ["PlannedCall", "introduce", "next_calls"]

_MOST_CALLS = 4
_IN_ORDER = re.compile(r"\b(?:first|then|afterwards|after that|step by step)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;,!?\n]|\bthen\b|\bbut\b|\band\b")
_SENTENCE = re.compile(r"(?<=[.;!?\n])\s")
_VERB = re.compile("get|fetch|find|look|lookup|search|list|read|show|set|make|do|call|run|current")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that is about to be made."""

    name: str
    args: dict[str, Any]


def next_calls(prompt: Prompt) -> list[PlannedCall]:
    """Return the calls of the next round; none when everything was asked and answered."""
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


def introduce(calls: Iterable[PlannedCall]) -> str:
    """Say what is about to be called: "Let me call `weather` (city: Oslo)."."""
    asked = [
        f"`{call.name}`"
        + (f" ({', '.join(f'{key}: {value}' for key, value in call.args.items())})" if call.args else "")
        for call in calls
    ]
    return f"Let me call {' and '.join(asked)}."


def _facts(rounds: Iterable[Iterable[Exchange]]) -> dict[str, Any]:
    """Collect what earlier tools returned, by name: an id from one is an argument of the next."""
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


def _plan(prompt: Prompt) -> list[list[PlannedCall]]:
    clues, text = prompt.clues, prompt.clues.text
    chosen = _choose(prompt.declarations, clues)
    if not _IN_ORDER.search(text):
        return [[call for declaration in chosen for call in _calls_of(declaration, prompt)]]
    ordered = sorted(chosen, key=lambda declaration: _position(declaration, text))
    if len(ordered) == 1 and not re.search(r"\bthen\b", text, re.IGNORECASE):
        # "Check the weather first": there is something to do after it, and a tool that may be for it.
        ordered += [one for one in prompt.declarations if one not in ordered][:1]
    return [_calls_of(declaration, prompt) for declaration in ordered]


def _choose(declarations: tuple[Declaration, ...], clues: Clues) -> list[Declaration]:
    """Take the tools that the prompt mentions by name, else by description, else the first."""
    named = [one for one in declarations if _subject(one) & clues.words]
    described = [one for one in declarations if _described(one) & clues.words]
    return named or described or list(declarations[:1])


def _subject(declaration: Declaration) -> set[str]:
    words = name_words(declaration.name.rpartition(".")[2])
    return {stem(word) for word in words if not _VERB.fullmatch(word) and len(word) > 2} or {
        stem(word) for word in words
    }


def _described(declaration: Declaration) -> set[str]:
    return {stem(word) for word in re.findall(r"[^\W\d_]{5,}", declaration.description)}


def _position(declaration: Declaration, text: str) -> tuple[int, int]:
    """Say where the prompt mentions a tool; what is to be done "first" comes before everything."""
    start, place = 0, len(text)
    for clause in [*_CLAUSE.split(text), ""]:
        position = text.find(clause, start)
        start = position + len(clause)
        if not _subject(declaration) & read_clues(clause).words:
            continue
        if re.search(r"\bfirst\b", clause, re.IGNORECASE):
            return (0, position)
        place = min(place, position)
    return (1, place)


def _calls_of(declaration: Declaration, prompt: Prompt) -> list[PlannedCall]:
    """Make the calls of one tool: one for each name where the tool takes one and the prompt has several."""
    clues = _near(declaration, prompt.clues)
    wanted = _only_text(declaration.schema)
    names = (clues.places if wanted and is_place(wanted) else ()) or clues.names
    variants = [clues]
    if wanted and len(names) > 1 and not clues.quoted:
        variants = [replace(clues, names=(name,), places=(name,)) for name in names[:_MOST_CALLS]]
    rngs = [prompt.rng("arguments", declaration.name, number) for number in range(len(variants))]
    return [
        PlannedCall(declaration.name, make_arguments(declaration.schema, variant, rng))
        for variant, rng in zip(variants, rngs, strict=True)
    ]


def _near(declaration: Declaration, clues: Clues) -> Clues:
    """Narrow the names to the sentence that mentions the tool, where that sentence has some."""
    for sentence in _SENTENCE.split(clues.text[:8_000]):
        read = read_clues(sentence)
        if read.names and _subject(declaration) & read.words:
            return replace(clues, names=read.names, places=read.places)
    return clues


def _only_text(schema: Mapping[str, Any]) -> str:
    """Return the name of the one required parameter where it takes any text, else nothing."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [
        name for name in schema.get("required") or properties if isinstance(properties.get(name), Mapping)
    ]
    if len(required) != 1 or properties[required[0]].keys() & {"enum", "format", "pattern"}:
        return ""
    return required[0] if str(properties[required[0]].get("type", "string")).lower() == "string" else ""
