"""What an MCP server answered, as the result of a tool.

Nothing in it is taken for more than it says: a dictionary of the server's that looks like a part of a request
stays a dictionary, so that no server can attach a file of the user's cloud.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import Any

from gemini_nb.api.wire import Part
from gemini_nb.tools.execution import ToolFailedError
from gemini_nb.tools.result import ToolResult

_TEXTS = ("application/json", "image/svg+xml")  # a drawing in words is no image to Gemini
_KIND = re.compile(r"[\w.+-]+/[\w.+-]+")
_MEDIA = ("image/", "audio/", "video/", "application/pdf")


def result_of(answer: Any) -> ToolResult:
    """Return the result of a call.

    Structured content goes as it is, and text that only repeats it is left out.

    Raises:
        ToolFailedError: the server says that the call failed.
    """
    items, structured = list(answer.content or ()), answer.structured_content
    texts = [str(item.text) for item in items if item.type == "text"]
    if answer.is_error:
        raise _failure(texts, structured)
    values = [] if structured is None else [_unwrapped(structured)]
    if values and _repeat(texts, structured, *values):
        items = [item for item in items if item.type != "text"]
    parts: list[Part] = []
    values += [_value(item, parts) for item in items]
    return ToolResult(values[0] if len(values) == 1 else values or None, tuple(parts))


def _failure(texts: list[str], structured: Any) -> ToolFailedError:
    why = texts or ([json.dumps(structured, ensure_ascii=False)] if structured else [])
    return ToolFailedError("\n".join(why) or "the server says that the call failed, not why")


def _unwrapped(structured: Any) -> Any:
    """Return structured content without the object that SDKs put around a value that is none."""
    is_wrapped = isinstance(structured, dict) and structured.keys() == {"result"}
    return structured["result"] if is_wrapped else structured


def _repeat(texts: list[str], *values: Any) -> bool:
    """Whether texts say one of the values: as one text, or a list with one for each item."""
    return any(
        (len(texts) == 1 and _says(texts[0], value))
        or (isinstance(value, list) and len(texts) == len(value) and all(map(_says, texts, value)))
        for value in values
    )


def _says(text: str, value: Any) -> bool:
    if isinstance(value, str) and text == value:
        return True
    try:
        return bool(json.loads(text) == value)
    except (ValueError, RecursionError):
        return False


def _value(item: Any, parts: list[Part]) -> Any:
    match item.type:
        case "text":
            return str(item.text)
        case "image" | "audio":
            return _media(item.data, item.mime_type, parts)
        case "resource":
            held = item.resource
            about = {"uri": str(held.uri)}
            if (text := getattr(held, "text", None)) is not None:
                return {**about, "text": text}
            return {**about, "content": _media(held.blob, held.mime_type, parts)}
        case "resource_link":
            fields = ("uri", "name", "description", "mime_type")
            linked = {name: getattr(item, name, None) for name in fields}
            return {name: str(value) for name, value in linked.items() if value is not None}
    return f"(content of the kind {item.type}, which cannot be shown)"


def _media(given: str, given_kind: str | None, parts: list[Part]) -> Any:
    """Put a file beside the JSON; return the reference to it, or words where it cannot be sent."""
    kind = (given_kind or "").partition(";")[0].strip().lower()
    data = "".join(given.split())  # some encoders break lines
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError:
        return f"({kind or 'a file'} whose data is not valid base64)"
    if kind.startswith("text/") or kind in _TEXTS:
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode()
    size = len(content)
    if not size or not _KIND.fullmatch(kind) or not kind.startswith(_MEDIA):
        return f"({size:,} bytes of {kind or 'an unknown kind'})"
    name = f"{kind.partition('/')[0]}-{len(parts) + 1}"
    parts.append({"inlineData": {"mimeType": kind, "data": data, "displayName": name}})
    return {"$ref": name}
