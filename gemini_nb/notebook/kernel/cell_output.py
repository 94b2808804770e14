"""The output of one run of a cell, to which what belongs to it can be sent after it has ended.

`print` in a thread goes to whichever cell runs, and into its `%%capture`. So the messages are made by hand,
with the header of the request that ran the cell. A page drops them once that cell ran again, was cut, or was
loaded anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gemini_nb.notebook.kernel.routing import captured
from gemini_nb.tools.output import Target

if TYPE_CHECKING:
    from gemini_nb.streams.runtime.runtime import Runtime

__all__ = ["CellOutput", "cell_output"]

_JOINED = 0.05  # seconds of prints that go in one message; `print` makes several writes


class CellOutput(Target):
    """Where a subscriber prints.

    Args:
        shell: the kernel's shell.
        header: that of the request that runs the cell.
        runtime: has the loop that sends joined prints after a while.
    """

    def __init__(self, shell: Any, header: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__()
        self._kernel = shell.kernel
        self._header = header
        self._runtime = runtime
        self._lock = threading.Lock()
        self._pieces: list[tuple[str, str]] = []
        self._planned = False
        # A cell that captures its output captures this, too.
        self._buffers = {name: captured(getattr(sys, name)) for name in ("stdout", "stderr")}
        self._outputs = getattr(shell.display_pub, "outputs", None)

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

    def show(
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any],
        transient: Mapping[str, Any],
        *,
        update: bool,
    ) -> bool:
        """Display in the cell."""
        from ipykernel import jsonutil  # only kernels have it

        if self._outputs is not None:
            self._outputs.append(
                {"data": data, "metadata": metadata, "transient": transient, "update": update}
            )
            return True
        form: Any = jsonutil  # untyped
        content = {"data": form.encode_images(dict(data)), "metadata": metadata, "transient": transient}
        self._send("update_display_data" if update else "display_data", form.json_clean(content))
        return True

    def wipe(self, *, wait: bool) -> None:
        """Clear the cell's output."""
        if self._outputs is not None:
            self._outputs.clear()
        else:
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


def cell_output(shell: Any, runtime: Runtime) -> CellOutput | None:
    """Return the output of the cell that runs; None where there is no kernel, or it says of no request."""
    kernel = getattr(shell, "kernel", None)
    parent = kernel.get_parent("shell") if kernel is not None else None
    header = parent.get("header") if isinstance(parent, dict) else None
    return CellOutput(shell, header, runtime) if header else None
