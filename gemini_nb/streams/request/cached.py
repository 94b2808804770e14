"""A cache of contents at the service, and what goes with it in a request.

The service refuses a request that sets beside a cache what the cache could hold, even if it is the same; by
then, a cell has ended and a run has begun. So it is refused at the call.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import re
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.caching import change_cache, delete_cache
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth, real_number
from gemini_nb.errors import APIError, ArgumentError, CallerError, ConfigError, GeminiError, ProtocolError
from gemini_nb.tools.tool import ToolSet

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gemini_nb.streams.request.options import StreamOptions
    from gemini_nb.streams.runtime.runtime import Runtime

HELD = ("systemInstruction", "tools", "toolConfig")
"""What a cache holds, and a request beside it must not set."""

T = TypeVar("T")

_NAME = re.compile(r"(projects/[^/\s]+/locations/[^/\s]+/)?cachedContents/[\w-]+")
_TTL = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_OF_SERVICE = ("model", "auth", "credentials", "base_url", "api_version")


class CachedContent:
    """Contents that stay at the service for some time, for `start_stream(cached=...)`.

    `gemini_nb.cache` makes one. The service bills it by the hour until it expires or is deleted; in a `with`
    statement it is deleted at the end.

    Attributes:
        name: the service's name for it.
        model: the model that can read it.
        auth: the service.
        tokens: of what it holds.
        expires: when it expires, as the service said last.
        tools: the functions that the model may call when it reads it.
        digest: of what it holds, by which a kept answer is found.
    """

    def __init__(
        self,
        *,
        name: str,
        endpoint: Endpoint,
        tokens: int,
        expires: dt.datetime,
        tools: ToolSet,
        digest: str,
        options: Mapping[str, Any],
        runtime: Runtime,
    ) -> None:
        self.name = name
        self.model = endpoint.model
        self.auth = endpoint.auth
        self.tokens = tokens
        self.expires = expires
        self.tools = tools
        self.digest = digest
        self._deleted = False
        self._endpoint: Endpoint | None = endpoint
        self._runtime: Runtime | None = runtime
        self._options = {name: options[name] for name in _OF_SERVICE if options.get(name) is not None}
        self._options |= {"auth": endpoint.auth.value, "model": endpoint.model}

    def update(self, ttl: object) -> None:
        """Set how long it stays from now on; nothing else of it can be changed.

        Args:
            ttl: as in `gemini_nb.cache`.

        Raises:
            ConfigError: it is no length of time.
            GeminiError: the service refuses: it has expired, or was deleted.
            BlockingCallError: called on the background loop's own thread.
        """
        body = {"ttl": seconds_of(ttl)}
        endpoint, runtime = self._reached()
        if endpoint.auth is Auth.RECORDING:
            return

        async def change() -> JSON:
            return await change_cache(await runtime.ready(), endpoint, self.name, body)

        self.expires = expiry_of(run(runtime, change()))

    def delete(self) -> None:
        """Delete the cache. Deleting it twice, or after it has expired, does nothing.

        Raises:
            GeminiError: the service refuses or cannot be reached.
            BlockingCallError: called on the background loop's own thread.
        """
        if self._deleted:
            return
        endpoint, runtime = self._reached()

        async def delete() -> None:
            await delete_cache(await runtime.ready(), endpoint, self.name)

        if endpoint.auth is not Auth.RECORDING:
            try:
                run(runtime, delete())
            except APIError as error:
                if error.status_code not in {403, 404} or dt.datetime.now(dt.UTC) < self.expires:
                    raise
        self._deleted = True

    def options_for(self, options: StreamOptions) -> StreamOptions:
        """Return a stream's options with those of the cache where it has none of its own.

        Raises:
            ConfigError: they are of another model or service, or the cache was deleted.
        """
        if self._deleted:
            raise ConfigError(f"{self.name} was deleted.", hint="Make it again: gemini_nb.cache(...).")
        for name, own, is_same in (
            ("model", self.model, _bare(options.get("model")) == _bare(self.model)),
            ("auth", self.auth.value, options.get("auth") in {self.auth, Auth.RECORDING}),
        ):
            if (given := options.get(name)) is not None and not is_same:
                raise ConfigError(
                    f"The cache {self.name} is for {name}={own!r}, not {given!r}.",
                    hint=f"Leave {name} out, or make another cache.",
                )
        found: Any = dict(options)
        if found.get("endpoint") is None:
            found |= {name: value for name, value in self._options.items() if found.get(name) is None}
        completed: StreamOptions = found
        return completed

    def _reached(self) -> tuple[Endpoint, Runtime]:
        if self._endpoint is None or self._runtime is None:
            raise CallerError(f"{self.name} can be changed only in the process that made it.")
        return self._endpoint, self._runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.delete()
            return
        with contextlib.suppress(GeminiError):  # what went wrong in the block says more
            self.delete()

    def __getstate__(self) -> dict[str, Any]:
        """For the processes of a Dask cluster: all but keys and the machinery of this one."""
        options = {name: value for name, value in self._options.items() if name != "credentials"}
        return {**self.__dict__, "_endpoint": None, "_runtime": None, "_options": options}

    def __repr__(self) -> str:
        until = "deleted" if self._deleted else f"until {self.expires.astimezone():%d %b %H:%M}"
        return f"<CachedContent {self.name}: {self.tokens:,} tokens for {self.model}, {until}>"


def run(runtime: Runtime, asking: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and return its result; Ctrl-C cancels it."""
    try:
        runtime.check_may_block()
    except BaseException:
        asking.close()
        raise
    return runtime.loop.run(asking)


