"""What google-genai's objects say, as the dictionaries they stand for.

Its types are pydantic models. They are recognised by that, never imported. Their own JSON would not do: it
writes bytes, and so thought signatures, in the URL's alphabet of base64, while the service writes them in the
standard one and a signature has to come back as it was sent.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any

from gemini_nb.errors import ArgumentError, ConfigError

__all__ = ["as_mapping", "google_media", "is_from", "plain"]


def is_from(value: object, package: str, *names: str) -> bool:
    """Whether a class of this package, or a child of one, made it."""
    return any(
        cls.__name__ in names and cls.__module__.partition(".")[0] == package for cls in type(value).__mro__
    )


def as_mapping(value: object) -> dict[str, Any] | None:
    """A dictionary or a pydantic model as a dictionary; None for anything else.

    What is in a dictionary stays as it is, what is in a model becomes JSON where JSON has a word for it.
    """
    if isinstance(value, Mapping):
        return dict(value)
    return plain(value) if _is_model(value) else None


def plain(value: Any) -> Any:
    """The value with JSON in place of models, enums, bytes and times; anything else in it stays as it is.

    Raises:
        ArgumentError: it is nested deeper than the stack, or holds itself.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise ArgumentError("The request is nested too deeply, or holds itself.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (str, int, float, type)):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    return _plain(_dump(value)) if _is_model(value) else value


def _is_model(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "model_dump", None))


def _dump(model: Any) -> Any:
    return model.model_dump(by_alias=True, exclude_none=True, warnings=False)


def google_media(value: object) -> dict[str, Any] | None:
    """The part for google-genai's files, blobs and images, and for its parts that hold one; else None.

    Raises:
        ConfigError: it is a file that the service could not process, or that was never uploaded.
    """
    if is_from(value, "google", "Part", "FunctionResponsePart"):
        part: dict[str, Any] = plain(value)
        return part if "inlineData" in part or "fileData" in part else None
    if is_from(value, "google", "Blob", "FunctionResponseBlob"):
        return {"inlineData": plain(value)}
    if is_from(value, "google", "FileData", "FunctionResponseFileData"):
        return {"fileData": plain(value)}
    if is_from(value, "google", "File"):
        return _uploaded(plain(value))
    if is_from(value, "google", "Image", "Video"):
        return _picture(plain(value))
    return None


def _uploaded(file: dict[str, Any]) -> dict[str, Any]:
    name = file.get("name", "This file")
    if file.get("state") == "FAILED":
        reason = (file.get("error") or {}).get("message") or "the service does not say why"
        raise ConfigError(f"{name} could not be processed: {reason}.", hint="Upload it again.")
    if not file.get("uri"):
        raise ConfigError(f"{name} has no uri.", hint="Upload it with client.files.upload(...) first.")
    mime_type = {"mimeType": file["mimeType"]} if file.get("mimeType") else {}
    return {"fileData": {"fileUri": file["uri"], **mime_type}}


def _picture(value: dict[str, Any]) -> dict[str, Any] | None:
    """A picture or film that google-genai made or loaded, with its data or where they are."""
    mime_type = {"mimeType": value["mimeType"]} if value.get("mimeType") else {}
    data = value.get("imageBytes") or value.get("videoBytes")
    address = value.get("gcsUri") or value.get("uri")
    if data:
        return {"inlineData": {"data": data, **mime_type}}
    return {"fileData": {"fileUri": address, **mime_type}} if address else None
