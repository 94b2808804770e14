from __future__ import annotations

import json
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from answers import PATIENCE, Recorder, always, hello, hold, rig
from gemini_nb import Chat, ToolOrchestrator
from gemini_nb.api.retry import RetryPolicy
from gemini_nb.errors import ArgumentError, ConfigError
from scripted import Close, ScriptedServer, Wait, call, json_error, sse_answer, text

ONCE = RetryPolicy(attempts=1, restarts=0)


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": words}]}


def model(words: str) -> dict[str, Any]:
    return {"role": "model", "parts": [{"text": words}]}


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def test_the_history_goes_along_and_grows() -> None:
    answers = [sse_answer(text("One.", finish="STOP")), sse_answer(text("Two.", finish="STOP"))]
    with rig(answers) as made:
        chat = Chat(manager=made.manager, **made.options)
        assert chat.send("First?").result() == "One."
        assert chat.send("Second?").result() == "Two."
        assert chat.history == [user("First?"), model("One."), user("Second?"), model("Two.")]
        assert made.server.requests[1].json["contents"] == chat.history[:3]
        assert repr(chat) == "<Chat of 4 turns>"


def test_tool_rounds_are_part_of_it() -> None:
    def script(request: Any) -> Any:
        asked = len(request.json["contents"]) == 1
        return sse_answer(
            call("double", args={"number": 2}, finish="STOP") if asked else text("4", finish="STOP")
        )

    with rig(script) as made:
        chat = Chat(manager=made.manager, tools=[double], **made.options)
        chat.send("Twice 2?").wait()
        assert [content["role"] for content in chat.history] == ["user", "model", "user", "model"]
        chat.send("And?").wait()
        assert made.server.requests[2].json["contents"][:4] == chat.history[:4]


@pytest.mark.parametrize("way", ["error", "stop"])
def test_a_stream_that_fails_or_is_stopped_keeps_both_turns(way: str) -> None:
    with rig(hold()) as made:
        chat = Chat(manager=made.manager, **made.options)
        recorder = Recorder()
        stream = chat.send("Hi", recorder, timeout=0.2 if way == "error" else None, retry=ONCE)
        recorder.wait("text_delta")
        if way == "stop":
            stream.stop()
        stream.wait(PATIENCE)
        assert stream.status == ("stopped" if way == "stop" else "error")
        assert chat.history == [user("Hi"), model(stream.text)]


BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
NOTHING: list[tuple[str, Any]] = [
    ("refused", lambda _: json_error(400)),
    ("failed", lambda _: json_error(500)),
    ("blocked", always(BLOCKED)),
    ("said nothing", always({"candidates": [{"finishReason": "STOP"}]})),
    ("empty parts", always({"candidates": [{"content": {"parts": [{}]}}]}, Close())),
    ("only thoughts", always(text("Hm.", thought=True), Close())),
]


@pytest.mark.parametrize("script", [case[1] for case in NOTHING], ids=[case[0] for case in NOTHING])
def test_a_question_that_got_nothing_is_taken_back_and_the_next_one_is_answered(script: Any) -> None:
    def answer(request: Any) -> Any:
        return hello()(request) if "Again" in request.body.decode() else script(request)

    with rig(answer) as made:
        chat = Chat([user("a"), model("b")], manager=made.manager, retry=ONCE, **made.options)
        assert chat.send("Hi").wait(PATIENCE).status == "error"
        assert chat.history == [user("a"), model("b")]
        assert chat.send("Again").result(PATIENCE) == "Hello"
        assert made.server.requests[-1].json["contents"] == [user("a"), model("b"), user("Again")]
        assert chat.history[2:] == [user("Again"), model("Hello")]


@pytest.mark.parametrize("shown", [[], [text("Hm.", thought=True)]], ids=["silent", "thinking"])
def test_a_question_that_was_stopped_before_its_answer_began_is_taken_back(shown: list[Any]) -> None:
    with rig(always(*shown, Wait())) as made:
        chat = Chat(manager=made.manager, **made.options)
        recorder = Recorder()
        stream = chat.send("Hi", recorder)
        made.server.wait_requests(1)
        if shown:
            recorder.wait("thought_delta")
        stream.stop()
        stream.wait(PATIENCE)
        assert chat.history == []


