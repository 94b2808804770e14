"""What an answer brings beside text: pictures edited over several turns, sound, files of code."""

from __future__ import annotations

import base64
import io
import re
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_markdown import nbconvert
from test_pane import displayed, manager, shown
from test_transcript import make

import gemini_nb
from answers import rig, until
from gemini_nb import Audio
from gemini_nb.notebook.pane.pane import whole_html
from gemini_nb.notebook.render.blocks.blocks import AudioBlock
from gemini_nb.notebook.render.settled import to_markdown, to_text, transcript_of
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.notebook.render.transcript import Transcript
from gemini_nb.simulator import Simulator
from gemini_nb.streams.events import events
from scripted import Wait, sse_answer, text

__all__ = ["manager"]  # a fixture

L16 = "audio/L16;codec=pcm;rate=24000"
SPEECH = "gemini-2.5-flash-preview-tts"
DRAWS = "gemini-3-pro-image-preview"


def samples(count: int) -> bytes:
    return struct.pack(f"<{count}h", *range(count))


def sound(data: bytes | str, kind: str = L16) -> dict[str, Any]:
    coded = data if isinstance(data, str) else base64.b64encode(data).decode()
    return {"inlineData": {"mimeType": kind, "data": coded}}


def chunk(*parts: Any, finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate]}


def player(page: str) -> bytes:
    """The file in the one player of a page."""
    (data,) = re.findall(
        r'<audio controls title="[^"]*" src="data:audio/wav;base64,([\w+/=]*)">[^<]*</audio>', page
    )
    return base64.b64decode(data)


def test_speech_becomes_one_file_that_plays(tmp_path: Path) -> None:
    pieces = [sound(samples(12_001)[:24_001]), sound(samples(12_000)[1:])]
    with rig(
        [sse_answer(chunk(text_part("Hello.")), chunk(pieces[0]), chunk(pieces[1]), chunk(finish="STOP"))]
    ) as made:
        stream = made.start("Say hello").wait(20)
    (one,) = stream.audio
    assert (one.mime_type, one.seconds) == ("audio/wav", 1.0)
    with wave.open(io.BytesIO(one.data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() == 24_000
    assert one.save(tmp_path / "hello").name == "hello.wav"
    assert "data" not in repr(one)
    assert "<audio controls" in one._repr_mimebundle_()["text/html"]
    page, settled = whole_html(stream, transcript_of(stream)), to_markdown(stream)
    for place in (page, settled, nbconvert(settled)):
        assert player(place) == one.data
    assert to_text(stream).startswith("Hello.\n[audio/wav, 1.0 s]\n")
    out = io.StringIO()
    print_stream(stream, out)
    assert out.getvalue().count("in stream.audio]") == 1


def text_part(words: str) -> dict[str, Any]:
    return {"text": words}


def test_the_player_comes_when_the_sound_is_whole() -> None:
    with rig([sse_answer(chunk(sound(samples(100))), chunk(sound(samples(100))), Wait())]) as made:
        stream = made.start("Say hello")
        pane = displayed(stream)
        until(lambda: "402 bytes so far" in shown(pane))
        assert "<audio" not in shown(pane)
        stream.stop()
        stream.wait()
        until(lambda: "<audio" in shown(pane))
        assert len(player(shown(pane))) == 44 + 400


def test_text_between_two_sounds_parts_them() -> None:
    parts = [sound(samples(3)), {"text": "and"}, sound(samples(4)), sound(b"ID3x", "audio/mpeg")]
    with rig([sse_answer(chunk(*parts, finish="STOP"))]) as made:
        stream = made.start("Say hello").wait(20)
    assert [len(one.data) for one in stream.audio] == [50, 52, 4]
    assert to_markdown(stream).count("<audio controls") == 3


def test_sound_of_a_call_that_broke_is_gone() -> None:
    made = Transcript()
    for _ in range(2):
        made.apply(make(events.PartReceived, part=sound(samples(2))))
    made.apply_all([make(events.TextRewound, length=0, parts=1)])
    made.apply_all([make(events.PartReceived, part=sound(samples(5)))])
    (block,) = made.blocks
    assert isinstance(block, AudioBlock)
    assert [len(piece["inlineData"]["data"]) for piece in block.pieces] == [8, 16]


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        ("audio/L16;rate=16000", 16_000, 1),
        ("audio/pcm", 24_000, 1),
        ("audio/l16; RATE=8000; channels=2", 8_000, 2),
        ("audio/L16;rate=0", 24_000, 1),
        ("audio/L16;channels=999999", 24_000, 32),
    ],
)
def test_rates_and_channels(kind: str, rate: int, channels: int) -> None:
    with rig([sse_answer(chunk(sound(samples(960), kind), finish="STOP"))]) as made:
        (one,) = made.start("x").wait(20).audio
    with wave.open(io.BytesIO(one.data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (
            rate,
            channels,
            960 // channels,
        )


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ('audio/wav"><script>hit(1)</script>', "aGVsbG8="),
        ("audio/x-evil", "aGVsbG8="),
        ("audio/wav", 'no base64"><img src=x onerror=hit(2)>'),
        ("audio/L16;rate=99999999999", "aGVsbG8="),
        ("AUDIO/WAV", "aGVsbG8="),
    ],
)
def test_hostile_sound_ends_no_tag(kind: str, data: str) -> None:
    with rig([sse_answer(chunk(sound(data, kind), text_part("x"), finish="STOP"))]) as made:
        stream = made.start("x").wait(20)
    for page in (
        whole_html(stream, transcript_of(stream)),
        to_markdown(stream),
        nbconvert(to_markdown(stream)),
    ):
        assert "<script" not in page
        assert "<img" not in page
        assert not re.search(r"<audio[^>]*hit", page)


