"""What `File` takes: paths, addresses, links to films and names of uploads; what cannot be sent, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from answers import run_python
from films import MB, film
from gemini_nb import ArgumentError, ConfigError, File
from gemini_nb.api.contents.content import to_part
from gemini_nb.redaction import scrub

SIGNED = "https://bucket.example/a%20film.mp4?X-Amz-Expires=60&X-Amz-Signature=f0e1d2c3b4a596877869"


@pytest.mark.parametrize(
    ("address", "mime_type"),
    [
        ("https://host.example/paper.pdf", "application/pdf"),
        ("https://host.example/paper.pdf?version=2", "application/pdf"),
        ("https://host.example/page", None),
        ("gs://bucket/folder/sound.mp3", "audio/mp3"),
        ("https://www.youtube.com/watch?v=9hE5-98ZeCg", "video/*"),
        ("https://youtu.be/9hE5-98ZeCg", "video/*"),
        ("https://m.youtube.com/watch?v=9hE5-98ZeCg", "video/*"),
        ("https://music.youtube.com/watch?v=9hE5-98ZeCg", "video/*"),
        ("https://notyoutube.com/watch?v=9hE5-98ZeCg", None),
        (SIGNED, "video/mp4"),
    ],
)
def test_addresses_are_sent_as_they_are(address: str, mime_type: str | None) -> None:
    kind = {"mimeType": mime_type} if mime_type else {}
    assert to_part(File(address)) == {"fileData": {**kind, "fileUri": address}}
    named = File(address, "image/png").part()["fileData"]
    assert named == {"mimeType": "image/png", "fileUri": address}


def test_the_name_of_an_upload_is_one_where_no_such_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = "https://generativelanguage.googleapis.com/v1beta/files/abc-1"
    for name in ("files/abc-1", uri):
        assert File(name).part() == {"fileData": {"fileUri": uri}}
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "abc-1").write_text("of this machine")
    assert "of this machine" in File("files/abc-1").part()["text"]
    with pytest.raises(ConfigError, match="No such file"):
        File("files/Not A Name")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://host.example/a.png", "Google reads https:// and gs:// addresses"),
        ("ftp://host.example/a.png", "Google reads https:// and gs:// addresses"),
        ("file:///etc/passwd", "is no address"),
        ("s3://bucket/a.png", "Google reads https:// and gs:// addresses"),
        ("https://user:pass-word@host.example/a.png", "must not hold a user or a password"),
        ("https:///a.png", "is no address"),
        ("https://host.example/a b.png", "is no address"),
        ("https://host.example/a\nb.png", "is no address"),
        ("https://[host/a.png", "is no address"),
        ("gs://bucket", "Google reads"),
    ],
)
def test_addresses_that_cannot_be_sent(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        File(address)
    assert "pass-word" not in str(caught.value)


def test_an_address_with_one_of_the_users_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-a-key-of-the-tests")
    with pytest.raises(ConfigError, match="holds a password or one of your keys") as caught:
        File("https://host.example/a.png?key=AIza-a-key-of-the-tests")
    assert "AIza-a-key" not in str(caught.value)


def test_the_signature_in_an_address_is_shown_nowhere() -> None:
    file = File(SIGNED)
    assert repr(file) == "File('https://bucket.example/a%20film.mp4?…')"
    assert "f0e1d2c3b4a596877869" not in scrub(f"The service cannot read {SIGNED}.")
    assert "X-Amz-Expires=60" in scrub(SIGNED)
    other = SIGNED.replace("film", "other")
    assert File(other).part()["fileData"]["fileUri"] == other


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path / "missing.png", r"missing\.png cannot be read: No such file"),
        (tmp_path, "is not a file, but a folder"),
        (tmp_path / "pipe", "is not a file"),
        (tmp_path / "empty.txt", r"empty\.txt is empty"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / ("a" * 300), "cannot be read: File name too long"),
    ]:
        with pytest.raises(ConfigError, match=words):
            File(path)
        with pytest.raises(ConfigError, match=words):
            File(path, "image/png")
    with pytest.raises(ConfigError, match="has 2,049"):
        File(film(tmp_path / "huge.mp4", 2049))
    wrong: Any = 3
    with pytest.raises(ArgumentError, match="not an int"):
        File(wrong)
    with pytest.raises(ConfigError, match="is not a MIME type"):
        File(film(tmp_path / "film.mp4", 1), "film")


FORBIDDEN = """
import os, pathlib, tempfile
from gemini_nb import File
from gemini_nb.errors import ConfigError
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    path = pathlib.Path(folder, "film.mp4")
    path.write_bytes(b"film")
    File(path)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who reads everything
        os.seteuid(65534)
    try:
        File(path)
    except ConfigError as error:
        print(error)
    finally:
        os.seteuid(user)
"""


def test_a_file_that_may_not_be_read() -> None:
    done = run_python(FORBIDDEN)
    assert "film.mp4 cannot be read: Permission denied" in done.stdout, done.stderr


def test_a_large_file_stands_in_the_request_as_its_path(tmp_path: Path) -> None:
    path = film(tmp_path / "a film.mp4", 20)
    with path.open("ab") as file:
        file.write(b"x")
    part = File(path).part()
    assert part == {
        "fileData": {"mimeType": "video/mp4", "fileUri": path.as_uri(), "displayName": "a film.mp4"}
    }
    given = File(path)
    os.truncate(path, 20 * MB)
    assert "inlineData" in given.part()
    os.truncate(path, 0)
    with pytest.raises(ConfigError, match="is empty"):
        given.part()
