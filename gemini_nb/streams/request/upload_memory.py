"""What is known of uploads: contents by their hash, uploads by content and by name, also of other kernels."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gemini_nb.api.auth import ApiKey
from gemini_nb.api.contents.file import File, upload_name
from gemini_nb.api.contents.local_file import LocalFile, Signature
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.wire import JSON, Content, Part
from gemini_nb.journal import uploads as book
from gemini_nb.journal.trouble import Trouble
from gemini_nb.journal.uploads import Uploaded
from gemini_nb.streams.request.files import path_of, replace_files

if TYPE_CHECKING:
    from gemini_nb.journal.store import Store
    from gemini_nb.streams.runtime.runtime import Runtime

_MARGIN = 30.0  # seconds before its end at which an upload is no longer used
CLAIM = 60.0
"""Seconds after which another kernel may upload a file, when the one that began does not renew its claim."""

_DIGESTS = 256
_TICK = 2.0  # seconds within which a file may change twice and have the same time of change

_here: dict[tuple[str, str, str], tuple[Uploaded, Endpoint]] = globals().get("_here", {})
"""What this process uploaded or used, and where; survives a reload of this module."""


class Hashed(NamedTuple):
    """The hash of a file's content, and the file's signature by which a change is noticed."""

    digest: str
    signature: Signature


def owner_of(endpoint: Endpoint) -> tuple[str, str]:
    """Return the service, and whose uploads are there: the fingerprint of the key."""
    proof = endpoint.authenticator
    return endpoint.quota[0], proof.fingerprint if isinstance(proof, ApiKey) else proof.identity


class Memory:
    """What this process and the journal know. Its methods block: not on the loop.

    Args:
        runtime: knows the journal.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = weakref.ref(runtime)
        self._digests: OrderedDict[tuple[Path, Signature], str] = OrderedDict()
        self._lock = threading.Lock()

    def content_of(self, uri: str) -> str | None:
        """Return the hash of what an address stands for, None where it is not known.

        Raises:
            ConfigError: it is a file that cannot be read.
        """
        if uri.startswith("file:"):
            return self.hashed(path_of(uri)).digest
        name = upload_name(uri)
        found = None if name is None else self.by_name(name)
        return None if found is None else found.hash

    def by_content(self, contents: list[Content]) -> list[Content]:
        """Return contents with hashes in the place of files whose content is known.

        Raises:
            ConfigError: a file cannot be read.
        """

        def known(data: JSON) -> Part | None:
            digest = self.content_of(str(data.get("fileUri")))
            return None if digest is None else {"fileData": {"sha256": digest}}

        return replace_files(contents, known)

    def hashed(self, path: Path, note: Callable[[LocalFile], object] = lambda _: None) -> Hashed:
        """Return the hash of a file; one that has not changed is not read again.

        Args:
            path: the file.
            note: called with the open file, so that the caller can close it.

        Raises:
            ConfigError: it cannot be read.
        """
        file = LocalFile(path)
        note(file)
        try:
            key = (path, file.signature)
            if (digest := self._digests.get(key)) is None:
                begun = time.time()
                digest = file.digest()
                if begun - file.signature[-1] / 1e9 > _TICK:
                    self._note_digest(key, digest)
        finally:
            file.close()
        return Hashed(digest, file.signature)

    def _note_digest(self, key: tuple[Path, Signature], digest: str) -> None:
        with self._lock:
            self._digests[key] = digest
            while len(self._digests) > _DIGESTS:
                self._digests.popitem(last=False)

    def by_hash(self, endpoint: Endpoint, digest: str, mime_type: str) -> list[Uploaded]:
        """Return the uploads of a content that should still be there, the newest first."""
        whose = owner_of(endpoint)
        known = [
            one
            for one, _ in list(_here.values())
            if (one.service, one.owner) == whose and (one.hash, one.mime_type) == (digest, mime_type)
        ]
        with self._written() as store:
            if store is not None:
                known += book.by_hash(store, *whose, digest, mime_type)
        found = {one.name: one for one in known if one.expires_at > time.time() + _MARGIN}
        return sorted(found.values(), key=lambda one: -one.uploaded_at)

    def claim(self, endpoint: Endpoint, content: str, holder: str) -> bool:
        """Claim the upload of a content for a minute; return False where another kernel has claimed it.

        Args:
            endpoint: where it goes.
            content: its hash and type.
            holder: who uploads it.
        """
        is_ours = True
        with self._written() as store:
            if store is not None:
                is_ours = book.claim(store, *owner_of(endpoint), content, holder, seconds=CLAIM)
        return is_ours

    def release(self, endpoint: Endpoint, content: str, holder: str) -> None:
        """Give a claim back."""
        with self._written() as store:
            if store is not None:
                book.release(store, *owner_of(endpoint), content, holder)

    def by_name(self, name: str) -> Uploaded | None:
        """Return what is known of an upload, also of one that has expired."""
        known = [one for one, _ in list(_here.values()) if one.name == name]
        with self._written() as store:
            if store is not None and not known:
                known = book.by_name(store, name)
        return known[0] if known else None

    def use(self, known: Uploaded, endpoint: Endpoint) -> None:
        """Note that an upload is used here."""
        _here[known.service, known.owner, known.name] = (known, endpoint)

    def remember(self, known: Uploaded, endpoint: Endpoint) -> None:
        """Note a new upload, also for other kernels."""
        self.use(known, endpoint)
        with self._written() as store:
            if store is not None:
                book.remember(store, known)

    def forget(self, endpoint: Endpoint, name: str) -> None:
        """Note that an upload is gone."""
        place = (*owner_of(endpoint), name)
        if (found := _here.get(place)) is not None:  # its path stays known
            _here[place] = (replace(found[0], expires_at=0.0), found[1])
        with self._written() as store:
            if store is not None:
                book.forget(store, *place)

    @contextlib.contextmanager
    def _written(self) -> Iterator[Store | None]:
        """The journal's file; where it is off or in trouble, this process alone remembers."""
        runtime = self._runtime()
        writer = None if runtime is None else runtime.journal()
        usable = writer is not None and (writer.trouble is None or not writer.trouble.is_final)
        with contextlib.suppress(Trouble):
            yield writer.store if usable and writer is not None else None

    def places_of(self, file: File, endpoint: Endpoint | None) -> list[tuple[str, Endpoint]]:
        """Return the uploads of a file, and where each is.

        Args:
            file: the file, or the name of an upload.
            endpoint: where to look; None for what this process uploaded, wherever that was.

        Raises:
            ConfigError: the file cannot be read.
        """
        name = None if file.uri is None else upload_name(file.uri)
        digest = None if file.path is None else self.hashed(file.path.absolute()).digest
        whose = None if endpoint is None else owner_of(endpoint)
        found = {
            (one.service, one.owner, one.name): (one.name, where)
            for one, where in list(_here.values())
            if name in (None, one.name)
            and digest in (None, one.hash)
            and whose in (None, (one.service, one.owner))
            and one.expires_at > time.time()
        }
        if endpoint is not None and whose is not None:
            with self._written() as store:
                listed = [] if store is None or digest is None else book.known(store)
                for one in listed:
                    if (one.service, one.owner) == whose and one.hash == digest:
                        found.setdefault((*whose, one.name), (one.name, endpoint))
            if name is not None:
                found.setdefault((*whose, name), (name, endpoint))
        return list(found.values())
