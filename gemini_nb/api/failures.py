"""What a failed request becomes: a GeminiError that says whose fault it is and what to do next."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gemini_nb.api.content import objects
from gemini_nb.api.retry import RetryPolicy, parse_retry_after, retry_delay_of
from gemini_nb.config import Auth
from gemini_nb.errors import (
    APIError,
    ConfigError,
    GeminiError,
    PromptBlockedError,
)
from gemini_nb.redaction import scrub

if TYPE_CHECKING:
    from gemini_nb.api.client import ModelCall
    from gemini_nb.api.turn import ModelTurn

__all__ = [
    "awaited",
    "bad_certificates",
    "bad_proxy",
    "blocked",
    "detached",
    "excerpt",
    "final",
    "is_refusal",
    "not_made",
    "refused",
    "reported",
    "retrying",
    "told",
]

_SENTENCE = re.compile(r".{3,200}?\.(?= [A-Z*]|$)", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,3}")
_YEAR = 365 * 86_400.0
_TITLE = re.compile(r"<title>\s*(\S.*?)\s*</title>", re.DOTALL | re.IGNORECASE)
_NAMES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_NAMES |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_CODES = {name: status for status, name in _NAMES.items()}
_CODES |= {"FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "ABORTED": 409, "ALREADY_EXISTS": 409}
_CODES |= {"CANCELLED": 499, "UNKNOWN": 500, "DATA_LOSS": 500, "UNIMPLEMENTED": 501}
# By gRPC's numbers, which a server that speaks it behind a gateway puts in their place.
_RPC = ["", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"]
_RPC += ["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"]
_RPC += ["UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]

_PASSING = {408, 429, 499}  # of the refusals, those that another time is enough for


def excerpt(text: str, limit: int = 200) -> str:
    """The beginning of a server's text on one line, without secrets."""
    line = " ".join(scrub(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def detached(error: GeminiError) -> GeminiError:
    """The error without its traceback and context.

    Their frames belong to the transport; what is in their variables, the request's headers among it, is not
    for a person's traceback.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def bad_proxy(error: Exception) -> ConfigError:
    """The error for proxy variables that cannot be used."""
    return ConfigError(
        f"The proxy of the environment cannot be used: {_without_password(str(error))}",
        hint="See HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; only http and https proxies are supported.",
    )


def _without_password(text: str) -> str:
    before, at, after = text.rpartition("@")
    return excerpt(f"{before.partition('://')[0]}://…@{after}" if at else text)


def bad_certificates(error: OSError) -> ConfigError:
    """The error for certificates of the environment that cannot be read."""
    return ConfigError(
        f"The certificates of the environment cannot be used: {excerpt(str(error))}",
        hint="See SSL_CERT_FILE and SSL_CERT_DIR.",
    )


def not_made(error: Exception) -> ConfigError:
    """The error for a URL or a header that cannot be put into a request."""
    # A UnicodeEncodeError would show the header's text.
    reason = error.reason if isinstance(error, UnicodeEncodeError) else str(error)
    return ConfigError(
        f"The request cannot be put together: {excerpt(reason)}",
        hint="Check the base URL and the key or token.",
    )


def told(error: GeminiError, model: str) -> str:
    """What went wrong, and what the server asks for, in a few words for a person who waits."""
    if error.status_code == 429:
        words = f"429: quota for {model}"
    else:
        first = _SENTENCE.match(error.message)
        words = (first[0] if first else error.message).rstrip(".")
    if error.retry_after:
        words += f"; the server asks to wait {_seconds(error.retry_after)}"
    return words


def retrying(error: GeminiError, model: str, delay: float) -> str:
    """The same, and when it is tried again."""
    if delay < 1:
        return f"{told(error, model)}; retrying."
    when = time.localtime(time.time() + min(delay, _YEAR))  # a policy may say infinity, a calendar may not
    return f"{told(error, model)}; retrying at {time.strftime('%H:%M:%S', when)}."


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1 if seconds >= 1 else 3):.12g} s"


def refused(status: int, headers: Mapping[str, str], body: bytes, call: ModelCall) -> GeminiError:
    """The error for an answer with a status other than 200."""
    text = body.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        value = next(iter(objects(value)), None)
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        shown = _readable(text) if text.strip() else "(empty body)"
        error = {"message": error if isinstance(error, str) else shown}
    if 300 <= status < 400:
        error = {
            "message": f"a redirect to {excerpt(headers.get('location', 'nowhere'))}, which is not followed"
        }
    made = reported({**error, "code": status}, call)
    if made.retry_after is None:
        made.retry_after = parse_retry_after(headers.get("retry-after"), time.time())
    return made


def _readable(text: str) -> str:
    """What a body that is no JSON says to a person; of a web page that is its title."""
    title = _TITLE.search(text[:10_000])
    return excerpt(html.unescape(title[1])) if title is not None else excerpt(text)


def reported(error: object, call: ModelCall) -> GeminiError:
    """The error for an error object of the server's, from an error body or from inside a stream."""
    facts: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error or "")}
    name = facts.get("status")
    name = excerpt(name, 60) if isinstance(name, str) else None
    status = _status(facts.get("code"), name)
    details = list(objects(facts.get("details")))
    message = excerpt(str(facts.get("message") or "no message"), 1000)
    return APIError(
        f"{status} {name}: {message}" if name else f"{status}: {message}",
        hint=_hint(status, f"{name}: {message}", details, call),
        status_code=status,
        api_status=name or _NAMES.get(status),
        retry_after=retry_delay_of(details, message),
    )


