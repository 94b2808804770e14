"""What is an answer and what is none: parts that say nothing, reasons without content, odd candidates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from answers import rig
from calling import NOW, Outcome, ask
from gemini_nb.api.http import HTTPClients
from gemini_nb.errors import APIError, EmptyAnswerError, PromptBlockedError
from gemini_nb.streams.stream import Stream
from scripted import ScriptedServer, answer, call, json_error, sse_answer, text

THOUGHT = {"text": "Hm.", "thought": True}
SIGNED = {"text": "", "thoughtSignature": "c2ln"}
ASKED_AGAIN = {"STOP", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"}
FINAL = [
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "MODEL_ARMOR",
    "CONTINUATION",
    "SOMETHING_NEW",
]


def chunk(*parts: Any, finish: Any = None, message: str | None = None, **candidate: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, **candidate}
    if finish is not None:
        made["finishReason"] = finish
    if message is not None:
        made["finishMessage"] = message
    return {"candidates": [made]}


def asked(script: Any, **options: Any) -> tuple[Stream, int]:
    """The stream at its end, and the number of its requests."""
    with rig(script) as made:
        stream = made.start(retry=NOW, **options).wait(10)
        return stream, len(made.server.requests)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{}],
        [{}, {}],
        [SIGNED],
        [THOUGHT],
        [THOUGHT, SIGNED],
        [{"thoughtSignature": "c2ln"}],
        [{"thought_signature": "c2ln", "text": ""}],
        [{"text": ""}, {"text": ""}],
        [{"text": " \n"}, {"text": "\t"}],
        [{"text": None}],
        [{"functionCall": None}],
        [{"inlineData": {}}],
        [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thought": True}],
        [{"text": "", "partMetadata": {"a": 1}}],
    ],
)
def test_what_says_nothing_is_no_answer(parts: list[Any]) -> None:
    stream, requests = asked(lambda _: sse_answer(*(chunk(part) for part in parts), chunk(finish="STOP")))
    assert (stream.status, requests) == ("error", 3)
    assert isinstance(stream.error, EmptyAnswerError)
    assert (stream.error.status_code, stream.error.api_status) == (200, "STOP")
    assert not stream.text.strip()


def test_sources_without_a_text_are_no_answer() -> None:
    end = chunk(finish="STOP", groundingMetadata={"webSearchQueries": ["q"]})
    stream, requests = asked([sse_answer(end), sse_answer(text("Hello", finish="STOP"))])
    assert (stream.status, stream.text, requests) == ("completed", "Hello", 2)


@pytest.mark.parametrize(
    "part",
    [
        {"text": "."},
        {"text": ".", "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"somethingNew": {"of": "next year"}},
    ],
)
def test_what_says_something_is_an_answer(part: dict[str, Any]) -> None:
    stream, requests = asked([sse_answer(chunk(THOUGHT), chunk(part), chunk(SIGNED, finish="STOP"))])
    assert (stream.status, stream.error, requests) == ("completed", None, 1)


def test_a_thought_that_a_server_marks_otherwise_is_no_answer() -> None:
    said = [chunk({"text": "Hm.", "thought": 1}), chunk({"text": "Yes."}, finish="STOP")]
    stream, _ = asked([sse_answer(*said)])
    assert (stream.thoughts, stream.text, stream.retries) == ("Hm.", "Yes.", 0)


def test_thoughts_of_a_request_without_an_answer_give_way_to_the_next() -> None:
    said = sse_answer(chunk(THOUGHT), text("Hello", finish="STOP"))
    stream, _ = asked([sse_answer(chunk({"text": "Lost. ", "thought": True}), chunk(finish="STOP")), said])
    assert (stream.thoughts, stream.text, stream.retries) == ("Hm.", "Hello", 1)


@pytest.mark.parametrize("reason", [*sorted(ASKED_AGAIN), "MALFORMED_SOMETHING", *FINAL])
@pytest.mark.parametrize("parts", [[], [THOUGHT, SIGNED]])
def test_a_reason_without_content_is_an_error(reason: str, parts: list[Any]) -> None:
    stream, requests = asked(lambda _: sse_answer(chunk(*parts), chunk(finish=reason, message="Because.")))
    again = reason in ASKED_AGAIN or reason.startswith("MALFORMED_")
    assert (stream.status, requests) == ("error", 3 if again else 1)
    assert isinstance(stream.error, EmptyAnswerError)
    assert (stream.error.api_status, stream.finish_reason) == (reason, reason)
    assert "Because." in stream.error.message
    assert reason == "STOP" or reason in stream.error.message
    assert stream.error.hint


@pytest.mark.parametrize("reason", FINAL)
def test_a_reason_after_text_or_a_call_completes(reason: str) -> None:
    stream, requests = asked([sse_answer(text("Hel"), chunk(finish=reason, message="Because."))])
    assert (stream.status, stream.text, stream.finish_reason, requests) == ("completed", "Hel", reason, 1)
    assert stream.record.finish_message == "Because."


def test_a_limit_that_thinking_used_up_says_so() -> None:
    usage = {"usageMetadata": {"thoughtsTokenCount": 1021, "totalTokenCount": 1030}}
    stream, _ = asked([sse_answer({**chunk(THOUGHT, finish="MAX_TOKENS"), **usage})])
    assert "MAX_TOKENS before its answer began: 1,021 tokens went into thinking." in str(stream.error)
    assert "maxOutputTokens" in str(stream.error)
    assert stream.thoughts == "Hm."


def test_the_answer_after_a_tool_that_is_missing() -> None:
    def look() -> str:
        """Look."""
        return "seen"

    called = sse_answer(call("look"), text("", finish="STOP"))
    stream, _ = asked([called, sse_answer(chunk(finish="SAFETY"))], tools=[look])
    assert isinstance(stream.error, EmptyAnswerError)
    assert [one.result for one in stream.tool_calls] == ["seen"]
    called = sse_answer(text("I look."), call("look"), text("", finish="STOP"))
    stream, _ = asked([called, sse_answer(chunk(finish="SAFETY"))], tools=[look])
    assert (stream.status, stream.text, stream.finish_reason) == ("completed", "I look.", "SAFETY")
    stream, _ = asked([called, *[sse_answer({"usageMetadata": {}})] * 3], tools=[look])
    assert "no candidates" in str(stream.error)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1, "STOP"),
        (2, "MAX_TOKENS"),
        (3, "SAFETY"),
        (4, "RECITATION"),
        (5, "OTHER"),
        (1.0, "STOP"),
        (77, "77"),
    ],
)
def test_a_reason_that_is_a_number(value: float, reason: str) -> None:
    stream, _ = asked([sse_answer(text("Hel"), chunk(finish=value))])
    assert (stream.status, stream.finish_reason, stream.text) == ("completed", reason, "Hel")
    stream, _ = asked(lambda _: sse_answer(chunk(finish=value)))
    assert isinstance(stream.error, EmptyAnswerError)


@pytest.mark.parametrize("value", [0, "FINISH_REASON_UNSPECIFIED", "", True, {}, None])
def test_a_reason_that_is_none_leaves_the_answer_cut(value: Any) -> None:
    cut = text("Hel")
    cut["candidates"][0]["finishReason"] = value
    stream, _ = asked([sse_answer(cut), sse_answer(text("Hello", finish="STOP"))])
    assert (stream.text, stream.retries) == ("Hello", 1)


# ------------------------------------------------------------------ candidates


@pytest.mark.parametrize(
    "values",
    [
        [{"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m"}],
        [{"candidates": []}],
        [{"candidates": None}, {"candidates": [], "usageMetadata": {}}],
        [{}],
        [{"id": "x", "object": "chat.completion.chunk", "choices": []}],
        [{"promptFeedback": {"safetyRatings": []}}],
    ],
)
async def test_no_candidates_at_all_is_said_as_what_it_is(clients: HTTPClients, values: list[Any]) -> None:
    with ScriptedServer(lambda _: sse_answer(*values)) as server:
        outcome = await ask(clients, server)
        assert len(server.requests) == 3
    assert isinstance(outcome.error, EmptyAnswerError)
    assert "no candidates: neither text nor a reason" in outcome.error.message
    assert "proxy" not in str(outcome.error)
    assert "cut" not in str(outcome.error)


async def test_what_an_answer_of_another_kind_says_is_shown(clients: HTTPClients) -> None:
    with ScriptedServer(lambda _: sse_answer({"detail": "Model is loading", "modelVersion": "m"})) as server:
        outcome = await ask(clients, server)
    assert '{"detail": "Model is loading"}' in outcome.failure.message


async def told(clients: HTTPClients, *values: Any) -> Outcome:
    with ScriptedServer([sse_answer(*values)]) as server:
        return await ask(clients, server)


@pytest.mark.parametrize("index", ["0", 0, 0.0, None, ""])
async def test_the_first_candidate_in_every_spelling(clients: HTTPClients, index: Any) -> None:
    other = {"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "MAX_TOKENS"}
    said = chunk({"text": "Hello"}, finish="STOP", index=index)
    said["candidates"].insert(0, other)
    outcome = await told(clients, {"candidates": None}, said)
    assert (outcome.error, outcome.text, outcome.turn.finish_reason) == (None, "Hello", "STOP")


@pytest.mark.parametrize(
    "values",
    [
        [{"candidates": [{"content": {"parts": {"text": "Hello"}}, "finishReason": "STOP"}]}],
        [{"candidates": {"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}}],
        [{"candidates": [{"content": None}]}, text("Hello"), {"candidates": [{"finishReason": "STOP"}]}],
        [{"candidates": [{"content": {"parts": None}}]}, text("Hello", finish="STOP"), {"candidates": None}],
        [text("Hello", finish="STOP"), {"usageMetadata": {"totalTokenCount": 3}}],
    ],
)
async def test_candidates_of_odd_shapes_are_read(clients: HTTPClients, values: list[Any]) -> None:
    outcome = await told(clients, *values)
    assert (outcome.error, outcome.text) == (None, "Hello")


# ------------------------------------------------------------------ errors inside the stream

UNWRAPPED = [
    {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"},
    {"code": "429", "message": "slow down"},
    {"code": "RESOURCE_EXHAUSTED", "message": "slow down"},
    {"code": "too_many_requests", "message": "slow down"},
    {"status": "RESOURCE_EXHAUSTED", "message": "slow down"},
    {"code": 429, "message": "slow down", "candidates": None},
    {"code": 429, "message": "slow down", "candidates": []},
    {"error": "Too Many Requests", "status": 429, "message": "slow down"},
    {"error": {"code": "too_many_requests", "message": "slow down"}},
    {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
    {"error": [{"code": 429, "message": "slow down"}]},
    {"error": {"code": 429, "message": "slow down"}, "candidates": []},
    {"error": {"code": 429, "message": "slow down"}, "candidates": [{"content": {"parts": []}}]},
]


@pytest.mark.parametrize("error", UNWRAPPED)
@pytest.mark.parametrize("form", ["first", "later", "array", "raw", "raw array"])
def test_an_error_object_without_its_wrapping(error: dict[str, Any], form: str) -> None:
    raw = json.dumps(error, indent=1).encode() + b"\n"
    forms: dict[str, list[Any]] = {
        "first": [error],
        "later": [text("Hel"), error],
        "array": [text("Hel"), b"data: [" + json.dumps(error).encode() + b"]\r\n\r\n"],
        "raw": [text("Hel"), raw],
        "raw array": [b"[" + raw + b"]\n"],
    }
    stream, _ = asked([sse_answer(*forms[form]), json_error(403, "no more")])
    (retry,) = [event for event in stream.events if event.kind == "retry_scheduled"]
    assert "429" in retry.reason
    assert isinstance(stream.error, APIError)
    assert stream.error.status_code == 403
    assert stream.text == ("" if form in {"first", "raw array"} else "Hel")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (b'event: error\r\ndata: {"message": "overloaded", "code": 503}\r\n\r\n', 503),
        (b'event: error\r\ndata: {"message": "overloaded"}\r\n\r\n', 500),
    ],
)
async def test_an_event_that_is_named_an_error(clients: HTTPClients, event: bytes, status: int) -> None:
    with ScriptedServer(lambda _: sse_answer(event)) as server:
        outcome = await ask(clients, server)
    assert (outcome.failure.status_code, "overloaded" in outcome.failure.message) == (status, True)


async def test_fields_that_a_gateway_adds_are_no_error(clients: HTTPClients) -> None:
    odd = {"code": 200, "message": "ok", "status": "OK"}
    outcome = await told(clients, odd, {**text("Hel"), **odd}, {**text("lo", finish="STOP"), "code": 500})
    assert (outcome.error, outcome.text) == (None, "Hello")


@pytest.mark.parametrize(
    "body",
    [b'{"code": 400, "message": "said so"}', b'[{"message": "said so", "status": "INVALID_ARGUMENT"}]'],
)
async def test_an_error_body_without_its_wrapping(clients: HTTPClients, body: bytes) -> None:
    with ScriptedServer([answer(400, {}, body)]) as server:
        failure = (await ask(clients, server)).failure
    assert failure.message.endswith(": said so")
    assert failure.status_code == 400


# ------------------------------------------------------------------ what was blocked

HATE = "HARM_CATEGORY_HATE_SPEECH"
HARM = "HARM_CATEGORY_DANGEROUS_CONTENT"


@pytest.mark.parametrize(
    ("ratings", "named"),
    [
        ([{"category": HATE, "probability": "LOW"}, {"category": HARM, "probability": "HIGH"}], [HARM]),
        ([{"category": HATE, "probability": "MEDIUM"}, {"category": HARM, "probability": "LOW"}], [HATE]),
        (
            [
                {"category": HATE, "probability": "MEDIUM", "blocked": True},
                {"category": HARM, "probability": "HIGH", "blocked": False},
            ],
            [HATE],
        ),
        ([{"category": HATE, "blocked": True}, {"category": HARM, "blocked": True}], [HATE, HARM]),
        ([{"category": HATE, "probability": "NEGLIGIBLE"}], []),
        ({"category": HATE, "blocked": True}, [HATE]),
        ([None, 3, {}], []),
        (None, []),
    ],
)
@pytest.mark.parametrize("where", ["prompt", "answer"])
def test_what_was_blocked_names_the_category(ratings: Any, named: list[str], where: str) -> None:
    feedback = {"promptFeedback": {"blockReason": "SAFETY", "safetyRatings": ratings}}
    value = feedback if where == "prompt" else chunk(finish="SAFETY", safetyRatings=ratings)
    stream, requests = asked([sse_answer(value)])
    assert isinstance(stream.error, PromptBlockedError if where == "prompt" else EmptyAnswerError)
    assert requests == 1
    assert {name for name in (HATE, HARM) if name in stream.error.message} == set(named)
    assert "safety_settings" in stream.error.hint


def test_a_block_reason_that_is_a_number() -> None:
    stream, _ = asked([sse_answer({"promptFeedback": {"blockReason": 4}})])
    assert isinstance(stream.error, PromptBlockedError)
    assert stream.error.api_status == "PROHIBITED_CONTENT"


# ------------------------------------------------------------------ the quota of a day

RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}


def quota(*ids: str, **more: Any) -> dict[str, Any]:
    violations = [{"quotaId": one, "quotaMetric": "generate_requests", **more} for one in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


@pytest.mark.parametrize("inside", [False, True])
def test_a_quota_of_a_day_fails_at_once_and_says_when_it_renews(inside: bool) -> None:
    details = [
        RETRY_INFO,
        quota("GenerateRequestsPerMinutePerProject", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    ]
    message = "You exceeded your current quota. Please retry in 20.5s."
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    refusal = sse_answer({"error": error}) if inside else json_error(429, message, details=details)
    stream, requests = asked([refusal])
    assert (stream.status, requests) == ("error", 1)
    assert stream.error is not None
    assert "daily quota for" in stream.error.hint
    assert "renews at midnight Pacific time, " in stream.error.hint
    assert "20" not in stream.error.hint.partition("Pacific")[0]
    assert stream.error.retry_after is not None
    assert 0 < stream.error.retry_after <= 25 * 3600


def test_a_quota_of_a_day_after_some_text_keeps_it() -> None:
    error = {"code": 429, "message": "x", "details": [quota("GenerateRequestsPerDay")]}
    stream, requests = asked([sse_answer(text("Hel"), {"error": error})])
    assert (stream.status, stream.text, requests) == ("error", "Hel", 1)


def test_a_quota_of_nothing_is_no_quota_of_a_day() -> None:
    details = [quota("GenerateRequestsPerDayPerProject")]
    stream, requests = asked([json_error(429, "Quota exceeded, limit: 0", details=details)])
    assert requests == 1
    assert "at all" in str(stream.error)


def test_a_quota_of_a_minute_is_waited_for() -> None:
    description = "PerDay is not what this is about"
    details = [quota("GenerateRequestsPerMinutePerProjectPerModel", description=description)]
    stream, requests = asked([json_error(429, details=details), sse_answer(text("Hello", finish="STOP"))])
    assert (stream.status, requests) == ("completed", 2)
