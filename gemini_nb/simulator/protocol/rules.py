"""What the service refuses in a request whose fields are all known: each rule answers 400 and says why.

`_refused` lists what can be said in one line; functions stand for what needs a walk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from gemini_nb.api.contents.file import MAX_PDF_BYTES
from gemini_nb.api.contents.generation import thinking_problem
from gemini_nb.api.functions import is_callable_name
from gemini_nb.api.wire import PART_OBJECTS
from gemini_nb.simulator.protocol.fields import body_tokens, field_names, read_message, snake
from gemini_nb.simulator.protocol.refusals import RefusalError, invalid
from gemini_nb.simulator.protocol.requests import INPUT_TOKEN_LIMIT, generation

__all__ = [
    "MIME_TYPE",
    "PAYLOAD_LIMIT",
    "Asked",
    "check_contents",
    "check_json_schema",
    "check_length",
    "check_name",
    "check_schema",
    "check_settings",
    "files_in",
    "find_definition",
]

_SIBLINGS = field_names("Part") - {"text", *PART_OBJECTS}
"""Fields of a part beside the one that holds its data."""
_ROLES = frozenset({"user", "model", "tool"})
_FILE = re.compile(r"(?:https://generativelanguage\.googleapis\.com/v\w+/)?(files/[^/]+)")
MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+*-]+(;.*)?")


def check_contents(body: Mapping[str, Any], *, vertex: bool) -> None:
    """Check that there is something to answer, and each content's role and parts."""
    contents = body.get("contents")
    if not contents:
        raise _content_error("contents is not specified", "contents")
    for index, content in enumerate(contents):
        path = f"contents[{index}]"
        role = content.get("role", "user")
        if role not in _ROLES:
            raise _content_error(f"{path}.role: use a valid role: user, model", f"{path}.role")
        _check_parts(content, path, vertex=vertex)
        if role == "tool" and not all("functionResponse" in part for part in content["parts"]):
            raise _content_error(f"{path}.role: the role tool is for function responses", f"{path}.role")
    if "systemInstruction" in body:
        _check_parts(body["systemInstruction"], "systemInstruction", vertex=vertex)


def _check_parts(content: Mapping[str, Any], path: str, *, vertex: bool) -> None:
    parts = content.get("parts")
    if not parts:
        raise _content_error("contents.parts must not be empty", f"{path}.parts")
    for index, part in enumerate(parts):
        where = f"{path}.parts[{index}]"
        data = [name for name in part if name not in _SIBLINGS]
        if not data:
            raise _content_error(
                f"{where}.data: required oneof field 'data' must have one initialized field", where
            )
        if len(data) > 1:
            raise invalid(
                f"Invalid value at '{where}' (oneof), oneof field 'data' is already set."
                f" Cannot set '{data[1]}'",
                where,
            )
        if not isinstance(part.get("thoughtSignature", ""), str):
            raise invalid(f"Thought signature is not valid: {where} holds no text.", where)
        if (call := part.get("functionCall") or part.get("functionResponse")) is not None:
            check_name(call.get("name"), where)
        if (response := part.get("functionResponse")) is not None:
            _check_response(response, where, vertex=vertex)
        _check_media(part, where, vertex=vertex)


