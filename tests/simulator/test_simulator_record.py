"""What the simulator remembers of its requests has bounds, however large they are."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import httpx
import pytest

from gemini_nb.simulator import Simulator
from gemini_nb.simulator.requests import KEPT, KEPT_BYTES, LONG, Fields, Record, Request
from gemini_nb.simulator.rules import PAYLOAD_LIMIT

PATH = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse"
KEY = {"x-goog-api-key": "a-key"}


def request(body: Any) -> Request:
    return Request(method="POST", path="/", query=Fields(), headers=Fields(), body=body, time=time.time())


def test_large_data_is_kept_as_size_and_hash_and_the_rest_as_it_was() -> None:
    data = "QUJD" * (LONG // 2)
    parts = [{"text": "What is this?"}, {"inlineData": {"mimeType": "video/mp4", "data": data}}]
    with Simulator(pace=0) as simulator:
        answer = httpx.post(
            simulator.base_url + PATH, json={"contents": [{"parts": parts}]}, headers=KEY, timeout=30
        )
        [kept] = simulator.requests
    assert answer.status_code == 200
    digest = hashlib.sha256(data.encode()).hexdigest()
    assert kept.body["contents"][0]["parts"] == [
        {"text": "What is this?"},
        {"inlineData": {"mimeType": "video/mp4", "data": f"<{len(data):,} characters, sha256 {digest}>"}},
    ]


def test_a_body_of_many_short_texts_is_kept_and_the_oldest_give_way() -> None:
    record = Record()
    for number in range(5):
        record.add(request({"contents": [number]}), KEPT_BYTES // 3)
    assert [kept.body["contents"] for kept in record.newest()] == [[2], [3], [4]]
    record.add(request(["x"]), KEPT_BYTES * 2)
    assert [kept.body for kept in record.newest()] == [["x"]]
    for _ in range(KEPT + 5):
        record.add(request(None), 0)
    assert len(record.newest()) == KEPT
    assert record.count == KEPT + 11


def test_a_body_that_is_nested_too_deep_is_refused() -> None:
    body = '{"contents":' + "[" * 900 + '"' + "x" * LONG + '"' + "]" * 900 + "}"
    with Simulator(pace=0) as simulator:
        answer = httpx.post(simulator.base_url + PATH, content=body.encode(), headers=KEY, timeout=60)
    assert answer.status_code == 400


@pytest.mark.slow
def test_a_body_above_the_limit_is_refused_in_googles_words() -> None:
    with Simulator(pace=0) as simulator:
        answer = httpx.post(
            simulator.base_url + PATH, content=b" " * (PAYLOAD_LIMIT + 1), headers=KEY, timeout=60
        )
        [kept] = simulator.requests
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert "Request payload size exceeds the limit" in answer.json()["error"]["message"]
    assert kept.body is None
