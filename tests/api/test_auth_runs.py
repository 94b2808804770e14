"""Keys, tokens and hosts in whole runs, each against a server of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.oauth2.credentials import Credentials as UserCredentials

from answers import KEY, PATIENCE
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import ConnectError
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from scripted import Answer, Request, ScriptedServer, answer, call, json_error, sse_answer, text
from token_server import TOKEN, TokenServer

NOW = RetryPolicy(initial_delay=0.0)
HELLO = sse_answer(text("Hello", finish="STOP"))
TOOL = sse_answer(call("look"), text("", finish="STOP"))


@pytest.fixture
def manager() -> Iterator[StreamManager]:
    made = StreamManager()
    yield made
    made.shutdown()


def tokens_of(server: ScriptedServer) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


def looking() -> tuple[Any, list[int]]:
    ran: list[int] = []

    def look() -> str:
        """Look."""
        ran.append(1)
        return "seen"

    return look, ran


def asked(manager: StreamManager, server: ScriptedServer, account: dict[str, str], tool: Any) -> Stream:
    credentials = {"service_account": account}
    return manager.start_stream(
        "Hi", auth="vertex_ai", credentials=credentials, base_url=server.url, tools=[tool]
    ).wait(PATIENCE)


def test_a_token_that_expires_between_rounds_of_tools_is_replaced(
    manager: StreamManager, account: dict[str, str], tokens: TokenServer
) -> None:
    tokens.lifetime = 1  # google-auth takes it for expired at once
    look, ran = looking()
    with ScriptedServer([TOOL, HELLO]) as server:
        stream = asked(manager, server, account, look)
        assert tokens_of(server) == [f"{TOKEN}-1", f"{TOKEN}-2"]
    assert (stream.status, stream.text, stream.retries, ran) == ("completed", "Hello", 0, [1])


def test_a_token_that_is_refused_between_rounds_of_tools_is_replaced_once(
    manager: StreamManager, account: dict[str, str], tokens: TokenServer
) -> None:
    look, ran = looking()
    refusal = json_error(401, "expired", "UNAUTHENTICATED")
    with ScriptedServer([TOOL, refusal, HELLO]) as server:
        stream = asked(manager, server, account, look)
        assert tokens_of(server) == [f"{TOKEN}-1", f"{TOKEN}-1", f"{TOKEN}-2"]
    assert (stream.status, stream.text, stream.retries, ran) == ("completed", "Hello", 1, [1])
    [retry] = [event for event in stream.events if event.kind == "retry_scheduled"]
    assert retry.reason == "401 UNAUTHENTICATED: expired; retrying."


def test_a_refresh_in_each_model_call_and_no_more(
    manager: StreamManager, account: dict[str, str], tokens: TokenServer
) -> None:
    """Each call may refresh once: a run of hours outlives many tokens."""
    look, _ = looking()
    refusal = json_error(401, "expired", "UNAUTHENTICATED")
    with ScriptedServer([refusal, TOOL, refusal, TOOL, refusal, refusal]) as server:
        stream = asked(manager, server, account, look)
        assert tokens_of(server) == [f"{TOKEN}-{number}" for number in (1, 2, 2, 3, 3, 4)]
    assert (stream.status, stream.retries) == ("error", 3)
    assert stream.error is not None
    assert (stream.error.status_code, stream.error.api_status, stream.error.attempts) == (
        401,
        "UNAUTHENTICATED",
        2,
    )
    assert "roles/aiplatform.user" in stream.error.hint


def test_who_pays_is_said_in_every_request(manager: StreamManager) -> None:
    look, _ = looking()
    own = UserCredentials(token="ya29.a-token-with-a-payer", quota_project_id="payer")
    with ScriptedServer([TOOL, HELLO]) as server:
        manager.start_stream(
            "Hi", auth="vertex_ai", credentials=own, base_url=server.url, tools=[look], model="projects/p/m"
        ).wait(PATIENCE)
        assert [request.headers["x-goog-user-project"] for request in server.requests] == ["payer"] * 2
        assert set(tokens_of(server)) == {"ya29.a-token-with-a-payer"}


def test_an_express_key_has_neither_project_nor_token(manager: StreamManager) -> None:
    with ScriptedServer([HELLO]) as server:
        stream = manager.start_stream(
            "Hi", auth="vertex_ai", credentials={"api_key": KEY}, base_url=server.url, model="m"
        )
        assert stream.result(PATIENCE) == "Hello"
        [request] = server.requests
    assert request.path == "/v1beta1/publishers/google/models/m:streamGenerateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
    ],
)
def test_which_host_a_location_is_asked_at(
    manager: StreamManager, monkeypatch: pytest.MonkeyPatch, location: str, host: str
) -> None:
    """A proxy hears the host's name before anything else is sent, and lets nothing through."""
    with ScriptedServer([answer(407)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        credentials = {"access_token": TOKEN, "project_id": "p", "location": location}
        stream = manager.start_stream("Hi", auth="vertex_ai", credentials=credentials).wait(PATIENCE)
        assert [(request.method, request.target) for request in proxy.requests] == [
            ("CONNECT", f"{host}:443")
        ]
    assert isinstance(stream.error, ConnectError)
    assert TOKEN not in repr(stream.error)


# ------------------------------------------------------------------ google-auth's own patience


class Busy(TokenServer):
    """A token server that refuses its first requests."""

    def __init__(self, busy: int) -> None:
        super().__init__()
        self.busy = busy

    def _token(self, request: Request) -> Answer:
        self.refusal = json_error(503, "busy") if len(self.requests) <= self.busy else None
        return super()._token(request)


@pytest.fixture
def no_naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """google-auth waits between its attempts; not here."""
    naps: list[float] = []
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", naps.append)
    return naps


@pytest.mark.parametrize("busy", [1, 2])
def test_a_token_server_that_is_busy_for_a_moment_is_asked_again_by_google_auth(
    manager: StreamManager, account: dict[str, str], no_naps: list[float], busy: int
) -> None:
    with Busy(busy) as made, ScriptedServer([HELLO]) as server:
        credentials = {"service_account": {**account, "token_uri": f"{made.url}/token"}}
        stream = manager.start_stream("Hi", auth="vertex_ai", credentials=credentials, base_url=server.url)
        assert stream.result(PATIENCE) == "Hello"
        assert len(made.requests) == busy + 1
    assert stream.retries == 0


def test_a_token_server_that_stays_busy_is_asked_by_us_too_and_then_told(
    manager: StreamManager, account: dict[str, str], no_naps: list[float]
) -> None:
    with Busy(10**6) as made, ScriptedServer([]) as server:
        credentials = {"service_account": {**account, "token_uri": f"{made.url}/token"}}
        stream = manager.start_stream(
            "Hi", auth="vertex_ai", credentials=credentials, base_url=server.url, retry=NOW
        ).wait(PATIENCE)
        assert len(made.requests) == 5 * 3
    assert isinstance(stream.error, ConnectError)
    assert (stream.retries, stream.error.attempts) == (4, 5)
    assert "token server does not work at present" in str(stream.error)
    assert "Trying again later" in stream.error.hint
