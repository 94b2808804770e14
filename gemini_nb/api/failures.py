"""What a failed request becomes: a GeminiError that says whose fault it is and what to do next."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gemini_nb.api.content import JSON, objects
from gemini_nb.api.reasons import hint_for, is_slip
from gemini_nb.api.retry import (
    RetryPolicy,
    is_daily,
    parse_retry_after,
    retry_delay_of,
    seconds_until_renewal,
)
from gemini_nb.config import WELL_KNOWN_MODELS, Auth
from gemini_nb.errors import (
    APIError,
    ConfigError,
    EmptyAnswerError,
    GeminiError,
    PromptBlockedError,
    did_you_mean,
)
from gemini_nb.redaction import excerpt

if TYPE_CHECKING:
    from gemini_nb.api.endpoint import Endpoint
    from gemini_nb.api.turn import ModelTurn

__all__ = [
    "awaited",
    "blocked",
    "empty",
    "error_in",
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

_CODES |= {"INVALID_REQUEST": 400, "TOO_MANY_REQUESTS": 429, "OVERLOADED": 503, "SERVICE_UNAVAILABLE": 503}

# By gRPC's numbers, which a server that speaks it behind a gateway puts in their place.
_RPC = ["", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"]

_RPC += ["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"]

_RPC += ["UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]

_PASSING = {408, 429, 499}  # of the refusals, those that another time is enough for


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


def refused(status: int, headers: Mapping[str, str], body: bytes, endpoint: Endpoint) -> GeminiError:
    """The error for an answer with a status other than 200."""
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
    made = reported({**error, "code": status}, endpoint)
    if made.retry_after is None and not made.is_permanent:
        made.retry_after = parse_retry_after(headers.get("retry-after"), time.time())
    return made


def _readable(text: str) -> str:
    """What a body that is no JSON says to a person; of a web page that is its title."""
    title = _TITLE.search(text[:10_000])
    return excerpt(html.unescape(title[1])) if title is not None else excerpt(text)


def error_in(value: JSON, *, is_error: bool = False) -> JSON | None:
    """The error object in a server's message, None where it is none.

    Some gateways leave its wrapping out; then it is known by what Gemini's answers do not have.

    Args:
        value: the message.
        is_error: whether it is already known to be one, so that its own fields count.
    """
    error = value.get("error")
    if isinstance(error, dict) and error:
        return error
    if isinstance(error, str) and error:
        return {**value, "message": value.get("message") or error}
    if objects(value.get("candidates")):
        return None
    if "error" in value:
        return {}
    if is_error:
        return value if {"message", "code", "status"} & value.keys() else None
    code, name = value.get("code"), value.get("status")
    named = {word.upper() for word in (code, name) if isinstance(word, str)}
    return value if _number(code) >= 400 or named & _CODES.keys() else None


def reported(error: Mapping[str, Any], endpoint: Endpoint) -> GeminiError:
    """The error for an error object of the server's, from an error body or from inside a stream."""
    code, name = error.get("code"), error.get("status")
    if isinstance(code, str) and not _number(code):
        name = name or code
    code = _number(code) or _number(name)
    name = excerpt(name, 60) if isinstance(name, str) and not _number(name) else None
    status = _status(code, name)
    details = list(objects(error.get("details")))
    message = excerpt(str(error.get("message") or "no message"), 1000)
    is_permanent = status == 429 and "limit: 0" not in message and is_daily(details)
    asked = seconds_until_renewal(time.time()) if is_permanent else retry_delay_of(details, message)
    if is_permanent:
        hint = _daily_hint(asked, endpoint)
    else:
        hint = _hint(status, f"{name}: {message}", details, endpoint)
    return APIError(
        f"{status} {name}: {message}" if name else f"{status}: {message}",
        hint=hint,
        status_code=status,
        api_status=name or _NAMES.get(status),
        retry_after=asked,
        is_permanent=is_permanent,
    )


