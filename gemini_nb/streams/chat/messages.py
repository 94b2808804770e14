"""Which turns of a chat belong to which message, and to which cell, so that a cell asks again from its place.

A cell that runs a second time is meant in place of the first: its old message and all that followed are taken
back. Yet the new one may fail, and then the chat must be as it was; and what was taken back may have been
wanted. So nothing is taken back before the new answer begins, and what was is kept.

Turns are known by identity: what the user changed in the history belongs to no message any more.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.api.wire import Content
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.journaling import prompt_of

_UNANSWERED = 20  # messages without an answer that are remembered, the newest


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message comes from.

    Attributes:
        cell: the id of its cell.
        request: the id of the request that runs the cell; another one is another run.
        chat: what the cell calls the chat.
    """

    cell: str
    request: str | None
    chat: str


@dataclass(frozen=True, slots=True)
class Before:
    """A chat as it was before messages of it were taken back.

    Attributes:
        history: its turns.
        messages: its messages.
        options: its settings.
    """

    history: list[Content]
    messages: list[Message]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message with what came of it, for those who show the chat.

    Attributes:
        stream_id: its stream; empty where the turns came from elsewhere, such as a file.
        turns: what the history holds of it: nothing while it is under way, or where nothing came of it.
        typed: what the user typed, where the message was made from that; else empty.
        is_unanswered: whether it has ended, and is no part of the history.
        replaces: the messages that are back in the history if nothing comes of it.
    """

    stream_id: str
    turns: tuple[Content, ...] = ()
    typed: str = ""
    is_unanswered: bool = False
    replaces: tuple[Exchange, ...] = ()

    @property
    def is_under_way(self) -> bool:
        """Whether its answer is still to come, or coming."""
        return not self.turns and not self.is_unanswered


@dataclass(slots=True, eq=False)
class Message:
    """One message of a chat.

    Attributes:
        stream_id: its stream.
        origin: where it comes from; None for one that no cell is asked for again.
        turns: what it added to the history, once it has ended.
        is_over: whether it has ended.
        acted: the tools that ran for it.
        replaces: the messages in whose place it is asked.
        options: the chat's settings before it.
        before: the chat as it was before, once those messages were taken back.
        typed: what the user typed, where the message was made from that.
    """

    stream_id: str
    origin: Origin | None = None
    turns: list[Content] = field(default_factory=list)
    is_over: bool = False
    acted: tuple[str, ...] = ()
    replaces: list[Message] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    before: Before | None = None
    typed: str = ""

    def start(self, history: Sequence[Content]) -> int | None:
        """Where in the history it is asked; None where what it replaces is not there as it was."""
        old = [turn for message in self.replaces for turn in message.turns]
        start = len(history) - len(old)
        return start if start >= 0 and all(map(_is, history[start:], old)) else None

    def remark(self, taken: Sequence[Content]) -> str:
        """What the user should know when these turns are taken back."""
        count = sum(map(is_message, taken))
        went = "1 message was" if count == 1 else f"{count} messages were"
        acted = list(dict.fromkeys(tool for message in self.replaces for tool in message.acted))
        tools = f" Tools that had acted already: {', '.join(acted)}." if acted else ""
        if self.origin is None:
            return f"Asked in place of the last message.{tools} The chat's restore() brings that one back."
        name = self.origin.chat
        return (
            f"Asked again from this cell's place in {name}: {went} taken back.{tools} {name}.restore() "
            "brings back what was there; --append goes on instead."
        )

    def copied(self, memo: dict[int, Any]) -> Message:
        """Return the same for a copy of the history that was made with this memo."""
        return dataclasses.replace(
            self,
            turns=copy.deepcopy(self.turns, memo),
            replaces=[message.copied(memo) for message in self.replaces],
            before=None,
        )


class Messages:
    """The messages of one chat, in the order of its history; those under way come last."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.all: list[Message] = list(messages)
        self.taken: list[Before] = []
        self.unanswered: list[tuple[Message, Content | None]] = []
        """Messages that brought nothing, each with the turn after which it was asked."""

    def exchanges(self, history: Sequence[Content]) -> list[Exchange]:
        """The chat in the order of reading: its history, what was left unanswered, and what is under way."""
        sender = {id(turn): message for message in self.all_known() for turn in message.turns}
        found = self._unanswered_after(None)
        for message, turns in _by_message(history, sender):
            found.append(_exchange(message or Message(""), turns))
            found += [one for turn in turns for one in self._unanswered_after(turn)]
        return [*found, *(_under_way(message) for message in self.all if not message.is_over)]

    def _unanswered_after(self, turn: Content | None) -> list[Exchange]:
        return [
            Exchange(message.stream_id, typed=message.typed, is_unanswered=True)
            for message, place in self.unanswered
            if place is turn
        ]

    def dismiss(self, stream_id: str) -> None:
        """Forget a message that brought nothing."""
        self.unanswered = [pair for pair in self.unanswered if pair[0].stream_id != stream_id]

    def add_instead(self, message: Message, history: Sequence[Content]) -> None:
        """Put a message in the place of the last one, wherever that came from."""
        self.keep(history)
        counting = [message for message in self.all if message.turns or not message.is_over]
        last = counting[-1] if counting else None
        if last is None or (last.turns and last.turns[-1] is not history[-1]):
            last = _last_message(history)
        message.replaces = [last] if last is not None else []
        self.all = [*(one for one in self.all if one is not last), message]

    def add(self, message: Message, history: Sequence[Content], *, append: bool) -> bool:
        """Put a message in the place of those that an earlier run of its cell began, else at the end.

        Returns:
            False where that place is not in the history any more.
        """
        had_place = self._place_of(message.origin) is not None
        self.keep(history)
        index = self._place_of(message.origin)
        if index is not None and not append:
            message.replaces = self.all[index:]
            del self.all[index:]
        self.all.append(message)
        return append or not had_place or index is not None

    def _place_of(self, origin: Origin | None) -> int | None:
        self._forget_failed()
        for index, message in enumerate(self.all):
            if origin is not None and message.origin is not None and message.origin.cell == origin.cell:
                return None if message.origin.request == origin.request else index
        return None

    def is_first(self, origin: Origin, history: Sequence[Content]) -> bool:
        """Return whether a message from there replaces all the others."""
        old = [turn for message in self.all for turn in message.turns]
        return self._place_of(origin) == 0 and len(old) == len(history)

    def find(self, stream_id: str) -> Message | None:
        """Return the message of this stream."""
        return next((message for message in self.all_known() if message.stream_id == stream_id), None)

    def all_known(self) -> Iterator[Message]:
        """Return all messages, and those that others replace once they have begun."""
        return _with_replaced(self.all)

    def take_back(self, message: Message, history: list[Content]) -> list[Content]:
        """Return the history without what this message replaces, which is kept; the message has begun."""
        start = message.start(history)
        if start is None or start == len(history):
            message.replaces = []
            return history
        index = self.all.index(message)
        messages = [*self.all[:index], *message.replaces]
        message.before = Before(history, messages, message.options)
        self.taken.append(message.before)
        return history[:start]

    def end(self, message: Message, turns: list[Content], calls: Iterable[ToolCall]) -> Before | None:
        """Note what a message brought; returns the chat as it was before it where that must be restored."""
        message.turns, message.is_over = turns, True
        message.acted = tuple(call.name for call in calls if call.started_at is not None)
        if turns:
            message.replaces = []
            return None
        for messages in (self.all, *(other.replaces for other in self.all_known())):
            if message in messages:
                index = messages.index(message)
                messages[index : index + 1] = message.replaces or [message]
                break
        if message.before is not None:
            self.taken.remove(message.before)
        return message.before

    def _forget_failed(self) -> None:
        """Forget what brought nothing, unless messages behind it have yet to hear of it.

        Until then a cell that asks again has its place there, and replaces those too.
        """
        pending = False
        for index in reversed(range(len(self.all))):
            message = self.all[index]
            pending = pending or not message.is_over
            if message.is_over and not message.turns and not pending:
                del self.all[index]

    def leave_unanswered(self, message: Message, history: Sequence[Content]) -> None:
        """Remember a message that brought nothing, and where it was asked."""
        pair = (message, history[-1] if history else None)
        self.unanswered = [*self.unanswered, pair][-_UNANSWERED:]

    def keep(self, history: Sequence[Content]) -> None:
        """Forget the messages whose turns are not in this history any more."""
        there = set(map(id, history))
        self.all = [message for message in self.all if all(id(turn) in there for turn in message.turns)]


