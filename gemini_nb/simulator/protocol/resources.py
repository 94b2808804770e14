"""What files and caches have in common: owners, times and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gemini_nb.simulator.protocol.refusals import invalid
from gemini_nb.simulator.record import Request

__all__ = ["list_page", "owner_of", "timestamp"]


def owner_of(request: Request) -> str:
    """Return the key or token that a request comes with: who asks, as the owner of files and caches."""
    key = request.headers.get("x-goog-api-key", "").strip() or request.query.get("key", "").strip()
    return key or request.headers.get("authorization", "").strip()


def timestamp(when: float) -> str:
    """Write seconds since the epoch as the services do."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def list_page(
    field: str, items: Sequence[Any], query: Mapping[str, str], *, size: int, most: int | None = None
) -> dict[str, Any]:
    """Answer a list request with the page that its query asks for.

    Args:
        field: what the list is called.
        items: all there is.
        query: the parameters of the URL, with `pageSize` and `pageToken` in any spelling.
        size: how many stand on a page that does not say.
        most: how many a page may have; None for any number.
    """
    names = {name.replace("_", "").lower(): value for name, value in query.items()}
    try:
        size, start = int(names.get("pagesize") or size), int(names.get("pagetoken") or 0)
    except ValueError:
        raise invalid("The page token or page size is not valid.") from None
    if most is not None and not 1 <= size <= most:
        raise invalid(f"The page size is between 1 and {most}.", "page_size")
    end = start + max(1, size)
    answer: dict[str, Any] = {field: list(items[start:end])} if items[start:end] else {}
    return {**answer, "nextPageToken": str(end)} if end < len(items) else answer
