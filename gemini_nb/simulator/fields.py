"""Which fields a request has, and the reading of a body by them.

The services refuse a field that they do not know, which is how a client learns that it misspelt one; and, as
for all protobuf JSON, they take `snake_case` for `camelCase` and a single value where a list is meant. The
tables here do the same. Data that belongs to the caller (arguments, results, schemas) is left as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.simulator.refusals import invalid, unknown_field

__all__ = ["Message", "camel", "parse_json", "read_body", "read_message"]


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of one kind of JSON object.

    Attributes:
        fields: each field's own message, or None where its value is not looked into.
        repeated: whether it comes in a list.
        open: whether fields that are not named here pass.
    """

    fields: dict[str, Message | None] = field(default_factory=dict)
    repeated: bool = False
    open: bool = False


def _leaves(names: str) -> dict[str, Message | None]:
    return dict.fromkeys(names.split())


_FUNCTION_CALL = Message(_leaves("id name args partialArgs willContinue"))
_FUNCTION_RESPONSE = Message(_leaves("id name response parts scheduling willContinue"))
_BLOB = Message(_leaves("mimeType data displayName fileUri"))
# Parts are open: the service sends kinds that are newer than this table, and must get them back unchanged.
_PART = Message(
    {
        "functionCall": _FUNCTION_CALL,
        "functionResponse": _FUNCTION_RESPONSE,
        "inlineData": _BLOB,
        "fileData": _BLOB,
    },
    repeated=True,
    open=True,
)
_CONTENT = {"role": None, "parts": _PART}
_DECLARATION = Message(
    _leaves("name description parameters parametersJsonSchema response responseJsonSchema behavior"),
    repeated=True,
)
_TOOL = Message(
    {
        "functionDeclarations": _DECLARATION,
        **_leaves(
            "googleSearch googleSearchRetrieval urlContext codeExecution googleMaps computerUse fileSearch"
        ),
        **_leaves("mcpServers retrieval enterpriseWebSearch parallelAiSearch exaAiSearch"),
    },
    repeated=True,
)
_TOOL_CONFIG = Message(
    {
        "functionCallingConfig": Message(_leaves("mode allowedFunctionNames streamFunctionCallArguments")),
        **_leaves("retrievalConfig includeServerSideToolInvocations"),
    }
)
_GENERATION = {
    **_leaves("temperature topP topK candidateCount maxOutputTokens stopSequences responseLogprobs logprobs"),
    **_leaves("presencePenalty frequencyPenalty seed responseMimeType responseSchema responseJsonSchema"),
    **_leaves("responseModalities mediaResolution speechConfig imageConfig audioTranscriptionConfig"),
    "thinkingConfig": Message(_leaves("includeThoughts thinkingBudget thinkingLevel")),
}
_COMMON = {
    "contents": Message(_CONTENT, repeated=True),
    "systemInstruction": Message(_CONTENT),
    "tools": _TOOL,
    "toolConfig": _TOOL_CONFIG,
    **_leaves("model safetySettings cachedContent labels serviceTier continuationToken"),
}
_BODIES = {
    False: Message(
        {
            **_COMMON,
            "store": None,
            "generationConfig": Message({**_GENERATION, "enableEnhancedCivicAnswers": None}),
        }
    ),
    True: Message(
        {
            **_COMMON,
            **_leaves("modelArmorConfig outputConfig"),
            "generationConfig": Message(
                {**_GENERATION, **_leaves("routingConfig modelConfig audioTimestamp")}
            ),
        }
    ),
}
_UNDERSCORE = re.compile(r"_([a-z0-9])")


def parse_json(raw: bytes) -> Any:
    """Read a body's JSON.

    Raises:
        RefusalError: 400, it is not JSON.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None


def read_body(value: Any, *, vertex: bool) -> dict[str, Any]:
    """Bring a generateContent body into its one spelling: camelCase, lists where lists belong.

    Raises:
        RefusalError: 400, a field that the backend does not know, or of the wrong shape.
    """
    body: dict[str, Any] = read_message(value, _BODIES[vertex], "")
    return body


def read_message(value: Any, message: Message, path: str) -> Any:
    """Read one object, or a list of them where the message is repeated.

    Raises:
        RefusalError: 400, as for a whole body.
    """
    if message.repeated:
        items = value if isinstance(value, list) else [value]
        return [_read_object(item, message, f"{path}[{index}]") for index, item in enumerate(items)]
    return _read_object(value, message, path)


def camel(name: str) -> str:
    """Turn `snake_case` into `camelCase`; other names stay as they are."""
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


def _read_object(value: Any, message: Message, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = path or "the request"
        raise invalid(
            f"Invalid value at '{where}': an object is expected, not {json.dumps(value)[:80]}", path
        )
    result: dict[str, Any] = {}
    for given, item in value.items():
        name = given if given in message.fields else camel(given)
        if name not in message.fields:
            if not message.open:
                raise unknown_field(given, path)
            result[name] = item
            continue
        inner = message.fields[name]
        if item is None:
            continue
        where = f"{path}.{name}" if path else name
        result[name] = item if inner is None else read_message(item, inner, where)
    return result
