"""HTTP for one event loop: connection pools, how a request is sent, and a timeout on silence.

The pools are httpx's interface over aiohttp's transport, where a chunk that arrives by itself costs less than
half the processor time that it costs in httpx's own (`tests/benchmarks` compares them). Only its client
class, not the bare transport, honours the proxy variables.

Two things are mended that aiohttp forgets. When bytes in the middle of an answer are not HTTP, its compiled
parser drops the answer's reader before it raises: the connection is closed, the reader hears nothing of it,
and only the idle timeout, minutes later, ends the wait. So each response here learns from its connection when
that closes. And each connection remembers since when it rests: one that its server gave up just then has read
nothing of the next request.

Importing this takes half a second, so it is imported when the first stream starts.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from gemini_nb.api import failures
from gemini_nb.api.outages import Outages
from gemini_nb.api.retry import Cooldowns
from gemini_nb.config import is_loopback
from gemini_nb.errors import ConfigError, GeminiError, IdleTimeoutError
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    from aiohttp.connector import Connection

__all__ = ["HTTPClients", "IdleTimeout"]

T = TypeVar("T")
_LARGE = 256 * 1024
_RESTED = 1.0  # seconds; no server keeps an idle connection for less

_on_connected: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar(
    "gemini_nb_on_connected", default=None
)
"""Called by the transport when a connection stands and the answer is what is waited for."""


class HTTPClients:
    """The connection pools of one event loop, and the quotas that its requests wait for.

    Loopback gets a pool of its own that ignores proxy variables: a proxy cannot reach this machine's
    loopback, and must not be shown a key that was allowed to travel unencrypted because it stays here.
    """

    def __init__(self) -> None:
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self.cooldowns = Cooldowns()
        self.outages = Outages()

    def _client_for(self, url: str) -> httpx.AsyncClient:
        """Return the client for this URL.

        Raises:
            ConfigError: the URL is none, or the environment names a proxy of an unknown kind, or certificates
                that are not there.
        """
        try:
            local = is_loopback(urlsplit(url).hostname or "")
        except ValueError as error:
            raise _not_made(error) from None
        client = self._clients.get(local)
        if client is None:
            client = self._clients[local] = _make_client(trust_env=not local)
        return client

    def idle_timeout(self, connect: float, first_byte: float) -> IdleTimeout:
        """Return a timeout for one request: on connecting, and from then on until the answer begins."""
        idle = IdleTimeout(connect + first_byte)
        _on_connected.set(functools.partial(idle.begin, first_byte))
        return idle

    async def post(
        self, url: str, headers: Mapping[str, str], content: bytes, *, connect: float, idle: IdleTimeout
    ) -> httpx.Response:
        """Send a request and return the response, its body unread.

        Args:
            url: where it goes.
            headers: the headers that prove who asks.
            content: the body, JSON.
            connect: seconds until a connection stands.
            idle: limits the wait for the answer.

        Raises:
            ConfigError: it cannot be put together.
            GeminiError: it got no answer.
        """
        client = self._client_for(url)
        response = None
        while response is None:  # as often as the pool holds a connection that its server has given up
            response = await _send(client, _request(client, url, headers, content, connect), idle)
        return response

    async def upload(
        self,
        url: str,
        headers: Mapping[str, str],
        pieces: Callable[[], AsyncIterator[bytes]],
        *,
        connect: float,
        idle: IdleTimeout,
    ) -> httpx.Response:
        """Post a body that is made while it is sent, and return the response, its body read.

        Args:
            url: where it goes.
            headers: all headers, Content-Length among them.
            pieces: yields the body; called again where the connection turns out to be closed.
            connect: seconds until a connection stands.
            idle: limits the wait for the answer; who yields the pieces begins it anew with each.

        Raises:
            ConfigError: it cannot be put together.
            GeminiError: it got no whole answer.
        """
        client = self._client_for(url)
        response = None
        while response is None:
            response = await _send(client, _built(client, url, headers, pieces(), connect), idle)
        try:
            await idle.wait(response.aread())
        except GeminiError:
            raise
        except Exception as error:  # noqa: BLE001 - each transport has its own exceptions
            raise failures.broken(error, urlsplit(url).hostname or "") from None
        finally:
            await response.aclose()
        return response

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        seconds: float,
        content: bytes | None = None,
        method: str | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Get a URL, and return the answer's status, headers and body.

        Args:
            url: what to get.
            headers: the headers that prove who asks.
            seconds: how long it may take.
            content: a body to send, which makes it a POST.
            method: another method.

        Raises:
            ConfigError: it cannot be put together.
            GeminiError: it got no answer.
        """
        client = self._client_for(url)
        method = method or ("GET" if content is None else "POST")
        try:
            response = await client.request(
                method, url, headers=dict(headers), content=content, timeout=seconds
            )
        except Exception as error:  # noqa: BLE001 - each transport has its own exceptions
            raise failures.not_sent(error, urlsplit(url).hostname or "") from None
        return response.status_code, response.headers, response.content

    async def aclose(self) -> None:
        """Close every connection."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()


def _request(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], content: bytes, connect: float
) -> httpx.Request:
    body = _pieces(content) if len(content) > _LARGE else content
    own = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Accept": "text/event-stream",
    }
    return _built(client, url, {**headers, **own}, body, connect)


def _built(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    content: bytes | AsyncIterator[bytes],
    connect: float,
) -> httpx.Request:
    # aiohttp finds this out when it has connected, and forgets to close the connection.
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise _not_made(ValueError("a header holds a character that no header can hold"))
    try:
        return client.build_request(
            "POST",
            _parsed(url),
            content=content,
            headers=dict(headers),
            # In this transport `pool` covers all of connecting, the name look-up and a proxy's answer, too.
            timeout=httpx.Timeout(None, connect=connect, pool=connect),
        )
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise _not_made(error) from None


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    # aiohttp warns of large bodies in one piece: they would all be copied into the socket's buffer at once.
    for start in range(0, len(content), _LARGE):
        yield content[start : start + _LARGE]


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, idle: IdleTimeout
) -> httpx.Response | None:
    """Return the answer, or None where the connection had been closed before the request went out on it."""
    try:
        return await idle.wait(client.send(request, stream=True))
    except GeminiError:
        raise
    except Exception as error:  # noqa: BLE001 - each transport has its own exceptions
        if _was_stale(error):
            return None
        raise failures.not_sent(error, request.url.host) from None


def _was_stale(error: Exception) -> bool:
    """Whether an idle connection was closed just as it was to be used again.

    Servers close idle connections when they like, and then have read nothing of the request.
    """
    cause = error.__cause__ or error
    unread = isinstance(getattr(cause, "message", None), (str, NoneType))
    rested: float = getattr(cause, "gemini_nb_rested", -1.0)
    return unread and rested >= _RESTED


def _not_made(error: Exception) -> ConfigError:
    """Return the error for a URL or a header that cannot be put into a request."""
    # A UnicodeEncodeError would show the header's text.
    reason = error.reason if isinstance(error, UnicodeEncodeError) else str(error)
    return ConfigError(
        f"The request cannot be put together: {excerpt(reason)}",
        hint="Check the base URL and the key or token.",
    )


def _make_client(*, trust_env: bool) -> httpx.AsyncClient:
    if trust_env:
        _check_proxies()
    try:
        return _Client(
            limits=httpx.Limits(keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=trust_env,
        )
    except OSError as error:
        raise _bad_certificates(error) from None
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _bad_proxy(error) from None


def _check_proxies() -> None:
    """Refuse a proxy that httpx accepts and its transport fails on at every request."""
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
    """Return the error for proxy variables that cannot be used."""
    return ConfigError(
        f"The proxy of the environment cannot be used: {_without_password(str(error))}",
        hint="See HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; only http and https proxies are supported.",
    )


def _without_password(text: str) -> str:
    before, at, after = text.rpartition("@")
    return excerpt(f"{before.partition('://')[0]}://…@{after}" if at else text)


def _bad_certificates(error: OSError) -> ConfigError:
    """Return the error for certificates of the environment that cannot be read."""
    return ConfigError(
        f"The certificates of the environment cannot be used: {excerpt(str(error))}",
        hint="See SSL_CERT_FILE and SSL_CERT_DIR.",
    )


class _NoCookies(httpx.Cookies):
    """Keeps none: a cookie of one key's answers would go along with another key's requests."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep none."""


