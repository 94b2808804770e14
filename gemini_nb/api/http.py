"""HTTP for one event loop: connection pools, how a request is sent, and a timeout on silence.

Importing this takes half a second, so it is imported when the first stream starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httpx

from gemini_nb.api import failures
from gemini_nb.api.outages import Outages
from gemini_nb.api.retry import Cooldowns
from gemini_nb.api.transport import Client, known_certificates, make_client, on_connected, was_stale
from gemini_nb.config import is_loopback
from gemini_nb.errors import ConfigError, GeminiError, IdleTimeoutError
from gemini_nb.redaction import excerpt

T = TypeVar("T")
_LARGE = 256 * 1024
_LOOK = 30.0  # seconds between two looks of a timeout at the clock; most changes then need no new timer


def import_late_parts() -> None:
    """Import and read what a client needs when it is made, which is on the loop and would hold it up."""
    with contextlib.suppress(OSError):  # it is reported where the client is made
        known_certificates()


class HTTPClients:
    """The connection pools of one event loop, and the quotas that its requests wait for.

    Loopback gets a pool of its own that ignores proxy variables: a proxy cannot reach this machine's
    loopback, and must not be shown a key that was allowed to travel unencrypted because it stays here.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[bool, bool], Client] = {}
        self.cooldowns = Cooldowns()
        self.outages = Outages()

    def _client_for(self, url: str) -> Client:
        """Return the client for this URL.

        Raises:
            ConfigError: the URL is none, or the environment names a proxy of an unknown kind, or certificates
                that are not there.
        """
        try:
            parts = urlsplit(url)
            local = is_loopback(parts.hostname or "")
        except ValueError as error:
            raise _not_made(error) from None
        # Certificates that cannot be read must not keep the simulator from answering.
        kind = local, not local or parts.scheme == "https"
        client = self._clients.get(kind)
        if client is None:
            client = self._clients[kind] = make_client(trust_env=not local, own_certificates=kind[1])
        return client

    def idle_timeout(self, connect: float, first_byte: float) -> IdleTimeout:
        """Return a timeout for one request: on connecting, and from then on until the answer begins."""
        idle = IdleTimeout(connect + first_byte)
        on_connected.set(functools.partial(idle.begin, first_byte))
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
    client: Client, url: str, headers: Mapping[str, str], content: bytes, connect: float
) -> httpx.Request:
    body = _pieces(content) if len(content) > _LARGE else content
    own = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Accept": "text/event-stream",
    }
    return _built(client, url, {**headers, **own}, body, connect)


def _built(
    client: Client,
    url: str,
    headers: Mapping[str, str],
    content: bytes | AsyncIterator[bytes],
    connect: float,
) -> httpx.Request:
    # aiohttp finds this out when it has connected, and forgets to close the connection.
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise _not_made(ValueError("a header holds a character that no header can hold"))
    # In this transport `pool` covers all of connecting, the name look-up and a proxy's answer, too.
    timeout = {"connect": connect, "pool": connect}
    stream = (
        httpx.ByteStream(content) if isinstance(content, bytes) else cast("httpx.AsyncByteStream", content)
    )
    try:
        request = httpx.Request("POST", _parsed(url), stream=stream, extensions={"timeout": timeout})
        # aiohttp takes any mapping; httpx's own parses each header when made, and again when read.
        lowered = client.defaults | {name.lower(): value for name, value in headers.items()}
        request.headers = cast("httpx.Headers", lowered)
        if isinstance(stream, httpx.ByteStream):
            request.read()
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        raise _not_made(error) from None
    return request


@functools.lru_cache(maxsize=64)  # to parse one costs as much as to decode an answer
def _parsed(url: str) -> httpx.URL:
    parsed = httpx.URL(url)
    _ = parsed.host  # decoded here, where an invalid name raises
    return parsed


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    # aiohttp warns of large bodies in one piece: they would all be copied into the socket's buffer at once.
    for start in range(0, len(content), _LARGE):
        yield content[start : start + _LARGE]


async def _send(client: Client, request: httpx.Request, idle: IdleTimeout) -> httpx.Response | None:
    """Return the answer, or None where the connection had been closed before the request went out on it."""
    try:
        return await idle.wait(client.ask(request))
    except GeminiError:
        raise
    except Exception as error:  # noqa: BLE001 - each transport has its own exceptions
        if was_stale(error):
            return None
        raise failures.not_sent(error, request.url.host) from None


def _not_made(error: Exception) -> ConfigError:
    """Return the error for a URL or a header that cannot be put into a request."""
    # A UnicodeEncodeError would show the header's text.
    reason = error.reason if isinstance(error, UnicodeEncodeError) else str(error)
    return ConfigError(
        f"The request cannot be put together: {excerpt(reason)}",
        hint="Check the base URL and the key or token.",
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
        self._task: asyncio.Task[object] | None = asyncio.current_task()
        self._since: float | None = None
        self._expired = self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._arm(self._loop.time() + seconds)

    @property
    def seconds(self) -> float:
        """How long one wait may take."""
        return self._seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self._seconds = seconds
        end = self._loop.time() + seconds
        if self._timer is not None and end < self._timer.when():  # it would look at the note too late
            self._timer.cancel()
            self._arm(end)

    def _arm(self, end: float) -> None:
        self._timer = self._loop.call_at(min(end, self._loop.time() + _LOOK), self._check)

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
            self._arm(start + self._seconds)
