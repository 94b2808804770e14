"""Thought signatures: opaque text beside a function call that only its maker can check.

A signature is a salt and an HMAC over the call, under a key of this process. So whether one that comes back
is genuine, and still beside its own call, can be said without remembering any of those handed out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

__all__ = ["SKIP", "generation", "is_genuine", "sign_call", "sign_text", "signs_calls"]

SKIP = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""Documented values for a call that the model did not make; accepted in place of a signature."""

_KEY = secrets.token_bytes(32)
# 16 + 32 bytes are 64 base64 characters without padding, so that each character of a signature counts.
_SALT_BYTES = 16
_FAMILY = re.compile(r"gemini-(\d+)")


def generation(model: str) -> int:
    """Return the major version in a model's id, 0 for models that are not Gemini."""
    if match := _FAMILY.match(model):
        return int(match[1])
    return 4 if model.endswith("-latest") else 0


def signs_calls(model: str) -> bool:
    """Whether calls of this model have ids and signatures that must come back: Gemini 3 and newer."""
    return generation(model) >= 3


def sign_call(call: Mapping[str, Any]) -> str:
    """Make the signature of a functionCall."""
    return _sign(_canonical(call))


def sign_text(text: str) -> str:
    """Make a signature for a text; it is not checked when it comes back, as the service does not either."""
    return _sign(text.encode())


def is_genuine(signature: object, call: Mapping[str, Any]) -> bool:
    """Whether this is the signature of this call, or one of the values in SKIP."""
    if not isinstance(signature, str):
        return False
    if signature in SKIP:
        return True
    try:
        # A client that keeps bytes may write them back in the other base64 alphabet, or unpadded.
        standard = signature.rstrip("=").replace("-", "+").replace("_", "/")
        data = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (ValueError, binascii.Error):
        return False
    if data.decode("ascii", "replace") in SKIP:
        return True
    salt, digest = data[:_SALT_BYTES], data[_SALT_BYTES:]
    return hmac.compare_digest(digest, _digest(salt, _canonical(call)))


def _sign(message: bytes) -> str:
    # The salt comes from the message, so that a request sent again gets the same answer to the last byte.
    salt = _digest(b"salt", message)[:_SALT_BYTES]
    return base64.b64encode(salt + _digest(salt, message)).decode()


def _digest(salt: bytes, message: bytes) -> bytes:
    return hmac.new(_KEY, salt + message, hashlib.sha256).digest()


def _canonical(call: Mapping[str, Any]) -> bytes:
    """The call's JSON, equal for calls that mean the same: 2 and 2.0, no arguments and none given."""
    value = [call.get("name"), call.get("id"), _plain(call.get("args") or {})]
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
