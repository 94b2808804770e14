"""The program for Google's own client asks the same and gets the same answer."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from PIL import Image

import gemini_nb
from gemini_nb.simulator import Simulator

KEY = "a-key-for-this-test"


def weather(city: str) -> dict[str, str]:
    """Look up today's weather.

    Args:
        city: the name of the city.
    """
    return {"city": city, "sky": "cloudless"}


@gemini_nb.tool(timeout=5)
def forecast(city: str) -> str:
    """Look up tomorrow's weather in a city."""
    return f"cloudless in {city}"


@pytest.mark.filterwarnings("ignore")  # what google-genai warns of is its own
@pytest.mark.parametrize(
    ("contents", "options"),
    [
        ("Describe a lighthouse.", {}),
        ("Name a river.", {"generation_config": {"temperature": 0.5, "maxOutputTokens": 200}}),
        ("Name a river.", {"system_instruction": "Answer in one sentence."}),
        ("Plan a day in Lisbon. Check the weather first.", {"tools": [weather]}),
        ("What is the forecast for Lisbon?", {"tools": [forecast]}),
        (["What is this?", Image.new("RGB", (2, 2))], {}),
        ("Name a city.", {"schema": {"type": "object", "properties": {"name": {"type": "string"}}}}),
    ],
)
def test_the_program_gets_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, contents: Any, options: dict[str, Any]
) -> None:
    with Simulator(api_key=KEY, pace=0) as simulator:
        manager = gemini_nb.StreamManager()
        stream = manager.start_stream(
            contents,
            auth="gemini",
            credentials={"api_key": KEY},
            base_url=simulator.base_url,
            **options,
        ).wait(10)
        manager.shutdown()
        code = stream.to_code()
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", simulator.base_url)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {"weather": weather, "forecast": forecast})
    assert stream.error is None
    assert KEY not in code
    assert printed.getvalue() == stream.text


async def population(city: str) -> int:
    """Look up how many people live in a city."""
    return len(city)


def test_a_function_that_the_client_cannot_call_stands_there_as_it_is_declared() -> None:
    renamed = gemini_nb.tool(weather, name="look_up")
    declared = {"functionDeclarations": [{"name": "elsewhere", "description": "Somewhere else."}]}
    with Simulator(api_key=KEY, pace=0) as simulator:
        manager = gemini_nb.StreamManager()
        stream = manager.start_stream(
            "Hello.",
            auth="gemini",
            credentials={"api_key": KEY},
            base_url=simulator.base_url,
            tools=[weather, renamed, population, declared],
        )
        manager.shutdown()
    code = stream.to_code()
    assert "'tools': [weather,\n" in code
    assert all(code.count(f"'name': '{name}'") == 1 for name in ("look_up", "population", "elsewhere"))
    assert "'name': 'weather'" not in code
    compile(code, "made", "exec")


def test_vertex_ai_is_asked_for_by_its_own_client() -> None:
    manager = gemini_nb.StreamManager()
    stream = manager.start_stream(
        "Hi",
        auth="vertex_ai",
        credentials={"project_id": "p", "location": "us-central1", "access_token": "token-4711"},
        base_url="http://127.0.0.1:9",
    )
    manager.shutdown()
    assert "genai.Client(vertexai=True)" in stream.to_code()
    assert "token-4711" not in stream.to_code()
