"""What Tab offers behind the magics: options, models, tools, chats, streams, files.

IPython's own hook for this adds what it offers to every Python name there is, so that `--` had 230
continuations, `--abs` the first. A matcher that suppresses the others answers alone.
"""

from __future__ import annotations

import glob
import inspect
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from gemini_nb.config import DEFAULT_MODEL, Auth
from gemini_nb.notebook.magics.arguments import LEVELS, OPTIONS, prompt_of
from gemini_nb.streams.chat import Chat
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

__all__ = ["matcher"]

_MAGIC = re.compile(r"\s*(%%?)(gemini_\w+)\s(.*)")
_MODELS = (DEFAULT_MODEL, "gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest")
_OF_NAMES = {"gemini_show", "gemini_stop", "gemini_wait"}


def matcher(shell: Any, manager: StreamManager) -> Callable[[Any], Any]:
    """Return the matcher that IPython asks; put it into `shell.Completer.custom_matchers`."""

    @context_matcher(identifier="gemini_nb")  # type: ignore[untyped-decorator]  # IPython's
    def match(context: Any) -> Any:
        found = _MAGIC.fullmatch(context.line_with_cursor[: context.cursor_position])
        in_cell = context.cursor_line > 0 and context.full_text.lstrip().startswith("%%")
        if found is None or in_cell:
            return {"completions": []}
        percent, magic, behind = found.groups()
        fragment = behind.rpartition(" ")[2]
        before = ""
        offered: list[str] = []
        if magic == "gemini_stream" and (percent == "%%" or not prompt_of(behind)):
            before, offered = _behind_stream(shell, manager, behind, fragment)
        elif magic in _OF_NAMES:
            offered = [*_names(shell, (Stream, StreamGroup)), *_ids(manager)]
        rest = fragment[len(before) :]
        fitting = [SimpleCompletion(text) for text in offered if text.startswith(rest)]
        return {"completions": fitting, "matched_fragment": rest, "suppress": True}

    return match  # type: ignore[no-any-return]  # see above


def _behind_stream(shell: Any, manager: StreamManager, behind: str, fragment: str) -> tuple[str, list[str]]:
    """What of the last word stands already, and what can follow it."""
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
        return start, [] if start else [*OPTIONS]
    return start, [*offered]


def _values(shell: Any, manager: StreamManager, option: str, fragment: str) -> Iterable[str] | None:
    """What can stand behind an option; None where it is no option, or takes no value."""
    match option:
        case "-m" | "--model":
            return sorted({*_MODELS, *(stream.model for stream in manager.list_streams(all=True))})
        case "-t" | "--tools":
            return _functions(shell)
        case "-c" | "--chat":
            return _names(shell, Chat)
        case "--auth":
            return [str(auth) for auth in Auth]
        case "--thinking":
            return [*LEVELS, *OPTIONS]
        case "--schema":
            return _names(shell, (type, dict))
        case "--each":
            return _names(shell, Iterable, but=(str, bytes, type))
        case "--file":
            return _files(fragment)
        case "-o" | "--out" | "-s" | "--system" | "--concurrency" | "--temperature" | "--max-tokens":
            return []
        case _:
            return None


def _names(shell: Any, kind: Any, but: tuple[type, ...] = ()) -> list[str]:
    hidden = shell.user_ns_hidden
    return [
        name
        for name, value in shell.user_ns.items()
        if isinstance(value, kind)
        and not isinstance(value, but)
        and not name.startswith("_")
        and name not in hidden
    ]


def _functions(shell: Any) -> list[str]:
    return [
        name
        for name in _names(shell, object)
        if callable(shell.user_ns[name]) and not inspect.isclass(shell.user_ns[name])
    ]


def _ids(manager: StreamManager) -> list[str]:
    return [stream.stream_id for stream in manager.list_streams(all=True)]


def _files(fragment: str) -> list[str]:
    """Paths that begin like this, folders with a slash; `~` stays what it is."""
    whole = os.path.expanduser(fragment)  # noqa: PTH111 - Path drops the slash at the end
    found = sorted(glob.glob(f"{glob.escape(whole)}*"))  # noqa: PTH207 - see above
    return [
        fragment + path[len(whole) :] + ("/" if os.path.isdir(path) else "")  # noqa: PTH112 - see above
        for path in found
        if " " not in path
    ]
