"""A file that a stream sends, on its way to the service."""

from __future__ import annotations

from dataclasses import dataclass

from gemini_nb.streams.events.states import UploadStatus

__all__ = ["Upload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One moment of an upload.

    Attributes:
        index: its number in the stream, from 0.
        name: the file's name.
        size: its bytes; None where only the service knows.
        sent: bytes that were sent so far.
        status: how it stands.
        is_reused: whether the service had the file already.
        note: what went wrong, while it is tried again; the reason, where it failed.
    """

    index: int
    name: str
    size: int | None = None
    sent: int = 0
    status: UploadStatus = UploadStatus.READING
    is_reused: bool = False
    note: str = ""
