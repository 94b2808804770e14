"""How many tokens a text counts as: about four characters each, always rounded up.

A real tokenizer would need its vocabulary downloaded. What matters here is that counts grow with the text,
are the same each time, and add up in the same way as the service's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["CHARACTERS_PER_TOKEN", "MEDIA_TOKENS", "body_tokens", "part_tokens", "text_tokens"]

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 258
"""What one image counts as; used for every inline or referenced file."""


def text_tokens(text: str) -> int:
    """Count the tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def part_tokens(part: Mapping[str, Any]) -> int:
    """Count the tokens of one part; data other than text counts by the length of its JSON."""
    if "text" in part:
        return text_tokens(str(part["text"]))
    if "inlineData" in part or "fileData" in part:
        return MEDIA_TOKENS
    data = {key: value for key, value in part.items() if key != "thoughtSignature"}
    return text_tokens(json.dumps(data, ensure_ascii=False)) if data else 0


def body_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of a request body: contents, system instruction and declared tools."""
    contents: list[Mapping[str, Any]] = list(body.get("contents", ()))
    if "systemInstruction" in body:
        contents.append(body["systemInstruction"])
    total = sum(part_tokens(part) for content in contents for part in _parts(content))
    if body.get("tools"):
        total += text_tokens(json.dumps(body["tools"], ensure_ascii=False))
    return total


def _parts(content: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    parts: Iterable[Mapping[str, Any]] = content.get("parts", ())
    return parts
