"""A model that will be retired is told of once, wherever an answer is shown."""

from __future__ import annotations

import io
from typing import Any

import pytest

import gemini_nb
from gemini_nb.notebook.render.blocks.blocks import PartBlock
from gemini_nb.notebook.render.settled import to_markdown, to_text
from gemini_nb.notebook.render.terminal import print_stream
from gemini_nb.notebook.render.transcript import Transcript
from scripted import Answer, Reset, ScriptedServer, sse_answer, text

KEY = "a-key-for-this-test"
LEGACY = {
    "modelStage": "LEGACY",
    "message": "Please move to <b>gemini-9</b>.",
    "retirementTime": "2027-02-01T00:00:00Z",
}


def told(status: Any, *words: str) -> Answer:
    """An answer each of whose chunks says the status."""
    chunks = [text(word, finish="STOP" if word == words[-1] else None) for word in words]
    return sse_answer(*({**chunk, "modelStatus": status} for chunk in chunks))


def asked(server: ScriptedServer, *models: str) -> list[gemini_nb.Stream]:
    manager = gemini_nb.StreamManager()
    streams = [
        manager.start_stream(
            "x", model=model, auth="gemini", credentials={"api_key": KEY}, base_url=server.url
        ).wait(10)
        for model in models
    ]
    manager.shutdown()
    return streams


def notices(stream: gemini_nb.Stream) -> list[Any]:
    transcript = Transcript()
    transcript.apply_all(list(stream.events))
    blocks = [block for block in transcript.blocks if isinstance(block, PartBlock) and not block.gone]
    return [block.part["modelStatus"] for block in blocks if "modelStatus" in block.part]


def test_it_is_shown_once_for_each_model_and_in_every_form() -> None:
    with ScriptedServer(
        [told(LEGACY, "One ", "two."), told(LEGACY, "Three."), told(LEGACY, "Four.")]
    ) as server:
        first, second, other = asked(server, "gemini-2.5-pro", "gemini-2.5-pro", "gemini-2.5-flash")
    assert [len(notices(stream)) for stream in (first, second, other)] == [1, 0, 1]
    out = io.StringIO()
    print_stream(first, out)
    for shown in (to_markdown(first), to_text(first), out.getvalue()):
        said = shown.replace("\\", "")
        assert said.count("gemini-2.5-pro is legacy.") == 1
        assert "2027-02-01" in said
    assert "<b>" not in to_markdown(first).replace("\\<b>", "")
    assert first.text == "One two."


@pytest.mark.parametrize("stage", ["DEPRECATED", "RETIRED", "legacy"])
def test_every_stage_from_legacy_on_is_told(stage: str) -> None:
    with ScriptedServer([told({"modelStage": stage}, "Yes.")]) as server:
        [stream] = asked(server, "m")
    assert notices(stream) == [{"model": "m", "modelStage": stage}]


@pytest.mark.parametrize("status", [{"modelStage": "PREVIEW"}, {"modelStage": 3}, {}, None, "LEGACY", [{}]])
def test_other_states_and_forms_say_nothing(status: Any) -> None:
    with ScriptedServer([told(status, "Yes.")]) as server:
        [stream] = asked(server, "m")
    assert stream.text == "Yes."
    assert notices(stream) == []


def test_a_broken_answer_does_not_lose_it() -> None:
    broken = told(LEGACY, "Half ", "of it")[:-2]
    with ScriptedServer([[*broken, Reset()], sse_answer(text("Whole.", finish="STOP"))]) as server:
        [stream] = asked(server, "m")
    assert stream.text == "Whole."
    assert len(notices(stream)) == 1
