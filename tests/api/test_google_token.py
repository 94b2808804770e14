from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calling import ask, shown
from gemini_nb.api.http import HTTPClients
from gemini_nb.errors import ConfigError, ConnectError, GeminiError
from gemini_nb.redaction import scrub
from google_accounts import bearer, vertex, vertex_endpoint
from scripted import Answer, Request, ScriptedServer, answer, json_error, sse_answer, text
from token_server import TOKEN, TokenServer, claims_of

FINISHED = sse_answer(text("Hello", finish="STOP"))
INVALID_GRANT = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


@pytest.mark.parametrize("form", ["path", "text", "dictionary"])
async def test_a_service_account(
    form: str, account: dict[str, str], account_file: Path, tokens: TokenServer
) -> None:
    given = {"path": account_file, "text": str(account_file), "dictionary": account}[form]
    assert await vertex({"service_account": given}).headers() == bearer(1)
    [request] = tokens.requests
    claims = claims_of(request)
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert claims["iss"] == account["client_email"]


async def test_one_token_for_all_streams_of_an_account(
    account: dict[str, str], account_file: Path, tokens: TokenServer
) -> None:
    tokens.gate = threading.Event()
    several = [vertex({"service_account": given}) for given in [account, account_file] * 20]
    tasks = [asyncio.create_task(one.headers()) for one in several]
    await asyncio.to_thread(tokens.wait_requests, 1)
    tokens.gate.set()
    assert await asyncio.gather(*tasks) == [bearer(1)] * 40
    assert await vertex({"service_account": account}).headers() == bearer(1)
    assert len(tokens.requests) == 1
    assert len({one.identity for one in several}) == 1


def test_one_token_for_all_loops(account: dict[str, str], tokens: TokenServer) -> None:
    tokens.gate = threading.Event()
    one = vertex({"service_account": account})

    def run() -> dict[str, str]:
        return asyncio.run(one.headers())

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run) for _ in range(3)]
        tokens.wait_requests(1)
        tokens.gate.set()
        assert [future.result(20) for future in futures] == [bearer(1)] * 3
    assert run() == bearer(1)
    assert len(tokens.requests) == 1


