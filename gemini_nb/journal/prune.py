"""Keeping the journal small: the oldest texts go, the figures stay.

The file is never made smaller, since that would copy all of it; what is free is used again.
"""

from __future__ import annotations

from collections.abc import Sequence

from gemini_nb.journal.store import Statement, Store

__all__ = ["clear", "prune"]

_AT_ONCE = 200  # texts after a batch, a few milliseconds of work

_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, "
    "pragma_page_size"
)
_TEXTS = (
    "SELECT (SELECT coalesce(sum(size), 0) FROM texts) + (SELECT coalesce(sum(length(data)), 0) FROM blobs)"
)


def prune(store: Store, limit: int) -> None:
    """Delete the oldest texts where all together are larger than this many bytes.

    Raises:
        Trouble: they could not be deleted.
    """
    if store.read(_USED)[0][0] <= limit:
        return
    excess = store.read(_TEXTS)[0][0] - limit
    going = []
    for uid, size, files in store.read(
        "SELECT uid, size, (SELECT coalesce(sum(length(data)), 0) FROM uses JOIN blobs USING (hash) "
        "WHERE uses.uid = texts.uid) FROM texts ORDER BY id LIMIT ?",
        [_AT_ONCE],
    ):
        if excess <= 0:
            break
        going.append(uid)
        excess -= size + files
    if going:
        store.write(_forget_texts(going))


def clear(store: Store, uids: Sequence[str]) -> None:
    """Delete these entries from the file and its log.

    Raises:
        Trouble: they could not be deleted.
    """
    for start in range(0, len(uids), _AT_ONCE):
        some = uids[start : start + _AT_ONCE]
        marks = _marks(some)
        delete = (f"DELETE FROM entries WHERE uid IN ({marks})", some)
        store.write([*_forget_texts(some), delete])
    store.run("PRAGMA wal_checkpoint(TRUNCATE)")


def _forget_texts(uids: Sequence[str]) -> list[Statement]:
    marks = _marks(uids)
    deletes = [f"DELETE FROM {table} WHERE uid IN ({marks})" for table in ("texts", "pieces", "uses")]
    unused = "DELETE FROM blobs WHERE hash NOT IN (SELECT hash FROM uses)"
    return [*((delete, uids) for delete in deletes), (unused, [])]


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))
