"""Reading the journal: entries, frames and sums, of this kernel and of all that were before it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gemini_nb.api.contents.values import import_pandas
from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import objects
from gemini_nb.config import whole_number
from gemini_nb.errors import ConfigError, StreamNotFoundError
from gemini_nb.journal import prune, rows, uploads
from gemini_nb.journal.columns import PastCall, call_from, checked, dollars, usage_from, whole
from gemini_nb.journal.trouble import Trouble
from gemini_nb.journal.uploads import Uploaded
from gemini_nb.journal.writer import Writer
from gemini_nb.redaction import excerpt_of

_GROUPS = {"model": "model", "day": "day", "notebook": "notebook", None: "NULL"}
_COLUMNS = (
    "e.id, e.uid, e.stream_id, e.model, e.model_version, e.auth, e.status, e.finish_reason, e.retries, "
    "e.notebook, e.cell, e.started_at, e.first_output_at, e.ended_at, e.usage, e.cost, e.saved, e.kept, "
    "e.kernel, p.host, p.pid, p.born, t.prompt, t.text, t.error, t.thoughts, t.details"
)
_SAME = (
    *("stream_id", "model", "model_version", "auth", "finish_reason", "retries", "notebook", "cell"),
    *("started_at", "first_output_at", "ended_at"),
)
_FROM = "FROM entries e LEFT JOIN texts t USING (uid) LEFT JOIN processes p USING (kernel)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stream as the journal has it, also of another kernel.

    Of an old entry the texts may have been pruned: `prompt` and `text` are empty then, the figures stay.

    Attributes:
        id: its name, unique across kernels.
        stream_id: the stream's name in its kernel.
        model: the model's id, as it was asked for.
        model_version: the model that answered.
        auth: the service that answered.
        status: "active", "completed", "error" or "stopped".
        prompt: what was asked.
        text: the answer, as far as it came.
        thoughts: the summary of the model's thoughts.
        usage: tokens of all model calls.
        cost: in US dollars, None where no price is known.
        saved: what a kept answer would have cost.
        error: why it failed.
        finish_reason: Gemini's word for why the last model call ended.
        tool_calls: every call, in the model's order.
        parts: the model's parts as they came.
        sources: what the service said of each model call beside them: grounding, citations, pages.
        retries: model calls that were made again.
        kept: when the kept answer that it came from was made, None where it was asked for.
        notebook: the notebook's path, None where it is not known.
        cell: the id of its cell, likewise.
        process: the host and process that ran it, such as "lab:4711".
        started_at: in seconds since the epoch.
        first_output_at: likewise, None where nothing came.
        ended_at: likewise, None where its end is not known.
        is_pruned: whether its texts are gone.
    """

    id: str
    stream_id: str
    model: str
    model_version: str | None
    auth: str
    status: str
    prompt: str
    text: str = field(repr=False)
    thoughts: str = field(repr=False)
    usage: Usage = field(repr=False)
    cost: Decimal | None
    saved: Decimal | None
    error: str | None
    finish_reason: str | None
    tool_calls: tuple[PastCall, ...] = field(repr=False)
    parts: tuple[Any, ...] = field(repr=False)
    sources: tuple[Any, ...] = field(repr=False)
    retries: int
    kept: datetime | None
    notebook: str | None
    cell: str | None
    process: str
    started_at: float
    first_output_at: float | None
    ended_at: float | None
    is_pruned: bool


class UsageRow(NamedTuple):
    """What one model, day or notebook used. What was simulated stands in a row of its own.

    Attributes:
        key: the model, the day as "2026-11-27", or the notebook's path; None where it is not known.
        streams: how many there were.
        input_tokens: tokens of prompts, those of every round of tools included.
        output_tokens: tokens of answers and thoughts.
        cost: in US dollars, as far as prices are known; None where none is.
        saved: what kept answers would have cost.
        unpriced: streams without a known price.
        simulated: whether the simulator answered them, so that nothing was paid.
    """

    key: str | None
    streams: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    saved: Decimal
    unpriced: int
    simulated: bool = False


