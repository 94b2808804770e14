"""What the options of a cell name: the settings, tools, schemas and rows that the notebook has."""

from __future__ import annotations

import argparse
import builtins
import inspect
import itertools
import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path, PurePath
from types import GenericAlias
from typing import Any

from IPython.core.error import UsageError

from gemini_nb.api.contents.generation import split_config
from gemini_nb.api.contents.objects import as_mapping
from gemini_nb.errors import ArgumentError, CallerError, GeminiError, did_you_mean
from gemini_nb.streams.conversation.dependencies import Deferred
from gemini_nb.streams.group.braces import python_name
from gemini_nb.streams.group.frame import copied, records_of, why_no_rows
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.origin import Records, origin_of
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.request.cached import CachedContent, cache_named
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.tool import BUILT_IN, ToolSource

_OF_IPYTHON = {"In", "Out", "_", "__", "___", "exit", "get_ipython", "quit"}
_LIST = re.compile(r"list\[(.+)\]")
_MISSING = object()
_LONGEST_LINE = 64 << 20  # bytes of a line of JSON


def options_of(
    args: argparse.Namespace, namespace: Mapping[str, Any], notes: list[str] | None
) -> dict[str, Any]:
    """Return the options for `start_stream`, only those given: newer models refuse settings they do not know.

    Raises:
        UsageError: an option names something that is not there, or is of the wrong type.
    """
    config: dict[str, Any] = {}
    if args.temperature is not None:
        config["temperature"] = args.temperature
    if args.max_tokens is not None:
        config["maxOutputTokens"] = args.max_tokens
    if args.thinking is not None:
        level = {"thinkingLevel": args.thinking.upper()} if args.thinking else {}
        config["thinkingConfig"] = {"includeThoughts": True, **level}
    tools = _tools(",".join(args.tools), namespace)
    used = [*_of_google(",".join(args.use)), *["search"] * args.search, *["code"] * args.code]
    tools += dict.fromkeys(used)
    asked = {
        "auth": args.auth,
        "tools": tools,
        "system_instruction": _system(args, namespace, notes),
        "generation_config": {**_config(args.config, namespace), **config},
        "service_tier": args.tier,
        "cached": _cached(args.cached, namespace),
        "schema": _schema(args.schema, namespace) if args.schema else None,
        "keep": True if args.keep == "" else args.keep,
        "fresh": args.fresh or None,
    }
    return {name: value for name, value in asked.items() if value is not None and value not in ([], {}, "")}


def _config(name: str | None, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generationConfig of this name, by the wire's names, so that options can go before it."""
    if name is None:
        return {}
    value = value_of(name, namespace, "--config")
    if as_mapping(value) is None:
        raise UsageError(f"--config: {name!r} is of type {type(value).__name__}, not a dictionary.")
    config, beside = split_config(value)
    return {**config, **beside}


def _cached(name: str | None, namespace: Mapping[str, Any]) -> object:
    if name is None or name.startswith(("cachedContents/", "projects/")):
        return name
    value = value_of(name, namespace, "--cached")
    if not isinstance(value, CachedContent | str):
        raise UsageError(
            f"--cached: {name!r} is of type {type(value).__name__}, not what gemini_nb.cache made."
        )
    try:
        cache_named(value)
    except CallerError as error:
        raise UsageError(f"--cached: {error}") from None
    return value


def _system(args: argparse.Namespace, namespace: Mapping[str, Any], notes: list[str] | None) -> Any:
    """Return the system instruction, which sees the notebook as a prompt does."""
    if args.raw or not args.system:
        return args.system
    return read_typed(args.system, namespace, notes)


def as_name(name: str) -> str:
    """Return the name as Python spells it.

    Raises:
        UsageError: no stream or chat can have this name.
    """
    if name in _OF_IPYTHON:
        raise UsageError(f"{name!r} is a name that IPython needs for itself; choose another one.")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"{name!r} is not a name a stream or chat can have.")
    return python_name(name)


def value_of(name: str, namespace: Mapping[str, Any], option: str) -> Any:
    """Return what a name, or an attribute of one, stands for.

    Raises:
        UsageError: there is no such name.
    """
    first, *attributes = python_name(name.strip()).split(".")
    if not all(map(str.isidentifier, (first, *attributes))):
        raise UsageError(
            f"{option} takes a name, not {name.strip()!r}; give it one in a cell before this one."
        )
    value = namespace.get(first, _MISSING)
    for attribute in attributes:
        value = _MISSING if attribute.startswith("_") else getattr(value, attribute, _MISSING)
    if value is None:
        raise UsageError(f"{option}: {name.strip()!r} is None.")
    if value is _MISSING:
        near = did_you_mean(first, [one for one in namespace if not one.startswith("_")])
        meant = f" {near}" if near and first not in namespace else ""
        if option == "--tools" and first in BUILT_IN:
            meant = f" Google's own tool is --use {first}."
        raise UsageError(
            f"{option}: there is no {name.strip()!r}; define it in a cell that runs before this one.{meant}"
        )
    return value


