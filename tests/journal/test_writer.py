"""What reaches the file, and what becomes of the journal where the file cannot be written."""

from __future__ import annotations

import logging
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from answers import until
from gemini_nb.journal import place, prices
from gemini_nb.journal import writer as writer_module
from gemini_nb.journal.store import Statement
from journal_rig import Told, another, opened, program

BEGIN_AND_HOLD = """
with opened(Path(sys.argv[1])) as (writer, journal):
    told = Told(prompt="Tell me.")
    writer.add(told)
    for word in sys.argv[2].split("|"):
        told.answer += word
        time.sleep(0.7)
    print("told", flush=True)
    sys.stdin.read()
"""


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_killed_kernel_leaves_what_had_come_and_says_that_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    process = program(BEGIN_AND_HOLD, path, "One, |two,")
    assert process.stdout is not None
    assert process.stdout.readline() == "told\n"
    with opened(path) as (_, journal):
        until(lambda: [entry.text for entry in journal.streams()] == ["One, two,"])
        (entry,) = journal.streams()
        assert (entry.status, entry.text, entry.prompt) == ("active", "One, two,", "Tell me.")
        kill(process)
        (entry,) = journal.streams()
        assert (entry.status, entry.text) == ("error", "One, two,")
        assert "kernel ended" in str(entry.error)


def test_an_answer_is_written_before_the_price_list_is_there_and_its_price_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: list[object] = []
    begun, there = threading.Event(), threading.Event()

    def load() -> None:
        begun.set()
        there.wait(20)
        library.append(None)

    monkeypatch.setattr(prices, "_library", library)
    monkeypatch.setattr(prices, "load", load)
    with opened(tmp_path / "answers.db") as (writer, journal):
        told = Told()
        writer.add(told)
        writer.add(told.ended("An answer."))
        flushing = threading.Thread(target=writer.flush, args=[20])
        flushing.start()
        assert begun.wait(20)
        assert writer.store.read("SELECT status, cost, text FROM entries JOIN texts USING (uid)") == [
            ("completed", None, "An answer.")
        ]
        told.known = replace(told.known, cost=Decimal("0.25"))
        there.set()
        flushing.join()
        (entry,) = journal.streams()
        assert (entry.cost, entry.text) == (Decimal("0.25"), "An answer.")


def test_streams_that_run_are_looked_at_in_their_own_time_and_not_whenever_another_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_LOOK", 3600.0)
    with opened(tmp_path / "answers.db") as (writer, journal):
        writer.add(Told(answer="Half an"))
        another(writer, "A whole one.")
        until(lambda: writer.store.read("SELECT text FROM texts") == [("A whole one.",)])
        assert sorted(entry.text for entry in journal.streams()) == ["A whole one.", "Half an"]


def test_text_that_was_taken_back_is_taken_back(tmp_path: Path) -> None:
    with opened(tmp_path / "answers.db") as (writer, journal):
        told = Told(answer="One, two, three")
        writer.add(told)
        assert journal.streams()[0].text == "One, two, three"
        told.answer = "One, zwei"
        until(lambda: journal.streams()[0].text == "One, zwei")
        told.answer += ", drei"
        until(lambda: journal.streams()[0].text == "One, zwei, drei")
        writer.add(told.ended("Eins."))
        assert journal.streams()[0].text == "Eins."
        assert writer.store.read("SELECT count(*) FROM pieces") == [(0,)]


def test_what_was_asked_is_looked_through_once_and_is_in_the_file_that_has_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    picture = "iVBOR" * 2000
    with opened(path) as (writer, journal):
        told = Told(sent={"message": [{"parts": [{"inlineData": {"data": picture}}]}]})
        writer.add(told)
        assert journal.streams()[0].status == "active"
        path.rename(tmp_path / "moved.db")
        writer.add(told.ended("A cat."))
        assert [(entry.text, entry.status) for entry in journal.streams()] == [("A cat.", "completed")]
        assert told.looked_at == 1
        (found,) = writer.store.read("SELECT data FROM blobs")[0]
        assert zlib.decompress(found).decode() == picture