class Journal:
    """The answers that were kept on this machine."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.store.path

    def streams(
        self, limit: int | None = 100, notebook: str | None = None, *, text: str | None = None
    ) -> list[Entry]:
        """Return entries, newest first.

        Args:
            limit: how many at most, None for all.
            notebook: only those of this notebook's path, or of its name.
            text: only those whose prompt or answer has this in it.

        Raises:
            ConfigError: the journal cannot be read, or the limit is no number of entries.
        """
        where, values = _where(notebook, text)
        sql = f"SELECT {_COLUMNS} {_FROM} {where} ORDER BY e.id DESC LIMIT ?"
        return [self._entry(row) for row in self._read(sql, [*values, _most(limit)])]

    def get(self, id: str) -> Entry:  # noqa: A002 - the name is fixed
        """Return the entry of this id, or the newest of this stream's name.

        Raises:
            StreamNotFoundError: there is none.
            ConfigError: the journal cannot be read.
        """
        for column in ("uid", "stream_id"):
            sql = f"SELECT {_COLUMNS} {_FROM} WHERE e.{column} = ? ORDER BY e.id DESC LIMIT 1"
            if found := self._read(sql, [str(id)]):
                return self._entry(found[0])
        raise StreamNotFoundError(
            f"The journal has no entry {id!r}.", hint="%gemini_history lists what it has."
        )

    def ids(self, beginning: str = "", limit: int = 50) -> list[str]:
        """Return the newest ids that begin so, as far as they are written; none where it cannot be read."""
        sql = "SELECT uid FROM entries WHERE uid LIKE ? ESCAPE '!' ORDER BY id DESC LIMIT ?"
        try:
            return [uid for (uid,) in self._writer.store.read(sql, [f"{_escaped(beginning)}%", limit])]
        except Trouble:
            return []

    def uploads(self) -> list[Uploaded]:
        """Return the files that were uploaded from this machine and have not expired, the oldest first.

        Raises:
            ConfigError: the journal cannot be read.
        """
        with _saying_trouble():
            return uploads.known(self._writer.store)

    def usage(
        self,
        by: Literal["model", "day", "notebook"] | None = "model",
        *,
        since: str | None = None,
        kernel: bool = False,
    ) -> list[UsageRow]:
        """Return sums by model, day or notebook, the largest cost first, days in their order.

        Args:
            by: what to sum by; None for one sum of all, and one of what was simulated, if anything was.
            since: from this day on, such as "2026-11-01".
            kernel: of this kernel alone.

        Raises:
            ConfigError: there are no such sums, or the journal cannot be read.
        """
        if not isinstance(by, (str, type(None))) or by not in _GROUPS:
            raise ConfigError(f'Usage is summed by "model", "day" or "notebook", not {by!r}.')
        where, values = "1", list[Any]()
        if since is not None:
            where, values = f"{where} AND day >= ?", [*values, since]
        if kernel:
            where, values = f"{where} AND kernel = ?", [*values, rows.kernel()]
        order = "1, 2" if by == "day" else "2, 6 DESC, 4 + 5 DESC"
        sql = (
            f"SELECT {_GROUPS[by]}, auth = 'simulator', count(*), total(input), total(output), sum(cost), "
            f"sum(saved), count(cost) FROM entries INDEXED BY entries_figures WHERE {where} "
            f"GROUP BY 1, 2 ORDER BY {order}"
        )
        found = [
            UsageRow(
                key if isinstance(key, str) else None,
                count,
                whole(sent),
                whole(got),
                dollars(cost),
                dollars(saved) or Decimal(),
                count - priced,
                bool(simulated),
            )
            for key, simulated, count, sent, got, cost, saved, priced in self._read(sql, values)
        ]
        return found or ([UsageRow(None, 0, 0, 0, None, Decimal(), 0)] if by is None else [])

    def to_frame(self, limit: int | None = None, notebook: str | None = None) -> Any:
        """Return entries as a pandas DataFrame, newest first.

        Args:
            limit: how many at most, None for all.
            notebook: only those of this notebook.

        Raises:
            ConfigError: pandas is not installed, or the journal cannot be read.
        """
        pd = import_pandas()
        names = [
            one.name for one in fields(Entry) if one.name not in {"usage", "parts", "sources", "tool_calls"}
        ]
        data = [
            {name: getattr(entry, name) for name in names}
            | {
                name: value if value is None else float(value)
                for name, value in (("cost", entry.cost), ("saved", entry.saved))
            }
            | {"tokens": entry.usage.total_token_count, "tool_calls": len(entry.tool_calls)}
            for entry in self.streams(limit, notebook)
        ]
        frame = pd.DataFrame(data, columns=[*names, "tokens", "tool_calls"])
        for name in ("started_at", "first_output_at", "ended_at"):
            frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
        return frame

    def clear(self, notebook: str | None = None) -> int:
        """Delete all entries, texts and figures, and return how many those were.

        Args:
            notebook: only those of this notebook's path, or of its name.

        Raises:
            ConfigError: the journal cannot be written.
        """
        where, values = _where(notebook, None)
        uids = [uid for (uid,) in self._read(f"SELECT e.uid FROM entries e {where}", values)]
        with _saying_trouble():
            prune.clear(self._writer.store, uids)
            if notebook is None:
                uploads.clear(self._writer.store)
        return len(uids)

    def _read(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        self._writer.flush()
        with _saying_trouble():
            return self._writer.store.read(sql, values)

    def _entry(self, row: Sequence[Any]) -> Entry:
        names = [name.rpartition(".")[2] for name in _COLUMNS.split(", ")]
        one = checked(names, row)
        details = self._details(one["details"])
        status, error = one["status"], one["error"]
        if status == "active":
            one["text"] = self._text_so_far(one["uid"])
            if not _is_alive(one["kernel"], one["host"], one["pid"], one["born"]):
                status, error = "error", "Its kernel ended before the answer did; what had come is here."
        return Entry(
            id=one["uid"],
            status=status,
            error=error,
            prompt=one["prompt"] or "",
            text=one["text"] or "",
            thoughts=one["thoughts"] or "",
            usage=usage_from(_json(one["usage"])),
            cost=dollars(one["cost"]),
            saved=dollars(one["saved"]),
            tool_calls=tuple(filter(None, map(call_from, objects(details.get("tool_calls"))))),
            parts=tuple(objects(details.get("parts"))),
            sources=tuple(
                source for source in objects(details.get("sources")) if objects(list(source.values()))
            ),
            kept=None if one["kept"] is None else datetime.fromtimestamp(one["kept"], UTC),
            process=f"{one['host']}:{one['pid']}",
            is_pruned=one["details"] is None,
            **{name: one[name] for name in _SAME},
        )

    def _details(self, packed: bytes | None) -> dict[str, Any]:
        if packed is None:
            return {}
        try:
            details = rows.unpack(packed, self._data)
        except (ValueError, TypeError, AttributeError, zlib.error, RecursionError):
            return {}
        return details if isinstance(details, dict) else {}

    def _data(self, name: str) -> str | None:
        found = self._read("SELECT data FROM blobs WHERE hash = ?", [name])
        return zlib.decompress(found[0][0]).decode("utf-8", "replace") if found else None

    def _text_so_far(self, uid: str) -> str:
        text = ""
        for start, piece in self._read("SELECT start, text FROM pieces WHERE uid = ? ORDER BY id", [uid]):
            text = text[: whole(start)] + str(piece)
        return text


@contextlib.contextmanager
def _saying_trouble() -> Iterator[None]:
    """Raise a trouble of the file as an error that callers know."""
    try:
        yield
    except Trouble as trouble:
        raise ConfigError(trouble.message, hint=trouble.hint) from None


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None


def _most(limit: int | None) -> int:
    """A limit as SQLite takes it, for which -1 is none."""
    if limit is None:
        return -1
    count = whole_number(limit)
    if count is None or count < 0:
        raise ConfigError(f"limit is a number of entries, 0 or more, or None, not {excerpt_of(limit)}.")
    return min(count, sys.maxsize)


def _where(notebook: str | None, text: str | None) -> tuple[str, list[Any]]:
    wanted, values = [], []
    if notebook is not None:
        wanted.append("(e.notebook = ? OR e.notebook LIKE ? ESCAPE '!')")
        values += [notebook, f"%/{_escaped(notebook)}"]
    if text is not None:
        found = "SELECT uid FROM texts WHERE prompt LIKE ? ESCAPE '!' OR text LIKE ? ESCAPE '!'"
        wanted.append(f"e.uid IN ({found})")  # read in one go, not by each entry
        values += [f"%{_escaped(text)}%"] * 2
    return (f"WHERE {' AND '.join(wanted)}" if wanted else ""), values


def _escaped(text: str) -> str:
    for mark in "!%_":
        text = text.replace(mark, f"!{mark}")
    return text


def _is_alive(kernel: str, host: str | None, pid: int | None, born: str | None) -> bool:
    """Whether the process of an entry still runs, as far as this machine can tell."""
    if kernel == rows.kernel() or host != socket.gethostname() or os.name != "posix" or not pid:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not born or rows.born_at(pid) in {born, ""}
