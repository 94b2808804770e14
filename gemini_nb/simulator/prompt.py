"""A request that was read and found valid: what scenarios answer."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.simulator.catalogue import check_model
from gemini_nb.simulator.clues import Clues, read_clues
from gemini_nb.simulator.fields import read_body
from gemini_nb.simulator.history import Exchange, check_order, check_signatures, current_rounds, read_turns
from gemini_nb.simulator.routes import Route
from gemini_nb.simulator.rules import Asked, check_contents, check_length, check_settings
from gemini_nb.simulator.signatures import signs_calls

__all__ = ["Declaration", "Prompt", "read_prompt"]


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
        clues: what was read from the person's last words.
        previous: what the person said before that, empty in a first turn.
        rounds: the calls made since those last words, with their results.
        declarations: the functions that may be called; none where calling is off.
        builtins: the names of the server-side tools that are on, such as "googleSearch".
        must_call: whether the request demands a call.
        config: the generation config.
        tokens: the length of the prompt.
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

    @property
    def signs(self) -> bool:
        """Whether calls carry an id and a signature."""
        return signs_calls(self.model)

    @property
    def tier(self) -> str:
        """The tier that serves it, which is the one that it asks for."""
        asked = str(self.body.get("serviceTier", "")).lower()
        return asked if asked in {"flex", "priority"} else "standard"

    def rng(self, *purpose: object) -> random.Random:
        """Make a source of chance that is the same for the same prompt and purpose."""
        return random.Random(f"{self.seed}|{self.clues.text.strip()}|{purpose}")  # noqa: S311 - no secrets


def read_prompt(
    route: Route, value: Any, *, seed: int = 0, verify: bool = True, known: Collection[str] = ()
) -> Prompt:
    """Check a request body by all rules of the service, and read it.

    Args:
        route: where it was sent.
        value: the JSON of the body.
        seed: decides, with the text, what is made up.
        verify: whether signatures of function calls are checked.
        known: fields of parts that the table of fields does not have and that may come back.

    Raises:
        RefusalError: 400 or 404, what the service would say.
    """
    check_model(route)
    model = route.model
    body = read_body(value, vertex=route.vertex, known=known)
    check_contents(body, vertex=route.vertex)
    tokens = check_length(body)
    streaming = route.method == "streamGenerateContent"
    check_settings(Asked(body=body, model=model, vertex=route.vertex, streaming=streaming))
    declarations = _declarations(body)
    config: dict[str, Any] = body.get("generationConfig", {})
    turns = read_turns(body["contents"])
    check_order(turns)
    if verify and signs_calls(model):
        check_signatures(turns, vertex=route.vertex)
    said = [turn.text for turn in turns if turn.kind == "user" and turn.text.strip()]
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    mode = str(calling.get("mode", "AUTO")).upper()
    allowed = calling.get("allowedFunctionNames") or [one.name for one in declarations]
    callable_now = () if mode == "NONE" else tuple(one for one in declarations if one.name in allowed)
    return Prompt(
        body=body,
        model=model,
        vertex=route.vertex,
        seed=seed,
        clues=read_clues(said[-1] if said else ""),
        previous=said[-2] if len(said) > 1 else "",
        rounds=current_rounds(turns),
        declarations=callable_now,
        builtins=frozenset(
            name for tool in body.get("tools", ()) for name in tool if name != "functionDeclarations"
        ),
        must_call=mode == "ANY",
        config=config,
        tokens=tokens,
    )


def _declarations(body: Mapping[str, Any]) -> list[Declaration]:
    found = []
    for tool in body.get("tools", ()):
        for item in tool.get("functionDeclarations", ()):
            schema = item.get("parametersJsonSchema") or item.get("parameters") or {}
            found.append(Declaration(item["name"], str(item.get("description", "")), schema))
    return found
