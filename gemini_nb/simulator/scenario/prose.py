"""Write answers in Markdown that say openly that they are simulated.

Nothing is known about any topic, and nothing is claimed about it: the answer names the question, repeats the
data it was given, and fills the length that was asked for with true sentences about how an answer streams
into a notebook. It has every element that a pane must be able to show. The same prompt gives the same text.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gemini_nb.simulator.protocol.history import Exchange
from gemini_nb.simulator.scenario.prompt import Clues, Prompt

__all__ = ["NOTE", "describe_results", "looks_back", "think", "write_prose"]

NOTE = "(This is a simulated answer.)"
"""What every answer says once."""
_LONGEST_VALUE = 300
_ECHO = re.compile(
    r"^\s*(?:please )?(?:say|repeat|echo|reply with|answer with)\b(?: exactly)?\s*:?\s*(.+)",
    re.IGNORECASE | re.DOTALL,
)
_BACK = re.compile(
    r"\b(?:what|which)\b.*\b(?:I|my)\b.*\b(?:ask|asked|say|said|before|previous|earlier|last)\b",
    re.IGNORECASE,
)
_THANKS = re.compile(r"\W*(?:(?:thanks|thank you|hi|hello|hey|okay|great)\b[\w ]{0,12})?\W*", re.IGNORECASE)
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
_TABLE = """| Window | Values | Average |
| --- | --- | ---: |
| 2 | 3, 5 | 4.0 |
| 2 | 5, 4 | 4.5 |
| 2 | 4, 8 | 6.0 |"""
_CODE = """```python
values = [3, 5, 4, 8]
averages = [(first + second) / 2 for first, second in zip(values, values[1:])]
print(averages)
```"""
_FORMULA = """The average of the last $n$ values is

