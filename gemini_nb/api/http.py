"""HTTP for one event loop: the connection pools, and a timeout on silence.

The pools are httpx's interface over aiohttp's transport, where a chunk that arrives by itself costs less than
half the processor time that it costs in httpx's own (`tests/benchmarks` compares them). Only its client
class, not the bare transport, honours the proxy variables. What of it is ours stands in `transport`, which is
loaded with the first request: aiohttp takes half a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import http.cookiejar
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gemini_nb.api import failures
from gemini_nb.api.retry import Cooldowns
from gemini_nb.config import is_loopback
from gemini_nb.errors import ConfigError, IdleTimeoutError
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    import httpx

    from gemini_nb.api.recorder import Recorder

__all__ = ["HTTPClients", "IdleTimeout", "on_connected"]

T = TypeVar("T")

on_connected: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar(
    "gemini_nb_on_connected", default=None
)
"""Called by the transport when a connection stands and the answer is what is waited for."""


class HTTPClients:
    """The connection pools of one event loop, the quotas that its requests wait for, and their recorder.

    Loopback gets a pool of its own that ignores proxy variables: a proxy cannot reach this machine's
    loopback, and must not be shown a key that was allowed to travel unencrypted because it stays here.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self.cooldowns = Cooldowns()
        self.recorder: Recorder | None = None
        """Writes down what requests receive; None where nobody wants it."""

    def client_for(self, url: str) -> httpx.AsyncClient:
        """Return the client for this URL.

        Raises:
            ConfigError: the URL is none, or the environment names a proxy of an unknown kind, or certificates
                that are not there.
        """
        try:
            local = is_loopback(urlsplit(url).hostname or "")
        except ValueError as error:
            raise failures.not_made(error) from None
        client = self._clients.get(local)
        if client is None:
            client = self._clients[local] = _make_client(trust_env=not local)
        return client

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()


def _make_client(*, trust_env: bool) -> httpx.AsyncClient:
    import httpx  # noqa: PLC0415 - with aiohttp half a second, imported when the first stream starts

    from gemini_nb.api.transport import Client  # noqa: PLC0415 - see above

    if trust_env:
        _check_proxies()
    # A cookie of one key's answers would go along with another key's requests.
    no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    try:
        return Client(
            cookies=no_cookies,
            limits=httpx.Limits(keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=trust_env,
        )
    except OSError as error:
        raise _bad_certificates(error) from None
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _bad_proxy(error) from None


def _check_proxies() -> None:
    """Refuse what httpx takes and its transport stumbles over at every request."""
    from urllib.request import getproxies  # noqa: PLC0415 - a web client of its own, for one function

    proxies = getproxies()  # where httpx looks, too
    for kind in ("http", "https", "all"):
        proxy = proxies.get(kind, "")
        try:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if proxy and not usable:
            raise _bad_proxy(ValueError(f"{kind}_proxy={proxy}"))


def _bad_proxy(error: Exception) -> ConfigError:
    """The error for proxy variables that cannot be used."""
    return ConfigError(
        f"The proxy of the environment cannot be used: {_without_password(str(error))}",
        hint="See HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; only http and https proxies are supported.",
    )


def _without_password(text: str) -> str:
    before, at, after = text.rpartition("@")
    return excerpt(f"{before.partition('://')[0]}://…@{after}" if at else text)


def _bad_certificates(error: OSError) -> ConfigError:
    """The error for certificates of the environment that cannot be read."""
    return ConfigError(
        f"The certificates of the environment cannot be used: {excerpt(str(error))}",
        hint="See SSL_CERT_FILE and SSL_CERT_DIR.",
    )


class IdleTimeout:
    """Limits how long one reader waits for a peer that sends nothing, at no cost per chunk.

    `asyncio.timeout` around every read, or a timer moved at every chunk, is work for each of thousands of
    chunks. Here one timer is armed; a chunk only notes the time, and the timer looks at the note when it goes
    off. It cancels nothing but the wait that it guards, since the reader of an async generator may be
    suspended elsewhere, in code that is none of its business. All waits are one task's.

    Args:
        seconds: how long one wait may take; change it at any time through the attribute of this name.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._since: float | None = None
        self._expired = False
        self._timer = self._loop.call_later(seconds, self._check)

    @property
    def seconds(self) -> float:
        """How long one wait may take."""
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        shorter = seconds < self._seconds
        self._seconds = seconds
        if shorter:
            # The armed timer would look at the note too late.
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._check)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something of the peer's.

        Raises:
            IdleTimeoutError: it took longer than `seconds`.
        """
        self._since = self._loop.time()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._expired and self._task is not None and self._task.uncancel() == 0:
                raise IdleTimeoutError(
                    f"The server sent nothing for {self._seconds:g} s.",
                    hint="It may be overloaded, or the connection is dead. A longer `timeout` waits longer.",
                ) from None
            raise
        finally:
            self._since = None

    def begin(self, seconds: float) -> None:
        """Count anew, in the middle of a wait: its first part is over, and its second may take so long."""
        self._since = self._loop.time()
        self.seconds = seconds

    def close(self) -> None:
        """Disarm the timer."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        start = now if self._since is None else self._since
        if self._since is not None and self._task is not None and now >= start + self._seconds:
            self._expired = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(start + self._seconds, self._check)
