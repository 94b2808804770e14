"""A stream's question as a program for Google's own client."""

from __future__ import annotations

import pprint
from typing import Any

from gemini_nb.config import Auth
from gemini_nb.streams.request import StreamRequest

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

    The key is read from the environment; functions stand there by their names.
    """
    body = request.body
    functions: list[Any] = [_Name(name) for name in request.tools.names]
    declared = [tool for tool in body.get("tools", ()) if not _is_ours(tool, request.tools.names)]
    config: dict[str, Any] = {**body.get("generationConfig", {})}
    config |= {name: body[name] for name in _CONFIG if name in body}
    if functions or declared:
        config["tools"] = [*functions, *declared]
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


def _is_ours(tool: Any, names: list[str]) -> bool:
    """Whether a tool object declares the functions that stand there by name."""
    declarations = (tool.get("functionDeclarations") or []) if isinstance(tool, dict) else []
    return bool(declarations) and all(one.get("name") in names for one in declarations)


def _shown(value: Any) -> str:
    text = pprint.pformat(value, width=100, sort_dicts=False)
    return text.replace("\n", "\n    ")
