"""A stream's question as a program for Google's own client."""

from __future__ import annotations

import pprint
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.wire import JSON, Content, Part
from gemini_nb.config import Auth
from gemini_nb.streams.request.files import is_local, path_of, replace_files
from gemini_nb.streams.request.request import StreamRequest
from gemini_nb.tools.tool import Tool

_Known: TypeAlias = "Mapping[str, _Known | None]"

_PARTS: _Known = {
    "text": None,
    "thought": None,
    "thoughtSignature": None,
    "inlineData": dict.fromkeys(("mimeType", "data")),
    "fileData": dict.fromkeys(("mimeType", "fileUri")),
    "functionCall": dict.fromkeys(("id", "name", "args")),
    "functionResponse": dict.fromkeys(("id", "name", "response")),
    "executableCode": dict.fromkeys(("language", "code")),
    "codeExecutionResult": dict.fromkeys(("outcome", "output")),
}
_CONTENT: _Known = {"role": None, "parts": _PARTS}
_CONFIG: _Known = {
    "systemInstruction": _CONTENT,
    "safetySettings": dict.fromkeys(("category", "threshold")),
    "tools": {
        "functionDeclarations": dict.fromkeys(("name", "description", "parametersJsonSchema")),
        **{name: {} for name in ("googleSearch", "urlContext", "codeExecution", "googleMaps")},
    },
    "toolConfig": {
        "functionCallingConfig": dict.fromkeys(("mode", "allowedFunctionNames")),
        "includeServerSideToolInvocations": None,
    },
    "cachedContent": None,
    "labels": None,
    "serviceTier": None,
    "generationConfig": {
        **dict.fromkeys(("temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed")),
        **dict.fromkeys(("presencePenalty", "frequencyPenalty", "candidateCount", "logprobs")),
        **dict.fromkeys(("responseMimeType", "responseJsonSchema", "responseModalities")),
        "thinkingConfig": dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel")),
    },
}
"""What google-genai's config and its types carry to the wire as it is; it refuses or changes other fields."""


_URL = re.compile(r"(?P<base>.+)/(?P<version>v\d\w*)/(?P<path>.+):streamGenerateContent\?alt=sse")
_PLACE = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/")


class _Name:
    """A function, shown by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def to_code(request: StreamRequest) -> str:
    """Return the call of google-genai that asks the same.

    The key is read from the environment; functions stand there by their names, those that google-genai could
    not call by their declarations. What its config does not carry stands in its `extra_body`, which it lays
    over the body that it makes.
    """
    body = request.body
    contents: list[Any] | str
    contents, uploaded = _with_uploads(request.contents)
    config, extra = _split(body, _CONFIG)
    config |= config.pop("generationConfig", {})
    functions = {tool.name: tool for tool in request.tools if _can_be_named(tool)}
    if body.get("cachedContent"):
        functions = {}  # they stand in the cache, and the service takes none beside it
    if not _is_known(contents, _CONTENT):
        extra["contents"], contents = contents, "(in extra_body)"
        functions = {}  # google-genai could not send their results: these contents take the place of its own
    named = [_Name(_name_of(tool)) for tool in functions.values()]
    if tools := [*named, *_without(config.get("tools", ()), functions)]:
        config["tools"] = tools
    if extra:
        config["httpOptions"] = {"extraBody": extra}
    lines = [
        "from google import genai",
        "",
        f"client = {_client(request.endpoint)}",
        *uploaded,
        "for chunk in client.models.generate_content_stream(",
        f"    model={request.endpoint.model!r},",
        f"    contents={_shown(contents)},",
    ]
    if config:
        lines.append(f"    config={_shown(config)},")
    lines += ["):", '    print(chunk.text or "", end="")']
    return "\n".join(lines)


def _with_uploads(contents: list[Content]) -> tuple[list[Content], list[str]]:
    """Return contents with names in the place of files that are to be uploaded, and the lines that do it."""
    names: dict[tuple[str, str], str] = {}

    def name(data: JSON) -> Part | None:
        if not is_local(data):
            return None
        file = (str(path_of(data["fileUri"])), str(data["mimeType"]))
        found = names.setdefault(file, f"file_{len(names) + 1}")
        return {"fileData": {"mimeType": file[1], "fileUri": _Name(f"{found}.uri")}}

    made = replace_files(contents, name)
    lines = []
    for (path, kind), file in names.items():
        lines.append(f"with open({path!r}, 'rb') as opened:")
        lines.append(f"    {file} = client.files.upload(file=opened, config={{'mime_type': {kind!r}}})")
    return made, lines


def _split(value: Mapping[str, Any], known: _Known) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the fields into known ones and the rest; a list goes to one side as a whole."""
    config: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, item in value.items():
        within = known.get(name)
        if name in known and _is_known(item, within):
            config[name] = item
        elif within and isinstance(item, Mapping) and name != "systemInstruction":
            for side, fields in zip((config, extra), _split(item, within), strict=True):
                if fields:
                    side[name] = fields
        else:
            extra[name] = item
    return config, extra


def _is_known(value: object, known: _Known | None) -> bool:
    if known is None:
        return True
    if isinstance(value, list):
        return all(_is_known(item, known) for item in value)
    return isinstance(value, Mapping) and all(
        name in known and _is_known(item, known[name]) for name, item in value.items()
    )


def _client(endpoint: Endpoint) -> str:
    """Return the code of a client for the same service; a simulator in this process is not addressed."""
    options: dict[str, object] = {}
    found = _URL.fullmatch(endpoint.url)
    is_real = endpoint.auth in {Auth.GEMINI, Auth.VERTEX_AI}
    if endpoint.auth is Auth.VERTEX_AI:
        options["vertexai"] = True
        if found is not None and (place := _PLACE.match(found["path"])) is not None:
            options |= place.groupdict()
    if found is not None and is_real:
        host = {} if found["base"].endswith(".googleapis.com") else {"base_url": found["base"]}
        options["http_options"] = {**host, "api_version": found["version"]}
    note = "takes the key from GOOGLE_API_KEY or GEMINI_API_KEY"
    if endpoint.auth is Auth.VERTEX_AI:
        note = "takes the credentials of this machine"
    if found is None:
        note += f"; this was asked at {endpoint.url}"
    return f"genai.Client({', '.join(f'{name}={value!r}' for name, value in options.items())})  # {note}"


def _can_be_named(tool: Tool) -> bool:
    """Return whether google-genai can call the function, which is not async and has the tool's name."""
    return not tool.is_async and getattr(tool.function, "__name__", None) == tool.name


def _name_of(tool: Tool) -> str:
    """Return the expression for the function; a decorated one is an attribute of its tool."""
    found = getattr(sys.modules.get(tool.function.__module__), tool.name, None)
    return f"{tool.name}.function" if isinstance(found, Tool) else tool.name


def _without(tools: Iterable[Any], functions: Mapping[str, Tool]) -> list[Any]:
    """Return the tool objects without the declarations of these functions."""
    kept = []
    for tool in tools:
        declarations = tool.get("functionDeclarations") if isinstance(tool, dict) else None
        if not declarations:
            kept.append(tool)
        elif others := [one for one in declarations if one.get("name") not in functions]:
            kept.append({**tool, "functionDeclarations": others})
    return kept


def _shown(value: Any) -> str:
    text = pprint.pformat(value, width=100, sort_dicts=False)
    return text.replace("\n", "\n    ")
