"""What the journal has of real streams, how it is turned off, and what a killed kernel leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import KEY, Rig, rig, run_python, until
from gemini_nb.config import Settings, journal_path
from gemini_nb.errors import ConfigError, StreamNotFoundError
from gemini_nb.journal.entries import Journal
from gemini_nb.journal.store import multi_row
from gemini_nb.notebook.render.history import entry_bundle, history_table, usage_table
from gemini_nb.simulator import Simulator
from gemini_nb.streams.chat.chat import Chat
from gemini_nb.streams.manager import StreamManager
from journal_rig import another, opened
from kernels import Kernel
from scripted import Wait, json_error, sse_answer, text

FREE = Decimal()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def simulated() -> Iterator[tuple[StreamManager, dict[str, Any]]]:
    with Simulator(pace=0, api_key=KEY) as server:
        manager = StreamManager()
        try:
            options = {"auth": "gemini", "credentials": {"api_key": KEY}, "base_url": server.base_url}
            yield manager, options
        finally:
            manager.shutdown()


def journal_of(made: Rig | StreamManager) -> Journal:
    manager = made.manager if isinstance(made, Rig) else made
    writer = manager.runtime.journal()
    assert writer is not None
    return Journal(writer)


def test_an_entry_says_all_of_a_stream(simulated: tuple[StreamManager, dict[str, Any]]) -> None:
    manager, options = simulated

    def weather(city: str) -> dict[str, str]:
        """Look up the weather."""
        return {"sky": f"clear over {city}"}

    stream = manager.start_stream(
        "What is the weather in Lisbon?", tools=[weather], system_instruction="Be brief.", **options
    )
    stream.wait()
    entry = journal_of(manager).get(stream.stream_id)
    assert (entry.stream_id, entry.model, entry.auth, entry.status) == (
        stream.stream_id,
        stream.model,
        "gemini",
        "completed",
    )
    assert (entry.prompt, entry.text) == ("What is the weather in Lisbon?", stream.text)
    assert entry.usage == stream.usage
    assert entry.cost == stream.cost
    assert (entry.finish_reason, entry.error, entry.retries, entry.kept) == ("STOP", None, 0, None)
    assert list(entry.parts) == stream.parts
    (call,) = entry.tool_calls
    assert (call.name, call.args, call.status) == ("weather", stream.tool_calls[0].args, "done")
    assert call.result == stream.tool_calls[0].result
    assert entry.started_at <= (entry.first_output_at or 0) <= (entry.ended_at or 0)
    assert entry.process.endswith(f":{os.getpid()}")
    assert journal_of(manager).get(entry.id) == entry


def test_entries_come_newest_first_with_ids_of_their_own() -> None:
    with rig([sse_answer(text(f"answer {n}", finish="STOP")) for n in range(5)]) as made:
        streams = [made.start(f"question {n}").wait() for n in range(5)]
        journal = journal_of(made)
        assert [entry.prompt for entry in journal.streams()] == [f"question {n}" for n in (4, 3, 2, 1, 0)]
        assert len(journal.streams(limit=2)) == 2
        assert len({entry.id for entry in journal.streams()}) == 5
        assert [entry.prompt for entry in journal.streams(text="ANSWER 3")] == ["question 3"]
        assert [entry.prompt for entry in journal.streams(text="%")] == []
        assert journal.get(streams[2].stream_id).text == "answer 2"
        with pytest.raises(StreamNotFoundError, match="no entry 'nothing'"):
            journal.get("nothing")
        frame = journal.to_frame()
        assert list(frame["text"]) == [f"answer {n}" for n in (4, 3, 2, 1, 0)]
        assert {"id", "model", "tokens", "cost", "started_at", "notebook"} <= set(frame.columns)


def test_failures_and_stops_are_kept_with_what_had_come() -> None:
    from gemini_nb.api.retry import RetryPolicy

    script = [json_error(400, message="No such thing"), [*sse_answer(text("Half"))[:-1], Wait()]]
    with rig(script) as made:
        failed = made.start("fails", retry=RetryPolicy(attempts=1))
        failed.wait()
        stopped = made.start("is stopped")
        next(event for event in stopped if event.kind == "text_delta")
        stopped.stop()
        of_stopped, of_failed = journal_of(made).streams()
        assert (of_stopped.status, of_stopped.text) == ("stopped", "Half")
        assert of_failed.status == "error"
        assert "No such thing" in str(of_failed.error)


def test_what_waits_to_be_asked_is_written_when_it_is_asked() -> None:
    gate = threading.Event()
    first = [*sse_answer(text("One."))[:-1], Wait(gate), *sse_answer(text("", finish="STOP"))[1:]]
    with rig([first, sse_answer(text("Two.", finish="STOP"))], max_concurrent=1) as made:
        running, waiting = made.start("first"), made.start("second")
        next(event for event in running if event.kind == "text_delta")
        assert [entry.prompt for entry in journal_of(made).streams()] == ["first"]
        gate.set()
        waiting.wait()
        assert [entry.prompt for entry in journal_of(made).streams()] == ["second", "first"]


def test_a_chat_keeps_its_messages_and_not_its_history_again_and_again() -> None:
    with rig([sse_answer(text(f"answer {n}", finish="STOP")) for n in range(3)]) as made:
        chat = Chat(manager=made.manager, **made.options)
        for n in range(3):
            chat.send(f"message {n}").wait()
        assert [entry.prompt for entry in journal_of(made).streams()] == [
            "message 2",
            "message 1",
            "message 0",
        ]


def test_no_key_or_token_is_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIzaSyEnvironmentKeyThatIsSecret0000000")
    said = f"The key is {KEY} and AIzaSyEnvironmentKeyThatIsSecret0000000."

    def leak() -> str:
        """Give the key away."""
        return said

    halves = {"parts": [{"text": half, "thoughtSignature": "c2ln"} for half in (KEY[:15], KEY[15:])]}
    apart = {"candidates": [{"content": halves, "finishReason": "STOP"}]}
    answers = [sse_answer(text(said, finish="STOP")), json_error(400, message=said), sse_answer(apart)]
    with rig(answers) as made:
        made.start(f"Is {KEY} my key?", tools=[leak], system_instruction=said).wait()
        made.start({"parts": [{"inlineData": {"mimeType": "text/plain", "data": "x" * 5000 + KEY}}]}).wait()
        made.start("And in two parts?").wait()
        journal = journal_of(made)
        assert len(journal.streams()) == 3
        path = journal.path
    stored = b"".join(side.read_bytes() for side in path.parent.iterdir())
    connection = sqlite3.connect(path)
    for table, column in (("texts", "details"), ("blobs", "data")):
        for (packed,) in connection.execute(f"SELECT {column} FROM {table}"):
            stored += packed if packed.startswith(b"{") else zlib.decompress(packed)
    connection.close()
    assert b"The key is" in stored
    assert KEY[:15].encode() not in stored
    assert b"EnvironmentKeyThatIsSecret" not in stored


def test_pictures_are_kept_once() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": PNG * 100}}
    with rig([sse_answer(text("A dot.", finish="STOP"))] * 3) as made:
        for _ in range(3):
            made.start([{"text": "What is this?"}, picture]).wait()
        journal = journal_of(made)
        assert {entry.prompt for entry in journal.streams()} == {"What is this?\n[image/png]"}
        assert journal._writer.store.read("SELECT count(*) FROM blobs") == [(1,)]


@pytest.mark.parametrize("word", ["off", " OFF ", "0", "false", "No"])
def test_off_means_off(word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_NB_JOURNAL", word)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    with rig([sse_answer(text("Yes.", finish="STOP"))]) as made:
        assert made.start().result() == "Yes."
        with pytest.raises(ConfigError, match="is off"):
            gemini_nb.journal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("configured", "word", "is_on"),
    [
        (False, "", False),
        ("", "off", False),
        (None, "", True),
        (True, "off", True),
        ("on", "off", True),
        (None, "yes", True),
    ],
)
def test_on_and_off_in_the_settings(
    configured: bool | str | None, word: str, is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_NB_JOURNAL", word)
    found = journal_path(Settings(journal=configured))
    assert (found is not None, found is None or found[1]) == (is_on, True)


def test_by_default_it_is_in_the_users_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = """
import os
os.environ.pop("GEMINI_NB_JOURNAL", None)
os.environ["HOME"] = sys.argv[1]
os.environ["XDG_DATA_HOME"] = sys.argv[1] + "/data"
import gemini_nb
gemini_nb.get_manager().start_stream("Hi", auth="simulator").result()
print(gemini_nb.journal().path)
"""
    done = run_python(f"import sys\n{code}", arguments=[str(home)])
    assert done.stderr == ""
    path = Path(done.stdout.strip())
    assert home in path.parents
    assert (path.parent.name, path.name) == ("gemini_nb", "journal.db")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "path", ["\0", "x" * 5000, "/proc/nothing/here.db", "file:a?mode=memory", ":memory:"]
)
def test_an_odd_path_costs_no_stream(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with rig([sse_answer(text("Yes.", finish="STOP"))] * 2, settings=Settings(journal=path)) as made:
        assert made.start().result() == "Yes."
        assert made.start().result() == "Yes."
        writer = made.manager.runtime.journal()
        assert writer is not None
        writer.flush()
        said = [record.getMessage() for record in caplog.records]
        if path in {":memory:", "file:a?mode=memory"}:  # a name like any other
            assert len(Journal(writer).streams()) == 2
            assert (tmp_path / path).is_file()
        else:
            assert len(said) == 1
            assert "GEMINI_NB_JOURNAL" in said[0]
            with pytest.raises(ConfigError):
                Journal(writer).streams()


KILLED = """
import sys, threading, time
import gemini_nb
from answers import KEY
manager = gemini_nb.get_manager()
options = dict(auth="gemini", credentials={"api_key": KEY}, base_url=sys.argv[1])
lock = threading.Lock()
def tell(event):
    if event.kind == "stream_completed":
        with lock:
            print(event.stream_id, time.monotonic(), flush=True)
