"""What a failed request becomes: a GeminiError that says whose fault it is and what to do next.

A transport reports all failures alike, as a connection that could not be made. A server that is down comes
back; an untrusted certificate, a proxy that wants a password or a port that speaks no TLS stays as it is, and
five attempts would keep the user waiting for nothing.
"""

from __future__ import annotations

import html
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from gemini_nb.api.retry import (
    is_daily,
    parse_retry_after,
    requests_per_minute,
    retry_delay_of,
    seconds_until_renewal,
)
from gemini_nb.api.wire import JSON, objects
from gemini_nb.config import WELL_KNOWN_MODELS, Auth
from gemini_nb.errors import (
    APIError,
    ConfigError,
    ConnectError,
    GeminiError,
    PromptBlockedError,
    ProtocolError,
    TransportError,
    did_you_mean,
)
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    from gemini_nb.api.endpoint import Endpoint

_NUMBER = re.compile(r"[0-9]{1,3}")
_TITLE = re.compile(r"<title>\s*(\S.*?)\s*</title>", re.DOTALL | re.IGNORECASE)
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES = {name: status for status, name in _NAMES.items()} | {
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "CANCELLED": 499,
    "DATA_LOSS": 500,
    "FAILED_PRECONDITION": 400,
    "INVALID_REQUEST": 400,
    "OUT_OF_RANGE": 400,
    "OVERLOADED": 503,
    "RATE_LIMIT_EXCEEDED": 429,
    "SERVICE_UNAVAILABLE": 503,
    "TOO_MANY_REQUESTS": 429,
    "UNIMPLEMENTED": 501,
    "UNKNOWN": 500,
}
_RPC = (
    *("", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""By gRPC's numbers, which a server that speaks it behind a gateway puts in their place."""
_TEMPORARY_REFUSALS = {408, 429, 499}
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
_ON_THE_WAY = "The server or the network between failed for a moment; trying again later usually helps."
_PROXIES = "HTTP_PROXY, HTTPS_PROXY and NO_PROXY"
_NETWORK = "Is the network up, and the base URL right?"
_NO_CONNECTION = (
    (
        {"ClientProxyConnectionError"},
        "The proxy on the way to {} cannot be reached",
        f"Is the network up, and the proxy right? See {_PROXIES}.",
    ),
    ({"ClientConnectorDNSError", "gaierror"}, "No address is known for {}", _NETWORK),
    (
        {"ClientConnectorError", "ConnectError", "ConnectionTimeoutError", "ProxyError"},
        "No connection to {}",
        _NETWORK,
    ),
)
"""The transport's exceptions for a connection that could not be made, what happened, and what to do."""

_SERVER_SIDE = "The fault is on the server's side; trying again later usually helps."
_STATUS_HINTS = {
    400: "The request does not fit this model; its message names the field.",
    407: "The proxy wants a name and password: put http://name:password@proxy:port into HTTP_PROXY.",
    408: _SERVER_SIDE,
    413: "The request is too large: send less, or upload files and name them by their URI.",
    499: "The server, or something on the way to it, gave the request up; ask again.",
}

_NOT_READY = "is not in an ACTIVE state"
_IN_BUCKET = "file uri: gs://"
_NO_FILE = "permission to access the File"
_WORDS_HINTS = (
    (None, (_NOT_READY,), "The service still processes the file, or could not; ask again in a moment."),
    (
        None,
        (_NO_FILE,),
        "Uploads are kept for 48 hours, for the key that made them: upload the file again.",
    ),
    (
        400,
        ("FAILED_PRECONDITION", "location is not supported"),
        "The free tier is not offered everywhere: check region and billing of the key's project.",
    ),
    (
        403,
        ("cachedcontent",),
        (
            "The cache has expired, was deleted, or is another key's. Make it again: gemini_nb.cache(...), "
            "with a longer ttl."
        ),
    ),
)
"""What a refusal says, with the status that it has, if that matters; and what to do then."""


def refused(
    status: int, headers: Mapping[str, str], body: bytes, endpoint: Endpoint, *, beside: str = ""
) -> GeminiError:
    """Return the error for a response with a status other than 200.

    Args:
        status: the status.
        headers: the response's.
        body: the response's.
        endpoint: who was asked.
        beside: what was asked for, where that is nothing of the endpoint's model: "uploads".
    """
    text = body.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        value = next(iter(objects(value)), None)
    error = error_in(value, is_error=True) if isinstance(value, dict) else None
    if not error:
        error = {"message": _readable(text) if text.strip() else "(empty body)"}
    if 300 <= status < 400:
        error = {
            "message": f"a redirect to {excerpt(headers.get('location', 'nowhere'))}, which is not followed"
        }
    is_foreign = 300 <= status < 400 or status == 511  # Network Authentication Required
    made = reported({**error, "code": status}, endpoint, is_foreign=is_foreign, beside=beside)
    if made.retry_after is None and not made.is_permanent:
        made.retry_after = parse_retry_after(headers.get("retry-after"), time.time())
    return made


def reported(
    error: Mapping[str, Any], endpoint: Endpoint, *, is_foreign: bool = False, beside: str = ""
) -> GeminiError:
    """Return the error for the server's error object, from an error body or from inside a stream."""
    status, name = _status_and_name(error.get("code"), error.get("status"))
    details = list(objects(error.get("details")))
    message = excerpt(str(error.get("message") or "no message"), 1000)
    is_permanent = status == 429 and "limit: 0" not in message and is_daily(details, message)
    asked = seconds_until_renewal(time.time()) if is_permanent else retry_delay_of(details, message)
    if is_permanent:
        hint = _daily_hint(asked, endpoint, beside)
    else:
        hint = _hint(status, f"{name}: {message}", details, endpoint, beside)
    made = APIError(
        f"{status} {name}: {message}" if name else f"{status}: {message}",
        hint=hint,
        status_code=status,
        api_status=name or _NAMES.get(status),
        retry_after=asked,
        is_permanent=is_permanent,
        is_foreign=is_foreign,
    )
    if status == 429:
        made.per_minute = requests_per_minute(details)
    return made


def error_in(value: JSON, *, is_error: bool = False) -> JSON | None:
    """Return the error object in a server's message, None where there is none.

    Some gateways leave its wrapping out; then it is known by what Gemini's answers do not have.

    Args:
        value: the message.
        is_error: whether it is already known to be one, so that its own fields count.
    """
    error = value.get("error")
    if isinstance(error, list):
        error = next(iter(objects(error)), None)
    if isinstance(error, dict) and error:
        return error
    if isinstance(error, str) and error:
        return {**value, "message": value.get("message") or error}
    if objects(value.get("candidates")):
        return None
    if "error" in value:
        return {}
    return value if _is_unwrapped(value, is_error=is_error) else None


def _is_unwrapped(value: JSON, *, is_error: bool) -> bool:
    if is_error:
        return bool({"message", "code", "status"} & value.keys())
    code, name = value.get("code"), value.get("status")
    named = {word.upper() for word in (code, name) if isinstance(word, str)}
    return _number(code) >= 400 or bool(named & _CODES.keys())


def _readable(text: str) -> str:
    """Return what to show of a body that is not JSON: of a web page its title."""
    title = _TITLE.search(text[:10_000])
    return excerpt(html.unescape(title[1])) if title is not None else excerpt(text)


def _status_and_name(code: object, name: object) -> tuple[int, str | None]:
    """Return the HTTP status and Google's name for it; servers put either into either field."""
    if isinstance(code, str) and not _number(code):
        name = name or code
    number = _number(code) or _number(name)
    text = excerpt(name, 60) if isinstance(name, str) and not _number(name) else None
    return _status(number, text), text


def _number(code: object) -> int:
    """Return a code as a number, 0 where it is none."""
    return int(code) if isinstance(code, int) or (isinstance(code, str) and _NUMBER.fullmatch(code)) else 0


def _status(number: int, name: str | None) -> int:
    if 100 <= number <= 999:
        return number
    if (name or "").upper() not in _CODES and 0 < number < len(_RPC):
        name = _RPC[number]
    return _CODES.get((name or "").upper(), 500)


def _daily_hint(seconds: float | None, endpoint: Endpoint, beside: str) -> str:
    """Say what to do about a daily quota that is used up."""
    when = ""
    if seconds is not None:
        clock = time.strftime("%H:%M", time.localtime(time.time() + seconds))
        when = f", {clock} here, in {seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return (
        f"The daily quota for {beside or endpoint.model} is used up. "
        f"It renews at midnight Pacific time{when}. Another "
        f"{'plan' if beside else 'model or plan'} has its own."
    )


def is_refusal(error: GeminiError | None) -> bool:
    """Whether the service refused what was asked, and would refuse it again."""
    if isinstance(error, PromptBlockedError):
        return True
    status = error.status_code if isinstance(error, APIError) else None
    return status is not None and 400 <= status < 500 and status not in _TEMPORARY_REFUSALS


def is_about_file(error: GeminiError) -> bool:
    """Whether the service refused a request for an upload in it that is gone, or not ready."""
    return (error.status_code == 400 and _NOT_READY in error.message) or (
        error.status_code == 403 and _NO_FILE in error.message
    )


def _hint(status: int, message: str, details: list[dict[str, Any]], endpoint: Endpoint, beside: str) -> str:
    vertex = endpoint.auth is Auth.VERTEX_AI
    if hint := _hint_of_words(status, message, details, vertex=vertex):
        return hint
    match status:
        case 401 | 403:
            return _access_hint(vertex=vertex)
        case 404:
            return _missing_hint(endpoint.model, beside)
        case 429:
            return _quota_hint(beside or endpoint.model, message, "plan" if beside else "plan or model")
    unknown = _SERVER_SIDE if status >= 500 else "Check the base URL: this is not how Gemini answers."
    return _STATUS_HINTS.get(status, unknown)


def _hint_of_words(status: int, message: str, details: list[dict[str, Any]], *, vertex: bool) -> str:
    """Return what to do about a refusal whose own words say what is wrong, empty for all others."""
    low = message.lower()
    if "api key not valid" in low or any(one.get("reason") == "API_KEY_INVALID" for one in details):
        return "Check the API key: GEMINI_API_KEY, GOOGLE_API_KEY or credentials."
    if "thought_signature" in message or "thought signature" in low:
        return "A turn of the history lacks its thoughtSignature: send the model's parts back as they came."
    if _IN_BUCKET in message and not vertex:
        return 'A bucket\'s address is for auth="vertex_ai"; here pass a path, or an https:// address.'
    for only, words, hint in _WORDS_HINTS:
        if only in {None, status} and any(word in message or word in low for word in words):
            return hint
    return ""


def _quota_hint(what: str, message: str, other: str) -> str:
    if "limit: 0" in message:
        return f"This key has no quota for {what} at all; another {other} has."
    return f"The quota for {what} is used up for now; ask less often, or ask for more quota."


def _missing_hint(model: str, beside: str) -> str:
    if beside:
        return "There is nothing of this name: it may be gone, or the base URL or API version is another."
    asked = f"Is there a model {model!r}, and is it offered in this API version and region?"
    return f"{did_you_mean(model, WELL_KNOWN_MODELS)} {asked}".lstrip()


def _access_hint(*, vertex: bool) -> str:
    if vertex:
        return "Check that the account may use Vertex AI in this project (roles/aiplatform.user)."
    return "Check that the key is right, not restricted, and that its project has the Gemini API switched on."


def not_sent(error: Exception, host: str) -> GeminiError:
    """Return the error for a request that got no response."""
    cause = error.__cause__ or error
    names = {cls.__name__ for cls in type(cause).__mro__} | {type(error).__name__}
    if isinstance(found := _inner(cause), ssl.SSLError) and (failure := _without_trust(found, host)):
        return failure
    if "ClientHttpProxyError" in names:
        return _refused_by_proxy(cause, host)
    names.add(type(found).__name__)
    for classes, what, hint in _NO_CONNECTION:
        if names & classes:
            return ConnectError(f"{what.format(host)}: {_reason(cause)}", hint=hint)
    detail = excerpt(str(cause) or type(cause).__name__)
    if names & {"InvalidURL", "UnsupportedProtocol"}:
        return ConfigError(f"The URL of {host} cannot be used: {detail}", hint="Check the base URL.")
    if names & {"ClientResponseError", "HttpProcessingError"}:
        detail = excerpt(str(getattr(cause, "message", "") or cause))  # without the 400 that no server sent
        return ProtocolError(
            f"What {host} answered is not HTTP: {detail}", hint="Check the base URL.", is_foreign=True
        )
    return TransportError(
        f"{host} closed the connection before it answered: {_reason(cause)}", hint=_ON_THE_WAY
    )


def broken(error: Exception, host: str) -> GeminiError:
    """Return the error for a response that broke off."""
    cause = error.__cause__ or error
    if type(error).__name__ == "DecodingError":
        return ProtocolError(
            f"The answer of {host} cannot be decompressed: {excerpt(str(error))}.",
            hint="A proxy on the way may have changed it.",
        )
    said = str(cause)
    if "ConnectionResetError" in said or isinstance(cause, ConnectionError):
        what = "was reset in the middle of the answer"
    elif "not completed" in said:  # the transport's own words go on with figures
        what = "was closed in the middle of the answer"
    else:
        what = f"broke: {excerpt(said or type(cause).__name__)}"
    return TransportError(f"The connection to {host} {what}.", hint=_ON_THE_WAY)


def _inner(cause: BaseException) -> object:
    """Return the exception of the system or the TLS library inside the transport's own."""
    for name in ("certificate_error", "os_error"):
        if (inner := getattr(cause, name, None)) is not None:
            return inner
    return cause


def _without_trust(error: ssl.SSLError, host: str) -> GeminiError | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(
            f"The certificate of {host} is not trusted: {excerpt(error.verify_message or str(error))}",
            hint="Behind a company's proxy, put its certificate into SSL_CERT_FILE. Otherwise check the base "
            "URL and this machine's clock: another server may be answering.",
            is_permanent=True,
            is_foreign=True,
        )
    if error.reason in _NO_TLS:
        return ConnectError(
            f"{host} does not speak TLS on this port.",
            hint="Check the base URL's port. http:// is for servers on this machine only.",
            is_permanent=True,
            is_foreign=True,
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
    """Return the system's own words, which the transport wraps in its classes' names."""
    inner = _inner(cause)
    if type(cause).__name__ == "ConnectionTimeoutError":
        return "there was no answer in time."
    if not isinstance(getattr(cause, "message", ""), (str, NoneType)):  # the transport's own object
        return "it broke off in the middle of the answer's head."
    if isinstance(inner, socket.gaierror):
        return f"{excerpt(inner.strerror or str(inner))}."
    if isinstance(inner, OSError) and inner.errno and not isinstance(inner, ssl.SSLError):
        return f"{os.strerror(inner.errno)}."
    return f"{excerpt(str(inner) or type(cause).__name__).rstrip('.')}."
