"""What one thread sets and others wait for, safe from Ctrl-C.

`threading.Event` and futures guard themselves with a Condition. A KeyboardInterrupt between the moment its
lock was taken and the `with` that would give it back leaves it taken for ever; the background loop, which
sets the event next, stands still then, and every stream with it. A SimpleQueue is C code that is not
interrupted there, and its `put` never waits.
"""

from __future__ import annotations

import contextlib
import queue

__all__ = ["Flag"]


class Flag:
    """Set once, by any thread."""

    __slots__ = ("_is_set", "_tokens")

    def __init__(self) -> None:
        self._is_set = False
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it and wake who waits. Never blocks."""
        self._is_set = True
        self._tokens.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, or so many seconds; returns whether it is set."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._tokens.get(timeout=max(0.0, timeout))
                self._tokens.put(None)  # for the next one who waits
        return self._is_set
