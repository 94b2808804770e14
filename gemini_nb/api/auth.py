"""How a request proves who asks: an API key, or a Google access token that is refreshed in time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gemini_nb.api.google_token import SCOPE, GoogleCredentials, share
from gemini_nb.config import Auth, environment_key, missing_key
from gemini_nb.errors import ConfigError
from gemini_nb.redaction import Secret, seal

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["AccessToken", "ApiKey", "Authenticator", "GoogleCredentials", "authenticator", "project_of"]


class Authenticator(Protocol):
    """Makes the headers that prove who asks."""

    @property
    def identity(self) -> str:
        """What tells this caller's quota from another's, without telling the secret."""

    @property
    def can_refresh(self) -> bool:
        """Whether a refused token is worth one more try with a fresh one."""

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:
        """Return the headers of one request.

        Args:
            refresh: get a new token first, because the server refused the last one.
        """


class ApiKey:
    """A Gemini API key, sent in a header: a URL ends up in logs and error messages."""

    can_refresh = False

    def __init__(self, key: Secret) -> None:
        self._key = key

    @property
    def identity(self) -> str:
        """The key's fingerprint in this process."""
        return f"key-{hash(self._key.reveal()):x}"

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:  # noqa: ARG002 - keys do not age
        """Return the key's header."""
        return {"x-goog-api-key": self._key.reveal()}


class AccessToken:
    """An access token that somebody else keeps fresh."""

    can_refresh = False

    def __init__(self, token: Secret) -> None:
        self._token = token

    @property
    def identity(self) -> str:
        """The token's fingerprint in this process."""
        return f"token-{hash(self._token.reveal()):x}"

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:  # noqa: ARG002 - it is all there is
        """Return the token's header."""
        return {"Authorization": f"Bearer {self._token.reveal()}"}


def authenticator(auth: Auth, credentials: object) -> Authenticator:
    """Make the authenticator for what the caller passed, or for what the environment holds.

    Raises:
        ConfigError: there is no key, or the credentials are of no known kind.
    """
    if auth is Auth.VERTEX_AI:
        return _vertex(credentials)
    given = _mapping(credentials)
    unknown = set(given) - {"api_key"}
    if unknown:
        raise ConfigError(
            f"{auth} credentials have no {_least(unknown)!r}.", hint='They are {"api_key": ...}.'
        )
    key = _secret(given.get("api_key")) or environment_key()
    if not key:
        raise missing_key()
    return ApiKey(_checked(key))


def _vertex(credentials: object) -> Authenticator:
    if credentials is None:
        path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        return share(("default", path), None, lambda: None)
    if not isinstance(credentials, Mapping):
        if not all(hasattr(credentials, name) for name in ("refresh", "token", "valid")):
            raise ConfigError(f"A {type(credentials).__name__} is not a google-auth Credentials object.")
        return share(("object", id(credentials)), credentials, lambda: _scoped(credentials))
    known = {"project_id", "location", "service_account", "access_token", "api_key"}
    unknown = set(credentials) - known
    if unknown:
        raise ConfigError(
            f"vertex_ai credentials have no {_least(unknown)!r}.",
            hint=f"They have {', '.join(sorted(known))}.",
        )
    if (token := _secret(credentials.get("access_token"))) is not None:
        return AccessToken(token)
    if (key := _secret(credentials.get("api_key"))) is not None:
        return ApiKey(key)
    if (account := credentials.get("service_account")) is not None:
        info = _account_info(account)
        digest = hashlib.sha256(json.dumps(info, sort_keys=True, default=str).encode()).digest()
        return share(("account", digest), seal(info), lambda: _service_account(info))
    return _vertex(None)


def _scoped(credentials: Any) -> Credentials:
    from google.auth.credentials import with_scopes_if_required  # noqa: PLC0415 - only Vertex AI needs it

    scoped: Credentials = with_scopes_if_required(credentials, [SCOPE])
    return scoped


def _account_info(account: Any) -> dict[str, Any]:
    try:
        if not isinstance(account, Mapping):
            account = json.loads(Path(account).expanduser().read_text(encoding="utf-8"))
        info: dict[str, Any] = dict(account)
    except OSError as error:
        raise ConfigError(f"The service account's file cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError) as error:
        raise _no_account(error) from None
    return info


def _service_account(info: dict[str, Any]) -> Credentials:
    from google.oauth2.service_account import Credentials as ServiceAccount  # noqa: PLC0415 - see above

    try:
        made: Credentials = ServiceAccount.from_service_account_info(info, scopes=[SCOPE])
    except Exception as error:  # noqa: BLE001 - whatever the libraries make of a broken key
        raise _no_account(error) from None
    return made


def _no_account(error: Exception) -> ConfigError:
    return ConfigError(
        "The service account is not a key file of Google's.",
        hint=f"{type(error).__name__}: it is the JSON file with private_key, client_email and token_uri.",
    )


def project_of(credentials: object) -> str | None:
    """The project that the credentials name or belong to, if they say."""
    account: object = None
    if isinstance(credentials, Mapping):
        if credentials.get("project_id"):
            return str(credentials["project_id"])
        account = credentials.get("service_account")
    elif credentials is not None:
        return getattr(credentials, "project_id", None)
    if isinstance(account, (str, os.PathLike)):
        try:
            account = json.loads(Path(account).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
    return account.get("project_id") if isinstance(account, Mapping) else None


def _least(names: Iterable[object]) -> str:
    return min(str(name) for name in names)


def _mapping(credentials: object) -> Mapping[str, object]:
    if credentials is None:
        return {}
    if isinstance(credentials, Mapping):
        return credentials
    raise ConfigError(f"Credentials are a dictionary, not a {type(credentials).__name__}.")


def _secret(value: object) -> Secret | None:
    if value is None:
        return None
    secret = Secret(value) if isinstance(value, str) else value
    if not isinstance(secret, Secret) or not secret:
        raise ConfigError("A key or token is a non-empty string.")
    return _checked(secret)


def _checked(secret: Secret) -> Secret:
    text = secret.reveal()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError(
            "The key or token has characters that none has.", hint="Copy it again, without quotes."
        )
    return secret
