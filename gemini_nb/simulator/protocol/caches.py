"""The cached contents: made, listed, prolonged, deleted, gone when their time is over, and asked about.

Whatever is wrong with a name (unknown, expired, deleted, of another key) is answered with the same 403, as
Google does, and nothing but the time of a cache can be changed.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gemini_nb.simulator.protocol.contents import check_contents
from gemini_nb.simulator.protocol.fields import body_tokens, read_message
from gemini_nb.simulator.protocol.refusals import RefusalError, invalid, not_served
from gemini_nb.simulator.protocol.routes import (
    Route,
    check_access,
    check_model,
    list_page,
    owner_of,
    timestamp,
)
from gemini_nb.simulator.protocol.rules import Asked, check_settings
from gemini_nb.simulator.record import Request

__all__ = ["Cache", "CacheStore", "is_cache_path"]

_PATH = re.compile(
    r"/(?P<version>v1|v1beta|v1alpha|v1beta1)/(?P<project>projects/[^/:]+/locations/[^/:]+/)?"
    r"cachedContents(?:/(?P<id>[^/:]+))?"
)
_LEAST = 1024  # tokens of a cache
_HOUR = 3600.0
_SECONDS = re.compile(r"(\d+)(?:\.\d{1,9})?s")
_HELD = frozenset({"contents", "systemInstruction", "tools", "toolConfig"})


@dataclass(slots=True, kw_only=True)
class Cache:
    """One cache.

    Attributes:
        resource: what is said of it; what it holds is never returned.
        owner: who made it.
        held: what it stands for: contents, systemInstruction, tools and toolConfig.
        tokens: of all of that.
        expires: when it is gone, in seconds since the epoch.
    """

    resource: dict[str, Any]
    owner: str
    held: dict[str, Any]
    tokens: int
    expires: float

    def set_times(self, given: Mapping[str, Any]) -> None:
        """Take the time that a request gives it, an hour if none, and note when."""
        now = time.time()
        self.expires = _expiry(given, now) or self.expires or now + _HOUR
        times = {"updateTime": timestamp(now), "expireTime": timestamp(self.expires)}
        self.resource = {**self.resource, **times}


def is_cache_path(path: str) -> bool:
    """Whether a request to this path is one about caches."""
    return _PATH.fullmatch(path) is not None


class CacheStore:
    """The caches of one simulated service."""

    def __init__(self) -> None:
        self._caches: dict[str, Cache] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of all caches that are there, the oldest first."""
        with self._lock:
            return [name for name, cache in self._caches.items() if _is_there(cache)]

    def expire(self, name: str) -> None:
        """End the time of a cache now."""
        with self._lock:
            self._caches[name].expires = 0.0

    def find(self, name: str, model: str, request: Request) -> Cache:
        """Return the cache that a prompt names."""
        with self._lock:
            cache = self._find(name, owner_of(request))
        made_for = cache.resource["model"]
        if made_for.rpartition("/")[2] != model:
            raise invalid(
                f"Model used by GenerateContent request (models/{model}) and CachedContent ({made_for})"
                " has to be the same."
            )
        return cache

    def answer(
        self, request: Request, accepted: str | None, check_files: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        """Answer one request about caches; `check_files` refuses contents with files that are not there."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            raise not_served(request.method, request.path)
        route = Route(version=match["version"], vertex=bool(match["project"]), method="createCachedContent")
        check_access(route, request, accepted)
        prefix, owner = f"{match['project'] or ''}cachedContents/", owner_of(request)
        with self._lock:
            if match["id"] is None and request.method == "POST":
                cache = _make(request.body, route, prefix, check_files)
                cache.owner = owner
                self._caches[cache.resource["name"]] = cache
                return cache.resource
            if match["id"] is None and request.method == "GET":
                own = [
                    cache.resource
                    for name, cache in reversed(self._caches.items())
                    if cache.owner == owner and name.startswith(prefix) and _is_there(cache)
                ]
                return list_page("cachedContents", own, request.query, size=100)
            if match["id"] is not None and request.method in {"GET", "PATCH", "DELETE"}:
                cache = self._find(prefix + match["id"], owner)
                if request.method == "DELETE":
                    del self._caches[cache.resource["name"]]
                    return {}
                if request.method == "PATCH":
                    _change(cache, request.body)
                return cache.resource
        raise not_served(request.method, request.path)

    def _find(self, name: str, owner: str) -> Cache:
        cache = self._caches.get(name)
        if cache is None or cache.owner != owner or not _is_there(cache):
            raise RefusalError(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")
        return cache


def _is_there(cache: Cache) -> bool:
    return time.time() < cache.expires


def _make(body: Any, route: Route, prefix: str, check_files: Callable[[Mapping[str, Any]], None]) -> Cache:
    given = read_message(body, "Cache", "cached_content", vertex=route.vertex)
    model = given.get("model", "")
    if not model:
        raise invalid("model is not specified", "cached_content.model")
    project = prefix.removesuffix("cachedContents/")
    named = rf"({project})?publishers/.+" if route.vertex else r"(models|tunedModels)/[^/]+"
    if not re.fullmatch(named, model):
        raise invalid(f"Invalid model name: {model}", "cached_content.model")
    route = replace(route, name=model)
    check_model(route)
    held = {name: given[name] for name in _HELD & given.keys()}
    contents = held.get("contents") or [{"parts": [{"text": "-"}]}]  # there may be none beside a system
    asked = {**held, "contents": contents}
    check_contents(asked, vertex=route.vertex)
    check_settings(Asked(body=asked, model=route.model, vertex=route.vertex, streaming=False))
    check_files(asked)
    tokens = body_tokens(held)
    if tokens < _LEAST:
        raise invalid(
            f"Cached content is too small. total_token_count={tokens}, min_total_token_count={_LEAST}"
        )
    resource = {
        "name": f"{prefix}{secrets.token_hex(10)}",
        "model": model,
        "createTime": timestamp(time.time()),
        "usageMetadata": {"totalTokenCount": tokens},
        **({"displayName": given["displayName"]} if given.get("displayName") else {}),
    }
    cache = Cache(resource=resource, owner="", held=held, tokens=tokens, expires=0.0)
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
    except (ValueError, OverflowError):
        raise invalid(f"Invalid value at 'cached_content.expire_time', {given['expireTime']!r}") from None
    if expires <= now:
        raise invalid("expire_time must be in the future.", "cached_content.expire_time")
    return expires
