"""What makes two questions one: a request in its one form, and the key that is made of it.

Comparing bodies byte by byte would pay twice for the same question: a library writes a field in snake case, a
picture was uploaded once and sent along another time. Comparing too loosely would show the answer to another
question. So a request is cut into places, each with its value or a digest of it. The key is the digest of all
of them, and the places say what differs where two questions are nearly the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gemini_nb.api.contents.content import is_plain_text
from gemini_nb.api.contents.objects import spell_body, spell_content
from gemini_nb.api.endpoint import model_in
from gemini_nb.api.wire import JSON, objects
from gemini_nb.errors import ArgumentError
from gemini_nb.journal.kept.call_record import CallRecord

_FORM = 1  # raised when the same question gets another key
_DIGITS = 24
_WORD = re.compile(r"[\w+./-]{1,24}", re.ASCII)
_LONGEST_PROMPT = 200
_SAYS_NOTHING = frozenset({"continuationToken", "labels", "model", "serviceTier", "store"})
SERVER = "the server"
"""The place of the simulator's address, where it answered in the place of a service."""
RESULTS = ".results"
"""The end of the name of each place that holds what tools returned."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of an object, which is another in each process
_FILES = ("fileData", "inlineData")

Contents = Callable[[str], str | None]
"""What a name on a server stands for: the SHA-256 of an uploaded file, or of what a cache holds."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One model call's request, as far as it decides on the answer.

    Attributes:
        service: who is asked.
        model: the model's id.
        places: each place of the request, with a short form of what stands there.
        prompt: the beginning of what the user said last.
        number: which of several equal questions of one group it is, from 1.
    """

    service: str
    model: str
    places: Mapping[str, str]
    prompt: str
    number: int = 1

    @cached_property
    def key(self) -> str:
        """What it shares with the records that answer it."""
        return key_of(self.service, self.model, self.number, self.places)

    @cached_property
    def plain_key(self) -> str:
        """The key without the address of the simulator that answered."""
        return key_of(self.service, self.model, self.number, _without(self.places, SERVER))

    @cached_property
    def loose_key(self) -> str:
        """The plain key without the results of tools."""
        return key_of(self.service, self.model, self.number, _without(self.places, SERVER, RESULTS))

    def numbered(self, number: int) -> Question:
        """Return the same question as another one of its group."""
        return replace(self, number=number)

    def as_asked_of(self, service: str, server: str = "") -> Question:
        """Return the same question to another service.

        Args:
            service: the service.
            server: the simulator that answers in the service's place, where one does.
        """
        places = {**self.places, SERVER: server} if server else self.places
        return replace(self, service=service, places=places)


def key_of(service: str, model: str, number: int, places: Mapping[str, str]) -> str:
    """Return the key of a question; see `Question` for its parts."""
    return hashlib.sha256(_encode([_FORM, service, model, number, places])).hexdigest()


def like_keys(record: CallRecord) -> set[str]:
    """Return the plain and the loose key of the question that a record answers."""
    asked = Question(
        service=record.service,
        model=record.model,
        places=record.question,
        prompt=record.prompt,
        number=record.number,
    )
    return {asked.plain_key, asked.loose_key}


def _without(places: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: form for name, form in places.items() if not name.endswith(names)}


def bare_model(model: str, url: str = "") -> str:
    """Return a model's id without the project, the location and the publisher.

    Args:
        model: the id as it was given.
        url: where it is asked, which counts where it names a model.
    """
    name = (model_in(url) or model).rpartition("/")[2]
    return f"tunedModels/{name}" if "tunedModels/" in (url or model) else name


def question_of(
    service: str, model: str, body: JSON, *, number: int = 1, contents_of: Contents = lambda _: None
) -> Question:
    """Bring a request into its one form.

    It takes a few milliseconds for a megabyte: never call it on the loop thread.

    Args:
        service: who is asked.
        model: the model's id, as from `bare_model`.
        body: the request's body.
        number: which of several equal questions of one group it is.
        contents_of: what an uploaded file and a cache hold.
    """
    places = dict(_places(_spelled(body), contents_of))
    return Question(
        service=service, model=model, places=places, prompt=prompt_of(body)[:_LONGEST_PROMPT], number=number
    )


def prompt_of(body: JSON) -> str:
    """Return the last text that the user said, on one line; empty where there is none."""
    for content in reversed(objects(body.get("contents"))):
        if content.get("role", "user") == "user":
            words = " ".join(
                part["text"] for part in objects(content.get("parts")) if isinstance(part.get("text"), str)
            )
            if words.strip():
                return " ".join(words.split())
    return ""


def _spelled(body: JSON) -> JSON:
    try:
        spelled = spell_body({name: value for name, value in body.items() if value not in (None, [], {})})
        spelled["contents"] = [spell_content(content) for content in objects(spelled.get("contents"))]
    except ArgumentError:  # the service refuses it, too
        return {**body, "contents": objects(body.get("contents"))}
    return spelled


def _places(body: JSON, contents_of: Contents) -> Iterator[tuple[str, str]]:
    for name, value in body.items():
        if name in _SAYS_NOTHING or value in (None, [], {}):
            continue
        if name == "contents":
            yield from _of_contents(value, contents_of)
        elif name == "tools":
            yield from _of_tools(value)
        elif name == "generationConfig" and isinstance(value, dict):
            yield from (
                (f"{name}.{field}", _short(item)) for field, item in value.items() if item is not None
            )
        else:
            yield name, _form_of(name, value, contents_of)


def _form_of(name: str, value: Any, contents_of: Contents) -> str:
    if name == "systemInstruction" and isinstance(value, dict):
        return _digest(_parts(value, contents_of))
    if name == "cachedContent" and isinstance(value, str):
        value = contents_of(value) or value
    return _short(value)


def _of_contents(contents: list[JSON], contents_of: Contents) -> Iterator[tuple[str, str]]:
    for i, content in enumerate(contents):
        parts, results = [], []
        for part in _parts(content, contents_of):
            response = part.get("functionResponse")
            if isinstance(response, dict):
                returned = {name: response[name] for name in ("response", "parts") if name in response}
                results.append(returned)
                rest = {name: response[name] for name in response if name not in returned}
                parts.append({**part, "functionResponse": rest})
            else:
                parts.append(part)
        yield f"contents[{i}]", _digest([content.get("role") or "user", parts])
        if results:
            text = _ADDRESS.sub("", _encode(results).decode("utf-8", "surrogatepass"))
            yield f"contents[{i}]{RESULTS}", _digest(text)


def _of_tools(tools: Any) -> Iterator[tuple[str, str]]:
    i = 0
    for tool in objects(tools):
        rest = dict(tool)
        for declaration in objects(rest.pop("functionDeclarations", None)):
            yield f"tools[{i}] {str(declaration.get('name'))[:100]}", _digest(declaration)
            i += 1
        if rest:
            yield f"tools[{i}] {' '.join(sorted(rest))[:100]}", _digest(rest)
            i += 1


def _parts(content: JSON, contents_of: Contents) -> list[JSON]:
    """Return the parts, with files by what they hold and adjacent unsigned text as one."""
    made: list[JSON] = []
    for part in objects(content.get("parts")):
        last = made[-1] if made else {}
        is_joined = is_plain_text(part) and is_plain_text(last) and part.get("thought") == last.get("thought")
        if is_joined:
            made[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            made.append(_by_content(part, contents_of))
    return made


def _by_content(part: JSON, contents_of: Contents) -> JSON:
    found = dict(part)
    for name in _FILES:
        if isinstance(data := found.get(name), dict):
            del found[name]
            found["file"] = _file(data, contents_of)
    response = found.get("functionResponse")
    if isinstance(response, dict) and isinstance(inner := response.get("parts"), list):
        beside = [_by_content(one, contents_of) for one in objects(inner)]
        found["functionResponse"] = {**response, "parts": beside}
    return found


def _file(data: JSON, contents_of: Contents) -> JSON:
    found = {name: value for name, value in data.items() if name != "displayName"}
    if "data" in found:
        found["sha256"] = hashlib.sha256(_bytes(found.pop("data"))).hexdigest()
    elif isinstance(uri := found.get("fileUri"), str) and (content := contents_of(uri)) is not None:
        del found["fileUri"]
        found["sha256"] = content
    return found


def _bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    text = str(data)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass")


def _short(value: Any) -> str:
    """Return a value that says itself, such as a temperature; else its digest."""
    is_short = isinstance(value, (bool, int, float)) or (isinstance(value, str) and _WORD.fullmatch(value))
    text = _encode(value).decode()
    return text if is_short and len(text) <= _DIGITS + 2 else _digest(value)


def _digest(value: Any) -> str:
    return f"#{hashlib.sha256(_encode(value)).hexdigest()[:_DIGITS]}"


def _encode(value: Any) -> bytes:
    return json.dumps(
        _plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr
    ).encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    """Return the value with one way to write a number."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
