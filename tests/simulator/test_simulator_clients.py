"""Google's own client against the simulator, unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from pydantic import BaseModel

from gemini_nb.simulator import Simulator

MODEL = "gemini-3.8-flash"

# google-genai subclasses aiohttp's session when it first connects asynchronously, and aiohttp warns of it.
aiohttp_subclass = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession from ClientSession is discouraged:DeprecationWarning"
)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(pace=0, api_key="right") as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[genai.Client]:
    with genai.Client(api_key="right", http_options=types.HttpOptions(base_url=sim.base_url)) as opened:
        yield opened


@pytest.fixture
def vertex(sim: Simulator) -> Iterator[genai.Client]:
    with genai.Client(
        vertexai=True,
        project="p-1",
        location="global",
        credentials=Credentials(token="right"),
        http_options=types.HttpOptions(base_url=sim.base_url),
    ) as opened:
        yield opened


def get_weather(city: str) -> dict[str, object]:
    """Get the weather in a city."""
    return {"city": city, "temperature": 17.0}


def test_streaming(client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Explain how tides work"))
    assert "tides" in "".join(chunk.text or "" for chunk in chunks)
    assert chunks[-1].candidates is not None
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata is not None
    assert (chunks[-1].usage_metadata.total_token_count or 0) > 100


@aiohttp_subclass
async def test_streaming_async(sim: Simulator) -> None:
    options = types.HttpOptions(base_url=sim.base_url)
    with genai.Client(api_key="right", http_options=options) as client:
        async with client.aio as aio:
            stream = await aio.models.generate_content_stream(model=MODEL, contents="Explain how tides work")
            text = "".join([chunk.text or "" async for chunk in stream])
    assert "tides" in text


def test_streaming_over_vertex_ai(sim: Simulator, vertex: genai.Client) -> None:
    chunks = list(vertex.models.generate_content_stream(model=MODEL, contents="Explain how tides work"))
    assert "tides" in "".join(chunk.text or "" for chunk in chunks)
    assert "/projects/p-1/locations/global/publishers/google/models/" in sim.requests[-1].path
    assert sim.requests[-1].headers["authorization"] == "Bearer right"


@pytest.mark.parametrize("over", ["client", "vertex"])
def test_automatic_function_calling(request: pytest.FixtureRequest, sim: Simulator, over: str) -> None:
    client: genai.Client = request.getfixturevalue(over)
    chat = client.chats.create(model=MODEL, config=types.GenerateContentConfig(tools=[get_weather]))
    chunks = list(chat.send_message_stream("Compare the weather in Oslo and Lima"))
    text = "".join(chunk.text or "" for chunk in chunks)
    assert "temperature: 17" in text
    assert len(sim.requests) == 2
    sent = [part for content in sim.requests[-1].body["contents"] for part in content["parts"]]
    assert [part["functionCall"]["args"] for part in sent if "functionCall" in part] == [
        {"city": "Oslo"},
        {"city": "Lima"},
    ]
    again = "".join(chunk.text or "" for chunk in chat.send_message_stream("What did I ask before?"))
    assert "You asked before: “Compare the weather" in again


@aiohttp_subclass
async def test_automatic_function_calling_async(sim: Simulator) -> None:
    options = types.HttpOptions(base_url=sim.base_url)
    config = types.GenerateContentConfig(tools=[get_weather])
    with genai.Client(api_key="right", http_options=options) as client:
        async with client.aio as aio:
            chat = aio.chats.create(model=MODEL, config=config)
            stream = await chat.send_message_stream("Check the weather in Oslo first, then in Lima")
            text = "".join([chunk.text or "" async for chunk in stream])
    assert "Oslo" in text
    assert "temperature: 17" in text


def test_whole_answers_and_token_counts(client: genai.Client, vertex: genai.Client) -> None:
    for one in (client, vertex):
        assert "owls" in (one.models.generate_content(model=MODEL, contents="About owls").text or "")
        assert one.models.count_tokens(model=MODEL, contents="x" * 40).total_tokens == 10


def test_structured_answers_are_parsed(client: genai.Client) -> None:
    class Recipe(BaseModel):
        name: str
        minutes: int
        ingredients: list[str]

    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Recipe)
    answer = client.models.generate_content(model=MODEL, contents="A soup in 25 minutes", config=config)
    assert isinstance(answer.parsed, Recipe)
    assert answer.parsed.minutes == 25


def test_thoughts(client: genai.Client) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="About owls", config=config))
    parts = [part for chunk in chunks for part in chunk.parts or []]
    assert parts[0].thought
    assert not parts[-1].thought
    assert parts[-1].thought_signature


def test_models_are_listed(client: genai.Client, vertex: genai.Client) -> None:
    assert f"models/{MODEL}" in [model.name for model in client.models.list(config={"page_size": 5})]
    assert f"publishers/google/models/{MODEL}" in [model.name for model in vertex.models.list()]
    assert client.models.get(model=MODEL).name == f"models/{MODEL}"


def test_errors_have_code_and_status(sim: Simulator, client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as unknown:
        list(client.models.generate_content_stream(model="gpt-9", contents="x"))
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    options = types.HttpOptions(base_url=sim.base_url)
    with (
        genai.Client(api_key="wrong", http_options=options) as stranger,
        pytest.raises(errors.ClientError, match="API key not valid") as wrong,
    ):
        stranger.models.generate_content(model=MODEL, contents="x")
    assert (wrong.value.code, wrong.value.status) == (400, "INVALID_ARGUMENT")
