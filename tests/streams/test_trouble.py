"""Trouble that is no row's own: quotas, outages, lost connections; and kept rows, which take nothing."""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemini_nb
from answers import PATIENCE, always, rig
from gemini_nb import RetryPolicy
from gemini_nb.api.retry import requests_per_minute
from scripted import Close, Reset, Wait, answer, json_error, sse_answer, text

SOON = RetryPolicy(patient=True, initial_delay=0.01, max_delay=0.3)


def ok(request: Any) -> Any:
    return sse_answer(text("ok", finish="STOP"))


def quota(quota_id: str, value: str, delay: str = "0.3s") -> Any:
    violation = {"quotaId": quota_id, "quotaValue": value}
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return json_error(429, "Quota exceeded.", details=details)


@pytest.mark.parametrize(
    ("violation", "rate"),
    [
        ({"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "60"}, 60.0),
        ({"quota_id": "GenerateRequestsPerMinute", "quota_value": 10}, 10.0),
        ({"quotaId": "GenerateContentInputTokensPerMinute", "quotaValue": "250000"}, None),
        ({"quotaId": "GenerateRequestsPerDayPerProject", "quotaValue": "250"}, None),
        ({"quotaId": "GenerateRequestsPerMinute", "quotaValue": "0"}, None),
        ({"quotaId": "GenerateRequestsPerMinute", "quotaValue": "many"}, None),
        ({"quotaId": 7, "quotaValue": None}, None),
        (7, None),
    ],
)
def test_which_quotas_say_a_pace(violation: Any, rate: float | None) -> None:
    assert requests_per_minute([{"violations": [violation]}, {"violations": 3}, {}]) == rate


def test_a_quota_that_the_server_names_is_the_pace_of_all_groups() -> None:
    times: list[float] = []

    def script(request: Any) -> Any:
        times.append(time.monotonic())
        return quota("GenerateRequestsPerMinutePerProject", "600") if len(times) == 1 else ok(request)

    with rig(script) as made:
        first = gemini_nb.map(["0"], manager=made.manager, **made.options).wait(PATIENCE)
        began = time.monotonic()
        groups = [gemini_nb.map(list("abcdef"), manager=made.manager, **made.options) for _ in range(2)]
        for group in [first, *groups]:
            assert group.wait(PATIENCE).counts.failed == 0
        assert times[-1] - began >= 11 * 60 / 600
        assert made.start("one").wait(PATIENCE).text == "ok"


def test_after_a_quota_without_a_figure_half_as_many_ask_again() -> None:
    go_on = threading.Event()
    lock, seen, under_way = threading.Lock(), [0], [0, 0]

    def script(request: Any) -> Any:
        with lock:
            seen[0] += 1
            if seen[0] <= 8:
                return json_error(429, "Quota exceeded.")
            under_way[0] += 1
            under_way[1] = max(under_way)
        return sse_answer(Wait(go_on), text("ok", finish="STOP"))

    with rig(script) as made:
        rows = [str(number) for number in range(30)]
        group = gemini_nb.map(rows, manager=made.manager, concurrency=8, retry=SOON, **made.options)
        end = time.monotonic() + PATIENCE
        while under_way[0] < 4:
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.3)  # the others would have asked by now
        assert under_way == [4, 4]
        assert group.counts.running == 4
        go_on.set()
        assert group.wait(PATIENCE).counts.completed == 30


@pytest.mark.parametrize("trouble", [lambda: json_error(503, "overloaded"), lambda: [Reset()]])
@pytest.mark.slow
def test_an_outage_fails_no_row_and_is_probed(trouble: Any) -> None:
    over = threading.Event()
    seen: list[bool] = []

    def script(request: Any) -> Any:
        seen.append(over.is_set())
        return ok(request) if len(seen) <= 3 or over.is_set() else trouble()

    with rig(script) as made:
        rows = [str(number) for number in range(60)]
        group = gemini_nb.map(rows, manager=made.manager, retry=SOON, **made.options)
        began = time.monotonic()
        time.sleep(2.5)
        asked, seconds = len(seen), time.monotonic() - began
        assert group.counts.failed == 0
        over.set()
        assert group.wait(PATIENCE).counts.completed == 60
        # A first failure or two of each place, then one probe each 0.3 s.
        assert asked < 3 + 8 * 2 + 2 + seconds / 0.3


def sign_in(number: int) -> Any:
    """What a hotel's network says in the service's place."""
    page = f"<title>Sign in</title> session {number}, no file".encode()
    return answer(200, {"Content-Type": "text/html"}, page)


FOREIGN: list[Callable[[int], Any]] = [
    sign_in,
    lambda _: answer(302, {"Location": "https://wifi.invalid/sign-in"}),
    lambda _: answer(511, {"Content-Type": "text/html"}, b"<title>Sign in</title>"),
    lambda _: [b"SIGN IN FIRST\r\n\r\n", Close()],
]


def test_what_answers_in_the_services_place_for_a_while_fails_no_row() -> None:
    for foreign in FOREIGN:
        asked = itertools.count()

        def script(request: Any, foreign: Any = foreign, asked: Any = asked) -> Any:
            number = next(asked)
            return foreign(number) if 4 <= number < 10 else ok(request)

        with rig(script) as made:
            options: dict[str, Any] = {"manager": made.manager, "retry": SOON, **made.options}
            assert gemini_nb.map(["z"], **options).wait(PATIENCE).texts == ["ok"]
            group = gemini_nb.map(list("abcdefghij"), **options)
            assert group.wait(PATIENCE).texts == ["ok"] * 10
            assert len(made.server.requests) == 17
            stream = made.start("one", retry=RetryPolicy()).wait(PATIENCE)
            assert stream.status == "completed"


@pytest.mark.parametrize(
    "broken",
    [
        lambda: [*sse_answer(text("o"))[:-1], Reset()],
        lambda: sse_answer(text("o"), {"error": {"code": 500, "message": "An internal error."}}),
    ],
)
def test_a_row_whose_answer_breaks_six_times_is_whole_in_the_end(broken: Callable[[], Any]) -> None:
    asked = itertools.count()
    with rig(lambda request: broken() if 0 < next(asked) < 7 else ok(request)) as made:
        options: dict[str, Any] = {"manager": made.manager, **made.options}
        first = gemini_nb.map(["a"], **options).wait(PATIENCE)
        soon = dataclasses.replace(first[0].request.retry, initial_delay=0.01, max_delay=0.05)
        group = gemini_nb.map(["a"], retry=soon, **options).wait(PATIENCE)
        assert (group.texts, len(made.server.requests)) == (["ok"], 8)


def test_a_last_row_to_which_the_service_is_always_silent_fails_in_the_end() -> None:
    asked = itertools.count()
    with rig(lambda request: [Wait()] if next(asked) else ok(request)) as made:
        options: dict[str, Any] = {"manager": made.manager, "retry": SOON, **made.options}
        gemini_nb.map(["a"], **options).wait(PATIENCE)
        options["retry"] = dataclasses.replace(SOON, max_delay=0.02)
        group = gemini_nb.map(["a"], timeout=0.02, **options).wait(PATIENCE)
        assert isinstance(group[0].error, gemini_nb.IdleTimeoutError)
        assert len(made.server.requests) <= 22


def test_a_service_that_is_silent_for_all_fails_no_row() -> None:
    asked = itertools.count()
    with rig(lambda request: [Wait()] if 0 < next(asked) < 5 else ok(request)) as made:
        options: dict[str, Any] = {"manager": made.manager, "retry": SOON, **made.options}
        gemini_nb.map(["a"], **options).wait(PATIENCE)
        group = gemini_nb.map(["a"], timeout=0.2, **options).wait(PATIENCE)
        assert (group.texts, len(made.server.requests) >= 6) == (["ok"], True)


def test_what_answers_in_the_services_place_from_the_beginning_ends_the_run() -> None:
    for foreign in FOREIGN:
        asked = itertools.count()

        def script(request: Any, foreign: Any = foreign, asked: Any = asked) -> Any:
            return foreign(next(asked))

        with rig(script) as made:
            group = gemini_nb.map([*"abcdefghij"] * 10, manager=made.manager, **made.options)
            assert group.wait(PATIENCE).counts.failed == 100
            assert "5 rows failed alike" in str(group.error)
            assert len(made.server.requests) < 20


def test_a_server_that_is_overloaded_for_one_row_keeps_no_other_waiting() -> None:
    def script(request: Any) -> Any:
        words = request.json["contents"][0]["parts"][0]["text"]
        return json_error(503, "overloaded") if words == "0" else ok(request)

    with rig(script) as made:
        policy = RetryPolicy(patient=True, initial_delay=10_000, max_delay=10_000)
        rows = [str(number) for number in range(30)]
        group = gemini_nb.map(rows, manager=made.manager, retry=policy, **made.options)
        for _ in zip(range(29), group, strict=False):  # would wait for hours
            pass
        assert group.counts.completed == 29
        assert group.streams[0].waiting is not None
        group.stop()


def test_a_429_without_a_pace_fails_no_row_however_often_it_comes() -> None:
    seen: list[Any] = []

    def script(request: Any) -> Any:
        seen.append(request)
        return json_error(429, "slow down") if len(seen) < 30 else ok(request)

    with rig(script) as made:
        policy = RetryPolicy(patient=True, initial_delay=0.001, max_delay=0.02)
        group = gemini_nb.map(list("abcdefghijkl"), manager=made.manager, retry=policy, **made.options)
        assert group.wait(PATIENCE).counts.completed == 12


def test_rows_are_patient_by_themselves_and_a_policy_of_the_users_rules() -> None:
    with rig(ok) as made:
        group = gemini_nb.map(["a"], manager=made.manager, **made.options)
        assert group.streams[0].request.retry.patient
        own = gemini_nb.map(["a"], manager=made.manager, retry=RetryPolicy(attempts=2), **made.options)
        assert own.streams[0].request.retry == RetryPolicy(attempts=2)
        assert not made.start("a").request.retry.patient


@pytest.mark.slow
def test_a_row_with_a_trouble_of_its_own_fails_while_others_are_answered() -> None:
    def script(request: Any) -> Any:
        words = request.json["contents"][0]["parts"][0]["text"]
        return json_error(503) if words == "bad" else ok(request)

    with rig(script) as made:
        policy = RetryPolicy(patient=True, initial_delay=0.001, max_delay=0.005)
        rows = ["bad", *map(str, range(300))]
        group = gemini_nb.map(rows, concurrency=2, manager=made.manager, retry=policy, **made.options)
        assert group.wait(PATIENCE * 2).counts[3:6] == (300, 0, 1)


def test_a_longer_wait_that_the_server_asks_for_is_obeyed() -> None:
    policy = RetryPolicy(patient=True, max_server_delay=1.0)
    assert policy.backoff(1, hint=3000.0, jitter=0.0) == 3000.0
    assert RetryPolicy(max_server_delay=1.0).backoff(1, hint=3000.0, jitter=0.0) is None


YEARS = ["31536000s", "9" * 308 + "s", "Fri, 01 Jan 2999 00:00:00 GMT", "1e308"]


def refused_for(asked: str) -> Any:
    if not asked.endswith("s"):
        return json_error(429, "Quota exceeded.", headers={"Retry-After": asked})
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": asked}
    return json_error(429, "Quota exceeded.", details=[info])


@pytest.mark.parametrize("asked", [*YEARS, "-31536000", "nan", "-31536000s"])
def test_a_run_does_not_wait_for_years_because_a_server_says_so(asked: str) -> None:
    seen: list[Any] = []

    def script(request: Any) -> Any:
        seen.append(request)
        return refused_for(asked) if len(seen) <= 3 else ok(request)

    with rig(script) as made:
        group = gemini_nb.map(["a", "b"], manager=made.manager, retry=SOON, **made.options)
        reasons = {event.reason for event in group.streams[0] if event.kind == "retry_scheduled"}
        assert group.wait(PATIENCE).counts.completed == 2
        assert made.start("c").wait(PATIENCE).text == "ok"
    assert reasons
    said = [("the server asks to wait" in reason) for reason in reasons]
    assert all(said) if asked in YEARS else not any(said)


@pytest.mark.parametrize("asked", YEARS)
def test_a_stream_does_not_wait_for_years_and_says_what_the_server_asks_for(asked: str) -> None:
    with rig(lambda _: refused_for(asked)) as made:
        error = made.start("a").wait(PATIENCE).error
        assert "The server asks to wait" in str(error)
        assert len(made.server.requests) == 1
        lenient = RetryPolicy(max_server_delay=math.inf, attempts=2, initial_delay=0.01)
        error = made.start("a", retry=lenient).wait(PATIENCE).error
        assert "Gave up after 2 attempts" in str(error)


def test_a_stream_is_not_kept_waiting_by_the_patience_of_a_run() -> None:
    with rig(lambda _: refused_for("3600s")) as made:
        group = gemini_nb.map(["a"], manager=made.manager, **made.options)
        next(event for event in group.streams[0] if event.kind == "retry_scheduled")
        error = made.start("b").wait(PATIENCE).error
        assert "asks to wait 3600 s" in str(error)
        assert len(made.server.requests) == 2
        group.stop()


@pytest.mark.parametrize("message", ["daily", "Quota exceeded, limit: 0"])
def test_a_quota_of_a_day_ends_the_run_with_the_rest_unasked(message: str) -> None:
    seen: list[Any] = []

    def script(request: Any) -> Any:
        seen.append(request)
        if len(seen) <= 5:
            return ok(request)
        if message == "daily":
            return quota("GenerateRequestsPerDayPerProject", "5", "20s")
        return json_error(429, message)

    with rig(script) as made:
        rows = [str(number) for number in range(400)]
        group = gemini_nb.map(rows, concurrency=2, manager=made.manager, **made.options).wait(PATIENCE)
        assert group.counts.completed == 5
        assert group.counts.failed == 395
        assert len(seen) <= 8


def test_a_server_that_was_never_there_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemini_nb.api.outages._NEVER_ANSWERED", 0.2)
    with rig(ok) as made:
        options = {**made.options, "base_url": "http://127.0.0.1:9"}
        policy = RetryPolicy(patient=True, attempts=1, initial_delay=0.01, max_delay=0.05)
        rows = [str(number) for number in range(500)]
        group = gemini_nb.map(rows, manager=made.manager, retry=policy, **options).wait(PATIENCE)
        assert group.counts.failed == 500
        assert "5 rows failed alike" in str(group.error)


@pytest.mark.slow
def test_a_thousand_kept_rows_take_no_place_no_pace_and_no_budget(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    rows = [str(number) for number in range(1000)]
    with rig(always(text("ok", finish="STOP"))) as made:
        options = {**made.options, "keep": path}
        gemini_nb.map(rows, manager=made.manager, concurrency=32, **options).wait(PATIENCE * 3)
        asked = len(made.server.requests)
        group = gemini_nb.map(rows, manager=made.manager, concurrency=1, rpm=60, **options)
        group.wait(PATIENCE * 3)  # at that pace they would take a quarter of an hour
        assert group.counts == (1000, 0, 0, 1000, 0, 0, 1000)
        assert len(made.server.requests) == asked == 1000
