"""A user's objects as Gemini takes them: images, figures, files and frames become parts.

Prompts and tool results go through this one module, so that what can be asked about can also be returned.
The libraries that these objects come from are recognised and not imported: a user who has a DataFrame has
pandas. Only a user who asks for a DataFrame needs it imported here.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.contents.audio import Audio
from gemini_nb.api.contents.file import File, check_size, inline_data
from gemini_nb.api.contents.image import Image
from gemini_nb.api.contents.mime import type_of_bytes
from gemini_nb.api.contents.objects import is_from, plain, spell_part
from gemini_nb.errors import ArgumentError, ConfigError

_ROWS = 40
_COLUMNS = 40
_CHARACTERS = 12_000
_GOOGLE = ("Part", "FunctionResponsePart", "Blob", "FileData", "File", "Image", "Video")
_BESIDE = frozenset(
    {"inlineData", "fileData", "mediaResolution", "videoMetadata", "thoughtSignature", "thought"}
)


def is_media(value: object) -> bool:
    """Whether `media_part` makes something of it; nothing is drawn or read to tell."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return type_of_bytes(bytes(value)) is not None
    if isinstance(value, Mapping):
        return _written(value) is not None
    return (
        isinstance(value, (File, Image, Audio))
        or is_from(value, "google", *_GOOGLE)
        or is_from(value, "matplotlib", "Figure", "Axes")
        or is_from(value, "PIL", "Image")
    )


def media_part(value: object) -> dict[str, Any] | None:
    """Return the part for an image, a figure, a file or bytes of a known kind; None for anything else.

    A part that holds a file passes, as a dictionary in either spelling or as google-genai's object.

    Raises:
        ConfigError: it is too large to send, or cannot be read.
    """
    if isinstance(value, File):
        return value.part()
    if isinstance(value, (Image, Audio)):
        return inline_data(value.data, value.mime_type, name=f"The {type(value).__name__.lower()}")
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        kind = type_of_bytes(data)
        return None if kind is None else inline_data(data, kind)
    held = _written(value) if isinstance(value, Mapping) else _google_media(value)
    if held is not None:
        return {**held, "inlineData": _typed(held["inlineData"])} if "inlineData" in held else held
    picture = _picture(value)
    return None if picture is None else inline_data(picture, "image/png", name=f"The {type(value).__name__}")


def _typed(blob: dict[str, Any]) -> dict[str, Any]:
    """Data of a size that can be sent, with their type, which google-genai's objects may lack."""
    data, kind = str(blob.get("data") or ""), blob.get("mimeType")
    check_size(len(data) * 3 // 4, kind, "The data")
    kind = kind or type_of_bytes(base64.b64decode(data))
    if not kind:
        raise ConfigError(
            "The data has no mime_type, and its first bytes do not show one.", hint="Set its mime_type."
        )
    return {**blob, "mimeType": kind}


def _written(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a dictionary that is a part with a file in it, None for any other."""
    if not value.keys() & {"inlineData", "inline_data", "fileData", "file_data"}:
        return None
    try:
        part = spell_part(plain(value))
    except ArgumentError:
        return None
    data, file = part.get("inlineData"), part.get("fileData")
    is_file = (isinstance(data, dict) and "data" in data and data.get("mimeType")) or (
        isinstance(file, dict) and file.get("fileUri")
    )
    return part if is_file and part.keys() <= _BESIDE and (data is None or file is None) else None


def _picture(value: Any) -> bytes | None:
    """Return a figure or an image as PNG."""
    buffer = io.BytesIO()
    if is_from(value, "matplotlib", "Figure"):
        value.savefig(buffer, format="png", bbox_inches="tight")
    elif is_from(value, "matplotlib", "Axes"):
        value.figure.savefig(buffer, format="png", bbox_inches="tight")
    elif is_from(value, "PIL", "Image"):
        plain = value if value.mode in {"1", "L", "LA", "P", "RGB", "RGBA"} else value.convert("RGB")
        plain.save(buffer, format="png")
    else:
        return None
    return buffer.getvalue()


def frame_text(value: Any, rows: int | None = _ROWS) -> str | None:
    """Return a DataFrame, a Series or an array as a compact table with its shape and types, else None.

    Long ones are cut, and say so: a million rows would cost a million tokens.

    Args:
        value: anything.
        rows: how many rows to show; None for all of them, with all of their text.
    """
    if is_from(value, "pandas", "DataFrame", "Series"):
        return _pandas_text(value, rows)
    if is_from(value, "polars", "DataFrame", "Series"):
        return _polars_text(value, rows)
    if is_from(value, "numpy", "ndarray") and value.size > _ROWS * _COLUMNS:
        return f"array of shape {value.shape}, dtype {value.dtype}, cut to its corners:\n{value}"
    return None


def frame_rows(value: Any) -> int | None:
    """Return how many rows a DataFrame or a Series has; None for anything else."""
    is_frame = is_from(value, "pandas", "DataFrame", "Series") or is_from(
        value, "polars", "DataFrame", "Series"
    )
    return len(value) if is_frame else None


def import_pandas() -> Any:
    """Return pandas, for a DataFrame that the user asks for.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pandas as pd  # an optional dependency: those who want a DataFrame have it
    except ImportError:
        raise ConfigError("A DataFrame needs pandas.", hint="%pip install pandas") from None
    return pd


def _pandas_text(value: Any, rows: int | None) -> str:
    frame = value.to_frame() if is_from(value, "pandas", "Series") else value
    shown = frame.iloc[:rows, :_COLUMNS]
    types = [f"{name}: {kind}" for name, kind in zip(shown.columns, shown.dtypes, strict=True)]
    return _table(type(value).__name__, frame.shape, types, shown.to_csv(), rows)


def _polars_text(value: Any, rows: int | None) -> str:
    frame = value.to_frame() if is_from(value, "polars", "Series") else value
    shown = frame[:, :_COLUMNS].head(len(frame) if rows is None else rows)
    types = [f"{name}: {kind}" for name, kind in shown.schema.items()]
    return _table(type(value).__name__, frame.shape, types, shown.write_csv(), rows)


def _table(kind: str, shape: tuple[int, int], types: list[str], csv: str, shown: int | None) -> str:
    rows, columns = shape
    head = f"{kind}, {rows:,} rows x {columns:,} columns ({', '.join(types)}"
    head += f", and {columns - len(types):,} more)" if columns > len(types) else ")"
    notes = [f"{shown:,} rows"] if shown is not None and rows > shown else []
    notes += [f"{_COLUMNS} columns"] if columns > _COLUMNS else []
    if shown == _ROWS and len(csv) > _CHARACTERS:
        csv = f"{csv[:_CHARACTERS]}…\n"  # within a row, whose cells may be long texts
        notes.append(f"{_CHARACTERS:,} characters")
    note = f"; only the first {' and '.join(notes)} follow" if notes else ""
    return f"{head}{note}:\n{csv}"


def _google_media(value: object) -> dict[str, Any] | None:
    """Return the part for google-genai's files, blobs and images, and for parts that hold one; else None.

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
        return _generated(plain(value))
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


def _generated(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the part for a picture or film that google-genai made or loaded."""
    mime_type = {"mimeType": value["mimeType"]} if value.get("mimeType") else {}
    data = value.get("imageBytes") or value.get("videoBytes")
    address = value.get("gcsUri") or value.get("uri")
    if data:
        return {"inlineData": {"data": data, **mime_type}}
    return {"fileData": {"fileUri": address, **mime_type}} if address else None
