"""The options of `%%gemini_stream`."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from gemini_nb.config import Auth
from gemini_nb.errors import did_you_mean
from gemini_nb.streams.group.braces import FIELD, is_doubled
from gemini_nb.streams.group.prompt import with_values
from gemini_nb.streams.request.request import TIERS
from gemini_nb.tools.tool import BUILT_IN

LEVELS = ("minimal", "low", "medium", "high")
_HELP = "%%gemini_stream? lists the options."
_NEXT_LINE = f"The prompt begins on the next line; values with spaces need quotes. {_HELP}"
_OF_BOXES = ("-m", "-t", "-s", "--auth", "--thinking", "--use")
_Argument = tuple[tuple[str, ...], dict[str, Any]]


def _option(*names: str, **settings: Any) -> _Argument:
    """Return an option for IPython's `argument`, with what its help says."""
    return names, settings


def _list(*names: str, **settings: Any) -> _Argument:
    """Return an option that may be given several times."""
    return _option(*names, action="append", default=[], **settings)


def _switch(*names: str, **settings: Any) -> _Argument:
    """Return an option without a value."""
    return _option(*names, action="store_true", **settings)


_ARGUMENTS = [
    _option("-m", "--model", action="append", help="the model's id; several (-m A,B) answer side by side"),
    _list(
        "-t", "--tools", metavar="NAME,NAME", help="functions, or lists of functions, that the model may call"
    ),
    _option(
        "-o", "--out", metavar="NAME", help="bind the stream (or the group of streams) to this name, at once"
    ),
    _option(
        "-c", "--chat", metavar="NAME", help="go on with this Chat; a new one is made where there is none"
    ),
    _switch("--append", help="with --chat: a cell that runs again goes on at the chat's end"),
    _option("-s", "--system", metavar="TEXT", help="the system instruction"),
    _option("--auth", choices=[str(auth) for auth in Auth], help="who answers"),
    _option(
        "--schema",
        metavar="NAME",
        help="answer as this pydantic model, dataclass, TypedDict or JSON schema, or as list[NAME]",
    ),
    _option(
        "--each", metavar="NAME", help="ask once for each item of this list or frame: {item}, {item.field}"
    ),
    _option("--concurrency", type=int, metavar="N", help="how many of --each run at a time (8)"),
    _option("--rpm", type=float, metavar="N", help="requests of --each a minute, in even steps"),
    _option("--budget", metavar="USD", help="ask no new row of --each once this much could be spent"),
    _list("--file", metavar="PATH", help="send a file along: a path, an address, an upload's name"),
    _option(
        "--above",
        nargs="?",
        const=5,
        type=int,
        metavar="N",
        help="send the last N cells (5) along, with their text outputs",
    ),
    _switch("--raw", help="send braces as they are, with no {name} replaced"),
    _option(
        "--thinking",
        nargs="?",
        const="",
        metavar="LEVEL",
        help=f"show thoughts; {', '.join(LEVELS)} (by model)",
    ),
    _option(
        "--temperature",
        type=float,
        metavar="X",
        help="0 to 2; Gemini 3 is best left at 1.0, Gemini 4 ignores it (and topP and topK)",
    ),
    _option("--max-tokens", type=int, metavar="N", help="tokens the answer may have"),
    _list(
        "--use",
        metavar="TOOL",
        help=f"tools that run at Google's: {', '.join(BUILT_IN)}; several with commas",
    ),
    _option(
        "--config",
        metavar="NAME",
        help="a dictionary of Gemini's generationConfig; other options go before it",
    ),
    _option("--cached", metavar="NAME", help="what gemini_nb.cache made, which is read before the prompt"),
    _option("--tier", choices=list(TIERS[:3]), help="flex (cheaper, slower), priority or standard"),
    _switch("--search", help="let the model search with Google"),
    _switch("--code", help="let the model run Python on Google's side"),
    _option(
        "--keep",
        nargs="?",
        const="",
        metavar="FILE",
        help="keep the answer in this file (answers.jsonl), and do not ask for what is kept there",
    ),
    _switch("--fresh", help="ask for a kept answer, too, and replace it"),
    _switch("--wait", default=None, help="the cell ends when the answer has"),
    _option(
        "--no-wait",
        dest="wait",
        action="store_false",
        default=None,
        help="the cell ends at once (the default)",
    ),
]
OPTIONS = tuple(name for names, _ in _ARGUMENTS for name in names)
_ACTIONS = {name: settings for names, settings in _ARGUMENTS for name in names}
_CHAT_ARGUMENTS = [(names, settings) for names, settings in _ARGUMENTS if names[0] in _OF_BOXES]
CHAT_OPTIONS = tuple(name for names, _ in _CHAT_ARGUMENTS for name in names)


