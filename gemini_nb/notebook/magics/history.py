"""`%gemini_history` and `%gemini_usage`: what the journal has, also of kernels that are gone."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument
from IPython.display import display

from gemini_nb.config import choose_keep
from gemini_nb.errors import ConfigError, GeminiError, StreamNotFoundError
from gemini_nb.journal.entries import Entry, Journal
from gemini_nb.journal.kept.keep_file import KeepFile
from gemini_nb.notebook.kernel.frontend import Frontend, frontend_of
from gemini_nb.notebook.magics.arguments import parse_plain, with_arguments
from gemini_nb.notebook.render.words import quantity
from gemini_nb.streams.manager import get_manager, journal


@magics_class
class HistoryMagics(Magics):
    """The magics that read the journal."""

    @with_arguments(
        argument("-n", type=int, default=20, metavar="N", help="how many at most (20)"),
        argument("--notebook", metavar="NAME", help="only those of this notebook"),
        argument("--clear", action="store_true", help="delete all, or those of --notebook, from the journal"),
        argument("--keep", nargs="?", const="on", metavar="FILE", help="a file of kept answers instead"),
        argument("--files", action="store_true", help="what is uploaded, its size, and when it expires"),
        argument("text", nargs="*", metavar="TEXT", help="only those whose prompt or answer has this in it"),
    )
    @line_magic
    def gemini_history(self, line: str) -> None:
        """List the streams of this and of earlier kernels, the newest last; `%gemini_show ID` prints one.

        `gemini_nb.journal().to_frame()` gives them as a DataFrame.
        """
        args = parse_plain(self.gemini_history, line)
        if args.clear and args.text:
            raise UsageError("--clear takes no text; --notebook NAME clears those of one notebook.")
        if args.n < 1:
            raise UsageError("-n is at least 1.")
        if args.keep is not None:
            if args.notebook:
                raise UsageError("A file of kept answers does not know the notebook; leave --notebook out.")
            print(_of_kept(args))
            return
        if args.files:
            if args.clear or args.notebook or args.text:
                raise UsageError("--files stands alone; gemini_nb.File(path).delete() deletes an upload.")
            print(_of_uploads())
            return
        with _journal() as kept:
            if args.clear:
                print(f"Deleted {kept.clear(args.notebook):,} from {kept.path}.")
                return
            entries = kept.streams(args.n, args.notebook, text=_text(args))
        from gemini_nb.notebook.render.history import history_table  # few cells need it

        print(history_table(entries[::-1]) if entries else f"{kept.path} has no such entry.")

    @with_arguments(argument("--by", choices=["model", "day", "notebook"], help="what to sum by"))
    @line_magic
    def gemini_usage(self, line: str) -> None:
        """Sum up tokens and prices: of this kernel, today, this month, or by model, day or notebook.

        `gemini_nb.journal().usage("day")` gives them as a list.
        """
        args = parse_plain(self.gemini_usage, line)
        now = time.localtime()
        with _journal() as kept:
            groups = [
                ("this kernel", kept.usage(None, kernel=True)),
                ("today", kept.usage(None, since=time.strftime("%Y-%m-%d", now))),
                ("this month", kept.usage(None, since=time.strftime("%Y-%m-01", now))),
                ("all", kept.usage(None)),
                *([(f"unknown {args.by}", kept.usage(args.by))] if args.by else []),
            ]
        from gemini_nb.notebook.render.history import usage_table  # few cells need it

        print(usage_table(groups))


def _text(args: argparse.Namespace) -> str | None:
    return " ".join(args.text) or None


def _of_uploads() -> str:
    with _journal() as kept:
        uploads, path = kept.uploads(), kept.path
    from gemini_nb.notebook.render.history import uploads_table  # few cells need it

    return uploads_table(uploads) if uploads else f"{path} knows of no file that is uploaded now."


def _of_kept(args: argparse.Namespace) -> str:
    """The answers of a file as a table, or that they were deleted."""
    try:
        path = choose_keep(args.keep, get_manager().runtime.settings)
        file = KeepFile(path or args.keep, read_only=True)
        if args.clear:
            return f"Deleted {quantity(file.clear(), 'kept answer')} from {file.path}."
        text = (_text(args) or "").lower()
        records = [
            record
            for record in file.records()
            if text in f"{record.prompt}\n{''.join(data for _, data in record.chunks)}".lower()
        ][-args.n :]
    except (GeminiError, OSError) as error:
        raise UsageError(str(error)) from None
    warnings = "".join(f"\n{warning}" for warning in file.take_warnings())
    if not records:
        return f"{file.path} has no such answer.{warnings}"
    from gemini_nb.notebook.render.history import kept_table  # few cells need it

    return kept_table(records) + warnings


@contextlib.contextmanager
def _journal() -> Iterator[Journal]:
    """The journal; where it is off or cannot be read, one line says so."""
    try:
        yield journal()
    except ConfigError as error:
        raise UsageError(str(error)) from None


def entry_of(name: str) -> Entry | None:
    """The journal's entry of this id; None where it has none, or cannot be read."""
    try:
        return journal().get(name)
    except (StreamNotFoundError, ConfigError):
        return None


def show_entry(shell: Any, entry: Entry) -> None:
    """Show an old stream as the front end allows."""
    from gemini_nb.notebook.render.history import entry_bundle  # few cells need it

    bundle = entry_bundle(entry)
    if frontend_of(shell) is Frontend.TERMINAL:
        print(bundle["text/plain"])
    else:
        display(bundle, raw=True)
