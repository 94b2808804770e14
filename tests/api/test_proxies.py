from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import certifi
import pytest

from calling import KEY, NOW, ask, shown
from gemini_nb.api import transport
from gemini_nb.api.call import Timeouts
from gemini_nb.api.http import HTTPClients
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import (
    ConfigError,
    ConnectError,
)
from scripted import (
    ScriptedServer,
    Wait,
    answer,
    sse_answer,
    text,
)

ONCE = RetryPolicy(attempts=1)
FINISHED = sse_answer(text("Hello", finish="STOP"))
HOST = "http://gemini.test"


@pytest.fixture
async def clients() -> AsyncIterator[HTTPClients]:
    pools = HTTPClients()
    yield pools
    await pools.aclose()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with ScriptedServer([FINISHED]) as proxy:
        monkeypatch.setenv(name, proxy.url)
        outcome = await ask(clients, HOST)
        [request] = proxy.requests
    assert outcome.text == "Hello"
    assert request.target == f"{HOST}/v1beta/models/gemini-test:streamGenerateContent?alt=sse"
    assert request.headers["x-goog-api-key"] == KEY


@pytest.mark.filterwarnings(
    "ignore:.*(BasicAuth|proxy_auth).* deprecated:DeprecationWarning"
)  # httpx-aiohttp's
async def test_a_proxy_that_asks_who_comes(clients: HTTPClients, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer([FINISHED]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hidden@127.0.0.1:{proxy.port}")
        assert (await ask(clients, HOST)).text == "Hello"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6aGlkZGVu"


async def test_a_tunnel_is_shown_no_key(clients: HTTPClients, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer([answer(407)]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        outcome = await ask(clients, "https://gemini.test", retry=ONCE)
        [request] = proxy.requests
    assert (request.method, request.target) == ("CONNECT", "gemini.test:443")
    assert KEY not in str(request.headers)
    assert isinstance(outcome.failure, ConnectError)
    assert "407" in outcome.failure.message


async def test_a_proxy_that_never_answers(clients: HTTPClients, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = Timeouts(connect=0.2, first_byte=3600, idle=3600)
    with ScriptedServer([[Wait()]]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        outcome = await ask(clients, "https://gemini.test", retry=ONCE, timeouts=timeouts)
    assert isinstance(outcome.failure, ConnectError)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_for_this_machine(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with ScriptedServer([]) as proxy, ScriptedServer([FINISHED]) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await ask(clients, f"http://{host}:{server.port}")).text == "Hello"
        assert proxy.requests == []


async def test_no_proxy_where_the_person_wants_none(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.0.0.0 reaches this machine, too, and is not known as loopback.
    with ScriptedServer([]) as proxy, ScriptedServer([FINISHED]) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "0.0.0.0")
        assert (await ask(clients, f"http://0.0.0.0:{server.port}")).text == "Hello"
        assert proxy.requests == []


@pytest.mark.parametrize(
    "proxy", ["ftp://127.0.0.1:1", "socks5://me:hidden@127.0.0.1:1", "http://[", "http://a:b"]
)
async def test_a_proxy_variable_that_cannot_be_used(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    failure = (await ask(clients, HOST, retry=NOW)).failure
    assert isinstance(failure, ConfigError)
    assert "HTTP_PROXY" in failure.hint
    assert "hidden" not in shown(failure)


async def test_certificates_that_are_not_there(clients: HTTPClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    failure = (await ask(clients, HOST)).failure
    assert isinstance(failure, ConfigError)
    assert "SSL_CERT_FILE" in failure.hint


async def test_certificates_of_the_environment_count_on_this_machine_too(
    clients: HTTPClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    failure = (await ask(clients, "https://127.0.0.1:1")).failure
    assert isinstance(failure, ConfigError)
    assert "SSL_CERT_FILE" in failure.hint
    with ScriptedServer([FINISHED]) as server:  # which needs none
        assert (await ask(clients, server.url)).text == "Hello"


async def test_certificates_are_read_once_for_all_clients_and_proxies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[dict[str, Any]] = []
    real = ssl.create_default_context

    def count(**options: Any) -> ssl.SSLContext:
        read.append(options)
        return real(**options)

    monkeypatch.setattr(ssl, "create_default_context", count)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    transport._read_certificates.cache_clear()
    for trust_env in (True, False, True):
        await transport.make_client(trust_env=trust_env, own_certificates=trust_env).aclose()
    assert len(read) == 1
    with monkeypatch.context() as injected:  # as truststore does, for the certificates of a company's proxy
        injected.setattr(ssl, "SSLContext", type("SSLContext", (ssl.SSLContext,), {}))
        injected.setattr(ssl, "create_default_context", lambda **options: read.append(options))
        transport.known_certificates()
    assert len(read) == 2
    read.pop()
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    for number in (2, 3):  # the file may have been mended
        await transport.make_client(trust_env=True, own_certificates=True).aclose()
        assert len(read) == number
