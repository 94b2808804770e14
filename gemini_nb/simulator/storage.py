"""What the service keeps for its callers: the files of the Files API, and cached contents.

Of a file's content only its hash and its size are kept, since no uploaded file can be downloaded again. What
is kept belongs to the key that sent it, and whatever is wrong with a name (unknown, expired, deleted, of
another key) is answered with the same 403, as Google does.
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
from datetime import datetime
from typing import Any, Generic, TypeVar

from gemini_nb.simulator.fields import body_tokens, read_message
from gemini_nb.simulator.requests import (
    CACHE_PATH,
    FILE_PATH,
    Fields,
    RefusalError,
    Request,
    Route,
    check_model,
    invalid,
    list_page,
    not_found,
    not_served,
    owner_of,
    timestamp,
)
from gemini_nb.simulator.rules import MIME_TYPE, Asked, check_contents, check_settings, files_in

__all__ = ["Cache", "CacheStore", "FileStore"]

_GRANULARITY = 256 * 1024  # bytes of which each piece of an upload has a multiple, but for the last
_LIMIT = 2 * 2**30
_LIFETIME = 48 * 3600.0
_NAME = re.compile(r"(?:files/)?([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)")
_MADE = ("video/", "audio/")  # files of these kinds are processed before they can be used
_URI = "https://generativelanguage.googleapis.com/v1beta/"
_LEAST = 1024  # tokens of a cache
_HOUR = 3600.0
_SECONDS = re.compile(r"(\d{1,9})(?:\.\d{1,9})?s")
_HELD = frozenset({"contents", "systemInstruction", "tools", "toolConfig"})


@dataclass(slots=True, kw_only=True)
class _Kept:
    """What belongs to one caller, for a time."""

    owner: str = ""
    expires: float = 0.0

    @property
    def is_there(self) -> bool:
        return time.time() < self.expires


K = TypeVar("K", bound=_Kept)


class _Store(Generic[K]):
    """What is kept, by its name."""

    _missing: str  # what is said of a name that is not there

    def __init__(self) -> None:
        self._kept: dict[str, K] = {}
        self._lock = threading.Lock()

    def _names(self) -> list[str]:
        with self._lock:
            return [name for name, kept in self._kept.items() if kept.is_there]

    def _find(self, name: str, owner: str) -> K:
        kept = self._kept.get(name)
        if kept is None or kept.owner != owner or not kept.is_there:
            raise RefusalError(403, "PERMISSION_DENIED", self._missing.format(name.rpartition("/")[2]))
        return kept

    def _forget(self) -> None:
        """Forget what has expired."""
        self._kept = {name: kept for name, kept in self._kept.items() if kept.is_there}

    def _own(self, owner: str) -> list[tuple[str, K]]:
        """Return what a caller has, the newest first."""
        own = [(name, kept) for name, kept in self._kept.items() if kept.owner == owner and kept.is_there]
        return own[::-1]


# ------------------------------------------------------------------------------------------------- files


@dataclass(slots=True, kw_only=True)
class _File(_Kept):
    """An upload, and the file that it becomes."""

    name: str
    display_name: str
    mime_type: str
    size: int
    failure: str | None = None
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    created: float = 0.0  # when it was whole; 0 while it is being uploaded
    ready_at: float = 0.0

    def state(self) -> str:
        if time.time() < self.ready_at:
            return "PROCESSING"
        return "ACTIVE" if self.failure is None else "FAILED"

    def to_json(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "name": self.name,
            "mimeType": self.mime_type,
            "sizeBytes": str(self.size),
            "createTime": timestamp(self.created),
            "updateTime": timestamp(max(self.created, min(time.time(), self.ready_at))),
            "expirationTime": timestamp(self.expires),
            # The service encodes the hash's digits, not its bytes.
            "sha256Hash": base64.b64encode(self.digest.hexdigest().encode()).decode(),
            "uri": _URI + self.name,
            "state": (state := self.state()),
            "source": "UPLOADED",
        }
        if self.display_name:
            made["displayName"] = self.display_name
        if state == "FAILED":
            made["error"] = {"code": 3, "message": self.failure}
        elif state == "ACTIVE" and self.mime_type.startswith("video/"):
            made["videoMetadata"] = {"videoDuration": "12s"}
        return made


class FileStore(_Store[_File]):
    """The files of one simulated service. What happens to a file is decided when its upload is complete.

    Attributes:
        processing: seconds for which a file is PROCESSING; None for a second times the simulator's pace, and
            for films and sound only.
        failure: why the next files become FAILED, None where they do not.
        lifetime: seconds after which a file is gone.
    """

    _missing = "You do not have permission to access the File {} or it may not exist."

    def __init__(self, *, pace: float = 1.0) -> None:
        super().__init__()
        self.processing: float | None = None
        self.failure: str | None = None
        self.lifetime = _LIFETIME
        self._pace = pace
        self._uploads: dict[str, _File] = {}

    @property
    def uploaded(self) -> list[str]:
        """The names of all files that were uploaded and are still there, the oldest first."""
        return self._names()

    def finish_processing(self) -> None:
        """Let every file that is PROCESSING be so no longer."""
        with self._lock:
            for file in self._kept.values():
                file.ready_at = min(file.ready_at, time.time())

    def delete(self, name: str) -> None:
        """Delete a file, as its owner could."""
        with self._lock:
            self._kept.pop(name, None)

    def check_used(self, body: Mapping[str, Any], owner: str) -> None:
        """Refuse a checked body with a file that is not there for this caller, or not ready."""
        for name in files_in(body):
            with self._lock:
                state = self._find(name, owner).state()
            if state != "ACTIVE":
                words = f"The File {name[6:]} is not in an ACTIVE state and usage is not allowed."
                raise RefusalError(400, "FAILED_PRECONDITION", words)

    def answer(
        self, request: Request, raw: bytes, origin: str, *, half: bool = False
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Answer one request, whose body is `raw`, to a server at `origin`; return headers and body.

        `half` takes half of what a piece brings, as if the connection had broken there.
        """
        found, upload_id = FILE_PATH.fullmatch(request.path), request.query.get("upload_id")
        owner = owner_of(request)
        with self._lock:
            match request.method, *(found.group("upload", "id", "rest") if found else ()):
                case "POST", "upload/", None, None if upload_id:
                    return self._take_piece(upload_id, request.headers, raw, half=half)
                case "POST", "upload/", None, None:
                    return self._start(request, f"{origin}{request.path}")
                case "GET", None, None, None:
                    own = [file.to_json() for _, file in self._own(owner)]
                    return {}, list_page("files", own, request.query, size=10, most=100)
                case "GET", None, str(id_), None:
                    return {}, self._find(f"files/{id_}", owner).to_json()
                case "DELETE", None, str(id_), None:
                    del self._kept[self._find(f"files/{id_}", owner).name]
                    return {}, {}
        raise not_served(request.method, request.path)

    def _start(self, request: Request, address: str) -> tuple[dict[str, str], dict[str, Any]]:
        headers = request.headers
        given = read_message(request.body or {}, "Upload", "", vertex=False).get("file", {})
        length = headers.get("x-goog-upload-header-content-length", given.get("sizeBytes", ""))
        size = int(length) if re.fullmatch(r"[0-9]{1,15}", str(length)) else 0
        kind = given.get("mimeType") or headers.get("x-goog-upload-header-content-type", "")
        name, display_name = given.get("name") or secrets.token_hex(6), given.get("displayName", "")
        found = _NAME.fullmatch(name)
        for is_right, words in (
            (headers.get("x-goog-upload-protocol") == "resumable", "X-Goog-Upload-Protocol: resumable."),
            (headers.get("x-goog-upload-command") == "start", "An upload begins with the command start."),
            (0 < size <= _LIMIT, f"X-Goog-Upload-Header-Content-Length: from 1 to {_LIMIT} bytes."),
            (MIME_TYPE.fullmatch(kind), f"Unsupported MIME type: {kind}"),
            (found, f"Invalid file name: {name}"),
            (len(display_name) <= 512, "The display name has more than 512 characters."),
        ):
            if not is_right:
                raise invalid(words, "file")
        name = f"files/{found[1] if found else name}"
        self._forget()
        if name in self._kept:
            raise RefusalError(409, "ALREADY_EXISTS", f"The File {name[6:]} already exists.")
        upload_id = secrets.token_urlsafe(24)
        self._uploads[upload_id] = _File(
            name=name, owner=owner_of(request), display_name=display_name, mime_type=kind, size=size
        )
        url = f"{address}?upload_id={upload_id}&upload_protocol=resumable"
        return {**_active(), "X-Goog-Upload-URL": url}, {}

    def _take_piece(
        self, upload_id: str, headers: Fields, raw: bytes, *, half: bool
    ) -> tuple[dict[str, str], dict[str, Any]]:
        file = self._uploads.get(upload_id)
        if file is None:
            raise not_found("There is no such upload.")
        commands = {word.strip() for word in headers.get("x-goog-upload-command", "").split(",")}
        if not commands <= {"upload", "finalize", "query", "cancel"}:
            raise invalid(f"Unknown X-Goog-Upload-Command: {headers.get('x-goog-upload-command')}")
        if "cancel" in commands and not file.created:
            del self._uploads[upload_id]
            return {"X-Goog-Upload-Status": "cancelled"}, {}
        if "query" in commands and not file.created:
            return {**_active(), "X-Goog-Upload-Size-Received": str(file.received)}, {}
        if commands & {"upload", "finalize"}:
            if file.created:
                raise invalid("The upload is final.")
            _take(file, headers, raw, is_last="finalize" in commands, half=half)
            if "finalize" in commands and not half:
                self._finish(file)
        if not file.created:
            return {"X-Goog-Upload-Status": "active"}, {}
        return {"X-Goog-Upload-Status": "final"}, {"file": file.to_json()}

    def _finish(self, file: _File) -> None:
        """Make a file of a complete upload."""
        wait = self.processing
        if wait is None:
            wait = self._pace if file.mime_type.startswith(_MADE) else 0.0
        file.created, file.failure = time.time(), self.failure
        file.ready_at, file.expires = file.created + wait, file.created + self.lifetime
        self._kept[file.name] = file


