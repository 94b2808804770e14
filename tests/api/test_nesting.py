"""Arguments and results that are nested too deeply, hold themselves, or are too large."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from answers import PATIENCE, Rig, rig
from gemini_nb.api.wire import MAX_LEVELS, shallow
from gemini_nb.errors import SchemaMismatchError
from scripted import answer, sse_answer, text


def nested(levels: int, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = None
    for _ in range(levels):
        value = wrap(value)
    return value


def circle() -> Any:
    ring: dict[str, Any] = {}
    ring["again"] = [{"deeper": ring}]
    return ring


@dataclasses.dataclass
class Link:
    after: Any = None


def linked() -> Link:
    link = Link()
    link.after = link
    return link


def asked(arguments: str) -> list[Any]:
    """An answer that calls `take` with these arguments, as they are, in one event; then a last one."""
    part = f'{{"functionCall": {{"name": "take", "args": {arguments}}}, "thoughtSignature": "c2ln"}}'
    event = f'data: {{"candidates": [{{"content": {{"parts": [{part}]}}, "finishReason": "STOP"}}]}}\n\n'
    head = {"Content-Type": "text/event-stream"}
    return [answer(200, head, event.encode()), sse_answer(text("Done.", finish="STOP"))]


def answers_to_calls(made: Rig) -> list[Any]:
    parts = made.server.requests[1].json["contents"][-1]["parts"]
    return [part["functionResponse"]["response"] for part in parts]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nested(10_000), "nested more than 64 levels"),
        (lambda: nested(10_000, lambda inner: {"in": inner}), "nested more than 64 levels"),
        (lambda: {"rows": [nested(MAX_LEVELS)]}, "nested more than 64 levels"),
        (lambda: nested(10_000, Link), "nested too deeply"),
        (circle, "result holds itself, so"),
        (linked, "holds itself"),
        pytest.param(lambda: "x" * 200_000_000, "larger than 20 MB", marks=pytest.mark.slow),
        pytest.param(lambda: b"\x00" * 200_000_000, "larger than 20 MB", marks=pytest.mark.slow),
        pytest.param(lambda: ["x" * 1_000_000] * 200, "larger than 20 MB", marks=pytest.mark.slow),
        pytest.param(
            lambda: nested(40, lambda inner: [inner, inner]),
            "more than 1,000,000 values",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_result_that_cannot_be_sent_is_an_error_for_the_model(make: Callable[[], Any], words: str) -> None:
    def take() -> Any:
        """Take something."""
        return make()

    with rig(asked("{}")) as made:
        stream = made.start(tools=[take])
        assert stream.result(PATIENCE) == "Done."
        (response,) = answers_to_calls(made)
        assert words in response["error"]
        assert stream.tool_calls[0].status == "failed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"a": ' + "[" * 10_000 + "]" * 10_000 + "}", "nested more than 64 levels"),
        ('{"a": ' * 10_000 + "1" + "}" * 10_000, "nested more than 64 levels"),
        ('{"a": ' * 65 + "1" + "}" * 65, "nested more than 64 levels"),
        (json.dumps('{"a": ' + "[" * 300 + "]" * 300 + "}"), "nested more than 64 levels"),
        (json.dumps('{"a": ' + "[" * 10_000 + "]" * 10_000 + "}"), "not an object"),
        ('{"a": "' + "x" * 30_000_000 + '"}', "larger than 20 MB"),
        pytest.param('{"a": "' + "x" * 70_000_000 + '"}', "larger than 20 MB", marks=pytest.mark.slow),
        pytest.param('"' + "x" * 70_000_000 + '"', "larger than 20 MB", marks=pytest.mark.slow),
    ],
)
def test_arguments_that_cannot_be_taken_are_an_error_for_the_model(arguments: str, words: str) -> None:
    ran: list[Any] = []

    def take(a: Any = None) -> str:
        """Take something."""
        ran.append(a)
        return "taken"

    with rig(asked(arguments)) as made:
        stream = made.start(tools=[take])
        assert stream.result(PATIENCE) == "Done."
        (response,) = answers_to_calls(made)
        assert words in response["error"]
        assert ran == []
        _, model, _ = made.server.requests[1].json["contents"]
        assert model["parts"] == [{"functionCall": {"name": "take"}, "thoughtSignature": "c2ln"}]
        assert len(stream.chunks) == 2
        assert len(repr(stream.chunks)) + len(repr(stream.parts)) < 100_000  # nothing keeps what is too large
        assert stream.info().status == "completed"


def test_arguments_that_are_deep_but_not_too_deep_arrive_whole() -> None:
    seen: list[Any] = []

    def take(a: Any) -> Any:
        """Take something."""
        seen.append(a)
        return nested(MAX_LEVELS)

    inner = nested(MAX_LEVELS - 1)
    with rig(asked(json.dumps({"a": inner}))) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        assert seen == [inner]
        assert answers_to_calls(made) == [{"result": nested(MAX_LEVELS)}]


def test_a_chunk_with_brackets_in_its_text_is_read_as_it_is() -> None:
    said = '{"[[' * 200 + "\\" * 3
    with rig([sse_answer(text(said, finish="STOP"))]) as made:
        assert made.start().result(PATIENCE) == said


def test_what_is_too_deep_is_cut_and_the_rest_stays() -> None:
    deep = '{"a": ' + "[" * 5000 + "]" * 5000 + r', "b": "]]\"[[", "c": [1, {"d": 2}]}'
    read = json.loads(shallow(deep))
    assert (read["b"], read["c"]) == (']]"[[', [1, {"d": 2}])
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(shallow("[" * 5000))
    assert shallow('{"a": 1}') == '{"a": 1}'


def test_a_mapping_that_fails_while_it_is_looked_at_becomes_text() -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise KeyError("no")

    def take() -> Any:
        """Take something."""
        return Broken(a=1)

    with rig(asked("{}")) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        assert answers_to_calls(made)[0]["result"] in ({"a": 1}, "{'a': 1}")


def test_a_tools_error_is_cut() -> None:
    def take() -> Any:
        """Take something."""
        raise ValueError("x" * 50_000_000)

    with rig(asked("{}")) as made:
        assert made.start(tools=[take]).result(PATIENCE) == "Done."
        (response,) = answers_to_calls(made)
        assert response["error"].startswith("ValueError: xxx")
        assert len(response["error"]) < 11_000


def test_an_answer_that_is_nested_too_deeply_does_not_fit_its_schema() -> None:
    with rig([sse_answer(text("[" * 200_000 + "]" * 200_000, finish="STOP"))]) as made:
        stream = made.start(schema={"type": "array"}).wait(PATIENCE)
        assert isinstance(stream.error, SchemaMismatchError)
