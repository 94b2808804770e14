"""A conversation over several streams."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Self

from gemini_nb.api.content import Content, to_turns
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.redaction import seal
from gemini_nb.streams.chat_file import read_chat, write_chat
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.orchestrator import ToolOrchestrator
from gemini_nb.streams.stream import Stream, Subscriber

__all__ = ["Chat"]


class Chat:
    """A history that streams begin with and add to.

    A stream that was cut or stopped leaves the question and the partial answer in the history: the user saw
    both. A question that got nothing, or was refused or blocked, is taken back: sent again with every later
    message, it would spoil them all.

    Args:
        history: the turns to begin with.
        manager: who runs the streams; by default the kernel's.
        **options: defaults for every message: `model`, `tools`, `system_instruction` and whatever else
            `StreamManager.start_stream` takes.
    """

    def __init__(
        self, history: Iterable[object] = (), *, manager: StreamManager | None = None, **options: Any
    ) -> None:
        self.history: list[Content] = _turns(history)
        """The turns so far, as they go over the wire; change it as you like."""
        self._manager = manager
        self._options = _sealed(options)
        self._running = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        history: object = self.history  # which the user may have put anything in place of
        turns = len(history) if isinstance(history, (list, tuple)) else "?"
        return f"<Chat of {turns} turns>"

    def send(self, contents: object, subscriber: Subscriber | None = None, **options: Any) -> Stream:
        """Ask the next question and return its stream at once.

        Args:
            contents: the message: a string, parts, or a list of these.
            subscriber: called with every event.
            **options: settings of this message only.
        """
        options = _sealed(options)
        manager = self._manager or get_manager()
        return manager.start_stream(contents, subscriber, chat=self, **{**self._options, **options})

    def rewind(self, messages: int = 1) -> list[Content]:
        """Take back the last messages with all that was answered to them, and return those turns.

        Args:
            messages: how many of the person's; the tool results in between are not messages.

        Raises:
            ConfigError: there are not so many, or a stream of this chat still runs and would add its turns.
        """
        if not isinstance(messages, int) or messages < 0:
            raise ConfigError(f"rewind takes a number of messages, 0 or more, not {messages!r}.")
        with self._lock:
            if self._running:
                raise ConfigError(
                    f"{self._running} of this chat's streams still run.", hint="Stop them first, or wait."
                )
            history = _turns(self.history)
            starts = [index for index, turn in enumerate(history) if _is_message(turn)]
            if messages > len(starts):
                raise ConfigError(f"This chat has {len(starts)} messages; {messages} cannot be taken back.")
            start = starts[-messages] if messages else len(history)
            self.history, taken = history[:start], history[start:]
        return taken

    def fork(self, **options: Any) -> Chat:
        """Return a chat with a copy of this history, to go on in another direction.

        Args:
            **options: settings that are different there.
        """
        return Chat(copy.deepcopy(self.history), manager=self._manager, **{**self._options, **options})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history, the settings that are plain values, and the tools' names. Keys are left out.

        Args:
            path: the file; an older one is replaced only when the new one is whole.

        Raises:
            ArgumentError: something in the history is not JSON.
        """
        write_chat(path, _turns(self.history), self._options)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, manager: StreamManager | None = None, **options: Any
    ) -> Self:
        """Read a chat that `save` wrote, here or elsewhere.

        The file may decide on history, model, system instruction, generation config, safety settings, tool
        config and turn limit. Host, endpoint, auth and credentials never come from a file, and of tools it
        holds the names only.

        Args:
            path: the file.
            manager: as in `Chat`.
            **options: as in `Chat`; they go before the settings in the file. Tools are given again here.

        Raises:
            ConfigError: the file holds no chat, one of a newer format, or a value that cannot be; or it names
                a tool that is not among those that were given.
        """
        options = _sealed(options)
        history, settings = read_chat(path, options)
        return cls(history, manager=manager, **{**settings, **options})

    def attach(self, orchestrator: ToolOrchestrator, known: int | None = None) -> None:
        """Take the turns of this run into the history when it ends.

        Args:
            orchestrator: the run.
            known: how many turns of its history came from here; by default all there are now.
        """
        known = len(self.history) if known is None else known
        with self._lock:
            self._running += 1
        orchestrator.on_end.append(lambda ended: self._extend(ended.turns_since(known)))

    def release(self) -> None:
        """Count a run that was attached no longer: it could not be started."""
        with self._lock:
            self._running -= 1

    def _extend(self, turns: list[Content]) -> None:
        with self._lock:
            self._running -= 1
            self.history.extend(turns)


def _turns(history: Iterable[object]) -> list[Content]:
    if isinstance(history, (str, bytes, Mapping)) or not isinstance(history, Iterable):
        raise ArgumentError(
            f"A chat's history is a list of turns, not a {type(history).__name__}.",
            hint="A first message goes into send().",
        )
    return to_turns(history)


def _sealed(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with credentials that a traceback may show."""
    return {name: seal(value) if name == "credentials" else value for name, value in options.items()}


def _is_message(turn: Content) -> bool:
    """Whether a person said it: a turn of functionResponse parts alone is a tool round's."""
    return turn.get("role") != "model" and any("functionResponse" not in part for part in turn["parts"])
