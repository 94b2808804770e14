"""A group as a table."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import itertools
import numbers
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from gemini_nb.api.contents.objects import is_from
from gemini_nb.api.contents.values import import_pandas
from gemini_nb.errors import ArgumentError, kind_of
from gemini_nb.streams.conversation.dependencies import streams_in, whole_text
from gemini_nb.streams.group.rows import Row, Shape
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.runtime.handle import Handle
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.schemas.schema import OutputSchema

ENDS = ("status", "finish_reason", "error", "tokens", "cost", "kept")
"""The columns that say how a row ended."""
_KINDS = {"tokens": "int64", "cost": "float64", "kept": "bool"}  # what pandas makes of those of rows
_FILE_NAME = re.compile(r"[^\n]+\.(?:csv|tsv|txt|md|jsonl?|ndjson|parquet|feather|xlsx?)")
_TABLES = ("pyarrow", "Table", "RecordBatch")


_NO_ROWS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda value: (
            isinstance(value, PurePath) or (isinstance(value, str) and bool(_FILE_NAME.fullmatch(value)))
        ),
        'read the file first, such as pandas.read_csv({name})["column"]',
    ),
    (  # its lines would have their ends, or be those of a table
        lambda value: hasattr(type(value), "readline"),
        "list its lines, {name}.read().splitlines(), or read a table, pandas.read_csv({name})",
    ),
    (
        lambda value: isinstance(value, (bytes, bytearray, memoryview)),
        "decode and split them, bytes({name}).decode().splitlines()",
    ),
    (
        lambda value: isinstance(value, Mapping),
        "make it list({name}.values()), or list({name}.items()) for pairs",
    ),
    (
        lambda value: is_from(value, "dask", "DataFrame", "Series"),
        "compute it first, {name}.compute(), or gemini_nb.ask_frame asks about its rows",
    ),
    (lambda value: is_from(value, "polars", "LazyFrame"), "collect it first, {name}.collect()"),
    (
        lambda value: isinstance(value, AsyncIterable) and not isinstance(value, Iterable),
        "read it first, [row async for row in {name}]",
    ),
    (lambda value: isinstance(value, Handle), "list its text, or texts"),
    (lambda value: isinstance(value, Awaitable), "await it first, await {name}"),
)
"""What is not taken for rows, and what to do with it instead."""


def to_frame(run: Run, shape: Shape, *, has_items: bool, wide: bool) -> Any:
    """Return a pandas DataFrame with a row for each of the run's, or with `wide` for each item.

    Raises:
        ConfigError: pandas is not installed.
    """
    pd = import_pandas()
    if not run.rows:
        return _empty(pd, shape, has_items=has_items, wide=wide)
    asked = [_about(row.item) if has_items else {} for row in run.rows]
    table = pd.DataFrame(_wide_rows(run.rows, asked, shape) if wide else _rows(run, asked, shape))
    if not has_items or shape.origin is None:
        return table
    return shape.origin.put_back(pd, table, _all_names(asked), wide=wide)


def _empty(pd: Any, shape: Shape, *, has_items: bool, wide: bool) -> Any:
    """A frame without rows, whose columns are those that it would have with some."""
    own = list(shape.columns) if has_items else []
    if wide:
        models = shape.models or ([] if shape.model is None else [shape.model])
        return pd.DataFrame(columns=[*own, *free_names(models, own).values()])
    ends = free_names([*ENDS, "model"] if shape.models else ENDS, own)
    fields = free_names(_expected(shape, {}), [*own, *ends.values()])
    frame = pd.DataFrame(columns=[*own, *fields.values(), *ends.values()])
    return frame.astype({ends[name]: kind for name, kind in _KINDS.items()})


def _expected(shape: Shape, options: Mapping[str, Any]) -> list[Any]:
    """The fields that an answer would have, of a row with these settings."""
    schema = shape.form(options)
    return list(_unanswered(schema) if schema is not None else ()) or ["answer"]


def _unanswered(schema: OutputSchema) -> dict[Any, Any]:
    """An answer that is missing, by columns; none where the form does not name them."""
    return dict.fromkeys(schema.json_schema.get("properties", ()))


def columns_of(stream: Stream | None, run: Run, fields: Sequence[str]) -> list[Any]:
    """Return what a row answered, field by field, and then how it ended, as `ENDS` names it."""
    answer, end = _answer(stream), _end(stream, run)
    return [*(answer.get(name) for name in fields), *(end[name] for name in ENDS)]


def records_of(value: Any) -> list[Any] | None:
    """Return the rows of a frame (pandas, polars) or a table of pyarrow's as dictionaries; None of others.

    Raises:
        ArgumentError: two columns have the same name, and one would be lost.
    """
    if is_from(value, "polars", "DataFrame"):  # which has a to_dict of another kind
        return list(value.iter_rows(named=True))
    if is_from(value, *_TABLES):
        check_columns(value.column_names)
        return list(value.to_pylist())
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # pandas
        check_columns(value.columns)
        return list(value.to_dict("records"))
    return None


def column_names(value: Any) -> tuple[Any, ...]:
    """Return the names of a frame's columns; none of anything else."""
    if not is_frame(value):
        return ()
    return tuple(value.column_names if is_from(value, *_TABLES) else value.columns)


def is_frame(value: Any) -> bool:
    """Whether `records_of` would return rows of it; to list those of a large frame takes long."""
    is_other = is_from(value, "polars", "DataFrame") or is_from(value, *_TABLES)
    return is_other or (hasattr(value, "to_dict") and hasattr(value, "columns"))


def check_columns(names: Iterable[Any]) -> None:
    """Refuse two columns of one name, of which one would be lost.

    Raises:
        ArgumentError: there are two.
    """
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise ArgumentError(f"Two columns of the frame are called {twice[0]!r}.", hint="Rename one.")


