"""The tier that served an answer is known, and is told where it is not the usual one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import gemini_nb
from gemini_nb.notebook.render.figures import short
from gemini_nb.notebook.render.settled import to_markdown
from gemini_nb.simulator import Simulator
from scripted import ScriptedServer, sse_answer, text

KEY = "a-key-for-this-test"


@pytest.mark.parametrize(
    ("asked", "headers", "counts", "tier", "words"),
    [
        ("priority", {"x-gemini-service-tier": "standard"}, {}, "standard", "standard tier, not priority"),
        ("flex", {"X-Gemini-Service-Tier": "flex"}, {}, "flex", "flex tier"),
        (None, {}, {"serviceTier": "PRIORITY"}, "priority", "priority tier"),
        (None, {"x-gemini-service-tier": "standard"}, {}, "standard", ""),
        ("priority", {}, {"trafficType": "ON_DEMAND"}, None, "standard tier, not priority"),
        (None, {}, {"trafficType": "PROVISIONED_THROUGHPUT"}, None, "provisioned tier"),
        (None, {"x-gemini-service-tier": "<b>gold</b>"}, {}, None, ""),
        ("flex", {}, {}, None, ""),
    ],
)
def test_the_tier_that_served_is_shown(
    asked: str | None, headers: dict[str, str], counts: dict[str, Any], tier: str | None, words: str
) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}], **({"serviceTier": asked} if asked else {})}
    end = {**text("Yes.", finish="STOP"), **({"usageMetadata": counts} if counts else {})}
    with ScriptedServer([sse_answer(end, headers=headers)]) as server:
        manager = gemini_nb.StreamManager()
        stream = manager.start_stream(
            request_body=body, auth="gemini", credentials={"api_key": KEY}, base_url=server.url
        ).wait(10)
        manager.shutdown()
    assert stream.usage.service_tier == tier
    assert [fact for fact in short(stream) if "tier" in fact] == ([words] if words else [])
    assert words in to_markdown(stream)


@pytest.mark.parametrize(
    ("asked", "served"), [("flex", "flex"), ("priority", "priority"), (None, "standard")]
)
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
def test_the_simulator_says_which_tier_serves(asked: str | None, served: str, method: str) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}], **({"serviceTier": asked} if asked else {})}
    with Simulator(api_key=KEY, pace=0) as simulator:
        answer = httpx.post(
            f"{simulator.base_url}/v1beta/models/gemini-3.8-flash:{method}",
            json=body,
            headers={"x-goog-api-key": KEY},
        )
    assert answer.headers["x-gemini-service-tier"] == served
