"""Make up a whole answer, before it is cut into chunks: calls, JSON, media, code that ran, or prose.

Nothing is known about any topic, and nothing is claimed about it: prose names the question, repeats the data
that it was given, and fills the length that was asked for with true sentences about how an answer streams
into a notebook. It has every element that a pane must be able to show. The same prompt gives the same text.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import math
import random
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gemini_nb.simulator.arguments import introduce, make_value, next_calls
from gemini_nb.simulator.clues import Clues
from gemini_nb.simulator.fields import text_tokens
from gemini_nb.simulator.history import Exchange, sign_text
from gemini_nb.simulator.rules import Prompt

__all__ = ["Answer", "answer_prompt"]

_NOTE = "(This is a simulated answer.)"
"""What every answer says once."""
_LONGEST_VALUE = 300
_MOST = 20_000  # words, sentences or whatever was asked for
_ECHO = re.compile(
    r"(?is)^\s*(?:please )?(?:say|repeat|echo|(?:reply|answer) with)\b(?: exactly| after me)?\s*:?\s*(.+)"
)
_BACK = re.compile(
    r"(?i)\b(?:what|which)\b.{0,60}\b(?:I|my)\b.{0,60}\b(?:ask|asked|say|said|before|previous|earlier|last)\b"
)
_GREETING = re.compile(r"(?i)\W*(?:(?:thanks|thank you|hi|hello|hey|okay|great)\b[\w ]{0,12}\W*)?")
_SENTENCES = (
    "The text of an answer arrives in small pieces, and the pane appends each of them as it comes.",
    "The cell that asked has already returned, so the next cell can run while this sentence is written.",
    "Thoughts come before the text and are folded away, because few readers want them.",
    "Each tool call gets a card that shows its arguments, its progress and its result.",
    "The Stop button ends the request at once, and what has arrived stays on the page.",
    "When the connection breaks, the question is asked again and the new text takes the old one's place.",
    "The server may ask to wait, and then the pane says why and for how long.",
    "At the end the pane becomes ordinary Markdown, which is what a saved notebook keeps.",
    "A real model would now write about the question itself.",
    "Several answers can stream side by side, and none of them waits for another.",
    "The dashboard lists every stream with its phase, its tool calls and its tokens.",
    "A variable of the notebook can be named in braces, and its value becomes part of the question.",
)
_PLAN = "plan itinerary"
_BLOCKS = {
    "list bullet": """- **First**, the question is read and its thoughts are summarised.
- **Then** the text is written, piece by piece.
- **Last** come the tokens that it took.""",
    "table": """| Window | Values | Average |
| --- | --- | ---: |
| 2 | 3, 5 | 4.0 |
| 2 | 5, 4 | 4.5 |
| 2 | 4, 8 | 6.0 |""",
    "formula": """The average of the last $n$ values is

$$
m_t = \\frac{1}{n} \\sum_{i=0}^{n-1} x_{t-i}
$$""",
    "code Python": """```python
# This example is the simulator's, whatever the question was.
values = [3, 5, 4, 8]
averages = [(first + second) / 2 for first, second in zip(values, values[1:])]
print(averages)
```""",
    _PLAN: """A day could look like this:

| Time | Plan |
| --- | --- |
| 09:00 | Breakfast and a first walk |
| 11:00 | One museum or one market |
| 13:00 | Lunch away from the main square |
| 15:00 | A park, a view or the waterfront |
| 19:30 | Dinner |""",
}
"""What a pane must be able to show, by the words that ask for it; the plan comes for these only."""
_JOINTS = {"sentence": " ", "line": "  \n", "bullet": "\n- ", "paragraph": "\n\n"}
_PLACE = {
    "uri": "https://maps.google.com/?cid=1",
    "title": "An Example Place",
    "placeId": "places/ChIJexample",
    "text": "Open every day.",
}
_SOURCES = [
    {"web": {"uri": "https://example.com/overview", "title": "example.com"}},
    {"web": {"uri": "https://example.org/background", "title": "example.org"}},
]
_READ = "URL_RETRIEVAL_STATUS_SUCCESS"
_ADDRESS = re.compile(r"https?://[^\s<>\"')]+")
_PICTURES = re.compile(r"\b(?:images|pictures|drawings|photos)\b", re.IGNORECASE)
_WIDTH, _HEIGHT = 120, 80
_SAMPLES, _SOUNDS = 24_000, 6  # samples a second, and pieces of a quarter of a second each


@dataclass(slots=True, kw_only=True)
class Answer:
    """One model call's answer."""

    thoughts: list[str] = field(default_factory=list)  # summaries; shown only where the request asks for them
    parts: list[dict[str, Any]]  # texts in full; function calls without id and signature
    metadata: dict[str, Any] = field(default_factory=dict)  # fields of the last chunk's candidate
    prompt_tokens_of_tools: int = 0  # of what server-side tools put into the prompt


