from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.oauth2.credentials import Credentials as UserCredentials
from google.oauth2.service_account import Credentials as ServiceAccountCredentials

from calling import KEY, ask, call_to, shown
from gemini_nb.api.auth import AccessToken, ApiKey, GoogleCredentials, authenticator
from gemini_nb.api.http import HTTPClients
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError, GeminiError
from gemini_nb.redaction import scrub
from google_accounts import bearer, vertex, vertex_endpoint
from scripted import ScriptedServer, json_error, sse_answer, text
from token_server import TOKEN, TokenServer, claims_of

FINISHED = sse_answer(text("Hello", finish="STOP"))


async def test_an_access_token(clients: HTTPClients) -> None:
    refusal = json_error(401, f"{TOKEN} is no good")
    with ScriptedServer([FINISHED, refusal]) as server:
        endpoint = vertex_endpoint(server, {"access_token": f" {TOKEN}\n", "project_id": "p"})
        assert (await ask(clients, endpoint)).text == "Hello"
        failure = (await ask(clients, endpoint)).failure
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {TOKEN}"] * 2
        assert "x-goog-api-key" not in server.requests[0].headers
    assert failure.attempts == 1
    assert TOKEN not in shown(failure)
    assert isinstance(endpoint.authenticator, AccessToken)


async def test_a_credentials_object_with_a_token_of_its_own() -> None:
    own = "ya29.a-token-that-no-other-test-has"
    one = vertex(UserCredentials(token=own, quota_project_id="payer"))
    assert await one.headers() == {"Authorization": f"Bearer {own}", "x-goog-user-project": "payer"}
    assert scrub(own) == "[secret]"


async def test_a_credentials_object_is_scoped(account: dict[str, str], tokens: TokenServer) -> None:
    unscoped = ServiceAccountCredentials.from_service_account_info(account)
    one = vertex(unscoped)
    assert vertex(unscoped) is one
    assert await one.headers() == bearer(1)
    assert claims_of(tokens.requests[0])["scope"].endswith("/auth/cloud-platform")


async def test_anonymous_credentials_send_nothing() -> None:
    assert await vertex(AnonymousCredentials()).headers() == {}


async def test_a_credentials_object_that_fails_in_its_own_way() -> None:
    class Own:
        token = None
        valid = False

        def refresh(self, request: object) -> None:
            raise ZeroDivisionError("of my own")

    with pytest.raises(GeminiError, match="of my own"):
        await vertex(Own()).headers()


@pytest.mark.parametrize("auth", [Auth.GEMINI, Auth.SIMULATOR])
async def test_an_api_key(auth: Auth) -> None:
    one = authenticator(auth, {"api_key": f"  {KEY}\n"})
    assert await one.headers() == {"x-goog-api-key": KEY}
    assert isinstance(one, ApiKey)
    assert not one.can_refresh
    assert KEY not in one.identity


async def test_vertex_takes_an_api_key_instead() -> None:
    assert await vertex({"api_key": KEY}).headers() == {"x-goog-api-key": KEY}


def test_identity_tells_callers_apart(account: dict[str, str]) -> None:
    def identity(credentials: object, auth: Auth = Auth.VERTEX_AI) -> str:
        return authenticator(auth, credentials).identity

    assert identity({"api_key": KEY}, Auth.GEMINI) == identity({"api_key": KEY}, Auth.GEMINI)
    several = [
        identity({"api_key": KEY}, Auth.GEMINI),
        identity({"api_key": KEY + "x"}, Auth.GEMINI),
        identity({"access_token": TOKEN}),
        identity({"access_token": TOKEN + "x"}),
        identity({"service_account": account}),
        identity({"service_account": {**account, "client_email": "other@x.iam"}}),
        identity(AnonymousCredentials()),
    ]
    assert len(set(several)) == len(several)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": ""},
        {"api_key": " "},
        {"api_key": 7},
        {"api_key": "two words"},
        {"api_key": "“quoted”"},
        {"api_key": "a\x00b"},
        {"api_key": KEY, "project_id": "p"},
        {"apikey": KEY},
        {7: KEY},
        KEY,
        UserCredentials(token=TOKEN),
    ],
)
def test_api_keys_that_are_none(wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        authenticator(Auth.GEMINI, wrong)
    assert KEY not in str(caught.value)


def test_credentials_are_not_shown() -> None:
    for one in (authenticator(Auth.GEMINI, {"api_key": KEY}), vertex({"access_token": TOKEN})):
        assert KEY not in repr(one)
        assert TOKEN not in repr(one)
        with pytest.raises(TypeError):
            copy.deepcopy(one)
    assert isinstance(vertex(None), GoogleCredentials)
    assert "authenticator" not in repr(call_to("http://127.0.0.1:1"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_account": "/nowhere/account.json"},
        {"service_account": {"type": "service_account", "private_key": KEY}},
        {"service_account": 7},
        {"service_account": []},
        {"access_token": ""},
        {"access_token": "two words"},
        {"access_token": f"{TOKEN}é"},
        {"access_token": 7},
        {"api_key": "", "project_id": "p"},
        {"project": "p"},
        {7: "p"},
        7,
        "a string",
        object(),
    ],
)
def test_credentials_that_are_none(wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        vertex(wrong)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "{}", '{"type": "authorized_user"}', "\0"])
def test_a_file_that_is_no_service_account(tmp_path: Path, content: str) -> None:
    path = tmp_path / "account.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="not a key file of Google's"):
        vertex({"service_account": path})


@pytest.mark.parametrize(
    "change", [{"private_key": "-----BEGIN no key"}, {"private_key": None}, {"token_uri": None}]
)
def test_an_account_with_a_broken_key(account: dict[str, str], change: dict[str, Any]) -> None:
    broken = {name: value for name, value in {**account, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match="not a key file of Google's"):
        vertex({"service_account": broken})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://tokens.example.com/token", "would travel unencrypted to tokens.example.com"),
        ("ftp://127.0.0.1/token", "is not a base URL"),
        ("https://me:secret@127.0.0.1/token", "must not carry a user"),
        (5, "is not a base URL"),
    ],
)
def test_an_account_whose_proof_would_go_where_no_key_may(
    account: dict[str, Any], url: object, said: str
) -> None:
    with pytest.raises(ConfigError, match=f"The service account's token_uri: .*{said}"):
        vertex({"service_account": {**account, "token_uri": url}})