WRITE_FOR_EVER = """
with opened(Path(sys.argv[1])) as (writer, journal):
    for number in range(int(sys.argv[2])):
        told = Told(prompt=f"{os.getpid()} {number}")
        writer.add(told)
        time.sleep(0.001)
        writer.add(told.ended("x" * 2000))
        print(number, time.monotonic(), flush=True)
    writer.flush()
    print("all", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_killed_kernel_loses_nothing_that_had_ended_a_second_before_and_others_lose_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "answers.db"
    victim, *others = [program(WRITE_FOR_EVER, path, number) for number in (100_000, 200, 200)]
    told: list[float] = []
    assert victim.stdout is not None
    while len(told) < 200 or time.monotonic() - told[0] < 2.5:
        told.append(float(victim.stdout.readline().split()[1]))
    victim.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    told += [float(line.split()[1]) for line in victim.communicate()[0].splitlines() if line.count(".") == 1]
    safe = sum(at < killed - 1 for at in told)
    assert safe > 100
    for other in others:
        out, errors = other.communicate(timeout=60)
        assert (out.splitlines()[-1], errors) == ("all", "")
    with opened(path) as (writer, journal):
        by_process: dict[str, list[int]] = {}
        for entry in journal.streams(limit=None):
            if entry.status == "completed":
                process, number = entry.prompt.split()
                by_process.setdefault(process, []).append(int(number))
        assert set(range(safe)) <= set(by_process[str(victim.pid)])
        assert [sorted(by_process[str(other.pid)]) for other in others] == [[*range(200)]] * 2
        assert writer.store.read("PRAGMA integrity_check") == [("ok",)]


def test_the_end_of_a_process_waits_for_what_it_told_last(tmp_path: Path) -> None:
    code = """
from gemini_nb.journal.writer import writer_for
another(writer_for(Path(sys.argv[1])), "The last.")
"""
    process = program(code, tmp_path / "answers.db")
    assert process.communicate(timeout=30)[1] == ""
    with opened(tmp_path / "answers.db") as (_, journal):
        assert [entry.text for entry in journal.streams()] == ["The last."]
    assert [found.name for found in tmp_path.iterdir()] == ["answers.db"]


def test_a_worker_of_multiprocessing_writes_its_last_batch(tmp_path: Path) -> None:
    """It ends without calling what atexit knows, as soon as its function has returned."""
    code = """
import multiprocessing
from gemini_nb.journal.writer import writer_for
path = Path(sys.argv[1])
another(writer_for(path), "Of the parent.")
workers = [
    multiprocessing.get_context("fork").Process(target=lambda: another(writer_for(path), "Of a worker."))
    for _ in range(3)
]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print([worker.exitcode for worker in workers])
"""
    assert program(code, tmp_path / "answers.db").communicate(timeout=60) == ("[0, 0, 0]\n", "")
    with opened(tmp_path / "answers.db") as (_, journal):
        texts = [entry.text for entry in journal.streams()]
    assert sorted(texts) == ["Of a worker."] * 3 + ["Of the parent."]


@pytest.mark.parametrize("how", ["exit", pytest.param("use", marks=pytest.mark.slow), "ignore"])
def test_forked_children_neither_hang_nor_harm(how: str, tmp_path: Path) -> None:
    code = """
import sqlite3
from gemini_nb.journal.writer import writer_for
path, how = Path(sys.argv[1]), sys.argv[2]
writer = writer_for(path)
running = True
def write():
    while running:
        another(writer, "Of the parent.")
        time.sleep(0.0005)
threading.Thread(target=write).start()
children = []
for _ in range(30):
    time.sleep(0.02)
    if child := os.fork():
        children.append(child)
        continue
    if how == "use":
        mine = writer_for(path)
        another(mine, "Of a child.")
        assert mine.flush(20) and mine.trouble is None
    elif how == "ignore":
        other = sqlite3.connect(":memory:")
        other.execute("CREATE TABLE t (x)")
        os._exit(0)
    sys.exit(0)
bad = sum(bool(os.waitpid(child, 0)[1]) for child in children)
running = False
print(bad)
"""
    path = tmp_path / "answers.db"
    process = program(code, path, how)
    out, errors = process.communicate(timeout=100)
    assert (out, errors) == ("0\n", "")
    with opened(path) as (writer, journal):
        texts = [entry.text for entry in journal.streams(limit=None)]
        assert texts.count("Of a child.") == (30 if how == "use" else 0)
        assert texts.count("Of the parent.") > 100
        assert writer.store.read("PRAGMA integrity_check") == [("ok",)]


def test_a_reload_of_the_modules_keeps_one_journal_and_forks_do_not_wait(tmp_path: Path) -> None:
    code = """
