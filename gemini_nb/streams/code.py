"""A stream's question as a program for Google's own client."""

from __future__ import annotations

import pprint
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gemini_nb.config import Auth
from gemini_nb.streams.request import StreamRequest
from gemini_nb.tools.tool import Tool

__all__ = ["to_code"]

_CONFIG = ("systemInstruction", "safetySettings", "toolConfig", "cachedContent", "labels")


class _Name:
    """A function, shown by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def to_code(request: StreamRequest) -> str:
    """Return the call of google-genai that asks the same.

    The key is read from the environment; functions stand there by their names, those that google-genai could
    not call by their declarations.
    """
    body = request.body
    functions = {tool.name: tool for tool in request.tools if _can_be_named(tool)}
    config: dict[str, Any] = {**body.get("generationConfig", {})}
    config |= {name: body[name] for name in _CONFIG if name in body}
    named = [_Name(_name_of(tool)) for tool in functions.values()]
    if tools := [*named, *_without(body.get("tools", ()), functions)]:
        config["tools"] = tools
    lines = [
        "from google import genai",
        "",
        f"client = {_client(request)}",
        "for chunk in client.models.generate_content_stream(",
        f"    model={request.endpoint.model!r},",
        f"    contents={_shown(request.contents)},",
    ]
    if config:
        lines.append(f"    config={_shown(config)},")
    lines += ["):", '    print(chunk.text or "", end="")']
    return "\n".join(lines)


def _client(request: StreamRequest) -> str:
    if request.endpoint.auth is Auth.VERTEX_AI:
        return "genai.Client(vertexai=True)  # GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION say where"
    return "genai.Client()  # takes GEMINI_API_KEY from the environment"


def _can_be_named(tool: Tool) -> bool:
    """Whether google-genai can call the function: it takes no asynchronous ones, and no other names."""
    return not tool.is_async and getattr(tool.function, "__name__", None) == tool.name


def _name_of(tool: Tool) -> str:
    """The function's name; a decorated one stands behind its tool."""
    found = getattr(sys.modules.get(tool.function.__module__), tool.name, None)
    return f"{tool.name}.function" if isinstance(found, Tool) else tool.name


def _without(tools: Iterable[Any], functions: Mapping[str, Tool]) -> list[Any]:
    """The tool objects, but for what is declared of these functions; declarations alone call nothing."""
    kept = []
    for tool in tools:
        declarations = tool.get("functionDeclarations") if isinstance(tool, dict) else None
        if not declarations:
            kept.append(tool)
        elif others := [one for one in declarations if one.get("name") not in functions]:
            kept.append({**tool, "functionDeclarations": others})
    return kept


def _shown(value: Any) -> str:
    text = pprint.pformat(value, width=100, sort_dicts=False)
    return text.replace("\n", "\n    ")
