"""Ask the questions of `input()` one at a time, each until its call ends.

A kernel has one socket for answers, and reads it in the thread that asks. Two tools that ask at once mix
their messages, and a tool whose call was given up waits in its thread for ever and takes the answer to the
user's next question. A plain lock is no better: an unanswered question of a cell that has ended would block
the question of the cell that runs.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from gemini_nb.tools.output import Undo, current_target
from gemini_nb.tools.report import Report

_LOOK = 0.05  # seconds between checks for an answer and for the end of the call that asked


def ask_in_turn(shell: Any) -> Undo:
    """Let the kernel's questions wait for each other; return the function that ends it."""
    kernel = getattr(shell, "kernel", None)
    original = getattr(kernel, "_input_request", None)
    if kernel is None or original is None:
        return lambda: None
    turns = _Turns(kernel)

    def ask(prompt: str, ident: Any, parent: Any, password: bool = False) -> Any:
        report = current_target()
        if isinstance(report, Report):
            question = _Question(_request(parent), report)
            with turns.turn(question):
                return _answer(turns, question, prompt, ident, parent, password=password)
        is_cell = threading.current_thread() is threading.main_thread()
        own = _Question(_request(parent), None)
        with turns.turn(own) if is_cell else contextlib.nullcontext():
            return original(prompt, ident, parent, password=password)

    kernel._input_request = ask  # noqa: SLF001 - `input` and `getpass` both end there, in all ipykernels
    shell.events.register("pre_execute", turns.begin_cell)

    def undo() -> None:
        shell.events.unregister("pre_execute", turns.begin_cell)
        if vars(kernel).get("_input_request") is ask:
            del kernel._input_request  # noqa: SLF001 - see above

    return undo


class _Question(NamedTuple):
    """Who asks: the request of its cell, and the report of the call, None for the cell's own code."""

    request: str
    report: Report | None

    def check(self) -> None:
        """Raise where the call that asks was given up.

        Raises:
            EOFError: it was.
        """
        if self.report is not None and self.report.closed:
            raise EOFError("The call ended before the question was answered.")


class _Turns:
    """Who asks, and who waits for it: what the running cell asks goes before what ended ones ask.

    Attributes:
        kernel: the one that asks.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self._running = _request(kernel.get_parent("shell"))
        self._changed = threading.Condition()
        self._asks: _Question | None = None
        self._waiting: list[_Question] = []

    def begin_cell(self) -> None:
        """Note which cell runs."""
        if threading.current_thread() is threading.main_thread():
            self._running = _request(self.kernel.get_parent("shell"))

    @contextlib.contextmanager
    def turn(self, question: _Question) -> Iterator[None]:
        """Wait until this question may be asked; others wait while it is.

        Raises:
            EOFError: the call that asks was given up meanwhile.
        """
        try:
            self._wait(question)
            yield
        finally:  # also where an interrupt came between the two
            with self._changed:
                if self._asks is question:
                    self._asks = None
                    self._changed.notify_all()

    def _wait(self, question: _Question) -> None:
        with self._changed:
            self._waiting.append(question)
            try:
                while self._asks is not None or self.is_passed(question):
                    question.check()
                    self._changed.wait(_LOOK)
                question.check()
                self._asks = question
            finally:
                self._waiting.remove(question)

    def is_passed(self, question: _Question) -> bool:
        """Whether the cell of a tool's question has ended, and the one that runs wants to ask."""
        if question.report is None or question.request == self._running:
            return False
        waiting = tuple(self._waiting)
        return any(other.report is None or other.request == self._running for other in waiting)


def _answer(
    turns: _Turns, question: _Question, prompt: str, ident: Any, parent: Any, *, password: bool
) -> str:
    """Ask for a tool; as ipykernel does, but until its call has ended or its question has to make way.

    Raises:
        EOFError: one of these happened, or the user sent an end of file.
    """
    socket, session = turns.kernel.stdin_socket, turns.kernel.session
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    while socket.poll(0):  # what answers a question that was given up
        socket.recv_multipart()
    content = {"prompt": prompt, "password": password}
    session.send(socket, "input_request", content, parent, ident=ident)
    while True:
        if socket.poll(_LOOK * 1000) and (reply := _receive(turns.kernel)) is not None:
            return _value(reply)
        question.check()
        if turns.is_passed(question):
            raise EOFError("The cell of this question has ended, and a later one asked.")


def _receive(kernel: Any) -> Any:
    """Return the message that is there, None for one that does not fit the protocol."""
    try:
        return kernel.session.recv(kernel.stdin_socket)[1]
    except Exception:
        kernel.log.warning("An answer to a question does not fit the protocol.", exc_info=True)
        return None


def _value(reply: Any) -> str:
    """Return what was typed, nothing where the message does not say.

    Raises:
        EOFError: it was Ctrl-D.
    """
    content = reply.get("content")
    value = str(content.get("value", "")) if isinstance(content, dict) else ""
    if value == "\x04":
        raise EOFError
    return value


def _request(parent: Any) -> str:
    """Return the id of a request, "" where there is none."""
    return str(((parent or {}).get("header") or {}).get("msg_id", ""))
