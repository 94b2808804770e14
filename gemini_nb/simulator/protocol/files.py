"""The Files API: resumable uploads, and the files that came of them.

Of a file's content only its hash and its size are kept, since no uploaded file can be downloaded again. A
file belongs to the key that uploaded it, and whatever is wrong with a name (unknown, expired, of another key)
is answered with the same 403, as Google does.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.simulator.protocol.fields import read_message
from gemini_nb.simulator.protocol.refusals import RefusalError, invalid, not_found, not_served
from gemini_nb.simulator.protocol.routes import Route, check_access, list_page, owner_of, timestamp
from gemini_nb.simulator.record import Fields, Request

__all__ = ["GRANULARITY", "FileReply", "FileStore", "is_file_path"]

GRANULARITY = 256 * 1024
"""Bytes of which each piece but the last has a multiple."""

_LIMIT = 2 * 2**30
_LIFETIME = 48 * 3600.0
_PATH = re.compile(
    r"/(?P<upload>upload/)?(?P<version>v1|v1beta|v1alpha)/files(?:/(?P<id>[^/:]+))?(?P<rest>:\w+)?"
)
_NAME = re.compile(r"(?:files/)?([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)")
_MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;.*)?")
_MADE = ("video/", "audio/")  # files of these kinds are processed before they can be used
_URI = "https://generativelanguage.googleapis.com/v1beta/"

FileReply = tuple[dict[str, str], dict[str, Any]]
"""Headers and body of an answer."""


def is_file_path(path: str) -> bool:
    """Whether a request to this path is one to the Files API."""
    return _PATH.fullmatch(path) is not None


@dataclass(slots=True, kw_only=True)
class _File:
    """An upload, and the file that it becomes."""

    id: str
    owner: str
    display_name: str
    mime_type: str
    size: int
    failure: str | None
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    created: float = 0.0  # when it was whole
    ready_at: float = 0.0
    expires: float = 0.0
    status: str = "active"  # of the upload: active, final or cancelled

    @property
    def state(self) -> str:
        if time.time() < self.ready_at:
            return "PROCESSING"
        return "ACTIVE" if self.failure is None else "FAILED"

    def to_json(self) -> dict[str, Any]:
        name = f"files/{self.id}"
        made: dict[str, Any] = {
            "name": name,
            "mimeType": self.mime_type,
            "sizeBytes": str(self.size),
            "createTime": timestamp(self.created),
            "updateTime": timestamp(max(self.created, min(time.time(), self.ready_at))),
            "expirationTime": timestamp(self.expires),
            # The service encodes the hash's digits, not its bytes.
            "sha256Hash": base64.b64encode(self.digest.hexdigest().encode()).decode(),
            "uri": _URI + name,
            "state": self.state,
            "source": "UPLOADED",
        }
        if self.display_name:
            made["displayName"] = self.display_name
        if self.state == "FAILED":
            made["error"] = {"code": 3, "message": self.failure}
        elif self.state == "ACTIVE" and self.mime_type.startswith("video/"):
            made["videoMetadata"] = {"videoDuration": "12s"}
        return made


class FileStore:
    """The files of one simulated service. What happens to a file is decided when its upload is complete.

    Attributes:
        processing: seconds for which a file is PROCESSING; None for a second times the simulator's pace, and
            for films and sound only.
        failure: why the next files become FAILED, None where they do not.
        lifetime: seconds after which a file is gone.
    """

    def __init__(self, *, pace: float = 1.0) -> None:
        self.processing: float | None = None
        self.failure: str | None = None
        self.lifetime = _LIFETIME
        self._pace = pace
        self._uploads: dict[str, _File] = {}
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    @property
    def uploaded(self) -> list[str]:
        """The names of all files that were uploaded and are still there, the oldest first."""
        with self._lock:
            return [f"files/{id_}" for id_, file in self._files.items() if time.time() < file.expires]

    def finish_processing(self) -> None:
        """Let every file that is PROCESSING be so no longer."""
        with self._lock:
            for file in self._files.values():
                file.ready_at = min(file.ready_at, time.time())

    def delete(self, name: str) -> None:
        """Delete a file, as its owner could."""
        with self._lock:
            self._files.pop(name.removeprefix("files/"), None)

    def check_uri(self, uri: str, owner: str) -> None:
        """Check that a prompt may use this file."""
        name = uri.rpartition("/")[2]
        with self._lock:
            state = self._find(name, owner).state
        if state != "ACTIVE":
            raise RefusalError(
                400,
                "FAILED_PRECONDITION",
                f"The File {name} is not in an ACTIVE state and usage is not allowed.",
            )

    def answer(
        self, request: Request, raw: bytes, origin: str, accepted: str | None, *, half: bool = False
    ) -> FileReply:
        """Answer one request, whose body is `raw`, to a server at `origin`.

        An `accepted` of None takes any key; `half` takes half of what a piece brings, as if the connection
        had broken there.
        """
        match, method = _PATH.fullmatch(request.path), request.method
        upload_id = request.query.get("upload_id")
        if not upload_id:
            check_access(Route(version="v1", vertex=False), request, accepted)
        id_, rest = (match["id"], match["rest"]) if match else (None, None)
        with self._lock:
            if match and match["upload"] and method == "POST" and not id_ and not rest:
                if upload_id:
                    return self._piece(upload_id, request.headers, raw, half=half)
                return self._start(request, f"{origin}{request.path}")
            if match and not match["upload"] and method in {"GET", "DELETE"}:
                if not id_ and not rest and method == "GET":
                    return {}, self._list(request.query, owner_of(request))
                if id_ and not rest:
                    file = self._find(id_, owner_of(request))
                    if method == "GET":
                        return {}, file.to_json()
                    del self._files[id_]
                    return {}, {}
                if id_ and rest == ":download" and self._find(id_, owner_of(request)):
                    raise invalid("Only generated files can be downloaded.")
        raise not_served(method, request.path)

    def _start(self, request: Request, address: str) -> FileReply:
        headers = request.headers
        given = read_message(request.body or {}, "Upload", "", vertex=False).get("file", {})
        length = headers.get("x-goog-upload-header-content-length", given.get("sizeBytes", ""))
        size = int(length) if str(length).isdecimal() else 0
        kind = given.get("mimeType") or headers.get("x-goog-upload-header-content-type", "")
        name, display_name = given.get("name") or secrets.token_hex(6), given.get("displayName", "")
        found = _NAME.fullmatch(name)
        for is_right, words in (
            (headers.get("x-goog-upload-protocol") == "resumable", "X-Goog-Upload-Protocol: resumable."),
            (headers.get("x-goog-upload-command") == "start", "An upload begins with the command start."),
            (0 < size <= _LIMIT, f"X-Goog-Upload-Header-Content-Length: from 1 to {_LIMIT} bytes."),
            (_MIME_TYPE.fullmatch(kind), f"Unsupported MIME type: {kind}"),
            (found, f"Invalid file name: {name}"),
            (len(display_name) <= 512, "The display name has more than 512 characters."),
        ):
            if not is_right:
                raise invalid(words, "file")
        if found is None or found[1] in self._files:
            raise RefusalError(409, "ALREADY_EXISTS", f"The File {name} already exists.")
        upload_id = secrets.token_urlsafe(24)
        self._uploads[upload_id] = _File(
            id=found[1],
            owner=owner_of(request),
            display_name=display_name,
            mime_type=kind,
            size=size,
            failure=None,
        )
        return {
            "X-Goog-Upload-Status": "active",
            "X-Goog-Upload-URL": f"{address}?upload_id={upload_id}&upload_protocol=resumable",
            "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
        }, {}

    def _piece(self, upload_id: str, headers: Fields, raw: bytes, *, half: bool) -> FileReply:
        file = self._uploads.get(upload_id)
        if file is None:
            raise not_found("There is no such upload.")
        commands = {word.strip() for word in headers.get("x-goog-upload-command", "").split(",")}
        if not commands <= {"upload", "finalize", "query", "cancel"}:
            raise invalid(f"Unknown X-Goog-Upload-Command: {headers.get('x-goog-upload-command')}")
        if "cancel" in commands:
            file.status = "cancelled"
        if file.status == "active" and "query" in commands:
            return {
                "X-Goog-Upload-Status": "active",
                "X-Goog-Upload-Size-Received": str(file.received),
                "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
            }, {}
        if commands & {"upload", "finalize"}:
            if file.status != "active":
                raise invalid(f"The upload is {file.status}.")
            _take(file, headers, raw, is_last="finalize" in commands, half=half)
            if "finalize" in commands and not half:
                self._finish(file)
        answer = {"file": file.to_json()} if file.status == "final" else {}
        return {"X-Goog-Upload-Status": file.status}, answer

    def _finish(self, file: _File) -> None:
        """Make a file of a complete upload."""
        wait = self.processing
        if wait is None:
            wait = self._pace if file.mime_type.startswith(_MADE) else 0.0
        file.status, file.created = "final", time.time()
        file.ready_at, file.expires = file.created + wait, file.created + self.lifetime
        file.failure = self.failure
        self._files[file.id] = file

    def _find(self, id_: str, owner: str) -> _File:
        file = self._files.get(id_)
        if file is None or file.owner != owner or time.time() >= file.expires:
            raise RefusalError(
                403,
                "PERMISSION_DENIED",
                f"You do not have permission to access the File {id_} or it may not exist.",
            )
        return file

    def _list(self, query: Mapping[str, str], owner: str) -> dict[str, Any]:
        own = [file for file in self._files.values() if file.owner == owner and time.time() < file.expires]
        return list_page("files", [file.to_json() for file in reversed(own)], query, size=10, most=100)


def _take(file: _File, headers: Fields, raw: bytes, *, is_last: bool, half: bool) -> None:
    """Take a piece, or half of it."""
    if headers.get("x-goog-upload-offset") != str(file.received):
        raise invalid(f"X-Goog-Upload-Offset: {file.received} bytes were received so far.")
    if not is_last and (not raw or len(raw) % GRANULARITY):
        raise invalid(f"A piece has a multiple of {GRANULARITY} bytes, but for the last.")
    total = file.received + len(raw)
    if total > file.size or (is_last and total != file.size):
        raise invalid(f"The upload was to have {file.size} bytes, and has {total}.")
    if half:
        raw = raw[: len(raw) // 2 // GRANULARITY * GRANULARITY]
    file.digest.update(raw)
    file.received += len(raw)
