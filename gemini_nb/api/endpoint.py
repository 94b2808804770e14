"""Where a stream's requests go: the URL of each service's form, the key, and whose quota it uses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from gemini_nb.api.auth import Authenticator, authenticator, project_of
from gemini_nb.config import Auth, Settings, check_base_url, choose_auth, choose_model, http_allowed
from gemini_nb.errors import ConfigError

__all__ = ["Endpoint", "resolve_endpoint"]

_DEVELOPER_HOST = "https://generativelanguage.googleapis.com"
_VERSION_AT_END = re.compile(r"/v\d+((alpha|beta)\d*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One model of one service, for one caller.

    Attributes:
        auth: the service.
        model: the model's id, as the person wrote it.
        url: the URL of streamGenerateContent.
        authenticator: makes the headers that prove who asks.
    """

    auth: Auth
    model: str
    url: str
    authenticator: Authenticator = field(repr=False)

    @property
    def quota(self) -> tuple[str, str, str]:
        """What shares one rate limit: base URL, model and caller."""
        parts = urlsplit(self.url)
        return (f"{parts.scheme}://{parts.netloc}", self.model, self.authenticator.identity)


def resolve_endpoint(
    *,
    settings: Settings,
    auth: str | None = None,
    model: str | None = None,
    credentials: object = None,
    base_url: str | None = None,
    api_version: str | None = None,
    endpoint: str | None = None,
) -> Endpoint:
    """Decide on service, key and URL from the arguments, the settings and the environment.

    Args:
        settings: the manager's defaults.
        auth: the service's name.
        model: the model's id.
        credentials: see `authenticator`.
        base_url: the service's root, such as "https://host"; a version at its end is used.
        api_version: such as "v1beta".
        endpoint: a full URL, used as it is.

    Raises:
        ConfigError: something is missing or does not fit.
    """
    service = choose_auth(auth, credentials, settings)
    chosen = choose_model(model, settings)
    allow_http = http_allowed(settings)
    if endpoint is not None:
        url = check_base_url(endpoint, allow_http=allow_http)
    else:
        make_url = _vertex_url if service is Auth.VERTEX_AI else _developer_url
        url = make_url(chosen, credentials, base_url, api_version)
        check_base_url(url, allow_http=allow_http)
    return Endpoint(auth=service, model=chosen, url=url, authenticator=authenticator(service, credentials))


def _developer_url(model: str, credentials: object, base_url: str | None, api_version: str | None) -> str:  # noqa: ARG001 - one signature for both services
    base = base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or _DEVELOPER_HOST
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return f"{_versioned(base, api_version, beta='v1beta')}/{quote(name)}:streamGenerateContent?alt=sse"


def _vertex_url(model: str, credentials: object, base_url: str | None, api_version: str | None) -> str:
    given = credentials if isinstance(credentials, Mapping) else {}
    project = project_of(credentials) or os.environ.get("GOOGLE_CLOUD_PROJECT")
    location = given.get("location") or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    if not project and not model.startswith("projects/"):
        raise ConfigError(
            "vertex_ai needs a Google Cloud project.",
            hint='Set GOOGLE_CLOUD_PROJECT, or pass credentials={"project_id": ...}.',
        )
    for name, value in (("project", project), ("location", location)):
        if value and not re.fullmatch(r"[A-Za-z0-9:._-]+", str(value)):
            raise ConfigError(f"{value!r} is not a {name} id.")
    base = base_url or os.environ.get("GOOGLE_VERTEX_BASE_URL") or _vertex_host(str(location))
    path = _vertex_model(model)
    if not path.startswith("projects/"):
        path = f"projects/{project}/locations/{location}/{path}"
    root = _versioned(base, api_version, beta="v1beta1")
    return f"{root}/{quote(path, safe='/:')}:streamGenerateContent?alt=sse"


def _vertex_host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def _vertex_model(model: str) -> str:
    if model.startswith(("projects/", "publishers/", "models/")):
        return model
    publisher, slash, name = model.partition("/")
    return f"publishers/{publisher}/models/{name}" if slash else f"publishers/google/models/{model}"


def _versioned(base: str, api_version: str | None, *, beta: str) -> str:
    base = base.rstrip("/")
    wanted = api_version or os.environ.get("GOOGLE_GENAI_API_VERSION")
    if wanted == "beta":
        wanted = beta
    if _VERSION_AT_END.search(base):
        return base if api_version is None else _VERSION_AT_END.sub(f"/{api_version}", base)
    return f"{base}/{wanted or beta}"