def test_the_simulator_speaks(manager: gemini_nb.StreamManager) -> None:
    with Simulator(pace=0) as simulator:
        stream = manager.start_stream(
            "Say hello.",
            model=SPEECH,
            auth="simulator",
            base_url=simulator.base_url,
            generation_config={"responseModalities": ["AUDIO"]},
        ).wait(20)
    assert stream.error is None
    assert [one.seconds for one in stream.audio] == [1.5]


def draw(manager: gemini_nb.StreamManager, simulator: Simulator) -> gemini_nb.Chat:
    return gemini_nb.Chat(
        manager=manager,
        model=DRAWS,
        auth="simulator",
        base_url=simulator.base_url,
        generation_config={"responseModalities": ["TEXT", "IMAGE"]},
    )


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(pace=0) as made:
        yield made


def test_pictures_are_edited_over_several_turns(
    manager: gemini_nb.StreamManager, simulator: Simulator
) -> None:
    chat = draw(manager, simulator)
    first = chat.send("Draw two pictures of a lighthouse.").wait(20)
    second = chat.send("Make the sky red.").wait(20)
    third = chat.send(["Now like this one:", first.images[1]]).wait(20)
    assert [stream.error for stream in (first, second, third)] == [None] * 3
    assert [len(stream.images) for stream in (first, second, third)] == [2, 1, 1]
    assert second.images[0] != first.images[0]
    sent = simulator.requests[-1].body["contents"]
    drawn = [
        part
        for content in sent
        if content["role"] == "model"
        for part in content["parts"]
        if "inlineData" in part
    ]
    assert len(drawn) == 3
    assert all(part["thoughtSignature"] for part in drawn)
    asked = sent[-1]["parts"][1]["inlineData"]
    assert base64.b64decode(asked["data"]) == first.images[1].data
    assert to_markdown(first).count("![an image from the model](data:image/png;base64,") == 2


