"""One upload that several streams wait for, and what each of them shows of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gemini_nb.api.resources.uploads import RemoteFile
from gemini_nb.errors import GeminiError
from gemini_nb.redaction import scrub
from gemini_nb.streams.events.states import UploadStatus

if TYPE_CHECKING:
    from gemini_nb.streams.events.record import StreamRecord

_REPORT = 0.25  # seconds between two events of one upload


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job."""

    status: UploadStatus = UploadStatus.READING
    size: int | None = None
    sent: int = 0
    is_reused: bool = False
    note: str = ""


class Job:
    """One upload or look, which several streams may wait for. Loop thread only."""

    def __init__(self, work: Callable[[Job], Awaitable[RemoteFile]], forget: Callable[[], object]) -> None:
        self.now = Progress()
        self._listeners: list[Callable[[Progress], object]] = []
        self._forget = forget
        self._task = asyncio.ensure_future(work(self))
        self._task.add_done_callback(self._end)

    def report(self, **facts: Any) -> None:
        """Report new facts to every stream that waits."""
        self.now = replace(self.now, **facts)
        for listener in self._listeners:
            listener(self.now)

    def report_sent(self, sent: int, note: str) -> None:
        """Report how many bytes were sent."""
        self.report(status=UploadStatus.UPLOADING, sent=sent, note=note)

    async def wait(self, listener: Callable[[Progress], object]) -> RemoteFile:
        """Wait for its end. When the last stream that waits has gone, cancel it."""
        self._listeners.append(listener)
        listener(self.now)
        try:
            return await asyncio.shield(self._task)
        except GeminiError as error:
            failure = copy.copy(error)  # several may wait, and each adds to its own
        finally:
            self._listeners.remove(listener)
            if not self._listeners and not self._task.done():
                self._forget()
                self._task.cancel()
        raise failure

    def _end(self, task: asyncio.Future[RemoteFile]) -> None:
        self._forget()
        if not task.cancelled():
            task.exception()  # those that waited, if any, have raised it


class ShownUpload:
    """One file in a stream's events. A name that is ready at once is not shown."""

    def __init__(self, record: StreamRecord, name: str) -> None:
        self._record = record
        self._name = name
        self._index: int | None = None
        self._said = 0.0
        self._last = Progress()

    def begin(self) -> int:
        """Show the upload in the stream, with what is known so far."""
        if self._index is None:
            self._index = self._record.add_upload(self._name)
            self._record.wait_for(f"the upload of {self._name}")
        return self._index

    def update(self, now: Progress) -> None:
        """Show the progress; while only the bytes change, four times a second at most."""
        record = self._record
        shows = self._index is not None or now.status not in {UploadStatus.READING, UploadStatus.ACTIVE}
        if record.is_done or not shows:
            return
        is_new = (now.status, now.note) != (self._last.status, self._last.note)
        if is_new or time.monotonic() - self._said >= _REPORT:
            self._said, self._last = time.monotonic(), now
            record.update_upload(self.begin(), **facts_of(now))

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Show why it failed, and say in the error which file it was."""
        try:
            yield
        except GeminiError as error:
            if self._index is not None and not self._record.is_done:
                note = scrub(error.message)
                self._record.update_upload(self._index, UploadStatus.FAILED, note=note)
            if self._name not in error.message:
                error.message = scrub(f"{self._name} was not uploaded: {error.message}")
                error.args = (error.message,)
            if error.status_code == 404:
                error.hint = "Is there a Files API at this base URL?"
            raise
        finally:
            if not self._record.is_done:
                self._record.go_on()


def facts_of(now: Progress) -> dict[str, Any]:
    """Return the progress as a dictionary, by the names of its fields."""
    return {name: getattr(now, name) for name in ("status", "size", "sent", "is_reused", "note")}
