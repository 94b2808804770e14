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
from gemini_nb.streams.dependencies import Need
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.orchestrator import ToolOrchestrator
from gemini_nb.streams.stream import Stream, Subscriber

__all__ = ["Chat"]

_BEFORE = "the message before it"
_SEND_AGAIN = "Send this message again if it is still wanted; the chat is as it was without it."


class Chat:
    """A history that streams begin with and add to.

    A stream that was cut or stopped leaves the question and the partial answer in the history: the user saw
    both. A question that got nothing, or was refused or blocked, is taken back: sent again with every later
    message, it would spoil them all.

    Each message waits for the one before it, in the order of asking, so that it goes out with the whole
    history. One that fails or is stopped ends those that wait behind it, unsent.

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
        self._last: Stream | None = None
        self._under_way: dict[str, list[Chat]] = {}  # of each message: the chats that get its turns
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        history: object = self.history  # which the user may have put anything in place of
        turns = len(history) if isinstance(history, (list, tuple)) else "?"
        return f"<Chat of {turns} turns>"

    def send(self, contents: object, subscriber: Subscriber | None = None, **options: Any) -> Stream:
        """Ask the next question and return its stream at once; it is asked when those before it have ended.

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

        Messages that are still under way are waited for; Ctrl-C ends the wait only.

        Args:
            messages: how many of the person's; the tool results in between are not messages.

        Raises:
            ConfigError: there are not so many.
            BlockingCallError: called in a tool of this chat, or on the background loop's own thread.
        """
        if not isinstance(messages, int) or messages < 0:
            raise ConfigError(f"rewind takes a number of messages, 0 or more, not {messages!r}.")
        self._wait_until_idle()
        with self._lock:
            history = _turns(self.history)
            starts = [index for index, turn in enumerate(history) if _is_message(turn)]
            if messages > len(starts):
                raise ConfigError(f"This chat has {len(starts)} messages; {messages} cannot be taken back.")
            start = starts[-messages] if messages else len(history)
            self.history, taken = history[:start], history[start:]
        return taken

    def fork(self, **options: Any) -> Chat:
        """Return a chat with a copy of this history, to go on in another direction.

        Its first message waits for those that are under way here now, and follows their answers.

        Args:
            **options: settings that are different there.
        """
        with self._lock:
            made = Chat(copy.deepcopy(self.history), manager=self._manager, **{**self._options, **options})
            made._last, made._under_way = self._last, self._under_way.copy()
            for receivers in self._under_way.values():
                receivers.append(made)
        return made

    def _wait_until_idle(self) -> None:
        """Wait for the messages that are under way. Ctrl-C ends the wait, not the messages."""
        while (last := self._last) is not None and not last.record.is_done:
            last.wait_end()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history, the settings that are plain values, and the tools' names. Keys are left out.

        Messages that are still under way are waited for; Ctrl-C ends the wait only.

        Args:
            path: the file; an older one is replaced only when the new one is whole.

        Raises:
            ArgumentError: something in the history is not JSON.
        """
        self._wait_until_idle()
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

    def attach(self, orchestrator: ToolOrchestrator) -> None:
        """Queue this run behind the messages before it, and take its turns into the history when it ends."""
        with self._lock:
            before, self._last = self._last, orchestrator.stream
            self._under_way[orchestrator.stream.stream_id] = [self]
        needs = []
        if before is not None and not before.record.is_done:
            must_complete = not before.record.stop_asked  # else its end is known, and this was asked after it
            needs = [Need((before,), before, _BEFORE, must_complete, hint=_SEND_AGAIN)]
        orchestrator.on_end.append(self._end)
        orchestrator.queue(needs, lambda: self.history)

    def _end(self, ended: ToolOrchestrator) -> None:
        name = ended.stream.stream_id
        for chat in self._under_way[name]:
            turns = ended.turns if chat is self else copy.deepcopy(ended.turns)
            with chat._lock:  # noqa: SLF001 - its own
                chat._under_way.pop(name, None)  # noqa: SLF001 - see above
                chat.history.extend(turns)


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
