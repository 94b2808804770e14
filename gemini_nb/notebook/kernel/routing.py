"""Where a kernel's output goes while tools run beside cells: each to its target, from load to unload.

To replace `sys.stdout.write` is not enough: IPython 9 puts its own `write` on the stream for each cell and
the old one back at the cell's end. So the class of the stream gets a data descriptor, which wins over what
stands on the instance. `sys.stdout` itself is left alone; where a cell captures it, a proxy with the same
descriptor goes around the buffer, so that a tool beside that cell does not write into it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.utils.capture import CapturedIO, capture_output

from gemini_nb.notebook.kernel.shown_widgets import display_widget
from gemini_nb.tools.output import (
    Display,
    Target,
    Undo,
    Write,
    current_target,
    inherit_targets,
    replace,
    route_with,
)

_STREAMS = ("stdout", "stderr")


class _Bound:
    """A `write` that goes to the target of the calling code, or to the original one."""

    __slots__ = ("gemini_nb_inner", "name")

    def __init__(self, inner: Callable[..., Any], name: str) -> None:
        self.gemini_nb_inner = inner
        self.name = name

    def __call__(self, text: Any, *rest: Any, **more: Any) -> Any:
        target = current_target()
        if target is None or not isinstance(text, str):
            return self.gemini_nb_inner(text, *rest, **more)
        target.write(self.name, text)
        return len(text)

    def __eq__(self, other: object) -> bool:
        return bool(_unbound(other) == self.gemini_nb_inner)

    def __hash__(self) -> int:
        return hash(self.gemini_nb_inner)


class _RoutedWrite:
    """The `write` of a class of streams, whatever stands on an instance."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original

    def __get__(self, stream: Any, owner: type | None = None) -> Any:
        if stream is None:
            return self.original
        inner = stream.__dict__.get("write")
        return _Bound(MethodType(self.original, stream) if inner is None else inner, stream.name)

    def __set__(self, stream: Any, value: Any) -> None:
        _set_write(stream, _unbound(value), self.original)

    def __delete__(self, stream: Any) -> None:
        if stream.__dict__.pop("write", None) is None:
            raise AttributeError("write")


def _unbound(value: Any) -> Any:
    while (inner := getattr(value, "gemini_nb_inner", None)) is not None:
        value = inner
    return value


def _set_write(stream: Any, value: Any, original: Callable[..., Any]) -> None:
    """Set an instance's `write`; the class's own is not stored, or each cell would add a wrapper."""
    if getattr(value, "__func__", None) is original and value.__self__ is stream:
        stream.__dict__.pop("write", None)
    else:
        stream.__dict__["write"] = value


class _Proxy:
    """Wraps the buffer that a cell captures its output with; the cell's own writes pass through."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner = inner
        self.name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def encoding(self) -> str:
        """The buffer's; one that takes any text has none, and a tool's tqdm would draw in ASCII beside it."""
        return getattr(self._inner, "encoding", None) or "utf-8"

    def _pass_on(self, text: Any, *rest: Any, **more: Any) -> Any:
        if self._inner is None:  # redirect_stdout(None): nothing is printed
            return len(text)
        return self._inner.write(text, *rest, **more)

    write = _RoutedWrite(_pass_on)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._inner is not None:
            self._inner.flush()


def captured(stream: Any) -> Any:
    """Return what a cell captures this stream with, None for one that is not captured."""
    return vars(stream)["_inner"] if isinstance(stream, _Proxy) else None


def _surround(name: str) -> None:
    stream = getattr(sys, name)
    if not isinstance(getattr(stream, "write", None), _Bound):
        setattr(sys, name, _Proxy(stream, name))


def _writer(target: Target, stream: Any) -> Write:
    """The `write` of a tool's redirect; for a standard stream, that of its present destination."""
    if stream is None:
        return len
    write = stream.write
    return target.writer(write.name) if isinstance(write, _Bound) else write


def _route_redirects() -> list[Undo]:
    """Keep a tool's prints out of a cell's `redirect_stdout`, and a tool's own redirect out of `sys`."""
    kind: Any = contextlib._RedirectStream  # noqa: SLF001 - what both derive from
    enter, leave = kind.__enter__, kind.__exit__

    def enter_routed(self: Any) -> Any:
        name, target = self._stream, current_target()
        if name not in _STREAMS:
            return enter(self)
        entered = self.__dict__.setdefault("_gemini_nb_targets", [])
        if target is None:
            result = enter(self)
            _surround(name)
        else:
            result = self._new_target
            target.redirect(name, _writer(target, result))
        entered.append(target)
        return result

    def leave_routed(self: Any, *error: Any) -> Any:
        entered = self.__dict__.get("_gemini_nb_targets")
        target = entered.pop() if entered else None
        if target is None:
            return leave(self, *error)
        target.end_redirect(self._stream)
        return None

    return [replace(kind, "__enter__", enter_routed), replace(kind, "__exit__", leave_routed)]