def _number(code: object) -> int:
    """A code as a number, 0 where it is none."""
    return int(code) if isinstance(code, int) or (isinstance(code, str) and _NUMBER.fullmatch(code)) else 0


def _status(number: int, name: str | None) -> int:
    if 100 <= number <= 999:
        return number
    if (name or "").upper() not in _CODES and 0 < number < len(_RPC):
        name = _RPC[number]
    return _CODES.get((name or "").upper(), 500)


def _daily_hint(seconds: float | None, endpoint: Endpoint) -> str:
    """What to do about a quota of a day that is used up."""
    when = ""
    if seconds is not None:
        clock = time.strftime("%H:%M", time.localtime(time.time() + seconds))
        when = f", {clock} here, in {seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return (
        f"The daily quota for {endpoint.model} is used up. It renews at midnight Pacific time{when}. "
        "Another model or plan has its own."
    )


def blocked(turn: ModelTurn) -> PromptBlockedError:
    """The error for a prompt that was blocked."""
    reason = f"{excerpt(turn.block_reason or '')}{_blamed(turn)}"
    return PromptBlockedError(
        f"The prompt was blocked: {reason}. {excerpt(turn.block_message)}".rstrip(),
        hint=hint_for(turn.block_reason),
        status_code=200,
        api_status=excerpt(turn.block_reason or "", 60),
    )


def is_refusal(error: GeminiError | None) -> bool:
    """Whether the service refused what was asked, and would refuse it again."""
    if isinstance(error, PromptBlockedError):
        return True
    status = error.status_code if isinstance(error, APIError) else None
    return status is not None and 400 <= status < 500 and status not in _PASSING


def empty(turn: ModelTurn) -> EmptyAnswerError:
    """The error for a turn that ended without an answer, or with one that the model got wrong."""
    reason, said = turn.finish_reason, turn.finish_message
    if reason is None:
        message = "The server's answer holds no candidates: neither text nor a reason why there is none."
    elif reason == "STOP":
        message = "The model ended without a word."
    elif reason == "MAX_TOKENS":
        thought = turn.total_usage.thoughts_token_count
        spent = f": {thought:,} tokens went into thinking" if thought else ""
        message = f"The model ended with MAX_TOKENS before its answer began{spent}."
    else:
        without = "" if turn.has_answer else " and without an answer"
        message = f"The model ended with {excerpt(reason, 60)}{_blamed(turn)}{without}."
    return EmptyAnswerError(
        f"{message} {excerpt(said)}".rstrip(),
        hint=hint_for(reason),
        status_code=200,
        api_status=reason and excerpt(reason, 60),
        is_permanent=not (reason in {None, "STOP"} or is_slip(reason)),
    )


def _blamed(turn: ModelTurn) -> str:
    return f" ({excerpt(', '.join(turn.categories))})" if turn.categories else ""


def awaited(error: GeminiError, endpoint: Endpoint) -> str:
    """What a call waits for after this error, in a few words."""
    if error.status_code == 429:
        return f"quota of {endpoint.model}"
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


def _hint(status: int, message: str, details: list[dict[str, Any]], endpoint: Endpoint) -> str:
    reasons = [detail.get("reason") for detail in details]
    vertex = endpoint.auth is Auth.VERTEX_AI
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
    if status == 404 and endpoint.auth is Auth.RECORDING:
        return "Record it first: get_manager().record(folder), then ask with a key."
    if status == 404:
        model = endpoint.model
        asked = f"Is there a model {model!r}, and is it offered in this API version and region?"
        return f"{did_you_mean(model, WELL_KNOWN_MODELS)} {asked}".lstrip()
    if status == 429:
        if "limit: 0" in message:
            return f"This key has no quota for {endpoint.model} at all; another plan or model has."
        return f"The quota for {endpoint.model} is used up for now; ask less often, or ask for more quota."
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
