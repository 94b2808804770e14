"""Contents that are sent once and read by many questions."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Unpack

from gemini_nb.api.contents.content import encode_body
from gemini_nb.api.resources.caching import make_cache
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.daemon import run_in_daemon_thread
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.sealing import seal_options
from gemini_nb.streams.events.record import StreamRecord
from gemini_nb.streams.manager import StreamManager, manager_of
from gemini_nb.streams.request.cached import HELD, CachedContent, expiry_of, run, seconds_of
from gemini_nb.streams.request.options import StreamOptions, takes_options
from gemini_nb.streams.request.request import StreamRequest, build_request, with_tools_of_sources
from gemini_nb.streams.request.uploads import uploads_of
from gemini_nb.streams.runtime.runtime import Runtime

_TAKEN = {"model", "auth", "credentials", "base_url", "api_version", "endpoint"}
_TAKEN |= {"keep", "tools", "system_instruction", "tool_config"}


@takes_options
def cache(
    contents: object = None,
    *,
    ttl: object = "1h",
    manager: StreamManager | None = None,
    **options: Unpack[StreamOptions],
) -> CachedContent:
    """Keep contents at the service, so that many questions can read them for less.

        book = gemini_nb.cache(gemini_nb.File("book.pdf"), model="gemini-3.8-flash", ttl="2h")
        start_stream("Who is the narrator?", cached=book)

    What is cached costs about a tenth of what is sent, and a price for each hour that it stays. The service
    wants some thousand tokens at least.

    Args:
        contents: what to keep: text, files, turns, as in `start_stream`; None beside a system instruction.
        ttl: how long it stays: "1h", "30m", a number of seconds or a timedelta.
        manager: who asks; by default the kernel's.
        **options: as in `StreamOptions`.

    The model that is named is the only one that can read it. `system_instruction`, `tools` and `tool_config`
    are kept with it and cannot be set beside it; `keep` counts where kept answers are played back. Settings
    of the answer are refused: they go to `start_stream`.

    Raises:
        ArgumentError: something in it cannot be sent.
        ConfigError: an option belongs to the question, or does not fit.
        GeminiError: the service refuses, such as what is too small.
        BlockingCallError: called on the background loop's own thread.
    """
    seal_options(options)
    lifetime = seconds_of(ttl)
    for name, value in options.items():
        if name not in _TAKEN and value is not None:
            raise ConfigError(
                f"A cache keeps no {name}.", hint=f"Pass {name} to start_stream, beside cached=."
            )
    if contents is None and options.get("system_instruction") is None:
        raise ArgumentError("A cache needs contents, or a system instruction.")
    chosen = manager_of(manager)
    runtime = chosen.runtime
    request = build_request(runtime, "-" if contents is None else contents, **options)
    _check_choice(request)
    asked, made, digest = run(runtime, _make(runtime, request, lifetime, has_contents=contents is not None))
    usage = made.get("usageMetadata")
    tokens = usage.get("totalTokenCount") if isinstance(usage, dict) else None
    return CachedContent(
        name=made["name"],
        endpoint=asked.endpoint,
        tokens=tokens if isinstance(tokens, int) else 0,
        expires=expiry_of(made),
        tools=asked.tools,
        digest=digest,
        options=options,
        runtime=runtime,
    )


async def _make(
    runtime: Runtime, request: StreamRequest, lifetime: str, *, has_contents: bool
) -> tuple[StreamRequest, JSON, str]:
    """Make the cache; return its request, what the service says of it, and the digest of what it holds."""
    uploads = uploads_of(runtime)
    asked = await with_tools_of_sources(request)
    held = {name: asked.body[name] for name in HELD if asked.body.get(name)}
    digest = _digest(held)
    if has_contents:
        known = await run_in_daemon_thread(uploads.memory.by_content, asked.contents)
        digest = _digest({**held, "contents": known})
    if asked.endpoint.auth is Auth.RECORDING:
        return asked, _recorded(digest, lifetime), digest
    clients = await runtime.ready()
    if has_contents:
        held["contents"] = await uploads.put_up(clients, asked, StreamRecord("cache"), asked.contents)
    return asked, await make_cache(clients, asked.endpoint, {**held, "ttl": lifetime}), digest


def _check_choice(request: StreamRequest) -> None:
    """Refuse a mode that would make the model call a function in each round, for ever."""
    config = request.body.get("toolConfig") or {}
    mode = str((config.get("functionCallingConfig") or {}).get("mode", "")).upper()
    if mode in {"ANY", "2"} and (request.tools.names or request.tools.sources):
        raise ConfigError(
            "A cache with functions does not take the mode ANY: the model could never stop to call them.",
            hint="The mode cannot be set beside the cache. Leave it out, and ask for the call in words.",
        )


def _digest(held: JSON) -> str:
    return hashlib.sha256(encode_body(dict(sorted(held.items())))).hexdigest()


def _recorded(digest: str, lifetime: str) -> JSON:
    """Return what stands for a cache where kept answers are played back and nothing is sent."""
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(lifetime[:-1]))
    return {"name": f"cachedContents/{digest[:24]}", "expireTime": expires.isoformat()}
