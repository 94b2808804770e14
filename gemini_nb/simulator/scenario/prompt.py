"""A prompt: a request that has passed every rule, and what it says."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.simulator.protocol import history
from gemini_nb.simulator.protocol.caches import Cache
from gemini_nb.simulator.protocol.contents import check_contents
from gemini_nb.simulator.protocol.fields import read_message
from gemini_nb.simulator.protocol.routes import Route, check_model, generation
from gemini_nb.simulator.protocol.rules import Asked, check_length, check_settings
from gemini_nb.simulator.scenario.clues import Clues, read_clues

__all__ = ["Declaration", "Prompt", "read_prompt"]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A function the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Asked):
    """One valid request; its body includes what the cache holds that it names.

    Attributes:
        seed: decides, with the text, what is made up.
        text: the user's last message.
        clues: what was read from it.
        previous: the user's message before that, empty in a first turn.
        rounds: the calls made since those last words, with their results.
        tokens: the length of the prompt, the cached part of it included.
        cached_tokens: of them those of the cache.
    """

    seed: int
    text: str
    clues: Clues
    previous: str
    rounds: list[list[history.Exchange]]
    tokens: int
    cached_tokens: int

    @property
    def functions(self) -> list[Declaration]:
        """The functions that may be called; none where calling is off."""
        allowed = self.calling.get("allowedFunctionNames")
        return [
            Declaration(
                one["name"],
                str(one.get("description", "")),
                one.get("parametersJsonSchema") or one.get("parameters") or {},
            )
            for one in self.declarations
            if self.mode != "NONE" and (not allowed or one["name"] in allowed)
        ]

    @property
    def signs(self) -> bool:
        """Whether calls carry an id and a signature."""
        return self.family >= 3

    @property
    def tier(self) -> str:
        """The tier that serves it, which is the one that it asks for."""
        asked = str(self.body.get("serviceTier", "")).lower()
        return asked if asked in {"flex", "priority"} else "standard"

    def rng(self, *purpose: object) -> random.Random:
        """Return a random generator that is the same for the same prompt and purpose."""
        return random.Random(f"{self.seed}|{self.text.strip()}|{purpose}")


def read_prompt(
    route: Route,
    value: Any,
    *,
    seed: int,
    verify: bool,
    known: Collection[str],
    find_cache: Callable[[str, str], Cache | None],
    check_files: Callable[[Mapping[str, Any]], None],
) -> Prompt:
    """Check a request body by all rules of the service, and read it.

    Args:
        route: where it was sent.
        value: the JSON of the body.
        seed: decides, with the text, what is made up.
        verify: whether signatures of function calls are checked.
        known: fields of parts that the table of fields does not have and that may come back.
        find_cache: finds the cache of a name, for a model.
        check_files: refuses a body with files that are not there.
    """
    check_model(route)
    model, vertex = route.model, route.vertex
    streaming = route.method == "streamGenerateContent"
    body = read_message(value, "Request", "", vertex=vertex, known=known)
    check_contents(body, vertex=vertex)
    tokens = check_length(body)
    check_settings(Asked(body=body, model=model, vertex=vertex, streaming=streaming))
    cache = find_cache(body["cachedContent"], model) if "cachedContent" in body else None
    check_files(body)
    if cache is not None:
        contents = [*cache.held.get("contents", ()), *body["contents"]]
        body = {**cache.held, **body, "contents": contents}
    turns = history.read_turns(body["contents"])
    history.check_order(turns)
    if verify and generation(model) >= 3:
        history.check_signatures(turns, vertex=vertex)
        if "image" in model:
            history.check_image_signatures(turns)
    messages = [turn.text for turn in turns if turn.kind == "user" and turn.text.strip()]
    previous, text = ["", "", *messages][-2:]
    cached_tokens = cache.tokens if cache is not None else 0
    return Prompt(
        body=body,
        model=model,
        vertex=vertex,
        streaming=streaming,
        seed=seed,
        text=text,
        clues=read_clues(text),
        previous=previous,
        rounds=history.current_rounds(turns),
        tokens=tokens + cached_tokens,
        cached_tokens=cached_tokens,
    )
