"""Model calls and tools as OpenTelemetry's spans, metrics and events, by the conventions for generative AI.

Nothing of it is imported here: a program that collects spans has loaded the API itself, and where it is not
loaded none are collected. What was asked and answered is in them only where the convention's variable says
so.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from gemini_nb.api import no_answer
from gemini_nb.api.endpoint import Endpoint
from gemini_nb.api.turn import ModelTurn
from gemini_nb.api.usage import Usage
from gemini_nb.api.wire import JSON, Content, Part, objects
from gemini_nb.config import Auth
from gemini_nb.errors import GeminiError
from gemini_nb.redaction import scrub, scrub_json
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.tools.execution import ToolFailedError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_NAME = "gemini_nb"
_OPERATION = "generate_content"
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_EVENTS = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
_EVENT = "gen_ai.client.inference.operation.details"
_PROVIDERS = {Auth.GEMINI: "gcp.gemini", Auth.VERTEX_AI: "gcp.vertex_ai"}
_SETTINGS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop_sequences",
    "seed": "seed",
    "candidateCount": "choice.count",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
_CALLS = (
    ("functionCall", "tool_call", "arguments", "args"),
    ("functionResponse", "tool_call_response", "response", "response"),
)
_OUTPUTS = {"application/json": "json", "text/x.enum": "json", "text/plain": "text"}
_FINISHES = {"STOP": "stop", "MAX_TOKENS": "length", "OTHER": "error"}
_SECONDS = tuple(0.01 * 2**power for power in range(14))
_TOKENS = tuple(4**power for power in range(14))
_HISTOGRAMS: Mapping[str, tuple[str, str, Sequence[float]]] = {
    "gen_ai.client.operation.duration": ("s", "How long a model call took.", _SECONDS),
    "gen_ai.client.operation.time_to_first_chunk": ("s", "Until the first chunk of an answer.", _SECONDS),
    "gen_ai.client.token.usage": ("{token}", "Tokens of a model call.", _TOKENS),
    "gen_ai.execute_tool.duration": ("s", "How long a tool ran.", _SECONDS),
}


class _Watch:
    """A span that is open while its `with` block runs, and the points of histograms at its end."""

    def __init__(self, name: str, kind: str, attributes: dict[str, Any]) -> None:
        from opentelemetry import trace  # it is loaded, or there would be no watch

        self._begun = time.perf_counter()
        self._attributes = attributes
        self._span: Span = trace.get_tracer(_NAME).start_span(
            name, kind=trace.SpanKind[kind], attributes=attributes
        )
        self._current = trace.use_span(
            self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        )

    def __enter__(self) -> Self:
        self._current.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):  # an exporter that fails must not fail the answer
            self._finish(error)
        with contextlib.suppress(Exception):
            self._current.__exit__(None, None, None)
            self._span.end()

    def _finish(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            from opentelemetry.trace import Status, StatusCode  # see above

            self._attributes["error.type"] = _kind_of(error)
            words = scrub(str(error)) if self._may_say else None
            self._span.set_status(Status(StatusCode.ERROR, words))
        elif error is not None:  # stopped
            self._attributes["error.type"] = "cancelled"
        self._span.set_attributes(self._attributes)

    @property
    def _may_say(self) -> bool:
        """Whether the words of an error may stand in the span."""
        return True

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._begun


class ModelCallWatch(_Watch):
    """A model call, with all the requests that it takes."""

    def __init__(self, endpoint: Endpoint, body: JSON, turn: ModelTurn, stream_id: str) -> None:
        self._body, self._turn = body, turn
        self._first: float | None = None
        place = urlsplit(endpoint.url)
        self._known = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.provider.name": _PROVIDERS.get(endpoint.auth, f"gemini_nb.{endpoint.auth.value}"),
            "gen_ai.request.model": scrub(endpoint.model),
            "server.address": place.hostname or "",
            "server.port": place.port or (443 if place.scheme == "https" else 80),
        }
        asked = {"gen_ai.request.stream": True, "gemini_nb.stream.id": stream_id, **_settings(body)}
        super().__init__(f"{_OPERATION} {scrub(endpoint.model)}", "CLIENT", {**self._known, **asked})

    def note_chunk(self) -> None:
        """Note that a chunk came."""
        if self._first is None:
            self._first = self._seconds

    def _finish(self, error: BaseException | None) -> None:
        turn, usage = self._turn, self._turn.total_usage
        if error is None and turn.block_reason is not None:  # which ends the stream when the call has ended
            error = no_answer.blocked(turn)
        self._attributes |= _answer(turn, usage)
        if self._first is not None:
            self._attributes["gen_ai.response.time_to_first_chunk"] = self._first
        where = _content_place()
        content = _messages(self._body, turn) if where else {}
        if where & {"SPAN_ONLY", "SPAN_AND_EVENT"}:
            self._span.set_attributes(content)
        super()._finish(error)
        known = {**self._known, **_named(self._attributes, "gen_ai.response.model", "error.type")}
        _record("gen_ai.client.operation.duration", self._seconds, known)
        if self._first is not None:
            _record("gen_ai.client.operation.time_to_first_chunk", self._first, known)
        for kind in ("input", "output"):
            if tokens := self._attributes.get(f"gen_ai.usage.{kind}_tokens"):
                _record("gen_ai.client.token.usage", tokens, {**known, "gen_ai.token.type": kind})
        if where & {"EVENT_ONLY", "SPAN_AND_EVENT"}:
            _emit({**self._attributes, **content})
        elif os.environ.get(_EVENTS, "").lower() == "true":
            _emit(self._attributes)


class ToolCallWatch(_Watch):
    """A tool that runs."""

    def __init__(self, call: ToolCall, description: str) -> None:
        self._known = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": scrub(call.name)}
        about: dict[str, Any] = {"gen_ai.tool.type": "function"}
        if description:
            about["gen_ai.tool.description"] = scrub(description)
        if call.id:
            about["gen_ai.tool.call.id"] = call.id
        if _in_spans():
            about["gen_ai.tool.call.arguments"] = _json(call.args)
        super().__init__(f"execute_tool {scrub(call.name)}", "INTERNAL", {**self._known, **about})

    def note_result(self, result: object) -> None:
        """Note what it returned."""
        if _in_spans():
            self._attributes["gen_ai.tool.call.result"] = _json(result)

    @property
    def _may_say(self) -> bool:
        return _in_spans()  # a tool's error goes to the model, as its result does

    def _finish(self, error: BaseException | None) -> None:
        super()._finish(error)
        known = {**self._known, **_named(self._attributes, "error.type")}
        _record("gen_ai.execute_tool.duration", self._seconds, known)


def watch_model_call(
    endpoint: Endpoint, body: JSON, turn: ModelTurn, stream_id: str
) -> contextlib.AbstractContextManager[ModelCallWatch | None]:
    """Return a context in which a model call is traced; None without OpenTelemetry."""
    if _is_loaded():
        with contextlib.suppress(Exception):  # a provider that fails must not fail the answer
            return ModelCallWatch(endpoint, body, turn, stream_id)
    return contextlib.nullcontext()


def watch_tool_call(
    call: ToolCall, description: str
) -> contextlib.AbstractContextManager[ToolCallWatch | None]:
    """Return a context in which a tool is traced; None without OpenTelemetry."""
    if _is_loaded():
        with contextlib.suppress(Exception):  # see above
            return ToolCallWatch(call, description)
    return contextlib.nullcontext()


def _is_loaded() -> bool:
    return "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules


def _kind_of(error: Exception) -> str:
    if isinstance(error, ToolFailedError):
        return error.kind
    code = (isinstance(error, GeminiError) and error.status_code) or 0
    return str(code) if code >= 400 else type(error).__name__


def _settings(body: JSON) -> dict[str, Any]:
    config = body.get("generationConfig") or {}
    found = {
        f"gen_ai.request.{name}": config[wire]
        for wire, name in _SETTINGS.items()
        if isinstance(config.get(wire), int | float | list)
    }
    thinking = config.get("thinkingConfig")
    if isinstance(thinking, Mapping) and isinstance(level := thinking.get("thinkingLevel"), str):
        found["gen_ai.request.reasoning.level"] = level.lower()
    if (kind := _OUTPUTS.get(str(config.get("responseMimeType")))) is not None:
        found["gen_ai.output.type"] = kind
    return found


def _answer(turn: ModelTurn, usage: Usage) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.response.id": turn.response_id and scrub(turn.response_id),
        "gen_ai.response.model": turn.model_version and scrub(turn.model_version),
        "gen_ai.usage.input_tokens": usage.prompt_token_count + usage.tool_use_prompt_token_count,
        "gen_ai.usage.output_tokens": usage.candidates_token_count + usage.thoughts_token_count,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_content_token_count,
        "gen_ai.usage.reasoning.output_tokens": usage.thoughts_token_count,
    }
    for name, counts in (
        ("input_tokens", usage.prompt_tokens_details),
        ("output_tokens", usage.candidates_tokens_details),
        ("cache_read.input_tokens", usage.cache_tokens_details),
    ):
        for modality in ("TEXT", "IMAGE", "AUDIO"):
            found[f"gen_ai.usage.{modality.lower()}.{name}"] = counts.get(modality)
    if turn.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = [_finish(turn)]
    return {name: value for name, value in found.items() if value}


def _finish(turn: ModelTurn) -> str:
    if turn.function_calls:
        return "tool_call"
    return _FINISHES.get(turn.finish_reason or "", turn.finish_reason or "error")


def _named(attributes: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: attributes[name] for name in names if name in attributes}


def _content_place() -> set[str]:
    """Where messages may stand, as a set of one; empty where nowhere."""
    said = os.environ.get(_CONTENT, "").strip().upper()
    said = "SPAN_ONLY" if said == "TRUE" else said
    return {said} & {"SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"}


def _in_spans() -> bool:
    return bool(_content_place() & {"SPAN_ONLY", "SPAN_AND_EVENT"})


def _messages(body: JSON, turn: ModelTurn) -> dict[str, str]:
    system = body.get("systemInstruction")
    answer = {**_message({"role": "model", "parts": turn.parts}), "finish_reason": _finish(turn)}
    found = {
        "gen_ai.input.messages": _json([_message(content) for content in body.get("contents", ())]),
        "gen_ai.output.messages": _json([answer]),
    }
    if isinstance(system, Mapping):
        parts = [*map(_part, objects(system.get("parts")))]
        found["gen_ai.system_instructions"] = _json(parts)
    return found


def _message(content: Content) -> JSON:
    parts = objects(content.get("parts"))
    role = "assistant" if content.get("role") == "model" else "user"
    if parts and all("functionResponse" in part for part in parts):
        role = "tool"
    return {"role": role, "parts": [*map(_part, parts)]}


def _part(part: Part) -> JSON:
    """A part in the convention's words; files by their kind and address, without their bytes."""
    for name, kind, inside, field in _CALLS:
        if isinstance(value := part.get(name), Mapping):
            return {"type": kind, "id": value.get("id"), "name": value.get("name"), inside: value.get(field)}
    if isinstance(text := part.get("text"), str):
        return {"type": "reasoning" if part.get("thought") else "text", "content": text}
    if isinstance(data := part.get("inlineData"), Mapping):
        return {"type": "blob", "mime_type": data.get("mimeType")}
    if isinstance(data := part.get("fileData"), Mapping):
        uri = str(data.get("fileUri") or "")
        place = {} if uri.startswith("file:") else {"uri": uri}  # of this machine, before it is uploaded
        return {"type": "uri", "mime_type": data.get("mimeType"), **place}
    name = next((name for name in part if name != "thoughtSignature"), "")
    return {"type": "server_tool_call" if name.startswith("tool") else name, "content": part.get(name)}


def _json(value: object) -> str:
    return json.dumps(scrub_json(value), ensure_ascii=False, default=str)


_made: tuple[Any, dict[str, Any]] = (None, {})  # the meter's provider, and its histograms


def _record(name: str, value: float, attributes: Mapping[str, Any]) -> None:
    """Add a point to a histogram, where metrics are collected."""
    global _made
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is None:
        return
    provider = metrics.get_meter_provider()
    if _made[0] is not provider:
        meter = metrics.get_meter(_NAME)
        _made = (
            provider,
            {
                each: meter.create_histogram(
                    each, unit=unit, description=words, explicit_bucket_boundaries_advisory=buckets
                )
                for each, (unit, words, buckets) in _HISTOGRAMS.items()
            },
        )
    _made[1][name].record(value, attributes)


def _emit(attributes: Mapping[str, Any]) -> None:
    """Send the convention's event, where logs are collected."""
    logs: Any = sys.modules.get("opentelemetry._logs")
    if logs is not None:
        record = logs.LogRecord(timestamp=time.time_ns(), event_name=_EVENT, attributes=dict(attributes))
        logs.get_logger(_NAME).emit(record)
