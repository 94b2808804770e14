"""Arguments of a wrong type are refused at the call, in words, and not by what fails inside."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
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
NO_TIMES: list[Any] = [float("nan"), 10**400, "4", True, np.float32("nan"), np.array([4.0]), 4 + 0j]


@pytest.mark.parametrize("timeout", NO_TIMES)
def test_a_wait_takes_a_number_of_seconds(timeout: Any) -> None:
    with rig(hello()) as made:
        stream = made.start()
        group = gemini_nb.map(["Hi"], manager=made.manager, **made.options)
        for wait in (stream.wait, stream.result, group.wait, group.result):
            with pytest.raises(ConfigError, match="timeout is a number of seconds, or None, not "):
                wait(timeout)
        assert (stream.status, group.counts.stopped) != ("stopped", 1)  # a mistake in a wait ends nothing


@pytest.mark.parametrize("timeout", [Decimal(20), np.int64(20), np.float32(20), float("inf"), 2**63])
def test_a_wait_takes_numbers_of_all_kinds(timeout: Any) -> None:
    with rig(hello()) as made:
        assert made.start().result(timeout) == "Hello"
        group = gemini_nb.map(["Hi"], manager=made.manager, **made.options)
        assert group.result(timeout) == ["Hello"]


@pytest.mark.parametrize("limit", [-1, True, 2.5, "4", float("nan"), np.array([4])])
def test_the_journal_takes_a_number_of_entries(limit: Any) -> None:
    with pytest.raises(ConfigError, match="limit is a number of entries, 0 or more"):
        gemini_nb.journal().streams(limit=limit)
    none: Any = np.int64(0)
    assert gemini_nb.journal().streams(limit=none) == []
    assert isinstance(gemini_nb.journal().streams(limit=HUGE), list)


@pytest.mark.parametrize("options", [{"port": -1}, {"port": 2**16}, {"port": True}, {"pace": HUGE}])
def test_a_simulator_takes_numbers_that_it_can_use(options: Any) -> None:
    with pytest.raises(ConfigError, match=r"65,535|or more"):
        Simulator(**options)


def test_progress_is_no_number_that_no_float_can_hold() -> None:
    with pytest.raises(ConfigError, match="a fraction from 0 to 1"):
        gemini_nb.progress(HUGE)


def test_a_whole_number_that_python_does_not_write_is_named() -> None:
    with rig(hello()) as made:
        with pytest.raises(ArgumentError, match="a whole number in it is too long"):
            made.start(generation_config={"topK": HUGE})
        frame = pd.DataFrame({"size": [HUGE, 2]})
        told = gemini_nb.ask_frame(frame, "{item.size}", manager=made.manager, **made.options)["error"]
        assert told[0].startswith("item.size is an int that has no text (ValueError). Python writes no")
        assert made.server.requests
