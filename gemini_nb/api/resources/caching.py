"""The requests about cached contents. Nothing is generated."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from gemini_nb.api import failures
from gemini_nb.api.contents.content import encode_body
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients

_SECONDS = 120.0  # a long document is read and counted
_DEVELOPER = re.compile(r"(.*)/((?:models|tunedModels)/[^/:]+):streamGenerateContent")
_VERTEX = re.compile(r"(.*)/((projects/[^/]+/locations/[^/]+)/.+):streamGenerateContent")


async def make_cache(clients: HTTPClients, endpoint: Endpoint, body: JSON) -> JSON:
    """Make a cache and return the service's description of it.

    Args:
        clients: the connection pools of the running loop.
        endpoint: the model that is to read it.
        body: contents, systemInstruction, tools, toolConfig and ttl.

    Raises:
        ConfigError: the endpoint has no place for caches.
        GeminiError: the service refuses, cannot be reached, or answers something else.
    """
    root, model, place = _places(endpoint)
    made = await _ask(clients, endpoint, "POST", f"{root}/{place}cachedContents", {"model": model, **body})
    if not isinstance(made.get("name"), str):
        raise ProtocolError("The answer names no cache.", hint="Is the base URL that of Gemini?")
    return made


async def change_cache(clients: HTTPClients, endpoint: Endpoint, name: str, body: JSON) -> JSON:
    """Change when a cache expires, and return the service's description of it."""
    return await _ask(clients, endpoint, "PATCH", f"{_places(endpoint)[0]}/{quote(name)}", body)


async def delete_cache(clients: HTTPClients, endpoint: Endpoint, name: str) -> None:
    """Delete a cache."""
    await _ask(clients, endpoint, "DELETE", f"{_places(endpoint)[0]}/{quote(name)}", None)


def _places(endpoint: Endpoint) -> tuple[str, str, str]:
    """The root with its version, the model's name, and what stands before the names of caches."""
    parts = urlsplit(endpoint.url)
    vertex = endpoint.auth is Auth.VERTEX_AI
    found = (_VERTEX if vertex else _DEVELOPER).fullmatch(parts.path)
    if found is None:
        needs = "a project" if vertex else "a base_url, not an endpoint"
        raise ConfigError(f"A cache needs {needs}.", hint="Caches stand beside the service's models.")
    place = f"{found[3]}/" if vertex else ""
    return f"{parts.scheme}://{parts.netloc}{found[1]}", unquote(found[2]), place


async def _ask(clients: HTTPClients, endpoint: Endpoint, method: str, url: str, body: JSON | None) -> JSON:
    headers = await endpoint.authenticator.headers(refresh=False)
    content = None
    if body is not None:
        headers, content = {**headers, "content-type": "application/json"}, encode_body(body)
    status, received, answer = await clients.get(
        url, headers, seconds=_SECONDS, content=content, method=method
    )
    if status != 200:
        beside = "" if method == "POST" else "caches"  # a new one is made for a model, and refused as that
        raise failures.refused(status, received, answer, endpoint, beside=beside)
    try:
        value = json.loads(answer or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProtocolError("The answer is no JSON object.", hint="Is the base URL that of Gemini?")
    return value
