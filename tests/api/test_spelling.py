from __future__ import annotations

import copy
from typing import Any

import pytest
from google.genai import types

from answers import PATIENCE, always, hello, rig
from gemini_nb import Chat
from gemini_nb.api.contents.content import to_contents
from gemini_nb.api.contents.objects import spell_body, spell_config, spell_tool
from gemini_nb.errors import ArgumentError, ConfigError
from scripted import Request, call, sse_answer, text

OWN = {"my_key": {"inner_key": None, "camelKey": 1}, "will_continue": [{"some_field": 2}]}
"""Data of the caller's, whose keys are no fields."""


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": words}]}


def model(words: str) -> dict[str, Any]:
    return {"role": "model", "parts": [{"text": words}]}


# ------------------------------------------------------------------ contents


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ({"function_call": {"name": "f", "args": OWN}}, {"functionCall": {"name": "f", "args": OWN}}),
        (
            {"function_response": {"id": "1", "name": "f", "response": OWN, "will_continue": False}},
            {"functionResponse": {"id": "1", "name": "f", "response": OWN, "willContinue": False}},
        ),
        (
            {
                "functionResponse": {
                    "name": "f",
                    "parts": [{"inline_data": {"mime_type": "a/b", "data": "x"}}],
                }
            },
            {"functionResponse": {"name": "f", "parts": [{"inlineData": {"mimeType": "a/b", "data": "x"}}]}},
        ),
        (
            {"tool_call": {"tool_type": "URL_CONTEXT", "args": OWN}, "thought_signature": "c2ln"},
            {"toolCall": {"toolType": "URL_CONTEXT", "args": OWN}, "thoughtSignature": "c2ln"},
        ),
        ({"tool_response": {"response": OWN}}, {"toolResponse": {"response": OWN}}),
        (
            {
                "file_data": {"file_uri": "gs://a_b/c_d", "mime_type": None},
                "video_metadata": {"end_offset": "1s"},
            },
            {"fileData": {"fileUri": "gs://a_b/c_d"}, "videoMetadata": {"endOffset": "1s"}},
        ),
        ({"text": "snake_case stays", "thought": None}, {"text": "snake_case stays"}),
    ],
)
def test_a_part_gets_the_wires_names_and_data_keeps_its_own(given: Any, wire: Any) -> None:
    before = copy.deepcopy(given)
    assert to_contents(given) == [{"role": "user", "parts": [wire]}]
    assert to_contents({"role": "model", "parts": [given]}) == [{"role": "model", "parts": [wire]}]
    assert to_contents([{"role": "user", "parts": [wire]}])[0]["parts"] == [wire]
    assert given == before


def test_a_kind_of_part_that_is_new_goes_back_as_the_model_sent_it() -> None:
    given = {"some_new_kind": OWN, "part_metadata": OWN}
    wire = {"someNewKind": OWN, "partMetadata": OWN}
    assert to_contents({"role": "model", "parts": [given]}) == [{"role": "model", "parts": [wire]}]


CONVERSATION = [
    types.Content(role="user", parts=[types.Part(text="Twice 2?")]),
    types.Content(
        role="model",
        parts=[
            types.Part(function_call=types.FunctionCall(id="c", name="double", args={"some_number": 2})),
            types.Part(),
        ],
    ),
    types.Content(
        role="user",
        parts=[
            types.Part(function_response=types.FunctionResponse(id="c", name="double", response={"a_b": 4}))
        ],
    ),
    types.Content(role="model", parts=[types.Part(text="4", thought_signature=b"\xff\xfe")]),
    types.Content(role="model", parts=None),
]
WIRE = [
    user("Twice 2?"),
    {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "double", "args": {"some_number": 2}}}]},
    {
        "role": "user",
        "parts": [{"functionResponse": {"id": "c", "name": "double", "response": {"a_b": 4}}}],
    },
    {"role": "model", "parts": [{"text": "4", "thoughtSignature": "//4="}]},
]


@pytest.mark.parametrize("is_set", [False, True], ids=["nulls", "set fields"])
@pytest.mark.parametrize("roles", ["as they are", "function", "missing"])
def test_a_dumped_history_is_sent_edited_and_saved_as_the_wire_has_it(
    is_set: bool, roles: str, tmp_path: Any
) -> None:
    dumped = [turn.model_dump(exclude_none=is_set) for turn in CONVERSATION]
    for turn in dumped[1:3] if roles != "as they are" else []:
        turn["role"] = None if roles == "missing" else "model" if turn is dumped[1] else "function"
    with rig(hello("Yes.")) as made:
        chat = Chat(dumped, manager=made.manager, **made.options)
        chat.fork().send("And?").result(PATIENCE)
        chat.save(tmp_path / "chat.json")
        loaded = Chat.load(tmp_path / "chat.json", manager=made.manager, **made.options)
        loaded.send("And?").result(PATIENCE)
        for request in made.server.requests:
            assert request.json["contents"] == [*WIRE, user("And?")]
        assert len(chat.rewind()) == 4
        assert chat.history == []