def answer_prompt(prompt: Prompt) -> Answer:
    """Answer a prompt."""
    thoughts = _think(prompt)
    if "AUDIO" in prompt.modalities:
        return Answer(thoughts=thoughts, parts=[_sound(number) for number in range(_SOUNDS)])
    if "IMAGE" in prompt.modalities:
        return Answer(thoughts=thoughts, parts=_draw(prompt))
    talks = prompt.mode != "ANY" and (_looks_back(prompt) or _GREETING.fullmatch(prompt.clues.text))
    if prompt.functions and not talks and (calls := next_calls(prompt)):
        parts = [*_server_calls(prompt), {"text": introduce(calls)}]
        return Answer(thoughts=thoughts, parts=[*parts, *({"functionCall": call} for call in calls)])
    mime_type = prompt.config.get("responseMimeType", "text/plain")
    if mime_type != "text/plain":
        return Answer(thoughts=thoughts, parts=[{"text": _structured(prompt, mime_type)}])
    if "codeExecution" in prompt.builtins and not prompt.rounds:
        return _run_code(prompt, thoughts)
    text = _describe_results(prompt) if prompt.rounds else _write_prose(prompt)
    answer = Answer(thoughts=thoughts, parts=[*_server_calls(prompt), {"text": text}])
    if prompt.builtins & {"googleSearch", "googleSearchRetrieval", "googleMaps"}:
        answer.metadata["groundingMetadata"] = _ground(prompt, text)
    if "urlContext" in prompt.builtins and (urls := _ADDRESS.findall(prompt.text)):
        pages = [{"retrievedUrl": url, "urlRetrievalStatus": _READ} for url in urls]
        answer.metadata["urlContextMetadata"] = {"urlMetadata": pages}
    return answer


def _think(prompt: Prompt) -> list[str]:
    """Write the summaries of the thoughts that come before an answer, where the model thinks."""
    thinking = prompt.config.get("thinkingConfig", {})
    if thinking.get("thinkingBudget") == 0 or not (prompt.family >= 3 or thinking or "2.5" in prompt.model):
        return []
    names = ", ".join(one["name"] for one in prompt.functions[:4])
    plan = f"The tools at hand are {names}." if names else "A short paragraph first, then the main points."
    asked = f"The question is about {prompt.clues.topic}."
    thoughts = {"Reading the question": asked, "Planning the answer": plan}
    if prompt.rounds:
        thoughts = {"Reading the results": "The tools have answered. I check each value before I use it."}
    return [f"**{title}**\n\n{text}\n\n\n" for title, text in thoughts.items()]


def _structured(prompt: Prompt, mime_type: str) -> str:
    schema = prompt.config.get("responseJsonSchema", prompt.config.get("responseSchema"))
    value = {"topic": prompt.clues.topic, "answer": _write_prose(prompt)}
    if schema is not None:
        value = make_value(schema, prompt.clues)
    return str(value) if mime_type == "text/x.enum" else json.dumps(value, ensure_ascii=False, indent=2)


# ----------------------------------------------------------------------------- tools on the service's side


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


