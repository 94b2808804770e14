"""Continuation tokens: where in which answer to go on.

The token holds the number of events sent and a digest of the request, under a key of this process. The
simulator's answers come out the same each time, so that is enough to go on exactly where the token was given
out, with nothing remembered, and to refuse a token that was altered or comes with another request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from gemini_nb.simulator.refusals import invalid

__all__ = ["FIELD", "is_token", "make_token", "read_token"]

FIELD = "continuationToken"

_KEY = secrets.token_bytes(32)
_MARK = b"gemini-nb continuation\n"
_COUNT_BYTES = 8
_DIGEST_BYTES = 32


def make_token(events: int, model: str, body: Mapping[str, Any]) -> str:
    """Make the token to go on with after so many events of the answer to this request."""
    count = events.to_bytes(_COUNT_BYTES)
    return base64.b64encode(_MARK + count + _digest(count, model, body)).decode()


def is_token(value: object) -> bool:
    """Whether a text has the form of a token from here, genuine or not."""
    return _decode(value).startswith(_MARK)


def read_token(value: object, model: str, body: Mapping[str, Any]) -> int:
    """Return the number of events after which a token goes on.

    Raises:
        RefusalError: 400, it was not given out here, or for another request.
    """
    data = _decode(value).removeprefix(_MARK)
    count, digest = data[:_COUNT_BYTES], data[_COUNT_BYTES:]
    if len(digest) != _DIGEST_BYTES or not hmac.compare_digest(digest, _digest(count, model, body)):
        raise invalid(
            "The continuation token is not valid: it was not given out for this request. Send the same"
            " request again, with the token as it was received.",
            "continuation_token",
        )
    return int.from_bytes(count)


def _decode(value: object) -> bytes:
    # Clients that keep bytes write them back in the other base64 alphabet, or unpadded.
    text = value.rstrip("=").replace("-", "+").replace("_", "/") if isinstance(value, str) else ""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _digest(count: bytes, model: str, body: Mapping[str, Any]) -> bytes:
    # google-genai adds an empty generationConfig to a request that goes on; it means the same without.
    asked = {name: value for name, value in body.items() if name != FIELD and value not in ({}, [])}
    request = json.dumps([model, asked], sort_keys=True, ensure_ascii=False).encode()
    return hmac.new(_KEY, count + request, hashlib.sha256).digest()
