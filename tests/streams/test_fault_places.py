"""Faults on the way to the server, between rounds of tools, and what a person is told meanwhile."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import math
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from answers import PATIENCE
from asking import Asker, Reader, check, count
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.config import Settings
from gemini_nb.errors import APIError, ConnectError, GeminiError
from gemini_nb.simulator import Simulator
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from scripted import ScriptedServer, answer

WEATHER = "What is the weather in Paris and Rome?"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as running:
        yield running


@pytest.fixture
def asker(simulator: Simulator) -> Iterator[Asker]:
    simulator.faults = None
    manager = StreamManager(settings=Settings(allow_http=True))
    yield Asker(simulator, manager)
    manager.shutdown()


def failure_of(stream: Stream, *says: str, attempts: int = 5) -> GeminiError:
    assert (stream.status, stream.text, stream.retries) == ("error", "", attempts - 1)
    assert stream.error is not None
    assert stream.error.attempts == attempts
    for words in says:
        assert words in str(stream.error)
    return stream.error


# ------------------------------------------------------------------ tools


@pytest.mark.parametrize(
    ("faults", "retries"),
    [
        (("cut=1",), 1),
        (("cut=2~how=rst",), 1),
        (("no-finish",), 1),
        (("reset", "error=503~error-after=1"), 2),
        (("continuation=1",), 0),
        (("checkpoint=1~cut=2",), 1),
        ((None, "reset"), 1),
        ((None, "503~body=html"), 1),
        ((None, "429~retry-info=0.02", "close"), 2),
        ((None, "cut=0"), 1),
        ((None, "cut=5"), 1),
        ((None, "cut=5~how=end"), 1),
        ((None, "cut=5", "cut=9~how=rst", "cut=1"), 3),
        ((None, "no-finish"), 1),
        ((None, "error=503~error-after=4~error-form=raw"), 1),
        ((None, "checkpoint=3~cut=5~how=rst"), 1),
        ((None, "continuation=3"), 0),
        ((None, "empty=role"), 1),
        (("cut=1", None, "cut=3", "reset"), 3),
    ],
    ids=str,
)
def test_a_fault_between_tools_never_runs_one_again(asker: Asker, faults: Any, retries: int) -> None:
    ran: list[str] = []

    def weather(city: str) -> str:
        """Look the weather up."""
        ran.append(city)
        return f"sunny in {city}"

    whole = asker.whole(WEATHER, tools=[weather])
    ran.clear()
    asker.simulator.faults = faults
    stream = asker.ask(WEATHER, tools=[weather])
    assert (stream.status, stream.text, stream.retries) == ("completed", whole, retries)
    assert sorted(ran) == ["Paris", "Rome"]
    assert [call.status for call in stream.tool_calls] == ["done", "done"]
    for kind in ("tool_call_requested", "tool_call_started", "tool_call_finished"):
        assert count(stream, kind) == 2
    # What goes back to the model is the round as it was in the request that did not break.
    calls = [part for part in stream.parts if "functionCall" in part]
    assert len(calls) == 2
    assert "thoughtSignature" in calls[0]


def test_tools_that_ran_are_kept_where_the_next_call_fails_for_good(asker: Asker) -> None:
    def weather(city: str) -> str:
        """Look the weather up."""
        return f"sunny in {city}"

    asker.simulator.faults = [None, "cut=3", "403"]
    stream = asker.ask(WEATHER, tools=[weather])
    assert stream.status == "error"
    assert isinstance(stream.error, APIError)
    assert [call.result for call in stream.tool_calls] == ["sunny in Paris", "sunny in Rome"]
    assert stream.text.startswith("Let me call")
    assert stream.answer


# ------------------------------------------------------------------ the way to the server


def test_a_server_that_is_started_again(asker: Asker) -> None:
    whole = asker.whole()
    asker.simulator.refuse(0.3)
    stream = asker.ask(retry=RetryPolicy(initial_delay=0.2, max_delay=0.2, attempts=20))
    assert (stream.status, stream.text) == ("completed", whole)
    assert stream.retries > 0


def test_an_outage_in_the_middle_of_an_answer(asker: Asker) -> None:
    whole = asker.whole()
    asker.simulator.faults = ["stall=5"]
    seen, reader = threading.Event(), Reader()

    def subscriber(event: Any) -> None:
        reader(event)
        if len(reader.text) > 10:
            seen.set()

    stream = asker.start(
        subscriber=subscriber, retry=RetryPolicy(initial_delay=0.2, max_delay=0.2, attempts=20)
    )
    assert seen.wait(PATIENCE)
    asker.simulator.refuse(0.3)
    stream.wait(PATIENCE)
    check(stream, reader)
    assert (stream.status, stream.text, count(stream, "text_rewound")) == ("completed", whole, 1)


def test_a_server_that_is_gone_for_good(asker: Asker) -> None:
    asker.simulator.refuse(math.inf)
    try:
        stream = asker.ask()
    finally:
        asker.simulator.refuse(0)
    error = failure_of(stream, "No connection to 127.0.0.1: Connection refused.", "Gave up after 5 attempts")
    assert isinstance(error, ConnectError)
    assert "base URL" in error.hint


def test_a_name_without_an_address(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def nobody(host: Any, *args: Any, **options: Any) -> Any:
        if host == "gemini.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    stream = asker.ask(base_url="https://gemini.test")
    error = failure_of(stream, "No address is known for gemini.test: Name or service not known.")
    assert isinstance(error, ConnectError)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@contextlib.contextmanager
def tls_server(certificate: Path) -> Iterator[tuple[int, list[str]]]:
    """A server that shakes hands and hangs up: its port, and what came of each handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handshakes: list[str] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                connection.settimeout(PATIENCE)
                try:
                    context.wrap_socket(connection, server_side=True).close()
                    handshakes.append("done")
                except (ssl.SSLError, OSError) as error:
                    handshakes.append(str(error))
                finally:
                    connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1], handshakes
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)


