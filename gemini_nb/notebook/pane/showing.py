"""Showing streams in a cell: live while they run, as what stays of them once they have ended.

In a notebook that runs as a whole, `%gemini_show poem` and a cell whose value is `poem` come long before the
answer. What has arrived by then, often nothing, would stay in the file. So a running stream is shown as a
pane there, too, which becomes the whole answer; without a page, the cell waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import display

from gemini_nb.notebook.kernel.cells import is_running
from gemini_nb.notebook.kernel.frontend import Frontend, frontend_of, request_id
from gemini_nb.streams.group.group import StreamGroup
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.output import current_target


def streams_of(made: Stream | StreamGroup) -> Sequence[Stream]:
    """The streams of a stream or a group that are there."""
    return (made,) if isinstance(made, Stream) else made.started


def show_view(view: Any) -> None:
    """Display a live view, which becomes Markdown once its streams have ended."""
    handle = display(view, display_id=True)
    view.settle_into(handle)


def show(shell: Any, made: Stream | StreamGroup) -> None:
    """Show streams in the running cell: at once, or as soon as they have ended."""
    if is_running(made) and frontend_of(shell) is Frontend.LIVE:
        from gemini_nb.notebook.pane.group_view import view_of  # headless runs need no widgets

        show_view(view_of(made))
        return
    from gemini_nb.notebook.render.group_settled import bundle_of  # needed late

    made.wait_only()
    display(bundle_of(made), raw=True)


def displayer(shell: Any) -> property:
    """Return the `_ipython_display_` of streams and groups.

    There is none for those that ended: their representations say it all, also to a `DisplayHandle`.
    """
    shown: list[tuple[str | None, Stream | StreamGroup]] = []

    def find(made: Stream | StreamGroup) -> Callable[[], None] | None:
        if frontend_of(shell) is Frontend.TERMINAL or current_target() is not None or not is_running(made):
            return None
        return lambda: show_once(made)

    def show_once(made: Stream | StreamGroup) -> None:
        """Display a stream once per run of a cell: a loop that displays it again has its pane already."""
        request = request_id(shell)
        shown[:] = [(other, known) for other, known in shown if other == request]
        if all(known is not made for _, known in shown):
            shown.append((request, made))
            show(shell, made)

    return property(find)