def _destination(names: tuple[str, ...], settings: dict[str, Any]) -> str:
    """The attribute that argparse gives an option's value."""
    return str(settings.get("dest", names[-1].lstrip("-").replace("-", "_")))


_DEFAULTS = {
    _destination(names, settings): settings.get(
        "default", False if settings.get("action") == "store_true" else None
    )
    for names, settings in _ARGUMENTS
}
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"  # that a text processor puts in place of a hyphen
_OPTION = re.compile(r"--?[A-Za-z][\w-]*(?:\{.*\})?")
_KEEP_FILE = re.compile(r"(?![\w+.-]+://).+(?:\.jsonl|[/\\])")
_NO_NAMES: Mapping[str, Any] = MappingProxyType({})


def with_arguments(*arguments: Any) -> Callable[[Any], Any]:
    """Give a magic these arguments of IPython's `argument`, and the help that lists them."""

    def give(function: Any) -> Any:
        for one in reversed(arguments):  # as decorators, the last of which is run first
            function = one(function)
        return magic_arguments()(function)

    return give


def stream_arguments(function: Any) -> Any:
    """Give a magic these options, and the help that lists them."""
    return with_arguments(*map(_as_text, _ARGUMENTS))(function)


def chat_arguments(function: Any) -> Any:
    """Give `%gemini_chat` its options, and the help that lists them."""
    name = argument("name", nargs="?", metavar="NAME", help="the chat; a new one is made where there is none")
    return with_arguments(name, *map(_as_text, _CHAT_ARGUMENTS))(function)


def _as_text(option: _Argument) -> Any:
    """An argument whose value argparse takes as it is written: `{name}` is no number and no choice yet."""
    names, settings = option
    settings = {key: value for key, value in settings.items() if key not in {"type", "choices"}}
    if choices := option[1].get("choices"):
        settings["metavar"] = f"{{{','.join(choices)}}}"
    return argument(*names, **settings)


def parse(
    magic: Any, line: str, rest: str = _NEXT_LINE, names: Mapping[str, Any] = _NO_NAMES
) -> argparse.Namespace:
    """Read the options of a line; those of `%%gemini_stream` that the magic lacks are as if not given.

    Args:
        magic: whose options.
        line: what stands behind its name.
        rest: what to say of words that are no options.
        names: what values may name in braces: IPython fills them in before a magic sees its line, but would
            do so with a prompt, too. A system instruction may wait for a stream, and is filled in later.

    Raises:
        UsageError: an option or its value is wrong.
    """
    words = _words(line)
    try:
        _check_dashes(words)
        _check_once(words)
        args: argparse.Namespace = magic.parser.parse_args(words)
    except UsageError as error:
        raise _explained(error, words, rest) from None
    _unquote(args)
    for name, value in _DEFAULTS.items():
        vars(args).setdefault(name, value)
    _fill(args, names)
    models = [name.strip() for names in args.model or () for name in names.split(",")]
    args.model = [name for name in models if name] or args.model
    for is_wrong, message in _REFUSED:
        if is_wrong(args):
            raise UsageError(message.format(**vars(args)))
    return args


def _explained(error: UsageError, words: list[str], rest: str) -> UsageError:
    """Return argparse's error, or a better one for words that are no options."""
    if "unrecognized arguments" not in str(error):
        return error
    for word in words:
        if not _is_option(word) and (meant := _meant(word)):
            return UsageError(f"There is no option {word}. {meant} {_HELP}")
    return UsageError(f"{error}. {rest}")


def parse_plain(magic: Any, line: str) -> argparse.Namespace:
    """Read the options of another magic's line, in which an apostrophe is no quote.

    Raises:
        UsageError: an option or its value is wrong.
    """
    args: argparse.Namespace = magic.parser.parse_args(
        _words(line, f"%{magic.parser.prog}? lists the options.")
    )
    _unquote(args)
    return args


def _unquote(args: argparse.Namespace) -> None:
    for name, value in vars(args).items():
        unquoted = [_unquoted(one) for one in value] if isinstance(value, list) else _unquoted(value)
        setattr(args, name, unquoted)


