from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from test_recordings import BODIES, EXPECTED, FOLDER, OURS, body_of, needs_recordings

from answers import PATIENCE, Recorder, hello, rig
from gemini_nb import RetryPolicy
from gemini_nb.api.recorder import Tape
from gemini_nb.api.recording import Recording, file_name, read_recording
from gemini_nb.config import Settings
from gemini_nb.errors import ConfigError, IdleTimeoutError
from gemini_nb.redaction import Secret
from gemini_nb.simulator import Simulator
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from kernels import isolated_environment
from raw_client import exchange
from scripted import (
    Answer,
    Close,
    Request,
    ScriptedServer,
    Step,
    Wait,
    json_error,
    sse_answer,
    sse_event,
    text,
)
from simulator_wire import MODEL, ask

KEY = "AIzaSy-made-up-for-recordings-0123456789"
NOW = RetryPolicy(initial_delay=0.0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_NB_SIMULATOR_PACE", "0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[StreamManager]:
    manager = StreamManager()
    manager.record(folder)
    try:
        yield manager
        manager.record(None)
    finally:
        manager.shutdown()


@contextlib.contextmanager
def replaying(folder: Path) -> Iterator[StreamManager]:
    manager = StreamManager(settings=Settings(auth="recording", recordings=folder))
    try:
        yield manager
    finally:
        manager.shutdown()


def to(url: str) -> dict[str, Any]:
    return {"auth": "gemini", "credentials": {"api_key": KEY}, "base_url": url, "retry": NOW}


def run(manager: StreamManager, contents: Any = "Why is the sky blue?", **options: Any) -> Stream:
    return manager.start_stream(contents, **options).wait(PATIENCE)


def record(folder: Path, *script: Answer, contents: Any = "Why is the sky blue?", **options: Any) -> Stream:
    """Ask a scripted server as often as it has answers for, in one stream, and record it."""
    with ScriptedServer(script) as server, recording(folder) as manager:
        return run(manager, contents, **{**to(server.url), **options})


def read(folder: Path) -> list[Recording]:
    return [read_recording(path) for path in sorted(folder.iterdir())]


def same(one: Stream, other: Stream) -> None:
    """Everything a person or a program sees of two streams."""
    assert [event.kind for event in one.events] == [event.kind for event in other.events]
    assert (one.text, one.thoughts, one.status) == (other.text, other.thoughts, other.status)
    assert one.chunks == other.chunks  # the JSON text as it came, with ids that are made up each time
    assert (one.finish_reason, one.usage, one.retries) == (other.finish_reason, other.usage, other.retries)
    assert [(c.name, c.args, c.result, c.status) for c in one.tool_calls] == [
        (c.name, c.args, c.result, c.status) for c in other.tool_calls
    ]


def weather(city: str) -> str:
    """Tell the weather."""
    return f"cloudless in {city}"


# ------------------------------------------------------------------------------------------------ played back


def test_a_stream_with_tools_is_played_back_as_it_was(folder: Path) -> None:
    prompt = "Plan a day in Lisbon. Check the weather first."
    with Simulator(pace=0) as sim, recording(folder) as manager:
        was = run(manager, prompt, tools=[weather], **to(sim.base_url))
    assert [call.name for call in was.tool_calls] == ["weather"]
    with replaying(folder) as manager:
        assert "The one of this prompt differs at tools." in str(run(manager, prompt).error)
        now = run(manager, prompt, tools=[weather])
    assert now.error is None
    assert now.auth == "recording"
    same(was, now)
    assert [one.number for one in read(folder)] == [1, 1]


@pytest.mark.parametrize("faults", [["429"], ["cut=2"], ["checkpoint=2~cut=4"], ["error=500~error-after=2"]])
def test_failures_are_played_back_before_what_came_after_them(folder: Path, faults: list[str]) -> None:
    with Simulator(pace=0, faults=faults) as sim, recording(folder) as manager:
        was = run(manager, **to(sim.base_url))
    assert was.retries == 1
    assert len(read(folder)) == 2
    with replaying(folder) as manager:
        now = run(manager, retry=NOW)
    assert now.error is None
    same(was, now)


def test_the_last_recording_of_a_request_answers_from_then_on(folder: Path) -> None:
    answers = [sse_answer(text(word, finish="STOP")) for word in ("one", "two")]
    with ScriptedServer(answers) as server, recording(folder) as manager:
        assert [run(manager, **to(server.url)).text for _ in range(2)] == ["one", "two"]
    with replaying(folder) as manager:
        assert [run(manager).text for _ in range(3)] == ["one", "two", "two"]


@pytest.mark.parametrize("cut", [None, 4, 31])
def test_the_bytes_are_the_same_wherever_they_were_cut(
    folder: Path, cut: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = b": hi\r\n\r\n" + sse_event(text("h\u00e9 \u2028\u2029 \U0001f30a", finish="STOP")) + b"\n: bye"
    at = whole.index("é".encode()) + 1
    pieces = [whole[:at], whole[at : at + 3], whole[at + 3 :]] if cut is None else [whole[:cut], whole[cut:]]
    gates = [threading.Event() for _ in pieces]
    steps: list[Step] = [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"]
    for piece, gate in zip(pieces, gates, strict=True):
        steps += [piece, Wait(gate)]

    arrived = threading.Semaphore(0)
    copy = Tape.copy

    async def counting(tape: Tape, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in copy(tape, body):
            arrived.release()
            yield piece

    monkeypatch.setattr(Tape, "copy", counting)
    with ScriptedServer([[*steps, Close()]]) as server, recording(folder) as manager:
        stream = manager.start_stream("Why is the sky blue?", **to(server.url))
        for gate in gates:
            assert arrived.acquire(timeout=PATIENCE)
            gate.set()
        assert stream.wait(PATIENCE).error is None
    [one] = read(folder)
    assert [piece for _, piece in one.pieces] == pieces
    with Simulator(pace=0, recordings=folder) as sim:
        again = exchange(sim.base_url, json.loads(json.dumps(one.body)))
    assert again.body == whole
    assert again.headers["content-type"] == "text/event-stream"


def test_the_timing_is_kept_and_multiplied_by_the_pace(folder: Path) -> None:
    folder.mkdir()
    events = [sse_event(text("a")), sse_event(text("b", finish="STOP"))]
    pieces = tuple(zip((0.1, 0.2), events, strict=True))
    made = Recording(model=MODEL, body=ask("Hello"), wait=0.2, pieces=pieces)
    (folder / file_name(made)).write_bytes(made.encode())
    for pace, low, high in ((1.0, 0.5, PATIENCE), (0.0, 0.0, 0.45)):
        with Simulator(pace=pace, recordings=folder) as sim:
            assert low <= exchange(sim.base_url, ask("Hello")).seconds < high
    assert read_recording(folder / file_name(made)) == made


def test_a_pause_is_written_down_where_it_was(folder: Path) -> None:
    released = threading.Event()
    steps: list[Any] = [text("slow"), Wait(released), text("ly", finish="STOP")]
    recorder = Recorder()
    with ScriptedServer([sse_answer(*steps)]) as server, recording(folder) as manager:
        stream = manager.start_stream("Hi", recorder, **to(server.url))
        recorder.wait("text_delta")
        began = time.monotonic()
        threading.Timer(0.2, released.set).start()
        stream.wait(PATIENCE)
        lasted = time.monotonic() - began
    [one] = read(folder)
    longest = max(one.pieces)
    assert b"ly" in longest[1]
    assert 0.1 < longest[0] <= lasted + 0.1


@pytest.mark.parametrize(
    ("ending", "end", "error"),
    [
        ([], "complete", None),
        ([Close()], "cut", None),
        ([Wait()], "silent", IdleTimeoutError),
    ],
)
def test_an_answer_ends_as_it_did(folder: Path, ending: list[Step], end: str, error: type | None) -> None:
    finish = {} if error else {"finish": "STOP"}
    script = [sse_answer(text("Half", **finish), *ending)]
    keep = RetryPolicy(initial_delay=0.0, on_cut="keep")
    was = record(folder, *script, timeout=0.3, retry=keep)
    [one] = read(folder)
    assert one.end == end
    with replaying(folder) as manager:
        now = run(manager, timeout=0.3, retry=keep)
    same(was, now)
    assert type(now.error) is (error or type(None))
    with Simulator(pace=0, recordings=folder) as sim:
        again = exchange(sim.base_url, one.body, patience=0.5 if error else PATIENCE)
    assert again.ending == {"complete": "end", "cut": "fin", "silent": "silent"}[end]


def test_a_stopped_stream_is_recorded_as_far_as_it_was_read(folder: Path) -> None:
    recorder = Recorder()
    with ScriptedServer([sse_answer(text("Hel"), Wait())]) as server, recording(folder) as manager:
        stream = manager.start_stream("Hi", recorder, **to(server.url))
        recorder.wait("text_delta")
        stream.stop()
        stream.wait(PATIENCE)
    [one] = read(folder)
    assert one.end == "left"
    assert b"Hel" in b"".join(piece for _, piece in one.pieces)


# ------------------------------------------------------------------------------------- which request is whose


@pytest.fixture
def recorded(folder: Path) -> Path:
    def tell(request: Request) -> Answer:
        return sse_answer(text(f"asked {len(request.json['contents'])}", finish="STOP"))

    with rig(tell) as made:
        made.manager.record(folder)
        for prompt in ("Why is the sky blue?", "Why is grass green?"):
            options = {"generation_config": {"temperature": 1.0}, "tools": [weather]}
            assert made.start(prompt, model=MODEL, **options).wait(PATIENCE).error is None
        made.manager.record(None)
    return folder


def declared(description: str = "Tell the weather.", name: str = "weather") -> dict[str, Any]:
    return {"functionDeclarations": [{"name": name, "description": description}]}


def test_what_means_the_same_is_the_same_request(recorded: Path) -> None:
    config: dict[str, Any] = {"temperature": 1, "topP": None}
    body = ask("Why is the sky blue?", tools=[declared("Another wording.")], generation_config=config)
    del body["contents"][0]["role"]
    body["labels"] = {"team": "a"}
    with Simulator(pace=0, recordings=recorded) as sim:
        assert exchange(sim.base_url, body).status == 200
        prefix = f"projects/p/locations/global/publishers/google/models/{MODEL}"
        with replaying(recorded) as manager:
            options = {"tools": [weather], "generation_config": {"temperature": 1}}
            long = run(manager, model=prefix, **options)
    assert long.error is None
    assert long.text == "asked 1"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"generationConfig": {"temperature": 0}}, "generationConfig.temperature"),
        ({"tools": [declared(name="clock")]}, "tools[0]"),
        ({"systemInstruction": {"parts": [{"text": "Be short."}]}}, "systemInstruction"),
    ],
)
def test_a_request_that_was_not_recorded_says_what_there_is(
    recorded: Path, change: dict[str, Any], where: str
) -> None:
    same_one = ask("Why is the sky blue?", tools=[declared()], generationConfig={"temperature": 1.0})
    with Simulator(pace=0, recordings=recorded) as sim:
        refused = exchange(sim.base_url, {**same_one, **change})
        assert (refused.status, refused.json["error"]["status"]) == (404, "NOT_FOUND")
        message = refused.json["error"]["message"]
        assert f"The one of this prompt differs at {where}." in message
        for known in ("Why is the sky blue?", "Why is grass green?"):
            assert f'"{known}" of {MODEL}' in message
        assert exchange(sim.base_url, same_one, model="gemini-other").status == 404
        assert exchange(sim.base_url, same_one, method="generateContent").status == 404


