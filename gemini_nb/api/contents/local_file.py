"""A file of this machine while it is read: in pieces, and with a look at whether it changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from gemini_nb.errors import ConfigError

_READ = 2**20

Signature = tuple[int, int, int, int]
"""Device, inode, size, and time of the last change in nanoseconds."""


class LocalFile:
    """An open file of this machine, which must not change while it is read. Its methods block.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = printable(path.name)
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._file = path.open("rb", buffering=0)
            self.signature = self._sign()
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error) from None
        self.size: int = self.signature[2]

    def digest(self) -> str:
        """Return the SHA-256 of the content in hexadecimal digits.

        Raises:
            ConfigError: it cannot be read, or it changes meanwhile.
        """
        digest, offset = hashlib.sha256(), 0
        while offset < self.size:
            data = self.read(offset, min(_READ, self.size - offset))
            digest.update(data)
            offset += len(data)
        return digest.hexdigest()

    def read(self, offset: int, size: int) -> bytes:
        """Return that many bytes.

        Raises:
            ConfigError: it cannot be read, or it has changed since it was opened.
        """
        parts = []
        with self._lock:
            try:
                self._file.seek(offset)
                while size and not self._closed and (part := self._file.read(size)):
                    parts.append(part)
                    size -= len(part)
                now = self._sign()
            except (OSError, ValueError) as error:
                raise unreadable(self.path, error) from None
            finally:
                if self._closed:
                    self._file.close()
        if size or now != self.signature:
            raise ConfigError(
                f"{self.shown} changed while it was read, so that it was not sent.",
                hint="Ask again when nothing writes to it any more.",
            )
        return b"".join(parts)

    def close(self) -> None:
        """Close it; a thread that still reads it ends, and is not waited for."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            self._file.close()
            self._lock.release()

    def _sign(self) -> Signature:
        found = os.fstat(self._file.fileno())
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def printable(text: str) -> str:
    """Return a file's name as it can be shown and sent: without control characters and broken ones."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in whole)


def unreadable(path: Path, error: Exception) -> ConfigError:
    """Return the error for a file that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return ConfigError(f"{printable(str(path))} cannot be read: {reason}.")
