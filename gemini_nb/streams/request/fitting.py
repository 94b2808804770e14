"""What a body needs, and what it must not have, for the service and the model that it goes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemini_nb.api.contents.generation import is_older, thinking_problem
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError
from gemini_nb.redaction import excerpt
from gemini_nb.streams.request.cached import check_beside_cache

_FLAG = "includeServerSideToolInvocations"
_HINT = "Leave out the built-in tools or the functions, or ask in two streams."


def fit(body: JSON, model: str, auth: Auth) -> JSON:
    """Return the body as the model's service takes it.

    Built-in tools and functions go together only with a flag, which every request of the stream must carry.

    Args:
        body: the request body without its contents.
        model: the model's id.
        auth: the service.

    Raises:
        ConfigError: the service would refuse it, or leave a part of it out without a word.
    """
    check_beside_cache(body)
    config = body.get("generationConfig") or {}
    for name, is_set in (
        ("modelArmorConfig", body.get("modelArmorConfig") is not None),
        ("responseLogprobs", config.get("responseLogprobs")),
    ):
        if is_set:
            raise ConfigError(f"{name} has no effect on an answer that is streamed.", hint="Leave it out.")
    _check_values(body, config)
    thinking = config.get("thinkingConfig")
    if isinstance(thinking, Mapping) and (problem := thinking_problem(model, thinking)):
        raise ConfigError(problem)
    return _with_flag(body, model, auth) if _is_mixed(body) else body


def _check_values(body: JSON, config: Mapping[str, Any]) -> None:
    labels, seed = body.get("labels"), config.get("seed")
    if labels is not None and not (
        isinstance(labels, Mapping) and all(isinstance(one, str) for pair in labels.items() for one in pair)
    ):
        raise ConfigError(f"labels are a dictionary of texts, not {excerpt(repr(labels))}.")
    if seed is not None and not _is_int32(seed):
        raise ConfigError(f"seed is a whole number of 32 bits, not {excerpt(repr(seed))}.")


def _is_int32(value: Any) -> bool:
    """Whether the service takes it for a whole number; it reads texts and points, too."""
    try:
        return not isinstance(value, bool) and -(2**31) <= float(value) == int(float(value)) < 2**31
    except (TypeError, ValueError, OverflowError):
        return False


def _is_mixed(body: JSON) -> bool:
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    functions = any(tool.get("functionDeclarations") for tool in tools)
    return functions and any(tool.keys() - {"functionDeclarations"} for tool in tools)


def _with_flag(body: JSON, model: str, auth: Auth) -> JSON:
    if auth is Auth.VERTEX_AI:
        raise ConfigError("Vertex AI does not take built-in tools together with functions.", hint=_HINT)
    if is_older(model):
        raise ConfigError(
            f"{model} does not take built-in tools together with functions; Gemini 3 and newer do.",
            hint=_HINT,
        )
    config: dict[str, Any] = dict(body.get("toolConfig") or {})
    calling = {"mode": "VALIDATED", **(config.get("functionCallingConfig") or {})}
    if str(calling["mode"]).upper() == "AUTO":
        raise ConfigError(
            "Built-in tools together with functions do not take the mode AUTO.",
            hint="Leave the mode out: then it is VALIDATED, text or calls that fit their schema.",
        )
    if config.get(_FLAG) is False:
        raise ConfigError(f"Built-in tools together with functions need {_FLAG}.", hint="Leave it out.")
    return {**body, "toolConfig": {**config, _FLAG: True, "functionCallingConfig": calling}}
