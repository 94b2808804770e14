"""What the service refuses in contents: roles, parts, names and files."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gemini_nb.api.wire import PART_OBJECTS
from gemini_nb.simulator.protocol.fields import field_names
from gemini_nb.simulator.protocol.refusals import RefusalError, invalid

__all__ = ["check_contents", "check_name", "files_in"]

_PDF_LIMIT = 50 * 1024 * 1024
_SIBLINGS = field_names("Part") - {"text", *PART_OBJECTS}
"""Fields of a part beside the one that holds its data."""
_ROLES = frozenset({"user", "model", "tool"})
_FILE = re.compile(r"(?:https://generativelanguage\.googleapis\.com/v\w+/)?(files/[^/]+)")
_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+(;.*)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


def check_contents(body: Mapping[str, Any], *, vertex: bool) -> None:
    """Check that there is something to answer, and each content's role and parts."""
    contents = body.get("contents")
    if not contents:
        raise _content_error("contents is not specified", "contents")
    for index, content in enumerate(contents):
        path = f"contents[{index}]"
        role = content.get("role", "user")
        if role not in _ROLES:
            raise _content_error(f"{path}.role: use a valid role: user, model", f"{path}.role")
        _check_parts(content, path, vertex=vertex)
        if role == "tool" and not all("functionResponse" in part for part in content["parts"]):
            raise _content_error(f"{path}.role: the role tool is for function responses", f"{path}.role")
    if "systemInstruction" in body:
        _check_parts(body["systemInstruction"], "systemInstruction", vertex=vertex)


def _check_parts(content: Mapping[str, Any], path: str, *, vertex: bool) -> None:
    parts = content.get("parts")
    if not parts:
        raise _content_error("contents.parts must not be empty", f"{path}.parts")
    for index, part in enumerate(parts):
        where = f"{path}.parts[{index}]"
        data = [name for name in part if name not in _SIBLINGS]
        if not data:
            raise _content_error(
                f"{where}.data: required oneof field 'data' must have one initialized field", where
            )
        if len(data) > 1:
            raise invalid(
                f"Invalid value at '{where}' (oneof), oneof field 'data' is already set."
                f" Cannot set '{data[1]}'",
                where,
            )
        if not isinstance(part.get("thoughtSignature", ""), str):
            raise invalid(f"Thought signature is not valid: {where} holds no text.", where)
        if (call := part.get("functionCall") or part.get("functionResponse")) is not None:
            check_name(call.get("name"), where)
        if (response := part.get("functionResponse")) is not None:
            _check_response(response, where, vertex=vertex)
        _check_media(part, where, vertex=vertex)


def _check_response(response: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    """Check the parts of a response, and that each `$ref` in it names one of them."""
    names = set()
    for media in response.get("parts", ()):
        _check_media(media, f"{where}.functionResponse.parts", vertex=vertex)
        if len(media.keys() & {"inlineData", "fileData"}) != 1:
            raise _content_error(f"{where}.functionResponse.parts: inlineData or fileData", where)
        names.add((media.get("inlineData") or media["fileData"]).get("displayName"))
    values = [response.get("response")]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and reference not in names:
                raise invalid(f"{where}.response: $ref {reference!r} names none of its parts.", where)
            values += value.values()
        elif isinstance(value, list):
            values += value


def _check_media(part: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    if (blob := part.get("inlineData")) is not None:
        _check_blob(blob, where)
    if (file := part.get("fileData")) is not None:
        _check_file(file, where, vertex=vertex)


def _check_blob(blob: Mapping[str, Any], where: str) -> None:
    kind = _check_mime_type(blob.get("mimeType"), f"{where}.inlineData")
    try:
        text = blob.get("data", "").replace("-", "+").replace("_", "/")
        size = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (ValueError, binascii.Error):
        raise invalid(
            f"Invalid value at '{where}.inlineData.data' (TYPE_BYTES), Base64 decoding failed", where
        ) from None
    if not size:
        raise _content_error(f"{where}.inlineData.data: required and empty", where)
    if kind == "application/pdf" and size > _PDF_LIMIT:
        raise invalid(f"The document has {size} bytes, which exceeds the limit of {_PDF_LIMIT}.", where)


def _check_file(file: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    uri = file.get("fileUri") or ""
    if "mimeType" in file or vertex:
        _check_mime_type(file.get("mimeType"), f"{where}.fileData")
    if not uri:
        raise _content_error(f"{where}.fileData.fileUri: required and empty", where)
    uploaded = _FILE.fullmatch(uri) is not None
    for is_wrong, advice in (
        (uploaded and vertex, "The File API is not part of Vertex AI."),
        (not uploaded and ("://" not in uri or uri.startswith("file:")), "Upload it with the File API."),
        (uri.startswith("gs://") and not vertex, "Register it with the File API first."),
    ):
        if is_wrong:
            raise invalid(f"Unsupported file uri: {uri}. {advice}", where)


def files_in(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the uploaded files that a checked body uses."""
    contents = [*body["contents"], body.get("systemInstruction") or {}]
    parts = [part for content in contents for part in content.get("parts") or ()]
    parts += [inner for part in parts for inner in (part.get("functionResponse") or {}).get("parts") or ()]
    for part in parts:
        if found := _FILE.fullmatch((part.get("fileData") or {}).get("fileUri") or ""):
            yield found[1]


def _check_mime_type(kind: Any, where: str) -> str:
    if not kind or not _MIME_TYPE.fullmatch(kind):
        raise invalid(f"Unsupported MIME type: {kind or ''}. Set one in {where}.mimeType.", where)
    return str(kind).partition(";")[0].lower()


def check_name(name: Any, path: str) -> None:
    """Check a function's name."""
    if not name:
        raise _content_error(f"{path}.name: [FIELD_INVALID] Name cannot be empty", path)
    if not _NAME.fullmatch(name):
        raise invalid(
            f"Invalid function name {name!r} at '{path}'. Must start with a letter or an underscore. Must be"
            " alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a"
            " maximum length of 128.",
            f"{path}.name",
        )


def _content_error(problem: str, field: str) -> RefusalError:
    return invalid(f"* GenerateContentRequest.{problem}.", field)
