"""MCP servers that break the protocol, lie, or refuse: streams go on, and errors say whose fault it is."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from mcp_types import CallToolResult, ImageContent, TextContent

import gemini_nb
from answers import PATIENCE, rig
from gemini_nb.tools.mcp.process import ErrorLog, _lines, _read
from gemini_nb.tools.mcp.result import result_of
from gemini_nb.tools.schemas.wire_schema import clean_schema
from scripted import Answer, Request, ScriptedServer, answer, sse_answer, text

RAW = [sys.executable, str(Path(__file__).parents[1] / "support" / "mcp_raw.py")]
TEXT = {"type": "text", "text": "words"}
TURN = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"functionCall": {"name": "go", "args": {}}}]},
            "finishReason": "STOP",
        }
    ]
}


def result(value: Any) -> str:
    return '{"jsonrpc": "2.0", "id": ID, "result": ' + json.dumps(value) + "}"


def failure(code: int, message: str) -> str:
    return '{"jsonrpc": "2.0", "id": ID, "error": ' + json.dumps({"code": code, "message": message}) + "}"


def listing(**fields: Any) -> str:
    return result({"tools": [{"name": "go", "inputSchema": {"type": "object"}, **fields}]})


def raw(script: dict[str, list[str | None]], **options: Any) -> gemini_nb.MCPServer:
    return gemini_nb.mcp(RAW, env={"SCRIPT": json.dumps(script)}, timeout=10, **options)


def asked(server: gemini_nb.MCPServer, calls: int = 1) -> tuple[Any, list[Any]]:
    """The stream's calls, and what the model was told of each."""
    script = [*[sse_answer(TURN)] * calls, sse_answer(text("Done.", finish="STOP"))]
    with rig(script) as made, server:
        stream = made.start(tools=[server]).wait(PATIENCE)
        assert stream.status == "completed", stream.error
        told = [request.json["contents"][-1]["parts"][0] for request in made.server.requests[1:]]
    return stream.tool_calls, [part["functionResponse"] for part in told]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"tools/list": [result({"tools": "none"})]}, "raw.py answered what is not MCP: tools: Input"),
        ({"tools/list": [result({})]}, "raw.py answered what is not MCP: tools: Field required"),
        ({"tools/list": [None]}, r"ended before it answered \(exit code 0\)"),
        ({"initialize": [failure(-32603, "no licence")]}, "did not start: no licence. It wrote nothing"),
        ({"initialize": [result({"hello": 1})]}, "did not start: .*Field required"),
        ({"initialize": [None]}, r"did not start \(exit code 0\)"),
    ],
)
def test_what_a_server_does_wrong_is_its_own_fault(script: dict[str, list[str | None]], said: str) -> None:
    with raw(script) as server, pytest.raises(gemini_nb.ConfigError, match=said):
        _ = server.tools


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"inputSchema": None},
        {"inputSchema": {"type": ["object", "null"], "properties": [], "required": "a"}},
        {"inputSchema": {"anyOf": [{"type": "object"}, {"type": "object"}]}},
        {"description": 5, "title": [], "annotations": {"readOnlyHint": "perhaps"}, "outputSchema": "none"},
    ],
)
def test_one_tool_that_does_not_fit_the_protocol_leaves_the_others_alone(odd: dict[str, Any]) -> None:
    given = [{"inputSchema": {"type": "object"}}, {"name": "good", "inputSchema": {"type": "object"}}]
    with raw({"tools/list": [result({"tools": [*given, {"name": "odd", **odd}, "none"]})]}) as server:
        assert [tool.name for tool in server.tools] == ["good", "odd"]
        assert server.tools[1].signature.schema["type"] == "object"


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (
            {"content": [TEXT, {"type": "hologram", "x": 1}]},
            ["words", "(content of the kind hologram, which"],
        ),
        ({"content": [TEXT, {"type": "text"}, None]}, ["words", "(content of the kind text,", "unknown"]),
        ({"structuredContent": {"a": 1}}, {"a": 1}),
    ],
)
def test_a_content_that_cannot_be_shown_leaves_the_others_alone(answered: Any, told: Any) -> None:
    [call], _ = asked(raw({"tools/call": [result(answered)]}))
    assert call.status == "done", call.error
    if isinstance(told, dict):
        assert call.result == told
    else:
        assert all(words in said for words, said in zip(told, call.result, strict=True))


