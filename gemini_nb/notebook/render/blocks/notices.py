"""The sentences of notices: a model call that is made again, a file on its way to the service."""

from __future__ import annotations

from typing import assert_never

from gemini_nb.notebook.render.words import data_progress, data_size, duration, quantity
from gemini_nb.streams.events.events import RetryScheduled
from gemini_nb.streams.events.states import UploadStatus
from gemini_nb.streams.events.uploads import Upload

_YEAR = 365 * 86_400.0  # a policy may say infinity


def upload_message(upload: Upload) -> str:
    """Say how far a file is on its way to the service."""
    size = "" if upload.size is None else f" · {data_size(upload.size)}"
    match upload.status:
        case UploadStatus.READING:
            said = f"reading {upload.name}{size}"
        case UploadStatus.UPLOADING:
            said = f"uploading {upload.name} · {data_progress(upload.sent, upload.size or 0)}"
        case UploadStatus.PROCESSING:
            said = f"{upload.name}{size} · the service is processing it"
        case UploadStatus.ACTIVE:
            said = f"{upload.name}{size} · {'uploaded before' if upload.is_reused else 'uploaded'}"
        case UploadStatus.FAILED:
            said = f"{upload.name}{size} · failed"
        case UploadStatus.CANCELLED:
            said = f"{upload.name}{size} · not uploaded"
        case _:
            assert_never(upload.status)
    return f"{said} · {upload.note}" if upload.note else said


def retry_message(event: RetryScheduled, length: int, *, when: bool = False) -> str:
    """Say why a model call is made again, and what becomes of what it had shown.

    Args:
        event: what was planned.
        length: characters of the text that were there.
        when: whether to say in how many seconds, too, where nothing counts them down.
    """
    reason = event.reason.strip()
    if when and event.delay >= 1:
        reason = f"{reason.removesuffix('.')} in {duration(round(min(event.delay, _YEAR)))}."
    if event.keeps is None:
        return reason
    whole = quantity(length, "character")
    replaced = f"{length - event.keeps:,} of the {whole}" if event.keeps else f"the {whole}"
    return f"{reason} The retry replaces {replaced} received so far."
