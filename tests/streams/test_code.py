"""The program for Google's own client asks the same and gets the same answer."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from google.oauth2.credentials import Credentials
from PIL import Image

import gemini_nb
from gemini_nb.simulator import Simulator
from gemini_nb.simulator.fields import camel
from scripted import ScriptedServer, call, sse_answer, text

KEY = "a-key-for-this-test"


def weather(city: str) -> dict[str, str]:
    """Look up today's weather.

    Args:
        city: the name of the city.
    """
    return {"city": city, "sky": "cloudless"}


@gemini_nb.tool(timeout=5)
def forecast(city: str) -> str:
    """Look up tomorrow's weather in a city."""
    return f"cloudless in {city}"


@pytest.mark.filterwarnings("ignore")  # what google-genai warns of is its own
@pytest.mark.parametrize(
    ("contents", "options"),
    [
        ("Describe a lighthouse.", {}),
        ("Name a river.", {"generation_config": {"temperature": 0.5, "maxOutputTokens": 200}}),
        ("Name a river.", {"system_instruction": "Answer in one sentence."}),
        ("Plan a day in Lisbon. Check the weather first.", {"tools": [weather]}),
        ("What is the forecast for Lisbon?", {"tools": [forecast]}),
        (["What is this?", Image.new("RGB", (2, 2))], {}),
        ("Name a city.", {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}),
    ],
)
def test_the_program_gets_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, contents: Any, options: dict[str, Any]
) -> None:
    with Simulator(api_key=KEY, pace=0) as simulator:
        manager = gemini_nb.StreamManager()
        stream = manager.start_stream(
            contents,
            auth="gemini",
            credentials={"api_key": KEY},
            base_url=simulator.base_url,
            **options,
        ).wait(10)
        manager.shutdown()
        code = stream.to_code()
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", simulator.base_url)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {"weather": weather, "forecast": forecast})
    assert stream.error is None
    assert KEY not in code
    assert printed.getvalue() == "".join(part.get("text", "") for part in stream.parts)


async def population(city: str) -> int:
    """Look up how many people live in a city."""
    return len(city)


def test_a_function_that_the_client_cannot_call_stands_there_as_it_is_declared() -> None:
    renamed = gemini_nb.tool(weather, name="look_up")
    declared = {"functionDeclarations": [{"name": "elsewhere", "description": "Somewhere else."}]}
    with Simulator(api_key=KEY, pace=0) as simulator:
        manager = gemini_nb.StreamManager()
        stream = manager.start_stream(
            "Hello.",
            auth="gemini",
            credentials={"api_key": KEY},
            base_url=simulator.base_url,
            tools=[weather, renamed, population, declared],
        )
        manager.shutdown()
    code = stream.to_code()
    assert "'tools': [weather,\n" in code
    assert all(code.count(f"'name': '{name}'") == 1 for name in ("look_up", "population", "elsewhere"))
    assert "'name': 'weather'" not in code
    compile(code, "made", "exec")


def test_vertex_ai_is_asked_for_by_its_own_client() -> None:
    manager = gemini_nb.StreamManager()
    stream = manager.start_stream(
        "Hi",
        auth="vertex_ai",
        credentials={"project_id": "p", "location": "us-central1", "access_token": "token-4711"},
        base_url="http://127.0.0.1:9",
    )
    manager.shutdown()
    assert "vertexai=True, project='p', location='us-central1'" in stream.to_code()
    assert "token-4711" not in stream.to_code()


@pytest.mark.filterwarnings("ignore")  # what google-genai warns of is its own
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"api_version": "v1"},
        {"base": "/behind/a/gateway", "api_version": "v1alpha"},
        {"auth": "vertex_ai", "api_version": "v1"},
    ],
)
def test_the_program_asks_at_the_same_place(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    key = {"api_key": KEY}
    project = {"project_id": "p", "location": "us-central1", "access_token": "token-4711"}
    with ScriptedServer([sse_answer(text("Yes.", finish="STOP"))] * 2) as server:
        manager = gemini_nb.StreamManager()
        given = {
            "auth": "gemini",
            "base_url": server.url + options.pop("base", ""),
            "credentials": project if "auth" in options else key,
            **options,
        }
        stream = manager.start_stream("Hi", **given).wait(10)
        manager.shutdown()
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setattr("google.auth.default", lambda **_: (Credentials("token-4711"), "another"))
        with contextlib.redirect_stdout(io.StringIO()):
            exec(stream.to_code(), {})
        assert server.requests[0].target == server.requests[1].target


def test_the_program_for_a_simulated_answer_asks_google() -> None:
    manager = gemini_nb.StreamManager()
    stream = manager.start_stream("Hi", auth="simulator").wait(10)
    manager.shutdown()
    assert "client = genai.Client()  #" in stream.to_code()


def test_a_place_that_the_client_cannot_be_told_is_said() -> None:
    manager = gemini_nb.StreamManager()
    stream = manager.start_stream("Hi", credentials={"api_key": KEY}, endpoint="http://127.0.0.1:9/x")
    manager.shutdown()
    assert "this was asked at http://127.0.0.1:9/x" in stream.to_code()


def _comparable(value: Any) -> Any:
    """A body in one spelling: google-genai writes data in the URL's base64 and functions as snake_case."""
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        camel(name): item.replace("-", "+").replace("_", "/")
        if name in {"data", "thoughtSignature"}
        else _comparable(item)
        for name, item in value.items()
    }