def test_an_unrecorded_question_is_an_error_of_the_stream(recorded: Path) -> None:
    with replaying(recorded) as manager:
        failed = run(manager, "What is the capital of Peru?")
    assert failed.error is not None
    assert failed.error.status_code == 404
    assert "No recording in 'recordings' answers \"What is the capital of Peru?\"" in str(failed.error)
    assert "record(folder)" in failed.error.hint


def test_a_tool_may_return_something_else_than_when_it_was_recorded(folder: Path) -> None:
    times = iter(["9:01", "9:02"])

    def clock() -> str:
        """Tell the time."""
        return next(times)

    with Simulator(pace=0) as sim, recording(folder) as manager:
        was = run(manager, "What time is it?", tools=[clock], **to(sim.base_url))
    with replaying(folder) as manager:
        now = run(manager, "What time is it?", tools=[clock])
    assert [was.tool_calls[0].result, now.tool_calls[0].result] == ["9:01", "9:02"]
    assert now.text == was.text


def test_where_what_a_tool_returned_tells_two_recordings_apart_it_counts(folder: Path) -> None:
    def asked(result: str) -> dict[str, Any]:
        response = {"functionResponse": {"name": "clock", "response": {"result": result}}}
        call = {"role": "model", "parts": [{"functionCall": {"name": "clock"}}]}
        turns = [{"role": "user", "parts": [{"text": "Hi"}]}, call, {"role": "user", "parts": [response]}]
        return ask("What time is it?", contents=turns)

    def echo(request: Request) -> Answer:
        part = request.json["contents"][2]["parts"][0]["functionResponse"]
        return sse_answer(text(part["response"]["result"], finish="STOP"))

    with rig(echo) as made:
        made.manager.record(folder)
        for result in ("9:01", "9:02"):
            made.start(None, request_body=asked(result)).wait(PATIENCE)
        made.manager.record(None)
    with replaying(folder) as manager:
        got = [run(manager, None, request_body=asked(result)).text for result in ("9:02", "9:01")]
    assert got == ["9:02", "9:01"]


