"""Servers' answers, made to fit the protocol where they come close to it.

The package holds each answer against the protocol as a whole: one tool whose schema has no `type`, of forty,
and no tool of that server can be used; one content of a kind that is newer than the package, and the text
beside it is lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

_KINDS = frozenset(("text", "image", "audio", "resource", "resource_link"))


@contextlib.asynccontextmanager
async def lenient(transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """Open a transport of the package, and give its two streams, with its answers mended."""
    async with transport as (received, sent):
        yield _Answers(received), sent


class _Answers:
    """A stream of messages, each mended as it is received."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stream.__aexit__(*error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _mended(await anext(self._stream))

    async def receive(self) -> Any:
        return _mended(await self._stream.receive())


def _mended(message: Any) -> Any:
    result = getattr(getattr(message, "message", None), "result", None)
    if isinstance(result, dict):
        _mend(result)
    return message


def _mend(result: dict[str, Any]) -> None:
    tools, content = result.get("tools"), result.get("content")
    if isinstance(tools, list):
        result["tools"] = [
            _tool(tool) for tool in tools if isinstance(tool, Mapping) and isinstance(tool.get("name"), str)
        ]
    if isinstance(content, list):
        result["content"] = list(map(_content, content))
    elif content is None and "structuredContent" in result:
        result["content"] = []


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is used of a tool: the protocol's other fields are hints, and need not fit."""
    schema = tool.get("inputSchema")
    schema = dict(schema) if isinstance(schema, Mapping) else {}
    for field, kind in (("properties", dict), ("required", list)):
        if not isinstance(schema.get(field, kind()), kind):
            del schema[field]
    texts = {name: tool[name] for name in ("title", "description") if isinstance(tool.get(name), str)}
    return {"name": tool["name"], **texts, "inputSchema": {**schema, "type": "object"}}


def _content(item: Any) -> Any:
    kind = item.get("type") if isinstance(item, Mapping) else None
    if kind in _KINDS and not (kind == "text" and not isinstance(item.get("text"), str)):
        return item
    words = str(kind)[:80] if isinstance(kind, str) else "unknown"
    return {"type": "text", "text": f"(content of the kind {words}, which cannot be shown)"}
