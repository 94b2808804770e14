"""Writes down what requests receive, without delaying them and without the secrets they carry.

A file that grows while its answer arrives would be left as half a recording by a kernel that dies, and could
not be freed of a secret that lies across two pieces. So an answer is kept in memory until it has ended, then
scrubbed and written by a thread of the recorder's, under another name first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from gemini_nb.api.endpoint import model_in
from gemini_nb.api.recording import End, Recording, file_name, request_key
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError, IdleTimeoutError
from gemini_nb.redaction import Secret, scrub, scrub_json

if TYPE_CHECKING:
    import httpx

    from gemini_nb.api.endpoint import Endpoint

__all__ = ["Recorder", "Tape"]

_log = logging.getLogger(__name__)
_KEPT = ("content-type", "retry-after", "x-gemini-service-tier")
_SECRET = {"authorization", "x-goog-api-key"}


class Recorder:
    """Records into a folder; what is asked anew replaces what was recorded of it before.

    Args:
        folder: where the recordings go; it is made where there is none.

    Raises:
        ConfigError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError as error:
            raise _no_folder(folder, str(error.strerror)) from None
        if not writable:
            raise _no_folder(folder, "it cannot be written to")
        self._counts: Counter[str] = Counter()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="gemini_nb-recorder")

    def begin(self, endpoint: Endpoint, content: bytes, headers: Mapping[str, str]) -> Tape | None:
        """Begin with one request; an answer that is itself a recording is not recorded again.

        Args:
            endpoint: where it goes.
            content: its body.
            headers: those that prove who asks.
        """
        return None if endpoint.auth is Auth.RECORDING else Tape(self, endpoint, content, headers)

    def keep(self, tape: Tape) -> None:
        """Write down what came of a request."""
        try:
            self._writer.submit(self._write, tape)
        except RuntimeError:  # it was closed while the answer arrived
            self._write(tape)

    def close(self) -> None:
        """Wait until what has ended is written; requests that still run are recorded to their end."""
        self._writer.shutdown()

    def _write(self, tape: Tape) -> None:
        try:
            recording = _scrubbed(tape.recording())
            key = request_key(recording.model, recording.body or {})
            self._counts[key] += 1
            recording = replace(recording, number=self._counts[key])
            path = self.folder / file_name(recording)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            try:
                unfinished.write_bytes(recording.encode())
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
            if recording.number == 1:
                _forget_others(path)
        except Exception as error:  # noqa: BLE001 - the stream has its answer, whatever becomes of the recording
            detail = scrub(f"{type(error).__name__}: {error}")
            _log.error("A model call could not be recorded in %s: %s", self.folder, detail)


def _no_folder(folder: Path, why: str) -> ConfigError:
    return ConfigError(f"Nothing can be recorded in {folder}: {why}.", hint="Name another folder.")


def _forget_others(first: Path) -> None:
    """Remove what an earlier recording of the same request left, so that nothing old is played back."""
    stem = first.name.rpartition("_")[0]
    for path in first.parent.glob("*.jsonl"):
        if path != first and path.name.rpartition("_")[0] == stem:
            path.unlink(missing_ok=True)


class Tape:
    """What one request receives; used as a context manager around the reading of its answer."""

    def __init__(
        self, recorder: Recorder, endpoint: Endpoint, content: bytes, headers: Mapping[str, str]
    ) -> None:
        self._recorder = recorder
        self._model = model_in(endpoint.url) or endpoint.model.rpartition("/")[2]
        self._content = content
        # While they live, the scrubber knows them, also a token that is replaced meanwhile.
        self._secrets = [
            Secret(value.rpartition(" ")[2]) for name, value in headers.items() if name.lower() in _SECRET
        ]
        self._asked = datetime.now(UTC).isoformat(timespec="seconds")
        self._last = time.monotonic()
        self._answer: tuple[float, int, dict[str, str]] | None = None
        self._pieces: list[tuple[float, bytes]] = []
        self._end: End = "left"
        self._end_wait = 0.0

    def answered(self, response: httpx.Response) -> None:
        """Note when the answer began, and how."""
        kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
        self._answer = (self._waited(), response.status_code, kept)

    async def copy(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Hand on the pieces of the answer's body, and keep them."""
        async with contextlib.aclosing(cast("AsyncGenerator[bytes, None]", pieces)) as body:
            try:
                async for piece in body:
                    self._pieces.append((self._waited(), piece))
                    yield piece
                self._end = "complete"
            except asyncio.CancelledError:
                raise
            except Exception:
                self._end = "cut"
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._answer is None:
            return  # nothing came
        if self._end == "left" and (kind is None or issubclass(kind, IdleTimeoutError)):
            self._end = "silent"
        self._end_wait = self._waited()
        self._recorder.keep(self)

    def recording(self) -> Recording:
        """What came, as it came."""
        wait, status, headers = self._answer or (0.0, 200, {})
        return Recording(
            model=self._model,
            body=json.loads(self._content),
            time=self._asked,
            wait=wait,
            status=status,
            headers=headers,
            pieces=tuple(self._pieces),
            end=self._end,
            end_wait=self._end_wait,
        )

    def _waited(self) -> float:
        before, self._last = self._last, time.monotonic()
        return self._last - before


def _scrubbed(recording: Recording) -> Recording:
    return replace(
        recording,
        model=scrub(recording.model),
        body=scrub_json(recording.body),
        headers=scrub_json(dict(recording.headers)),
        pieces=_clean_pieces(recording.pieces),
    )


def _clean_pieces(pieces: tuple[tuple[float, bytes], ...]) -> tuple[tuple[float, bytes], ...]:
    """The pieces without secrets; where one lies across two of them, the answer becomes one piece."""
    whole = b"".join(piece for _, piece in pieces)
    clean = _clean_bytes(whole)
    if clean == whole:
        return pieces
    parts = tuple((wait, _clean_bytes(piece)) for wait, piece in pieces)
    if b"".join(piece for _, piece in parts) == clean:
        return parts
    return ((sum(wait for wait, _ in pieces), clean),)


def _clean_bytes(data: bytes) -> bytes:
    return scrub(data.decode("latin-1")).encode("latin-1")
