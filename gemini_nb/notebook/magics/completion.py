"""What Tab offers behind the magics and in prompts: options, models, tools, chats, streams, files, names.

IPython's own hook for this adds what it offers to every Python name there is, so that `--` had 230
continuations, `--abs` the first. A matcher that suppresses the others answers alone.
"""

from __future__ import annotations

import dataclasses
import enum
import glob
import inspect
import os
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, is_typeddict

from IPython.core.completer import SimpleCompletion, context_matcher

from gemini_nb.config import WELL_KNOWN_MODELS, Auth
from gemini_nb.journal.entries import Journal
from gemini_nb.notebook.magics.arguments import CHAT_OPTIONS, LEVELS, OPTIONS, prompt_of
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.tool import Tool, ToolSource

_MAGIC = re.compile(r"\s*(%%?)(gemini_\w+)\s(.*)")
_CELL = re.compile(r"\s*%%gemini_stream\b(?![^\n]*\s--raw\b)[^\n]*\n(.*)", re.DOTALL)
_FIELD = re.compile(r"\{((?:[^\W\d]\w*\.)*)((?:[^\W\d]\w*)?)")
_OF_NAMES = {"gemini_show", "gemini_stop", "gemini_wait"}
_OWN = "gemini_nb."


class _Nothing(list[SimpleCompletion]):
    """An empty completion that suppresses other matchers: IPython does so only if it has a length."""

    def __len__(self) -> int:
        return 1


def matcher(shell: Any, find_manager: Callable[[], StreamManager]) -> Callable[[Any], Any]:
    """Return the matcher that IPython asks; put it into `shell.Completer.custom_matchers`."""

    def match(context: Any) -> Any:
        lines = context.full_text.split("\n")[: context.cursor_line]
        line = context.line_with_cursor[: context.cursor_position]
        if (cell := _CELL.fullmatch("\n".join([*lines, line]))) is not None:
            return _in_prompt(shell, cell[1])
        found = _MAGIC.fullmatch(line)
        if found is None or (lines and context.full_text.lstrip().startswith("%%")):
            return {"completions": []}
        percent, magic, behind = found.groups()
        if magic == "gemini_stream" and percent == "%" and (prompt := prompt_of(behind)):
            values = _values_before_prompt(behind, prompt)
            return _answer(values, prompt) if values else _in_prompt(shell, prompt)
        return _behind(shell, find_manager(), magic, behind)

    made: Callable[[Any], Any] = context_matcher(identifier="gemini_nb")(match)
    return made


def _behind(shell: Any, manager: StreamManager, magic: str, behind: str) -> Any:
    """Completions behind the name of a magic."""
    fragment = behind.rpartition(" ")[2]
    before, offered = "", list[SimpleCompletion]()
    if magic in {"gemini_stream", "gemini_chat"} and "{" in fragment and "--raw" not in behind.split():
        return _in_prompt(shell, fragment)
    if magic == "gemini_stream":
        before, offered = _behind_stream(shell, manager, behind, fragment, _all("option", OPTIONS))
    elif magic == "gemini_chat":
        beginnings = [*_names(shell, Chat), *_all("option", CHAT_OPTIONS)]
        before, offered = _behind_stream(shell, manager, behind, fragment, beginnings)
    elif magic in _OF_NAMES:
        ids = [stream.stream_id for stream in manager.list_streams(all=True)]
        if magic == "gemini_show":
            ids += _old_ids(manager, fragment)
        offered = [*_names(shell, (Stream, StreamGroup)), *_all("stream", ids)]
    return _answer(offered, fragment[len(before) :])


def _old_ids(manager: StreamManager, fragment: str) -> list[str]:
    """The ids of the journal's entries, newest first; they are longer than ids of this kernel's streams."""
    writer = manager.runtime.journal()
    return [] if writer is None or writer.trouble else Journal(writer).ids(fragment)


def _answer(offered: Iterable[SimpleCompletion], fragment: str) -> Any:
    fitting = [one for one in offered if one.text.startswith(fragment)]
    return {"completions": fitting or _Nothing(), "matched_fragment": fragment, "suppress": True}


def _in_prompt(shell: Any, prompt: str) -> Any:
    """Completions inside braces that are open at the end of a prompt; none in its prose."""
    opened = prompt.rpartition("{")[2]
    if prompt == opened or "}" in opened:
        return _answer([], "")
    if "[" in opened:
        return {"completions": []}  # IPython knows the keys of dictionaries
    field = _FIELD.fullmatch(f"{{{opened}")
    if field is None:
        return _answer([], "")
    path, fragment = field.groups()
    if not path:
        return _answer(_values_in(shell), fragment)
    try:
        value = _reached(shell.user_ns, path.rstrip(".").split("."))
    except (AttributeError, KeyError):
        return _answer([], fragment)
    return _answer(_attributes(value), fragment)


def _values_in(shell: Any) -> list[SimpleCompletion]:
    """The names of what a prompt can show."""
    named = _names(shell, object, but=(types.ModuleType, type))
    return [one for one in named if one.type != "function"]


def attachable(shell: Any) -> list[str]:
    """The names of what a message of a chat can show, the newest first."""
    return [one.text for one in reversed(_values_in(shell)) if one.type != "chat"]


