"""Google access tokens, made by google-auth and shared by all who use the same credentials."""

from __future__ import annotations

import asyncio
import copy
import functools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gemini_nb.errors import ConfigError, ConnectError, GeminiError, without_traceback
from gemini_nb.redaction import Secret, excerpt, watch

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["SCOPE", "GoogleCredentials", "share"]

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REFRESH_TIMEOUT = 30.0
_SHARED_MAX = 32
_SECRETS = ("token", "id_token", "refresh_token", "client_secret", "private_key")


class GoogleCredentials:
    """google-auth's credentials: application default, a service account, or an object of the caller's.

    google-auth blocks while it refreshes, up to minutes behind a dead proxy, so a refresh runs in a thread of
    its own, one at a time: a hundred streams that find an expired token, on any loop, cause one refresh, and
    one of them that is stopped meanwhile takes nothing from the others.

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
        """What the credentials hold now; others may refresh them at any time."""
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
        import google.auth  # noqa: PLC0415 - 150 ms that only Vertex AI needs
        import google.auth.exceptions  # noqa: PLC0415 - see above
        import requests  # noqa: PLC0415 - see above
        from google.auth.transport.requests import Request  # noqa: PLC0415 - see above

        try:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[SCOPE])
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
            f"Google's token server is not at work: {excerpt(str(reason), 500)}",
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


def share(key: tuple[object, ...], keep: object, make: Callable[[], Credentials | None]) -> GoogleCredentials:
    """One object for the same credentials: one token, and one quota, for all the streams that use them."""
    with _shared_lock:
        known = _shared.get(key)
        if known is None:
            known = _shared[key] = (keep, GoogleCredentials(make(), keep))
        _shared.move_to_end(key)
        while len(_shared) > _SHARED_MAX:
            _shared.popitem(last=False)
        return known[1]
