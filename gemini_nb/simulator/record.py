"""What the simulator remembers of the requests it got.

A test wants to look at the exact key that was sent, and a failing test prints what it looked at. So the
values are there, and the repr hides those that are secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Fields", "Request"]

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
