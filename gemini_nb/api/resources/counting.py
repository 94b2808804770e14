"""How many tokens a request has, as the service counts them. Nothing is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.resources.json_request import WHOSE, ask
from gemini_nb.api.wire import JSON
from gemini_nb.config import Auth
from gemini_nb.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from gemini_nb.api.http import HTTPClients

_SECONDS = 30.0
_ASKS = ":streamGenerateContent"
_OF_VERTEX = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})


async def count_tokens(clients: HTTPClients, endpoint: Endpoint, body: JSON) -> int:
    """Return the tokens of a request.

    Raises:
        ConfigError: the endpoint is an address of the user's own, which has no method for this.
        GeminiError: the service refuses, cannot be reached, or answers something else.
    """
    before, asks, _ = endpoint.url.partition(_ASKS)
    if not asks:
        raise ConfigError("Tokens cannot be counted at this endpoint.", hint="Leave `endpoint` out.")
    if endpoint.auth is Auth.VERTEX_AI:
        counted = {name: value for name, value in body.items() if name in _OF_VERTEX}
    else:
        counted = {"generateContentRequest": {"model": f"models/{before.rpartition('/')[2]}", **body}}
    total = (await ask(clients, endpoint, f"{before}:countTokens", seconds=_SECONDS, body=counted)).get(
        "totalTokens"
    )
    if not isinstance(total, int) or isinstance(total, bool):
        raise ProtocolError("The answer holds no count of tokens.", hint=WHOSE)
    return total
