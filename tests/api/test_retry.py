from __future__ import annotations

import email.utils
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini_nb.api.retry import RetryPolicy, parse_retry_after, retry_delay_of
from gemini_nb.errors import (
    APIError,
    ConfigError,
    ConnectError,
    GeminiError,
    PromptBlockedError,
    ProtocolError,
    StreamCutError,
    TransportError,
)

NOW = 1_800_000_000.0


def delays(policy: RetryPolicy, jitter: float) -> list[float | None]:
    return [policy.delay(attempt, hint=None, jitter=jitter) for attempt in range(1, policy.attempts + 1)]


def test_backoff_doubles_up_to_its_ceiling_with_full_jitter() -> None:
    policy = RetryPolicy(attempts=6, initial_delay=1.0, max_delay=6.0)
    assert delays(policy, 1.0) == [1.0, 2.0, 4.0, 6.0, 6.0, None]
    assert delays(policy, 0.5) == [0.5, 1.0, 2.0, 3.0, 3.0, None]
    assert delays(policy, 0.0) == [0.0, 0.0, 0.0, 0.0, 0.0, None]


def test_five_attempts_and_no_more_by_default() -> None:
    assert delays(RetryPolicy(), 0.0) == [0.0, 0.0, 0.0, 0.0, None]
    assert delays(RetryPolicy(attempts=1), 1.0) == [None]


def test_a_very_late_attempt_does_not_overflow() -> None:
    assert RetryPolicy(attempts=1000).delay(900, hint=None, jitter=1.0) == 30.0


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_the_servers_figure_is_a_floor(jitter: float) -> None:
    delay = RetryPolicy().delay(1, hint=20.0, jitter=jitter)
    assert delay is not None
    assert 20.0 <= delay <= 22.0
    assert (delay == 20.0) is (jitter == 0.0)


@pytest.mark.parametrize("hint", [0.0, 0.3])
def test_a_figure_of_next_to_nothing_does_not_switch_backoff_off(hint: float) -> None:
    policy = RetryPolicy()
    assert [policy.delay(attempt, hint=hint, jitter=1.0) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert policy.delay(1, hint=hint, jitter=0.0) == hint


def test_a_wait_longer_than_the_cap_is_given_up_at_once() -> None:
    policy = RetryPolicy(max_server_delay=60.0)
    assert policy.delay(1, hint=60.0, jitter=0.0) == 60.0
    assert policy.delay(1, hint=60.1, jitter=0.0) is None
    assert policy.delay(5, hint=1.0, jitter=0.0) is None


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize(
    ("error", "again"),
    [
        *(
            (APIError("x", status_code=status), True)
            for status in (408, 429, 500, 502, 503, 504, 508, 520, 529, 599)
        ),
        *(
            (APIError("x", status_code=status), False)
            for status in (400, 401, 403, 404, 409, 499, 501, 505, 600, None)
        ),
        (APIError("quota exceeded, limit: 0", status_code=429), False),
        (PromptBlockedError("x", status_code=200), False),
        (TransportError("x"), True),
        (ConnectError("x"), True),
        (StreamCutError("x"), True),
        (ProtocolError("x"), False),
        (ConfigError("x"), False),
        (GeminiError("x"), False),
    ],
)
def test_what_is_asked_again(error: GeminiError, again: bool, attempts: int) -> None:
    error.attempts = attempts
    assert RetryPolicy().is_retryable(error) is again


def test_what_is_permanent_is_not_asked_again() -> None:
    assert not RetryPolicy().is_retryable(ConnectError("x", is_permanent=True))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("soon", None),
        ("", None),
        ("Fri, 32 Foo 2026 99:00:00 GMT", None),
        ("Mon, 01 Jan 99999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@settings(deadline=None, database=None, max_examples=60)
@given(st.text() | st.from_regex(r"\A\w{3}, \d{1,4} \w{3} \d{1,9} \d\d:\d\d:\d\d .{0,5}\Z"))
def test_no_retry_after_is_an_exception(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "58s"}


@pytest.mark.parametrize(
    ("details", "message", "seconds"),
    [
        ([INFO], "", 58.0),
        ([{"@type": "type.googleapis.com/google.rpc.Help"}, {**INFO, "retryDelay": "1.25s"}], "", 1.25),
        ([INFO], "Quota exceeded. Please retry in 58.93s.", 58.93),
        ([], "Please retry in 3s.", 3.0),
        ([{**INFO, "retryDelay": "9" * 400 + "s"}], "", None),
        ([INFO], "Please retry in 500ms.", 58.0),
        ([{**INFO, "retryDelay": "soon"}], "", None),
        ([{**INFO, "retryDelay": None}], "", None),
        ([{"retryDelay": "58s"}], "", None),
        (["x", None, {}], "retry later", None),
        ([], "", None),
    ],
)
def test_retry_info(details: list[Any], message: str, seconds: float | None) -> None:
    assert retry_delay_of(details, message) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"initial_delay": -1},
        {"max_delay": -1},
        {"max_server_delay": -0.1},
        {"attempts": "3"},
        {"attempts": 2.5},
        {"attempts": True},
        {"attempts": math.nan},
        {"initial_delay": math.nan},
        {"initial_delay": "1"},
        {"max_delay": None},
        {"max_server_delay": True},
        {"restarts": None},
        {"restarts": 1.5},
        {"restarts": -1},
        {"on_cut": None},
        {"on_cut": []},
    ],
)
def test_a_policy_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RetryPolicy(**wrong)
