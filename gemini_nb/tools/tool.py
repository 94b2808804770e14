"""One tool, and the set of tools that a stream offers."""

from __future__ import annotations

import abc
import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeAlias, overload

from gemini_nb.api.contents.objects import as_mapping, plain, spell_tool
from gemini_nb.config import real_number, truth_value
from gemini_nb.errors import ArgumentError, ConfigError, GeminiError, kind_of
from gemini_nb.redaction import excerpt_of
from gemini_nb.tools.schemas.declaration import Signature, check_callable, declare
from gemini_nb.tools.schemas.openapi import tidy_declaration

BUILT_IN = {"search": "googleSearch", "url": "urlContext", "maps": "googleMaps", "code": "codeExecution"}
"""Tools that run at Google's, by the names that stand for them in `tools` and `--use`."""


DEFAULT_TIMEOUT = 60.0
_DECLARATIONS = "functionDeclarations"
_PLACES = ("thread", "kernel", "background")
RunOn: TypeAlias = "str | Executor | None"


class Tool:
    """A function that the model may call; called from Python it is still that function.

    Args:
        function: any callable, sync or async.
        name: the tool's name; by default the function's.
        description: what it does; by default its docstring.
        run_on: "thread", "kernel", "background" or an Executor; by default a thread for sync functions, and
            the kernel's own loop (where the user's sessions and pools live) for async ones.
        timeout: seconds it may run, None for no limit.
        confirm: ask the user first, or a function, sync or async, that is given the call and says yes or no.
            None asks if a tool inside the function does: one that is wrapped, or a partial of one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        run_on: RunOn = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        confirm: bool | Callable[..., object] | None = None,
    ) -> None:
        inner = function.function if isinstance(function, Tool) else function
        self.function: Callable[..., Any] = check_callable(inner)
        self.name, self.description = declare(inner, name, description)
        self._check_place(run_on)
        seconds = _checked_timeout(timeout)
        if not isinstance(self.description, str):
            raise ConfigError(f"A description is text, not {kind_of(description)}.")
        chosen = _checked_confirm(confirm)
        self.run_on = run_on
        self.timeout = seconds
        self.signature = self._describe(inner)
        # Once its wrappers are known to end.
        self.confirm = _confirm_of(function) if chosen is None else chosen
        functools.update_wrapper(self, inner, updated=())

    def _check_place(self, run_on: object) -> None:
        if not (run_on is None or run_on in _PLACES or isinstance(run_on, Executor)):
            raise ConfigError(f'run_on is "thread", "kernel", "background" or an Executor, not {run_on!r}.')
        if isinstance(run_on, Executor) and self.is_async:
            raise ConfigError(
                f"{self.name} is asynchronous and cannot run on an Executor.",
                hint='Use run_on="kernel" or "background", or make it an ordinary function.',
            )

    def _describe(self, function: Callable[..., Any]) -> Signature:
        return Signature(function, self.name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def __reduce__(self) -> Any:
        """By name where it stands in the function's place, for processes that import the same module."""
        name: str = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for step in name.split("."):
            found = getattr(found, step, None)
        return name if found is self else super().__reduce__()

    @property
    def is_async(self) -> bool:
        """Whether calling it returns an awaitable."""
        inner: Any = self.function
        while isinstance(inner, functools.partial):
            inner = inner.func
        kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        return any(is_kind(part) for part in (inner, type(inner).__call__) for is_kind in kinds)

    @property
    def declaration(self) -> dict[str, Any]:
        """The functionDeclaration to send."""
        declaration: dict[str, Any] = {"name": self.name}
        if self.description:
            declaration["description"] = self.description
        declaration["parametersJsonSchema"] = self.signature.schema
        return declaration


