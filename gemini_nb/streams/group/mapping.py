"""Asking one prompt for each item: the rows of a list, a frame or an iterator, as a group of streams."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sized
from decimal import Decimal
from typing import Any, TypeVar, Unpack

from gemini_nb.api.contents.generation import SCHEMAS, split_config
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.config import choose_keep, choose_model
from gemini_nb.errors import ArgumentError, GeminiError, NotAskedError
from gemini_nb.sealing import seal_options, sealed_rows
from gemini_nb.streams.conversation.keeping import Repeats
from gemini_nb.streams.events.info import Subscriber
from gemini_nb.streams.group.frame import column_names, copied, is_frame, is_missing, records_of, why_no_rows
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.origin import Origin, origin_of
from gemini_nb.streams.group.pace import Pace, check_prices, dollars_of
from gemini_nb.streams.group.rows import Row, Shape
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.manager import StreamManager, manager_of
from gemini_nb.streams.request.options import StreamOptions, check_names, for_several, takes_options
from gemini_nb.streams.request.request import build_request, check_settings, output_of
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.schemas.schema import OutputSchema
from gemini_nb.tools.tool import described

M = TypeVar("M", bound=Mapping[str, object])

_MISSING = object()
_TIMES = 8  # of ten thousand rows, four failures in a row meet one where a tenth of all requests fails
_PROBE = "Hello"  # any prompt: only the settings are checked
_ONE = "One prompt alone goes to start_stream."
_SETTINGS = "Settings are a dictionary for each prompt, such as {'model': 'gemini-2.5-pro'}."


@takes_options
def map_prompts(
    prompts: Iterable[object],
    *,
    subscriber: Subscriber | None = None,
    concurrency: int = 8,
    rpm: float | None = None,
    budget: float | str | Decimal | None = None,
    manager: StreamManager | None = None,
    items: Iterable[object] | None = None,
    each: Iterable[Mapping[str, Any]] | None = None,
    **options: Unpack[StreamOptions],
) -> StreamGroup:
    """Start one stream for each prompt, a few at a time, and return at once.

    What has a length is copied at the call; an iterator is read as needed, on its own thread. A few hundred
    rows at a time are streams: ten thousand cost no more than their answers. A quota, a server that is down
    or a lost connection fails no row, unless `retry` says so: all wait, and one tries again about every 30
    seconds. They keep to a minute's quota that the server names; a used-up quota of a day ends the run.

    Args:
        prompts: what to ask, each as `StreamManager.start_stream` takes it.
        subscriber: called with every event of each stream.
        concurrency: streams that run at a time, at most; more than 1,000 never do.
        rpm: requests a minute at most, in even steps.
        budget: US dollars. No row is asked once what was spent and what runs may yet cost would pass it.
        manager: who runs them; by default the kernel's.
        items: what each is about, for `to_frame`; by default the prompts.
        each: settings for each prompt by itself.
        **options: as in `StreamOptions`.

    Raises:
        ArgumentError: no list of prompts, or not as many settings.
        ConfigError: a value does not fit; what was started is stopped.
        TypeError: there is no such option.
    """
    seal_options(options)  # before anything can fail and show them
    each = sealed_rows(each)
    options = _described(options, once := _Once())
    _check(prompts, items, each)
    pace = Pace(concurrency, rpm)
    chosen = manager_of(manager)
    shape = _shape(chosen, options, items, origin_of(prompts if items is None else items))
    rows = _rows_of(prompts, items, each, once)
    _check_shared(chosen, options, each, rows)
    repeats, patient = Repeats(), _patient(chosen)

    def start(row: Row) -> Stream:
        question, gate, number_of = _question_of(row), pace.gate(row), repeats.of(row)
        settings = _settings_of(row, options, patient)
        if run.budget is not None and each is not None:
            check_prices([choose_model(settings.get("model"), chosen.runtime.settings)])
        return chosen.start_stream(question, subscriber, gate=gate, number_of=number_of, **settings)

    def refuse(row: Row, error: GeminiError) -> Stream:
        return chosen.refuse_stream(error, subscriber, **{**options, **row.options})

    run = pace.run = Run(rows, start, refuse, pace.window)
    run.budget, run.keeps = _kept_budget(budget, chosen, options, rows, each), _keeps(chosen, options, rows)
    return _begun(run, chosen, shape)


class _Once:
    """Describes each type once: to do that for each row takes a millisecond."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, bool], OutputSchema] = {}

    def schema(self, schema: object, *, openapi: bool = False) -> Any:
        """Return the schema of a type; a dictionary, which may be changed for the next row, as it is."""
        if schema is None or isinstance(schema, (Mapping, OutputSchema)):
            return schema
        try:
            key = schema, openapi
            if key not in self._known:
                self._known[key] = OutputSchema(schema, openapi=openapi)
        except TypeError:  # it has no hash, or is no schema, which its row says
            return schema
        return self._known[key]

    def options(self, options: M) -> M:
        """Return options in which no type has to be described any more."""
        own: Any = for_several(options)
        if "schema" in own:
            own["schema"] = self.schema(own["schema"])
        if own.get("generation_config") is not None:
            config, beside = split_config(own["generation_config"])
            for name in SCHEMAS:
                if name in config:
                    config[name] = self.schema(config[name], openapi=name == "responseSchema")
            own["generation_config"] = config | beside
        made: M = own
        return made

    def row(self, options: M) -> M:
        """Return the same for a row, whose own fault it is when they do not fit."""
        try:
            return self.options(options)
        except GeminiError:
            return for_several(options)


