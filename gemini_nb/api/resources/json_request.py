"""One request about something that a service has, and its answer as a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gemini_nb.api import failures
from gemini_nb.api.contents.content import encode_body
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.wire import JSON
from gemini_nb.errors import ProtocolError

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients

WHOSE = "Is the base URL that of Gemini?"
"""What to do about an answer that is none of Gemini's."""


async def ask(
    clients: HTTPClients,
    endpoint: Endpoint,
    url: str,
    *,
    seconds: float,
    method: str | None = None,
    body: JSON | None = None,
    headers: Mapping[str, str] | None = None,
    beside: str = "",
    what: str = "The answer",
) -> JSON:
    """Ask, and return the answer; an empty one is enough where something was deleted.

    Args:
        clients: the connection pools of the running loop.
        endpoint: the service, and the key.
        url: what is asked about.
        seconds: how long it may take.
        method: other than GET, or POST with a body.
        body: what is sent.
        headers: more headers; those that prove who asks go before them.
        beside: as in `failures.refused`.
        what: what the answer is, for an error.

    Raises:
        ProtocolError: the answer is no JSON object.
        GeminiError: the service refuses, or cannot be reached.
    """
    headers = {**(headers or {}), **await endpoint.authenticator.headers(refresh=False)}
    content = None
    if body is not None:
        headers, content = {**headers, "content-type": "application/json"}, encode_body(body)
    status, received, answer = await clients.get(
        url, headers, seconds=seconds, content=content, method=method
    )
    if status != 200:
        raise failures.refused(status, received, answer, endpoint, beside=beside)
    return {} if method == "DELETE" and not answer else json_object(answer, what)


def json_object(answer: bytes, what: str) -> JSON:
    """Return an answer's JSON object.

    Raises:
        ProtocolError: it is none.
    """
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is no JSON object.", hint=WHOSE)
    return value
