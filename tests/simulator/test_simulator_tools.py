"""Function calling: which tools are called, with what, and in which rounds."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gemini_nb.simulator import Simulator
from simulator_wire import CLOCK, TABLE, WEATHER, Talk, strings


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Simulator(pace=0) as sim, httpx.Client(base_url=sim.base_url) as opened:
        yield opened


def test_a_call_has_an_id_and_a_signature_and_is_announced(client: httpx.Client) -> None:
    talk = Talk(client, "How is the weather in Paris?", WEATHER, TABLE)
    (call,) = talk.answer()
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    assert len(call["id"]) >= 8
    assert talk.text == "Let me call `get_weather` (city: Paris)."
    signed = [part for part in talk.contents[-1]["parts"] if "functionCall" in part]
    assert len(base64.b64decode(signed[0]["thoughtSignature"])) == 48
    assert talk.chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    talk.respond([call], temperature=21, sky="clear | calm")
    assert talk.answer() == []
    assert "temperature: 21" in talk.text
    assert talk.text.count("simulated") == 1


def test_errors_of_tools_are_told(client: httpx.Client) -> None:
    talk = Talk(client, "Weather in Oslo and Lima, please", WEATHER)
    calls = talk.answer()
    assert [call["args"] for call in calls] == [{"city": "Oslo"}, {"city": "Lima"}]
    talk.respond(calls, error="station | offline")
    assert talk.answer() == []
    assert "failed: station | offline" in talk.text


def test_parallel_calls_come_in_chunks_of_their_own_and_only_the_first_is_signed(
    client: httpx.Client,
) -> None:
    talk = Talk(client, "Get the weather in Lisbon and book a table at a restaurant", WEATHER, TABLE)
    calls = talk.answer()
    assert [call["name"] for call in calls] == ["get_weather", "book_table"]
    assert len({call["id"] for call in calls}) == 2
    holding = [chunk["candidates"][0]["content"]["parts"] for chunk in talk.chunks]
    holding = [parts for parts in holding if "functionCall" in parts[0]]
    assert [len(parts) for parts in holding] == [1, 1]
    assert ["thoughtSignature" in parts[0] for parts in holding] == [True, False]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Plan a day in Paris. Check the weather first.", ["get_weather", "book_table"]),
        ("First look at the weather in Rome, then book a restaurant table", ["get_weather", "book_table"]),
        ("Book a table for two in Rome, but check the weather first", ["get_weather", "book_table"]),
        ("First book a table in Rome, then tell me the weather", ["book_table", "get_weather"]),
    ],
)
def test_an_order_in_the_prompt_gives_one_tool_a_round(
    client: httpx.Client, text: str, names: list[str]
) -> None:
    made = Talk(client, text, WEATHER, TABLE).rounds()
    assert [[name for name, _ in calls] for calls in made] == [[name] for name in names]


def test_a_call_is_made_with_what_an_earlier_one_gave(client: httpx.Client) -> None:
    hotel, room = (
        {
            "name": name,
            "parameters": {"type": "OBJECT", "properties": {key: {"type": kind}}, "required": [key]},
        }
        for name, key, kind in (("find_hotel", "city", "STRING"), ("reserve_room", "hotel_id", "INTEGER"))
    )
    talk = Talk(client, "Find a hotel in Lisbon, then reserve a room in it.", hotel, room)
    calls = talk.answer()
    talk.respond(calls, hotel_id=4711, city=3)
    ((reserve),) = talk.answer()
    assert (reserve["name"], reserve["args"]) == ("reserve_room", {"hotel_id": 4711})


def test_the_same_prompt_makes_the_same_calls(client: httpx.Client) -> None:
    first, again = (Talk(client, "Book a restaurant table in Rome", TABLE).rounds() for _ in range(2))
    assert first == again
    assert len(first) == 1


def test_each_place_and_each_code_gets_a_call_of_its_own(client: httpx.Client) -> None:
    stock = {
        "name": "stock_price",
        "parameters": {
            "type": "OBJECT",
            "properties": {"ticker": {"type": "STRING"}},
            "required": ["ticker"],
        },
    }
    ((first, second),) = Talk(client, "How are the AAPL and MSFT stocks doing?", WEATHER, stock).rounds()
    assert [first, second] == [("stock_price", {"ticker": "AAPL"}), ("stock_price", {"ticker": "MSFT"})]
    (made,) = Talk(client, "weather in paris, oslo and rome", WEATHER).rounds()
    assert [args["city"] for _, args in made] == ["Paris", "Oslo", "Rome"]


def test_where_nothing_matches_the_first_tool_is_called(client: httpx.Client) -> None:
    assert Talk(client, "Good morning", CLOCK, WEATHER).rounds() == [[("now", {})]]


def test_a_tool_that_needs_a_place_is_not_called_where_none_is_named(client: httpx.Client) -> None:
    talk = Talk(client, "Explain the Kalman filter to a sailor in 60 words.", WEATHER)
    assert talk.rounds() == []
    assert "simulated answer about the Kalman filter" in talk.text
    assert len(Talk(client, "Describe a river in Peru.", WEATHER).rounds()) == 1
    assert Talk(client, "Do I need an umbrella in paris?", WEATHER).rounds() == [
        [("get_weather", {"city": "Paris"})]
    ]


def test_of_many_tools_that_fit_a_few_are_called(client: httpx.Client) -> None:
    tools = [{"name": f"git_{name}", "description": "Works on a repository."} for name in "abcdefgh"]
    (calls,) = Talk(client, "What is new in the repository?", *tools).rounds()
    assert len(calls) == 4


def test_of_many_tools_those_that_come_first_in_an_order_are_called(client: httpx.Client) -> None:
    tools = [{"name": name, "description": "x"} for name in ("alpha", "beta", "gamma", "delta", "epsilon")]
    text = "First epsilon, then delta, then gamma, then beta, then alpha."
    made = Talk(client, text, *tools).rounds()
    assert [[name for name, _ in calls] for calls in made] == [["epsilon"], ["delta"], ["gamma"], ["beta"]]


def test_calling_can_be_forbidden_demanded_and_restricted(client: httpx.Client) -> None:
    def config(mode: str, *names: str) -> dict[str, Any]:
        calling = {"mode": mode, **({"allowedFunctionNames": names} if names else {})}
        return {"functionCallingConfig": calling}

    text = "Weather in Paris?"
    assert Talk(client, text, WEATHER, toolConfig=config("NONE")).rounds() == []
    assert Talk(client, text, CLOCK, WEATHER, toolConfig=config("ANY", "now")).rounds() == [[("now", {})]]
    assert len(Talk(client, text, WEATHER, toolConfig=config("ANY")).rounds()) == 1
    assert (
        len(Talk(client, text, CLOCK, WEATHER, toolConfig=config("VALIDATED", "get_weather")).rounds()) == 1
    )


def test_an_older_model_has_neither_ids_nor_signatures(client: httpx.Client) -> None:
    talk = Talk(client, "Weather in Paris?", WEATHER, model="gemini-2.5-flash")
    (call,) = talk.answer()
    assert "id" not in call
    assert not any("thoughtSignature" in part for part in talk.contents[-1]["parts"])
    talk.respond([call])
    assert talk.answer() == []


def test_the_second_turn_of_a_chat_can_call_again(client: httpx.Client) -> None:
    talk = Talk(client, "Weather in Paris?", WEATHER)
    talk.rounds()
    talk.contents.append({"role": "user", "parts": [{"text": "And the weather in Rome?"}]})
    assert talk.rounds() == [[("get_weather", {"city": "Rome"})]]


@pytest.mark.parametrize("text", ["What did I ask before?", "Thanks!"])
def test_no_tool_is_called_for_a_question_about_the_chat(client: httpx.Client, text: str) -> None:
    talk = Talk(client, "Weather in Paris?", CLOCK, WEATHER)
    talk.rounds()
    talk.contents.append({"role": "user", "parts": [{"text": text}]})
    assert talk.rounds() == []
    assert "Weather in Paris?" in talk.text


def test_a_structured_answer_can_follow_tools(client: httpx.Client) -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": strings("summary")}
    talk = Talk(client, "Weather in Paris?", WEATHER, generationConfig=config)
    assert len(talk.rounds()) == 1
    assert json.loads(talk.text)["summary"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tools": [{"functionDeclarations": [{"name": "1st"}]}]}, "Invalid function name"),
        ({"tools": [{"functionDeclarations": [CLOCK, CLOCK]}]}, "Duplicate function declaration found: now"),
        ({"tools": [{"functionDeclarations": [{**CLOCK, "params": {}}]}]}, 'Unknown name "params"'),
        ({"tools": [{"functions": []}]}, 'Unknown name "functions"'),
        (
            {"tools": [{"functionDeclarations": [{**CLOCK, "parameters": {"exclusiveMinimum": 1}}]}]},
            'Unknown name "exclusiveMinimum"',
        ),
        (
            {"tools": [{"functionDeclarations": [{**CLOCK, "parameters": {}, "parametersJsonSchema": {}}]}]},
            "not both",
        ),
        (
            {
                "tools": [
                    {"functionDeclarations": [{**CLOCK, "parameters": {"type": "OBJECT", "required": ["x"]}}]}
                ]
            },
            "property is not defined: x",
        ),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "SOMETIMES"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
        (
            {
                "tools": [{"functionDeclarations": [CLOCK]}],
                "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["now"]}},
            },
            "can only be set when the mode is ANY",
        ),
        (
            {
                "tools": [{"functionDeclarations": [CLOCK]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["then"]}},
            },
            "not declared: then",
        ),
    ],
)
def test_invalid_tools_are_refused(client: httpx.Client, more: dict[str, Any], told: str) -> None:
    assert told in Talk(client, "hi", **more).refused()


def test_json_and_functions_together_need_a_newer_model(client: httpx.Client) -> None:
    config = {"responseMimeType": "application/json"}
    talk = Talk(client, "Weather in Paris?", WEATHER, model="gemini-2.5-flash", generationConfig=config)
    assert "is unsupported" in talk.refused()
