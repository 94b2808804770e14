"""The journal's rows: what is new of each stream, as a few statements."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from gemini_nb.api.usage import NO_USAGE, Usage
from gemini_nb.journal.source import Figures, Source
from gemini_nb.journal.store import Statement, multi_row

DOLLAR = 10**12
"""Prices are whole trillionths of a dollar: a cached token of a small model costs 10,000 of them."""

_BLOB_FROM = 4_096  # characters of data that are kept once, by their hash
_LONG = 100_000  # characters of other texts likewise: JSON of 5 MB would hold up the loop for 50 ms
_BLOB_TO = 32_000_000  # characters that are not kept at all, so that one file does not drive out all else
_SHORT = 2_000  # bytes of details that are kept as they are
_LARGEST = 2**63 - 1
_USAGE = [one.name for one in fields(Usage)]
_encode = json.JSONEncoder(default=str).encode
_encode_usage = json.JSONEncoder(default=dict).encode

_FIXED = ("uid", "stream_id", "kernel", "model", "auth", "notebook", "cell", "started_at", "day")
_CHANGING = (
    *("model_version", "status", "finish_reason", "retries", "first_output_at", "ended_at"),
    *("usage", "input", "output", "cost", "saved", "kept"),
)
_ENTRY = (*_FIXED, *_CHANGING)
_TEXT = ("uid", "size", "prompt", "text", "error", "thoughts", "details")

Has = Callable[[Sequence[str]], set[str]]


def _identity() -> str:
    return secrets.token_hex(5)


_kernel: str = globals().get("_kernel") or _identity()  # survives a reload of this module


def kernel() -> str:
    """This process's name in the journal."""
    return _kernel


def born_at(pid: int) -> str:
    """When a process started, in the system's own words; empty where it does not say, or there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def process() -> list[Statement]:
    """The statement that registers this process, by which readers see what a dead one left unfinished."""
    pid = os.getpid()
    values = [_kernel, socket.gethostname(), pid, born_at(pid)]
    return [("INSERT OR IGNORE INTO processes (kernel, host, pid, born) VALUES (?, ?, ?, ?)", values)]


class Progress:
    """How much of a stream is written."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.has_ended = False
        self._version: int | None = None
        self._figures: Figures | None = None
        self._text = ""
        self._now: str | None = None
        self._next: tuple[Figures | None, str] = None, ""
        self._asked: tuple[str, Any] | None = None
        self._sent: dict[str, str] = {}
        self.data: dict[str, str] = {}
        """The large data of the row of texts that the last look gave, by its hashes."""

    def has_news(self) -> bool:
        """Whether something is new since the last time that this was asked."""
        before, self._version = self._version, self.source.version
        return self._version != before

    def is_large(self, limit: int) -> bool:
        """Whether its answer is longer than this many characters."""
        self._now = self.source.text()
        return len(self._now) > limit

    def look(self) -> tuple[list[Any] | None, list[Any] | None, list[Any] | None]:
        """Return the rows of what is new: of its figures, of a piece of its text, of all its texts."""
        uid, figures = self.source.uid, self.source.figures()
        text = self.source.text() if self._now is None else self._now
        self._next = figures, text
        is_new = self._figures is None
        piece = None
        if not self.has_ended and text != self._text:
            start = len(self._text) if text.startswith(self._text) else 0
            piece = [uid, start, _bindable(text[start:])]
        entry = _entry(uid, figures) if figures != self._figures else None
        return entry, piece, self._texts(text) if self.has_ended or is_new else None

    def written(self) -> None:
        """Note that the file holds what the last `look` returned."""
        self._figures, self._text = self._next
        self._now = None

    def _texts(self, text: str) -> list[Any]:
        """The row of its texts. What was asked is read once: it may hold large files."""
        if self._asked is None:
            asked = self.source.asked()
            self._asked = asked.prompt, _without_data(asked.details, self._sent)
        prompt, details = self._asked
        texts, self.data = self.source.texts(), self._sent.copy()
        packed = _packed({**details, **_without_data(texts.details, self.data)})
        parts = [prompt, text, texts.error, texts.thoughts]
        size = sum(len(part or "") for part in parts) + len(packed)
        return [self.source.uid, size, *map(_bindable, parts), packed]


