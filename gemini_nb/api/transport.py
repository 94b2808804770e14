"""aiohttp under httpx, made to notice what it forgets.

When bytes in the middle of an answer are not HTTP, aiohttp's compiled parser drops the answer's reader before
it raises. The connection is closed, the reader hears nothing of it, and only the idle timeout, minutes later,
ends the wait. So each response here asks its connection to tell it when it closes. And each connection
remembers since when it rests: one that its server gave up just then has read nothing of the next request.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from gemini_nb.api.http import on_connected

if TYPE_CHECKING:
    import httpx
    from aiohttp.connector import Connection

__all__ = ["Client"]


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
            error.gemini_nb_rested = rested  # type: ignore[union-attr]  # for `connections.was_stale`
            raise
        if protocol is None or not hasattr(protocol, "closed"):  # an aiohttp older than 3.12
            return self
        closed = protocol.closed
        if closed is None:  # it has closed already
            _end(self.content)
            return self
        # The future is the connection's, which outlives the response, and somebody must look at its result.
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


class Client(HttpxAiohttpClient):
    """httpx's client over this transport; it takes what httpx's own takes, proxies of the environment too."""

    def _init_transport(self, *args: Any, **options: Any) -> httpx.AsyncBaseTransport:
        return options.pop("transport", None) or _Transport(*args, **options)

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *args: Any, **options: Any
    ) -> httpx.AsyncBaseTransport:
        options["proxy"] = proxy
        return _Transport(*args, **options)
