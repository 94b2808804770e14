from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini_nb.api.turn import ModelTurn
from gemini_nb.api.usage import Usage
from gemini_nb.redaction import Secret


def chunk(*parts: object, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **fields}


def folded(*chunks: dict[str, Any]) -> ModelTurn:
    turn = ModelTurn()
    for one in chunks:
        turn.add(one)
    return turn


VERBATIM = [
    {"text": "x", "thoughtSignature": "c2ln"},
    {"text": "", "thoughtSignature": "c2ln"},
    {"text": "x", "thought": True, "thoughtSignature": "c2ln"},
    {"text": "x", "partMetadata": {"a": None}},
    {"functionCall": {"name": "f", "id": "1", "args": {"x": [1, 2.5, None]}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "f"}},
    {"functionCall": {"name": "f", "args": None}},
    {"toolCall": {"id": "1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["a"]}}},
    {
        "toolResponse": {"id": "1", "toolType": "GOOGLE_SEARCH_WEB", "response": {}},
        "thoughtSignature": "c2ln",
    },
    {"executableCode": {"language": "PYTHON", "code": "1"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thought": True},
    {"somethingNew": {"of": "next year"}, "andItsSibling": 1},
]


@pytest.mark.parametrize("part", VERBATIM)
def test_a_part_comes_out_as_it_came(part: dict[str, Any]) -> None:
    before, after = {"text": "before"}, {"text": "after"}
    sent = copy.deepcopy([before, part, part, after])
    turn = ModelTurn()
    assert turn.add(chunk(*sent)) == [before, part, part, after]
    assert turn.parts == [before, part, part, after]
    is_named = "id" in part.get("functionCall", {})  # one call, told twice
    back = [before, part, after] if is_named else sent
    assert turn.content == {"role": "model", "parts": back}


def test_adjacent_unsigned_text_is_joined_and_no_other() -> None:
    turn = folded(
        chunk({"text": "Hm", "thought": True}),
        chunk({"text": "m.", "thought": True}),
        chunk({"text": "The "}, {"text": "sky"}),
        chunk({"text": " is"}),
        chunk({"text": " blue", "thoughtSignature": "c2ln"}),
        chunk({"text": ", "}),
        chunk({"functionCall": {"name": "f"}}),
        chunk({"text": "yes"}),
        chunk({"text": "."}),
        chunk({"text": "Ah", "thought": True}),
    )
    assert turn.parts == [
        {"text": "Hmm.", "thought": True},
        {"text": "The sky is"},
        {"text": " blue", "thoughtSignature": "c2ln"},
        {"text": ", "},
        {"functionCall": {"name": "f"}},
        {"text": "yes."},
        {"text": "Ah", "thought": True},
    ]


def test_reading_the_parts_midway_changes_nothing() -> None:
    turn = ModelTurn()
    seen = []
    for word in ("a", "b", "c"):
        turn.add(chunk({"text": word}))
        seen.append(turn.parts[0]["text"])
    assert seen == ["a", "ab", "abc"]


def test_what_came_is_not_changed() -> None:
    first = chunk({"text": "a"})
    parts = folded(first, chunk({"text": "b"})).parts
    assert parts == [{"text": "ab"}]
    assert first == chunk({"text": "a"})


def test_signed_empty_text_is_kept_and_unsigned_is_not() -> None:
    signed = {"text": "", "thoughtSignature": "c2ln"}
    turn = folded(chunk({"text": ""}), chunk({"text": "a"}), chunk(signed, {"text": ""}, finish="STOP"))
    assert turn.parts == [{"text": "a"}, signed]


plain = st.builds(
    lambda words, thought: {"text": words, **({"thought": True} if thought else {})},
    st.text(max_size=3),
    st.booleans(),
)


@settings(deadline=None, database=None, max_examples=60)
@given(st.lists(st.lists(plain | st.sampled_from(VERBATIM), max_size=4), max_size=6))
def test_joining_loses_nothing(chunks: list[list[dict[str, Any]]]) -> None:
    sent = [part for parts in chunks for part in parts]
    turn = folded(*(chunk(*parts) for parts in chunks))

    def words(parts: list[dict[str, Any]], *, thought: bool) -> str:
        return "".join(part.get("text", "") for part in parts if bool(part.get("thought")) is thought)

    for thought in (True, False):
        assert words(turn.parts, thought=thought) == words(sent, thought=thought)
    assert [part for part in turn.parts if part in VERBATIM] == [part for part in sent if part in VERBATIM]
    assert turn.has_output is bool(turn.parts)


def test_calls_in_order_with_and_without_arguments() -> None:
    turn = folded(
        chunk({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}),
        chunk({"functionCall": {"name": "g", "id": "2"}}, finish="STOP"),
        chunk({"functionCall": "not one"}),
    )
    assert [one.name for one in turn.function_calls] == ["f", "g"]
    assert "args" not in (turn.function_calls[1].part or {})["functionCall"]


def test_usage_is_the_newest_count_and_never_a_sum() -> None:
    turn = folded(
        chunk(usageMetadata={"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 8}),
        chunk(usageMetadata={"trafficType": "ON_DEMAND"}),
        chunk(usageMetadata={"candidatesTokenCount": 5, "totalTokenCount": 12}),
        chunk(),
        chunk(usageMetadata=None),
    )
    assert turn.usage == {
        "promptTokenCount": 7,
        "candidatesTokenCount": 5,
        "totalTokenCount": 12,
        "trafficType": "ON_DEMAND",
    }


def test_usage_of_several_calls_is_summed_by_name() -> None:
    one = Usage.from_wire({"promptTokenCount": 7, "thoughtsTokenCount": 2, "totalTokenCount": None, "x": 1})
    total = one + Usage(prompt_token_count=3)
    assert total == Usage(prompt_token_count=10, thoughts_token_count=2)
    assert total["promptTokenCount"] == total["prompt_token_count"] == 10
    with pytest.raises(KeyError):
        total["tokens"]


@pytest.mark.parametrize(
    "candidate",
    [
        {},
        {"content": None},
        {"content": {}},
        {"content": {"role": "model"}},
        {"content": {"role": "model", "parts": None}},
        {"content": {"role": "model", "parts": []}},
        {"content": {"role": "model", "parts": [None, "x", 3]}},
        {"content": "x"},
    ],
)
def test_a_candidate_without_content(candidate: dict[str, Any]) -> None:
    turn = folded({"candidates": [candidate]})
    assert (turn.parts, turn.has_output, turn.is_finished) == ([], False, False)
    turn.add({"candidates": [{**candidate, "finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "m"}]})
    assert (turn.finish_reason, turn.finish_message) == ("MALFORMED_FUNCTION_CALL", "m")
    assert turn.is_finished


@pytest.mark.parametrize(
    "value", [{}, {"candidates": None}, {"candidates": []}, {"candidates": {}}, {"x": 1}]
)
def test_a_chunk_without_candidates(value: dict[str, Any]) -> None:
    turn = ModelTurn()
    assert turn.add(value) == []
    assert not turn.is_finished


def test_a_blocked_prompt_is_finished_without_output() -> None:
    turn = folded({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}})
    assert (turn.block_reason, turn.block_message) == ("SAFETY", "no")
    assert turn.is_finished
    assert not turn.has_output
    assert not folded({"promptFeedback": {"safetyRatings": []}}).is_finished


def test_a_finish_reason_in_every_chunk_is_not_the_end_until_nothing_follows() -> None:
    turn = folded(chunk({"text": "a"}, finish="STOP"))
    assert (turn.is_finished, turn.is_surely_finished) == (True, True)
    turn.add(chunk({"text": "b"}, finish="STOP"))
    assert (turn.is_finished, turn.is_surely_finished) == (True, False)
    assert turn.parts == [{"text": "ab"}]


def test_a_default_that_was_sent_along_is_no_reason() -> None:
    """Some servers send every field of every message, those that nobody set with their defaults."""
    turn = folded(
        {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}},
        {"promptFeedback": {"blockReason": "BLOCKED_REASON_UNSPECIFIED"}},
        chunk({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED"),
    )
    assert (turn.is_finished, turn.finish_reason, turn.block_reason) == (False, None, None)


def test_what_a_server_says_of_the_end_shows_no_key() -> None:
    key = Secret("made-up-key-4711")
    end = chunk({"text": "a"}, finish=f"SAFETY {key.reveal()}")
    end["candidates"][0]["finishMessage"] = f"for {key.reveal()}"
    feedback = {"blockReason": key.reveal(), "blockReasonMessage": key.reveal()}
    turn = folded(end, {"promptFeedback": feedback})
    assert (turn.finish_reason, turn.finish_message) == ("SAFETY [secret]", "for [secret]")
    assert (turn.block_reason, turn.block_message) == ("[secret]", "[secret]")


def test_facts_after_the_finish_reason_leave_it_the_end() -> None:
    turn = folded(chunk({"text": "a"}, finish="STOP"), {"usageMetadata": {"totalTokenCount": 3}})
    assert turn.is_surely_finished
    assert turn.usage == {"totalTokenCount": 3}


def test_one_turn_tells_the_first_of_several_alternatives() -> None:
    def alternative(index: int, words: str, **fields: Any) -> dict[str, Any]:
        return {"index": index, "content": {"parts": [{"text": words}]}, **fields}

    turn = folded(
        {"candidates": [alternative(1, "B"), alternative(0, "A")]},
        {"candidates": [alternative(1, "b", finishReason="MAX_TOKENS")]},
        {"candidates": [alternative(0, "a", finishReason="STOP")]},
    )
    assert turn.parts == [{"text": "Aa"}]
    assert turn.finish_reason == "STOP"


def test_citations_and_grounding_are_shown_and_not_sent_back() -> None:
    value = chunk({"text": "a"})
    value["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["q"]}
    turn = ModelTurn()
    assert turn.add(value) == [{"text": "a"}, {"groundingMetadata": {"webSearchQueries": ["q"]}}]
    assert turn.parts == [{"text": "a"}]
    assert turn.metadata == {"groundingMetadata": {"webSearchQueries": ["q"]}}


def test_who_answered() -> None:
    turn = folded(chunk(modelVersion="m-001", responseId="r"), chunk())
    assert (turn.model_version, turn.response_id) == ("m-001", "r")


def test_a_rewound_turn_keeps_what_was_shown_until_something_takes_its_place() -> None:
    turn = folded(chunk({"text": "a"}, usageMetadata={"totalTokenCount": 1}))
    turn.rewind()
    assert (turn.parts, turn.has_output, turn.is_stale) == ([{"text": "a"}], False, True)
    turn.add({"usageMetadata": {"totalTokenCount": 2}})
    assert turn.is_stale
    turn.add(chunk({"text": "b"}))
    assert (turn.parts, turn.has_output, turn.is_stale) == ([{"text": "b"}], True, False)
    assert turn.total_usage.total_token_count == 3


def test_an_empty_end_takes_the_place_of_what_was_shown() -> None:
    turn = folded(chunk({"text": "a"}))
    turn.rewind()
    turn.add(chunk(finish="STOP"))
    assert turn.parts == []


def test_a_second_failure_without_output_loses_nothing() -> None:
    turn = folded(chunk({"text": "a"}))
    turn.rewind()
    turn.rewind()
    assert turn.parts == [{"text": "a"}]


def token(value: str, *parts: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    made = chunk(*parts, finish=finish)
    made["candidates"][0]["continuationToken"] = value
    return made


def test_a_turn_is_cut_back_to_its_newest_token() -> None:
    turn = folded(chunk({"text": "a"}), token("t1", {"text": "b"}), chunk({"text": "c"}))
    turn.rewind()
    assert (turn.continuation_token, turn.parts) == ("t1", [{"text": "abc"}])
    turn.add(chunk({"text": "C"}, finish="STOP"))
    assert turn.parts == [{"text": "abC"}]


def test_a_token_that_is_told_again_is_the_same_place() -> None:
    turn = folded(token("t1", {"text": "a"}), token("t1", {"text": "b"}))
    turn.rewind()
    turn.add(chunk({"text": "B"}, finish="STOP"))
    assert turn.parts == [{"text": "aB"}]


def test_a_token_that_is_refused_is_forgotten() -> None:
    turn = folded(token("t1", {"text": "a"}))
    turn.rewind()
    turn.rewind(to_start=True)
    assert (turn.continuation_token, turn.is_stale) == (None, True)
    turn.add(chunk({"text": "b"}))
    assert turn.parts == [{"text": "b"}]


def test_a_continued_turn_goes_on() -> None:
    turn = folded(chunk({"text": "a"}), token("t1", finish="CONTINUATION"))
    assert turn.is_continued
    turn.go_on()
    assert (turn.is_finished, turn.has_output, turn.is_stale) == (False, False, False)
    turn.add(chunk({"text": "b"}, finish="STOP"))
    assert turn.parts == [{"text": "ab"}]


def test_a_continued_turn_with_an_older_token_tells_the_rest_again() -> None:
    turn = folded(token("t1", {"text": "a"}), chunk({"text": "b"}, finish="CONTINUATION"))
    turn.go_on()
    turn.add(chunk({"text": "B"}, finish="STOP"))
    assert turn.parts == [{"text": "aB"}]


def test_details_by_modality_are_summed_over_calls_and_the_newest_words_count() -> None:
    one = Usage.from_wire(
        {
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 5},
                {"modality": "AUDIO", "tokenCount": 2},
                {"modality": "TEXT", "tokenCount": 1},
            ],
            "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
            "trafficType": "ON_DEMAND",
            "serviceTier": "FLEX",
        }
    )
    other = Usage.from_wire(
        {
            "promptTokensDetails": [
                {"modality": "IMAGE", "tokenCount": 258},
                {"modality": "TEXT", "tokenCount": 4},
            ],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
            "cacheTokensDetails": [{"modality": "DOCUMENT", "tokenCount": 9}],
            "trafficType": "ON_DEMAND_PRIORITY",
        }
    )
    total = one + other
    assert total.prompt_tokens_details == {"TEXT": 10, "AUDIO": 2, "IMAGE": 258}
    assert total["candidatesTokensDetails"] == {"TEXT": 3}
    assert total.cache_tokens_details == {"DOCUMENT": 9}
    assert total.tool_use_prompt_tokens_details == {"TEXT": 40}
    assert (total.traffic_type, total.service_tier) == ("ON_DEMAND_PRIORITY", "flex")
    assert hash(total) == hash(one + other)


@pytest.mark.parametrize(
    "details", [None, 3, {}, [None, 3], [{"modality": 4, "tokenCount": 1}], [{"modality": "TEXT"}]]
)
def test_details_of_another_form_are_left_out(details: object) -> None:
    wire = {"promptTokensDetails": details, "trafficType": ["x"], "serviceTier": "<b>free lunch</b>"}
    assert Usage.from_wire(wire) == Usage()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        *[("5", 5), (5.0, 5), (0, 0), (2**31 - 1, 2**31 - 1)],
        *[(5.5, 0), ("5 ", 0), ("\u0665", 0), ("", 0), (-5, 0), (2**31, 0), (10**400, 0)],
        *[(True, 0), (float("inf"), 0), (float("nan"), 0), ("9" * 5000, 0)],
    ],
)
def test_counts_are_what_an_int32_can_be(sent: object, read: int) -> None:
    usage = Usage.from_wire(
        {"promptTokenCount": sent, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": sent}]}
    )
    assert (usage.prompt_token_count, type(usage.prompt_token_count)) == (read, int)
    assert usage.prompt_tokens_details.get("TEXT", 0) == read


def test_the_tier_of_the_header_counts_over_that_of_the_counts() -> None:
    turn = ModelTurn()
    turn.set_tier("standard")
    turn.add(chunk(usageMetadata={"promptTokenCount": 7, "serviceTier": "priority"}))
    assert turn.total_usage.service_tier == "standard"
    assert turn.total_usage.prompt_token_count == 7
