"""The kernel's one place where streams are started, found, watched and stopped."""

from __future__ import annotations

import atexit
import collections
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol, Unpack

from gemini_nb.api.contents.content import to_turns
from gemini_nb.api.contents.file import File, remote
from gemini_nb.api.resources.catalogue import Model, list_models
from gemini_nb.api.wire import Content
from gemini_nb.config import Settings, whole_number
from gemini_nb.errors import ArgumentError, ConfigError, GeminiError, StreamNotFoundError, kind_of
from gemini_nb.journal.entries import Journal
from gemini_nb.redaction import excerpt_of, scrub_error
from gemini_nb.sealing import seal, seal_options
from gemini_nb.streams.conversation.admission import ITS_TURN, Admission, Gate
from gemini_nb.streams.conversation.orchestrator import ToolOrchestrator
from gemini_nb.streams.counts import Statistics, Tally
from gemini_nb.streams.events.info import StreamInfo, Subscriber
from gemini_nb.streams.events.states import Status
from gemini_nb.streams.request.destination import find_endpoint
from gemini_nb.streams.request.options import StreamOptions, takes_options
from gemini_nb.streams.request.uploads import uploads_of
from gemini_nb.streams.runtime.readers import EventReader
from gemini_nb.streams.runtime.runtime import Runtime, default_runtime, forget_default_runtime
from gemini_nb.streams.stopping import stop_together
from gemini_nb.streams.stream import Stream

_INTERNAL = {"add_group", "groups", "on_start", "request_stop_all", "runtime"}  # Tab does not offer these

logger = logging.getLogger("gemini_nb")

_HOUR = 3600.0  # seconds that a list of models is kept


class Stoppable(Protocol):
    """Streams that belong together, of which some are still to start."""

    def stop(self) -> None:
        """Start no further stream."""


