"""The open journal: one connection, one lock around every call of SQLite's, transactions, what goes wrong.

The lock is held over a fork, since a child that was forked while SQLite worked would hang in its first own
call, of any other file, too. The child never touches the connection it inherited, not even to close it:
neither does a process whose file was moved or removed, since closing it would remove the side files of the
journal that stands in its place now.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gemini_nb.journal import place, schema
from gemini_nb.journal.trouble import Trouble, trouble_of

Statement = tuple[str, Sequence[Any]]

_BUSY = 0.25  # seconds that one call waits for another process
_OPENING = 5.0  # seconds for which a reader waits for its turn
_FORK = 2.0  # seconds that a fork waits for the lock; a call that hangs must not hold it up
_TRIES = 3  # where other processes set a broken file aside at the same time
_VARIABLES = 30_000  # of one statement; SQLite takes 32,766
_ROWS = 100  # of one statement

# All of these survive a reload of this module.
_sqlite: threading.Lock = globals().get("_sqlite") or threading.Lock()
_open: list[Store] = globals().get("_open", [])
"""Those that hold a connection."""
_held: list[bool] = globals().get("_held", [])
"""Whether the fork that goes on has the lock."""


class Store:
    """One journal's file.

    Args:
        path: as it was configured; a relative one means the folder in which the process is now.
        default: whether its folder is ours alone.
    """

    def __init__(self, path: Path, *, default: bool = False) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow a link of the user's
        self._default = default
        self._located: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self.identity: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it was opened."""
        return self._connection is not None

    def write(self, statements: Sequence[Statement]) -> None:
        """Run these in one transaction, or none of them.

        Raises:
            Trouble: they were not written.
        """
        for _ in range(_TRIES):
            with self._connected() as connection:
                connection.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    connection.execute(sql, values)
                connection.execute("COMMIT")
                if place.identity_of(self.path) == self.identity:
                    return  # else it was set aside or deleted meanwhile

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT.

        Raises:
            Trouble: they cannot be read.
        """
        with self._connected() as connection:
            return connection.execute(sql, values).fetchall()

    def run(self, statement: str) -> None:
        """Run one statement outside of a transaction.

        Raises:
            Trouble: it failed.
        """
        with self._connected() as connection:
            connection.execute(statement).fetchall()

    def close(self) -> None:
        """Close the file, so that its write-ahead log goes into it."""
        if _sqlite.acquire(timeout=_FORK):
            try:
                self._let_go()
            finally:
                _sqlite.release()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if not _sqlite.acquire(timeout=_OPENING):
            raise Trouble(f"The journal {self.path} does not answer.", "Is it on a network share that hangs?")
        try:
            yield self._open()
        except (sqlite3.Error, OSError) as error:
            raise self._take_trouble(error) from None
        finally:
            self._leave_transaction()
            _sqlite.release()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and place.identity_of(self.path) == self.identity:
            return self._connection
        self._let_go()
        for _ in range(_TRIES):
            try:
                return self._connect()
            except sqlite3.OperationalError:
                if place.identity_of(self.path) == self.identity:
                    raise
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._located is None:
            self._located = self.path = place.locate(self.path)
        place.make_folder(self.path.parent, default=self._default)
        with place.alone_in(self.path.parent):
            return self._connect_alone(shared=place.is_shared(self.path.parent))

    def _connect_alone(self, *, shared: bool) -> sqlite3.Connection:
        open_here = [store.identity for store in _open]
        if place.identity_of(self.path) not in open_here and not place.prepared(self.path):
            place.make(self.path, shared=shared)
        self.identity = place.identity_of(self.path)
        # Never made by `connect`: a file that another process has just set aside must not come back empty.
        address = f"file:{quote(os.fsencode(self.path))}?mode=rw"
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY
        )
        try:
            self._set_up(connection, shared=shared)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        _open.append(self)
        return connection

    def _set_up(self, connection: sqlite3.Connection, *, shared: bool) -> None:
        for pragma in ("trusted_schema=OFF", "synchronous=NORMAL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if connection.execute("PRAGMA page_count").fetchone() == (0,):  # an empty file
            schema.prepare(connection, shared=shared)
        if not schema.is_ours(connection):
            raise place.foreign(self.path)
        if not shared and connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            with contextlib.suppress(sqlite3.OperationalError):  # others have it open; it works all the same
                connection.execute("PRAGMA journal_mode=WAL")
        if not schema.migrate(connection):
            raise place.newer(self.path)

    def _take_trouble(self, error: sqlite3.Error | OSError) -> Trouble:
        """What an error means; a damaged file of ours goes out of the way of a new one."""
        trouble = trouble_of(self.path, error)
        if not trouble.is_broken or self.identity is None:
            return trouble
        self.abandon()
        try:
            aside = place.set_aside(self.path, self.identity)
        except OSError as failure:
            return trouble_of(self.path, failure)
        hint = f"It was set aside as {aside}; a new one begins." if aside else "A new one has begun."
        return Trouble(trouble.message, hint, is_broken=True)

    def _leave_transaction(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _let_go(self) -> None:
        if self._connection is None:
            return
        with place.alone_in(self.path.parent):
            if place.identity_of(self.path) != self.identity:
                self.abandon()
                return
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        _open.remove(self)

    def abandon(self) -> None:
        """Forget the connection without closing it, ever."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None
            _open.remove(self)


def multi_row(sql: str, rows: Sequence[Sequence[Any]], ending: str = "") -> Iterator[Statement]:
    """Return as few statements as take all rows: each gives up the interpreter, which a busy thread keeps.

    Args:
        sql: up to VALUES.
        rows: of the same length.
        ending: what follows the values.
    """
    if not rows:
        return
    width = len(rows[0])
    one = f"({','.join('?' * width)})"
    step = max(1, min(_ROWS, _VARIABLES // width))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        yield f"{sql} VALUES {','.join([one] * len(some))} {ending}", [value for row in some for value in row]


def _before_fork() -> None:
    _held.append(_sqlite.acquire(timeout=_FORK))


def _after_fork_in_parent() -> None:
    if _held.pop():
        _sqlite.release()


def _after_fork_in_child() -> None:
    global _sqlite  # the parent's thread that may hold it is not here
    _sqlite = threading.Lock()
    _held.clear()
    for store in _open.copy():
        store.abandon()


if hasattr(os, "register_at_fork") and "_is_registered" not in globals():  # twice would wait for itself
    _is_registered = True
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
