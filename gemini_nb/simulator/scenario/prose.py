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
_DAY = """| Time | Plan |
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
    if echoed := _ECHO.match(clues.text):
        return f"{clues.quoted[0] if clues.quoted else echoed[1].strip()}\n\n{NOTE}"
    if looks_back(prompt):
        return f"You asked before: \u201c{_short(prompt.previous)}\u201d {NOTE}"
    if _THANKS.fullmatch(clues.text):
        return f"Hello! What would you like to know? {NOTE}"
    sentences = itertools.cycle(prompt.rng("prose").sample(_SENTENCES, len(_SENTENCES)))
    count, unit = _wished_length(clues)
    if joint := _JOINTS.get(unit):
        first = f"This is a simulated answer about {clues.topic}."
        texts = [first, *itertools.islice(sentences, min(max(count, 1), 500) - 1)]
        return "- " * (unit == "bullet") + joint.join(texts)
    if unit and count <= 20:
        words = f"Simulated answer about {clues.topic}: {' '.join(_SENTENCES)}".split()
        return " ".join(words[: max(count, 1)])
    blocks = [block for asked, block in _BLOCKS.items() if clues.mentions(*asked.split())]
    if not blocks and clues.mentions("plan", "itinerary"):
        blocks = [_DAY]
    title = f"## {clues.topic[:1].upper()}{clues.topic[1:]}"
    if unit:
        made = [title] * (count >= 120) + [f"This is a simulated answer about {clues.topic}.", *blocks]
        made += _paragraphs(sentences, min(count, 20_000) - _words("\n\n".join(made)))
    else:
        last = " ".join(itertools.islice(sentences, 3))
        made = [title, *_opening(prompt), *(blocks or _BLOCKS.values()), last]
    return "\n\n".join(made)


def describe_results(prompt: Prompt) -> str:
    """Write the answer that rests on what the tools returned."""
    exchanges = [exchange for exchanges in prompt.rounds for exchange in exchanges]
    lines = [f"Here is what the tools returned. {NOTE}", ""]
    lines += [_sentence(exchange) for exchange in exchanges]
    if prompt.clues.mentions("plan", "itinerary"):
        lines += ["", "With that, the day could look like this:", "", _DAY]
    text = "\n".join([*lines, "", "A real model would now write its answer from this."])
    count, unit = _wished_length(prompt.clues)
    more = _paragraphs(itertools.cycle(_SENTENCES), count - _words(text)) if unit == "word" else ()
    return "\n\n".join([text, *more])


def _wished_length(clues: Clues) -> tuple[int, str]:
    """Return how long the answer should be, such as (3, "sentence"); no unit where any length will do."""
    if clues.length is None and clues.mentions("long", "detailed", "essay"):
        return 900, "word"
    return clues.length or ((2, "sentence") if clues.mentions("short", "brief", "briefly") else (0, ""))


def _opening(prompt: Prompt) -> Iterator[str]:
    yield f"You asked: \u201c{_short(prompt.clues.text)}\u201d {NOTE}"
    blobs = [
        part.get("inlineData") or part.get("fileData") or {} for part in prompt.body["contents"][-1]["parts"]
    ]
    if kinds := [f"`{blob['mimeType']}`" for blob in blobs if blob.get("mimeType")]:
        yield f"You sent {' and '.join(kinds)}; the simulator cannot look into it."
    if prompt.previous:
        yield f"Before that you asked: \u201c{_short(prompt.previous)}\u201d"


def _paragraphs(sentences: Iterator[str], count: int) -> Iterator[str]:
    """Make paragraphs of about 70 words until `count` words are there."""
    while count > 8:
        paragraph: list[str] = []
        while count > 4 and _words(" ".join(paragraph)) < 70:
            paragraph.append(next(sentences))
            count -= _words(paragraph[-1])
        yield " ".join(paragraph)


def _sentence(exchange: Exchange) -> str:
    asked = ", ".join(map(_short, exchange.args.values()))
    response: Any = exchange.response
    error = response.get("error")
    if error is not None:
        message = error.get("message", error) if isinstance(error, Mapping) else error
        says = f" failed: {_short(message)}"
    else:
        if len(response) == 1:
            response = response.get("output", response.get("result", response))
        if isinstance(response, Mapping):
            response = ", ".join(f"{key}: {_short(value)}" for key, value in response.items())
        says = f": {'done, without a value' if response in (None, '', []) else _short(response)}"
    return f"- **{exchange.name}**{f' ({asked})' if asked else ''}{says}"


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1].rstrip() + "\u2026"


def _words(text: str) -> int:
    return len(re.findall(r"\w+(?:['\u2019-]\w+)*", text))
