"""What a request's body may hold: fields, their kinds, schemas, and how many tokens it counts as.

The services refuse a field that they do not know, which is how a client learns that it misspelt one; and, as
for all protobuf JSON, they take `snake_case` for `camelCase`, null for nothing and one message for a list of
them. The table here does the same. Data that belongs to the caller (arguments, results, schemas) is left as
it is.

A token is about four characters, rounded up: a real tokenizer would need its vocabulary downloaded. What
matters is that counts grow with the text, are the same each time, and add up as the service's do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from gemini_nb.simulator.protocol.refusals import RefusalError, invalid, unknown_field

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "TOO_DEEP",
    "body_tokens",
    "camel",
    "check_json_schema",
    "check_schema",
    "parse_json",
    "part_tokens",
    "read_body",
    "text_tokens",
]

_TABLE = """
    Request: contents=Content* systemInstruction=Content tools=Tool* toolConfig=ToolConfig
        generationConfig=Config safetySettings=Safety* cachedContent=text labels=object serviceTier=text
        continuationToken=text model=text store=bool@d modelArmorConfig=object@v outputConfig=object@v
    Content: role=text parts=Part*
    Part: text=text thought=bool thoughtSignature inlineData=Blob fileData=FileData functionCall=Call
        functionResponse=Response executableCode=Code codeExecutionResult=Outcome toolCall=ServerCall@d
        toolResponse=ServerAnswer@d partMetadata=object@d mediaProcessing@d videoMetadata=object
        mediaResolution audioTranscription speechMetadata documentMetadata spreadsheetMetadata audioMetadata
    Blob: mimeType=text data=text displayName=text
    FileData: mimeType=text fileUri=text displayName=text
    Call: id=text name=text args=object partialArgs@v willContinue=bool@v
    Response: id=text name=text response=object parts=Media* scheduling=text willContinue=bool@d
    Media: inlineData=Blob fileData=FileData videoMetadata=object mediaResolution mediaProcessing@d
        documentMetadata spreadsheetMetadata audioMetadata
    Code: id=text language=text code=text
    Outcome: id=text outcome=text output=text
    ServerCall: id=text toolType=text args=object
    ServerAnswer: id=text toolType=text response=object
    Tool: functionDeclarations=Declaration* googleSearch=Search googleSearchRetrieval=object urlContext=object
        codeExecution=object googleMaps=object computerUse=object fileSearch=object@d mcpServers@d
        retrieval=object@v enterpriseWebSearch=object@v parallelAiSearch=object@v exaAiSearch=object@v
    Search: searchTypes=object timeRangeFilter=object excludeDomains@v blockingConfidence=text@v
    Declaration: name=text description=text parameters=object parametersJsonSchema response=object
        responseJsonSchema behavior=text
    ToolConfig: functionCallingConfig=Calling retrievalConfig=object includeServerSideToolInvocations=bool@d
    Calling: mode=text allowedFunctionNames=text* streamFunctionCallArguments=bool@v
    Safety: category=text threshold=text method=text@v
    Config: temperature=number topP=number topK=number candidateCount=int maxOutputTokens=int
        stopSequences=text*
        responseLogprobs=bool logprobs=int presencePenalty=number frequencyPenalty=number seed=int
        responseMimeType=text responseSchema=object responseJsonSchema responseModalities=text*
        mediaResolution=text speechConfig=object imageConfig=object audioTranscriptionConfig=object
        responseFormat thinkingConfig=Thinking routingConfig=object@v modelConfig=object@v
        audioTimestamp=bool@v enableEnhancedCivicAnswers=bool@d
    Thinking: includeThoughts=bool thinkingBudget=int thinkingLevel=text
