"""The simulated caches, asked by Google's own client and by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from gemini_nb.simulator import Simulator

MODEL = "gemini-3.8-flash"
LONG = "A lighthouse stands on a rock and shows ships the way. " * 120


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as made:
        yield made


@pytest.fixture
def client(simulator: Simulator) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=simulator.base_url)
    with genai.Client(api_key="any", http_options=options) as made:
        yield made


def make(client: genai.Client, **config: Any) -> types.CachedContent:
    config = {"contents": [LONG], "ttl": "600s", **config}
    return client.caches.create(model=MODEL, config=types.CreateCachedContentConfig(**config))


def test_googles_client_makes_gets_lists_changes_and_deletes_caches(
    simulator: Simulator, client: genai.Client
) -> None:
    made = make(client, display_name="lights")
    assert made.name is not None
    assert made.name.startswith("cachedContents/")
    assert made.usage_metadata is not None
    assert (made.usage_metadata.total_token_count or 0) >= 1024
    assert made.model == f"models/{MODEL}"
    assert client.caches.get(name=made.name) == made
    others = [make(client).name for _ in range(3)]
    listed = [one.name for one in client.caches.list(config=types.ListCachedContentsConfig(page_size=2))]
    assert listed == [*others[::-1], made.name]
    later = client.caches.update(name=made.name, config=types.UpdateCachedContentConfig(ttl="7200s"))
    assert later.expire_time is not None
    assert made.expire_time is not None
    assert later.expire_time - made.expire_time > dt.timedelta(seconds=6000)
    client.caches.delete(name=made.name)
    with pytest.raises(errors.ClientError, match="CachedContent not found") as failure:
        client.caches.get(name=made.name)
    assert failure.value.code == 403
    assert made.name not in simulator.caches.names


def test_an_answer_reads_the_cache_and_counts_its_tokens(client: genai.Client) -> None:
    def weather(city: str) -> str:
        """Look up the weather."""
        return "sunny"

    declaration = types.FunctionDeclaration.from_callable_with_api_option(callable=weather)
    made = make(client, tools=[types.Tool(function_declarations=[declaration])])
    config = types.GenerateContentConfig(cached_content=made.name)
    answer = client.models.generate_content(model=MODEL, contents="Weather in Lisbon?", config=config)
    assert answer.function_calls is not None
    assert answer.function_calls[0].args == {"city": "Lisbon"}
    usage = answer.usage_metadata
    assert usage is not None
    assert made.usage_metadata is not None
    assert usage.cached_content_token_count == made.usage_metadata.total_token_count
    assert (usage.prompt_token_count or 0) > (usage.cached_content_token_count or 0)
    assert usage.cache_tokens_details == [
        types.ModalityTokenCount(
            modality=types.MediaModality.TEXT, token_count=usage.cached_content_token_count
        )
    ]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"system_instruction": "x"}, "setting system_instruction, tools or tool_config"),
        ({"tools": [{"google_search": {}}]}, "setting system_instruction, tools or tool_config"),
    ],
)
def test_what_does_not_go_with_a_cache_is_refused(
    client: genai.Client, config: dict[str, Any], says: str
) -> None:
    made = make(client)
    asked = types.GenerateContentConfig(cached_content=made.name, **config)
    with pytest.raises(errors.ClientError, match=says) as failure:
        client.models.generate_content(model=MODEL, contents="x", config=asked)
    assert failure.value.code == 400


def test_another_model_an_expired_cache_and_another_key_are_refused(
    simulator: Simulator, client: genai.Client
) -> None:
    made = make(client)
    config = types.GenerateContentConfig(cached_content=made.name)
    with pytest.raises(errors.ClientError, match="has to be the same"):
        client.models.generate_content(model="gemini-3.5-flash", contents="x", config=config)
    options = types.HttpOptions(base_url=simulator.base_url)
    with (
        genai.Client(api_key="other", http_options=options) as other,
        pytest.raises(errors.ClientError, match="403"),
    ):
        other.caches.get(name=str(made.name))
    simulator.caches.expire(str(made.name))
    with pytest.raises(errors.ClientError, match="403 PERMISSION_DENIED"):
        client.models.generate_content(model=MODEL, contents="x", config=config)


def test_vertex_ai_names_caches_by_their_project(simulator: Simulator) -> None:
    base = f"{simulator.base_url}/v1beta1/projects/p/locations/l"
    headers = {"authorization": "Bearer t"}
    body = {"model": f"publishers/google/models/{MODEL}", "contents": [said(LONG)]}
    with httpx.Client(headers=headers) as http:
        made = http.post(f"{base}/cachedContents", json=body).json()
        assert made["name"].startswith("projects/p/locations/l/cachedContents/")
        url = f"{base}/publishers/google/models/{MODEL}:generateContent"
        answer = http.post(url, json={"contents": [said("Hi")], "cachedContent": made["name"]})
        assert answer.json()["usageMetadata"]["cachedContentTokenCount"] > 1000
        assert http.get(f"{simulator.base_url}/v1beta1/{made['name']}").json() == made


def test_no_name_of_a_project_is_too_odd(simulator: Simulator) -> None:
    body = {"model": f"projects/p(/locations/l/publishers/google/models/{MODEL}", "contents": [said(LONG)]}
    url = f"{simulator.base_url}/v1beta1/projects/p(/locations/l/cachedContents"
    assert httpx.post(url, json=body, headers={"authorization": "Bearer t"}).status_code == 200


def test_a_cache_may_end_with_what_the_model_said(simulator: Simulator) -> None:
    contents = [said(LONG), {"role": "model", "parts": [{"text": "I see."}]}]
    body = {"model": "models/gemini-4-argon", "contents": contents}
    headers, url = {"x-goog-api-key": "any"}, f"{simulator.base_url}/v1beta/cachedContents"
    assert httpx.post(url, json=body, headers=headers).status_code == 200


def test_vertex_ai_alone_has_caches_in_a_project(simulator: Simulator) -> None:
    headers = {"x-goog-api-key": "any"}
    for path in ("/v1beta1/cachedContents", "/v1beta/projects/p/locations/l/cachedContents"):
        assert httpx.get(simulator.base_url + path, headers=headers).status_code == 404


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": text}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"contents": [said("short")]}, "Cached content is too small. total_token_count=2,"),
        ({"model": None}, "model is not specified"),
        ({"model": MODEL}, "Invalid model name"),
        ({"ttl": "1h"}, "cached_content.ttl"),
        ({"ttl": "0s"}, "positive"),
        ({"ttl": "999999999999s"}, "cached_content.ttl"),
        ({"expireTime": "9999-12-31T23:59:59-01:00"}, "expire_time"),
        ({"ttl": 60}, "cached_content.ttl"),
        ({"ttl": "60s", "expireTime": "2100-01-01T00:00:00Z"}, "not both"),
        ({"expireTime": "2001-01-01T00:00:00Z"}, "future"),
        ({"expireTime": "soon"}, "expire_time"),
        ({"generationConfig": {}}, 'Unknown name "generationConfig"'),
        ({"tools": [{"nothing": {}}]}, 'Unknown name "nothing"'),
        ({"contents": [{"role": "nobody", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    ],
)
def test_what_no_cache_can_be_made_of_is_refused(
    simulator: Simulator, body: dict[str, Any], says: str
) -> None:
    asked = {"model": f"models/{MODEL}", "contents": [said(LONG)], **body}
    answer = httpx.post(
        f"{simulator.base_url}/v1beta/cachedContents",
        json={name: value for name, value in asked.items() if value is not None},
        headers={"x-goog-api-key": "any"},
    )
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"displayName": "x"}, {"contents": []}, {"ttl": "x"}, [], {"nothing": 1}])
def test_nothing_but_the_time_of_a_cache_can_be_changed(simulator: Simulator, body: Any) -> None:
    headers, base = {"x-goog-api-key": "any"}, f"{simulator.base_url}/v1beta"
    asked = {"model": f"models/{MODEL}", "contents": [said(LONG)]}
    made = httpx.post(f"{base}/cachedContents", json=asked, headers=headers).json()
    assert httpx.patch(f"{base}/{made['name']}", json=body, headers=headers).status_code == 400
    assert httpx.get(f"{base}/{made['name']}", headers=headers).json() == made
    assert httpx.get(f"{base}/{made['name']}").status_code == 403
    assert httpx.put(f"{base}/{made['name']}", json={}, headers=headers).status_code == 404


def test_a_file_that_is_not_there_cannot_be_cached(simulator: Simulator) -> None:
    file = {
        "fileData": {
            "mimeType": "application/pdf",
            "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x",
        }
    }
    body = {"model": f"models/{MODEL}", "contents": [{"role": "user", "parts": [file, {"text": LONG}]}]}
    headers = {"x-goog-api-key": "any"}
    refused = httpx.post(f"{simulator.base_url}/v1beta/cachedContents", json=body, headers=headers)
    assert refused.status_code == 403
