"""Files that the service must have before the model is asked: uploaded once, waited for, known again.

A request names a large file by its path until its model call is made. Then the path gives way to the upload's
address, which is looked up by the content: in this process, in the journal, at the service. Streams that ask
about the same file at the same moment share one upload, which ends when the last of them was stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gemini_nb.api.contents.file import local_part, upload_name
from gemini_nb.api.contents.local_file import LocalFile, printable
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.uploads import RemoteFile, Sender, delete_file, files_root, get_file
from gemini_nb.api.wire import JSON, Content, Part
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import APIError, ConfigError, GeminiError, ProtocolError
from gemini_nb.journal.uploads import Uploaded
from gemini_nb.streams.events.states import UploadStatus
from gemini_nb.streams.request.files import files_in, fit_files, is_local, path_of, replace_files
from gemini_nb.streams.request.upload_job import Job, ShownUpload, facts_of
from gemini_nb.streams.request.upload_memory import CLAIM, Hashed, Memory, owner_of

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients
    from gemini_nb.streams.events.record import StreamRecord
    from gemini_nb.streams.request.request import StreamRequest
    from gemini_nb.streams.runtime.runtime import Runtime

_LIFETIME = 48 * 3600.0
_MARGIN = 30.0  # seconds before its end at which an upload is no longer used
_FIRST_LOOK, _LAST_LOOK, _SLOWER = 0.5, 10.0, 1.5  # seconds between two looks at a file that is processed
_PATIENCE = 900.0  # seconds for which the service may process a file
_TRUST = 60.0  # seconds for which many rows take what one of them has found
_DIGESTS = 256
_GONE = {403, 404}

_Key = tuple[str, str, str, str]
"""Service, owner, and a content's hash with its type, or an upload's name with nothing."""


@dataclass(slots=True)
class _Asker:
    """On whose behalf files are looked up."""

    clients: HTTPClients
    request: StreamRequest
    root: str = field(init=False)
    service: str = field(init=False)
    owner: str = field(init=False)

    def __post_init__(self) -> None:
        endpoint = self.request.endpoint
        self.root = files_root(endpoint)
        self.service, self.owner = owner_of(endpoint)


class Uploads:
    """The uploads of one manager's streams.

    Args:
        memory: what is known of uploads.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._jobs: dict[tuple[object, _Key], Job] = {}
        self._seen: dict[_Key, tuple[float, RemoteFile]] = {}

    async def put_up(
        self,
        clients: HTTPClients,
        request: StreamRequest,
        record: StreamRecord,
        contents: list[Content],
        ready: dict[str, RemoteFile] | None = None,
        *,
        again: bool = False,
    ) -> list[Content]:
        """Return contents whose files the service has, all of them ready to be used.

        Args:
            clients: the connection pools of the running loop.
            request: where they go, and how patiently.
            record: shows the progress of each file.
            contents: the conversation.
            ready: what this stream has found ready before, by its address; takes what is found now.
            again: look at every file, since the model's service has just refused one.

        Raises:
            ConfigError: a file cannot be read, or changes meanwhile.
            GeminiError: the service does not take a file, does not have it, or cannot be reached.
        """
        local = any(map(is_local, files_in(contents)))
        ready = {} if ready is None else ready
        if again:
            ready.clear()
            self._seen.clear()
        try:
            asker = _Asker(clients, request)
        except ConfigError:
            if not local:
                return contents
            return await run_in_daemon_thread(fit_files, contents, request.endpoint)
        for data in files_in(contents):
            uri = str(data.get("fileUri"))
            if uri in ready:
                continue
            if is_local(data):
                ready[uri] = await self._local(asker, record, uri, str(data.get("mimeType") or ""))
                continue
            name = upload_name(uri, asker.root)
            # A bare name is of the user's own making, and goes as it is as long as the service takes it.
            if name is None or (name == uri and not again):
                continue
            if (file := await self._named(asker, record, name)) is not None:
                ready[uri] = file
        ready |= {file.uri: file for file in ready.values()}
        return replace_files(contents, functools.partial(_with_upload, ready))

    async def _local(self, asker: _Asker, record: StreamRecord, uri: str, mime_type: str) -> RemoteFile:
        path = path_of(uri)
        shown = ShownUpload(record, local_part(path, mime_type)["fileData"]["displayName"])
        shown.begin()
        with shown.failing():
            hashed = await self._hash(path)
            key = (asker.service, asker.owner, hashed.digest, mime_type)
            work = functools.partial(self._provide, asker, path, hashed, mime_type)
            return await self._job(key, work, asker).wait(shown.update)

    async def _named(self, asker: _Asker, record: StreamRecord, name: str) -> RemoteFile | None:
        """Return an upload that a prompt names; None where only the model's service can say what it is."""
        shown = ShownUpload(record, name)
        key = (asker.service, asker.owner, name, "")
        try:
            with shown.failing():
                return await self._job(key, functools.partial(self._find, asker, name), asker).wait(
                    shown.update
                )
        except ProtocolError:  # a gateway that knows models only
            return None

    def _job(self, key: _Key, work: Callable[[Job], Awaitable[RemoteFile]], asker: _Asker) -> Job:
        """Return the job that runs for this, or a new one."""
        place = (asyncio.get_running_loop(), key)
        if (job := self._jobs.get(place)) is None:
            if asker.request.retry.patient:
                work = functools.partial(self._seen_or, key, work)
            made: list[Job] = []

            def forget() -> None:
                if made and self._jobs.get(place) is made[0]:
                    del self._jobs[place]

            job = self._jobs[place] = Job(work, forget)
            made.append(job)
        return job

    async def _seen_or(self, key: _Key, work: Callable[[Job], Awaitable[RemoteFile]], job: Job) -> RemoteFile:
        """Many rows about one file look at it once a minute."""
        when, file = self._seen.get(key, (0.0, None))
        if file is None or time.monotonic() - when > _TRUST:
            file = await work(job)
            self._seen[key] = (time.monotonic(), file)
        else:
            job.report(status=UploadStatus.ACTIVE, is_reused=True)
        return file

    async def _provide(
        self, asker: _Asker, path: Path, hashed: Hashed, mime_type: str, job: Job
    ) -> RemoteFile:
        """Find the upload of a content, or make one."""
        if (file := await self._reused(asker, hashed, mime_type, job)) is None:
            async with self._claimed(asker, hashed, mime_type, job):
                # Another kernel may have uploaded it while this one waited.
                if (file := await self._reused(asker, hashed, mime_type, job)) is None:
                    file = await self._new(asker, path, hashed, mime_type, job)
        try:
            return await self._until_active(asker, file, path.name, job)
        except APIError as error:
            if error.api_status == "FAILED":
                await run_in_daemon_thread(self.memory.forget, asker.request.endpoint, file.name)
            raise

    async def _reused(self, asker: _Asker, hashed: Hashed, mime_type: str, job: Job) -> RemoteFile | None:
        endpoint = asker.request.endpoint
        for known in await run_in_daemon_thread(self.memory.by_hash, endpoint, hashed.digest, mime_type):
            job.report(size=known.size)
            file = await _look(asker, known.name)
            if file is None or file.state == "FAILED":
                await run_in_daemon_thread(self.memory.forget, endpoint, known.name)
                continue
            self.memory.use(known, endpoint)
            job.report(is_reused=True)
            return file
        return None

    @contextlib.asynccontextmanager
    async def _claimed(self, asker: _Asker, hashed: Hashed, mime_type: str, job: Job) -> AsyncIterator[None]:
        """Wait until no other kernel uploads this content, and keep the others waiting meanwhile."""
        holder, content = secrets.token_hex(8), f"{hashed.digest} {mime_type}"
        claim = functools.partial(self.memory.claim, asker.request.endpoint, content, holder)

        async def prolong() -> None:
            while True:
                await asyncio.sleep(CLAIM / 3)
                await run_in_daemon_thread(claim)

        while not await run_in_daemon_thread(claim):
            job.report(note="another kernel uploads it")
            await asyncio.sleep(_FIRST_LOOK)
        prolonging = asyncio.create_task(prolong())
        try:
            yield
        finally:
            prolonging.cancel()
            await run_in_daemon_thread(self.memory.release, asker.request.endpoint, content, holder)

    async def _new(self, asker: _Asker, path: Path, hashed: Hashed, mime_type: str, job: Job) -> RemoteFile:
        file, size = await self._send(asker, path, hashed, mime_type, job)
        known = Uploaded(
            service=asker.service,
            owner=asker.owner,
            name=file.name,
            hash=hashed.digest,
            mime_type=mime_type,
            uri=file.uri,
            path=str(path),
            size=size,
            uploaded_at=time.time(),
            expires_at=file.expires_at or time.time() + _LIFETIME,
        )
        await run_in_daemon_thread(self.memory.remember, known, asker.request.endpoint)
        return file

    async def _send(
        self, asker: _Asker, path: Path, hashed: Hashed, mime_type: str, job: Job
    ) -> tuple[RemoteFile, int]:
        endpoint, request = asker.request.endpoint, asker.request
        local = await run_in_daemon_thread(LocalFile, path)
        try:
            if local.signature != hashed.signature:
                raise _changed(path)
            job.report(status=UploadStatus.UPLOADING, size=local.size, note="")
            sender = Sender(
                asker.clients,
                endpoint,
                local,
                mime_type,
                retry=request.retry,
                headers=request.headers,
                report=job.report_sent,
            )
            file = await sender.send()
        finally:
            local.close()
        if file.sha256 and file.sha256 != hashed.digest:
            with contextlib.suppress(GeminiError):
                await delete_file(asker.clients, endpoint, file.name)
            raise _changed(path)
        return file, local.size

    async def _find(self, asker: _Asker, name: str, job: Job) -> RemoteFile:
        """Find an upload by its name; where it is gone, upload the file anew that it was made of."""
        file = await _look(asker, name)
        if file is not None:
            return await self._until_active(asker, file, name, job)
        known = await run_in_daemon_thread(self.memory.by_name, name)
        if known is not None:
            path = Path(known.path)
            with contextlib.suppress(ConfigError):  # it is not there any more
                hashed = await self._hash(path)
                if hashed.digest == known.hash:
                    work = functools.partial(self._provide, asker, path, hashed, known.mime_type)
                    key = (asker.service, asker.owner, known.hash, known.mime_type)
                    return await self._job(key, work, asker).wait(lambda now: job.report(**facts_of(now)))
        raise APIError(
            f"{name} is not there: it has expired or was deleted, or it is another key's.",
            hint="Uploads are kept for 48 hours. Pass the file itself: gemini_nb.File(path).",
            status_code=403,
            api_status="PERMISSION_DENIED",
        )

    async def _until_active(self, asker: _Asker, file: RemoteFile, name: str, job: Job) -> RemoteFile:
        wait, deadline = _FIRST_LOOK, time.monotonic() + _PATIENCE
        while file.state == "PROCESSING":
            job.report(status=UploadStatus.PROCESSING, note="")
            if time.monotonic() > deadline:
                raise APIError(
                    f"The service still processes {name} after {_PATIENCE / 60:.0f} minutes.",
                    hint="Ask again later: it is not uploaded again.",
                )
            await asyncio.sleep(wait)
            wait = min(wait * _SLOWER, _LAST_LOOK)
            found = await _look(asker, file.name)
            if found is None:
                raise APIError(f"{name} was deleted while the service processed it.", hint="Ask again.")
            file = found
        if file.state == "FAILED":
            reason = file.problem.rstrip(".") or "the service does not say why"
            raise APIError(
                f"The service could not process {name}: {reason}.",
                hint="Is it a whole file of its type? Convert it, and ask again.",
                status_code=400,
                api_status="FAILED",
            )
        job.report(status=UploadStatus.ACTIVE, note="")
        return file

    async def _hash(self, path: Path) -> Hashed:
        opened: list[LocalFile] = []
        over = threading.Event()

        def note(file: LocalFile) -> None:
            opened.append(file)
            if over.is_set():  # stopped before the thread had opened it
                file.close()

        try:
            return await run_in_daemon_thread(self.memory.hashed, path, note, name="gemini_nb-hash")
        finally:
            over.set()
            for file in opened:
                file.close()

    async def delete(self, clients: HTTPClients, places: list[tuple[str, Endpoint]]) -> bool:
        """Delete uploads, and forget them; returns whether one was there.

        Args:
            clients: the connection pools of the running loop.
            places: their names, and where they are.

        Raises:
            GeminiError: none could be deleted, since a service refuses or cannot be reached.
        """
        deleted, failures = False, list[GeminiError]()
        for name, endpoint in places:
            try:
                await delete_file(clients, endpoint, name)
                deleted = True
            except GeminiError as error:
                if error.status_code not in _GONE:
                    failures.append(error)
                    continue
            self._seen = {key: seen for key, seen in self._seen.items() if seen[1].name != name}
            await run_in_daemon_thread(self.memory.forget, endpoint, name)
        if failures and not deleted:
            raise failures[0]
        return deleted


