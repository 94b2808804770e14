from __future__ import annotations

import pytest
from google.auth.credentials import AnonymousCredentials

from gemini_nb.config import (
    Auth,
    Settings,
    check_base_url,
    choose_auth,
    environment_key,
    is_loopback,
    simulator_pace,
)
from gemini_nb.errors import ConfigError, GeminiError

KEY = "AIzaSy-made-up-for-tests-0123456789abcd"


def chosen(auth: str | None = None, credentials: object = None, **settings: str) -> Auth:
    return choose_auth(auth, credentials, Settings(auth=settings.get("configured")))


@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_a_key_in_the_environment_means_gemini(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f" {KEY}\n")
    key = environment_key()
    assert key is not None
    assert key.reveal() == KEY
    assert chosen() is Auth.GEMINI


def test_googles_key_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "second-key")
    monkeypatch.setenv("GOOGLE_API_KEY", "first-key")
    key = environment_key()
    assert key is not None
    assert key.reveal() == "first-key"
    monkeypatch.setenv("GOOGLE_API_KEY", " ")
    key = environment_key()
    assert key is not None
    assert key.reveal() == "second-key"


@pytest.mark.parametrize("blank", [None, "", "  \n"])
def test_no_key_is_an_error_that_says_what_to_do_and_never_the_simulator(
    blank: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if blank is not None:
        monkeypatch.setenv("GEMINI_API_KEY", blank)
        monkeypatch.setenv("GOOGLE_API_KEY", blank)
    assert environment_key() is None
    with pytest.raises(ConfigError, match="No Gemini API key") as caught:
        chosen()
    assert isinstance(caught.value, GeminiError)
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "--auth simulator"):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"])
@pytest.mark.parametrize(
    ("value", "vertex"),
    [
        ("true", True),
        ("True", True),
        ("1", True),
        (" yes ", True),
        ("0", False),
        ("false", False),
        ("", False),
    ],
)
def test_the_switch_to_vertex_ai(
    name: str, value: str, vertex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    assert chosen() is (Auth.VERTEX_AI if vertex else Auth.GEMINI)


def test_the_new_switch_wins_over_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    monkeypatch.setenv("GOOGLE_GENAI_USE_ENTERPRISE", "0")
    assert chosen() is Auth.GEMINI


def test_call_then_credentials_then_settings_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    assert chosen() is Auth.VERTEX_AI
    monkeypatch.setenv("GEMINI_NB_AUTH", "gemini")
    assert chosen() is Auth.GEMINI
    assert chosen(configured="simulator") is Auth.SIMULATOR
    assert chosen(credentials={"project_id": "p"}, configured="simulator") is Auth.VERTEX_AI
    assert chosen("gemini", {"project_id": "p"}, configured="simulator") is Auth.GEMINI


def test_the_simulator_is_chosen_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("simulator") is Auth.SIMULATOR
    monkeypatch.setenv("GEMINI_NB_AUTH", "simulator")
    assert chosen() is Auth.SIMULATOR


@pytest.mark.parametrize(
    ("credentials", "auth"),
    [
        ({"api_key": KEY}, Auth.GEMINI),
        ({}, Auth.GEMINI),
        ({"service_account": "path"}, Auth.VERTEX_AI),
        ({"access_token": "t"}, Auth.VERTEX_AI),
        ({"location": "eu"}, Auth.VERTEX_AI),
        ({"api_key": KEY, "project_id": "p"}, Auth.VERTEX_AI),
        (AnonymousCredentials(), Auth.VERTEX_AI),
    ],
)
def test_credentials_say_whose_they_are(credentials: object, auth: Auth) -> None:
    assert chosen(credentials=credentials) is auth


@pytest.mark.parametrize("name", ["Gemini", "vertex", "openai"])
def test_an_auth_that_there_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match='"gemini", "vertex_ai", "simulator"'):
        chosen(name)
    monkeypatch.setenv("GEMINI_NB_AUTH", name)
    with pytest.raises(ConfigError, match=repr(name)):
        chosen()


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "notlocalhost", "127.0.0.1.example", "0.0.0.0", "::", "10.0.0.1"]
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_base_url_loses_its_slash() -> None:
    assert check_base_url("https://h/a//", allow_http=False) == "https://h/a"


def test_the_embedded_simulators_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulator_pace() == 1.0
    monkeypatch.setenv("GEMINI_NB_SIMULATOR_PACE", "0.25")
    assert simulator_pace() == 0.25


@pytest.mark.parametrize("value", ["fast", "-1", "nan", "inf", ""])
def test_a_pace_that_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GEMINI_NB_SIMULATOR_PACE", value)
    with pytest.raises(ConfigError, match="GEMINI_NB_SIMULATOR_PACE"):
        simulator_pace()
