"""The MIME type of a file: what its first bytes say, else its name, as Gemini's documents call it."""

from __future__ import annotations

import codecs
import mimetypes

_MEDIA = ("audio/", "image/", "video/")
BEGINNING = 4096
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


def type_of(name: str, beginning: bytes) -> str | None:
    """Return the type by name and first bytes; what reads as text is text, whatever its name.

    Args:
        name: the file's name.
        beginning: its first bytes, as many as `BEGINNING` says.
    """
    named, marked = type_of_name(name), type_of_bytes(beginning)
    if marked is None and _is_text(beginning):  # program.ts is no video, and picture.svg no image to Gemini
        return named if named is not None and named.startswith("text/") else "text/plain"
    return marked if named is None or _is_sure(marked, named) else named


def _is_sure(marked: str | None, named: str) -> bool:
    """Whether the bytes decide: a film and its sound alone can begin alike, and the name tells them apart."""
    if marked is None or not marked.startswith((*_MEDIA, "application/pdf")):
        return False  # a document that is an archive inside
    return marked.startswith("image/") or not named.startswith(("audio/", "video/"))


def type_of_bytes(data: bytes) -> str | None:
    """Return the type that the first bytes show, None where they show none, or where it is text."""
    import filetype  # only files need it

    data = bytes(data[:BEGINNING])
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    if _is_text(data):  # "BMW" is no bitmap
        return None
    kind = _container(data) or filetype.guess_mime(data) or _sound(data)
    return None if kind is None else _TYPE_NAMES.get(kind, kind)


def type_of_name(name: str) -> str | None:
    """Return the type that a file's name stands for."""
    kind, encoding = mimetypes.guess_type(name)
    return None if kind is None or encoding is not None else _TYPE_NAMES.get(kind, kind)


def _is_text(beginning: bytes) -> bool:
    """Whether the beginning of a file reads as text."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) < BEGINNING)
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
    """Return the type of sound that begins with a frame of MP3, or is a WAV file of 64 bits."""
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2 and data[1] & 0x18 != 0x08:
        rate, bits = data[2] >> 2 & 3, data[2] >> 4
        return "audio/mp3" if rate != 3 and bits not in {0, 15} else None
    return "audio/wav" if data.startswith(b"RF64") and data[8:12] == b"WAVE" else None
