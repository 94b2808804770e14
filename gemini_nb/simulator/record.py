"""What the simulator remembers of the requests it got.

A test wants to look at the exact key that was sent, and a failing test prints what it looked at. So the
values are there, and the repr hides those that are secret.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KEPT", "Fields", "Record", "Request"]

KEPT = 1000
"""How many requests are remembered."""

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
        body: the JSON of the body as it was sent, None where there was none or it was not JSON.
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

    __slots__ = ("_count", "_lock", "_requests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=KEPT)
        self._count = 0

    def add(self, request: Request) -> None:
        """Remember a request, and forget the oldest where there are too many."""
        with self._lock:
            self._requests.append(request)
            self._count += 1

    @property
    def count(self) -> int:
        """How many requests arrived."""
        with self._lock:
            return self._count

    def newest(self) -> list[Request]:
        """Return the requests that are remembered, in order."""
        with self._lock:
            return list(self._requests)
