"""Where a stream's request goes, and with which key: a service, the simulator of this process, or nowhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gemini_nb.api.auth import NoCredentials
from gemini_nb.api.endpoint import Endpoint, model_in, resolve_endpoint
from gemini_nb.config import Auth, Settings, choose_auth
from gemini_nb.errors import MissingKeyError
from gemini_nb.redaction import Secret
from gemini_nb.sealing import seal
from gemini_nb.streams.request.options import StreamOptions

if TYPE_CHECKING:
    from gemini_nb.streams.runtime.runtime import Runtime


def find_endpoint(runtime: Runtime, options: StreamOptions, *, may_lack_key: bool = False) -> Endpoint:
    """Return where the request goes and with which key; simulated answers come from this process."""
    credentials = seal(options.get("credentials"))
    settings = runtime.settings
    target: dict[str, str | None] = {
        "model": options.get("model"),
        "base_url": options.get("base_url"),
        "api_version": options.get("api_version"),
        "endpoint": options.get("endpoint"),
    }
    service = Auth.GEMINI
    try:
        service = choose_auth(options.get("auth"), credentials, settings)
        if service is Auth.RECORDING:
            model = target["model"] or model_in(str(target["endpoint"]))
            nothing = MissingKeyError(
                "Nothing is asked where kept answers are played back.",
                hint="Ask it once with a key and `keep`.",
            )
            return _nowhere(service, model, settings, nothing)
        if service is Auth.SIMULATOR and target["endpoint"] is None:
            credentials, base_url = _stand_in(runtime, credentials, target["base_url"])
            target = {**target, "base_url": base_url}
        return resolve_endpoint(settings=settings, auth=service, credentials=credentials, **target)
    except MissingKeyError as error:
        if not may_lack_key:
            raise
        return _nowhere(service, target["model"], settings, error)


def _nowhere(auth: Auth, model: str | None, settings: Settings, error: MissingKeyError) -> Endpoint:
    """Return an endpoint for kept answers alone; a request to it raises this error."""
    unused = {"api_key": Secret("none")}
    endpoint = resolve_endpoint(settings=settings, auth=Auth.GEMINI, model=model, credentials=unused)
    return replace(endpoint, auth=auth, authenticator=NoCredentials(error))


def _stand_in(runtime: Runtime, credentials: object, base_url: str | None) -> tuple[object, str | None]:
    """Return key and URL of the simulator: the embedded one, or one at `base_url`, which takes any key."""
    if base_url is None:
        server = runtime.stand_in()
        return {"api_key": Secret(server.api_key or "simulator")}, server.base_url
    return credentials or {"api_key": "any-key"}, base_url
