"""Objects of google-genai in place of their dictionaries, and dictionaries that are nobody's."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from google import genai
from google.genai import types

from answers import KEY, always, hello, rig, run_python
from approvals import asking
from gemini_nb import Chat
from gemini_nb.api.contents.content import to_contents, to_part
from gemini_nb.api.contents.objects import spell_body, spell_content
from gemini_nb.errors import ArgumentError, ConfigError, GeminiError
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.tools.result import to_result
from scripted import ScriptedServer, call, sse_answer, text

RAW = b"\xff\xfb\xfe"
BASE64 = "//v+"
PNG = {"inlineData": {"mimeType": "image/png", "data": BASE64}}
BLOB = types.Blob(mime_type="image/png", data=RAW)
UPLOADED = types.File(
    name="files/a", uri="https://g.example/files/a", mime_type="video/mp4", state=types.FileState.ACTIVE
)
FILE = {"fileData": {"fileUri": "https://g.example/files/a", "mimeType": "video/mp4"}}


class Person(pydantic.BaseModel):
    name: str
    age: int


@dataclass
class Place:
    name: str


def now(zone: str) -> str:
    """The time."""
    return zone


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (types.Part(text="Hi"), {"text": "Hi"}),
        (types.Part(inline_data=BLOB), PNG),
        (types.Part(text="Hi", thought_signature=RAW), {"text": "Hi", "thoughtSignature": BASE64}),
        (BLOB, PNG),
        (UPLOADED, FILE),
        (types.FileData(file_uri="gs://a/b.png", mime_type="image/png"), None),
        (types.Part.from_uri(file_uri="https://g.example/files/a", mime_type="video/mp4"), FILE),
        (types.Image(image_bytes=RAW, mime_type="image/png"), PNG),
        (
            types.Blob(data=b"%PDF-1.7"),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjc="}},
        ),
        ({"inline_data": BLOB}, PNG),
        ({"inlineData": {"mime_type": "image/png", "data": RAW}}, PNG),
        (types.Part.from_function_response(name="f", response={"a_b": None}), None),
    ],
)
def test_an_object_is_the_part_it_stands_for(value: Any, part: dict[str, Any] | None) -> None:
    made = to_part(value)
    assert part is None or made == part
    assert to_part(made) == made


def test_a_file_that_failed_or_was_never_uploaded_is_refused() -> None:
    failed = types.File(
        name="files/a",
        uri="u",
        state=types.FileState.FAILED,
        error=types.FileStatus(message="no frames in it"),
    )
    with pytest.raises(ConfigError, match="could not be processed: no frames in it"):
        to_part(failed)
    with pytest.raises(ConfigError, match="has no uri"):
        to_part(types.File(name="files/a"))


def test_data_that_do_not_say_what_they_are_are_refused() -> None:
    with pytest.raises(ConfigError, match="has no mime_type"):
        to_part(types.Blob(data=b"\x00\x01"))


def test_a_history_of_the_official_clients_chat_goes_on_here() -> None:
    turns = [types.UserContent("Hi"), types.ModelContent(types.Part(text="Hello", thought_signature=RAW))]
    with rig(hello()) as made:
        Chat(turns, manager=made.manager, **made.options).send("And?").result(10)
        sent = made.server.requests[0].json["contents"]
    assert sent[0] == {"role": "user", "parts": [{"text": "Hi"}]}
    assert sent[1] == {"role": "model", "parts": [{"text": "Hello", "thoughtSignature": BASE64}]}


CONFIG: dict[str, Any] = {
    "temperature": 0.5,
    "max_output_tokens": 9,
    "stop_sequences": ["x"],
    "response_modalities": ["TEXT"],
    "thinking_config": types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
    "system_instruction": types.Content(parts=[types.Part(text="Be brief")]),
    "safety_settings": [
        types.SafetySetting(
            category=types.HarmCategory.HARM_CATEGORY_HARASSMENT,
            threshold=types.HarmBlockThreshold.BLOCK_NONE,
        )
    ],
    "tools": [
        types.Tool(google_search=types.GoogleSearch()),
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(
                    name="look",
                    description="Look.",
                    parameters=types.Schema(
                        type=types.Type.OBJECT, properties={"title": types.Schema(type=types.Type.STRING)}
                    ),
                )
            ]
        ),
    ],
    "tool_config": types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.VALIDATED),
        include_server_side_tool_invocations=True,
    ),
    "service_tier": types.ServiceTier.FLEX,
    "media_resolution": types.MediaResolution.MEDIA_RESOLUTION_LOW,
    "speech_config": "Kore",
}
CONTENTS: list[Any] = [
    types.UserContent([types.Part(text="Look"), types.Part(inline_data=BLOB)]),
    types.ModelContent("Yes?"),
    types.UserContent("Go on"),
]


@pytest.mark.parametrize("form", ["object", "dictionary"])
def test_the_official_client_sends_the_same_body(form: str) -> None:
    config: Any = types.GenerateContentConfig(**CONFIG) if form == "object" else CONFIG
    with ScriptedServer(always(text("Hello", finish="STOP"))) as server:
        options = types.HttpOptions(base_url=server.url)
        client = genai.Client(api_key=KEY, vertexai=False, http_options=options)
        list(
            client.models.generate_content_stream(model="gemini-3.8-flash", contents=CONTENTS, config=config)
        )
        client.close()
        theirs = server.requests[0].json
    with rig(hello()) as made:
        made.start(CONTENTS, model="gemini-3.8-flash", generation_config=config).result(10)
        ours = made.server.requests[0].json
    theirs = json.loads(json.dumps(theirs).replace("__v-", BASE64))  # it writes the URL's alphabet
    theirs = {**spell_body(theirs), "contents": [spell_content(turn) for turn in theirs["contents"]]}
    for body in (ours, theirs):
        body["systemInstruction"].pop("role", None)
    assert ours == theirs


def test_objects_stand_in_every_argument_and_in_a_whole_body() -> None:
    with rig(hello()) as made:
        made.start(
            UPLOADED,
            generation_config=types.GenerationConfig(temperature=0),
            system_instruction=types.Content(parts=[types.Part(text="Be brief")]),
            safety_settings=CONFIG["safety_settings"][0],
            tool_config=types.ToolConfig(retrieval_config=types.RetrievalConfig(language_code="en")),
            tools=types.Tool(url_context=types.UrlContext()),
        ).result(10)
        whole = {
            "contents": [types.UserContent("Hi")],
            "generation_config": types.GenerationConfig(top_k=3),
            "system_instruction": "Be brief",
            "tools": [types.Tool(google_search=types.GoogleSearch())],
        }
        made.manager.start_stream(request_body=whole, **made.options).result(10)
        first, second = (request.json for request in made.server.requests)
    assert first["contents"] == [{"role": "user", "parts": [FILE]}]
    assert first["generationConfig"] == {"temperature": 0}
    assert first["systemInstruction"] == {"parts": [{"text": "Be brief"}]}
    assert first["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    assert first["toolConfig"] == {"retrievalConfig": {"languageCode": "en"}}
    assert first["tools"] == [{"urlContext": {}}]
    assert second["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    assert second["generationConfig"] == {"topK": 3}
    assert second["systemInstruction"] == {"parts": [{"text": "Be brief"}]}
    assert second["tools"] == [{"googleSearch": {}}]


def test_functions_in_a_config_run() -> None:
    config = types.GenerateContentConfig(tools=[now], temperature=0)
    script = [
        sse_answer(call("now", args={"zone": "UTC"}, finish="STOP")),
        sse_answer(text("Hello", finish="STOP")),
    ]
    with rig(script) as made:
        stream = made.start(generation_config=config).wait(10)
        body = made.server.requests[0].json
    assert stream.tool_calls[0].result == "UTC"
    assert body["generationConfig"] == {"temperature": 0}
    assert body["tools"][0]["functionDeclarations"][0]["name"] == "now"


@pytest.mark.parametrize(
    ("schema", "parsed"),
    [
        (Person, Person(name="Ada", age=36)),
        (list[Person], [Person(name="Ada", age=36)]),
        (Place, Place("Ada")),
    ],
)
@pytest.mark.parametrize("form", ["snake", "camel", "object"])
def test_a_type_in_a_config_is_a_schema(schema: Any, parsed: Any, form: str) -> None:
    answer = '{"name": "Ada", "age": 36}'
    answer = f"[{answer}]" if isinstance(parsed, list) else '{"name": "Ada"}' if schema is Place else answer
    config: Any = {"response_schema" if form == "snake" else "responseSchema": schema, "temperature": 0}
    if form == "object":
        config = types.GenerateContentConfig(
            response_mime_type="application/json", response_schema=schema, temperature=0
        )
    with rig(always(text(answer, finish="STOP"))) as made:
        stream = made.start(generation_config=config).wait(10)
        sent = made.server.requests[0].json["generationConfig"]
    assert (stream.status, stream.parsed) == ("completed", parsed)
    assert sent.keys() == {"responseMimeType", "responseJsonSchema", "temperature"}


def test_an_answer_that_does_not_fit_a_type_in_a_config_fails() -> None:
    with rig(always(text('{"name": 5}', finish="STOP"))) as made:
        stream = made.start(generation_config={"response_schema": Person}).wait(10)
    assert stream.status == "error"
    assert "Person" in str(stream.error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"generation_config": {"http_options": types.HttpOptions(timeout=5)}}, "httpOptions.*base_url"),
        (
            {"generation_config": types.GenerateContentConfig(http_options=types.HttpOptions(base_url="u"))},
            "httpOptions",
        ),
        (
            {"generation_config": {"automatic_function_calling": {"disable": True}}},
            "automaticFunctionCalling.*turn_limit",
        ),
        ({"generation_config": {"system_instruction": "a"}, "system_instruction": "b"}, "given twice"),
        ({"generation_config": {"response_schema": Person}, "schema": Person}, "schema is given twice"),
        (
            {"generation_config": {"response_schema": Person, "response_mime_type": "text/x.enum"}},
            "not text/x.enum",
        ),
        ({"generation_config": "hot"}, "generationConfig is a dictionary"),
        (
            {"contents": None, "request_body": {"contents": "Hi", "config": {"top_k": 1}}},
            "no 'config'.*beside",
        ),
        ({"contents": None, "request_body": {"messages": []}}, "no 'messages'"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "another client's form of a tool"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "another client's form of a tool"),
    ],
)
def test_what_cannot_be_honoured_is_refused_at_the_call(options: dict[str, Any], words: str) -> None:
    with rig(hello()) as made:
        with pytest.raises(GeminiError) as caught:
            made.start(**options)
        assert not made.server.requests
    assert re.search(words, f"{caught.value} {caught.value.hint}")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"role": "user", "content": "Hi"}, "{'role': 'user', 'parts': [{'text': ...}]}"),
        ({"role": "assistant", "content": "Hi"}, "{'role': 'model'"),
        ({"role": "system", "content": "Be brief"}, "system_instruction="),
        ({"role": "tool", "tool_call_id": "1", "content": "5"}, "functionResponse"),
        ({"role": "assistant", "parts": [{"text": "Hi"}]}, "'model'"),
        ({"role": "system", "parts": [{"text": "Hi"}]}, "system_instruction="),
        ({"role": ["user"], "parts": [{"text": "Hi"}]}, "Roles are 'user' and 'model'"),
        ({"type": "text", "text": "Hi"}, "{'text': ...}"),
        ({"parts": [{"type": "text", "text": "Hi"}]}, "{'text': ...}"),
        ({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}, "gemini_nb.File"),
        ({"type": "image", "source": {"type": "base64", "data": "AA=="}}, "gemini_nb.File"),
        ({"type": "input_audio", "input_audio": {"data": "AA=="}}, "gemini_nb.File"),
        ({"type": "tool_use", "name": "f", "input": {}}, "functionCall"),
        ({"mime_type": "image/png", "data": RAW}, "{'inlineData': {'mimeType': ..., 'data': ...}}"),
        ({"file_uri": "gs://a/b"}, "{'fileData'"),
        ({"name": "f", "args": {}}, "functionCall"),
        ({"messages": []}, "request_body"),
        ({"txet": "Hi"}, "Did you mean 'text'?"),
        ({"city": "Oslo"}, "json.dumps"),
        (Person(name="Ada", age=36), "json.dumps"),
        ({"text": "Hi", "inlineData": PNG["inlineData"]}, "two parts"),
        ({"inlineData": {"data": "AA=="}}, "gemini_nb.File"),
        ({"inlineData": {"data": "AA==", "mimeType": ""}}, "gemini_nb.File"),
        ({"fileData": {"mimeType": "image/png"}}, "fileUri"),
        ({"functionResponse": {"name": "f", "response": "sunny"}}, "not a str"),
    ],
)
def test_a_dictionary_that_is_no_part_is_refused_with_what_was_meant(value: Any, words: str) -> None:
    with rig(hello()) as made:
        for contents in (value, [value], ["Hi", value]):
            with pytest.raises(ArgumentError) as caught:
                made.start(contents)
            assert words in f"{caught.value} {caught.value.hint}"
        assert not made.server.requests


@pytest.mark.parametrize("parts", [["Be brief"], [types.Part(text="Be brief")], ({"text": "Be brief"},)])
def test_an_instructions_parts_are_those_of_a_prompt(parts: Any) -> None:
    with rig(hello()) as made:
        made.start("Hi", system_instruction={"parts": parts}).result(10)
        assert made.server.requests[0].json["systemInstruction"] == {"parts": [{"text": "Be brief"}]}


@pytest.mark.parametrize(
    "parts", [[{"type": "text", "text": "Be brief"}], [None], [5], [{}], [""], "Be", {"text": 5}]
)
def test_an_instructions_parts_are_checked_as_those_of_a_prompt_are(parts: Any) -> None:
    with rig(hello()) as made:
        with pytest.raises((ArgumentError, ConfigError)):
            made.start("Hi", system_instruction={"parts": parts})
        assert not made.server.requests


def test_what_a_model_sent_is_not_held_to_the_rules_for_a_user() -> None:
    turn = {"role": "model", "parts": [{"newKind": {"a": 1}, "thoughtSignature": "AA=="}]}
    assert to_contents([turn, "Go on"])[0] == turn


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (PNG, [PNG]),
        ({"inline_data": {"mime_type": "image/png", "data": RAW}}, [PNG]),
        (FILE, [FILE]),
        (types.Part(inline_data=BLOB), [PNG]),
        (BLOB, [PNG]),
        (UPLOADED, [FILE]),
        (types.FunctionResponsePart.from_bytes(data=RAW, mime_type="image/png"), [PNG]),
        ([PNG, UPLOADED], [PNG, FILE]),
        ({"plot": types.Part(inline_data=BLOB), "rows": 3}, [PNG]),
        (types.Content(parts=[types.Part(text="See"), types.Part(inline_data=BLOB)]), [PNG]),
    ],
)
def test_a_tools_part_is_sent_beside_its_json(value: Any, parts: list[dict[str, Any]]) -> None:
    def show() -> Any:
        """Show it."""
        return value

    with rig(asking("show")) as made:
        made.start(tools=[show]).wait(10)
        response = made.server.requests[1].json["contents"][-1]["parts"][0]["functionResponse"]
    names = [next(iter(part.values())).pop("displayName") for part in response["parts"]]
    assert response["parts"] == parts
    result = str(response["response"]["result"])
    assert all(f"{{'$ref': '{name}'}}" in result for name in names)
    assert len(set(names)) == len(names)
    assert BASE64 not in result


def test_dictionaries_of_a_tool_that_only_look_like_parts_are_json() -> None:
    value = {"text": "Hi", "inlineData": "none", "fileData": {"size": 3}}
    made = to_result(value)
    assert (made.value, made.parts) == (value, ())
    assert to_result(types.Part(text="Hi")).value == "Hi"


def test_objects_in_braces_are_sent_as_what_they_are() -> None:
    pieces = interpolate("Look at {film} and {blob}.", {"film": UPLOADED, "blob": BLOB})
    (turn,) = to_contents(pieces)
    assert turn["parts"] == [{"text": "Look at "}, FILE, {"text": " and "}, PNG, {"text": "."}]


def test_an_answer_of_a_server_that_writes_the_clients_objects_is_read() -> None:
    call = types.FunctionCall(id="1", name="now", args={"zone": "my_zone"})
    parts = [types.Part(text="Hm.", thought=True), types.Part(function_call=call, thought_signature=b"abc")]
    counts = types.GenerateContentResponseUsageMetadata(prompt_token_count=3)
    asked = types.GenerateContentResponse(
        candidates=[
            types.Candidate(
                content=types.Content(role="model", parts=parts), finish_reason=types.FinishReason.STOP
            )
        ],
        usage_metadata=counts,
    )
    blocked = types.GenerateContentResponse(
        prompt_feedback=types.GenerateContentResponsePromptFeedback(
            block_reason=types.BlockedReason.PROHIBITED_CONTENT
        )
    )
    dumped = [json.loads(each.model_dump_json()) for each in (asked, blocked)]
    assert "finish_reason" in dumped[0]["candidates"][0]
    with rig([sse_answer(dumped[0]), sse_answer(dumped[1])]) as made:
        stream = made.start(tools=[now]).wait(10)
        assert (stream.thoughts, stream.tool_calls[0].result) == ("Hm.", "my_zone")
        assert stream.usage.prompt_token_count == 3
        assert "PROHIBITED_CONTENT" in str(stream.error)
        model = made.server.requests[1].json["contents"][1]["parts"][1]
        assert model["functionCall"] == {"id": "1", "name": "now", "args": {"zone": "my_zone"}}
        assert model["thoughtSignature"] == "YWJj"


def test_google_genai_is_not_imported() -> None:
    code = (
        "import sys, gemini_nb\n"
        "from gemini_nb.api.contents.content import to_contents\n"
        "to_contents(['Hi', {'inlineData': {'mimeType': 'a/b', 'data': b'x'}}])\n"
        "print([name for name in sys.modules if name.startswith('google.genai')])"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_base64_is_written_in_the_standard_alphabet() -> None:
    assert base64.b64decode(to_part(BLOB)["inlineData"]["data"], validate=True) == RAW
