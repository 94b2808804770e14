"""The sound in an answer, as files that a player plays.

Speech comes as samples without a header, in pieces: no player plays that, and each piece is base64 of its
own, so that they cannot be put together as text.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemini_nb.api.wire import Part

PLAYED = {
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp3": "mp3",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/webm": "webm",
    "audio/x-wav": "wav",
}
"""What a browser plays, and the suffix of its files."""

_SAMPLES = re.compile(r"audio/(?:l16|pcm)\b", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*(rate|channels)\s*=\s*(\d{1,6})", re.IGNORECASE)
_LARGEST = 2**32 - 64  # bytes that a WAV file can say it has


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound that a model made.

    As the value of a cell it is a player.

    Attributes:
        data: the file's bytes; speech, which comes without a header, is a WAV file.
        mime_type: such as "audio/wav".
        seconds: how long it is, None where only a player can tell.
    """

    data: bytes = field(repr=False)
    mime_type: str
    seconds: float | None = None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sound to a file and return its path.

        Args:
            path: the file; without a suffix it gets that of the sound's type.
        """
        target = Path(path).expanduser()
        if not target.suffix:
            target = target.with_suffix("." + PLAYED.get(self.mime_type, "bin"))
        target.write_bytes(self.data)
        return target

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bundle = {"text/plain": repr(self)}
        if self.mime_type in PLAYED:
            data = base64.b64encode(self.data).decode()
            bundle["text/html"] = f'<audio controls src="data:{self.mime_type};base64,{data}"></audio>'
        return bundle


def audio_type(part: Part) -> str | None:
    """Return the type of a part's sound, None where it has none."""
    blob = part.get("inlineData")
    kind = blob.get("mimeType") if isinstance(blob, Mapping) else None
    return kind if isinstance(kind, str) and kind.lower().startswith("audio/") else None


def join_audio(pieces: Iterable[Part], kind: str) -> Audio:
    """Put pieces of one type together; a piece that is no base64 is left out."""
    data = b"".join(map(_bytes, pieces))
    if _SAMPLES.match(kind) is None:
        return Audio(data, kind.partition(";")[0].strip().lower())
    given = {name.lower(): int(number) for name, number in _PARAMETER.findall(kind)}
    rate, channels = given.get("rate") or 24_000, min(given.get("channels") or 1, 32)
    data = data[: min(len(data), _LARGEST) // (2 * channels) * 2 * channels]
    seconds = len(data) / (2 * channels * rate)
    return Audio(_wav(data, rate, channels), "audio/wav", seconds)


def audio_in(parts: Iterable[Part]) -> list[Audio]:
    """Return the sounds of these parts; pieces that follow one another are one sound."""
    runs: list[tuple[str, list[Part]]] = []
    last = None
    for part in parts:
        kind = None if part.get("thought") is True else audio_type(part)
        if kind is not None and kind == last:
            runs[-1][1].append(part)
        elif kind is not None:
            runs.append((kind, [part]))
        last = kind
    return [join_audio(pieces, kind) for kind, pieces in runs]


def _bytes(part: Part) -> bytes:
    try:
        return base64.b64decode(part["inlineData"].get("data") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return b""


def _wav(data: bytes, rate: int, channels: int) -> bytes:
    width = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, 16)
    size = 4 + 8 + len(form) + 8 + len(data)
    return b"".join(
        (b"RIFF", struct.pack("<I", size), b"WAVEfmt ", struct.pack("<I", len(form)), form)
    ) + b"".join((b"data", struct.pack("<I", len(data)), data))
