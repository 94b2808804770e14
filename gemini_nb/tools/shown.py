"""Displays of a tool, reduced to what a card can show: pictures, tables, lines of text.

A display is a bundle of forms, some of which a page would run or load. Pictures are kept as they are, of
HTML only the cells of a table, and of anything else its text.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, TypeAlias

from gemini_nb.redaction import excerpt, scrub

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")

_NAMELESS = re.compile(r"<IPython\.core\.display\.\w+ object>")  # the text of what has none of its own

_ROWS, _COLUMNS, _CELL = 40, 20, 200  # what a table shows of a frame, and characters of each cell


@dataclass(frozen=True, slots=True)
class Picture:
    """An image.

    Attributes:
        mime_type: its type.
        data: its bytes, as base64.
    """

    mime_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain text.

    Attributes:
        header: the names of the columns.
        rows: the cells, row by row, each row as long as the header.
        note: what was left out, empty if nothing was.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """Text that was displayed, not printed, so that it may be replaced.

    Attributes:
        text: the text.
    """

    text: str


Shown: TypeAlias = Picture | Table | Words


def shown_of(data: Mapping[str, Any]) -> Shown:
    """Return what a card shows of a mime bundle."""
    for kind in PICTURES:
        if (encoded := _base64(data.get(kind))) is not None:
            return Picture(kind, encoded)
    html = data.get("text/html")
    if isinstance(html, str) and (found := _table_in(html)) is not None:
        return found
    texts = [data.get(kind) for kind in ("text/plain", "text/markdown", "text/latex")]
    if isinstance(texts[0], str) and _NAMELESS.fullmatch(texts[0]):
        texts = [*texts[1:], _as_json(data), _words_in(html), texts[0]]
    known = [text for text in texts if isinstance(text, str)]
    if not known:
        return Words(scrub(f"({', '.join(map(str, data)) or 'nothing'})"))
    return Words(scrub(next(filter(str.strip, known), known[0])))


def _as_json(data: Mapping[str, Any]) -> str | None:
    value = data.get("application/json")
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)


def table_of(value: Any) -> Table | None:
    """Return the beginning of a DataFrame or Series as a table, None for any other value."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    try:
        if kinds & {"pandas.DataFrame", "pandas.Series"}:
            frame = value.to_frame() if "pandas.Series" in kinds else value
            text = frame.iloc[:_ROWS, : _COLUMNS - 1].to_csv()
            width = frame.shape[1] + 1
        elif kinds & {"polars.DataFrame", "polars.Series"}:
            frame = value.to_frame() if "polars.Series" in kinds else value
            text = frame[:_ROWS, :_COLUMNS].write_csv()
            width = frame.shape[1]
        else:
            return None
        header, *rows = csv.reader(io.StringIO(text))
    except Exception:  # noqa: BLE001 - cells whose own __str__ fails, lists in polars; the text says it then
        return None
    return _made(header, rows, frame.shape[0], width)


def _made(header: Iterable[str], rows: Iterable[Iterable[str]], height: int, width: int) -> Table:
    """Return a table of what fits; `height` and `width` are those of the whole."""
    names = tuple(map(_cell, header))[:_COLUMNS]
    size = len(names)
    lines = [tuple(map(_cell, row))[:size] for row in rows][:_ROWS]
    left_out = []
    if height > len(lines):
        left_out.append(f"{height - len(lines):,} more rows")
    if width > size:
        left_out.append(f"{width - size:,} more columns")
    note = f"{' and '.join(left_out)} are not shown" if left_out else ""
    return Table(names, tuple(line + ("",) * (size - len(line)) for line in lines), note)


def _cell(value: object) -> str:
    return excerpt(str(value), _CELL)


def _base64(data: object) -> str | None:
    if isinstance(data, (bytes, bytearray)):
        return base64.b64encode(data).decode("ascii")
    if not isinstance(data, str):
        return None
    text = "".join(data.split())
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return text


class _Words(HTMLParser):
    """Collects the visible text of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        self._hidden += tag in {"script", "style"}
        self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in {"script", "style"}
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.words.append(data)


def _words_in(html: object) -> str:
    """The words of HTML."""
    words = _Words()
    words.feed(html if isinstance(html, str) else "")
    words.close()
    return " ".join("".join(words.words).split())


class _Cells(HTMLParser):
    """Collects the cells of the first table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.headed = False
        self.ended = False
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.ended:
            return
        if tag == "tr":
            self._end_cell()
            self.rows.append([])
        elif tag in {"td", "th"}:
            self._end_cell()
            if not self.rows:
                self.rows.append([])
            self._cell = []
            self.headed = self.headed or (tag == "th" and len(self.rows) == 1)
            spans = dict(attrs).get("colspan") or "1"
            span = int(spans) if spans.isdecimal() else 1
            self.rows[-1] += [""] * (min(span, _COLUMNS) - 1)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "table"}:
            self._end_cell()
        self.ended = self.ended or tag == "table"

    def _end_cell(self) -> None:
        if self._cell is not None:
            self.rows[-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def _table_in(html: str) -> Table | None:
    """The table that HTML consists of; None where there is none, or more than one could be meant."""
    if html.lower().count("<table") != 1:
        return None
    cells = _Cells()
    cells.feed(html)
    rows = [row for row in cells.rows if row]
    if not rows:
        return None
    width = max(map(len, rows))
    header = rows.pop(0) if cells.headed else []
    return _made([*header, *[""] * (width - len(header))], rows, len(rows), width)