def _run_code(prompt: Prompt, thoughts: list[str]) -> Answer:
    """Show a computation. The code is one of ours and its output is known; nothing from the prompt is run."""
    given = [value for value, _ in prompt.clues.numbers] or [1, 2, 3]
    numbers = [int(number) if number.is_integer() else number for number in map(float, given)]
    code, output = f"values = {numbers}\nprint(sum(values))\n", f"{sum(numbers)}\n"
    parts: list[dict[str, Any]] = [
        {"text": f"I will compute this for {prompt.clues.topic}.\n\n"},
        {"executableCode": {"language": "PYTHON", "code": code}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": output}},
        {"text": f"The sum of these numbers is {sum(numbers)}. {_NOTE}"},
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
        metadata = {"webSearchQueries": [query], "searchEntryPoint": {"renderedContent": _entry(query)}}
        chunks += _SOURCES
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


# -------------------------------------------------------------------------------------- pictures and sound


def _draw(prompt: Prompt) -> list[dict[str, Any]]:
    """Draw as many pictures as are asked for, new ones in each turn, and say so where text is wanted."""
    several = _PICTURES.search(prompt.text) is not None
    count = next((int(value) for value, _ in prompt.clues.numbers if several and 2 <= value <= 8), 1)
    before = sum("inlineData" in part for content in prompt.body["contents"] for part in content["parts"])
    said = "I changed the picture." if before else f"I drew {prompt.clues.topic}."
    parts: list[dict[str, Any]] = [{"text": f"{said} {_NOTE}\n\n"}] if "TEXT" in prompt.modalities else []
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


# --------------------------------------------------------------------------------------------------- prose


def _looks_back(prompt: Prompt) -> bool:
    """Whether a later turn only asks what was said, or adds nothing, as "Thanks!" does."""
    text = prompt.clues.text
    return bool(prompt.previous) and bool(_BACK.search(text) or _GREETING.fullmatch(text))


def _write_prose(prompt: Prompt) -> str:
    """Write the whole answer to a prompt without tools."""
    clues = prompt.clues
    if echoed := _ECHO.match(prompt.text):
        return f"{clues.quoted[0] if clues.quoted else echoed[1].strip()}\n\n{_NOTE}"
    if _looks_back(prompt):
        return f"You asked before: \u201c{_short(prompt.previous)}\u201d {_NOTE}"
    if _GREETING.fullmatch(clues.text):
        return f"Hello! What would you like to know? {_NOTE}"
    sentences = itertools.cycle(prompt.rng("prose").sample(_SENTENCES, len(_SENTENCES)))
    count, unit = _wished_length(clues)
    opening = f"This is a simulated answer about {clues.topic}."
    if joint := _JOINTS.get(unit):
        return "- " * (unit == "bullet") + joint.join([opening, *itertools.islice(sentences, count - 1)])
    if unit and count <= 20:
        return " ".join(f"Simulated answer about {clues.topic}: {next(sentences)}".split()[:count])
    title = f"## {clues.topic[:1].upper()}{clues.topic[1:]}"
    blocks = [block for asked, block in _BLOCKS.items() if clues.mentions(*asked.split())]
    if unit:
        return _filled([*[title] * (count >= 120), opening, *blocks], sentences, count)
    closing = " ".join(itertools.islice(sentences, 3))
    return "\n\n".join([title, *_question(prompt), *(blocks or [*_BLOCKS.values()][:-1]), closing])


def _describe_results(prompt: Prompt) -> str:
    """Write the answer that rests on what the tools returned."""
    results = "\n".join(_result(exchange) for exchanges in prompt.rounds for exchange in exchanges)
    blocks = [f"Here is what the tools returned. {_NOTE}", results]
    blocks += [_BLOCKS[_PLAN]] * prompt.clues.mentions(*_PLAN.split())
    count, unit = _wished_length(prompt.clues)
    end = "A real model would now write its answer from this."
    return _filled([*blocks, end], itertools.cycle(_SENTENCES), count if unit == "word" else 0)


def _wished_length(clues: Clues) -> tuple[int, str]:
    """Return how long the answer should be, such as (3, "sentence"); no unit where any length will do."""
    if clues.length is not None:
        return min(max(clues.length[0], 1), _MOST), clues.length[1]
    if clues.mentions("long", "detailed", "essay"):
        return 900, "word"
    return (2, "sentence") if clues.mentions("short", "brief", "briefly") else (0, "")


def _question(prompt: Prompt) -> Iterator[str]:
    """Repeat what was asked, and name what came with it."""
    yield f"You asked: \u201c{_short(prompt.text)}\u201d {_NOTE}"
    parts = prompt.body["contents"][-1]["parts"]
    kinds = [(part.get("inlineData") or part.get("fileData") or {}).get("mimeType") for part in parts]
    if named := " and ".join(f"`{kind}`" for kind in kinds if kind):
        yield f"You sent {named}; the simulator cannot look into it."
    if prompt.previous:
        yield f"Before that you asked: \u201c{_short(prompt.previous)}\u201d"


def _filled(blocks: list[str], sentences: Iterator[str], count: int) -> str:
    """Join blocks, and add paragraphs until there are about so many words."""
    missing = count - _words("\n\n".join(blocks))
    while missing > 8:
        blocks.append(" ".join(itertools.islice(sentences, min(5, 1 + missing // 16))))
        missing -= _words(blocks[-1])
    return "\n\n".join(blocks)


def _result(exchange: Exchange) -> str:
    """Say what a call returned, as an item of a list."""
    asked = ", ".join(map(_short, exchange.args.values()))
    start = f"- **{exchange.name}**" + f" ({asked})" * bool(asked)
    result: Any = exchange.response
    if (error := result.get("error")) is not None:
        error = error.get("message", error) if isinstance(error, Mapping) else error
        return f"{start} failed: {_short(error)}"
    if len(result) == 1:
        result = result.get("output", result.get("result", result))
    if isinstance(result, Mapping):
        result = ", ".join(f"{key}: {_short(value)}" for key, value in result.items())
    return f"{start}: {'done, without a value' if result in (None, '', []) else _short(result)}"


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1].rstrip() + "\u2026"


def _words(text: str) -> int:
    return len(re.findall(r"\w+(?:['\u2019-]\w+)*", text))