async def test_a_stream_that_is_stopped_meanwhile_takes_the_token_from_nobody(
    account: dict[str, str], tokens: TokenServer
) -> None:
    tokens.gate = threading.Event()
    one = vertex({"service_account": account})
    first, second = (asyncio.create_task(one.headers()) for _ in range(2))
    await asyncio.to_thread(tokens.wait_requests, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    tokens.gate.set()
    assert await second == bearer(1)
    assert len(tokens.requests) == 1


async def test_an_expired_token_is_replaced(account: dict[str, str], tokens: TokenServer) -> None:
    tokens.lifetime = 1
    one = vertex({"service_account": account})
    assert [await one.headers() for _ in range(3)] == [bearer(1), bearer(2), bearer(3)]
    tokens.lifetime = 3600
    assert [await one.headers() for _ in range(3)] == [bearer(4)] * 3


async def test_the_token_is_known_to_the_scrubber(account: dict[str, str], tokens: TokenServer) -> None:
    one = vertex({"service_account": account})
    await one.headers()
    assert scrub(f"a {TOKEN}-1 b") == "a [secret] b"
    assert TOKEN not in one.identity


class API(ScriptedServer):
    """A server that takes tokens from a number on, and is busy for some requests before."""

    def __init__(self, *, good: int, busy: int = 0) -> None:
        super().__init__(self._answer)
        self.good = good
        self.busy = busy

    def _answer(self, request: Request) -> Answer:
        number = int(request.headers["authorization"].rpartition("-")[2])
        if number < self.good:
            return json_error(401, f"not {request.headers['authorization']}", "UNAUTHENTICATED")
        self.busy -= 1
        return json_error(503) if self.busy >= 0 else FINISHED

    @property
    def numbers(self) -> list[int]:
        return [int(request.headers["authorization"].rpartition("-")[2]) for request in self.requests]


async def test_a_refused_token_is_replaced_once(
    clients: HTTPClients, account: dict[str, str], tokens: TokenServer
) -> None:
    with API(good=2) as server:
        outcome = await ask(clients, vertex_endpoint(server, {"service_account": account}))
        assert server.numbers == [1, 2]
        assert server.requests[0].path == (
            "/v1beta1/projects/the-project/locations/global/publishers/google/models/gemini-test"
            ":streamGenerateContent"
        )
    assert outcome.text == "Hello"
    assert [(retry.attempt, retry.delay) for retry in outcome.retries] == [(2, 0.0)]


async def test_a_token_that_is_refused_again_is_the_end(
    clients: HTTPClients, account: dict[str, str], tokens: TokenServer
) -> None:
    with API(good=9) as server:
        outcome = await ask(clients, vertex_endpoint(server, {"service_account": account}))
        assert server.numbers == [1, 2]
    assert outcome.failure.status_code == 401
    assert "not Bearer [secret]" in outcome.failure.message
    assert "roles/aiplatform.user" in outcome.failure.hint
    assert TOKEN not in shown(outcome.failure)


async def test_later_attempts_keep_the_new_token(
    clients: HTTPClients, account: dict[str, str], tokens: TokenServer
) -> None:
    with API(good=2, busy=2) as server:
        outcome = await ask(clients, vertex_endpoint(server, {"service_account": account}))
        assert server.numbers == [1, 2, 2, 2]
    assert outcome.text == "Hello"
    assert len(tokens.requests) == 2


async def test_many_streams_with_the_same_refused_token_replace_it_once(
    clients: HTTPClients, account: dict[str, str], tokens: TokenServer
) -> None:
    with API(good=2) as server:
        endpoints = [vertex_endpoint(server, {"service_account": account}) for _ in range(20)]
        await endpoints[0].authenticator.headers()
        outcomes = await asyncio.gather(*(ask(clients, endpoint) for endpoint in endpoints))
        assert sorted(set(server.numbers)) == [1, 2]
    assert {outcome.text for outcome in outcomes} == {"Hello"}
    assert len(tokens.requests) == 2


async def test_a_refused_exchange(clients: HTTPClients, account: dict[str, str], tokens: TokenServer) -> None:
    tokens.refusal = answer(400, {"Content-Type": "application/json"}, json.dumps(INVALID_GRANT).encode())
    with ScriptedServer([]) as server:
        outcome = await ask(clients, vertex_endpoint(server, {"service_account": account}))
    assert "Invalid JWT Signature" in outcome.failure.message
    assert "service account" in outcome.failure.hint
    assert outcome.failure.attempts == 1
    assert len(tokens.requests) == 1
    assert account["private_key"][100:140] not in shown(outcome.failure)


@pytest.mark.parametrize(
    "body", [b"<h1>Sign in</h1>", b"{}", b"[]", b'{"access_token": "a", "expires_in": "x"}']
)
async def test_an_answer_that_holds_no_token(
    body: bytes, account: dict[str, str], tokens: TokenServer
) -> None:
    tokens.refusal = answer(200, {}, body)
    with pytest.raises(GeminiError, match="Google refused to make an access token") as caught:
        await vertex({"service_account": account}).headers()
    assert caught.value.__context__ is caught.value.__cause__ is None


@pytest.mark.parametrize("token", ["5", "[1]", '{"a": 1}', "true"])
async def test_a_token_that_is_no_text(token: str, account: dict[str, str], tokens: TokenServer) -> None:
    tokens.refusal = answer(200, {}, b'{"access_token": %b, "expires_in": 3600}' % token.encode())
    one = vertex({"service_account": account})
    for _ in range(2):  # it is kept for an hour
        with pytest.raises(GeminiError, match="answered with a token that is "):
            await one.headers()


async def test_every_waiting_stream_gets_an_error_of_its_own(
    account: dict[str, str], tokens: TokenServer
) -> None:
    tokens.refusal = answer(400, {}, json.dumps(INVALID_GRANT).encode())
    one = vertex({"service_account": account})
    first, second = await asyncio.gather(one.headers(), one.headers(), return_exceptions=True)
    assert isinstance(first, GeminiError)
    assert isinstance(second, GeminiError)
    assert first is not second
    assert first.__dict__ == second.__dict__


async def test_no_token_server(clients: HTTPClients, account: dict[str, str]) -> None:
    account = {**account, "token_uri": "http://127.0.0.1:1/token"}
    with ScriptedServer([]) as server:
        outcome = await ask(clients, vertex_endpoint(server, {"service_account": account}))
    assert isinstance(outcome.failure, ConnectError)
    assert outcome.failure.attempts == 5


async def test_application_default_credentials(
    clients: HTTPClients, account_file: Path, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "from-the-environment")
    with API(good=2) as server:
        assert (await ask(clients, vertex_endpoint(server, None))).text == "Hello"
        assert (await ask(clients, vertex_endpoint(server, {"project_id": "other"}))).text == "Hello"
        assert server.numbers == [1, 2, 2]
        assert "/projects/from-the-environment/" in server.requests[0].path
        assert "/projects/other/" in server.requests[2].path


async def test_no_credentials_and_then_a_login(
    account: dict[str, str], tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    one = vertex(None)
    with pytest.raises(ConfigError, match="No Google credentials") as caught:
        await one.headers()
    assert "gcloud auth application-default login" in caught.value.hint
    path = tmp_path / "application_default_credentials.json"
    path.write_text(json.dumps(account), encoding="utf-8")
    tokens.refusal = answer(400, {}, json.dumps(INVALID_GRANT).encode())
    with pytest.raises(GeminiError, match="Invalid JWT Signature"):
        await one.headers()
    tokens.refusal = None
    path.write_text(json.dumps({**account, "client_email": "other@x.iam"}), encoding="utf-8")
    assert await one.headers() == bearer(2)
    assert claims_of(tokens.requests[1])["iss"] == "other@x.iam"
