"""From a frame to a frame of answers, pandas or Dask."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemini_nb.api.contents.objects import is_from
from gemini_nb.api.contents.values import import_pandas
from gemini_nb.errors import ArgumentError, NotAskedError, kind_of, with_article
from gemini_nb.redaction import excerpt_of
from gemini_nb.sealing import carry, seal_options, shown_options
from gemini_nb.streams.group.braces import first_steps, strays
from gemini_nb.streams.group.frame import ENDS, check_columns, columns_of, free_names, records_of
from gemini_nb.streams.group.mapping import map_prompts
from gemini_nb.streams.group.prompt import ObjectText, interpolate
from gemini_nb.streams.group.rows import Alone
from gemini_nb.streams.manager import manager_of
from gemini_nb.streams.request.options import for_several, takes_options_of
from gemini_nb.streams.request.request import build_request
from gemini_nb.tools.schemas.schema import OutputSchema

OF_THE_RUN = ("manager", "concurrency", "rpm", "budget", "subscriber", "each")
"""Options that change nothing about what is asked."""
shown_options.update(OF_THE_RUN)
_NAMED = 20  # columns that an error lists
_LOOKED_AT = 50  # rows, all over the frame, among which one that fits the prompt is looked for first

_DTYPES = {"string": "string", "integer": "Int64", "number": "Float64", "boolean": "boolean"}
_END_DTYPES = {"tokens": "Int64", "cost": "Float64", "kept": "boolean"}


class _AskFrame:
    """Ask about each row of a frame: `gemini_nb.ask_frame(frame, "Where is {item.city}?")`."""

    @takes_options_of(map_prompts, "items")
    def __call__(self, frame: Any, prompt: str, *, schema: object = None, **options: Any) -> Any:
        """Ask about each row of a frame, and return a frame of the answers with the same index.

        Its columns and their types are the same whatever was answered: `answer`, or one for each field of
        the schema, then `status`, `finish_reason`, `error`, `tokens`, `cost`, `kept`. They do not hold the
        columns that were there; `frame.join(answers)` puts both side by side.

        A pandas frame is asked about now, and the call returns when all have ended; a row that fails, or
        does not have what the prompt wants of it, has its reason in `error`. Of a Dask frame nothing is asked
        until it is computed: `map_partitions` without a meta calls its function on two made-up rows, and
        would pay for them. Each `compute()` asks again unless `keep` is a folder that all workers see;
        `concurrency`, `rpm` and `budget` count for each partition.

        Args:
            frame: a pandas or a Dask DataFrame.
            prompt: what to ask, with `{item.column}` for the row's own.
            schema: the form of the answers.
            **options: as `gemini_nb.map` takes them.

        Raises:
            ArgumentError: it is no such frame, or the prompt names a column that is not there, or a part that
                no row of a pandas frame has.
            ConfigError: an option does not fit, or pandas is missing.
        """
        is_dask = is_from(frame, "dask", "DataFrame")
        seal_options(options)
        if is_dask:
            options |= {name: carry(options.get(name)) for name in ("credentials", "headers")}
        made, options = self.meta(schema), for_several(options)
        if is_dask:
            if options.get("manager") is not None:
                raise ArgumentError("A Dask frame takes no manager: each worker process has its own.")
            if options.get("each") is not None:
                raise ArgumentError("A Dask frame takes no `each`: its partitions are asked one by one.")
            made_of = frame._meta  # noqa: SLF001 - Dask documents it as the way to a frame's types
            made.index = made_of.index[:0]
            texts = {name for name, kind in made_of.dtypes.items() if str(kind) == "string"}
            texts &= _columns_looked_into(frame, prompt)
            prompt = checked_prompt(prompt, frame.columns)
            return frame.map_partitions(_ask, prompt, schema, options, texts, meta=made)
        if not is_from(frame, "pandas", "DataFrame"):
            is_other = hasattr(type(frame), "to_pandas")
            kind = kind_of(frame)
            if is_other:
                kind = with_article(f"{type(frame).__module__.partition('.')[0]} {type(frame).__name__}")
            raise ArgumentError(
                f"ask_frame takes a pandas or a Dask DataFrame, not {kind}.",
                hint="Pass frame.to_pandas()." if is_other else "gemini_nb.map takes any list.",
            )
        _columns_looked_into(frame, prompt)
        prompt = checked_prompt(prompt, frame.columns)
        _check_rows(frame, prompt)
        return _ask(frame, prompt, schema, options)

    @staticmethod
    def meta(schema: object = None) -> Any:
        """Return the columns of `ask_frame`'s answers, without rows, for `map_partitions` by hand.

        Args:
            schema: the form of the answers.

        Raises:
            ConfigError: pandas is not installed, or the schema cannot be described.
        """
        pd = import_pandas()
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


def _ask(
    frame: Any, prompt: str, schema: object, options: Mapping[str, Any], texts: Iterable[Any] = ()
) -> Any:
    """Ask about the rows of a pandas frame. On a worker, too."""
    import pandas as pd

    manager = manager_of(options.get("manager"))
    settings = {name: value for name, value in options.items() if name not in OF_THE_RUN}
    build_request(manager.runtime, "Are they right?", schema=schema, **settings)
    items = records_of(frame) or []
    prompts = [Alone(_contents_of_texts, prompt, item, texts) for item in items]
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


def _contents_of_texts(prompt: str, item: Mapping[Any, Any], texts: Iterable[Any]) -> Any:
    """Return the same for a row of Dask's, which makes texts of lists and dictionaries."""
    return contents_of(prompt, {**item, **{name: _read(item[name], name) for name in texts}})


