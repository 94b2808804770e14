"""What the model asks for: once, whole, and only where it may run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import PATIENCE, Rig, rig
from gemini_nb import Chat
from gemini_nb.api.retry import RetryPolicy
from scripted import Answer, Close, sse_answer, text

DONE = text("Done.", finish="STOP")
RETRY = RetryPolicy(initial_delay=0.0)


def chunk(*parts: dict[str, Any], finish: Any = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    return {"candidates": [candidate if finish is None else {**candidate, "finishReason": finish}]}


def asks(name: str, args: Any = None, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **({} if args is None else {"args": args}), **fields}}


def take(word: str = "default", n: int = 0) -> str:
    """Take a word."""
    return f"{word}{n}"


def results(made: Rig, request: int = 1) -> list[Any]:
    parts = made.server.requests[request].json["contents"][-1]["parts"]
    return [part["functionResponse"]["response"] for part in parts]


def once(*parts: dict[str, Any], finish: Any = "STOP") -> list[Answer]:
    return [sse_answer(chunk(*parts, finish=finish)), sse_answer(DONE)]


def test_the_same_call_told_twice_in_a_turn_runs_once_and_in_the_next_turn_again() -> None:
    ran: list[str] = []

    def note(word: str) -> None:
        ran.append(word)

    same = asks("note", {"word": "a"}, id="c1")
    signed = {**same, "thoughtSignature": "c2ln"}
    script = [sse_answer(chunk(signed), chunk(same, finish="STOP")), sse_answer(chunk(same, finish="STOP"))]
    with rig([*script, sse_answer(DONE)]) as made:
        stream = made.start(tools=[note]).wait(PATIENCE)
        assert ran == ["a", "a"]
        assert len(stream.tool_calls) == 2
        _, model, answer = made.server.requests[1].json["contents"]
        assert model["parts"] == [signed]
        assert [part["functionResponse"]["id"] for part in answer["parts"]] == ["c1"]


def test_an_id_for_two_different_calls_counts_for_the_first() -> None:
    with rig(once(asks("take", {"n": 1}, id="x"), asks("take", {"n": 2}, id="x"))) as made:
        stream = made.start(tools=[take]).wait(PATIENCE)
        assert results(made) == [{"result": "default1"}]
        assert [call.status for call in stream.tool_calls] == ["done", "failed"]
        assert "another call" in str(stream.tool_calls[1].error)


@pytest.mark.parametrize("name", [None, "", "two words", "1st", "größe", "x" * 129])
def test_a_call_that_no_function_can_answer_is_neither_run_nor_sent_back(name: Any) -> None:
    bad = {"functionCall": {"args": {}} if name is None else {"name": name, "args": {}}}
    with rig(once(bad, asks("take", {"n": 1}))) as made:
        stream = made.start(tools=[take]).wait(PATIENCE)
        assert stream.status == "completed"
        assert made.server.requests[1].json["contents"][1]["parts"] == [asks("take", {"n": 1})]
        assert results(made) == [{"result": "default1"}]
        assert [call.status for call in stream.tool_calls] == ["failed", "done"]
        assert "did not run" in str(stream.tool_calls[0].error)


def test_a_turn_of_nothing_but_a_nameless_call_is_asked_again() -> None:
    with rig([sse_answer(chunk({"functionCall": {}}, finish="STOP")), sse_answer(DONE)]) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        first, second = made.server.requests
        assert second.json == first.json


@pytest.mark.parametrize("args", ["null", "", "[]", '"x"', "NaN", '{"n": NaN}', "[" * 9000, [], [1], 5, True])
def test_arguments_that_are_no_object_do_not_run_on_defaults(args: Any) -> None:
    with rig(once(asks("take", args, id="1"))) as made:
        stream = made.start(tools=[take]).wait(PATIENCE)
        assert stream.text.endswith("Done.")
        assert "are not an object" in results(made)[0]["error"]
        assert made.server.requests[1].json["contents"][1]["parts"] == [asks("take", id="1")]
        assert stream.tool_calls[0].status == "failed"


@pytest.mark.parametrize("number", ["1e400", "-1E+999", "9" * 5000, "-Infinity"])
def test_a_number_that_cannot_be_sent_back_ends_no_stream(number: str, tmp_path: Path) -> None:
    parts = asks("take", {"n": 0}), {"text": "", "mystery": {"n": 0}}
    turn = json.dumps(chunk(*parts, finish="STOP")).replace('"n": 0', f'"n": {number}')
    script = [sse_answer(f"data: {turn}\n\n".encode()), sse_answer(DONE)]
    kept: Any = {"keep": tmp_path / "answers.jsonl", "tools": [take]}
    with rig(script) as made:
        stream = made.start(**kept)
        assert stream.result(PATIENCE) == "Done."
        assert "invalid arguments for take: n" in results(made)[0]["error"]
        back = made.server.requests[1].json["contents"][1]["parts"]
        assert back == [asks("take", {"n": None}), {"text": "", "mystery": {"n": None}}]
        assert stream.chunks[0] == chunk(*back, finish="STOP")
        assert made.start(**kept).wait(PATIENCE).kept is not None
    assert len(made.server.requests) == 2


@pytest.mark.parametrize("odd", [True, 7, 1.5, [], ["gemini"], {"a": 1}, None])
def test_names_of_the_server_that_are_no_texts_are_none(odd: Any) -> None:
    with rig([sse_answer({**DONE, "modelVersion": odd, "responseId": odd})]) as made:
        stream = made.start().wait(PATIENCE)
        assert (stream.model_version, stream.response_id) == (None, None)
        assert (stream.cost, stream.text) == (None, "Done.")


@pytest.mark.parametrize("given", [{"n": 3}, '{"n": 3}'])
def test_arguments_by_another_models_word_are_read(given: Any) -> None:
    with rig(once({"functionCall": {"name": "take", "arguments": given}})) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        assert results(made) == [{"result": "default3"}]
        back = made.server.requests[1].json["contents"][1]["parts"]
        assert back == [asks("take", {"n": 3})]


@pytest.mark.parametrize(
    ("given", "sent"), [(7, "7"), (0, "0"), ({"x": 1}, None), (["1"], None), (True, None)]
)
def test_an_id_goes_back_as_text_or_not_at_all(given: Any, sent: str | None) -> None:
    with rig(once(asks("take", {}, id=given))) as made:
        stream = made.start(tools=[take])
        assert stream.result(PATIENCE) == "Done."
        _, model, answer = made.server.requests[1].json["contents"]
        assert model["parts"][0]["functionCall"].get("id") == sent
        assert answer["parts"][0]["functionResponse"].get("id") == sent
        assert stream.tool_calls[0].id == sent


@pytest.mark.parametrize("camel", [{}, {"functionCall": None}, {"functionCall": {}}])
def test_a_call_in_snake_case_runs_beside_an_empty_one(camel: dict[str, Any]) -> None:
    part = {**camel, "function_call": {"name": "take", "args": {"n": 3}}, "thought_signature": "c2ln"}
    with rig(once(part)) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        assert results(made) == [{"result": "default3"}]
        back = made.server.requests[1].json["contents"][1]["parts"]
        assert back == [{**asks("take", {"n": 3}), "thought_signature": "c2ln"}]


def test_arguments_as_an_objects_text_are_read() -> None:
    with rig(once(asks("take", '{"word": "w", "n": 2}'))) as made:
        made.start(tools=[take]).wait(PATIENCE)
        assert results(made) == [{"result": "w2"}]
        assert made.server.requests[1].json["contents"][1]["parts"] == [asks("take", {"word": "w", "n": 2})]


# ------------------------------------------------------------------ pieces


def piece(path: str, *, more: bool = False, goes_on: bool = True, **value: Any) -> dict[str, Any]:
    one = {"jsonPath": path, **value, **({"willContinue": True} if more else {})}
    return {"functionCall": {"partialArgs": [one], **({"willContinue": True} if goes_on else {})}}


HEAD = {"functionCall": {"id": "c", "name": "take", "willContinue": True}, "thoughtSignature": "c2ln"}
WORD = [piece("$.word", stringValue="Bos", more=True), piece("$['word']", stringValue="ton")]


def snake(value: Any) -> Any:
    names = {"willContinue": "will_continue", "partialArgs": "partial_args", "jsonPath": "json_path"}
    names |= {"stringValue": "string_value", "numberValue": "number_value", "functionCall": "function_call"}
    if isinstance(value, list):
        return [snake(item) for item in value]
    if isinstance(value, dict):
        return {names.get(key, key): snake(item) for key, item in value.items()}
    return value


ENDS = {
    "empty call": [*WORD, piece("$.n", numberValue=5), {"functionCall": {}}],
    "last piece": [*WORD, piece("$.n", numberValue=5, goes_on=False)],
    "last piece and empty call": [*WORD, piece("$.n", numberValue=5, goes_on=False), {"functionCall": {}}],
    "finishReason": [*WORD, piece("$.n", numberValue=5)],
    "next call": [*WORD, piece("$.n", numberValue=5), asks("take", {"n": 9}, id="d")],
}


@pytest.mark.parametrize("spelling", ["camel", "snake"])
@pytest.mark.parametrize("end", ENDS)
def test_a_call_in_pieces_is_put_together(end: str, spelling: str) -> None:
    parts: list[Any] = [HEAD, *ENDS[end]]
    chunks = [chunk(part) for part in (snake(parts) if spelling == "snake" else parts)]
    pieces = {"function_calling_config": {"stream_function_call_arguments": True}}
    with rig([sse_answer(*chunks, chunk(finish="STOP")), sse_answer(DONE)]) as made:
        stream = made.start(tools=[take], tool_config=pieces).wait(PATIENCE)
        assert results(made)[0] == {"result": "Boston5"}
        assert len(stream.tool_calls) == (2 if end == "next call" else 1)
        whole = {**asks("take", {"word": "Boston", "n": 5}, id="c"), "thoughtSignature": "c2ln"}
        back = made.server.requests[1].json["contents"][1]["parts"]
        assert back[0] == whole


def test_paths_reach_into_lists_and_objects() -> None:
    def keep(data: dict[str, Any]) -> Any:
        return data

    pieces = [
        piece("$.data.a[0].b", boolValue=True),
        piece("$.data.a[1]", numberValue=0),
        piece("$.data['a b']", stringValue="x"),
        piece('$.data["it\\"s"]', nullValue=None),
    ]
    head = {"functionCall": {"name": "keep", "willContinue": True}}
    with rig(once(head, *pieces, {"functionCall": {}})) as made:
        made.start(tools=[keep]).wait(PATIENCE)
        assert results(made) == [{"result": {"a": [{"b": True}, 0], "a b": "x", 'it"s': None}}]


@pytest.mark.parametrize(
    "path", ["", "word", "$", "$.a[999999]", "$.word.x", "$[0]", "$.a[", "$" + ".a" * 9000, 5]
)
def test_a_piece_that_does_not_fit_is_an_error_and_not_a_default(path: Any) -> None:
    with rig(once(HEAD, WORD[1], piece(path, stringValue="x"), {"functionCall": {}})) as made:
        made.start(tools=[take]).wait(PATIENCE)
        assert list(results(made)[0]) == ["error"]


def test_pieces_that_end_with_the_token_limit_do_not_run() -> None:
    with rig(once(HEAD, WORD[0], finish="MAX_TOKENS")) as made:
        made.start(tools=[take]).wait(PATIENCE)
        assert "broke off" in results(made)[0]["error"]


def test_pieces_that_were_cut_are_told_anew() -> None:
    whole = sse_answer(chunk(HEAD), *map(chunk, WORD), chunk({"functionCall": {}}, finish="STOP"))
    with rig([sse_answer(chunk(HEAD), chunk(WORD[0]), Close()), whole, sse_answer(DONE)]) as made:
        made.start(tools=[take], retry=RETRY).wait(PATIENCE)
        assert results(made, 2) == [{"result": "Boston0"}]


# ------------------------------------------------------------------ nulls, modes, names, ends

MISSING = object()


def test_a_null_means_a_default_that_is_null_or_told_as_null() -> None:
    def look(a: int = None, b: Any = MISSING, c: str = "c") -> list[bool]:  # type: ignore[assignment]  # noqa: RUF013 - users write it
        return [a is None, b is MISSING, c == "c"]

    with rig(once(asks("look", {"a": None, "b": None}), asks("look", {"c": None}))) as made:
        made.start(tools=[look]).wait(PATIENCE)
        good, bad = results(made)
        assert good == {"result": [True, True, True]}
        assert "invalid arguments" in bad["error"]


@pytest.mark.parametrize("mode", ["ANY", "any", 2])
def test_a_demanded_call_is_demanded_once(mode: Any) -> None:
    calling = {"mode": mode, "allowed_function_names": ["take"]}
    with rig(once(asks("take"))) as made:
        made.start(tools=[take], tool_config={"function_calling_config": calling}).wait(PATIENCE)
        first, second = (
            request.json["toolConfig"]["functionCallingConfig"] for request in made.server.requests
        )
        assert first == {"mode": mode, "allowedFunctionNames": ["take"]}
        assert second == {"mode": "AUTO"}


@pytest.mark.parametrize(
    ("calling", "reason"),
    [
        ({"mode": "NONE"}, "allows no calls"),
        ({"mode": "ANY", "allowedFunctionNames": ["look"]}, "allows calls of look only"),
        ({"mode": "VALIDATED", "allowed_function_names": ["look"]}, "allows calls of look only"),
    ],
)
def test_a_call_that_the_request_does_not_allow_does_not_run(calling: dict[str, Any], reason: str) -> None:
    ran: list[str] = []
    look, pay = (gemini_nb.tool(lambda name=name: ran.append(name), name=name) for name in ("look", "pay"))
    with rig(once(asks("pay"), asks("default_api.look"))) as made:
        made.start(tools=[look, pay], tool_config={"functionCallingConfig": calling}).result(PATIENCE)
        first, _ = results(made)
        assert reason in first["error"]
        assert ran == ([] if calling["mode"] == "NONE" else ["look"])


def test_what_a_first_call_was_restricted_to_does_not_bind_the_later_ones() -> None:
    calling = {"mode": "ANY", "allowedFunctionNames": ["look"]}
    look = gemini_nb.tool(lambda: "seen", name="look")
    script = [*once(asks("look"))[:1], *once(asks("take"))]
    with rig(script) as made:
        made.start(tools=[look, take], tool_config={"functionCallingConfig": calling}).result(PATIENCE)
        assert results(made, 2) == [{"result": "default0"}]


def test_beside_googles_own_tools_the_later_rounds_go_with_validated() -> None:
    config = {"functionCallingConfig": {"mode": "ANY"}, "includeServerSideToolInvocations": True}
    with rig(once(asks("take"))) as made:
        made.start(tools=[take], tool_config=config).wait(PATIENCE)
        assert made.server.requests[1].json["toolConfig"]["functionCallingConfig"] == {"mode": "VALIDATED"}


@pytest.mark.parametrize("prefix", ["default_api.", "default_api:"])
def test_a_name_with_a_prefix_finds_its_tool_unless_it_is_a_tools_own(prefix: str) -> None:
    own = gemini_nb.tool(lambda: "own", name=f"{prefix}own")
    plain = gemini_nb.tool(lambda: "plain", name="own")
    with rig(once(asks(f"{prefix}take"), asks(f"{prefix}own"))) as made:
        stream = made.start(tools=[take, own, plain]).wait(PATIENCE)
        assert results(made) == [{"result": "default0"}, {"result": "own"}]
        assert [call.name for call in stream.tool_calls] == ["take", f"{prefix}own"]
        back = made.server.requests[1].json["contents"][-1]["parts"]
        assert back[0]["functionResponse"]["name"] == f"{prefix}take"


@pytest.mark.parametrize(
    "reason",
    [
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "safety",
        "3",
        3,
        7,
    ],
)
def test_a_call_in_a_turn_that_a_filter_ended_does_not_run(reason: Any) -> None:
    ran: list[int] = []
    script = [sse_answer(chunk(asks("note", id="1"), finish=reason)), sse_answer(DONE)]
    with rig(script) as made:
        tool = gemini_nb.tool(lambda: ran.append(1), name="note")
        chat = Chat(manager=made.manager, tools=[tool], **made.options)
        stream = chat.send("Go").wait(PATIENCE)
        said = {"3": "SAFETY", "7": "7"}.get(str(reason), reason)
        assert (ran, stream.status, stream.finish_reason) == ([], "completed", said)
        assert stream.tool_calls[0].status == "cancelled"
        assert chat.send("And?").result(PATIENCE) == "Done."
        answer = made.server.requests[1].json["contents"][2]["parts"][0]["functionResponse"]
        assert (answer["id"], list(answer["response"])) == ("1", ["error"])


@pytest.mark.parametrize("parts", [[asks("elsewhere")], [{"text": "Wait."}, asks("elsewhere"), asks("take")]])
def test_an_answer_that_is_still_to_come_is_not_held_against_its_schema(parts: list[dict[str, Any]]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with rig([sse_answer(chunk(*parts, finish="STOP"))]) as made:
        stream = made.start(tools=[take, {"name": "elsewhere"}], schema=schema).wait(PATIENCE)
        assert (stream.status, stream.error, stream.parsed) == ("completed", None, None)
        assert stream.tool_calls[0].status == "pending"


def test_of_calls_together_those_with_a_function_run_and_the_caller_answers_the_others() -> None:
    asked = [asks("elsewhere", id="1"), asks("take", {"n": 2}, id="2"), asks("elsewhere", id="3")]
    with rig(once(*asked)) as made:
        chat = Chat(manager=made.manager, tools=[take, {"name": "elsewhere"}], **made.options)
        stream = chat.send("Go").wait(PATIENCE)
        assert stream.status == "completed"
        assert [call.status for call in stream.tool_calls] == ["pending", "done", "pending"]
        ran = {"functionResponse": {"id": "2", "name": "take", "response": {"result": "default2"}}}
        assert chat.history[1:] == [{"role": "model", "parts": asked}, {"role": "user", "parts": [ran]}]
        theirs = [{"functionResponse": {"id": i, "name": "elsewhere", "response": {}}} for i in "13"]
        assert chat.send([*theirs, "Go on."]).result(PATIENCE) == "Done."
        assert made.server.requests[1].json["contents"][2:] == [
            {"role": "user", "parts": [theirs[0], ran, theirs[1], {"text": "Go on."}]}
        ]
