"""Which request a thread belongs to, for kernels that do not track it themselves.

ipykernel 7.0 keeps the request in a context variable, and `get_parent` raises LookupError in every thread
that starts without it. Widgets call it with each message, so no pane could be painted. All other versions
fall back on the last request, and so do we.
"""

from __future__ import annotations

import contextvars
from typing import Any

from gemini_nb.tools.output import Undo, replace


def answer_in_threads(shell: Any) -> Undo:
    """Let a kernel's `get_parent` answer in every thread; returns what puts the kernel's own back."""
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return lambda: None
    try:
        contextvars.Context().run(kernel.get_parent, "shell")
    except LookupError:
        return _remember_last(kernel)
    return lambda: None


def _remember_last(kernel: Any) -> Undo:
    from ipykernel.kernelbase import Kernel  # a kernel has it, a terminal need not

    base: Any = Kernel  # untyped
    own_set, own_get = base.set_parent, base.get_parent
    last = kernel.get_parent("shell")

    def set_parent(self: Any, ident: Any, parent: Any, channel: str = "shell") -> None:
        nonlocal last
        own_set(self, ident, parent, channel)
        if channel == "shell":
            last = parent

    def get_parent(self: Any, channel: str | None = None) -> Any:
        try:
            return own_get(self, channel)
        except LookupError:
            return last

    undos = [replace(base, "set_parent", set_parent), replace(base, "get_parent", get_parent)]
    return lambda: [undo() for undo in undos]
