"""The models that the simulated service lists, and the ids it takes.

Every id that begins like one of Google's is taken, listed or not: a model that came out yesterday must not be
refused by a list from last month.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemini_nb.simulator.refusals import RefusalError, invalid, not_found
from gemini_nb.simulator.routes import METHODS, Route
from gemini_nb.simulator.signatures import generation

__all__ = ["INPUT_TOKEN_LIMIT", "OUTPUT_TOKEN_LIMIT", "check_model", "get_model", "list_models"]

INPUT_TOKEN_LIMIT = 1_048_576
OUTPUT_TOKEN_LIMIT = 65_536

_LISTED = (
    "gemini-4-argon",
    "gemini-4-carbon",
    "gemini-4-hydrogen",
    "gemini-3.8-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemma-4-31b-it",
    "gemini-flash-latest",
    "gemini-pro-latest",
)
_TAKEN = re.compile(r"(?:gemini|gemma|learnlm)-[\w.-]+")


def check_model(route: Route) -> None:
    """Refuse a model that does not exist, or not in this version of the API.

    Raises:
        RefusalError: 404, in the words of the backend.
    """
    if route.tuned:
        return
    alias_too_early = route.model.endswith("-latest") and route.version == "v1"
    if not _TAKEN.fullmatch(route.model) or alias_too_early:
        raise _unknown(route)


def list_models(route: Route, query: Mapping[str, str]) -> dict[str, Any]:
    """Answer a list request, page by page where the query asks for it.

    Raises:
        RefusalError: the page size or page token is not one.
    """
    names = [name for name in _LISTED if route.version != "v1" or not name.endswith("-latest")]
    try:
        size = int(query.get("pageSize") or 50)
        start = int(query.get("pageToken") or 0)
    except ValueError:
        raise invalid("The page token or page size is not valid.") from None
    size = max(1, size)
    page = [_describe(name, route) for name in names[start : start + size]]
    answer: dict[str, Any] = {"publisherModels" if route.vertex else "models": page}
    if start + size < len(names):
        answer["nextPageToken"] = str(start + size)
    return answer


def get_model(route: Route) -> dict[str, Any]:
    """Answer a request for one model's description.

    Raises:
        RefusalError: there is no such model.
    """
    check_model(route)
    return _describe(route.model, route)


def _describe(model: str, route: Route) -> dict[str, Any]:
    if route.vertex:
        return {"name": f"publishers/google/models/{model}", "versionId": "default", "launchStage": "GA"}
    family = "tunedModels" if route.tuned else "models"
    words = [word.upper() if word == "it" else word.capitalize() for word in model.split("-")]
    return {
        "name": f"{family}/{model}",
        "version": "001",
        "displayName": " ".join(words) + " (simulated)",
        "description": "Answers come from a simulator on this machine, not from a model.",
        "inputTokenLimit": INPUT_TOKEN_LIMIT,
        "outputTokenLimit": OUTPUT_TOKEN_LIMIT,
        "supportedGenerationMethods": list(METHODS),
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": generation(model) >= 3,
    }


def _unknown(route: Route) -> RefusalError:
    if route.vertex:
        return not_found(
            f"Publisher Model `{route.name}` was not found, or this project has no access to it."
        )
    return not_found(
        f"{route.name} is not found for API version {route.version}, or is not supported for {route.method}."
        " Call ListModels to see the list of available models and their supported methods."
    )
