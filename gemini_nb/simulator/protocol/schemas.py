"""What the service refuses in a schema, in the OpenAPI subset and in JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from gemini_nb.simulator.protocol.fields import read_message
from gemini_nb.simulator.protocol.refusals import invalid

__all__ = ["check_json_schema", "check_schema", "find_definition"]

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