def why_no_rows(value: object, name: str) -> str | None:
    """Say what a value is that is not taken for rows, and what to do with it; None where it is rows.

    Args:
        value: what was passed as rows; that it can be iterated does not mean that the user wants it.
        name: what the user calls it.
    """
    words = next((words for is_kind, words in _NO_ROWS if is_kind(value)), None)
    if words is not None:
        return f"{kind_of(value)}: {words.format(name=name)}"
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    return kind_of(value) if is_one and not is_from(value, *_TABLES) else None


def copied(row: Any) -> Any:
    """Return a row as it is now: its dictionary or list may be changed, or filled again for the next row."""
    return copy.copy(row) if isinstance(row, (dict, list)) else row


def is_missing(value: Any) -> bool:
    """Whether it stands for no value, as in a frame or a line of JSON."""
    if value is None or is_from(value, "pandas", "NAType", "NaTType"):
        return True
    is_scalar = isinstance(value, numbers.Number) or is_from(value, "numpy", "datetime64", "timedelta64")
    return is_scalar and bool(value != value)  # noqa: PLR0124 - only a NaN differs from itself


def result_of(stream: Stream) -> Any:
    """The parsed answer where there is a schema, else the text; None where it failed."""
    if stream.error is not None:
        return None
    return stream.parsed if stream.request.schema is not None else stream.text


def _wide_rows(rows: Sequence[Row], asked: list[dict[Any, Any]], shape: Shape) -> list[dict[Any, Any]]:
    """One dictionary for each item, with a column for each model that was asked about it."""
    by_model: dict[str | None, list[int]] = {}
    for index, model in enumerate(_models(rows, shape)):
        by_model.setdefault(model, []).append(index)
    own = _all_names(asked)
    names = free_names(by_model, own)
    made = []
    for place in range(max(map(len, by_model.values()), default=0)):
        indexes = {model: of[place] for model, of in by_model.items() if place < len(of)}
        about = asked[next(iter(indexes.values()))]
        answers = {names[model]: _answered(rows[index]) for model, index in indexes.items()}
        made.append({**{name: about.get(name) for name in own}, **answers})
    return made


def _models(rows: Sequence[Row], shape: Shape) -> list[str | None]:
    """The model of each row; one that was never asked has that of the others with its settings."""
    known = {None: shape.model} | {row.model: row.stream.model for row in rows if row.stream is not None}
    return [known.get(row.model, row.model) if row.stream is None else row.stream.model for row in rows]


def _answered(row: Row) -> Any:
    return None if row.stream is None else result_of(row.stream)


def _about(item: object) -> dict[Any, Any]:
    try:
        if streams_in(item) is not None:
            return {"item": whole_text(item)}
        return fields_of(item) or {"item": item}
    except Exception:  # noqa: BLE001 - whatever a user's object raises, the rows of all others stay
        return {"item": item}


def _rows(run: Run, asked: list[dict[Any, Any]], shape: Shape) -> list[dict[Any, Any]]:
    """One dictionary for each row, all with the same columns in the same order."""
    own = _all_names(asked)
    answers = [_answer(row.stream) for row in run.rows]
    fields = _all_names(answers) or _expected(shape, run.rows[0].options)
    ends = [_end(row.stream, run) for row in run.rows]
    if len(set(models := _models(run.rows, shape))) > 1 or shape.models:
        ends = [{**end, "model": model} for model, end in zip(models, ends, strict=True)]
    end_names = free_names(ends[0], own)
    field_names = free_names(fields, [*own, *end_names.values()])
    return [
        {
            **{name: about.get(name) for name in own},
            **{shown: answer.get(name) for name, shown in field_names.items()},
            **{shown: end[name] for name, shown in end_names.items()},
        }
        for about, answer, end in zip(asked, answers, ends, strict=True)
    ]


def _all_names(values: Iterable[Mapping[Any, Any]]) -> list[Any]:
    return list(dict.fromkeys(itertools.chain.from_iterable(values)))


def _answer(stream: Stream | None) -> dict[Any, Any]:
    """The answer by columns; none where a structured one is missing."""
    if stream is None:
        return {}
    schema = stream.request.schema
    if schema is None:
        return {"answer": None if stream.error is not None else stream.text}
    result = result_of(stream)
    if result is None:
        return _unanswered(schema)
    return fields_of(result) or {"answer": result}


def _end(stream: Stream | None, run: Run) -> dict[str, Any]:
    if stream is None:
        status, error = run.unmade
        return {
            "status": status,
            "finish_reason": None,
            "error": error,
            "tokens": 0,
            "cost": None,
            "kept": False,
        }
    return {
        "status": str(stream.status),
        "finish_reason": stream.finish_reason,
        "error": None if stream.error is None else str(stream.error),
        "tokens": stream.usage.total_token_count,
        "cost": None if stream.cost is None else float(stream.cost),
        "kept": getattr(stream, "kept", None) is not None,
    }


def free_names(names: Iterable[Any], taken: Iterable[Any]) -> dict[Any, Any]:
    """Return each name as it is, with "answer_" before it as often as it is taken."""
    used = set(taken)
    free: dict[Any, Any] = {}
    for name in names:
        shown = name
        while shown in used:
            shown = f"answer_{shown}"
        used.add(shown)
        free[name] = shown
    return free


def names_in(value: Any) -> list[Any]:
    """Return the names of what a row has; none where the user's own object does not say."""
    with contextlib.suppress(Exception):
        return list(fields_of(value))
    return []


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a mapping, a dataclass or a pydantic model; none of anything else."""
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    return dict(dump()) if callable(dump) else {}
