from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from gemini_nb.api.contents.content import to_contents
from gemini_nb.journal.kept.key import Question, bare_model, prompt_of, question_of

MODEL = "gemini-3.8-flash"
PICTURE = b"\x89PNG\xff\xfe\xfd?"


def declared(**changes: Any) -> dict[str, Any]:
    schema = {"type": "OBJECT", "properties": {"city_name": {"type": "STRING"}}, "required": ["city_name"]}
    declaration = {"name": "weather", "description": "Tell the weather.", "parameters": schema}
    return {"functionDeclarations": [{**declaration, **changes}]}


def body(**changes: Any) -> dict[str, Any]:
    made = {
        "contents": [
            {"role": "user", "parts": [{"text": "How is it in Lisbon?"}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"id": "c1", "name": "weather", "args": {"city_name": "Lisbon"}}},
                ],
            },
            {"role": "user", "parts": [returned({"result": {"sky": None, "degrees": 21}})]},
        ],
        "tools": [declared()],
        "generationConfig": {"temperature": 0.5, "responseMimeType": "application/json"},
        "systemInstruction": {"parts": [{"text": "Be short."}]},
    }
    return {name: value for name, value in {**made, **changes}.items() if value is not ...}


def returned(response: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": "c1", "name": "weather", "response": response, **more}}


def with_result(response: dict[str, Any], **more: Any) -> dict[str, Any]:
    contents = body()["contents"]
    return body(contents=[*contents[:2], {"role": "user", "parts": [returned(response, **more)]}])


def ask(changed: dict[str, Any], **options: Any) -> Question:
    return question_of("gemini", MODEL, changed, **options)


def said(*parts: dict[str, Any], role: str | None = "user", **more: Any) -> dict[str, Any]:
    return {"contents": [{**({"role": role} if role else {}), "parts": [*parts], **more}]}


SNAKE = {
    "contents": [
        {"parts": [{"text": "How is it "}, {"text": "in Lisbon?"}]},
        {
            "role": "model",
            "parts": [{"function_call": {"id": "c1", "name": "weather", "args": {"city_name": "Lisbon"}}}],
        },
        {
            "role": "user",
            "parts": [
                {
                    "function_response": {
                        "id": "c1",
                        "name": "weather",
                        "response": {"result": {"degrees": 21.0, "sky": None}},
                    }
                }
            ],
        },
    ],
    "tools": [{"function_declarations": declared()["functionDeclarations"]}],
    "generation_config": {"response_mime_type": "application/json", "top_p": None, "temperature": 0.5},
    "system_instruction": {"role": "system", "parts": [{"text": "Be "}, {"text": "short."}]},
    "safety_settings": None,
    "tool_config": {},
}

SAME: dict[str, dict[str, Any]] = {
    "snake case, another order, text in two parts, nulls": SNAKE,
    "what only the bill or the road cares for": body(
        labels={"a": "b"}, store=False, serviceTier="flex", continuationToken="x", model="models/other"
    ),
    "fields with nothing in them": body(safetySettings=[], toolConfig=None),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_means_the_same_has_one_key(kind: str) -> None:
    assert ask(SAME[kind]).key == ask(body()).key
    assert ask(SAME[kind]).places == ask(body()).places


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "another description": (body(tools=[declared(description="Tell it.")]), "tools[0] weather"),
    "another type": (
        body(
            tools=[declared(parameters={"type": "OBJECT", "properties": {"city_name": {"type": "INTEGER"}}})]
        ),
        "tools[0] weather",
    ),
    "a name of another spelling": (
        body(tools=[declared(parameters={"type": "OBJECT", "properties": {"cityName": {"type": "STRING"}}})]),
        "tools[0] weather",
    ),
    "no tools": (body(tools=...), "tools[0] weather"),
    "a search beside": (body(tools=[declared(), {"googleSearch": {}}]), "tools[1] googleSearch"),
    "another temperature": (
        body(generationConfig={"temperature": 1, "responseMimeType": "application/json"}),
        "generationConfig.temperature",
    ),
    "a setting less": (body(generationConfig={"temperature": 0.5}), "generationConfig.responseMimeType"),
    "another instruction": (
        body(systemInstruction={"parts": [{"text": "Be long."}]}),
        "systemInstruction",
    ),
    "safety": (body(safetySettings=[{"category": "A", "threshold": "B"}]), "safetySettings"),
    "a tool config": (body(toolConfig={"functionCallingConfig": {"mode": "ANY"}}), "toolConfig"),
    "a cache": (body(cachedContent="cachedContents/abc"), "cachedContent"),
    "a result without its null": (with_result({"result": {"degrees": 21}}), "contents[2].results"),
    "another result": (with_result({"result": {"sky": None, "degrees": 22}}), "contents[2].results"),
    "a result with a picture": (
        with_result(
            {"result": {"sky": None, "degrees": 21}},
            parts=[{"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
        ),
        "contents[2].results",
    ),
    "a field that is not known yet": (body(newField={"a": [1]}), "newField"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_asks_something_else_has_another_key_and_says_where(kind: str) -> None:
    changed, place = OTHER[kind]
    one, other = ask(body()), ask(changed)
    assert one.key != other.key
    assert place in {
        name for name in {*one.places, *other.places} if one.places.get(name) != other.places.get(name)
    }
    assert (one.loose_key == other.loose_key) is place.endswith(".results")


def test_signatures_and_ids_count_and_keep_texts_apart() -> None:
    plain = said({"text": "a"}, {"text": "b"}, role="model")
    signed = said({"text": "a", "thoughtSignature": "s"}, {"text": "b"}, role="model")
    thought = said({"text": "a", "thought": True}, {"text": "b"}, role="model")
    assert len({ask(one).key for one in (plain, signed, thought)}) == 3
    calls = [said({"functionCall": {"id": i, "name": "f", "args": {}}}, role="model") for i in "ab"]
    assert ask(calls[0]).key != ask(calls[1]).key


def test_the_arguments_own_names_stay() -> None:
    calls = [said({"functionCall": {"name": "f", "args": {n: 1}}}, role="model") for n in ("a_b", "aB")]
    assert ask(calls[0]).key != ask(calls[1]).key


def test_a_file_is_what_it_holds() -> None:
    code = base64.b64encode(PICTURE).decode()
    url_safe = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
    assert code != url_safe
    uri = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    known: Callable[[str], str | None] = {uri: hashlib.sha256(PICTURE).hexdigest()}.get
    same: list[dict[str, Any]] = [
        {"inlineData": {"mimeType": "image/png", "data": code}},
        {"inlineData": {"mimeType": "image/png", "data": url_safe, "displayName": "a.png"}},
        {"inlineData": {"mimeType": "image/png", "data": PICTURE}},
        {"fileData": {"mimeType": "image/png", "fileUri": uri}},
    ]
    assert len({ask(said(part), contents_of=known).key for part in same}) == 1
    other: list[dict[str, Any]] = [
        {"inlineData": {"mimeType": "image/jpeg", "data": code}},
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"other").decode()}},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/a.png"}},
    ]
    assert len({ask(said(part), contents_of=known).key for part in [same[0], *other]}) == 4


def test_a_cache_is_what_it_holds() -> None:
    caches = [body(cachedContent=f"cachedContents/{name}") for name in "ab"]
    assert ask(caches[0]).key != ask(caches[1]).key
    assert len({ask(one, contents_of=lambda _: "0" * 64).key for one in caches}) == 1


def test_service_model_and_number_count() -> None:
    keys = {
        question_of(service, model, body(), number=number).key
        for service in ("gemini", "vertex_ai", "simulator")
        for model in (MODEL, "gemini-flash-latest")
        for number in (1, 2)
    }
    assert len(keys) == 12


@pytest.mark.parametrize(
    ("model", "url"),
    [
        (MODEL, ""),
        (f"models/{MODEL}", ""),
        (f"projects/p/locations/global/publishers/google/models/{MODEL}", ""),
        ("another", f"https://host/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"),
        (MODEL, "https://gateway/ask"),
    ],
)
def test_a_model_is_its_id(model: str, url: str) -> None:
    assert bare_model(model, url) == MODEL


def test_a_tuned_model_is_another() -> None:
    assert bare_model("tunedModels/a") != bare_model("models/a")


def test_what_the_user_said_last_is_the_prompt() -> None:
    assert prompt_of(body()) == "How is it in Lisbon?"
    assert prompt_of({}) == prompt_of({"contents": "x"}) == ""
    assert len(ask({"contents": to_contents("word " * 500)}).prompt) == 200


STRANGE: list[dict[str, Any]] = [
    {},
    {"contents": None},
    {"contents": {"parts": {"text": "x"}}},
    {"contents": [[], 1, {"parts": [None, "x", {"inlineData": 1}, {"inlineData": {"data": 7}}]}]},
    {"tools": [None, {"functionDeclarations": 3}], "generationConfig": []},
    {"generationConfig": {"a_b": 1, "aB": 2}, "contents": [{"parts": [{"text": "\ud800"}]}]},
    {"generationConfig": {"temperature": float("inf")}},
]


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_body_has_a_key(strange: dict[str, Any]) -> None:
    assert len(ask(strange).key) == 64
