"""The simulated service without its network: a request in, a reply out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gemini_nb.api.wire import objects, parts_of
from gemini_nb.errors import ConfigError
from gemini_nb.simulator import history, requests, rules
from gemini_nb.simulator.answer import answer_prompt
from gemini_nb.simulator.breaking import break_reply, refusal, shape_answer
from gemini_nb.simulator.clues import read_clues
from gemini_nb.simulator.delivery import (
    ArrayEncoder,
    Encoder,
    Reply,
    SSEEncoder,
    Step,
    one_response,
    skip_chunks,
    stream_chunks,
)
from gemini_nb.simulator.faults import Fault, FaultPlan, ModelFaults, parse_fault, split_model
from gemini_nb.simulator.fields import TOO_DEEP, body_tokens, camel, parse_json, read_message
from gemini_nb.simulator.history import CONTINUATION, is_token, make_token, read_token
from gemini_nb.simulator.recordings import Recordings, bare_path
from gemini_nb.simulator.requests import (
    Fields,
    Record,
    RefusalError,
    Request,
    Route,
    invalid,
    not_found,
    owner_of,
)
from gemini_nb.simulator.storage import Cache, CacheStore, FileStore

__all__ = ["Scenario", "Service"]

Scenario = Callable[[dict[str, Any], str], Iterable[Step]]
"""Answers a request body for a model with chunks, delays, raw bytes and events to wait for."""


@dataclass(slots=True, kw_only=True)
class Service:
    """Answers requests, and remembers them; the attributes are what `Simulator` is made with."""

    api_key: str | None = field(repr=False)
    pace: float
    seed: int
    scenario: Scenario | None
    verify: bool
    recordings: Recordings | None
    plan: FaultPlan = field(repr=False)
    file_plan: FaultPlan = field(repr=False)
    record: Record = field(default_factory=Record, init=False, repr=False)
    files: FileStore = field(init=False, repr=False)
    caches: CacheStore = field(init=False, repr=False)
    _of_models: ModelFaults = field(default_factory=ModelFaults, init=False, repr=False)
    _sent: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.files = FileStore(pace=self.pace)
        self.caches = CacheStore(self.files)

    def reply(self, verb: str, path: str, query: Fields, headers: Fields, raw: bytes) -> Reply:
        """Answer one request; whatever is wrong with it becomes an error body."""
        is_piece = path.startswith("/upload/") and "upload_id" in query  # its body is a file's
        body: Any = None
        problem: RefusalError | None = None
        try:
            body = parse_json(raw, rules.PAYLOAD_LIMIT) if raw and not is_piece else None
        except RefusalError as error:
            problem = error
        request = Request(method=verb, path=path, query=query, headers=headers, body=body, time=time.time())
        self.record.add(request, 0 if is_piece else len(raw))
        wrapped = False
        try:
            route = requests.find_route(verb, path if self.recordings is None else bare_path(path))
            wrapped = route.method == "streamGenerateContent" and query.get("alt") != "sse"
            if not is_piece:  # its secret address stands for the key
                requests.check_access(route, request, self.api_key)
            if problem is not None:
                raise problem
            if route.method == "files":
                return self._answer_about_files(request, raw)
            if route.method == "caches":
                return Reply(steps=[self.caches.answer(request)])
            return self._routed(route, request, wrapped=wrapped)
        except RefusalError as error:
            return _refuse(error, wrapped=wrapped)
        except RecursionError:
            return _refuse(invalid(TOO_DEEP), wrapped=wrapped)

    def _answer_about_files(self, request: Request, raw: bytes) -> Reply:
        """Answer a request to the Files API; one that is to break off takes half of what it brings."""
        fault = self.file_plan.next(request) or Fault()
        if fault.status is not None:
            return break_reply(refusal(fault, "", wrapped=False), fault, "")
        origin = f"http://{request.headers.get('host', '')}"
        headers, answer = self.files.answer(request, raw, origin, half=fault.reset)
        return break_reply(Reply(headers=headers, steps=[answer]), fault, "")

    def _routed(self, route: Route, request: Request, *, wrapped: bool) -> Reply:
        name, text = split_model(route.name)
        if self.recordings is not None:  # its model is named as it was, with the fault that it was asked for
            name, text = route.name, None
        try:
            spec = None if text is None else parse_fault(text)
        except ConfigError as error:
            raise invalid(str(error), "model") from None
        route = replace(route, name=name)
        if route.method not in {"streamGenerateContent", "generateContent"}:
            return Reply(steps=[self._look_up(route, request)])
        # A fault in the model's id comes before those that are planned.
        fault = self.plan.next(request) if spec is None else None
        if spec is not None:
            fault = self._of_models.next(spec, f"{name}~{text}", owner_of(request))
        if fault is None:
            return self._answer(route, request, Fault())
        if fault.status is not None:
            reply = refusal(fault, route.model, wrapped=wrapped)
        else:
            reply = Reply(steps=()) if fault.refuses else self._answer(route, request, fault)
        return break_reply(reply, fault, route.model)

    def _answer(self, route: Route, request: Request, fault: Fault) -> Reply:
        query, body = request.query, request.body
        if self.recordings is not None:
            if route.method != "streamGenerateContent" or not isinstance(body, dict):
                raise not_found(f"Nothing is recorded for {route.method}, only streams are.")
            return self.recordings.reply(route.model, body)
        prompt = self._read(route, request)
        token, start = prompt.body.get(CONTINUATION), 0
        if is_token(token) or (token is not None and self.scenario is None):  # a script may know of others
            start = read_token(token, prompt.model, prompt.body)
        steps: Iterator[Step]
        if self.scenario is None:
            steps = stream_chunks(answer_prompt(prompt), prompt, after=start)
        else:
            asked = {name: value for name, value in body.items() if not start or camel(name) != CONTINUATION}
            steps = iter(self.scenario(asked, prompt.model))
            skip_chunks(steps, start)
            steps = self._note_sent(steps)
        steps = shape_answer(
            steps, fault, lambda events: make_token(start + events, prompt.model, prompt.body)
        )
        headers = {"x-gemini-service-tier": prompt.tier}
        if route.method == "generateContent":
            longest = 2.0 if self.scenario is None else math.inf  # a script's waits are meant
            return Reply(headers=headers, steps=one_response(steps, longest=longest))
        encoder = SSEEncoder() if query.get("alt") == "sse" else ArrayEncoder()
        return Reply(headers=headers, encoder=encoder, steps=steps)

    def _read(self, route: Route, request: Request) -> rules.Prompt:
        """Check a request by all rules, and read it; its body takes in what its cache holds."""
        requests.check_model(route)
        model, vertex = route.model, route.vertex
        streaming = route.method == "streamGenerateContent"
        body = read_message(request.body, "Request", "", vertex=vertex, known=self._sent)
        rules.check_contents(body, vertex=vertex)
        tokens, cached = rules.check_length(body), 0
        rules.check_settings(rules.Asked(body=body, model=model, vertex=vertex, streaming=streaming))
        cache = self._find_cache(request, body, model)
        self.files.check_used(body, owner_of(request))
        if cache is not None:
            contents = [*cache.held.get("contents", ()), *body["contents"]]
            body, cached = {**cache.held, **body, "contents": contents}, cache.tokens
        turns = history.read_turns(body["contents"])
        history.check_order(turns, continues=requests.generation(model) < 4)
        if self.verify and requests.generation(model) >= 3:
            history.check_signatures(turns, vertex=vertex, pictures="image" in model)
        messages = [turn.text for turn in turns if turn.kind == "user" and turn.text.strip()]
        previous, text = ["", "", *messages][-2:]
        return rules.Prompt(
            body=body,
            model=model,
            vertex=vertex,
            streaming=streaming,
            seed=self.seed,
            text=text,
            clues=read_clues(text),
            previous=previous,
            rounds=history.current_rounds(turns),
            tokens=tokens + cached,
            cached_tokens=cached,
        )

    def _look_up(self, route: Route, request: Request) -> dict[str, Any]:
        """Answer a request about models or about the length of a prompt."""
        if route.method == "list":
            return requests.list_models(route, request.query)
        requests.check_model(route)
        if route.method == "get":
            return requests.describe_model(route.model, route)
        # The developer API counts a whole request only when it comes wrapped in generateContentRequest.
        message = "Request" if route.vertex else "Count"
        asked = read_message(request.body, message, "", vertex=route.vertex)
        body: dict[str, Any] = asked.pop("generateContentRequest", asked)
        if body is not asked and asked:
            raise invalid("Set generate_content_request or contents, not both.")
        rules.check_contents(body, vertex=route.vertex)
        self.files.check_used(body, owner_of(request))
        count = body_tokens(body)
        answer = {"totalTokens": count, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}]}
        if route.vertex:
            texts = [part.get("text", "") for content in body["contents"] for part in content["parts"]]
            answer["totalBillableCharacters"] = sum(len("".join(text.split())) for text in texts)
        if cache := self._find_cache(request, body, route.model):
            answer |= {"totalTokens": count + cache.tokens, "cachedContentTokenCount": cache.tokens}
        return answer

    def _find_cache(self, request: Request, body: Mapping[str, Any], model: str) -> Cache | None:
        """Return the cache that a body names; a script may know of one that was never made here."""
        name = body.get("cachedContent")
        if name is None or (self.scenario is not None and name not in self.caches.names):
            return None
        return self.caches.find(name, model, owner_of(request))

    def _note_sent(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Note which fields a script's parts have, since the service takes back what it has sent."""
        for step in steps:
            for candidate in objects(step.get("candidates")) if isinstance(step, Mapping) else ():
                for part in parts_of(candidate):
                    self._sent.update(map(camel, part))
            yield step


def _refuse(error: RefusalError, *, wrapped: bool) -> Reply:
    encoder = ArrayEncoder() if wrapped else Encoder()
    return Reply(status=error.code, encoder=encoder, steps=[error.to_json()])