def _schema(name: str, namespace: Mapping[str, Any]) -> Any:
    """Return the type of this name, one of Python's own too, or a list of such."""
    if (found := _LIST.fullmatch(name)) is not None:
        return GenericAlias(list, (_schema(found[1], namespace),))
    own = {one: value for one, value in vars(builtins).items() if isinstance(value, type)}
    value = value_of(name, {**own, **namespace}, "--schema")
    if inspect.isroutine(value):
        raise UsageError(f"--schema: {name} is a function, not a type.")
    if isinstance(value, (str, bytes, int, float)):
        raise UsageError(f"--schema: {name!r} is no schema, but of type {type(value).__name__}.")
    return value


def _tools(names: str, namespace: Mapping[str, Any]) -> list[Any]:
    """Return functions and declarations by their names; a name may stand for a list of them."""
    tools: list[Any] = []
    for name in filter(None, map(str.strip, names.split(","))):
        value = value_of(name, namespace, "--tools")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if not (callable(one) or isinstance(one, ToolSource)) and as_mapping(one) is None:
                where = "" if one is value else " that holds something else"
                raise UsageError(
                    f"--tools: {name!r} is of type {type(value).__name__}{where}, not a function."
                )
            if not any(one is other for other in tools):
                tools.append(one)
    return tools


def _of_google(names: str) -> list[str]:
    """Return the names of tools that run at Google's.

    Raises:
        UsageError: there is no such tool.
    """
    used = [name for name in map(str.strip, names.split(",")) if name]
    for name in used:
        if name not in BUILT_IN:
            meant = did_you_mean(name, list(BUILT_IN)) or "Functions of your own go with --tools."
            raise UsageError(f"--use takes {', '.join(BUILT_IN)}, not {name!r}. {meant}")
    return used


def _rows_as_they_come(group: StreamGroup) -> Iterator[Stream]:
    """Yield the streams of a group that still takes its items."""
    taken = 0
    for _ in itertools.chain([()], group):  # when one has ended, there may be others
        new = group.streams[taken:]
        taken += len(new)
        yield from new


def items_of(value: Any, name: str) -> list[Any] | Iterator[Any]:
    """Return the rows of a frame as dictionaries, the items of anything else; those of an iterator as needed.

    Args:
        value: what `--each` stands for.
        name: how it is called in the cell.

    Raises:
        UsageError: it has no items.
    """
    if isinstance(value, StreamGroup):
        value = list(value.streams) if value.counts.total is not None else _rows_as_they_come(value)
    if isinstance(value, PurePath):
        return _json_lines(Path(value), name)
    try:
        items = _listed(value, name)
    except (GeminiError, UsageError):
        raise
    except Exception as error:
        raise UsageError(f"--each: {name!r} cannot be read: {type(error).__name__}: {error}") from error
    if isinstance(items, list) and not items:
        raise UsageError(f"--each: {name!r} is empty.")
    return items


def _listed(value: Any, name: str) -> list[Any] | Iterator[Any]:
    if (rows := records_of(value)) is not None:
        return Records(rows, origin_of(value))
    if (why := why_no_rows(value, name)) is not None:
        raise UsageError(f"--each takes a list or a frame; {name!r} is {why}.")
    items = map(copied, value)
    return Records(items, origin_of(value)) if isinstance(value, Sized) else items


def _json_lines(path: Path, name: str) -> Iterator[Any]:
    """Yield the values of a file of JSON lines, read as they are needed.

    A pipe is opened by the thread that reads it: that waits until another process opens its other end.
    """
    path = path.expanduser()
    try:
        file = None if path.is_fifo() else path.open("rb")
    except OSError as error:
        raise UsageError(f"--each: {name!r} cannot be read: {error.strerror}: {path}") from None

    def values() -> Iterator[Any]:
        with file or path.open("rb") as lines:
            for number in itertools.count(1):
                line = lines.readline(_LONGEST_LINE + 1)
                if not line:
                    return
                if len(line) > _LONGEST_LINE:
                    raise ArgumentError(f"line {number} of {path} is longer than {_LONGEST_LINE >> 20} MB")
                if line := line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise ArgumentError(f"line {number} of {path} is no JSON: {error}") from None

    return values()


def read_typed(text: str, namespace: Mapping[str, Any], notes: list[str] | None) -> Any:
    """Return the contents of a message that was typed, which sees the notebook as a prompt does."""
    pieces = interpolate(text, namespace, notes=notes)
    return pieces if isinstance(pieces, Deferred) else alone_or_listed(pieces)


def alone_or_listed(pieces: list[Any]) -> Any:
    """Return the contents as one value where there is only one piece."""
    return pieces[0] if len(pieces) == 1 else pieces
