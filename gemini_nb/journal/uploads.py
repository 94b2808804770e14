"""What was uploaded to the service: with which key, which content, and until when it is there.

An upload belongs to a key, which is known here by its fingerprint alone. A line stays when the upload has
expired, since the conversation that names it can still be gone on with where the file has not moved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from gemini_nb.journal.store import Store

_KEPT = 90 * 86_400.0  # seconds for which an expired upload is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One upload.

    Attributes:
        service: where it is.
        owner: the fingerprint of the key whose it is.
        name: such as "files/abc-123".
        hash: the SHA-256 of its content.
        mime_type: its type.
        uri: by which a prompt names it.
        path: the file that it came from.
        size: its bytes.
        uploaded_at: in seconds since the epoch.
        expires_at: likewise.
    """

    service: str
    owner: str
    name: str
    hash: str
    mime_type: str
    uri: str
    path: str
    size: int
    uploaded_at: float
    expires_at: float


_NAMES = [one.name for one in fields(Uploaded)]
_SELECT = f"SELECT {', '.join(_NAMES)} FROM uploads"


def by_hash(store: Store, service: str, owner: str, digest: str, mime_type: str) -> list[Uploaded]:
    """Return the uploads of a content that have not expired, the newest first.

    Raises:
        Trouble: the file cannot be read.
    """
    where = "service = ? AND owner = ? AND hash = ? AND mime_type = ? AND expires_at > ?"
    values = [service, owner, digest, mime_type, time.time()]
    return _read(store, f"WHERE {where} ORDER BY uploaded_at DESC", values)


def by_name(store: Store, name: str) -> list[Uploaded]:
    """Return the uploads of this name, expired ones too, the newest first.

    Raises:
        Trouble: the file cannot be read.
    """
    return _read(store, "WHERE name = ? ORDER BY uploaded_at DESC", [name])


def known(store: Store) -> list[Uploaded]:
    """Return all uploads that have not expired, the oldest first.

    Raises:
        Trouble: the file cannot be read.
    """
    return _read(store, "WHERE expires_at > ? AND hash <> '' ORDER BY uploaded_at", [time.time()])


def claim(store: Store, service: str, owner: str, content: str, holder: str, *, seconds: float) -> bool:
    """Claim the upload of a content, unless another holder's claim has not run out.

    Args:
        store: the journal's file.
        service: where it goes.
        owner: the fingerprint of the key.
        content: its hash and type.
        holder: who claims it; claiming it again prolongs the claim.
        seconds: how long the claim holds, unless it is released.

    Returns:
        Whether it is this holder who uploads it.

    Raises:
        Trouble: the file cannot be written.
    """
    now, place = time.time(), (service, owner, f"claim:{content}")
    fields = "service, owner, name, hash, mime_type, uri, path, size, uploaded_at, expires_at"
    sql = f"""INSERT INTO uploads ({fields}) VALUES (?, ?, ?, '', '', ?, '', 0, ?, ?)
        ON CONFLICT DO UPDATE SET uri = excluded.uri, expires_at = excluded.expires_at
        WHERE uri = excluded.uri OR expires_at < ?"""
    store.write([(sql, [*place, holder, now, now + seconds, now])])
    where = "service = ? AND owner = ? AND name = ?"
    return store.read(f"SELECT uri FROM uploads WHERE {where}", place) == [(holder,)]


def release(store: Store, service: str, owner: str, content: str, holder: str) -> None:
    """Take a claim back.

    Raises:
        Trouble: the file cannot be written.
    """
    sql = "DELETE FROM uploads WHERE service = ? AND owner = ? AND name = ? AND uri = ?"
    store.write([(sql, [service, owner, f"claim:{content}", holder])])


def remember(store: Store, upload: Uploaded) -> None:
    """Write an upload down, and forget those that expired long ago.

    Raises:
        Trouble: the file cannot be written.
    """
    marks = ",".join("?" * len(_NAMES))
    store.write(
        [
            ("DELETE FROM uploads WHERE uploaded_at < ?", [time.time() - _KEPT]),
            (f"INSERT OR REPLACE INTO uploads ({','.join(_NAMES)}) VALUES ({marks})", _bindable(upload)),
        ]
    )


def forget(store: Store, service: str, owner: str, name: str) -> None:
    """Note that an upload is gone; which file it was made of stays known.

    Raises:
        Trouble: the file cannot be written.
    """
    sql = "UPDATE uploads SET expires_at = 0 WHERE service = ? AND owner = ? AND name = ?"
    store.write([(sql, [service, owner, name])])


def clear(store: Store) -> None:
    """Forget all uploads; the service keeps them until they expire.

    Raises:
        Trouble: the file cannot be written.
    """
    store.write([("DELETE FROM uploads", [])])


def _read(store: Store, rest: str, values: Sequence[Any]) -> list[Uploaded]:
    found = store.read(f"{_SELECT} {rest}", values)
    return [Uploaded(**dict(zip(_NAMES, row, strict=True)) | {"path": os.fsdecode(row[6])}) for row in found]


def _bindable(upload: Uploaded) -> list[Any]:
    """The values, a path as its bytes: not every name of a file is text."""
    return [
        os.fsencode(value) if name == "path" else value
        for name, value in zip(_NAMES, astuple(upload), strict=True)
    ]
