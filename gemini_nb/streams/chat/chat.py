"""A conversation over several streams."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Self, Unpack

from gemini_nb.api.contents.content import to_turns
from gemini_nb.api.wire import Content
from gemini_nb.config import whole_number
from gemini_nb.errors import ArgumentError, ConfigError, kind_of
from gemini_nb.redaction import excerpt_of
from gemini_nb.sealing import seal_options
from gemini_nb.streams.chat.file import read_chat, write_chat
from gemini_nb.streams.chat.messages import Exchange, Message, Messages, Origin, is_message
from gemini_nb.streams.conversation.dependencies import Deferred, Need, defer
from gemini_nb.streams.conversation.orchestrator import ToolOrchestrator
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.manager import StreamManager, manager_of
from gemini_nb.streams.request.options import StreamOptions, check_names, for_several, takes_options
from gemini_nb.streams.stopping import replacing
from gemini_nb.streams.stream import Stream

_BEFORE = "the message before it"
_SEND_AGAIN = "Send this message again if it is still wanted; the chat is as it was without it."
_NO_PLACE = (
    "The chat's history was changed since this cell asked last, so this message was asked at its end, "
    "and nothing was taken back."
)
_INTERNAL = {"adopt", "attach", "dismiss", "exchanges", "on_change", "queue", "under_way"}
_INTERNAL |= {"send_from", "send_typed"}  # Tab does not offer these
_AS_BEFORE = "Nothing came of it, so the chat is as it was before."


class Chat:
    """A history that streams begin with and add to.

    A stream that was cut or stopped leaves the question and the partial answer in the history: the user saw
    both. A question that got nothing, or was refused or blocked, is taken back: sent again with every later
    message, it would spoil them all.

    Each message waits for the one before it, in the order of asking, so that it goes out with the whole
    history. One that fails or is stopped ends those that wait behind it, unsent.

    In a notebook a message belongs to the cell that sent it with `%%gemini_stream --chat`. Running that cell
    again asks again from its place: when the new answer begins, its old message and all that followed are
    taken back. `restore` brings them back.

    Args:
        history: the turns to begin with.
        manager: who runs the streams; by default the kernel's.
        **options: defaults for every message: `model`, `tools`, `system_instruction` and whatever else
            `StreamManager.start_stream` takes.
    """

    @takes_options
    def __init__(
        self, history: Iterable[object] = (), *, manager: StreamManager | None = None, **options: Any
    ) -> None:
        seal_options(options)
        self.history: list[Content] = _turns(history)
        """The turns so far, as they go over the wire; change it as you like."""
        self.on_change: list[Callable[[], object]] = []
        """Called on any thread when the chat has changed, not when `history` is set; must not block."""
        self._manager = None if manager is None else manager_of(manager)
        check_names(options)
        self._options = for_several(options)
        self._of_cell = False
        self._messages = Messages()
        self._queue: list[Stream] = []  # those under way, in the order of asking
        self._under_way: dict[str, list[Chat]] = {}  # of each message: the chats that get its turns
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        history: object = self.history  # which the user may have put anything in place of
        turns = len(history) if isinstance(history, (list, tuple)) else "?"
        return f"<Chat of {turns} turns>"

    def __copy__(self) -> Chat:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Chat:
        return self.fork()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Chat belongs to this process and is not pickled; save(path) keeps it in a file.")

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INTERNAL]

    @takes_options
    def send(
        self, contents: object, subscriber: Subscriber | None = None, **options: Unpack[StreamOptions]
    ) -> Stream:
        """Ask the next question and return its stream at once; it is asked when those before it have ended.

        Args:
            contents: the message: a string, parts, or a list of these.
            subscriber: called with every event.
            **options: as in `StreamOptions`.
        """
        seal_options(options)
        manager = manager_of(self._manager)
        return manager.start_stream(contents, subscriber, chat=self, **{**self._options, **options})

    def send_from(
        self,
        origin: Origin,
        contents: object,
        *,
        kept: Mapping[str, Any],
        append: bool = False,
        **options: Any,
    ) -> Stream:
        """Send a message of a cell's: a cell that runs again asks again from its place.

        Args:
            origin: the cell.
            contents: the message.
            kept: what a chat that its first cell made keeps of that cell's settings.
            append: ask at the end all the same.
            **options: as in `send`.
        """
        before = self._options
        if self._of_cell and not append and self._messages.is_first(origin, self.history):
            self.adopt(kept)
        place = _Sent(self, Message("", origin, options=before), append=append)
        try:
            return self._start(contents, place, options)
        except BaseException:
            self._options = before
            raise

    def send_typed(self, contents: object, typed: str, *, instead: bool = False, **options: Any) -> Stream:
        """Send what a user typed into a box.

        Args:
            contents: the message, made from that.
            typed: what was typed, to be shown and to be edited.
            instead: of the last message, which is taken back when the new answer begins. One that is under
                way is stopped.
            **options: as in `send`.
        """
        message = Message("", options=self._options, typed=typed)
        if not instead:
            return self._start(contents, _Sent(self, message, append=True), options)
        with replacing([one for one in self._queue[-1:] if not one.is_done]):
            return self._start(contents, _Sent(self, message, append=False), options)

    def _start(self, contents: object, place: _Sent, options: Mapping[str, Any]) -> Stream:
        manager = manager_of(self._manager)
        return manager.start_stream(contents, chat=place, **{**self._options, **for_several(dict(options))})

    def exchanges(self) -> list[tuple[Exchange, Stream | None]]:
        """The messages in the order of reading, with their streams as far as those are listed.

        Raises:
            ArgumentError: the history was set to something that is none.
        """
        with self._lock:
            if (history := self._history()) != self.history:
                self.history = history  # its turns must be the same ones the next time
            found = self._messages.exchanges(history)
        manager = manager_of(self._manager)
        listed = {stream.stream_id: stream for stream in manager.list_streams(all=True)}
        return [(exchange, listed.get(exchange.stream_id)) for exchange in found]

    def dismiss(self, stream_id: str) -> None:
        """Forget a message that brought nothing into the history."""
        with self._lock:
            self._messages.dismiss(stream_id)
        self._changed()

    def _history(self) -> list[Content]:
        """The history, checked; the turns themselves if they need no change: messages are known by them."""
        history = _turns(self.history)
        return list(self.history) if history == self.history else history

    def _changed(self) -> None:
        for callback in tuple(self.on_change):
            callback()

    def adopt(self, options: Mapping[str, Any]) -> None:
        """Take a cell's settings as the defaults, as long as the chat has no others."""
        self._options, self._of_cell = for_several(dict(options)), True

    def rewind(self, messages: int = 1) -> list[Content]:
        """Take back the last messages with all that was answered to them, and return those turns.

        Messages that are still under way are waited for; Ctrl-C ends the wait only.

        Args:
            messages: how many of the user's messages; tool results in between do not count.

        Raises:
            ConfigError: there are not so many.
            BlockingCallError: called in a tool of this chat, or on the background loop's own thread.
        """
        count = whole_number(messages)
        if count is None or count < 0:
            raise ConfigError(f"rewind takes a number of messages, 0 or more, not {excerpt_of(messages)}.")
        messages = count
        self._wait_until_idle()
        with self._lock:
            history = self._history()
            starts = [index for index, turn in enumerate(history) if is_message(turn)]
            if messages > len(starts):
                raise ConfigError(f"This chat has {len(starts)} messages; {messages} cannot be taken back.")
            start = starts[-messages] if messages else len(history)
            self.history, taken = history[:start], history[start:]
            self._messages.keep(self.history)
        self._changed()
        return taken

    def restore(self) -> list[Content]:
        """Bring back what a cell that ran again has taken back, and return the turns that came instead.

        Of several such runs the last one is undone; call it again for the one before. Messages that are still
        under way are waited for; Ctrl-C ends the wait only.

        Raises:
            ConfigError: nothing was taken back.
            BlockingCallError: called in a tool of this chat, or on the background loop's own thread.
        """
        self._wait_until_idle()
        with self._lock:
            if not self._messages.taken:
                raise ConfigError(
                    "Nothing of this chat was taken back.",
                    hint="A cell with --chat takes back when it runs again.",
                )
            before = self._messages.taken.pop()
            there = set(map(id, before.history))
            instead = [turn for turn in self.history if id(turn) not in there]
            self.history, self._options = list(before.history), before.options
            self._messages.all = list(before.messages)
        self._changed()
        return instead

    def fork(self, **options: Any) -> Chat:
        """Return a chat with a copy of this history, to go on in another direction.

        Its first message waits for those that are under way here now, and follows their answers.

        Args:
            **options: settings that are different there.
        """
        with self._lock:
            memo: dict[int, Any] = {}
            made = Chat(manager=self._manager, **{**self._options, **options})
            made.history = copy.deepcopy(self.history, memo)
            made._messages = Messages(message.copied(memo) for message in self._messages.all)
            made._queue, made._under_way = self._queue.copy(), self._under_way.copy()
            for receivers in self._under_way.values():
                receivers.append(made)
        return made

    @property
    def under_way(self) -> tuple[Stream, ...]:
        """The messages that have not ended, in the order of asking."""
        return tuple(stream for stream in self._queue if not stream.record.is_done)

    def _wait_until_idle(self) -> None:
        """Wait for the messages that are under way. Ctrl-C ends the wait, not the messages."""
        while running := [stream for stream in self._queue if not stream.record.is_done]:
            running[-1].wait_end()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `load` takes from a file, and the tools' names. Keys are left out.

        Messages that are still under way are waited for; Ctrl-C ends the wait only.

        Args:
            path: the file; an older one is replaced only when the new one is whole.

        Raises:
            ArgumentError: a value in the history is not JSON.
            NotAskedError: the system instruction names a stream that did not complete.
        """
        self._wait_until_idle()
        options = dict(self._options)
        if (system := options.get("system_instruction")) is not None:
            options["system_instruction"] = _waited_for(defer(system))
        write_chat(path, _turns(self.history), options)

    @classmethod
    @takes_options
    def load(
        cls, path: str | os.PathLike[str], *, manager: StreamManager | None = None, **options: Any
    ) -> Self:
        """Read a chat that `save` wrote, here or elsewhere.

        The file decides on history, model, system instruction and generation config, and holds the names of
        the tools. Everything else is given again here: a stranger's file must not say where a request goes
        or with which key, what may run and how often, or what the safety settings let through.

        Args:
            path: the file.
            manager: as in `Chat`.
            **options: as in `Chat`; they go before the settings in the file. Tools are given again here.

        Raises:
            ConfigError: the file holds no chat, one of a newer format, or a value that cannot be; or it names
                a tool that is not among those that were given.
        """
        options = for_several(options)
        history, settings = read_chat(path, options)
        return cls(history, manager=manager, **{**settings, **options})

    def attach(self, orchestrator: ToolOrchestrator) -> None:
        """Queue this run behind the messages before it, and take its turns into the history when it ends."""
        self.queue(orchestrator, Message(orchestrator.stream.stream_id))

    def queue(self, orchestrator: ToolOrchestrator, message: Message, *, append: bool = True) -> None:
        """Queue a run as this message.

        Args:
            orchestrator: the run.
            message: its place among the others.
            append: whether it comes last; else in the place of its cell's last one or, from no cell, of the
                last one there is.
        """
        with self._lock:
            before = [stream for stream in self._queue if not stream.record.is_done]
            self._queue = [*before, orchestrator.stream]
            self._under_way[orchestrator.stream.stream_id] = [self]
            if not append and message.origin is None:
                self._messages.add_instead(message, self.history)
            elif not self._messages.add(message, self.history, append=append):
                orchestrator.stream.record.remark(_NO_PLACE)
            # What is replaced has nothing built on it; a stopped one's end is known.
            counting = {one.stream_id for one in self._messages.all}
        needs = [
            Need(
                (stream,),
                stream,
                _BEFORE,
                must_complete=stream.stream_id in counting and not stream.record.stop_asked,
                hint=_SEND_AGAIN,
            )
            for stream in reversed(before)
        ]
        orchestrator.on_answer.append(lambda: self._begin(orchestrator))
        orchestrator.on_end.append(self._end)
        orchestrator.queue(needs, lambda: self.history[: message.start(self.history)])
        self._changed()

    def _begin(self, begun: ToolOrchestrator) -> None:
        """Take back what the message replaces, now that its answer has begun."""
        for chat in self._under_way[begun.stream.stream_id]:
            chat._take_back(begun)  # noqa: SLF001 - its own

    def _take_back(self, begun: ToolOrchestrator) -> None:
        with self._lock:
            message = self._messages.find(begun.stream.stream_id)
            if message is None or not message.replaces or message.before is not None:
                return
            whole, record = self.history, begun.stream.record
            if message.start(whole) is None:
                record.remark(_NO_PLACE)
            self.history = self._messages.take_back(message, whole)
            if len(self.history) < len(whole):
                record.remark(message.remark(whole[len(self.history) :]))
        self._changed()

    def _end(self, ended: ToolOrchestrator) -> None:
        turns = ended.turns
        if turns:
            self._begin(ended)
        for chat in self._under_way[ended.stream.stream_id]:
            chat._take(ended, turns if chat is self else copy.deepcopy(turns))  # noqa: SLF001 - its own

    def _take(self, ended: ToolOrchestrator, turns: list[Content]) -> None:
        stream = ended.stream
        with self._lock:
            self._under_way.pop(stream.stream_id, None)
            if (message := self._messages.find(stream.stream_id)) is not None:
                if message.replaces and not turns:
                    self._options = message.options
                before = self._messages.end(message, turns, stream.tool_calls)
                if before is not None:
                    self.history = before.history
                    stream.record.remark(_AS_BEFORE)
                if not turns and not stream.record.is_replaced:
                    self._messages.leave_unanswered(message, self.history)
            self.history.extend(turns)
        self._changed()


class _Sent:
    """The chat that a stream belongs to, with a message whose place in the history is known already."""

    def __init__(self, chat: Chat, message: Message, *, append: bool) -> None:
        self._chat, self._message, self._append = chat, message, append

    @property
    def history(self) -> list[Content]:
        return self._chat.history

    def attach(self, orchestrator: ToolOrchestrator) -> None:
        self._message.stream_id = orchestrator.stream.stream_id
        self._chat.queue(orchestrator, self._message, append=self._append)


def _waited_for(contents: object) -> object:
    """Return contents as they are once the streams that they name have ended."""
    for need in contents.needs if isinstance(contents, Deferred) else ():
        for stream in need.streams:
            stream.wait_end()
        need.check()
    known = contents.complete() if isinstance(contents, Deferred) else contents
    return known[0] if isinstance(known, list) and len(known) == 1 else known


def _turns(history: Iterable[object]) -> list[Content]:
    if isinstance(history, (str, bytes, Mapping)) or not isinstance(history, Iterable):
        raise ArgumentError(
            f"A chat's history is a list of turns, not {kind_of(history)}.",
            hint="A first message goes into send().",
        )
    return to_turns(history)
