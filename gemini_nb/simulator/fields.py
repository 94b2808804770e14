"""What a request's body may hold: fields and their kinds, schemas; and how many tokens it counts as.

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
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

from gemini_nb.simulator.requests import RefusalError, invalid, unknown_field

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "TOO_DEEP",
    "body_tokens",
    "camel",
    "check_json_schema",
    "check_schema",
    "field_names",
    "find_definition",
    "parse_json",
    "part_tokens",
    "read_message",
    "snake",
    "text_tokens",
]

_TABLE = """
    Request: contents=Content* systemInstruction=Content tools=Tool* toolConfig=ToolConfig
        generationConfig=Config safetySettings=Safety* cachedContent=text labels=text% serviceTier=|Tier
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
    Calling: mode=|Mode allowedFunctionNames=text* streamFunctionCallArguments=bool@v
    Safety: category=|Category threshold=|Threshold method=|Method@v
    Config: temperature=number:0:2 topP=number:0:1 topK=number:1:inf candidateCount=int
        maxOutputTokens=int:1:inf stopSequences=text* responseLogprobs=bool logprobs=int:0:20
        presencePenalty=number:-2:2 frequencyPenalty=number:-2:2 seed=int:-2147483648:2147483647
        responseMimeType=|Type responseSchema=object responseJsonSchema responseModalities=|Modality*
        mediaResolution=|Resolution speechConfig=object imageConfig=object audioTranscriptionConfig=object
        responseFormat thinkingConfig=Thinking routingConfig=object@v modelConfig=object@v
        audioTimestamp=bool@v enableEnhancedCivicAnswers=bool@d
    Thinking: includeThoughts=bool thinkingBudget=int thinkingLevel=text
    Schema: type format=text title=text description=text nullable=bool enum maxItems=int minItems=int
        properties=Schema% required=text* minProperties=int maxProperties=int minLength=int maxLength=int
        pattern=text example anyOf=Schema* propertyOrdering=text* default items=Schema minimum=number
        maximum=number additionalProperties ref=text defs $ref=text $defs
    Count: contents=Content* model=text generateContentRequest=Request
    Upload: file=File
    File: name=text displayName=text mimeType=text sizeBytes=int
    Cache: name=text model=text ttl=text expireTime=text displayName=text contents=Content*
        systemInstruction=Content tools=Tool* toolConfig=ToolConfig encryptionSpec=object@v
    Mode: MODE_UNSPECIFIED AUTO ANY NONE VALIDATED
    Tier: unspecified flex standard priority
    Type: text/plain application/json text/x.enum
    Modality: MODALITY_UNSPECIFIED TEXT IMAGE AUDIO VIDEO
    Resolution: MEDIA_RESOLUTION_UNSPECIFIED MEDIA_RESOLUTION_LOW MEDIA_RESOLUTION_MEDIUM
        MEDIA_RESOLUTION_HIGH
    Category: HARM_CATEGORY_UNSPECIFIED HARM_CATEGORY_HARASSMENT HARM_CATEGORY_HATE_SPEECH
        HARM_CATEGORY_SEXUALLY_EXPLICIT HARM_CATEGORY_DANGEROUS_CONTENT HARM_CATEGORY_JAILBREAK
        HARM_CATEGORY_CIVIC_INTEGRITY HARM_CATEGORY_IMAGE_HATE HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT
        HARM_CATEGORY_IMAGE_HARASSMENT HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT
    Threshold: HARM_BLOCK_THRESHOLD_UNSPECIFIED BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE BLOCK_ONLY_HIGH
        BLOCK_NONE OFF
    Method: HARM_BLOCK_METHOD_UNSPECIFIED SEVERITY PROBABILITY
"""
"""Each message's fields: `=` and the kind, with its bounds, `*` for a list, `%` for a mapping, `@d` on the
developer API only, `@v` on Vertex AI only. Kinds with a capital letter are messages, those with `|`
one of the words that stand at the end."""

_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "bool": (bool,),
    "int": (int,),
    "number": (int, float),
    "object": (dict,),
}
_WORDS = {"int": "an integer", "bool": "true or false", "object": "an object"}
_UNDERSCORE = re.compile(r"_([a-z0-9])")

CHARACTERS_PER_TOKEN = 4
MEDIA_TOKENS = 258
"""What one image counts as; used for every inline or referenced file."""


@cache
def _messages(*, vertex: bool) -> dict[str, dict[str, str]]:
    """Return the table as one of the two services has it."""
    messages: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for word in _TABLE.split():
        if word.endswith(":"):
            fields = messages[word[:-1]] = {}
            continue
        field, _, service = word.partition("@")
        name, _, kind = field.partition("=")
        if service in {"", "v" if vertex else "d"}:
            fields[name] = kind
    return messages


def field_names(message: str) -> set[str]:
    """Return the fields that a message has on either service."""
    return {*_messages(vertex=False)[message], *_messages(vertex=True)[message]}


TOO_DEEP = "Invalid JSON payload received. It is nested too deep."


def parse_json(raw: bytes, limit: int) -> Any:
    """Read a body's JSON, which may have so many bytes."""
    if len(raw) > limit:
        words = f"Request payload size exceeds the limit: {limit} bytes."
        raise invalid(f"{words} Please use the File API to upload your files.")
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
        if b"\\ud" in raw.lower():  # half a surrogate pair, which JSON can say, and a text cannot hold
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    except RecursionError:
        raise invalid(TOO_DEEP) from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"Unexpected token: {name}")  # Python's reader would take NaN and Infinity


