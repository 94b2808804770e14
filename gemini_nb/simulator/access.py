"""Who may ask: API keys on the developer API, bearer tokens (or keys, in express mode) on Vertex AI.

Accepting everything would hide the commonest mistake of a client, a key in the wrong place. So a
credential is always demanded, where the backend looks for it, even when any value of it is taken.
"""

from __future__ import annotations

import hmac

from gemini_nb.simulator.record import Fields
from gemini_nb.simulator.refusals import bad_key, bad_token, no_credentials, no_key
from gemini_nb.simulator.routes import Route

__all__ = ["check_access"]


def check_access(route: Route, headers: Fields, query: Fields, accepted: str | None) -> None:
    """Refuse a request that brings no credential, or a wrong one.

    Args:
        route: where the request goes.
        headers: its headers.
        query: the parameters of its URL.
        accepted: the one key or token that is right; None takes any.

    Raises:
        RefusalError: as the service would, 400, 401 or 403.
    """
    key = headers.get("x-goog-api-key", "").strip() or query.get("key", "").strip()
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    if route.vertex and token:
        if not _matches(token, accepted):
            raise bad_token()
    elif key:
        if not _matches(key, accepted):
            raise bad_key()
    else:
        raise no_credentials() if route.vertex and not route.express else no_key()


def _matches(given: str, accepted: str | None) -> bool:
    return accepted is None or hmac.compare_digest(given.encode(), accepted.encode())
