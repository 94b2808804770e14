"""What a stream asks for: checked and complete before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack

from gemini_nb.api.call import Timeouts
from gemini_nb.api.contents.content import encode_body, to_contents, to_part
from gemini_nb.api.contents.generation import SCHEMAS, merge_once, split_config
from gemini_nb.api.contents.objects import as_mapping, plain, spell_body, spell_config, spell_content
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.functions import check_order, with_results_together
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.api.wire import JSON, Content, copied
from gemini_nb.config import (
    Auth,
    Settings,
    check_header,
    choose_auth,
    choose_keep,
    real_number,
    truth_value,
    whole_number,
)
from gemini_nb.errors import ArgumentError, ConfigError, GeminiError, kind_of, without_traceback
from gemini_nb.redaction import excerpt_of
from gemini_nb.sealing import seal
from gemini_nb.streams.request.cached import CachedContent, check_beside_cache, with_cache
from gemini_nb.streams.request.destination import find_endpoint
from gemini_nb.streams.request.files import fit_files
from gemini_nb.streams.request.fitting import fit
from gemini_nb.streams.request.options import StreamOptions, check_names
from gemini_nb.tools.schemas.openapi import tidy_tools
from gemini_nb.tools.schemas.schema import OutputSchema
from gemini_nb.tools.tool import ToolSet, as_tools

if TYPE_CHECKING:
    from gemini_nb.journal.kept.answers import KeptAnswers
    from gemini_nb.streams.runtime.runtime import Runtime

_FIELDS = {
    "system_instruction": "systemInstruction",
    "safety_settings": "safetySettings",
    "tool_config": "toolConfig",
    "service_tier": "serviceTier",
}
TIERS = ("flex", "priority", "standard", "unspecified")
_OWN_HEADERS = re.compile(
    r"authorization|proxy-authorization|x-goog-api-key|cookie|host|connection|upgrade|te|trailer|expect|accept|"
    r"content-.*|transfer-encoding",
    re.IGNORECASE,
)
_KINDS: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("tools", (list, tuple), "a list"),
    ("safetySettings", (list, tuple), "a list"),
    ("toolConfig", Mapping, "a dictionary"),
    ("generationConfig", Mapping, "a dictionary"),
)
_POLICY = RetryPolicy()
_TIMEOUTS = Timeouts()
_FOREIGN = {"config", "messages", "prompt"}  # of google-genai's calls, and of other clients' bodies


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """One stream's request.

    Attributes:
        endpoint: the model that is asked, and the key.
        contents: the conversation so far, the user's turn last.
        body: the request body without its contents.
        tools: what the model may call.
        turn_limit: tool rounds at most.
        retry: when to ask again.
        timeouts: how long to bear silence.
        metadata: the caller's own notes.
        headers: more headers of its HTTP requests.
        schema: the form of a structured answer, None for free text.
        kept: the answers that are not asked for again, None where none are kept.
        fresh: whether they are asked for all the same.
        held: of what it names at the service, by which a kept answer is found: digests by name.
    """

    endpoint: Endpoint
    contents: list[Content]
    body: JSON
    tools: ToolSet
    turn_limit: int = 10
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    schema: OutputSchema | None = None
    kept: KeptAnswers | None = None
    fresh: bool = False
    held: Mapping[str, str] = field(default_factory=dict)

    def bar_to(self, name: str, *, is_first: bool) -> str | None:
        """Return why the request does not allow a call of this function, None where it does.

        Args:
            name: the function.
            is_first: as in `body_for`.
        """
        calling = _calling(self.body if is_first else _with_free_choice(self.body))
        if str(calling.get("mode", "")).upper() in {"NONE", "3"}:
            return "the request allows no calls"
        allowed = calling.get("allowedFunctionNames")
        if isinstance(allowed, (list, tuple)) and allowed and name not in allowed:
            return f"the request allows calls of {', '.join(map(str, allowed))} only"
        return None

    def body_for(self, contents: list[Content], *, is_first: bool = True) -> JSON:
        """Return the body of a model call with this history.

        Args:
            contents: the history.
            is_first: whether no round of tools went before; a call that is demanded then is made.
        """
        body = self.body if is_first else _with_free_choice(self.body)
        return {"contents": with_results_together(contents), **body}


def build_request(
    runtime: Runtime, contents: object, *, history: Iterable[Content] = (), **options: Unpack[StreamOptions]
) -> StreamRequest:
    """Check everything a caller passed and put the request together.

    Raises:
        ArgumentError: neither or both of contents and request_body, or something that cannot be sent.
        ConfigError: a value does not fit.
        TypeError: there is no such option.
    """
    check_names(options)
    cache = options.get("cached")
    if isinstance(cache, CachedContent):
        options = cache.options_for(options)
    turns, body = _question(contents, history, options.get("request_body"))
    given = options.get("generation_config")
    config, beside = split_config(given) if given is not None else ({}, {})
    # A whole body is the caller's, who gets what the model says to it.
    is_checked = options.get("schema") is not None or bool(config)
    output = _output(options.get("schema"), config or body.get("generationConfig") or {})
    tools = [*as_tools(beside.pop("tools", ())), *as_tools(options.get("tools", ()))]
    toolset = ToolSet(tools, declared=body.get("tools"))
    by_wire = {wire: options.get(name) for name, wire in _FIELDS.items()}
    body = with_cache(body | _fields(merge_once(by_wire, beside), config), cache)
    check_beside_cache(body, has_tools=bool(toolset or toolset.sources))
    if isinstance(cache, CachedContent):
        toolset = cache.tools
    if output is not None:
        body["generationConfig"] = {**body.get("generationConfig", {}), **output.generation_config}
    if (toolset or body.get("tools")) and not body.get("cachedContent"):
        body["tools"] = tidy_tools(
            [*(body.get("tools") or ()), *toolset.wire()], demanded=_is_call_demanded(body)
        )
    check_order(with_results_together(turns))
    encode_body({"contents": turns, **body})
    turns, body = copied(turns), copied(body)  # what the caller changes from now on changes nothing here
    keep = choose_keep(options.get("keep"), runtime.settings)
    endpoint = find_endpoint(runtime, options, may_lack_key=keep is not None)
    if (fitted := fit_files(turns, endpoint)) is not turns:
        turns = fitted
        encode_body({"contents": turns, **body})  # which may be too large now
    kept = _kept(runtime, keep, options, endpoint.auth)
    return StreamRequest(
        endpoint=endpoint,
        contents=turns,
        body=fit(body, endpoint.model, endpoint.auth),
        tools=toolset,
        schema=output if is_checked else None,
        kept=kept,
        held={cache.name: cache.digest} if isinstance(cache, CachedContent) else {},
        **_own_settings(runtime, options),
    )


def check_settings(runtime: Runtime, options: StreamOptions) -> None:
    """Check what no other setting can mend, where each row has settings of its own that are not known yet.

    Raises:
        ArgumentError: something that cannot be sent.
        ConfigError: a value does not fit.
        TypeError: there is no such option.
    """
    check_names(options)
    _own_settings(runtime, options)
    choose_keep(options.get("keep"), runtime.settings)
    if (auth := options.get("auth")) is not None:
        choose_auth(auth, None, runtime.settings)
    ToolSet(options.get("tools"))
    split_config(options.get("generation_config") or {})
    given = {wire: options.get(name) for name, wire in _FIELDS.items()}
    _fields({wire: value for wire, value in given.items() if value is not None}, {})


def _own_settings(runtime: Runtime, options: StreamOptions) -> dict[str, Any]:
    """Return the settings that are nothing of the request's body, checked."""
    return {
        "turn_limit": _checked_turn_limit(options.get("turn_limit", 10)),
        "retry": _checked_retry(options.get("retry"), runtime.settings),
        "timeouts": _timeouts(options.get("timeout")),
        "metadata": _metadata(options.get("metadata")),
        "headers": _headers(options.get("headers")),
        "fresh": _checked_fresh(options.get("fresh", False)),
    }