def test_a_request_that_is_recorded_anew_replaces_its_old_recordings(folder: Path) -> None:
    record(folder, json_error(503), sse_answer(text("old", finish="STOP")))
    record(folder, sse_answer(text("other", finish="STOP")), contents="Another question")
    assert len(read(folder)) == 3
    record(folder, sse_answer(text("new", finish="STOP")))
    assert len(read(folder)) == 2
    with replaying(folder) as manager:
        assert [run(manager, prompt).text for prompt in ("Why is the sky blue?", "Another question")] == [
            "new",
            "other",
        ]


def test_what_is_recorded_later_is_played_back_by_a_running_server(folder: Path) -> None:
    record(folder, sse_answer(text("one", finish="STOP")), contents="First")
    with replaying(folder) as manager:
        assert run(manager, "First").text == "one"
        assert run(manager, "Second").error is not None
        record(folder, sse_answer(text("two", finish="STOP")), contents="Second")
        assert run(manager, "Second").text == "two"


# -------------------------------------------------------------------------------------------- what is written


def test_a_file_reads_like_a_conversation(folder: Path) -> None:
    record(folder, sse_answer(text("Because of ☀", finish="STOP")), model="gemini-test")
    [path] = folder.iterdir()
    assert re.fullmatch(r"gemini-test_why-is-the-sky-blue_turn1_[0-9a-f]{12}_1\.jsonl", path.name)
    head, start, *pieces, end = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert (head["method"], head["model"], head["number"]) == ("streamGenerateContent", "gemini-test", 1)
    assert head["body"] == ask("Why is the sky blue?")
    assert start["status"] == 200
    assert "Because of ☀" in "".join(piece["text"] for piece in pieces)
    assert end["end"] == "complete"
    assert all(line["after"] >= 0 for line in (start, *pieces, end))


