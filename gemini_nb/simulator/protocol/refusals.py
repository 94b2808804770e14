"""The errors that the simulated service answers with, in the shape Google's services use.

Clients decide on the code, the status and the `@type` of the details, so these three are exact; the messages
say what is wrong with the request.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "RefusalError",
    "bad_key",
    "bad_token",
    "invalid",
    "no_credentials",
    "no_key",
    "not_found",
    "unknown_field",
]

_TYPE = "type.googleapis.com/google.rpc."
_DOMAIN = "googleapis.com"


class RefusalError(Exception):
    """A request that is answered with an error body.

    Attributes:
        code: the HTTP status.
        status: Google's name for it.
        message: what is wrong.
        details: typed details, as in `google.rpc.Status`.
    """

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


def no_key() -> RefusalError:
    """Build the 403 for a request that names no caller."""
    return RefusalError(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers. Send an API key in the x-goog-api-key header.",
    )


def bad_key() -> RefusalError:
    """Build the 400 for a key that the service does not know."""
    info = {"@type": _TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": _DOMAIN}
    message = "API key not valid. Please pass a valid API key."
    localized = {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": message}
    return RefusalError(
        400,
        "INVALID_ARGUMENT",
        message,
        [{**info, "metadata": {"service": "generativelanguage.googleapis.com"}}, localized],
    )


def no_credentials() -> RefusalError:
    """Build the 401 for a Vertex AI request without a token."""
    return _unauthenticated("Request is missing required authentication credential.", "CREDENTIALS_MISSING")


def bad_token() -> RefusalError:
    """Build the 401 for a token that is wrong or has expired."""
    return _unauthenticated("Request had invalid authentication credentials.", "ACCESS_TOKEN_INVALID")


def _unauthenticated(message: str, reason: str) -> RefusalError:
    info = {"@type": _TYPE + "ErrorInfo", "reason": reason, "domain": _DOMAIN}
    text = message + " Expected an OAuth 2 access token in the Authorization header."
    return RefusalError(401, "UNAUTHENTICATED", text, [info])
