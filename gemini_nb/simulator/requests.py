"""Where requests go: paths, who may ask, which models there are, what errors, lists and times look like.

Every id that begins like one of Google's is taken, listed or not: a model that came out yesterday must not be
refused by a list from last month. And a credential is always demanded, where the backend looks for it (API
keys on the developer API, bearer tokens or, in express mode, keys on Vertex AI), even when any value of it is
taken: accepting everything would hide the commonest mistake of a client, a key in the wrong place.

What is wrong with a request is raised as a `RefusalError`, here and in all modules that check one. Clients
decide on the code, the status and the `@type` of the details, so these three are exact; the messages say what
is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "CACHE_PATH",
    "FILE_PATH",
    "INPUT_TOKEN_LIMIT",
    "KEPT",
    "KEPT_BYTES",
    "LONG",
    "Fields",
    "Record",
    "RefusalError",
    "Request",
    "Route",
    "check_access",
    "check_model",
    "describe_model",
    "find_route",
    "generation",
    "invalid",
    "list_models",
    "list_page",
    "not_found",
    "not_served",
    "owner_of",
    "timestamp",
    "unknown_field",
]

KEPT = 1000
"""How many requests are remembered."""
KEPT_BYTES = 64 * 2**20
"""How many bytes their bodies may have in all."""
LONG = 256 * 1024
"""Characters from which on a text of a body is remembered by its size and hash only."""

_SECRET = frozenset(
    {"authorization", "cookie", "key", "access_token", "x-goog-api-key", "proxy-authorization"}
)


class Fields(Mapping[str, str]):
    """Headers or query parameters: names in any case, secrets masked in the repr."""

    __slots__ = ("_values",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values = {name.lower(): value for name, value in items}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET else value for name, value in self._values.items()}
        return f"Fields({shown!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as it arrived.

    Attributes:
        method: the HTTP method.
        path: the path of the URL, percent escapes decoded.
        query: the parameters of the URL.
        headers: the headers.
        body: the JSON of the body as it was sent, None where there was none or it was not JSON. A very
            long text in it, such as the data of a file, is kept as `<1,234,567 characters, sha256 …>`.
        time: when it arrived, as `time.time()` counts.
    """

    method: str
    path: str
    query: Fields
    headers: Fields
    body: Any
    time: float