def complete_request(
    request: StreamRequest,
    known: int,
    *,
    history: Iterable[Content] | None = None,
    contents: object = None,
    system: object = None,
) -> tuple[StreamRequest, int]:
    """Return the request with what was not known when it was made, and how many turns of history it has.

    Args:
        request: the request so far.
        known: how many turns of history it begins with.
        history: the turns to begin with in their place.
        contents: the message itself.
        system: the system instruction.

    Raises:
        ArgumentError: something in it cannot be sent.
        ConfigError: the message is empty.
    """
    begin = (
        request.contents[:known] if history is None else to_contents(turns) if (turns := [*history]) else []
    )
    message = request.contents[known:] if contents is None else to_contents(contents)
    body = request.body if system is None else {**request.body, "systemInstruction": _instruction(system)}
    check_beside_cache(body)
    message = fit_files(message, request.endpoint)
    encode_body({"contents": [*begin, *message], **body})
    return replace(request, contents=copied([*begin, *message]), body=copied(body)), len(begin)


async def with_tools_of_sources(request: StreamRequest) -> StreamRequest:
    """Return the request with the tools that its sources offer now.

    Raises:
        ConfigError: a source cannot be started, or the tools do not go with the rest of the request.
        ConnectError: a source cannot be reached.
    """
    if request.body.get("cachedContent") or not (added := await request.tools.ask_sources()):
        return request
    tools = [*(request.body.get("tools") or ())]
    with_functions = [one for one in tools if one.get("functionDeclarations")]
    known = with_functions[0]["functionDeclarations"] if with_functions else []
    if with_functions:
        tools.remove(with_functions[0])
    own = {**(with_functions[0] if with_functions else {}), "functionDeclarations": [*known, *added]}
    body = {**request.body, "tools": tidy_tools([*tools, own], demanded=_is_call_demanded(request.body))}
    encode_body(body)
    return replace(request, body=fit(body, request.endpoint.model, request.endpoint.auth))


