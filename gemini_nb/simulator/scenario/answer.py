"""Make up a whole answer, before it is cut into chunks: calls, JSON, media, code that ran, or prose."""

from __future__ import annotations

import base64
import html
import json
import math
import random
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.simulator.protocol.fields import text_tokens
from gemini_nb.simulator.protocol.signatures import sign_text
from gemini_nb.simulator.scenario.calls import introduce, next_calls
from gemini_nb.simulator.scenario.prompt import Prompt
from gemini_nb.simulator.scenario.prose import NOTE, describe_results, looks_back, think, write_prose
from gemini_nb.simulator.scenario.values import make_value

__all__ = ["Answer", "answer_prompt"]


@dataclass(slots=True, kw_only=True)
class Answer:
    """One model call's answer.

    Attributes:
        thoughts: summaries of thoughts, shown when the request asks for them and counted in any case.
        parts: the parts, texts in full; function calls without id and signature.
        metadata: further fields of the candidate's last chunk, such as groundingMetadata.
        prompt_tokens_of_tools: tokens of what server-side tools put into the prompt.
    """

    thoughts: list[str] = field(default_factory=list)
    parts: list[dict[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    prompt_tokens_of_tools: int = 0


_SOURCES = (
    ("example.com", "https://example.com/overview"),
    ("example.org", "https://example.org/background"),
)
_PLACE = {
    "uri": "https://maps.google.com/?cid=1",
    "title": "An Example Place",
    "placeId": "places/ChIJexample",
    "text": "Open every day.",
}
_SEARCHES = {"googleSearch", "googleSearchRetrieval", "googleMaps"}
_READ = "URL_RETRIEVAL_STATUS_SUCCESS"
_ADDRESS = re.compile(r"https?://[^\s<>\"')]+")
_PICTURES = re.compile(r"\b(?:images|pictures|drawings|photos)\b", re.IGNORECASE)
_WIDTH, _HEIGHT = 120, 80
_SAMPLES, _SOUNDS = 24_000, 6  # samples a second, and pieces of a quarter of a second each


def answer_prompt(prompt: Prompt) -> Answer:
    """Answer a prompt."""
    thoughts = think(prompt) if _thinks(prompt) else []
    if "AUDIO" in prompt.modalities:
        return Answer(thoughts=thoughts, parts=[_sound(number) for number in range(_SOUNDS)])
    if "IMAGE" in prompt.modalities:
        return Answer(thoughts=thoughts, parts=_draw(prompt))
    wanted = prompt.mode == "ANY" or not looks_back(prompt)
    if prompt.functions and wanted and (calls := next_calls(prompt)):
        parts = [*_server_calls(prompt), {"text": introduce(calls)}]
        return Answer(thoughts=thoughts, parts=[*parts, *({"functionCall": call} for call in calls)])
    mime_type = prompt.config.get("responseMimeType", "text/plain")
    if mime_type != "text/plain":
        return Answer(thoughts=thoughts, parts=[{"text": _structured(prompt, mime_type)}])
    if "codeExecution" in prompt.builtins and not prompt.rounds:
        return _run_code(prompt, thoughts)
    text = describe_results(prompt) if prompt.rounds else write_prose(prompt)
    answer = Answer(thoughts=thoughts, parts=[*_server_calls(prompt), {"text": text}])
    if prompt.builtins & _SEARCHES:
        answer.metadata["groundingMetadata"] = _ground(prompt, text)
    if "urlContext" in prompt.builtins and (urls := _ADDRESS.findall(prompt.text)):
        pages = [{"retrievedUrl": url, "urlRetrievalStatus": _READ} for url in urls]
        answer.metadata["urlContextMetadata"] = {"urlMetadata": pages}
    return answer


def _server_calls(prompt: Prompt) -> list[dict[str, Any]]:
    """Show what the service's own tools did, where the request asks for it, before the first round."""
    if not prompt.shows_server_calls or prompt.rounds:
        return []
    query, urls = prompt.clues.topic, _ADDRESS.findall(prompt.text)
    pages = [{"retrieved_url": url, "url_retrieval_status": _READ} for url in urls]
    found = {
        "googleSearch": ("GOOGLE_SEARCH_WEB", {"queries": [query]}, {"search_suggestions": _entry(query)}),
        "googleMaps": ("GOOGLE_MAPS", {"queries": [query]}, {"places": [_PLACE["title"]]}),
        "urlContext": ("URL_CONTEXT", {"urls": urls}, {"urls_metadata": pages}),
    }
    return [
        part
        for tool, (kind, args, response) in found.items()
        if tool in prompt.builtins and (urls or tool != "urlContext")
        for part in (
            {"toolCall": {"toolType": kind, "args": args}},
            {"toolResponse": {"toolType": kind, "response": response}},
        )
    ]


def _thinks(prompt: Prompt) -> bool:
    thinking = prompt.config.get("thinkingConfig", {})
    if thinking.get("thinkingBudget") == 0:
        return False
    return prompt.family >= 3 or bool(thinking) or "2.5" in prompt.model


def _structured(prompt: Prompt, mime_type: str) -> str:
    schema = prompt.config.get("responseJsonSchema", prompt.config.get("responseSchema"))
    value = {"topic": prompt.clues.topic, "answer": write_prose(prompt)}
    if schema is not None:
        value = make_value(schema, prompt.clues)
    return str(value) if mime_type == "text/x.enum" else json.dumps(value, ensure_ascii=False, indent=2)


def _run_code(prompt: Prompt, thoughts: list[str]) -> Answer:
    """Show a computation. The code is one of ours and its output is known; nothing from the prompt is run."""
    given = [number.value for number in prompt.clues.numbers] or [1, 2, 3]
    numbers = [int(number) if number.is_integer() else number for number in map(float, given)]
    code, output = f"values = {numbers}\nprint(sum(values))\n", f"{sum(numbers)}\n"
    parts: list[dict[str, Any]] = [
        {"text": f"I will compute this for {prompt.clues.topic}.\n\n"},
        {"executableCode": {"language": "PYTHON", "code": code}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": output}},
        {"text": f"The sum of these numbers is {sum(numbers)}. {NOTE}"},
    ]
    return Answer(thoughts=thoughts, parts=parts, prompt_tokens_of_tools=text_tokens(code + output))


def _ground(prompt: Prompt, text: str) -> dict[str, Any]:
    """Build grounding metadata over the first paragraph; segments count bytes, as the service does."""
    segment = next(block for block in text.split("\n\n") if not block.startswith("#"))
    start = len(text[: text.index(segment)].encode())
    query = prompt.clues.topic
    metadata: dict[str, Any] = {}
    chunks: list[dict[str, Any]] = []
    if prompt.builtins & {"googleSearch", "googleSearchRetrieval"}:
        metadata["webSearchQueries"] = [query]
        metadata["searchEntryPoint"] = {"renderedContent": _entry(query)}
        chunks += [{"web": {"uri": uri, "title": title}} for title, uri in _SOURCES]
    if "googleMaps" in prompt.builtins:
        chunks.append({"maps": _PLACE})
    begin = {"startIndex": start} if start else {}
    support = {
        "segment": {**begin, "endIndex": start + len(segment.encode()), "text": segment},
        "groundingChunkIndices": list(range(len(chunks))),
    }
    return {**metadata, "groundingChunks": chunks, "groundingSupports": [support]}


def _entry(query: str) -> str:
    return f"<div>Simulated search for {html.escape(query, quote=False)}</div>"


def _draw(prompt: Prompt) -> list[dict[str, Any]]:
    """Draw as many pictures as are asked for, new ones in each turn, and say so where text is wanted."""
    several = _PICTURES.search(prompt.text) is not None
    count = next((int(value) for value, _ in prompt.clues.numbers if several and 2 <= value <= 8), 1)
    before = sum("inlineData" in part for content in prompt.body["contents"] for part in content["parts"])
    said = f"I changed the picture. {NOTE}" if before else f"Here is {prompt.clues.topic}. {NOTE}"
    parts: list[dict[str, Any]] = [{"text": f"{said}\n\n"}] if "TEXT" in prompt.modalities else []
    for number in range(count):
        data = base64.b64encode(_png(prompt.rng("picture", number, len(prompt.body["contents"])))).decode()
        signature = {"thoughtSignature": sign_text(data)} if prompt.signs else {}
        parts.append({"inlineData": {"mimeType": "image/png", "data": data}, **signature})
    return parts


def _png(rng: random.Random) -> bytes:
    """Encode a sun above a hill."""
    sky, hill, sun = (bytes(rng.randrange(40, 250) for _ in range(3)) for _ in range(3))
    middle, height = rng.randrange(30, 90), rng.randrange(40, 60)
    rows = b"".join(
        b"\0" + b"".join(sun if math.dist((x, y), (middle, 20)) < 11 else sky for x in range(_WIDTH))
        if y < height
        else b"\0" + hill * _WIDTH
        for y in range(_HEIGHT)
    )
    header = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _sound(number: int) -> dict[str, Any]:
    """Make a piece of a tone, as 16-bit samples without a header, as the service sends speech."""
    tone = 330 * 2 ** (number / 6)
    samples = [int(6000 * math.sin(2 * math.pi * tone * at / _SAMPLES)) for at in range(_SAMPLES // 4)]
    data = base64.b64encode(struct.pack(f"<{len(samples)}h", *samples)).decode()
    return {"inlineData": {"mimeType": f"audio/L16;codec=pcm;rate={_SAMPLES}", "data": data}}
