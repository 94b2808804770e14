"""Gemini's words for why a turn ended or a prompt was blocked, and what the user can do about each."""

from __future__ import annotations

from gemini_nb.api.content import JSON, objects
from gemini_nb.redaction import scrub

__all__ = ["hint_for", "is_slip", "rated_categories", "read_block_reason", "read_finish_reason"]

# Servers that write enums as numbers: beyond these, the two services count differently.
_FINISH = ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER"]
_BLOCK = ["BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"]
_RATED = (
    "HIGH",
    "MEDIUM",
)  # probabilities that a service may block for, when it marks no category as blocked

_OTHERWISE = "Ask again, or ask otherwise."
_REPHRASE = "Rephrase the question; `safety_settings` cannot switch this off."
_IMAGE = "Describe the image in other words."
_TOOLS = "Ask again, ask otherwise, or simplify the tools."
_HINTS = {
    "STOP": _TOOLS,
    "TOO_MANY_TOOL_CALLS": "Ask for less at once, or offer fewer tools.",
    "MAX_TOKENS": "Raise maxOutputTokens (`--max-tokens`), or let the model think less: "
    "its thoughts count, too.",
    "SAFETY": "Rephrase it, or loosen `safety_settings`.",
    "RECITATION": "The answer came too close to a text of others: ask for it in the model's own words.",
    "LANGUAGE": "Ask in a language that this model supports.",
    "BLOCKLIST": _REPHRASE,
    "PROHIBITED_CONTENT": _REPHRASE,
    "JAILBREAK": _REPHRASE,
    "SPII": "Ask without personal data, such as account numbers.",
    "MODEL_ARMOR": "The project's Model Armor template blocked it: rephrase the question, or change that.",
    "IMAGE_SAFETY": _IMAGE,
    "IMAGE_PROHIBITED_CONTENT": _IMAGE,
    "IMAGE_RECITATION": _IMAGE,
    "IMAGE_OTHER": _IMAGE,
    "NO_IMAGE": "Ask for an image in so many words.",
    "MISSING_THOUGHT_SIGNATURE": "A turn of the history lacks its thoughtSignature: "
    "send the model's parts back as they came.",
}


def read_finish_reason(value: object) -> str | None:
    """Return why a turn ended, None where `value` does not say."""
    return _read(value, _FINISH)


def read_block_reason(value: object) -> str | None:
    """Return why a prompt was blocked, None where `value` does not say."""
    return _read(value, _BLOCK)


def _read(value: object, names: list[str]) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = names[value] if 0 <= value < len(names) else str(value)
    # Some servers send the default of each field that nobody set.
    if not isinstance(value, str) or not value.strip() or value.endswith("_UNSPECIFIED"):
        return None
    return scrub(value.strip())


def is_slip(reason: str | None) -> bool:
    """Whether the model made a mistake that its next sample may well not make."""
    return reason == "UNEXPECTED_TOOL_CALL" or (reason or "").startswith("MALFORMED_")


def hint_for(reason: str | None) -> str:
    """Return what the user can do about this reason."""
    return _HINTS.get(reason or "", _TOOLS if is_slip(reason) else _OTHERWISE)


def rated_categories(said: JSON, reason: str | None) -> tuple[str, ...]:
    """Return the harm categories that blocked a prompt or an answer.

    The Developer API may mark none of them as blocked; then those count that were rated highest.

    Args:
        said: a promptFeedback, or a candidate.
        reason: why it was blocked or ended.
    """
    ratings = objects(said.get("safetyRatings"))
    blamed = [rating for rating in ratings if rating.get("blocked") is True]
    if not blamed and reason == "SAFETY":
        found = [[rating for rating in ratings if rating.get("probability") == level] for level in _RATED]
        blamed = found[0] or found[1]
    return tuple(scrub(str(rating.get("category") or "an unnamed category")) for rating in blamed)
