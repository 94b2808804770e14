"""Questions that code asks with `input()`: one at a time, and no longer than somebody waits for the answer.

A kernel has one socket for answers, and reads it in the thread that asks. Two tools that ask at once mix
their messages, and one that was given up, but waits in its thread for ever, takes the answer to the next
question of the user's own.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from gemini_nb.tools.output import Undo, current_target
from gemini_nb.tools.report import Report

__all__ = ["ask_in_turn"]

_LOOK = 0.05  # seconds between two looks whether an answer is there, or nobody waits any more


def ask_in_turn(shell: Any) -> Undo:
    """Let the kernel's questions wait for each other; return the function that ends it."""
    kernel = getattr(shell, "kernel", None)
    original = getattr(kernel, "_input_request", None)
    if kernel is None or original is None:
        return lambda: None
    lock = threading.Lock()

    def ask(prompt: str, ident: Any, parent: Any, password: bool = False) -> Any:
        report = current_target()
        if not isinstance(report, Report):
            is_cell = threading.current_thread() is threading.main_thread()
            with lock if is_cell else contextlib.nullcontext():
                return original(prompt, ident, parent, password=password)
        while not lock.acquire(timeout=_LOOK):
            _check(report)
        try:
            _check(report)
            return _answer(kernel, prompt, ident, parent, password=password, report=report)
        finally:
            lock.release()

    kernel._input_request = ask  # noqa: SLF001 - `input` and `getpass` both end there, in all ipykernels

    def undo() -> None:
        if vars(kernel).get("_input_request") is ask:
            del kernel._input_request  # noqa: SLF001 - see above

    return undo


def _answer(kernel: Any, prompt: str, ident: Any, parent: Any, *, password: bool, report: Report) -> str:
    """Ask for a tool; as ipykernel does, but until its call has ended."""
    socket, session = kernel.stdin_socket, kernel.session
    while socket.poll(0):  # what answers a question that was given up
        socket.recv_multipart()
    content = {"prompt": prompt, "password": password}
    session.send(socket, "input_request", content, parent, ident=ident)
    while True:
        if socket.poll(_LOOK * 1000):
            _, reply = session.recv(socket)
            if reply is not None:
                return str(reply["content"]["value"])
        _check(report)


def _check(report: Report) -> None:
    """Raise where the call that asks was given up.

    Raises:
        EOFError: it was.
    """
    if report.closed:
        raise EOFError("The call ended before the question was answered.")
