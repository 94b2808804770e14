"""The models that a service offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.json_request import ask
from gemini_nb.config import Auth

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients

_SECONDS = 30.0
_PAGES = 100  # at most; a server may name a next page for ever


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a service.

    Attributes:
        name: the id to ask for, such as "gemini-3.8-flash".
        display_name: a readable name, empty where the service gives none, as with Vertex AI.
        input_token_limit: tokens a request may have, None where the service does not say.
        output_token_limit: tokens an answer may have.
        methods: what it can do, such as "generateContent".
    """

    name: str
    display_name: str = ""
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    methods: tuple[str, ...] = ()


async def list_models(clients: HTTPClients, endpoint: Endpoint) -> list[Model]:
    """Return all models that the caller may ask, page by page.

    Raises:
        GeminiError: the service refuses, cannot be reached, or answers something else.
    """
    found: list[Model] = []
    url, token = _list_url(endpoint), ""
    for _ in range(_PAGES):
        page = await ask(
            clients,
            endpoint,
            f"{url}?pageSize=1000{token}",
            seconds=_SECONDS,
            beside="the list of models",
            what="The list of models",
        )
        found += _models_in(page)
        following = page.get("nextPageToken")
        if not isinstance(following, str) or not following:
            break
        token = f"&pageToken={quote(following, safe='')}"
    return found


def _list_url(endpoint: Endpoint) -> str:
    """The URL of the list, at the root and in the version that the models are asked at."""
    parts = urlsplit(endpoint.url)
    before = parts.path.partition("/models/")[0].partition("/tunedModels/")[0].partition("/projects/")[0]
    family = "/publishers/google/models" if endpoint.auth is Auth.VERTEX_AI else "/models"
    before = before.removesuffix("/publishers/google")
    return f"{parts.scheme}://{parts.netloc}{before}{family}"


def _models_in(page: Mapping[str, Any]) -> Iterator[Model]:
    listed = page.get("models") or page.get("publisherModels")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("name"), str):
            methods = one.get("supportedGenerationMethods")
            yield Model(
                name=one["name"].rpartition("/")[2],
                display_name=str(one.get("displayName") or ""),
                input_token_limit=_number(one.get("inputTokenLimit")),
                output_token_limit=_number(one.get("outputTokenLimit")),
                methods=tuple(map(str, methods)) if isinstance(methods, list) else (),
            )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