@pytest.mark.parametrize("refusal", ["refused", "blocked", "unavailable"])
def test_a_refusal_after_tools_ran_takes_the_message_back_and_a_failure_does_not(refusal: str) -> None:
    """What was refused would be refused with every later message; what failed has happened all the same."""
    ends: dict[str, Any] = {
        "refused": json_error(400),
        "blocked": sse_answer(BLOCKED),
        "unavailable": json_error(503),
    }
    script = [
        sse_answer(call("double", args={"number": 2}, finish="STOP")),
        ends[refusal],
        sse_answer(text("Hello", finish="STOP")),
    ]
    with rig(script) as made:
        chat = Chat(manager=made.manager, tools=[double], retry=ONCE, **made.options)
        assert chat.send("Go").wait(PATIENCE).status == "error"
        kept = ["user", "model", "user"] if refusal == "unavailable" else []
        assert [turn["role"] for turn in chat.history] == kept
        assert chat.send("And?").result(PATIENCE) == "Hello"
        assert len(made.server.requests[2].json["contents"]) == len(kept) + 1


SIGNED = {"text": "", "thoughtSignature": "c2ln"}
SAYS_NOTHING: list[dict[str, Any]] = [
    {},
    {"text": None},
    {"text": ""},
    {"functionCall": None},
    {"functionCall": "f"},
    {"thought": True},
    {"text": 5},
    {"inlineData": None, "thought": None},
    {"inlineData": {}},
    {"executable_code": {}},
    {"function_response": None},
]


@pytest.mark.parametrize("part", SAYS_NOTHING, ids=str)
def test_parts_that_say_nothing_do_not_spoil_the_chat(part: dict[str, Any]) -> None:
    parts = [part, {"text": "Yes."}, part, {"thoughtSignature": "c2ln"}, part]
    chunk = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    with rig(always(chunk)) as made:
        chat = Chat(manager=made.manager, **made.options)
        for _ in range(2):
            assert chat.send("Hi").result(PATIENCE) == "Yes."
        said = {"role": "model", "parts": [{"text": "Yes."}, SIGNED]}
        assert chat.history == [user("Hi"), said] * 2
        assert made.server.requests[1].json["contents"] == [user("Hi"), said, user("Hi")]


def test_a_signature_alone_goes_back_with_an_empty_text_in_either_spelling() -> None:
    chunk = {"candidates": [{"content": {"parts": [{"text": "Yes."}, {"thought_signature": "c2ln"}]}}]}
    with rig(always(chunk, text("", finish="STOP"))) as made:
        chat = Chat(manager=made.manager, **made.options)
        assert chat.send("Hi").result(PATIENCE) == "Yes."
        assert chat.history[1]["parts"] == [{"text": "Yes."}, {"text": "", "thought_signature": "c2ln"}]


def test_a_stop_while_tools_run_leaves_no_call_without_a_response() -> None:
    """Gemini refuses the next message of a conversation that has one."""
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go_on.wait(PATIENCE)

    calls = [
        {"functionCall": {"id": "a", "name": "double", "args": {"number": 1}}},
        {"functionCall": {"name": "slow"}},
    ]
    chunk = {"candidates": [{"content": {"parts": calls}, "finishReason": "STOP"}]}
    with rig(always(chunk)) as made:
        chat = Chat(manager=made.manager, tools=[double, slow], **made.options)
        recorder = Recorder()
        stream = chat.send("Go", recorder)
        assert began.wait(PATIENCE)
        recorder.wait("tool_call_finished")
        stream.stop()
        go_on.set()
        assert chat.history[:2] == [user("Go"), {"role": "model", "parts": calls}]
        done, stopped = (part["functionResponse"] for part in chat.history[2]["parts"])
        assert done == {"id": "a", "name": "double", "response": {"result": 2}}
        assert stopped["name"] == "slow"
        assert "ended" in stopped["response"]["error"]
        assert chat.history[2]["role"] == "user"


def test_the_turn_limit_leaves_no_call_without_a_response() -> None:
    with rig(always(call("double", args={"number": 1}, finish="STOP"))) as made:
        chat = Chat(manager=made.manager, tools=[double], turn_limit=1, **made.options)
        assert chat.send("Go").wait().status == "error"
        assert [content["role"] for content in chat.history] == ["user", "model", "user", "model", "user"]
        assert list(chat.history[-1]["parts"][0]["functionResponse"]["response"]) == ["error"]


def test_a_declared_call_stays_open_for_the_caller_to_answer() -> None:
    with rig(always(call("elsewhere", finish="STOP"))) as made:
        chat = Chat(manager=made.manager, tools=[{"name": "elsewhere"}], **made.options)
        chat.send("Go").wait()
        assert [content["role"] for content in chat.history] == ["user", "model"]
        answer = {"functionResponse": {"name": "elsewhere", "response": {"result": 1}}}
        chat.send(answer).wait()
        assert made.server.requests[1].json["contents"][-1] == {"role": "user", "parts": [answer]}