def _described(options: StreamOptions, once: _Once) -> StreamOptions:
    """Return the options for all rows, with types and functions described."""
    options = once.options(options)
    schema = options.get("schema")
    if schema is not None and not isinstance(schema, OutputSchema):
        options["schema"] = OutputSchema(schema)
    if "tools" in options:
        options["tools"] = described(options["tools"])
    check_names(options)
    return options


def _check_shared(manager: StreamManager, options: StreamOptions, each: object, rows: Iterable[Row]) -> None:
    """Refuse what fits no row, before one is read; the first rows of a list are checked when they start."""
    if isinstance(rows, list):
        return
    if each is None:
        build_request(manager.runtime, _PROBE, **options)
    else:
        check_settings(manager.runtime, options)


def _patient(manager: StreamManager) -> RetryPolicy:
    on_cut = manager.runtime.settings.on_cut
    return RetryPolicy(attempts=_TIMES, restarts=_TIMES, on_cut=on_cut, patient=True)


def _begun(run: Run, manager: StreamManager, shape: Shape) -> StreamGroup:
    """Begin to ask the rows, and return their group."""
    manager.add_group(run)
    group = StreamGroup(run, runtime=manager.runtime, shape=shape)
    try:
        run.begin()
    except BaseException:
        group.stop()  # nothing else would have a handle on them
        raise
    return group


def _shape(manager: StreamManager, options: StreamOptions, items: object, origin: Origin | None) -> Shape:
    """Return what the table of the rows will look like; prompts that are the items are texts as a rule."""

    def form(own: Mapping[str, Any]) -> OutputSchema | None:
        with contextlib.suppress(GeminiError):  # what does not fit is the rows' error
            return output_of({**options, **own})
        return None

    model = None
    with contextlib.suppress(GeminiError):
        model = choose_model(options.get("model"), manager.runtime.settings)
    return Shape(("item",) if items is None else column_names(items), form, model, origin)


def _settings_of(row: Row, options: StreamOptions, retry: RetryPolicy) -> StreamOptions:
    """Return the settings that a row is asked with: its own, then those that all share, then this policy."""
    settings: Any = {**options, **row.options}  # checked when it starts
    if settings.get("retry") is None:
        settings["retry"] = retry
    made: StreamOptions = settings
    return made


def _question_of(row: Row) -> Any:
    """Return what a row asks.

    Raises:
        NotAskedError: it asks nothing.
    """
    question = row.question()
    if is_missing(question):
        raise NotAskedError("Not asked: this row has no prompt.", hint="Leave it out, or fill it in.")
    return question


