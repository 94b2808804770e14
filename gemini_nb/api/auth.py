"""How a request proves who asks: an API key, or a Google access token that is refreshed in time.

Google's tokens are made by google-auth, and shared by all streams that use the same credentials.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import hashlib
import json
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from gemini_nb.config import Auth, Settings, check_url, environment_key, http_allowed, missing_key
from gemini_nb.daemon import importing
from gemini_nb.errors import (
    ConfigError,
    ConnectError,
    GeminiError,
    MissingKeyError,
    kind_of,
    without_traceback,
)
from gemini_nb.redaction import Secret, excerpt, watch
from gemini_nb.sealing import seal

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REFRESH_TIMEOUT = 30.0
_SHARED_MAX = 32
_SECRETS = ("token", "id_token", "refresh_token", "client_secret", "private_key")


class Authenticator(Protocol):
    """Makes the headers that prove who asks."""

    @property
    def identity(self) -> str:
        """A name for the caller whose quota this is, without the secret in it."""

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

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint in every process, by which files on disk know it again."""
        return hashlib.sha256(b"gemini_nb " + self._key.reveal().encode()).hexdigest()[:16]

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:  # keys do not age
        """Return the key's header."""
        return {"x-goog-api-key": self._key.reveal()}


class AccessToken:
    """An access token that the caller keeps fresh."""

    can_refresh = False

    def __init__(self, token: Secret) -> None:
        self._token = token

    @property
    def identity(self) -> str:
        """The token's fingerprint in this process."""
        return f"token-{hash(self._token.reveal()):x}"

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:  # it is all there is
        """Return the token's header."""
        return {"Authorization": f"Bearer {self._token.reveal()}"}


class GoogleCredentials:
    """google-auth's credentials: application default, a service account, or an object of the caller's.

    google-auth blocks while it refreshes, up to minutes behind a dead proxy, so a refresh runs in a thread of
    its own, one at a time: a hundred streams that find an expired token, on any loop, cause one refresh. It
    goes on for the others when one of them is stopped.

    Args:
        credentials: the credentials, or None for the application default ones, found on first use.
        given: what the caller passed, which may hold secrets of its own: an object, or an account's fields.
    """

    can_refresh = True

    def __init__(self, credentials: Credentials | None, given: object = None) -> None:
        self._credentials = credentials
        self._caller_gave = given
        self._default = credentials is None
        self._lock = threading.Lock()
        self._pending: Future[None] | None = None
        self._given: WeakKeyDictionary[asyncio.Task[Any], str] = WeakKeyDictionary()
        # Old tokens are good for up to an hour after their successor was made.
        self._sent: deque[Secret] = deque(maxlen=4)
        watch(self)

    @property
    def identity(self) -> str:
        """The credentials object's number in this process."""
        return f"google-{id(self):x}"

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:
        """Return the token's header, refreshed if it is about to expire.

        Raises:
            GeminiError: no credentials were found, or Google refused to make a token of them.
        """
        task = asyncio.current_task()
        # The token this task was refused with. Another one may have been made for another stream by now.
        known = None if task is None else self._given.get(task)
        refused = (known or self._token) if refresh else None
        if (pending := self._refresh_unless_good(refused)) is not None:
            await _result(pending)
        token = self._token
        if not token:
            return {}  # anonymous credentials, for a server that asks for none
        if not isinstance(token, str):
            raise GeminiError(
                f"Google's token server answered with a token that is {kind_of(token)}.",
                hint="Check the token_uri of the service account: another server may answer there.",
            )
        if task is not None:
            self._given[task] = token
        if not self._sent or self._sent[-1].reveal() != token:
            self._sent.append(Secret(token))
        headers = {"Authorization": f"Bearer {token}"}
        quota_project = getattr(self._credentials, "quota_project_id", None)
        if quota_project:
            headers["x-goog-user-project"] = quota_project
        return headers

    def secrets(self) -> list[str]:
        """Return the secrets that the credentials hold now; other code may refresh them at any time."""
        holders: list[object] = [self._credentials, self._caller_gave]
        holders += [getattr(one, "_source_credentials", None) for one in holders.copy()]
        return [text for one in holders for name in _SECRETS if (text := _field(one, name))]

    @property
    def _token(self) -> str | None:
        return None if self._credentials is None else self._credentials.token

    def _refresh_unless_good(self, refused: str | None) -> Future[None] | None:
        with self._lock:
            if self._pending is not None:
                return self._pending
            credentials = self._credentials
            if credentials is not None and credentials.valid and (refused is None or self._token != refused):
                return None
            pending = self._pending = Future()
            pending.set_running_or_notify_cancel()  # one stream that is stopped must not cancel it for all
        threading.Thread(target=self._run, args=(pending,), name="gemini_nb-auth", daemon=True).start()
        return pending

    def _run(self, pending: Future[None]) -> None:
        error: GeminiError | None = None
        try:
            self._refresh()
        except GeminiError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 - a caller's own class raises what it likes
            error = _refused(caught)
        with self._lock:
            self._pending = None
            if error is not None and self._default:
                self._credentials = None  # logging in again writes a new file, so read it anew
        if error is None:
            pending.set_result(None)
        else:
            pending.set_exception(without_traceback(error))

    def _refresh(self) -> None:
        with importing():
            import google.auth  # 150 ms that only Vertex AI needs
            import google.auth.exceptions
            import requests
            from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[_SCOPE])
            with requests.Session() as session:
                self._credentials.refresh(functools.partial(Request(session), timeout=_REFRESH_TIMEOUT))
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise ConfigError(
                f"No Google credentials were found for vertex_ai: {excerpt(str(error), 500)}",
                hint="Run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, "
                'or pass credentials={"service_account": path} or {"access_token": token}.',
            ) from None
        except google.auth.exceptions.TransportError as error:
            raise ConnectError(
                f"Google's token server cannot be reached: {excerpt(str(error), 500)}",
                hint="Is the network up, and a proxy set if one is needed?",
            ) from None