def test_no_secret_is_in_any_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "AIzaSy-another-key-of-the-environment-0123456789"
    monkeypatch.setenv("GEMINI_API_KEY", other)
    event = sse_event(text(f"Your key is {KEY}, is it?", finish="STOP"))
    half = event.index(KEY.encode()) + 7
    echo = json_error(429, message=f"key {KEY} and {other}")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    was = record(folder, echo, [head, event[:half], event[half:], Close()], contents=f"Is it {KEY}?")
    assert was.error is None
    written = [path.name.encode() + path.read_bytes() for path in folder.iterdir()]
    assert len(written) == 2
    assert not any(
        secret.lower() in data.lower() for data in written for secret in (KEY.encode(), other.encode())
    )
    assert not any(b"x-goog-api-key" in data or b"authorization" in data.lower() for data in written)
    assert sum(b"[secret]" in data for data in written) == 2
    with replaying(folder) as manager:
        for known in (Secret(KEY), "[secret]"):  # whoever knows it is understood, too
            prompt = f"Is it {known.reveal() if isinstance(known, Secret) else known}?"
            assert run(manager, prompt, retry=NOW).text == "Your key is [secret], is it?"


def test_a_secret_that_lies_across_two_pieces_is_found(folder: Path) -> None:
    event = sse_event(text(f"Your key is {KEY}, is it?", finish="STOP"))
    half = event.index(KEY.encode()) + 7
    gate = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    script: list[Step] = [head, sse_event(text("Well. ")) + event[:half], Wait(gate), event[half:], Close()]
    recorder = Recorder()
    with ScriptedServer([script]) as server, recording(folder) as manager:
        stream = manager.start_stream("Hi", recorder, **to(server.url))
        recorder.wait("text_delta")
        gate.set()
        stream.wait(PATIENCE)
    [path] = folder.iterdir()
    assert KEY[:7] not in path.read_text()
    assert KEY[7:] not in path.read_text()


def test_nothing_is_recorded_before_after_or_of_a_recording(folder: Path, tmp_path: Path) -> None:
    with rig(hello()) as made:
        assert made.start().wait(PATIENCE).text == "Hello"
        made.manager.record(folder)
        made.start("In between").wait(PATIENCE)
        made.manager.record(None)
        made.start("Afterwards").wait(PATIENCE)
        assert made.manager.runtime._recorder is None
    [one] = read(folder)
    assert one.body == ask("In between")
    again = tmp_path / "again"
    with replaying(folder) as manager:
        manager.record(again)
        assert run(manager, "In between", model="gemini-3.8-flash").text == "Hello"
        manager.record(None)
    assert list(again.iterdir()) == []