def test_defaults_and_what_one_message_changes() -> None:
    with rig(hello()) as made:
        chat = Chat(
            [user("Before"), model("Yes.")],
            manager=made.manager,
            model="chat-model",
            system_instruction="Be brief.",
            generation_config={"temperature": 0},
            **made.options,
        )
        first = chat.send("Hi")
        first.wait()
        second = chat.send("Hi", model="other-model", generation_config={"temperature": 1})
        second.wait()
        assert (first.model, second.model) == ("chat-model", "other-model")
        bodies = [request.json for request in made.server.requests]
        assert [body["generationConfig"]["temperature"] for body in bodies] == [0, 1]
        assert all(body["systemInstruction"] == {"parts": [{"text": "Be brief."}]} for body in bodies)
        assert bodies[0]["contents"][:2] == [user("Before"), model("Yes.")]


def test_messages_sent_at_once_add_their_own_turns_each_in_order() -> None:
    def script(request: Any) -> Any:
        words = request.json["contents"][-1]["parts"][0]["text"]
        return sse_answer(text(words.upper(), finish="STOP"))

    with rig(script) as made:
        chat = Chat(manager=made.manager, **made.options)
        streams = [chat.send(words) for words in ("a", "b", "c")]
        for stream in streams:
            stream.wait()
        asked = [turn["parts"][0]["text"] for turn in chat.history]
        assert asked == ["a", "A", "b", "B", "c", "C"]


def test_a_turn_that_comes_in_while_a_message_is_sent_takes_nothing_away() -> None:
    class Busy(Chat):
        def attach(self, orchestrator: ToolOrchestrator) -> None:
            self.history.append(user("Meanwhile"))
            super().attach(orchestrator)

    with rig(hello()) as made:
        chat = Busy(manager=made.manager, **made.options)
        chat.send("Hi").wait()
        assert chat.history == [user("Meanwhile"), user("Hi"), model("Hello")]


def test_a_message_that_cannot_be_sent_changes_nothing() -> None:
    with rig(hello()) as made:
        chat = Chat(manager=made.manager, **made.options)
        with pytest.raises(ConfigError):
            chat.send("")
        with pytest.raises(ArgumentError):
            chat.send("Hi", tools=["name"])
        assert chat.history == []
        assert made.manager.list_streams(all=True) == []


def test_a_history_can_be_given_and_changed() -> None:
    given = [user("a"), model("b")]
    chat = Chat(given)
    given.clear()
    assert len(chat.history) == 2
    with pytest.raises(ArgumentError):
        Chat([5])  # that it is refused is the point


def test_a_start_stream_with_a_chat_is_a_message_of_it() -> None:
    with rig(hello()) as made:
        chat = Chat()
        made.start("Hi", chat=chat).wait()
        assert chat.history == [user("Hi"), model("Hello")]


# ------------------------------------------------------------------ editing, forks, files


def conversation() -> list[dict[str, Any]]:
    asked = {"functionCall": {"name": "double", "args": {"number": 2}}, "thoughtSignature": "c2ln"}
    answered = {"functionResponse": {"name": "double", "response": {"result": 4}}}
    return [
        user("First?"),
        model("One."),
        user("Twice 2?"),
        {"role": "model", "parts": [asked]},
        {"role": "user", "parts": [answered]},
        model("4"),
    ]


def test_a_message_is_taken_back_with_its_tool_rounds() -> None:
    chat = Chat(conversation())
    assert chat.rewind() == conversation()[2:]
    assert chat.history == conversation()[:2]
    assert chat.rewind(0) == []
    assert len(chat.rewind(1)) == 2
    assert chat.history == []


@pytest.mark.parametrize("messages", [3, -1, "all", 1.5])
def test_what_cannot_be_taken_back(messages: Any) -> None:
    chat = Chat(conversation())
    with pytest.raises(ConfigError, match=r"2 messages; 3 cannot|takes a number of messages"):
        chat.rewind(messages)
    assert chat.history == conversation()


def test_an_edited_history_is_what_is_sent() -> None:
    with rig(always(text("Yes.", finish="STOP"))) as made:
        chat = Chat(conversation(), manager=made.manager, **made.options)
        chat.history[1:] = [{"role": "model", "parts": [{"text": "Uno."}]}]
        chat.send("And?").result()
        assert made.server.requests[0].json["contents"] == [user("First?"), model("Uno."), user("And?")]
        chat.history.append(3)  # type: ignore[arg-type]  # a user's mistake
        with pytest.raises(ArgumentError, match="cannot hold an int"):
            chat.send("And?")