def test_a_certificate_that_nobody_trusts_fails_at_once(asker: Asker, certificate: Path) -> None:
    with tls_server(certificate) as (port, handshakes):
        stream = asker.ask(base_url=f"https://127.0.0.1:{port}")
        error = failure_of(stream, "certificate of 127.0.0.1 is not trusted: self-signed", attempts=1)
    assert len(handshakes) == 1
    assert isinstance(error, ConnectError)
    assert error.is_permanent
    assert "SSL_CERT_FILE" in error.hint


def test_a_port_without_tls_fails_at_once(asker: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_speak_http, args=(listener,))
        thread.start()
        stream = asker.ask(base_url=f"https://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(PATIENCE)
    error = failure_of(stream, "127.0.0.1 does not speak TLS on this port", attempts=1)
    assert isinstance(error, ConnectError)


def _speak_http(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.recv(10_000)


@pytest.mark.parametrize(("status", "attempts"), [(407, 1), (403, 1), (503, 5)])
def test_a_proxy_that_refuses_the_tunnel(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, status: int, attempts: int
) -> None:
    with ScriptedServer([answer(status)] * attempts) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        stream = asker.ask(base_url="https://gemini.test")
        assert len(proxy.requests) == attempts
    error = failure_of(stream, f"The proxy on the way to gemini.test refused: {status}", attempts=attempts)
    assert isinstance(error, ConnectError)
    assert "HTTPS_PROXY" in error.hint


def test_a_proxy_that_wants_a_password_without_a_tunnel(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer([answer(407)]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        stream = asker.ask(base_url="http://gemini.test")
    error = failure_of(stream, "407", "name:password@proxy", attempts=1)
    assert error.status_code == 407


def test_a_proxy_that_is_not_there(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    failure_of(
        asker.ask(base_url="https://gemini.test"), "The proxy on the way to gemini.test cannot be reached"
    )


# ------------------------------------------------------------------ what a person is told


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            "429~retry-info=58.93~quota",
            "429: quota for gemini-3.8-flash; the server asks to wait 58.9 s; retrying.",
        ),
        (
            "429~retry-after=20",
            "429: quota for gemini-3.8-flash; the server asks to wait 20 s; retrying.",
        ),
        ("503", "503 UNAVAILABLE: The model is overloaded; retrying."),
        ("502~body=html", "502: Error 502 (Simulated)!!1; retrying."),
        (
            "reset",
            "127.0.0.1 closed the connection before it answered: Connection reset by peer; retrying.",
        ),
        ("cut=3", "The connection to 127.0.0.1 was closed in the middle of the answer; retrying."),
        ("empty=role", "The model ended without a word; retrying."),
    ],
)
def test_why_and_when_it_is_asked_again(asker: Asker, fault: str, reason: str) -> None:
    asker.simulator.faults = [fault]
    patient = RetryPolicy(initial_delay=math.inf, max_delay=math.inf)
    stream = asker.start(retry=patient)
    [told] = [event for event in _until(stream, "retry_scheduled") if event.kind == "retry_scheduled"]
    assert told.reason == reason
    stream.stop()


def _until(stream: Stream, kind: str) -> Iterator[Any]:
    for event in stream:
        yield event
        if event.kind == kind:
            return
