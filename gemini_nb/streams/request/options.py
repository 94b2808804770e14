"""The settings of a stream, spelled out once for everything that takes them."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypedDict, TypeVar

from gemini_nb.api.retry import RetryPolicy
from gemini_nb.sealing import sealed, shown_options

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Mapping[str, object])

_DEFAULTS: Mapping[str, Any] = {"tools": (), "turn_limit": 10, "fresh": False}
_PLACE = "**options: as in `StreamOptions`."


class RequestOptions(TypedDict, total=False):
    """What `StreamOptions` has but for `auth`, which `ToolOrchestrator` takes by its place."""

    model: str | None
    credentials: object
    base_url: str | None
    api_version: str | None
    endpoint: str | None
    request_body: Mapping[str, Any] | None
    tools: Iterable[object]
    turn_limit: int
    system_instruction: object
    generation_config: object
    safety_settings: object
    tool_config: object
    schema: object
    retry: RetryPolicy | None
    timeout: float | None
    metadata: Mapping[str, Any] | None
    service_tier: str | None
    headers: Mapping[str, str] | None
    keep: str | os.PathLike[str] | bool | None
    fresh: bool
    cached: object


class StreamOptions(RequestOptions, total=False):
    """What `start_stream`, `map`, `Chat` and `ToolOrchestrator` take beside the contents.

    Attributes:
        model: the model's id; by default what configuration and GEMINI_NB_MODEL say, or gemini-3.8-flash.
        auth: "gemini", "vertex_ai", "simulator" or "recording"; by default what configuration and environment
            say.
        credentials: {"api_key": ...}, or for vertex_ai {"project_id", "location", "service_account" (path or
            dictionary), "access_token"}, or a google-auth Credentials object.
        base_url: another root, such as "http://127.0.0.1:8765".
        api_version: such as "v1beta", the default.
        endpoint: a full URL, used as it is.
        request_body: a whole body, in place of contents.
        tools: Python functions the model may call, declarations, or Gemini's own tools.
        turn_limit: tool rounds at most, checked before tools run.
        system_instruction: text, or a Content.
        generation_config: Gemini's generationConfig; only what is set is sent.
        safety_settings: Gemini's safetySettings.
        tool_config: Gemini's toolConfig.
        schema: the form of the answer: a pydantic model, dataclass, TypedDict or JSON schema; an answer that
            does not fit is an error. `stream.parsed` is the value.
        retry: when to ask again.
        timeout: seconds without a byte before the stream gives up; by default 900 before an answer begins,
            then 300.
        service_tier: "flex" (cheaper, slower), "priority" or "standard"; the figures name what served.
        headers: more HTTP headers, such as {"x-goog-request-params": ...}; none that prove who asks.
        metadata: the caller's notes, kept with the stream.
        keep: the file of kept answers, which are not asked for again: a path, True for `answers.jsonl`, or a
            folder for several processes; False for none. By default as configuration or GEMINI_NB_KEEP say.
        fresh: ask for what is kept, too; the new answer replaces the kept one.
        cached: what `gemini_nb.cache` made, or its name: the contents that go before the question. Model,
            service and key are those of the cache; system instruction and tools stand in it.
    """

    auth: str | None


shown_options.update(StreamOptions.__annotations__.keys() - {"credentials", "headers"})


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse an unknown option, as Python refuses an unexpected argument.

    Raises:
        TypeError: one is unknown.
    """
    names = StreamOptions.__annotations__
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            if name.endswith("api_key"):
                hint = ' A key goes into credentials={"api_key": ...}, or the variable GEMINI_API_KEY.'
            raise TypeError(f"A stream has no option {name!r}.{hint}")


def for_several(options: M) -> M:
    """Return the options for several requests, sealed: the first would use up an iterator of tools.

    Args:
        options: as in `StreamOptions`.
    """
    own: Any = {
        name: list(value) if isinstance(value, Iterator) else value for name, value in sealed(options).items()
    }
    made: M = own
    return made


def takes_options(function: F) -> F:
    """Show the options one by one in the signature and docstring of a function that takes `**options`.

    Without it, completion and `?` would say `**options` and no more.
    """
    named = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS.get(name),
            annotation=getattr(kind, "__forward_arg__", kind),
        )
        for name, kind in sorted(StreamOptions.__annotations__.items(), key=_documented)
    ]
    _show(function, named)
    before, place, after = (function.__doc__ or "").partition(_PLACE)
    if place:
        indent = before.rpartition("\n")[2]
        function.__doc__ = before + _described(indent).strip() + after
    return function


def takes_options_of(other: Callable[..., Any], *without: str) -> Callable[[F], F]:
    """Show the options of another function in the signature of one that hands its `**options` to it.

    Args:
        other: the other function.
        *without: what is not handed on.
    """
    named = [
        each
        for each in inspect.signature(other).parameters.values()
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.name not in without
    ]
    return functools.partial(_show, named=named)


def _show(function: F, named: Iterable[inspect.Parameter]) -> F:
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    taken = {each.name for each in own}
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what inspect reads first
        parameters=[*own, *(each for each in named if each.name not in taken)]
    )
    return function


def _documented(option: tuple[str, object]) -> int:
    """Return an option's place in the documentation, which begins with what is asked for most."""
    return (StreamOptions.__doc__ or "").index(f" {option[0]}: ")


@functools.cache
def _described(indent: str) -> str:
    """Return the attributes of `StreamOptions` as the arguments of a docstring."""
    text = inspect.cleandoc(StreamOptions.__doc__ or "")
    return textwrap.indent(textwrap.dedent(text.partition("Attributes:\n")[2]), indent)
