"""What the journal's tests share: a stream as plain values, a journal in a folder, programs beside this."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gemini_nb.api.usage import Usage
from gemini_nb.journal.entries import Journal
from gemini_nb.journal.source import Asked, Figures, Texts
from gemini_nb.journal.store import Store
from gemini_nb.journal.writer import Writer

__all__ = ["Told", "another", "opened", "program"]

_USAGE = Usage(prompt_token_count=5, candidates_token_count=7, total_token_count=12)
_numbers = itertools.count(1)


@dataclass
class Told:
    """A stream as the writer is told of it, whose text a test adds to."""

    prompt: str = "Why is the sky blue?"
    answer: str = ""
    status: str = "active"
    sent: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    looked_at: int = 0
    error: str | None = None
    uid: str = ""
    known: Figures = field(
        default_factory=lambda: Figures(
            stream_id=f"s{next(_numbers)}",
            model="gemini-3.8-flash",
            auth="gemini",
            status="active",
            started_at=time.time(),
            usage=_USAGE,
            spent=_USAGE,
        )
    )

    def __post_init__(self) -> None:
        self.uid = self.uid or f"{self.known.stream_id}-{secrets.token_hex(4)}"

    @property
    def is_done(self) -> bool:
        return self.status != "active"

    @property
    def version(self) -> int | None:
        return len(self.answer) + self.is_done

    def text(self) -> str:
        return self.answer

    def figures(self) -> Figures:
        return replace(self.known, status=self.status)

    def asked(self) -> Asked:
        self.looked_at += 1
        return Asked(prompt=self.prompt, details=self.sent)

    def texts(self) -> Texts:
        return Texts(error=self.error, details=self.details)

    def ended(self, answer: str = "Because of Rayleigh.", status: str = "completed") -> Told:
        self.answer, self.status = answer, status
        return self


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[tuple[Writer, Journal]]:
    """A journal of this process, closed at the end, as another process would find it."""
    writer = Writer(Store(path), **options)
    try:
        yield writer, Journal(writer)
    finally:
        writer.close()
        writer._due.clear()  # of a file that cannot be written: later tests would hear of it


def another(writer: Writer, *answers: str) -> None:
    """One whole stream for each answer."""
    for answer in answers:
        told = Told()
        writer.add(told)
        writer.add(told.ended(answer))


def program(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Another Python process, which has these tests' helpers."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-W", _FORKS, "-c", _BEGIN + code, str(Path(__file__).parent), *map(str, arguments)],
        text=True,
        **{**pipes, **options},
    )


_FORKS = "ignore:This process:DeprecationWarning"  # of Python 3.12 and newer: beside threads

_BEGIN = """
import sys, os, time, threading
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
from journal_rig import *
"""
