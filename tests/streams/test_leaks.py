"""No key leaves: not in what a tool says or returns, not in what a server echoes, not in a cookie."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest
from google.oauth2 import service_account

import gemini_nb
from answers import KEY, PATIENCE, rig
from approvals import asking
from gemini_nb.notebook.render.group_settled import text_of
from gemini_nb.notebook.render.group_table import item_words
from scripted import call, sse_answer, text
from token_server import TOKEN, TokenServer

pytest_plugins = ["google_accounts"]
ENVIRONMENT = {
    "GEMINI_API_KEY": "AIzaSy-of-the-environment-0123456789",
    "GOOGLE_API_KEY": "AIzaSy-another-of-the-environment-99",
}


def shows_all() -> Any:
    """Show the environment in every way."""
    half = ENVIRONMENT["GEMINI_API_KEY"]
    print(os.environ)
    print(half[:15], end="")
    print(half[15:])
    return {
        "text": str(os.environ),
        "json": json.dumps(dict(os.environ)),
        "bytes": "\n".join(os.environ.values()).encode(),
        "pdf": b"%PDF-1.7\n" + half.encode(),
        **dict.fromkeys(ENVIRONMENT.values(), 1),
    }


def fails_with_all() -> None:
    """Fail with the environment."""
    raise RuntimeError(str(os.environ))


@pytest.mark.parametrize("tool", [shows_all, fails_with_all])
def test_a_tool_that_shows_the_environment_shows_no_key(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with rig(asking(tool.__name__)) as made:
        stream = made.start(tools=[tool]).wait(10)
        sent = made.server.requests[1].body.decode()
    for secret in ENVIRONMENT.values():
        coded = base64.b64encode(b"%PDF-1.7\n" + secret.encode()).decode()
        assert coded[:40] not in sent
        assert secret not in f"{sent}{stream.events}{stream.tool_calls}{stream.info()}"
        assert not any(secret in call.output for call in stream.tool_calls)
    assert stream.status == "completed"


@pytest.mark.parametrize("size", [1, 4, 9, 50])
def test_a_server_that_echoes_the_key_shows_it_nobody(size: int) -> None:
    said = f"Your key is {KEY}."
    pieces = [text(said[at : at + size]) for at in range(0, len(said), size)]
    thoughts = [text(said[at : at + size], thought=True) for at in range(0, len(said), size)]
    with rig(lambda _: sse_answer(*thoughts, *pieces, text("", finish="STOP"))) as made:
        stream = made.start()
        assert "[secret]." in stream.result()
        assert "[secret]." in stream.thoughts
        everything = f"{stream.text}{stream.thoughts}{stream.parts}{stream.chunks}"
        assert KEY not in everything
        told = "".join(event.text for event in stream.events if event.kind == "text_delta")
        assert told == stream.text


def test_what_a_prompt_holds_is_not_shown_again() -> None:
    with rig(lambda _: sse_answer(text("Yes.", finish="STOP"))) as made:
        stream = made.start(f"Is {KEY} a key?").wait()
    assert KEY not in json.dumps(stream.info().request_body) + stream.to_code()


def test_what_a_server_says_of_itself_and_the_callers_notes_show_no_key() -> None:
    said = {**call("f", id=f"id-{KEY}", finish="STOP"), "modelVersion": f"m-{KEY}", "responseId": f"r-{KEY}"}
    with rig(lambda _: sse_answer(said)) as made:
        stream = made.start(tools=[{"name": "f"}], metadata={"of": KEY}).wait(PATIENCE)
        assert (stream.model_version, stream.response_id) == ("m-[secret]", "r-[secret]")
        assert stream.tool_calls[0].id == "id-[secret]"
        assert stream.metadata == {"of": "[secret]"}
        assert KEY not in f"{stream.events}{stream.info()}"


def test_a_key_in_a_url_is_not_shown() -> None:
    with rig(lambda _: sse_answer(text("Yes.", finish="STOP"))) as made:
        stream = made.start(base_url=f"{made.server.url}/{KEY}").wait(PATIENCE)
        assert KEY not in stream.info().endpoint
        assert KEY in made.server.requests[0].path


def test_cookies_are_not_kept() -> None:
    headers = {"Set-Cookie": "who=first-key; Path=/"}
    with rig(lambda _: sse_answer(text("Yes.", finish="STOP"), headers=headers)) as made:
        made.start().wait()
        made.start(credentials={"api_key": "another-key-0815"}).wait()
        assert ["cookie" in request.headers for request in made.server.requests] == [False, False]


def test_the_last_event_is_there_before_the_status_says_so() -> None:
    seen: list[tuple[str, str]] = []
    with rig(lambda _: sse_answer(text("Yes.", finish="STOP"))) as made:
        stream = made.start()

        class Reader:
            def notify(self) -> None:
                if stream.status != "active":
                    seen.append((stream.record.log[-1].kind, stream.status))

        stream.record.log.attach(Reader())
        stream.wait()
    assert seen == [("stream_completed", "completed")]


def test_what_a_group_was_asked_about_and_notes_show_no_key() -> None:
    with rig(lambda _: sse_answer(text(json.dumps({"key": "\\u006bey"}), finish="STOP"))) as made:
        group = gemini_nb.map(
            ["a", "b"],
            items=[{"key": KEY}, f"about {KEY}"],
            manager=made.manager,
            metadata={"from": KEY, KEY: 1},
            **made.options,
        ).wait(PATIENCE)
        shown = [item_words(group, index) for index in range(2)]
        assert shown == ["[secret]", "about [secret]"]
        for look in (text_of(group), repr(group[0].info()), repr(group[0].info().metadata), repr(group[0])):
            assert KEY not in look


def test_json_that_spells_a_key_in_escapes_shows_no_key() -> None:
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    config = {"responseMimeType": "application/json"}
    with rig(lambda _: sse_answer(text(f'{{"key": "{spelled}"}}', finish="STOP"))) as made:
        stream = made.start(generation_config=config).wait(PATIENCE)
        assert stream.parsed == {"key": "[secret]"}


def test_a_chunk_that_spells_a_key_in_escapes_shows_no_key() -> None:
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    chunk = json.dumps(text("KEY", finish="STOP")).replace("KEY", spelled)
    with rig(lambda _: sse_answer(f"data: {chunk}\r\n\r\n".encode())) as made:
        stream = made.start().wait(PATIENCE)
        assert stream.text == "[secret]"
        assert KEY not in repr(stream.chunks)


def test_a_token_of_real_google_credentials_is_shown_nowhere(
    account: dict[str, str],
    tokens: TokenServer,
) -> None:
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_info(account, scopes=scopes)

    def look() -> str:
        """Look at the token."""
        print(credentials.token)
        return f"{credentials.token} {account['private_key']}"

    with rig(asking("look")) as made:
        stream = made.manager.start_stream(
            "Hi", tools=[look], credentials=credentials, endpoint=f"{made.server.url}/v1/models/m"
        ).wait(PATIENCE)
        sent = made.server.requests
        assert stream.status == "completed", stream.error
        assert {request.headers["authorization"] for request in sent} == {f"Bearer {TOKEN}-1"}
        assert len(tokens.requests) == 1
        shown = f"{[request.body for request in sent]}{stream.events}{stream.tool_calls}{stream.info()}"
        assert f"{TOKEN}-1" not in shown
        assert stream.tool_calls[0].output == "[secret]\n"
