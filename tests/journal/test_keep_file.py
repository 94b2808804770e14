from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from gemini_nb.errors import ConfigError
from gemini_nb.journal.kept import keep_file
from gemini_nb.journal.kept.call_record import CallRecord, TimedChunk
from gemini_nb.journal.kept.keep_file import KeepFile
from gemini_nb.journal.kept.key import question_of


def record(prompt: str, answer: str = "An answer.", number: int = 1) -> CallRecord:
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    question = question_of("gemini", "gemini-3.8-flash", body, number=number)
    chunk = {"candidates": [{"content": {"parts": [{"text": answer}]}, "finishReason": "STOP"}]}
    return CallRecord(
        key=question.key,
        service=question.service,
        model=question.model,
        number=number,
        when=datetime(2026, 11, 24, 14, 3, tzinfo=UTC),
        prompt=question.prompt,
        question=question.places,
        finish_reason="STOP",
        chunks=(TimedChunk(0.0, json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))),),
    )


ONE, TWO, THREE = (record(text) for text in ("one", "two", "three \u2028\U0001f30a"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_what_is_appended_is_found_by_this_and_by_other_processes(path: Path) -> None:
    file, other = KeepFile(path), KeepFile(path)
    assert file.find(ONE.key) is None
    for made in (ONE, TWO, THREE):
        file.append(made)
        assert file.find(made.key) == other.find(made.key) == made
    assert path.read_text(encoding="utf-8") == ONE.to_json() + TWO.to_json() + THREE.to_json()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(KeepFile(path).records()) == [ONE, TWO, THREE]
    assert file.take_warnings() == other.take_warnings() == []


def test_the_last_line_of_a_key_wins(path: Path) -> None:
    file = KeepFile(path)
    newer = replace(
        record("one", "A better answer."), when=datetime(2001, 1, 1, tzinfo=UTC)
    )  # the clock went back
    for made in (ONE, TWO, newer):
        file.append(made)
    assert file.find(ONE.key) == KeepFile(path).find(ONE.key) == newer
    assert list(file.records()) == [TWO, newer]
    KeepFile(path).append(ONE)  # another kernel asked anew
    assert file.find(ONE.key) == ONE
    assert path.read_text(encoding="utf-8").count("\n") == 4


@pytest.mark.parametrize("rest", ["", ONE.to_json()[:-30], ONE.to_json()[:4], ONE.to_json()[:-1]])
def test_half_a_line_costs_no_other(path: Path, rest: str) -> None:
    path.write_text(TWO.to_json() + rest, encoding="utf-8")
    file = KeepFile(path)
    assert file.find(ONE.key) == (ONE if rest == ONE.to_json()[:-1] else None)
    file.append(THREE)
    for one in (file, KeepFile(path)):
        assert [one.find(made.key) for made in (TWO, THREE)] == [TWO, THREE]
    file.append(ONE)
    assert file.find(ONE.key) == KeepFile(path).find(ONE.key) == ONE


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: "\ufeff" + line,
        lambda line: line.replace("\n", "\r\n"),
        lambda line: json.dumps(json.loads(line), separators=(",", ":")) + "\n",
        lambda line: f"  {line.strip()}\t\n",
        lambda line: f"\ufeff\n\n{line}",
    ],
    ids=["byte order mark", "Windows line ends", "no spaces", "more spaces", "blank lines"],
)
def test_a_line_that_an_editor_or_a_formatter_saved_is_still_an_answer(
    path: Path, edit: Callable[[str], str]
) -> None:
    saved = edit(ONE.to_json()).encode()
    path.write_bytes(saved)
    file = KeepFile(path)
    assert file.find(ONE.key) == ONE
    file.append(TWO)
    assert [KeepFile(path).find(made.key) for made in (ONE, TWO)] == [ONE, TWO]
    assert path.read_bytes() == saved + TWO.to_json().encode()
    assert file.take_warnings() == []


def test_a_broken_newer_line_gives_way_to_the_older_one(path: Path) -> None:
    path.write_text(ONE.to_json() + ONE.to_json()[:-40] + "\n", encoding="utf-8")
    file = KeepFile(path)
    assert file.find(ONE.key) == ONE
    assert len(file.take_warnings()) == 1


def test_a_line_that_comes_in_two_pieces_is_found_when_it_is_whole(path: Path) -> None:
    line = ONE.to_json()
    path.write_text(line[:200])
    file = KeepFile(path)
    assert file.find(ONE.key) is None
    with path.open("a") as other:
        other.write(line[200:])
    assert file.find(ONE.key) == ONE