_NO_COOKIES = _NoCookies()
_parsed = functools.lru_cache(maxsize=64)(httpx.URL)  # to parse one costs as much as to decode an answer


class _Client(HttpxAiohttpClient):
    """httpx's client over this transport; it takes what httpx's own takes, proxies of the environment too."""

    @property
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, _: object) -> None:
        raise AttributeError("This client keeps no cookies.")

    def _init_transport(self, *args: Any, **options: Any) -> httpx.AsyncBaseTransport:
        return options.pop("transport", None) or _Transport(*args, **options)

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *args: Any, **options: Any
    ) -> httpx.AsyncBaseTransport:
        options["proxy"] = proxy
        return _Transport(*args, **options)


class _Transport(AiohttpTransport):
    def get_client(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # no limit; aiohttp's default is 100 connections
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
        )
        return aiohttp.ClientSession(
            connector=connector, response_class=_Response, cookie_jar=aiohttp.DummyCookieJar()
        )


class _Response(aiohttp.ClientResponse):
    """A response that ends with its connection, in whatever way that ended."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol: Any = connection.protocol
        if (connected := _on_connected.get()) is not None:
            connected()
        rested = time.monotonic() - getattr(protocol, "gemini_nb_rests_since", math.inf)
        try:
            await super().start(connection)
        except (aiohttp.ClientConnectionError, OSError) as error:
            vars(error)["gemini_nb_rested"] = rested  # for `_was_stale`
            raise
        if protocol is None or not hasattr(protocol, "closed"):  # an aiohttp older than 3.12
            return self
        closed = protocol.closed
        if closed is None:  # it has closed already
            _end(self.content)
            return self
        # The future is the connection's, which outlives the response; its result must be retrieved.
        closed.remove_done_callback(_look_at)
        closed.add_done_callback(_look_at)
        end = functools.partial(_end, self.content)
        closed.add_done_callback(end)
        self.content.on_eof(functools.partial(_forget, closed, end, protocol))
        return self


def _forget(
    closed: asyncio.Future[None], end: Callable[[asyncio.Future[None]], object], protocol: Any
) -> None:
    closed.remove_done_callback(end)
    protocol.gemini_nb_rests_since = time.monotonic()


def _look_at(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()


def _end(content: aiohttp.StreamReader, _: object = None) -> None:
    if not content.is_eof() and content.exception() is None:
        content.set_exception(aiohttp.ClientPayloadError("what came in the middle of it was not HTTP"))


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
        self._task: asyncio.Task[object] | None = asyncio.current_task()
        self._since: float | None = None
        self._expired = self._closed = False
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._check)

    @property
    def seconds(self) -> float:
        """How long one wait may take."""
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        shorter = seconds < self._seconds
        self._seconds = seconds
        if shorter and self._timer is not None:
            # The armed timer would look at the note too late.
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, self._check)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something that depends on the peer.

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
        """Restart the timeout in the middle of a wait, whose second part may take so long."""
        if self._closed:  # a later request of the same task has connected
            return
        self._since = self._loop.time()
        self.seconds = seconds

    def close(self) -> None:
        """Disarm the timer. Task, context and timer lead to each other; what is left holds none of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task = None

    def _check(self) -> None:
        now = self._loop.time()
        start = now if self._since is None else self._since
        if self._since is not None and self._task is not None and now >= start + self._seconds:
            self._expired = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(start + self._seconds, self._check)
