"""Large files: uploaded once, gone on with where they broke off, waited for, known again, deleted."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types

import gemini_nb
from answers import run_python
from films import KEY, MB, Desk, desk, film
from gemini_nb import File, UploadStatus
from gemini_nb.journal.store import Store
from gemini_nb.journal.uploads import claim, known
from gemini_nb.simulator import Fault

PIECE = 8 * MB


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_NB_JOURNAL", str(tmp_path / "journal.db"))


@pytest.fixture
def rig() -> Iterator[Desk]:
    with desk() as made:
        yield made


def statuses(stream: gemini_nb.Stream) -> list[str]:
    """The states of the stream's uploads in order, each once."""
    found: list[str] = []
    for event in stream.events:
        if isinstance(event, gemini_nb.UploadUpdated) and found[-1:] != [event.upload.status]:
            found.append(event.upload.status)
    return found


def test_a_large_file_is_uploaded_before_the_model_is_asked(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    stream = rig.ask(File(path), "What happens?")
    assert "What happens?" in stream.result(20)
    assert rig.commands == ["start", "upload", "upload", "upload, finalize", "GET"][:4]
    (name,) = rig.simulator.files.uploaded
    assert rig.file_data() == {
        "mimeType": "video/mp4",
        "fileUri": f"https://generativelanguage.googleapis.com/v1beta/{name}",
    }
    assert statuses(stream) == ["reading", "uploading", "active"]
    (upload,) = stream.uploads
    assert (upload.name, upload.size, upload.sent, upload.is_reused) == ("film.mp4", 21 * MB, 21 * MB, False)
    start = next(request for request in rig.simulator.requests if "upload" in request.path)
    assert start.headers["x-goog-upload-header-content-length"] == str(21 * MB)
    assert start.body["file"]["displayName"] == "film.mp4"


def test_a_small_file_goes_inside_and_needs_no_upload(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 20)
    stream = rig.ask(File(path), "What happens?")
    assert stream.wait(20).uploads == ()
    assert rig.commands == []


def test_two_streams_at_once_and_later_ones_upload_a_file_once(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    both = [rig.ask(File(path), "First."), rig.ask(File(path), "Second.")]
    for stream in both:
        stream.result(20)
        assert statuses(stream)[-1] == "active"
    later = rig.ask(File(film(tmp_path / "copy.mp4")), "Third.")  # the same content
    later.result(20)
    assert (later.uploads[0].is_reused, later.uploads[0].name) == (True, "copy.mp4")
    other = rig.ask(File(film(tmp_path / "other.mp4", mark=b"other")), "Fourth.")
    other.result(20)
    assert not other.uploads[0].is_reused
    assert rig.commands.count("start") == len(rig.simulator.files.uploaded) == 2


ANOTHER_KERNEL = """
import sys, gemini_nb
stream = gemini_nb.get_manager().start_stream(
    [gemini_nb.File(sys.argv[1]), "And now?"], auth="gemini", base_url=sys.argv[2],
    credentials={"api_key": sys.argv[3]},
)
stream.result(20)
print(stream.uploads[0].is_reused)
"""


def test_another_kernel_knows_the_upload_and_another_key_does_not(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    rig.ask(File(path), "What happens?").result(20)
    said = run_python(ANOTHER_KERNEL, arguments=[str(path), rig.simulator.base_url, KEY])
    assert (said.stdout.strip(), said.stderr) == ("True", "")
    assert rig.commands.count("start") == 1
    rig.ask(File(path), "?", credentials={"api_key": "another-key"}).result(20)
    assert rig.commands.count("start") == 2
    on_disk = b"".join(one.read_bytes() for one in tmp_path.glob("journal.db*"))
    assert b"film.mp4" in on_disk
    assert KEY.encode() not in on_disk


@pytest.fixture
def another(rig: Desk) -> Iterator[gemini_nb.StreamManager]:
    """A second manager, which shares nothing with the first but the journal, as another kernel does."""
    manager = gemini_nb.StreamManager()
    yield manager
    manager.shutdown()


def test_two_kernels_at_once_upload_a_file_once(
    rig: Desk, another: gemini_nb.StreamManager, tmp_path: Path
) -> None:
    path = film(tmp_path / "film.mp4")
    rig.simulator.file_faults = lambda number, _: Fault(wait=0.3) if number == 1 else None
    both = [rig.ask(File(path), "First."), another.start_stream([File(path), "Second."], **rig.options)]
    for stream in both:
        stream.result(20)
    assert sorted(stream.uploads[0].is_reused for stream in both) == [False, True]
    assert rig.commands.count("start") == 1
    waited = next(stream for stream in both if stream.uploads[0].is_reused)
    notes = {event.upload.note for event in waited.events if isinstance(event, gemini_nb.UploadUpdated)}
    assert notes == {"", "another kernel uploads it"}
    assert [one.name for one in known(Store(tmp_path / "journal.db"))] == rig.simulator.files.uploaded


def test_a_kernel_whose_upload_was_stopped_leaves_it_to_the_other(
    rig: Desk, another: gemini_nb.StreamManager, tmp_path: Path
) -> None:
    begun = threading.Event()

    def slow(number: int, _request: Any) -> Fault | None:
        begun.set() if number == 1 else None
        return Fault(wait=30) if number == 1 else None

    rig.simulator.file_faults = slow
    path = film(tmp_path / "film.mp4")
    first = rig.ask(File(path), "First.")
    assert begun.wait(20)
    second = another.start_stream([File(path), "Second."], **rig.options)
    for event in second:
        if isinstance(event, gemini_nb.UploadUpdated) and event.upload.note:
            break
    first.stop()
    second.result(20)
    assert not second.uploads[0].is_reused


def test_a_claim_runs_out_when_its_kernel_died(tmp_path: Path) -> None:
    store = Store(tmp_path / "journal.db")
    assert claim(store, "service", "owner", "hash", "dead", seconds=-1)
    assert claim(store, "service", "owner", "hash", "alive", seconds=60)
    assert claim(store, "service", "owner", "hash", "alive", seconds=60)
    assert not claim(store, "service", "owner", "hash", "late", seconds=60)
    assert claim(store, "service", "owner", "other hash", "late", seconds=60)


def test_a_buckets_address_says_where_it_can_be_read(rig: Desk) -> None:
    stream = rig.ask(File("gs://bucket/book.pdf"), "Who?").wait(20)
    assert stream.error is not None
    assert 'for auth="vertex_ai"' in str(stream.error.hint)


def test_a_film_that_is_processed_for_long_is_not_uploaded_again(
    rig: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.simulator.files.processing = 60
    path = film(tmp_path / "film.mp4")
    with monkeypatch.context() as patched:
        patched.setattr("gemini_nb.streams.request.uploads._PATIENCE", 0.0)
        stream = rig.ask(File(path), "What happens?").wait(20)
        assert "not uploaded again" in str(stream.error)
    rig.simulator.files.finish_processing()
    rig.ask(File(path), "And now?").result(20)
    assert rig.commands.count("start") == 1


def test_without_a_journal_the_process_remembers(
    rig: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_NB_JOURNAL", "off")
    path = film(tmp_path / "film.mp4")
    for _ in range(2):
        rig.ask(File(path), "What happens?").result(20)
    assert rig.commands.count("start") == 1


def test_an_upload_goes_on_where_the_connection_broke(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.file_faults = {2: Fault(reset=True), 4: Fault(status=503), 7: Fault(close=True)}
    stream = rig.ask(File(film(tmp_path / "film.mp4", 28)), "What happens?")
    stream.result(20)
    offsets = [
        (request.headers["x-goog-upload-command"], int(request.headers.get("x-goog-upload-offset", "-1")))
        for request in rig.simulator.requests
        if request.headers.get("x-goog-upload-command") not in {None, "start"}
    ]
    assert offsets == [
        ("upload", 0),
        ("upload", PIECE),  # the connection breaks after half of it
        ("query", -1),
        ("upload", PIECE * 3 // 2),  # 503
        ("query", -1),
        ("upload", PIECE * 3 // 2),
        ("upload, finalize", PIECE * 5 // 2),  # all of it arrives, and its answer does not
        ("query", -1),
    ]
    notes = [event.upload.note for event in stream.events if isinstance(event, gemini_nb.UploadUpdated)]
    assert any("reset" in note for note in notes)
    assert any("503" in note for note in notes)
    assert notes[-1] == ""
    assert stream.uploads[0].status is UploadStatus.ACTIVE


def test_an_upload_that_the_service_forgot_begins_anew(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.file_faults = {2: Fault(reset=True), 3: Fault(status=404)}
    rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").result(20)
    assert rig.commands.count("start") == 2


@pytest.mark.parametrize("number", [0, 1])
def test_a_refusal_ends_the_stream_and_names_the_file(rig: Desk, tmp_path: Path, number: int) -> None:
    rig.simulator.file_faults = {number: Fault(status=400)}
    stream = rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").wait(20)
    assert isinstance(stream.error, gemini_nb.APIError)
    assert str(stream.error).startswith("film.mp4 was not uploaded: 400 INVALID_ARGUMENT")
    assert statuses(stream)[-1] == "failed"
    assert rig.bodies == []


def test_trouble_without_an_end_is_given_up(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.file_faults = lambda _number, _request: Fault(status=503)
    stream = rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").wait(20)
    assert "film.mp4 was not uploaded: 503" in str(stream.error)
    assert len(rig.commands) == gemini_nb.RetryPolicy().attempts


def test_the_model_is_asked_when_the_service_has_processed_the_film(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.files.processing = 60
    stream = rig.ask(File(film(tmp_path / "film.mp4")), "What happens?")
    rig.process(stream).result(20)
    assert statuses(stream) == ["reading", "uploading", "processing", "active"]
    assert rig.commands.count("GET") >= 1


def test_a_file_that_cannot_be_processed_is_said_in_the_services_words(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.files.failure = "The film has no pictures."
    path = film(tmp_path / "film.mp4")
    stream = rig.ask(File(path), "What happens?").wait(20)
    assert "could not process film.mp4: The film has no pictures." in str(stream.error)
    assert "no pictures" in stream.uploads[0].note
    rig.simulator.files.failure = None
    rig.ask(File(path), "What happens?").result(20)  # is not taken for an upload that can be used
    assert rig.commands.count("start") == 2


def test_googles_file_that_is_still_processed_is_waited_for(rig: Desk) -> None:
    rig.simulator.files.processing = 60
    options = types.HttpOptions(base_url=rig.simulator.base_url)
    with genai.Client(api_key=KEY, http_options=options) as client:
        file = client.files.upload(file=io.BytesIO(b"film"), config={"mime_type": "video/mp4"})
        assert file.state is types.FileState.PROCESSING
        stream = rig.ask(file, "What happens?")
        rig.process(stream).result(20)
        assert statuses(stream) == ["reading", "processing", "active"]
        for named in (File, lambda name: {"fileData": {"fileUri": name}}):
            file = client.files.upload(file=io.BytesIO(b"film"), config={"mime_type": "video/mp4"})
            assert rig.process(rig.ask(named(file.name or ""), "What happens?")).wait(20).error is None


def test_a_stop_ends_the_upload_and_tells_the_service(rig: Desk, tmp_path: Path) -> None:
    begun = threading.Event()

    def slow(number: int, _request: Any) -> Fault | None:
        begun.set() if number == 1 else None
        return Fault(wait=30) if number == 1 else None

    rig.simulator.file_faults = slow
    stream = rig.ask(File(film(tmp_path / "film.mp4")), "What happens?")
    assert begun.wait(20)
    stream.stop()
    stream.wait(5)
    assert stream.status is gemini_nb.Status.STOPPED
    assert statuses(stream)[-1] == "cancelled"
    assert stream.events[-1].kind == "stream_stopped"
    deadline = time.monotonic() + 10
    while "cancel" not in rig.commands and time.monotonic() < deadline:
        time.sleep(0.01)
    assert rig.commands[-1] == "cancel"
    assert rig.simulator.files.uploaded == []


def test_a_stop_leaves_the_upload_to_the_other_stream_that_waits_for_it(rig: Desk, tmp_path: Path) -> None:
    begun = threading.Event()

    def slow(number: int, _request: Any) -> Fault | None:
        begun.set() if number == 1 else None
        return Fault(wait=0.5) if number == 1 else None

    rig.simulator.file_faults = slow
    path = film(tmp_path / "film.mp4")
    first, second = rig.ask(File(path), "First."), rig.ask(File(path), "Second.")
    assert begun.wait(20)
    next((event for event in second if event.kind.startswith("upload")), None)  # it waits for the same one
    first.stop()
    assert second.result(20)
    assert first.wait(5).status is gemini_nb.Status.STOPPED
    assert rig.commands.count("start") == 1
    third = rig.ask(File(path), "Third.")
    assert third.result(20)


def test_a_file_that_changes_while_it_goes_up_is_not_used(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")

    def change(number: int, _request: Any) -> None:
        if number == 2:
            with path.open("r+b") as file:
                file.seek(MB)
                file.write(b"changed")

    rig.simulator.file_faults = change
    stream = rig.ask(File(path), "What happens?").wait(20)
    assert isinstance(stream.error, gemini_nb.ConfigError)
    assert "film.mp4 changed" in str(stream.error)
    assert rig.bodies == []
    rig.simulator.file_faults = None
    assert rig.ask(File(path), "What happens?").result(20)


def test_a_file_that_vanishes_before_it_is_sent(rig: Desk, tmp_path: Path) -> None:
    file = File(film(tmp_path / "film.mp4"))
    part = file.part()
    (tmp_path / "film.mp4").unlink()
    stream = rig.ask(part, "What happens?").wait(20)
    assert "film.mp4 cannot be read: No such file" in str(stream.error)


def test_many_rows_about_one_film_upload_it_once_and_look_seldom(rig: Desk, tmp_path: Path) -> None:
    file = File(film(tmp_path / "film.mp4"))
    options = {name: value for name, value in rig.options.items() if name != "retry"}
    group = gemini_nb.map([[file, f"Question {i}"] for i in range(20)], manager=rig.manager, **options)
    group.wait()
    assert group.counts.completed == 20
    assert rig.commands.count("start") == 1
    assert rig.commands.count("GET") <= 2


def test_a_deleted_upload_is_uploaded_anew(rig: Desk, tmp_path: Path) -> None:
    file = File(film(tmp_path / "film.mp4"))
    rig.ask(file, "What happens?").result(20)
    (name,) = rig.simulator.files.uploaded
    rig.simulator.files.delete(name)
    stream = rig.ask(file, "What happens?")
    stream.result(20)
    assert not stream.uploads[0].is_reused
    assert file.delete()
    assert rig.simulator.files.uploaded == []
    assert not file.delete(auth="gemini", base_url=rig.simulator.base_url, credentials={"api_key": KEY})
    assert (tmp_path / "film.mp4").exists()


def test_an_upload_that_expired_is_uploaded_anew(rig: Desk, tmp_path: Path) -> None:
    rig.simulator.files.lifetime = 1.0
    file = File(film(tmp_path / "film.mp4"))
    rig.ask(file, "What happens?").result(20)
    time.sleep(1.0)
    rig.ask(file, "What happens?").result(20)
    assert rig.commands.count("start") == 2


def test_a_chat_goes_on_after_its_film_has_expired(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    chat = gemini_nb.Chat(manager=rig.manager, **rig.options)
    chat.send([File(path), "What happens?"]).result(20)
    (name,) = rig.simulator.files.uploaded
    assert name in str(chat.history[0])
    chat.save(tmp_path / "chat.json")
    rig.simulator.files.delete(name)
    told = chat.send("And then?")
    told.result(20)
    assert rig.simulator.files.uploaded[0] in str(rig.bodies[-1])
    loaded = gemini_nb.Chat.load(tmp_path / "chat.json", manager=rig.manager, **rig.options)
    loaded.send("And then?").result(20)
    assert rig.commands.count("start") == 2
    for one in rig.simulator.files.uploaded:
        rig.simulator.files.delete(one)
    film(path, mark=b"another film")
    failed = loaded.send("And now?").wait(20)
    assert "is not there: it has expired or was deleted" in str(failed.error)
    assert "gemini_nb.File(path)" in str(failed.error)


def test_an_upload_is_named(rig: Desk, tmp_path: Path) -> None:
    rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").result(20)
    (name,) = rig.simulator.files.uploaded
    file = File(name)
    stream = rig.ask(file, "What happens?")
    stream.result(20)
    assert stream.uploads == ()  # there was nothing to wait for
    assert rig.file_data()["mimeType"] == "video/mp4"
    where = {name: rig.options[name] for name in ("auth", "base_url", "credentials")}
    assert file.delete(**where)
    assert not file.delete(**where)
    unknown = rig.ask(File("files/unknown"), "What happens?").wait(20)
    assert unknown.error is not None
    assert unknown.error.status_code == 403
    assert "files/unknown is not there" in str(unknown.error)


def test_a_file_address_that_no_file_of_the_program_has_made_is_refused(rig: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    part = {"fileData": {"fileUri": secret.as_uri(), "mimeType": "text/plain"}}
    with pytest.raises(gemini_nb.ConfigError, match="was not given"):
        rig.ask(part, "What is in it?")
    with pytest.raises(gemini_nb.ConfigError, match="was not given"):
        rig.manager.start_stream(request_body={"contents": [{"parts": [part]}]}, **rig.options)

    def look() -> Any:
        """Look."""
        return part

    stream = rig.ask("Use look.", tools=[look]).wait(20)
    assert "secret" not in str([request for request in rig.simulator.requests if "files" in request.path])
    assert stream.uploads == ()


def test_vertex_ai_says_at_the_call_what_it_cannot(tmp_path: Path) -> None:
    with desk() as rig:
        options: dict[str, Any] = {
            "auth": "vertex_ai",
            "credentials": {"project_id": "p-1", "access_token": "token-of-tests"},
        }
        large = film(tmp_path / "large.mp4", 76)
        for file, words in [
            (File(large), r"large\.mp4 has 76\.0 MB.*only the Gemini API has a Files API"),
            (File("files/abc"), "Vertex AI has no Files API"),
            (File("https://example.com/picture"), "the type of https://example.com/picture"),
        ]:
            with pytest.raises(gemini_nb.ConfigError, match=words):
                rig.ask(file, "?", **options)
        medium = rig.ask(File(film(tmp_path / "medium.mp4", 21)), "What happens?", **options)
        assert medium.result(30)
        assert "inlineData" in str(rig.bodies[-1])[:200]
        bucket = rig.ask(File("gs://bucket/film.mp4"), "What happens?", **options)
        assert bucket.result(20)
        assert rig.file_data() == {"mimeType": "video/mp4", "fileUri": "gs://bucket/film.mp4"}


def test_a_kept_answer_needs_no_upload(rig: Desk, tmp_path: Path) -> None:
    path, keep = film(tmp_path / "film.mp4"), str(tmp_path / "answers.jsonl")
    said = rig.ask(File(path), "What happens?", keep=keep).result(20)
    moved = path.rename(tmp_path / "moved.mp4")
    again = rig.ask(File(moved), "What happens?", keep=keep)
    assert again.result(20) == said
    assert again.kept is not None
    assert rig.commands.count("start") == 1
    name = rig.simulator.files.uploaded[0]
    assert rig.ask(File(name, "video/mp4"), "What happens?", keep=keep).wait(20).kept is not None
    played = rig.manager.start_stream([File(moved), "What happens?"], auth="recording", keep=keep)
    assert played.result(20) == said


def test_a_tool_returns_a_large_file(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")

    def record() -> File:
        """Record a film."""
        return File(path)

    stream = rig.ask("Use record.", tools=[record])
    stream.result(20)
    assert statuses(stream) == ["reading", "uploading", "active"]
    response = rig.bodies[-1]["contents"][-1]["parts"][0]["functionResponse"]
    (part,) = response["parts"]
    assert part["fileData"]["fileUri"].endswith(rig.simulator.files.uploaded[0])
    assert response["response"]["result"] == {"$ref": part["fileData"]["displayName"]}


def test_the_program_of_a_stream_uploads_too(
    rig: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film ü.mp4")
    stream = rig.ask(File(path), "What happens?")
    said = stream.result(20)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", rig.simulator.base_url)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(stream.to_code(), {})
    assert out.getvalue() == said
    assert len(rig.simulator.files.uploaded) == 2


def test_the_tokens_of_a_large_file_are_counted(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    options = {name: value for name, value in rig.options.items() if name != "retry"}
    found = gemini_nb.estimate([File(path)], "{item}", manager=rig.manager, **options)
    assert found.input_tokens > 200
    assert rig.commands.count("start") == 1


def test_names_with_control_characters_and_other_scripts(rig: Desk, tmp_path: Path) -> None:
    strange = film(tmp_path / "映画\x1b[31m\n.mp4", mark=b"1")
    broken = film(Path(os.fsdecode(os.fsencode(tmp_path) + b"/film\xff.mp4")), mark=b"2")
    for path in (strange, broken):
        stream = rig.ask(File(path), "What happens?")
        stream.result(20)
        (upload,) = stream.uploads
        assert upload.name.isprintable()
        assert upload.status is UploadStatus.ACTIVE
    names = [
        request.body["file"]["displayName"]
        for request in rig.simulator.requests
        if request.body and "file" in request.body
    ]
    assert names[0] == "映画\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}.mp4"


@pytest.mark.slow
def test_300_megabytes_go_up_in_little_memory(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 300)
    said = run_python(MEMORY, arguments=[str(path), rig.simulator.base_url, KEY])
    assert said.stderr == ""
    growth, reused = said.stdout.split()
    assert int(growth) < 50 * 1024, f"{int(growth) / 1024:.0f} MB"
    assert reused == "False,True"
    assert rig.commands.count("start") == 1


MEMORY = """
import resource, sys, gemini_nb
def ask(contents):
    stream = gemini_nb.get_manager().start_stream(
        contents, auth="gemini", base_url=sys.argv[2], credentials={"api_key": sys.argv[3]})
    stream.result(120)
    return stream
ask("Say something first, so that all is loaded.")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
streams = [ask([gemini_nb.File(sys.argv[1]), "What happens?"]) for _ in range(2)]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown, ",".join(str(stream.uploads[0].is_reused) for stream in streams))
"""


def test_a_large_file_is_cached(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    options = {name: value for name, value in rig.options.items() if name != "retry"}
    with contextlib.suppress(gemini_nb.APIError):  # whether it is large enough is another question
        gemini_nb.cache(File(path), model="gemini-3.8-flash", manager=rig.manager, **options)
    made = next(request for request in rig.simulator.requests if request.path.endswith("/cachedContents"))
    data = made.body["contents"][0]["parts"][0]["fileData"]
    assert data["fileUri"].endswith(rig.simulator.files.uploaded[0])


def test_a_stop_while_a_file_is_read(rig: Desk, tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 1500)
    stream = rig.ask(File(path), "What happens?")
    for event in stream:
        if isinstance(event, gemini_nb.UploadUpdated):
            break
    stream.stop()
    assert stream.wait(5).status is gemini_nb.Status.STOPPED
    assert statuses(stream) == ["reading", "cancelled"]
    deadline = time.monotonic() + 5
    while any(thread.name == "gemini_nb-hash" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert rig.commands == []


def test_rounds_of_tools_look_at_a_film_once(rig: Desk, tmp_path: Path) -> None:
    rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").result(20)
    before = rig.commands.count("GET")

    def look(city: str) -> str:
        """Look at a city."""
        return city

    stream = rig.ask(File(tmp_path / "film.mp4"), "Use look for Lisbon.", tools=[look])
    stream.result(20)
    assert stream.tool_calls
    assert rig.commands.count("GET") == before + 1


def test_a_managers_uploads_go_with_it(rig: Desk, tmp_path: Path) -> None:
    manager = gemini_nb.StreamManager()
    manager.start_stream([File(film(tmp_path / "film.mp4")), "?"], **rig.options).result(20)
    manager.shutdown()
    runtime = weakref.ref(manager.runtime)
    del manager
    deadline = time.monotonic() + 5
    while runtime() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
    assert runtime() is None


def test_an_answer_is_kept_whose_file_was_not_ready_at_first(rig: Desk, tmp_path: Path) -> None:
    rig.ask(File(film(tmp_path / "film.mp4")), "What happens?").result(20)
    options = types.HttpOptions(base_url=rig.simulator.base_url)
    rig.simulator.files.processing = 60
    with genai.Client(api_key=KEY, http_options=options) as client:
        name = client.files.upload(file=io.BytesIO(b"film"), config={"mime_type": "video/mp4"}).name
    keep = str(tmp_path / "answers.jsonl")
    contents = [{"fileData": {"fileUri": name, "mimeType": "video/mp4"}}, "What happens?"]
    said = rig.process(rig.ask(*contents, keep=keep)).result(20)
    again = rig.ask(*contents, keep=keep)
    assert (again.result(20), again.kept is not None) == (said, True)


def test_files_that_are_too_large_together_are_uploaded(rig: Desk, tmp_path: Path) -> None:
    files = [File(film(tmp_path / f"{number}.mp4", 16, bytes([number]))) for number in range(5)]
    small = film(tmp_path / "small.mp4", 1, b"small")
    stream = rig.ask(*files, File(small), "What happens in them?")
    stream.result(30)
    assert len(stream.uploads) == 5
    parts = rig.bodies[-1]["contents"][0]["parts"]
    assert ["fileData" in part for part in parts] == [True] * 5 + [False] * 2


def test_vertex_ai_is_not_sent_more_than_it_takes(tmp_path: Path) -> None:
    files = [File(film(tmp_path / f"{number}.mp4", 40)) for number in range(2)]
    with desk() as rig, pytest.raises(gemini_nb.ConfigError, match="a request has 100 MB at most"):
        rig.ask(*files, "?", auth="vertex_ai", credentials={"project_id": "p", "access_token": "token-of-it"})