def conversation_text(history: Iterable[Content]) -> str:
    """Return what was said in a chat as text, without thoughts and tool calls."""
    said: list[str] = []
    for turn in history:
        parts = [part for part in turn["parts"] if not part.get("thought")]
        if words := prompt_of([{**turn, "parts": parts}]):
            said.append(f"{'Model' if turn.get('role') == 'model' else 'User'}: {words}")
    return "\n\n".join(said)


def is_message(turn: Content) -> bool:
    """Return whether the user wrote it: a turn of functionResponse parts alone is a tool round's."""
    return turn.get("role") != "model" and any("functionResponse" not in part for part in turn["parts"])


def _last_message(history: Sequence[Content]) -> Message | None:
    """Return the last message of a history, from a stream or not; None where it has no message."""
    starts = [index for index, turn in enumerate(history) if is_message(turn)]
    return Message("", turns=list(history[starts[-1] :]), is_over=True) if starts else None


def _by_message(
    history: Iterable[Content], sender: Mapping[int, Message]
) -> list[tuple[Message | None, list[Content]]]:
    """Return runs of turns, each with the message they belong to; None for turns of no stream."""
    groups: list[tuple[Message | None, list[Content]]] = []
    for turn in history:
        message = sender.get(id(turn))
        if not groups or groups[-1][0] is not message or (message is None and is_message(turn)):
            groups.append((message, []))
        groups[-1][1].append(turn)
    return groups


def _exchange(message: Message, turns: Iterable[Content]) -> Exchange:
    return Exchange(message.stream_id, tuple(turns), message.typed)


def _under_way(message: Message) -> Exchange:
    old = tuple(_exchange(one, one.turns) for one in _with_replaced(message.replaces))
    return Exchange(message.stream_id, typed=message.typed, replaces=old)


def _with_replaced(messages: Iterable[Message]) -> Iterator[Message]:
    left = list(messages)
    while left:
        message = left.pop()
        yield message
        left += message.replaces


def _is(one: object, other: object) -> bool:
    return one is other
