"""Where the journal is: which file a path means, whose it is, and how it is made.

SQLite never waits while a file becomes one with a write-ahead log, so of many kernels that open a missing
journal at once some would fail. It is therefore made under another name and linked to its place when it is
complete. Side files take the mode that the main file has when they are made, so that mode is right first.

SQLite finds the side files by the journal's name: at the first statement, not when the file is opened, and
again when it is closed. A kernel that opened a damaged journal which another one sets aside at that moment
would take, or delete, the side files of the new one. So they are opened, closed, made and moved by one
process at a time: see `alone_in`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from gemini_nb.journal.schema import APPLICATION_ID, VERSION, prepare
from gemini_nb.journal.trouble import Trouble

_SIDES = ("-wal", "-shm", "-journal")
_MAGIC = b"SQLite format 3\x00"
_NETWORK = re.compile(r"(nfs|fuse\.|fuse$|ceph|cifs|smb|9p$|lustre$|gpfs$|afs|beegfs|glusterfs)")
_MOUNTS = Path("/proc/self/mountinfo")
_NAME = "journal.db"
_PATIENCE = 5.0  # seconds for which a process waits for its turn in a folder
_STEP = 0.005  # seconds between two looks whether it is its turn
_FOREIGN = "Name another file with GEMINI_NB_JOURNAL=PATH, or turn the journal off: GEMINI_NB_JOURNAL=off."


def locate(path: Path) -> Path:
    """Return the file that a configured path means: in a folder `journal.db`, on a network share one a host.

    A write-ahead log needs the memory of one machine, so machines must not share a file.

    Raises:
        Trouble: it is no path.
    """
    if "\0" in str(path):
        raise Trouble(f"{str(path)!r} is no path, so it is no journal.", _FOREIGN, is_final=True)
    if path.is_dir():
        path /= _NAME
    if not is_shared(path.parent):
        return path
    host = re.sub(r"[^\w.-]", "_", socket.gethostname()) or "host"
    return path.with_name(f"{path.stem}-{host}{path.suffix}")


def is_shared(folder: Path) -> bool:
    """Whether a folder lies on a file system that other machines see, as far as the system says."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    real, longest, kind = os.path.realpath(folder), "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(longest):
            longest, kind = point, after.split(" ")[0]
    return bool(_NETWORK.match(kind))


def make_folder(folder: Path, *, default: bool) -> None:
    """Make the journal's folder.

    Args:
        folder: the folder.
        default: whether it is ours alone, so that no other user may read it.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if default and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def prepared(path: Path) -> bool:
    """Say whether the file is there; whatever is no journal of ours is left alone.

    Never call this while the process has the file open in SQLite: closing any descriptor of a file drops all
    locks that the process holds on it.

    Raises:
        Trouble: another program's file, one of a newer version, or no file at all.
        OSError: it cannot be read.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        raise Trouble(f"{path} is not a file, so it is no journal.", _FOREIGN, is_final=True)
    if found.st_size:
        with path.open("rb", buffering=0) as file:
            _check_header(path, file.read(100))
    for name in (path, *_sides(path)):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(name.stat().st_mode) & 0o077:
                name.chmod(0o600)
    return True


def _check_header(path: Path, header: bytes) -> None:
    """Refuse what is not ours, or newer than this program, by the file's first bytes."""
    application = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or application != APPLICATION_ID:
        raise foreign(path)
    if int.from_bytes(header[60:64], "big") > VERSION:
        raise newer(path)


def foreign(path: Path) -> Trouble:
    """The trouble with a file of another program's."""
    return Trouble(f"{path} is not a journal of gemini_nb; it is left as it is.", _FOREIGN, is_final=True)


def newer(path: Path) -> Trouble:
    """The trouble with a file that a later version of this program wrote."""
    return Trouble(
        f"The journal {path} was written by a newer gemini_nb; it is left as it is.",
        f"Update gemini_nb. {_FOREIGN}",
        is_final=True,
    )


def make(path: Path, *, shared: bool) -> None:
    """Make the file, complete from its first moment; where another process was faster, its file stays.

    Call it in `alone_in`.

    Raises:
        OSError: the folder takes no file.
        sqlite3.Error: the disk is full, for example.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(unfinished, isolation_level=None)
        try:
            prepare(connection, shared=shared)
        finally:
            connection.close()
        if not path.exists():
            _move_sides(path, _stamp())  # of a file that is gone; a new one would be mixed with them
            _link(unfinished, path)
    finally:
        for name in (unfinished, *_sides(unfinished)):
            name.unlink(missing_ok=True)


def _link(unfinished: Path, path: Path) -> None:
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        unfinished.rename(path)


def set_aside(path: Path, identity: tuple[int, int]) -> Path | None:
    """Move a damaged journal and its side files out of the way.

    None where another process already did, and where another program has written something else there.

    Args:
        path: the file.
        identity: of the file that was opened.

    Raises:
        OSError: they cannot be moved.
    """
    with alone_in(path.parent):
        if identity_of(path) != identity or not _begins_as_sqlite(path):
            return None
        stamp = _stamp()
        _move_sides(path, stamp)  # first: they would be replayed into the next file of this name
        aside = path.with_name(f"{path.name}.{stamp}")
        path.rename(aside)
        return aside


def _begins_as_sqlite(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file a path is at this moment; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stamp() -> str:
    return f"broken-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _sides(path: Path) -> list[Path]:
    return [path.with_name(path.name + side) for side in _SIDES]


def _move_sides(path: Path, stamp: str) -> None:
    for side in _sides(path):
        with contextlib.suppress(FileNotFoundError):
            side.rename(side.with_name(f"{path.name}.{stamp}{side.name.removeprefix(path.name)}"))


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from making, opening, closing or moving a journal in this folder meanwhile.

    Where the system cannot see to it, or a process holds the folder for seconds, it goes on all the same.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it may be entered, but not listed
        yield
        return
    try:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_STEP)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a fork took the descriptor
        os.close(descriptor)