def test_a_fork_goes_its_own_way() -> None:
    with rig(hello("Yes.")) as made:
        chat = Chat(conversation(), manager=made.manager, system_instruction="Be brief.", **made.options)
        fork = chat.fork(model="gemini-other")
        fork.history[0]["parts"][0]["text"] = "Changed?"
        fork.send("And?").result()
        assert chat.history == conversation()
        assert len(fork.history) == 8
        assert "gemini-other" in made.server.requests[0].path
        assert made.server.requests[0].json["systemInstruction"] == {"parts": [{"text": "Be brief."}]}


def test_a_chat_is_saved_and_loaded_without_its_key(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    with rig(hello("Yes.")) as made:
        chat = Chat(conversation(), manager=made.manager, model="gemini-a", tools=[double], **made.options)
        chat.save(path)
        assert made.options["credentials"]["api_key"] not in path.read_text()
        loaded = Chat.load(path, manager=made.manager, **made.options)
        assert loaded.history == conversation()
        loaded.send("And?").result()
        assert "gemini-a" in made.server.requests[0].path
    assert [file.name for file in tmp_path.glob("*.json*")] == ["talk.json"]


@pytest.mark.parametrize("history", ["hello", b"hello", {"role": "user", "parts": [{"text": "x"}]}, 5, None])
def test_a_history_is_a_list_of_turns(history: Any) -> None:
    with pytest.raises(ArgumentError, match="list of turns"):
        Chat(history)


def test_a_chat_shows_no_key() -> None:
    key = {"api_key": "key-that-must-not-be-seen"}
    chat = Chat(credentials=key)
    assert key["api_key"] not in repr(vars(chat)) + repr(vars(chat.fork()))
    with pytest.raises(ArgumentError) as caught:
        chat.send(5, credentials=dict(key))
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(caught.value.__traceback__), capture_locals=True
    )
    inside = [frame for frame in frames if "gemini_nb" in frame.filename]
    assert key["api_key"] not in str([frame.locals for frame in inside])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"history": []}',
        '{"format": "gemini_nb.Chat"}',
        '{"format": "gemini_nb.Chat", "history": 5, "settings": {}}',
        '{"format": "gemini_nb.Chat", "history": [], "settings": []}',
    ],
)
def test_a_file_that_holds_no_chat(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ConfigError, match="holds no chat"):
        Chat.load(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        Chat.load(tmp_path / "y.json")


def written(path: Path, **changes: Any) -> Path:
    value = {"format": "gemini_nb.Chat", "version": 1, "settings": {}, "history": conversation(), **changes}
    path.write_text(json.dumps(value))
    return path


def test_a_file_does_not_say_where_a_request_goes_and_as_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rig(hello("Ours.")) as made, ScriptedServer(hello("Theirs.")) as theirs:
        settings = {
            "base_url": theirs.url,
            "endpoint": f"{theirs.url}/x",
            "auth": "vertex_ai",
            "credentials": {"api_key": "a-key-of-their-own"},
            "headers": {"x-goog-api-key": "a-key-of-their-own"},
            "api_version": "v9",
            "retry": 1,
            "model": "gemini-a",
        }
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", made.server.url)
        monkeypatch.setenv("GEMINI_API_KEY", "a-key-of-the-readers")
        chat = Chat.load(written(tmp_path / "x.json", settings=settings), manager=made.manager)
        assert chat.send("And?").result() == "Ours."
        assert theirs.requests == []
        request = made.server.requests[0]
        assert request.headers["x-goog-api-key"] == "a-key-of-the-readers"
        assert "/v1beta/models/gemini-a:" in request.path


FOREIGN: list[dict[str, Any]] = [
    {"tools": [{"urlContext": {}}]},
    {"tool_config": {"functionCallingConfig": {"mode": "ANY"}}},
    {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]},
    {"system_instruction": "Obey."},
    {"cachedContent": "cachedContents/theirs"},
    {"serviceTier": "priority"},
    {"httpOptions": {"baseUrl": "https://theirs"}},
    {"topP": 1, "top_p": 1},
]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "newer gemini_nb"),
        ({"version": "1"}, "holds no chat"),
        ({"history": ["hello"]}, "not a turn"),
        ({"history": [{"role": 5, "parts": [{"text": "x"}]}]}, "not a turn"),
        ({"history": [{"role": "user", "parts": "x"}]}, "not a turn"),
        ({"history": [{"role": "user", "parts": [5]}]}, "not a turn"),
        ({"settings": {"model": 5}}, "its model"),
        ({"settings": {"model": "../../x"}}, "its model"),
        ({"settings": {"model": "projects/theirs/locations/us/publishers/google/models/x"}}, "its model"),
        ({"settings": {"system_instruction": 5}}, "its system_instruction"),
        ({"settings": {"generation_config": "hot"}}, "its generation_config"),
        *(({"settings": {"generation_config": config}}, "its generation_config") for config in FOREIGN),
        ({"tools": [{"googleSearch": {}}]}, "not a list of names"),
        ({"tools": "double"}, "not a list of names"),
    ],
)
def test_a_file_of_a_strangers_is_checked_when_it_is_loaded(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Chat.load(written(tmp_path / "x.json", **changes))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": NaN}', "\udcff", "\x00"])
def test_bytes_that_are_no_json_hold_no_chat(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="holds no chat"):
        Chat.load(tmp_path / "x.json")


def test_a_file_does_not_say_what_may_run_how_often_and_what_is_let_through(tmp_path: Path) -> None:
    settings = {
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        "tool_config": {"functionCallingConfig": {"mode": "ANY"}},
        "turn_limit": 100,
        "tools": [{"googleSearch": {}}],
        "generation_config": {"temperature": 0.5},
    }
    with rig(hello("Yes.")) as made:
        chat = Chat.load(
            written(tmp_path / "x.json", settings=settings), manager=made.manager, **made.options
        )
        stream = chat.send("And?").wait(PATIENCE)
        assert made.server.requests[0].json.keys() == {"contents", "generationConfig"}
        assert stream.request.turn_limit == 10


def test_of_a_config_for_everything_the_answers_own_is_saved(tmp_path: Path) -> None:
    config = {
        "temperature": 0.5,
        "system_instruction": "Be brief.",
        "tools": [double],
        "service_tier": "flex",
    }
    Chat(conversation(), generation_config=config, turn_limit=3).save(tmp_path / "x.json")
    saved = json.loads((tmp_path / "x.json").read_text())
    assert saved["settings"] == {
        "system_instruction": "Be brief.",
        "generation_config": {"temperature": 0.5},
    }
    assert saved["tools"] == ["double"]
    assert Chat.load(tmp_path / "x.json").history == conversation()


def test_a_type_for_the_answers_form_is_saved_as_its_schema(tmp_path: Path) -> None:
    config = {"temperature": 0.5, "response_schema": list[int]}
    Chat(conversation(), generation_config=config).save(tmp_path / "x.json")
    with rig(hello("[1, 2]")) as made:
        chat = Chat.load(tmp_path / "x.json", manager=made.manager, **made.options)
        assert chat.send("And?").wait(PATIENCE).parsed == [1, 2]
        assert made.server.requests[0].json["generationConfig"] == {
            "temperature": 0.5,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "array", "items": {"type": "integer"}},
        }


