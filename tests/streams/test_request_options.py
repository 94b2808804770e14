"""Options that change the request itself: headers, tier, Google's own tools by name, a config by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from answers import PATIENCE, hello, rig
from gemini_nb.errors import CallerError
from kernels import Kernel


def asked(**options: Any) -> Any:
    with rig(hello()) as made:
        assert made.start("Hi", **options).wait(PATIENCE).error is None
        return made.server.requests[0]


def test_more_headers_go_along_and_never_prove_who_asks() -> None:
    request = asked(headers={"X-Trace": "abc"})
    assert request.headers["x-trace"] == "abc"
    assert request.headers["x-goog-api-key"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer x"},
        {"x-goog-api-key": "k"},
        {"COOKIE": "a=b"},
        {"Content-Length": "3"},
        {"host": "evil.example"},
        {"a b": "c"},
        {"x": 1},
        {"x": "a\r\nb: c"},
        ["x"],
    ],
)
def test_headers_that_are_not_the_callers_are_refused(headers: Any) -> None:
    with rig(hello()) as made:
        with pytest.raises(CallerError):
            raise made.start("Hi", headers=headers).wait(PATIENCE).error or AssertionError
        assert made.server.requests == []


def test_a_header_shows_nowhere() -> None:
    with rig(hello()) as made:
        stream = made.start("Hi", headers={"x-team": "secret-of-the-team"}).wait(PATIENCE)
        for shown in (repr(stream.request), str(stream.info()), stream.to_code()):
            assert "secret-of-the-team" not in shown


@pytest.mark.parametrize("tier", ["flex", "Priority"])
def test_a_tier_is_sent(tier: str) -> None:
    assert asked(service_tier=tier).json["serviceTier"] == tier.lower()


def test_a_tier_that_is_none_is_refused() -> None:
    with rig(hello()) as made, pytest.raises(CallerError, match="flex"):
        made.start("Hi", service_tier="cheap")


def test_googles_tools_have_names() -> None:
    request = asked(tools=["search", "url", "maps", "code"])
    assert request.json["tools"] == [
        {"googleSearch": {}},
        {"urlContext": {}},
        {"googleMaps": {}},
        {"codeExecution": {}},
    ]
    assert asked(tools="search").json["tools"] == [{"googleSearch": {}}]


def test_another_word_is_no_tool() -> None:
    with rig(hello()) as made, pytest.raises(CallerError, match=r"'serach' is the name of a tool"):
        made.start("Hi", tools=["serach"])


def test_the_magic_takes_them(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(GEMINI_NB_AUTH="simulator", GEMINI_NB_SIMULATOR_PACE="0")
    kernel.run("%load_ext gemini_nb\nmine = {'top_p': 0.5, 'temperature': 0.1}")
    line = (
        "--use search,url --code --tier flex --config mine --temperature 1 -m gemini-3.8-flash -o made --wait"
    )
    done = kernel.run(f"%%gemini_stream {line}\nHi")
    assert done.status == "ok", done.error_text
    told = kernel.run(
        "body = made.info().request_body\n"
        "print(body['tools'], body['serviceTier'], body['generationConfig']['temperature'],"
        " body['generationConfig']['topP'])"
    ).stdout
    assert told == "[{'googleSearch': {}}, {'urlContext': {}}, {'codeExecution': {}}] flex 1.0 0.5\n"