import importlib
from gemini_nb.journal import rows, store, writer
path = Path(sys.argv[1])
one, name = writer.writer_for(path), rows.kernel()
another(one, "Before.")
one.flush()
for module in (rows, store, writer):
    importlib.reload(module)
store._FORK = 60  # seconds for which a fork waits that waits for itself
assert writer.writer_for(path) is one and rows.kernel() == name
another(one, "After.")
began = time.monotonic()
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
another(one, "After the fork.")
assert one.flush() and one.trouble is None
assert time.monotonic() - began < 50, time.monotonic() - began
"""
    assert program(code, tmp_path / "answers.db").communicate(timeout=60) == ("", "")
    with opened(tmp_path / "answers.db") as (_, journal):
        assert len(journal.streams()) == 3


def test_threads_write_and_read_one_journal(tmp_path: Path) -> None:
    code = """
with opened(Path(sys.argv[1])) as (writer, journal):
    def work():
        for _ in range(50):
            another(writer, "One.")
            journal.streams(limit=3)
    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(len(journal.streams(limit=None)))
"""
    assert program(code, tmp_path / "answers.db").communicate(timeout=60) == ("400\n", "")


def test_a_locked_journal_is_written_when_the_lock_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.db"
    monkeypatch.setattr(writer_module, "_PATIENCE", 1.0)
    with opened(path) as (writer, journal), caplog.at_level(logging.WARNING):
        another(writer, "One.")
        assert len(journal.streams()) == 1
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        another(writer, "Two.")
        writer.flush()
        assert writer.trouble is not None
        assert not caplog.records  # as yet it may be another kernel that writes
        until(lambda: caplog.records)
        another(writer, "Three.")
        assert len(journal.streams()) == 1  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        until(lambda: len(journal.streams()) == 3)
        assert [record.getMessage().count("holds it locked") for record in caplog.records] == [1]


def test_a_full_disk_costs_one_warning_and_is_written_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "answers.db") as (writer, journal), caplog.at_level(logging.WARNING):
        another(writer, "One.")
        assert journal.streams()
        writer.store.run("PRAGMA max_page_count=1")  # what SQLite says then is what it says of a full disk
        another(writer, *["x" * 100_000] * 3)
        until(lambda: caplog.records)
        assert [entry.text for entry in journal.streams()] == ["One."]
        another(writer, "Four.")
        writer.flush()
        assert ["full" in record.getMessage() for record in caplog.records] == [True]
        writer.store.run("PRAGMA max_page_count=1000000")
        until(lambda: len(journal.streams()) == 5)
    assert writer.trouble is None


def as_nobody(code: str, *arguments: object) -> tuple[str, str]:
    """The same as another user: root may write everything."""
    become = "os.setgid(65534); os.setuid(65534)\n" if os.geteuid() == 0 else ""
    return program(become + code, *arguments).communicate(timeout=60)


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.slow
def test_a_read_only_journal_costs_one_warning(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = folder / "answers.db"
    if what == "file":
        with opened(path) as (writer, _):
            another(writer, "One.")
        path.chmod(0o444)
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o555 if parent == folder else 0o755)
    code = """
import logging
with opened(Path(sys.argv[1])) as (writer, journal):
    another(writer, "Two.")
    writer.flush()
    another(writer, "Three.")
    writer.flush()
"""
    try:
        out, errors = as_nobody(code, path)
    finally:
        folder.chmod(0o755)
    assert out == ""
    assert errors.count("\n") == 1, errors
    assert str(path) in errors
    assert "GEMINI_NB_JOURNAL" in errors


def spoil(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "cut":
            data = data[: len(data) // 2]
        case "cut in its first page":
            data = data[:1500]
        case "junk in its first page":
            data[100:4096] = random.Random(1).randbytes(3996)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["cut", "cut in its first page", "junk in its first page"])
def test_a_broken_journal_of_ours_is_set_aside_and_another_begun(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, *["x" * 2000] * 50)
    spoil(path, how)
    spoiled = path.read_bytes()
    with opened(path) as (writer, journal), caplog.at_level(logging.WARNING):
        another(writer, "New.")
        writer.flush()
        until(lambda: "New." in [entry.text for entry in journal.streams()])
        (record,) = caplog.records
        (aside,) = [found for found in tmp_path.glob("answers.db.broken-*") if found.suffix != "-wal"]
        assert str(aside) in record.getMessage()
        assert aside.read_bytes() == spoiled


def test_two_kernels_that_find_it_broken_set_it_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, *["x" * 2000] * 50)
    spoil(path, "junk in its first page")
    code = """