@overload
def tool(function: Callable[..., Any], /, **options: Any) -> Tool: ...
@overload
def tool(**options: Any) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function, with options a bare function has no place for; also as a decorator.

    Args:
        function: any callable, sync or async.
        **options: `name`, `description`, `run_on`, `timeout` and `confirm`, see `Tool`.

    Raises:
        ConfigError: the function cannot be described to the model.
    """
    if function is None:
        return functools.partial(Tool, **options)
    return Tool(function, **options)


def _confirm_of(function: Any) -> bool | Callable[..., object]:
    """The `confirm` of the tool inside a wrapper or partial, if there is one."""
    while not isinstance(function, Tool):
        inner = function.func if isinstance(function, functools.partial) else None
        function = getattr(function, "__wrapped__", inner)
        if function is None:
            return False
    return function.confirm


def _checked_confirm(confirm: Any) -> bool | Callable[..., object] | None:
    is_on = truth_value(confirm)
    chosen: bool | Callable[..., object] | None = confirm if is_on is None else is_on
    if not (chosen is None or isinstance(chosen, bool) or callable(chosen)):
        raise ConfigError(f"confirm is True, False or a function of the call, not {chosen!r}.")
    return chosen


def _checked_timeout(timeout: Any) -> float | None:
    seconds = real_number(timeout)
    if timeout is not None and (seconds is None or not seconds > 0):
        raise ConfigError(
            f"A tool's timeout is a number of seconds greater than 0, or None, not {excerpt_of(timeout)}."
        )
    return seconds


class ToolSource(abc.ABC):
    """What offers tools that are known only once it was asked, such as an MCP server.

    Every stream that was given one asks for them before its first model call.

    Attributes:
        name: what a user knows it as.
    """

    name: str

    @abc.abstractmethod
    async def list_tools(self, taken: Collection[str] = ()) -> list[Tool]:
        """Return its tools as they are now, under names that are not taken."""


class ToolSet:
    """The tools of one stream: functions that run here, and declarations that pass through.

    Args:
        tools: callables, `Tool`s, functionDeclarations or Gemini tool objects such as {"googleSearch": {}}.
        declared: the `tools` of a whole request body, which are sent already.

    Raises:
        ConfigError: two have one name, or one cannot be declared.
        ArgumentError: one is no tool.
    """

    def __init__(
        self, tools: Iterable[object] | Callable[..., Any] | None = (), *, declared: object = ()
    ) -> None:
        self._sent = {name for item in _mappings(declared) for name in _names(item)}
        self._tools: dict[str, Tool] = {}
        self._declared: dict[str, dict[str, Any]] = {}
        self._passed: list[dict[str, Any]] = []
        self.sources: list[ToolSource] = []
        for item in as_tools(tools):
            self._add(item)

    async def ask_sources(self) -> list[dict[str, Any]]:
        """Add the tools that the sources offer now, and return their declarations."""
        added: list[Tool] = []
        for source in self.sources:
            taken = {*self._tools, *self._declared, *self._sent}
            try:
                found = await source.list_tools(taken)
            except GeminiError as error:
                error.is_of_tools = True
                raise
            self._tools |= {tool.name: tool for tool in found}
            added += found
        return [tool.declaration for tool in added]

    def _add(self, item: object) -> None:
        if isinstance(item, ToolSource):
            if item not in self.sources:
                self.sources.append(item)
            return
        mapping = None if callable(item) else as_mapping(item)
        if mapping is not None:
            self._add_wire(spell_tool(plain(mapping)))
            return
        if isinstance(item, str):
            raise ArgumentError(
                f"{item!r} is the name of a tool, not a tool.",
                hint=f"Pass the function itself. Google's own are {', '.join(map(repr, BUILT_IN))}.",
            )
        made = item if isinstance(item, Tool) else Tool(check_callable(item))
        self._name(made.name)
        self._tools[made.name] = made

    def _add_wire(self, given: dict[str, Any]) -> None:
        """Add declarations, or what passes through, in the form of the API."""
        _check_not_foreign(given)
        if given.get(_DECLARATIONS) is None and "name" in given:
            given = {_DECLARATIONS: [{key: value for key, value in given.items() if key != _DECLARATIONS}]}
        declarations = given.get(_DECLARATIONS)
        rest = {key: value for key, value in given.items() if key != _DECLARATIONS}
        if declarations is None:
            if given not in self._passed:
                self._passed.append(given)
            return
        if rest and "name" not in rest:
            self._passed.append(rest)
        self._declare(declarations)

    def _declare(self, declarations: object) -> None:
        if not isinstance(declarations, (list, tuple)):
            raise ArgumentError("functionDeclarations are a list of dictionaries.")
        for declaration in declarations:
            if not isinstance(declaration, Mapping) or not isinstance(declaration.get("name"), str):
                raise ArgumentError("A function declaration is a dictionary with a name.")
            self._name(declaration["name"])
            self._declared[declaration["name"]] = tidy_declaration(declaration)

    def _name(self, name: str) -> None:
        if name in self._tools or name in self._declared:
            raise ConfigError(
                f"Two tools are named {name!r}.", hint='Rename one: gemini_nb.tool(f, name="...").'
            )

    def __bool__(self) -> bool:
        return bool(self._tools or self._declared or self._passed)

    def __iter__(self) -> Any:
        return iter(self._tools.values())

    def get(self, name: str) -> Tool | None:
        """The function of this name, None if there is none."""
        return self._tools.get(name)

    def name_of(self, called: str) -> str:
        """Return the tool that a call means: models prefix some names with a module of their own."""
        known = {*self._tools, *self._declared, *self._sent}
        plain = called.removeprefix("default_api")[1:]
        is_prefixed = called.startswith(("default_api.", "default_api:"))
        return plain if is_prefixed and called not in known and plain in known else called

    def is_declared_only(self, name: str) -> bool:
        """Whether this tool was declared without a function, so that the caller answers its calls."""
        return name not in self._tools and (name in self._declared or name in self._sent)

    @property
    def has_functions(self) -> bool:
        """Whether the model was given any function; Google's own tools run inside a model call."""
        return bool(self._tools or self._declared or self._sent or self.sources)

    @property
    def names(self) -> list[str]:
        """The names of the functions that run here."""
        return list(self._tools)

    def wire(self) -> list[dict[str, Any]]:
        """The request's `tools`; all functions stand in one object, the last."""
        functions = [item.declaration for item in self._tools.values() if item.name not in self._sent]
        declarations = [*self._declared.values(), *functions]
        return (
            [*self._passed, {"functionDeclarations": declarations}] if declarations else self._passed.copy()
        )


