"""What the service gives out and checks when it comes back: thought signatures and continuation tokens.

A signature is a salt and an HMAC over a function call, under a key of this process. So whether one that comes
back is genuine, and still beside its own call, can be said without remembering any of those handed out. A
continuation token holds how many events a response has given, and an HMAC over the request that it is for.
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

from gemini_nb.simulator.protocol.refusals import invalid

__all__ = ["FIELD", "SKIP", "is_genuine", "is_token", "make_token", "read_token", "sign_call", "sign_text"]

SKIP = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""Documented values for a call that the model did not make; accepted in place of a signature."""

FIELD = "continuationToken"
_KEY = secrets.token_bytes(32)
# 16 + 32 bytes are 64 base64 characters without padding, so that each character of a signature counts.
_SALT_BYTES = 16
_MARK = b"gemini-nb continuation\n"
_COUNT_BYTES = 8
_DIGEST_BYTES = 32


def sign_call(call: Mapping[str, Any]) -> str:
    """Make the signature of a functionCall."""
    return sign_text(_canonical(call))


def sign_text(text: str) -> str:
    """Make a signature for a text; it is not checked when it comes back, as the service does not either."""
    # The salt comes from the message, so that a request sent again gets the same answer to the last byte.
    salt = _digest(b"salt", text)[:_SALT_BYTES]
    return base64.b64encode(salt + _digest(salt, text)).decode()


def is_genuine(signature: object, call: Mapping[str, Any]) -> bool:
    """Whether this is the signature of this call, or one of the values in SKIP, encoded or not."""
    data = _decode(signature)
    if signature in SKIP or data.decode("ascii", "replace") in SKIP:
        return True
    salt, digest = data[:_SALT_BYTES], data[_SALT_BYTES:]
    return hmac.compare_digest(digest, _digest(salt, _canonical(call)))


def _digest(salt: bytes, message: str) -> bytes:
    return hmac.new(_KEY, salt + message.encode(), hashlib.sha256).digest()


def _canonical(call: Mapping[str, Any]) -> str:
    """Return the call's JSON, equal for calls that mean the same: 2 and 2.0, no arguments and none given."""
    value = json.dumps([call.get("name"), call.get("id"), call.get("args") or {}])
    return json.dumps(json.loads(value, parse_float=_whole), sort_keys=True, ensure_ascii=False)


def _whole(number: str) -> float:
    value = float(number)
    return int(value) if value.is_integer() else value


def make_token(events: int, model: str, body: Mapping[str, Any]) -> str:
    """Make the token to go on with after so many events of the answer to this request."""
    count = events.to_bytes(_COUNT_BYTES)
    return base64.b64encode(_MARK + count + _token_digest(count, model, body)).decode()


def is_token(value: object) -> bool:
    """Whether a text has the form of a token from here, genuine or not."""
    return _decode(value).startswith(_MARK)


def read_token(value: object, model: str, body: Mapping[str, Any]) -> int:
    """Return the number of events after which a token goes on."""
    data = _decode(value).removeprefix(_MARK)
    count, digest = data[:_COUNT_BYTES], data[_COUNT_BYTES:]
    if len(digest) != _DIGEST_BYTES or not hmac.compare_digest(digest, _token_digest(count, model, body)):
        raise invalid(
            "The continuation token is not valid: it was not given out for this request. Send the same"
            " request again, with the token as it was received.",
            "continuation_token",
        )
    return int.from_bytes(count)


def _decode(value: object) -> bytes:
    # A client that keeps bytes may write them back in the other base64 alphabet, or unpadded.
    text = value.rstrip("=").replace("-", "+").replace("_", "/") if isinstance(value, str) else ""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _token_digest(count: bytes, model: str, body: Mapping[str, Any]) -> bytes:
    # google-genai adds an empty generationConfig to a request that goes on; it means the same without.
    asked = {name: value for name, value in body.items() if name != FIELD and value not in ({}, [])}
    return _digest(count, json.dumps([model, asked], sort_keys=True, ensure_ascii=False))
