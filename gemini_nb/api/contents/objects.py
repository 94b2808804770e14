"""Callers' objects and dictionaries under the names of the wire.

google-genai's types are pydantic models, recognised by that and never imported. Their own JSON would not do:
it writes bytes, and so thought signatures, in the URL's alphabet of base64, while the service writes them in
the standard one and a signature has to come back as it was sent.

The service takes `max_output_tokens` for `maxOutputTokens`, and google-genai's `model_dump()` writes the
former, with a null for each field that is not set. Code that reads such values under one name misses half of
them. So they get their wire names here, once, when they are passed in. The keys of the caller's own data
(arguments, results, labels, the properties of a schema) are no fields, and stay.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import re
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.wire import PART_OBJECTS
from gemini_nb.config import real_number, truth_value, whole_number
from gemini_nb.errors import ArgumentError

_WORD = re.compile(r"(?<=[A-Za-z0-9])_+([a-z0-9])")
_DATA = frozenset(
    {"args", "customConfigs", "headers", "parametersJsonSchema", "response", "responseJsonSchema"}
)
_PART_MESSAGES = frozenset({*PART_OBJECTS, "videoMetadata"})
_CONFIGS = frozenset({"generationConfig", "safetySettings", "toolConfig"})
_DECLARATIONS = "functionDeclarations"
_SCHEMAS = {
    (_DECLARATIONS, "parameters"),
    (_DECLARATIONS, "response"),
    ("generationConfig", "responseSchema"),
}
_SUBSCHEMAS = frozenset({"additionalProperties", "allOf", "anyOf", "items", "not", "oneOf", "prefixItems"})
_NAMED_SUBSCHEMAS = frozenset({"$defs", "defs", "definitions", "patternProperties", "properties"})


def is_from(value: object, package: str, *names: str) -> bool:
    """Whether it is an instance of one of these classes of a package, or of a subclass."""
    return any(
        cls.__name__ in names and cls.__module__.partition(".")[0] == package for cls in type(value).__mro__
    )


def as_mapping(value: object) -> dict[str, Any] | None:
    """Return a dictionary or a pydantic model as a dictionary; None for anything else.

    What is in a dictionary stays as it is, what is in a model becomes JSON where JSON has a word for it.
    """
    if isinstance(value, Mapping):
        return dict(value)
    return plain(value) if _is_model(value) else None


def plain(value: Any) -> Any:
    """Return the value with JSON in place of models, enums, bytes and times; the rest stays as it is.

    Raises:
        ArgumentError: it is nested deeper than the stack, or holds itself.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise ArgumentError("The request is nested too deeply, or holds itself.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (str, int, float, type)):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if _is_model(value):
        return _plain(_dump(value))
    for read in (truth_value, whole_number, real_number):  # numpy's
        if (scalar := read(value)) is not None:
            return scalar
    return value


def _is_model(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "model_dump", None))


def _dump(model: Any) -> Any:
    return model.model_dump(by_alias=True, exclude_none=True, warnings=False)


def spell_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body with the wire's names, but for its `contents`, which `to_contents` reads.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    spelled = spell_fields(body, "request_body")
    for name, value in spelled.items():
        if name in _CONFIGS:
            spelled[name] = spell_config(value, name)
        elif name == "tools" and isinstance(value, (list, tuple)):
            spelled[name] = [spell_tool(tool) for tool in value]
        elif name == "systemInstruction" and isinstance(value, Mapping):
            spelled[name] = spell_content(value, name)
    return spelled


def spell_config(value: Any, name: str) -> Any:
    """Return a `generationConfig`, `toolConfig` or `safetySettings` with the wire's names.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    return _whole(value, name)


def spell_tool(tool: Any) -> Any:
    """Return a Gemini tool object or a function declaration with the wire's names; anything else as it is.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    is_declaration = isinstance(tool, Mapping) and "name" in tool
    return _whole(tool, _DECLARATIONS if is_declaration else "tools")


def spell_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """A GenerateContentResponse with the wire's names, from a server that writes google-genai's objects."""
    try:
        spelled: dict[str, Any] = _whole(answer, "the answer")
    except ArgumentError:
        return answer
    return spelled


def spell_part(part: Mapping[str, Any], path: str = "a part") -> dict[str, Any]:
    """Return a part with the wire's names; fields newer than this package keep their values as they are.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    return {
        name: _whole(value, name) if name in _PART_MESSAGES else value
        for name, value in spell_fields(part, path).items()
    }


def spell_content(content: Mapping[str, Any], path: str = "a turn") -> dict[str, Any]:
    """Return a turn with the wire's names.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    spelled = spell_fields(content, path)
    if isinstance(parts := spelled.get("parts"), (list, tuple)):
        spelled["parts"] = [spell_part(part) if isinstance(part, Mapping) else part for part in parts]
    return spelled


def _whole(value: Any, name: str) -> Any:
    try:
        return _message(value, name, name)
    except RecursionError:
        raise ArgumentError(f"{name} is nested too deeply, or holds itself.") from None


def _message(value: Any, name: str, path: str) -> Any:
    """Spell the value of the field `name`, and everything in it."""
    if isinstance(value, (list, tuple)):
        return [_message(item, name, path) for item in value]
    if not isinstance(value, Mapping):
        return value
    spelled = spell_fields(value, path)
    for field, item in spelled.items():
        if (name, field) in _SCHEMAS:
            spelled[field] = _schema(item, field)
        elif field not in _DATA:
            spelled[field] = _message(item, field, field)
    return spelled


def _schema(value: Any, path: str) -> Any:
    """Spell an OpenAPI schema, but for defaults, examples and names of properties, which are the caller's."""
    if isinstance(value, (list, tuple)):
        return [_schema(item, path) for item in value]
    if not isinstance(value, Mapping):
        return value
    spelled = spell_fields(value, path)
    for field, item in spelled.items():
        if field in _SUBSCHEMAS:
            spelled[field] = _schema(item, field)
        elif field in _NAMED_SUBSCHEMAS and isinstance(item, Mapping):
            spelled[field] = {name: _schema(one, f"{name} of {path}") for name, one in item.items()}
    return spelled


def spell_fields(message: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the fields that are set, by their names on the wire; what is in them stays as it is.

    Raises:
        ArgumentError: a field is there in both spellings.
    """
    spelled: dict[str, Any] = {}
    for given, value in message.items():
        if value is None:
            continue
        name = _WORD.sub(lambda found: found[1].upper(), given) if isinstance(given, str) else given
        if name in spelled:
            raise ArgumentError(
                f"{name} stands twice in {path}, in two spellings.",
                hint=f"Leave one out; the wire says {name!r}.",
            )
        spelled[name] = value
    return spelled