FUNCTION = {"name": "f", "description": "Do it.", "parametersJsonSchema": {"type": "object", "title": "F"}}
OPEN_API = {"type": "OBJECT", "properties": {"my_name": {"type": "STRING"}}, "propertyOrdering": ["my_name"]}
USER = {"role": "user", "parts": [{"text": "Go on."}]}
PICTURE = {"mimeType": "image/png", "data": "iVBORw0KGgo+/+8="}


@pytest.mark.filterwarnings("ignore")  # what google-genai warns of is its own
@pytest.mark.parametrize(
    "body",
    [
        {"serviceTier": "flex", "store": False, "labels": {"my_team": "a"}},
        {"continuationToken": "AAAA", "safetySettings": [{"category": "HARM_CATEGORY_JAILBREAK"}]},
        {
            "tools": [{"googleSearch": {"timeRangeFilter": {"startTime": "2026-01-01T00:00:00Z"}}}],
            "toolConfig": {"retrievalConfig": {"latLng": {"latitude": 1.5, "longitude": 2.5}}},
        },
        {
            "tools": [{"urlContext": {}}, {"functionDeclarations": [FUNCTION]}],
            "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}},
        },
        {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {**OPEN_API}}]}]},
        {"tools": [{"brandNewTool": {"some_thing": 1}}], "toolConfig": {"brandNew": {"a_b": [1]}}},
        {
            "generationConfig": {
                "temperature": 0,
                "responseMimeType": "application/json",
                "responseSchema": OPEN_API,
                "thinkingConfig": {"thinkingLevel": "LOW", "brandNew": True},
                "audioTranscriptionConfig": {},
                "speechConfig": {"languageCode": "de-DE"},
                "imageConfig": {"aspectRatio": "1:1", "outputMimeType": "image/png"},
                "mediaResolution": "MEDIA_RESOLUTION_LOW",
                "enableEnhancedCivicAnswers": False,
            }
        },
        {"systemInstruction": {"parts": [{"text": "Be short.", "partMetadata": {"a": 1}}]}},
        {"systemInstruction": {"role": "user", "parts": [{"text": "Be short."}]}, "brandNew": {"a": [1]}},
        {
            "contents": [
                {"role": "user", "parts": [{"inlineData": {**PICTURE, "displayName": "a.png"}}]},
                {
                    "role": "model",
                    "parts": [{"brandNew": {"x": 1}}, {"text": "", "thoughtSignature": "+/8="}],
                },
                USER,
            ]
        },
        {
            "contents": [
                {"role": "user", "parts": [{"inlineData": PICTURE}, {"fileData": {"fileUri": "files/a"}}]},
                {"role": "model", "parts": [{"text": "a", "thought": True}, {"text": "b"}]},
                USER,
            ]
        },
    ],
)
def test_the_program_sends_every_field_of_the_body(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    answers = [sse_answer(text("Yes.", finish="STOP"))] * 2
    with ScriptedServer(answers) as server:
        manager = gemini_nb.StreamManager()
        options: dict[str, Any] = {"credentials": {"api_key": KEY}, "base_url": server.url}
        stream = manager.start_stream(
            request_body={"contents": [USER], **body}, model="gemini-3.5-flash", auth="gemini", **options
        ).wait(10)
        manager.shutdown()
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(stream.to_code(), {})
        ours, theirs = (request.json for request in server.requests)
    assert stream.error is None
    assert {"generationConfig": {}, **_comparable(ours)} == {"generationConfig": {}, **_comparable(theirs)}


@pytest.mark.filterwarnings("ignore")  # what google-genai warns of is its own
def test_functions_are_called_beside_a_tool_that_the_client_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search: dict[str, Any] = {"googleSearch": {"searchTypes": {"brandNew": {}}}}
    answers = [
        sse_answer(call("weather", args={"city": "Lisbon"}, finish="STOP")),
        sse_answer(text("Clear.", finish="STOP")),
    ] * 2
    with ScriptedServer(answers) as server:
        manager = gemini_nb.StreamManager()
        options: dict[str, Any] = {"credentials": {"api_key": KEY}, "base_url": server.url}
        stream = manager.start_stream(
            "How is it?", model="gemini-3.5-flash", auth="gemini", tools=[weather, search], **options
        ).wait(10)
        manager.shutdown()
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(stream.to_code(), {"weather": weather})
        ours, theirs = server.requests[1].json, server.requests[3].json
    assert printed.getvalue() == stream.text
    assert theirs["tools"] == ours["tools"]
    assert theirs["toolConfig"] == ours["toolConfig"]
    assert len(theirs["contents"]) == 3
