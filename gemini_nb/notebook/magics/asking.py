"""From a cell and its options to the streams that answer it."""

from __future__ import annotations

import argparse
import builtins
import dataclasses
import functools
import inspect
import itertools
import json
import keyword
import operator
import re
import unicodedata
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from IPython.core.error import UsageError

from gemini_nb.api.contents.content import to_part
from gemini_nb.api.contents.file import File
from gemini_nb.api.contents.objects import as_mapping
from gemini_nb.api.generation import split_config
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import ArgumentError, GeminiError, did_you_mean
from gemini_nb.notebook.kernel.names import name_made
from gemini_nb.notebook.render.words import cut
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.chat.messages import Origin
from gemini_nb.streams.conversation.dependencies import Deferred
from gemini_nb.streams.group.frame import records_of
from gemini_nb.streams.group.group import Later, StreamGroup, map_prompts
from gemini_nb.streams.group.prompt import interpolate, python_name
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.request.cached import CachedContent
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.tool import ToolSource

__all__ = ["CellContext", "ask", "open_chat", "read_typed"]

_CONCURRENCY = 8
_CHAT = "chat"
_OF_CHATS = ("auth", "model", "tools", "system_instruction")
_LIST = re.compile(r"list\[(.+)\]")


@dataclasses.dataclass(frozen=True, slots=True)
class CellContext:
    """What earlier cells contribute to a prompt.

    Attributes:
        names: names that the prompt may use where the notebook has no such ones, such as "error".
        above: the cells themselves, for `--above`.
    """

    names: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    above: str | Deferred = ""


_NOTHING = CellContext()


def ask(
    manager: StreamManager,
    user_ns: dict[str, Any],
    args: argparse.Namespace,
    cell: str,
    *,
    local_ns: Mapping[str, Any] = MappingProxyType({}),
    notes: list[str] | None = None,
    run: tuple[str | None, str | None] = (None, None),
    context: CellContext = _NOTHING,
    before_start: Callable[[], object] = lambda: None,
) -> Stream | StreamGroup:
    """Start what a cell asks for, and bind it to its name.

    Args:
        manager: runs the streams.
        user_ns: the notebook's names; -o and -c bind theirs there.
        args: the options.
        cell: the prompt.
        local_ns: the names of the function that asks, which go first.
        notes: takes what the user should know of the prompt, a line each.
        run: the ids of the cell, to which a chat's message belongs, and of this run of it, if there are any.
        context: what the cells before it have to say.
        before_start: called when all is ready, before the first stream is there.

    Raises:
        UsageError: an option names something that is not there.
        GeminiError: the question cannot be asked.
    """
    args.out, args.chat = map(_as_name, (args.out, args.chat))
    namespace = ChainMap(dict(local_ns), user_ns, dict(context.names))
    options = _options(args, namespace, notes)
    models = args.model or [None]
    try:
        files: list[File | str | Deferred] = [File(path) for path in args.file]
        if context.above:
            files.insert(0, context.above)
        if args.each:
            settings_of_each = [{**options, "model": model} for model in models]
            named = _named_in(cell, namespace)  # as they are now; rows are asked later
            contents_of = functools.partial(_contents_of_item, cell, args, files, named, notes=notes)
            rows = _rows_of_each(namespace, args, contents_of, settings_of_each)
            before_start()
            made: Stream | StreamGroup = map_prompts(
                concurrency=args.concurrency or _CONCURRENCY,
                rpm=args.rpm,
                budget=args.budget,
                manager=manager,
                **rows,
            )
        elif len(models) > 1:
            contents = _contents(cell, args, files, namespace, notes=notes)
            settings_of_each = [{**options, "model": model} for model in models]
            before_start()
            asked = map_prompts(
                [contents] * len(models),
                concurrency=len(models),
                manager=manager,
                each=settings_of_each,
                retry=RetryPolicy(on_cut=manager.runtime.settings.on_cut),  # the user waits for these
            )
            asked.items = None  # all were asked the same
            made = asked
        else:
            settings = options if models[0] is None else {**options, "model": models[0]}
            start = _sender(args, user_ns, local_ns, manager, settings, run=run)
            contents = _contents(cell, args, files, namespace, notes=notes)
            before_start()
            made = start(contents, **settings)
    except GeminiError as error:
        raise error.with_traceback(None) from None
    if args.out is not None:
        name_made(made, args.out)
        user_ns[args.out] = made
    return made


