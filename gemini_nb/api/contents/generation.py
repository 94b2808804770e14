"""The generationConfig of a request: what callers pass as one, and what Google's models take of it.

A google-genai `GenerateContentConfig` holds tools, the system instruction and more, which stand beside
generationConfig in a request's body, not in it; and options of that client, which mean nothing here. What a
model takes depends on its family, which its id names; a model that came out after these tables is judged by
none of them, since nothing must fail here that the service would have answered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.contents.objects import as_mapping, plain, spell_config, spell_fields
from gemini_nb.errors import ArgumentError, ConfigError, kind_of

SCHEMAS = ("responseSchema", "responseJsonSchema")
"""The settings that a type may stand in."""

_BESIDE = (
    *("systemInstruction", "tools", "toolConfig", "safetySettings", "cachedContent", "labels"),
    *("serviceTier", "continuationToken", "modelArmorConfig", "store"),
)
_ELSEWHERE = {
    "httpOptions": "Pass base_url=, api_version=, timeout= (seconds without a byte) or retry= instead.",
    "automaticFunctionCalling": "Pass turn_limit= for the number of rounds, or declarations (dictionaries) "
    "in place of functions, to answer the calls yourself.",
    "automaticContinuation": "Leave it out: an answer that can go on does.",
    "shouldReturnHttpResponse": "Leave it out: stream.chunks holds what the service sent.",
    "generationOutputConfig": "Leave it out: the answer comes as a stream.",
}

_HARMLESS = {
    "automaticFunctionCalling": ({}, {"disable": False}),
    "automaticContinuation": (True,),
    "shouldReturnHttpResponse": (False,),
    "httpOptions": ({},),
}

_FAMILY = re.compile(r"gemini-(\d+)")
_OTHERS = re.compile(r"gemma|learnlm")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
_LEVELS_TAKEN = (
    (re.compile(r"gemini-4\b|gemini-3\.[78]-flash(?!-lite)|gemini-3(\.1)?-pro(?!-image)"), _LEVELS[1:4]),
    (re.compile(r"gemini-[12]\b|gemma|learnlm"), ()),
)
"""The thinking levels of the models that do not take all of them."""


def split_config(config: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the generationConfig, and the fields of the body that stood in it, each by its wire name.

    A type that stands for a schema stays as it is.

    Raises:
        ArgumentError: it is no config, or has a field in both spellings.
        ConfigError: it asks for what only google-genai's client does.
    """
    mapping = as_mapping(config)
    if mapping is None:
        raise ArgumentError(f"generationConfig is a dictionary, not {kind_of(config)}.")
    fields = spell_fields(mapping, "generation_config")
    for name, hint in _ELSEWHERE.items():
        value = plain(fields.pop(name, None))
        if value is not None and value not in _HARMLESS.get(name, ()):
            raise ConfigError(f"{name} of generation_config is an option of Google's client.", hint=hint)
    beside = {name: fields.pop(name) for name in _BESIDE if name in fields}
    if "modelSelectionConfig" in fields:
        fields["modelConfig"] = fields.pop("modelSelectionConfig")
    if isinstance(voice := fields.get("speechConfig"), str):
        fields["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
    return spell_config(plain(fields), "generationConfig"), beside


def merge_once(given: Mapping[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    """Add to a config's other fields what was passed by itself; None is not set.

    Raises:
        ArgumentError: a field was given in both places.
    """
    for name, value in given.items():
        if value is None:
            continue
        if name in beside:
            raise ArgumentError(
                f"{name} is given twice, by itself and in generation_config.", hint="Leave one out."
            )
        beside[name] = value
    return beside


def _bare(model: str) -> str:
    return model.rpartition("/")[2]


def generation(model: str) -> int | None:
    """Return the major version of a Gemini model, None where its id does not say."""
    found = _FAMILY.match(_bare(model))
    return int(found[1]) if found else None


def is_older(model: str) -> bool:
    """Whether a model is known to be from before Gemini 3, or of another family."""
    major = generation(model)
    return bool(_OTHERS.match(_bare(model))) if major is None else major < 3


def is_retiring(status: Mapping[str, Any]) -> bool:
    """Whether a modelStatus says that the model will be retired, or is."""
    return str(status.get("modelStage")).upper() in {"LEGACY", "DEPRECATED", "RETIRED"}


def thinking_problem(model: str, config: Mapping[str, Any]) -> str | None:
    """Say what the service refuses in a thinkingConfig, and what it takes in its place; None for nothing."""
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