async def _look(asker: _Asker, name: str) -> RemoteFile | None:
    """Return what the service says of an upload; None where it has none. Trouble on the way is waited out."""
    retry, failed = asker.request.retry, 0
    while True:
        try:
            return await get_file(asker.clients, asker.request.endpoint, name, headers=asker.request.headers)
        except APIError as error:
            if error.status_code in _GONE:
                return None
            failure: GeminiError = error
        except GeminiError as error:
            failure = error
        failed += 1
        wait = (
            retry.delay(failed, hint=failure.retry_after, jitter=0.5) if retry.is_retryable(failure) else None
        )
        if wait is None:
            raise failure
        await asyncio.sleep(wait)


def _changed(path: Path) -> ConfigError:
    return ConfigError(
        f"{printable(path.name)} changed while it was uploaded, so that it was not sent.",
        hint="Ask again when nothing writes to it any more.",
    )


def _with_upload(ready: dict[str, RemoteFile], data: JSON) -> Part | None:
    file = ready.get(str(data.get("fileUri")))
    if file is None:
        return None
    kind = data.get("mimeType") or file.mime_type
    return {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": file.uri}}


_of_runtimes: weakref.WeakKeyDictionary[Runtime, Uploads] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def uploads_of(runtime: Runtime) -> Uploads:
    """Return the uploads of a manager's streams."""
    with _lock:
        if runtime not in _of_runtimes:
            _of_runtimes[runtime] = Uploads(Memory(runtime))
        return _of_runtimes[runtime]
