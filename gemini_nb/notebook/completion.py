"""What Tab offers behind the magics: options, models, tools, chats, streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gemini_nb.config import DEFAULT_MODEL, Auth
from gemini_nb.notebook.arguments import OPTIONS
from gemini_nb.streams.chat import Chat
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

__all__ = ["COMMANDS", "completer"]

COMMANDS = r"%%?gemini_\w+"
_MODELS = (DEFAULT_MODEL, "gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest")


def completer(shell: Any, manager: StreamManager) -> Callable[[Any, Any], list[str]]:
    """Return the hook that IPython asks."""

    def complete(_: Any, event: Any) -> list[str]:
        magic = event.command.lstrip("%")
        if magic == "gemini_stream":
            return _behind_stream(shell, manager, event.line)
        if magic in {"gemini_show", "gemini_stop", "gemini_wait"}:
            return [*_names(shell, (Stream, StreamGroup)), *_ids(manager)]
        return []

    return complete


def _behind_stream(shell: Any, manager: StreamManager, line: str) -> list[str]:
    words = line.split()
    last = words[-1] if line.endswith(" ") else words[-2] if len(words) > 1 else ""
    match last:
        case "-m" | "--model":
            used = {stream.model for stream in manager.list_streams(all=True)}
            return sorted({*_MODELS, *used})
        case "-t" | "--tools":
            before, comma, _ = (line.rsplit(maxsplit=1)[-1] if not line.endswith(" ") else "").rpartition(",")
            return [f"{before}{comma}{name}" for name in _functions(shell)]
        case "-c" | "--chat":
            return _names(shell, Chat)
        case "--auth":
            return [str(auth) for auth in Auth]
        case "--schema" | "--each":
            return _names(shell, object)
        case _:
            return list(OPTIONS)


def _names(shell: Any, kind: Any) -> list[str]:
    hidden = shell.user_ns_hidden
    return [
        name
        for name, value in shell.user_ns.items()
        if isinstance(value, kind) and not name.startswith("_") and name not in hidden
    ]


def _functions(shell: Any) -> list[str]:
    return [name for name in _names(shell, object) if callable(shell.user_ns[name])]


def _ids(manager: StreamManager) -> list[str]:
    return [stream.stream_id for stream in manager.list_streams(all=True)]
