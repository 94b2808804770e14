from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest

from gemini_nb.api.retry import is_daily, seconds_until_renewal


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        ("2026-11-27T07:00:00+00:00", 1.0),  # 23:00 in winter
        ("2026-11-27T08:00:00+00:00", 24.0),  # midnight itself
        ("2026-07-01T06:30:00+00:00", 0.5),  # 23:30 in summer
        ("2026-03-08T08:00:00+00:00", 23.0),  # the day on which clocks go forward
        ("2026-11-01T07:00:00+00:00", 25.0),  # the day on which they go back
    ],
)
def test_midnight_in_california(moment: str, hours: float) -> None:
    now = dt.datetime.fromisoformat(moment).timestamp()
    assert seconds_until_renewal(now) == hours * 3600


def test_a_machine_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", none)
    assert seconds_until_renewal(0.0) is None


@pytest.mark.parametrize(
    ("details", "daily"),
    [
        ([{"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}], True),
        ([{"violations": [{"quota_id": "GenerateRequestsPerDayPerProject"}]}], True),
        ([{"violations": [{"quotaMetric": "generate_requests_per_day"}]}], True),
        ([{"metadata": {"quota_limit": "GenerateContentPerDay"}}], True),
        ([{"violations": {"quotaId": "RequestsPerDay"}}], True),
        ([{"violations": [{"quotaId": "GenerateRequestsPerMinute"}]}], False),
        ([{"violations": [{"quotaId": 7}, None]}, {"links": [{"url": "https://x/PerDay"}]}], False),
        ([], False),
    ],
)
def test_which_quotas_are_of_a_day(details: list[dict[str, object]], daily: bool) -> None:
    assert is_daily(details) is daily


@pytest.mark.parametrize(
    ("message", "daily"),
    [
        ("Quota exceeded for quota metric 'Requests' and limit 'GenerateContent requests per day'.", True),
        ("Quota exceeded for metric: generate_requests_per_model_per_day, limit: 50", True),
        ("You exceeded GenerateRequestsPerDayPerProjectPerModel-FreeTier.", True),
        ("Quota exceeded: 10 requests per minute. A plan has more requests per day.", False),
        ("The limit is 5 per daylight saving.", False),
        ("Resource has been exhausted.", False),
    ],
)
def test_a_message_decides_where_no_quota_is_named(message: str, daily: bool) -> None:
    assert is_daily([], message) is daily
    minute = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
    assert not is_daily([minute], message)