def _question(
    contents: object, history: Iterable[Content], request_body: Mapping[str, Any] | None
) -> tuple[list[Content], JSON]:
    """Return the turns to send, and the rest of the body where a whole one was given."""
    if (contents is None) == (request_body is None):
        raise ArgumentError(
            "A stream needs contents or a request_body, and not both.",
            hint='For example start_stream("Why is the sky blue?").',
        )
    if request_body is None:
        return [*history, *to_contents(contents)], {}
    if not isinstance(request_body, Mapping):
        raise ArgumentError(f"A request_body is a dictionary, not {kind_of(request_body)}.")
    return _split_body(request_body)


def _kept(runtime: Runtime, keep: str | None, options: StreamOptions, auth: Auth) -> KeptAnswers | None:
    """Return the kept answers to use; a file that is only played back must exist."""
    is_replay = auth is Auth.RECORDING
    if is_replay and options.get("keep") is False:
        raise ConfigError(
            "The recording is a file of kept answers, so keep cannot be False.",
            hint="Leave keep out, or name the file.",
        )
    if keep is None and is_replay:
        keep = choose_keep(True, runtime.settings)
    return None if keep is None else runtime.kept_answers(keep, read_only=is_replay)


def _split_body(request_body: Mapping[str, Any]) -> tuple[list[Content], JSON]:
    body = spell_body(
        {name: value if name == "contents" else plain(value) for name, value in request_body.items()}
    )
    if foreign := sorted(_FOREIGN & body.keys()):
        raise ArgumentError(
            f"A request_body has no {foreign[0]!r}.",
            hint="It has contents, generationConfig, systemInstruction, tools ... beside one another; "
            "a config of google-genai's goes into generation_config=, beside contents.",
        )
    for name, kind, words in _KINDS:
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(f"{name} of a request_body is {words}, not {kind_of(value)}.")
    if (system := body.get("systemInstruction")) is not None:
        body["systemInstruction"] = _instruction(system)
    return to_contents(body.pop("contents", [])), body


def output_of(options: Mapping[str, Any]) -> OutputSchema | None:
    """Return the schema of the answers to what is asked with these options, None for free text.

    Raises:
        GeminiError: they do not fit.
    """
    given = options.get("generation_config")
    return _output(options.get("schema"), {} if given is None else split_config(given)[0])


def _output(schema: object, config: JSON) -> OutputSchema | None:
    """Return the schema of the answer; one in the config is removed from it."""
    given = [name for name in SCHEMAS if config.get(name) is not None]
    if schema is not None and given:
        raise ArgumentError(f"schema is given twice, by itself and as {given[0]}.", hint="Leave one out.")
    if schema is not None:
        return schema if isinstance(schema, OutputSchema) else OutputSchema(schema)
    if len(given) != 1:  # of two, the service says that it takes one
        return None
    kind = config.get("responseMimeType") or "application/json"
    if kind != "application/json":
        if isinstance(config[given[0]], Mapping):  # of an answer that is no JSON, such as text/x.enum
            return None
        raise ConfigError(
            f"A type as {given[0]} makes the answer JSON, not {kind}.",
            hint="Leave response_mime_type out, or pass the schema as a dictionary.",
        )
    schema = config.pop(given[0])
    if isinstance(schema, OutputSchema):
        return schema
    return OutputSchema(schema, openapi=given[0] == "responseSchema")


def _fields(beside: JSON, config: JSON) -> JSON:
    """Return the body's fields that the caller set, no others: newer models refuse some defaults."""
    body: JSON = {}
    for name, value in beside.items():
        if name == "systemInstruction":
            body[name] = _instruction(value)
        elif name == "safetySettings":
            settings = [plain(_mapping(setting, "a safety setting")) for setting in _listed(value)]
            body[name] = spell_config(settings, name)
        elif name == "serviceTier":
            body[name] = _tier(value)
        elif name == "toolConfig":
            if spelled := spell_config(plain(_mapping(value, name)), name):
                body[name] = spelled
        else:
            body[name] = plain(value)
    return body | ({"generationConfig": config} if config else {})