def _field(holder: object, name: str) -> str:
    try:
        value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - a caller's own class raises what it likes
        return ""
    return value if isinstance(value, str) else ""


async def _result(pending: Future[None]) -> None:
    try:
        await asyncio.wrap_future(pending)
    except GeminiError as error:
        failure = without_traceback(copy.copy(error))  # many streams wait, and each adds to its own
    else:
        return
    raise failure


def _refused(error: Exception) -> GeminiError:
    reason = error.args[0] if error.args else ""  # google-auth's second one is the whole answer
    if getattr(error, "retryable", False):
        return ConnectError(
            f"Google's token server does not work at present: {excerpt(str(reason), 500)}",
            hint="Trying again later usually helps.",
        )
    if not type(error).__module__.startswith("google."):
        reason = f"{type(error).__name__}: {error}"
    return GeminiError(
        f"Google refused to make an access token: {excerpt(str(reason), 500) or type(error).__name__}",
        hint="Check the service account's key, or log in again.",
        status_code=401,
        api_status="UNAUTHENTICATED",
    )


_shared: OrderedDict[tuple[object, ...], tuple[object, GoogleCredentials]] = OrderedDict()

_shared_lock = threading.Lock()


def _share(
    key: tuple[object, ...], keep: object, make: Callable[[], Credentials | None]
) -> GoogleCredentials:
    """Return one object for the same credentials, so that all their streams share a token and a quota."""
    with _shared_lock:
        known = _shared.get(key)
        if known is None:
            known = _shared[key] = (keep, GoogleCredentials(make(), keep))
        _shared.move_to_end(key)
        while len(_shared) > _SHARED_MAX:
            _shared.popitem(last=False)
        return known[1]


class NoCredentials:
    """The authenticator of a stream that has no key and may not need one, such as one of kept answers.

    Args:
        error: raised when a request needs the key after all.
    """

    identity = "no key"
    can_refresh = False

    def __init__(self, error: MissingKeyError) -> None:
        self.error = error

    async def headers(self, *, refresh: bool = False) -> dict[str, str]:  # there are none
        """Raise the error."""
        raise self.error


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
        return _share(("default", path), None, lambda: None)
    if not isinstance(credentials, Mapping):
        if not all(hasattr(credentials, name) for name in ("refresh", "token", "valid")):
            raise ConfigError(
                f"Credentials are a google-auth Credentials object, not {kind_of(credentials)}.",
                hint='Pass one, as google.auth.default() gives it first, or {"service_account": path}.',
            )
        return _share(("object", id(credentials)), credentials, lambda: _scoped(credentials))
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
        return _share(("account", digest), seal(info), lambda: _service_account(info))
    return _vertex(None)


def _scoped(credentials: Any) -> Credentials:
    from google.auth.credentials import with_scopes_if_required  # only Vertex AI needs it

    scoped: Credentials = with_scopes_if_required(credentials, [_SCOPE])
    return scoped


def _account_info(account: Any) -> dict[str, Any]:
    try:
        if not isinstance(account, Mapping):
            account = json.loads(Path(account).expanduser().read_text(encoding="utf-8"))
        info: dict[str, Any] = dict(account)
    except OSError as error:
        raise ConfigError(
            f"The service account's file cannot be read: {error.strerror}.",
            hint='Check the path in credentials={"service_account": path}.',
        ) from None
    except (ValueError, TypeError) as error:
        raise _no_account(error) from None
    return info


def _service_account(info: dict[str, Any]) -> Credentials:
    from google.oauth2.service_account import Credentials as ServiceAccount

    try:
        made: Credentials = ServiceAccount.from_service_account_info(info, scopes=[_SCOPE])
    except Exception as error:  # noqa: BLE001 - whatever the libraries make of a broken key
        raise _no_account(error) from None
    try:
        check_url(info["token_uri"], allow_http=http_allowed(Settings()))
    except ConfigError as error:
        raise ConfigError(f"The service account's token_uri: {error.message}", hint=error.hint) from None
    return made


def _no_account(error: Exception) -> ConfigError:
    return ConfigError(
        "The service account is not a key file of Google's.",
        hint=f"{type(error).__name__}: it is the JSON file with private_key, client_email and token_uri.",
    )


def project_of(credentials: object) -> str | None:
    """Return the project that the credentials name or belong to, None where they do not say."""
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
    raise ConfigError(
        f"Credentials are a dictionary, not {kind_of(credentials)}.", hint='Pass {"api_key": ...}.'
    )


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
            "The key or token holds characters that no key has.", hint="Copy it again, without quotes."
        )
    return secret
