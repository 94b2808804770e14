"""Output routing: what code prints and displays goes to the target in its context.

A tool runs in a thread, or on the kernel's loop while another cell computes. What it prints would appear in
whichever cell happens to run, or in none. `contextlib.redirect_stdout` is no way out: it redirects the whole
process, the user's cells with it. So a context variable names the target, tasks and threads that the code
starts inherit it, and the streams' `write` asks for it each time. Handlers of `logging` that were made with
the same streams are diverted along with them.

Here are the variable, and what is enough for a script. A notebook, whose cells change `sys.stdout` meanwhile,
puts its own routing in its place.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

Undo = Callable[[], object]
Write = Callable[[str], object]


class Display(NamedTuple):
    """What code displays, in the words of Jupyter's messages.

    Attributes:
        data: the mime bundle.
        metadata: how it is to be shown, such as a picture's size.
        transient: where it stands: its `display_id`, if it has one.
        update: whether it replaces what stands there.
    """

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    transient: Mapping[str, Any]
    update: bool = False


class Target:
    """Receives what code prints, displays and clears, from any thread.

    A redirect inside that code concerns that code alone, so it is kept here and `sys` is left as it is.
    """

    def __init__(self) -> None:
        self._redirects: dict[str, list[Write]] = {"stdout": [], "stderr": []}
        self._captures: list[list[dict[str, Any]]] = []

    def write(self, name: str, text: str) -> None:
        """Take what was written to "stdout" or "stderr"."""
        redirects = self._redirects[name]
        if redirects:
            redirects[-1](text)
        else:
            self.put(name, text)

    def writer(self, name: str) -> Write:
        """Return where writes to "stdout" or "stderr" go at present."""
        redirects = self._redirects[name]
        return redirects[-1] if redirects else lambda text: self.put(name, text)

    def redirect(self, name: str, write: Write) -> None:
        """Send what is written to "stdout" or "stderr" elsewhere."""
        self._redirects[name].append(write)

    def end_redirect(self, name: str) -> None:
        """Take the last redirect back."""
        if self._redirects[name]:
            self._redirects[name].pop()

    def capture(self, outputs: list[dict[str, Any]]) -> None:
        """Append displays to this list from now on."""
        self._captures.append(outputs)

    def end_capture(self) -> None:
        """Take the last capture back."""
        if self._captures:
            self._captures.pop()

    @property
    def captures(self) -> bool:
        """Whether displays are captured at present."""
        return bool(self._captures)

    def display(self, shown: Display) -> bool:
        """Take what was displayed; returns False for the update of a display that stands elsewhere."""
        if not self._captures:
            return self.show(shown)
        self._captures[-1].append(shown._asdict())
        return True

    def clear(self, *, wait: bool) -> None:
        """Clear what was shown: now, or when the next output comes."""
        if self._captures:
            self._captures[-1].clear()
        else:
            self.wipe(wait=wait)

    def flush(self) -> None:
        """Show buffered output now."""

    def put(self, name: str, text: str) -> None:
        """Show text that is not redirected."""
        raise NotImplementedError

    def show(self, shown: Display) -> bool:
        """Show what is not captured; returns False as `display` does."""
        raise NotImplementedError

    def wipe(self, *, wait: bool) -> None:
        """Clear what was shown."""
        raise NotImplementedError


_target: contextvars.ContextVar[Target | None] = globals().get("_target") or contextvars.ContextVar(
    "gemini_nb_target", default=None
)
"""Survives a reload of this module, as what runs at that time still has its target there."""


def current_target() -> Target | None:
    """Return the target of the running code, None if its output is not routed."""
    return _target.get()


class targeting:  # noqa: N801 - it is used like a function
    """Route output to the target within this context, including tasks and threads started in it.

    Threads that serve all streams are started under None: else they would stay with the first one's target.
    """

    __slots__ = ("_target", "_token")

    def __init__(self, target: Target | None) -> None:
        self._target = target

    def __enter__(self) -> None:
        self._token = _target.set(self._target)

    def __exit__(self, *_: object) -> None:
        _target.reset(self._token)


def enter_target(target: Target | None) -> None:
    """Set the target of this context."""
    _target.set(target)


def leave_target() -> None:
    """Clear the target of this context: in a forked child its output would be lost."""
    _target.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=leave_target)


def inherit_targets() -> Undo:
    """Let threads inherit the target of the code that starts them, and pools that of each task.

    A pool's threads live on: bound to a target, they would take another cell's prints there.
    """
    thread, pool = threading.Thread, concurrent.futures.ThreadPoolExecutor
    start_thread, submit_task = thread.start, pool.submit

    def start(self: Any) -> None:
        target = _target.get()
        if target is not None:
            run = self.run

            def run_there() -> None:
                with targeting(target):
                    run()

            self.run = run_there  # of this thread alone
        start_thread(self)

    def submit(
        self: concurrent.futures.ThreadPoolExecutor,
        function: Callable[..., Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> concurrent.futures.Future[Any]:
        target = _target.get()
        if target is None:
            return submit_task(self, function, *args, **kwargs)
        with targeting(None):
            return submit_task(self, _run_under, target, function, args, kwargs)

    undos = [replace(thread, "start", start), replace(pool, "submit", submit)]
    return lambda: [undo() for undo in undos]


def _run_under(target: Target, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with targeting(target):
        return function(*args, **kwargs)


def replace(owner: object, name: str, value: object) -> Undo:
    """Replace an attribute of a class; undone only where nothing else has replaced it since."""
    original = owner.__dict__[name]
    setattr(owner, name, value)

    def undo() -> None:
        if owner.__dict__.get(name) is value:
            setattr(owner, name, original)

    return undo


class _Diversion:
    """The standard streams with a `write` that knows targets; in place while any tool runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo: list[Undo] = []

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
                undos = [_divert(name, stream) for name, stream in streams.items()]
                self._undo = [inherit_targets(), *filter(None, undos)]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for undo in self._undo:
                    undo()
                self._undo = []


def _divert(name: str, stream: Any) -> Undo | None:
    """Patch a stream's `write` to use the target; returns the undo, or None if it cannot be patched."""
    own = getattr(stream, "__dict__", {}).get("write")
    original: Any = getattr(stream, "write", None)

    def write(text: str) -> Any:
        target = _target.get()
        if target is None or not isinstance(text, str):
            return original(text)  # there is one, or this was not put in its place
        target.write(name, text)
        return len(text)

    def undo() -> None:
        if stream.__dict__.get("write") is write:  # else something wrapped it again, and calls this one
            if own is None:
                del stream.write
            else:
                stream.write = own

    try:
        stream.write = write
    except (AttributeError, TypeError):  # no stream at all, or one of a class without attributes
        return None
    return undo


_diversion = _Diversion()
_routing: AbstractContextManager[object] = _diversion


def diverting() -> AbstractContextManager[object]:
    """Return the context manager within which output reaches its targets."""
    return _routing


def route_with(routing: AbstractContextManager[object] | None) -> None:
    """Set how output reaches its targets; None restores the way of a plain script."""
    global _routing
    _routing = _diversion if routing is None else routing
