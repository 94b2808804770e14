"""Many streams of one kind: one prompt for each item."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Unpack, overload

from gemini_nb.errors import ArgumentError, ConfigError, GeminiError
from gemini_nb.journal import prices
from gemini_nb.redaction import seal
from gemini_nb.streams.conversation.dependencies import streams_in, whole_text
from gemini_nb.streams.conversation.keeping import Repeats
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.request.options import StreamOptions, takes_options
from gemini_nb.streams.stream import Stream, stop_interrupted, stop_together

__all__ = ["StreamGroup", "map_prompts"]


class StreamGroup(Sequence[Stream]):
    """Streams that belong together, in the order of their prompts.

    Args:
        streams: the streams.
        items: what each of them was asked about, where there is such a thing.
    """

    def __init__(self, streams: Iterable[Stream], items: Iterable[object] | None = None) -> None:
        self.streams = tuple(streams)
        self.items = list(items) if items is not None else None

    def __len__(self) -> int:
        return len(self.streams)

    @overload
    def __getitem__(self, index: int) -> Stream: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Stream]: ...
    def __getitem__(self, index: int | slice) -> Stream | Sequence[Stream]:
        return self.streams[index]

    def __iter__(self) -> Iterator[Stream]:
        return iter(self.streams)

    def __repr__(self) -> str:
        done = sum(stream.status != "active" for stream in self.streams)
        return f"<StreamGroup of {len(self.streams)} streams, {done} done>"

    @property
    def texts(self) -> list[str]:
        """What each stream has so far."""
        return [stream.text for stream in self.streams]

    @property
    def cost(self) -> Decimal | None:
        """What all of them cost so far in US dollars; None where the price of one is not known."""
        return prices.total(stream.cost for stream in self.streams)

    @property
    def errors(self) -> list[GeminiError | None]:
        """Why each stream failed, None where it did not."""
        return [stream.error for stream in self.streams]

    @property
    def results(self) -> list[Any]:
        """What each gave: its parsed answer where there is a schema, else its text; None if it failed."""
        return [None if stream.error is not None else _result(stream) for stream in self.streams]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame: what each was asked about, what it answered, how it ended.

        The items' own columns come first, as they are. Then comes `answer`, or a column for each field of the
        schema, and `status`, `finish_reason`, `error`, `tokens`; where several models were asked, also
        `model`. A name that is taken already gets "answer_" before it.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd  # whoever wants a DataFrame has it; nobody else needs it
        except ImportError:
            raise ConfigError("A DataFrame needs pandas.", hint="%pip install pandas") from None
        items: Iterable[dict[Any, Any]] = (
            [{}] * len(self.streams) if self.items is None else map(_about, self.items)
        )
        return pd.DataFrame(_rows(self.streams, list(items)))

    def wait(self, timeout: float | None = None) -> StreamGroup:
        """Wait until all have ended.

        Args:
            timeout: seconds for all together.

        Raises:
            TimeoutError: some have not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            for stream in self.streams:
                stream.wait_end(None if deadline is None else max(0.0, deadline - time.monotonic()))
            grace = time.monotonic() + 1.0  # for the subscribers of all of them together
            for stream in self.streams:
                stream.wait_delivered(grace)
        except KeyboardInterrupt:
            raise stop_interrupted(self.streams) from None
        return self

    def result(self, timeout: float | None = None) -> list[str]:
        """Wait for all and return their texts; the first failure is raised."""
        self.wait(timeout)
        return [stream.outcome() for stream in self.streams]

    def stop(self) -> None:
        """Stop them all."""
        stop_together(self.streams)


def _result(stream: Stream) -> Any:
    return stream.parsed if stream.request.schema is not None else stream.text


def _about(item: object) -> dict[Any, Any]:
    if streams_in(item) is not None:
        return {"item": whole_text(item)}
    return _fields(item) or {"item": item}