def test_a_failure_in_structured_content_alone_says_why() -> None:
    failed = {"isError": True, "content": [], "structuredContent": {"reason": "no more money"}}
    [call], _ = asked(raw({"tools/call": [result(failed)]}))
    assert (call.status, call.error) == ("failed", '{"reason": "no more money"}')


def test_a_tool_that_is_listed_twice_is_offered_once() -> None:
    again = result({"tools": [{"name": "go", "inputSchema": {"type": "object"}}] * 2, "nextCursor": "again"})
    with raw({"tools/list": [again]}) as server:
        assert [tool.name for tool in server.tools] == ["go"]


def test_an_error_with_the_number_of_a_lost_connection_is_an_error_like_others() -> None:
    _, told = asked(raw({"tools/call": [failure(-32000, "no such table")]}))
    assert told[0]["response"] == {"error": "mcp_raw.py: no such table"}


def test_a_result_that_is_none_is_said_in_few_words() -> None:
    _, told = asked(raw({"tools/call": [result({"foo": "bar"})]}))
    assert told[0]["response"] == {"error": "mcp_raw.py answered what is not MCP: content: Field required"}


def test_an_answer_that_cannot_be_read_does_not_keep_its_call_waiting() -> None:
    deep = '{"jsonrpc": "2.0", "id": ID, "result": {"content": ' + "[" * 400 + "]" * 400 + "}}"
    calls, _ = asked(raw({"tools/call": [deep]}))
    assert calls[0].error == "mcp_raw.py: the answer cannot be read as JSON-RPC"


def test_half_of_a_surrogate_pair_costs_one_letter() -> None:
    calls, _ = asked(raw({"tools/call": [result({"content": [{"type": "text", "text": "a\ud800b"}]})]}))
    assert calls[0].result == "a?b"


def test_a_message_without_end_is_said_to_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemini_nb.tools.mcp.process._LONGEST", 2**15)
    calls, _ = asked(raw({"tools/call": ["x" * 100_000]}))
    assert "ended before it answered: it sent a message of more than" in str(calls[0].error)


def test_lines_are_put_together_from_what_comes_at_once() -> None:
    async def read(*pieces: bytes) -> list[bytes]:
        reader = asyncio.StreamReader()
        for piece in pieces:
            reader.feed_data(piece)
        reader.feed_eof()
        return [line async for line in _lines(reader, ErrorLog())]

    long = b"x" * 700_000
    assert asyncio.run(read(b"a\nb", b"c\n", long, b"\n\nlast")) == [b"a", b"bc", long, b"", b"last"]


def test_a_server_that_had_to_be_killed_is_not_said_to_have_been() -> None:
    server = gemini_nb.mcp([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)
    with pytest.raises(gemini_nb.ConfigError) as caught:
        _ = server.tools
    assert "did not start within 0.3 s. It wrote nothing" in str(caught.value)


def test_a_flood_of_junk_does_not_hold_up_the_loop() -> None:
    with rig([sse_answer(text("Done.", finish="STOP"))]) as made:
        server = gemini_nb.mcp([sys.executable, "-c", "while True: print('y')"], timeout=60)
        flood = made.start(tools=[server])
        assert made.start().result(PATIENCE) == "Done."
        assert flood.status == "active"
        flood.stop()
        flood.wait(PATIENCE)


def test_the_loop_turns_after_each_line_of_a_flood() -> None:
    lines = 1000

    async def turns() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(b"y\n" * lines)
        reader.feed_eof()
        process: Any = SimpleNamespace(stdout=reader)
        to_client, from_server = anyio.create_memory_object_stream[Any](0)
        reading = asyncio.create_task(_read(process, to_client, ErrorLog()))
        count = 0
        while not reading.done():
            count += 1
            await asyncio.sleep(0)
        from_server.close()
        return count

    assert asyncio.run(turns()) >= lines


def test_what_a_server_does_wrong_is_not_printed_into_a_cell(capfd: pytest.CaptureFixture[str]) -> None:
    wrong = '{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "shout", "data": 1}}'
    for name in ("client", "mcp"):
        assert logging.getLogger(name).propagate
    asked(raw({"tools/call": [wrong, result({"content": [{"type": "text", "text": "ok"}]})]}))
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ results


def test_the_servers_own_schema_of_a_result_neither_holds_up_the_loop_nor_loses_the_result() -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}},
        "required": ["y"],
    }
    content = {"content": [], "structuredContent": {"x": "a" * 40 + "!"}}
    script: dict[str, list[str | None]] = {
        "tools/list": [listing(outputSchema=schema)],
        "tools/call": [result(content)],
    }
    calls, _ = asked(raw(script))
    assert calls[0].result == {"x": "a" * 40 + "!"}


