"""Keeping the journal small: the oldest texts go, the figures stay.

The file is never made smaller, since that would copy all of it; what is free is used again.
"""

from __future__ import annotations

from collections.abc import Sequence

from gemini_nb.journal.store import Statement, Store

_AT_ONCE = 200  # texts after a batch, a few milliseconds of work
_SPARE = 50  # a fiftieth of the limit more is deleted than necessary

_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, "
    "pragma_page_size"
)
_TEXTS = (
    "SELECT (SELECT coalesce(sum(size), 0) FROM texts) + (SELECT coalesce(sum(length(data)), 0) FROM blobs), "
    "(SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM pieces)"
)
_OLDEST = (
    "SELECT uid, size, (SELECT coalesce(sum(length(data)), 0) FROM uses JOIN blobs USING (hash) "
    "WHERE uses.uid = texts.uid) FROM texts ORDER BY id LIMIT ?"
)


class Pruner:
    """Deletes the oldest texts of a journal where all together are larger than they may be.

    To add up their sizes takes a millisecond for ten thousand of them, too much after each batch. So it is
    done again when so much was added that they may be too large.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limit = 0
        self._enough = 0  # bytes in use up to which there is nothing to delete, for this limit

    def prune(self, limit: int) -> None:
        """Delete as many texts as is done at once, where all together have more than this many bytes.

        Raises:
            Trouble: they could not be deleted.
        """
        if limit != self._limit:
            self._limit = self._enough = limit
        used = self._store.read(_USED)[0][0]
        if used <= self._enough:
            return
        texts, pieces = self._store.read(_TEXTS)[0]
        excess = texts - limit
        if excess <= 0:
            self._enough = used - pieces - excess  # pieces become texts, which take their room in the file
            return
        self._enough = limit
        self._store.write(_forget_texts(self._oldest(excess + limit // _SPARE)))

    def _oldest(self, excess: int) -> list[str]:
        """The streams whose texts are together of this size, or as many as are deleted at once."""
        going = []
        for uid, size, files in self._store.read(_OLDEST, [_AT_ONCE]):
            if excess <= 0:
                break
            going.append(uid)
            excess -= size + files
        return going


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
