"""The order of a conversation: who spoke, which calls were made, and what came back for them.

A client may send a model's turn in one content or in as many as there were chunks, so contents are first
gathered into turns. Then the rules hold that the services enforce: the results of a turn's calls come right
after it, one for each, and the first call of every step since the user last spoke carries its signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from gemini_nb.simulator.requests import invalid

__all__ = [
    "CONTINUATION",
    "Exchange",
    "Turn",
    "check_order",
    "check_signatures",
    "current_rounds",
    "is_token",
    "make_token",
    "read_token",
    "read_turns",
    "sign_call",
    "sign_text",
]

_SKIP = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""Documented values for a call that the model did not make; accepted in place of a signature."""

CONTINUATION = "continuationToken"
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


def _is_genuine(signature: object, call: Mapping[str, Any]) -> bool:
    """Whether this is the signature of this call, or one of the values in _SKIP, encoded or not."""
    data = _decode(signature)
    if signature in _SKIP or data.decode("ascii", "replace") in _SKIP:
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
    asked = {name: value for name, value in body.items() if name != CONTINUATION and value not in ({}, [])}
    return _digest(count, json.dumps([model, asked], sort_keys=True, ensure_ascii=False))


@dataclass(slots=True)
class Turn:
    """Neighbouring contents of one side."""

    kind: Literal["model", "user", "results"]  # results: of function calls, and nothing else
    position: int  # of its first content
    parts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The function calls made in it."""
        return [part["functionCall"] for part in self.parts if "functionCall" in part]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The function responses given in it."""
        return [part["functionResponse"] for part in self.parts if "functionResponse" in part]

    @property
    def text(self) -> str:
        """Its text, without thoughts."""
        return "".join(str(part["text"]) for part in self.parts if "text" in part and not part.get("thought"))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One function call and what it returned."""

    name: str
    args: dict[str, Any]
    response: dict[str, Any]


def read_turns(contents: Sequence[dict[str, Any]]) -> list[Turn]:
    """Gather contents into turns."""
    turns: list[Turn] = []
    for position, content in enumerate(contents):
        parts: list[dict[str, Any]] = content["parts"]
        kind: Literal["model", "user", "results"] = "user"
        if content.get("role") == "model":
            kind = "model"
        elif all("functionResponse" in part for part in parts):
            kind = "results"
        if turns and turns[-1].kind == kind and kind != "user":
            turns[-1].parts.extend(parts)
        else:
            turns.append(Turn(kind, position, list(parts)))
    return turns


def check_order(turns: Sequence[Turn], *, continues: bool) -> None:
    """Refuse calls without results, results without calls, and either in the wrong place.

    Args:
        turns: the conversation.
        continues: whether the model goes on with a turn of its own, where one comes last.
    """
    if turns[-1].kind == "model" and not continues:
        raise invalid("This model does not continue a model turn: the last content must have the role user.")
    for before, turn, after in zip([None, *turns], turns, [*turns[1:], None], strict=False):
        where = f"contents[{turn.position}]"
        if turn.calls and turn.results:
            raise invalid(
                f"{where} mixes functionCall and functionResponse parts:"
                " calls belong in a model turn, responses in the user turn after it."
            )
        if turn.calls and turn.kind != "model":
            raise invalid(f"{where}: a functionCall part needs the role model.")
        if turn.results and turn.kind == "model":
            raise invalid(f"{where}: a functionResponse part needs the role user.")
        if turn.calls and before is None:
            raise invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a"
                " function response turn."
            )
        if turn.results and (before is None or not before.calls):
            raise invalid(
                "Please ensure that function response turn comes immediately after a function call turn."
            )
        if turn.calls:
            _check_results(turn.calls, after.results if after is not None else [])


def _check_results(calls: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    if len(calls) != len(results):
        raise invalid(
            "Please ensure that the number of function response parts is equal to the number of function call"
            f" parts of the function call turn: {len(calls)} calls, {len(results)} responses."
        )
    open_ids = {call["id"]: call.get("name") for call in calls if call.get("id")}
    for result in results:
        if not result.get("id"):
            continue
        if result["id"] not in open_ids:
            raise invalid("functionResponse.id does not match functionCall.id, or it was answered before.")
        if open_ids.pop(result["id"]) != result.get("name"):
            raise invalid("functionResponse.name does not match the name of the functionCall with this id.")
    if sorted(str(call.get("name")) for call in calls) != sorted(str(item.get("name")) for item in results):
        raise invalid("The names of the function responses do not match those of the function calls.")


def check_signatures(turns: Sequence[Turn], *, vertex: bool, pictures: bool) -> None:
    """Refuse a current turn in which a signature is missing, was altered, or stands beside another call.

    Calls before the user's last message are not checked, pictures that the model drew are wherever they
    stand.
    """
    for turn in turns if pictures else ():
        for index, part in enumerate(turn.parts):
            if turn.kind == "model" and "inlineData" in part and not part.get("thoughtSignature"):
                raise invalid(
                    f"Image part is missing a thought_signature in content position {turn.position + 1},"
                    f" part position {index + 1}."
                )
    for turn in _current(turns):
        called = [part for part in turn.parts if turn.kind == "model" and "functionCall" in part]
        for number, part in enumerate(called):
            call, signature = part["functionCall"], part.get("thoughtSignature")
            name = call.get("name")
            if signature is not None and not _is_genuine(signature, call):
                raise invalid(
                    "Thought signature is not valid. It must come back unchanged, beside its own function"
                    f" call; this one is at `{name}`, position {turn.position}."
                )
            if signature is None and number == 0:
                raise invalid(
                    f"Unable to submit request because function call `{name}` in the {turn.position + 1}."
                    " content block is missing a `thought_signature`."
                    if vertex
                    else "Function call is missing a thought_signature in functionCall parts. It must come"
                    " back with the first call of each step. Additional data, function call"
                    f" `{name}`, position {turn.position}."
                )


def current_rounds(turns: Sequence[Turn]) -> list[list[Exchange]]:
    """Return the calls made since the user last spoke, round by round, with their results."""
    rounds = []
    for turn, after in pairwise(_current(turns)):
        if turn.kind == "model" and turn.calls and after.kind == "results":
            waiting = list(after.results)
            rounds.append([_exchange(call, waiting) for call in turn.calls])
    return rounds


def _exchange(call: dict[str, Any], waiting: list[dict[str, Any]]) -> Exchange:
    """Take a call's result off those that wait: the one with its id, else one of its name without id."""

    def rank(result: dict[str, Any]) -> int:
        if result.get("id"):
            return 0 if result["id"] == call.get("id") else 2
        return 1 if result.get("name") == call.get("name") else 2

    result = min(waiting, key=rank)
    waiting.remove(result)
    response = result.get("response")
    answer = response if isinstance(response, dict) else {"output": response}
    return Exchange(str(call.get("name")), call.get("args") or {}, answer)


def _current(turns: Sequence[Turn]) -> Sequence[Turn]:
    spoken = [number for number, turn in enumerate(turns) if turn.kind == "user"]
    return turns[spoken[-1] + 1 :] if spoken else turns
