"""What the service refuses in a request: each rule here answers 400 and names the field at fault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemini_nb.simulator.catalogue import INPUT_TOKEN_LIMIT
from gemini_nb.simulator.refusals import RefusalError, invalid
from gemini_nb.simulator.schemas import check_schema
from gemini_nb.simulator.signatures import generation
from gemini_nb.simulator.tokens import body_tokens

__all__ = ["check_config", "check_contents", "check_length", "check_tools"]

_ROLES = frozenset({"user", "model", "function", "tool"})
_SIBLINGS = frozenset({"thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"})
_FUNCTION_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,127}")
_MODES = frozenset({"MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"})
_MIME_TYPES = frozenset({"text/plain", "application/json", "text/x.enum"})
_LEVELS = frozenset({"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"})


def check_contents(body: Mapping[str, Any], model: str) -> None:
    """Check that there is something to answer and that each content has a role and parts.

    Raises:
        RefusalError: 400.
    """
    contents = body.get("contents")
    if not contents:
        raise _content_error("contents is not specified", "contents")
    for index, content in enumerate(contents):
        role = content.get("role", "user")
        if role not in _ROLES:
            raise _content_error(
                f"contents[{index}].role: use a valid role: user, model", f"contents[{index}].role"
            )
        _check_parts(content, f"contents[{index}]")
    if "systemInstruction" in body:
        _check_parts(body["systemInstruction"], "systemInstruction")
    if generation(model) >= 4 and contents[-1].get("role") == "model":
        raise invalid("This model does not continue a model turn: the last content must have the role user.")


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


def check_tools(body: Mapping[str, Any]) -> None:
    """Check declarations and the configuration of function calling.

    Raises:
        RefusalError: 400.
    """
    names: set[str] = set()
    for tool_index, tool in enumerate(body.get("tools", ())):
        for index, declaration in enumerate(tool.get("functionDeclarations", ())):
            path = f"tools[{tool_index}].function_declarations[{index}]"
            name = declaration.get("name")
            if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
                raise invalid(
                    f"Invalid function name {name!r} at '{path}': it begins with a letter or an underscore"
                    " and has at most 128 letters, digits, underscores, dots, colons and dashes.",
                    f"{path}.name",
                )
            if name in names:
                raise invalid(f"Duplicate function declaration found: {name}", path)
            names.add(name)
            if "parameters" in declaration and "parametersJsonSchema" in declaration:
                raise invalid(f"{path}: set parameters or parametersJsonSchema, not both.", path)
            check_schema(declaration.get("parameters"), f"{path}.parameters")
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    mode = str(calling.get("mode", "AUTO")).upper()
    if mode not in _MODES:
        raise invalid(f"Invalid value at 'tool_config.function_calling_config.mode': {mode}")
    allowed = calling.get("allowedFunctionNames", ())
    if allowed and mode not in {"ANY", "VALIDATED"}:
        raise invalid(
            "allowed_function_names can only be set when the function calling mode is ANY or VALIDATED."
        )
    if unknown := [name for name in allowed if name not in names]:
        raise invalid(f"allowed_function_names names functions that are not declared: {', '.join(unknown)}")
    if mode == "ANY" and not names:
        raise invalid("Function calling config is set without function_declarations.")


def check_config(config: Mapping[str, Any], model: str, *, has_functions: bool) -> None:
    """Check the generation config against what the model's family takes.

    Raises:
        RefusalError: 400.
    """
    _check_numbers(config)
    _check_thinking(config.get("thinkingConfig", {}), generation(model))
    stops = config.get("stopSequences", [])
    if (
        not isinstance(stops, list)
        or len(stops) > 5
        or not all(isinstance(stop, str) and stop for stop in stops)
    ):
        raise _config_error("stop_sequences", "at most 5 texts that are not empty")
    mime_type = config.get("responseMimeType", "text/plain")
    if mime_type not in _MIME_TYPES:
        raise _config_error("response_mime_type", "one of " + ", ".join(sorted(_MIME_TYPES)))
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if name in config]
    if len(schemas) == 2:
        raise invalid("Set response_schema or response_json_schema, not both.")
    if schemas and mime_type == "text/plain":
        raise invalid(f"{schemas[0]} needs response_mime_type application/json.")
    if mime_type == "application/json" and has_functions and generation(model) < 3:
        raise invalid(
            "Function calling with a response mime type: 'application/json' is unsupported by this model."
        )
    check_schema(config.get("responseSchema"), "generation_config.response_schema")
    if generation(model) >= 4:
        for name in ("presencePenalty", "frequencyPenalty"):
            if name in config:
                raise invalid(f"{name} is not supported by this model.")


def _check_numbers(config: Mapping[str, Any]) -> None:
    limit = config.get("maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise _config_error("max_output_tokens", "a whole number above 0")
    for name, top in (("temperature", 2.0), ("topP", 1.0)):
        value = config.get(name)
        if value is not None and (not isinstance(value, int | float) or not 0 <= value <= top):
            raise _config_error(name, f"a number from 0 to {top:g}")
    if config.get("candidateCount", 1) != 1:
        raise invalid("Multiple candidates is not enabled for this model.")


def _check_thinking(config: Mapping[str, Any], family: int) -> None:
    level = config.get("thinkingLevel")
    budget = config.get("thinkingBudget")
    if level is not None and str(level).upper() not in _LEVELS:
        raise _config_error("thinking_config.thinking_level", "one of " + ", ".join(sorted(_LEVELS)))
    if level is not None and budget is not None:
        raise invalid("You can only set one of thinking budget and thinking level.")
    if level is not None and family < 3:
        raise invalid("Thinking level is not supported for this model.")
    if family >= 4 and budget is not None:
        raise invalid("Thinking budget is not supported for this model.")
    if family >= 4 and str(level).upper() == "MINIMAL":
        raise invalid("Thinking level MINIMAL is not supported for this model.")


def _check_parts(content: Mapping[str, Any], path: str) -> None:
    parts = content.get("parts")
    if not parts:
        raise _content_error("contents.parts must not be empty", f"{path}.parts")
    for index, part in enumerate(parts):
        where = f"{path}.parts[{index}]"
        if not part.keys() - _SIBLINGS:
            raise _content_error(
                f"{where}.data: required oneof field 'data' must have one initialized field", where
            )
        if "text" in part and not isinstance(part["text"], str):
            raise invalid(f"Invalid value at '{where}.text': a text is expected.", where)
        for kind, data in (("functionCall", "args"), ("functionResponse", "response")):
            if kind not in part:
                continue
            if not isinstance(part[kind].get("name"), str) or not part[kind]["name"]:
                raise _content_error(f"{where}.{kind}.name: [FIELD_INVALID] name cannot be empty", where)
            if not isinstance(part[kind].get(data, {}), dict):
                raise invalid(f"Invalid value at '{where}.{kind}.{data}': an object is expected.", where)


def _content_error(problem: str, field: str) -> RefusalError:
    return invalid(f"* GenerateContentRequest.{problem}.", field)


def _config_error(name: str, expected: str) -> RefusalError:
    return invalid(
        f"Invalid value at 'generation_config.{name}': expected {expected}.", f"generation_config.{name}"
    )
