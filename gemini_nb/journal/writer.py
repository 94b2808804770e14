"""The thread that writes the journal: the loop appends to a queue, everything else happens here.

The thread is there while streams run. What was added within a quarter of a second is written together, in a
few statements, since each one gives up the interpreter, which a computing cell is slow to give back. Twice a
second it looks at the streams that run and writes what is new of their texts, so that a killed kernel loses
no more than that.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gemini_nb.journal import prices, rows
from gemini_nb.journal.prune import Pruner
from gemini_nb.journal.source import Source
from gemini_nb.journal.store import Store
from gemini_nb.journal.trouble import Trouble
from gemini_nb.redaction import looking_once

logger = logging.getLogger("gemini_nb")

_BATCH = 0.25  # seconds for which a batch is collected
_LOOK = 0.5  # seconds between two looks at streams that run
_AT_EXIT = 2.0  # seconds that the end of the process waits
_SLOW_OPEN = 5.0  # seconds after which a file that does not open is worth a warning
_PATIENCE = 5.0  # seconds for which a lock of another process is no reason to worry
_RETRY = 5.0  # seconds at most between two tries of a file that cannot be written now
_KEPT = 1_000  # streams that wait for a file that cannot be written now
_LARGE = 1_000_000  # characters from which an answer is written by itself
_DEFAULT_SIZE = 256 * 2**20


class Writer:
    """One journal of this process.

    Args:
        store: the file.
        limit: bytes of texts that are kept.
    """

    def __init__(self, store: Store, *, limit: int = _DEFAULT_SIZE) -> None:
        self.store = store
        self.limit = limit
        self._pruner = Pruner(store)
        self.trouble: Trouble | None = None
        """What keeps the file from being written, None while it is."""
        self._queue: queue.SimpleQueue[Source | threading.Event] = queue.SimpleQueue()
        self._flushing = threading.Event()
        self._running: dict[str, rows.Progress] = {}
        self._due: dict[str, rows.Progress] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._look_at = 0.0
        self._retry_at = 0.0
        self._delay = 0.0
        self._since: float | None = None

    def add(self, source: Source) -> None:
        """Note that a stream begins, or has ended. Return at once; from any thread."""
        if self.trouble is None or not self.trouble.is_final:
            self._queue.put(source)
            self._start()

    def flush(self, timeout: float = _AT_EXIT) -> bool:
        """Write what was added so far, and return whether that was done in time."""
        with self._lock:
            if self._thread is None:
                return True
            written = threading.Event()
            self._queue.put(written)
            self._flushing.set()
        return written.wait(timeout)

    def close(self, timeout: float = _AT_EXIT) -> None:
        """Write what was added so far, and let go of thread and file; what is added later takes new ones."""
        deadline = time.monotonic() + timeout
        thread = self._thread
        if thread is not None:
            if self.flush(timeout) and not self._running:
                thread.join(max(0.0, deadline - time.monotonic()))
        elif not self._queue.empty():  # added when no thread could begin any more
            self._flushing.set()
            self._collect()
            prices.load()
            self._write()
        if time.monotonic() < deadline:
            self.store.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="gemini_nb-journal", daemon=True)
                with contextlib.suppress(RuntimeError):  # the interpreter ends, and `close` comes
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        self._look_at = time.monotonic() + _LOOK
        while True:
            waiting = self._collect()
            self._write(look=bool(waiting) or time.monotonic() >= self._look_at)
            if waiting and not prices.are_loaded():
                prices.load()
                self._write()
            for written in waiting:
                written.set()
            with self._lock:
                if not self._running and not self._due and self._queue.empty():
                    self._thread = None
                    return

    def _collect(self) -> list[threading.Event]:
        """Take what is added within a quarter of a second; return the events to set when it is written.

        It sleeps meanwhile: to wake up for each stream would cost as much as to write it.
        """
        waiting: list[threading.Event] = []
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(timeout=max(0.0, self._look_at - time.monotonic()))
            if not isinstance(item, threading.Event):
                self._flushing.wait(_BATCH)
            self._flushing.clear()
            while True:
                if isinstance(item, threading.Event):
                    waiting.append(item)
                else:
                    self._running.setdefault(item.uid, rows.Progress(item))
                item = self._queue.get_nowait()
        return waiting

    def _write(self, *, look: bool = True) -> None:
        """Write what is due, and keep it where the file cannot be written now.

        The import of the price list takes seconds beside a computing cell. What ends before that is written
        at once, and again with its price.

        Args:
            look: whether to look at streams that run, too.
        """
        if look:
            self._look_at = time.monotonic() + _LOOK
        self._note_due(look=look)
        if not self._due or time.monotonic() < self._retry_at:
            return
        for batch in _batches(list(self._due.values())):
            if not self._write_batch(batch):
                break
        for uid in [*self._due][: max(0, len(self._due) - _KEPT)]:
            del self._due[uid]

    def _note_due(self, *, look: bool) -> None:
        is_priced = prices.are_loaded()
        for uid, progress in list(self._running.items()):
            is_done = progress.source.is_done
            if not is_done and not look:
                continue
            if is_done and is_priced:
                del self._running[uid]
            if progress.has_news() or (is_done and (is_priced or not progress.has_ended)):
                progress.has_ended = is_done
                self._due[uid] = progress

    def _write_batch(self, batch: list[rows.Progress]) -> bool:
        """Write these, each by itself where one of them cannot be; False where the file takes nothing now."""
        try:
            if not self._try(batch):
                return False
        except Exception as error:  # noqa: BLE001 - a bug of ours must cost neither the journal nor a stream
            if len(batch) > 1:
                return all(self._write_batch([progress]) for progress in batch)
            self._running.pop(batch[0].source.uid, None)
            self._warn(
                Trouble(
                    f"The journal failed: {type(error).__name__}: {error}.",
                    "This is a bug in gemini_nb: please report it.",
                )
            )
        for progress in batch:
            progress.written()
            self._due.pop(progress.source.uid, None)
        return True

    def _try(self, batch: list[rows.Progress]) -> bool:
        slow = threading.Timer(_SLOW_OPEN, self._warn, [_does_not_open(self.store.path)])
        slow.daemon = True
        if not self.store.is_open:
            with contextlib.suppress(RuntimeError):  # no thread begins while the interpreter ends
                slow.start()
        try:
            with looking_once():
                statements = rows.statements(batch, self._known)
            if statements:
                self.store.write([*rows.process(), *statements])
                self._pruner.prune(self.limit)
        except Trouble as trouble:
            self._take_trouble(trouble)
            return False
        finally:
            slow.cancel()
        self.trouble, self._since, self._delay, self._retry_at = None, None, 0.0, 0.0
        self._warned.clear()
        return True

    def _known(self, hashes: Sequence[str]) -> set[str]:
        marks = ",".join("?" * len(hashes))
        return {
            name for (name,) in self.store.read(f"SELECT hash FROM blobs WHERE hash IN ({marks})", hashes)
        }

    def _take_trouble(self, trouble: Trouble) -> None:
        now = time.monotonic()
        self.trouble, self._since = trouble, self._since or now
        if trouble.is_passing and now - self._since < _PATIENCE:
            return
        self._warn(trouble)
        if trouble.is_final:
            self._due.clear()
            self._running.clear()
        elif not trouble.is_broken:  # a new file stands in a broken one's place
            self._delay = min(_RETRY, self._delay + 0.5)
            self._retry_at = now + self._delay

    def _warn(self, trouble: Trouble) -> None:
        """Warn once of each trouble, until the file was written again."""
        if trouble.message not in self._warned:
            self._warned.add(trouble.message)
            logger.warning("%s %s Streams go on.", trouble.message, trouble.hint)


def _batches(due: list[rows.Progress]) -> Iterator[list[rows.Progress]]:
    """What is written together: large answers go by themselves, so that none holds up the loop for long."""
    large = [progress for progress in due if progress.is_large(_LARGE)]
    yield [progress for progress in due if progress not in large]
    yield from ([progress] for progress in large)


def _does_not_open(path: Path) -> Trouble:
    return Trouble(
        f"The journal {path} does not answer.",
        "Name a file on this machine's own disk with GEMINI_NB_JOURNAL=PATH, or turn it off with "
        "GEMINI_NB_JOURNAL=off.",
    )


_writers: dict[Path, Writer] = globals().get("_writers", {})  # survives a reload of this module
_lock = threading.Lock()


def writer_for(path: Path, *, default: bool = False, limit: int = _DEFAULT_SIZE) -> Writer:
    """Return this process's writer of a file, made when it is first asked for.

    Args:
        path: the file.
        default: whether its folder is ours alone.
        limit: bytes of texts that are kept.
    """
    with _lock:
        if path not in _writers:
            _writers[path] = Writer(Store(path, default=default))
            _close_with_child()
        _writers[path].limit = limit
        return _writers[path]


def close_all() -> None:
    """Write what was added so far, and let go of all files."""
    deadline = time.monotonic() + _AT_EXIT
    while _writers:
        _, writer = _writers.popitem()
        writer.close(max(0.0, deadline - time.monotonic()))


def _close_with_child() -> None:
    """Write the last batch of a worker of multiprocessing, too: it ends without calling what atexit knows."""
    process, util = map(sys.modules.get, ("multiprocessing.process", "multiprocessing.util"))
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close_all, exitpriority=0)  # here: what was said before a fork is forgotten in it


def _after_fork() -> None:
    """In the child: the thread is the parent's, and so is what it has not written."""
    global _lock  # the parent's may have been held at the fork
    _lock = threading.Lock()
    _writers.clear()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
