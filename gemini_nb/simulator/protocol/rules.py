"""What the service refuses in a request whose fields are all known: each rule answers 400 and says why.

`_REFUSED` is the table of what can be said in one line; functions stand for what needs a walk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_nb.api.generation import thinking_problem
from gemini_nb.simulator.protocol.contents import check_name
from gemini_nb.simulator.protocol.fields import body_tokens
from gemini_nb.simulator.protocol.refusals import invalid
from gemini_nb.simulator.protocol.routes import INPUT_TOKEN_LIMIT, generation
from gemini_nb.simulator.protocol.schemas import check_json_schema, check_schema

__all__ = ["PAYLOAD_LIMIT", "Asked", "check_length", "check_payload", "check_settings"]

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

    @property
    def is_mixed(self) -> bool:
        """Whether functions and built-in tools go together."""
        return bool(self.declarations and self.builtins)

    def has(self, *names: str) -> bool:
        """Whether all of these are set in the generation config."""
        return all(name in self.config for name in names)


_REFUSED: tuple[tuple[Callable[[Asked], object], str], ...] = (
    (
        lambda a: a.is_mixed and a.vertex,
        "Multiple tools are supported only when they are all search tools: no built-in tools with functions.",
    ),
    (
        lambda a: a.shows_server_calls and a.family < 3,
        "tool_config.include_server_side_tool_invocations is not supported for this model.",
    ),
    (
        lambda a: a.is_mixed and a.family < 3,
        "Built-in tools with Function calling is unsupported by this model.",
    ),
    (
        lambda a: a.is_mixed and not a.shows_server_calls,
        (
            "Please enable tool_config.include_server_side_tool_invocations to use Built-in tools with"
            " Function calling."
        ),
    ),
    (
        lambda a: a.shows_server_calls and a.mode == "AUTO",
        "Function calling mode AUTO is not supported with include_server_side_tool_invocations.",
    ),
    (
        lambda a: a.mode in {"ANY", "VALIDATED"} and not a.declarations,
        "Function calling config is set without function_declarations.",
    ),
    (
        lambda a: a.calling.get("allowedFunctionNames") and a.mode not in {"ANY", "VALIDATED"},
        "allowed_function_names can only be set when the function calling mode is ANY or VALIDATED.",
    ),
    (
        lambda a: a.calling.get("streamFunctionCallArguments") and not a.streaming,
        "stream_function_call_arguments is only supported by streamGenerateContent.",
    ),
    (
        lambda a: a.calling.get("streamFunctionCallArguments") and a.family < 3,
        "stream_function_call_arguments is not supported for this model.",
    ),
    (
        lambda a: "googleSearchRetrieval" in a.builtins and a.family != 1,
        "google_search_retrieval is not supported; please use google_search field instead.",
    ),
    (
        lambda a: a.config.get("candidateCount", 1) != 1,
        "Multiple candidates is not enabled for this model: candidate_count must be 1.",
    ),
    (
        lambda a: "IMAGE" in a.modalities and 0 < a.family < 4 and "image" not in a.model,
        "Model does not support the requested response modalities: image.",
    ),
    (
        lambda a: "AUDIO" in a.modalities and 0 < a.family < 4 and not re.search("tts|audio", a.model),
        "Model does not support the requested response modalities: audio.",
    ),
    (
        lambda a: a.family >= 4 and a.has("presencePenalty"),
        "presence_penalty is not supported by this model.",
    ),
    (
        lambda a: a.family >= 4 and a.has("frequencyPenalty"),
        "frequency_penalty is not supported by this model.",
    ),
    (
        lambda a: a.streaming and a.config.get("responseLogprobs"),
        "response_logprobs is not supported by streamGenerateContent.",
    ),
    (
        lambda a: a.streaming and "modelArmorConfig" in a.body,
        "model_armor_config is not supported by streamGenerateContent.",
    ),
    (
        lambda a: "modelArmorConfig" in a.body and "safetySettings" in a.body,
        "Set model_armor_config or safety_settings, not both.",
    ),
    (
        lambda a: a.has("responseSchema", "responseJsonSchema"),
        "Set response_schema or response_json_schema, not both.",
    ),
    (
        lambda a: a.has("responseSchema") and a.config.get("responseMimeType") not in {_JSON, "text/x.enum"},
        "response_schema needs response_mime_type application/json or text/x.enum.",
    ),
    (
        lambda a: a.has("responseJsonSchema") and a.config.get("responseMimeType") != _JSON,
        "response_json_schema needs response_mime_type application/json.",
    ),
    (
        lambda a: (
            a.config.get("responseMimeType") == _JSON and a.family < 3 and (a.declarations or a.builtins)
        ),
        "Function calling with a response mime type: 'application/json' is unsupported by this model.",
    ),
    (
        lambda a: (
            a.body.get("cachedContent") and a.body.keys() & {"systemInstruction", "tools", "toolConfig"}
        ),
        (
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or"
            " tool_config."
        ),
    ),
    (
        lambda a: a.family >= 4 and a.body["contents"][-1].get("role") == "model",
        "This model does not continue a model turn: the last content must have the role user.",
    ),
)


def check_payload(size: int) -> None:
    """Check the size of a whole request.

    Raises:
        RefusalError: 400, it is too large.
    """
    if size > PAYLOAD_LIMIT:
        raise invalid(
            f"Request payload size exceeds the limit: {PAYLOAD_LIMIT} bytes. Please use the File API to"
            " upload your files instead of sending them inline."
        )


def check_length(body: Mapping[str, Any]) -> int:
    """Return the number of tokens of the prompt.

    Raises:
        RefusalError: 400, it is too long.
    """
    count = body_tokens(body)
    if count > INPUT_TOKEN_LIMIT:
        raise invalid(
            f"The input token count ({count}) exceeds the maximum number of tokens allowed"
            f" ({INPUT_TOKEN_LIMIT})."
        )
    return count


def check_settings(asked: Asked) -> None:
    """Check everything beside the contents: tools, their configuration, the generation config.

    Raises:
        RefusalError: 400.
    """
    _check_enums(asked.body)
    if not all(isinstance(value, str) for value in asked.body.get("labels", {}).values()):
        raise invalid("Invalid value at 'labels': texts are expected.", "labels")
    _check_config(asked)
    _check_declarations(asked.declarations)
    names = {one["name"] for one in asked.declarations}
    for is_refused, words in _REFUSED:
        if is_refused(asked):
            raise invalid(words)
    if unknown := [name for name in asked.calling.get("allowedFunctionNames", ()) if name not in names]:
        raise invalid(f"allowed_function_names names functions that are not declared: {', '.join(unknown)}")


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
                f"Invalid value at 'generation_config.{_snake(name)}': a number from {low:g} to {high:g} is"
                f" expected, not {config[name]:g}.",
                f"generation_config.{_snake(name)}",
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
                raise invalid(
                    f"Invalid value at '{_snake(path)}': {value!r} is none of {names}.", _snake(path)
                )


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif path[0] in value:
        yield from _values(value[path[0]], path[1:])


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)
