"""The transport beneath httpx's clients: aiohttp's, with the proxies and certificates of the environment.

The pools are httpx's interface over aiohttp's transport, where a chunk that arrives by itself costs less than
half the processor time that it costs in httpx's own (`tests/benchmarks` compares them). Only its client
class, not the bare transport, honours the proxy variables.

Two things are mended that aiohttp forgets. When bytes in the middle of an answer are not HTTP, its compiled
parser drops the answer's reader before it raises: the connection is closed, the reader hears nothing of it,
and only the idle timeout, minutes later, ends the wait. So each response here learns from its connection when
that closes. And each connection remembers since when it rests: one that its server gave up just then has read
nothing of the next request.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import os
import ssl
import time
from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from gemini_nb.errors import ConfigError
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_RESTED = 1.0  # seconds; no server keeps an idle connection for less

on_connected: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar(
    "gemini_nb_on_connected", default=None
)
"""Called by the transport when a connection stands and the answer is what is waited for."""


def make_client(*, trust_env: bool, own_certificates: bool) -> Client:
    """Return a client with a pool of its own.

    Args:
        trust_env: whether the proxies of the environment count.
        own_certificates: whether the certificates that the environment names count.

    Raises:
        ConfigError: a proxy or the certificates of the environment cannot be used.
    """
    if trust_env:
        _check_proxies()
    try:
        return Client(
            verify=_certificates() if own_certificates else known_certificates(),
            limits=httpx.Limits(keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=trust_env,
        )
    except OSError as error:
        raise _bad_certificates(error) from None
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _bad_proxy(error) from None


def known_certificates() -> ssl.SSLContext:
    """Return the authorities that certifi names, read once in a process.

    To read them takes a processor longer than many requests together, and httpx would read them for each
    client and for each of its proxies, on the loop. They are read anew where `truststore` has put the
    system's own in their place, or a log of keys is asked for.

    Raises:
        OSError: they are not there.
    """
    return _read_certificates(ssl.SSLContext, os.environ.get("SSLKEYLOGFILE"))


@functools.lru_cache(maxsize=4)
def _read_certificates(_kind: type[ssl.SSLContext], _key_log: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _certificates() -> ssl.SSLContext:
    """Return those that the environment names, whose file may have been mended meanwhile, or certifi's."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return httpx.create_ssl_context()
    return known_certificates()


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


def was_stale(error: Exception) -> bool:
    """Whether an idle connection was closed just as it was to be used again.

    Servers close idle connections when they like, and then have read nothing of the request.
    """
    cause = error.__cause__ or error
    unread = isinstance(getattr(cause, "message", None), (str, NoneType))
    rested: float = getattr(cause, "gemini_nb_rested", -1.0)
    return unread and rested >= _RESTED


class _NoCookies(httpx.Cookies):
    """A jar that stays empty: a cookie of one key's answers would go along with another key's requests."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take no cookie from a response."""


_NO_COOKIES = _NoCookies()


class Client(HttpxAiohttpClient):
    """httpx's client over this transport; it takes what httpx's own takes, proxies of the environment too.

    Attributes:
        defaults: the headers of every request, by their names in lower case.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.defaults = dict(self.headers)

    async def ask(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response, its body unread.

        httpx's `send` also handles redirects, cookies, hooks and authentication, which no request here has,
        and wraps the body in one more generator, which every chunk would pay for.
        """
        response = await self._transport_for_url(request.url).handle_async_request(request)
        response.request = request
        return response

    @property
    def cookies(self) -> httpx.Cookies:
        """A jar that stays empty."""
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
        if (connected := on_connected.get()) is not None:
            connected()
        rested = time.monotonic() - getattr(protocol, "gemini_nb_rests_since", math.inf)
        try:
            await super().start(connection)
        except (aiohttp.ClientConnectionError, OSError) as error:
            vars(error)["gemini_nb_rested"] = rested  # for `was_stale`
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
