"""The errors that the simulated service answers with, in the shape Google's services use.

Clients decide on the code, the status and the `@type` of the details, so these three are exact; the messages
say what is wrong with the request.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "RefusalError",
    "invalid",
    "not_found",
    "not_served",
    "refused_key",
    "refused_token",
    "unknown_field",
]

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
    """Build the 404 for a path or a verb that leads nowhere."""
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
