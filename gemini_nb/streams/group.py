"""Many streams of one kind: one prompt for each item."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from gemini_nb.errors import ArgumentError, ConfigError, GeminiError
from gemini_nb.redaction import seal
from gemini_nb.streams.manager import StreamManager, get_manager
from gemini_nb.streams.stream import Stream, stop_together

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
    def errors(self) -> list[GeminiError | None]:
        """Why each stream failed, None where it did not."""
        return [stream.error for stream in self.streams]

    @property
    def results(self) -> list[Any]:
        """What each gave: its parsed answer where there is a schema, else its text; None if it failed."""
        return [None if stream.error is not None else _result(stream) for stream in self.streams]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame: what each was asked about, what it answered, how it ended.

        The fields of an item, and of a parsed answer, become columns.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 - whoever wants a DataFrame has it; nobody else needs it
        except ImportError:
            raise ConfigError("A DataFrame needs pandas.", hint="%pip install pandas") from None
        about = [{}] * len(self.streams) if self.items is None else map(_about, self.items)
        return pd.DataFrame([_row(stream, asked) for stream, asked in zip(self.streams, about, strict=True)])

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
            self.stop()
            raise
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


def _about(item: object) -> dict[str, Any]:
    return _fields(item) or {"item": item}


def _row(stream: Stream, asked: dict[str, Any]) -> dict[str, Any]:
    result = None if stream.error is not None else _result(stream)
    answered = _fields(result) if stream.request.schema is not None and result is not None else {}
    return {
        **asked,
        **(answered or {"answer": result}),
        "model": stream.model,
        "status": str(stream.status),
        "error": None if stream.error is None else str(stream.error),
        "tokens": stream.usage.total_token_count,
    }


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a mapping, a dataclass or a pydantic model; none of anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dict(dump()) if callable(dump) else {}


def map_prompts(
    prompts: Iterable[object],
    *,
    concurrency: int = 8,
    manager: StreamManager | None = None,
    items: Iterable[object] | None = None,
    each: Iterable[Mapping[str, Any]] | None = None,
    **options: Any,
) -> StreamGroup:
    """Start one stream for each prompt, a few at a time, and return at once.

    Args:
        prompts: what to ask, in a list, each as `StreamManager.start_stream` takes it.
        concurrency: streams that run at a time.
        manager: who runs them; by default the kernel's.
        items: what each is about, for `to_frame`; by default the prompts.
        each: settings for each prompt by itself.
        **options: what else `start_stream` takes, for all of them.

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
    gate = _Gate(concurrency)
    chosen = manager or get_manager()
    started: list[Stream] = []
    try:
        for prompt, own in zip(asked, settings, strict=True):
            started.append(chosen.start_stream(prompt, gate=gate.enter, **{**options, **own}))
    except BaseException:
        stop_together(started)  # nobody would have a handle on them
        raise
    return StreamGroup(started, asked if items is None else items)


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
