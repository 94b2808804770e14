from __future__ import annotations

import asyncio
from typing import Any

import pytest

from calling import KEY, shown
from gemini_nb.api.endpoint import Endpoint, resolve_endpoint
from gemini_nb.config import Auth, Settings
from gemini_nb.errors import ConfigError

DEVELOPER = "https://generativelanguage.googleapis.com"
GLOBAL = "https://aiplatform.googleapis.com"
STREAM = ":streamGenerateContent?alt=sse"
GOOGLE = "publishers/google/models"
TOKEN = "ya29.made-up-token-0123456789"
VERTEX = {"access_token": TOKEN, "project_id": "p"}


def resolve(settings: Settings | None = None, **options: Any) -> Endpoint:
    return resolve_endpoint(settings=settings or Settings(), **options)


def gemini(**options: Any) -> str:
    return resolve(**{"credentials": {"api_key": KEY}, "model": "m", **options}).url


def vertex(**options: Any) -> str:
    credentials = {**VERTEX, **options.pop("given", {})}
    return resolve(**{"auth": "vertex_ai", "credentials": credentials, "model": "m", **options}).url


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, f"{DEVELOPER}/v1beta/models/m{STREAM}"),
        ({"api_version": "v1"}, f"{DEVELOPER}/v1/models/m{STREAM}"),
        ({"api_version": "v1alpha"}, f"{DEVELOPER}/v1alpha/models/m{STREAM}"),
        ({"api_version": "beta"}, f"{DEVELOPER}/v1beta/models/m{STREAM}"),
        ({"model": "models/m"}, f"{DEVELOPER}/v1beta/models/m{STREAM}"),
        ({"model": "tunedModels/m"}, f"{DEVELOPER}/v1beta/tunedModels/m{STREAM}"),
        ({"model": "gemini-3.8-flash"}, f"{DEVELOPER}/v1beta/models/gemini-3.8-flash{STREAM}"),
        ({"model": "new-model-ü"}, f"{DEVELOPER}/v1beta/models/new-model-%C3%BC{STREAM}"),
        ({"base_url": "https://gateway.example"}, f"https://gateway.example/v1beta/models/m{STREAM}"),
        ({"base_url": "https://gateway.example/"}, f"https://gateway.example/v1beta/models/m{STREAM}"),
        ({"base_url": "https://gateway.example/a/"}, f"https://gateway.example/a/v1beta/models/m{STREAM}"),
        ({"base_url": "https://gateway.example/v1"}, f"https://gateway.example/v1/models/m{STREAM}"),
        (
            {"base_url": "https://gateway.example/v1alpha/"},
            f"https://gateway.example/v1alpha/models/m{STREAM}",
        ),
        (
            {"base_url": "https://gateway.example/v1", "api_version": "v1beta"},
            f"https://gateway.example/v1beta/models/m{STREAM}",
        ),
        (
            {"base_url": "https://gateway.example/v1", "api_version": "beta"},
            f"https://gateway.example/v1beta/models/m{STREAM}",
        ),
        ({"base_url": "http://127.0.0.1:8765"}, f"http://127.0.0.1:8765/v1beta/models/m{STREAM}"),
        ({"base_url": "http://[::1]:8765"}, f"http://[::1]:8765/v1beta/models/m{STREAM}"),
        ({"endpoint": "https://h/any/path/?a=b"}, "https://h/any/path/?a=b"),
        ({"endpoint": "https://h/any/path/"}, "https://h/any/path/"),
        (
            {"auth": "simulator", "base_url": "http://localhost:1"},
            f"http://localhost:1/v1beta/models/m{STREAM}",
        ),
    ],
)
def test_urls_of_the_gemini_api(options: dict[str, Any], url: str) -> None:
    assert gemini(**options) == url


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, f"{GLOBAL}/v1beta1/projects/p/locations/global/{GOOGLE}/m{STREAM}"),
        (
            {"given": {"location": "europe-west4"}},
            f"https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/p/locations/europe-west4/{GOOGLE}/m{STREAM}",
        ),
        (
            {"given": {"location": "eu"}},
            f"https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/p/locations/eu/{GOOGLE}/m{STREAM}",
        ),
        ({"api_version": "v1"}, f"{GLOBAL}/v1/projects/p/locations/global/{GOOGLE}/m{STREAM}"),
        ({"api_version": "beta"}, f"{GLOBAL}/v1beta1/projects/p/locations/global/{GOOGLE}/m{STREAM}"),
        (
            {"model": "meta/llama"},
            f"{GLOBAL}/v1beta1/projects/p/locations/global/publishers/meta/models/llama{STREAM}",
        ),
        (
            {"model": "publishers/x/models/m"},
            f"{GLOBAL}/v1beta1/projects/p/locations/global/publishers/x/models/m{STREAM}",
        ),
        ({"model": "models/m"}, f"{GLOBAL}/v1beta1/projects/p/locations/global/models/m{STREAM}"),
        (
            {"model": "projects/q/locations/us-east1/endpoints/7"},
            f"https://us-east1-aiplatform.googleapis.com/v1beta1/projects/q/locations/us-east1/endpoints/7{STREAM}",
        ),
        (
            {"given": {"project_id": "example.com:p"}},
            f"{GLOBAL}/v1beta1/projects/example.com:p/locations/global/{GOOGLE}/m{STREAM}",
        ),
        (
            {"base_url": "http://127.0.0.1:1/v1"},
            f"http://127.0.0.1:1/v1/projects/p/locations/global/{GOOGLE}/m{STREAM}",
        ),
        ({"endpoint": "https://h/x"}, "https://h/x"),
    ],
)
def test_urls_of_vertex_ai(options: dict[str, Any], url: str) -> None:
    assert vertex(**options) == url


