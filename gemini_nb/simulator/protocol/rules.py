"""What the service refuses in a request whose fields are all known: each rule answers 400 and says why.

`_refused` lists what can be said in one line; functions stand for what needs a walk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.contents.generation import thinking_problem
from gemini_nb.simulator.protocol.contents import check_name
from gemini_nb.simulator.protocol.fields import body_tokens, snake
from gemini_nb.simulator.protocol.refusals import invalid
from gemini_nb.simulator.protocol.routes import INPUT_TOKEN_LIMIT, generation
from gemini_nb.simulator.protocol.schemas import check_json_schema, check_schema

__all__ = ["PAYLOAD_LIMIT", "Asked", "check_length", "check_settings"]

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
