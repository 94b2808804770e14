"""The OpenAPI subset that `parameters` and `responseSchema` are written in, and what it refuses.

A JSON schema in the wrong field is a common mistake: the service then knows neither `$ref` siblings nor
`exclusiveMinimum` and says so. JSON schemas have fields of their own, which nothing here looks into.
"""

from __future__ import annotations

import re
from typing import Any

from gemini_nb.simulator.refusals import invalid, unknown_field

__all__ = ["check_schema"]

_TABLE = """
    type format title description nullable enum maxItems minItems properties required minProperties
    maxProperties minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum
    additionalProperties ref defs $ref $defs
"""
_FIELDS = frozenset(_TABLE.split())
_SNAKE_FIELDS = frozenset(re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name) for name in _FIELDS)


def check_schema(schema: Any, path: str) -> None:
    """Check a schema and all within it; None passes.

    Raises:
        RefusalError: 400, naming the field.
    """
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise invalid(f"Invalid value at '{path}': a schema is an object.", path)
    for name in schema:
        if name not in _FIELDS and name not in _SNAKE_FIELDS:
            raise unknown_field(name, path)
    properties = schema.get("properties") or {}
    for name, inner in properties.items():
        check_schema(inner, f"{path}.properties[{name}]")
    check_schema(schema.get("items"), f"{path}.items")
    for inner in schema.get("anyOf") or schema.get("any_of") or ():
        check_schema(inner, f"{path}.any_of")
    if missing := [name for name in schema.get("required") or () if name not in properties]:
        raise invalid(f"{path}.required: property is not defined: {', '.join(missing)}", path)
