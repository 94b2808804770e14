"""Files in a conversation: where they stand, and what goes in their place.

A request names a large file by its path until its model call is made, so that what is kept, shown and looked
up by content needs no upload. A `file:` address counts only where the user's own program made it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemini_nb.api.contents.file import content_part, given_path, upload_name
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.uploads import files_root
from gemini_nb.api.wire import JSON, Content, Part
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError
from gemini_nb.redaction import scrub

_BUCKET = 'Put it into a bucket, and pass gemini_nb.File("gs://bucket/name").'


def fit_files(contents: list[Content], endpoint: Endpoint) -> list[Content]:
    """Return contents without files that cannot be uploaded to where they go. Reads files: not on the loop.

    Raises:
        ConfigError: a file cannot be sent there.
    """

    def fit(data: JSON) -> Part | None:
        uri, kind = str(data.get("fileUri")), str(data.get("mimeType") or "")
        if is_local(data):
            path = path_of(uri)
            return None if _takes_uploads(endpoint) else _inside(path, kind)
        if endpoint.auth is not Auth.VERTEX_AI:
            return None
        if upload_name(uri):
            raise ConfigError(f"Vertex AI has no Files API, so it cannot read {uri}.", hint=_BUCKET)
        if not kind and "://" in uri:
            raise ConfigError(
                f"Vertex AI needs the type of {scrub(uri.partition('?')[0])}.",
                hint='Name it: gemini_nb.File(address, "image/png").',
            )
        return None

    return replace_files(contents, fit)


def _takes_uploads(endpoint: Endpoint) -> bool:
    try:
        files_root(endpoint)
    except ConfigError:
        return False
    return True


def path_of(uri: str) -> Path:
    """Return the path behind the address of a file of this machine.

    Raises:
        ConfigError: no `File` of this program has named it.
    """
    path = given_path(uri)
    if path is None:
        raise ConfigError(
            f"{scrub(uri)} is a file of this machine that this program was not given, so it is not sent.",
            hint="Pass gemini_nb.File(path).",
        )
    return path


def _inside(path: Path, mime_type: str) -> Part:
    """Return the file as a part that needs no upload."""
    try:
        return content_part(path, mime_type)
    except ConfigError as error:
        raise ConfigError(
            f"{error.message} It cannot be uploaded there: only the Gemini API has a Files API.", hint=_BUCKET
        ) from None


def replace_files(contents: list[Content], change: Callable[[JSON], Part | None]) -> list[Content]:
    """Return contents with other parts for some of their files.

    Args:
        contents: the conversation; what stays as it is is the same object in the result.
        change: returns what takes a file's place, or None.
    """
    made = []
    for content in contents:
        parts = _parts(content.get("parts"), change, is_result=False)
        made.append(content if parts is content.get("parts") else {**content, "parts": parts})
    return contents if _are_same(made, contents) else made


def _parts(parts: Any, change: Callable[[JSON], Part | None], *, is_result: bool) -> Any:
    if not isinstance(parts, list):
        return parts
    made = [_part(one, change, is_result=is_result) if isinstance(one, dict) else one for one in parts]
    return parts if _are_same(made, parts) else made


def _part(part: Part, change: Callable[[JSON], Part | None], *, is_result: bool) -> Part:
    response = part.get("functionResponse")
    if isinstance(response, dict):
        inner = _parts(response.get("parts"), change, is_result=True)
        same = inner is response.get("parts")
        return part if same else {**part, "functionResponse": {**response, "parts": inner}}
    data = part.get("fileData")
    new = change(data) if isinstance(data, dict) else None
    if new is None:
        return part
    ((name, value),) = new.items()
    if is_result and "displayName" in part["fileData"]:  # by which the result's JSON refers to it
        value = {**value, "displayName": part["fileData"]["displayName"]}
    return {**{name: value for name, value in part.items() if name != "fileData"}, name: value}


def _are_same(made: list[Any], before: list[Any]) -> bool:
    return all(map(operator.is_, made, before))


def files_in(contents: list[Content]) -> list[JSON]:
    """Return the file data in a conversation, those in the results of tools included."""
    found: list[JSON] = []
    replace_files(contents, found.append)
    return found


def is_local(data: JSON) -> bool:
    """Whether file data name a file of this machine."""
    return str(data.get("fileUri")).startswith("file:")
