"""A file of kept answers, one a line, or a folder with such a file for each process.

The file is there to be shared: it is committed beside a notebook, merged as text, and sent to others. So it
is never rewritten unasked: answers are appended, and the last line of a key wins. And its lines are not
trusted: one that is no record is passed over, a symbolic link is not followed, and a file that holds
something else is not written to.
"""

from __future__ import annotations

import codecs
import errno
import itertools
import os
import re
import secrets
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from gemini_nb.errors import ConfigError
from gemini_nb.journal.kept.call_record import CallRecord, RecordError
from gemini_nb.journal.kept.key import key_of, like_keys

_BEGIN = re.compile(rb'\s*\{\s*"key"\s*:')  # other programs set spaces as they like
_HEAD = re.compile(_BEGIN.pattern + rb'\s*"([0-9a-f]{64})"\s*,')
_MARK = codecs.BOM_UTF8  # which some editors set before the first line
_LONGEST = 64 * 2**20
_COMPARED = 2000
_TAIL = 80  # bytes of the last line that was read, by which it is known again
_SEPARATORS = tuple(one for one in (os.sep, os.altsep) if one)


_State = tuple[int, int, int, int]
"""Device, inode, size and time of the last change."""


@dataclass(slots=True, eq=False)
class _Source:
    """What is known of one file."""

    path: Path
    state: _State | None = None
    read_to: int = 0
    tail: bytes = b""
    good: int = 0
    bad: int = 0

    def goes_on(self, file: BinaryIO) -> bool:
        """Whether the file still holds what was read of it."""
        if self.state is not None and _state_of(os.fstat(file.fileno()))[:2] != self.state[:2]:
            return False
        file.seek(self.read_to - len(self.tail))
        return file.read(len(self.tail)) == self.tail


_Place = tuple[_Source, int, int]
"""A line: its file, where it begins, and its length."""