def test_what_the_caller_says_goes_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "x.json", settings={"model": "projects/theirs/x"})
    with rig(hello("Yes.")) as made:
        Chat.load(path, manager=made.manager, model="gemini-a", **made.options).send("And?").result()
        assert "gemini-a" in made.server.requests[0].path


def test_tools_are_saved_by_name_and_given_again(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    Chat(conversation(), tools=[double]).save(path)
    assert json.loads(path.read_text())["tools"] == ["double"]
    with rig(hello("Yes.")) as made:
        Chat.load(path, manager=made.manager, tools=[double], **made.options).send("And?").result()
        (declared,) = made.server.requests[0].json["tools"]
        assert declared["functionDeclarations"][0]["name"] == "double"
    with pytest.raises(ConfigError, match="not given: double"):
        Chat.load(path, tools=[])


def test_a_saved_chat_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIzaSy-of-the-environment-0123456789")
    chat = Chat([user("My key is AIzaSy-of-the-environment-0123456789.")])
    chat.save(tmp_path / "x.json")
    assert Chat.load(tmp_path / "x.json").history == [user("My key is [secret].")]


def test_a_message_that_cannot_be_started_is_not_waited_for() -> None:
    with rig(hello("Yes.")) as made:
        chat = Chat(conversation(), manager=made.manager, **made.options)
        made.manager.shutdown()
        with pytest.raises(ConfigError, match="shut down"):
            chat.send("And?")
        assert len(chat.rewind()) == len(conversation()) - len(chat.history)


def test_a_chats_repr_never_fails() -> None:
    chat = Chat()
    for history in (None, 5, "x"):
        chat.history = history  # type: ignore[assignment]  # a user's mistake
        assert repr(chat) == "<Chat of ? turns>"