def _reached(namespace: Mapping[str, Any], path: list[str]) -> Any:
    """The value at the end of a path; a completion runs no property of foreign classes."""
    value = namespace[path[0]]
    for name in path[1:]:
        if name.startswith("_"):
            raise AttributeError(name)
        if type(value).__module__.startswith(_OWN) or name in getattr(value, "__dict__", ()):
            value = getattr(value, name)
        else:
            raise AttributeError(name)
    return value


def _attributes(value: Any) -> list[SimpleCompletion]:
    """The attributes that a prompt can show; it never calls one."""
    found = []
    for name in dir(value):
        static = inspect.getattr_static(value, name, None)
        if not name.startswith("_") and not callable(static) and not hasattr(static, "__func__"):
            found.append(SimpleCompletion(name, type="property"))
    return found


def _behind_stream(
    shell: Any, manager: StreamManager, behind: str, fragment: str, beginnings: list[SimpleCompletion]
) -> tuple[str, list[SimpleCompletion]]:
    """The part of the last word that is typed, and its completions; beginnings where no option wants one."""
    words = behind.split()
    option, equals, value = fragment.partition("=")
    if equals and option.startswith("-"):
        start = f"{option}="
    else:
        start, value = "", fragment
        option = words[-1] if words and not fragment else words[-2] if len(words) > 1 else ""
    if option in {"-t", "--tools"}:
        start += "".join(value.rpartition(",")[:2])
    offered = _values(shell, manager, option, value)
    if offered is None:
        return start, [] if start else beginnings
    return start, offered


def _values(shell: Any, manager: StreamManager, option: str, fragment: str) -> list[SimpleCompletion] | None:
    """Completions for an option's value; None if it is no option or takes none."""
    match option:
        case "-m" | "--model":
            used = (stream.model for stream in manager.list_streams(all=True))
            return _all("model", sorted({*WELL_KNOWN_MODELS, *used}))
        case "-t" | "--tools":
            return [one for one in _names(shell, object) if _is_tool(shell.user_ns[one.text])]
        case "-c" | "--chat":
            return _names(shell, Chat)
        case "--auth":
            return _all("value", map(str, Auth))
        case "--thinking":
            return [*_all("value", LEVELS), *_all("option", OPTIONS)]
        case "--schema":
            return [one for one in _names(shell, (type, dict)) if _is_schema(shell.user_ns[one.text])]
        case "--each":
            return _names(shell, Iterable, but=(str, bytes, type, Stream, types.ModuleType))
        case "--file" | "--keep":
            return _files(fragment)
        case "-o" | "--out" | "-s" | "--system" | "--concurrency" | "--temperature" | "--max-tokens":
            return []
        case _:
            return None


def _values_before_prompt(behind: str, begun: str) -> list[SimpleCompletion]:
    """What a line's last word can become as the value of an option that may have none, not as a prompt."""
    option, _, word = behind.rpartition(" ")
    if word != begun:
        return []
    levels = _all("value", LEVELS) if option.endswith("--thinking") else []
    files = _files(word) if option.endswith("--keep") else []
    offered = [*levels, *(file for file in files if file.text.endswith((".jsonl", "/")))]
    return [one for one in offered if one.text.startswith(word)]


def _all(kind: str, texts: Iterable[str]) -> list[SimpleCompletion]:
    return [SimpleCompletion(text, type=kind) for text in texts]


def _names(shell: Any, kind: Any, but: tuple[type, ...] = ()) -> list[SimpleCompletion]:
    """The names that the user gave to values of this kind."""
    return [
        SimpleCompletion(name, type=_kind(value))
        for name, value in shell.user_ns.items()
        if isinstance(value, kind)
        and not isinstance(value, but)
        and not name.startswith("_")
        and name not in shell.user_ns_hidden
    ]


def _kind(value: object) -> str:
    """What a value is, in the words that front ends have icons for, and in ours."""
    if isinstance(value, types.ModuleType):
        return "module"
    if isinstance(value, type):
        return "class"
    if isinstance(value, Tool) or inspect.isroutine(value):
        return "function"
    return {Stream: "stream", StreamGroup: "group", Chat: "chat"}.get(type(value), "instance")


def _is_tool(value: object) -> bool:
    """Whether it may be offered as a tool; functions of this package and of the shell are not."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_tool, value))
    made_for_cells = str(getattr(value, "__module__", "")).startswith((_OWN, "IPython."))
    return isinstance(value, (Tool, ToolSource)) or (
        callable(value) and not inspect.isclass(value) and not made_for_cells
    )


def _is_schema(value: Any) -> bool:
    """Whether it may be offered as a schema; most classes of a notebook serve something else."""
    if str(getattr(value, "__module__", "")).startswith(_OWN):
        return False
    return (
        isinstance(value, dict)
        or hasattr(value, "model_fields")
        or dataclasses.is_dataclass(value)
        or is_typeddict(value)
        or hasattr(value, "_fields")
        or issubclass(value, enum.Enum)
        or value.__module__ == "__main__"
    )


def _files(fragment: str) -> list[SimpleCompletion]:
    """Paths with this beginning, folders with a slash; `~` is kept."""
    whole = os.path.expanduser(fragment)
    found = sorted(glob.glob(f"{glob.escape(whole)}*"))
    return [
        SimpleCompletion(
            fragment + path[len(whole) :] + ("/" if os.path.isdir(path) else ""),
            type="path",
        )
        for path in found
        if " " not in path
    ]
