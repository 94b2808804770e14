"""The tokens of one model call, or of all calls of a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gemini_nb.api.wire import objects

_DIGITS = re.compile("[0-9]{1,10}")
_WORD = re.compile(r"\w{1,64}")  # no text of a server's gets from here into what is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, or of all calls of a stream.

    Attributes:
        prompt_token_count: what was sent, the history of every round included.
        candidates_token_count: what the model answered.
        thoughts_token_count: what it thought.
        cached_content_token_count: the part of the prompt that came from a cache.
        tool_use_prompt_token_count: what built-in tools fed to the model.
        total_token_count: the sum, as the server gives it.
        prompt_tokens_details: the prompt's tokens by modality ("TEXT", "AUDIO" …), as far as the server says.
        candidates_tokens_details: the answer's.
        cache_tokens_details: those of the cached part of the prompt.
        tool_use_prompt_tokens_details: those of what built-in tools fed to the model.
        traffic_type: how Vertex AI counts the newest call, such as "ON_DEMAND".
        service_tier: the tier that served the newest call, "standard", "flex" or "priority"; not always the
            one that was asked for.
    """

    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    total_token_count: int = 0
    prompt_tokens_details: Mapping[str, int] = field(default_factory=dict, hash=False)
    candidates_tokens_details: Mapping[str, int] = field(default_factory=dict, hash=False)
    cache_tokens_details: Mapping[str, int] = field(default_factory=dict, hash=False)
    tool_use_prompt_tokens_details: Mapping[str, int] = field(default_factory=dict, hash=False)
    traffic_type: str | None = None
    service_tier: str | None = None

    @classmethod
    def from_wire(cls, metadata: Mapping[str, Any]) -> Usage:
        """Read a usageMetadata object; counts it lacks are 0."""
        found: dict[str, Any] = {}
        for wire, value in metadata.items():
            name = _NAMES.get(wire)
            if name in _COUNTS:
                count = _count(value)
                if count is not None:
                    found[name] = count
            elif name in _DETAILS:
                found[name] = _by_modality(value)
            elif name is not None and isinstance(value, str) and _WORD.fullmatch(value):
                found[name] = value.lower() if name == "service_tier" else value
        return cls(**found)

    def __add__(self, other: Usage) -> Usage:
        # The usual case: one model call, made once, whose counts come with every chunk.
        if self is NO_USAGE or self == NO_USAGE:
            return other
        return Usage(**{name: _sum(getattr(self, name), getattr(other, name)) for name in _WIRE})

    def __getitem__(self, name: str) -> Any:
        """Look a count or a detail up by its name here or on the wire (`promptTokenCount`)."""
        for own, wire in _WIRE.items():
            if name in {own, wire}:
                return getattr(self, own)
        raise KeyError(name)


def _count(value: object) -> int | None:
    """Read an int32 as protobuf's JSON may spell it; what no count can be would spoil every sum."""
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _DIGITS.fullmatch(value)
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**31 else None


def _by_modality(value: object) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in objects(value):
        modality, count = one.get("modality"), _count(one.get("tokenCount"))
        if isinstance(modality, str) and _WORD.fullmatch(modality) and count is not None:
            counts[modality] = counts.get(modality, 0) + count
    return counts


def _sum(one: Any, other: Any) -> Any:
    """Add two counts, each modality's by itself; of words take the newer one."""
    if isinstance(one, Mapping):
        return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
    return one + other if isinstance(one, int) else other or one


_SNAKE = re.compile("_([a-z])")
_WIRE = {one.name: _SNAKE.sub(lambda found: found[1].upper(), one.name) for one in fields(Usage)}
_NAMES = {wire: name for name, wire in _WIRE.items()}
_COUNTS = {name for name in _WIRE if name.endswith("_count")}
_DETAILS = {name for name in _WIRE if name.endswith("_details")}
NO_USAGE = Usage()
"""No tokens at all."""
