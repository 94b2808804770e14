"""Starting the streams that answer a cell, from its text and its options."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import operator
import re
import unicodedata
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from IPython.core.error import UsageError

from gemini_nb.api.contents.content import to_part
from gemini_nb.api.contents.file import File
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.config import is_model
from gemini_nb.errors import ArgumentError, GeminiError, NotAskedError
from gemini_nb.notebook.kernel.names import name_made
from gemini_nb.notebook.magics.named import alone_or_listed, as_name, items_of, options_of, value_of
from gemini_nb.redaction import excerpt_of
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.chat.messages import Origin
from gemini_nb.streams.conversation.dependencies import Deferred
from gemini_nb.streams.group.asked_frame import field_of
from gemini_nb.streams.group.braces import strays
from gemini_nb.streams.group.frame import names_in
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.mapping import check_rows, map_prompts
from gemini_nb.streams.group.origin import Records
from gemini_nb.streams.group.prompt import interpolate
from gemini_nb.streams.group.rows import Later
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

_CONCURRENCY = 8
_ITEM = re.compile(r"\{\s*item\b")
_CHAT = "chat"
_OF_CHATS = ("auth", "model", "tools", "system_instruction")


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
        context: what earlier cells contribute.
        before_start: called when all is ready, before the first stream is there.

    Raises:
        UsageError: an option names something that is not there.
        GeminiError: the question cannot be asked.
    """
    args.out, args.chat = (name if name is None else as_name(name) for name in (args.out, args.chat))
    namespace = ChainMap(dict(local_ns), user_ns, dict(context.names))
    options = options_of(args, namespace, notes)
    each = [options if model is None else {**options, "model": model} for model in args.model or [None]]
    try:
        files: list[File | str | Deferred] = [File(path) for path in args.file]
        if context.above:
            files.insert(0, context.above)
        if args.each:
            start = _rows_starter(manager, args, cell, files, namespace, options=options, notes=notes)
        elif len(each) > 1:
            contents = _contents(cell, args, files, namespace, notes=notes)
            start = functools.partial(_start_side_by_side, manager, contents, each)
        else:
            send = _sender(args, user_ns, local_ns, manager, each[0], run=run)
            contents = _contents(cell, args, files, namespace, notes=notes)
            start = functools.partial(send, contents, **each[0])
        before_start()
        made = start()
    except GeminiError as error:
        raise error.with_traceback(None) from None
    if args.out is not None:
        name_made(made, args.out)
        user_ns[args.out] = made
    return made


def _rows_starter(
    manager: StreamManager,
    args: argparse.Namespace,
    cell: str,
    files: Sequence[File | str | Deferred],
    namespace: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    notes: list[str] | None,
) -> Callable[[], Stream | StreamGroup]:
    """Return what starts the rows of `--each`."""
    models: list[str | None] = args.model or [None]
    shared = options if len(models) > 1 else {**options, "model": models[0]}
    settings = [{"model": model} if len(models) > 1 else {} for model in models]
    if notes is not None and (args.raw or _ITEM.search(cell) is None):
        notes.append("The prompt does not name {item}, so all rows are asked the same.")
    if len(models) > 1:
        check_rows(manager, [{**options, **own} for own in settings], args.budget)
    named = _named_in(cell, namespace)  # as they are now; rows are asked later
    contents_of = functools.partial(_contents_of_item, cell, args, files, named, notes=notes)
    start = functools.partial(
        map_prompts,
        concurrency=args.concurrency or _CONCURRENCY,
        rpm=args.rpm,
        budget=args.budget,
        manager=manager,
        **shared,
        **_rows_of_each(namespace, args, cell, contents_of, settings),
    )
    return (lambda: start().side_by_side(args.model)) if len(models) > 1 else start


def _start_side_by_side(
    manager: StreamManager, contents: Any, settings: Sequence[Mapping[str, Any]]
) -> StreamGroup:
    """Ask several models the same."""
    made = map_prompts(
        [contents] * len(settings),
        concurrency=len(settings),
        manager=manager,
        each=settings,
        retry=RetryPolicy(on_cut=manager.runtime.settings.on_cut),  # the user waits for these
    )
    made.items = None  # all were asked the same
    return made


