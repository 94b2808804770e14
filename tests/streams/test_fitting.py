"""What a request carries for its model and service, and what is refused at the call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
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
        ({"generation_config": {"seed": 1.5}}, "seed is a whole number"),
        ({"generation_config": {"seed": True}}, "seed is a whole number"),
        ({"generation_config": {"seed": 2**31}}, "seed is a whole number"),
        ({"generation_config": {"seed": [1]}}, "seed is a whole number"),
        ({"generation_config": {"labels": {"team": 3}}}, "labels are a dictionary of texts"),
        ({"generation_config": {"labels": ["team"]}}, "labels are a dictionary of texts"),
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


def test_seed_and_labels_are_sent(manager: gemini_nb.StreamManager) -> None:
    with Simulator(pace=0) as simulator:
        for auth, credentials in (
            ("gemini", {"api_key": "k"}),
            ("vertex_ai", {"project_id": "p", "location": "l", "access_token": "t"}),
        ):
            stream = manager.start_stream(
                "Hi",
                auth=auth,
                base_url=simulator.base_url,
                credentials=credentials,
                generation_config={"seed": -7, "labels": {"team": "lights"}},
            ).wait(10)
            assert stream.error is None
            body = simulator.requests[-1].body
            assert (body["generationConfig"], body["labels"]) == ({"seed": -7}, {"team": "lights"})


@pytest.mark.parametrize("body", [{"generationConfig": {"seed": 2**31}}, {"labels": {"team": 3}}])
def test_the_simulator_refuses_what_no_seed_and_no_label_is(body: dict[str, Any]) -> None:
    with Simulator(pace=0) as simulator:
        url = f"{simulator.base_url}/v1beta/models/gemini-3.8-flash:generateContent"
        asked = {"contents": [{"parts": [{"text": "Hi"}]}], **body}
        answer = httpx.post(url, json=asked, headers={"x-goog-api-key": "k"})
    assert answer.status_code == 400
