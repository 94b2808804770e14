"""Choose which functions are called, with what, and in which rounds.

The whole plan follows from the prompt and the declarations, so it is made anew for every request, and what
has been answered is taken off it. Nothing has to be remembered between requests, and the plan ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gemini_nb.simulator.scenario.prompt import Clues, Declaration, Prompt, name_words, read_clues, stem
from gemini_nb.simulator.scenario.values import is_place, make_arguments

__all__ = ["introduce", "next_calls"]

_MOST_CALLS = 4
_IN_ORDER = re.compile(r"\b(?:first|then|afterwards|after that|step by step)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;,!?\n]|\bthen\b|\bbut\b|\band\b")
_SENTENCE = re.compile(r"(?<=[.;!?\n])\s")
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")
_VERB = re.compile("get|fetch|find|look|lookup|search|list|read|show|set|make|do|call|run|current")


def next_calls(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the functionCalls of the next round; none when everything was asked and answered."""
    exchanges = [exchange for exchanges in prompt.rounds for exchange in exchanges]
    # An argument may be what an earlier tool returned under its name: the id of the hotel that was found.
    facts: dict[str, Any] = {}
    for exchange in exchanges:
        result = exchange.response.get("result", exchange.response.get("output", exchange.response))
        facts |= result if isinstance(result, Mapping) else {}
    answered = len(exchanges)
    for planned in _plan(prompt):
        if answered < len(planned):
            return [
                {**call, "args": call["args"] | _known(call["args"], facts)} for call in planned[answered:]
            ]
        answered -= len(planned)
    return []


def _known(args: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name, value in args.items() if type(facts.get(name)) is type(value)}


def introduce(calls: Iterable[Mapping[str, Any]]) -> str:
    """Say what is about to be called: "Let me call `weather` (city: Oslo)."."""
    asked = []
    for call in calls:
        args = ", ".join(f"{key}: {value}" for key, value in call["args"].items())
        asked.append(f"`{call['name']}`" + (f" ({args})" if args else ""))
    return f"Let me call {' and '.join(asked)}."


def _plan(prompt: Prompt) -> list[list[dict[str, Any]]]:
    text, chosen = prompt.clues.text, _choose(prompt)
    if not _IN_ORDER.search(text):
        return [[call for declaration in chosen for call in _calls_of(declaration, prompt)]]
    clauses = _CLAUSE.split(text)
    ordered = sorted(chosen, key=lambda declaration: _position(declaration, clauses))
    if len(ordered) == 1 and not re.search(r"\bthen\b", text, re.IGNORECASE):
        # "Check the weather first": there is something to do after it, and a tool that may be for it.
        ordered += [one for one in prompt.functions if one not in ordered][:1]
    return [_calls_of(declaration, prompt) for declaration in ordered]


def _choose(prompt: Prompt) -> list[Declaration]:
    """Take the tools that the prompt mentions by name, else by description, else the first of use.

    One that must be given a place is of no use to a prompt that names none, unless a tool must be called.
    """
    words, declarations = prompt.clues.words, prompt.functions
    named = [one for one in declarations if _subject(one) & words]
    described = [one for one in declarations if words & set(map(stem, _LONG_WORD.findall(one.description)))]
    anywhere = prompt.mode == "ANY" or prompt.clues.places
    useful = [one for one in declarations if anywhere or not is_place(_only_text(one.schema))]
    return named or described or useful[:1]


def _subject(declaration: Declaration) -> set[str]:
    words = name_words(declaration.name.rpartition(".")[2])
    nouns = [word for word in words if len(word) > 2 and not _VERB.fullmatch(word)]
    return set(map(stem, nouns or words))


def _position(declaration: Declaration, clauses: list[str]) -> tuple[bool, int]:
    """Say where the prompt mentions a tool; what is to be done "first" comes before everything."""
    subject = _subject(declaration)
    found = [number for number, clause in enumerate(clauses) if subject & read_clues(clause).words]
    is_first = any(re.search(r"\bfirst\b", clauses[number], re.IGNORECASE) for number in found)
    return not is_first, found[0] if found else len(clauses)


def _calls_of(declaration: Declaration, prompt: Prompt) -> list[dict[str, Any]]:
    """Make the calls of one tool: one for each name where the tool takes one and the prompt has several."""
    clues = _near(declaration, prompt.clues)
    wanted = _only_text(declaration.schema)
    names = (clues.places if wanted and is_place(wanted) else ()) or clues.names
    variants = [clues]
    if wanted and len(names) > 1 and not clues.quoted:
        variants = [replace(clues, names=(name,), places=(name,)) for name in names[:_MOST_CALLS]]
    found = [make_arguments(declaration.schema, variant) for variant in variants]
    return [{"name": declaration.name, "args": args} for args in found]


def _near(declaration: Declaration, clues: Clues) -> Clues:
    """Narrow the names to the sentence that mentions the tool, where that sentence has some."""
    for sentence in _SENTENCE.split(clues.text):
        read = read_clues(sentence)
        if read.names and _subject(declaration) & read.words:
            return replace(clues, names=read.names, places=read.places)
    return clues


def _only_text(schema: Mapping[str, Any]) -> str:
    """Return the name of the one required parameter where it takes any text, else nothing."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [name for name in schema.get("required") or properties if name in properties]
    wanted = properties[required[0]] if len(required) == 1 else None
    if not isinstance(wanted, Mapping) or wanted.keys() & {"enum", "format", "pattern"}:
        return ""
    return required[0] if str(wanted.get("type", "string")).lower() == "string" else ""
