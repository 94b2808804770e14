"""A conversation over several streams."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from gemini_nb.api.content import Content, to_contents
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.orchestrator import ToolOrchestrator
from gemini_nb.streams.stream import Stream, Subscriber

__all__ = ["Chat"]


class Chat:
    """A history that streams begin with and add to, whichever way they end.

    A stream that fails or is stopped leaves the person's turn and the model's partial answer in the history:
    the person saw both.

    Args:
        history: the turns to begin with.
        manager: who runs the streams; by default the kernel's.
        **options: defaults for every message: `model`, `tools`, `system_instruction` and whatever else
            `StreamManager.start_stream` takes.
    """

    def __init__(
        self, history: Iterable[Content] = (), *, manager: StreamManager | None = None, **options: Any
    ) -> None:
        turns = list(history)
        self.history: list[Content] = to_contents(turns) if turns else []
        """The turns so far, as they go over the wire; change it as you like."""
        self._manager = manager
        self._options = options
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Chat of {len(self.history)} turns>"

    def send(self, contents: object, subscriber: Subscriber | None = None, **options: Any) -> Stream:
        """Ask the next question and return its stream at once.

        Args:
            contents: the message: a string, parts, or a list of these.
            subscriber: called with every event.
            **options: settings of this message only.
        """
        manager = self._manager or get_manager()
        return manager.start_stream(contents, subscriber, chat=self, **{**self._options, **options})

    def attach(self, orchestrator: ToolOrchestrator, known: int | None = None) -> None:
        """Take the turns of this run into the history when it ends.

        Args:
            orchestrator: the run.
            known: how many turns of its history came from here; by default all there are now.
        """
        known = len(self.history) if known is None else known
        orchestrator.on_end.append(lambda ended: self._extend(ended.history_with_partial[known:]))

    def _extend(self, turns: list[Content]) -> None:
        with self._lock:
            self.history.extend(turns)
