"""The cached contents: made, listed, prolonged, deleted, gone when their time is over, and asked about.

Whatever is wrong with a name (unknown, expired, deleted, of another key) is answered with the same 403, as
Google does, and nothing but the time of a cache can be changed.
"""

from __future__ import annotations

import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gemini_nb.simulator.protocol.contents import check_contents
from gemini_nb.simulator.protocol.fields import body_tokens, read_message
from gemini_nb.simulator.protocol.refusals import RefusalError, invalid, not_found
from gemini_nb.simulator.protocol.resources import list_page, owner_of, timestamp
from gemini_nb.simulator.protocol.routes import Route, check_access, check_model
from gemini_nb.simulator.protocol.rules import Asked, check_settings
from gemini_nb.simulator.record import Request

__all__ = ["Cache", "CacheStore", "is_cache_path"]

_PATH = re.compile(
    r"/(?P<version>v1|v1beta|v1alpha|v1beta1)/(?P<project>projects/[^/:]+/locations/[^/:]+/)?"
    r"cachedContents(?:/(?P<id>[^/:]+))?"
)
_LEAST = 1024
_HOUR = 3600.0
_SECONDS = re.compile(r"(\d+)(?:\.\d{1,9})?s")
_HELD = frozenset({"contents", "systemInstruction", "tools", "toolConfig"})


@dataclass(slots=True, kw_only=True)
class Cache:
    """One cache.

    Attributes:
        name: its full name.
        model: as it was given.
        owner: who made it.
        held: what it stands for: contents, systemInstruction, tools and toolConfig.
        tokens: of all of that.
        display_name: its name for people.
        created: when it was made, in seconds since the epoch.
        updated: when it was changed.
        expires: when it is gone.
    """

    name: str
    model: str
    owner: str
    held: dict[str, Any]
    tokens: int
    display_name: str
    created: float
    updated: float
    expires: float

    def to_json(self) -> dict[str, Any]:
        """Build the resource; what it holds is never returned."""
        made = {
            "name": self.name,
            "model": self.model,
            "createTime": timestamp(self.created),
            "updateTime": timestamp(self.updated),
            "expireTime": timestamp(self.expires),
            "usageMetadata": {"totalTokenCount": self.tokens},
        }
        return {**made, "displayName": self.display_name} if self.display_name else made


def is_cache_path(path: str) -> bool:
    """Whether a request to this path is one about caches."""
    return _PATH.fullmatch(path) is not None


