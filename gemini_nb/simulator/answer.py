"""What a scenario gives back: a whole answer, before it is cut into chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer"]


@dataclass(slots=True, kw_only=True)
class Answer:
    """One model call's answer.

    Attributes:
        thoughts: summaries of thoughts, shown when the request asks for them and counted in any case.
        parts: the parts, texts in full; function calls without id and signature.
        metadata: further fields of the candidate's last chunk, such as groundingMetadata.
        finish_reason: why it ended.
        prompt_tokens_of_tools: tokens of what server-side tools put into the prompt.
    """

    thoughts: list[str] = field(default_factory=list)
    parts: list[dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    finish_reason: str = "STOP"
    prompt_tokens_of_tools: int = 0
