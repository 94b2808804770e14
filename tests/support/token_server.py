"""Google's token server, as far as a service account needs it."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any
from urllib.parse import parse_qs

from scripted import Answer, Request, ScriptedServer, Wait, answer

__all__ = ["TOKEN", "TokenServer", "claims_of"]

TOKEN = "ya29.made-up-token-0123456789"


class TokenServer(ScriptedServer):
    """Google's token server: a new token for each assertion.

    Attributes:
        lifetime: seconds that its tokens live.
        gate: what its answers wait for.
        refusal: answered instead of a token.
    """

    def __init__(self) -> None:
        super().__init__(self._token)
        self.lifetime = 3600
        self.gate: threading.Event | None = None
        self.refusal: Answer | None = None

    def _token(self, _: Request) -> Answer:
        token = {"access_token": f"{TOKEN}-{len(self.requests)}", "expires_in": self.lifetime}
        steps = self.refusal or answer(200, {"Content-Type": "application/json"}, json.dumps(token).encode())
        return [Wait(self.gate), *steps] if self.gate is not None else steps


def claims_of(request: Request) -> dict[str, Any]:
    """Read what the account says of itself in the request for a token."""
    assertion = parse_qs(request.body.decode())["assertion"][0].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    return claims
