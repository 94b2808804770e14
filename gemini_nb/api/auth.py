"""How a request proves who asks: an API key, or a Google access token that is refreshed in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gemini_nb.config import Auth, environment_key, missing_key
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ConfigError, GeminiError
from gemini_nb.secrets import Secret, scrub

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["AccessToken", "ApiKey", "Authenticator", "GoogleCredentials", "authenticator"]

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REFRESH_TIMEOUT = 30.0


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


class GoogleCredentials:
    """google-auth's credentials: application default, a service account, or an object of the caller's.

    google-auth blocks while it refreshes, up to minutes behind a dead proxy, so a refresh runs in a thread of
    its own, one at a time: a hundred streams that find an expired token cause one refresh.

    Args:
        credentials: the credentials, or None for the application default ones, found on first use.
    """

    can_refresh = True

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials
        self._lock: asyncio.Lock | None = None
        self._shown: Secret | None = None  # keeps the token known to the scrubber while it lives

    @property
    def identity(self) -> str:
        """The credentials object's number in this process."""
        return f"google-{id(self):x}"

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:
        """Return the token's header, refreshed if it is about to expire.

        Raises:
            GeminiError: no credentials were found, or Google refused to make a token of them.
        """
        if self._lock is None:
            self._lock = asyncio.Lock()
        before = self._token
        async with self._lock:
            stale = refresh and self._token == before
            if stale or self._credentials is None or not self._credentials.valid:
                await run_in_daemon_thread(self._refresh, name="gemini_nb-auth")
        headers = {"Authorization": f"Bearer {self._token}"}
        quota_project = getattr(self._credentials, "quota_project_id", None)
        if quota_project:
            headers["x-goog-user-project"] = quota_project
        return headers

    @property
    def _token(self) -> str | None:
        return None if self._credentials is None else self._credentials.token

    def _refresh(self) -> None:
        import functools  # noqa: PLC0415 - see below

        import google.auth  # noqa: PLC0415 - 150 ms that only Vertex AI needs
        import google.auth.exceptions  # noqa: PLC0415
        from google.auth.transport.requests import Request  # noqa: PLC0415

        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[_SCOPE])
            self._credentials.refresh(functools.partial(Request(), timeout=_REFRESH_TIMEOUT))
        except google.auth.exceptions.DefaultCredentialsError:
            raise ConfigError(
                "No Google credentials were found for vertex_ai.",
                hint="Run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, "
                'or pass credentials={"service_account": path} or {"access_token": token}.',
            ) from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise GeminiError(
                f"Google refused to make an access token: {scrub(str(error))[:500]}",
                hint="Check the service account's key, or log in again.",
                status_code=401,
                api_status="UNAUTHENTICATED",
            ) from None
        self._shown = Secret(self._credentials.token or "")


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
        raise ConfigError(f"{auth} credentials have no {min(unknown)!r}.", hint='They are {"api_key": ...}.')
    key = _secret(given.get("api_key")) or environment_key()
    if not key:
        raise missing_key()
    if not key.reveal().isascii() or not key.reveal().isprintable() or " " in key.reveal():
        raise ConfigError(
            "The API key has characters that no key has.", hint="Copy it again, without quotes."
        )
    return ApiKey(key)


def _vertex(credentials: object) -> Authenticator:
    if credentials is None:
        return GoogleCredentials(None)
    if not isinstance(credentials, Mapping):
        if not callable(getattr(credentials, "refresh", None)):
            raise ConfigError(f"A {type(credentials).__name__} is not a google-auth Credentials object.")
        return GoogleCredentials(_scoped(credentials))
    known = {"project_id", "location", "service_account", "access_token"}
    unknown = set(credentials) - known
    if unknown:
        raise ConfigError(
            f"vertex_ai credentials have no {min(unknown)!r}.",
            hint=f"They have {', '.join(sorted(known))}.",
        )
    if (token := _secret(credentials.get("access_token"))) is not None:
        return AccessToken(token)
    if (account := credentials.get("service_account")) is not None:
        return GoogleCredentials(_service_account(account))
    return GoogleCredentials(None)


def _scoped(credentials: Any) -> Credentials:
    from google.auth.credentials import with_scopes_if_required  # noqa: PLC0415 - only Vertex AI needs it

    scoped: Credentials = with_scopes_if_required(credentials, [_SCOPE])
    return scoped


def _service_account(account: Any) -> Credentials:
    from google.oauth2.service_account import Credentials as ServiceAccount  # noqa: PLC0415 - see above

    try:
        if isinstance(account, Mapping):
            made: Credentials = ServiceAccount.from_service_account_info(dict(account), scopes=[_SCOPE])
        else:
            made = ServiceAccount.from_service_account_file(Path(account), scopes=[_SCOPE])
    except OSError as error:
        raise ConfigError(f"The service account's file cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "The service account is not a key file of Google's.",
            hint=f"{type(error).__name__}: it is the JSON file with private_key, client_email and token_uri.",
        ) from None
    else:
        return made


def project_of(credentials: object) -> str | None:
    """The project that the credentials name or belong to, if they say."""
    if isinstance(credentials, Mapping):
        if credentials.get("project_id"):
            return str(credentials["project_id"])
        account = credentials.get("service_account")
        if isinstance(account, (str, os.PathLike)):
            import json  # noqa: PLC0415 - a file that may not be there

            try:
                account = json.loads(Path(account).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return None
        return account.get("project_id") if isinstance(account, Mapping) else None
    return getattr(credentials, "project_id", None)


def _mapping(credentials: object) -> Mapping[str, object]:
    if credentials is None:
        return {}
    if isinstance(credentials, Mapping):
        return credentials
    raise ConfigError(f"Credentials are a dictionary, not a {type(credentials).__name__}.")


def _secret(value: object) -> Secret | None:
    if value is None:
        return None
    if isinstance(value, Secret):
        return value
    if isinstance(value, str) and value.strip():
        return Secret(value)
    raise ConfigError("A key or token is a non-empty string.")
