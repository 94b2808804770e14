"""MCP servers as tools: real servers, in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gemini_nb
from answers import PATIENCE, Rig, rig
from scripted import sse_answer, text

SERVER = str(Path(__file__).parents[1] / "support" / "mcp_server.py")
COMMAND = [sys.executable, SERVER]
DONE = text("Done.", finish="STOP")


def asking(*calls: tuple[str, dict[str, Any]]) -> Any:
    """A script: the model calls these, then says that it is done."""
    parts = [{"functionCall": {"name": name, "args": args}} for name, args in calls]
    turn = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    return [sse_answer(turn), sse_answer(DONE)]


def responses(made: Rig, request: int = 1) -> list[Any]:
    parts = made.server.requests[request].json["contents"][-1]["parts"]
    return [part["functionResponse"]["response"] for part in parts]


def declared(made: Rig, request: int = 0) -> dict[str, Any]:
    tools = made.server.requests[request].json["tools"]
    assert [list(tool) for tool in tools] == [["functionDeclarations"]]
    return {one["name"]: one for one in tools[0]["functionDeclarations"]}


def test_a_servers_tool_is_called() -> None:
    with rig(asking(("add", {"a": 2, "b": 3}))) as made:
        stream = made.start(tools=[gemini_nb.mcp(COMMAND, include=["add"])])
        assert stream.result(PATIENCE) == "Done."
        assert declared(made)["add"] == {
            "name": "add",
            "description": "Add two numbers.",
            "parametersJsonSchema": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        }
        assert responses(made) == [{"result": 5}]