def read_message(
    value: Any, message: str, path: str, *, vertex: bool, known: Collection[str] = ()
) -> dict[str, Any]:
    """Bring a message into its one spelling: camelCase, lists where lists belong, no nulls.

    Args:
        value: the JSON of it.
        message: its name in the table.
        path: where it stands in the body, empty for the whole.
        vertex: by which service's table.
        known: fields of parts that are not in the table, and that the model's turns may hold all the same: a
            service takes back what it has sent.
    """
    return _Reader(_messages(vertex=vertex), known).read(value, message, path)


def camel(name: str) -> str:
    """Turn `snake_case` into `camelCase`; other names stay as they are."""
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


def snake(name: str) -> str:
    """Turn `camelCase` into `snake_case`, as error messages write the names of fields."""
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)


class _Reader:
    def __init__(self, messages: dict[str, dict[str, str]], known: Collection[str]) -> None:
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
                result[name] = self._value(item, fields.get(name, ""), f"{path}.{name}" if path else name)
        return result

    def _value(self, value: Any, kind: str, path: str) -> Any:
        bare = kind.rstrip("*%")
        if kind.endswith("%"):
            named = self._single(value, "object", path)
            return {name: self._single(item, bare, f"{path}[{name}]") for name, item in named.items()}
        if not kind.endswith("*"):
            return self._single(value, kind, path)
        if not isinstance(value, list) and (bare not in self._messages or bare == "Schema"):
            raise _wrong(path, "a list", value)
        items = value if isinstance(value, list) else [value]
        return [self._single(item, bare, f"{path}[{index}]") for index, item in enumerate(items)]

    def _single(self, value: Any, kind: str, path: str) -> Any:
        if kind in self._messages:
            return self.read(value, kind, path)
        if kind.startswith("|"):
            words = self._messages[kind[1:]]
            if str(value).upper() not in map(str.upper, words):
                path = snake(path)
                raise invalid(f"Invalid value at '{path}': {value!r} is none of {' '.join(words)}.", path)
            return value
        kind, _, bounds = kind.partition(":")
        if kind not in _KINDS:
            return value
        if kind in {"int", "number"} and isinstance(value, str):
            value = _number(value)  # protobuf writes long numbers as text
        if kind == "int" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise _wrong(path, _WORDS.get(kind, f"a {kind}"), value)
        if bounds:
            low, high = map(float, bounds.split(":"))
            if not low <= float(str(value)) <= high:
                raise _wrong(path, f"a number from {low:g} to {high:g}", value)
        return value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _wrong(path: str, expected: str, value: Any) -> RefusalError:
    path = snake(path)
    return invalid(f"Invalid value at '{path}': {expected} is expected, not {json.dumps(value)[:80]}", path)


_TYPES = {"TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_INNER = ("items", "additionalProperties", "prefixItems", "anyOf", "oneOf", "allOf")


def check_schema(schema: Any, path: str) -> None:
    """Check a schema of the OpenAPI subset; a JSON schema in its place is a common mistake."""
    if schema is not None:
        _check_read(read_message(schema, "Schema", path, vertex=False), path)


def _check_read(schema: Mapping[str, Any], path: str) -> None:
    properties = schema.get("properties", {})
    kind = schema.get("type", "OBJECT" if properties else "TYPE_UNSPECIFIED")
    if not isinstance(kind, str) or kind.upper() not in _TYPES:
        raise invalid(f"Invalid value at '{path}.type': {kind!r} is not a type.", path)
    if kind.upper() == "ARRAY" and "items" not in schema:
        raise invalid(f"* GenerateContentRequest.{path}.items: missing field.", path)
    if missing := [name for name in schema.get("required", ()) if name not in properties]:
        raise invalid(f"{path}.required: property is not defined: {', '.join(missing)}", path)
    for name, inner in properties.items():
        _check_read(inner, f"{path}.properties[{name}]")
    for inner in (*filter(None, [schema.get("items")]), *schema.get("anyOf", ())):
        _check_read(inner, f"{path}.items")


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
        target = find_definition(reference, schema)
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
    if isinstance(properties := schema.get("properties"), dict):
        for name, inner in properties.items():
            yield from _references(inner, path, optional=optional or name not in required)
    for keyword in _INNER:
        value = schema.get(keyword)
        for inner in value if isinstance(value, list) else [value]:
            yield from _references(inner, path, optional=optional)


def _reach(start: str, edges: Mapping[str, Mapping[str, bool]]) -> set[str]:
    found, new = {start}, [start]
    while new:
        targets = edges[new.pop()].keys() - found
        found |= targets
        new += targets
    return found


def find_definition(reference: str, root: Mapping[str, Any]) -> Any:
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
    contents = [*body.get("contents", ()), body.get("systemInstruction", {})]
    total = sum(part_tokens(part) for content in contents for part in content.get("parts", ()))
    if body.get("tools"):
        total += text_tokens(json.dumps(body["tools"], ensure_ascii=False))
    return total