def as_tools(tools: Any) -> list[Any]:
    """One tool, several or none, as a list.

    Raises:
        ArgumentError: it is none of these.
    """
    if tools is None or (isinstance(tools, (list, tuple)) and not tools):
        return []
    if isinstance(tools, (str, bytes, ToolSource)) or callable(tools) or as_mapping(tools) is not None:
        return [_built_in(tools)]
    if not isinstance(tools, Iterable):
        raise ArgumentError(f"tools are a list of functions, not {kind_of(tools)}.")
    return [_built_in(tool) for tool in tools]


def described(tools: Any) -> list[Any]:
    """Return tools with a `Tool` for each function, for many requests: to describe one takes a millisecond.

    Raises:
        ArgumentError: it is no list of tools.
        ConfigError: a function cannot be declared.
    """
    return [
        Tool(one) if callable(one) and not isinstance(one, (Tool, ToolSource)) else one
        for one in as_tools(tools)
    ]


def _built_in(tool: Any) -> Any:
    """Return Google's tool for one of its names; anything else as it is."""
    return {BUILT_IN[tool]: {}} if isinstance(tool, str) and tool in BUILT_IN else tool


def _check_not_foreign(given: Mapping[str, Any]) -> None:
    """Refuse tools of other clients, which the service would refuse field by field."""
    if given.get("type") == "function" or "input_schema" in given or "inputSchema" in given:
        raise ArgumentError(
            "This is another client's form of a tool.",
            hint="Pass the function itself, or {'name': ..., 'description': ..., "
            "'parametersJsonSchema': {...}}.",
        )


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _names(item: Mapping[str, Any]) -> list[str]:
    """The names of the functions that a Gemini tool object declares."""
    return [str(declaration.get("name")) for declaration in _mappings(item.get(_DECLARATIONS))]