def test_a_file_that_is_written_anew_is_read_anew(path: Path) -> None:
    file = KeepFile(path)
    for made in (ONE, TWO, THREE):
        file.append(made)
    path.write_text(TWO.to_json() + ONE.to_json() * 3)  # as an editor does, in the same inode
    assert [file.find(made.key) for made in (ONE, TWO, THREE)] == [ONE, TWO, None]
    elsewhere = path.with_name("new")
    elsewhere.write_text(THREE.to_json() + TWO.to_json())  # as git does
    elsewhere.replace(path)
    assert [file.find(made.key) for made in (ONE, TWO, THREE)] == [None, TWO, THREE]
    path.unlink()
    assert file.find(TWO.key) is None
    file.append(ONE)
    assert list(file.records()) == [ONE]
    path.write_text("")
    assert file.find(ONE.key) is None
    assert file.take_warnings() == []


def swapped() -> str:
    return ONE.to_json().replace(ONE.key, TWO.key)


HOSTILE = {
    "brackets": "[" * 100_000,
    "brackets behind a key": '{"key": "' + TWO.key + '", "a": ' + "[" * 100_000,
    "digits": '{"key": "' + TWO.key + '", "version": ' + "9" * 100_000 + "}",
    "bad bytes": '{"key": "' + TWO.key + '", "\udcff": 1}',
    "markup": "<script>alert(1)</script>",
    "a conflict": f"<<<<<<< ours\n{ONE.to_json()}=======\n>>>>>>> theirs",
    "a key of another question": swapped(),
    "a doubled key": swapped()[:-2] + f', "key": "{ONE.key}"}}',
    "a key that is a path": '{"key": "../../etc/passwd", "version": 1}',
    "another case": TWO.to_json().replace(TWO.key, TWO.key.upper()),
    "nothing": "\n\n  \n",
    "wrong types": TWO.to_json().replace('"number": 1', '"number": "one"'),
    "markers of a byte order": "\ufeff",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_bad_lines_are_passed_over_with_one_warning(path: Path, kind: str) -> None:
    bad = HOSTILE[kind].encode("utf-8", "surrogateescape") + b"\n"
    path.write_bytes(ONE.to_json().encode() + bad + bad + THREE.to_json().encode())
    file = KeepFile(path)
    assert [file.find(made.key) for made in (ONE, TWO, THREE, TWO)] == [ONE, None, THREE, None]
    assert {made.key for made in file.records()} == {ONE.key, THREE.key}
    said = file.take_warnings()
    assert len(said) == (kind != "nothing")
    assert all("answers.jsonl has lines that are not kept answers" in text for text in said)
    file.append(TWO)
    assert file.find(TWO.key) == TWO
    assert file.take_warnings() == []


def test_a_line_without_an_end_is_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_file, "_LONGEST", 2**20)
    long = '{"key": "' + TWO.key + '", "a": "' + "x" * 3 * 2**20 + '"}\n'
    path.write_text(ONE.to_json() + long + THREE.to_json(), encoding="utf-8")
    file = KeepFile(path)
    assert [file.find(made.key) for made in (ONE, TWO, THREE)] == [ONE, None, THREE]
    assert len(file.take_warnings()) == 1


@pytest.mark.parametrize("content", ["import os\n", '{"cells": []}', "\x00" * 100])
def test_another_programs_file_is_left_alone(path: Path, content: str) -> None:
    path.write_text(content)
    for change in (lambda: KeepFile(path).append(ONE), lambda: KeepFile(path).clear()):
        with pytest.raises(ConfigError, match="something else than kept answers"):
            change()
    assert path.read_text() == content


def test_what_is_no_file_of_its_own_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("export A=1\n")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing/answers.jsonl", "target/answers.jsonl", "a\0b", "n" * 300):
        with pytest.raises(ConfigError):
            KeepFile(tmp_path / name)
    with pytest.raises(ConfigError):
        KeepFile("~nobody-of-this-name/answers.jsonl")
    with pytest.raises(ConfigError, match="There is no file of kept answers"):
        KeepFile(tmp_path / "answers.jsonl", read_only=True)


def test_a_link_that_comes_later_is_not_followed(path: Path) -> None:
    file = KeepFile(path)
    target = path.with_name("profile")
    target.write_text("export A=1\n")
    path.symlink_to(target)
    assert file.find(ONE.key) is None
    with pytest.raises(OSError, match="symbolic links"):
        file.append(ONE)
    assert target.read_text() == "export A=1\n"


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of a user's who is not root, who may write everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    (folder / "answers.jsonl").write_text(ONE.to_json())
    (folder / "answers.jsonl").chmod(0o444)
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_file_that_may_only_be_read_answers(nobody: Path) -> None:
    file = KeepFile(nobody / "answers.jsonl")
    assert file.find(ONE.key) == ONE
    with pytest.raises(PermissionError):
        file.append(TWO)
    assert file.find(ONE.key) == ONE


