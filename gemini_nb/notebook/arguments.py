"""What can be written behind `%%gemini_stream`."""

from __future__ import annotations

import argparse
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from gemini_nb.config import Auth

__all__ = ["OPTIONS", "parse", "split_line", "stream_arguments"]

_LEVELS = ("minimal", "low", "medium", "high")
_ARGUMENTS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("-m", "--model"), {"action": "append", "help": "the model's id; several ask side by side"}),
    (("-t", "--tools"), {"default": "", "help": "functions the model may call, separated by commas"}),
    (("-o", "--out"), {"help": "bind the stream (or the group of streams) to this name, at once"}),
    (("-c", "--chat"), {"help": "go on with the Chat of this name; a new one is made where there is none"}),
    (("-s", "--system"), {"help": "the system instruction"}),
    (("--auth",), {"choices": [str(auth) for auth in Auth], "help": "who answers"}),
    (("--schema",), {"help": "answer as this pydantic model, dataclass, TypedDict or JSON schema"}),
    (("--each",), {"help": "ask once for each item of this list or frame: {item}, {item.field}"}),
    (("--concurrency",), {"type": int, "default": 8, "help": "how many of --each run at a time (8)"}),
    (("--file",), {"action": "append", "default": [], "help": "send this file along; several are fine"}),
    (("--raw",), {"action": "store_true", "help": "send braces as they are, with no {name} replaced"}),
    (
        ("--thinking",),
        {"nargs": "?", "const": "", "help": f"show thoughts; at a level: {', '.join(_LEVELS)}"},
    ),
    (("--temperature",), {"type": float, "help": "0 to 2"}),
    (("--max-tokens",), {"type": int, "help": "tokens the answer may have"}),
    (("--search",), {"action": "store_true", "help": "let the model search with Google"}),
    (("--code",), {"action": "store_true", "help": "let the model run Python on Google's side"}),
    (("--wait",), {"action": "store_true", "default": None, "help": "the cell ends when the answer has"}),
    (
        ("--no-wait",),
        {
            "dest": "wait",
            "action": "store_false",
            "default": None,
            "help": "the cell ends at once (the default)",
        },
    ),
]
OPTIONS = tuple(name for names, _ in _ARGUMENTS for name in names)


def stream_arguments(function: Any) -> Any:
    """Give a magic these options, and the help that lists them."""
    for names, settings in _ARGUMENTS:  # each goes before the last
        function = argument(*names, **settings)(function)
    return magic_arguments()(function)


def parse(magic: Any, line: str) -> argparse.Namespace:
    """Read the options of a line.

    Raises:
        UsageError: an option or its value is wrong.
    """
    args: argparse.Namespace = parse_argstring(magic, line)
    for name, value in vars(args).items():
        setattr(
            args, name, [_unquoted(one) for one in value] if isinstance(value, list) else _unquoted(value)
        )
    # "--thinking" takes a level only where one follows; a prompt's first word is none.
    if args.thinking and args.thinking.lower() not in _LEVELS:
        raise UsageError(f"--thinking takes {', '.join(_LEVELS)}, or nothing, not {args.thinking!r}.")
    if args.concurrency < 1:
        raise UsageError("--concurrency is at least 1.")
    if args.each and args.chat:
        raise UsageError("--each asks many questions at once, a chat takes one after the other.")
    if args.model and len(args.model) > 1 and args.chat:
        raise UsageError("A chat has one answer to each message; leave out --chat, or all but one -m.")
    return args


def _unquoted(value: Any) -> Any:
    """A value without the quotes around it, which IPython leaves in their place."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def split_line(magic: Any, line: str) -> tuple[str, str]:
    """Split the line of `%gemini_stream` into its options and the prompt behind them."""
    actions = magic.parser._option_string_actions  # noqa: SLF001 - argparse tells nobody else
    end = 0
    while (word := _word(line, end))[0] is not None:
        text, stop = word
        name = text.partition("=")[0]
        if name == "--":
            return line[:end], line[stop:].strip()
        if name not in actions:
            break
        takes_value = actions[name].nargs != 0 and "=" not in text
        if takes_value:
            value, after = _word(line, stop)
            if actions[name].nargs != "?" or (value or "").lower() in _LEVELS:
                stop = after
        end = stop
    return line[:end], line[end:].strip()


def _word(line: str, start: int) -> tuple[Any, int]:
    """The next word of a line, quotes taken into account, and where it ends."""
    while start < len(line) and line[start].isspace():
        start += 1
    if start == len(line):
        return None, start
    end, quote = start, ""
    while end < len(line) and (quote or not line[end].isspace()):
        if line[end] in "'\"" and not quote and (end == start or line[end - 1] == "="):
            quote = line[end]
        elif line[end] == quote:
            quote = ""
        end += 1
    return line[start:end], end