with opened(Path(sys.argv[1])) as (writer, journal):
    print("ready", flush=True)
    sys.stdin.readline()
    another(writer, "New.")
    deadline = time.monotonic() + 60
    while writer.flush(30) and writer.trouble and time.monotonic() < deadline:
        time.sleep(0.1)
"""
    kernels = [program(code, path) for _ in range(4)]
    for kernel in kernels:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "ready\n"
    for kernel in kernels:
        assert kernel.stdin is not None
        kernel.stdin.write("go\n")
        kernel.stdin.flush()
    for kernel in kernels:
        _, errors = kernel.communicate(timeout=60)
        assert all("damaged" in line for line in errors.splitlines())
    moved = sorted(found.name for found in tmp_path.glob("answers.db.broken-*"))
    assert set(moved) <= {moved[0] + side for side in ("", "-shm", "-wal")}
    with opened(path) as (_, journal):
        assert [entry.text for entry in journal.streams()] == ["New."] * 4


OPEN_SLOWLY = """
from gemini_nb.journal import store
path = Path(sys.argv[1])
set_up = store.Store._set_up
def slow(*given, **options):  # the file is open, its side files are not
    print("open", flush=True)
    sys.stdin.readline()
    set_up(*given, **options)
store.Store._set_up = slow
with opened(path) as (writer, journal):
    another(writer, "From another kernel.")
    writer.flush(30)
"""


def test_a_journal_is_not_set_aside_while_another_kernel_opens_it(tmp_path: Path) -> None:
    """Else that kernel would take the new journal's side files for those of the old one."""
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, "One.")
    slow = program(OPEN_SLOWLY, path)
    assert slow.stdout is not None
    assert slow.stdout.readline() == "open\n"
    identity = place.identity_of(path)
    assert identity is not None
    moved = threading.Thread(target=place.set_aside, args=(path, identity))
    moved.start()
    moved.join(0.3)
    assert moved.is_alive()
    assert slow.communicate("go\n", timeout=60)[1] == ""
    moved.join(20)
    (aside,) = [
        one for one in tmp_path.glob("answers.db.broken-*") if not one.name.endswith(("-wal", "-shm"))
    ]
    assert place.identity_of(aside) == identity
    assert place.identity_of(path) != identity  # the other kernel may have begun a new one


def test_what_is_written_while_the_journal_is_set_aside_is_in_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, journal):
        another(writer, "One.")
        assert journal.streams()
        identity = place.identity_of(path)
        assert identity is not None

        class Moving(list[Statement]):
            def __iter__(self) -> Iterator[Statement]:
                place.set_aside(path, identity or (0, 0))
                return super().__iter__()

        row = "INSERT INTO blobs (hash, data) VALUES ('1', 'One')"
        writer.store.write(Moving([(row, ())]))
        assert writer.store.read("SELECT hash FROM blobs") == [("1",)]


def test_a_journal_that_is_deleted_under_way_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, journal):
        another(writer, "One.")
        assert journal.streams()
        for found in tmp_path.iterdir():
            found.unlink()
        another(writer, "Two.")
        assert [entry.text for entry in journal.streams()] == ["Two."]


def test_a_clock_that_goes_back_changes_no_order(tmp_path: Path) -> None:
    with opened(tmp_path / "answers.db") as (writer, journal):
        for number, started_at in enumerate((2e9, 1e9, 1.5e9)):
            told = Told(prompt=str(number))
            told.known = type(told.known)(
                stream_id=f"t{number}", model="m", auth="gemini", status="", started_at=started_at
            )
            writer.add(told)
            writer.add(told.ended())
            writer.flush()
        assert [entry.prompt for entry in journal.streams()] == ["2", "1", "0"]
        assert len(journal.usage("day")) == 3


