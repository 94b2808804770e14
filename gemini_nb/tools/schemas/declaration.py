"""A Python function as Gemini sees it: name, description and the JSON schema of its arguments.

pydantic makes the schema and later validates what the model wrote against the same model, so a tool is never
offered with a type that its call cannot take.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from gemini_nb.daemon import importing
from gemini_nb.errors import ArgumentError, ConfigError, kind_of
from gemini_nb.tools.schemas.docstring import argument_texts, docstring_of
from gemini_nb.tools.schemas.typed import for_pydantic
from gemini_nb.tools.schemas.wire_schema import clean_schema

if TYPE_CHECKING:
    from pydantic import BaseModel

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


class Signature:
    """The arguments of a function: the schema that is sent, and the validation of what the model passes.

    Raises:
        ConfigError: an argument cannot be described; it names function and argument.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        self._parameters = _parameters(function, name)
        hints = _hints(function, name)
        self._texts = argument_texts(docstring_of(_innermost(function))) | _annotated_texts(hints)
        aliases = _aliases(_innermost(function))
        self._wire = {one.name: aliases.get(one.name, one.name) for one in self._parameters}
        with importing():  # also what pydantic imports as it is used first
            self._model = _model(self._parameters, hints, self._wire, name)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        with importing():
            schema = self._model.model_json_schema(by_alias=True)
        for name, property_schema in schema.get("properties", {}).items():
            if name in self._texts:
                property_schema.setdefault("description", self._texts[name])
        schema = clean_schema(schema)
        schema.pop("additionalProperties", None)
        schema.setdefault("properties", {})
        return schema

    def bind(self, args: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Validate the model's arguments and return them as Python's.

        Raises:
            ValueError: they do not fit; the message is for the model to learn from.
        """
        import pydantic  # loaded when the schema was made

        try:
            checked = self._model.model_validate(self._given(args))
        except pydantic.ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(step) for step in problem['loc']) or 'arguments'}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            )
            raise ValueError(f"invalid arguments for {self._name}: {problems}") from None
        positional: list[Any] = []
        named: dict[str, Any] = {}
        skipped: list[Any] = []
        for index, parameter in enumerate(self._parameters):
            field = f"p{index}"
            given = field in checked.model_fields_set
            if parameter.kind is not parameter.POSITIONAL_ONLY:
                if given:
                    named[self._wire[parameter.name]] = getattr(checked, field)
            elif given:  # one in the middle that was left out keeps its place with its default
                positional += [*skipped, getattr(checked, field)]
                skipped.clear()
            else:
                skipped.append(parameter.default)
        return positional, named

    def _given(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Drop nulls where the declaration gives null as the default."""
        nulls = {
            self._wire[one.name]
            for one in self._parameters
            if one.default is not one.empty and _shown(one.default) is None
        }
        return {name: value for name, value in args.items() if value is not None or name not in nulls}


def declare(function: Callable[..., Any], name: str | None, description: str | None) -> tuple[str, str]:
    """Return the tool's name and description.

    Raises:
        ConfigError: Gemini takes no such name.
    """
    inner = _innermost(function)
    chosen = name or getattr(inner, "__name__", None) or type(inner).__name__
    if not isinstance(chosen, str) or not _NAME.fullmatch(chosen):
        raise ConfigError(
            f"A tool cannot be named {chosen!r}.",
            hint="Names have letters, digits and _ . : -, start with a letter or _, and have 128 characters "
            'at most; give one with gemini_nb.tool(f, name="...").',
        )
    text = description if description is not None else docstring_of(inner)
    return chosen, text


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        raise ConfigError(f"The signature of {name} cannot be read.", hint="Wrap it in a function.") from None
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return [parameter for parameter in signature.parameters.values() if parameter.kind not in variadic]


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    inner: Any = function
    while isinstance(inner, functools.partial) or hasattr(inner, "__wrapped__"):
        inner = inner.func if isinstance(inner, functools.partial) else inner.__wrapped__
    if isinstance(inner, type):
        if fields := getattr(inner, "__pydantic_fields__", None):
            return _field_hints(fields)
        if inspect.isfunction(constructor := inspect.getattr_static(inner, "__init__")):
            inner = constructor
    elif not inspect.isroutine(inner):
        inner = inspect.unwrap(type(inner).__call__)
    try:
        return typing.get_type_hints(inner, include_extras=True)
    except TypeError:  # a built-in function, which has none
        return {}
    except Exception as error:  # noqa: BLE001 - an annotation is the user's expression
        raise ConfigError(
            f"An annotation of {name} cannot be read: {error}.",
            hint="Are all its types defined where the function is?",
        ) from None


def _annotated_texts(hints: Mapping[str, Any]) -> dict[str, str]:
    """The texts in annotations such as `Annotated[str, "The city."]`, as other frameworks read them."""
    texts: dict[str, str] = {}
    for name, hint in hints.items():
        about = getattr(hint, "__metadata__", ()) if typing.get_origin(hint) is Annotated else ()
        words = [one if isinstance(one, str) else getattr(one, "documentation", None) for one in about]
        if (
            found := next((word for word in words if isinstance(word, str) and word.strip()), None)
        ) is not None:
            texts[name] = found
    return texts


def _aliases(function: Any) -> dict[str, str]:
    """Map the aliases of a pydantic class's fields to the fields' names."""
    fields = getattr(function, "__pydantic_fields__", {}) if isinstance(function, type) else {}
    found = {name: field.validation_alias or field.alias for name, field in fields.items()}
    return {name: alias for name, alias in found.items() if isinstance(alias, str)}


def _field_hints(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The types of a pydantic class's fields; its validators run when it is called, not before."""
    import pydantic  # see _model

    hints: dict[str, Any] = {}
    for name, field in fields.items():
        bounds = [one for one in field.metadata if not type(one).__module__.startswith("pydantic.functional")]
        annotation: Any = field.annotation
        kind: Any = Annotated[annotation, *bounds, pydantic.Field(description=field.description)]
        hints |= {name: kind, field.validation_alias or field.alias or name: kind}
    return hints


def _model(
    parameters: list[inspect.Parameter], hints: dict[str, Any], wire: Mapping[str, str], name: str
) -> type[BaseModel]:
    import pydantic  # 100 ms that only tools need

    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        annotation = parameter.annotation
        unknown = Any if annotation is parameter.empty or isinstance(annotation, str) else annotation
        kind = for_pydantic(hints.get(parameter.name, unknown))
        default = ... if parameter.default is parameter.empty else _shown(parameter.default)
        # Fields have names of our own, since a tool's argument may be called "json" or "_x", as no field may.
        fields[f"p{index}"] = (kind, pydantic.Field(default=default, alias=wire[parameter.name]))
        _check(parameter.name, kind, name)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False, populate_by_name=False)
    return pydantic.create_model("Arguments", __config__=config, **fields)


def _shown(default: Any) -> Any:
    """A default as the schema shows it; one that is not JSON is shown as null and never used."""
    import pydantic_core  # see _model

    try:
        return pydantic_core.to_jsonable_python(default, inf_nan_mode="null")
    except Exception:  # noqa: BLE001 - any object of the user's
        return None


def _check(argument: str, kind: Any, name: str) -> None:
    import pydantic  # see _model

    try:
        model = pydantic.create_model("Argument", value=(kind, ...))
        model.model_json_schema()
    except Exception as error:  # noqa: BLE001 - an annotation may be anything, and so may its failure
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"The argument {argument!r} of {name} cannot be described to the model: {reason}",
            hint="Annotate it with a type that JSON can say, such as str, int, list[str] or a dataclass.",
        ) from None


def check_callable(value: object) -> Callable[..., Any]:
    """Return the value if it can be called.

    Raises:
        ArgumentError: it cannot.
    """
    if not callable(value):
        raise ArgumentError(
            f"A tool is a function, not {kind_of(value)}.",
            hint="Tools are functions, gemini_nb.tool(...) or ready-made declarations (dictionaries).",
        )
    return value
