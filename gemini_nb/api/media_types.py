"""The MIME type of a file: what its first bytes say, under the name that Gemini's documents use."""

from __future__ import annotations

import codecs
import mimetypes

__all__ = ["BEGINNING", "is_text", "mime_type_of", "type_of_name"]

BEGINNING = 4096
"""How many bytes of a file are enough to tell."""

_NAMES = {
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
_GENERAL = frozenset({b"mif1", b"msf1"})  # of any still image; the other brands say which


def mime_type_of(data: bytes) -> str | None:
    """What the first bytes of a file say it is, None where they say nothing, or where it is text."""
    import filetype  # noqa: PLC0415 - only files need it

    data = bytes(data[:BEGINNING])
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    if is_text(data):  # "BMW" is no bitmap
        return None
    kind = _container(data) or filetype.guess_mime(data) or _sound(data)
    return None if kind is None else _NAMES.get(kind, kind)


def type_of_name(name: str) -> str | None:
    """What the name of a file says it is."""
    kind, encoding = mimetypes.guess_type(name)
    return None if kind is None or encoding is not None else _NAMES.get(kind, kind)


def is_text(beginning: bytes) -> bool:
    """Whether the beginning of a file reads as text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < BEGINNING)
    except UnicodeDecodeError:
        return False
    return b"\0" not in beginning


def _container(data: bytes) -> str | None:
    """The type of an ISO media file, which is a film only where its brands say nothing else."""
    if data[4:8] in {b"moov", b"mdat", b"wide"}:
        return "video/quicktime"  # of the time before brands
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data))
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    if brands[0] in _GENERAL:
        special = (brand for brand in brands if brand in _BRANDS and brand not in _GENERAL)
        return _BRANDS[next(special, brands[0])]
    if brands[0].startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    return _BRANDS.get(brands[0], "video/mp4")


def _sound(data: bytes) -> str | None:
    """MP3 frames that filetype does not know: any MPEG version, layer III, with or without a checksum."""
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2 and data[1] & 0x18 != 0x08:
        rate, bits = data[2] >> 2 & 3, data[2] >> 4
        return "audio/mp3" if rate != 3 and bits not in {0, 15} else None
    return "audio/wav" if data.startswith(b"RF64") and data[8:12] == b"WAVE" else None
