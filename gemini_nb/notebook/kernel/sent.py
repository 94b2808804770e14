"""What stands beneath each cell, known from the messages that the kernel has sent.

A page whose cell was moved has forgotten the ids of its displays, but not the request that ran the cell. Such
a cell can only be cleared and filled anew, which takes all of its output. So what else stands there must be
known, and only the messages that were sent say so.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from gemini_nb.notebook.kernel.frontend import request_id
from gemini_nb.tools.output import Undo, replace

_RUNS = 2_000  # the last ones, of which something is known
_ENOUGH = 64  # messages of one run that are looked at; one with more has other things than a display
_OUTPUTS = {"stream", "display_data", "execute_result", "error", "input_request", "clear_output"}


class SentOutputs:
    """The outputs that each run of a cell has sent, from load to unload.

    It has no lock, as a forked child sends, too: each step is atomic by itself.
    """

    def __init__(self) -> None:
        self._runs: dict[str, list[str]] = {}
        self._watches = False

    def watch(self, shell: Any) -> Undo:
        """Watch what this shell's kernel sends; returns the undo."""
        kernel = getattr(shell, "kernel", None)
        if kernel is None:
            return lambda: None
        from jupyter_client.session import Session

        session, send = kernel.session, Session.send

        @functools.wraps(send)
        def send_watched(
            this: Any,
            stream: Any,
            message: Any,
            content: Any = None,
            parent: Any = None,
            *rest: Any,
            **more: Any,
        ) -> Any:
            if this is session:
                if isinstance(message, Mapping):
                    self.note(message["header"]["msg_type"], message["content"], message["parent_header"])
                else:
                    self.note(message, content, parent)
            return send(this, stream, message, content, parent, *rest, **more)

        self._watches = True
        self._append(request_id(shell), "unknown")  # what this very cell has sent before
        undo = replace(Session, "send", send_watched)

        def end() -> None:
            self._watches = False
            undo()

        return end

    def note(self, kind: str, content: Any, parent: Any) -> None:
        """Note a message."""
        if kind == "comm_msg":
            # An Output widget that takes the output of this run from here on.
            state = content["data"].get("state") if isinstance(content.get("data"), Mapping) else None
            self._append(state.get("msg_id") if isinstance(state, Mapping) else None, kind)
        elif kind in _OUTPUTS or _opens_pager(kind, content):
            header = parent.get("header", parent) if parent else {}
            if kind == "display_data":
                kind = f"#{(content.get('transient') or {}).get('display_id')}"
            elif kind == "clear_output" and content.get("wait"):
                kind = "clear_later"
            self._append(header.get("msg_id"), kind)

    def holds_only(self, request: str, display_ids: set[str]) -> bool:
        """Whether displays of these ids are all that stands beneath the cell of this run."""
        sent = self._runs.get(request, ())
        standing: list[str] = []
        clears = False
        for kind in list(sent):
            if kind == "clear_later":
                clears = True
                continue
            if clears or kind == "clear_output":
                standing, clears = [], False
            if kind != "clear_output":
                standing.append(kind)
        known = len(sent) < _ENOUGH and self._watches
        return known and bool(standing) and {*standing} <= {f"#{one}" for one in display_ids}

    def _append(self, request: object, kind: str) -> None:
        if not isinstance(request, str) or not request:
            return
        sent = self._runs.setdefault(request, [])
        if len(sent) < _ENOUGH:
            sent.append(kind)
        if len(self._runs) > _RUNS:
            for old in list(self._runs)[:-_RUNS]:
                self._runs.pop(old, None)


def _opens_pager(kind: str, content: Any) -> bool:
    if kind != "execute_reply":
        return False
    return any(page.get("source") == "page" for page in content.get("payload") or ())