def _rows(streams: Sequence[Stream], asked: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """One dictionary for each stream, all with the same columns in the same order."""
    own = list(dict.fromkeys(name for about in asked for name in about))
    answers = [_answer(stream) for stream in streams]
    fields = list(dict.fromkeys(name for answer in answers for name in answer)) or ["answer"]
    ends = [_end(stream) for stream in streams]
    if len({stream.model for stream in streams}) > 1:
        ends = [{**end, "model": stream.model} for stream, end in zip(streams, ends, strict=True)]
    end_names = _free_names(ends[0] if ends else (), own)
    field_names = _free_names(fields, [*own, *end_names.values()])
    return [
        {
            **{name: about.get(name) for name in own},
            **{shown: answer.get(name) for name, shown in field_names.items()},
            **{shown: end[name] for name, shown in end_names.items()},
        }
        for about, answer, end in zip(asked, answers, ends, strict=True)
    ]


def _answer(stream: Stream) -> dict[Any, Any]:
    """The answer by columns; none where a structured one is missing."""
    schema = stream.request.schema
    if schema is None:
        return {"answer": None if stream.error is not None else stream.text}
    result = None if stream.error is not None else stream.parsed
    if result is None:
        return dict.fromkeys(schema.json_schema.get("properties", ()))
    return _fields(result) or {"answer": result}


def _end(stream: Stream) -> dict[str, Any]:
    return {
        "status": str(stream.status),
        "finish_reason": stream.finish_reason,
        "error": None if stream.error is None else str(stream.error),
        "tokens": stream.usage.total_token_count,
    }


def _free_names(names: Iterable[Any], taken: Iterable[Any]) -> dict[Any, Any]:
    """Each name as it is, with "answer_" before it as often as it is taken."""
    used = set(taken)
    free: dict[Any, Any] = {}
    for name in names:
        shown = name
        while shown in used:
            shown = f"answer_{shown}"
        used.add(shown)
        free[name] = shown
    return free


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a mapping, a dataclass or a pydantic model; none of anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dict(dump()) if callable(dump) else {}


@takes_options
def map_prompts(
    prompts: Iterable[object],
    *,
    subscriber: Subscriber | None = None,
    concurrency: int = 8,
    manager: StreamManager | None = None,
    items: Iterable[object] | None = None,
    each: Iterable[Mapping[str, Any]] | None = None,
    **options: Unpack[StreamOptions],
) -> StreamGroup:
    """Start one stream for each prompt, a few at a time, and return at once.

    Args:
        prompts: what to ask, in a list, each as `StreamManager.start_stream` takes it.
        subscriber: called with every event of each stream.
        concurrency: streams that run at a time.
        manager: who runs them; by default the kernel's.
        items: what each is about, for `to_frame`; by default the prompts.
        each: settings for each prompt by itself.
        **options: as in `StreamOptions`.

    Raises:
        ArgumentError: no list of prompts, or not as many settings.
        ConfigError: a value does not fit; what was started is stopped.
    """
    options["credentials"] = seal(options.get("credentials"))
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ConfigError(f"concurrency is a whole number, at least 1, not {concurrency!r}.")
    if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
        raise ArgumentError(
            f"map takes a list of prompts, not a {type(prompts).__name__}.",
            hint="One prompt alone goes to start_stream.",
        )
    asked = list(prompts)
    settings = [{} for _ in asked] if each is None else list(each)
    if len(settings) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but settings for {len(settings)}.")
    about = asked if items is None else list(items)
    if len(about) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but {len(about)} items.")
    gate, repeats = _Gate(concurrency), Repeats()
    chosen = manager or get_manager()
    started: list[Stream] = []
    try:
        for row, (prompt, own) in enumerate(zip(asked, settings, strict=True)):
            started.append(
                chosen.start_stream(
                    prompt, subscriber, gate=gate.enter, number_of=repeats.of(row), **{**options, **own}
                )
            )
    except BaseException:
        stop_together(started)  # nobody would have a handle on them
        raise
    return StreamGroup(started, about)


class _Gate:
    """A semaphore that is made on the loop it is used on."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._semaphore: asyncio.Semaphore | None = None

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        if self._semaphore is None:
            self._semaphore = asyncio.Semaphore(self._size)
        async with self._semaphore:
            yield
