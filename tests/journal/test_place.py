"""Where the journal is, how it is made, and which files it leaves alone."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import stat
from pathlib import Path

import pytest

from gemini_nb.journal import place
from gemini_nb.journal.schema import APPLICATION_ID, VERSION
from journal_rig import another, opened, program


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_missing_folder_is_made_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "of" / "mine" / "answers.db"
    before = os.umask(0)
    try:
        with opened(path) as (writer, journal):
            another(writer, "One.")
            assert [entry.text for entry in journal.streams()] == ["One."]
            sides = sorted(path.parent.iterdir())
            assert {side.name for side in sides} == {"answers.db", "answers.db-shm", "answers.db-wal"}
            assert {mode(side) for side in sides} == {0o600}
            assert mode(path.parent) == 0o700
    finally:
        os.umask(before)


def test_a_journal_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with opened(path) as (writer, _):
        another(writer, "One.")
    path.chmod(0o644)
    with opened(path) as (writer, journal):
        another(writer, "Two.")
        assert [entry.text for entry in journal.streams()] == ["Two.", "One."]
        assert {mode(side) for side in tmp_path.iterdir()} == {0o600}


def test_a_folder_means_a_file_in_it(tmp_path: Path) -> None:
    with opened(tmp_path) as (writer, journal):
        another(writer, "One.")
        assert journal.streams()
        assert journal.path == tmp_path / "journal.db"


def test_a_relative_path_stays_where_it_was_first_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with opened(Path("answers.db")) as (writer, journal):
        monkeypatch.chdir("elsewhere")
        another(writer, "One.")
        assert journal.streams()
        assert journal.path == tmp_path / "answers.db"
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_72_processes_open_a_missing_journal_at_once(tmp_path: Path) -> None:
    path, go = tmp_path / "answers.db", tmp_path / "go"
    # On two processors 72 imports of the price list, or the last turn of 72, take longer than a healthy file.
    code = """
from gemini_nb.journal import place, prices, writer as writing
path, go = Path(sys.argv[1]), Path(sys.argv[2])
place._PATIENCE = writing._PATIENCE = writing._SLOW_OPEN = 100
prices.load()
def run():
    with opened(path) as (writer, journal):
        another(writer, "One.")
        while not writer.flush() or writer.trouble:
            time.sleep(0.02)
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
children = []
for _ in range(11):
    if not (child := os.fork()):
        status = 1
        try:
            run()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    children.append(child)
run()
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    started = [program(code, path, go) for _ in range(6)]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    go.touch()
    assert [one.communicate(timeout=100)[1] for one in started] == [""] * 6
    with opened(path) as (_, journal):
        assert len(journal.streams(limit=None)) == 72
    assert sorted(found.name for found in tmp_path.iterdir()) == ["answers.db", "go"]


def sqlite_file(path: Path, *, application: int = 0, version: int = 0) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entries (theirs)")
    connection.execute(f"PRAGMA application_id={application}")
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()


def foreign(kind: str, path: Path) -> None:
    match kind:
        case "text":
            path.write_text("Dear diary,\n" * 100)
        case "short":
            path.write_bytes(b"SQLite format 3\x00")
        case "another program's":
            sqlite_file(path, application=4711)
        case "another program's without a mark":
            sqlite_file(path)
        case "newer":
            sqlite_file(path, application=APPLICATION_ID, version=VERSION + 1)
        case "a trigger in it":
            with opened(path) as (writer, _):
                another(writer, "One.")
            connection = sqlite3.connect(path)
            connection.execute("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM texts; END")
            connection.commit()
            connection.close()


@pytest.mark.parametrize(
    "kind",
    [
        "text",
        "short",
        "another program's",
        "another program's without a mark",
        "newer",
        "a trigger in it",
    ],
)
def test_a_file_that_is_not_ours_is_left_as_it_is(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.db"
    foreign(kind, path)
    before = files(tmp_path)
    with opened(path) as (writer, _), caplog.at_level(logging.WARNING):
        another(writer, *["One."] * 3)
        assert writer.flush()
        another(writer, "Two.")
        assert writer.flush()
    assert files(tmp_path) == before
    (record,) = caplog.records
    said = record.getMessage()
    assert str(path) in said
    assert "left as it is" in said
    assert "GEMINI_NB_JOURNAL" in said


def test_an_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    path.touch(mode=0o644)
    with opened(path) as (writer, journal):
        another(writer, "One.")
        assert [entry.text for entry in journal.streams()] == ["One."]
        assert {mode(side) for side in tmp_path.iterdir()} == {0o600}


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("too long", "a link that leads nowhere")]


@pytest.mark.parametrize("kind", ["fifo", "device", "below a file", *SLOW])
def test_a_path_that_can_be_no_file_costs_one_warning(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "answers.db"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/null")
        case "below a file":
            path.write_text("text")
            path /= "answers.db"
        case "too long":
            path = tmp_path / ("x" * 300)
        case "a link that leads nowhere":
            path.symlink_to(tmp_path / "missing" / "answers.db")
    with opened(path) as (writer, _), caplog.at_level(logging.WARNING):
        another(writer, "One.")
        assert writer.flush(5)
        another(writer, "Two.")
        assert writer.flush(5)
    assert len(caplog.records) == 1
    assert "GEMINI_NB_JOURNAL" in caplog.records[0].getMessage()
    if kind == "device":
        assert stat.S_ISCHR(path.stat().st_mode)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("nfs4", True), ("fuse.sshfs", True), ("cifs", True), ("9p", True), ("ext4", False), ("overlay", False)],
)
def test_on_a_network_share_each_host_has_a_file_of_its_own(
    kind: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "home of all"
    share.mkdir()
    point = str(share).replace(" ", r"\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"99 22 0:50 / {point} rw shared:7 master:1 - {kind} server:/home rw\n"
    )
    monkeypatch.setattr(place, "_MOUNTS", mounts)
    with opened(share / "mine" / "answers.db") as (writer, journal):
        another(writer, "One.")
        assert [entry.text for entry in journal.streams()] == ["One."]
        name = f"answers-{socket.gethostname()}.db" if expected else "answers.db"
        assert journal.path == share / "mine" / name
        sides = {found.name for found in journal.path.parent.iterdir()}
        assert sides == ({name} if expected else {name, f"{name}-wal", f"{name}-shm"})


def test_a_write_ahead_log_without_its_file_is_not_read_into_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    code = """
with opened(Path(sys.argv[1])) as (writer, journal):
    another(writer, "One.")
    assert journal.streams()
    os.kill(os.getpid(), 9)
"""
    program(code, path).communicate(timeout=30)
    path.unlink()
    assert path.with_name("answers.db-wal").stat().st_size
    with opened(path) as (writer, journal):
        another(writer, "Two.")
        assert [entry.text for entry in journal.streams()] == ["Two."]
    assert [found.name for found in tmp_path.glob("*broken*-wal")]


def test_only_what_begins_as_sqlite_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    path.write_text("Dear diary,\n")
    identity = place.identity_of(path)
    assert identity is not None
    assert place.set_aside(path, identity) is None
    assert files(tmp_path) == {"answers.db": b"Dear diary,\n"}
    assert place.set_aside(path, (0, 0)) is None
