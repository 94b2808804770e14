"""Google's Files API: a file goes up in pieces, goes on where it broke off, and is looked at and deleted.

An upload of minutes meets a broken connection sooner or later. Beginning again would never end on a poor
line, and the last piece, sent again, would be there twice where only its answer was lost. So after each
trouble the service is asked how much it has, and the rest follows from there.

A file is never in memory as a whole, and it is read on threads, not on the loop.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from gemini_nb.api import failures
from gemini_nb.api.contents.file import is_upload_name
from gemini_nb.api.contents.local_file import LocalFile
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.json_request import WHOSE, ask, json_object
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.config import Auth
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import APIError, ConfigError, GeminiError, ProtocolError, TransportError
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients

_PIECE = 8 * 2**20  # bytes of one request, as google-genai's
_SLICE = 256 * 1024  # bytes that are handed to the connection at once
_SECONDS = 30.0
_SILENCE = 60.0  # seconds without progress after which a connection counts as dead
_NAME_BYTES = 12
_RESTARTS = 3  # of an upload that the service has forgotten
_WHAT = "The answer about a file"
_UPLOADS = "uploads"
_FINAL, _ACTIVE = "final", "active"

Report = Callable[[int, str], object]
"""Called with the bytes that were sent so far, and with what went wrong since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file as the service describes it.

    Attributes:
        name: such as "files/abc-123".
        uri: by which a prompt names it.
        mime_type: its type.
        state: "ACTIVE" when it can be used, "PROCESSING" before, "FAILED" where it cannot be.
        problem: the service's own words for why it failed.
        expires_at: when it will be gone, in seconds since the epoch; None where the service does not say.
        sha256: the hash of its content, in hexadecimal digits; empty where the service does not say.
    """

    name: str
    uri: str
    mime_type: str = ""
    state: str = "ACTIVE"
    problem: str = ""
    expires_at: float | None = None
    sha256: str = ""


def files_root(endpoint: Endpoint) -> str:
    """Return where the service's files are, beside its models.

    Raises:
        ConfigError: the service has no Files API, or its address is the user's own.
    """
    if endpoint.auth is Auth.VERTEX_AI:
        raise ConfigError("Vertex AI has no Files API.", hint='Put the file into a bucket: File("gs://...").')
    parts = urlsplit(endpoint.url)
    before, models, _ = parts.path.partition("/models/")
    if not models:
        before, models, _ = parts.path.partition("/tunedModels/")
    if not models:
        raise ConfigError("Files cannot be uploaded by way of this endpoint.", hint="Leave `endpoint` out.")
    return urlunsplit((parts.scheme, parts.netloc, f"{before}/files", "", ""))


async def get_file(
    clients: HTTPClients, endpoint: Endpoint, name: str, *, headers: Mapping[str, str] | None = None
) -> RemoteFile:
    """Return what the service says of an upload.

    Raises:
        APIError: 403 where there is none of this name for this caller, and what else is refused.
        GeminiError: the service cannot be reached, or answers something else.
    """
    return _file_in(await _resource(clients, endpoint, name, headers))


async def delete_file(clients: HTTPClients, endpoint: Endpoint, name: str) -> None:
    """Delete an upload.

    Raises:
        APIError: 403 where there is none of this name for this caller, and what else is refused.
        GeminiError: the service cannot be reached.
    """
    await _resource(clients, endpoint, name, None, method="DELETE")


async def _resource(
    clients: HTTPClients,
    endpoint: Endpoint,
    name: str,
    headers: Mapping[str, str] | None,
    *,
    method: str | None = None,
) -> Any:
    url = f"{files_root(endpoint)}/{name.removeprefix('files/')}"
    return await ask(
        clients, endpoint, url, seconds=_SECONDS, method=method, headers=headers, beside=_UPLOADS, what=_WHAT
    )


class Sender:
    """Sends one file, however often the connection breaks. Loop thread only.

    Args:
        clients: the connection pools of the running loop.
        endpoint: the service, and the key.
        file: what is sent.
        mime_type: its type.
        retry: how often and how patiently to go on after trouble.
        headers: more headers of the requests.
        report: called with the progress, up to once for each quarter of a megabyte.
        jitter: random numbers from 0 to 1.
    """

    def __init__(
        self,
        clients: HTTPClients,
        endpoint: Endpoint,
        file: LocalFile,
        mime_type: str,
        *,
        retry: RetryPolicy,
        headers: Mapping[str, str],
        report: Report,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clients = clients
        self._endpoint = endpoint
        self._file = file
        self._mime_type = mime_type
        self._retry = retry
        self._headers = dict(headers)
        self._report = report
        self._jitter = jitter
        self._name = ""
        self._url = ""
        self._piece = _PIECE
        self._sent = 0

    async def send(self) -> RemoteFile:
        """Send the whole file, and return the service's description of it.

        Raises:
            ConfigError: the file changed, or cannot be read.
            GeminiError: the service refuses it, or cannot be reached.
        """
        failed = restarts = 0
        try:
            while True:
                before = self._sent
                try:
                    return await self._go_on()
                except GeminiError as error:
                    if _is_forgotten(error) and self._url and restarts < _RESTARTS:
                        restarts += 1
                        self._url, self._sent = "", 0
                        continue
                    failed = 1 if self._sent > before else failed + 1
                    wait = self._wait(error, failed)
                    if wait is None:
                        raise
                    self._report(self._sent, excerpt(error.message, 120))
                await asyncio.sleep(wait)
        except BaseException:
            self.cancel_soon()
            raise

    def _wait(self, error: GeminiError, failed: int) -> float | None:
        if not self._retry.is_retryable(error):
            return None
        is_passing = isinstance(error, TransportError) or error.status_code in {429, 503}
        if self._retry.patient and is_passing:
            return self._retry.backoff(failed, hint=error.retry_after, jitter=self._jitter())
        return self._retry.delay(failed, hint=error.retry_after, jitter=self._jitter())

    def cancel_soon(self) -> None:
        """Cancel the upload at the service, without waiting for its answer."""
        url, self._url = self._url, ""
        if url:
            task = asyncio.get_running_loop().create_task(self._cancel(url), name="gemini_nb-cancel-upload")
            _cancelling.add(task)
            task.add_done_callback(_cancelling.discard)

    async def _cancel(self, url: str) -> None:
        with contextlib.suppress(GeminiError):  # it expires by itself
            await self._command(url, "cancel", seconds=5.0)

    async def _go_on(self) -> RemoteFile:
        """Begin, or ask how much has arrived, and send the rest."""
        if not self._url:
            await self._start()
        elif (file := await self._ask()) is not None:
            return file
        while True:
            size = min(self._piece, self._file.size - self._sent)
            data = await run_in_daemon_thread(self._file.read, self._sent, size, name="gemini_nb-upload-read")
            file = await self._send_piece(data, is_last=self._sent + size == self._file.size)
            self._sent += size
            self._report(self._sent, "")
            if file is not None:
                self._url = ""
                return file

    async def _start(self) -> None:
        self._name = f"files/{secrets.token_hex(_NAME_BYTES)}"
        root = files_root(self._endpoint)
        parts = urlsplit(root)
        before, slash, version = parts.path.removesuffix("/files").rpartition("/")
        address = urlunsplit((parts.scheme, parts.netloc, f"{before}/upload{slash}{version}/files", "", ""))
        size = self._file.size
        described = {
            "name": self._name,
            "displayName": self._file.shown[:500],
            "mimeType": self._mime_type,
            "sizeBytes": size,
        }
        headers = {
            **self._headers,
            **await self._endpoint.authenticator.headers(),
            "Content-Type": "application/json",
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(size),
            "X-Goog-Upload-Header-Content-Type": self._mime_type,
        }
        content = json.dumps({"file": described}).encode()
        status, received, body = await self._clients.get(address, headers, seconds=_SECONDS, content=content)
        if status != 200:
            raise failures.refused(status, received, body, self._endpoint, beside=_UPLOADS)
        self._url, self._sent = self._checked(received.get("x-goog-upload-url", "")), 0
        self._piece = _piece_of(received.get("x-goog-upload-chunk-granularity", ""))

    def _checked(self, url: str) -> str:
        """Return the address for the pieces: at Google's, or at the server that stands in its place."""
        try:
            given, own = urlsplit(url), urlsplit(self._endpoint.url)
            is_address = bool(given.hostname) and given.scheme in {"http", "https"} and url.isprintable()
        except ValueError:
            is_address = False
        if not is_address:
            raise ProtocolError("The service named no address to upload to.", hint=WHOSE)
        if not (own.hostname or "").endswith(".googleapis.com"):  # a gateway, whose answers name Google's
            return urlunsplit((own.scheme, own.netloc, given.path, given.query, ""))
        if given.scheme != "https" or not (given.hostname or "").endswith(".googleapis.com"):
            raise ProtocolError(
                f"The service named a foreign address to upload to: {excerpt(given.hostname or '')}.",
                hint=WHOSE,
            )
        return url

    async def _ask(self) -> RemoteFile | None:
        """Ask how much has arrived; return the file where that was all."""
        headers, body = await self._command(self._url, "query", seconds=_SECONDS)
        status = headers.get("x-goog-upload-status")
        if status == _FINAL:
            self._url, self._sent = "", self._file.size
            with contextlib.suppress(ProtocolError):
                return _file_in(json_object(body, _WHAT).get("file"))
            return await get_file(self._clients, self._endpoint, self._name, headers=self._headers)
        received = headers.get("x-goog-upload-size-received", "")
        if status != _ACTIVE or not received.isdecimal() or int(received) > self._file.size:
            self._url, self._sent = "", 0
            raise TransportError("The service has forgotten the beginning of the upload.")
        self._sent = int(received)
        return None

    async def _command(self, url: str, command: str, *, seconds: float) -> tuple[Mapping[str, str], bytes]:
        headers = {**self._headers, "X-Goog-Upload-Command": command}
        status, received, body = await self._clients.get(url, headers, seconds=seconds, content=b"")
        if status != 200:
            raise failures.refused(status, received, body, self._endpoint, beside=_UPLOADS)
        return received, body

    async def _send_piece(self, data: bytes, *, is_last: bool) -> RemoteFile | None:
        """Send a piece, and return the file after the last."""
        headers = {
            **self._headers,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(data)),
            "X-Goog-Upload-Command": "upload, finalize" if is_last else "upload",
            "X-Goog-Upload-Offset": str(self._sent),
        }
        idle = self._clients.idle_timeout(_SECONDS, _SILENCE)

        async def slices() -> AsyncIterator[bytes]:
            for start in range(0, len(data), _SLICE):
                yield data[start : start + _SLICE]
                idle.begin(_SILENCE)
                self._report(self._sent + min(start + _SLICE, len(data)), "")

        try:
            response = await self._clients.upload(self._url, headers, slices, connect=_SECONDS, idle=idle)
        finally:
            idle.close()
        if response.status_code != 200:
            raise failures.refused(
                response.status_code, response.headers, response.content, self._endpoint, beside=_UPLOADS
            )
        status = response.headers.get("x-goog-upload-status")
        if status == _FINAL and is_last:
            return _file_in(json_object(response.content, _WHAT).get("file"))
        if status != _ACTIVE or is_last:
            raise TransportError("The service did not say whether a piece of the upload arrived.")
        return None