$$
m_t = \\frac{1}{n} \\sum_{i=0}^{n-1} x_{t-i}
$$"""
_LIST = """- **First**, the question is read and its thoughts are summarised.
- **Then** the text is written, piece by piece.
- **Last** come the tokens that it took."""
_DAY = """| Time | Plan |
| --- | --- |
| 09:00 | Breakfast and a first walk |
| 11:00 | One museum or one market |
| 13:00 | Lunch away from the main square |
| 15:00 | A park, a view or the waterfront |
| 19:30 | Dinner |"""
_BLOCKS = {"list": _LIST, "table": _TABLE, "formula": _FORMULA, "code": _CODE}
_WISHES = {
    "list": ("list", "bullet"),
    "table": ("table",),
    "formula": ("formula",),
    "code": ("code", "Python"),
}


def think(prompt: Prompt) -> list[str]:
    """Write the summaries of the thoughts that come before an answer."""
    if prompt.rounds:
        return [
            "**Reading the results**\n\nThe tools have answered. I check each value before I use it.\n\n\n"
        ]
    plan = "A short paragraph first, then the main points."
    if prompt.declarations:
        plan = f"The tools at hand are {', '.join(one.name for one in prompt.declarations[:4])}."
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
    length = clues.length or _vague_length(clues)
    if length is not None and length[1] != "word":
        return _counted(prompt, *length)
    blocks = [_BLOCKS[name] for name, words in _WISHES.items() if clues.mentions(*words)]
    if not blocks and clues.mentions("plan", "trip", "itinerary"):
        blocks = [_DAY]
    if length is not None:
        return _sized(prompt, length[0], blocks)
    blocks = blocks or list(_BLOCKS.values())
    return "\n\n".join(
        [
            f"## {_title(clues.topic)}",
            _opening(prompt),
            *blocks,
            " ".join(itertools.islice(_sentences(prompt), 3)),
        ]
    )


def describe_results(prompt: Prompt) -> str:
    """Write the answer that rests on what the tools returned."""
    exchanges = [exchange for exchanges in prompt.rounds for exchange in exchanges]
    lines = [f"Here is what the tools returned. {NOTE}", ""]
    lines += [_sentence(exchange) for exchange in exchanges]
    if len(exchanges) > 1:
        lines += ["", "| Tool | Asked with | Answer |", "| --- | --- | --- |", *map(_row, exchanges)]
    clues = prompt.clues
    if clues.mentions("plan", "trip", "itinerary"):
        lines += ["", "With that, the day could look like this:", "", _DAY]
    text = "\n".join(lines)
    length = clues.length or _vague_length(clues)
    if length is not None and length[1] == "word":
        text += "".join(f"\n\n{paragraph}" for paragraph in _paragraphs(prompt, length[0] - _words(text)))
    return text


def _vague_length(clues: Clues) -> tuple[int, str] | None:
    if clues.mentions("long", "detailed", "essay"):
        return 900, "word"
    return (2, "sentence") if clues.mentions("short", "brief", "briefly") else None


def _opening(prompt: Prompt) -> str:
    notes = [f"You asked: \u201c{_short(prompt.clues.text)}\u201d {NOTE}"]
    parts: Iterable[Mapping[str, Any]] = prompt.body["contents"][-1]["parts"]
    blobs = [part.get("inlineData") or part.get("fileData") or {} for part in parts]
    kinds = [f"`{blob['mimeType']}`" for blob in blobs if blob.get("mimeType")]
    if kinds:
        notes.append(f"You sent {' and '.join(kinds)}; the simulator cannot look into it.")
    if prompt.previous:
        notes.append(f"Before that you asked: \u201c{_short(prompt.previous)}\u201d")
    return "\n\n".join(notes)


def _counted(prompt: Prompt, count: int, unit: str) -> str:
    """Write as many sentences, lines, bullets or paragraphs as were asked for."""
    sentences = _sentences(prompt)
    first = f"This is a simulated answer about {prompt.clues.topic}."
    texts = [first, *(next(sentences) for _ in range(min(max(count, 1), 500) - 1))]
    if unit == "bullet":
        return "\n".join(f"- {text}" for text in texts)
    return {"sentence": " ", "line": "  \n"}.get(unit, "\n\n").join(texts)


def _sized(prompt: Prompt, count: int, blocks: Sequence[str]) -> str:
    """Write as many words as were asked for, give or take a sentence."""
    topic = prompt.clues.topic
    if count <= 20:
        words = [*f"Simulated answer about {topic}:".split(), *itertools.chain(*map(str.split, _SENTENCES))]
        return " ".join(words[: max(count, 1)])
    made = [f"This is a simulated answer about {topic}.", *blocks]
    if count >= 120:
        made = [f"## {_title(topic)}", *made]
    made += _paragraphs(prompt, min(count, 20_000) - _words("\n\n".join(made)))
    return "\n\n".join(made)


def _sentences(prompt: Prompt) -> Iterator[str]:
    return itertools.cycle(prompt.rng("prose").sample(_SENTENCES, len(_SENTENCES)))


def _paragraphs(prompt: Prompt, count: int) -> Iterator[str]:
    """Make paragraphs of about 70 words until `count` words are there."""
    sentences = _sentences(prompt)
    while count > 8:
        paragraph: list[str] = []
        while count > 4 and _words(" ".join(paragraph)) < 70:
            paragraph.append(next(sentences))
            count -= _words(paragraph[-1])
        yield " ".join(paragraph)


def _row(exchange: Exchange) -> str:
    asked = ", ".join(f"{name} = {_short(value)}" for name, value in exchange.args.items()) or "nothing"
    return f"| `{exchange.name}` | {_cell(asked)} | {_cell(_answer(exchange))} |"


def _sentence(exchange: Exchange) -> str:
    subject = next((value for value in exchange.args.values() if isinstance(value, str) and value), "")
    about = f" ({_short(subject)})" if subject else ""
    says = f" failed: {_error(exchange)}" if _error(exchange) is not None else f": {_answer(exchange)}"
    return f"- **{exchange.name}**{about}{says}"


def _error(exchange: Exchange) -> str | None:
    error = exchange.response.get("error")
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        error = error["message"]
    return None if error is None else _short(error)


def _answer(exchange: Exchange) -> str:
    if (error := _error(exchange)) is not None:
        return f"error: {error}"
    response: Any = exchange.response
    if len(response) == 1 and (key := next(iter(response))) in {"output", "result"}:
        response = response[key]
    if response in ({}, None, "", []):
        return "done, without a value"
    if isinstance(response, Mapping):
        return ", ".join(f"{key}: {_short(value)}" for key, value in response.items())
    return _short(response)


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1].rstrip() + "\u2026"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _words(text: str) -> int:
    return len(re.findall(r"\w+(?:['\u2019-]\w+)*", text))
