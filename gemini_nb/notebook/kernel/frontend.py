"""What kind of front end runs the cells: a live notebook, a headless run, a terminal."""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import Any


class Frontend(Enum):
    """Who shows the output of a cell, and when."""

    LIVE = "a page that shows widgets while they change"
    HEADLESS = "a run that keeps what a cell has sent when it ends"
    WAITING = "a page that shows widgets, but only while the cell runs"
    TERMINAL = "a terminal"


def frontend_of(shell: Any) -> Frontend:
    """Return the front end of a shell.

    nbclient, nbconvert and papermill say with each request that no question can be answered (`allow_stdin`);
    an interactive front end says the opposite.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return Frontend.TERMINAL
    if not _request(shell).get("content", {}).get("allow_stdin", True):
        return Frontend.HEADLESS
    if "google.colab" in sys.modules:
        return Frontend.WAITING
    return Frontend.LIVE


def cell_id(shell: Any) -> str | None:
    """The id of the cell that is running, where the front end names it."""
    found = _request(shell).get("metadata", {}).get("cellId")
    return found if isinstance(found, str) else None


def notebook_path(shell: Any) -> str | None:
    """The path of the notebook, if the server or the front end names it."""
    found = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    return found if isinstance(found, str) else None


def request_id(shell: Any) -> str | None:
    """The id of the request that runs the cell; a cell that runs again has another."""
    found = _request(shell).get("header", {}).get("msg_id")
    return found if isinstance(found, str) else None


def deleted_cells(shell: Any) -> list[str]:
    """The ids of cells that were deleted since the last request."""
    found = _request(shell).get("metadata", {}).get("deletedCells")
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _request(shell: Any) -> dict[str, Any]:
    kernel = getattr(shell, "kernel", None)
    parent = kernel.get_parent("shell") if kernel is not None else None
    return parent if isinstance(parent, dict) else {}