"""
"""Each message's fields: `=` and the kind, `*` where it is a list, `@d` on the developer API only, `@v` on
Vertex AI only. Kinds with a capital letter are messages."""

_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "bool": (bool,),
    "int": (int,),
    "number": (int, float),
    "object": (dict,),
}
_WORDS = {"int": "an integer", "bool": "true or false", "object": "an object"}
_UNDERSCORE = re.compile(r"_([a-z0-9])")

_TYPES = {"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_NAMES = re.findall(
    r"[$\w]+",
    """type format title description nullable enum maxItems minItems properties required minProperties
    maxProperties minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum
    additionalProperties ref defs $ref $defs""",
)
_FIELDS = {re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name): name for name in _NAMES} | {
    name: name for name in _NAMES
}
_INNER = ("items", "additionalProperties", "prefixItems", "anyOf", "oneOf", "allOf")

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 258
"""What one image counts as; used for every inline or referenced file."""


class _Field(NamedTuple):
    kind: str
    repeated: bool


@cache
def _messages(*, vertex: bool) -> dict[str, dict[str, _Field]]:
    """Return the table as one of the two services has it."""
    messages: dict[str, dict[str, _Field]] = {}
    fields: dict[str, _Field] = {}
    for word in _TABLE.split():
        if word.endswith(":"):
            fields = messages[word[:-1]] = {}
            continue
        field, _, service = word.partition("@")
        name, _, kind = field.partition("=")
        if service in {"", "v" if vertex else "d"}:
            fields[name] = _Field(kind.removesuffix("*"), kind.endswith("*"))
    return messages


TOO_DEEP = "Invalid JSON payload received. It is nested too deep."


def parse_json(raw: bytes) -> Any:
    """Read a body's JSON.

    Raises:
        RefusalError: 400, it is not JSON.
    """
    try:
        value = json.loads(raw)
        if b"\\ud" in raw.lower():  # half a surrogate pair, which JSON can say, and a text cannot hold
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    except RecursionError:
        raise invalid(TOO_DEEP) from None
    return value


def read_body(value: Any, *, vertex: bool, known: Collection[str] = ()) -> dict[str, Any]:
    """Bring a generateContent body into its one spelling: camelCase, lists where lists belong, no nulls.

    Args:
        value: the JSON of the body.
        vertex: by which service's table.
        known: fields of parts that are not in the table, and that the model's turns may hold all the same: a
            service takes back what it has sent.

    Raises:
        RefusalError: 400, a field that the service does not know, twice, or of the wrong kind.
    """
    return _Reader(_messages(vertex=vertex), known).read(value, "Request", "")


def camel(name: str) -> str:
    """Turn `snake_case` into `camelCase`; other names stay as they are."""
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


class _Reader:
    def __init__(self, messages: dict[str, dict[str, _Field]], known: Collection[str]) -> None:
        self._messages = messages
        self._known = known

    def read(self, value: Any, message: str, path: str) -> dict[str, Any]:
        """Read one object."""
        if not isinstance(value, dict):
            raise _wrong(path or "the request", "an object", value)
        fields, result = self._messages[message], {}
        for given, item in value.items():
            name = given if given in fields else camel(given)
            if name in result:
                raise invalid(f"Invalid JSON payload received. '{path}' sets {name} twice ({given}).", path)
            if name not in fields and not (message == "Part" and name in self._known):
                raise unknown_field(given, path)
            if item is not None:  # protobuf's null says that a field is not set
                field = fields.get(name, _Field("", repeated=False))
                result[name] = self._value(item, field, f"{path}.{name}" if path else name)
        return result

    def _value(self, value: Any, field: _Field, path: str) -> Any:
        if not field.repeated:
            return self._single(value, field.kind, path)
        if not isinstance(value, list) and field.kind not in self._messages:
            raise _wrong(path, "a list", value)
        items = value if isinstance(value, list) else [value]
        return [self._single(item, field.kind, f"{path}[{index}]") for index, item in enumerate(items)]

    def _single(self, value: Any, kind: str, path: str) -> Any:
        if kind in self._messages:
            return self.read(value, kind, path)
        if kind not in _KINDS:
            return value
        if kind in {"int", "number"} and isinstance(value, str):
            value = _number(value)  # protobuf writes long numbers as text
        if kind == "int" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise _wrong(path, _WORDS.get(kind, f"a {kind}"), value)
        return value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _wrong(path: str, expected: str, value: Any) -> RefusalError:
    path = re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), path)
    return invalid(f"Invalid value at '{path}': {expected} is expected, not {json.dumps(value)[:80]}", path)


def check_schema(schema: Any, path: str) -> None:
    """Check a schema of the OpenAPI subset; a JSON schema in its place is a common mistake."""
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise invalid(f"Invalid value at '{path}': a schema is an object.", path)
    if unknown := [name for name in schema if name not in _FIELDS]:
        raise unknown_field(unknown[0], path)
    own = {_FIELDS[name]: value for name, value in schema.items()}
    _check_type(own, path)
    properties = _checked(own.get("properties") or {}, dict, "an object", f"{path}.properties")
    alternatives = _checked(own.get("anyOf") or [], list, "a list", f"{path}.any_of")
    required = _checked(own.get("required") or [], list, "a list of names", f"{path}.required")
    if not all(isinstance(name, str) for name in required):
        raise _wrong(f"{path}.required", "a list of names", required)
    for name, inner in properties.items():
        check_schema(inner, f"{path}.properties[{name}]")
    check_schema(own.get("items"), f"{path}.items")
    for inner in alternatives:
        check_schema(inner, f"{path}.any_of")
    if missing := [name for name in required if name not in properties]:
        raise invalid(f"{path}.required: property is not defined: {', '.join(missing)}", path)


def _checked(value: Any, kind: type, expected: str, path: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong(path, expected, value)
    return value


def _check_type(schema: Mapping[str, Any], path: str) -> None:
    kind = schema.get("type", "OBJECT" if "properties" in schema else "TYPE_UNSPECIFIED")
    if not isinstance(kind, str) or kind.upper() not in _TYPES:
        raise invalid(f"Invalid value at '{path}.type': {kind!r} is not a type.", path)
    if kind.upper() == "ARRAY" and "items" not in schema:
        raise invalid(f"* GenerateContentRequest.{path}.items: missing field.", path)


def check_json_schema(schema: Any, path: str) -> None:
    """Check the references of a JSON schema; the service ignores keywords that it does not know."""
    if not isinstance(schema, dict):
        return
    edges = _edges(schema, path)
    for source, targets in edges.items():
        for target, optional in targets.items():
            if not optional and source in _reach(target, edges):
                raise invalid(
                    f"{path}: the cyclic reference {target} may only stand in a property that is not"
                    " required.",
                    path,
                )


def _edges(schema: dict[str, Any], path: str) -> dict[str, dict[str, bool]]:
    """Return which schema refers to which, each with whether it may be left out."""
    edges: dict[str, dict[str, bool]] = {}
    named = schema.get("$defs")
    new = ["#", *(f"#/$defs/{name}" for name in (named if isinstance(named, dict) else ()))]
    while new:
        reference = new.pop()
        if reference in edges:
            continue
        target = _target(reference, schema)
        if target is None:
            raise invalid(f"{path}: reference to undefined schema {reference}.", path)
        edges[reference] = {}
        for one, optional in _references(target, path, optional=False):
            edges[reference][one] = edges[reference].get(one, True) and optional
        new += edges[reference]
    return edges


def _references(schema: Any, path: str, *, optional: bool) -> Iterator[tuple[str, bool]]:
    """Yield the references in a schema, each with whether it stands in a property that may be left out."""
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("$ref"), str):
        if any(not name.startswith("$") for name in schema):
            raise invalid(f"{path}: beside $ref, a schema may only set properties that begin with $.", path)
        yield schema["$ref"], optional
    required = schema.get("required") or ()
    for name, inner in _inner(schema):
        yield from _references(inner, path, optional=optional or (name is not None and name not in required))


def _reach(start: str, edges: Mapping[str, Mapping[str, bool]]) -> set[str]:
    found, new = {start}, [start]
    while new:
        targets = edges[new.pop()].keys() - found
        found |= targets
        new += targets
    return found


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str | None, Any]]:
    """Yield the schemas in a schema, with the names of properties."""
    if isinstance(properties := schema.get("properties"), dict):
        yield from properties.items()
    for keyword in _INNER:
        value = schema.get(keyword)
        yield from ((None, one) for one in (value if isinstance(value, list) else [value]))


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    """Return what a reference stands for; definitions are under `$defs`, nowhere else."""
    if reference == "#":
        return root
    found = re.fullmatch(r"#/\$defs/([^/]+)", reference)
    definitions = root.get("$defs")
    name = unquote(found[1]).replace("~1", "/").replace("~0", "~") if found else None
    return definitions.get(name) if isinstance(definitions, dict) else None


def text_tokens(text: str) -> int:
    """Count the tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def part_tokens(part: Mapping[str, Any]) -> int:
    """Count the tokens of one part; data other than text counts by the length of its JSON."""
    if "text" in part:
        return text_tokens(str(part["text"]))
    if "inlineData" in part or "fileData" in part:
        return MEDIA_TOKENS
    data = {key: value for key, value in part.items() if key != "thoughtSignature"}
    return text_tokens(json.dumps(data, ensure_ascii=False)) if data else 0


def body_tokens(body: Mapping[str, Any]) -> int:
    """Count the tokens of a request body: contents, system instruction and declared tools."""
    contents: list[Mapping[str, Any]] = list(body.get("contents", ()))
    if "systemInstruction" in body:
        contents.append(body["systemInstruction"])
    total = sum(part_tokens(part) for content in contents for part in _parts(content))
    if body.get("tools"):
        total += text_tokens(json.dumps(body["tools"], ensure_ascii=False))
    return total


def _parts(content: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    parts: Iterable[Mapping[str, Any]] = content.get("parts", ())
    return parts