_cancelling: set[asyncio.Task[None]] = set()


def _piece_of(granularity: str) -> int:
    """Return the size of a piece: the multiple of what the service counts in that is near 8 MB."""
    unit = int(granularity) if granularity.isdecimal() and 0 < int(granularity) <= 4 * _PIECE else _SLICE
    return max(unit, _PIECE // unit * unit)


def _is_forgotten(error: GeminiError) -> bool:
    return isinstance(error, APIError) and error.status_code in {404, 410}


def _file_in(value: object) -> RemoteFile:
    """Read the service's description of a file."""
    file = value if isinstance(value, dict) else {}
    name, uri = file.get("name"), file.get("uri")
    if not isinstance(name, str) or not is_upload_name(name) or not isinstance(uri, str) or not uri:
        raise ProtocolError("The service described no file.", hint=WHOSE)
    problem = file.get("error")
    return RemoteFile(
        name=name,
        uri=uri,
        mime_type=str(file.get("mimeType") or ""),
        state=str(file.get("state") or "ACTIVE"),
        problem=excerpt(str(problem.get("message") or "")) if isinstance(problem, dict) else "",
        expires_at=_seconds(file.get("expirationTime")),
        sha256=_digits(file.get("sha256Hash")),
    )


def _seconds(stamp: object) -> float | None:
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _digits(coded: object) -> str:
    """Return a hash's digits; the service writes the digits in base64, and its documents say the bytes."""
    try:
        raw = base64.b64decode(str(coded or ""), validate=True)
    except (ValueError, binascii.Error):
        return ""
    if len(raw) == 32:
        return raw.hex()
    text = raw.decode("ascii", "replace").lower()
    return text if len(text) == 64 and all(char in "0123456789abcdef" for char in text) else ""