def _check_response(response: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    """Check the parts of a response, and that each `$ref` in it names one of them."""
    names = set()
    for media in response.get("parts", ()):
        _check_media(media, f"{where}.functionResponse.parts", vertex=vertex)
        if len(media.keys() & {"inlineData", "fileData"}) != 1:
            raise _content_error(f"{where}.functionResponse.parts: inlineData or fileData", where)
        names.add((media.get("inlineData") or media["fileData"]).get("displayName"))
    values = [response.get("response")]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and reference not in names:
                raise invalid(f"{where}.response: $ref {reference!r} names none of its parts.", where)
            values += value.values()
        elif isinstance(value, list):
            values += value


def _check_media(part: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    if (blob := part.get("inlineData")) is not None:
        _check_blob(blob, where)
    if (file := part.get("fileData")) is not None:
        _check_file(file, where, vertex=vertex)


def _check_blob(blob: Mapping[str, Any], where: str) -> None:
    kind = _check_mime_type(blob.get("mimeType"), f"{where}.inlineData")
    try:
        text = blob.get("data", "").replace("-", "+").replace("_", "/")
        size = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (ValueError, binascii.Error):
        raise invalid(
            f"Invalid value at '{where}.inlineData.data' (TYPE_BYTES), Base64 decoding failed", where
        ) from None
    if not size:
        raise _content_error(f"{where}.inlineData.data: required and empty", where)
    if kind == "application/pdf" and size > MAX_PDF_BYTES:
        raise invalid(f"The document has {size} bytes, which exceeds the limit of {MAX_PDF_BYTES}.", where)


def _check_file(file: Mapping[str, Any], where: str, *, vertex: bool) -> None:
    uri = file.get("fileUri") or ""
    if "mimeType" in file or vertex:
        _check_mime_type(file.get("mimeType"), f"{where}.fileData")
    if not uri:
        raise _content_error(f"{where}.fileData.fileUri: required and empty", where)
    uploaded = _FILE.fullmatch(uri) is not None
    for is_wrong, advice in (
        (uploaded and vertex, "The File API is not part of Vertex AI."),
        (not uploaded and ("://" not in uri or uri.startswith("file:")), "Upload it with the File API."),
        (uri.startswith("gs://") and not vertex, "Register it with the File API first."),
    ):
        if is_wrong:
            raise invalid(f"Unsupported file uri: {uri}. {advice}", where)


def files_in(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the uploaded files that a checked body uses."""
    contents = [*body["contents"], body.get("systemInstruction") or {}]
    parts = [part for content in contents for part in content.get("parts") or ()]
    parts += [inner for part in parts for inner in (part.get("functionResponse") or {}).get("parts") or ()]
    for part in parts:
        if found := _FILE.fullmatch((part.get("fileData") or {}).get("fileUri") or ""):
            yield found[1]


def _check_mime_type(kind: Any, where: str) -> str:
    if not kind or not MIME_TYPE.fullmatch(kind):
        raise invalid(f"Unsupported MIME type: {kind or ''}. Set one in {where}.mimeType.", where)
    return str(kind).partition(";")[0].lower()


def check_name(name: Any, path: str) -> None:
    """Check a function's name."""
    if not name:
        raise _content_error(f"{path}.name: [FIELD_INVALID] Name cannot be empty", path)
    if not is_callable_name(name):
        raise invalid(
            f"Invalid function name {name!r} at '{path}'. Must start with a letter or an underscore. Must be"
            " alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a"
            " maximum length of 128.",
            f"{path}.name",
        )


def _content_error(problem: str, field: str) -> RefusalError:
    return invalid(f"* GenerateContentRequest.{problem}.", field)


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


PAYLOAD_LIMIT = 100 * 1024 * 1024
"""Bytes of a request at most."""
_JSON = "application/json"
_ENUMS = {
    "toolConfig.functionCallingConfig.mode": "MODE_UNSPECIFIED AUTO ANY NONE VALIDATED",
    "generationConfig.mediaResolution": "MEDIA_RESOLUTION_UNSPECIFIED MEDIA_RESOLUTION_LOW"
    " MEDIA_RESOLUTION_MEDIUM MEDIA_RESOLUTION_HIGH",
    "generationConfig.responseModalities": "MODALITY_UNSPECIFIED TEXT IMAGE AUDIO VIDEO",
    "generationConfig.responseMimeType": "text/plain application/json text/x.enum",
    "serviceTier": "unspecified flex standard priority",
    "safetySettings.category": "HARM_CATEGORY_UNSPECIFIED HARM_CATEGORY_HARASSMENT HARM_CATEGORY_HATE_SPEECH"
    " HARM_CATEGORY_SEXUALLY_EXPLICIT HARM_CATEGORY_DANGEROUS_CONTENT HARM_CATEGORY_JAILBREAK"
    " HARM_CATEGORY_CIVIC_INTEGRITY HARM_CATEGORY_IMAGE_HATE"
    " HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT HARM_CATEGORY_IMAGE_HARASSMENT"
    " HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT",
    "safetySettings.threshold": "HARM_BLOCK_THRESHOLD_UNSPECIFIED BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE"
    " BLOCK_ONLY_HIGH BLOCK_NONE OFF",
    "safetySettings.method": "HARM_BLOCK_METHOD_UNSPECIFIED SEVERITY PROBABILITY",
}
_RANGES = {
    "temperature": (0, 2),
    "topP": (0, 1),
    "topK": (1, float("inf")),
    "maxOutputTokens": (1, float("inf")),
    "presencePenalty": (-2, 2),
    "frequencyPenalty": (-2, 2),
    "logprobs": (0, 20),
    "seed": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what the rules look at.

    Attributes:
        body: the body, in camelCase.
        model: the bare id of the model.
        vertex: whether it came over Vertex AI.
        streaming: whether the answer is to be streamed.
    """

    body: Mapping[str, Any]
    model: str
    vertex: bool
    streaming: bool

    @property
    def family(self) -> int:
        """The model's generation."""
        return generation(self.model)

    @property
    def config(self) -> Mapping[str, Any]:
        """The generation config."""
        return self.body.get("generationConfig") or {}

    @property
    def modalities(self) -> set[str]:
        """What the answer may be, but for text."""
        return {str(one).upper() for one in self.config.get("responseModalities", ())}

    @property
    def calling(self) -> Mapping[str, Any]:
        """How functions may be called."""
        return self.body.get("toolConfig", {}).get("functionCallingConfig") or {}

    @property
    def mode(self) -> str:
        """The mode of function calling."""
        return str(self.calling.get("mode", "")).upper()

    @property
    def shows_server_calls(self) -> bool:
        """Whether the calls of built-in tools are to be part of the conversation."""
        return self.body.get("toolConfig", {}).get("includeServerSideToolInvocations") is True

    @property
    def declarations(self) -> list[Mapping[str, Any]]:
        """The functions that are declared."""
        return [one for tool in self.body.get("tools", ()) for one in tool.get("functionDeclarations", ())]

    @property
    def builtins(self) -> set[str]:
        """The tools that run on the service's side."""
        return {name for tool in self.body.get("tools", ()) for name in tool} - {"functionDeclarations"}


def _refused(asked: Asked) -> Iterator[tuple[object, str]]:
    """Yield for each rule whether the request breaks it, and what the service says then."""
    body, config, calling, mode = asked.body, asked.config, asked.calling, asked.mode
    kind, old, new = config.get("responseMimeType"), asked.family < 3, asked.family >= 4
    functions, builtins, shown = asked.declarations, asked.builtins, asked.shows_server_calls
    mixed, forced = functions and builtins, mode in {"ANY", "VALIDATED"}
    flag = "tool_config.include_server_side_tool_invocations"
    yield mixed and asked.vertex, "Multiple tools are supported only when they are all search tools."
    yield shown and old, f"{flag} is not supported for this model."
    yield mixed and old, "Built-in tools with Function calling is unsupported by this model."
    yield mixed and not shown, f"Please enable {flag} to use Built-in tools with Function calling."
    yield shown and mode == "AUTO", f"Function calling mode AUTO is not supported with {flag}."
    yield forced and not functions, "Function calling config is set without function_declarations."
    names = calling.get("allowedFunctionNames", ())
    yield names and not forced, "allowed_function_names can only be set when the mode is ANY or VALIDATED."
    unknown = ", ".join(sorted(set(names) - {one["name"] for one in functions}))
    yield unknown, f"allowed_function_names names functions that are not declared: {unknown}"
    streamed, option = calling.get("streamFunctionCallArguments"), "stream_function_call_arguments"
    yield streamed and not asked.streaming, f"{option} is only supported by streamGenerateContent."
    yield streamed and old, f"{option} is not supported for this model."
    retrieves = "googleSearchRetrieval" in builtins and asked.family != 1
    yield retrieves, "google_search_retrieval is not supported; please use google_search field instead."
    yield (
        config.get("candidateCount", 1) != 1,
        "Multiple candidates is not enabled: candidate_count must be 1.",
    )
    for modality, models in (("IMAGE", "image"), ("AUDIO", "tts|audio")):
        makes = new or asked.family == 0 or re.search(models, asked.model)
        unmade = modality in asked.modalities and not makes
        yield unmade, f"Model does not support the requested response modalities: {modality.lower()}."
    yield new and "presencePenalty" in config, "presence_penalty is not supported by this model."
    yield new and "frequencyPenalty" in config, "frequency_penalty is not supported by this model."
    logs, armed = config.get("responseLogprobs"), "modelArmorConfig" in body
    yield asked.streaming and logs, "response_logprobs is not supported by streamGenerateContent."
    yield asked.streaming and armed, "model_armor_config is not supported by streamGenerateContent."
    yield armed and "safetySettings" in body, "Set model_armor_config or safety_settings, not both."
    schema, json_schema = "responseSchema" in config, "responseJsonSchema" in config
    yield schema and json_schema, "Set response_schema or response_json_schema, not both."
    untyped = schema and kind not in {_JSON, "text/x.enum"}
    yield untyped, "response_schema needs response_mime_type application/json or text/x.enum."
    yield json_schema and kind != _JSON, "response_json_schema needs response_mime_type application/json."
    typed = kind == _JSON and old and (functions or builtins)
    yield typed, f"Function calling with a response mime type: {_JSON!r} is unsupported by this model."
    fixed = "cachedContent" in body and body.keys() & {"systemInstruction", "tools", "toolConfig"}
    yield (
        fixed,
        (
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or"
            " tool_config."
        ),
    )
    continued = new and body["contents"][-1].get("role") == "model"
    yield continued, "This model does not continue a model turn: the last content must have the role user."


def check_length(body: Mapping[str, Any]) -> int:
    """Return the number of tokens of the prompt."""
    count = body_tokens(body)
    if count > INPUT_TOKEN_LIMIT:
        raise invalid(
            f"The input token count ({count}) exceeds the maximum number of tokens allowed"
            f" ({INPUT_TOKEN_LIMIT})."
        )
    return count


def check_settings(asked: Asked) -> None:
    """Check everything beside the contents: tools, their configuration, the generation config."""
    _check_enums(asked.body)
    _check_config(asked)
    _check_declarations(asked.declarations)
    for is_refused, words in _refused(asked):
        if is_refused:
            raise invalid(words)


def _check_declarations(declarations: Iterable[Mapping[str, Any]]) -> None:
    names: set[str] = set()
    for index, declaration in enumerate(declarations):
        path = f"tools.function_declarations[{index}]"
        check_name(declaration.get("name"), path)
        if declaration["name"] in names:
            raise invalid(f"Duplicate function declaration found: {declaration['name']}", path)
        names.add(declaration["name"])
        for one, other in (("parameters", "parametersJsonSchema"), ("response", "responseJsonSchema")):
            if one in declaration and other in declaration:
                raise invalid(f"{path}: set {one} or {other}, not both.", path)
            check_schema(declaration.get(one), f"{path}.{one}")
            check_json_schema(declaration.get(other), f"{path}.{other}")


def _check_config(asked: Asked) -> None:
    config = asked.config
    for name, (low, high) in _RANGES.items():
        if name in config and not low <= config[name] <= high:
            raise invalid(
                f"Invalid value at 'generation_config.{snake(name)}': a number from {low:g} to {high:g} is"
                f" expected, not {config[name]:g}.",
                f"generation_config.{snake(name)}",
            )
    stops = config.get("stopSequences", [])
    if len(stops) > 5 or not all(stops):
        raise invalid("Invalid value at 'generation_config.stop_sequences': at most 5, none of them empty.")
    if problem := thinking_problem(asked.model, config.get("thinkingConfig") or {}):
        raise invalid(problem, "generation_config.thinking_config")
    check_schema(config.get("responseSchema"), "generation_config.response_schema")
    check_json_schema(config.get("responseJsonSchema"), "generation_config.response_json_schema")


def _check_enums(body: Mapping[str, Any]) -> None:
    for path, names in _ENUMS.items():
        taken = {name.upper() for name in names.split()}
        for value in _values(body, path.split(".")):
            if str(value).upper() not in taken:
                raise invalid(f"Invalid value at '{snake(path)}': {value!r} is none of {names}.", snake(path))


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif path[0] in value:
        yield from _values(value[path[0]], path[1:])
