"""When a page connects to the kernel and restores its widgets: until then no widget may be opened.

A page that loads gets each message before it knows the widgets that exist. It waits two seconds for each
unknown one that a new widget names (the shared layout is enough), then gives the new one up for good. What
comes behind waits as long, the kernel's reply with all widgets included. A fast answer opens several widgets
a second, so the page would never get through and stay at "Loading widget...".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gemini_nb.tools.output import Undo

_CONNECTING = 3.0  # seconds from its first message until a page asks for its widgets, on a slow machine
_RESTORING = 3.0  # seconds from the reply until it has made them, where no view says that it has
_REQUEST = "kernel_info_request"  # the first thing that the server and the page send

_free_at = 0.0


def free_at() -> float:
    """Return when widgets may be opened again, in the time of `time.monotonic`. It may become earlier."""
    return _free_at


def note_restore() -> None:
    """Note that a page asks for the state of its widgets. From any thread."""
    global _free_at  # there is one kernel, and all its pages get the same messages
    _free_at = time.monotonic() + _RESTORING


def note_view() -> None:
    """Note that a page shows a widget, which it does only once it has made them all. From any thread."""
    global _free_at
    _free_at = min(_free_at, time.monotonic())


def watch_connections(shell: Any) -> Undo:
    """Watch for pages that connect; return the function that ends the watch."""
    kernel = getattr(shell, "kernel", None)
    undos = [
        _watch(handlers)
        for name in ("shell_handlers", "control_handlers")
        if _REQUEST in (handlers := getattr(kernel, name, {}))
    ]
    return lambda: [undo() for undo in undos]


def _watch(handlers: dict[str, Callable[..., Any]]) -> Undo:
    original = handlers[_REQUEST]

    def note_and_answer(*args: Any, **more: Any) -> Any:
        global _free_at
        _free_at = max(_free_at, time.monotonic() + _CONNECTING)
        return original(*args, **more)

    handlers[_REQUEST] = note_and_answer

    def undo() -> None:
        if handlers.get(_REQUEST) is note_and_answer:
            handlers[_REQUEST] = original

    return undo
