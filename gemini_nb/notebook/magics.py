"""The magics: `%%gemini_stream` starts a stream, the others look after those that run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

from gemini_nb.config import Auth
from gemini_nb.errors import GeminiError, StreamNotFoundError
from gemini_nb.notebook.frontend import Frontend, cell_id, deleted_cells, frontend_of
from gemini_nb.notebook.settled import mimebundle
from gemini_nb.notebook.terminal import print_stream
from gemini_nb.notebook.waiting import await_stream, stopping
from gemini_nb.streams.chat import Chat
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream

if TYPE_CHECKING:
    from gemini_nb.notebook.pane import StreamPane

__all__ = ["ASYNC_MAGIC", "GeminiMagics"]

ASYNC_MAGIC = "gemini_stream_awaited"


def _stream_arguments(function: Any) -> Any:
    options = [
        argument("-m", "--model", help="the model's id"),
        argument("-t", "--tools", default="", help="functions the model may call, separated by commas"),
        argument("-o", "--out", help="bind the stream to this name, at once"),
        argument(
            "-c", "--chat", help="go on with the Chat of this name; a new one is made where there is none"
        ),
        argument("-s", "--system", help="the system instruction"),
        argument("--auth", choices=[str(auth) for auth in Auth], help="who answers"),
        argument("--temperature", type=float, help="0 to 2"),
        argument("--max-tokens", type=int, help="tokens the answer may have"),
        argument("--thinking", action="store_true", help="show the summary of the model's thoughts"),
        argument("--search", action="store_true", help="let the model search with Google"),
        argument("--code", action="store_true", help="let the model run Python on Google's side"),
        argument("--wait", action="store_true", default=None, help="the cell ends when the answer has"),
        argument(
            "--no-wait",
            dest="wait",
            action="store_false",
            default=None,
            help="the cell ends at once (the default)",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return magic_arguments()(function)


@magics_class
class GeminiMagics(Magics):
    """`%%gemini_stream` and its companions.

    Args:
        shell: the IPython shell.
        manager: runs the streams.
    """

    shell: Any

    def __init__(self, shell: Any, manager: StreamManager) -> None:
        super().__init__(shell)
        self.manager = manager
        self._panes: dict[str, StreamPane] = {}

    @no_var_expand
    @_stream_arguments
    @cell_magic
    def gemini_stream(self, line: str, cell: str) -> None:
        """Ask Gemini; the answer streams into a pane beneath the cell, which returns at once.

        The cell is the prompt. Inside functions and other magics (`%%time`) a cell that waits blocks the
        kernel's loop while it does.
        """
        args = self._parse(line)
        stream = self._start(args, cell)
        pane = self._show(stream)
        if self._must_wait(args):
            with stopping(stream):
                stream.wait_only()
                if pane is not None:
                    pane.settled.result(timeout=5)
            self._finish(stream, pane)

    async def gemini_stream_awaited(self, line: str, cell: str) -> None:
        """The same as a coroutine, so that the kernel's loop stays free while the cell waits."""
        args = self._parse(line)
        stream = self._start(args, cell)
        pane = self._show(stream)
        if self._must_wait(args):
            await await_stream(stream, pane.settled if pane is not None else None)
            self._finish(stream, pane)

    def _parse(self, line: str) -> argparse.Namespace:
        args: argparse.Namespace = parse_argstring(self.gemini_stream, line)
        return args

    def _start(self, args: argparse.Namespace, cell: str) -> Stream:
        config: dict[str, Any] = {}
        if args.temperature is not None:
            config["temperature"] = args.temperature
        if args.max_tokens is not None:
            config["maxOutputTokens"] = args.max_tokens
        if args.thinking:
            config["thinkingConfig"] = {"includeThoughts": True}
        tools = [self._tool(name) for name in args.tools.split(",") if name.strip()]
        tools += [{"googleSearch": {}}] if args.search else []
        tools += [{"codeExecution": {}}] if args.code else []
        for name in (args.out, args.chat):
            if name is not None and not name.isidentifier():
                raise UsageError(f"{name!r} is not a name a stream or chat can have.")
        self._replace_panes()
        asked = {
            "model": args.model,
            "auth": args.auth,
            "tools": tools,
            "system_instruction": args.system,
            "generation_config": config,
        }
        options = {name: value for name, value in asked.items() if value}
        chat = self._chat(args.chat)
        start = self.manager.start_stream if chat is None else chat.send  # a chat has settings of its own
        try:
            stream = start(cell.strip("\n"), **options)
        except GeminiError as error:
            raise error.with_traceback(None) from None
        if args.out is not None:
            self.shell.user_ns[args.out] = stream
        return stream

    def _tool(self, name: str) -> Any:
        first, *attributes = name.strip().split(".")
        value = self.shell.user_ns.get(first)
        for attribute in attributes:
            value = None if attribute.startswith("_") else getattr(value, attribute, None)
        if value is None:
            raise UsageError(
                f"There is no tool {name.strip()!r}: define it in a cell that runs before this one."
            )
        if not callable(value) and not isinstance(value, dict):
            raise UsageError(f"{name.strip()!r} is a {type(value).__name__}, not a function.")
        return value

    def _chat(self, name: str | None) -> Chat | None:
        if name is None:
            return None
        chat = self.shell.user_ns.setdefault(name, Chat(manager=self.manager))
        if not isinstance(chat, Chat):
            raise UsageError(f"{name!r} is a {type(chat).__name__}, not a Chat.")
        return chat

    def _replace_panes(self) -> None:
        """A cell that runs again stops what it started before; a deleted one keeps no pane."""
        current = cell_id(self.shell)
        if (old := self._panes.pop(current or "", None)) is not None:
            old.stream.request_stop()
            old.detach()
        for deleted in deleted_cells(self.shell):
            if (gone := self._panes.pop(deleted, None)) is not None:
                gone.detach()

    def _show(self, stream: Stream) -> StreamPane | None:
        frontend = frontend_of(self.shell)
        if frontend is Frontend.TERMINAL:
            print_stream(stream)
            return None
        if frontend is Frontend.HEADLESS:
            return None
        from gemini_nb.notebook.pane import StreamPane  # noqa: PLC0415 - terminals need no widgets

        pane = StreamPane(stream)
        handle = display(pane, display_id=True)
        pane.settle_into(handle)
        if (current := cell_id(self.shell)) is not None:
            self._panes[current] = pane
        return pane

    def _must_wait(self, args: argparse.Namespace) -> bool:
        if frontend_of(self.shell) is not Frontend.LIVE:
            return True
        return bool(args.wait)

    def _finish(self, stream: Stream, pane: StreamPane | None) -> None:
        """Leave the answer in the output of a cell that waited, and let it fail if the stream did."""
        if pane is None and frontend_of(self.shell) is Frontend.HEADLESS:
            display(mimebundle(stream), raw=True)
        if stream.error is not None:
            raise stream.error.with_traceback(None)

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
        for stream in self._streams(line):
            if frontend_of(self.shell) is Frontend.TERMINAL:
                print_stream(stream)
            else:
                display(mimebundle(stream), raw=True)

    def _print_table(self) -> None:
        from gemini_nb.notebook.table import table  # noqa: PLC0415 - few cells need it

        print(table(self.manager))  # noqa: T201 - it is what the magic is for

    def _streams(self, line: str) -> list[Stream]:
        return [self._find(name) for name in line.replace(",", " ").split()]

    def _find(self, name: str) -> Stream:
        value = self.shell.user_ns.get(name)
        if isinstance(value, Stream):
            return value
        try:
            return self.manager.get_stream(name)
        except StreamNotFoundError as error:
            raise UsageError(str(error)) from None

    def _no_arguments(self, line: str) -> None:
        if line.strip():
            raise UsageError(f"This magic takes no arguments, not {line.strip()!r}.")