def ask(number):
    manager.start_stream(f"question {number}", tell, **options)
story = manager.start_stream("Tell a story in 20,000 words.", **options)
print(story.stream_id, flush=True)
for number in range(200):
    ask(number)
number = 200
while True:
    if sys.argv[2] == "computing":
        sum(range(100_000))
    else:
        time.sleep(0.005)
    if len(manager.list_streams()) < 200:
        ask(number)
        number += 1
"""


@pytest.mark.parametrize("doing", ["waiting", pytest.param("computing", marks=pytest.mark.slow)])
def test_a_kernel_killed_amid_200_streams_loses_no_answer_of_a_second_before(
    doing: str, tmp_path: Path
) -> None:
    path = tmp_path / "answers.db"
    support = Path(__file__).parents[1] / "support"
    environment = {
        **os.environ,
        "GEMINI_NB_JOURNAL": str(path),
        "PYTHONPATH": os.pathsep.join([str(support.parents[1]), str(support)]),
    }
    with Simulator(pace=0.3, api_key=KEY) as server:
        kernel = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.base_url, doing],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert kernel.stdout is not None
        story = kernel.stdout.readline().strip()
        told: list[tuple[str, float]] = []
        while len(told) < 150 or sum(at < told[-1][1] - 1 for _, at in told) <= 30:
            name, at = kernel.stdout.readline().split()
            told.append((name, float(at)))
        kernel.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        rest = [line.split() for line in kernel.communicate()[0].splitlines()[:-1]]
        told += [(name, float(at)) for name, at in rest]
    with opened(path) as (writer, journal):
        entries = {entry.stream_id: entry for entry in journal.streams(limit=None)}
        safe = [name for name, at in told if at < killed - 1]
        assert len(safe) > 30
        assert {entries[name].status for name in safe} == {"completed"}
        assert all(entries[name].text and entries[name].usage.total_token_count for name in safe)
        running = [entry for entry in entries.values() if entry.status == "error"]
        assert all("kernel ended" in str(entry.error) for entry in running)
        assert entries[story] in running
        assert entries[story].text
        assert writer.store.read("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.slow
def test_history_of_100_000_entries_is_there_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "answers.db") as (writer, journal):
        usage = json.dumps({"prompt_token_count": 10, "total_token_count": 30})
        same = ("k", "gemini", "completed", 1e9, "2026-11-27", usage, 10, 20)
        names = "uid, stream_id, kernel, auth, status, started_at, day, usage, input, output, cost"
        names += ", notebook, model"
        for start in range(0, 100_000, 10_000):
            numbers = range(start, start + 10_000)
            figures = [[f"s{n}-x", f"s{n}", *same, n, f"n{n % 50}.ipynb", f"gemini-{n % 7}"] for n in numbers]
            words = [[f"s{n}-x", 165, f"question {n}", "word " * 30] for n in numbers]
            writer.store.write(
                [
                    *multi_row(f"INSERT INTO entries ({names})", figures),
                    *multi_row("INSERT INTO texts (uid, size, prompt, text)", words),
                ]
            )

        def seconds(call: Any) -> float:
            times = []
            for _ in range(3):
                began = time.perf_counter()
                assert call()
                times.append(time.perf_counter() - began)
            return min(times)

        assert seconds(lambda: journal.streams(limit=20)) < 0.3
        assert seconds(lambda: journal.streams(limit=20, text="question 99999")) < 1
        assert seconds(lambda: journal.streams(limit=20, notebook="n3.ipynb")) < 0.3
        assert seconds(lambda: journal.usage("model")) < 0.3
        assert seconds(lambda: journal.get("s5")) < 0.3
        assert [row.streams for row in journal.usage("model")] == [14286] * 5 + [14285] * 2


def usage_of(kernel: Kernel, code: str) -> str:
    result = kernel.run(code)
    assert result.status == "ok", result.error_text
    return result.stdout


@pytest.mark.slow
def test_history_usage_and_old_streams_in_a_kernel_that_was_restarted(kernel: Kernel) -> None:
    kernel.run("%load_ext gemini_nb\nimport gemini_nb")
    asked = kernel.start(
        "%%gemini_stream --auth simulator -o trip --wait\nPlan a day in Lisbon.", cell_id="the-cell"
    )
    kernel.finish(asked)
    (entry_id,) = re.findall(r"\bs1-\w+", usage_of(kernel, "%gemini_history"))
    kernel.restart()
    kernel.run("%load_ext gemini_nb\nimport gemini_nb")
    table = usage_of(kernel, "%gemini_history -n 5 lisbon")
    assert "Plan a day in Lisbon." in table
    assert "simulated" in table
    assert entry_id in table
    for begun in ("%gemini_show ", f"%gemini_show {entry_id[:6]}"):
        offered = kernel.request("complete_request", {"code": begun, "cursor_pos": len(begun)})
        assert entry_id in offered["matches"]
    shown = kernel.run(f"%gemini_show {entry_id}")
    assert "A day in Lisbon" in shown.outputs[0]["text/markdown"]
    assert "simulated" in shown.outputs[0]["text/plain"]
    assert (
        usage_of(kernel, "e = gemini_nb.journal().streams()[0]; print(e.cell, e.notebook)")
        == "the-cell None\n"
    )
    lines = usage_of(kernel, "%gemini_usage --by model").splitlines()
    sums = {line.partition("  ")[0]: line.partition("  ")[2].split() for line in lines[1:]}
    assert sums["this kernel"][0] == "0"
    assert [sums[f"{name} (simulated)"][0] for name in ("today", "all", "gemini-3.8-flash")] == ["1"] * 3
    assert "$" not in "".join(lines)
    assert "unknown notebook (simulated)" in usage_of(kernel, "%gemini_usage --by notebook")
    assert "There is no stream" in kernel.run("%gemini_show nothing").stderr


@pytest.mark.slow
def test_the_notebook_is_known_where_the_server_tells(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path / "kernel", {"JPY_SESSION_NAME": "/home/jo/talks/My trip.ipynb"})
    try:
        kernel.run("%load_ext gemini_nb\nimport gemini_nb")
        kernel.run("%%gemini_stream --auth simulator --wait\nHi.")
        assert "trip.ipynb" in usage_of(kernel, "%gemini_history --notebook 'My trip.ipynb'")
        assert "no such entry" in usage_of(kernel, "%gemini_history didn't")
        assert "is not closed" in kernel.run("%gemini_history 'unclosed").stderr
        assert kernel.run(f"%gemini_history -n {10**23}").stdout == kernel.run("%gemini_history").stdout
        for magic in ("gemini_history", "gemini_usage", "gemini_models"):
            said = kernel.run(f"%{magic} 'tis").stderr
            assert f"The quote before 'tis' is not closed. %{magic}? lists" in said
        found = usage_of(kernel, "print(*[row.key for row in gemini_nb.journal().usage('notebook')])")
        assert found == "/home/jo/talks/My trip.ipynb\n"
        assert usage_of(kernel, "print(len(gemini_nb.journal().streams(notebook='My trip.ipynb')))") == "1\n"
        assert "no such entry" in usage_of(kernel, "%gemini_history --notebook rip.ipynb")
    finally:
        kernel.close()


@pytest.mark.slow
def test_config_says_where_and_off(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("%load_ext gemini_nb\nimport gemini_nb")
    kernel.run(f"%config GeminiNB.journal = {str(tmp_path / 'mine.db')!r}")
    kernel.run("%%gemini_stream --auth simulator --wait\nHi.")
    assert usage_of(kernel, "print(gemini_nb.journal().path)") == f"{tmp_path / 'mine.db'}\n"
    kernel.run("%config GeminiNB.journal = False")
    assert "is off" in kernel.run("%gemini_history").stderr
    kernel.run("%%gemini_stream --auth simulator --wait\nOnce more.")
    kernel.run("%config GeminiNB.journal = None")
    assert "no such entry" in usage_of(kernel, "%gemini_history")


@pytest.mark.slow
def test_a_journal_that_cannot_be_is_said_in_the_notebook_once(kernel: Kernel, tmp_path: Path) -> None:
    foreign = tmp_path / "diary.txt"
    foreign.write_text("Dear diary,\n")
    kernel.run("%load_ext gemini_nb\nimport gemini_nb, time")
    kernel.run(f"%config GeminiNB.journal = {str(foreign)!r}")
    results = []
    for _ in range(3):
        results.append(kernel.run("%%gemini_stream --auth simulator --wait\nHi."))
        assert results[-1].status == "ok"
        results.append(kernel.run("time.sleep(0.5)"))

    def count() -> int:
        return sum(result.stderr.count("left as it is") for result in results)

    kernel.wait_until(lambda: count() > 0)  # the journal's thread says it
    results.append(kernel.run("%%gemini_stream --auth simulator --wait\nHi."))
    assert count() == 1
    assert foreign.read_text() == "Dear diary,\n"
    assert "left as it is" in kernel.run("%gemini_history").stderr


def test_a_kept_answer_is_saved_and_not_spent(tmp_path: Path) -> None:
    counts = {"promptTokenCount": 1_000_000, "candidatesTokenCount": 0, "totalTokenCount": 1_000_000}
    answer = sse_answer({**text("Blue.", finish="STOP"), "usageMetadata": counts})
    with rig([answer]) as made:
        for _ in range(2):
            made.start("Which colour?", keep=str(tmp_path / "answers.jsonl")).wait()
        kept, asked = journal_of(made).streams()
        assert (asked.kept, asked.cost, asked.saved or None) == (None, Decimal("0.75"), None)
        assert (kept.cost, kept.saved, kept.text) == (Decimal(), Decimal("0.75"), "Blue.")
        assert kept.kept is not None
        assert abs(kept.kept.timestamp() - time.time()) < 60
        (row,) = journal_of(made).usage("model")
        assert (row.streams, row.input_tokens, row.cost, row.saved) == (2, 1_000_000, kept.saved, kept.saved)
        assert row.unpriced == 0


def test_what_was_simulated_is_summed_apart(simulated: tuple[StreamManager, dict[str, Any]]) -> None:
    manager, options = simulated
    manager.start_stream("Which colour?", **options).wait()
    manager.start_stream("Which colour?", **options | {"auth": "simulator"}).wait()
    for by in ("model", "day", "notebook", None):
        real, made_up = journal_of(manager).usage(by)
        assert (real.key, real.streams, real.simulated) == (made_up.key, 1, False)
        assert (made_up.streams, made_up.simulated, made_up.saved, made_up.cost) == (1, True, FREE, FREE)
        assert real.cost
        assert real.output_tokens
        assert made_up.output_tokens


def test_a_journal_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, "One.")
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP INDEX entries_figures")
        old.execute(
            "CREATE INDEX entries_figures ON entries "
            "(model, day, notebook, kernel, input, output, cost, saved)"
        )
        old.execute("PRAGMA user_version=1")
        old.commit()
    with opened(path) as (writer, journal):
        assert [entry.text for entry in journal.streams()] == ["One."]
        assert [row.streams for row in journal.usage("model")] == [1]
        plan = writer.store.read(
            "EXPLAIN QUERY PLAN SELECT total(cost) FROM entries WHERE auth = 'simulator' GROUP BY model"
        )
        assert "COVERING INDEX entries_figures" in str(plan)


@pytest.mark.parametrize("table", ["entries", "texts", "processes"])
def test_a_row_with_odd_values_hides_no_other(table: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, "One.", "Two.")
    details: list[Any] = [
        [1],
        {"tool_calls": 5, "parts": [5, {"text": 6}], "sources": [1, {"groundingMetadata": 5}]},
        {"a": {"$blob": 1}},
        {"tool_calls": [5, {"name": 3, "args": 4, "status": [], "duration": "long"}]},
    ]
    counts = ["[1]", '{"prompt_token_count": "many"}', '{"prompt_tokens_details": {"TEXT": []}}']
    odd = [None, b"\xff\0", -5, "text", "active", 1e300, float("inf"), 2**62, *counts]
    odd += [zlib.compress(json.dumps(one).encode()) for one in details]
    odd.append(zlib.compress(b"[" * 100_000))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as strange:
        columns = [name for _, name, *_ in strange.execute(f"PRAGMA table_info({table})")]
        changed = [name for name in columns if name not in {"id", "uid", "kernel", "stream_id"}]
        for value in odd:
            changes = ", ".join(f"{name} = :value" for name in changed)
            where = "" if table == "processes" else "WHERE id = 1"
            strange.execute(f"UPDATE {table} SET {changes} {where}", {"value": value})
            with opened(path) as (_, journal):
                entries = journal.streams()
                assert entries[0].text == "Two."
                assert len(entries) == 2
                assert history_table(entries)
                assert [entry_bundle(entry) for entry in entries]
                assert usage_table([("", journal.usage(by)) for by in ("model", "day", "notebook", None)])
                assert len(journal.to_frame()) == 2


def test_clearing_leaves_no_text_behind(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with rig(
        [sse_answer(text("A secret answer.", finish="STOP"))] * 2, settings=Settings(journal=path)
    ) as made:
        made.start("A secret question").wait()
        journal = journal_of(made)
        assert journal.clear(notebook="other.ipynb") == 0
        assert journal.clear() == 1
        assert journal.streams() == []
        until(lambda: b"secret" not in b"".join(side.read_bytes() for side in tmp_path.glob("answers.db*")))
