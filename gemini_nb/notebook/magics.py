"""The magics: `%%gemini_stream` starts streams, the others look after those that run."""

from __future__ import annotations

import argparse
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from gemini_nb.errors import StreamNotFoundError
from gemini_nb.notebook.arguments import parse, split_line, stream_arguments
from gemini_nb.notebook.asking import ask
from gemini_nb.notebook.frontend import Frontend, cell_id, deleted_cells, frontend_of, request_id
from gemini_nb.notebook.settings import GeminiNB
from gemini_nb.notebook.waiting import await_streams, stopping
from gemini_nb.streams.group import StreamGroup
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

__all__ = ["GeminiMagics"]


@magics_class
class GeminiMagics(Magics):
    """`%%gemini_stream` and its companions.

    Args:
        shell: the IPython shell.
        manager: runs the streams.
        settings: the person's defaults.
    """

    shell: Any

    def __init__(self, shell: Any, manager: StreamManager, settings: GeminiNB) -> None:
        super().__init__(shell)
        self.manager = manager
        self._settings = settings
        self._views: dict[str, tuple[str | None, list[Any]]] = {}  # of each cell: its request, what it shows

    @no_var_expand
    @stream_arguments
    @line_cell_magic
    def gemini_stream(self, line: str, cell: str | None = None) -> None:
        """Ask Gemini; the answer streams into a pane beneath the cell, which returns at once.

        The cell is the prompt; of `%gemini_stream` it is the rest of the line. `{name}`, `{name.attribute}`,
        `{name[0]}` and `{name['key']}` in it are replaced by what they stand for, images and DataFrames too;
        braces that name nothing stay. Inside functions and other magics (`%%time`) a cell that waits blocks
        the kernel's loop while it does.
        """
        if cell is None:
            line, cell = split_line(line)
            if not cell:
                raise UsageError("Ask something: %gemini_stream Why is the sky blue?")
        args, made, view = self._start(line, cell)
        if self._must_wait(args):
            with stopping(_streams_of(made)):
                for stream in _streams_of(made):
                    stream.wait_only()
                if view is not None:
                    view.settled.result(timeout=5)
            self._finish(made, view)

    async def stream_cell(self, line: str, cell: str) -> None:
        """The same as a coroutine, so that the kernel's loop stays free while the cell waits."""
        args, made, view = self._start(line, cell)
        if self._must_wait(args):
            await await_streams(_streams_of(made), view.settled if view is not None else None)
            self._finish(made, view)

    def _start(self, line: str, cell: str) -> tuple[argparse.Namespace, Stream | StreamGroup, Any]:
        args = parse(self.gemini_stream, line)
        self._replace_views()
        made = ask(self.manager, self.shell.user_ns, args, cell)
        return args, made, self._show(made)

    def _replace_views(self) -> None:
        """A cell that runs again stops what it started before; a deleted one keeps no view."""
        current = cell_id(self.shell) or ""
        request, views = self._views.get(current, (None, []))
        if request != request_id(self.shell):  # else it is this very run, with several lines that ask
            self._views.pop(current, None)
            for view in views:
                view.request_stop()
                view.detach()
        for deleted in deleted_cells(self.shell):
            for gone in self._views.pop(deleted, (None, []))[1]:
                gone.detach()

    def _show(self, made: Stream | StreamGroup) -> Any:
        """Show it as the front end can; returns the live view, None where there is none."""
        frontend = frontend_of(self.shell)
        if frontend is Frontend.TERMINAL:
            self._display(made)
        if frontend in {Frontend.TERMINAL, Frontend.HEADLESS}:
            return None
        from gemini_nb.notebook.group_view import view_of  # noqa: PLC0415 - terminals need no widgets

        view = view_of(made)
        if isinstance(made, Stream):
            view.pace = self._settings.paints_per_second
        handle = display(view, display_id=True)
        view.settle_into(handle)
        if (current := cell_id(self.shell)) is not None:
            self._views.setdefault(current, (request_id(self.shell), []))[1].append(view)
        return view

    def _display(self, made: Stream | StreamGroup) -> None:
        """Print streams where there is no page, else show what stays of them."""
        from gemini_nb.notebook.group_settled import bundle_of, item_words  # noqa: PLC0415 - needed late

        if frontend_of(self.shell) is not Frontend.TERMINAL:
            display(bundle_of(made), raw=True)
            return
        from gemini_nb.notebook.terminal import print_stream  # noqa: PLC0415 - pages have no use for it

        if isinstance(made, StreamGroup):
            for index, stream in enumerate(made):
                print(f"--- {item_words(made, index)}")  # noqa: T201 - it is what the magic is for
                print_stream(stream)
        else:
            print_stream(made)

    def _must_wait(self, args: argparse.Namespace) -> bool:
        if frontend_of(self.shell) is not Frontend.LIVE:
            return True
        return bool(self._settings.wait if args.wait is None else args.wait)

    def _finish(self, made: Stream | StreamGroup, view: Any) -> None:
        """Leave the answer in the output of a cell that waited, and let it fail if its one stream did."""
        if view is None and frontend_of(self.shell) is Frontend.HEADLESS:
            self._display(made)
        if isinstance(made, Stream) and made.error is not None:
            raise made.error.with_traceback(None)

    @line_magic
    def gemini_streams(self, line: str) -> None:
        """List the streams: `%gemini_streams`."""
        self._no_arguments(line)
        self._print_table()

    @line_magic
    def gemini_dashboard(self, line: str) -> None:
        """Show all streams, live: `%gemini_dashboard`."""
        self._no_arguments(line)
        if frontend_of(self.shell) in {Frontend.TERMINAL, Frontend.HEADLESS}:
            self._print_table()
            return
        from gemini_nb.notebook.dashboard import dashboard  # noqa: PLC0415 - see _show

        display(dashboard(self.manager))

    @line_magic
    def gemini_stop(self, line: str) -> None:
        """Stop streams: `%gemini_stop`, all of them, or `%gemini_stop trip s3`."""
        streams = self._streams(line) if line.strip() not in {"", "all"} else self.manager.list_streams()
        for stream in streams:
            stream.request_stop()
        for stream in streams:
            stream.stop()

    @line_magic
    def gemini_wait(self, line: str) -> None:
        """Wait for streams: `%gemini_wait`, all, or `%gemini_wait trip`. Ctrl-C ends the wait only."""
        for stream in self._streams(line) if line.strip() else self.manager.list_streams():
            stream.wait_only()

    @line_magic
    def gemini_show(self, line: str) -> None:
        """Print a stream again: `%gemini_show trip`."""
        names = line.split()
        if not names:
            raise UsageError("Which stream? For example %gemini_show trip; %gemini_streams lists them.")
        for name in names:
            self._display(self._find(name))

    def _print_table(self) -> None:
        from gemini_nb.notebook.table import table  # noqa: PLC0415 - few cells need it

        print(table(self.manager))  # noqa: T201 - it is what the magic is for

    def _streams(self, line: str) -> list[Stream]:
        found = [self._find(name) for name in line.replace(",", " ").split()]
        return [stream for made in found for stream in _streams_of(made)]

    def _find(self, name: str) -> Stream | StreamGroup:
        value = self.shell.user_ns.get(name)
        if isinstance(value, (Stream, StreamGroup)):
            return value
        try:
            return self.manager.get_stream(name)
        except StreamNotFoundError as error:
            raise UsageError(str(error)) from None

    def _no_arguments(self, line: str) -> None:
        if line.strip():
            raise UsageError(f"This magic takes no arguments, not {line.strip()!r}.")


def _streams_of(made: Stream | StreamGroup) -> tuple[Stream, ...]:
    return (made,) if isinstance(made, Stream) else made.streams
