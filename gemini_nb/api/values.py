"""A user's objects as Gemini takes them: images, figures, files and frames become parts.

Prompts and tool results go through this one module, so that what can be asked about can also be returned.
The libraries these objects come from are recognised, never imported: who has a DataFrame has pandas. The MIME
type of a file is what its first bytes say, under the name that Gemini's documents use.
"""

from __future__ import annotations

import base64
import codecs
import io
import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemini_nb.api.audio import Audio
from gemini_nb.api.image import Image
from gemini_nb.api.objects import is_from, plain, spell_part
from gemini_nb.errors import ArgumentError, ConfigError

__all__ = [
    "FILES_API",
    "MAX_INLINE_BYTES",
    "MAX_PDF_BYTES",
    "MAX_REQUEST_BYTES",
    "File",
    "frame_rows",
    "frame_text",
    "inline_data",
    "is_media",
    "media_part",
]

_MB = 2**20
MAX_REQUEST_BYTES = 100 * _MB
"""Largest request that Gemini takes."""

MAX_INLINE_BYTES = MAX_REQUEST_BYTES * 3 // 4
"""Largest file sent inside a request: base64 makes four bytes of three."""

MAX_PDF_BYTES = 50 * _MB
"""Largest PDF sent inside a request."""

FILES_API = "Upload large files with Google's Files API, and pass {'fileData': {'fileUri': ...}}."
_ROWS = 40
_COLUMNS = 40
_CHARACTERS = 12_000
_GOOGLE = ("Part", "FunctionResponsePart", "Blob", "FileData", "File", "Image", "Video")
_BESIDE = frozenset(
    {"inlineData", "fileData", "mediaResolution", "videoMetadata", "thoughtSignature", "thought"}
)

_MEDIA = ("audio/", "image/", "video/")
_BEGINNING = 4096
"""How many bytes of a file are enough to tell."""

_TYPE_NAMES = {
    "audio/mpeg": "audio/mp3",
    "audio/mp4a-latm": "audio/mp4",
    "audio/x-aac": "audio/aac",
    "audio/x-aiff": "audio/aiff",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-wav": "audio/wav",
    "video/x-ms-wmv": "video/wmv",
    "video/x-msvideo": "video/avi",
}

_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"qt  ": "video/quicktime",
}

_GENERAL_BRANDS = frozenset({b"mif1", b"msf1"})  # of any still image; the other brands say which


class File:
    """A file whose content is sent, in a prompt or as a tool's result; a bare path is only text.

    Args:
        path: the file.
        mime_type: its type; by default what its name and its beginning say.

    Raises:
        ConfigError: there is no such file, it is too large, or its type is not known.
    """

    def __init__(self, path: str | os.PathLike[str], mime_type: str | None = None) -> None:
        self.path = Path(path).expanduser()
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.") from None
        if not self.path.is_file():
            raise ConfigError(f"{self.path} is not a file.")
        self.mime_type = mime_type or _type_of_file(self.path)
        _check_size(size, self.mime_type, str(self.path))

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"

    def part(self) -> dict[str, Any]:
        """Read it and return the part to send: text as text, everything else as data.

        Raises:
            ConfigError: it cannot be read, or has grown too large.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.") from None
        if self.mime_type.startswith("text/") or self.mime_type == "application/json":
            try:
                return {"text": f"{self.path.name}:\n{data.decode()}"}
            except UnicodeDecodeError:
                pass
        return inline_data(data, self.mime_type, name=str(self.path))


def _type_of_file(path: Path) -> str:
    """Return the type by first bytes and name; what reads as text is text, whatever its name."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    named, marked = _type_of_name(path.name), _type_of_bytes(beginning)
    if marked is None and _is_text(beginning):  # program.ts is no video, and picture.svg no image to Gemini
        return named if named is not None and named.startswith("text/") else "text/plain"
    kind = marked if named is None or _is_sure(marked, named) else named
    if kind is None:
        raise ConfigError(
            f"The type of {path} is not known.", hint='Say it in Python: gemini_nb.File(path, "image/png").'
        )
    return kind


