"""What a turn without an answer becomes: an error that says what ended it and what to do next.

The service did answer, with status 200: a filter blocked the prompt, or the model ended its turn without text
or with a call that cannot run. Refusals and broken connections are in `failures`.
"""

from __future__ import annotations

from gemini_nb.api.turn import ModelTurn, is_model_mistake
from gemini_nb.errors import EmptyAnswerError, PromptBlockedError
from gemini_nb.redaction import excerpt

_OTHERWISE = "Ask again, or in other words."
_REPHRASE = "Rephrase the question; `safety_settings` cannot switch this off."
_IMAGE = "Describe the image in other words."
_TOOLS = "Ask again, ask in other words, or simplify the tools."
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


def blocked(turn: ModelTurn) -> PromptBlockedError:
    """Return the error for a prompt that was blocked."""
    reason = f"{excerpt(turn.block_reason or '')}{_blamed(turn)}"
    return PromptBlockedError(
        f"The prompt was blocked: {reason}. {excerpt(turn.block_message)}".rstrip(),
        hint=_reason_hint(turn.block_reason),
        status_code=200,
        api_status=excerpt(turn.block_reason or "", 60),
    )


def empty(turn: ModelTurn) -> EmptyAnswerError:
    """Return the error for a turn that ended without an answer, or with one that the model got wrong."""
    reason, said = turn.finish_reason, turn.finish_message
    if reason is None:
        message = "The server's answer holds no candidates: neither text nor a reason why there is none."
    elif reason == "STOP":
        message = "The model ended without a word."
    elif reason == "MAX_TOKENS":
        thought = turn.total_usage.thoughts_token_count
        spent = f": {thought:,} tokens went into thinking" if thought else ""
        message = f"The model ended with MAX_TOKENS before its answer began{spent}."
    else:
        without = "" if turn.has_answer else " and without an answer"
        message = f"The model ended with {excerpt(reason, 60)}{_blamed(turn)}{without}."
    return EmptyAnswerError(
        f"{message} {excerpt(said)}".rstrip(),
        hint=_reason_hint(reason),
        status_code=200,
        api_status=reason and excerpt(reason, 60),
        is_permanent=not (reason in {None, "STOP"} or is_model_mistake(reason)),
    )


def _blamed(turn: ModelTurn) -> str:
    return f" ({excerpt(', '.join(turn.categories))})" if turn.categories else ""


def _reason_hint(reason: str | None) -> str:
    """Return what the user can do about this reason."""
    return _HINTS.get(reason or "", _TOOLS if is_model_mistake(reason) else _OTHERWISE)
