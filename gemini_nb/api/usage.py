"""Token counts, by Gemini's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Usage"]


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
    """

    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    total_token_count: int = 0

    @classmethod
    def from_wire(cls, metadata: Mapping[str, Any]) -> Usage:
        """Read a usageMetadata object; counts it lacks are 0."""
        return cls(
            **{
                _NAMES[field]: count
                for field, count in metadata.items()
                if field in _NAMES and isinstance(count, int)
            }
        )

    def __add__(self, other: Usage) -> Usage:
        if self == _NOTHING:  # the usual case: one model call, made once, whose counts come with every chunk
            return other
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _WIRE})

    def __getitem__(self, name: str) -> int:
        """Look a count up by its name here or on the wire (`promptTokenCount`)."""
        for own, wire in _WIRE.items():
            if name in {own, wire}:
                return int(getattr(self, own))
        raise KeyError(name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_WIRE = {field.name: _camel(field.name) for field in fields(Usage)}
_NAMES = {wire: name for name, wire in _WIRE.items()}
_NOTHING = Usage()