def test_the_simulator_wants_the_signatures_of_pictures_back(simulator: Simulator) -> None:
    url = f"{simulator.base_url}/v1beta/models/{DRAWS}:generateContent"
    headers = {"x-goog-api-key": "k"}
    said = {"role": "user", "parts": [{"text": "Draw a lighthouse."}]}
    config = {"responseModalities": ["IMAGE"]}
    body: dict[str, Any] = {"contents": [said], "generationConfig": config}
    answer = httpx.post(url, json=body, headers=headers).json()["candidates"][0]["content"]
    body["contents"] = [said, answer, said]
    assert httpx.post(url, json=body, headers=headers).status_code == 200
    for part in answer["parts"]:
        part.pop("thoughtSignature", None)
    refused = httpx.post(url, json=body, headers=headers)
    assert refused.status_code == 400
    assert "Image part is missing a thought_signature" in refused.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["IMAGE", "AUDIO"])
def test_a_model_that_only_writes_is_refused(simulator: Simulator, kind: str) -> None:
    url = f"{simulator.base_url}/v1beta/models/gemini-3.8-flash:generateContent"
    body = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"responseModalities": [kind]}}
    refused = httpx.post(url, json=body, headers={"x-goog-api-key": "k"})
    assert refused.status_code == 400
    assert "does not support the requested response modalities" in refused.json()["error"]["message"]


def test_pictures_and_sounds_can_be_sent_and_returned_by_tools() -> None:
    picture = gemini_nb.Image(b"\x89PNG\r\n\x1a\n", "image/png")

    def look() -> Any:
        """Look."""
        return {"seen": picture, "heard": Audio(b"RIFF", "audio/wav")}

    calls = chunk({"functionCall": {"name": "look", "args": {}}}, finish="STOP")
    with rig([sse_answer(calls), sse_answer(text("So.", finish="STOP"))]) as made:
        stream = made.start(["What is it?", picture], tools=[look]).wait(20)
        asked = made.server.requests[-1].json["contents"]
    assert stream.error is None
    assert asked[0]["parts"][1]["inlineData"]["mimeType"] == "image/png"
    response = asked[-1]["parts"][0]["functionResponse"]
    assert [part["inlineData"]["mimeType"] for part in response["parts"]] == ["image/png", "audio/wav"]


CSV = "city,high\nRome,31\n</details><script>hit(1)</script>\n"


def test_what_the_models_code_made_is_shown() -> None:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\nplot").decode()
    parts = [
        {"executableCode": {"language": "PYTHON", "code": "plot()"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "done"}},
        {"inlineData": {"mimeType": "image/png", "data": picture}},
        {"inlineData": {"mimeType": "text/csv", "data": base64.b64encode(CSV.encode()).decode()}},
        {"inlineData": {"mimeType": "text/csv", "data": "no base64"}},
    ]
    with rig([sse_answer(chunk(*parts, finish="STOP"))]) as made:
        stream = made.start("Plot it").wait(20)
    page, settled = whole_html(stream, transcript_of(stream)), to_markdown(stream)
    assert f'src="data:image/png;base64,{picture}"' in page
    assert f"![an image from the model](data:image/png;base64,{picture})" in settled
    assert "<details><summary>file text/csv</summary>" in settled
    assert "city,high\nRome,31\n" in settled
    assert "city,high\nRome,31\n" in page
    assert "<script" not in page
    assert "<script" not in nbconvert(settled)
    assert "[text/csv]\ncity,high\n" in to_text(stream)


def test_a_large_picture_is_printed_in_short() -> None:
    data = "QUFB" * 50_000
    picture = {"inlineData": {"mimeType": "image/png", "data": data}, "thoughtSignature": data}
    seen: list[str] = []
    with rig([sse_answer(chunk(picture, finish="STOP"))]) as made:
        stream = made.start("Draw", lambda event: seen.append(repr(event))).wait(20)
    assert sum(map(len, seen)) < 4000
    assert any("(200,000 characters)" in one for one in seen)
    assert len(repr(stream.info())) < 4000
    (event,) = (event for event in stream.events if isinstance(event, gemini_nb.PartReceived))
    assert event.part["inlineData"]["data"] is stream.parts[0]["inlineData"]["data"]  # one copy for both