@pytest.mark.parametrize(
    ("texts", "structured", "whole"),
    [
        (['{"a": 1}'], {"a": 1}, {"a": 1}),
        (["1", "2"], {"result": [1, 2]}, [1, 2]),
        (["yes"], {"result": "yes"}, "yes"),
        (["page 1 of 9"], {"a": 1}, [{"a": 1}, "page 1 of 9"]),
        ([], {"a": 1}, {"a": 1}),
    ],
)
def test_text_beside_structured_content_is_left_out_only_where_it_repeats_it(
    texts: list[str], structured: Any, whole: Any
) -> None:
    content: list[Any] = [TextContent(type="text", text=one) for one in texts]
    assert result_of(CallToolResult(content=content, structured_content=structured)).value == whole


def test_media_are_sent_as_what_gemini_takes() -> None:
    data = base64.b64encode(b"x" * 90).decode()
    content: list[Any] = [
        ImageContent(type="image", data=f"{data[:76]}\n{data[76:]}\n", mime_type="IMAGE/PNG; q=1"),
        ImageContent(type="image", data="", mime_type="image/png"),
        ImageContent(type="image", data="AAAA", mime_type="image/png\r\nX: y"),
        ImageContent(type="image", data=base64.b64encode(b"<svg/>").decode(), mime_type="image/svg+xml"),
    ]
    made = result_of(CallToolResult(content=content))
    words = "(3 bytes of image/png\r\nx: y)"
    assert made.value == [{"$ref": "image-1"}, "(0 bytes of image/png)", words, "<svg/>"]
    assert [part["inlineData"] for part in made.parts] == [
        {"mimeType": "image/png", "data": data, "displayName": "image-1"}
    ]


# ------------------------------------------------------------------ schemas


def test_what_is_wrong_in_a_servers_schema_is_left_out_and_the_rest_stays() -> None:
    given = {
        "type": "object",
        "properties": {
            "away": {"$ref": "https://example.test/x.json"},
            "city": {"type": "string", "format": ["uri"]},
            "kind": {"type": "strnig", "description": "of what"},
            "count": {"type": ["integer", "nothing"], "minimum": "1"},
        },
        "required": ["city"],
        "anyOf": [{"required": ["city"]}, {"required": ["kind"]}],
    }
    assert clean_schema(given, is_foreign=True) == {
        "type": "object",
        "properties": {
            "away": {"$ref": "#/$defs/x.json"},
            "city": {"type": "string", "description": "format: ['uri']"},
            "kind": {"description": "of what"},
            "count": {"type": ["integer"]},
        },
        "required": ["city"],
        "$defs": {"x.json": {}},
    }
    odd = {"type": "object", "properties": {"a": {"type": "number", "default": 1e999}}}
    with raw({"tools/list": [listing(inputSchema=odd)]}) as server:
        json.dumps(server.tools[0].declaration, allow_nan=False)


def test_a_schema_with_thousands_of_anchors_takes_no_time() -> None:
    def seconds(count: int) -> float:
        given = {
            "type": "object",
            "properties": {f"p{name}": {"$ref": f"#a{name}"} for name in range(count)},
            "$defs": {f"d{name}": {"$anchor": f"a{name}", "type": "string"} for name in range(count)},
        }
        began = time.thread_time()
        assert len(clean_schema(given)["properties"]) == count
        return time.thread_time() - began

    assert seconds(2_000) < 10 * min(seconds(500) for _ in range(3)) + 0.1


def test_tools_are_not_made_on_the_loop_of_all_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    make = gemini_nb.MCPServer._tool
    made: list[str] = []

    def watched(server: gemini_nb.MCPServer, spec: Any, name: str) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        made.append(name)
        return make(server, spec, name)

    monkeypatch.setattr(gemini_nb.MCPServer, "_tool", watched)
    with raw({}) as server:
        assert [tool.name for tool in server.tools] == made == ["go"]


def test_values_of_the_wrong_kind_in_a_schema_are_said_to_be() -> None:
    with pytest.raises(gemini_nb.ConfigError, match="wrong kind"):
        clean_schema({"properties": {}, "required": [["a"]]})


