from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gemini_nb.journal.kept.call_record import CallRecord, RecordError, TimedChunk
from gemini_nb.redaction import Secret


def chunk(text: str, **more: Any) -> str:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, **more}
    return json.dumps({"candidates": [candidate]}, ensure_ascii=False, separators=(",", ":"))


RECORD = CallRecord(
    service="gemini",
    model="gemini-3.8-flash",
    when=datetime(2026, 11, 24, 14, 3, tzinfo=UTC),
    key="a" * 64,
    number=2,
    prompt="Why is the sky blue? \u2028 \U0001f30a",
    question={"contents[0]": "#0123", "generationConfig.temperature": "0.5"},
    model_version="gemini-3.8-flash-001",
    finish_reason="STOP",
    usage={"totalTokenCount": 12},
    chunks=(TimedChunk(0.25, chunk("Bec\u2028")), TimedChunk(0.0, chunk("ause", finishReason="STOP"))),
)


def test_a_record_is_one_readable_line_and_comes_back_as_it_was() -> None:
    line = RECORD.to_json()
    assert line.startswith('{"key": "' + "a" * 64 + '", ')
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert "\U0001f30a" in line
    assert '"when": "2026-11-24T14:03:00Z"' in line
    assert CallRecord.from_json(line) == CallRecord.from_json(line.encode()) == RECORD


def test_five_megabytes_come_back() -> None:
    large = replace(RECORD, chunks=(TimedChunk(0, chunk("é" * 5 * 2**20)),))
    assert CallRecord.from_json(large.to_json()) == large


def test_what_json_cannot_say_to_others_is_mended_on_its_way_out() -> None:
    odd = replace(RECORD, chunks=(TimedChunk(0, '{"a": "\\ud800", "b": NaN}'),), prompt="\ud800")
    back = CallRecord.from_json(odd.to_json())
    assert (back.chunks[0].data, back.prompt) == ('{"a":"\ufffd","b":null}', "\ufffd")


@pytest.mark.parametrize("cut", range(1, 38))
def test_no_secret_reaches_the_line_also_across_two_chunks(cut: int) -> None:
    key = Secret("AIzaSy-made-up-for-records-0123456789")
    text = key.reveal()
    parts = (TimedChunk(0, chunk("Key: " + text[:cut])), TimedChunk(0, chunk(text[cut:] + " is it.")))
    line = replace(RECORD, chunks=parts, prompt=f"Is {text} a key?", model=text).to_json()
    assert text not in line
    said = [json.loads(one.data)["candidates"][0] for one in CallRecord.from_json(line).chunks]
    whole = "".join(one["content"]["parts"][0]["text"] for one in said)
    assert whole.endswith("[secret] is it.")
    assert len(whole) <= len("Key: AIz[secret] is it.")


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(RECORD.to_json()), **fields})


HOSTILE = {
    "no JSON": "hello",
    "nothing": "",
    "half a line": RECORD.to_json()[:-40],
    "a list": "[]",
    "brackets": "[" * 100_000,
    "digits": '{"key": ' + "9" * 100_000 + "}",
    "a number that is none": changed().replace("12", "NaN"),
    "infinity": changed(chunks=[[0, {"a": 1}]]).replace('{"a": 1}', '{"a": 1e999}'),
    "a time that never comes": changed(chunks=[["soon", {}]]),
    "an endless wait": changed(chunks=[[1e9, {}]]),
    "a wait that is infinite": changed(chunks=[[1, {}]]).replace("[[1,", "[[1e999,"),
    "a negative wait": changed(chunks=[[-1, {}]]),
    "a true wait": changed(chunks=[[True, {}]]),
    "a chunk too few": changed(chunks=[[1]]),
    "a chunk of text": changed(chunks=[[1, "{}"]]),
    "chunks of a dictionary": changed(chunks={"1": 2}),
    "half a character": changed(chunks=[[1, {"a": "\ud800"}]]),
    "half a character in the prompt": changed(prompt="\ud800"),
    "another service": changed(service="../../etc/passwd"),
    "a service that is a list": changed(service=[]),
    "a model that is none": changed(model={"a": 1}),
    "a model without an end": changed(model="m" * 100_000),
    "a number of no row": changed(number=0),
    "a true number": changed(number=True),
    "a key in capitals": changed(key="A" * 64),
    "a key with a line feed": changed(key="a" * 64 + "\n"),
    "no time": changed(when=12),
    "a time before all time": changed(when="0001-01-01T00:00:00Z"),
    "another version": changed(version=2),
    "a version in words": changed(version="1"),
    "counts of a list": changed(usage=[]),
    "a question of numbers": changed(question={"contents[0]": 1}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_record_is_refused(kind: str) -> None:
    with pytest.raises(RecordError):
        CallRecord.from_json(HOSTILE[kind])


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RecordError):
        CallRecord.from_json(b'{"key": "\xff"}')