def _rows_of_each(
    namespace: Mapping[str, Any],
    args: argparse.Namespace,
    contents_of: Callable[..., Any],
    settings: list[dict[str, Any]],
) -> dict[str, Any]:
    """What `map_prompts` asks: a row for each item, and for each model where there are several."""
    items = _items(_value(args.each, namespace, "--each"), args.each)
    if isinstance(items, list):
        asked: Iterable[tuple[dict[str, Any], Any]] = [(own, item) for own in settings for item in items]
        contents_of(items[0])  # so that a mistake in the prompt is the cell's
    else:
        asked = ((own, item) for item in items for own in settings)
    rows = ((Later(functools.partial(_later, contents_of, item)), item, own) for own, item in asked)
    prompts, about, each = _columns(list(rows) if isinstance(items, list) else rows)
    return {"prompts": prompts, "items": about, "each": each}


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterable[Iterable[Any]]:
    """The rows by columns; those of an iterator are iterators."""
    if isinstance(rows, list):
        return [list(column) for column in zip(*rows, strict=True)]
    return [map(operator.itemgetter(place), one) for place, one in enumerate(itertools.tee(rows, 3))]


def _later(contents_of: Callable[..., Any], item: Any) -> Any:
    """A row's question, whose faults are the row's."""
    try:
        return contents_of(item)
    except UsageError as error:
        raise ArgumentError(str(error)) from None


