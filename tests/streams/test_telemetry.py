"""Spans, metrics and events of model calls and tools, as an exporter in memory gets them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gemini_nb
from answers import KEY, always, hello, rig
from gemini_nb.simulator import Simulator
from scripted import Wait, call, json_error, sse_answer, text

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Collected:
    """What this process tells, for as long as the module's tests run."""

    def __init__(self) -> None:
        logs: Any = InMemoryLogRecordExporter  # which has no annotations
        self._spans, self._logs = InMemorySpanExporter(), logs()
        self._reader = InMemoryMetricReader()
        tracer, logger = TracerProvider(), LoggerProvider()
        tracer.add_span_processor(SimpleSpanProcessor(self._spans))
        logger.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        trace.set_tracer_provider(tracer)
        metrics.set_meter_provider(MeterProvider([self._reader]))
        _logs.set_logger_provider(logger)

    def clear(self) -> None:
        self._spans.clear()
        self._logs.clear()

    def end(self) -> None:
        self._spans.shutdown()
        self._logs.shutdown()

    @property
    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())

    def span(self, name: str) -> Any:
        return next(span for span in self.spans if span.name == name)

    @property
    def events(self) -> list[Any]:
        return [one.log_record for one in self._logs.get_finished_logs()]

    def points(self, name: str) -> list[Any]:
        data: Any = self._reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture(scope="module")
def shared() -> Iterator[Collected]:
    made = Collected()
    yield made
    made.end()


@pytest.fixture
def collected(shared: Collected, monkeypatch: pytest.MonkeyPatch) -> Collected:
    monkeypatch.delenv(CAPTURE, raising=False)
    shared.clear()
    return shared


def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


USAGE = {
    "promptTokenCount": 7036,
    "cachedContentTokenCount": 7021,
    "candidatesTokenCount": 40,
    "thoughtsTokenCount": 60,
    "totalTokenCount": 7136,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 7000},
        {"modality": "IMAGE", "tokenCount": 36},
    ],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
}


def test_a_model_call_is_a_client_span(collected: Collected) -> None:
    last = {
        **text("Hello", finish="STOP"),
        "usageMetadata": USAGE,
        "modelVersion": "m-1",
        "responseId": "r-1",
    }
    config = {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 3,
        "maxOutputTokens": 99,
        "stopSequences": ["END"],
        "seed": 7,
        "responseMimeType": "application/json",
        "thinkingConfig": {"thinkingLevel": "LOW"},
    }
    with rig(always(last)) as made:
        stream = made.start("a private question", model="gemini-3.8-flash", generation_config=config).wait()
        port = int(made.server.url.rpartition(":")[2])
    (span,) = collected.spans
    assert span.name == "generate_content gemini-3.8-flash"
    assert span.kind is trace.SpanKind.CLIENT
    assert span.status.status_code is trace.StatusCode.UNSET
    found = dict(span.attributes)
    assert found.pop("gen_ai.response.time_to_first_chunk") > 0
    assert found == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.request.seed": 7,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
        "gemini_nb.stream.id": stream.stream_id,
        "server.address": "127.0.0.1",
        "server.port": port,
        "gen_ai.response.id": "r-1",
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7036,
        "gen_ai.usage.output_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 7021,
        "gen_ai.usage.reasoning.output_tokens": 60,
        "gen_ai.usage.text.input_tokens": 7000,
        "gen_ai.usage.image.input_tokens": 36,
        "gen_ai.usage.text.output_tokens": 40,
    }
    assert not collected.events


def test_calls_and_tools_stand_beneath_the_span_of_the_caller(collected: Collected) -> None:
    inside: list[Any] = []

    def look(city: str) -> str:
        """Look."""
        inside.append(trace.get_current_span().get_span_context().span_id)
        return "sunny"

    async def look_again(city: str) -> str:
        """Look again."""
        inside.append(trace.get_current_span().get_span_context().span_id)
        return "sunny"

    calls = (
        call("look", args={"city": "Lisbon"}, id="c1"),
        call("look_again", args={"city": "Rome"}, finish="STOP"),
    )
    answers = [sse_answer(*calls), sse_answer(text("So.", finish="STOP"))]
    with rig(answers) as made, trace.get_tracer("test").start_as_current_span("cell") as cell:
        made.start(tools=[look, look_again], model="m").wait()
    model_calls = [span for span in collected.spans if span.name == "generate_content m"]
    assert [span.attributes["gen_ai.response.finish_reasons"] for span in model_calls] == [
        ("tool_call",),
        ("stop",),
    ]
    tools = [collected.span(f"execute_tool {name}") for name in ("look", "look_again")]
    assert all(span.parent.span_id == cell.get_span_context().span_id for span in [*model_calls, *tools])
    assert set(inside) == {span.context.span_id for span in tools}
    assert tools[0].kind is trace.SpanKind.INTERNAL
    assert dict(tools[0].attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Look.",
        "gen_ai.tool.call.id": "c1",
    }


