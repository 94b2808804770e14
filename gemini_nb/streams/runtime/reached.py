"""Which streams the text of a value is made of, found out by making it.

A set, a frame or an object of the user's can hold a stream without any path to it, and its text would lack
the answer of a stream that still runs. So each stream whose text is read while that text is made is noted.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_reached: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("gemini_nb_reached", default=None)


@contextlib.contextmanager
def noting_streams() -> Iterator[list[Any]]:
    """Within this context, a stream whose text or representation is read is noted in the list."""
    found: list[Any] = []
    token = _reached.set(found)
    try:
        yield found
    finally:
        _reached.reset(token)


def note_stream(stream: object) -> bool:
    """Note that this stream is read; returns whether streams are noted at present."""
    found = _reached.get()
    if found is not None:
        found.append(stream)
    return found is not None