def _named_in(text: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """What the words of a prompt stand for, as far as they are names."""
    words = re.findall(r"[^\W\d]\w*", text + unicodedata.normalize("NFKC", text))
    return {word: namespace[word] for word in words if word in namespace}


def _contents(
    cell: str,
    args: argparse.Namespace,
    files: Sequence[File | str | Deferred],
    *namespaces: Mapping[str, Any],
    needed: str | None = None,
    notes: list[str] | None = None,
) -> Any:
    text = cell.strip("\r\n")
    pieces = [text] if args.raw else interpolate(text, *namespaces, needed=needed, notes=notes)
    pieces = [*files, *([pieces] if isinstance(pieces, Deferred) else pieces)]
    deferred = [piece for piece in pieces if isinstance(piece, Deferred)]
    if not deferred:
        return _alone_or_listed(pieces)
    # What is in files and images now.
    parts = [piece if isinstance(piece, (str, Deferred)) else to_part(piece) for piece in pieces]
    return Deferred(
        needs=tuple(need for piece in deferred for need in piece.needs),
        preview=_flat(parts, operator.attrgetter("preview")),
        make=lambda: _flat(parts, lambda piece: piece.make()),
    )


def _flat(pieces: Iterable[Any], contents_of: Callable[[Deferred], list[Any]]) -> list[Any]:
    made = [contents_of(piece) if isinstance(piece, Deferred) else [piece] for piece in pieces]
    return list(itertools.chain.from_iterable(made))


def _alone_or_listed(pieces: list[Any]) -> Any:
    return pieces[0] if len(pieces) == 1 else pieces


def _contents_of_item(
    cell: str,
    args: argparse.Namespace,
    files: Sequence[File | str | Deferred],
    namespace: Mapping[str, Any],
    item: object,
    *,
    notes: list[str] | None,
) -> Any:
    """The prompt for one item; a mistyped field is refused, else it would be sent a thousand times."""
    try:
        return _contents(cell, args, files, {"item": item}, namespace, needed="item", notes=notes)
    except LookupError as error:
        shown = cut(repr(item), 80)
        raise UsageError(f"--each: {error.args[0]} is nothing that can be said of {shown}.") from None


def _options(
    args: argparse.Namespace, namespace: Mapping[str, Any], notes: list[str] | None
) -> dict[str, Any]:
    """The options for `start_stream`, only those given: newer models refuse settings they do not know."""
    config: dict[str, Any] = {}
    if args.temperature is not None:
        config["temperature"] = args.temperature
    if args.max_tokens is not None:
        config["maxOutputTokens"] = args.max_tokens
    if args.thinking is not None:
        level = {"thinkingLevel": args.thinking.upper()} if args.thinking else {}
        config["thinkingConfig"] = {"includeThoughts": True, **level}
    tools = _tools(",".join(args.tools), namespace)
    used = [name.strip() for names in args.use for name in names.split(",") if name.strip()]
    used += ["search"] * args.search + ["code"] * args.code
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
    """The generationConfig of this name, by the wire's names, so that options can go before it."""
    if name is None:
        return {}
    value = _value(name, namespace, "--config")
    if as_mapping(value) is None:
        raise UsageError(f"--config: {name!r} is of type {type(value).__name__}, not a dictionary.")
    config, beside = split_config(value)
    return {**config, **beside}


def _cached(name: str | None, namespace: Mapping[str, Any]) -> object:
    if name is None or name.startswith(("cachedContents/", "projects/")):
        return name
    value = _value(name, namespace, "--cached")
    if not isinstance(value, CachedContent | str):
        raise UsageError(
            f"--cached: {name!r} is of type {type(value).__name__}, not what gemini_nb.cache made."
        )
    return value


def _system(args: argparse.Namespace, namespace: Mapping[str, Any], notes: list[str] | None) -> Any:
    """The system instruction, which sees the notebook as a prompt does."""
    if args.raw or not args.system:
        return args.system
    return read_typed(args.system, namespace, notes)


def _as_name(name: str | None) -> str | None:
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise UsageError(f"{name!r} is not a name a stream or chat can have.")
    return None if name is None else python_name(name)


def _value(name: str, namespace: Mapping[str, Any], option: str) -> Any:
    first, *attributes = python_name(name.strip()).split(".")
    if not all(map(str.isidentifier, (first, *attributes))):
        raise UsageError(
            f"{option} takes a name, not {name.strip()!r}; give it one in a cell before this one."
        )
    value = namespace.get(first)
    for attribute in attributes:
        value = None if attribute.startswith("_") else getattr(value, attribute, None)
    if value is None:
        near = did_you_mean(first, [one for one in namespace if not one.startswith("_")])
        meant = f" {near}" if near and first not in namespace else ""
        raise UsageError(
            f"{option}: there is no {name.strip()!r}; define it in a cell that runs before this one.{meant}"
        )
    return value


def _schema(name: str, namespace: Mapping[str, Any]) -> Any:
    """A type by its name, one of Python's own too, or a list of such."""
    if (found := _LIST.fullmatch(name)) is not None:
        return list[_schema(found[1], namespace)]  # type: ignore[misc]  # it is known when it runs
    own = {one: value for one, value in vars(builtins).items() if isinstance(value, type)}
    value = _value(name, {**own, **namespace}, "--schema")
    if inspect.isroutine(value):
        raise UsageError(f"--schema: {name} is a function, not a type.")
    return value


def _tools(names: str, namespace: Mapping[str, Any]) -> list[Any]:
    """Functions and declarations by their names; a name may stand for a list of them."""
    tools: list[Any] = []
    for name in filter(None, map(str.strip, names.split(","))):
        value = _value(name, namespace, "--tools")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if not (callable(one) or isinstance(one, ToolSource)) and as_mapping(one) is None:
                where = "" if one is value else " that holds something else"
                raise UsageError(
                    f"--tools: {name!r} is of type {type(value).__name__}{where}, not a function."
                )
            if not any(one is other for other in tools):
                tools.append(one)
    return tools


def _rows_as_they_come(group: StreamGroup) -> Iterator[Stream]:
    """The streams of a group that still takes its items."""
    taken = 0
    for _ in itertools.chain([()], group):  # when one has ended, there may be others
        new = group.streams[taken:]
        taken += len(new)
        yield from new


def _items(value: Any, name: str) -> list[Any] | Iterator[Any]:
    """The rows of a frame as dictionaries, the items of anything else; those of an iterator as needed."""
    if isinstance(value, StreamGroup):
        value = list(value.streams) if value.counts.total is not None else _rows_as_they_come(value)
    if isinstance(value, PurePath):
        return _json_lines(Path(value), name)
    rows = records_of(value)
    if isinstance(value, (str, bytes)) or (rows is None and not isinstance(value, Iterable)):
        raise UsageError(f"--each takes a list or a frame; {name!r} is of type {type(value).__name__}.")
    if rows is None and not isinstance(value, Sized):
        rest: Iterator[Any] = iter(value)
        return rest
    items: list[Any] = list(value) if rows is None else rows
    if not items:
        raise UsageError(f"--each: {name!r} is empty.")
    return items


def _json_lines(path: Path, name: str) -> Iterator[Any]:
    """The values of a file of JSON lines, read as they are needed."""
    try:
        file = path.expanduser().open("rb")
    except OSError as error:
        raise UsageError(f"--each: {name!r} cannot be read: {error.strerror}: {path}") from None

    def values() -> Iterator[Any]:
        with file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise ArgumentError(f"line {number} of {path} is no JSON: {error}") from None

    return values()


def _sender(
    args: argparse.Namespace,
    user_ns: dict[str, Any],
    local_ns: Mapping[str, Any],
    manager: StreamManager,
    settings: Mapping[str, Any],
    *,
    run: tuple[str | None, str | None],
) -> Callable[..., Stream]:
    """Return the function that sends the message; a new chat keeps its settings for later cells."""
    if args.chat is None:
        return manager.start_stream
    kept = {one: value for one, value in settings.items() if one in _OF_CHATS}
    is_local = isinstance(local_ns.get(args.chat), Chat)
    chat = local_ns[args.chat] if is_local else _chat_named(args.chat, user_ns, manager, kept)
    cell_id, request_id = run
    if cell_id is None:
        return chat.send
    origin = Origin(cell_id, request_id, args.chat)
    return functools.partial(chat.send_from, origin, kept=kept, append=args.append)


def _chat_named(name: str, user_ns: dict[str, Any], manager: StreamManager, kept: Mapping[str, Any]) -> Chat:
    """The chat of this name; a new one keeps these settings."""
    if name not in user_ns:
        user_ns[name] = Chat(manager=manager)
        user_ns[name].adopt(kept)
    chat = user_ns[name]
    if not isinstance(chat, Chat):
        raise UsageError(f"--chat: {name!r} is of type {type(chat).__name__}, not a Chat.")
    return chat


def open_chat(
    manager: StreamManager, user_ns: dict[str, Any], args: argparse.Namespace, notes: list[str]
) -> tuple[str, Chat, dict[str, Any]]:
    """Return the name of the chat that a box is for, the chat, and the settings of the box's messages.

    Args:
        manager: runs the streams of a new chat.
        user_ns: the notebook's names; a new chat is bound there.
        args: the options.
        notes: takes what the user should know of the system instruction, a line each.

    Raises:
        UsageError: an option names something that is not there.
    """
    name = _as_name(args.name or _CHAT)
    assert name is not None  # noqa: S101 - it was none before
    if len(models := args.model or []) > 1:
        raise UsageError("A chat has one answer to each message; leave out all but one -m.")
    if name in user_ns and not isinstance(user_ns[name], Chat):
        kind = type(user_ns[name]).__name__
        raise UsageError(
            f"{name!r} is of type {kind}, not a Chat; %gemini_chat NAME opens one of another name."
        )
    settings = {**_options(args, user_ns, notes), **({"model": models[0]} if models else {})}
    is_new = name not in user_ns
    kept = {one: value for one, value in settings.items() if one in _OF_CHATS} if is_new else {}
    chat = _chat_named(name, user_ns, manager, kept)
    return name, chat, {one: value for one, value in settings.items() if one not in kept}


def read_typed(text: str, namespace: Mapping[str, Any], notes: list[str] | None) -> Any:
    """The contents of a message that was typed, which sees the notebook as a prompt does."""
    pieces = interpolate(text, namespace, notes=notes)
    return pieces if isinstance(pieces, Deferred) else _alone_or_listed(pieces)
