from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest

from calling import BODY, KEEP, KEY, ask, call_to, endpoint_to
from gemini_nb.api.client import RetryPlanned, call_model
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.turn import ModelTurn
from gemini_nb.errors import APIError, StreamCutError
from scripted import Answer, Close, Reset, ScriptedServer, answer, json_error, response, sse_answer, text

HELLO = [text("Hel"), text("lo"), text("!", finish="STOP")]
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}


@pytest.mark.parametrize(
    "first",
    [
        json_error(503, name="UNAVAILABLE"),
        json_error(500),
        json_error(429, name="RESOURCE_EXHAUSTED"),
        json_error(408),
        answer(502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"),
        answer(504),
        answer(503, {}, b'[{"error": {"code": 503, "message": "x"}}]'),
        [Close()],
        [Reset()],
        [b"HTTP/1.1 200 OK\r\nContent-", Close()],
        sse_answer(),
        sse_answer(Close()),
        sse_answer(Reset()),
        sse_answer({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}),
        sse_answer({"error": {"code": "429", "message": "x"}}),
        sse_answer({"error": {"message": "x", "status": "RESOURCE_EXHAUSTED"}}),
        sse_answer(b'{\n  "error": {\n    "code": 429\n  }\n}\n'),
        sse_answer(b'[{"error": {"code": 500}}]'),
        sse_answer(text("")),
        sse_answer({"usageMetadata": {"totalTokenCount": 1}}),
        sse_answer(b'data: {"candidates": [{"content": {"par'),
        sse_answer({"candidates": [{"finishReason": "STOP"}]}, {"error": {"code": 503, "message": "x"}}),
    ],
)
async def test_what_failed_before_any_output_is_asked_again(clients: HTTPClients, first: Answer) -> None:
    with ScriptedServer([first, sse_answer(*HELLO)]) as server:
        outcome = await ask(clients, server)
        assert [request.json for request in server.requests] == [BODY, BODY]
    assert outcome.error is None
    assert outcome.turn.parts == [{"text": "Hello!"}]
    [retry] = outcome.retries
    assert (retry.attempt, retry.delay) == (2, 0.0)
    assert retry.error.attempts == 1


async def test_nothing_of_a_failed_attempt_is_left(clients: HTTPClients) -> None:
    empty = {"candidates": [{"finishReason": "STOP"}]}
    with ScriptedServer(
        [sse_answer(empty, {"error": {"code": 503, "message": "x"}}), sse_answer(text("cut"))]
    ) as server:
        outcome = await ask(clients, server, retry=KEEP)
    assert isinstance(outcome.failure, StreamCutError)
    assert outcome.turn.finish_reason is None


async def test_five_attempts_and_then_the_last_error(clients: HTTPClients) -> None:
    policy = RetryPolicy(initial_delay=1e-6, max_delay=4e-6)
    with ScriptedServer(lambda _: json_error(503, "busy", "UNAVAILABLE")) as server:
        outcome = await ask(clients, server, retry=policy)
        assert len(server.requests) == 5
    assert [(retry.attempt, retry.delay) for retry in outcome.retries] == [
        (2, 1e-6),
        (3, 2e-6),
        (4, 4e-6),
        (5, 4e-6),
    ]
    assert outcome.failure.attempts == 5
    assert (outcome.failure.status_code, outcome.failure.api_status) == (503, "UNAVAILABLE")
    assert "Gave up after 5 attempts" in outcome.failure.hint


async def first_retry(clients: HTTPClients, server: ScriptedServer, **policy: Any) -> RetryPlanned:
    """The plan that the server's refusal leads to, without waiting for it."""
    async for event in (
        events := call_model(clients, call_to(server, retry=RetryPolicy(**policy)), ModelTurn())
    ):
        await events.aclose()
        assert isinstance(event, RetryPlanned)
        return event
    pytest.fail("the call ended")


@pytest.mark.parametrize(
    ("refusal", "wait"),
    [
        (json_error(429, headers={"Retry-After": "20"}), 20.0),
        (json_error(503, headers={"Retry-After": "20.0"}), 20.0),
        (json_error(429, details=[RETRY_INFO]), 20.0),
        (json_error(429, "Quota exceeded. Please retry in 20.93s.", details=[RETRY_INFO]), 20.93),
        (json_error(429, details=[RETRY_INFO], headers={"Retry-After": "3"}), 20.0),
        (sse_answer({"error": {"code": 429, "details": [RETRY_INFO]}}), 20.0),
    ],
)
async def test_the_server_says_how_long_to_wait(clients: HTTPClients, refusal: Answer, wait: float) -> None:
    with ScriptedServer([refusal]) as server:
        plan = await first_retry(clients, server)
    assert plan.error.retry_after == wait
    assert wait <= plan.delay <= wait * 1.1


async def test_the_server_names_a_date(clients: HTTPClients) -> None:
    date = email.utils.formatdate(time.time() + 1000, usegmt=True)
    with ScriptedServer([json_error(429, headers={"Retry-After": date})]) as server:
        plan = await first_retry(clients, server, max_server_delay=2000.0)
    assert 900 < plan.delay < 1102


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_wait_beyond_the_cap_fails_at_once_and_says_so(clients: HTTPClients, status: int) -> None:
    with ScriptedServer([json_error(status, headers={"Retry-After": "3600"})]) as server:
        outcome = await ask(clients, server)
    assert outcome.failure.attempts == 1
    assert outcome.failure.retry_after == 3600
    assert "wait 3600 s" in outcome.failure.hint
    assert "60 s" in outcome.failure.hint


async def test_a_quota_of_nothing_is_not_waited_for(clients: HTTPClients) -> None:
    message = "Quota exceeded for metric: free_tier_requests, limit: 0"
    with ScriptedServer([json_error(429, message, details=[RETRY_INFO])]) as server:
        outcome = await ask(clients, server)
    assert "no quota for gemini-test" in outcome.failure.hint


@pytest.mark.parametrize(
    ("status", "name", "hint"),
    [
        (400, "INVALID_ARGUMENT", "request"),
        (401, "UNAUTHENTICATED", "key"),
        (403, "PERMISSION_DENIED", "key"),
        (404, "NOT_FOUND", "gemini-test"),
        (409, None, ""),
    ],
)
async def test_a_refusal_is_not_asked_again(
    clients: HTTPClients, status: int, name: str | None, hint: str
) -> None:
    with ScriptedServer([json_error(status, f"Not you, {KEY}!", name)]) as server:
        failure = (await ask(clients, server)).failure
    assert isinstance(failure, APIError)
    assert (failure.status_code, failure.api_status, failure.attempts) == (status, name, 1)
    assert "Not you, [secret]!" in failure.message
    assert hint in failure.hint
    assert failure.hint in str(failure)


async def test_an_unknown_model_that_is_nearly_a_known_one_is_asked_about(clients: HTTPClients) -> None:
    for model, meant in (("gemini-3.8-flsh", True), ("my-tuned-model", False)):
        with ScriptedServer([json_error(404, "no such model", "NOT_FOUND")]) as server:
            failure = (await ask(clients, endpoint_to(server.url, model=model))).failure
        assert ("Did you mean gemini-3.8-flash?" in failure.hint) is meant
        assert f"Is there a model '{model}'" in failure.hint


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b'[{"error": {"code": 400, "message": "in an array", "status": "INVALID_ARGUMENT"}}]',
            "in an array",
        ),
        (b'{"error": {"code": 499, "message": "another code"}}', "another code"),
        (b'{"error": "a string"}', "a string"),
        (b"", "(empty body)"),
        (b"<h1>\n  Nope\n</h1>", "<h1> Nope </h1>"),
        (b"[]", "[]"),
        (b"null", "null"),
        (b'{"error": {"message": {"not": "text"}, "details": {}, "status": 7}}', "not"),
        (b'{"error": {"message": "m", "details": [{"reason": {}}, 1, null]}}', "m"),
        (b"\xff\xfe", "\ufffd"),
        (b"[" * 100_000, "[[["),
        (f'{{"error": {{"message": "m", "status": "{KEY}"}}}}'.encode(), "m"),
    ],
)
async def test_error_bodies_of_every_shape(clients: HTTPClients, body: bytes, said: str) -> None:
    with ScriptedServer([answer(400, {}, body)]) as server:
        failure = (await ask(clients, server)).failure
    assert isinstance(failure, APIError)
    assert failure.status_code == 400
    assert said in failure.message
    assert len(str(failure)) < 1500
    assert KEY not in str(failure) + str(failure.api_status)