def cache_named(cached: object) -> str | None:
    """Return the name of a cache that stands in `cached=`.

    Raises:
        ArgumentError: it is neither a cache nor the name of one.
    """
    if cached is None:
        return None
    name = cached.name if isinstance(cached, CachedContent) else cached
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            f"cached is a CachedContent or its name, not {name!r}.",
            hint='gemini_nb.cache(...) makes one; a name looks like "cachedContents/abc".',
        )
    return name


def with_cache(body: JSON, cached: object) -> JSON:
    """Return a body that names this cache.

    Raises:
        ArgumentError: it names another, or `cached` is none.
    """
    name = cache_named(cached)
    if name is None:
        return body
    if body.get("cachedContent") not in {None, name}:
        raise ArgumentError(
            "The cache is given twice, as cached and as cachedContent.", hint="Leave one out."
        )
    return {**body, "cachedContent": name}


def check_beside_cache(body: JSON, *, has_tools: bool = False) -> None:
    """Refuse what the service refuses beside a cache.

    Args:
        body: the request body.
        has_tools: whether the stream has tools that do not stand in the body yet.

    Raises:
        ConfigError: the body sets what belongs into the cache.
    """
    if not body.get("cachedContent"):
        return
    found = [name for name in HELD if body.get(name) or (name == "tools" and has_tools)]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} cannot be set beside a cache: the service refuses it.",
            hint="Give it to gemini_nb.cache(...), which keeps it with the contents.",
        )


def seconds_of(ttl: object) -> str:
    """Return a length of time as the service writes it.

    Raises:
        ConfigError: it is none.
    """
    seconds = math.nan
    if isinstance(ttl, dt.timedelta):
        seconds = ttl.total_seconds()
    elif isinstance(ttl, str) and (found := _TTL.fullmatch(ttl.strip().lower())):
        seconds = float(found[1]) * _UNITS[found[2]]
    elif (number := real_number(ttl)) is not None:
        seconds = number
    if not 1 <= seconds < 10 * 365 * 86400:
        raise ConfigError(
            f"ttl is how long the cache stays, not {ttl!r}.",
            hint='Such as "1h", "30m", 600 (seconds) or "2d".',
        )
    return f"{round(seconds)}s"


def expiry_of(said: JSON) -> dt.datetime:
    """Return when a cache expires.

    Raises:
        ProtocolError: the service does not say.
    """
    try:
        found = dt.datetime.fromisoformat(str(said.get("expireTime")))
    except ValueError:
        raise ProtocolError(
            "The answer does not say when the cache expires.", hint="Is the base URL that of Gemini?"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def _bare(model: object) -> str:
    return str(model).rpartition("/")[2]
