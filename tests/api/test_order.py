"""A conversation whose calls and results the service would refuse is refused at the call."""

from __future__ import annotations

from typing import Any

import pytest

import gemini_nb
from gemini_nb.errors import ArgumentError
from gemini_nb.simulator import Simulator
from gemini_nb.streams.manager import StreamManager

ASKED = {"role": "user", "parts": [{"text": "Roll a die."}]}


def call(*names: str, **fields: Any) -> dict[str, Any]:
    return {
        "role": "model",
        "parts": [{"functionCall": {"name": name, "args": {}, **fields}} for name in names],
    }


def result(*names: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    parts = [{"functionResponse": {"name": name, "response": {"result": 1}, **fields}} for name in names]
    return {"role": role, "parts": parts}


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([ASKED, call("roll"), ASKED], "call of roll in contents[1] has no result"),
        ([ASKED, call("roll")], "has no result"),
        ([ASKED, call("roll", "roll"), result("roll")], "has no result"),
        ([ASKED, call("roll", id="1"), result("roll", id="2")], "has no result"),
        ([ASKED, call("roll"), result("flip")], "has no result"),
        ([ASKED, call("roll"), result("roll", id="9")], "has no result"),
        ([ASKED, call("roll"), result("roll", "roll")], "result of roll answers no call"),
        ([ASKED, result("roll")], "no call comes before it"),
        ([call("roll"), result("roll")], "no user turn comes before it"),
        ([ASKED, call(""), result("roll")], "with the name ''"),
        ([ASKED, call("a b"), result("a b")], "with the name 'a b'"),
        ([ASKED, call("roll", args="{}"), result("roll")], "not a dictionary"),
        ([{**call("roll"), "role": "user"}, result("roll")], "belongs in a turn of the model"),
        ([ASKED, call("roll"), result("roll", role="model")], "belongs in the user turn"),
    ],
)
def test_what_the_service_refuses_is_refused_at_the_call(contents: list[Any], words: str) -> None:
    manager = StreamManager()
    with pytest.raises(ArgumentError) as caught:
        manager.start_stream(contents, auth="simulator")
    assert words in str(caught.value)
    with pytest.raises(ArgumentError):
        manager.start_stream(request_body={"contents": contents}, auth="simulator")
    assert manager.list_streams(all=True) == []
    manager.shutdown()


def test_whole_rounds_are_sent() -> None:
    """Calls of one turn may come in several contents, as histories of other clients have them."""
    rounds = [
        [ASKED, call("roll", id="1"), call("flip"), result("flip"), result("roll", id="1")],
        [ASKED, call("roll"), {"role": "user", "parts": [*result("roll")["parts"], {"text": "And now?"}]}],
        [ASKED, call("roll", id="1"), result("roll"), call("roll"), result("roll")],
    ]
    with Simulator(pace=0, verify=False) as simulator:
        for contents in rounds:
            stream = gemini_nb.get_manager().start_stream(
                contents, auth="simulator", base_url=simulator.base_url
            )
            assert stream.wait(20).error is None
