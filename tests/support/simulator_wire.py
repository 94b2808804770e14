"""What the simulator's tests share: bodies, the reading of answers, a conversation with tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from gemini_nb.api.sse import SSEDecoder
from gemini_nb.simulator import Fault

if TYPE_CHECKING:
    import httpx

MODEL = "gemini-3.8-flash"
DEVELOPER = f"/v1beta/models/{MODEL}"
VERTEX = f"/v1beta1/projects/p-1/locations/global/publishers/google/models/{MODEL}"
EXPRESS = f"/v1/publishers/google/models/{MODEL}"
STREAM = f"{DEVELOPER}:streamGenerateContent?alt=sse"
KEY = {"x-goog-api-key": "right"}
TOKEN = {"Authorization": "Bearer right"}
CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(get_args(hint)[0])
    for name, hint in get_type_hints(Fault).items()
    if get_args(hint) and get_origin(get_args(hint)[0]) is Literal
}
"""The words that a fault's field takes."""


def ask(text: str = "Explain how tides work", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    decoder = SSEDecoder()
    return [json.loads(event.data) for event in [*decoder.feed(body), *decoder.finish()]]


def parts_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts_of(chunks) if not part.get("thought"))


def stream(client: httpx.Client, body: dict[str, Any], path: str = DEVELOPER) -> list[dict[str, Any]]:
    response = client.post(f"{path}:streamGenerateContent?alt=sse", json=body, headers=KEY)
    assert response.status_code == 200, response.text
    return chunks_of(response.content)


def refused(response: httpx.Response, code: int, status: str) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (code, code, status)
    assert error["message"]
    return error


def strings(*names: str, **properties: Any) -> dict[str, Any]:
    properties = {**{name: {"type": "string"} for name in names}, **properties}
    return {"type": "object", "properties": properties, "required": list(properties)}


WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parametersJsonSchema": strings("city"),
}
TABLE = {
    "name": "book_table",
    "description": "Book a table at a restaurant.",
    "parametersJsonSchema": strings("restaurant", "time", people={"type": "integer"}),
}
CLOCK = {"name": "now"}


class Talk:
    """A conversation that answers every call with the same result."""

    def __init__(
        self, client: httpx.Client, text: str, *tools: dict[str, Any], model: str = MODEL, **body: Any
    ) -> None:
        self.client = client
        self.model = model
        self.body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}], **body}
        if tools:
            self.body["tools"] = [{"functionDeclarations": list(tools)}]

    @property
    def contents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["contents"]
        return found

    def send(self) -> httpx.Response:
        return self.client.post(
            f"/v1beta/models/{self.model}:streamGenerateContent?alt=sse", json=self.body, headers=KEY
        )

    def answer(self) -> list[dict[str, Any]]:
        """Send, and keep the answer's parts in the history."""
        response = self.send()
        assert response.status_code == 200, response.text
        self.chunks = chunks_of(response.content)
        parts = parts_of(self.chunks)
        self.contents.append({"role": "model", "parts": parts})
        return [part["functionCall"] for part in parts if "functionCall" in part]

    def respond(self, calls: list[dict[str, Any]], **response: Any) -> None:
        ids = [{"id": call["id"]} if "id" in call else {} for call in calls]
        parts = [
            {"functionResponse": {**one, "name": call["name"], "response": response or {"result": "fine"}}}
            for one, call in zip(ids, calls, strict=True)
        ]
        self.contents.append({"role": "user", "parts": parts})

    def refused(self) -> str:
        return str(refused(self.send(), 400, "INVALID_ARGUMENT")["message"])

    @property
    def text(self) -> str:
        return "".join(part.get("text", "") for part in self.contents[-1]["parts"])

    def rounds(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """Go on to the end and return the calls of each round."""
        made = []
        while calls := self.answer():
            made.append([(call["name"], call["args"]) for call in calls])
            self.respond(calls)
            assert len(made) < 10
        return made
