"""The list of models, of both services, page by page."""

from __future__ import annotations

import json
from typing import Any

import pytest

import gemini_nb
from answers import rig
from gemini_nb import APIError, Model
from gemini_nb.errors import ConnectError, ProtocolError
from gemini_nb.simulator import Simulator
from scripted import json_error, response

FLASH = {
    "name": "models/gemini-3.8-flash",
    "displayName": "Gemini 3.8 Flash",
    "inputTokenLimit": 1_048_576,
    "outputTokenLimit": 65_536,
    "supportedGenerationMethods": ["generateContent", "countTokens"],
}


def page(body: Any) -> Any:
    content = json.dumps(body).encode()
    return response(200, {"Content-Length": str(len(content))}, content)


def test_all_pages_are_read_and_kept_for_a_while() -> None:
    pages = [{"models": [FLASH], "nextPageToken": "a/b"}, {"models": [{"name": "models/other"}, {}, None]}]
    with rig([page(one) for one in pages]) as made:
        options = {name: made.options[name] for name in ("auth", "credentials", "base_url")}
        flash, other = made.manager.models(**options)
        assert flash == Model(
            name="gemini-3.8-flash",
            display_name="Gemini 3.8 Flash",
            input_token_limit=1_048_576,
            output_token_limit=65_536,
            methods=("generateContent", "countTokens"),
        )
        assert other == Model(name="other")
        assert made.manager.models(**options) == [flash, other]
        assert [request.target for request in made.server.requests] == [
            "/v1beta/models?pageSize=1000",
            "/v1beta/models?pageSize=1000&pageToken=a/b",
        ]


@pytest.mark.parametrize(("answer", "error"), [(json_error(403), APIError), (page([1]), ProtocolError)])
def test_what_goes_wrong_is_said(answer: Any, error: type[Exception]) -> None:
    with rig([answer]) as made:
        options = {name: made.options[name] for name in ("auth", "credentials", "base_url")}
        with pytest.raises(error):
            made.manager.models(**options)


def test_a_service_that_is_away_is_said() -> None:
    with rig([]) as made, pytest.raises(ConnectError):
        made.manager.models("gemini", credentials={"api_key": "x" * 20}, base_url="http://127.0.0.1:9")


def test_the_simulator_and_vertex_ai_list_theirs() -> None:
    names = [model.name for model in gemini_nb.models("simulator")]
    assert "gemini-3.8-flash" in names
    with Simulator() as server:
        credentials = {"project_id": "p", "location": "us-central1", "access_token": "t" * 20}
        vertex = gemini_nb.models("vertex_ai", credentials=credentials, base_url=server.base_url)
    assert "gemini-3.8-flash" in [model.name for model in vertex]


DAILY = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "ListPerDay"}]}


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (json_error(429), "The quota for the list of models is used up"),
        (json_error(429, details=[DAILY]), "The daily quota for the list of models is used up"),
        (json_error(429, message="limit: 0"), "no quota for the list of models at all"),
        (json_error(404), "base URL"),
    ],
)
def test_a_refusal_speaks_of_the_list_and_of_no_model(answer: Any, hint: str) -> None:
    with rig([answer]) as made:
        options = {name: made.options[name] for name in ("auth", "credentials", "base_url")}
        with pytest.raises(APIError) as caught:
            made.manager.models(**options)
    assert hint in caught.value.hint
    assert "gemini-" not in caught.value.hint
