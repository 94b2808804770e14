"""What the service refuses in a request whose fields are all known; and a prompt, which has passed it all.

Each rule answers 400 and says why. `_refused` lists what can be said in one line; functions stand for what
needs a walk.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.contents.file import MAX_PDF_BYTES
from gemini_nb.api.contents.generation import thinking_problem
from gemini_nb.api.functions import is_callable_name
from gemini_nb.api.wire import PART_OBJECTS
from gemini_nb.simulator.clues import Clues
from gemini_nb.simulator.fields import body_tokens, check_json_schema, check_schema, field_names
from gemini_nb.simulator.history import Exchange
from gemini_nb.simulator.requests import INPUT_TOKEN_LIMIT, RefusalError, generation, invalid

__all__ = [
    "MIME_TYPE",
    "PAYLOAD_LIMIT",
    "Asked",
    "Prompt",
    "check_contents",
    "check_length",
    "check_settings",
    "files_in",
]

_SIBLINGS = field_names("Part") - {"text", *PART_OBJECTS}
"""Fields of a part beside the one that holds its data."""
_ROLES = frozenset({"user", "model", "tool"})
_FILE = re.compile(r"(?:https://generativelanguage\.googleapis\.com/v\w+/)?(files/[^/]+)")
PAYLOAD_LIMIT = 100 * 1024 * 1024
"""Bytes of a request at most."""
_JSON = "application/json"
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
        for named in data:
            if named in {"functionCall", "functionResponse"}:
                _check_name(part[named].get("name"), where)
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


def _check_name(name: Any, path: str) -> None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what the rules look at."""

    body: Mapping[str, Any]  # in camelCase
    model: str  # its bare id
    vertex: bool  # whether it came over Vertex AI
    streaming: bool  # whether the answer is to be streamed

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
    _check_config(asked)
    _check_declarations(asked.declarations)
    for is_refused, words in _refused(asked):
        if is_refused:
            raise invalid(words)


def _check_declarations(declarations: Iterable[Mapping[str, Any]]) -> None:
    names: set[str] = set()
    for index, declaration in enumerate(declarations):
        path = f"tools.function_declarations[{index}]"
        _check_name(declaration.get("name"), path)
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
    stops = config.get("stopSequences", [])
    if len(stops) > 5 or not all(stops):
        raise invalid("Invalid value at 'generation_config.stop_sequences': at most 5, none of them empty.")
    if problem := thinking_problem(asked.model, config.get("thinkingConfig") or {}):
        raise invalid(problem, "generation_config.thinking_config")
    check_schema(config.get("responseSchema"), "generation_config.response_schema")
    check_json_schema(config.get("responseJsonSchema"), "generation_config.response_json_schema")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Asked):
    """One valid request; its body includes what the cache holds that it names."""

    seed: int  # decides, with the text, what is made up
    text: str  # the user's last message
    clues: Clues
    previous: str  # the user's message before that, empty in a first turn
    rounds: list[list[Exchange]]  # the calls made since those last words, with their results
    tokens: int  # of the prompt, the cached part included
    cached_tokens: int

    @property
    def functions(self) -> list[Mapping[str, Any]]:
        """The declarations of the functions that may be called; none where calling is off."""
        allowed = self.calling.get("allowedFunctionNames") or [one["name"] for one in self.declarations]
        return [one for one in self.declarations if self.mode != "NONE" and one["name"] in allowed]

    @property
    def signs(self) -> bool:
        """Whether calls carry an id and a signature."""
        return self.family >= 3

    @property
    def tier(self) -> str:
        """The tier that serves it, which is the one that it asks for."""
        asked = str(self.body.get("serviceTier", "")).lower()
        return asked if asked in {"flex", "priority"} else "standard"

    def rng(self, *purpose: object) -> random.Random:
        """Return a random generator that is the same for the same prompt and purpose."""
        return random.Random(f"{self.seed}|{self.text.strip()}|{purpose}")
