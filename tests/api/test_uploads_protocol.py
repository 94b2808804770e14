"""The Files API's protocol, against servers that answer what Google's does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from films import film
from gemini_nb import File
from gemini_nb.api.http import IdleTimeout
from scripted import Answer, Request, ScriptedServer, json_error, response, sse_answer, text

FILE = {
    "name": "files/abc",
    "uri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
    "mimeType": "video/mp4",
    "state": "ACTIVE",
}
PLACE = "/upload/v1beta/files?upload_id=7"


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_NB_JOURNAL", "off")


def raw(body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return response(200, {"Content-Length": str(len(body)), **named}, body)


def reply(body: Any = None, **headers: str) -> Answer:
    return raw(json.dumps(body or {}).encode(), **headers)


def serve(server_says: Callable[[Request], Answer | None]) -> Callable[[Request], Answer]:
    """What a right server answers where the test has nothing else to say."""

    def answer(request: Request) -> Answer:
        if (said := server_says(request)) is not None:
            return said
        command = request.headers.get("x-goog-upload-command")
        if command == "start":
            return reply(x_goog_upload_url=f"https://elsewhere.googleapis.com{PLACE}")
        if command == "upload":
            return reply(x_goog_upload_status="active")
        if command == "upload, finalize":
            return reply({"file": FILE}, x_goog_upload_status="final")
        if "/files" in request.path:
            return reply(FILE)
        return sse_answer(text("A film.", finish="STOP"))

    return answer


def ask(server: ScriptedServer, *contents: Any) -> gemini_nb.Stream:
    manager = gemini_nb.StreamManager()
    options: dict[str, Any] = {"credentials": {"api_key": "a-key-of-the-tests"}, "base_url": server.url}
    retry = gemini_nb.RetryPolicy(initial_delay=0.01, max_delay=0.01)
    try:
        return manager.start_stream(list(contents), auth="gemini", retry=retry, **options).wait(20)
    finally:
        manager.shutdown()


def test_a_gateways_uploads_stay_at_the_gateway_and_pieces_carry_no_key(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    with ScriptedServer(serve(lambda _: None)) as server:
        assert ask(server, File(path), "?").text == "A film."
        pieces = [request for request in server.requests if "upload_id" in request.target]
        assert [request.target for request in pieces] == [PLACE] * 3
        assert not any("x-goog-api-key" in request.headers for request in pieces)
        assert b"".join(request.body for request in pieces) == path.read_bytes()
        start = server.requests[0]
        assert start.path == "/upload/v1beta/files"
        assert start.headers["x-goog-api-key"] == "a-key-of-the-tests"


def test_the_services_own_units_are_kept(tmp_path: Path) -> None:
    def say(request: Request) -> Answer | None:
        if request.headers.get("x-goog-upload-command") != "start":
            return None
        units = str(3 * 2**20)
        address = f"https://x.googleapis.com{PLACE}"
        return reply(x_goog_upload_url=address, x_goog_upload_chunk_granularity=units)

    with ScriptedServer(serve(say)) as server:
        ask(server, File(film(tmp_path / "film.mp4")), "?")
        offsets = [request.headers.get("x-goog-upload-offset") for request in server.requests]
    assert offsets[1:5] == ["0", str(6 * 2**20), str(12 * 2**20), str(18 * 2**20)]


@pytest.mark.parametrize("address", ["", "nowhere", "ftp://x.googleapis.com/", "https://[x"])
def test_no_address_to_upload_to(tmp_path: Path, address: str) -> None:
    def say(request: Request) -> Answer | None:
        is_start = request.headers.get("x-goog-upload-command") == "start"
        return reply(x_goog_upload_url=address) if is_start else None

    with ScriptedServer(serve(say)) as server:
        stream = ask(server, File(film(tmp_path / "film.mp4")), "?")
    assert isinstance(stream.error, gemini_nb.ProtocolError)
    assert "named no address to upload to" in str(stream.error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"file": {}}', b'{"file": {"name": "../x", "uri": "y"}}']
)
def test_a_service_that_describes_no_file(tmp_path: Path, body: bytes) -> None:
    def say(request: Request) -> Answer | None:
        last = request.headers.get("x-goog-upload-command") == "upload, finalize"
        return raw(body, x_goog_upload_status="final") if last else None

    with ScriptedServer(serve(say)) as server:
        stream = ask(server, File(film(tmp_path / "film.mp4")), "?")
    assert isinstance(stream.error, gemini_nb.ProtocolError)
    assert "film.mp4 was not uploaded" in str(stream.error)


def test_a_final_answer_without_the_file_is_asked_for(tmp_path: Path) -> None:
    ended: list[str] = []

    def say(request: Request) -> Answer | None:
        command = request.headers.get("x-goog-upload-command")
        if command == "upload, finalize":
            return json_error(503)
        if command == "query":
            ended.append(command)
            return reply(x_goog_upload_status="final")
        return None

    with ScriptedServer(serve(say)) as server:
        assert ask(server, File(film(tmp_path / "film.mp4")), "?").text == "A film."
        named = json.loads(server.requests[0].body)["file"]["name"]
        assert any(request.path == f"/v1beta/{named}" for request in server.requests)
    assert ended == ["query"]


def test_a_hash_that_differs_is_an_error_and_the_upload_is_deleted(tmp_path: Path) -> None:
    def say(request: Request) -> Answer | None:
        last = request.headers.get("x-goog-upload-command") == "upload, finalize"
        wrong = {**FILE, "sha256Hash": "A" * 43 + "="}
        return reply({"file": wrong}, x_goog_upload_status="final") if last else None

    with ScriptedServer(serve(say)) as server:
        stream = ask(server, File(film(tmp_path / "film.mp4")), "?")
        assert "film.mp4 changed while it was uploaded" in str(stream.error)
        assert server.requests[-1].method == "DELETE"


def test_a_service_that_forgets_each_upload_is_given_up(tmp_path: Path) -> None:
    def say(request: Request) -> Answer | None:
        command = request.headers.get("x-goog-upload-command")
        return json_error(404) if command in {"upload", "query"} else None

    with ScriptedServer(serve(say)) as server:
        stream = ask(server, File(film(tmp_path / "film.mp4")), "?")
        starts = [r for r in server.requests if r.headers.get("x-goog-upload-command") == "start"]
    assert "film.mp4 was not uploaded: 404" in str(stream.error)
    assert "model" not in str(stream.error)
    assert len(starts) == 4


def test_an_endpoint_of_the_users_own_has_no_files(tmp_path: Path) -> None:
    with ScriptedServer(serve(lambda _: None)) as server:
        manager = gemini_nb.StreamManager()
        options: dict[str, Any] = {"auth": "gemini", "credentials": {"api_key": "a-key-of-the-tests"}}
        options["endpoint"] = f"{server.url}/ask"
        inside = manager.start_stream([File(film(tmp_path / "film.mp4")), "?"], **options).wait(20)
        assert inside.text == "A film."
        assert b"inlineData" in server.requests[-1].body[:200]
        with pytest.raises(gemini_nb.ConfigError, match="cannot be uploaded there"):
            manager.start_stream([File(film(tmp_path / "long.mp4", 76)), "?"], **options)
        manager.shutdown()


def test_a_gateway_that_knows_models_only_gets_the_address(tmp_path: Path) -> None:
    def say(request: Request) -> Answer | None:
        return raw(b"<html>") if request.path.startswith("/v1beta/files") else None

    with ScriptedServer(serve(say)) as server:
        assert ask(server, {"fileData": {"fileUri": FILE["uri"]}}, "?").text == "A film."
        assert FILE["uri"].encode() in server.requests[-1].body


def test_a_bare_name_is_not_looked_at_before_it_is_refused() -> None:
    refusals = iter([True])

    def say(request: Request) -> Answer | None:
        if "generate" in request.path.lower() and next(refusals, False):
            return json_error(400, message="The File abc is not in an ACTIVE state and usage is not allowed.")
        return None

    with ScriptedServer(serve(say)) as server:
        assert ask(server, {"fileData": {"fileUri": "files/abc"}}, "?").text == "A film."
        assert [request.method for request in server.requests] == ["POST", "GET", "POST"]


async def test_a_timeout_that_is_over_cancels_nothing_later() -> None:
    """A task's next request tells the timeout of its last one that a connection stands."""
    idle = IdleTimeout(90)
    idle.close()
    idle.begin(0.01)
    await asyncio.sleep(0.05)