def test_texts_are_pruned_oldest_first_and_figures_stay(tmp_path: Path) -> None:
    with opened(tmp_path / "answers.db", limit=1_000_000) as (writer, journal):
        for number in range(40):
            told = Told(
                prompt=str(number), details={"parts": [{"inlineData": {"data": f"{number:05}" * 2000}}]}
            )
            writer.add(told)
            writer.add(told.ended("x" * 100_000))
            writer.flush()
        entries = journal.streams(limit=None)
        assert len(entries) == 40
        pruned = [entry.is_pruned for entry in entries]
        assert pruned == sorted(pruned)
        assert 5 <= pruned.count(False) <= 12
        assert [entry.text for entry in entries if entry.is_pruned] == [""] * pruned.count(True)
        assert sum(row.output_tokens for row in journal.usage("model")) == 40 * 7
        assert writer.store.read("SELECT count(*) FROM blobs") == [(pruned.count(False),)]
        assert journal.path.stat().st_size < 4_000_000


def test_texts_are_pruned_that_were_pieces_when_all_texts_were_added_up(tmp_path: Path) -> None:
    with opened(tmp_path / "answers.db", limit=1_000_000) as (writer, _):
        running = [Told() for _ in range(5)]
        for told in running:
            writer.add(told)
        writer.flush()
        for told in running:
            told.answer = "x" * 400_000
        writer.flush()
        for told in running:
            writer.add(told.ended(told.answer))
            writer.flush()
        assert writer.store.read("SELECT count(*), sum(size) < 1000000 FROM texts") == [(2, 1)]


def test_a_large_journal_whose_texts_are_few_is_not_added_up_after_each_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "answers.db", limit=60_000) as (writer, _):
        seen: list[str] = []
        read = writer.store.read

        def watched(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            seen.append(sql)
            return read(sql, values)

        monkeypatch.setattr(writer.store, "read", watched)
        for number in range(30):
            told = Told(prompt=str(number))
            writer.add(told)
            writer.add(told.ended("x" * 100))
            writer.flush()
        (used,) = read("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")[0]
        assert used > writer.limit
        assert 1 <= sum("FROM texts" in sql for sql in seen) <= 3


def test_a_file_is_kept_once_by_its_content(tmp_path: Path) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "QUJD" * 50_000}}
    settings = {"systemInstruction": {"parts": [{"text": "Be brief. " * 100}]}}
    with opened(tmp_path / "answers.db") as (writer, journal):
        for _ in range(100):
            told = Told(details={"message": [{"parts": [picture]}], "parts": [picture], "settings": settings})
            writer.add(told)
            writer.add(told.ended())
        assert [entry.parts for entry in journal.streams()] == [(picture,)] * 100
        assert writer.store.read("SELECT count(*) FROM blobs") == [(2,)]
    assert journal.path.stat().st_size < 500_000


def test_large_and_odd_texts_come_back_as_they_were(tmp_path: Path) -> None:
    texts = ["x" * 5_000_000, "日本語 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \0 '\"; DROP TABLE entries --", ""]
    with opened(tmp_path / "answers.db") as (writer, journal):
        for text in texts:
            told = Told(prompt=text)
            writer.add(told)
            writer.add(told.ended(text))
            writer.flush()
        half = Told(prompt="half a character: \ud83d", error="\udcff")
        writer.add(half)
        writer.add(half.ended("\ud83d"))
        found = journal.streams()[::-1]
        assert [entry.text for entry in found[:3]] == texts
        assert [entry.prompt for entry in found[:3]] == texts
        assert found[3].prompt == "half a character: ?"


def test_a_file_that_hangs_costs_a_warning_and_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free, hung = threading.Event(), list[bool]()

    def said() -> list[str]:  # of this journal: an earlier test's may still be tried again
        return [message for record in caplog.records if str(tmp_path) in (message := record.getMessage())]

    monkeypatch.setattr(writer_module, "_SLOW_OPEN", 0.3)
    with opened(tmp_path / "answers.db") as (writer, journal), caplog.at_level(logging.WARNING):
        opens = writer.store._open

        def hang() -> sqlite3.Connection:
            free.wait(30)
            hung.append(True)
            return opens()

        monkeypatch.setattr(writer.store, "_open", hang)
        another(writer, "One.")
        assert not hung, "it hangs still"
        until(said)
        assert "does not answer" in said()[0]
        free.set()
        until(lambda: [entry.text for entry in journal.streams()] == ["One."])
    assert len(said()) == 1
