"""Write answers in Markdown that say openly that they are simulated.

Nothing is known about any topic, and nothing is claimed about it: the answer names the question, repeats the
data it was given, and fills the length that was asked for with true sentences about how an answer streams
into a notebook. It has every element that a pane must be able to show. The same prompt gives the same text.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gemini_nb.simulator.protocol.history import Exchange
from gemini_nb.simulator.scenario.clues import Clues
from gemini_nb.simulator.scenario.prompt import Prompt

__all__ = ["NOTE", "describe_results", "looks_back", "think", "write_prose"]

NOTE = "(This is a simulated answer.)"
"""What every answer says once."""
_LONGEST_VALUE = 300
_MOST = 20_000  # words, sentences or whatever was asked for
_ECHO = re.compile(
    r"(?is)^\s*(?:please )?(?:say|repeat|echo|(?:reply|answer) with)\b(?: exactly| after me)?\s*:?\s*(.+)"
)
_BACK = re.compile(
    r"(?i)\b(?:what|which)\b.*\b(?:I|my)\b.*\b(?:ask|asked|say|said|before|previous|earlier|last)\b"
)
_THANKS = re.compile(r"(?i)\W*(?:(?:thanks|thank you|hi|hello|hey|okay|great)\b[\w ]{0,12})?\W*")
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
}
"""What a pane must be able to show, by the words that ask for it."""
_JOINTS = {"sentence": " ", "line": "  \n", "bullet": "\n- ", "paragraph": "\n\n"}
_DAY = """A day could look like this:

| Time | Plan |
| --- | --- |
| 09:00 | Breakfast and a first walk |
| 11:00 | One museum or one market |
| 13:00 | Lunch away from the main square |
| 15:00 | A park, a view or the waterfront |
| 19:30 | Dinner |"""


def think(prompt: Prompt) -> list[str]:
    """Write the summaries of the thoughts that come before an answer."""
    if prompt.rounds:
        return [
            "**Reading the results**\n\nThe tools have answered. I check each value before I use it.\n\n\n"
        ]
    plan = "A short paragraph first, then the main points."
    if prompt.functions:
        plan = f"The tools at hand are {', '.join(one.name for one in prompt.functions[:4])}."
    return [
        f"**Reading the question**\n\nThe question is about {prompt.clues.topic}.\n\n\n",
        f"**Planning the answer**\n\n{plan}\n\n\n",
    ]


def looks_back(prompt: Prompt) -> bool:
    """Whether a later turn only asks what was said, or adds nothing, as "Thanks!" does."""
    text = prompt.clues.text
    return bool(prompt.previous) and bool(_BACK.search(text) or _THANKS.fullmatch(text))


def write_prose(prompt: Prompt) -> str:
    """Write the whole answer to a prompt without tools."""
    clues = prompt.clues
    if echoed := _ECHO.match(prompt.text):
        return f"{clues.quoted[0] if clues.quoted else echoed[1].strip()}\n\n{NOTE}"
    if looks_back(prompt):
        return f"You asked before: \u201c{_short(prompt.previous)}\u201d {NOTE}"
    if _THANKS.fullmatch(clues.text):
        return f"Hello! What would you like to know? {NOTE}"
    sentences = itertools.cycle(prompt.rng("prose").sample(_SENTENCES, len(_SENTENCES)))
    count, unit = _wished_length(clues)
    opening = f"This is a simulated answer about {clues.topic}."
    if joint := _JOINTS.get(unit):
        texts = [opening, *itertools.islice(sentences, count - 1)]
        return "- " * (unit == "bullet") + joint.join(texts)
    if unit and count <= 20:
        return " ".join(f"Simulated answer about {clues.topic}: {next(sentences)}".split()[:count])
    title = f"## {clues.topic[:1].upper()}{clues.topic[1:]}"
    blocks = [block for asked, block in _BLOCKS.items() if clues.mentions(*asked.split())]
    blocks = blocks or _wished_plan(clues)
    if unit:
        return _filled([*[title] * (count >= 120), opening, *blocks], sentences, count)
    closing = " ".join(itertools.islice(sentences, 3))
    return "\n\n".join([title, *_question(prompt), *(blocks or _BLOCKS.values()), closing])


def describe_results(prompt: Prompt) -> str:
    """Write the answer that rests on what the tools returned."""
    results = "\n".join(_result(exchange) for exchanges in prompt.rounds for exchange in exchanges)
    blocks = [f"Here is what the tools returned. {NOTE}", results, *_wished_plan(prompt.clues)]
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


def _wished_plan(clues: Clues) -> list[str]:
    return [_DAY] if clues.mentions("plan", "itinerary") else []


def _question(prompt: Prompt) -> Iterator[str]:
    """Repeat what was asked, and name what came with it."""
    yield f"You asked: \u201c{_short(prompt.text)}\u201d {NOTE}"
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
    error = result.get("error")
    if error is not None:
        return (
            f"{start} failed: {_short(error.get('message', error) if isinstance(error, Mapping) else error)}"
        )
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