def statements(some: Iterable[Progress], has: Has) -> list[Statement]:
    """Return what writes all that is new of these streams.

    Args:
        some: the streams.
        has: returns which of these hashes the file has data for.
    """
    entries, pieces, texts, ended = [], [], [], []
    data: dict[str, str] = {}
    uses: set[tuple[str, str]] = set()
    for progress in some:
        uid = progress.source.uid
        figures, piece, whole = progress.look()
        entries += [] if figures is None else [figures]
        pieces += [] if piece is None else [piece]
        if whole is not None:
            texts.append(whole)
            data |= progress.data
            uses |= {(uid, name) for name in progress.data}
        if progress.has_ended:
            ended.append(uid)
    known = has(list(data)) if data else set()
    blobs = [[name, zlib.compress(text.encode(), 1)] for name, text in data.items() if name not in known]
    return [
        *multi_row(_insert("entries", _ENTRY), entries, _updating(_CHANGING)),
        *multi_row(_insert("pieces", ["uid", "start", "text"]), pieces),
        *multi_row(_insert("texts", _TEXT), texts, _updating(_TEXT[1:])),
        *multi_row(_insert("blobs", ["hash", "data"], "OR IGNORE"), blobs),
        *multi_row(_insert("uses", ["uid", "hash"], "OR IGNORE"), sorted(uses)),
        *_forget_pieces(ended),
    ]


def _updating(names: Iterable[str]) -> str:
    return f"ON CONFLICT (uid) DO UPDATE SET {', '.join(f'{name}=excluded.{name}' for name in names)}"


def _insert(table: str, names: Sequence[str], how: str = "") -> str:
    return f"INSERT {how} INTO {table} ({', '.join(names)})"


def _forget_pieces(ended: Sequence[str]) -> list[Statement]:
    return [
        (f"DELETE FROM pieces WHERE uid IN ({','.join('?' * len(some))})", some)
        for start in range(0, len(ended), 1000)
        if (some := ended[start : start + 1000])
    ]


def _entry(uid: str, figures: Figures) -> list[Any]:
    usage, spent = figures.usage, figures.spent
    shown = {name: count for name in _USAGE if (count := getattr(usage, name)) != getattr(NO_USAGE, name)}
    made = {
        "uid": uid,
        "kernel": _kernel,
        "day": time.strftime("%Y-%m-%d", time.localtime(figures.started_at)),
        "usage": _encode_usage(shown),
        "input": spent.prompt_token_count + spent.tool_use_prompt_token_count,
        "output": spent.candidates_token_count + spent.thoughts_token_count,
        "cost": _trillionths(figures.cost),
        "saved": _trillionths(figures.saved),
    }
    return [_bindable(made[name] if name in made else getattr(figures, name)) for name in _ENTRY]


def _packed(details: Any) -> bytes:
    plain = _encode(details).encode()
    # Compressing gives up the interpreter, which a computing cell is slow to give back, for each stream.
    return plain if len(plain) < _SHORT else zlib.compress(plain, 1)


def unpack(details: bytes, find: Callable[[str], str | None]) -> Any:
    """Return the JSON values of a row; data that was not kept is None.

    Args:
        details: the row's column.
        find: gives large data by its hash.
    """
    plain = details if details.startswith(b"{") else zlib.decompress(details)
    return _with_data(json.loads(plain), find)


def _without_data(value: Any, data: dict[str, str]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_without_data(item, data) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        if isinstance(item, str):
            is_large = len(item) >= (_BLOB_FROM if name == "data" else _LONG)
            made[name] = _exchange(item, data) if is_large else item
        elif name == "settings" and item:
            made[name] = _exchange(_encode(item), data)
        else:
            made[name] = _without_data(item, data)
    return made


def _exchange(text: str, data: dict[str, str]) -> dict[str, str]:
    name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if len(text) <= _BLOB_TO:
        data[name] = text
    return {"$blob": name}


def _with_data(value: Any, find: Callable[[str], str | None]) -> Any:
    if isinstance(value, list):
        return [_with_data(item, find) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, item in value.items():
        if isinstance(item, dict) and list(item) == ["$blob"]:
            text = find(str(item["$blob"]))
            made[name] = json.loads(text) if name == "settings" and text is not None else text
        else:
            made[name] = _with_data(item, find)
    return made


def _trillionths(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int((dollars * DOLLAR).to_integral_value())


def _bindable(value: Any) -> Any:
    """A value that SQLite takes: no half of a character, no number of a server's that is too large."""
    if value is None or type(value) is float:
        return value
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return value.encode("utf-8", "replace").decode()
        return str(value)
    if isinstance(value, int):
        return max(-_LARGEST, min(_LARGEST, value))
    return value


def _after_fork() -> None:
    global _kernel  # the child is another process
    _kernel = _identity()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
