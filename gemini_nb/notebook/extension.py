"""Loading into a shell and leaving it without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gemini_nb.notebook.frontend import Frontend, frontend_of
from gemini_nb.notebook.magics import ASYNC_MAGIC, GeminiMagics
from gemini_nb.notebook.markdown import to_html
from gemini_nb.notebook.settled import to_markdown, to_text
from gemini_nb.notebook.waiting import blocking_wait
from gemini_nb.streams.manager import StreamManager, adopt_manager, get_manager
from gemini_nb.streams.stream import Stream

__all__ = ["load", "unload"]

_CALL = "get_ipython().run_cell_magic('gemini_stream', "
_CELL_MAGICS = ("gemini_stream", ASYNC_MAGIC)
_LINE_MAGICS = ("gemini_dashboard", "gemini_show", "gemini_stop", "gemini_streams", "gemini_wait")


class _Extension:
    """What was put into a shell, so that all of it can be taken away again."""

    def __init__(self, shell: Any, manager: StreamManager) -> None:
        self.shell = shell
        self.manager = manager
        self._in_cell = False
        self._magics = GeminiMagics(shell, manager)

    def register(self) -> None:
        shell = self.shell
        shell.register_magics(self._magics)
        shell.register_magic_function(self._magics.gemini_stream_awaited, "cell", ASYNC_MAGIC)
        shell.input_transformers_post.append(self.await_stream_cells)
        shell.events.register("pre_run_cell", self.enter_cell)
        shell.events.register("post_run_cell", self.leave_cell)
        for mime, render in _renderers().items():
            if mime in shell.display_formatter.formatters:
                shell.display_formatter.formatters[mime].for_type(Stream, render)
        runtime = self.manager.runtime
        runtime.kernel.find = _kernel_loop(shell)
        runtime.can_ask = lambda: frontend_of(shell) is not Frontend.HEADLESS
        runtime.block_on = blocking_wait(runtime.kernel)
        runtime.warm_up()
        runtime.loop.call(to_html, "")  # the renderer, too, is imported before it is needed

    def unregister(self) -> None:
        shell = self.shell
        magics = shell.magics_manager.magics
        for kind, names in (("cell", _CELL_MAGICS), ("line", _LINE_MAGICS)):
            for name in names:
                magics[kind].pop(name, None)
        shell.input_transformers_post.remove(self.await_stream_cells)
        shell.events.unregister("pre_run_cell", self.enter_cell)
        shell.events.unregister("post_run_cell", self.leave_cell)
        for mime in _renderers():
            if mime in shell.display_formatter.formatters:
                shell.display_formatter.formatters[mime].type_printers.pop(Stream, None)

    def enter_cell(self, _: object) -> None:
        self._in_cell = True

    def leave_cell(self, _: object) -> None:
        self._in_cell = False

    def await_stream_cells(self, lines: list[str]) -> list[str]:
        """Make a `%%gemini_stream` cell a top-level await, so that waiting leaves the kernel's loop free.

        Inside another magic (`%%time`) the code is already running and cannot be awaited; there the plain
        magic stays.
        """
        if self._in_cell or not self.shell.autoawait or not lines or not lines[0].startswith(_CALL):
            return lines
        return [f"await get_ipython().run_cell_magic('{ASYNC_MAGIC}', {lines[0][len(_CALL) :]}", *lines[1:]]


def load(shell: Any) -> None:
    """Register everything; loading twice is once."""
    if getattr(shell, "gemini_nb_extension", None) is not None:
        return
    kept = getattr(shell, "gemini_nb_manager", None)
    if kept is not None and not kept.runtime.closed:
        adopt_manager(kept)
    manager = get_manager()
    extension = _Extension(shell, manager)
    extension.register()
    shell.gemini_nb_manager = manager
    shell.gemini_nb_extension = extension


def unload(shell: Any) -> None:
    """Take the magics and hooks away and stop the streams."""
    extension = getattr(shell, "gemini_nb_extension", None)
    if extension is None:
        return
    shell.gemini_nb_extension = None
    extension.unregister()
    extension.manager.stop_all()


def _renderers() -> dict[str, Callable[..., Any]]:
    return {"text/markdown": to_markdown, "text/plain": _print_text}


def _print_text(stream: Stream, printer: Any, cycle: bool) -> None:  # noqa: ARG001 - IPython's signature
    printer.text(to_text(stream))


def _kernel_loop(shell: Any) -> Callable[[], asyncio.AbstractEventLoop | None]:
    """Find the loop that runs the cells: a kernel's is running while its extension is loaded."""
    if getattr(shell, "kernel", None) is None:
        return lambda: None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda: None
    return lambda: loop if loop.is_running() else None