def test_a_recording_that_cannot_be_written_harms_no_stream(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer([sse_answer(text("Hi", finish="STOP"))]) as server, recording(folder) as manager:
        shutil.rmtree(folder)
        with caplog.at_level(logging.ERROR, "gemini_nb"):
            assert run(manager, **to(server.url)).text == "Hi"
            manager.record(None)
    assert "could not be recorded" in caplog.text


def test_half_a_file_is_not_played_back(folder: Path) -> None:
    record(folder, sse_answer(text("whole", finish="STOP")))
    [path] = folder.iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.with_name("half.jsonl").write_bytes(b"".join(lines[:-1]))
    path.with_name(f".{path.name}.1.tmp").write_bytes(b"".join(lines[:1]))
    with pytest.raises(ConfigError, match=r"half\.jsonl is not a recording"):
        read_recording(path.with_name("half.jsonl"))
    with replaying(folder) as manager:
        assert run(manager).text == "whole"
        assert "half.jsonl is not a recording" in str(run(manager, "Unknown").error)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    manager = StreamManager()
    try:
        with pytest.raises(ConfigError, match="Nothing can be recorded"):
            manager.record(tmp_path / "file")
        with pytest.raises(ConfigError, match="no folder of recordings 'recordings'"):
            manager.start_stream("Hi", auth="recording")
        monkeypatch.setenv("GEMINI_NB_RECORDINGS", "elsewhere")
        with pytest.raises(ConfigError, match="no folder of recordings 'elsewhere'"):
            manager.start_stream("Hi", auth="recording")
        with pytest.raises(ConfigError, match="no folder of recordings"):
            Simulator(recordings=tmp_path / "nowhere")
        with pytest.raises(ConfigError, match="scenario or from recordings"):
            Simulator(recordings=tmp_path, scenario=lambda *_: [])
    finally:
        manager.shutdown()


def test_nothing_leaves_the_machine_whatever_the_notebook_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1beta1")
    with ScriptedServer([sse_answer(text("Hi", finish="STOP"))]) as server:
        url = f"{server.url}/custom/models/{MODEL}:streamGenerateContent?alt=sse"
        with recording(folder) as manager:
            assert run(manager, **{**to(server.url), "base_url": None, "endpoint": url}).text == "Hi"
        with replaying(folder) as manager:
            given: list[dict[str, Any]] = [{"endpoint": url}, {"endpoint": "http://["}]
            for options in (*given, {"base_url": server.url}, {"credentials": {"api_key": KEY}}):
                now = run(manager, auth="recording", **options)
                assert (now.text, now.error) == ("Hi", None)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "name",
    [
        "vertex-utf8.txt",
        "vertex-unknown-model.txt",
        pytest.param("vertexai/streaming-success-utf8.txt", marks=needs_recordings),
        pytest.param("vertexai/streaming-failure-unknown-model.txt", marks=needs_recordings),
    ],
)
def test_bodies_alone_answer_for_the_model_of_their_name(name: str) -> None:
    with Simulator(pace=0, recordings=BODIES if name in OURS else FOLDER) as sim:
        got = exchange(sim.base_url, model=Path(name).stem)
    assert got.status == ((OURS | EXPECTED)[name].error or 200)
    assert got.body == body_of(name)


def test_a_notebook_runs_again_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolated_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    cells = [
        "%load_ext gemini_nb\nimport gemini_nb, pathlib",
        'def weather(city: str) -> str:\n    """Tell the weather."""\n    return "cloudless"',
        "%%gemini_stream -t weather -o trip\nPlan a day in Lisbon. Check the weather first.",
        "%%gemini_stream -o second\nDescribe a lighthouse.",
        "print(trip.text, second.text, sep='|||')",
    ]

    def execute(first: str) -> tuple[str, str]:
        made: nbformat.NotebookNode = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in (first, *cells)]
        )
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(made, timeout=60, kernel_name="python3", resources=resources).execute()
        return made.cells[-1].outputs[0].text, "".join(str(cell.outputs) for cell in made.cells[3:5])

    with Simulator(api_key=KEY, pace=0, seed=41) as sim:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", sim.base_url)
        was, shown = execute("import gemini_nb; gemini_nb.get_manager().record('recordings')")
        assert "recorded" not in shown
        asked = sim.request_count
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("GEMINI_NB_AUTH", "recording")
    files = sorted((tmp_path / "recordings").iterdir())
    assert len(files) == asked == 3
    before = [path.read_bytes() for path in files]
    now, shown = execute("import gemini_nb; gemini_nb.get_manager().record('recordings')")
    assert now == was
    assert shown.count(f"{MODEL} (recorded)") >= 2
    assert [path.read_bytes() for path in files] == before