@pytest.mark.parametrize(
    ("error", "status", "requests"),
    [
        ({"code": 8, "status": "RESOURCE_EXHAUSTED"}, 429, 5),
        ({"code": 14}, 503, 5),
        ({"code": 3}, 400, 1),
        ({"code": "503"}, 503, 5),
        ({"status": "UNAVAILABLE"}, 503, 5),
        ({"status": "FAILED_PRECONDITION"}, 400, 1),
        ({"status": "NEW_STATUS", "code": 7}, 403, 1),
        ({"status": "NEW_STATUS", "code": 77}, 500, 5),
        ({}, 500, 5),
        (None, 500, 5),
    ],
)
async def test_the_status_of_an_error_inside_the_stream(
    clients: HTTPClients, error: Any, status: int, requests: int
) -> None:
    with ScriptedServer(lambda _: sse_answer({"error": error})) as server:
        failure = (await ask(clients, server)).failure
        assert (failure.status_code, len(server.requests)) == (status, requests)
    assert "None" not in failure.message


@pytest.mark.parametrize(
    ("message", "details", "hint"),
    [
        ("API key not valid. Please pass a valid API key.", [], "GEMINI_API_KEY"),
        ("x", [{"reason": "API_KEY_INVALID"}], "GEMINI_API_KEY"),
        ("Function call is missing a thought_signature in functionCall parts", [], "thoughtSignature"),
        ("User location is not supported for the API use.", [], "region"),
    ],
)
async def test_hints(clients: HTTPClients, message: str, details: list[Any], hint: str) -> None:
    with ScriptedServer([json_error(400, message, details=details)]) as server:
        assert hint in (await ask(clients, server)).failure.hint


async def test_a_precondition_is_about_region_and_billing(clients: HTTPClients) -> None:
    with ScriptedServer([json_error(400, "Please enable billing.", "FAILED_PRECONDITION")]) as server:
        assert "region and billing" in (await ask(clients, server)).failure.hint


async def test_a_redirect_is_not_followed(clients: HTTPClients) -> None:
    with ScriptedServer([sse_answer(*HELLO)]) as other:
        headers = {"Location": f"{other.url}/?key={KEY}", "Content-Length": "0"}
        with ScriptedServer([response(302, headers)]) as server:
            failure = (await ask(clients, server)).failure
        assert other.requests == []
    assert failure.status_code == 302
    assert f"a redirect to {other.url}/?key=[secret], which is not followed" in failure.message
