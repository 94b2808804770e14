"""The magics: `%%gemini_stream` starts streams, the others look after those that run."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import display

from gemini_nb.errors import StreamNotFoundError, did_you_mean
from gemini_nb.notebook.kernel import cells
from gemini_nb.notebook.kernel.frontend import Frontend, cell_id, frontend_of, request_id
from gemini_nb.notebook.kernel.interrupts import HeldInterrupts
from gemini_nb.notebook.kernel.names import name_streams
from gemini_nb.notebook.magics.arguments import parse, split_line, stream_arguments
from gemini_nb.notebook.magics.asking import CellContext, ask
from gemini_nb.notebook.magics.context.cell_log import CellLog
from gemini_nb.notebook.magics.history import entry_of, show_entry
from gemini_nb.notebook.magics.settings import GeminiNB
from gemini_nb.notebook.magics.waiting import await_made, stopping
from gemini_nb.notebook.pane.showing import show, show_view, streams_of
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.group.braces import python_name
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.group.run import Run
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.runtime.ending import StreamInterrupted, interrupting
from gemini_nb.streams.stopping import stop_together
from gemini_nb.streams.stream import Stream

_PLACE = re.compile(r"([^\W\d]\w*)\[(\d{1,9})\]")


@magics_class
class GeminiMagics(Magics):
    """`%%gemini_stream` and its companions."""

    shell: Any

    def __init__(self, shell: Any, find_manager: Callable[[], StreamManager], settings: GeminiNB) -> None:
        super().__init__(shell)
        self._find_manager = find_manager
        self._settings = settings
        self.log = CellLog(shell)
        self.asked: Stream | StreamGroup | None = None

    @property
    def manager(self) -> StreamManager:
        """What runs the streams."""
        return self._find_manager()

    @no_var_expand
    @needs_local_scope
    @stream_arguments
    @line_cell_magic
    def gemini_stream(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> None:
        """Ask Gemini; the answer streams into a pane beneath the cell, which returns at once.

            %%gemini_stream -t weather -o trip
            Plan a day in {city}. Check the weather first.

        The Stop button and `%gemini_stop trip` stop it. The notebook's interrupt does so only while the cell
        waits (`--wait`): once it has returned, an interrupt does not reach the stream.

        The cell is the prompt; of `%gemini_stream` it is the rest of the line. `{name}`, `{name.attribute}`,
        `{name[0]}` and `{name['key']}` in it are replaced by what they stand for, images and DataFrames too;
        braces that name nothing stay. Inside functions and other magics (`%%time`) a cell that waits blocks
        the kernel's loop while it does.
        """
        if cell is None:
            line, cell = split_line(line)
            if not cell:
                raise UsageError("Ask something: %gemini_stream Why is the sky blue?")
        self.asked = self.ask(line, cell, local_ns or {})

    def ask(
        self,
        line: str,
        cell: str,
        local_ns: Mapping[str, Any] = MappingProxyType({}),
        *,
        as_written: bool = False,
    ) -> Stream | StreamGroup:
        """Start and show what a cell asks for, and wait where it must.

        With `as_written` the prompt's braces stay; those of options are filled in, which `--raw` leaves, too.
        """
        with HeldInterrupts() as interrupts:
            args, made, view = self._start(line, cell, interrupts, local_ns, as_written=as_written)
            settled = view.settled if view is not None else None
            with stopping(made, settled):
                interrupts.release()
                self._print_live(made)
                if self._must_wait(args):
                    made.wait_only()
                    if settled is not None:
                        settled.result()
        self._finish(args, made, view)
        return made

    async def stream_cell(self, line: str, cell: str) -> None:
        """`%%gemini_stream` as a coroutine."""
        await self.ask_async(line, cell)

    async def ask_async(self, line: str, cell: str, *, as_written: bool = False) -> Stream | StreamGroup:
        """`ask` as a coroutine, so that the kernel's loop stays free while the cell waits."""
        with HeldInterrupts() as interrupts:
            args, made, view = self._start(line, cell, interrupts, as_written=as_written)
            settled = view.settled if view is not None else None
            with stopping(made, settled):
                interrupts.release()
                self._print_live(made)
        if self._must_wait(args):
            await await_made(made, settled)
        self._finish(args, made, view)
        return made

    def _start(
        self,
        line: str,
        cell: str,
        interrupts: HeldInterrupts,
        local_ns: Mapping[str, Any] = MappingProxyType({}),
        *,
        as_written: bool = False,
    ) -> tuple[argparse.Namespace, Stream | StreamGroup, Any]:
        args = parse(self.gemini_stream, line, names=ChainMap(dict(local_ns), self.shell.user_ns))
        args.raw = args.raw or as_written
        notes: list[str] = []
        run = (cell_id(self.shell), request_id(self.shell))
        context = self._context(args, cell, notes)
        with cells.replacing_earlier(self.shell):
            made = ask(
                self.manager,
                self.shell.user_ns,
                args,
                cell,
                local_ns=local_ns,
                notes=notes,
                run=run,
                context=context,
                before_start=interrupts.hold,
            )
        cells.register_asked(self.shell, made)
        self.log.note(made)
        for note in dict.fromkeys(notes):
            print(note)
        return args, made, self._show(made, tuple(dict.fromkeys(notes)))

    def names_for(self, prompt: str) -> dict[str, Any]:
        """What a prompt may name beside the notebook's names: `error`, the cell that failed last."""
        failure = self.log.failure if "{error" in prompt else None
        return {} if failure is None else {"error": failure.describe(self.shell.user_ns)}

    def _context(self, args: argparse.Namespace, cell: str, notes: list[str]) -> CellContext:
        """What earlier cells contribute to this cell's prompt."""
        names = self.names_for(cell + (args.system or ""))
        if args.above is None:
            return CellContext(names)
        count, above = self.log.above(args.above)
        size = quantity(len(above), "character") if isinstance(above, str) else "with answers still to come"
        notes.append(f"Sent along: {quantity(count, 'cell')} above, {size}.")
        return CellContext(names, above)

    def _show(self, made: Stream | StreamGroup, notes: tuple[str, ...] = ()) -> Any:
        """Show it as the front end allows; returns the live view, None where there is none."""
        if frontend_of(self.shell) in {Frontend.TERMINAL, Frontend.HEADLESS}:
            return None
        from gemini_nb.notebook.pane.group_view import view_of  # terminals need no widgets

        view = view_of(made)
        if isinstance(made, Stream):
            view.pace, view.notes = self._settings.paints_per_second, notes
        show_view(view)
        return view

    def _print_live(self, made: Stream | StreamGroup) -> None:
        """Print it as it comes, in a terminal."""
        if frontend_of(self.shell) is Frontend.TERMINAL and self._print(made, stops=True):
            raise KeyboardInterrupt

    def _display(self, made: Stream | StreamGroup) -> None:
        """Print streams where there is no page, else show them."""
        if frontend_of(self.shell) is not Frontend.TERMINAL:
            show(self.shell, made)
        elif self._print(made, stops=False):
            raise KeyboardInterrupt

    def _print(self, made: Stream | StreamGroup, *, stops: bool) -> bool:
        """Print what a terminal shows, and return whether Ctrl-C ended that."""
        from gemini_nb.notebook.render.group_settled import counts  # needed late
        from gemini_nb.notebook.render.group_table import item_words
        from gemini_nb.notebook.render.terminal import print_stream  # pages have no use for it

        if isinstance(made, Stream):
            return print_stream(made, stops=stops)
        for index, stream in enumerate(made.streams):
            print(f"--- {item_words(made, index)}")
            if print_stream(stream, stops=stops):
                return True
        print(f"({counts(made)})")
        return False

    def _must_wait(self, args: argparse.Namespace) -> bool:
        if frontend_of(self.shell) is not Frontend.LIVE:
            return True
        return bool(self._settings.wait if args.wait is None else args.wait)

    def _finish(self, args: argparse.Namespace, made: Stream | StreamGroup, view: Any) -> None:
        """Leave the answer in the output of a cell that waited, and let it fail if its one stream did."""
        if not self._must_wait(args):
            return
        if view is None and frontend_of(self.shell) is Frontend.HEADLESS:
            self._display(made)
        if isinstance(made, Stream) and made.error is not None:
            raise made.error.with_traceback(None)

    @line_magic
    def gemini_streams(self, line: str) -> None:
        """List the streams, a group in one line: `%gemini_streams`; its rows: `%gemini_streams verdicts`."""
        if not _names_in(line):
            self._print_table()
            return
        from gemini_nb.notebook.render.stream_table import rows_table  # few cells need it

        for made in [made for name in _names_in(line) for made in self.find(name)]:
            group = StreamGroup([made]) if isinstance(made, Stream) else made
            print(rows_table(group))

    @line_magic
    def gemini_dashboard(self, line: str) -> None:
        """Show all streams, live: `%gemini_dashboard`."""
        self._no_arguments(line)
        if frontend_of(self.shell) in {Frontend.TERMINAL, Frontend.HEADLESS}:
            self._print_table()
            return
        from gemini_nb.notebook.dashboard.dashboard import dashboard  # see _show

        display(dashboard(self.manager))

    @line_magic
    def gemini_stop(self, line: str) -> None:
        """Stop streams: `%gemini_stop`, all of them, or `%gemini_stop trip s3`; says what it stopped."""
        for run in self._runs(line):
            run.stop()
        streams = list(dict.fromkeys(self._streams(line)))
        active = [stream for stream in streams if not stream.is_done]
        stop_together(active)
        from gemini_nb.notebook.render.figures import stopped_words  # few cells need it

        print(stopped_words(streams, active))

    @line_magic
    def gemini_wait(self, line: str) -> None:
        """Wait for streams: `%gemini_wait`, all, or `%gemini_wait trip`. Ctrl-C ends the wait only."""
        runs, streams = self._runs(line), self._streams(line)
        try:
            for stream in streams:
                stream.wait_only()
            for run in runs:  # of many rows some are still to start
                StreamGroup(run, runtime=self.manager.runtime).wait_only()
        except KeyboardInterrupt:
            raise _wait_ended(streams) from None

    async def wait_cell(self, line: str) -> None:
        """`%gemini_wait` as a coroutine, which keeps the kernel's loop free for buttons and async tools."""
        runs, streams = self._runs(line), self._streams(line)
        try:
            for stream in streams:
                await stream.wait_only_async()
            for run in runs:
                await StreamGroup(run, runtime=self.manager.runtime).wait_only_async()
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise _wait_ended(streams) from None

    @line_magic
    def gemini_show(self, line: str) -> None:
        """Print a stream again: `%gemini_show trip`, also an old one by its id in `%gemini_history`."""
        names = _names_in(line)
        if not names:
            raise UsageError("Which stream? For example %gemini_show trip; %gemini_streams lists them.")
        for name in names:
            try:
                found = self.find(name)
            except UsageError:
                if name in self.shell.user_ns or (entry := entry_of(name)) is None:
                    raise
                show_entry(self.shell, entry)
            else:
                for made in found:
                    self._display(made)

    def _print_table(self) -> None:
        from gemini_nb.notebook.render.stream_table import table  # few cells need it

        name_streams(self.shell.user_ns)
        print(table(self.manager))

    def _streams(self, line: str) -> list[Stream]:
        """The streams of these names; those that run where there is no name, or "all"."""
        name_streams(self.shell.user_ns)  # those of this cell, too
        names = _names_in(line)
        if names in ([], ["all"]):
            return self.manager.list_streams()
        return [stream for name in names for made in self.find(name) for stream in streams_of(made)]

    def _runs(self, line: str) -> list[Run]:
        """The rows of groups of these names; of those that run where there is no name, or "all"."""
        names = _names_in(line)
        if names in ([], ["all"]):
            return [run for run in self.manager.groups if isinstance(run, Run)]
        made = [made for name in names for made in self.find(name)]
        return [one.run for one in made if isinstance(one, StreamGroup)]

    def find(self, name: str) -> list[Stream | StreamGroup]:
        """What a name stands for, a stream, a group or a list of these, one of them (`rows[0]`), or an id."""
        value = self._value_of(name)
        found = list(value) if isinstance(value, (list, tuple)) else [value]
        if found and all(isinstance(one, (Stream, StreamGroup)) for one in found):
            return found
        listed = self.manager.list_streams(all=True)
        if entered := [stream for stream in listed if stream.entry_id == name]:
            return list(entered)
        try:
            return [self.manager.get_stream(name)]
        except StreamNotFoundError as error:
            if name in self.shell.user_ns:
                kind = type(value).__name__
                raise UsageError(f"{name!r} is of type {kind}, not a stream or a list of streams.") from None
            raise UsageError(f"{error} {did_you_mean(name, self._names_of_streams(name))}".rstrip()) from None

    def _value_of(self, name: str) -> Any:
        value = self.shell.user_ns.get(name)
        if (place := _PLACE.fullmatch(name)) is None:
            return value
        several = self.shell.user_ns.get(place[1])
        is_one = isinstance(several, (list, tuple, StreamGroup)) and int(place[2]) < len(several)
        return several[int(place[2])] if is_one else value

    def _names_of_streams(self, unknown: str) -> list[str]:
        """Everything else that names a stream after a magic: names in the notebook, and ids."""
        names = [one for one, value in self.shell.user_ns.items() if isinstance(value, (Stream, StreamGroup))]
        names += [] if unknown == "all" else ["all"]
        return [*names, *(stream.stream_id for stream in self.manager.list_streams(all=True))]

    def _no_arguments(self, line: str) -> None:
        if line.strip():
            raise UsageError(f"This magic takes no arguments, not {line.strip()!r}.")


def _names_in(line: str) -> list[str]:
    return [python_name(name.strip("'\"")) for name in line.replace(",", " ").split()]


def _wait_ended(streams: Sequence[Stream]) -> StreamInterrupted:
    """Return the error of an interrupt that ended a wait and stopped nothing."""
    ended = sum(stream.is_done for stream in streams)
    return interrupting([stream.label for stream in streams], ended, stopped=False)
