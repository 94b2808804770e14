"""The simulated service without its network: a request in, a reply out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.simulator.access import check_access
from gemini_nb.simulator.catalogue import check_model, get_model, list_models
from gemini_nb.simulator.chunks import Step, merge_chunks, one_response, stream_chunks
from gemini_nb.simulator.delivery import ArrayEncoder, Encoder, ObjectEncoder, SSEEncoder
from gemini_nb.simulator.fields import camel, parse_json, read_body
from gemini_nb.simulator.prompt import read_prompt
from gemini_nb.simulator.record import Fields, Request
from gemini_nb.simulator.refusals import RefusalError, invalid, unknown_field
from gemini_nb.simulator.routes import Route, find_route
from gemini_nb.simulator.scenarios import answer_prompt
from gemini_nb.simulator.tokens import body_tokens
from gemini_nb.simulator.validation import check_contents

__all__ = ["Reply", "Scenario", "Service"]

Scenario = Callable[[dict[str, Any], str], Iterable[Step]]
"""Answers a request body for a model with chunks, delays, raw bytes and events to wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request is answered.

    Attributes:
        status: the HTTP status.
        encoder: turns the steps into a body.
        steps: what happens when.
    """

    status: int = 200
    encoder: Encoder = field(default_factory=ObjectEncoder)
    steps: Iterable[Step]


@dataclass(slots=True, kw_only=True)
class Service:
    """Answers requests, and remembers them.

    Attributes:
        api_key: the key or token that is accepted; None takes any.
        pace: what delays are multiplied by.
        seed: decides, with the prompt, what is made up.
        scenario: answers in place of the built-in scenarios.
        verify: whether thought signatures are checked.
        requests: what was asked so far.
    """

    api_key: str | None = field(default=None, repr=False)
    pace: float = 1.0
    seed: int = 0
    scenario: Scenario | None = None
    verify: bool = True
    requests: list[Request] = field(default_factory=list, repr=False)

    def reply(self, verb: str, path: str, query: Fields, headers: Fields, raw: bytes) -> Reply:
        """Answer one request; whatever is wrong with it becomes an error body."""
        body: Any = None
        problem: RefusalError | None = None
        try:
            body = parse_json(raw) if raw else None
        except RefusalError as error:
            problem = error
        self.requests.append(
            Request(method=verb, path=path, query=query, headers=headers, body=body, time=time.time())
        )
        wrapped = False
        try:
            route = find_route(verb, path)
            wrapped = route.method == "streamGenerateContent" and query.get("alt") != "sse"
            check_access(route, headers, query, self.api_key)
            if problem is not None:
                raise problem
            return self._answer(route, query, body)
        except RefusalError as error:
            return _refuse(error, wrapped=wrapped)

    def _answer(self, route: Route, query: Fields, body: Any) -> Reply:
        if route.method == "list":
            return Reply(steps=[list_models(route, _camel_query(query))])
        if route.method == "get":
            return Reply(steps=[get_model(route)])
        if route.method == "countTokens":
            return Reply(steps=[_count_tokens(route, body)])
        prompt = read_prompt(route, body, seed=self.seed, verify=self.verify)
        streaming = route.method == "streamGenerateContent"
        if self.scenario is not None:
            steps = self.scenario(dict(body), prompt.model)
            if not streaming:
                steps = _merged(steps)
        else:
            _check_references(prompt.body)
            answer = answer_prompt(prompt)
            steps = stream_chunks(answer, prompt) if streaming else one_response(answer, prompt)
        if not streaming:
            return Reply(steps=steps)
        return Reply(encoder=SSEEncoder() if query.get("alt") == "sse" else ArrayEncoder(), steps=steps)


def _check_references(body: Mapping[str, Any]) -> None:
    """Refuse to go on from what was never given out; only a script may know of such things."""
    if "continuationToken" in body:
        raise invalid("The continuation token is not valid: the simulator's answers fit into one response.")
    if "cachedContent" in body:
        raise RefusalError(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied).")


def _merged(steps: Iterable[Step]) -> Iterable[Step]:
    """A script for generateContent: its waits in order, then all its chunks as one, and no raw bytes."""
    chunks = []
    for step in steps:
        if isinstance(step, Mapping):
            chunks.append(step)
        elif not isinstance(step, bytes):
            yield step
    if chunks:
        yield merge_chunks(chunks)


def _count_tokens(route: Route, value: Any) -> dict[str, Any]:
    check_model(route)
    if not isinstance(value, dict):
        raise invalid("Invalid JSON payload received. The body must be an object.")
    asked = {camel(name): item for name, item in value.items()}
    inner = asked.pop("generateContentRequest", None)
    if inner is not None:
        if asked:
            raise invalid("Set generate_content_request or contents, not both.")
        asked = inner
    elif not route.vertex and (unknown := [name for name in asked if name not in {"contents", "model"}]):
        # The developer API counts a whole request only when it comes wrapped in generateContentRequest.
        raise unknown_field(unknown[0], "")
    body = read_body(asked, vertex=route.vertex)
    check_contents(body, "")
    count = body_tokens(body)
    answer = {"totalTokens": count, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}]}
    if route.vertex:
        texts = [part.get("text", "") for content in body["contents"] for part in content["parts"]]
        answer["totalBillableCharacters"] = sum(len("".join(text.split())) for text in texts)
    return answer


def _camel_query(query: Fields) -> dict[str, str]:
    """The record folds case for lookups; `pageSize` and `page_size` are asked for by one name here."""
    names = {"pagesize": "pageSize", "pagetoken": "pageToken"}
    return {names.get(name.replace("_", ""), name): value for name, value in query.items()}


def _refuse(error: RefusalError, *, wrapped: bool) -> Reply:
    encoder: Encoder = ArrayEncoder() if wrapped else ObjectEncoder()
    return Reply(status=error.code, encoder=encoder, steps=[error.to_json()])