class KeepFile:
    """The kept answers at one path. From any thread; all methods read or write files.

    Args:
        path: a file, which is made with the first answer, or a folder; what ends with a separator is one.
        read_only: whether nothing will be written.

    Raises:
        ConfigError: it cannot be a file of kept answers.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        given = os.fspath(path)
        try:
            self.path = Path(given).expanduser().absolute()
            self.is_folder = self.path.is_dir() or str(given).endswith(_SEPARATORS)
            self._check(must_exist=read_only)
        except ConfigError:
            raise
        except (OSError, ValueError, RuntimeError) as error:  # the last where there is no home folder
            raise ConfigError(f"Answers cannot be kept in {str(given)[:200]!r}: {error}.") from None
        self._lock = threading.RLock()
        self._sources: dict[Path, _Source] = {}
        self._index: dict[bytes, list[_Place]] = {}
        self._like: dict[str, str] | None = None
        self._heads: list[CallRecord] | None = None
        self._own: Path | None = None
        self._warned: set[str] = set()
        self._warnings: list[str] = []

    def _check(self, *, must_exist: bool) -> None:
        path = self.path
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            if must_exist:
                raise ConfigError(
                    f"There is no file of kept answers {str(path)!r}.",
                    hint="Ask once with a key and keep= this file, or name another.",
                ) from None
            if not path.parent.is_dir():
                raise ConfigError(
                    f"Answers cannot be kept in {str(path)!r}: there is no folder {str(path.parent)!r}.",
                    hint="Make it first, or name another file.",
                ) from None
            return
        if stat.S_ISLNK(mode) and not self.is_folder:
            raise ConfigError(
                f"{str(path)!r} is a symbolic link, which a shared folder may point anywhere.",
                hint="Name the file that it points to.",
            )
        if not (stat.S_ISREG(mode) or self.is_folder):
            raise ConfigError(f"{str(path)!r} is neither a file nor a folder.", hint="Name another file.")

    def find(self, key: str) -> CallRecord | None:
        """Return the newest answer of this key, None where there is none."""
        with self._lock:
            self._refresh()  # others may have added it, or asked anew
            return self._newest(bytes.fromhex(key))

    def find_like(self, key: str) -> CallRecord | None:
        """Return the newest answer to a question with this plain or loose key; see `Question`."""
        with self._lock:
            self._refresh()
            if self._like is None:
                self._like = {like: record.key for record in self.records() for like in like_keys(record)}
            exact = self._like.get(key)
            return None if exact is None else self._newest(bytes.fromhex(exact))

    def records(self) -> Iterator[CallRecord]:
        """Return the newest answer of each key, in the order in which they stand."""
        with self._lock:
            self._refresh()
        yield from self._in_order()

    def _in_order(self, *, newest_first: bool = False) -> Iterator[CallRecord]:
        with self._lock:
            keys = sorted(self._index, key=self._order, reverse=newest_first)
        for key in keys:
            with self._lock:
                if (record := self._newest(key)) is not None:
                    yield record

    def newest(self) -> list[CallRecord]:
        """Return the newest 2,000 answers without their chunks, the newest first, for comparing."""
        with self._lock:
            self._refresh()
            if self._heads is None:
                kept = itertools.islice(self._in_order(newest_first=True), _COMPARED)
                self._heads = [replace(record, chunks=()) for record in kept]
            return self._heads

    def append(self, record: CallRecord) -> None:
        """Write an answer down; when this returns, others can read it.

        Raises:
            OSError: it cannot be written.
            ConfigError: the file is another program's.
        """
        line = record.to_json().encode()
        with self._lock:
            self._refresh()
            path = self._writable()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | _BINARY
            file = os.open(path, flags, 0o666)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line
                left = memoryview(line)
                while left:  # a full disk takes a part of it
                    left = left[os.write(file, left) :]
            finally:
                os.close(file)
            self._refresh()

    def clear(self) -> int:
        """Empty it, and return how many answers it held.

        Raises:
            OSError: it cannot be written.
            ConfigError: it is another program's.
        """
        with self._lock:
            self._refresh()
            count = len(self._index)
            for path, source in list(self._sources.items()):
                self._check_ours(source)
                with _opened(path, os.O_RDWR) as file:
                    file.truncate(0)
                self._forget(source)
            return count

    def take_warnings(self) -> list[str]:
        """Return what the user should know, each warning once."""
        with self._lock:
            taken, self._warnings = self._warnings, []
            return taken

    def warn(self, text: str) -> None:
        """Add a warning, once for this file."""
        with self._lock:
            if text not in self._warned:
                self._warned.add(text)
                self._warnings.append(text)

    # ------------------------------------------------------------------------------------------- the index

    def _newest(self, key: bytes) -> CallRecord | None:
        while places := self._index.get(key):
            source, start, length = places[-1]
            try:
                return self._read(source.path, start, length, key.hex())
            except (RecordError, OSError):
                if _state(source.path) != source.state:  # it was written anew: its lines stand elsewhere
                    self._refresh()
                    continue
                places.pop()
                if not places:
                    del self._index[key]
                self._warn_of_lines(source.path)
        return None

    def _read(self, path: Path, start: int, length: int, key: str) -> CallRecord:
        with _opened(path) as file:
            file.seek(start)
            record = CallRecord.from_json(file.read(length))
        if not record.key == key == key_of(record.service, record.model, record.number, record.question):
            raise RecordError("its key is another question's")
        return record

    def _order(self, key: bytes) -> tuple[int, int]:
        source, start, _ = self._index[key][-1]
        return list(self._sources).index(source.path), start

    def _refresh(self) -> None:
        """Read what was added since, or all of what was written anew."""
        paths = self._paths()
        for path in self._sources.keys() - set(paths):
            self._forget(self._sources[path])
        for path in paths:
            source = self._sources.get(path) or _Source(path)
            if _state(path) == source.state:
                continue
            try:
                with _opened(path) as file:
                    if not source.goes_on(file):
                        self._forget(source)
                        source = _Source(path)
                    self._sources[path] = source
                    self._scan(source, file)
                    source.state = _state_of(os.fstat(file.fileno()))
            except FileNotFoundError:
                self._forget(source)
            except OSError as error:
                self._forget(source)
                self.warn(f"The kept answers in {path.name} cannot be read: {error.strerror}.")

    def _forget(self, source: _Source) -> None:
        if self._sources.pop(source.path, None) is not None:
            self._like = self._heads = None
            for key, places in list(self._index.items()):
                places[:] = [place for place in places if place[0] is not source]
                if not places:
                    del self._index[key]

    def _paths(self) -> list[Path]:
        if not self.is_folder:
            return [self.path]
        try:
            found = [(entry.stat(follow_symlinks=False), entry) for entry in os.scandir(self.path)]
        except OSError:
            return []
        files = [
            (facts.st_mtime_ns, self.path / entry.name)
            for facts, entry in found
            if entry.name.endswith(".jsonl") and stat.S_ISREG(facts.st_mode)
        ]
        return [path for _, path in sorted(files)]

    def _scan(self, source: _Source, file: BinaryIO) -> None:
        self._like = self._heads = None
        start = source.read_to
        file.seek(start)
        while line := file.readline(_LONGEST):
            length, is_whole = len(line), line.endswith(b"\n")
            while not is_whole and (more := file.readline(_LONGEST)):  # a line that is longer than any record
                length, is_whole = length + len(more), more.endswith(b"\n")
            mark = len(_MARK) if start == 0 and line.startswith(_MARK) else 0
            head = _HEAD.match(line, mark) if length == len(line) else None
            if head is not None:
                self._add(bytes.fromhex(head[1].decode()), (source, start + mark, length - mark))
            elif line[mark:].strip():
                source.bad += 1
            source.good += head is not None or _BEGIN.match(line, mark) is not None
            start += length
            if is_whole:  # else its rest may follow
                source.read_to, source.tail = start, line[-_TAIL:]
        if source.bad:
            self._warn_of_lines(source.path)

    def _add(self, key: bytes, place: _Place) -> None:
        places = self._index.setdefault(key, [])
        if places and places[-1][:2] == place[:2]:  # its rest has come
            places.pop()
        places.append(place)

    def _warn_of_lines(self, path: Path) -> None:
        self.warn(f"{path.name} has lines that are not kept answers; they were passed over.")

    # ------------------------------------------------------------------------------------------- writing

    def _writable(self) -> Path:
        if not self.is_folder:
            if (source := self._sources.get(self.path)) is not None:
                self._check_ours(source)
            return self.path
        if self._own is None:
            self.path.mkdir(exist_ok=True)
            host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:40]
            self._own = self.path / f"answers-{host}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
        return self._own

    def _check_ours(self, source: _Source) -> None:
        if source.bad and not source.good:
            raise ConfigError(
                f"{source.path.name} holds something else than kept answers, so it is left as it is.",
                hint="Name another file.",
            )


_BINARY: int = getattr(os, "O_BINARY", 0)


def _state(path: Path) -> _State | None:
    try:
        return _state_of(path.lstat())
    except OSError:
        return None


def _state_of(facts: os.stat_result) -> _State:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _opened(path: Path, flags: int = os.O_RDONLY) -> BinaryIO:
    """Open a regular file; a pipe would block, and a link lead elsewhere."""
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | _BINARY
    file = os.fdopen(os.open(path, flags | more), "rb" if flags == os.O_RDONLY else "r+b")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file
