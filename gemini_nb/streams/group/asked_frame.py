"""From a frame to a frame of answers, pandas or Dask."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.contents.objects import is_from
from gemini_nb.errors import ArgumentError, ConfigError, NotAskedError
from gemini_nb.redaction import excerpt_of
from gemini_nb.streams.group.frame import ENDS, columns_of, free_names, records_of
from gemini_nb.streams.group.mapping import map_prompts
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.group.rows import Later
from gemini_nb.tools.schemas.schema import OutputSchema

__all__ = ["ask_frame", "contents_of"]

_DTYPES = {"string": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}
_END_DTYPES = {"tokens": "Int64", "cost": "Float64", "kept": "boolean"}


class _AskFrame:
    """Ask about each row of a frame: `gemini_nb.ask_frame(frame, "Where is {item.city}?")`."""

    def __call__(self, frame: Any, prompt: str, *, schema: object = None, **options: Any) -> Any:
        """Ask about each row of a frame, and return a frame of the answers with the same index.

        Its columns and their types are the same whatever was answered: `answer`, or one for each field of
        the schema, then `status`, `finish_reason`, `error`, `tokens`, `cost`, `kept`. They do not hold the
        columns that were there; `frame.join(answers)` puts both side by side.

        A pandas frame is asked about now, and the call returns when all have ended; a row that fails has its
        reason in `error`. Of a Dask frame nothing is asked until it is computed: `map_partitions` without a
        meta calls its function on two made-up rows, and would pay for them. Each `compute()` asks again
        unless `keep` is a folder that all workers see; `concurrency`, `rpm` and `budget` count for each
        partition.

        Args:
            frame: a pandas or a Dask DataFrame.
            prompt: what to ask, with `{item.column}` for the row's own.
            schema: the form of the answers.
            **options: as `gemini_nb.map` takes them.

        Raises:
            ArgumentError: it is no such frame, or the prompt names a column that is not there.
            ConfigError: an option does not fit, or pandas is missing.
        """
        made = self.meta(schema)
        if is_from(frame, "dask", "DataFrame"):
            made.index = frame._meta.index[:0]  # noqa: SLF001 - Dask documents it as the way to a frame's types
            _check_columns(frame._meta_nonempty, prompt)  # noqa: SLF001 - see above
            return frame.map_partitions(_ask, prompt, schema, options, meta=made)
        if not is_from(frame, "pandas", "DataFrame"):
            raise ArgumentError(
                f"ask_frame takes a pandas or a Dask DataFrame, not a {type(frame).__name__}.",
                hint="gemini_nb.map takes any list.",
            )
        return _ask(frame, prompt, schema, options)

    @staticmethod
    def meta(schema: object = None) -> Any:
        """Return the columns of `ask_frame`'s answers, without rows, for `map_partitions` by hand.

        Args:
            schema: the form of the answers.

        Raises:
            ConfigError: pandas is not installed, or the schema cannot be described.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ConfigError("A DataFrame needs pandas.", hint="%pip install pandas") from None
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _dtypes(schema).items()})


ask_frame = _AskFrame()


def _fields(schema: object) -> dict[str, str]:
    """The columns of an answer and their types."""
    form = {} if schema is None else OutputSchema(schema).json_schema
    fields = form.get("properties") or {"answer": form or {"type": "string"}}
    shared = form.get("$defs") or {}
    return {name: _dtype(field, shared) for name, field in fields.items()}


def _dtype(field: Any, shared: Mapping[str, Any]) -> str:
    if not isinstance(field, Mapping):
        return "object"
    field = shared.get(str(field.get("$ref")).rpartition("/")[2], field)
    kinds = [one for one in field.get("anyOf") or [field] if one != {"type": "null"}]
    kind = kinds[0].get("type") if len(kinds) == 1 and isinstance(kinds[0], Mapping) else None
    if isinstance(kind, list) and len(kinds := [one for one in kind if one != "null"]) == 1:
        kind = kinds[0]
    return _DTYPES.get(kind, "object") if isinstance(kind, str) else "object"


def _dtypes(schema: object) -> dict[str, str]:
    fields = _fields(schema)
    shown = free_names(fields, ENDS)
    ends = {name: _END_DTYPES.get(name, "string") for name in ENDS}
    return {**{shown[name]: kind for name, kind in fields.items()}, **ends}


def _ask(frame: Any, prompt: str, schema: object, options: Mapping[str, Any]) -> Any:
    """Ask about the rows of a pandas frame. On a worker, too."""
    import pandas as pd

    _check_columns(frame, prompt)
    items = records_of(frame) or []
    prompts = [Later(contents_of, prompt, item) for item in items]
    group = map_prompts(prompts, items=items, schema=schema, **options).wait()
    fields = list(_fields(schema))
    rows = [columns_of(row.stream, group.run, fields) for row in group.run.rows]
    dtypes = _dtypes(schema)
    return pd.DataFrame(
        {
            name: pd.Series([_value(row[place], kind) for row in rows], frame.index, dtype=kind)
            for place, (name, kind) in enumerate(dtypes.items())
        },
        index=frame.index,
    )


def _value(value: Any, kind: str) -> Any:
    """A value as its column takes it: an enum or a date of a schema is a string in JSON."""
    if kind != "string" or value is None or isinstance(value, str):
        return value
    return str(getattr(value, "value", value))


def contents_of(prompt: str, item: object) -> Any:
    """Return what is asked about an item.

    Raises:
        ArgumentError: the prompt names something that the item does not have.
        NotAskedError: all that it names is missing in this item.
    """
    try:
        pieces = interpolate(prompt, {"item": item}, needed="item")
    except LookupError as error:
        raise ArgumentError(f"{error.args[0]} is nothing that can be said of {excerpt_of(item)}.") from None
    return pieces[0] if isinstance(pieces, list) and len(pieces) == 1 else pieces


def _check_columns(frame: Any, prompt: object) -> None:
    """Refuse a prompt about a column that is not there, before anything is asked."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise ArgumentError("ask_frame takes a prompt, a string that is not empty.")
    for item in records_of(frame[:1]) or ():
        with contextlib.suppress(NotAskedError):  # the first row has nothing to ask about
            contents_of(prompt, item)
