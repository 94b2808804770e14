"""A tool's return value as the model gets it: JSON, with images and files beside it.

A functionResponse holds JSON in `response` and media in `parts`; where a picture stood in the JSON there
stands a reference to it by name. What neither can say becomes text, never a crash.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.contents.file import given_path
from gemini_nb.api.contents.objects import plain
from gemini_nb.api.contents.values import frame_text, media_part
from gemini_nb.api.wire import Part, fault_in
from gemini_nb.errors import ConfigError
from gemini_nb.redaction import scrub, scrub_bytes, scrub_json

_DEPTH = 6
_DEEP = re.compile("Circular reference|serialization depth exceeded")  # pydantic's words
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of an object, which is another in each process
_FILES = ("inlineData", "fileData")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's result.

    Attributes:
        value: as JSON.
        parts: the media that belong to it, each with the display name that `value` refers to.
    """

    value: Any
    parts: tuple[Part, ...] = ()


def to_result(value: Any) -> ToolResult:
    """Convert a tool's return value into what is sent; a ToolResult is checked and cleaned.

    Raises:
        ConfigError: it is too large, holds itself, is nested too deeply, or a file cannot be read; the
            message is for the model.
    """
    parts: list[Part] = []
    if isinstance(value, ToolResult):  # its media are known already, and nothing else in it is one
        parts, replaced = list(value.parts), value.value
        _check([replaced, *parts])
        value = replaced
    else:
        _check(value)
        replaced = _take_media(value, parts, _DEPTH)
    try:
        made = _escape(_to_json(replaced), frozenset(map(_name, parts)))
    except RecursionError:
        raise _refused("is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - half a surrogate pair, the user's own __str__ ...
        if isinstance(error, ValueError) and _DEEP.search(str(error)):  # within the user's own objects
            raise _refused("holds itself, or is nested too deeply") from None
        made = _text(value)
    _check(made)
    return ToolResult(made, tuple(map(_clean, parts)))


def _check(value: Any) -> None:
    try:
        fault = fault_in(value)
    except Exception:  # noqa: BLE001 - a mapping of the user's own that fails, which becomes text
        return
    if fault is not None:
        raise _refused(fault)


def _refused(fault: str) -> ConfigError:
    return ConfigError(f"The result {fault}, so it was not sent.", hint="Return less of it.")


def _take_media(value: Any, parts: list[Part], depth: int) -> Any:
    """Replace media in the value by references, and frames by tables."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    try:
        part, text = media_part(value), frame_text(value)
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001 - a figure without a canvas, a frame of unspeakable objects ...
        return value
    if part is not None:
        return part["text"] if "text" in part else _reference(part, parts)
    if text is not None:
        return text
    return _take_inside(value, parts, depth)


def _take_inside(value: Any, parts: list[Part], depth: int) -> Any:
    if type(value).__module__.startswith("google.genai."):
        value = plain(value)
        if isinstance(value, dict) and value.keys() == {"text"}:
            return value["text"]
    if depth and type(value) is dict:
        return {key: _take_media(item, parts, depth - 1) for key, item in value.items()}
    if depth and type(value) in {list, tuple}:
        return [_take_media(item, parts, depth - 1) for item in value]
    return sorted(value, key=_in_order) if type(value) in {set, frozenset} else value


def _reference(part: Part, parts: list[Part]) -> dict[str, str]:
    """Put a file beside the JSON, and return the reference that replaces it there."""
    kind = "inlineData" if "inlineData" in part else "fileData"
    data = part[kind]
    if str(data.get("fileUri", "")).startswith("file:") and given_path(data["fileUri"]) is None:
        raise ConfigError("The result names a file of this machine, which only gemini_nb.File(path) sends.")
    name = _free_name(data, parts)
    beside: Part = {field: part[field] for field in ("mediaResolution", "videoMetadata") if field in part}
    parts.append({kind: {**data, "displayName": name}, **beside})
    return {"$ref": name}


def _free_name(data: Part, parts: list[Part]) -> str:
    """Return a file's own name, or one by its type where it has none or another file has it."""
    name = data.get("displayName")
    if isinstance(name, str) and name and name not in set(map(_name, parts)):
        return name
    return f"{str(data.get('mimeType') or 'file').partition('/')[0]}-{len(parts) + 1}"


def _clean(part: Part) -> Part:
    """Remove secrets from a part, its data included."""
    clean = scrub_json(part)
    data = part.get("inlineData", {}).get("data")
    if isinstance(data, str):
        try:
            raw = base64.b64decode(data)
        except ValueError:
            return clean
        cleaned = scrub_bytes(raw)
        data = data if cleaned is raw else base64.b64encode(cleaned).decode("ascii")
        clean = {**clean, "inlineData": {**clean["inlineData"], "data": data}}
    return clean


def _name(part: Part) -> str:
    """The name by which the JSON refers to a part."""
    return str(next(part[field]["displayName"] for field in _FILES if field in part))


def _escape(value: Any, names: frozenset[str]) -> Any:
    """Rename each `$ref` that names no part, such as a schema's: the service refuses it."""
    if isinstance(value, list):
        return [_escape(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    escaped = {key: _escape(item, names) for key, item in value.items()}
    if isinstance(reference := escaped.get("$ref"), str) and reference not in names:
        name = "ref"
        while name in escaped:
            name = f"_{name}"
        escaped = {name if key == "$ref" else key: item for key, item in escaped.items()}
    return escaped


def _to_json(value: Any) -> Any:
    import pydantic_core  # comes with pydantic, which tools load

    made = pydantic_core.to_jsonable_python(value, fallback=_plain, inf_nan_mode="null", bytes_mode="base64")
    text = json.dumps(made, allow_nan=False, ensure_ascii=False)
    text.encode()
    # A tool that shows the environment shows the key in it.
    return scrub_json(made)


def _plain(value: Any) -> Any:
    """Convert an object that is not JSON: numpy's values have `tolist`."""
    convert = getattr(value, "tolist", None)
    if callable(convert) and not isinstance(value, type):
        converted = convert()
        if isinstance(converted, (str, int, float, bool, list, type(None))):
            return converted
    if isinstance(value, Mapping):
        return dict(value)
    return _ADDRESS.sub("", str(value))


def _in_order(item: object) -> tuple[bool, float, str]:
    """Sort a set by value, else by text: its own order differs between processes."""
    if isinstance(item, (int, float)):
        return False, item, ""
    return True, 0.0, _ADDRESS.sub("", repr(item))


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - see to_result
        return f"<{type(value).__name__}>"
    return scrub(_ADDRESS.sub("", text)).encode("utf-8", "replace").decode()
