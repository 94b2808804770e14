"""Load the extension into a shell, and unload it without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gemini_nb.daemon import importing
from gemini_nb.notebook.kernel.cell_output import CellOutput, cell_output
from gemini_nb.notebook.kernel.frontend import Frontend, cell_id, frontend_of, notebook_path, request_id
from gemini_nb.notebook.kernel.page_loads import watch_connections
from gemini_nb.notebook.kernel.parents import answer_in_threads
from gemini_nb.notebook.kernel.questions import ask_in_turn
from gemini_nb.notebook.kernel.routing import route
from gemini_nb.notebook.kernel.sent import SentOutputs
from gemini_nb.notebook.magics.chat_magic import ChatMagic
from gemini_nb.notebook.magics.code_magics import CodeMagics
from gemini_nb.notebook.magics.completion import matcher
from gemini_nb.notebook.magics.history import HistoryMagics
from gemini_nb.notebook.magics.magics import GeminiMagics
from gemini_nb.notebook.magics.models_magic import ModelsMagic
from gemini_nb.notebook.magics.settings import GeminiNB
from gemini_nb.notebook.magics.transform import AwaitStreamCells, question_keeper, read_loading_cell_again
from gemini_nb.notebook.magics.waiting import blocking_wait
from gemini_nb.notebook.pane.painter import retire
from gemini_nb.notebook.pane.showing import displayer
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.manager import StreamManager, adopt_manager, get_manager
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.output import current_target

_SHOWN: tuple[Any, ...] = (Stream, StreamGroup)


class _Extension:
    """Everything registered in one shell, so that all of it can be removed."""

    def __init__(self, shell: Any, manager: StreamManager) -> None:
        self.shell = shell
        self._manager = manager
        self._settings = shell.gemini_nb_settings = GeminiNB.of(shell, manager)
        self._magics = GeminiMagics(shell, lambda: self.manager, self._settings)
        self._awaiting = AwaitStreamCells(shell)
        self._displayer = displayer(shell)
        self._sent = SentOutputs()
        self._code_magics = CodeMagics(shell, self._magics, self._magics.log)
        self._chat_magic = ChatMagic(shell, self._magics)
        self.stream_cell, self.wait_cell = self._magics.stream_cell, self._magics.wait_cell
        self.fix_cell = self._code_magics.fix_cell
        self._undo = contextlib.ExitStack()

    @property
    def manager(self) -> StreamManager:
        """The kernel's manager; a new one where the last was shut down."""
        if self._manager.runtime.closed:
            self._manager = self.shell.gemini_nb_manager = get_manager()
            self._settings.serve(self._manager)
            self._serve()
        return self._manager

    def asked_by(self, _: None) -> Stream | StreamGroup | None:
        """Return what the magic that just ended asked. It returns nothing itself: IPython would show it."""
        return self._magics.asked

    def register(self) -> None:
        """Put everything in its place, and note beside each thing how it goes again."""
        shell, undo = self.shell, self._undo.callback
        self.forget_parents = answer_in_threads(shell)
        for end in (route(shell), ask_in_turn(shell), self._sent.watch(shell), watch_connections(shell)):
            undo(end)
        models = ModelsMagic(shell, lambda: self.manager)
        magics = (self._magics, self._code_magics, self._chat_magic, HistoryMagics(shell), models)
        shell.register_magics(*magics)
        undo(self._forget_magics, magics)
        for part in (self._chat_magic, self._magics.log, self._awaiting):
            part.register()
            undo(part.unregister)
        for hooks, own in (
            (shell.configurables, self._settings),  # where %config looks
            (shell.Completer.custom_matchers, matcher(shell, lambda: self.manager)),
            (shell.input_transformers_cleanup, question_keeper(shell)),
        ):
            hooks.append(own)
            undo(hooks.remove, own)
        for kind, mime, render in _renderers():
            if (formatter := shell.display_formatter.formatters.get(mime)) is not None:
                formatter.for_type(kind, render)
                undo(formatter.type_printers.pop, kind, None)
        for shown in _SHOWN:
            shown._ipython_display_ = self._displayer
            undo(delattr, shown, "_ipython_display_")
        self._find_loop = _kernel_loop(shell)
        self._serve()
        for event, hook in (("pre_run_cell", self._before_cell), ("post_run_cell", self._hear_out)):
            shell.events.register(event, hook)
            undo(shell.events.unregister, event, hook)
        threading.Thread(target=_import_renderer, name="gemini_nb-import", daemon=True).start()

    def _forget_magics(self, magics: Iterable[Any]) -> None:
        for one in magics:
            for kind, named in one.magics.items():
                for name in named:
                    self.shell.magics_manager.magics[kind].pop(name, None)

    def _serve(self) -> None:
        """Let the manager know what only a notebook knows."""
        shell = self.shell
        runtime = self._manager.runtime
        runtime.kernel.find = self._find_loop
        runtime.can_ask = lambda: frontend_of(shell) is not Frontend.HEADLESS
        runtime.block_on = blocking_wait(runtime.kernel)
        runtime.cell_output = lambda: cell_output(shell, runtime, self._sent)
        runtime.origin = lambda: (notebook_path(shell), cell_id(shell))
        runtime.warm_up()

    def _before_cell(self, _: object) -> None:
        _ = self.manager  # a new one, where the last cell shut it down
        self._magics.asked = None

    def _hear_out(self, _: object) -> None:
        """Let a cell of an unattended run end when its subscribers have heard everything.

        What they print later is dropped there. In a live notebook it comes into that cell whenever it comes.
        """
        if frontend_of(self.shell) is not Frontend.HEADLESS or current_target() is not None:
            return
        request, heard = request_id(self.shell), set[Stream]()
        while unheard := set(self._followed_by(request)) - heard:
            for stream in unheard:
                stream.wait_only()
            heard |= unheard  # subscribers may have started others

    def _followed_by(self, request: str | None) -> Iterator[Stream]:
        """The streams with subscribers whose output goes to this run of a cell."""
        for stream in self.manager.list_streams(all=True):
            if any(isinstance(target, CellOutput) and target.is_of(request) for target in stream.targets):
                yield stream

    def unregister(self) -> None:
        """Take everything away, what came last first."""
        self._undo.close()
        self._manager.runtime.cell_output = lambda: None
        self._manager.runtime.origin = lambda: (None, None)


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
    read_loading_cell_again(shell)


