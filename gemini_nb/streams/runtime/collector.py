"""The garbage collector while many rows run.

What a row allocates lives as long as the row, which is just long enough for the collector to count it among
what stays. So once or twice a second it walks over all that the notebook holds, and each time every thread
waits for a tenth of a second, or more in a full notebook. What rows leave behind is freed without it, so that
nothing is lost when its full collections are rarer for a while.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["fewer_full_collections"]

_TIMES = 10

_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] | None = None


@contextlib.contextmanager
def fewer_full_collections() -> Iterator[None]:
    """Have full collections ten times rarer within this context, unless the user has set other thresholds."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _users, _before  # noqa: PLW0603 - the collector is the process's
    with _lock:
        _users += change
        now = gc.get_threshold()
        if _users and _before is None:
            _before = now
            gc.set_threshold(now[0], now[1], now[2] * _TIMES)
        elif not _users and _before is not None:
            if now == (_before[0], _before[1], _before[2] * _TIMES):
                gc.set_threshold(*_before)
            _before = None
