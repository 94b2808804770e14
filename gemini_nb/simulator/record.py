"""What the simulator remembers of the requests it got.

A test wants to look at the exact key that was sent, and a failing test prints what it looked at. So the
values are there, and the repr hides those that are secret.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["KEPT", "KEPT_BYTES", "LONG", "Fields", "Record", "Request"]

KEPT = 1000
"""How many requests are remembered."""
KEPT_BYTES = 64 * 2**20
"""How many bytes their bodies may have in all."""
LONG = 256 * 1024
"""Characters from which on a text of a body is remembered by its size and hash only."""

_SECRET = frozenset(
    {"authorization", "cookie", "key", "access_token", "x-goog-api-key", "proxy-authorization"}
)


class Fields(Mapping[str, str]):
    """Headers or query parameters: names in any case, secrets masked in the repr."""

    __slots__ = ("_values",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values = {name.lower(): value for name, value in items}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET else value for name, value in self._values.items()}
        return f"Fields({shown!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as it arrived.

    Attributes:
        method: the HTTP method.
        path: the path of the URL, percent escapes decoded.
        query: the parameters of the URL.
        headers: the headers.
        body: the JSON of the body as it was sent, None where there was none or it was not JSON. A very
            long text in it, such as the data of a file, is kept as `<1,234,567 characters, sha256 …>`.
        time: when it arrived, as `time.time()` counts.
    """

    method: str
    path: str
    query: Fields
    headers: Fields
    body: Any
    time: float


class Record:
    """The newest requests and the number of all: a server that runs for days must not keep every body."""

    __slots__ = ("_bytes", "_count", "_lock", "_requests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[tuple[Request, int]] = deque()
        self._bytes = self._count = 0

    def add(self, request: Request, size: int) -> None:
        """Remember a request, and forget the oldest where there are too many.

        Args:
            request: the request.
            size: bytes of its body.
        """
        if size > LONG:
            try:
                body, saved = _shortened(request.body)
            except RecursionError:  # nested so deep that the request is refused, too
                body, saved = None, size
            request, size = replace(request, body=body), max(0, size - saved)
        with self._lock:
            self._requests.append((request, size))
            self._bytes += size
            self._count += 1
            while len(self._requests) > KEPT or (self._bytes > KEPT_BYTES and len(self._requests) > 1):
                self._bytes -= self._requests.popleft()[1]

    @property
    def count(self) -> int:
        """How many requests arrived."""
        with self._lock:
            return self._count

    def newest(self) -> list[Request]:
        """Return the requests that are remembered, in order."""
        with self._lock:
            return [request for request, _ in self._requests]


def _shortened(value: Any) -> tuple[Any, int]:
    """The value with its long texts named by size and hash, and how many characters that saves."""
    if isinstance(value, str) and len(value) > LONG:
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        return f"<{len(value):,} characters, sha256 {digest}>", len(value)
    if isinstance(value, dict):
        pairs = {name: _shortened(item) for name, item in value.items()}
        return {name: item for name, (item, _) in pairs.items()}, sum(saved for _, saved in pairs.values())
    if isinstance(value, list):
        items = [_shortened(item) for item in value]
        return [item for item, _ in items], sum(saved for _, saved in items)
    return value, 0