def _is_sure(marked: str | None, named: str) -> bool:
    """Whether the bytes decide: a film and its sound alone can begin alike, and the name tells them apart."""
    if marked is None or not marked.startswith((*_MEDIA, "application/pdf")):
        return False  # a document that is an archive inside
    return marked.startswith("image/") or not named.startswith(("audio/", "video/"))


def _type_of_bytes(data: bytes) -> str | None:
    """Return the type that the first bytes show, None where they show none, or where it is text."""
    import filetype  # only files need it

    data = bytes(data[:_BEGINNING])
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    if _is_text(data):  # "BMW" is no bitmap
        return None
    kind = _container(data) or filetype.guess_mime(data) or _sound(data)
    return None if kind is None else _TYPE_NAMES.get(kind, kind)


def _type_of_name(name: str) -> str | None:
    """Return the type that a file's name stands for."""
    kind, encoding = mimetypes.guess_type(name)
    return None if kind is None or encoding is not None else _TYPE_NAMES.get(kind, kind)


def _is_text(beginning: bytes) -> bool:
    """Whether the beginning of a file reads as text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < _BEGINNING)
    except UnicodeDecodeError:
        return False
    return b"\0" not in beginning


def _container(data: bytes) -> str | None:
    """Return the type of an ISO media file, which is a film where its brands say nothing else."""
    if data[4:8] in {b"moov", b"mdat", b"wide"}:
        return "video/quicktime"  # of the time before brands
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data))
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    if brands[0] in _GENERAL_BRANDS:
        special = (brand for brand in brands if brand in _BRANDS and brand not in _GENERAL_BRANDS)
        return _BRANDS[next(special, brands[0])]
    if brands[0].startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    return _BRANDS.get(brands[0], "video/mp4")


def _sound(data: bytes) -> str | None:
    """Whether the bytes decide; between a film and its sound alone, which begin alike, the name does."""
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2 and data[1] & 0x18 != 0x08:
        rate, bits = data[2] >> 2 & 3, data[2] >> 4
        return "audio/mp3" if rate != 3 and bits not in {0, 15} else None
    return "audio/wav" if data.startswith(b"RF64") and data[8:12] == b"WAVE" else None


def inline_data(data: bytes, mime_type: str, *, name: str = "The data") -> dict[str, Any]:
    """Return a part that holds a file.

    Raises:
        ConfigError: it is larger than a request may be.
    """
    _check_size(len(data), mime_type, name)
    return {"inlineData": {"mimeType": mime_type, "data": base64.b64encode(data).decode("ascii")}}


def _check_size(size: int, mime_type: object, name: str) -> None:
    if mime_type == "application/pdf" and size > MAX_PDF_BYTES:
        limit = f"a PDF inside a request has {MAX_PDF_BYTES // _MB} MB at most"
    elif size > MAX_INLINE_BYTES:
        limit = (
            f"a file inside a request has {MAX_INLINE_BYTES // _MB} MB at most, since base64 makes a third"
            f" more of it and a request has {MAX_REQUEST_BYTES // _MB} MB at most"
        )
    else:
        return
    raise ConfigError(f"{name} has {size / _MB:.1f} MB; {limit}.", hint=FILES_API)


def is_media(value: object) -> bool:
    """Whether `media_part` makes something of it; nothing is drawn or read to tell."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _type_of_bytes(bytes(value)) is not None
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
        kind = _type_of_bytes(data)
        return None if kind is None else inline_data(data, kind)
    held = _written(value) if isinstance(value, Mapping) else _google_media(value)
    if held is not None:
        return {**held, "inlineData": _typed(held["inlineData"])} if "inlineData" in held else held
    picture = _picture(value)
    return None if picture is None else inline_data(picture, "image/png", name=f"The {type(value).__name__}")


def _typed(blob: dict[str, Any]) -> dict[str, Any]:
    """Data of a size that can be sent, with their type, which google-genai's objects may lack."""
    data, kind = str(blob.get("data") or ""), blob.get("mimeType")
    _check_size(len(data) * 3 // 4, kind, "The data")
    kind = kind or _type_of_bytes(base64.b64decode(data))
    if not kind:
        raise ConfigError("The data have no mime_type, and their beginning does not tell it.")
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
