"""The journal's tables. Figures and texts stand apart: texts are pruned, figures stay."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x67_6E_62_6A
"""`gnbj`, by which the file is known as ours."""

_FIRST = """
CREATE TABLE processes (kernel TEXT PRIMARY KEY, host TEXT, pid INTEGER, born TEXT) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, stream_id TEXT NOT NULL,
    kernel TEXT NOT NULL, model TEXT, model_version TEXT, auth TEXT, status TEXT,
    finish_reason TEXT, retries INTEGER,
    notebook TEXT, cell TEXT, started_at REAL, first_output_at REAL, ended_at REAL, day TEXT,
    usage TEXT, input INTEGER, output INTEGER, cost INTEGER, saved INTEGER, kept REAL
);
CREATE INDEX entries_by_stream ON entries (stream_id);
CREATE INDEX entries_by_notebook ON entries (notebook);
CREATE INDEX entries_figures ON entries (model, day, notebook, kernel, input, output, cost, saved);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, size INTEGER,
    prompt TEXT, text TEXT, error TEXT, thoughts TEXT, details BLOB
);
CREATE INDEX texts_size ON texts (size);
CREATE TABLE pieces (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, start INTEGER, text TEXT);
CREATE INDEX pieces_by_uid ON pieces (uid);
CREATE TABLE blobs (hash TEXT PRIMARY KEY, data BLOB);
CREATE TABLE uses (uid TEXT, hash TEXT, PRIMARY KEY (uid, hash)) WITHOUT ROWID;
CREATE INDEX uses_by_hash ON uses (hash);
"""

_SIMULATED_APART = """
DROP INDEX entries_figures;
CREATE INDEX entries_figures ON entries (model, day, notebook, kernel, auth, input, output, cost, saved);
"""

_UPLOADS = """
CREATE TABLE IF NOT EXISTS uploads (
    service TEXT, owner TEXT, name TEXT, hash TEXT, mime_type TEXT, uri TEXT, path TEXT, size INTEGER,
    uploaded_at REAL, expires_at REAL, PRIMARY KEY (service, owner, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_hash ON uploads (hash);
"""

_STEPS = (_FIRST, _SIMULATED_APART, _UPLOADS)
"""The statements of each version, which a file of the version before runs to become one."""

VERSION = len(_STEPS)


def prepare(connection: sqlite3.Connection, *, shared: bool) -> None:
    """Make the tables in a new file."""
    if not shared:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    migrate(connection)


def migrate(connection: sqlite3.Connection) -> bool:
    """Bring the tables to this version; False where they are of a newer one.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    if _version(connection) < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for step in _STEPS[_version(connection) :]:
                for statement in filter(str.strip, step.split(";")):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    return _version(connection) == VERSION


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the file has our mark, and nothing in it that acts by itself, as views and triggers do."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (acting,) = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')"
    ).fetchone()
    return bool(application == APPLICATION_ID and not acting)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
