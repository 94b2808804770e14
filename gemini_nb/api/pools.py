"""The connection pools: httpx's interface over aiohttp's transport.

A chunk that arrives by itself costs less than half the processor time there that it costs in httpx's own
transport (`tests/benchmarks` compares them). Only its client class, not the bare transport, honours the proxy
variables.
"""

from __future__ import annotations

import http.cookiejar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gemini_nb.api import failures
from gemini_nb.api.cooldown import Cooldowns
from gemini_nb.config import is_loopback

if TYPE_CHECKING:
    import httpx

    from gemini_nb.api.recorder import Recorder

__all__ = ["HTTPClients"]


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
        raise failures.bad_certificates(error) from None
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise failures.bad_proxy(error) from None


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
            raise failures.bad_proxy(ValueError(f"{kind}_proxy={proxy}"))
