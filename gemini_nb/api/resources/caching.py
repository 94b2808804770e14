"""The requests about cached contents. Nothing is generated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.json_request import WHOSE, ask
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
    url = f"{root}/{place}cachedContents"
    made = await ask(clients, endpoint, url, seconds=_SECONDS, body={"model": model, **body})
    if not isinstance(made.get("name"), str):
        raise ProtocolError("The answer names no cache.", hint=WHOSE)
    return made


async def change_cache(clients: HTTPClients, endpoint: Endpoint, name: str, body: JSON) -> JSON:
    """Change when a cache expires, and return the service's description of it."""
    url = f"{_places(endpoint)[0]}/{quote(name)}"
    return await ask(clients, endpoint, url, seconds=_SECONDS, method="PATCH", body=body, beside="caches")


async def delete_cache(clients: HTTPClients, endpoint: Endpoint, name: str) -> None:
    """Delete a cache."""
    url = f"{_places(endpoint)[0]}/{quote(name)}"
    await ask(clients, endpoint, url, seconds=_SECONDS, method="DELETE", beside="caches")


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