def _check(prompts: object, items: object, each: object) -> None:
    """Refuse what `map_prompts` cannot take for prompts, or for items and settings of rows."""
    if (why := why_no_rows(prompts, "prompts")) is not None:
        raise ArgumentError(f"map takes a list of prompts, not {why}.", hint="" if ": " in why else _ONE)
    if is_frame(prompts):
        raise ArgumentError(
            "map takes a list of prompts, not a frame.",
            hint='gemini_nb.ask_frame(frame, "… {item.column} …"), or frame["column"].',
        )
    if items is not None and (why := why_no_rows(items, "items")) is not None:
        raise ArgumentError(f"items are a list or a frame, not {why}.")
    if each is not None and (why := why_no_rows(each, "each")) is not None:
        raise ArgumentError(_SETTINGS if isinstance(each, Mapping) else f"{_SETTINGS} This is {why}.")


def check_rows(manager: StreamManager, settings: Iterable[Mapping[str, Any]], budget: object) -> None:
    """Check all settings that rows of an iterator may have, before the first row is read.

    Raises:
        ConfigError: a value does not fit, or the price that a budget needs is not known.
    """
    for own in settings:
        request = build_request(manager.runtime, _PROBE, **own)
        if dollars_of(budget) is not None:
            check_prices([request.endpoint.model])


def _keeps(manager: StreamManager, options: StreamOptions, rows: Iterable[Row]) -> bool:
    """Whether rows may be among kept answers."""
    of_rows = any(row.options.get("keep") for row in rows) if isinstance(rows, list) else False
    return of_rows or choose_keep(options.get("keep"), manager.runtime.settings) is not None


def _kept_budget(
    budget: object, manager: StreamManager, options: StreamOptions, rows: Iterable[Row], each: object
) -> Decimal | None:
    """Return the budget; refuse one where what an answer costs is not known.

    Rows of an iterator with settings of their own are checked when they start.
    """
    if (dollars := dollars_of(budget)) is None:
        return None
    of_rows = {row.model for row in rows} if isinstance(rows, list) else {None} if each is None else set()
    check_prices(choose_model(own or options.get("model"), manager.runtime.settings) for own in of_rows)
    return dollars


def _rows_of(
    prompts: Iterable[object],
    items: Iterable[object] | None,
    each: Iterable[Mapping[str, Any]] | None,
    once: _Once,
) -> Iterable[Row]:
    if items is not None and (records := records_of(items)) is not None:
        items = records
    if not isinstance(prompts, Sized):
        return _rows_as_they_come(prompts, items, each, once)
    asked = list(map(copied, prompts))
    settings = [{} for _ in asked] if each is None else list(each)
    if len(settings) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but settings for {len(settings)}.")
    known = asked if items is None else list(map(copied, items))
    if any(not isinstance(own, Mapping) for own in settings):
        raise ArgumentError(_SETTINGS)
    if len(known) != len(asked):
        raise ArgumentError(f"There are {len(asked)} prompts, but {len(known)} items.")
    return list(map(Row, asked, known, map(once.row, settings)))


def _rows_as_they_come(
    prompts: Iterable[object],
    items: Iterable[object] | None,
    each: Iterable[Mapping[str, Any]] | None,
    once: _Once,
) -> Iterator[Row]:
    """Rows of iterators; one that ends before the others is an error, else their last rows would be lost."""
    columns: list[Iterable[Any]] = [one for one in (prompts, items, each) if one is not None]
    for number, row in enumerate(itertools.zip_longest(*columns, fillvalue=_MISSING)):
        if any(one is _MISSING for one in row):
            raise ArgumentError(
                f"There are not as many prompts, items and settings: one ends after {number}."
            )
        prompt, *rest = map(copied, row)
        about = prompt if items is None else rest.pop(0)
        own = rest.pop() if rest else {}
        if not isinstance(own, Mapping):
            raise ArgumentError(_SETTINGS)
        yield Row(prompt, about, once.row(own))