def _read(value: Any, name: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("[", "{", "(")):
        return value
    text = ObjectText(value)
    try:
        text.stands_for = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ArgumentError(
            f"{excerpt_of(name)} is a text that Dask made of an object, which it does not give back.",
            hint='dask.config.set({"dataframe.convert-string": False}) before the frame is made keeps them.',
        ) from None
    return text


def check_prompt(prompt: object, function: str) -> None:
    """Refuse what is no prompt for many rows.

    Raises:
        ArgumentError: it is no text, or an empty one.
    """
    if isinstance(prompt, str) and prompt.strip():
        return
    what = "an empty one" if isinstance(prompt, str) else kind_of(prompt)
    raise ArgumentError(f"{function} takes a prompt, a text such as 'Where is {{item.city}}?', not {what}.")


def checked_prompt(prompt: str, columns: Iterable[Any]) -> str:
    """Return a prompt for many rows, with single braces for double ones that would be refused if single.

    Raises:
        ArgumentError: it has braces in a sentence that stand for nothing, such as {0} or {city}, and would be
            sent with each row.
    """
    columns, escaped = list(columns), set[int]()
    for braces, _ in strays(prompt, "item", columns):
        if braces[0].startswith("{{") and braces[0].endswith("}}"):
            escaped |= {braces.start(), braces.end() - 1}
        else:
            raise ArgumentError(
                f"{braces[0]} stands for nothing; {_listed(columns)}",
                hint=f"{_meant(braces[1], columns)}{{{braces[0]}}} sends the braces.",
            )
    return "".join(letter for place, letter in enumerate(prompt) if place not in escaped)


def _listed(columns: Sequence[Any]) -> str:
    if not columns:
        return "{item} is the row."
    more = f" and {len(columns) - _NAMED:,} more" if len(columns) > _NAMED else ""
    return f"the columns are {', '.join(map(excerpt_of, columns[:_NAMED]))}{more}."


def _meant(written: str, columns: Sequence[Any]) -> str:
    """Say which column was meant, where one is near."""
    names = {str(name): name for name in columns}
    words = [written, *re.findall(r"\w+", written)]
    near = [one for word in words for one in difflib.get_close_matches(word, names, 1)]
    return f"Did you mean {field_of(names[near[0]])}? " if near else ""


def _nameless(columns: Sequence[Any]) -> str:
    """Say what to do about columns that no prompt can name, such as those of a pivot table."""
    if all(isinstance(column, (str, int)) for column in columns):
        return ""
    return "A prompt names columns that are text or whole numbers; frame.columns.map(str) makes them text."


def field_of(column: Any) -> str:
    """Return how a prompt names a column."""
    return f"{{item.{column}}}" if str(column).isidentifier() else f"{{item[{column!r}]}}"


def contents_of(prompt: str, item: object) -> Any:
    """Return what is asked about an item.

    Raises:
        ArgumentError: the prompt names something that the item does not have.
        NotAskedError: all that it names is missing in this item.
    """
    try:
        pieces = interpolate(prompt, {"item": item}, needed="item")
    except LookupError as error:
        raise ArgumentError(f"{error.args[0]} cannot be taken from {excerpt_of(item)}.") from None
    return pieces[0] if isinstance(pieces, list) and len(pieces) == 1 else pieces


def _columns_looked_into(frame: Any, prompt: str) -> set[Any]:
    """Return the columns of which the prompt wants a part by name, before anything is asked.

    Raises:
        ArgumentError: it wants a column that is not there.
    """
    check_prompt(prompt, "ask_frame")
    if not (columns := list(frame.columns)):
        return set()
    check_columns(columns)
    try:
        wanted = first_steps(prompt, "item", {name: name for name in columns})
    except LookupError as error:
        raise ArgumentError(
            f"{error.args[0]} is no column; {_listed(columns)}",
            hint=_meant(error.args[0][5:], columns).strip() or _nameless(columns),
        ) from None
    return {column for _, column, has_name in wanted if has_name and column in columns}


def _check_rows(frame: Any, prompt: str) -> None:
    """Refuse a prompt that fits none of the rows; one that some do not fit is their own matter."""
    spread = slice(None, None, -(-len(frame) // _LOOKED_AT) or 1)
    starts = range(0, len(frame), _LOOKED_AT)
    misfits: list[Any] = []
    for rows in itertools.chain([spread], (slice(start, start + _LOOKED_AT) for start in starts)):
        for item in records_of(frame.iloc[rows]) or []:
            try:
                interpolate(prompt, {"item": item}, needed="item")
            except NotAskedError:  # it has nothing to ask about
                continue
            except (LookupError, ArgumentError):
                misfits = misfits or [item]
            else:
                return
        if not misfits:
            return
    for item in misfits:
        contents_of(prompt, item)  # its error has an excerpt of the row, which takes time to make