def _status(code: object, name: str | None) -> int:
    number = int(code) if isinstance(code, int) or (isinstance(code, str) and _NUMBER.fullmatch(code)) else 0
    if 100 <= number <= 999:
        return number
    if name not in _CODES and 0 < number < len(_RPC):
        name = _RPC[number]
    return _CODES.get(name or "", 500)


def blocked(turn: ModelTurn) -> PromptBlockedError:
    """The error for a prompt that was blocked."""
    return PromptBlockedError(
        f"The prompt was blocked: {excerpt(turn.block_reason or '')}. {excerpt(turn.block_message)}".rstrip(),
        hint="Rephrase it, or loosen `safety_settings`.",
        status_code=200,
        api_status=excerpt(turn.block_reason or "", 60),
    )


def is_refusal(error: GeminiError | None) -> bool:
    """Whether the service refused what was asked, and would refuse it again."""
    if isinstance(error, PromptBlockedError):
        return True
    status = error.status_code if isinstance(error, APIError) else None
    return status is not None and 400 <= status < 500 and status not in _PASSING


def awaited(error: GeminiError, call: ModelCall) -> str:
    """What a call waits for after this error, in a few words."""
    if error.status_code == 429:
        return f"quota of {call.endpoint.model}"
    return "the server" if error.status_code is not None else "the connection"


def final(error: GeminiError, policy: RetryPolicy) -> GeminiError:
    """The same error, with why it was not asked again."""
    wait = error.retry_after
    if wait is not None and wait > policy.max_server_delay and policy.is_retryable(error):
        error.hint = (
            f"The server asks to wait {_seconds(wait)}, longer than the {_seconds(policy.max_server_delay)} "
            f"that RetryPolicy.max_server_delay allows. {error.hint}"
        ).rstrip()
    elif error.attempts > 1:
        error.hint = f"Gave up after {error.attempts} attempts. {error.hint}".rstrip()
    return error


def _hint(status: int, message: str, details: list[dict[str, Any]], call: ModelCall) -> str:
    reasons = [detail.get("reason") for detail in details]
    vertex = call.endpoint.auth is Auth.VERTEX_AI
    if "API_KEY_INVALID" in reasons or "api key not valid" in message.lower():
        return "Check the API key: GEMINI_API_KEY, GOOGLE_API_KEY or credentials."
    if "thought_signature" in message or "thought signature" in message.lower():
        return "A turn of the history lacks its thoughtSignature: send the model's parts back as they came."
    if status == 400:
        if "FAILED_PRECONDITION" in message or "location is not supported" in message:
            return "The free tier is not offered everywhere: check region and billing of the key's project."
        return "The request does not fit this model; its message names the field."
    if status in {401, 403}:
        return _access_hint(vertex=vertex)
    if status == 404 and call.endpoint.auth is Auth.RECORDING:
        return "Record it first: get_manager().record(folder), then ask with a key."
    if status == 404:
        return f"Is there a model {call.endpoint.model!r}, and is it offered in this API version and region?"
    if status == 429:
        if "limit: 0" in message:
            return f"This key has no quota for {call.endpoint.model} at all; another plan or model has."
        daily = "daily " if "PerDay" in str(details) else ""
        return (
            f"The {daily}quota for {call.endpoint.model} is used up for now; "
            "ask less often, or ask for more quota."
        )
    return _other_hint(status)


def _other_hint(status: int) -> str:
    if status >= 500 or status == 408:
        return "The fault is on the server's side; trying again later usually helps."
    if status == 407:
        return "The proxy wants a name and password: put http://name:password@proxy:port into HTTP_PROXY."
    if status == 413:
        return "The request is too large: send less, or upload files and name them by their URI."
    if status == 499:
        return "The server, or something on the way to it, gave the request up; ask again."
    return "Check the base URL: this is not how Gemini answers."


def _access_hint(*, vertex: bool) -> str:
    if vertex:
        return "Check that the account may use Vertex AI in this project (roles/aiplatform.user)."
    return "Check that the key is right, not restricted, and that its project has the Gemini API switched on."