def _fill(args: argparse.Namespace, names: Mapping[str, Any]) -> None:
    """Fill the values of options in, such as `-m {model}`, and convert them; with `--raw` all braces stay.

    Only argparse knows which words are values, and a value that was put into the line before it would be read
    as a part of the line: a minus would begin an option, and quotes would go.
    """
    for option, settings in _ARGUMENTS:
        name = _destination(option, settings)
        value = getattr(args, name)
        is_filled = not args.raw and name != "system"
        if isinstance(value, list):
            setattr(args, name, [_made(one, option[-1], settings, names, is_filled) for one in value])
        elif isinstance(value, str):
            setattr(args, name, _made(value, option[-1], settings, names, is_filled))


def _made(text: str, option: str, settings: dict[str, Any], names: Mapping[str, Any], is_filled: bool) -> Any:
    """The value of an option; an empty one would be as if the option were not there, and ask something else.

    Raises:
        UsageError: it is empty, of another type, or none of the choices.
    """
    value = with_values(text, names) if is_filled else text
    is_left_out = not text and "nargs" in settings
    if not value.strip() and not is_left_out and option != "--system":
        raise UsageError(f"{option} needs a value, and {text or repr(text)} is empty.")
    kind, choices = settings.get("type", str), settings.get("choices")
    try:
        made = kind(value)
    except ValueError:
        raise UsageError(f"{option}: invalid {kind.__name__} value: {value!r}") from None
    if choices and made not in choices:
        raise UsageError(f"{option}: invalid choice: {value!r} (choose from {', '.join(choices)})")
    return made


def _check_dashes(words: list[str]) -> None:
    """Refuse `-search`, which argparse takes for `-s earch`: another question would be sent and paid for."""
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and not name.startswith("--") and f"-{name}" in _ACTIONS:
            raise UsageError(f"There is no option {name}. Did you mean -{name}? {_HELP}")


def _check_once(words: list[str]) -> None:
    """Refuse two names for one answer, of which one would not be bound. Of other options the last counts.

    So a user has the last word where an alias or another magic brings options of its own.
    """
    if [_action(word.partition("=")[0]) for word in words].count(_ACTIONS["--out"]) > 1:
        raise UsageError(f"--out is there twice; it takes one name. {_HELP}")


def _is_option(word: str) -> bool:
    return _action(word.partition("=")[0]) is not None


def _meant(word: str) -> str:
    """Ask "did you mean" for a word that is nearly an option; with one dash only if it is long."""
    name = word.partition("=")[0].lower().replace("_", "-")
    if name[:1] in _DASHES:
        letters = name.lstrip(f"-{_DASHES}")
        plain = f"{'-' if len(letters) == 1 else '--'}{letters}"
        return f"Did you mean {plain}, with a plain hyphen?" if _is_option(plain) else ""
    if not name.startswith("-") or len(name) < 3:
        return ""
    return did_you_mean(f"--{name.lstrip('-')}", [known for known in OPTIONS if known.startswith("--")])


def _below_one(name: str) -> tuple[Callable[[argparse.Namespace], object], str]:
    option = f"--{name.replace('_', '-')}"
    return (
        lambda args: getattr(args, name) is not None and getattr(args, name) < 1,
        f"{option} is at least 1.",
    )


def _only_with_each(name: str) -> tuple[Callable[[argparse.Namespace], object], str]:
    return lambda args: getattr(args, name) is not None and not args.each, f"--{name} goes with --each."


_REFUSED: tuple[tuple[Callable[[argparse.Namespace], object], str], ...] = (
    # "--thinking" takes a level only where one follows; a prompt's first word is none.
    (
        lambda args: args.thinking and args.thinking.lower() not in LEVELS,
        f"--thinking takes {', '.join(LEVELS)}, or nothing, not {{thinking!r}}.",
    ),
    (
        lambda args: args.temperature is not None and not 0 <= args.temperature < math.inf,
        "--temperature is a number from 0 to 2, not {temperature}.",
    ),
    _below_one("above"),
    _below_one("max_tokens"),
    _below_one("concurrency"),
    _only_with_each("concurrency"),
    _only_with_each("rpm"),
    _only_with_each("budget"),
    (lambda args: args.append and not args.chat, "--append goes with --chat."),
    (
        lambda args: args.chat and args.chat == args.out,
        "{chat!r} cannot be both the chat and its answer; give --out another name.",
    ),
    (
        lambda args: args.each and args.chat,
        "--each asks many questions at once, a chat takes one after the other.",
    ),
    (
        lambda args: args.model and len(args.model) > 1 and args.chat,
        "A chat has one answer to each message; leave out --chat, or all but one -m.",
    ),
)
"""Options that cannot be, or not together, and what to say then."""


