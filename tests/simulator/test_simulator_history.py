"""What may come back after function calls: their order, their ids, their signatures."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gemini_nb.simulator import Simulator
from simulator_wire import MODEL, TABLE, WEATHER, Talk


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with Simulator(pace=0) as sim, httpx.Client(base_url=sim.base_url) as opened:
        yield opened


def called(client: httpx.Client, *, text: str = "Weather in Oslo and Lima", model: str = MODEL) -> Talk:
    talk = Talk(client, text, WEATHER, TABLE, model=model)
    talk.respond(talk.answer())
    return talk


def signed_part(talk: Talk) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in talk.contents[1]["parts"] if "thoughtSignature" in part)
    return found


def test_a_missing_signature_is_refused(client: httpx.Client) -> None:
    talk = called(client)
    del signed_part(talk)["thoughtSignature"]
    assert "is missing a thought_signature" in talk.refused()


@pytest.mark.parametrize("position", [0, 30, 63])
def test_an_altered_signature_is_refused(client: httpx.Client, position: int) -> None:
    talk = called(client)
    part = signed_part(talk)
    letters = list(part["thoughtSignature"])
    letters[position] = "A" if letters[position] != "A" else "B"
    part["thoughtSignature"] = "".join(letters)
    assert "Thought signature is not valid" in talk.refused()


def test_a_signature_belongs_to_its_own_call(client: httpx.Client) -> None:
    talk = called(client)
    part = signed_part(talk)
    part["functionCall"]["args"]["city"] = "Bergen"
    assert "Thought signature is not valid" in talk.refused()
    talk = called(client)
    first, second = (part for part in talk.contents[1]["parts"] if "functionCall" in part)
    second["thoughtSignature"] = first.pop("thoughtSignature")
    assert "is missing a thought_signature" in talk.refused()
    first["thoughtSignature"] = second["thoughtSignature"]
    assert "Thought signature is not valid" in talk.refused()


@pytest.mark.parametrize("junk", ["", "not base64!", 7, "c2hvcnQ="])
def test_junk_is_no_signature(client: httpx.Client, junk: object) -> None:
    talk = called(client)
    signed_part(talk)["thoughtSignature"] = junk
    assert "Thought signature is not valid" in talk.refused()


def test_the_other_base64_alphabet_is_the_same_signature(client: httpx.Client) -> None:
    for _ in range(4):  # nearly every signature has a character in which the alphabets differ
        talk = called(client)
        part = signed_part(talk)
        data = base64.b64decode(part["thoughtSignature"])
        part["thoughtSignature"] = base64.urlsafe_b64encode(data).decode()
        assert talk.answer() == []


@pytest.mark.parametrize("encoded", [False, True])
def test_the_documented_escape_value_is_accepted(client: httpx.Client, encoded: bool) -> None:
    talk = called(client)
    value = "skip_thought_signature_validator"
    signed_part(talk)["thoughtSignature"] = base64.b64encode(value.encode()).decode() if encoded else value
    assert talk.answer() == []


def test_each_step_of_the_current_turn_needs_its_signature(client: httpx.Client) -> None:
    talk = called(client, text="Check the weather in Paris first, then book a restaurant table")
    talk.respond(talk.answer())
    steps = [content["parts"] for content in talk.contents if content["role"] == "model"]
    assert len(steps) == 2
    assert talk.send().status_code == 200
    signed = next(part for part in steps[1] if "thoughtSignature" in part)
    del signed["thoughtSignature"]
    assert "position 3" in talk.refused()


def test_older_turns_are_not_checked_for_signatures(client: httpx.Client) -> None:
    talk = called(client)
    del signed_part(talk)["thoughtSignature"]
    talk.contents.append({"role": "model", "parts": [{"text": "Fine."}]})
    talk.contents.append({"role": "user", "parts": [{"text": "Thanks"}]})
    assert talk.send().status_code == 200


def test_a_model_turn_may_come_back_in_several_contents(client: httpx.Client) -> None:
    talk = called(client)
    question, answer, results = talk.contents
    split = [{"role": "model", "parts": [part]} for part in answer["parts"]]
    talk.body["contents"] = [question, *split, results]
    assert talk.answer() == []


def test_signatures_are_not_checked_for_a_scripted_answer_unless_wanted() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}

    def scripted(body: dict[str, Any], model: str) -> list[dict[str, Any]]:
        return [
            {
                "candidates": [
                    {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}
                ]
            }
        ]

    for verify, status in ((None, 200), (True, 400)):
        with (
            Simulator(scenario=scripted, verify=verify) as sim,
            httpx.Client(base_url=sim.base_url, headers={"x-goog-api-key": "k"}) as client,
        ):
            talk = Talk(client, "x")
            talk.contents.append({"role": "model", "parts": [call]})
            talk.respond([{"name": "f"}])
            assert talk.send().status_code == status


def test_one_response_for_each_call(client: httpx.Client) -> None:
    talk = called(client)
    removed = talk.contents[-1]["parts"].pop()
    assert "number of function response parts is equal" in talk.refused()
    talk.contents[-1]["parts"] += [removed, removed]
    assert "number of function response parts is equal" in talk.refused()
    talk.contents.pop()
    assert "number of function response parts is equal" in talk.refused()


def test_responses_come_right_after_their_calls(client: httpx.Client) -> None:
    talk = called(client)
    talk.contents.insert(2, {"role": "user", "parts": [{"text": "wait"}]})
    assert "number of function response parts is equal" in talk.refused()
    talk = called(client)
    del talk.contents[1]
    assert "function response turn comes immediately after a function call turn" in talk.refused()
    talk = called(client)
    del talk.contents[0]
    assert "function call turn comes immediately after a user turn" in talk.refused()


def test_calls_and_responses_do_not_interleave(client: httpx.Client) -> None:
    talk = called(client)
    question, answer, results = talk.contents
    calls = [part for part in answer["parts"] if "functionCall" in part]
    talk.body["contents"] = [question]
    for call, result in zip(calls, results["parts"], strict=True):
        talk.body["contents"] += [{"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    assert "is missing a thought_signature" in talk.refused()


def test_calls_and_responses_do_not_share_a_content(client: httpx.Client) -> None:
    talk = called(client)
    talk.contents[1]["parts"] += talk.contents.pop()["parts"]
    assert "mixes functionCall and functionResponse" in talk.refused()
    talk = called(client)
    talk.contents[-1]["role"] = "model"
    assert "mixes functionCall and functionResponse" in talk.refused()
    talk = called(client)
    talk.contents[1]["role"] = "user"
    assert "needs the role model" in talk.refused()


def test_ids_of_responses_match_those_of_the_calls(client: httpx.Client) -> None:
    talk = called(client)
    first, second = (part["functionResponse"] for part in talk.contents[-1]["parts"])
    first["id"], second["id"] = second["id"], first["id"]
    assert talk.answer() == []
    talk.contents.pop()
    second["id"] = first["id"]
    assert "functionResponse.id does not match functionCall.id" in talk.refused()
    second["id"] = "invented"
    assert "functionResponse.id does not match functionCall.id" in talk.refused()
    del first["id"], second["id"]
    assert talk.answer() == []


def test_names_of_responses_match_those_of_the_calls(client: httpx.Client) -> None:
    talk = called(client)
    talk.contents[-1]["parts"][0]["functionResponse"]["name"] = "book_table"
    assert "name" in talk.refused()
    for part in talk.contents[-1]["parts"]:
        del part["functionResponse"]["id"]
    assert "do not match those of the function calls" in talk.refused()