# ------------------------------------------------------------------ what is refused, by whom


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("server", {"env": {"A=B": "x"}}, "not the name of a variable"),
        ("server", {"env": {"A": "x\0"}}, "null byte"),
        ("server", {"cwd": 7}, "cwd is the path of a folder"),
        ("https://host/mcp", {"headers": {"A b": "x"}}, "not a name that a header"),
        ("https://host/mcp", {"headers": {"A": "x\r\nB: y"}}, "a line end"),
        ("http://host/mcp", {"headers": {"Authorization": "Bearer of-mine-4711"}}, "unencrypted to host"),
        ("http://host/mcp?api_key=of-mine-4711", {}, "unencrypted to host"),
    ],
)
def test_what_cannot_be_passed_on_is_refused_at_the_call(
    given: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises((gemini_nb.ArgumentError, gemini_nb.ConfigError), match=said):
        gemini_nb.mcp(given, **options)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["docker", "run", "-i", "-e", "GITHUB_TOKEN=of-mine-4711", "ghcr.io/a/github-mcp"], "github-mcp"),
        (["uvx", "--token", "of-mine-4711", "mcp-server-x"], "mcp-server-x"),
        (["env", "API_KEY=of-mine-4711", "/opt/bin/serve"], "serve"),
        (["bash", "-c", "TOKEN=of-mine-4711 serve"], "bash"),
        (["python", "-m", "mcp_server_x", "--password=of-mine-4711"], "mcp_server_x"),
    ],
)
def test_a_server_is_not_called_by_a_secret(words: list[str], name: str) -> None:
    server = gemini_nb.mcp(words)
    assert server.name == name
    assert "4711" not in repr(server)


def test_a_missing_folder_and_a_missing_launcher_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gemini_nb.ConfigError, match=r"/no/such/folder. Check cwd"):
        _ = gemini_nb.mcp(RAW, cwd="/no/such/folder").tools
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(gemini_nb.ConfigError, match=r"uvx comes with uv: pip install uv"):
        _ = gemini_nb.mcp("uvx mcp-server-time").tools


def over_http(call: Answer | str | None, status: int = 200) -> Any:
    """A server over HTTP whose answer to a call, or to anything, is this."""

    def reply(request: Request) -> Answer:
        asked = json.loads(request.body or b"{}")
        lines = {
            "initialize": result(
                {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "h", "version": "1"},
                }
            ),
            "tools/list": listing(),
            "tools/call": result({"content": [{"type": "text", "text": "ok"}]}),
        }
        if call is None:
            return answer(status, body=b"no")
        if request.method != "POST" or "id" not in asked:
            return answer(405 if request.method == "GET" else 202)
        if asked["method"] == "tools/call" and call and not isinstance(call, str):
            return call
        if asked["method"] == "server/discover":  # as servers do that know no such thing
            return answer(400, body=b"unknown")
        if isinstance(call, str):
            lines["tools/call"] = call
        line = lines[asked["method"]].replace("ID", str(asked["id"]))
        return answer(200, {"Content-Type": "application/json"}, line.encode())

    return reply


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, r"refused: 401 \w+. Pass what it asks for, such as headers="),
        (404, r"refused: 404 [\w ]+. Check its URL"),
        (503, "refused: 503 "),
    ],
)
def test_the_status_of_a_refusal_is_said(status: int, said: str) -> None:
    with ScriptedServer(over_http(None, status)) as http, pytest.raises(gemini_nb.ConnectError, match=said):
        _ = gemini_nb.mcp(f"{http.url}/mcp").tools


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (answer(401, body=b"{}"), ": 401 "),
        (failure(-32001, "no such session of yours"), ": no such session of yours"),
        (
            answer(200, {"Content-Type": "text/event-stream"}, b": hi\n\n"),
            "SSE stream ended without a response",
        ),
    ],
)
def test_a_call_that_fails_over_http_leaves_the_session_to_the_others(call: Answer | str, said: str) -> None:
    with ScriptedServer(over_http(call)) as http:
        server = gemini_nb.mcp(f"{http.url}/mcp")
        calls, _ = asked(server, calls=2)
        assert all(said in str(one.error) for one in calls)
        assert not any(": 400 " in str(one.error) for one in calls)
        assert sum(b'"initialize"' in request.body for request in http.requests) == 1


def test_a_proxy_is_not_shown_what_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ScriptedServer(over_http([])) as http:
        assert [tool.name for tool in gemini_nb.mcp(f"{http.url}/mcp").tools] == ["go"]