def _active() -> dict[str, str]:
    return {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Chunk-Granularity": str(_GRANULARITY)}


def _take(file: _File, headers: Fields, raw: bytes, *, is_last: bool, half: bool) -> None:
    """Take a piece, or half of it."""
    if headers.get("x-goog-upload-offset") != str(file.received):
        raise invalid(f"X-Goog-Upload-Offset: {file.received} bytes were received so far.")
    if not is_last and (not raw or len(raw) % _GRANULARITY):
        raise invalid(f"A piece has a multiple of {_GRANULARITY} bytes, but for the last.")
    total = file.received + len(raw)
    if total > file.size or (is_last and total != file.size):
        raise invalid(f"The upload was to have {file.size} bytes, and has {total}.")
    if half:
        raw = raw[: len(raw) // 2 // _GRANULARITY * _GRANULARITY]
    file.digest.update(raw)
    file.received += len(raw)


# ------------------------------------------------------------------------------------------------ caches


@dataclass(slots=True, kw_only=True)
class Cache(_Kept):
    """One cache: what is said of it, and what it holds (contents, tools …), which is never returned."""

    resource: dict[str, Any]
    held: dict[str, Any]
    tokens: int

    def set_times(self, given: Mapping[str, Any]) -> None:
        """Take the time that a request gives it, an hour if none, and note when."""
        now = time.time()
        self.expires = _expiry(given, now) or self.expires or now + _HOUR
        times = {"updateTime": timestamp(now), "expireTime": timestamp(self.expires)}
        self.resource = {**self.resource, **times}


class CacheStore(_Store[Cache]):
    """The caches of one simulated service, which may hold its files. Only the time of one can be changed."""

    _missing = "CachedContent not found (or permission denied)"

    def __init__(self, files: FileStore) -> None:
        super().__init__()
        self._files = files

    @property
    def names(self) -> list[str]:
        """The names of all caches that are there, the oldest first."""
        return self._names()

    def expire(self, name: str) -> None:
        """End the time of a cache now."""
        with self._lock:
            self._kept[name].expires = 0.0

    def find(self, name: str, model: str, owner: str) -> Cache:
        """Return the cache that a prompt names."""
        with self._lock:
            cache = self._find(name, owner)
        made_for = cache.resource["model"]
        if made_for.rpartition("/")[2] != model:
            raise invalid(
                f"Model used by GenerateContent request (models/{model}) and CachedContent ({made_for})"
                " has to be the same."
            )
        return cache

    def answer(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        found = CACHE_PATH.fullmatch(request.path)
        project, id_ = found.group("project", "id") if found else ("", None)
        project = project or ""
        prefix, owner = f"{project}cachedContents/", owner_of(request)
        with self._lock:
            match request.method, id_:
                case "POST", None:
                    cache = self._make(request.body, request.path.split("/")[1], project, owner)
                    self._forget()
                    self._kept[cache.resource["name"]] = cache
                    return cache.resource
                case "GET", None:
                    own = [cache.resource for name, cache in self._own(owner) if name.startswith(prefix)]
                    return list_page("cachedContents", own, request.query, size=100)
                case "DELETE", str():
                    del self._kept[self._find(prefix + id_, owner).resource["name"]]
                    return {}
                case "GET" | "PATCH", str():
                    cache = self._find(prefix + id_, owner)
                    if request.method == "PATCH":
                        _change(cache, request.body)
                    return cache.resource
        raise not_served(request.method, request.path)

    def _make(self, body: Any, version: str, project: str, owner: str) -> Cache:
        given = read_message(body, "Cache", "cached_content", vertex=bool(project))
        model = given.get("model", "")
        if not model:
            raise invalid("model is not specified", "cached_content.model")
        named = r"publishers/.+" if project else r"(models|tunedModels)/[^/]+"
        if not re.fullmatch(named, model.removeprefix(project)):
            raise invalid(f"Invalid model name: {model}", "cached_content.model")
        route = Route(version=version, vertex=bool(project), name=model, method="createCachedContent")
        check_model(route)
        held = {name: given[name] for name in _HELD & given.keys()}
        contents = held.get("contents") or [{"parts": [{"text": "-"}]}]  # there may be none beside a system
        asked = {**held, "contents": contents}
        check_contents(asked, vertex=route.vertex)
        check_settings(Asked(body=asked, model=route.model, vertex=route.vertex, streaming=False))
        self._files.check_used(asked, owner)
        if (tokens := body_tokens(held)) < _LEAST:
            raise invalid(
                f"Cached content is too small. total_token_count={tokens}, min_total_token_count={_LEAST}"
            )
        resource = {
            "name": f"{project}cachedContents/{secrets.token_hex(10)}",
            "model": model,
            "createTime": timestamp(time.time()),
            "usageMetadata": {"totalTokenCount": tokens},
            **({"displayName": given["displayName"]} if given.get("displayName") else {}),
        }
        cache = Cache(resource=resource, owner=owner, held=held, tokens=tokens)
        cache.set_times(given)
        return cache


def _change(cache: Cache, body: Any) -> None:
    given = read_message(body, "Cache", "cached_content", vertex=True)
    if fixed := given.keys() - {"ttl", "expireTime", "name"}:
        raise invalid(f"Only ttl and expire_time of a CachedContent can be updated, not {min(fixed)}.")
    cache.set_times(given)


def _expiry(given: Mapping[str, Any], now: float) -> float | None:
    """Return when a cache is gone, None where nothing says so."""
    if "ttl" in given and "expireTime" in given:
        raise invalid("Set ttl or expire_time, not both.", "cached_content.expiration")
    if "ttl" in given:
        if not (found := _SECONDS.fullmatch(given["ttl"])):
            wrong = "Invalid value at 'cached_content.ttl' (type.googleapis.com/google.protobuf.Duration)"
            raise invalid(f"{wrong}, {given['ttl']!r}", "cached_content.ttl")
        if not int(found[1]):
            raise invalid("ttl must be positive.", "cached_content.ttl")
        return now + float(given["ttl"][:-1])
    if "expireTime" not in given:
        return None
    try:
        expires = datetime.fromisoformat(given["expireTime"]).timestamp()
        timestamp(expires)  # the last hours of the calendar may lie beyond it in UTC
    except (ValueError, OverflowError):
        raise invalid(f"Invalid value at 'cached_content.expire_time', {given['expireTime']!r}") from None
    if expires <= now:
        raise invalid("expire_time must be in the future.", "cached_content.expire_time")
    return expires
