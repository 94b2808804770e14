"""Arguments of a wrong type are refused at the call, in words, and not by what fails inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import gemini_nb
from answers import hello, rig
from gemini_nb import ArgumentError, Chat, ConfigError, StreamManager
from gemini_nb.simulator import Simulator

WRONG = [3, 0, "manager", [], object(), StreamManager]


def asked_of_a_frame(manager: Any) -> Any:
    return gemini_nb.ask_frame(pd.DataFrame({"a": [1]}), "{item.a}", manager=manager)


TAKE_A_MANAGER: list[Callable[[Any], object]] = [
    lambda manager: Chat(manager=manager),
    lambda manager: gemini_nb.map(["Hi"], manager=manager),
    lambda manager: gemini_nb.estimate(["Hi"], "{item}", manager=manager),
    lambda manager: gemini_nb.cache("A book.", manager=manager, model="gemini-3.8-flash"),
    gemini_nb.dashboard,
    asked_of_a_frame,
]


@pytest.mark.parametrize("call", TAKE_A_MANAGER)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_manager_is_refused(call: Callable[[Any], object], wrong: object) -> None:
    with pytest.raises(ArgumentError, match=r"manager is a StreamManager, not an? "):
        call(wrong)


def test_a_gate_that_gives_no_context_fails_its_stream_in_words() -> None:
    with rig(hello()) as made:
        stream = made.start(gate=lambda: None).wait()
        assert str(stream.error) == "A gate gives an asynchronous context, not None."
        assert made.server.requests == []


def test_faults_that_are_no_list_are_refused() -> None:
    faults: Any = 3
    with pytest.raises(ConfigError, match="faults is one fault for each request, not an int"):
        Simulator(faults=faults)


HUGE = 10**5000


def test_a_whole_number_that_python_does_not_write_is_named() -> None:
    with rig(hello()) as made:
        with pytest.raises(ArgumentError, match="a whole number in it is too long"):
            made.start(generation_config={"topK": HUGE})
        frame = pd.DataFrame({"size": [HUGE, 2]})
        told = gemini_nb.ask_frame(frame, "{item.size}", manager=made.manager, **made.options)["error"]
        assert told[0].startswith("item.size is an int that has no text (ValueError). Python writes no")
        assert made.server.requests
