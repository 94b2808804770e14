"""The order of a conversation: who spoke, which calls were made, and what came back for them.

A client may send a model's turn in one content or in as many as there were chunks, so contents are first
gathered into turns. Then the rules hold that the services enforce: the results of a turn's calls come right
after it, one for each, and the first call of every step since the user last spoke carries its signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from gemini_nb.simulator.protocol.refusals import invalid
from gemini_nb.simulator.protocol.signatures import is_genuine

__all__ = [
    "Exchange",
    "Turn",
    "check_image_signatures",
    "check_order",
    "check_signatures",
    "current_rounds",
    "read_turns",
]


@dataclass(slots=True)
class Turn:
    """Neighbouring contents of one side.

    Attributes:
        kind: the model, the user, or results of function calls and nothing else.
        position: the index of its first content.
        parts: the parts of all its contents.
    """

    kind: Literal["model", "user", "results"]
    position: int
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


def check_order(turns: Sequence[Turn]) -> None:
    """Refuse calls without results, results without calls, and either in the wrong place."""
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


def check_signatures(turns: Sequence[Turn], *, vertex: bool = False) -> None:
    """Refuse a current turn in which a signature is missing, was altered, or stands beside another call.

    Turns before the user's last message are not checked.
    """
    for turn in _current(turns):
        called = [part for part in turn.parts if turn.kind == "model" and "functionCall" in part]
        for number, part in enumerate(called):
            call, signature = part["functionCall"], part.get("thoughtSignature")
            name = call.get("name")
            if signature is not None and not is_genuine(signature, call):
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


def check_image_signatures(turns: Sequence[Turn]) -> None:
    """Refuse a history in which a picture that the model drew has lost its signature."""
    for turn in turns:
        for index, part in enumerate(turn.parts):
            if turn.kind == "model" and "inlineData" in part and not part.get("thoughtSignature"):
                raise invalid(
                    f"Image part is missing a thought_signature in content position {turn.position + 1},"
                    f" part position {index + 1}."
                )


def current_rounds(turns: Sequence[Turn]) -> list[list[Exchange]]:
    """Return the calls made since the user last spoke, round by round, with their results."""
    rounds = []
    current = list(_current(turns))
    for turn, after in pairwise(current):
        if turn.kind != "model" or after.kind != "results" or not turn.calls:
            continue
        waiting = list(after.results)
        exchanges = []
        for call in turn.calls:
            result = _result_of(call, waiting)
            waiting.remove(result)
            response = result.get("response")
            answer = response if isinstance(response, dict) else {"output": response}
            exchanges.append(Exchange(str(call.get("name")), call.get("args") or {}, answer))
        rounds.append(exchanges)
    return rounds


def _result_of(call: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    by_id = [result for result in results if result.get("id") and result["id"] == call.get("id")]
    by_name = [
        result for result in results if result.get("name") == call.get("name") and not result.get("id")
    ]
    return (by_id or by_name or results)[0]


def _current(turns: Sequence[Turn]) -> Sequence[Turn]:
    spoken = [number for number, turn in enumerate(turns) if turn.kind == "user"]
    return turns[spoken[-1] + 1 :] if spoken else turns
