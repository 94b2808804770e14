"""Where a stream's requests go: the URL of each service's form, the key, and whose quota it uses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from gemini_nb.api.auth import Authenticator, authenticator, project_of
from gemini_nb.config import (
    Auth,
    Settings,
    check_base_url,
    check_url,
    choose_auth,
    choose_model,
    environment_key,
    http_allowed,
    is_model,
)
from gemini_nb.errors import ConfigError, GeminiError, MissingKeyError, without_traceback
from gemini_nb.redaction import Secret
from gemini_nb.sealing import seal

_DEVELOPER_HOST = "https://generativelanguage.googleapis.com"
_KEYS = {"key", "api_key", "apikey", "access_token", "oauth_token"}
_VERSION_AT_END = re.compile(r"/v\d+((alpha|beta)\d*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One model of one service, for one caller.

    Attributes:
        auth: the service.
        model: the model's id, as the user wrote it.
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
        host = "/".join(self.url.split("/", 3)[:3])
        return host, self.model, self.authenticator.identity


def model_in(url: str) -> str | None:
    """Return the bare id of the model in a URL: a recording of one service is good for another, too."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    name, colon, _ = path.rpartition("/")[2].rpartition(":")
    return name if colon else None


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
        model: the model's id; without one it is that in the endpoint's URL.
        credentials: see `authenticator`.
        base_url: the service's root, such as "https://host"; a version at its end is used.
        api_version: such as "v1beta".
        endpoint: a full URL, used as it is.

    Raises:
        ConfigError: something is missing or does not fit.
    """
    credentials = seal(credentials)
    try:
        if isinstance(credentials, (Secret, bytes)):
            raise ConfigError(
                "Credentials are a dictionary, not a string.", hint='A key goes into {"api_key": ...}.'
            )
        service = choose_auth(auth, credentials, settings)
        chosen = choose_model(model or _named_in(endpoint), settings)
        allow_http = http_allowed(settings)
        if service is Auth.VERTEX_AI and credentials is None and endpoint is None:
            credentials = _express_key(chosen)
        if endpoint is not None:
            url = _keyless(check_url(endpoint, allow_http=allow_http))
        elif service is Auth.VERTEX_AI:
            path, host = _vertex_path(chosen, credentials)
            base = check_base_url(_base(base_url, "VERTEX", host), allow_http=allow_http)
            url = _stream_url(_versioned(base, api_version, beta="v1beta1"), path)
        else:
            base = check_base_url(_base(base_url, "GEMINI", _DEVELOPER_HOST), allow_http=allow_http)
            path = chosen if chosen.startswith(("models/", "tunedModels/")) else f"models/{chosen}"
            url = _stream_url(_versioned(base, api_version, beta="v1beta"), path)
        proof = authenticator(service, credentials)
    except GeminiError as error:
        failure = without_traceback(error)
    else:
        return Endpoint(auth=service, model=chosen, url=url, authenticator=proof)
    raise failure


def _named_in(endpoint: str | None) -> str | None:
    """Return the model in a full URL: price, quota and hints are that model's, whatever the default is."""
    name = model_in(endpoint) if isinstance(endpoint, str) else None
    if not name or not is_model(name):
        return None
    kind = urlsplit(str(endpoint)).path.rpartition("/")[0].rpartition("/")[2]
    return f"{kind}/{name}" if kind in {"tunedModels", "endpoints"} else name


def _base(given: str | None, service: str, default: str) -> str:
    return given or os.environ.get(f"GOOGLE_{service}_BASE_URL") or default


def _stream_url(root: str, path: str) -> str:
    return f"{root}/{quote(path, safe='/:')}:streamGenerateContent?alt=sse"


def _keyless(url: str) -> str:
    """Return the URL if it holds no key, which every log on the way would show."""
    names = {name.lower() for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    if names & _KEYS:
        raise ConfigError(
            f"The endpoint's URL holds a key or token: {min(names & _KEYS)!r}.",
            hint='It would be in every log. Leave it out of the URL, and pass credentials={"api_key": ...}.',
        )
    return url


def _project(credentials: object) -> str | None:
    return project_of(credentials) or os.environ.get("GOOGLE_CLOUD_PROJECT") or None


def _express_key(model: str) -> object:
    """Return the key for Vertex AI's express mode, which has no project; only GOOGLE_API_KEY can be one."""
    if _project(None) or model.startswith("projects/") or not os.environ.get("GOOGLE_API_KEY", "").strip():
        return None
    return seal({"api_key": environment_key()})


def _vertex_path(model: str, credentials: object) -> tuple[str, str]:
    """Return the path behind the version, and the service's host for it."""
    given = credentials if isinstance(credentials, Mapping) else {}
    path = _vertex_model(model)
    if path.startswith("projects/"):
        found = re.match(r"projects/[^/]+/locations/([^/]+)/", path)
        return path, _vertex_host(_checked_id("location", found[1] if found else "global"))
    project = _project(credentials)
    if project is None:
        if "api_key" in given:
            return path, _vertex_host("global")
        raise MissingKeyError(
            "vertex_ai needs a Google Cloud project.",
            hint='Set GOOGLE_CLOUD_PROJECT, or pass credentials={"project_id": ...}.',
        )
    location = given.get("location") or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    where = f"projects/{_checked_id('project', project)}/locations/{_checked_id('location', location)}"
    return f"{where}/{path}", _vertex_host(str(location))


def _checked_id(name: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9:._-]+", value) or ".." in value:
        raise ConfigError(f"{value!r} is not a {name} id.")
    return value


def _vertex_host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    if not re.fullmatch(r"[a-z0-9-]+", location):
        # It becomes a part of the host's name: a dot would send the token elsewhere.
        raise ConfigError(f"{location!r} is not a location id.", hint='One looks like "europe-west4".')
    return f"https://{location}-aiplatform.googleapis.com"


def _vertex_model(model: str) -> str:
    if model.startswith(("projects/", "publishers/", "models/")):
        return model
    publisher, slash, name = model.partition("/")
    return f"publishers/{publisher}/models/{name}" if slash else f"publishers/google/models/{model}"


def _versioned(base: str, api_version: str | None, *, beta: str) -> str:
    wanted = api_version or os.environ.get("GOOGLE_GENAI_API_VERSION") or beta
    if wanted == "beta":
        wanted = beta
    if not isinstance(wanted, str) or not re.fullmatch(r"[A-Za-z0-9]+", wanted):
        raise ConfigError(f"{wanted!r} is not an API version.", hint=f'One looks like "{beta}".')
    if _VERSION_AT_END.search(base):
        return base if api_version is None else _VERSION_AT_END.sub(f"/{wanted}", base)
    return f"{base}/{wanted}"
