"""What Google's models take, by the family that their id names.

A model that came out after these tables is judged by none of them: nothing must fail here that the service
would have answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["generation", "is_older", "is_retiring", "thinking_problem"]

_FAMILY = re.compile(r"gemini-(\d+)")
_OTHERS = re.compile(r"gemma|learnlm")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
_LEVELS_TAKEN = (
    (re.compile(r"gemini-4\b|gemini-3\.[78]-flash(?!-lite)|gemini-3(\.1)?-pro(?!-image)"), _LEVELS[1:4]),
    (re.compile(r"gemini-[12]\b|gemma|learnlm"), ()),
)
"""The thinking levels of the models that do not take all of them."""


def _bare(model: str) -> str:
    return model.rpartition("/")[2]


def generation(model: str) -> int | None:
    """The major version of a Gemini model, None where its id does not say."""
    found = _FAMILY.match(_bare(model))
    return int(found[1]) if found else None


def is_older(model: str) -> bool:
    """Whether a model is known to be from before Gemini 3, or of another family."""
    major = generation(model)
    return bool(_OTHERS.match(_bare(model))) if major is None else major < 3


def is_retiring(status: Mapping[str, Any]) -> bool:
    """Whether a modelStatus says that the model is on its way out, or gone."""
    return str(status.get("modelStage")).upper() in {"LEGACY", "DEPRECATED", "RETIRED"}


def thinking_problem(model: str, config: Mapping[str, Any]) -> str | None:
    """What the service refuses in a thinkingConfig, and what it takes in its place; None for nothing."""
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if level is not None and budget is not None:
        return "You can only set one of thinking budget and thinking level."
    if budget is not None and generation(model) == 4:
        return f"Thinking budget is not supported for this model: {model} takes a thinkingLevel."
    name = str(level).upper()
    if level is None or name == "THINKING_LEVEL_UNSPECIFIED":
        return None
    if name not in _LEVELS:
        return f"{level!r} is not a thinking level; there are {_listed(_LEVELS)}."
    taken = next((levels for family, levels in _LEVELS_TAKEN if family.match(_bare(model))), _LEVELS)
    if not taken:
        return f"Thinking level is not supported for this model: {model} takes a thinkingBudget, if any."
    if name not in taken:
        return f"Thinking level {name} is not supported for this model: {model} takes {_listed(taken)}."
    return None


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
