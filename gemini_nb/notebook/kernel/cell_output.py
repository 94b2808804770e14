"""The output of one run of a cell, which can still be sent to after the cell has ended.

`print` in a thread goes to whichever cell runs, and into its `%%capture`. So the messages are made by hand,
with the header of the request that ran the cell. A page drops them once that cell ran again, was cut, or was
loaded anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.kernel.routing import captured
from gemini_nb.notebook.kernel.sent import SentOutputs
from gemini_nb.tools.output import Display, Target, enter_target

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

    from gemini_nb.streams.runtime.runtime import Runtime

_TAKEN = 1.0  # seconds in which a page says that it has taken an update
_JOINED = 0.05  # seconds of prints that go in one message; `print` makes several writes


class CellOutput(Target):
    """The target of what a cell's subscribers print and display.

    Args:
        shell: the kernel's shell.
        header: that of the request that runs the cell.
        runtime: has the loop that sends joined prints after a while.
        sent: knows what stands in the cell.
    """

    def __init__(self, shell: Any, header: Mapping[str, Any], runtime: Runtime, sent: SentOutputs) -> None:
        super().__init__()
        self._sent = sent
        self._kernel = shell.kernel
        self._header = header
        self._runtime = runtime
        self._lock = threading.Lock()
        self._pieces: list[tuple[str, str]] = []
        self._planned = False
        # A cell that captures its output captures this, too.
        self._buffers = {name: captured(getattr(sys, name)) for name in ("stdout", "stderr")}
        if (outputs := getattr(shell.display_pub, "outputs", None)) is not None:
            self.capture(outputs)

    def is_of(self, request: str | None) -> bool:
        """Whether it is the output of this run of a cell."""
        return bool(self._header.get("msg_id") == request)

    def put(self, name: str, text: str) -> None:
        """Print in the cell."""
        buffer = self._buffers[name]
        if buffer is not None:
            with contextlib.suppress(ValueError):  # a file that was closed with its `with`
                buffer.write(text)
                return
        with self._lock:
            self._pieces.append((name, text))
            plan, self._planned = not self._planned, True
        if self._runtime.closed:
            self.flush()
        elif plan:
            self._runtime.loop.call(self._plan)

    def show(self, shown: Display) -> bool:
        """Display in the cell."""
        self._send("update_display_data" if shown.update else "display_data", _content(shown))
        return True

    def settle(
        self,
        data: Mapping[str, Any],
        display_id: str,
        *beside: str,
        is_done: Callable[[], bool] | None = None,
    ) -> None:
        """Replace a display, and those beside it, also on a page that forgot it because the cell was moved.

        Where they stand alone, the cell is cleared and filled anew, which such a page takes. The
        update is for pages that take nothing else of a cell that has ended. The others must not render the
        answer twice, so that the new display has an id of its own. Clearing scrolls a page whose cell is
        among the last, so that it is left out where the update was enough.

        Args:
            data: the bundle that takes their place.
            display_id: of the display.
            beside: ids of displays that go with it.
            is_done: whether no page shows what stood there any more; None where that is not known.
        """
        settled = Display(data, {}, {"display_id": display_id}, update=True)
        if self.captures:
            self.display(settled)
            return
        content = _content(settled)
        anew = f"{display_id}-settled"

        def send() -> None:
            """Send on the one thread that all output passes through, so that none comes in between."""
            if self._sent.holds_only(self._header["msg_id"], {display_id, anew, *beside}):
                self._post("clear_output", {"wait": True})
                self._post("display_data", {**content, "transient": {"display_id": anew}})
            self._post("update_display_data", content)

        def send_if_needed() -> None:
            if is_done is None or not is_done():
                self._kernel.iopub_thread.schedule(send)

        self.flush()
        if is_done is None or self._runtime.closed:
            self._kernel.iopub_thread.schedule(send)
            return
        self._kernel.iopub_thread.schedule(lambda: self._post("update_display_data", content))
        self._runtime.loop.call(lambda: asyncio.get_running_loop().call_later(_TAKEN, send_if_needed))

    def wipe(self, *, wait: bool) -> None:
        """Clear the cell's output."""
        self._send("clear_output", {"wait": wait})

    def flush(self) -> None:
        """Send what was printed."""
        with self._lock:
            self._flush()

    def _plan(self) -> None:
        asyncio.get_running_loop().call_later(_JOINED, self.flush)

    def _flush(self) -> None:
        pieces, self._pieces, self._planned = self._pieces, [], False
        for name, group in itertools.groupby(pieces, key=lambda piece: piece[0]):
            self._post("stream", {"name": name, "text": "".join(text for _, text in group)})

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        with self._lock:
            self._flush()
            self._post(kind, content)

    def _post(self, kind: str, content: dict[str, Any]) -> None:
        kernel = self._kernel
        parent = {"header": self._header}
        kernel.session.send(kernel.iopub_socket, kind, content, parent=parent, ident=kind.encode())


class CellDisplay:
    """A display in the cell that runs, which is replaced when what it shows has ended.

    Args:
        handle: of the display.
        target: the cell's output, None where there is no kernel.
        *beside: the ids of displays in the same cell that go when this one is replaced.
    """

    def __init__(self, handle: DisplayHandle, target: Target | None, *beside: str) -> None:
        self._handle = handle
        self._beside = beside
        self._target = target
        self._context = contextvars.copy_context()
        self._context.run(enter_target, target)

    def replace(self, bundle: dict[str, str], is_done: Callable[[], bool] | None = None) -> None:
        """Show this in its place. From any thread.

        Args:
            bundle: what to show.
            is_done: as in `CellOutput.settle`.
        """
        if isinstance(self._target, CellOutput):
            self._target.settle(bundle, self._handle.display_id, *self._beside, is_done=is_done)
        else:
            self._context.run(self._handle.update, bundle, raw=True)

    def update(self, bundle: dict[str, str]) -> None:
        """Show this in the same display, which may change again. From any thread."""
        if isinstance(self._target, CellOutput):
            self._target.show(Display(bundle, {}, {"display_id": self._handle.display_id}, update=True))
        else:
            self._context.run(self._handle.update, bundle, raw=True)


def _content(shown: Display) -> dict[str, Any]:
    from ipykernel import jsonutil

    form: Any = jsonutil  # untyped
    cleaned: dict[str, Any] = form.json_clean(
        {
            "data": form.encode_images(dict(shown.data)),
            "metadata": shown.metadata,
            "transient": shown.transient,
        }
    )
    return cleaned


def cell_output(shell: Any, runtime: Runtime, sent: SentOutputs) -> CellOutput | None:
    """Return the output of the running cell; None without a kernel or a request."""
    kernel = getattr(shell, "kernel", None)
    parent = kernel.get_parent("shell") if kernel is not None else None
    header = parent.get("header") if isinstance(parent, dict) else None
    return CellOutput(shell, header, runtime, sent) if header else None