class StreamManager:
    """Many streams at once, each on its own, none of them in the way of a cell.

    Args:
        max_concurrent: streams of one model that run at a time, None for no limit; the others wait, first
            come first served.
        history: finished streams that stay listed.
        settings: defaults for every stream.
        runtime: the machinery to run on; by default one of its own.
    """

    def __init__(
        self,
        *,
        max_concurrent: int | None = None,
        history: int = 200,
        settings: Settings | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.runtime = runtime or Runtime(settings)
        self._admission = Admission(max_concurrent, self.runtime.loop.call)
        self.history = history
        self._lock = threading.Lock()
        self._streams: dict[str, Stream] = {}
        self._models: dict[tuple[str, str], tuple[float, list[Model]]] = {}
        self._ended: collections.deque[str] = collections.deque()
        self._pid = os.getpid()
        self._tally = Tally()
        self._groups: list[weakref.ref[Stoppable]] = []
        self.on_start: list[Callable[[Stream], object]] = []
        """Called on the loop thread with every stream that starts, for dashboards."""
        atexit.register(self.shutdown)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in _INTERNAL]

    @property
    def max_concurrent(self) -> int | None:
        """Streams of one model that run at a time, None for no limit.

        A higher limit lets those that wait go on at once, in their order; what runs already goes on.
        """
        return self._admission.limit

    @max_concurrent.setter
    def max_concurrent(self, limit: int | None) -> None:
        self._admission.limit = limit

    @property
    def history(self) -> int:
        """Finished streams that stay listed."""
        return self._history

    @history.setter
    def history(self, length: int) -> None:
        count = whole_number(length)
        if count is None or count < 0:
            raise ConfigError(
                f"history is a number of finished streams, 0 or more, not {excerpt_of(length)}."
            )
        self._history = count

    @takes_options
    def start_stream(
        self,
        contents: object = None,
        subscriber: Subscriber | None = None,
        *,
        chat: Any = None,
        gate: Gate | None = None,
        number_of: Callable[[str], int] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Stream:
        """Start a stream and return at once, before anything is sent.

        Args:
            contents: what to ask: a string, an image, figure, DataFrame or `File`, a part, a Content
                dictionary, or a list of these. A stream or group stands for its text, and is waited for.
            subscriber: called with every event from the first, in order, on a thread for callbacks.
            chat: a `Chat` whose history goes first and gets the new turns.
            gate: entered for the whole run, for limits on concurrency.
            number_of: numbers the question among the equal ones of a group, by its key; each of them has a
                kept answer of its own.
            **options: as in `StreamOptions`.

        Raises:
            ArgumentError: neither or both of contents and request_body, or something that cannot be sent.
            ConfigError: no key, or a value that does not fit. Nothing was sent.
            TypeError: there is no such option.
        """
        seal_options(options)
        if chat is not None and options.get("request_body") is not None:
            raise ArgumentError("A chat brings its own history; a request_body does, too.", hint="Use one.")
        if gate is not None and not callable(gate):
            raise ArgumentError(f"A gate is a function that gives a context, not {kind_of(gate)}.")
        orchestrator = ToolOrchestrator(
            None, subscriber, contents, runtime=self.runtime, history=_history(chat), **options
        )
        stream = orchestrator.stream
        orchestrator.limit(lambda: self._admission.enter(stream, gate))
        if gate is not None and stream.record.waiting is None:  # else it seems to run before it has a place
            stream.record.wait_for(ITS_TURN)
        if number_of is not None:
            orchestrator.number(number_of)
        orchestrator.on_end.append(lambda _: self._forget_old(stream.stream_id))
        self._start(orchestrator, chat)
        for callback in self.on_start:
            self.runtime.loop.call(_call, callback, stream)
        return stream

    def refuse_stream(
        self, error: GeminiError, subscriber: Subscriber | None = None, **options: Unpack[StreamOptions]
    ) -> Stream:
        """Return a stream that has failed with this error, for a row of many that cannot be asked."""
        orchestrator = ToolOrchestrator(None, subscriber, "-", runtime=self.runtime, **options)
        with self._lock:
            self._streams[orchestrator.stream.stream_id] = orchestrator.stream
        orchestrator.on_end.append(lambda _: self._forget_old(orchestrator.stream.stream_id))
        orchestrator.fail(error)
        return orchestrator.stream

    def _start(self, orchestrator: ToolOrchestrator, chat: Any) -> None:
        """List the stream and begin; where that fails, it is stopped and not listed."""
        stream = orchestrator.stream
        with self._lock:
            self._streams[stream.stream_id] = stream
        try:
            if chat is not None:
                chat.attach(orchestrator)
            orchestrator.start()
        except BaseException:
            stream.request_stop()  # else a chat's next message would wait for it for ever
            with self._lock:
                self._streams.pop(stream.stream_id, None)
            raise

    def _forget_old(self, ended: str) -> None:
        leaving: list[Stream] = []
        with self._lock:
            self._ended.append(ended)
            while len(self._ended) > self._history:
                stream = self._streams.pop(self._ended.popleft(), None)
                if stream is not None:
                    self._tally.leave(stream)
                    leaving.append(stream)
        for stream in leaving:  # without the lock, which the call takes, at once where the end has come
            if not stream.record.is_done:
                stream.ending.call_when_reached(self._count_gone)

    def _count_gone(self) -> None:
        with self._lock:
            self._tally.let_go()

    def get_stream(self, stream: Stream | str) -> Stream:
        """Return the stream of this id; a Stream is returned as it is.

        Raises:
            StreamNotFoundError: there is none, or none any more.
        """
        if not isinstance(stream, str) and hasattr(stream, "stream_id"):  # a class may have been reloaded
            return stream
        found = self._streams.get(stream) if isinstance(stream, str) else None
        if found is None:
            known = ", ".join(list(self._streams)[-5:])
            none = (
                "All have ended and left the history." if self.statistics().total else "None was started yet."
            )
            raise StreamNotFoundError(
                f"There is no stream {stream!r}.", hint=f"The newest are {known}." if known else none
            )
        return found

    def list_streams(self, *, all: bool = False) -> list[Stream]:  # noqa: A002 - the name is fixed
        """Return the active streams, oldest first; with `all` the finished ones still listed, too."""
        streams = list(self._streams.values())
        return streams if all else [stream for stream in streams if stream.status == Status.ACTIVE]

    def get_stream_info(self, stream: Stream | str) -> StreamInfo:
        """Return one moment of a stream as a value.

        Raises:
            StreamNotFoundError: there is no such stream.
        """
        return self.get_stream(stream).info()

    def get_stream_status(self, stream: Stream | str) -> Status:
        """Return "active", "completed", "error" or "stopped".

        Raises:
            StreamNotFoundError: there is no such stream.
        """
        return self.get_stream(stream).status

    def models(
        self,
        auth: str | None = None,
        *,
        credentials: object = None,
        base_url: str | None = None,
        api_version: str | None = None,
        fresh: bool = False,
    ) -> list[Model]:
        """Return the models that a service offers, with their limits. The list is kept for an hour.

        Args:
            auth: the service, as in `start_stream`.
            credentials: as in `start_stream`, and so are `base_url` and `api_version`.
            base_url: another root.
            api_version: such as "v1beta".
            fresh: ask for the list anew.

        Raises:
            ConfigError: no key, or a value that does not fit.
            GeminiError: the service refuses, or cannot be reached.
            BlockingCallError: called on the background loop's own thread.
        """
        credentials = seal(credentials)
        self.runtime.check_may_block()
        given: StreamOptions = {"auth": auth, "credentials": credentials, "base_url": base_url}
        endpoint = find_endpoint(self.runtime, {**given, "api_version": api_version})
        root = (endpoint.quota[0], endpoint.authenticator.identity)
        known = self._models.get(root)
        if known is None or fresh or time.monotonic() - known[0] > _HOUR:

            async def ask() -> list[Model]:
                return await list_models(await self.runtime.ready(), endpoint)

            known = self._models[root] = (time.monotonic(), self.runtime.loop.run(ask()))
        return list(known[1])

    def delete_file(
        self,
        file: File,
        *,
        auth: str | None = None,
        credentials: object = None,
        base_url: str | None = None,
        api_version: str | None = None,
    ) -> bool:
        """Delete what was uploaded of a file; `File.delete` calls this for the kernel's manager.

        Args:
            file: the file, or the name of an upload.
            auth: the service, as in `start_stream`, and so are the others. Without any of them, what this
                process uploaded is deleted wherever it is.
            credentials: the key.
            base_url: another root.
            api_version: such as "v1beta".

        Returns:
            Whether there was something to delete.

        Raises:
            ConfigError: no key, or a value that does not fit.
            GeminiError: the service refuses, or cannot be reached.
            BlockingCallError: called on the background loop's own thread.
        """
        credentials = seal(credentials)
        self.runtime.check_may_block()
        uploads = uploads_of(self.runtime)
        given: StreamOptions = {"auth": auth, "credentials": credentials, "base_url": base_url}
        given["api_version"] = api_version
        places = [] if any(given.values()) else uploads.memory.places_of(file, None)
        places = places or uploads.memory.places_of(file, find_endpoint(self.runtime, given))

        async def delete() -> bool:
            return await uploads.delete(await self.runtime.ready(), places)

        return self.runtime.loop.run(delete())

    def stop_stream(self, stream: Stream | str) -> None:
        """Stop a stream, its requests and its tools; what arrived stays. Stopping an ended one does nothing.

        Raises:
            StreamNotFoundError: there is no such stream.
        """
        self.get_stream(stream).stop()

    def add_group(self, group: Stoppable) -> None:
        """List a group for dashboards, by a weak reference: only its running streams keep it alive."""
        with self._lock:
            self._groups = [*(known for known in self._groups if known() is not None), weakref.ref(group)]

    @property
    def groups(self) -> list[Stoppable]:
        """The groups with running rows, and those that the user still refers to; oldest first."""
        return [group for known in self._groups if (group := known()) is not None]

    def request_stop_all(self) -> None:
        """Ask every active stream to stop, start no further rows of groups, and return at once."""
        for group in self.groups:
            group.stop()
        for stream in reversed(self.list_streams()):
            stream.request_stop()

    def stop_all(self) -> None:
        """Stop every active stream, and start no further rows of groups."""
        for group in self.groups:
            group.stop()
        stop_together(self.list_streams())

    def subscribe(
        self, stream: Stream | str, subscriber: Subscriber | None = None, *, replay: bool = True
    ) -> EventReader | None:
        """Call `subscriber` with every event of a stream, or return an iterator of its events.

        Args:
            stream: a Stream or its id; finished ones replay.
            subscriber: a callable, or None for an iterator (for `for` and `async for`).
            replay: begin with the first event, or only with new ones.

        Raises:
            StreamNotFoundError: there is no such stream.
        """
        found = self.get_stream(stream)
        if subscriber is None:
            return found.reader(replay=replay)
        found.subscribe(subscriber, replay=replay)
        return None

    subscribe_stream = subscribe

    def unsubscribe(self, stream: Stream | str, subscriber: Subscriber) -> None:
        """Stop calling a subscriber; the stream goes on.

        Raises:
            StreamNotFoundError: there is no such stream.
        """
        self.get_stream(stream).unsubscribe(subscriber)

    def statistics(self) -> Statistics:
        """Return counts over all streams that ever ran here, also those that are no longer listed."""
        with self._lock:
            return self._tally.count(self._streams.values())

    def shutdown(self) -> None:
        """Stop every stream and end threads, connections and the simulator. Shutting down twice is once.

        Raises:
            BlockingCallError: called on the background loop's own thread.
        """
        if os.getpid() == self._pid:  # a forked child has the object, but not its threads
            for group in self.groups:
                group.stop()
            self.runtime.close()
        atexit.unregister(self.shutdown)
        _let_go(self)


def _call(callback: Callable[[Stream], object], stream: Stream) -> None:
    try:
        callback(stream)
    except Exception as error:  # noqa: BLE001 - a dashboard that fails must not keep a stream from starting
        logger.warning("at the start of %s: %s", stream.stream_id, scrub_error(error))


def _history(chat: Any) -> list[Content]:
    if chat is None:
        return []
    if not callable(getattr(chat, "attach", None)):
        raise ArgumentError(f"chat is a Chat, not {kind_of(chat)}.", hint="Make one: gemini_nb.Chat().")
    return to_turns(chat.history)


_manager: StreamManager | None = globals().get("_manager")  # survives a reload of this module
_manager_lock = threading.Lock()


def get_manager() -> StreamManager:
    """Return the kernel's one manager, made on first use; from any thread."""
    global _manager
    with _manager_lock:
        if _manager is None or _manager.runtime.closed:
            _manager = StreamManager(runtime=default_runtime())
        return _manager


def manager_of(manager: Any) -> StreamManager:
    """Return the manager that was passed as an argument, the kernel's where it is None.

    Raises:
        ArgumentError: it is none.
    """
    if manager is None:
        return get_manager()
    if isinstance(manager, type) or not hasattr(manager, "start_stream"):  # its class may have been reloaded
        raise ArgumentError(
            f"manager is a StreamManager, not {kind_of(manager)}.", hint="Leave it out to take the kernel's."
        )
    known: StreamManager = manager
    return known


def journal() -> Journal:
    """Return the answers that are kept on this machine, also those of other kernels and earlier days.

    Raises:
        ConfigError: the journal is turned off.
    """
    writer = get_manager().runtime.journal()
    if writer is None:
        raise ConfigError(
            "The journal is off, so nothing was kept.",
            hint="GEMINI_NB_JOURNAL and %config GeminiNB.journal say where it is; neither may be `off`.",
        )
    return Journal(writer)


def _let_go(manager: StreamManager) -> None:
    """Keep nothing of a manager that was shut down, so that it can be collected."""
    global _manager
    if _manager is manager:
        _manager = None


def models(auth: str | None = None, **options: Any) -> list[Model]:
    """Return the models that a service offers: `StreamManager.models` of the kernel's manager."""
    seal_options(options)
    return get_manager().models(auth, **options)


remote.delete = lambda file, options: get_manager().delete_file(file, **options)


def adopt_manager(manager: StreamManager | None) -> None:
    """Make this the kernel's manager, as found on the shell after the modules were imported anew."""
    global _manager
    with _manager_lock:
        _manager = manager


def _after_fork() -> None:
    """In the child: threads were not forked along, so its streams are the parent's."""
    global _manager, _manager_lock
    if _manager is not None:
        atexit.unregister(_manager.shutdown)
    _manager = None
    _manager_lock = threading.Lock()
    forget_default_runtime()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