def test_on_a_full_disk_what_was_there_stays(path: Path) -> None:
    import resource
    import signal

    file = KeepFile(path)
    file.append(ONE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(TWO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [file.find(made.key) for made in (ONE, TWO)] == [ONE, None]
    file.append(THREE)
    assert list(KeepFile(path).records()) == [ONE, THREE]


def test_a_folder_has_a_file_for_each_process_and_answers_from_all(tmp_path: Path) -> None:
    folder = f"{tmp_path / 'kept'}{os.sep}"
    file, other = KeepFile(folder), KeepFile(folder)
    assert file.find(ONE.key) is None
    file.append(ONE)
    other.append(TWO)
    file.append(THREE)
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".jsonl"] * 2
    (tmp_path / "kept" / "notes.txt").write_text("my notes")
    (tmp_path / "kept" / "link.jsonl").symlink_to("/etc/passwd")
    for one in (file, other, KeepFile(folder), KeepFile(tmp_path / "kept")):
        assert [one.find(made.key) for made in (ONE, TWO, THREE)] == [ONE, TWO, THREE]
        assert one.take_warnings() == []
    assert file.clear() == 3
    assert other.find(ONE.key) is None
    assert (tmp_path / "kept" / "notes.txt").read_text() == "my notes"
    shutil.rmtree(tmp_path / "kept")
    assert other.find(TWO.key) is None


def test_in_a_folder_what_was_asked_last_wins(tmp_path: Path) -> None:
    KeepFile(tmp_path).append(ONE)
    [path] = tmp_path.iterdir()
    os.utime(path, (1, 1))
    newer = record("one", "A better answer.")
    KeepFile(tmp_path).append(newer)
    assert KeepFile(tmp_path).find(ONE.key) == newer


def test_an_emptied_file_holds_nothing(path: Path) -> None:
    file = KeepFile(path)
    assert file.clear() == 0
    assert not path.exists()
    file.append(ONE)
    file.append(ONE)
    assert file.clear() == 1
    assert path.read_bytes() == b""
    assert file.find(ONE.key) is KeepFile(path).find(ONE.key) is None
    file.append(TWO)
    assert list(file.records()) == [TWO]


def _write_many(path: str, name: str, started: Event) -> None:
    file = KeepFile(path)
    for number in range(1, 100_000):
        file.append(record(f"{name} {number}", "x" * 3000))
        if number == 20:
            started.set()


@pytest.mark.slow
def test_no_line_is_lost_or_broken_when_several_write_and_one_is_killed(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Event() for _ in range(2)]
    writers = [
        context.Process(target=_write_many, args=(str(path), f"w{i}", event), daemon=True)
        for i, event in enumerate(started)
    ]
    for writer in writers:
        writer.start()
    file = KeepFile(path)
    for event in started:
        assert event.wait(60)
    own = [record(f"own {i}") for i in range(50)]
    for made in own:
        file.append(made)
    for writer in writers:
        writer.kill()
        writer.join(30)
    assert [file.find(made.key) for made in own] == own
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.strip()]
    assert all(CallRecord.from_json(line) for line in lines[:-1])
    assert len(list(KeepFile(path).records())) >= 90


def test_merged_branches_keep_both_sides(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    path = tmp_path / "answers.jsonl"
    git("init", "-q", "-b", "main")
    KeepFile(path).append(ONE)
    (tmp_path / ".gitattributes").write_text("answers.jsonl merge=union\n")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    KeepFile(path).append(TWO)
    git("commit", "-qam", "two")
    git("checkout", "-q", "main")
    file = KeepFile(path)
    file.append(THREE)
    git("commit", "-qam", "three")
    git("merge", "-q", "other")
    assert {made.key for made in file.records()} == {ONE.key, TWO.key, THREE.key}
    assert "An answer." in git("show", "HEAD~1")


def test_what_the_tools_returned_can_be_left_out(path: Path) -> None:
    def asked(result: str) -> CallRecord:
        response = {"functionResponse": {"name": "clock", "response": {"result": result}}}
        made = question_of("gemini", "m", {"contents": [{"role": "user", "parts": [response]}]})
        return replace(ONE, key=made.key, question=made.places, model="m", prompt="")

    file = KeepFile(path)
    file.append(asked("9:01"))
    other = question_of(
        "gemini",
        "m",
        {"contents": [{"parts": [{"functionResponse": {"name": "clock", "response": {"result": "9:02"}}}]}]},
    )
    assert file.find(other.key) is None
    assert file.find_like(other.loose_key) == asked("9:01")
    file.append(asked("9:03"))
    assert file.find_like(other.loose_key) == asked("9:03")


@pytest.mark.slow
def test_ten_thousand_answers_are_found_fast(path: Path) -> None:
    with path.open("w") as file:
        for i in range(10_000):
            file.write(record(f"question {i}", "x" * 3000).to_json())
    kept = KeepFile(path)
    began = time.thread_time()
    assert kept.find(record("question 9999").key) is not None
    opened = time.thread_time() - began
    began = time.thread_time()
    for i in range(1000):
        assert kept.find(record(f"question {i}").key) is not None
    assert (opened < 0.5, (time.thread_time() - began) / 1000 < 0.002) == (True, True), opened
