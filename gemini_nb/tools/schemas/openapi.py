"""Schemas in Gemini's own form of OpenAPI, and in which field of a declaration a schema goes.

`parameters` and `responseSchema` take some fields of OpenAPI and no others; a schema that says more goes into
`parametersJsonSchema` or `responseJsonSchema`, as JSON Schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gemini_nb.tools.schemas.wire_schema import MANY, NAMED, ONE, clean_schema, is_list, paths, too_deep

_OPENAPI = frozenset(
    {"type", "format", "title", "description", "nullable", "enum", "default", "example", "anyOf"}
    | {"items", "minItems", "maxItems", "properties", "required", "minProperties", "maxProperties"}
    | {"minLength", "maxLength", "pattern", "minimum", "maximum", "propertyOrdering"}
)
_SIZES = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_SPELLED: dict[Any, Any] = {"ref": "$ref", "defs": "$defs"}


def from_openapi(schema: Any) -> Any:
    """Return a schema in Gemini's OpenAPI form (`STRING`, `nullable`) as JSON Schema; others stay.

    Raises:
        ConfigError: it is nested too deeply.
    """
    try:
        return _from_openapi(schema)
    except RecursionError:
        raise too_deep() from None


def is_openapi(schema: Any) -> bool:
    """Whether a schema says only what the OpenAPI fields (`parameters`, `responseSchema`) take."""
    return all(
        _OPENAPI.issuperset(one) and (isinstance(one.get("type", ""), str)) for _, one in paths(schema)
    )


def tidy_declaration(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a functionDeclaration whose schemas the service takes, each in the field for its kind.

    Raises:
        ConfigError: a schema cannot be sent.
    """
    tidy = dict(declaration)
    for openapi, json_schema in (
        ("parameters", "parametersJsonSchema"),
        ("response", "responseJsonSchema"),
    ):
        given = tidy.get(openapi)
        if isinstance(given, Mapping) and json_schema not in tidy and not is_openapi(given):
            tidy[json_schema] = tidy.pop(openapi)
        if isinstance(tidy.get(json_schema), Mapping):
            tidy[json_schema] = clean_schema(from_openapi(tidy[json_schema]))
    return tidy


def tidy_tools(tools: Iterable[Any], *, demanded: bool = False) -> list[Any]:
    """Return a request's `tools` with each functionDeclaration as `tidy_declaration` makes it.

    Args:
        tools: the tools.
        demanded: whether a call is demanded, which needs a schema of each function, if only of no arguments.

    Raises:
        ConfigError: a schema cannot be sent.
    """
    tidy = []
    for tool in tools:
        declarations = tool.get("functionDeclarations") if isinstance(tool, Mapping) else None
        if is_list(declarations):
            made = [tidy_declaration(one) if isinstance(one, Mapping) else one for one in declarations]
            for one in made if demanded else ():
                if isinstance(one, dict) and not (one.get("parameters") or one.get("parametersJsonSchema")):
                    one.pop("parameters", None)
                    one["parametersJsonSchema"] = {"type": "object", "properties": {}}
            tidy.append({**tool, "functionDeclarations": made})
        else:
            tidy.append(tool)
    return tidy


def _from_openapi(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for spelled, value in schema.items():
        name: Any = _SPELLED.get(spelled, spelled)
        if not _is_left_out(name, value):
            made[name] = _keyword(name, value)
    return _or_null(made) if schema.get("nullable") is True else made


def _is_left_out(name: Any, value: Any) -> bool:
    """Whether JSON Schema has no such keyword, or says the same without it."""
    if name == "type":
        return isinstance(value, str) and value.upper() == "TYPE_UNSPECIFIED"
    return name in {"nullable", "example"} or (name == "format" and value == "enum")


def _keyword(name: Any, value: Any) -> Any:
    """Return a keyword's value as JSON Schema has it."""
    if name in NAMED and isinstance(value, Mapping):
        return {key: _from_openapi(one) for key, one in value.items()}
    if name in {*ONE, *MANY}:
        return [_from_openapi(one) for one in value] if is_list(value) else _from_openapi(value)
    if name == "type" and isinstance(value, str):
        return value.lower() if value.isupper() else value
    if name in _SIZES and isinstance(value, str) and value.isdecimal():
        return int(value)
    return value


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema, or null."""
    if isinstance(kind := schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    texts = ("title", "description", "default")
    beside: dict[str, Any] = {name: schema.pop(name) for name in texts if name in schema}
    return {**beside, "anyOf": [schema, {"type": "null"}]}