def test_vertex_express_has_a_key_and_no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{GLOBAL}/v1beta1/{GOOGLE}/m{STREAM}"
    assert resolve(auth="vertex_ai", credentials={"api_key": KEY}, model="m").url == url
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    express = resolve(auth="vertex_ai", model="m")
    assert express.url == url
    assert asyncio.run(express.authenticator.headers()) == {"x-goog-api-key": KEY}
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    assert not hasattr(resolve(auth="vertex_ai", model="m").authenticator, "_key")


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://gemini.example/")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "https://vertex.example")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "env-project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    assert gemini() == f"https://gemini.example/v1/models/m{STREAM}"
    assert (
        gemini(base_url="https://other.example", api_version="v2")
        == f"https://other.example/v2/models/m{STREAM}"
    )
    where = "projects/env-project/locations/us-central1"
    assert resolve(auth="vertex_ai", model="m").url == f"https://vertex.example/v1/{where}/{GOOGLE}/m{STREAM}"
    assert vertex(given={"location": "eu"}) == (
        f"https://vertex.example/v1/projects/p/locations/eu/{GOOGLE}/m{STREAM}"
    )
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "beta")
    assert gemini() == f"https://gemini.example/v1beta/models/m{STREAM}"


def test_the_model_of_the_call_then_the_settings_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def chosen(settings: Settings | None = None, model: str | None = None) -> str:
        return resolve(settings, credentials={"api_key": KEY}, model=model).model

    assert chosen() == "gemini-3.8-flash"
    monkeypatch.setenv("GEMINI_NB_MODEL", "from-environment")
    assert chosen() == "from-environment"
    assert chosen(Settings(model="from-settings")) == "from-settings"
    assert chosen(Settings(model="from-settings"), "from-call") == "from-call"


@pytest.mark.parametrize(
    "model",
    [
        "a b",
        "a\tb",
        "a\n",
        "a?b",
        "a&b",
        "a#b",
        "a%2e",
        "../m",
        "models/../x",
        "a\\b",
        "/m",
        "m/",
        " m",
        "a\x00",
        7,
    ],
)
@pytest.mark.parametrize("auth", ["gemini", "vertex_ai"])
def test_a_model_id_that_is_none(auth: str, model: object) -> None:
    credentials = VERTEX if auth == "vertex_ai" else {"api_key": KEY}
    with pytest.raises(ConfigError, match="not a model id"):
        resolve(auth=auth, credentials=credentials, model=model)


@pytest.mark.parametrize(
    "url",
    [
        "gemini.example",
        "//gemini.example",
        "ftp://gemini.example",
        "file:///etc/passwd",
        "https://",
        "https://?",
        "https://h:port",
        "https://h:99999",
        "https://[::1",
        "https://h/a b",
        "https://h\n.example",
        "https://h\t/",
        "https://h\\@other.example/",
        "http://127.0.0.1\\.other.example",
        "https://me:hidden@h",
        "https://me@h",
        "https://@h",
        "https://h#fragment",
        "https://h#",
        "https://h/\x7f",
        7,
        b"https://h",
    ],
)
@pytest.mark.parametrize("option", ["base_url", "endpoint"])
def test_a_url_that_is_none(option: str, url: object) -> None:
    with pytest.raises(ConfigError, match="base URL") as caught:
        gemini(**{option: url})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "query", [f"alt=sse&key={KEY}", f"access_token={KEY}", f"KEY={KEY}", f"API_Key={KEY}#"]
)
def test_an_endpoint_carries_no_key(query: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gemini(endpoint=f"https://h/v1/models/m:streamGenerateContent?{query.rstrip('#')}")
    assert "credentials" in caught.value.hint
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/models/m-1:streamGenerateContent?alt=sse", "m-1"),
        ("/v1/tunedModels/mine:streamGenerateContent", "tunedModels/mine"),
        ("/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent", "m"),
        ("/v1/projects/p/locations/l/endpoints/77:streamGenerateContent", "endpoints/77"),
        ("/v1/models/a%20b:streamGenerateContent", "gemini-3.8-flash"),
        ("/models/..:streamGenerateContent", "gemini-3.8-flash"),
        ("/of/my/own", "gemini-3.8-flash"),
    ],
)
def test_an_endpoint_names_its_model(path: str, model: str) -> None:
    key = {"api_key": KEY}
    assert resolve(credentials=key, endpoint=f"https://h{path}").model == model
    assert resolve(credentials=key, endpoint=f"https://h{path}", model="said").model == "said"


