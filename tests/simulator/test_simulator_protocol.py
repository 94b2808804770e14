"""What goes over the wire: URLs, bodies, chunks, counts."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gemini_nb.simulator import Simulator
from simulator_wire import (
    DEVELOPER,
    EXPRESS,
    KEY,
    MODEL,
    TOKEN,
    VERTEX,
    ask,
    chunks_of,
    parts_of,
    refused,
    stream,
    text_of,
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Simulator(pace=0, api_key="right") as sim, httpx.Client(base_url=sim.base_url) as opened:
        yield opened


def test_a_stream_of_the_developer_api(client: httpx.Client) -> None:
    response = client.post(f"{DEVELOPER}:streamGenerateContent?alt=sse", json=ask(), headers=KEY)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.content.startswith(b"data: {")
    assert response.content.endswith(b"}\r\n\r\n")
    chunks = chunks_of(response.content)
    assert len(chunks) > 10
    assert len({chunk["responseId"] for chunk in chunks}) == 1
    before = 0
    for chunk in chunks:
        (candidate,) = chunk["candidates"]
        assert candidate["index"] == 0
        assert candidate["content"]["role"] == "model"
        assert candidate["content"]["parts"]
        assert chunk["modelVersion"] == MODEL
        usage = chunk["usageMetadata"]
        assert usage["totalTokenCount"] >= before
        before = usage["totalTokenCount"]
        assert (
            before == usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
        )
    reasons = [chunk["candidates"][0].get("finishReason") for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["STOP"]
    last = chunks[-1]["candidates"][0]["content"]["parts"][0]
    assert last["text"] == ""
    assert len(last["thoughtSignature"]) == 64
    assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == -(-len(text_of(chunks)) // 4)


def test_a_stream_of_vertex_ai_counts_only_at_its_end(client: httpx.Client) -> None:
    chunks = stream(client, ask(), VERTEX)
    for chunk in chunks[:-1]:
        assert chunk["usageMetadata"] == {"trafficType": "ON_DEMAND"}
    assert all(chunk["createTime"].endswith("Z") for chunk in chunks)
    usage = chunks[-1]["usageMetadata"]
    assert usage["trafficType"] == "ON_DEMAND"
    assert usage["candidatesTokenCount"] > 100
    assert text_of(chunks) == text_of(stream(client, ask()))


def test_without_alt_sse_a_stream_is_one_json_array(client: httpx.Client) -> None:
    response = client.post(f"{DEVELOPER}:streamGenerateContent", json=ask(), headers=KEY)
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    assert text_of(response.json()) == text_of(stream(client, ask()))
    assert chunks_of(response.content) == response.json()
    problem = client.post(f"{DEVELOPER}:streamGenerateContent", json={}, headers=KEY)
    assert problem.json()[0]["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "path", [DEVELOPER, VERTEX, EXPRESS, "/v1/tunedModels/mine", "/v1alpha/models/gemma-4-31b-it"]
)
def test_generate_content_gives_the_stream_as_one_response(client: httpx.Client, path: str) -> None:
    headers = TOKEN if "projects" in path else KEY
    body = ask(generationConfig={"thinkingConfig": {"includeThoughts": True}})
    whole = client.post(f"{path}:generateContent", json=body, headers=headers).json()
    chunks = chunks_of(
        client.post(f"{path}:streamGenerateContent?alt=sse", json=body, headers=headers).content
    )
    assert text_of([whole]) == text_of(chunks)
    assert whole["usageMetadata"] == chunks[-1]["usageMetadata"]
    assert whole["candidates"][0]["finishReason"] == "STOP"
    assert len(parts_of([whole])) <= 4


def test_the_same_prompt_gets_the_same_answer(client: httpx.Client) -> None:
    first, again, other = (
        text_of(stream(client, ask(text))) for text in ("About owls", "About owls", "About bees")
    )
    assert first == again
    assert first != other
    with Simulator(pace=0, seed=1) as seeded, httpx.Client(base_url=seeded.base_url) as elsewhere:
        assert text_of(stream(elsewhere, ask("About owls"))) != first


def test_models_are_listed_in_pages_and_described(client: httpx.Client) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = client.get(f"/v1beta/models?pageSize=5&pageToken={token}", headers=KEY).json()
        names += [model["name"] for model in page["models"]]
        assert all("generateContent" in model["supportedGenerationMethods"] for model in page["models"])
        if not (token := page.get("nextPageToken", "")):
            break
    assert f"models/{MODEL}" in names
    assert len(names) == len(set(names)) > 5
    described = client.get(f"/v1beta/models/{MODEL}", headers=KEY).json()
    assert described["name"] == f"models/{MODEL}"
    assert described.keys() >= {"version", "temperature", "topP", "topK", "maxTemperature", "thinking"}
    refused(client.get("/v1beta/models/gpt-9", headers=KEY), 404, "NOT_FOUND")
    refused(client.get("/v1beta/models?pageSize=x", headers=KEY), 400, "INVALID_ARGUMENT")
    listed = client.get("/v1beta1/publishers/google/models", headers=KEY).json()["publisherModels"]
    assert {"name": f"publishers/google/models/{MODEL}"}.items() <= listed[3].items()


def test_tokens_are_counted(client: httpx.Client) -> None:
    plain = client.post(f"{DEVELOPER}:countTokens", json=ask("x" * 40), headers=KEY).json()
    assert plain["totalTokens"] == 10
    more = ask("x" * 40, systemInstruction={"parts": [{"text": "y" * 8}]})
    wrapped = client.post(
        f"{DEVELOPER}:countTokens", json={"generateContentRequest": more}, headers=KEY
    ).json()
    assert wrapped["totalTokens"] == 12
    vertex = client.post(f"{VERTEX}:countTokens", json=more, headers=TOKEN).json()
    assert (vertex["totalTokens"], vertex["totalBillableCharacters"]) == (12, 40)
    refused(client.post(f"{DEVELOPER}:countTokens", json=more, headers=KEY), 400, "INVALID_ARGUMENT")
    refused(client.post(f"{DEVELOPER}:countTokens", json=[], headers=KEY), 400, "INVALID_ARGUMENT")
    used = stream(client, ask("x" * 40))[-1]["usageMetadata"]
    assert used["promptTokenCount"] == 10


def test_bodies_may_be_written_the_way_protobuf_allows(client: httpx.Client) -> None:
    body = {
        "contents": {"parts": {"text": "Explain how tides work"}},
        "system_instruction": {"parts": [{"text": "Be kind."}]},
        "generation_config": {"max_output_tokens": 5, "top_k": None},
        "tool_config": None,
    }
    chunks = stream(client, body)
    assert chunks[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_the_answer_is_cut_at_the_token_limit(client: httpx.Client) -> None:
    whole = text_of(stream(client, ask()))
    for limit in (1, 7, 50):
        chunks = stream(client, ask(generationConfig={"maxOutputTokens": limit}))
        assert text_of(chunks) == whole[: limit * 4]
        assert chunks[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
        assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == limit
    chunks = stream(client, ask(generationConfig={"maxOutputTokens": 100_000}))
    assert (text_of(chunks), chunks[-1]["candidates"][0]["finishReason"]) == (whole, "STOP")


def test_the_answer_ends_before_a_stop_sequence(client: httpx.Client) -> None:
    whole = text_of(stream(client, ask()))
    chunks = stream(client, ask(generationConfig={"stopSequences": ["never there", "| --- |", "```"]}))
    assert text_of(chunks) == whole[: whole.index("| --- |")]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_thoughts_come_first_and_only_when_asked_for(client: httpx.Client) -> None:
    asked = stream(client, ask(generationConfig={"thinkingConfig": {"includeThoughts": True}}))
    plain = stream(client, ask())
    marks = [bool(part.get("thought")) for part in parts_of(asked)]
    assert marks[0]
    assert marks == sorted(marks, reverse=True)
    assert not any(part.get("thought") for part in parts_of(plain))
    assert text_of(asked) == text_of(plain)
    assert asked[-1]["usageMetadata"] == plain[-1]["usageMetadata"]
    first = asked[0]["usageMetadata"]
    assert first["thoughtsTokenCount"] > 0
    assert "candidatesTokenCount" not in first
    assert asked[1]["usageMetadata"]["thoughtsTokenCount"] > first["thoughtsTokenCount"]
    off = stream(client, ask(generationConfig={"thinkingConfig": {"thinkingBudget": 0}}))
    assert "thoughtsTokenCount" not in off[-1]["usageMetadata"]


def test_code_execution_shows_code_and_result(client: httpx.Client) -> None:
    chunks = stream(client, ask("Add 17, 4 and 21", tools=[{"codeExecution": {}}]))
    kinds = [
        kind
        for part in parts_of(chunks)
        for kind in part
        if kind in {"executableCode", "codeExecutionResult"}
    ]
    assert kinds == ["executableCode", "codeExecutionResult"]
    by_kind = {kind: part[kind] for part in parts_of(chunks) for kind in part}
    assert by_kind["executableCode"]["language"] == "PYTHON"
    assert by_kind["codeExecutionResult"] == {"outcome": "OUTCOME_OK", "output": "42\n"}
    assert "42" in text_of(chunks)
    assert chunks[-1]["usageMetadata"]["toolUsePromptTokenCount"] > 0
    numbers = stream(client, ask("How many are they?", tools=[{"codeExecution": {}}]))
    assert "sum of these numbers is 6" in text_of(numbers)


@pytest.mark.parametrize(
    ("tool", "model"), [("googleSearch", MODEL), ("googleSearchRetrieval", "gemini-1.5-pro")]
)
def test_search_grounds_the_answer_in_sources(client: httpx.Client, tool: str, model: str) -> None:
    asked = ask("What happened in Köln?", tools=[{tool: {}}])
    chunks = stream(client, asked, f"/v1beta/models/{model}")
    grounding = chunks[-1]["candidates"][0]["groundingMetadata"]
    assert len(grounding["groundingChunks"]) == 2
    segment = grounding["groundingSupports"][0]["segment"]
    text = text_of(chunks).encode()
    assert text[segment["startIndex"] : segment["endIndex"]].decode() == segment["text"]
    assert not any("groundingMetadata" in chunk["candidates"][0] for chunk in chunks[:-1])