def test_a_tool_that_fails_and_a_call_that_is_refused_are_errors(collected: Collected) -> None:
    def fail() -> str:
        """Fail."""
        raise ValueError(f"no {KEY}")

    with rig([sse_answer(call("fail", args={}, finish="STOP")), json_error(403, f"not with {KEY}")]) as made:
        stream = made.start(tools=[fail], model="m").wait()
    assert stream.error is not None
    failed, refused = collected.span("execute_tool fail"), collected.spans[-1]
    assert failed.attributes["error.type"] == "ValueError"
    assert failed.status.description is None  # what a tool said is content
    assert refused.attributes["error.type"] == "403"
    for span in (failed, refused):
        assert span.status.status_code is trace.StatusCode.ERROR
        assert KEY not in span.to_json()


def test_why_a_tool_failed_is_said_in_one_word(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        """Hang."""
        await asyncio.sleep(60)

    calls = [call(name, args=args) for name, args in (("hang", {}), ("gone", {}), ("hang", {"more": 1}))]
    parts = [one["candidates"][0]["content"]["parts"][0] for one in calls]
    turn = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    with rig([sse_answer(turn), sse_answer(text("Done.", finish="STOP"))]) as made:
        made.start(tools=[gemini_nb.tool(hang, timeout=0.05)], model="m").wait(20)
    spans = [span for span in collected.spans if span.name.startswith("execute_tool")]
    kinds = {span.attributes["error.type"]: span.status.description for span in spans}
    assert set(kinds) == {"timeout", "unknown_tool", "invalid_arguments"}
    assert kinds["timeout"] == "hang took longer than 0.05 s"


def test_a_blocked_prompt_is_an_error(collected: Collected) -> None:
    with rig([sse_answer({"promptFeedback": {"blockReason": "SAFETY"}})]) as made:
        stream = made.start(model="m").wait(20)
    (span,) = collected.spans
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == type(stream.error).__name__


def test_a_stopped_call_ends_its_span(collected: Collected) -> None:
    seen = threading.Event()
    with rig(always(text("one"), Wait())) as made:
        stream = made.start("x", lambda event: seen.set() if event.kind == "text_delta" else None, model="m")
        assert seen.wait(20)
        stream.stop()
        stream.wait()
    (span,) = collected.spans
    assert span.attributes["error.type"] == "cancelled"
    assert span.status.status_code is trace.StatusCode.UNSET


def test_a_call_with_retries_is_one_span(collected: Collected) -> None:
    policy = gemini_nb.RetryPolicy(initial_delay=0.01)
    with rig([json_error(503), sse_answer(text("Hello", finish="STOP"))]) as made:
        made.start(model="m", retry=policy).wait()
    (span,) = collected.spans
    assert "error.type" not in span.attributes


def test_histograms_count_tokens_and_seconds(collected: Collected) -> None:
    last = {**text("Hello", finish="STOP"), "usageMetadata": USAGE}
    answers = [sse_answer(call("weather", args={"city": "Rome"}, finish="STOP")), sse_answer(last)]
    with rig(answers) as made:
        made.start(model="counted", tools=[weather]).wait()

    def points(name: str) -> list[Any]:
        return [
            one for one in collected.points(name) if one.attributes.get("gen_ai.request.model") == "counted"
        ]

    tokens = {one.attributes["gen_ai.token.type"]: one for one in points("gen_ai.client.token.usage")}
    assert {kind: point.sum for kind, point in tokens.items()} == {"input": 7036, "output": 100}
    assert tokens["input"].explicit_bounds[:4] == (1, 4, 16, 64)
    assert tokens["input"].explicit_bounds[-1] == 67108864
    (duration,) = points("gen_ai.client.operation.duration")
    assert duration.count == 2
    assert duration.explicit_bounds[0] == 0.01
    assert duration.explicit_bounds[-1] == pytest.approx(81.92)
    assert points("gen_ai.client.operation.time_to_first_chunk")[0].count == 2
    ran = [
        one for one in collected.points("gen_ai.execute_tool.duration") if "error.type" not in one.attributes
    ]
    assert any(one.attributes["gen_ai.tool.name"] == "weather" for one in ran)


@pytest.mark.parametrize(
    ("variable", "in_span", "in_event"),
    [
        ("", False, False),
        ("NO_CONTENT", False, False),
        ("nonsense", False, False),
        ("SPAN_ONLY", True, False),
        ("event_only", False, True),
        ("SPAN_AND_EVENT", True, True),
        ("true", True, False),
    ],
)
def test_content_is_told_only_where_the_variable_says_so(
    collected: Collected, monkeypatch: pytest.MonkeyPatch, variable: str, in_span: bool, in_event: bool
) -> None:
    monkeypatch.setenv(CAPTURE, variable)
    thought = text("Hm.", thought=True)
    answers = [
        sse_answer(thought, call("weather", args={"city": "Rome"}, id="c1", finish="STOP")),
        sse_answer(text(f"Sunny, {KEY}.", finish="STOP")),
    ]
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    with rig(answers) as made:
        made.start(["Is it sunny?", image], tools=[weather], system_instruction="Be brief.", model="m").wait()
    _, second = (span for span in collected.spans if span.name == "generate_content m")
    tool = collected.span("execute_tool weather")
    assert ("gen_ai.tool.call.arguments" in tool.attributes) is in_span
    assert ("gen_ai.input.messages" in second.attributes) is in_span
    assert len(collected.events) == 2 * in_event
    everything = "".join(span.to_json() for span in collected.spans) + str(
        [one.attributes for one in collected.events]
    )
    assert KEY not in everything
    assert "iVBOR" not in everything
    if not in_span:
        assert "Rome" not in "".join(span.to_json() for span in collected.spans)
    if not (in_span or in_event):
        assert "sunny" not in everything
        return
    if in_event:
        assert collected.events[1].event_name == "gen_ai.client.inference.operation.details"
        assert collected.events[1].span_id == second.context.span_id
    tells_the_conversation(second.attributes if in_span else collected.events[1].attributes)
    if in_span:
        assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"city": "Rome"}
        assert json.loads(tool.attributes["gen_ai.tool.call.result"]) == "sunny in Rome"