def _is_call_demanded(body: JSON) -> bool:
    """Return whether the mode is ANY."""
    return str(_calling(body).get("mode")).upper() in {"ANY", "2"}  # the enum's number


def _calling(body: JSON) -> Mapping[str, Any]:
    """Return the body's functionCallingConfig, or an empty one."""
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig")
    return calling if isinstance(calling, Mapping) else {}


def _with_free_choice(body: JSON) -> JSON:
    """Return the body with mode AUTO for ANY: a model that must call a function each round never answers."""
    if not _is_call_demanded(body):
        return body
    tool_config = body["toolConfig"]
    calling = tool_config["functionCallingConfig"]
    # AUTO takes no names, and does not go with tools that run at Google's.
    mode = "VALIDATED" if tool_config.get("includeServerSideToolInvocations") else "AUTO"
    free = {name: value for name, value in calling.items() if name != "allowedFunctionNames"}
    return {**body, "toolConfig": {**tool_config, "functionCallingConfig": {**free, "mode": mode}}}


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the headers, checked, so that no traceback shows their values."""
    try:
        sealed: Any = seal({} if headers is None else _checked_headers(headers))
    except GeminiError as error:
        failure = without_traceback(error)
    else:
        made: Mapping[str, str] = sealed
        return made
    raise failure


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    checked: dict[str, str] = {}
    for name, value in _mapping(headers, "headers").items():
        check_header(name, value)
        if _OWN_HEADERS.fullmatch(name):
            raise ArgumentError(
                f"The header {name} is not for the caller to set.",
                hint="What proves who asks goes into credentials.",
            )
        checked[name] = value
    return checked


def _tier(value: object) -> str:
    tier = str(plain(value)).lower()
    if tier not in TIERS:
        raise ConfigError(f'service_tier is "flex", "priority" or "standard", not {value!r}.')
    return tier


def _metadata(notes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if notes is None else dict(_mapping(notes, "metadata"))


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    mapping = as_mapping(value)
    if mapping is None:
        raise ArgumentError(f"{name} is a dictionary, not {kind_of(value)}.")
    return mapping


def _listed(settings: object) -> Iterable[object]:
    if as_mapping(settings) is not None:
        return [settings]
    if isinstance(settings, str) or not isinstance(settings, Iterable):
        raise ArgumentError(f"safety_settings are a list, not {kind_of(settings)}.")
    return settings


def _instruction(value: object) -> Content:
    content = as_mapping(value)
    if content is not None and isinstance(parts := content.get("parts"), (list, tuple)) and parts:
        return spell_content({**content, "parts": [to_part(part) for part in parts]})
    if (
        value in ("", [], (), {})
        or (isinstance(value, Mapping) and "parts" in value)
        or (isinstance(value, str) and not value.strip())
    ):
        raise ConfigError("The system instruction is empty.", hint="Leave it out if there is none.")
    items = value if isinstance(value, (list, tuple)) else [value]
    return {"parts": [to_part(item) for item in items]}


def _checked_turn_limit(turn_limit: int) -> int:
    limit = whole_number(turn_limit)
    if limit is None or limit < 0:
        raise ConfigError(
            f"turn_limit is a whole number of tool rounds, 0 or more, not {excerpt_of(turn_limit)}."
        )
    return limit


def _checked_fresh(fresh: bool) -> bool:
    is_fresh = truth_value(fresh)
    if is_fresh is None:
        raise ConfigError(f"fresh is True or False, not {excerpt_of(fresh)}.")
    return is_fresh


def _checked_retry(retry: RetryPolicy | None, settings: Settings) -> RetryPolicy:
    if retry is None:
        return _POLICY if settings.on_cut == _POLICY.on_cut else RetryPolicy(on_cut=settings.on_cut)
    if not isinstance(retry, RetryPolicy):
        raise ArgumentError(f"retry is a RetryPolicy, not {kind_of(retry)}.")
    return retry


def _timeouts(timeout: float | None) -> Timeouts:
    if timeout is None:
        return _TIMEOUTS
    seconds = real_number(timeout)
    if seconds is None or not seconds > 0:
        raise ConfigError(
            f"timeout is the seconds without a byte to bear, greater than 0, not {excerpt_of(timeout)}."
        )
    return Timeouts(first_byte=seconds, idle=seconds, connect=min(seconds, _TIMEOUTS.connect))