def _rows_of_each(
    namespace: Mapping[str, Any],
    args: argparse.Namespace,
    cell: str,
    contents_of: Callable[..., Any],
    settings: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what `map_prompts` asks: a row for each item, and for each model where there are several."""
    items = items_of(value_of(args.each, namespace, "--each"), args.each)
    if isinstance(items, list):
        asked: Iterable[tuple[dict[str, Any], Any]] = [(own, item) for own in settings for item in items]
        if not args.raw:
            _check_columns(cell, items[0], namespace)
        with contextlib.suppress(NotAskedError):  # a row with nothing to ask about
            contents_of(items[0])  # so that a mistake in the prompt is the cell's
    else:
        asked = ((own, item) for item in items for own in settings)
    rows = ((Later(functools.partial(_later, contents_of, item)), item, own) for own, item in asked)
    names = ("prompts", "items", "each") if len(settings) > 1 else ("prompts", "items")
    columns = _columns(list(rows) if isinstance(items, list) else rows, len(names))
    made = dict(zip(names, columns, strict=True))
    if isinstance(items, Records):
        made["items"] = Records(made["items"], items.origin)
    return made


def _check_columns(cell: str, item: Any, namespace: Mapping[str, Any]) -> None:
    """Refuse a column's name in braces by itself, which would be sent with each row."""
    columns = names_in(item)
    for braces, name in strays(cell, "item", columns):
        if name in columns and name not in namespace and not braces[0].startswith("{{"):
            raise UsageError(
                f"--each: {braces[0]} is a column, which the prompt names {field_of(name)}. "
                "With --raw all braces are sent as they are."
            )


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> Iterable[Iterable[Any]]:
    """Return the first columns of the rows; those of an iterator are iterators."""
    if isinstance(rows, list):
        return [list(column) for column in zip(*rows, strict=True)][:count]
    return [map(operator.itemgetter(place), one) for place, one in enumerate(itertools.tee(rows, count))]


def _later(contents_of: Callable[..., Any], item: Any) -> Any:
    """Return a row's question; what is wrong with it is the row's error, not the cell's."""
    try:
        return contents_of(item)
    except UsageError as error:
        raise ArgumentError(str(error)) from None


def _named_in(text: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the names that occur in a prompt."""
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
        return alone_or_listed(pieces)
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


def _contents_of_item(
    cell: str,
    args: argparse.Namespace,
    files: Sequence[File | str | Deferred],
    namespace: Mapping[str, Any],
    item: object,
    *,
    notes: list[str] | None,
) -> Any:
    """Return the prompt for one item; a mistyped field is refused, else it would be sent a thousand times."""
    try:
        return _contents(cell, args, files, {"item": item}, namespace, needed="item", notes=notes)
    except LookupError as error:
        raise UsageError(f"--each: {error.args[0]} cannot be taken from {excerpt_of(item)}.") from None


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
    kept = _of_chat(settings)
    is_local = isinstance(local_ns.get(args.chat), Chat)
    chat = local_ns[args.chat] if is_local else _chat_named(args.chat, user_ns, kept)
    cell_id, request_id = run
    if cell_id is None:
        return chat.send
    origin = Origin(cell_id, request_id, args.chat)
    return functools.partial(chat.send_from, origin, kept=kept, append=args.append)


def _chat_named(name: str, user_ns: dict[str, Any], kept: Mapping[str, Any]) -> Chat:
    """Return the chat of this name; a new one keeps these settings."""
    if name not in user_ns:
        user_ns[name] = Chat()
        user_ns[name].adopt(kept)
    chat = user_ns[name]
    if not isinstance(chat, Chat):
        raise UsageError(f"--chat: {name!r} is of type {type(chat).__name__}, not a Chat.")
    return chat


def open_chat(
    user_ns: dict[str, Any], args: argparse.Namespace, notes: list[str]
) -> tuple[str, Chat, dict[str, Any]]:
    """Return the name of the chat that a box is for, the chat, and the settings of the box's messages.

    Args:
        user_ns: the notebook's names; a new chat is bound there.
        args: the options.
        notes: takes what the user should know of the system instruction, a line each.

    Raises:
        UsageError: an option names something that is not there.
    """
    name = as_name(args.name or _CHAT)
    if len(models := args.model or []) > 1:
        raise UsageError("A chat has one answer to each message; leave out all but one -m.")
    is_new = name not in user_ns
    if not is_new and not isinstance(user_ns[name], Chat):
        kind = type(user_ns[name]).__name__
        raise UsageError(
            f"{name!r} is of type {kind}, not a Chat; %gemini_chat NAME opens one of another name."
        )
    if models and not is_model(models[0]):  # else each message would be refused
        raise UsageError(f"--model: {models[0]!r} is not a model id.")
    settings = {**options_of(args, user_ns, notes), **({"model": models[0]} if models else {})}
    kept = _of_chat(settings) if is_new else {}
    chat = _chat_named(name, user_ns, kept)
    return name, chat, {one: value for one, value in settings.items() if one not in kept}


def _of_chat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a new chat keeps for its later messages."""
    return {name: value for name, value in settings.items() if name in _OF_CHATS}
