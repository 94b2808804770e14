"""The garbage collector while many rows run.

What a row allocates lives as long as the row, which is just long enough for the collector to count it among
what stays. So once or twice a second it walks over all that the notebook holds, and each time every thread
waits for a tenth of a second, or more in a full notebook. What rows leave behind is freed without it, so that
nothing is lost when its full collections are rarer for a while.
"""

from __future__ import annotations

import gc
import threading
import time

_TIMES = 10  # rarer
_MANY = 30  # rows that end in a second
_SECONDS = 1.0


class _Collector:
    """Counts the rows that end, and makes full collections rarer while many do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = 0.0
        self._count = 0
        self._busy_until = 0.0
        self._before: tuple[int, int, int] | None = None
        self._timer: threading.Timer | None = None  # not a loop's: that may be closed meanwhile

    def note_row(self) -> None:
        """Note that a row has ended. From any thread."""
        if not self._lock.acquire(blocking=False):
            return  # the loop thread must not wait, and in a forked child the lock may stay held
        try:
            self._count_one(time.monotonic())
        finally:
            self._lock.release()

    def _count_one(self, now: float) -> None:
        if now >= self._since + _SECONDS:
            self._since, self._count = now, 0
        self._count += 1
        if self._count == _MANY:
            self._busy_until = now + 2 * _SECONDS
            if self._timer is None or not self._timer.is_alive():
                self._make_rarer()

    def _make_rarer(self) -> None:
        if self._before is None:
            self._before = gc.get_threshold()
            gc.set_threshold(*self._before[:2], self._before[2] * _TIMES)
        self._look_later()

    def _look_later(self) -> None:
        self._timer = threading.Timer(_SECONDS, self._look)
        self._timer.daemon = True
        self._timer.name = "gemini_nb-collector"
        self._timer.start()

    def _look(self) -> None:
        """Restore the collector's thresholds once few rows end."""
        with self._lock:
            before = self._before
            if time.monotonic() < self._busy_until:
                self._look_later()
                return
            if before is not None and gc.get_threshold() == (*before[:2], before[2] * _TIMES):
                gc.set_threshold(*before)  # else the user has set others meanwhile
            self._before = self._timer = None


note_row = _Collector().note_row
