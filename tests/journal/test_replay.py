"""Kept answers played back with the network off, and by a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from test_kept import converse, counted, same, weather

from answers import KEY, PATIENCE, Recorder, always, rig
from gemini_nb.config import Settings
from gemini_nb.errors import ConfigError, NotKeptError
from gemini_nb.journal.kept.call_record import CallRecord, TimedChunk
from gemini_nb.simulator import Simulator
from gemini_nb.streams.manager import StreamManager
from gemini_nb.streams.stream import Stream
from kernels import Kernel, isolated_environment
from raw_client import exchange
from scripted import Answer, Request, ScriptedServer, sse_answer, text
from simulator_wire import MODEL, ask

SKY = "Why is the sky blue?"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def offline(path: Path) -> Iterator[Callable[..., Stream]]:
    """Asks a manager of its own, with the network off."""
    managers = []

    def run(contents: Any = SKY, pace: float = 0.0, **options: Any) -> Stream:
        managers.append(StreamManager(settings=Settings(auth="recording", keep=path, replay_pace=pace)))
        return managers[-1].start_stream(contents, **options).wait(PATIENCE)

    yield run
    for manager in managers:
        manager.shutdown()


Offline = Callable[..., Stream]


def keep(path: Path, script: Callable[[Request], Answer], contents: Any = SKY, **options: Any) -> Stream:
    with rig(script) as made:
        return made.start(contents, keep=path, **options).wait(PATIENCE)


def test_a_conversation_is_played_back_as_it_was(path: Path, offline: Offline) -> None:
    was = keep(path, converse, tools=[weather])
    now = offline(tools=[weather])
    same(now, was)
    assert (now.auth, now.kept is not None, now.record.remarks) == ("recording", True, "")
    assert [event.kind for event in now.events] == [event.kind for event in was.events]


def test_what_a_simulator_answered_is_played_back_too(path: Path, offline: Offline) -> None:
    with Simulator(pace=0) as sim:
        manager = StreamManager()
        through: dict[str, Any] = {
            "auth": "gemini",
            "credentials": {"api_key": KEY},
            "base_url": sim.base_url,
        }
        was = manager.start_stream(SKY, keep=path, **through).wait(PATIENCE)
        other = manager.start_stream("Hello", keep=path, auth="simulator", base_url=sim.base_url)
        other.wait(PATIENCE)
        manager.shutdown()
    assert [offline(prompt).text for prompt in (SKY, "Hello")] == [was.text, other.text]


def test_nothing_is_sent_whatever_the_notebook_says(path: Path, offline: Offline) -> None:
    with ScriptedServer(always(text("Hi", finish="STOP"))) as server:
        url = f"{server.url}/custom/models/{MODEL}:streamGenerateContent?alt=sse"
        manager = StreamManager()
        credentials = {"api_key": KEY}
        asked = manager.start_stream(SKY, keep=path, auth="gemini", credentials=credentials, endpoint=url)
        assert asked.wait(PATIENCE).text == "Hi"
        manager.shutdown()
        given: list[dict[str, Any]] = [
            {"endpoint": url},
            {"endpoint": "http://["},
            {"base_url": server.url},
            {"credentials": credentials, "auth": "recording"},
            {"fresh": True},
            {"model": f"projects/p/locations/global/publishers/google/models/{MODEL}"},
        ]
        for options in given:
            now = offline(**options)
            assert (now.text, now.error) == ("Hi", None)
        assert isinstance(offline("Another", base_url=server.url).error, NotKeptError)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"generation_config": {"temperature": 0}}, "generationConfig.temperature (1 was kept, 0 is asked)"),
        ({"generation_config": None}, "generationConfig.temperature (not asked)"),
        ({"tools": [weather]}, "tools[0] weather (not kept)"),
        ({"system_instruction": "Be long."}, "systemInstruction"),
        ({"contents": "Why is grass blue?"}, "contents[0]"),
        ({"model": "gemini-other"}, f"model ({MODEL} was kept, gemini-other is asked)"),
    ],
)
def test_a_miss_names_the_nearest_kept_question_and_what_differs(
    path: Path, offline: Offline, change: dict[str, Any], where: str
) -> None:
    options: dict[str, Any] = {
        "generation_config": {"temperature": 1.0},
        "system_instruction": "Be short.",
        "model": MODEL,
    }
    for prompt in (SKY, "Describe a lighthouse."):
        keep(path, counted, prompt, **options)
    keep(path, counted, model="gemini-flash-latest")
    assert offline(**options).error is None
    failed = offline(**{**options, **change})
    assert isinstance(failed.error, NotKeptError)
    said = str(failed.error)
    assert "No answer in answers.jsonl is kept for" in said
    assert f'The nearest kept question is "{SKY}" of {MODEL}. It differs in {where}' in said
    assert failed.status == "error"


def test_a_strangers_question_moves_no_cursor(path: Path, offline: Offline) -> None:
    keep(path, counted, "Why \x1b[2J\x1b]0;title\x07 not?", model=MODEL)
    said = str(offline("Why", model=MODEL).error)
    assert "The nearest kept question is" in said
    assert said.isprintable()


def test_a_miss_in_an_empty_file_and_without_a_file_are_said(path: Path, offline: Offline) -> None:
    with pytest.raises(ConfigError, match="There is no file of kept answers"):
        offline()
    path.write_text("")
    assert "answers.jsonl holds no answers." in str(offline().error)
    with pytest.raises(ConfigError, match="recording"):
        offline(keep=False)


def test_a_tool_may_return_something_else_and_that_is_said(path: Path, offline: Offline) -> None:
    times = iter(["9:01", "9:02", "9:03"])

    def weather(city: str) -> str:
        """Tell the weather."""
        return f"{next(times)} in {city}"

    was = keep(path, converse, tools=[weather])
    now = offline(tools=[weather])
    assert [was.tool_calls[0].result, now.tool_calls[0].result] == ["9:01 in Lisbon", "9:02 in Lisbon"]
    assert now.text == was.text
    assert "returned something else" in now.record.remarks


def test_where_results_tell_two_answers_apart_they_count(path: Path, offline: Offline) -> None:
    def asked(result: str) -> dict[str, Any]:
        response = {"functionResponse": {"name": "clock", "response": {"result": result}}}
        call = {"role": "model", "parts": [{"functionCall": {"name": "clock"}}]}
        turns = [{"role": "user", "parts": [{"text": "Hi"}]}, call, {"role": "user", "parts": [response]}]
        return ask("What time is it?", contents=turns)

    def echo(request: Request) -> Answer:
        part = request.json["contents"][2]["parts"][0]["functionResponse"]
        return sse_answer(text(part["response"]["result"], finish="STOP"))

    for result in ("9:01", "9:02"):
        keep(path, echo, None, request_body=asked(result))
    assert [offline(None, request_body=asked(one)).text for one in ("9:02", "9:01")] == ["9:02", "9:01"]


def slowly(path: Path) -> None:
    """Give the kept answer waits of 0.3 s in all."""
    record = CallRecord.from_json(path.read_text())
    waits = [TimedChunk(0.3 / len(record.chunks), data) for _, data in record.chunks]
    path.write_text(replace(record, chunks=tuple(waits)).to_json())


def test_the_timing_is_played_back_and_can_be_turned_off(path: Path, offline: Offline) -> None:
    keep(path, always(text("a"), text("b"), text("c", finish="STOP")))
    slowly(path)
    for pace, low, high in ((1.0, 0.3, PATIENCE), (0.0, 0.0, 0.3)):
        stream = offline(pace=pace)
        assert stream.text == "abc"
        assert stream.ended_at is not None
        assert low <= stream.ended_at - stream.started_at < high


def test_what_is_played_back_slowly_can_be_stopped(path: Path) -> None:
    keep(path, always(text("a "), text("b", finish="STOP")))
    record = CallRecord.from_json(path.read_text())
    slow = replace(record, chunks=(record.chunks[0], TimedChunk(3600.0, record.chunks[1].data)))
    path.write_text(slow.to_json())
    manager = StreamManager(settings=Settings(auth="recording", keep=path))
    recorder = Recorder()
    stream = manager.start_stream(SKY, recorder)
    recorder.wait("text_delta")
    stream.stop()
    assert (stream.wait(PATIENCE).status, stream.text) == ("stopped", "a ")
    manager.shutdown()


@pytest.mark.parametrize("pace", [-1, float("nan"), "fast", True])
def test_a_pace_is_a_number(path: Path, offline: Offline, pace: Any) -> None:
    keep(path, always(text("a", finish="STOP")))
    assert "replay_pace" in str(offline(pace=pace).error)


# ------------------------------------------------------------------------------------------------ by a server


def test_a_server_plays_back_what_was_kept(path: Path) -> None:
    was = keep(path, always(text("Because "), text("of light.", finish="STOP")), model=MODEL)
    with Simulator(pace=0, recordings=path) as sim:
        got = exchange(sim.base_url, ask(SKY))
        assert (got.status, got.headers["content-type"]) == (200, "text/event-stream")
        assert [json.loads(line[6:]) for line in got.body.decode().splitlines() if line] == [
            json.loads(chunk) for chunk in was.record.chunks
        ]
        refused = exchange(sim.base_url, ask("Why is grass green?"))
        assert (refused.status, refused.json["error"]["status"]) == (404, "NOT_FOUND")
        assert f'The nearest kept question is "{SKY}"' in refused.json["error"]["message"]
        assert exchange(sim.base_url, ask(SKY), method="generateContent").status == 404
        with rig(counted) as made:
            through: dict[str, Any] = {**made.options, "base_url": sim.base_url, "model": MODEL}
            assert made.manager.start_stream(SKY, **through).wait(PATIENCE).text == was.text


def test_a_server_gives_equal_rows_their_own_answers(path: Path) -> None:
    from gemini_nb.streams.group.mapping import map_prompts

    with rig(counted) as made:
        group = map_prompts([SKY] * 3, manager=made.manager, keep=path, model=MODEL, **made.options)
        answers = {stream.text for stream in group.wait(PATIENCE).streams}
    with Simulator(pace=0, recordings=path) as sim:
        got = [exchange(sim.base_url, ask(SKY)).body for _ in range(4)]
    assert len({*got[:3]}) == len(answers) == 3
    assert got[3] == got[2]


def test_a_server_paces_what_it_plays_back(path: Path) -> None:
    keep(path, always(text("a"), text("b", finish="STOP")), model=MODEL)
    slowly(path)
    for pace, low, high in ((1.0, 0.29, PATIENCE), (0.0, 0.0, 0.29)):
        with Simulator(pace=pace, recordings=path) as sim:
            assert low <= exchange(sim.base_url, ask(SKY)).seconds < high


def test_a_server_needs_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no file of kept answers"):
        Simulator(recordings=tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match="scenario or from recordings"):
        Simulator(recordings=tmp_path, scenario=lambda *_: [])


# ---------------------------------------------------------------------------------------------- in a notebook


CELLS = [
    "%load_ext gemini_nb\nnumbers = [1, 2]",
    'def weather(city: str) -> str:\n    """Tell the weather."""\n    return "cloudless"',
    "%%gemini_stream -t weather -o trip --keep\nPlan a day in Lisbon. Check the weather first.",
    "%%gemini_stream -o second --keep answers.jsonl\nDescribe a lighthouse.",
    "%%gemini_stream -o rows --each numbers --keep\nCount to {item}.",
    "print(trip.text, second.text, rows.results, sep='|||')",
]


@pytest.mark.slow
def test_a_notebook_with_its_answers_runs_for_a_class_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in isolated_environment(tmp_path).items():
        monkeypatch.setenv(name, value)

    def execute() -> tuple[str, str]:
        made: nbformat.NotebookNode = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]
        )
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(made, timeout=60, kernel_name="python3", resources=resources).execute()
        return made.cells[-1].outputs[0].text, "".join(str(cell.outputs) for cell in made.cells[2:5])

    def answer(request: Request) -> Answer:
        return converse(request) if request.json.get("tools") else counted(request)

    with ScriptedServer(answer) as server:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        was, shown = execute()
        assert "kept," not in shown
        assert len(server.requests) == 5
        assert execute()[0] == was
        assert len(server.requests) == 5
    lines = (tmp_path / "answers.jsonl").read_bytes()
    assert KEY.encode() not in lines
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.delenv("GOOGLE_GEMINI_BASE_URL")
    for auth in (None, "recording"):
        if auth is not None:
            monkeypatch.setenv("GEMINI_NB_AUTH", auth)
        now, shown = execute()
        assert now == was
        assert shown.count("kept, ") >= 2
    assert (tmp_path / "answers.jsonl").read_bytes() == lines


def test_the_settings_of_a_notebook_say_what_is_kept(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    run = "%%gemini_stream --wait -o stream {}\nDescribe a lighthouse."
    shown = "print(stream.kept is not None, stream.error)"
    kernel.run("%load_ext gemini_nb\n%config GeminiNB.keep = True")
    kept = []
    for options in ("", "", "--fresh", "--keep other.jsonl", ""):
        assert kernel.run(run.format(options)).status == "ok"
        kept.append(kernel.run(shown).stdout.split()[0])
    assert kept == ["False", "True", "False", "False", "True"]
    kernel.run("%config GeminiNB.keep = False")
    kernel.run(run.format(""))
    assert kernel.run(shown).stdout.split() == ["False", "None"]
    kernel.run("%config GeminiNB.replay_pace = 0\n%config GeminiNB.keep = 'answers.jsonl'")
    kernel.run(run.format("--auth recording"))
    assert kernel.run(shown).stdout.split() == ["True", "None"]
    failed = kernel.run("%%gemini_stream --wait --auth recording\nDescribe another lighthouse.")
    assert "The nearest kept question is" in failed.error_text
    kernel.run("import os, pathlib\npathlib.Path('elsewhere').mkdir()\n%cd -q elsewhere")
    kernel.run(run.format("--auth recording --keep"))
    assert kernel.run(shown).stdout.split() == ["True", "None"]
    assert "lighthouse" in kernel.run("%gemini_history --keep").stdout
    for setting in ("False", "'other.jsonl'"):  # one name is one file, wherever the cell runs
        kernel.run(f"%config GeminiNB.keep = {setting}")
        kernel.run(run.format("--keep other.jsonl" if setting == "False" else ""))
        assert kernel.run(shown).stdout.split() == ["True", "None"]
    kernel.run("%config GeminiNB.keep = 'answers.jsonl'")
    assert "lighthouse" in kernel.run("%gemini_history --keep other.jsonl").stdout
    kernel.run(run.format("--fresh --keep"))
    assert kernel.run("print(os.listdir())").stdout == "[]\n"
    missing = kernel.run("%%gemini_stream --keep missing/answers.jsonl\nHi")
    assert "no folder" in missing.error_text


@pytest.mark.slow
def test_a_file_of_kept_answers_is_listed_and_emptied(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    kernel.run("%load_ext gemini_nb")
    for thing in ("lighthouse", "river", "mountain"):
        kernel.run(f"%%gemini_stream --wait --keep\nDescribe a {thing}.")
    kernel.run("print('<b>\\x1b[31mnot an answer</b>', file=open('answers.jsonl', 'a'))")
    listed = kernel.run("%gemini_history --keep answers.jsonl").stdout
    order = [listed.index(thing) for thing in ("lighthouse", "river", "mountain", "passed over")]
    assert order == sorted(order)
    assert "\x1b" not in listed
    assert "river" not in kernel.run("%gemini_history --keep -n 1").stdout
    found = kernel.run("%gemini_history --keep answers.jsonl describe a river").stdout
    assert ("river" in found, "mountain" in found) == (True, False)
    assert "no such answer" in kernel.run("%gemini_history --keep answers.jsonl zebra").stdout
    for wrong in ("--keep missing.jsonl", "--keep --notebook a.ipynb", "--keep --clear -n 0"):
        failed = kernel.run(f"%gemini_history {wrong}")
        assert "UsageError" in failed.stderr + failed.error_text
    assert "Deleted 3 kept answers" in kernel.run("%gemini_history --keep answers.jsonl --clear").stdout
    assert kernel.run("print(open('answers.jsonl').read() == '')").stdout == "True\n"
    kernel.run("print('import os', file=open('program.py', 'w'))")
    failed = kernel.run("%gemini_history --keep program.py --clear")
    assert "something else than kept answers" in failed.stderr + failed.error_text
