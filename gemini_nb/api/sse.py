"""Server-sent events: bytes to events, and back. No I/O.

The decoder follows the WHATWG rules and one that Gemini makes necessary. A server that fails in the middle
of a 200 answer, or that was asked without `alt=sse`, sends raw JSON between (or instead of) the events: an
object, or an array of objects, over many lines. A line splitter would turn that into unknown fields and
swallow the error. Here every complete top-level object comes out as an event of its own.

Each byte is looked at a bounded number of times, so the cost is linear in the input however it is cut.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gemini_nb.errors import ProtocolError

MAX_EVENT_BYTES = 256 * 2**20
"""Largest event by default. A 4K image is about 20 MB of base64, and a model may write more as an argument,
for which it gets an error; the cap is there for a server out of control."""

_BOM = b"\xef\xbb\xbf"
_JSON_MARKS = re.compile(rb'["\\{}\[\]]')
_JSON_STRING_MARKS = re.compile(rb'["\\]')


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        data: the payload; several `data:` lines are joined by a line feed.
        event: the event's type, "message" where the server named none.
        id: the last event id the server has set so far.
        raw: True if the payload came as bare JSON outside of any `data:` field.
    """

    data: str
    event: str = "message"
    id: str = ""
    raw: bool = False


def encode(
    data: str, *, event: str | None = None, event_id: str | None = None, newline: str = "\r\n"
) -> bytes:
    """Encode one event, Gemini's line ends (CRLF) by default.

    Args:
        data: the payload; each of its lines becomes a `data:` line.
        event: the event's type; left out when None.
        event_id: the event's id; left out when None.
        newline: the line end to use.
    """
    lines = [f"{name}: {value}" for name, value in (("event", event), ("id", event_id)) if value is not None]
    lines += [f"data: {line}" for line in re.split("\r\n|\r|\n", data)]
    return (newline.join(lines) + newline * 2).encode()


class SSEDecoder:
    """Turn the bytes of one response body into events, however they are cut.

    Args:
        max_event_bytes: largest event accepted; a larger one raises ProtocolError.
    """

    __slots__ = (
        "_data",
        "_event",
        "_id",
        "_json",
        "_max",
        "_partial",
        "_size",
        "_skip_lf",
        "_started",
        "junk",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.junk = ""
        """The first 200 characters of lines that were neither fields nor JSON, to show in an error."""
        self._max = max_event_bytes
        self._partial: list[bytes] = []
        self._size = 0
        self._skip_lf = False
        self._started = False
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""
        self._json: _JSONScanner | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events that they complete.

        Raises:
            ProtocolError: an event grew beyond the size cap.
        """
        if not chunk:
            return []
        if self._skip_lf:
            # The last chunk ended in CR; a LF here is the second half of that line end.
            self._skip_lf = False
            chunk = chunk.removeprefix(b"\n")
        if self._is_one_event(chunk):
            return [ServerSentEvent(_text(chunk[6:-4]), id=self._id)]
        events: list[ServerSentEvent] = []
        for line in chunk.splitlines(keepends=True):
            self._grow(len(line))
            whole = line
            if line[-1:] not in {b"\n", b"\r"}:
                self._partial.append(line)
                continue
            if self._partial:
                whole = b"".join([*self._partial, line])
                self._partial.clear()
            self._line(whole.rstrip(b"\r\n"), events)
        self._skip_lf = chunk.endswith(b"\r")
        return events

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether this is `data:`, one line and a blank one, as nearly every read of a live stream is.

        Nothing of an event before it is pending then, and nothing of it remains.
        """
        return (
            chunk.startswith(b"data: ")
            and chunk.endswith(b"\r\n\r\n")
            and self._size == 0
            and self._started
            and self._json is None
            and not self._event
            and chunk.count(b"\n") == 2
            and chunk.count(b"\r") == 2
            and len(chunk) <= self._max
        )

    def finish(self) -> list[ServerSentEvent]:
        """Return what the end of the body completes.

        The WHATWG rules discard an event that lacks its blank line. Some Gemini servers leave out the last
        one, so it is returned here, and a caller that cannot parse it knows that the body was cut.
        """
        events: list[ServerSentEvent] = []
        if self._partial:
            line = b"".join(self._partial)
            self._partial.clear()
            self._line(line, events)
        if self._json is not None and self._json.pending:
            events.append(ServerSentEvent(_text(self._json.pending), id=self._id, raw=True))
        self._json = None
        self._dispatch(events)
        return events

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max:
            raise ProtocolError(
                f"The server sent an event of more than {self._max:,} bytes.",
                hint="Its answer is not a Gemini stream, or a file in it is too large to stream.",
                is_permanent=True,
            )

    def _line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if self._json is not None:
            self._feed_json(self._json, line, events)
        elif not line:
            self._dispatch(events)
        elif line.startswith(b"data:"):
            value = line[5:]
            self._data.append(value[1:] if value.startswith(b" ") else value)
        elif line.lstrip()[:1] in (b"{", b"["):
            self._dispatch(events)
            self._feed_json(_JSONScanner(), line, events)
        else:
            self._field(line)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = _text(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = _text(value)
        elif name != b"retry" and name and len(self.junk) < 200:
            self.junk = (self.junk + _text(line) + "\n")[:200]

    def _feed_json(self, scanner: _JSONScanner, line: bytes, events: list[ServerSentEvent]) -> None:
        for value in scanner.feed(line):
            events.append(ServerSentEvent(_text(value), id=self._id, raw=True))
            self._size = 0
        self._json = None if scanner.done else scanner

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(ServerSentEvent(_text(data), self._event or "message", self._id))
            self._data.clear()
        self._event = ""
        self._size = 0


class _JSONScanner:
    """Find the end of each top-level JSON object, alone or inside one array, line by line."""

    __slots__ = ("_array", "_depth", "_lines", "_string", "done")

    def __init__(self) -> None:
        self.done = False
        self._array = False
        self._depth = 0
        self._string = False
        self._lines: list[bytes] = []

    @property
    def pending(self) -> bytes:
        """The object that has begun and not ended."""
        return b"\n".join(self._lines)

    def feed(self, line: bytes) -> list[bytes]:
        """Scan one line (without its end) and return the objects that end in it."""
        values: list[bytes] = []
        start = position = 0
        while match := (_JSON_STRING_MARKS if self._string else _JSON_MARKS).search(line, position):
            mark = match[0]
            position = match.end()
            if mark == b"\\":
                position += 1
            elif mark == b'"':
                self._string = not self._string
            elif mark in b"{[":
                if mark == b"[" and self._depth == 0 and not self._array:
                    self._array = True
                    continue
                if self._depth == 0:
                    start = match.start()
                self._depth += 1
            elif self._depth == 0:
                self._array = False
            else:
                self._depth -= 1
                if self._depth == 0:
                    values.append(b"\n".join([*self._lines, line[start:position]]))
                    self._lines.clear()
        if self._depth:
            self._lines.append(line[start:])
        # Several objects may stand on one line, so only its end says that nothing more follows.
        self.done = self._depth == 0 and not self._array
        return values


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
