"""The simulated Files API: Google's own client uploads to it, and what Google refuses is refused."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from gemini_nb.simulator import Fault, Simulator, rules
from simulator_wire import DEVELOPER, KEY, MODEL, ask, refused

PIECE = 256 * 1024
START = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start", **KEY}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(pace=0) as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[genai.Client]:
    with genai.Client(api_key="right", http_options=types.HttpOptions(base_url=sim.base_url)) as opened:
        yield opened


@pytest.fixture
def http(sim: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sim.base_url, trust_env=False) as opened:
        yield opened


def asked(file: types.File, text: str) -> Any:
    return [file, text]


def begin(http: httpx.Client, size: object = 3 * PIECE, **file: Any) -> httpx.Response:
    headers = {
        **START,
        "X-Goog-Upload-Header-Content-Length": str(size),
        "X-Goog-Upload-Header-Content-Type": "application/pdf",
    }
    return http.post("/upload/v1beta/files", json={"file": file}, headers=headers)


def send(url: str, command: str, offset: int = 0, data: bytes = b"") -> httpx.Response:
    headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}
    return httpx.post(url, headers=headers, content=data, trust_env=False)


def test_googles_client_uploads_gets_lists_and_deletes(client: genai.Client, tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"%PDF-1.4\n" + bytes(9 * 2**20))  # two pieces
    file = client.files.upload(file=path, config={"display_name": "A paper", "name": "my-paper"})
    assert (file.name, file.display_name, file.mime_type) == ("files/my-paper", "A paper", "application/pdf")
    assert file.size_bytes == path.stat().st_size
    assert file.state is types.FileState.ACTIVE
    assert file.expiration_time is not None
    assert file.create_time is not None
    assert (file.expiration_time - file.create_time).total_seconds() == 48 * 3600
    found = client.files.get(name="files/my-paper")
    assert (found.uri, found.sha256_hash) == (file.uri, file.sha256_hash)
    assert [one.name for one in client.files.list()] == ["files/my-paper"]
    answer = client.models.generate_content(model=MODEL, contents=asked(file, "What is in it?"))
    assert "application/pdf" in (answer.text or "")
    client.files.delete(name="my-paper")
    assert list(client.files.list()) == []
    with pytest.raises(errors.ClientError) as caught:
        client.files.get(name="my-paper")
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


def test_googles_client_sends_a_piece_again_that_got_no_status(
    sim: Simulator, client: genai.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sim.file_faults = {1: Fault(status=503)}
    file = client.files.upload(file=io.BytesIO(b"x" * PIECE * 40), config={"mime_type": "image/png"})
    assert file.state is types.FileState.ACTIVE
    assert len(sim.requests) == 4


def test_films_are_processed_and_may_fail(sim: Simulator, client: genai.Client) -> None:
    sim.files.processing = 60
    film = client.files.upload(file=io.BytesIO(b"film"), config={"mime_type": "video/mp4"})
    assert film.state is types.FileState.PROCESSING
    with pytest.raises(errors.ClientError, match="not in an ACTIVE state") as caught:
        client.models.generate_content(model=MODEL, contents=asked(film, "What happens?"))
    assert caught.value.status == "FAILED_PRECONDITION"
    assert client.files.get(name=film.name or "").state is types.FileState.PROCESSING
    sim.files.finish_processing()
    assert client.files.get(name=film.name or "").state is types.FileState.ACTIVE
    assert client.models.generate_content(model=MODEL, contents=asked(film, "What happens?")).text
    sim.files.processing, sim.files.failure = 0, "The film has no pictures."
    bad = client.files.upload(file=io.BytesIO(b"no film"), config={"mime_type": "video/mp4"})
    assert bad.state is types.FileState.FAILED
    assert bad.error is not None
    assert bad.error.message == "The film has no pictures."


def test_files_expire_and_belong_to_their_key(sim: Simulator, client: genai.Client) -> None:
    file = client.files.upload(file=io.BytesIO(b"a"), config={"mime_type": "text/plain"})
    name = file.name or ""
    with genai.Client(api_key="other", http_options=types.HttpOptions(base_url=sim.base_url)) as other:
        assert list(other.files.list()) == []
        for refused_call in (other.files.get, other.files.delete):
            with pytest.raises(errors.ClientError, match="403"):
                refused_call(name=name)
        with pytest.raises(errors.ClientError, match="403"):
            other.models.generate_content(model=MODEL, contents=asked(file, "?"))
    sim.files.lifetime = 0
    gone = client.files.upload(file=io.BytesIO(b"b"), config={"mime_type": "text/plain"})
    with pytest.raises(errors.ClientError, match="403"):
        client.models.generate_content(model=MODEL, contents=asked(gone, "?"))
    assert sim.files.uploaded == [name]


def test_a_list_comes_page_by_page(client: genai.Client) -> None:
    names = {
        client.files.upload(file=io.BytesIO(b"a"), config={"mime_type": "text/plain"}).name for _ in range(5)
    }
    pager = client.files.list(config={"page_size": 2})
    assert len(pager.page) == 2
    assert {file.name for file in pager} == names


def test_pieces_must_fit(http: httpx.Client) -> None:
    started = begin(http, name="files/a-b")
    assert started.headers["x-goog-upload-chunk-granularity"] == str(PIECE)
    url = started.headers["x-goog-upload-url"]
    assert send(url, "upload", 0, bytes(PIECE)).headers["x-goog-upload-status"] == "active"
    for offset, size, command in [
        (0, PIECE, "upload"),
        (PIECE, PIECE + 1, "upload"),
        (PIECE, 0, "upload"),
        (PIECE, PIECE, "upload, finalize"),
        (PIECE, 3 * PIECE, "upload, finalize"),
        (PIECE, PIECE, "hurry"),
    ]:
        refused(send(url, command, offset, bytes(size)), 400, "INVALID_ARGUMENT")
    found = send(url, "query")
    assert found.headers["x-goog-upload-size-received"] == str(PIECE)
    done = send(url, "upload, finalize", PIECE, bytes(2 * PIECE))
    assert done.headers["x-goog-upload-status"] == "final"
    assert done.json()["file"]["name"] == "files/a-b"
    assert send(url, "query").headers["x-goog-upload-status"] == "final"
    refused(send(url, "upload", 3 * PIECE, bytes(PIECE)), 400, "INVALID_ARGUMENT")
    refused(begin(http, name="files/a-b"), 409, "ALREADY_EXISTS")


def test_an_upload_that_never_began_is_not_found(http: httpx.Client) -> None:
    url = begin(http).headers["x-goog-upload-url"]
    refused(send(url.replace("upload_id=", "upload_id=x"), "query"), 404, "NOT_FOUND")


def test_an_upload_is_cancelled(http: httpx.Client) -> None:
    url = begin(http).headers["x-goog-upload-url"]
    assert send(url, "cancel").headers["x-goog-upload-status"] == "cancelled"
    refused(send(url, "upload", 0, bytes(PIECE)), 404, "NOT_FOUND")


def test_what_is_there_already_is_not_cancelled(http: httpx.Client) -> None:
    url = begin(http, size=PIECE).headers["x-goog-upload-url"]
    send(url, "upload, finalize", 0, bytes(PIECE))
    assert send(url, "cancel").headers["x-goog-upload-status"] == "final"


def test_the_name_of_a_file_that_expired_can_be_given_again(sim: Simulator, http: httpx.Client) -> None:
    sim.files.lifetime = 0
    for _ in range(2):
        url = begin(http, size=PIECE, name="files/a").headers["x-goog-upload-url"]
        assert send(url, "upload, finalize", 0, bytes(PIECE)).status_code == 200


def test_a_piece_may_be_larger_than_a_request(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAYLOAD_LIMIT", PIECE)
    url = begin(http, size=2 * PIECE).headers["x-goog-upload-url"]
    assert send(url, "upload, finalize", 0, bytes(2 * PIECE)).status_code == 200


def test_a_refused_request_takes_no_fault(sim: Simulator, http: httpx.Client) -> None:
    sim.file_faults = ["503"]
    assert [http.get("/v1beta/files", headers=one).status_code for one in ({}, KEY, KEY)] == [403, 503, 200]


def test_what_cannot_begin_is_refused(http: httpx.Client) -> None:
    refused(begin(http, name="files/No_Name"), 400, "INVALID_ARGUMENT")
    refused(begin(http, colour="red"), 400, "INVALID_ARGUMENT")
    refused(begin(http, display_name=3), 400, "INVALID_ARGUMENT")
    refused(begin(http, size="9" * 5000), 400, "INVALID_ARGUMENT")
    refused(begin(http, size=0), 400, "INVALID_ARGUMENT")
    refused(begin(http, size=2**31 + 1), 400, "INVALID_ARGUMENT")
    refused(begin(http, mime_type="film"), 400, "INVALID_ARGUMENT")
    refused(http.post("/upload/v1beta/files", headers=KEY), 400, "INVALID_ARGUMENT")
    assert http.post("/upload/v1beta/files", headers={**START, "x-goog-api-key": ""}).status_code == 403
    assert http.get("/v1beta/files").status_code == 403
    assert http.get("/v1beta1/projects/p/locations/l/files", headers=KEY).status_code == 404
    assert http.patch("/v1beta/files/abc", headers=KEY).status_code in {403, 404}
    refused(http.get("/v1beta/files?pageSize=1000", headers=KEY), 400, "INVALID_ARGUMENT")
    local = {"fileData": {"fileUri": "file:///etc/passwd"}}
    body = ask() | {"contents": [{"parts": [local]}]}
    refused(http.post(f"{DEVELOPER}:generateContent", json=body, headers=KEY), 400, "INVALID_ARGUMENT")


def test_a_connection_breaks_in_the_middle_of_a_piece(sim: Simulator, http: httpx.Client) -> None:
    data = bytes(range(256)) * (4 * PIECE // 256)
    sim.file_faults = {1: Fault(reset=True), 4: Fault(close=True)}
    url = begin(http, size=len(data)).headers["x-goog-upload-url"]
    with pytest.raises(httpx.TransportError):
        send(url, "upload, finalize", 0, data)
    found = send(url, "query").headers
    assert (found["x-goog-upload-status"], found["x-goog-upload-size-received"]) == ("active", str(2 * PIECE))
    refused(send(url, "upload, finalize", 0, data), 400, "INVALID_ARGUMENT")
    with pytest.raises(httpx.TransportError):
        send(url, "upload, finalize", 2 * PIECE, data[2 * PIECE :])
    asked_again = send(url, "query")
    assert asked_again.headers["x-goog-upload-status"] == "final"
    file = types.File.model_validate(asked_again.json()["file"])
    assert file.sha256_hash is not None
    assert base64.b64decode(file.sha256_hash).decode() == hashlib.sha256(data).hexdigest()
