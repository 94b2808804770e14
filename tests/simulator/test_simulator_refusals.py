"""What is refused: keys, models, paths and bodies that are not right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gemini_nb.simulator import Simulator
from simulator_wire import DEVELOPER, EXPRESS, KEY, MODEL, TOKEN, VERTEX, ask, refused


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Simulator(pace=0, api_key="right") as sim, httpx.Client(base_url=sim.base_url) as opened:
        yield opened


@pytest.mark.parametrize("headers", [{}, {"x-goog-api-key": ""}, {"Authorization": "Bearer right"}])
def test_the_developer_api_demands_a_key(client: httpx.Client, headers: dict[str, str]) -> None:
    for response in (
        client.post(f"{DEVELOPER}:streamGenerateContent?alt=sse", json=ask(), headers=headers),
        client.get("/v1beta/models", headers=headers),
        client.post(f"{EXPRESS}:generateContent", json=ask()),
    ):
        error = refused(response, 403, "PERMISSION_DENIED")
        assert "unregistered callers" in error["message"]


def test_a_wrong_key_says_so_in_its_details(client: httpx.Client) -> None:
    for path in (DEVELOPER, EXPRESS, VERTEX):
        response = client.post(f"{path}:generateContent", json=ask(), headers={"x-goog-api-key": "wrong"})
        error = refused(response, 400, "INVALID_ARGUMENT")
        assert error["details"][0]["reason"] == "API_KEY_INVALID"
        assert error["details"][0]["@type"].endswith("google.rpc.ErrorInfo")
        assert "wrong" not in response.text


def test_a_key_may_stand_in_the_query(client: httpx.Client) -> None:
    assert client.post(f"{DEVELOPER}:generateContent?key=right", json=ask()).status_code == 200
    refused(client.post(f"{DEVELOPER}:generateContent?key=wrong", json=ask()), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic right", "right"])
def test_vertex_ai_demands_the_right_token(client: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    error = refused(
        client.post(f"{VERTEX}:generateContent", json=ask(), headers=headers), 401, "UNAUTHENTICATED"
    )
    assert error["details"][0]["reason"] in {"CREDENTIALS_MISSING", "ACCESS_TOKEN_INVALID"}


def test_any_key_will_do_where_none_is_set() -> None:
    with Simulator(pace=0) as any_key, httpx.Client(base_url=any_key.base_url) as client:
        url = f"{DEVELOPER}:generateContent"
        assert client.post(url, json=ask(), headers={"x-goog-api-key": "what you like"}).status_code == 200
        assert client.post(
            f"{VERTEX}:generateContent", json=ask(), headers={"Authorization": "bearer x"}
        ).is_success
        refused(client.post(url, json=ask()), 403, "PERMISSION_DENIED")


@pytest.mark.parametrize("model", ["gpt-9", "text-bison", "gemini", "gemini-flash-latest"])
def test_unknown_models_are_not_found(client: httpx.Client, model: str) -> None:
    error = refused(
        client.post(f"/v1/models/{model}:generateContent", json=ask(), headers=KEY), 404, "NOT_FOUND"
    )
    assert f"models/{model} is not found for API version v1" in error["message"]
    path = VERTEX.replace(MODEL, "gpt-9")
    error = refused(client.post(f"{path}:generateContent", json=ask(), headers=TOKEN), 404, "NOT_FOUND")
    assert "Publisher Model" in error["message"]


@pytest.mark.parametrize("model", ["gemini-99-unobtainium", "gemma-3-1b-it", "gemini-flash-latest"])
def test_models_of_the_known_families_are_found(client: httpx.Client, model: str) -> None:
    assert client.post(f"/v1beta/models/{model}:generateContent", json=ask(), headers=KEY).status_code == 200


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("POST", "/v1/models"),
        ("POST", f"{DEVELOPER}:embedContent"),
        ("GET", f"{DEVELOPER}:generateContent"),
        ("POST", f"/v9/models/{MODEL}:generateContent"),
        ("DELETE", DEVELOPER),
        ("OPTIONS", DEVELOPER),
    ],
)
def test_unknown_paths_are_not_found(client: httpx.Client, verb: str, path: str) -> None:
    refused(client.request(verb, path, headers=KEY), 404, "NOT_FOUND")


USER = {"role": "user", "parts": [{"text": "hi"}]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "contents is not specified"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": "hi"}, "Invalid value at 'contents[0]'"),
        ({"contents": [{"role": "user"}]}, "contents.parts must not be empty"),
        ({"contents": [USER, {"role": "model", "parts": []}, USER]}, "contents.parts must not be empty"),
        ({"contents": [{"role": "user", "parts": [{}]}]}, "must have one initialized field"),
        ({"contents": [{"role": "user", "parts": [{"text": 1}]}]}, "a text is expected"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "use a valid role: user, model"),
        ({"contents": [USER], "systemInstruction": {"parts": []}}, "contents.parts must not be empty"),
        ({"contents": [USER], "prompt": "x"}, 'Unknown name "prompt": Cannot find field.'),
        ({"contents": [USER], "outputConfig": {}}, 'Unknown name "outputConfig": Cannot find field.'),
        ({"contents": [{**USER, "name": "x"}]}, "Unknown name \"name\" at 'contents[0]': Cannot find field."),
        (
            {"contents": [USER], "generationConfig": {"stream": 1}},
            "Unknown name \"stream\" at 'generationConfig'",
        ),
        ({"contents": [USER], "generationConfig": {"maxOutputTokens": 0}}, "max_output_tokens"),
        ({"contents": [USER], "generationConfig": {"temperature": 3}}, "a number from 0 to 2"),
        (
            {"contents": [USER], "generationConfig": {"candidateCount": 2}},
            "Multiple candidates is not enabled",
        ),
        ({"contents": [USER], "generationConfig": {"stopSequences": "END"}}, "stop_sequences"),
        ({"contents": [USER], "generationConfig": {"responseMimeType": "text/html"}}, "response_mime_type"),
        (
            {"contents": [USER], "generationConfig": {"responseSchema": {"type": "STRING"}}},
            "application/json",
        ),
        (
            {
                "contents": [USER],
                "generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}},
            },
            "only set one of thinking budget and thinking level",
        ),
        (
            {"contents": [{"role": "user", "parts": [{"text": "x" * 4_300_000}]}]},
            "exceeds the maximum number of tokens",
        ),
    ],
)
def test_invalid_bodies_are_refused(client: httpx.Client, body: Any, told: str) -> None:
    response = client.post(f"{DEVELOPER}:streamGenerateContent?alt=sse", json=body, headers=KEY)
    assert told in refused(response, 400, "INVALID_ARGUMENT")["message"]


@pytest.mark.parametrize("path", [DEVELOPER + ":generateContent", "/v1beta/cachedContents"])
@pytest.mark.parametrize("number", [b"NaN", b"-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(client: httpx.Client, path: str, number: bytes) -> None:
    raw = b'{"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": %b}}}]}]}' % number
    answer = client.post(path, content=raw, headers=KEY)
    assert "Invalid JSON payload" in refused(answer, 400, "INVALID_ARGUMENT")["message"]


def test_stray_bytes_in_a_head_are_no_failure_of_the_server(client: httpx.Client) -> None:
    headers = {b"x-goog-api-key": b"r\xff"}
    refused(client.get("/v1beta/models", headers=headers), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("path", ["/v1beta/models", "/v1beta/files"])
def test_a_page_that_never_was_is_refused(client: httpx.Client, path: str) -> None:
    refused(client.get(f"{path}?pageToken=-5", headers=KEY), 400, "INVALID_ARGUMENT")


HALF = b'{"contents": [{"parts": [{"inlineData": {"mimeType": "\\ud800", "data": ""}}]}]}'


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, HALF])
def test_bodies_that_are_no_json_object_are_refused(client: httpx.Client, raw: bytes) -> None:
    refused(client.post(f"{DEVELOPER}:generateContent", content=raw, headers=KEY), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("gemini-4-argon", {"thinkingConfig": {"thinkingBudget": 100}}),
        ("gemini-4-argon", {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}),
        ("gemini-4-argon", {"frequencyPenalty": 0.5}),
        ("gemini-2.5-flash", {"thinkingConfig": {"thinkingLevel": "LOW"}}),
    ],
)
def test_settings_that_a_family_does_not_take_are_refused(
    client: httpx.Client, model: str, config: dict[str, Any]
) -> None:
    path = f"/v1/models/{model}:generateContent"
    refused(client.post(path, json=ask(generationConfig=config), headers=KEY), 400, "INVALID_ARGUMENT")
    assert client.post(path, json=ask(), headers=KEY).status_code == 200


def test_nothing_goes_on_from_what_was_never_given_out(client: httpx.Client) -> None:
    path = f"{DEVELOPER}:generateContent"
    token = client.post(path, json=ask(continuationToken="x"), headers=KEY)
    assert "continuation token is not valid" in refused(token, 400, "INVALID_ARGUMENT")["message"]
    cached = client.post(path, json=ask(cachedContent="cachedContents/x"), headers=KEY)
    refused(cached, 403, "PERMISSION_DENIED")


def test_gemini_4_does_not_continue_a_model_turn(client: httpx.Client) -> None:
    contents = [USER, {"role": "model", "parts": [{"text": "Once"}]}]
    path = "/v1/models/{}:generateContent"
    refused(
        client.post(path.format("gemini-4-argon"), json={"contents": contents}, headers=KEY),
        400,
        "INVALID_ARGUMENT",
    )
    assert (
        client.post(path.format("gemini-2.5-flash"), json={"contents": contents}, headers=KEY).status_code
        == 200
    )