def tells_the_conversation(told: Mapping[str, Any]) -> None:
    assert json.loads(told["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert json.loads(told["gen_ai.input.messages"]) == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "Is it sunny?"},
                {"type": "blob", "mime_type": "image/png"},
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm."},
                {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}},
            ],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool_call_response",
                    "id": "c1",
                    "name": "weather",
                    "response": {"result": "sunny in Rome"},
                }
            ],
        },
    ]
    (answer,) = json.loads(told["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")


def test_the_services_have_their_names_and_kept_answers_no_span(collected: Collected, tmp_path: Any) -> None:
    manager = gemini_nb.StreamManager()
    with Simulator(pace=0) as simulator:
        place: dict[str, Any] = {"base_url": simulator.base_url}
        account = {"project_id": "p", "location": "l", "access_token": KEY}
        manager.start_stream("Hi", auth="vertex_ai", credentials=account, **place).wait(20)
        keep = str(tmp_path / "answers.jsonl")
        for _ in range(2):
            kept = manager.start_stream("Hi", auth="simulator", keep=keep, **place).wait(20)
    manager.shutdown()
    assert kept.kept is not None
    names = [span.attributes["gen_ai.provider.name"] for span in collected.spans]
    assert names == ["gcp.vertex_ai", "gemini_nb.simulator"]


def test_a_stream_that_is_awaited_stands_beneath_its_task(collected: Collected) -> None:
    async def ask(made: Any) -> None:
        with trace.get_tracer("test").start_as_current_span("task"):
            await made.start(model="m")

    with rig(hello()) as made:
        asyncio.run(ask(made))
    outer, inner = collected.span("task"), collected.span("generate_content m")
    assert inner.parent.span_id == outer.context.span_id


def test_a_provider_that_fails_fails_no_answer(collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no collector")

    answers = [
        sse_answer(call("weather", args={"city": "Rome"}, finish="STOP")),
        sse_answer(text("So.", finish="STOP")),
    ]
    with rig(answers * 2) as made:
        with monkeypatch.context() as patch:
            patch.setattr(trace, "get_tracer", fail)
            assert made.start(model="m", tools=[weather]).wait().error is None
        monkeypatch.setattr(metrics, "get_meter_provider", fail)
        assert made.start(model="m", tools=[weather]).wait().error is None
    assert len(collected.spans) == 3
