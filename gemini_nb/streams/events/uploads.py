"""A file that a stream sends, on its way to the service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gemini_nb.streams.events.states import UPLOAD_STATUSES, UploadStatus, advance


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

    def advanced(self, status: UploadStatus, **facts: Any) -> Upload:
        """Return the upload as it stands now.

        Raises:
            InternalError: this status cannot follow the one before.
        """
        if status is not self.status:
            advance(UPLOAD_STATUSES, self.status, status)
        return replace(self, status=status, **facts)