class Record:
    """The newest requests and the number of all: a server that runs for days must not keep every body."""

    __slots__ = ("_bytes", "_count", "_lock", "_requests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[tuple[Request, int]] = deque()
        self._bytes = self._count = 0

    def add(self, request: Request, size: int) -> None:
        """Remember a request, whose body has `size` bytes; forget the oldest where there are too many."""
        if size > LONG:
            try:
                body, saved = _shortened(request.body)
            except RecursionError:  # nested so deep that the request is refused, too
                body, saved = None, size
            request, size = replace(request, body=body), max(0, size - saved)
        with self._lock:
            self._requests.append((request, size))
            self._bytes += size
            self._count += 1
            while len(self._requests) > KEPT or (self._bytes > KEPT_BYTES and len(self._requests) > 1):
                self._bytes -= self._requests.popleft()[1]

    @property
    def count(self) -> int:
        """How many requests arrived."""
        with self._lock:
            return self._count

    def newest(self) -> list[Request]:
        """Return the requests that are remembered, in order."""
        with self._lock:
            return [request for request, _ in self._requests]


def _shortened(value: Any) -> tuple[Any, int]:
    """The value with its long texts named by size and hash, and how many characters that saves."""
    if isinstance(value, str) and len(value) > LONG:
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()
        return f"<{len(value):,} characters, sha256 {digest}>", len(value)
    if isinstance(value, dict):
        pairs = {name: _shortened(item) for name, item in value.items()}
        return {name: item for name, (item, _) in pairs.items()}, sum(saved for _, saved in pairs.values())
    if isinstance(value, list):
        items = [_shortened(item) for item in value]
        return [item for item, _ in items], sum(saved for _, saved in items)
    return value, 0


FILE_PATH = re.compile(r"/(?P<upload>upload/)?(?:v1|v1beta|v1alpha)/files(?:/(?P<id>[^/:]+))?(?P<rest>:\w+)?")
CACHE_PATH = re.compile(
    r"/(?:(?:v1|v1beta|v1alpha)/|(?:v1|v1beta1)/(?P<project>projects/[^/:]+/locations/[^/:]+/))"
    r"cachedContents(?:/(?P<id>[^/:]+))?"
)
METHODS = ("streamGenerateContent", "generateContent", "countTokens")

_DEVELOPER = re.compile(
    r"/(?P<version>v1|v1beta|v1alpha)/(?:models|(?P<name>(?:models|tunedModels)/[^/:]+)(?::(?P<method>\w+))?)"
)
_VERTEX = re.compile(
    r"/(?P<version>v1|v1beta1)/(?P<name>(?P<project>projects/[^/:]+/locations/[^/:]+/)?"
    r"publishers/[^/:]+/models(?P<id>/[^/:]+)?)(?::(?P<method>\w+))?"
)

INPUT_TOKEN_LIMIT = 1_048_576
OUTPUT_TOKEN_LIMIT = 65_536

_LISTED = (
    "gemini-4-argon",
    "gemini-4-carbon",
    "gemini-4-hydrogen",
    "gemini-3.8-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemma-4-31b-it",
    "gemini-flash-latest",
    "gemini-pro-latest",
)
_TAKEN = re.compile(r"(?:gemini|gemma|learnlm)-[\w.-]+")
_FAMILY = re.compile(r"gemini-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes."""

    version: str
    vertex: bool  # whether it goes to a path of Vertex AI
    express: bool = False  # whether to one without project, which takes an API key
    name: str = ""  # the model's resource name, such as "models/gemini-3.8-flash"; empty for the list
    method: str = "list"  # the custom method after the colon, "get" or "list" without one; "files", "caches"

    @property
    def model(self) -> str:
        """The bare id of the model."""
        return self.name.rpartition("/")[2]


def find_route(verb: str, path: str) -> Route:
    """Find the route of a request."""
    if FILE_PATH.fullmatch(path):
        return Route(version="v1", vertex=False, method="files")
    if found := CACHE_PATH.fullmatch(path):
        return Route(version="v1", vertex=found["project"] is not None, method="caches")
    vertex = _VERTEX.fullmatch(path)
    match = vertex or _DEVELOPER.fullmatch(path)
    if match is not None and verb in {"GET", "POST"}:
        name = match["name"] if not vertex or vertex["id"] else ""
        method = match["method"] or ("get" if name else "list")
        if (verb == "POST") == (method in METHODS):
            return Route(
                version=match["version"],
                vertex=vertex is not None,
                express=vertex is not None and not vertex["project"],
                name=name or "",
                method=method,
            )
    raise not_served(verb, path)


def check_access(route: Route, request: Request, accepted: str | None) -> None:
    """Refuse a request that brings no credential, or a wrong one; an `accepted` of None takes any."""
    key = _api_key(request)
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if not key and not (route.vertex and token):
        raise refused_token(given=False) if route.vertex and not route.express else refused_key(given=False)
    if route.vertex and token:
        if not _matches(token, accepted):
            raise refused_token(given=True)
    elif not _matches(key, accepted):
        raise refused_key(given=True)


def _matches(given: str, accepted: str | None) -> bool:
    return accepted is None or hmac.compare_digest(given.encode(), accepted.encode())


def check_model(route: Route) -> None:
    """Refuse a model that does not exist, or not in this version of the API."""
    alias_too_early = route.model.endswith("-latest") and route.version == "v1"
    if route.name.startswith("tunedModels/") or (_TAKEN.fullmatch(route.model) and not alias_too_early):
        return
    if route.vertex:
        raise not_found(f"Publisher Model `{route.name}` was not found, or this project cannot access it.")
    raise not_found(
        f"{route.name} is not found for API version {route.version}, or is not supported for {route.method}."
        " Call ListModels to see the list of available models and their supported methods."
    )


def list_models(route: Route, query: Mapping[str, str]) -> dict[str, Any]:
    """Answer a list request, page by page where the query asks for it."""
    names = [name for name in _LISTED if route.version != "v1" or not name.endswith("-latest")]
    field = "publisherModels" if route.vertex else "models"
    return list_page(field, [describe_model(name, route) for name in names], query, size=50)


def describe_model(model: str, route: Route) -> dict[str, Any]:
    """Build the description of one model."""
    if route.vertex:
        return {"name": f"publishers/google/models/{model}", "versionId": "default", "launchStage": "GA"}
    family = route.name.partition("/")[0] or "models"
    words = [word.upper() if word == "it" else word.capitalize() for word in model.split("-")]
    return {
        "name": f"{family}/{model}",
        "version": "001",
        "displayName": " ".join(words) + " (simulated)",
        "description": "Answers come from a simulator on this machine, not from a model.",
        "inputTokenLimit": INPUT_TOKEN_LIMIT,
        "outputTokenLimit": OUTPUT_TOKEN_LIMIT,
        "supportedGenerationMethods": list(METHODS),
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": generation(model) >= 3,
    }


def generation(model: str) -> int:
    """Return the major version in a model's id, 0 for models that are not Gemini."""
    if match := _FAMILY.match(model):
        return int(match[1])
    return 4 if model.endswith("-latest") else 0


def owner_of(request: Request) -> str:
    """Return the key or token that a request comes with: who asks, as the owner of files and caches."""
    return _api_key(request) or request.headers.get("authorization", "").strip()


def _api_key(request: Request) -> str:
    return request.headers.get("x-goog-api-key", "").strip() or request.query.get("key", "").strip()


def timestamp(when: float) -> str:
    """Write seconds since the epoch as the services do."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def list_page(
    field: str, items: Sequence[Any], query: Mapping[str, str], *, size: int, most: int | None = None
) -> dict[str, Any]:
    """Answer a list request with the page that its query asks for.

    Args:
        field: what the list is called.
        items: all there is.
        query: the parameters of the URL, with `pageSize` and `pageToken` in any spelling.
        size: how many stand on a page that does not say.
        most: how many a page may have; None for any number.
    """
    names = {name.replace("_", "").lower(): value for name, value in query.items()}
    try:
        size, start = int(names.get("pagesize") or size), int(names.get("pagetoken") or 0)
    except ValueError:
        raise invalid("The page token or page size is not valid.") from None
    if start < 0:
        raise invalid("The page token is not valid.", "page_token")
    if most is not None and not 1 <= size <= most:
        raise invalid(f"The page size is between 1 and {most}.", "page_size")
    end = start + max(1, size)
    answer: dict[str, Any] = {field: list(items[start:end])} if items[start:end] else {}
    return {**answer, "nextPageToken": str(end)} if end < len(items) else answer


# ---------------------------------------------------------------------------------------------- the errors

_TYPE = "type.googleapis.com/google.rpc."


class RefusalError(Exception):
    """A request that is answered with an error body: HTTP's status, Google's name for it, what is wrong."""

    def __init__(
        self, code: int, status: str, message: str, details: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details or []

    def to_json(self) -> dict[str, Any]:
        """Build the error body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}


def invalid(message: str, field: str | None = None) -> RefusalError:
    """Build a 400; `field` names the field at fault in a BadRequest detail."""
    details = []
    if field is not None:
        violation = {"field": field, "description": message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    return RefusalError(400, "INVALID_ARGUMENT", message, details)


def unknown_field(name: str, path: str) -> RefusalError:
    """Build the 400 for a field that the protocol does not have."""
    where = f" at '{path}'" if path else ""
    return invalid(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.', path)


def not_found(message: str) -> RefusalError:
    """Build a 404."""
    return RefusalError(404, "NOT_FOUND", message)


def not_served(verb: str, path: str) -> RefusalError:
    """Build the 404 for a path that no part of the simulator serves."""
    return not_found(f"The simulator serves nothing for {verb} {path}.")


def refused_key(*, given: bool) -> RefusalError:
    """Build the error for a request without a key, or with one that the service does not know."""
    if not given:
        words = "Method doesn't allow unregistered callers. Send an API key in the x-goog-api-key header."
        return RefusalError(403, "PERMISSION_DENIED", words)
    words = "API key not valid. Please pass a valid API key."
    info = _info("API_KEY_INVALID") | {"metadata": {"service": "generativelanguage.googleapis.com"}}
    localized = {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": words}
    return RefusalError(400, "INVALID_ARGUMENT", words, [info, localized])


def refused_token(*, given: bool) -> RefusalError:
    """Build the 401 for a Vertex AI request without a token, or with one that is wrong or has expired."""
    reason = "ACCESS_TOKEN_INVALID" if given else "CREDENTIALS_MISSING"
    words = "Request had invalid authentication credentials."
    if not given:
        words = "Request is missing required authentication credential."
    words += " Expected an OAuth 2 access token in the Authorization header."
    return RefusalError(401, "UNAUTHENTICATED", words, [_info(reason)])


def _info(reason: str) -> dict[str, Any]:
    return {"@type": _TYPE + "ErrorInfo", "reason": reason, "domain": "googleapis.com"}