def _words(line: str, rest: str = _HELP) -> list[str]:
    """Split options at spaces, as IPython does, but not within the quotes of `--system="Be brief"`.

    The quotes stay until argparse is through, so that a quoted value may begin with a dash.
    """
    words, end = [], 0
    while (word := _word(line, end))[0] is not None:
        text, end = word
        value = text.partition("=")[2] if text.startswith("-") else text
        if value[:1] in {"'", '"'} and _unquoted(value) == value:
            raise UsageError(f"The quote before {value[1:40]!r} is not closed. {rest}")
        words.append(text)
    return words


def _unquoted(value: Any) -> Any:
    """Remove the quotes around a value, and the backslash before such quotes inside it."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1].replace(f"\\{value[0]}", value[0]) if quoted else value


def split_line(line: str) -> tuple[str, str]:
    """Split the line of `%gemini_stream` into its options and the prompt behind them.

    Raises:
        UsageError: the prompt would begin with something that looks like an option, or with `{name}` that may
            be an option's value.
    """
    options, prompt, is_marked, before = _split(line)
    word = prompt.partition(" ")[0]
    if before:
        raise UsageError(
            f"{word} may be the value of {before} or the prompt's first word. "
            f"Write {before}={word}, or -- before the prompt."
        )
    if not is_marked and _looks_like_option(word):
        meant = f" {_meant(word)}".rstrip()
        raise UsageError(
            f"There is no option {word}.{meant} {_HELP} A prompt that begins so stands behind --."
        )
    return options, prompt


def prompt_of(line: str) -> str:
    """The prompt of a `%gemini_stream` line, as far as it is typed."""
    _, prompt, _, _ = _split(line)
    return "" if prompt.startswith("-") else prompt


def _looks_like_option(word: str) -> bool:
    is_near = word[:1] in _DASHES and _meant(word)
    return bool(is_near or _OPTION.fullmatch(word.partition("=")[0]))


def _split(line: str) -> tuple[str, str, bool, str]:
    """The options; the prompt without quotes around it; whether -- stood between; what else may want a word.

    That is an option with an optional value, behind which the prompt's first word may be this value.
    """
    end, before, is_raw = 0, "", False
    while (word := _word(line, end))[0] is not None:
        text, stop = word
        name = text.partition("=")[0]
        if name == "--":
            return line[:end], line[stop:].strip(), True, ""
        action = _action(name)
        if action is None:
            break
        is_raw = is_raw or action is _ACTIONS["--raw"]
        if "=" not in text and not action.get("action", "").startswith("store"):
            value, after = _word(line, stop)
            behind = _word(line, after)[0]
            if "nargs" not in action or _may_follow(action, value or ""):
                stop = after
            elif behind and not is_raw and _is_field(_unquoted(value)):
                if behind != "--" and not _looks_like_option(behind):
                    end, before = stop, name
                    break
                stop = after
        end = stop
    prompt = line[end:].strip()
    if prompt in {"''", '""'}:
        return line[:end], "", False, before
    inner = _unquoted(prompt)
    return line[:end], prompt if not inner or prompt[:1] in inner else inner, False, before


def _is_field(word: str) -> bool:
    found = FIELD.fullmatch(word)
    return found is not None and not is_doubled(found)


def _may_follow(action: dict[str, Any], word: str) -> bool:
    """Whether a word after an option with an optional value is that value, not the prompt's first word."""
    if action is _ACTIONS["--keep"]:
        return _KEEP_FILE.fullmatch(_unquoted(word)) is not None
    return word.isdecimal() if action.get("type") is int else word.lower() in LEVELS


def _action(name: str) -> dict[str, Any] | None:
    """The option of this name; an unambiguous beginning of a long one is enough, as in argparse."""
    if name in _ACTIONS or not name.startswith("--"):
        return _ACTIONS.get(name)
    found = [action for known, action in _ACTIONS.items() if known.startswith(name)]
    return found[0] if len(found) == 1 else None


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
        elif line[end] == quote and line[end - 1] != "\\":
            quote = ""
        end += 1
    return line[start:end], end
