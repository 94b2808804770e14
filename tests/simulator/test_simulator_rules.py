"""What Google refuses, the simulator refuses: a line for each rule, and what is near to it and passes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gemini_nb.simulator import Simulator, rules
from simulator_wire import KEY, MODEL, TOKEN, WEATHER, Talk, ask, chunks_of, refused

USER = {"role": "user", "parts": [{"text": "hi"}]}
FLAG = {"includeServerSideToolInvocations": True}
PNG = base64.b64encode(b"\x89PNG").decode()
MIXED = [{"googleSearch": {}}, {"functionDeclarations": [WEATHER]}]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Simulator(pace=0, api_key="right") as sim, httpx.Client(base_url=sim.base_url) as opened:
        yield opened


def send(
    client: httpx.Client,
    body: dict[str, Any],
    *,
    model: str = MODEL,
    vertex: bool = False,
    method: str = "streamGenerateContent",
) -> httpx.Response:
    path = f"/v1beta1/projects/p/locations/global/publishers/google/models/{model}"
    path = path if vertex else f"/v1beta/models/{model}"
    return client.post(f"{path}:{method}?alt=sse", json=body, headers=TOKEN if vertex else KEY)


def parts(*given: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(given)}]}


def functions(*declarations: dict[str, Any], **calling: Any) -> dict[str, Any]:
    body = ask(tools=[{"functionDeclarations": list(declarations)}])
    return {**body, "toolConfig": {"functionCallingConfig": calling}} if calling else body


def config(**fields: Any) -> dict[str, Any]:
    return ask(generationConfig=fields)


def declared(**schema: Any) -> dict[str, Any]:
    return functions({"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": schema}}})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (parts({"text": None}), "must have one initialized field"),
        (parts({"thoughtSignature": "c2ln"}), "must have one initialized field"),
        (parts({"functionCall": None}, role="model"), "must have one initialized field"),
        (parts({"text": "a", "inlineData": {"mimeType": "image/png", "data": PNG}}), "already set"),
        (parts({"text": "a", "colour": "red"}), 'Unknown name "colour"'),
        (parts({"type": "text", "text": "a"}), 'Unknown name "type"'),
        ({"contents": [{"role": "user", "content": "hi"}]}, 'Unknown name "content"'),
        (ask(generation_config={}, generationConfig={}), "twice"),
        (parts({"inlineData": {"mime_type": "a/b", "mimeType": "a/b", "data": PNG}}), "twice"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "use a valid role: user, model"),
        (parts({"text": "x"}, role="function"), "use a valid role: user, model"),
        (parts({"text": "x"}, role="tool"), "the role tool is for function responses"),
        (parts({"inlineData": {"mimeType": "image/png", "data": "no base64!"}}), "Base64 decoding failed"),
        (parts({"inlineData": {"data": PNG}}), "Unsupported MIME type"),
        (parts({"inlineData": {"mimeType": "png", "data": PNG}}), "Unsupported MIME type"),
        (parts({"fileData": {"fileUri": "gs://bucket/file"}}), "Unsupported file uri"),
        (parts({"fileData": {"mimeType": "image/png"}}), "fileUri"),
        (parts({"functionCall": {"name": "a b", "args": {}}}, role="model"), "Invalid function name"),
        (parts({"functionCall": {}}, role="model"), "Name cannot be empty"),
        (parts({"functionResponse": {}}), "Name cannot be empty"),
        (parts({"functionCall": {"name": "f", "args": "{}"}}, role="model"), "an object is expected"),
        (parts({"functionCall": {"name": "f", "partialArgs": []}}, role="model"), '"partialArgs"'),
        (functions({"name": "ünder"}), "Invalid function name"),
        (functions({"name": "f" * 129}), "Invalid function name"),
        (functions({"name": "f"}, {"name": "f"}), "Duplicate function declaration"),
        (
            functions({"name": "f", "parameters": {"type": "OBJECT"}, "parametersJsonSchema": {}}),
            "set parameters or parametersJsonSchema",
        ),
        (
            functions({"name": "f", "response": {}, "responseJsonSchema": {}}),
            "response or responseJsonSchema",
        ),
        (declared(type="STRING", const="a"), 'Unknown name "const"'),
        (declared(type="STRING", examples=["a"]), 'Unknown name "examples"'),
        (declared(type=["string", "null"]), "is not a type"),
        (declared(type="ARRAY"), "items: missing field"),
        (declared(type="OBJECT", properties="many"), "an object is expected"),
        (declared(type="OBJECT", required=[1]), "a text is expected"),
        (declared(type="OBJECT", required="name"), "a list is expected"),
        (declared(anyOf={"type": "STRING"}), "a list is expected"),
        (
            functions({"name": "f", "parametersJsonSchema": {"$ref": "#/$defs/A", "description": "x"}}),
            "beside $ref",
        ),
        (config(responseJsonSchema={"type": "object"}), "needs response_mime_type application/json"),
        (config(responseJsonSchema={}, responseMimeType="text/x.enum"), "needs response_mime_type"),
        (
            config(responseSchema={}, responseJsonSchema={}, responseMimeType="application/json"),
            "response_schema or response_json_schema",
        ),
        (config(temperature="hot"), "a number is expected"),
        (config(temperature=True), "a number is expected"),
        (config(topP=1.5), "top_p"),
        (config(mediaResolution="SHARP"), "media_resolution"),
        (config(responseModalities=["SMELL"]), "response_modalities"),
        (config(responseLogprobs=True), "response_logprobs is not supported"),
        (config(audioTimestamp=True), 'Unknown name "audioTimestamp"'),
        (config(thinkingConfig={"thinkingLevel": "DEEP"}), "is not a thinking level"),
        (config(thinkingConfig={"thinkingLevel": "MINIMAL"}), "MINIMAL is not supported for this model"),
        (ask(serviceTier="first_class"), "service_tier"),
        (ask(safetySettings=[{"category": "RUDE", "threshold": "OFF"}]), "safety_settings[0].category"),
        (ask(safetySettings=[{"method": "SEVERITY"}]), 'Unknown name "method"'),
        (ask(modelArmorConfig={}), 'Unknown name "modelArmorConfig"'),
        (ask(tools=[{"enterpriseWebSearch": {}}]), 'Unknown name "enterpriseWebSearch"'),
        (ask(tools=[{"googleSearch": {"excludeDomains": ["a.b"]}}]), 'Unknown name "excludeDomains"'),
        (ask(tools=[{"googleSearchRetrieval": {}}]), "please use google_search"),
        (ask(tools=MIXED), "Please enable tool_config.include_server_side_tool_invocations"),
        (ask(tools=[{"google_search": {}, "function_declarations": [WEATHER]}]), "Please enable"),
        (
            ask(tools=MIXED, toolConfig={**FLAG, "functionCallingConfig": {"mode": "AUTO"}}),
            "AUTO is not supported",
        ),
        (functions(WEATHER, mode="SOMETIMES"), "mode"),
        (functions(WEATHER, mode="AUTO", allowedFunctionNames=["get_weather"]), "ANY or VALIDATED"),
        (functions(WEATHER, mode="VALIDATED", allowedFunctionNames=["other"]), "not declared: other"),
        (ask(toolConfig={"functionCallingConfig": {"mode": "VALIDATED"}}), "without function_declarations"),
        (
            functions(WEATHER, streamFunctionCallArguments=True),
            'Unknown name "streamFunctionCallArguments"',
        ),
        (ask(cachedContent="cachedContents/x", systemInstruction=USER), "CachedContent can not be used"),
    ],
)
def test_the_developer_api_refuses(client: httpx.Client, body: dict[str, Any], told: str) -> None:
    assert told in refused(send(client, body), 400, "INVALID_ARGUMENT")["message"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (ask(tools=MIXED), "Multiple tools are supported only when"),
        (ask(tools=MIXED, toolConfig=FLAG), 'Unknown name "includeServerSideToolInvocations"'),
        (ask(store=True), 'Unknown name "store"'),
        (ask(tools=[{"fileSearch": {}}]), 'Unknown name "fileSearch"'),
        (ask(tools=[{"mcpServers": []}]), 'Unknown name "mcpServers"'),
        (config(enableEnhancedCivicAnswers=True), 'Unknown name "enableEnhancedCivicAnswers"'),
        (parts({"toolCall": {"toolType": "URL_CONTEXT"}}, role="model"), 'Unknown name "toolCall"'),
        (parts({"text": "x", "partMetadata": {}}), 'Unknown name "partMetadata"'),
        (parts({"fileData": {"fileUri": "gs://bucket/file"}}), "Unsupported MIME type"),
        (parts({"fileData": {"fileUri": "files/abc", "mimeType": "image/png"}}), "Unsupported file uri"),
        (parts({"fileData": {"fileUri": "file:///a", "mimeType": "image/png"}}), "Unsupported file uri"),
        (parts({"fileData": {"fileUri": "a.png", "mimeType": "image/png"}}), "Unsupported file uri"),
        (ask(modelArmorConfig={}), "model_armor_config is not supported by streamGenerateContent"),
    ],
)
def test_vertex_ai_refuses(client: httpx.Client, body: dict[str, Any], told: str) -> None:
    assert told in refused(send(client, body, vertex=True), 400, "INVALID_ARGUMENT")["message"]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("gemini-3.7-flash", config(thinkingConfig={"thinkingLevel": "minimal"})),
        ("gemini-4-neon", config(thinkingConfig={"thinkingLevel": "MINIMAL"})),
        ("gemini-4-neon", config(thinkingConfig={"thinkingBudget": 0})),
        ("gemini-4-neon", config(presencePenalty=0.1)),
        ("gemini-4-neon", config(frequencyPenalty=0.1)),
        ("gemini-4-neon", config(candidateCount=2)),
        ("gemini-4-neon", {"contents": [USER, {"role": "model", "parts": [{"text": "Once"}]}]}),
        ("gemini-2.5-flash", config(thinkingConfig={"thinkingLevel": "LOW"})),
        ("gemini-2.5-flash", ask(tools=MIXED)),
        ("gemini-2.5-flash", ask(tools=MIXED, toolConfig=FLAG)),
    ],
)
def test_a_family_refuses_what_it_does_not_take(
    client: httpx.Client, model: str, body: dict[str, Any]
) -> None:
    refused(send(client, body, model=model), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("model", "body", "vertex"),
    [
        (MODEL, ask(tools=MIXED, toolConfig=FLAG), False),
        (MODEL, ask(tools=MIXED, tool_config={"include_server_side_tool_invocations": True}), False),
        (
            MODEL,
            ask(tools=MIXED, toolConfig={**FLAG, "functionCallingConfig": {"mode": "VALIDATED"}}),
            False,
        ),
        (MODEL, functions(WEATHER, mode="ANY"), False),
        (MODEL, functions(WEATHER, stream_function_call_arguments=True), True),
        (MODEL, ask(tools=[{"enterpriseWebSearch": {}}], labels={"team": "a"}), True),
        (MODEL, ask(serviceTier="flex", store=False, labels={"team": "a"}), False),
        (MODEL, parts({"text": "x", "inline_data": None}), False),
        (MODEL, config(seed="5", temperature="0.5"), False),
        ("gemini-3.5-flash", config(thinkingConfig={"thinkingLevel": "MINIMAL"}), False),
        ("gemini-3.8-flash", config(thinkingConfig={"thinkingBudget": -1}), False),
        ("gemini-9-new", config(thinkingConfig={"thinkingLevel": "MINIMAL"}), False),
        (MODEL, functions({"name": "f", "parametersJsonSchema": {"const": 1, "title": "F"}}), False),
    ],
)
def test_what_is_right_passes(client: httpx.Client, model: str, body: dict[str, Any], vertex: bool) -> None:
    response = send(client, body, model=model, vertex=vertex)
    assert response.status_code == 200, response.text


def test_streamed_arguments_are_for_the_streaming_endpoint(client: httpx.Client) -> None:
    body = functions(WEATHER, streamFunctionCallArguments=True)
    told = refused(send(client, body, vertex=True, method="generateContent"), 400, "INVALID_ARGUMENT")
    assert "only supported by streamGenerateContent" in told["message"]


def test_a_file_that_is_not_there_is_forbidden(client: httpx.Client) -> None:
    for uri in ("files/abc", "https://generativelanguage.googleapis.com/v1beta/files/abc"):
        error = refused(send(client, parts({"fileData": {"fileUri": uri}})), 403, "PERMISSION_DENIED")
        assert "File abc" in error["message"]


@pytest.mark.parametrize("role", ["user", "tool"])
def test_function_responses_come_as_user_or_tool(client: httpx.Client, role: str) -> None:
    talk = Talk(client, "Weather in Oslo", WEATHER)
    talk.respond(talk.answer())
    talk.contents[-1]["role"] = role
    assert talk.send().status_code == 200


def test_vertex_ai_says_in_its_own_words_which_signature_is_missing(client: httpx.Client) -> None:
    call = {"functionCall": {"name": "get_weather", "args": {"city": "Oslo"}}}
    answer = {"functionResponse": {"name": "get_weather", "response": {"result": 1}}}
    contents = [USER, {"role": "model", "parts": [call]}, {"role": "user", "parts": [answer]}]
    body = functions(WEATHER) | {"contents": contents}
    told = refused(send(client, body, vertex=True), 400, "INVALID_ARGUMENT")["message"]
    assert "function call `get_weather` in the 2. content block is missing a `thought_signature`" in told


def test_a_request_has_a_size_at_most(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAYLOAD_LIMIT", 10_000)
    body = parts({"inlineData": {"mimeType": "image/png", "data": "A" * 20_000}})
    assert "payload size exceeds" in refused(send(client, body), 400, "INVALID_ARGUMENT")["message"]
    monkeypatch.undo()
    monkeypatch.setattr(rules, "MAX_PDF_BYTES", 10_000)
    assert send(client, body).status_code == 200
    body["contents"][0]["parts"][0]["inlineData"]["mimeType"] = "application/pdf"
    assert "exceeds the limit" in refused(send(client, body), 400, "INVALID_ARGUMENT")["message"]


def test_bodies_nested_deeper_than_a_stack_are_refused(client: httpx.Client) -> None:
    nested = '{"type":"ARRAY","items":' * 975 + "{}" + "}" * 975
    content = (
        '{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":'
        + nested
        + "}]}]}"
    )
    response = client.post(f"/v1beta/models/{MODEL}:generateContent", content=content, headers=KEY)
    assert "nested too deep" in refused(response, 400, "INVALID_ARGUMENT")["message"]


def test_the_service_takes_back_the_kinds_of_parts_that_it_sent() -> None:
    def scenario(_: dict[str, Any], __: str) -> Iterator[Any]:
        part = {"hologram": {"depth": 3}}
        yield {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}]}

    with Simulator(pace=0, scenario=scenario) as sim, httpx.Client(base_url=sim.base_url) as client:
        history = {"contents": [USER, {"role": "model", "parts": [{"hologram": {"depth": 3}}]}, USER]}
        refused(send(client, history), 400, "INVALID_ARGUMENT")
        assert chunks_of(send(client, ask()).content)
        assert send(client, history).status_code == 200
