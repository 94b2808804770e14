"""Keeping an interrupt back between the start of a stream and the wait that stops it.

An interrupt is an exception wherever the main thread happens to be. Between the request and the wait for its
answer that would be in the middle of showing a pane: the stream would go on, with nothing to stop it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class HeldInterrupts:
    """Keeps back an interrupt that comes between `hold` and `release`; a second one comes through.

    Does nothing on other threads than the main one, which alone is interrupted.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGINT)
        self._is_set = self._is_held = self._came = False

    def __enter__(self) -> Self:
        if callable(self._handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._take)
            self._is_set = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._came = self._came and kind is None  # else the error says it all
        self.release()

    def hold(self) -> None:
        """Keep an interrupt back from now on."""
        self._is_held = True

    def release(self) -> None:
        """Let interrupts come again, one that was kept back at once."""
        came, self._is_held, self._came = self._came, False, False
        if self._is_set:
            self._is_set = False
            signal.signal(signal.SIGINT, self._handler)
        if came:
            self._pass_on(signal.SIGINT, None)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._is_held and not self._came:
            self._came = True
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._handler):
            self._handler(number, frame)
