"""What a stream waits for before it is asked: other streams, named by what the user calls them.

In a notebook that runs as a whole a question is written down before the answer that it builds on is there.
Asked at once, it would go out with a hole, and be paid for. So its stream exists at once and is asked when
those that it names have ended, or ends unsent with a reason. Streams are held as objects: names may be bound
anew or deleted meanwhile, and since a stream waits only for older ones, no circle can arise.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.contents.content import to_contents, to_part
from gemini_nb.api.contents.objects import as_mapping
from gemini_nb.errors import GeminiError, NotAskedError
from gemini_nb.redaction import scrub_error
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.runtime.readers import waker
from gemini_nb.streams.stream import Stream

_CONTAINERS = (list, tuple, dict)
_PLAIN = (str, int, float, bool, type(None))  # of which there may be many
_ASK_AGAIN = "Ask it again, then this."


@dataclass(frozen=True, slots=True)
class Need:
    """Streams that must have ended before another one is asked.

    Attributes:
        streams: the streams.
        target: what the user knows them as: the stream, the group or the list.
        name: what the user calls it, empty where it has no name.
        must_complete: whether the other one is not asked unless all of them completed.
        hint: what to do where one of them did not.
    """

    streams: tuple[Stream, ...]
    target: object
    name: str = ""
    must_complete: bool = True
    hint: str = _ASK_AGAIN

    @property
    def pending(self) -> bool:
        """Whether one of them still runs."""
        return not all(stream.record.is_done for stream in self.streams)

    @property
    def words(self) -> str:
        """What is waited for, in a few words."""
        if len(self.streams) != 1:
            return f"{self.name or 'a group'} ({len(self.streams)} streams)"
        return _named(self.streams[0], self.name)

    def check(self) -> None:
        """Refuse to go on where it is known already that a whole answer will not come.

        Raises:
            NotAskedError: one of the streams failed, was stopped or was asked again.
        """
        for stream in self.streams if self.must_complete else ():
            record = stream.record
            if not record.is_done or record.status is Status.COMPLETED:
                continue
            raise NotAskedError(f"Not asked: {_named(stream, self.name)} {_fate(record)}.", hint=self.hint)


def _named(stream: Stream, name: str) -> str:
    """What the user calls a stream: the name that its own views show goes before the one in the prompt."""
    is_known = not name or name == stream.stream_id or (stream.record.name and " " not in name)
    return stream.label if is_known else f"{stream.label} ({name})"


def _fate(record: StreamRecord) -> str:
    if isinstance(record.error, NotAskedError):
        return "was not asked"
    if record.status is Status.ERROR:
        return "failed"
    return "was asked again" if record.is_replaced else "was stopped"


@dataclass(frozen=True, slots=True)
class Deferred:
    """Contents that are known only once some streams have ended.

    Attributes:
        needs: these streams.
        preview: the contents as far as they are known, shown meanwhile.
        make: returns the whole contents; called on a thread of its own when the streams have ended.
    """

    needs: tuple[Need, ...]
    preview: Any
    make: Callable[[], Any]

    def complete(self) -> Any:
        """Return the whole contents.

        Raises:
            NotAskedError: they cannot be made.
        """
        try:
            return self.make()
        except GeminiError:
            raise
        except Exception as error:  # noqa: BLE001 - attributes of a user's objects, a format that does not fit
            raise NotAskedError(
                f"Not asked: the prompt cannot be filled in: {scrub_error(error)}.",
                hint="Look at what stands in its braces.",
            ) from None


class Dependencies:
    """All that one stream waits for.

    Args:
        record: the stream's state, which says meanwhile what it waits for.
    """

    def __init__(self, record: StreamRecord) -> None:
        self._record = record
        self._needs: list[Need] = []

    def add(self, needs: Iterable[Need]) -> None:
        """Wait for these, too. Before the start only."""
        for need in needs:
            if any(stream.record is self._record for stream in need.streams):
                raise NotAskedError("A stream cannot wait for itself.")
            self._needs.append(need)
            self._record.waits_on.append([stream.record for stream in need.streams])
        self._say()

    @property
    def pending(self) -> bool:
        """Whether there is anything left to wait for."""
        return any(need.pending for need in self._needs)

    async def wait(self) -> None:
        """Wait until all have ended.

        Raises:
            NotAskedError: one that must complete did not; the others are not waited for.
        """
        if self._needs:
            await self._wait_for_needs()
            self._record.waits_on.clear()
        self._record.go_on()

    async def _wait_for_needs(self) -> None:
        changed = asyncio.Event()
        wake = waker(changed)
        for need in self._needs:
            for stream in need.streams:
                stream.ending.check_may_wait()
                stream.ending.call_when_reached(wake)
        while True:
            changed.clear()
            for need in self._needs:
                need.check()
            if not self._say():
                return
            await changed.wait()

    def _say(self) -> bool:
        """Say what is waited for; returns whether there is anything."""
        pending = next((need for need in self._needs if need.pending), None)
        if pending is not None:
            self._record.wait_for(pending.words, target=pending.target)
        return pending is not None


def defer(contents: object) -> object:
    """Return contents that hold streams as `Deferred`, or whole where these completed; others as they are."""
    if contents is None or isinstance(contents, str):
        return contents
    deferred = contents if isinstance(contents, Deferred) else _deferred(contents)
    if deferred is None:
        return contents
    streams = (stream for need in deferred.needs for stream in need.streams)
    completed = all(stream.record.status is Status.COMPLETED for stream in streams)
    if completed and not any(growing(need.target) for need in deferred.needs):
        with contextlib.suppress(NotAskedError):  # the stream says so, as it would if it had to wait
            return deferred.complete()
    return deferred


def _deferred(contents: object) -> Deferred | None:
    """Return contents that hold streams as `Deferred`, None for others."""
    items = list(contents) if isinstance(contents, (list, tuple)) else [contents]
    needs = tuple(
        Need(streams, streams[0] if len(streams) == 1 and not growing(item) else item)
        for item in items
        if (streams := streams_in(item)) is not None
    )
    if not needs:
        return None
    items = [item if streams_in(item) is not None else _taken(item) for item in items]
    known = [f"<{need_words}>" if (need_words := _words_of(item)) else item for item in items]

    def make() -> list[Any]:
        for item in items:
            wait_for_rows(item)
        return [whole_text(item) if streams_in(item) is not None else item for item in items]

    return Deferred(needs, to_contents(known), make)


def _taken(item: object) -> object:
    """What an item of some contents is now: a file, a frame or a dictionary may change before it is sent."""
    if isinstance(item, str):
        return item
    mapping = as_mapping(item)
    return to_part(item) if mapping is None else copy.deepcopy(mapping)


def _words_of(item: object) -> str:
    streams = streams_in(item)
    return ", ".join(stream.label for stream in streams) if streams is not None else ""


def streams_in(value: Any) -> tuple[Stream, ...] | None:
    """Return the streams of a stream, a group, a list or dictionary of these; None for anything else."""
    try:
        return _streams_in(value)
    except RecursionError:
        return None  # what is nested so deeply, or holds itself, is refused when the request is made


def _streams_in(value: Any) -> tuple[Stream, ...] | None:
    if isinstance(value, Stream):
        return (value,)
    is_group = hasattr(value, "to_frame") and hasattr(value, "streams")
    inner: Any = list(value.streams) if is_group else None
    if inner is None:
        inner = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(inner, (list, tuple)) or not inner:
        return None
    found: list[Stream] = []
    for one in inner:
        if isinstance(one, (str, bytes)) or (streams := _streams_in(one)) is None:
            return None
        found += streams
    return tuple(found)


def growing(value: object) -> bool:
    """Whether a group among some values still takes rows, so that its streams are not all known."""
    return not all(group.is_over for group in _groups_among(value))


def wait_for_rows(value: object) -> None:
    """Wait for rows that were not there yet when a group was named. On a thread of its own only.

    Raises:
        NotAskedError: one of them did not complete.
    """
    for group in _groups_among(value):
        group.wait_only()
        Need(tuple(group.streams), group).check()


def _groups_among(value: Any) -> list[Any]:
    if hasattr(value, "to_frame") and hasattr(value, "is_over"):
        return [value]
    return [group for one in _inside(value) for group in _groups_among(one)]


def streams_among(value: object) -> tuple[Stream, ...]:
    """Return the streams anywhere in a list, tuple or dictionary, beside other values, too."""
    if (streams := streams_in(value)) is not None:
        return streams
    return tuple(stream for one in _inside(value) for stream in streams_among(one))


def taken_with_streams(value: object) -> object:
    """Return a copy of such a value: what is in it may change before its streams have ended."""
    return _rebuilt(value, lambda streams: streams, _copied)


def with_texts(value: object) -> object:
    """Return such a value with the texts of its streams in their place."""
    return _rebuilt(value, whole_text, lambda other: other)


def _inside(value: Any) -> Iterable[object]:
    if type(value) not in _CONTAINERS:
        return ()
    return [one for one in (value.values() if isinstance(value, dict) else value) if type(one) not in _PLAIN]


def _rebuilt(value: Any, stream: Callable[[object], object], other: Callable[[object], object]) -> object:
    if type(value) not in _CONTAINERS:
        return other(value) if streams_in(value) is None else stream(value)
    if isinstance(value, dict):
        return {key: _rebuilt(one, stream, other) for key, one in value.items()}
    return type(value)(_rebuilt(one, stream, other) for one in value)


def _copied(value: object) -> object:
    with contextlib.suppress(Exception):  # locks, connections, a user's own ways to be copied
        return copy.deepcopy(value)
    return value


def whole_text(value: object) -> str:
    """Return the text of a value that consists of streams."""
    return "\n\n".join(stream.text for stream in streams_in(value) or ())