def test_a_history_that_was_changed_in_snake_case_is_rewound() -> None:
    chat = Chat([user("First?"), model("One.")])
    chat.history += [turn.model_dump() for turn in CONVERSATION]
    assert chat.rewind() == [
        *WIRE[:3],
        {"role": "model", "parts": [{"text": "4", "thoughtSignature": "//4="}]},
    ]
    assert chat.history == [user("First?"), model("One.")]


@pytest.mark.parametrize("turn", [{}, {"parts": None}, {"parts": []}, {"parts": [{}, None, ""]}])
def test_a_model_turn_that_says_nothing_is_left_out(turn: dict[str, Any]) -> None:
    turn = {"parts": None, **turn, "role": "model"}
    assert to_contents([user("a"), turn, user("b")]) == [user("a"), user("b")]
    assert Chat([turn]).history == []
    with pytest.raises(ConfigError, match="empty"):
        to_contents(turn)


# ------------------------------------------------------------------ bodies, config, tools


SNAKE = {
    "contents": [
        {"role": "user", "parts": [{"text": "Hi"}, {"inline_data": {"mime_type": "a/b", "data": ""}}]}
    ],
    "system_instruction": {"parts": [{"text": "Be brief.", "thought": None}], "role": None},
    "generation_config": {
        "max_output_tokens": 5,
        "top_k": None,
        "thinking_config": {"include_thoughts": True},
        "response_schema": {
            "type": "OBJECT",
            "properties": {"first_name": {"any_of": [{"type": "STRING", "min_length": 1}]}, "any_of": {}},
            "property_ordering": ["first_name"],
        },
        "response_json_schema": {"properties": {"max_items": {"some_word": 1}}},
    },
    "tools": [
        {"google_search": {"time_range_filter": {"start_time": "x"}}, "code_execution": None},
        {
            "function_declarations": [
                {
                    "name": "look_up",
                    "parameters": {"properties": {"a_b": {"type": "STRING", "default": "c_d"}}},
                    "response": {"properties": {"e_f": {"max_items": 2}}},
                },
                {"name": "g", "parameters_json_schema": {"properties": {"h_i": {"any_key": 1}}}},
            ]
        },
        {
            "mcp_servers": [
                {"streamable_http_transport": {"headers": {"x_own": "1"}, "sse_read_timeout": "1s"}}
            ]
        },
    ],
    "tool_config": {
        "function_calling_config": {"allowed_function_names": ["look_up"], "mode": "ANY"},
        "include_server_side_tool_invocations": True,
    },
    "safety_settings": [{"category": "A", "threshold": "B", "method": None}],
    "labels": {"my_team": "a_b"},
    "new_field": OWN,
}
CAMEL = {
    "contents": [
        {"role": "user", "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "a/b", "data": ""}}]}
    ],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "generationConfig": {
        "maxOutputTokens": 5,
        "thinkingConfig": {"includeThoughts": True},
        "responseSchema": {
            "type": "OBJECT",
            "properties": {"first_name": {"anyOf": [{"type": "STRING", "minLength": 1}]}, "any_of": {}},
            "propertyOrdering": ["first_name"],
        },
        "responseJsonSchema": {"properties": {"max_items": {"some_word": 1}}},
    },
    "tools": [
        {"googleSearch": {"timeRangeFilter": {"startTime": "x"}}},
        {
            "functionDeclarations": [
                {
                    "name": "look_up",
                    "parameters": {"properties": {"a_b": {"type": "STRING", "default": "c_d"}}},
                    "response": {"properties": {"e_f": {"maxItems": 2}}},
                },
                {"name": "g", "parametersJsonSchema": {"properties": {"h_i": {"any_key": 1}}}},
            ]
        },
        {"mcpServers": [{"streamableHttpTransport": {"headers": {"x_own": "1"}, "sseReadTimeout": "1s"}}]},
    ],
    "toolConfig": {
        "functionCallingConfig": {"allowedFunctionNames": ["look_up"], "mode": "ANY"},
        "includeServerSideToolInvocations": True,
    },
    "safetySettings": [{"category": "A", "threshold": "B"}],
    "labels": {"my_team": "a_b"},
    "newField": OWN,
}


def test_a_whole_body_is_sent_with_the_wires_names() -> None:
    with rig(hello()) as made:
        made.start(None, request_body=SNAKE).wait(PATIENCE)
        made.start(None, request_body=CAMEL).wait(PATIENCE)
        assert [request.json for request in made.server.requests] == [CAMEL, CAMEL]


def test_settings_are_sent_with_the_wires_names() -> None:
    fields = ("system_instruction", "generation_config", "tools", "tool_config", "safety_settings")
    with rig(hello()) as made:
        made.start("Hi", **{name: SNAKE[name] for name in fields}).wait(PATIENCE)
        sent = made.server.requests[0].json
        functions = sent.pop("tools")
        assert sent == {
            "contents": [user("Hi")],
            **{
                name: CAMEL[name]
                for name in ("systemInstruction", "generationConfig", "toolConfig", "safetySettings")
            },
        }
        search, declared, servers = CAMEL["tools"]
        assert functions == [search, servers, declared]


def test_settings_that_say_nothing_are_not_sent() -> None:
    with rig(hello()) as made:
        made.start("Hi", generation_config={"top_k": None}, tool_config={"retrieval_config": None}).wait(
            PATIENCE
        )
        assert made.server.requests[0].json == {"contents": [user("Hi")]}


def test_a_schema_joins_a_config_in_snake_case() -> None:
    with rig(always(text("{}", finish="STOP"))) as made:
        config = {"response_mime_type": "text/plain", "max_output_tokens": 5}
        made.start("Hi", generation_config=config, schema={"type": "object"}).wait(PATIENCE)
        assert made.server.requests[0].json["generationConfig"] == {
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "maxOutputTokens": 5,
        }


def test_a_function_for_a_declaration_in_snake_case_runs() -> None:
    def look_up(word: str) -> str:
        return word.upper()

    body = {
        "contents": [user("Hi")],
        "tools": [{"function_declarations": [{"name": "look_up"}, {"name": "elsewhere"}]}],
    }

    def script(request: Request) -> Any:
        asked = len(request.json["contents"]) == 1
        return sse_answer(
            call("look_up", args={"word": "a"}) if asked else text("Done."), text("", finish="STOP")
        )

    with rig(script) as made:
        stream = made.start(None, request_body=body, tools=[look_up]).wait(PATIENCE)
        assert stream.tool_calls[0].result == "A"


@pytest.mark.parametrize(
    "options",
    [
        {"contents": [{"functionCall": {"name": "f"}, "function_call": {"name": "g"}}]},
        {
            "contents": {
                "role": "model",
                "parts": [{"text": "a", "thought_signature": "a", "thoughtSignature": "b"}],
            }
        },
        {"contents": {"functionCall": {"will_continue": True, "willContinue": True}}},
        {"generation_config": {"maxOutputTokens": 1, "max_output_tokens": 1}},
        {"generation_config": {"thinkingConfig": {"thinkingBudget": 1, "thinking_budget": 1}}},
        {"tools": [{"functionDeclarations": [], "function_declarations": []}]},
        {"tools": [{"name": "f", "parametersJsonSchema": {}, "parameters_json_schema": {}}]},
        {"tool_config": {"functionCallingConfig": {}, "function_calling_config": {}}},
        {"safety_settings": [{"someField": 1, "some_field": 1}]},
        {"system_instruction": {"parts": [{"inlineData": {}, "inline_data": {}}]}},
        {"contents": None, "request_body": {"generationConfig": {}, "generation_config": {}}},
        {"contents": None, "request_body": {"contents": [], "toolConfig": {"a_b": 1, "aB": 1}}},
    ],
    ids=str,
)
def test_a_field_in_both_spellings_is_an_error(options: dict[str, Any]) -> None:
    with rig([]) as made, pytest.raises(ArgumentError, match="in two spellings"):
        made.start(**{"contents": "Hi", **options})
    with pytest.raises(ArgumentError, match="in two spellings"):
        Chat([{"role": "model", "parts": [{"inlineData": {"a": 1}, "inline_data": {"a": 1}}]}])


def test_a_null_in_the_other_spelling_is_no_contradiction() -> None:
    assert spell_config({"topK": 1, "top_k": None}, "generationConfig") == {"topK": 1}


def test_what_holds_itself_is_refused() -> None:
    ring: dict[str, Any] = {}
    ring["some_field"] = ring
    for spell in (
        lambda: spell_config(ring, "toolConfig"),
        lambda: spell_tool(ring),
        lambda: spell_body({"tools": [ring]}),
    ):
        with pytest.raises(ArgumentError, match="holds itself"):
            spell()