def unload(shell: Any) -> None:
    """Take the magics and hooks away and stop the streams."""
    extension = getattr(shell, "gemini_nb_extension", None)
    if extension is None:
        return
    shell.gemini_nb_extension = None
    extension.unregister()
    extension.manager.stop_all()
    retire()
    extension.forget_parents()  # the last messages of panes need them


def _renderers() -> list[tuple[type, str, Callable[..., Any]]]:
    return [
        (kind, mime, render)
        for kind in (Stream, StreamGroup)
        for mime, render in (("text/markdown", _to_markdown), ("text/plain", _print_text))
    ]


def _to_markdown(made: Stream | StreamGroup) -> str:
    from gemini_nb.notebook.render.group_settled import markdown_of  # see _import_renderer

    return markdown_of(made)


def _print_text(made: Stream | StreamGroup, printer: Any, _cycle: bool) -> None:
    from gemini_nb.notebook.render.group_settled import text_of  # see _import_renderer

    nested = len(printer.stack) > 1  # in a list or a dictionary
    printer.text(repr(made) if nested else text_of(made))


def _import_renderer() -> None:
    """Import what renders answers. `%load_ext` has no use for it; the first answer would wait for it."""
    with importing():
        importlib.import_module("gemini_nb.notebook.render.group_settled")
        from gemini_nb.notebook.render.markdown import to_html

        to_html("")


def _kernel_loop(shell: Any) -> Callable[[], asyncio.AbstractEventLoop | None]:
    """Find the loop that runs the cells: a kernel's is running while its extension is loaded."""
    if getattr(shell, "kernel", None) is None:
        return lambda: None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda: None
    return lambda: loop if loop.is_running() else None
