"""What google-genai calls a config: settings of the answer, and much else of a request beside them.

A `GenerateContentConfig` holds tools, the system instruction and more, which stand beside generationConfig
in a request's body, not in it; and options of that client, which mean nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemini_nb.api.objects import as_mapping, plain
from gemini_nb.api.spelling import spell_config, spell_fields
from gemini_nb.errors import ArgumentError, ConfigError

__all__ = ["SCHEMAS", "merge_once", "split_config"]

SCHEMAS = ("responseSchema", "responseJsonSchema")
"""The settings that a type may stand in."""

_BESIDE = (
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "serviceTier",
    "continuationToken",
    "modelArmorConfig",
    "store",
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


def split_config(config: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the generationConfig, and the fields of the body that stood in it, each by its wire name.

    A type that stands for a schema stays as it is.

    Raises:
        ArgumentError: it is no config, or has a field in both spellings.
        ConfigError: it asks for what only google-genai's client does.
    """
    mapping = as_mapping(config)
    if mapping is None:
        raise ArgumentError(f"generationConfig is a dictionary, not a {type(config).__name__}.")
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
    """Add to a config's other fields what was passed by itself; None and nothing say nothing.

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