@pytest.mark.parametrize("auth", [None, "gemini", "vertex_ai"])
@pytest.mark.parametrize("credentials", [KEY, KEY.encode(), ""])
def test_credentials_that_are_a_bare_string(auth: str | None, credentials: object) -> None:
    with pytest.raises(ConfigError, match=r"Credentials are a dictionary.*api_key") as caught:
        resolve(auth=auth, credentials=credentials)
    assert str(KEY) not in str(caught.value)


def test_a_base_url_has_no_query() -> None:
    with pytest.raises(ConfigError, match="no query"):
        gemini(base_url="https://h/?a=b")


@pytest.mark.parametrize("version", ["v1/../x", "v1?", "v 1", "/v1", 1])
def test_an_api_version_that_is_none(version: object) -> None:
    with pytest.raises(ConfigError, match="not an API version"):
        gemini(api_version=version)


@pytest.mark.parametrize(
    "url",
    [
        "http://gemini.example",
        "http://10.0.0.1:80",
        "http://0.0.0.0:1",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://2130706433",
        "HTTP://gemini.example",
    ],
)
@pytest.mark.parametrize("option", ["base_url", "endpoint"])
def test_no_key_travels_unencrypted_to_another_machine(
    option: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="unencrypted") as caught:
        gemini(**{option: url})
    assert "GEMINI_NB_ALLOW_HTTP" in caught.value.hint
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", url)
    with pytest.raises(ConfigError, match="unencrypted"):
        gemini()
    assert gemini(**{option: url}, settings=Settings(allow_http=True)).startswith(url)
    monkeypatch.setenv("GEMINI_NB_ALLOW_HTTP", "1")
    assert gemini(**{option: url}).startswith(url)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_this_machine_may_be_reached_without_tls(host: str) -> None:
    assert gemini(base_url=f"http://{host}:8765").startswith(f"http://{host}:8765/v1beta/")


@pytest.mark.parametrize("location", ["evil.example/", "a.b", "us central1", "../x", "US", 7])
def test_a_location_that_is_none(location: object) -> None:
    with pytest.raises(ConfigError, match="not a location id"):
        vertex(given={"location": location})


def test_the_location_in_a_models_name_cannot_lead_elsewhere() -> None:
    with pytest.raises(ConfigError, match="not a location id"):
        vertex(model="projects/p/locations/evil.example:443/endpoints/7")


@pytest.mark.parametrize("project", ["a/b", "a b", "..", "a?b"])
def test_a_project_that_is_none(project: str) -> None:
    with pytest.raises(ConfigError, match="not a project id"):
        vertex(given={"project_id": project})


@pytest.mark.parametrize("credentials", [None, {"access_token": TOKEN}, {"location": "eu"}])
def test_vertex_needs_a_project(credentials: object) -> None:
    with pytest.raises(ConfigError, match="needs a Google Cloud project") as caught:
        resolve(auth="vertex_ai", credentials=credentials, model="m")
    assert "GOOGLE_CLOUD_PROJECT" in caught.value.hint


def test_quota_is_shared_by_server_model_and_caller() -> None:
    def quota(**options: Any) -> tuple[str, str, str]:
        return resolve(**{"credentials": {"api_key": KEY}, "model": "m", **options}).quota

    assert quota() == quota()
    assert quota(api_version="v1") == quota()
    several = [
        quota(),
        quota(model="n"),
        quota(base_url="https://h"),
        quota(credentials={"api_key": "other-key"}),
    ]
    assert len(set(several)) == 4
    assert KEY not in str(several)


class KeyHolder:
    """Keeps the key out of the test's own frame, which a traceback shows as well."""

    credentials: object

    def fail(self, **options: Any) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            resolve_endpoint(settings=Settings(), credentials=self.credentials, **options)
        assert caught.value.__cause__ is caught.value.__context__ is None
        return caught.value


@pytest.mark.parametrize("name", ["api_key", "access_token", "service_account"])
@pytest.mark.parametrize(
    "options",
    [{"base_url": "http://gemini.example"}, {"model": "a b"}, {"auth": "nobody"}, {"auth": "gemini"}, {}],
)
def test_a_traceback_of_a_refused_call_shows_no_key(name: str, options: dict[str, Any]) -> None:
    holder = KeyHolder()
    holder.credentials = {
        "api_key": {"api_key": KEY, "wrong": KEY},
        "access_token": {"access_token": f"{KEY} {KEY}", "project_id": "p"},
        "service_account": {"service_account": {"private_key": KEY, "client_email": "x"}, "project_id": "p"},
    }[name]
    traceback = shown(holder.fail(**options))
    assert "resolve_endpoint" in traceback
    assert KEY not in traceback


def test_an_endpoint_shows_no_key() -> None:
    endpoint = resolve(credentials={"api_key": KEY}, model="m")
    assert KEY not in repr(endpoint)
    assert endpoint.auth is Auth.GEMINI
