"""What keeps the journal from its file, whose fault it is, and what the user can do."""

from __future__ import annotations

import sqlite3

_OFF = "Or turn the journal off: GEMINI_NB_JOURNAL=off."


class Trouble(Exception):  # noqa: N818 - a state of the file, which no caller gets
    """The file cannot be used, now or at all.

    Attributes:
        message: what happened, in one sentence.
        hint: what the user can do.
        is_final: whether trying again cannot help.
        is_broken: whether the file is damaged.
        is_passing: whether it passes as a rule in a moment, as when other kernels write.
    """

    def __init__(
        self,
        message: str,
        hint: str,
        *,
        is_final: bool = False,
        is_broken: bool = False,
        is_passing: bool = False,
    ) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint
        self.is_final = is_final
        self.is_broken = is_broken
        self.is_passing = is_passing


_ELSEWHERE = f"Name a file in another folder with GEMINI_NB_JOURNAL=PATH. {_OFF}"
_KNOWN = {
    sqlite3.SQLITE_BUSY: (
        "another program holds it locked",
        f"It is written when that program lets go. {_OFF}",
    ),
    sqlite3.SQLITE_LOCKED: ("it is locked", f"It is written when that ends. {_OFF}"),
    sqlite3.SQLITE_FULL: ("the disk is full", f"It is written when there is room again. {_OFF}"),
    sqlite3.SQLITE_READONLY: ("it is read-only", _ELSEWHERE),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", _ELSEWHERE),
    sqlite3.SQLITE_PERM: ("it may not be opened", _ELSEWHERE),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", _ELSEWHERE),
}
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def trouble_of(path: object, error: sqlite3.Error | OSError) -> Trouble:
    """Return what an error of SQLite's or of the system's means for the journal."""
    if isinstance(error, OSError):
        return Trouble(f"The journal {path} cannot be used: {error.strerror or error}.", _ELSEWHERE)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BROKEN:
        return Trouble(f"The journal {path} is damaged.", "", is_broken=True)
    reason, hint = _KNOWN.get(code, (str(error), _ELSEWHERE))
    return Trouble(f"The journal {path} cannot be used: {reason}.", hint, is_passing=code in _PASSING)
