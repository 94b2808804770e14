"""What a failed connection becomes: an error that says where it failed and whether trying again can help.

A transport tells all of these alike, as a connection that could not be made. A server that is down comes
back; a certificate that nobody trusts, a proxy that wants a password or a port that speaks no TLS stays as it
is however often it is asked, and the person who waits for five attempts has waited for nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
from types import NoneType

from gemini_nb.errors import ConfigError, ConnectError, GeminiError, ProtocolError, TransportError
from gemini_nb.redaction import excerpt

__all__ = ["broken", "not_sent", "was_stale"]

_CONNECTING = {"ClientConnectorError", "ConnectError", "ConnectionTimeoutError", "ProxyError", "gaierror"}
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
_RESTED = 1.0  # seconds; no server keeps an idle connection for less
_ON_THE_WAY = "The server or the network between failed for a moment; trying again later usually helps."
_PROXIES = "HTTP_PROXY, HTTPS_PROXY and NO_PROXY"


def was_stale(error: Exception) -> bool:
    """Whether a connection that had rested was closed just as it was to be used again.

    Servers close idle ones when they like, and the request crosses the news of it: nobody has read it.
    """
    cause = error.__cause__ or error
    unread = isinstance(getattr(cause, "message", None), (str, NoneType))
    rested: float = getattr(cause, "gemini_nb_rested", -1.0)
    return unread and rested >= _RESTED


def not_sent(error: Exception, host: str) -> GeminiError:
    """The error for a request that got no answer."""
    cause = error.__cause__ or error
    names = {cls.__name__ for cls in type(cause).__mro__} | {type(error).__name__}
    if isinstance(found := _inner(cause), ssl.SSLError) and (failure := _without_trust(found, host)):
        return failure
    if "ClientHttpProxyError" in names:
        return _refused_by_proxy(cause, host)
    if "ClientProxyConnectionError" in names:
        return ConnectError(
            f"The proxy on the way to {host} cannot be reached: {_reason(cause)}",
            hint=f"Is the network up, and the proxy right? See {_PROXIES}.",
        )
    if "ClientConnectorDNSError" in names or isinstance(found, socket.gaierror):
        return ConnectError(
            f"No address is known for {host}: {_reason(cause)}",
            hint="Is the network up, and the base URL right?",
        )
    if names & _CONNECTING:
        return ConnectError(
            f"No connection to {host}: {_reason(cause)}", hint="Is the network up, and the base URL right?"
        )
    detail = excerpt(str(cause) or type(cause).__name__)
    if names & {"InvalidURL", "UnsupportedProtocol"}:
        return ConfigError(f"The URL of {host} cannot be used: {detail}", hint="Check the base URL.")
    if names & {"ClientResponseError", "HttpProcessingError"}:
        detail = excerpt(str(getattr(cause, "message", "") or cause))  # without the 400 that nobody sent
        return ProtocolError(f"What {host} answered is not HTTP: {detail}", hint="Check the base URL.")
    return TransportError(
        f"{host} closed the connection before it answered: {_reason(cause)}", hint=_ON_THE_WAY
    )


def broken(error: Exception, host: str) -> GeminiError:
    """The error for an answer that broke off."""
    cause = error.__cause__ or error
    if type(error).__name__ == "DecodingError":
        return ProtocolError(
            f"The answer of {host} cannot be decompressed: {excerpt(str(error))}.",
            hint="A proxy on the way may have changed it.",
        )
    said = str(cause)
    if "ConnectionResetError" in said or isinstance(cause, ConnectionError):
        what = "was reset in the middle of the answer"
    elif "not completed" in said:  # the transport's own words go on with figures that help nobody
        what = "was closed in the middle of the answer"
    else:
        what = f"broke: {excerpt(said or type(cause).__name__)}"
    return TransportError(f"The connection to {host} {what}.", hint=_ON_THE_WAY)


def _inner(cause: BaseException) -> object:
    """What the system or the TLS library said, inside the transport's own exception."""
    for name in ("certificate_error", "os_error"):
        if (inner := getattr(cause, name, None)) is not None:
            return inner
    return cause


def _without_trust(error: ssl.SSLError, host: str) -> GeminiError | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(
            f"The certificate of {host} is not trusted: {excerpt(error.verify_message or str(error))}",
            hint="Behind a company's proxy, put its certificate into SSL_CERT_FILE. Otherwise check the base "
            "URL and this machine's clock: somebody else may be answering.",
            is_permanent=True,
        )
    if error.reason in _NO_TLS:
        return ConnectError(
            f"{host} does not speak TLS on this port.",
            hint="Check the base URL's port. http:// is for servers on this machine only.",
            is_permanent=True,
        )
    return None


def _refused_by_proxy(cause: BaseException, host: str) -> GeminiError:
    status = getattr(cause, "status", 0)
    said = excerpt(str(getattr(cause, "message", "")))
    if status == 407:
        hint = "Put name and password into the proxy's URL, http://name:password@proxy:port, in HTTPS_PROXY."
    else:
        hint = f"Ask who runs the proxy whether {host} is allowed, or see {_PROXIES}."
    return ConnectError(
        f"The proxy on the way to {host} refused: {status} {said}".rstrip(),
        hint=hint,
        is_permanent=400 <= status < 500 and status not in {408, 429},
    )


def _reason(cause: BaseException) -> str:
    """The system's own words. The transport's wrap them in its classes' names."""
    inner = _inner(cause)
    if type(cause).__name__ == "ConnectionTimeoutError":
        return "nobody answered in time."
    if not isinstance(getattr(cause, "message", ""), (str, NoneType)):  # the transport's own object
        return "it broke off in the middle of the answer's head."
    if isinstance(inner, socket.gaierror):
        return f"{excerpt(inner.strerror or str(inner))}."
    if isinstance(inner, OSError) and inner.errno and not isinstance(inner, ssl.SSLError):
        return f"{os.strerror(inner.errno)}."
    return f"{excerpt(str(inner) or type(cause).__name__).rstrip('.')}."