def _route_captures() -> list[Undo]:
    """The same for `capture_output`, and so for `%%capture`."""
    enter, leave = capture_output.__enter__, capture_output.__exit__

    def enter_routed(self: Any) -> Any:
        target = self.gemini_nb_target = current_target()
        if target is None:
            result = enter(self)
            for name in _STREAMS:
                if getattr(self, name):
                    _surround(name)
            return result
        return _capture(self, target)

    def leave_routed(self: Any, *error: Any) -> Any:
        target = getattr(self, "gemini_nb_target", None)
        if target is None:
            return leave(self, *error)
        _end_capture(self, target)
        return None

    return [
        replace(capture_output, "__enter__", enter_routed),
        replace(capture_output, "__exit__", leave_routed),
    ]


def _capture(captures: Any, target: Target) -> Any:
    """Begin a tool's own `capture_output`."""
    buffers = {name: io.StringIO() if getattr(captures, name) else None for name in _STREAMS}
    for name, buffer in buffers.items():
        if buffer is not None:
            target.redirect(name, buffer.write)
    outputs: list[dict[str, Any]] = []
    if captures.display:
        target.capture(outputs)
    return CapturedIO(buffers["stdout"], buffers["stderr"], outputs)


def _end_capture(captures: Any, target: Target) -> None:
    for name in _STREAMS:
        if getattr(captures, name):
            target.end_redirect(name)
    if captures.display:
        target.end_capture()


def _route_displays(publisher: Any) -> list[Undo]:
    """Route displays and clears to the target."""
    publish, clear_output = publisher.publish, publisher.clear_output

    @functools.wraps(publish)
    def publish_routed(self: Any, data: Any, metadata: Any = None, *rest: Any, **more: Any) -> None:
        target = current_target()
        shown = Display(data, metadata or {}, more.get("transient") or {}, bool(more.get("update")))
        if not shown.update and display_widget(target, shown):
            return
        if target is None or not target.display(shown):
            publish(self, data, metadata, *rest, **more)

    @functools.wraps(clear_output)
    def clear_output_routed(self: Any, wait: bool = False) -> None:
        target = current_target()
        if target is None:
            clear_output(self, wait)
        else:
            target.clear(wait=wait)

    return [
        replace(publisher, "publish", publish_routed),
        replace(publisher, "clear_output", clear_output_routed),
    ]


def _route_results(hook: Any, shell: Any) -> list[Undo]:
    """The same for values and tracebacks of code that a tool runs by `run_cell`."""
    finish = hook.finish_displayhook
    owner: Any = shell if "_showtraceback" in vars(shell) else type(shell)  # ipykernel puts one on the shell
    show = vars(owner)["_showtraceback"]

    @functools.wraps(finish)
    def finish_routed(self: Any) -> None:
        target, message = current_target(), self.msg
        if target is None or not message:
            finish(self)
            return
        self.msg = None
        content = message["content"]
        if content["data"]:
            target.display(Display(content["data"], content.get("metadata") or {}, {}))

    @functools.wraps(show)
    def show_routed(*error: Any) -> None:
        target = current_target()
        if target is None:
            show(*error)
        else:
            target.write("stderr", "\n".join([*error[-1], ""]))

    return [replace(hook, "finish_displayhook", finish_routed), replace(owner, "_showtraceback", show_routed)]


def route(shell: Any) -> Undo:
    """Route the output of a kernel's shell; returns what puts everything back.

    In a terminal nothing is changed: there the streams are diverted while a tool runs.
    """
    if getattr(shell, "kernel", None) is None:
        return lambda: None
    from ipykernel.displayhook import ZMQShellDisplayHook  # a kernel has it, a terminal need not
    from ipykernel.iostream import OutStream  # a kernel has it, a terminal need not
    from ipykernel.zmqshell import ZMQDisplayPublisher

    original = OutStream.write
    undos = [
        replace(OutStream, "write", _RoutedWrite(original)),
        *_route_redirects(),
        *_route_captures(),
        *_route_displays(ZMQDisplayPublisher),
        *_route_displays(CapturingDisplayPublisher),
        *_route_results(ZMQShellDisplayHook, shell),
        inherit_targets(),
    ]
    route_with(contextlib.nullcontext())

    def undo() -> None:
        for one in undos:
            one()
        route_with(None)
        # The unloading cell is still inside IPython's own wrapper, which puts a `_Bound` back at its end.
        loop = shell.kernel.io_loop.asyncio_loop if hasattr(shell.kernel, "io_loop") else None
        streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, OutStream)]
        if loop is not None:
            loop.call_soon(_clean, streams, original)

    return undo


def _clean(streams: Iterable[Any], original: Callable[..., Any]) -> None:
    for stream in streams:
        write = stream.__dict__.get("write")
        if isinstance(write, _Bound):
            _set_write(stream, _unbound(write), original)