class CacheStore:
    """The caches of one simulated service.

    Attributes:
        least_tokens: how many tokens a cache must have.
    """

    def __init__(self) -> None:
        self.least_tokens = _LEAST
        self._caches: dict[str, Cache] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of all caches that are there, the oldest first."""
        with self._lock:
            return [name for name, cache in self._caches.items() if time.time() < cache.expires]

    def expire(self, name: str) -> None:
        """End the time of a cache now."""
        with self._lock:
            self._caches[name].expires = 0.0

    def find(self, name: str, model: str, request: Request) -> Cache:
        """Return the cache that a prompt names.

        Raises:
            RefusalError: 403 where there is none for this caller, 400 where it is another model's.
        """
        with self._lock:
            cache = self._find(name, owner_of(request))
        if cache.model.rpartition("/")[2] != model:
            raise invalid(
                f"Model used by GenerateContent request (models/{model}) and CachedContent ({cache.model})"
                " has to be the same."
            )
        return cache

    def answer(
        self,
        request: Request,
        accepted: str | None,
        check_files: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Answer one request about caches.

        Args:
            request: the request.
            accepted: the key that is right; None takes any.
            check_files: refuses contents that name files which are not there, or not ready.

        Raises:
            RefusalError: what is wrong with it.
        """
        match = _PATH.fullmatch(request.path)
        if match is None:
            raise not_found(f"The simulator serves nothing for {request.path}.")
        vertex = match["project"] is not None
        check_access(Route(version=match["version"], vertex=vertex), request.headers, request.query, accepted)
        prefix, owner = match["project"] or "", owner_of(request)
        with self._lock:
            if match["id"] is None:
                if request.method == "POST":
                    return self._create(request.body, prefix, owner, match["version"], check_files)
                if request.method == "GET":
                    return self._list(request.query, prefix, owner)
            elif request.method in {"GET", "PATCH", "DELETE"}:
                cache = self._find(f"{prefix}cachedContents/{match['id']}", owner)
                if request.method == "DELETE":
                    del self._caches[cache.name]
                    return {}
                if request.method == "PATCH":
                    _change(cache, request.body)
                return cache.to_json()
        raise not_found(f"The simulator serves nothing for {request.method} {request.path}.")

    def _create(
        self,
        body: Any,
        prefix: str,
        owner: str,
        version: str,
        check_files: Callable[[Mapping[str, Any]], None],
    ) -> dict[str, Any]:
        vertex = bool(prefix)
        given = read_message(body, "Cache", "cached_content", vertex=vertex)
        model = given.get("model")
        if not model:
            raise invalid("model is not specified", "cached_content.model")
        if not re.fullmatch(
            r"(models|tunedModels)/[^/]+" if not vertex else rf"({prefix})?publishers/.+", model
        ):
            raise invalid(f"Invalid model name: {model}", "cached_content.model")
        check_model(Route(version=version, vertex=vertex, name=model, method="createCachedContent"))
        held = {name: given[name] for name in _HELD & given.keys()}
        contents = held.get("contents") or [{"parts": [{"text": "-"}]}]  # there may be none beside a system
        check_contents({**held, "contents": contents}, vertex=vertex)
        asked = {**held, "contents": contents}
        check_settings(Asked(body=asked, model=model.rpartition("/")[2], vertex=vertex, streaming=False))
        check_files(asked)
        tokens = body_tokens(held)
        if tokens < self.least_tokens:
            raise invalid(
                f"Cached content is too small. total_token_count={tokens},"
                f" min_total_token_count={self.least_tokens}"
            )
        now = time.time()
        cache = Cache(
            name=f"{prefix}cachedContents/{secrets.token_hex(10)}",
            model=model,
            owner=owner,
            held=held,
            tokens=tokens,
            display_name=given.get("displayName", ""),
            created=now,
            updated=now,
            expires=_expiry(given, now) or now + _HOUR,
        )
        self._caches[cache.name] = cache
        return cache.to_json()

    def _find(self, name: str, owner: str) -> Cache:
        cache = self._caches.get(name)
        if cache is None or cache.owner != owner or time.time() >= cache.expires:
            raise RefusalError(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")
        return cache

    def _list(self, query: Mapping[str, str], prefix: str, owner: str) -> dict[str, Any]:
        own = [
            cache.to_json()
            for cache in reversed(self._caches.values())
            if cache.owner == owner
            and cache.name.startswith(f"{prefix}cachedContents/")
            and time.time() < cache.expires
        ]
        return list_page("cachedContents", own, query, size=100)


def _change(cache: Cache, body: Any) -> None:
    given = read_message(body, "Cache", "cached_content", vertex=True)
    if fixed := given.keys() - {"ttl", "expireTime", "name"}:
        raise invalid(f"Only ttl and expire_time of a CachedContent can be updated, not {min(fixed)}.")
    now = time.time()
    cache.expires = _expiry(given, now) or cache.expires
    cache.updated = now


def _expiry(given: Mapping[str, Any], now: float) -> float | None:
    """Return when a cache is gone, None where nothing says so."""
    if "ttl" in given and "expireTime" in given:
        raise invalid("Set ttl or expire_time, not both.", "cached_content.expiration")
    if "ttl" in given:
        if not (found := _SECONDS.fullmatch(given["ttl"])):
            raise invalid(
                f"Invalid value at 'cached_content.ttl' (type.googleapis.com/google.protobuf.Duration),"
                f" {given['ttl']!r}",
                "cached_content.ttl",
            )
        if not int(found[1]):
            raise invalid("ttl must be positive.", "cached_content.ttl")
        return now + float(given["ttl"][:-1])
    if "expireTime" not in given:
        return None
    try:
        expires = datetime.fromisoformat(given["expireTime"]).timestamp()
    except ValueError:
        expires = math.nan
    if math.isnan(expires):
        raise invalid(f"Invalid value at 'cached_content.expire_time', {given['expireTime']!r}")
    if expires <= now:
        raise invalid("expire_time must be in the future.", "cached_content.expire_time")
    return expires
