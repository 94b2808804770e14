"""What a request carries for its model and service, and what is refused at the call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import gemini_nb
from gemini_nb.simulator import Simulator

SEARCH: dict[str, Any] = {"googleSearch": {}}


def weather(city: str) -> str:
    """Look up the weather in a city."""
    return f"cloudless in {city}"


@pytest.fixture
def manager() -> Iterator[gemini_nb.StreamManager]:
    made = gemini_nb.StreamManager()
    yield made
    made.shutdown()


def start(manager: gemini_nb.StreamManager, base_url: str = "http://127.0.0.1:9", **options: Any) -> Any:
    given = {"auth": "gemini", "credentials": {"api_key": "k"}, "base_url": base_url, **options}
    return manager.start_stream("Check the weather in Lisbon, then plan a day.", **given)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"tools": [weather, SEARCH]}, "VALIDATED"),
        ({"tools": [weather, {"google_search": {}}], "model": "brand-new-model"}, "VALIDATED"),
        (
            {
                "tools": [weather, SEARCH],
                "tool_config": {"functionCallingConfig": {"allowedFunctionNames": ["weather"]}},
            },
            "VALIDATED",
        ),
    ],
)
def test_every_round_with_built_in_tools_and_functions_carries_the_flag(
    manager: gemini_nb.StreamManager, options: dict[str, Any], mode: str
) -> None:
    with Simulator(pace=0) as simulator:
        options = {"model": "gemini-3.8-flash", **options}
        stream = start(manager, simulator.base_url, **options).wait(10)
        if options["model"] == "gemini-3.8-flash":
            assert stream.error is None
            assert len(simulator.requests) == 2
        for request in simulator.requests:
            config = request.body["toolConfig"]
            assert config["includeServerSideToolInvocations"] is True
            assert config["functionCallingConfig"]["mode"] == mode


def test_either_kind_alone_carries_nothing(manager: gemini_nb.StreamManager) -> None:
    with Simulator(pace=0) as simulator:
        for tools in ([SEARCH], [weather], [SEARCH, {"codeExecution": {}}]):
            assert start(manager, simulator.base_url, tools=tools).wait(10).error is None
        assert all("toolConfig" not in request.body for request in simulator.requests)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tools": [weather, SEARCH], "model": "gemini-2.5-flash"}, "Gemini 3 and newer do"),
        ({"tools": [weather, SEARCH], "model": "models/gemma-4-31b-it"}, "Gemini 3 and newer do"),
        (
            {
                "tools": [weather, SEARCH],
                "auth": "vertex_ai",
                "credentials": {"project_id": "p", "access_token": "t"},
            },
            "Vertex AI does not take",
        ),
        (
            {"tools": [weather, SEARCH], "tool_config": {"functionCallingConfig": {"mode": "AUTO"}}},
            "do not take the mode AUTO",
        ),
        (
            {"tools": [weather, SEARCH], "tool_config": {"include_server_side_tool_invocations": False}},
            "need includeServerSideToolInvocations",
        ),
        (
            {"generation_config": {"thinkingConfig": {"thinkingLevel": "minimal"}}},
            "gemini-3.8-flash takes LOW, MEDIUM and HIGH",
        ),
        (
            {"generation_config": {"thinking_config": {"thinking_budget": 5}}, "model": "gemini-4-argon"},
            "takes a thinkingLevel",
        ),
        (
            {
                "generation_config": {"thinkingConfig": {"thinkingLevel": "LOW"}},
                "model": "gemini-2.5-pro",
            },
            "takes a thinkingBudget",
        ),
        (
            {"generation_config": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
            "only set one of",
        ),
        ({"generation_config": {"responseLogprobs": True}}, "responseLogprobs has no effect"),
    ],
)
def test_what_the_service_would_refuse_is_refused_at_the_call(
    manager: gemini_nb.StreamManager, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(gemini_nb.GeminiError, match=told):
        start(manager, **{"model": "gemini-3.8-flash", **options})
    assert not manager.list_streams(all=True)


def test_a_field_that_a_stream_ignores_is_refused(manager: gemini_nb.StreamManager) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "modelArmorConfig": {}}
    with pytest.raises(gemini_nb.GeminiError, match="modelArmorConfig has no effect"):
        manager.start_stream(request_body=body, auth="gemini", credentials={"api_key": "k"})
