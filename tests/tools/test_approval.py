"""Tools that ask the user, or a function of the user's, before they run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from answers import rig
from approvals import approvals, asking
from gemini_nb.errors import ConfigError
from gemini_nb.streams.events.calls import ToolCall
from gemini_nb.streams.stream import Stream
from gemini_nb.tools.tool import tool


def asked_for(event: Any) -> bool:
    return bool(event.kind == "tool_call_started" and event.call.status == "awaiting_approval")


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (lambda call: call.approve(), {"result": "paid"}),
        (lambda call: call.deny("too dear"), {"error": "pay was denied by the user: too dear"}),
    ],
    ids=["approved", "denied"],
)
def test_a_call_waits_for_its_approval_and_others_do_not_wait_with_it(
    answer: Callable[[Any], None], response: dict[str, str]
) -> None:
    ran, pay, look = approvals(confirm=True)
    with rig(asking("pay", "look")) as made:
        stream = made.start(tools=[pay, look])
        finished = []
        for event in stream:
            if event.kind == "tool_call_finished":
                finished.append(event.call.name)
                if event.call.name == "look":
                    assert ran == ["look"]
                    answer(stream.tool_calls[0])
        body = made.server.requests[1].json
    assert finished == ["look", "pay"]
    responses = [part["functionResponse"] for part in body["contents"][-1]["parts"]]
    assert [one["response"] for one in responses] == [response, {"result": "seen"}]


def test_a_function_may_decide_and_its_failure_is_no_approval() -> None:
    async def later(call: ToolCall) -> bool:
        await asyncio.sleep(0)
        return call.args == {"never": "so"}

    async def at_once(_: ToolCall) -> bool:
        return True

    deciding: list[tuple[Callable[[ToolCall], object], list[str]]] = [
        (lambda _: True, ["pay"]),
        (lambda _: False, []),
        (lambda _: 1 / 0, []),
        (later, []),
        (at_once, ["pay"]),
    ]
    for confirm, expected in deciding:
        ran, pay, _ = approvals(confirm=confirm)
        with rig(asking("pay")) as made:
            stream = made.start(tools=[pay]).wait(10)
        assert (ran, stream.status) == (expected, "completed")


def test_what_a_confirm_function_prints_stands_in_its_card_also_while_the_user_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def explain(call: ToolCall) -> None:
        print("about to call", call.name)

    async def explain_later(call: ToolCall) -> None:
        await asyncio.sleep(0)
        explain(call)

    for confirm in (explain, explain_later):
        _, pay, _ = approvals(confirm=confirm)
        with rig(asking("pay")) as made:
            stream = made.start(tools=[pay])
            asked: Any = next(event for event in stream if asked_for(event))
            assert asked.call.output == "about to call pay\n"
            stream.tool_calls[0].approve()
            stream.wait(10)
        assert stream.tool_calls[0].output == "about to call pay\n"

    def refuse(call: ToolCall) -> bool:
        explain(call)
        raise ValueError("no")

    _, pay, _ = approvals(confirm=refuse)
    with rig(asking("pay")) as made:
        assert made.start(tools=[pay]).wait(10).tool_calls[0].output == "about to call pay\n"
    assert capsys.readouterr().out == ""


def test_a_confirm_function_that_waits_for_its_own_stream_is_told_so() -> None:
    streams: list[Stream] = []
    _, pay, _ = approvals(confirm=lambda _: bool(streams[0].result()))
    with rig(asking("pay")) as made:
        streams.append(made.start(tools=[pay]))
        streams[0].wait(10)
    assert "BlockingCallError" in str(streams[0].tool_calls[0].error)


def test_a_tool_that_asks_does_so_inside_whatever_is_made_of_it() -> None:
    _, pay, _ = approvals(confirm=True)

    @functools.wraps(pay)
    def logged(**kwargs: Any) -> Any:
        return pay(**kwargs)

    for made in (
        tool(pay, timeout=5),
        tool(functools.partial(pay)),
        tool(functools.partial(functools.partial(logged)), name="paid"),
        tool(tool(logged)),
    ):
        assert made.confirm is True
    assert tool(pay, confirm=False).confirm is False
    assert tool(functools.partial(print, end=""), name="say", description="Say.").confirm is False


@pytest.mark.parametrize("confirm", ["yes", 1, []])
def test_a_confirm_that_nobody_can_ask_is_refused(confirm: Any) -> None:
    with pytest.raises(ConfigError, match="confirm is True, False or a function"):
        approvals(confirm=confirm)


def test_where_nobody_can_answer_a_call_is_denied_at_once() -> None:
    ran, pay, _ = approvals(confirm=True)
    with rig(asking("pay")) as made:
        made.manager.runtime.can_ask = lambda: False
        stream = made.start(tools=[pay]).wait(10)
    assert ran == []
    assert stream.tool_calls[0].error == "pay was denied: there is no user to approve it"


def test_a_stop_while_somebody_is_asked() -> None:
    ran, pay, _ = approvals(confirm=True)
    with rig(asking("pay")) as made:
        stream = made.start(tools=[pay])
        next(event for event in stream if asked_for(event))
        stream.stop()
        stream.tool_calls[0].approve()
    assert (ran, stream.status, stream.tool_calls[0].status) == ([], "stopped", "cancelled")
    with pytest.raises(ConfigError, match="does not await approval"):
        ToolCall(id=None, name="pay", args={}).approve()


def test_a_function_that_says_none_leaves_it_to_the_user() -> None:
    for answer, expected in (("approve", ["pay"]), ("deny", [])):
        ran, pay, _ = approvals(confirm=lambda _: None)
        with rig(asking("pay")) as made:
            stream = made.start(tools=[pay])
            next(event for event in stream if asked_for(event))
            getattr(stream.tool_calls[0], answer)()
            stream.wait(10)
        assert (ran, stream.status) == (expected, "completed")


@pytest.mark.parametrize("answer", [True, False])
def test_a_function_that_decides_asks_nobody(answer: bool) -> None:
    _, pay, _ = approvals(confirm=lambda _: answer)
    with rig(asking("pay")) as made:
        stream = made.start(tools=[pay]).wait(10)
    assert not any(asked_for(event) for event in stream.events)


def test_an_answer_that_is_neither_yes_nor_no_is_no_approval() -> None:
    ran, pay, _ = approvals(confirm=lambda _: "no")
    with rig(asking("pay")) as made:
        stream = made.start(tools=[pay]).wait(10)
    assert ran == []
    assert "neither True, False nor None" in str(stream.tool_calls[0].error)
