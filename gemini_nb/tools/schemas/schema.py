"""The schema of structured answers: what is sent, and the validation of what comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gemini_nb.api.contents.objects import is_from, plain
from gemini_nb.daemon import importing
from gemini_nb.errors import ArgumentError, ConfigError
from gemini_nb.redaction import excerpt, excerpt_of
from gemini_nb.tools.fences import read_fenced
from gemini_nb.tools.schemas.openapi import from_openapi, is_openapi
from gemini_nb.tools.schemas.typed import for_pydantic
from gemini_nb.tools.schemas.wire_schema import clean_schema


class OutputSchema:
    """The form of a structured answer.

    Args:
        schema: a pydantic model, dataclass, TypedDict or any other type pydantic knows, or a schema: JSON
            Schema, Gemini's OpenAPI form, or google-genai's object for one.
        openapi: send a schema in the OpenAPI form as it is, rather than as the JSON schema it stands for.

    Raises:
        ArgumentError: it is none of these.
        ConfigError: it cannot be said in JSON.
    """

    def __init__(self, schema: object, *, openapi: bool = False) -> None:
        self._adapter: Any = None
        self._validator: Any = None
        self._openapi: Any = None
        if is_from(schema, "google", "Schema", "JSONSchema"):
            schema = plain(schema)
        if isinstance(schema, Mapping):
            whole = from_openapi(schema)
            self.name = str(whole.get("title", "the schema"))
            self._validator = _validator(whole)
            self.json_schema = clean_schema(whole)
            self._openapi = schema if openapi and is_openapi(schema) else None
            return
        if isinstance(schema, (str, bytes, int, float)) or schema is None:
            raise ArgumentError(
                f"{schema!r} is no schema.",
                hint="Pass a pydantic model, a dataclass, a TypedDict or a JSON schema.",
            )
        self.name = schema.__name__ if isinstance(schema, type) else _short(schema)
        try:
            with importing():  # also what pydantic imports as it is used first
                from pydantic import TypeAdapter  # 100 ms that only structured answers need

                self._adapter = TypeAdapter(for_pydantic(schema))
                self.json_schema = clean_schema(self._adapter.json_schema())
        except Exception as error:  # noqa: BLE001 - a type may be anything, and so may its failure
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"{self.name} cannot be described to the model: {reason}",
                hint="Use types that JSON can say, such as str, int, list[str] or a dataclass.",
            ) from None

    @property
    def generation_config(self) -> dict[str, Any]:
        """The fields that ask for such an answer."""
        form = {"responseJsonSchema": self.json_schema}
        if self._openapi is not None:
            form = {"responseSchema": self._openapi}
        return {"responseMimeType": "application/json", **form}

    def read(self, text: str) -> Any:
        """Parse and validate an answer; with a JSON schema, return plain JSON.

        It may stand in a Markdown fence, with words around it.

        Raises:
            ValueError: it does not fit; the message says where.
        """
        return read_fenced(text, self._read)

    def _read(self, text: str) -> Any:
        if self._adapter is None:
            value = _loads(text)
            _check(value, self._validator)
            return value
        import pydantic  # loaded already

        try:
            return self._adapter.validate_json(text)
        except pydantic.ValidationError as error:
            problems = [
                f"{'.'.join(str(step) for step in problem['loc']) or 'the answer'}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            ]
            raise ValueError("; ".join(problems[:5])) from None


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None


def _short(schema: object) -> str:
    """A type such as list[City], in a few words."""
    words = excerpt_of(schema, 200).replace("__main__.", "").replace("typing.", "")
    return excerpt(words, 60)


def _validator(schema: dict[str, Any]) -> Any:
    """The validator of a JSON schema."""
    import jsonschema  # few ask for a schema

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ConfigError(
            f"This is no JSON schema: {error.message} ({error.json_path}).",
            hint='Types are written like "object" and "string".',
        ) from None
    return kind(schema)


def _check(value: object, validator: Any) -> None:
    problems = sorted(validator.iter_errors(value), key=lambda one: one.json_path)
    if problems:
        shown = (f"{problem.json_path.removeprefix('$.')}: {problem.message}" for problem in problems[:5])
        raise ValueError("; ".join(shown).replace("$: ", "the answer: "))
